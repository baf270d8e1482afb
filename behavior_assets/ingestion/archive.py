"""What lies below ``archive/``: the originals, and beside them what it takes to ingest them again.

``<format>/<sha>-<name>`` are the originals, ``ledger/<sha>-<batch>.json`` what the ledger says of each batch,
``mappings/<sha>-<contract>.yaml`` how files of ``generic`` were read, and ``redacted/`` which records are blank in
originals (``redaction.py``). ``<sha>`` is the beginning of the file's sha256, of an original as it was delivered.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

import yaml

from behavior_assets.ingestion.arrivals import MAPPING
from behavior_assets.ingestion.ledger import FileEntry, entry_of
from behavior_assets.ingestion.redaction import REDACTED, has_expired
from behavior_assets.ingestion.sources import FORMATS, load_source
from behavior_assets.ingestion.sources.base import Source
from resources.disk import disk_errors, draft_of, make_folder
from resources.errors import BehaviorError, InputRefusedError
from resources.failpoints import reach
from resources.settings import Home

DIGITS = 16
LEDGER, MAPPINGS = "ledger", "mappings"
# In the metadata of bronze's commits: the batch's originals go to the archive, of which machine where several share
# the lake.
KEPT_KEY = "behavior.archive"
HERE = "yes"
_NAME = re.compile(rf"([0-9a-f]{{{DIGITS}}})-(.+)", re.DOTALL)


@dataclass(frozen=True)
class Note:
    """What the archive knows of a batch: its accounts, and the zone that told its days."""

    path: Path
    timezone: str
    entries: tuple[FileEntry, ...]

    @property
    def batch_id(self) -> str:
        """The batch that it tells of."""
        return self.entries[0].batch_id


def keep_mappings(home: Home, sources: Iterable[Source]) -> None:
    """Before a batch's commit: who died after it would leave files that nobody can read again."""
    for source in sources:
        if source.mapping:
            _keep(home.archive / MAPPINGS, f"{source.contract}.yaml", source.mapping)


def keep_notes(home: Home, entries: Iterable[FileEntry], timezone: str) -> None:
    """After a batch's commit: keep its accounts beside the originals."""
    entries = list(entries)
    told = {"timezone": timezone, "entries": [asdict(e) for e in entries]}
    _keep(home.archive / LEDGER, f"{entries[0].batch_id}.json", json.dumps(told, indent=1))


def keep_missed_notes(home: Home, entries: Iterable[FileEntry], timezone: str) -> None:
    """Accounts of earlier batches whose run died before it kept them, where all is there that they vouch for."""
    told = noted(home)
    for batch_id, group in groupby(entries, key=lambda e: e.batch_id):
        batch = list(group)
        if batch_id not in told and all(_complete(home, e) for e in batch):
            keep_notes(home, batch, timezone)


def _complete(home: Home, entry: FileEntry) -> bool:
    """Whether the archive has a delivery and its mapping: without them where a home did not always keep them."""
    has_original = bool(entry.replay_of) or original_of(home, entry.source, entry.file_sha256) is not None
    has_original = has_original or has_expired(home, entry.source, entry.file_sha256)
    return has_original and (not entry.contract or bool(mappings_of(home, entry.contract)))


def _keep(folder: Path, name: str, text: str) -> None:
    target = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:DIGITS]}-{name}"
    if target.exists():
        return
    with disk_errors(folder):
        make_folder(folder)
        with draft_of(target) as draft:
            draft.write_text(text, "utf-8")
            reach("archive.keep")


def kept(home: Home) -> Iterator[tuple[Path, str]]:
    """Everything that the archive keeps, with the digits that its sha256 begins with."""
    for folder in (*FORMATS, LEDGER, MAPPINGS, REDACTED):
        for path in sorted((home.archive / folder).glob("*")):
            found = _NAME.fullmatch(path.name)
            if found and path.is_file():
                yield path, found[1]


def original_of(home: Home, source: str, sha256: str) -> Path | None:
    """Where a delivery's bytes lie, if they are kept."""
    return next(iter((home.archive / source).glob(f"{sha256[:DIGITS]}-*")), None)


def mappings_of(home: Home, contract: str) -> list[Path]:
    """Where the text of a mapping lies, if it is kept: as the archive names it, or as a user put it there."""
    return list((home.archive / MAPPINGS).glob(f"*-{contract}.yaml"))


def noted(home: Home) -> set[str]:
    """Batches whose account is kept, whole or not."""
    return {original_name(path).removesuffix(".json") for path in (home.archive / LEDGER).glob("*.json")}


def read_notes(home: Home) -> list[Note]:
    """The accounts that are kept, in the order of their batches; of one there may be several. Damaged ones are left."""
    notes = []
    for path in sorted((home.archive / LEDGER).glob("*.json"), key=lambda p: (p.name[DIGITS:], p.name)):
        raw = path.read_bytes()
        if path.name.startswith(hashlib.sha256(raw).hexdigest()[:DIGITS]):
            told = json.loads(raw)
            notes.append(Note(path, told["timezone"], tuple(entry_of(e) for e in told["entries"])))
    return notes


def source_of(home: Home, entry: FileEntry) -> Source:
    """How a delivery was read. Raises InputRefusedError where its mapping is not to be had any more."""
    if not entry.contract:
        if entry.source == "generic":
            msg = f"{entry.file_name}: the ledger is too old to tell its mapping."
            raise InputRefusedError(msg)
        return load_source(entry.source)
    candidates = [*mappings_of(home, entry.contract), home.landing / entry.source / MAPPING]
    for path in candidates:
        try:
            source = load_source(entry.source, path)
        except (BehaviorError, yaml.YAMLError):
            continue
        if source.contract == entry.contract:
            return source
    msg = (
        f"{entry.file_name}: the archive does not have its mapping (contract {entry.contract}). Put the mapping "
        f"there as archive/{MAPPINGS}/mapping-{entry.contract}.yaml, and repair again."
    )
    raise InputRefusedError(msg)


def original_name(path: Path) -> str:
    """The name that an archived file came with."""
    return path.name[DIGITS + 1 :]
