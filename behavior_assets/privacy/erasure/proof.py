"""The proof of an erasure: a scan of the whole home, and a signed receipt that tells of no person."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from behavior_assets.ingestion.canonical import BRONZE_EVENTS
from behavior_assets.privacy.erasure import case as cases
from behavior_assets.privacy.erasure.case import Case
from behavior_assets.privacy.scanner import Needles, scan
from exports.snapshot import read_manifest
from resources.keys import AUDIT, load_key
from resources.lake import Lake
from resources.settings import Settings

# What erasure does not reach, in the words of docs/privacy.md.
NOT_COVERED = (
    "files in landing/ that no run has taken in yet: their records are suppressed when one does",
    "backups and copies outside of the home, databases that behavior.toml does not name, and extracts that others made",
)


def look(settings: Settings, case: Case) -> list[tuple[str, str]]:
    """Where in the home anything is that the persons of a case are called: (place, how)."""
    home = settings.home
    called = cases.called_in(home, case)
    keys = {key for found in called.keys.values() for key in found}
    apart = (settings.key_path.parent, cases.folder(home))

    def leave(relative: Path) -> bool:
        path = home.root / relative
        waiting = home.landing in path.parents and not (path == home.refused or home.refused in path.parents)
        return waiting or any(path.is_relative_to(place) for place in apart)

    needles = Needles(frozenset(called.texts), frozenset(keys), _alike(settings, called.texts))
    found = scan(home.root, needles, leave=leave)
    return [(f"{f.path.as_posix()}{f' ({f.place})' if f.place else ''}", f.how) for f in found]


def _alike(settings: Settings, texts: set[str]) -> frozenset[str]:
    """Ids of others, as bronze has them, that hold one of these."""
    bronze = Lake(settings.home.lake).table(BRONZE_EVENTS)
    if not bronze.files():
        return frozenset()
    with duckdb.connect(":memory:") as con:
        con.read_parquet(bronze.absolute(bronze.files()), union_by_name=True).create_view("events")
        con.register("called", pa.table({"text": sorted(t.lower() for t in texts)}))
        found = con.execute("""SELECT DISTINCT id FROM (SELECT user_id AS id FROM events UNION
            SELECT client_id FROM events UNION SELECT session_id FROM events) o
            WHERE EXISTS (SELECT 1 FROM called WHERE lower(o.id) <> text AND contains(lower(o.id), text))""").fetchall()
    return frozenset(str(i) for (i,) in found) - texts


def receipt_of(settings: Settings, case: Case, seconds: Mapping[str, float]) -> dict[str, Any]:
    """What was done, when, and what it does not cover; signed, so that it can be shown to others."""
    manifest = read_manifest(settings.home.exports)
    told: dict[str, Any] = {
        "case": case.name, "persons": case.persons, "reached": case.reached,
        "rows": {name: n for name, n in sorted(case.told.get("rows", {}).items()) if n},
        "days": case.told.get("days", []), "tombstones": case.told.get("tombstones", []),
        "originals": case.told.get("originals", 0), "original_records": case.told.get("original_records", 0),
        "refused_lines": case.told.get("refused_lines", 0), "models": case.told.get("models", []),
        "snapshot": manifest["snapshot"] if manifest else None, "scan": "nothing found",
        "seconds": dict(seconds), "not_covered": list(NOT_COVERED),
    }  # fmt: skip
    return {**told, "signature": signature(settings, told)}


def signature(settings: Settings, told: Mapping[str, Any]) -> str:
    """HMAC-SHA256 of a receipt without its signature, by the key of the audit log."""
    text = json.dumps({k: v for k, v in told.items() if k != "signature"}, sort_keys=True)
    return hmac.new(load_key(settings, AUDIT), text.encode(), hashlib.sha256).hexdigest()


def is_signed(settings: Settings, receipt: Mapping[str, Any]) -> bool:
    """Whether a receipt is as it was written by this home."""
    return hmac.compare_digest(signature(settings, receipt), str(receipt.get("signature", "")))
