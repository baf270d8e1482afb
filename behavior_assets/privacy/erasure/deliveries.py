"""How bad records are taken apart: as their delivery was read, with the mapping that it came with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from behavior_assets.ingestion import archive
from behavior_assets.ingestion.archive import MAPPINGS
from behavior_assets.ingestion.arrivals import MAPPING
from behavior_assets.ingestion.canonical import BRONZE_EVENTS, QUARANTINE_EVENTS
from behavior_assets.ingestion.ledger import FileEntry, read_ledger
from behavior_assets.ingestion.sources import load_source
from behavior_assets.ingestion.sources.base import Source
from resources.errors import InputRefusedError
from resources.lake import Lake
from resources.parquet import DataFile
from resources.settings import Home


class Bad(NamedTuple):
    """A row of quarantine, and the source that its record is taken apart by."""

    row: dict[str, Any]
    source: Source

    @property
    def header(self) -> str:
        """The first line of the file that the record is of, where it has one."""
        return str(self.row["header"] or "")

    @property
    def raw(self) -> bytes:
        """The record as it was delivered."""
        return bytes(self.row["raw"] or b"")


class Deliveries:
    """The deliveries that a home knows, to read quarantine by."""

    def __init__(self, home: Home) -> None:
        self.home = home
        lake = Lake(home.lake)
        self.quarantine = lake.table(QUARANTINE_EVENTS)
        entries = read_ledger(lake.table(BRONZE_EVENTS))
        self._entries = {name: e for e in entries for name in (e.file_sha256, e.key)}
        self._sources: dict[tuple[str, str], Source] = {}

    def key_of(self, file: DataFile) -> str:
        """The delivery that a file of quarantine is of, by the name that the ledger has for it."""
        entry = self._entries.get(file.part)
        return entry.key if entry else file.part

    def rows(self, file: DataFile) -> Iterator[Bad]:
        """The rows of a file of quarantine, in their order."""
        entry = self._entries.get(file.part)
        told = pq.read_table(self.quarantine.absolute([file])[0], schema=QUARANTINE_EVENTS.schema)
        for row in told.to_pylist():
            yield Bad(row, self._source(entry, row["source"]))

    def _source(self, entry: FileEntry | None, name: str) -> Source:
        """As the delivery was read, else as the newest mapping tells."""
        known = (name, entry.contract if entry else "")
        if known not in self._sources:
            self._sources[known] = _read_by(self.home, entry, name)
        return self._sources[known]


def _read_by(home: Home, entry: FileEntry | None, name: str) -> Source:
    try:
        return archive.source_of(home, entry) if entry is not None else newest_source(home, name)
    except InputRefusedError:
        return newest_source(home, name)


def newest_source(home: Home, name: str) -> Source:
    """How a source's records are taken apart. Of several mappings of ``generic`` the newest."""
    if name != "generic":
        return load_source(name)
    kept = sorted((home.archive / MAPPINGS).glob("*.yaml"), key=lambda p: p.stat().st_mtime)
    return load_source(name, kept[-1] if kept else home.landing / name / MAPPING)
