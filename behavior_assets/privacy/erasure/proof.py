"""The proof of an erasure: a scan of the whole home, and a signed receipt that tells of no person."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from behavior_assets.ingestion.canonical import BRONZE_EVENTS, QUARANTINE_EVENTS
from behavior_assets.privacy.erasure import case as cases
from behavior_assets.privacy.erasure.case import Case
from behavior_assets.privacy.erasure.naming import needles_of
from behavior_assets.privacy.normal import IdOf, is_within
from behavior_assets.privacy.scanner import Find, scan
from behavior_assets.privacy.scanner.matcher import holding
from behavior_assets.privacy.scanner.needles import WIDELY, Grade, grade
from behavior_assets.privacy.scanner.report import UNREAD
from exports.snapshot import read_manifest
from resources.engine import engine
from resources.keys import AUDIT, load_key, was_destroyed
from resources.lake import Lake
from resources.settings import Settings, with_zone
from resources.table import LakeTable

# What erasure does not reach, in the words of docs/privacy.md.
NOT_COVERED = (
    "files in landing/ that no run has taken in yet: their records are suppressed when one does",
    "backups and copies outside of the home, databases that behavior.toml does not name, and extracts that others made",
)
_KEY_DESTROYED = "rows under pseudonyms whose key was destroyed: nothing in the home leads from them to anybody"
_OTHER_MACHINES = "what other machines that worked on the lake keep: originals, refused files, snapshots, models"
_MANY = 10  # places that are named


def look(settings: Settings, case: Case) -> list[Find]:
    """Where in the home anything is that the persons of a case are called, or where that cannot be told."""
    home = settings.home
    called = cases.called_in(home, case)
    keys = {key for found in called.keys.values() for key in found}
    lake = Lake(home.lake)
    with engine(with_zone(settings)) as backend:
        texts = _theirs_alone(called.texts, lake.table(QUARANTINE_EVENTS))
        needles = needles_of(backend.con, texts, keys, lake.table(BRONZE_EVENTS))
    apart = (settings.key_path.parent, cases.folder(home))

    def leave(relative: Path) -> bool:
        path = home.root / relative
        waiting = home.landing in path.parents and not (path == home.refused or home.refused in path.parents)
        return waiting or any(path.is_relative_to(place) for place in apart)

    lake.fetch()
    strays = [Find(Path("lake") / name, "the store", UNREAD) for name in lake.strays()]
    return [*scan(home.root, needles, leave=leave), *strays]


def _theirs_alone(texts: Mapping[IdOf, set[str]], quarantine: LakeTable) -> dict[IdOf, set[str]]:
    """Without short numbers of visits and orders that bad rows of others name, too: what is left there is theirs."""
    short = {t for kind in (IdOf.visit, IdOf.order) for t in texts.get(kind, ()) if grade(t) is not Grade.anywhere}
    named: set[str] = set()
    if short and quarantine.exists():
        for file in quarantine.files():
            raw = pq.read_table(quarantine.absolute([file])[0], columns=["raw"])["raw"].drop_null().to_pylist()
            lines = [record.decode("utf-8", "replace") for record in raw]
            named |= {text for line, text in holding(short, lines) if is_within(text, line)}
    return {kind: found - named if kind is not IdOf.person else found for kind, found in texts.items()}


def left_in(found: Sequence[Find]) -> str:
    """What a scan found, in words: where something is, and where nobody can tell."""
    told = []
    for what, unread in (("something of them is still in", False), ("nobody can tell what is in", True)):
        these = (f for f in found if f.unread is unread)
        places = sorted({f"{f.path.as_posix()}{f' ({f.place})' if f.place else ''}" for f in these})
        if places:
            more = f" and {len(places) - _MANY} more places" if len(places) > _MANY else ""
            told.append(f"{what} {', '.join(places[:_MANY])}{more}")
    return "; ".join(told)


def receipt_of(settings: Settings, case: Case, seconds: Mapping[str, float]) -> dict[str, Any]:
    """What was done, when, and what it does not cover; signed, so that it can be shown to others."""
    manifest = read_manifest(settings.home.exports)
    told: dict[str, Any] = {
        "case": case.name, "persons": case.persons, "reached": case.reached,
        "rows": {name: n for name, n in sorted(case.told.get("rows", {}).items()) if n},
        "days": case.told.get("days", []), "tombstones": case.told.get("tombstones", []),
        "originals": case.told.get("originals", 0), "original_records": case.told.get("original_records", 0),
        "refused_lines": case.told.get("refused_lines", 0), "models": case.told.get("models", []),
        "snapshot": manifest["snapshot"] if manifest else None, "scan": f"nothing found of {_names(settings, case)}",
        "seconds": dict(seconds), "not_covered": _not_covered(settings),
    }  # fmt: skip
    return {**told, "signature": signature(settings, told)}


def _not_covered(settings: Settings) -> list[str]:
    more = {_KEY_DESTROYED: was_destroyed(settings), _OTHER_MACHINES: bool(settings.lake_store)}
    return [*NOT_COVERED, *(text for text, holds in more.items() if holds)]


def _names(settings: Settings, case: Case) -> str:
    called = cases.called_in(settings.home, case)
    count = len(called.all_texts) + sum(map(len, called.keys.values()))
    return f"{count:,} ids and keys{', of so many in their usual spellings only' if count > WIDELY else ''}"


def signature(settings: Settings, told: Mapping[str, Any]) -> str:
    """HMAC-SHA256 of a receipt without its signature, by the key of the audit log."""
    text = json.dumps({k: v for k, v in told.items() if k != "signature"}, sort_keys=True)
    return hmac.new(load_key(settings, AUDIT), text.encode(), hashlib.sha256).hexdigest()


def is_signed(settings: Settings, receipt: Mapping[str, Any]) -> bool:
    """Whether a receipt is as it was written by this home."""
    return hmac.compare_digest(signature(settings, receipt), str(receipt.get("signature", "")))
