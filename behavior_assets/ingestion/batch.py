"""A batch: files that share a commit, the rows that wait to be written, and each file's account."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from behavior_assets.ingestion import landing
from behavior_assets.ingestion.ahead import Delivery
from behavior_assets.ingestion.canonical import CONTRACT_VERSION
from behavior_assets.ingestion.deduplicate import Duplicates, SeenIds
from behavior_assets.ingestion.ledger import FileEntry
from behavior_assets.ingestion.reader import FileReading
from resources import table
from resources.parquet import DataFile
from resources.settings import Settings

_CHUNK_SHARE = 8  # of the memory limit, for rows that wait: sorted into days and written they are there three times

@dataclass
class Counts:
    """What became of a file's good rows so far."""

    accepted: int = 0
    duplicate: int = 0
    events: int = 0
    late: int = 0
    conflicts: int = 0


@dataclass
class Batch:
    """Files that share a commit, by the keys of their deliveries, and the bronze files written for them so far."""

    number: int
    arrived_us: int
    read_by: dict[str, Any] = field(default_factory=dict)  # ``ledger.reading_of`` the settings
    counts: dict[str, Counts] = field(default_factory=lambda: defaultdict(Counts))
    sources: dict[str, str] = field(default_factory=dict)
    readings: list[tuple[Delivery, FileReading]] = field(default_factory=list)
    written: list[DataFile] = field(default_factory=list)
    writing: list[Future[DataFile]] = field(default_factory=list)
    settling: Future[None] | None = None
    seen: SeenIds = field(default_factory=SeenIds)
    pending: list[pa.Table] = field(default_factory=list)
    pending_rows: int = 0
    pending_bytes: int = 0

    @property
    def batch_id(self) -> str:
        """The number as bronze and the ledger tell it."""
        return f"b{self.number:08d}"

    def hold(self, rows: pa.Table, key: str) -> None:
        """Keep a delivery's good rows until they are written."""
        self.pending.append(rows.replace_schema_metadata({"file": key}))
        self.pending_rows += rows.num_rows
        self.pending_bytes += rows.nbytes

    def is_full(self, settings: Settings) -> bool:
        """Whether the rows that wait are as many, or take as much memory, as are worked on at a time."""
        return self.pending_rows >= settings.chunk_rows or self.pending_bytes >= settings.memory_limit // _CHUNK_SHARE

    def weighs_much(self, settings: Settings) -> bool:
        """Whether the bad rows of its files, kept until the commit, take their share of the memory."""
        return sum(r.reject_bytes() for _, r in self.readings) >= settings.memory_limit // _CHUNK_SHARE

    def finish_settling(self) -> None:
        """Wait for the rows that duplicates are being dropped from; raises what that raised."""
        if self.settling is not None:
            settling, self.settling = self.settling, None
            settling.result()

    def finish_writing(self) -> None:
        """Wait for the files that are being written; raises what their writing raised."""
        self.written += [w.result() for w in self.writing]
        self.writing = []

    def finish(self) -> None:
        """Wait until every row that was taken lies in a file."""
        self.finish_settling()
        self.finish_writing()

    def take_pending(self) -> tuple[pa.Table, list[str]]:
        """All rows that wait, with ``_file`` (the place of their delivery's key in the list returned with them)."""
        parts = [t.append_column("_file", pa.array(np.full(t.num_rows, i, dtype=np.int32)))
                 for i, t in enumerate(self.pending)]  # fmt: skip
        files = [t.schema.metadata[b"file"].decode() for t in self.pending]
        self.pending, self.pending_rows, self.pending_bytes = [], 0, 0
        return pa.concat_tables([t.replace_schema_metadata(None) for t in parts], promote_options="default"), files

    def forget(self, key: str, before: int) -> list[DataFile]:
        """Undo what a delivery put in; ``before``: how many files there were then. Returns the files to remove."""
        self.finish()
        self.counts.pop(key, None)
        self.sources.pop(key, None)
        gone = self.written[before:]
        del self.written[before:]
        self.pending = [t for t in self.pending if t.schema.metadata[b"file"] != key.encode()]
        self.pending_rows = sum(t.num_rows for t in self.pending)
        self.pending_bytes = sum(t.nbytes for t in self.pending)
        return gone

    def count(self, chunk: pa.Table, files: list[str], found: Duplicates, last: str | None) -> None:
        """Book a chunk's rows on their deliveries. Before ``last``, the newest day of bronze, a row is late."""
        file_of = chunk["_file"].to_numpy()
        first_item = chunk["_item"].to_numpy() == 0
        duplicate = np.zeros(chunk.num_rows, dtype=bool)
        duplicate[found.rows] = True
        conflict = np.zeros(chunk.num_rows, dtype=bool)
        conflict[found.conflicts] = True
        late = np.zeros(chunk.num_rows, dtype=bool)
        if last is not None:
            late = pc.less(chunk["event_date"].cast(pa.string()), last).to_numpy(zero_copy_only=False)
        for position in np.flatnonzero(np.bincount(file_of)).tolist():
            mine = file_of == position
            counts = self.counts[files[position]]
            counts.accepted += int(np.count_nonzero(mine & first_item & ~duplicate))
            counts.duplicate += int(np.count_nonzero(mine & first_item & duplicate))
            counts.events += int(np.count_nonzero(mine & ~duplicate))
            counts.late += int(np.count_nonzero(mine & first_item & ~duplicate & late))
            counts.conflicts += int(np.count_nonzero(mine & first_item & conflict))

    def stamp(self, rows: pa.Table, files: list[str]) -> pa.Table:
        """Rows with the columns that say where they came from."""
        names = [self.sources[f] for f in files]
        count = rows.num_rows
        extra: dict[str, Any] = {
            "source": pa.DictionaryArray.from_arrays(rows["_file"].combine_chunks(), pa.array(names)).cast(pa.string()),
            "batch_id": pa.repeat(self.batch_id, count),
            "arrived_ts_us": pa.repeat(pa.scalar(self.arrived_us, pa.int64()), count),
        }
        for name, values in extra.items():
            rows = rows.append_column(name, values)
        return rows

    def entries(self) -> list[FileEntry]:
        """The account of every delivery."""
        return [self._entry(delivery, reading) for delivery, reading in self.readings]

    def _entry(self, delivery: Delivery, reading: FileReading) -> FileEntry:
        counts = self.counts[reading.staged.key]
        account: dict[str, Any] = {"rows_in": reading.rows_in, "quarantined": len(reading.rejects)}
        if delivery.replay is not None:
            taken = tuple(n for i, n in enumerate(delivery.replay.rows, 1) if i not in reading.rejects)
            account = {"rows_in": 0, "quarantined": -len(taken), "replay_of": delivery.replay.part,
                       "replayed_rows": taken}  # fmt: skip
        return FileEntry(
            **account,
            batch_id=self.batch_id,
            source=reading.source.name,
            file_name=reading.staged.name,
            file_sha256=reading.staged.sha256,
            size=reading.staged.size,
            arrived_ts_us=self.arrived_us,
            contract_version=CONTRACT_VERSION,
            accepted=counts.accepted,
            duplicate=counts.duplicate,
            suppressed=len(reading.suppressed),
            events=counts.events,
            late=counts.late,
            conflicts=counts.conflicts,
            capabilities={**reading.source.capabilities, "is_synthetic": landing.is_synthetic(delivery.path)},
            contract=reading.source.contract,
            read_by=self.read_by,
        )


def marker(number: int, entries: Iterable[FileEntry]) -> table.Batch:
    """What a batch is known by in the lake: its number, and which deliveries it holds."""
    keys = "\x1f".join(sorted(e.key for e in entries))
    return table.Batch(number, hashlib.sha256(keys.encode()).hexdigest())
