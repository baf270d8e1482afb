"""Files into bronze: staged, parsed, deduplicated day by day, and committed once with their ledger."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from behavior_assets.incremental import split_by_day
from behavior_assets.ingestion import landing, ledger, quarantine
from behavior_assets.ingestion.ahead import Delivery, Prepared, Reader
from behavior_assets.ingestion.canonical import BRONZE_EVENTS, CONTRACT_VERSION, QUARANTINE_EVENTS
from behavior_assets.ingestion.deduplicate import Duplicates, find_duplicates
from behavior_assets.ingestion.ledger import FileEntry
from behavior_assets.ingestion.reader import FileReading, Reject, raw_rows
from resources.errors import InputRefusedError, IntegrityError
from resources.lake import Lake
from resources.parquet import DataFile
from resources.settings import ZONE_KEY, Settings, with_zone

INGEST_APPLICATION = "ingest"
HOPELESS_ROWS = 10  # a file of so many rows without a good one is of another format, not merely bad
_FILES_PER_COMMIT = 500


@dataclass
class IngestReport:
    """What an ingestion did. ``days`` are the event days with new rows."""

    entries: list[FileEntry] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    days: set[str] = field(default_factory=set)
    staging_seconds: float = 0.0


@dataclass
class _Counts:
    accepted: int = 0
    duplicate: int = 0
    events: int = 0
    late: int = 0
    conflicts: int = 0


@dataclass
class _Batch:
    """Files that share a commit, and the bronze files written for them so far."""

    batch_id: str
    arrived_us: int
    counts: dict[str, _Counts] = field(default_factory=lambda: defaultdict(_Counts))
    sources: dict[str, str] = field(default_factory=dict)
    readings: list[tuple[Delivery, FileReading]] = field(default_factory=list)
    written: list[DataFile] = field(default_factory=list)
    writing: list[Future[DataFile]] = field(default_factory=list)
    pending: list[pa.Table] = field(default_factory=list)
    pending_rows: int = 0

    def finish_writing(self) -> None:
        """Wait for the files that are being written; raises what their writing raised."""
        self.written += [w.result() for w in self.writing]
        self.writing = []


class Ingestion:
    """Ingests deliveries into the bronze and quarantine tables of one lake."""

    def __init__(
        self,
        lake: Lake,
        settings: Settings,
        connection: duckdb.DuckDBPyConnection,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self.bronze = lake.table(BRONZE_EVENTS)
        self.quarantine = lake.table(QUARANTINE_EVENTS)
        self.settings = settings
        self.con = connection
        self.now_us = now_us
        # One file is written while the next rows are parsed.
        self.writer = ThreadPoolExecutor(1, thread_name_prefix="bronze-writer")

    def run(
        self, deliveries: Iterable[Delivery], progress: Callable[[str, int], None] = lambda _name, _rows: None
    ) -> IngestReport:
        """Ingest every delivery that is not in the ledger yet; refused files do not stop the others."""
        report = IngestReport()
        # Asked anew under the lock: another process may have brought the first file meanwhile.
        self.settings = with_zone(self.settings)
        entries = ledger.read_ledger(self.bronze)
        known = {e.key for e in entries}
        quarantine.take_out(self.quarantine, entries)  # what a run that died had accepted already
        batch: _Batch | None = None
        arrived = self.now_us()
        for prepared, settings in self._prepared(deliveries, known, arrived):
            batch = batch or self._new_batch(arrived)
            if self._take(prepared, batch, known, report):
                self.settings = settings
                progress(prepared.delivery.path.name, batch.readings[-1][1].rows_in)
            if max(len(batch.readings), len(batch.written)) >= _FILES_PER_COMMIT:
                self._commit(batch, known, report)
                batch = None
        if batch is not None:
            self._commit(batch, known, report)
        return report

    def _prepared(
        self, deliveries: Iterable[Delivery], known: Container[str], arrived: int
    ) -> Iterator[tuple[Prepared, Settings]]:
        """Deliveries read ahead, each with the settings that it was read by.

        Until a first file is taken the home has no zone, and files are read by their source's own, so those of one
        zone are read ahead together.
        """
        for zone, group in groupby(deliveries, key=lambda d: d.source.timezone):
            settings = self.settings if self.settings.timezone else replace(self.settings, timezone=zone)
            for prepared in Reader(self.con, settings, known, arrived).read(group):
                yield prepared, settings

    def _new_batch(self, arrived_us: int) -> _Batch:
        number = self.bronze.transaction(INGEST_APPLICATION) + 1
        return _Batch(f"b{number:08d}", arrived_us)

    def _take(
        self, prepared: Prepared, batch: _Batch, known: Container[str], report: IngestReport
    ) -> bool:
        """Put a file's rows into the batch. A file in trouble is refused whole and leaves no row behind."""
        delivery, staged = prepared.delivery, prepared.staged
        if prepared.rows is None:
            # A streamed file shares no chunk with others, so that refusing it half way undoes only its own.
            self._settle(batch)
        before = len(batch.written) + len(batch.writing)
        report.staging_seconds += prepared.staging_seconds
        try:
            # First of all: undoing a file by its key must not undo the one with the same bytes before it.
            if staged is not None and (staged.delivered_before(known) or staged.key in batch.sources):
                report.repeated.append(delivery.path.name)
                landed_path = delivery.path if delivery.from_landing else None
                landing.archive(staged, landed_path, self.settings.home,
                                keep=self.settings.archive and staged.delivered_before(known)
                                and delivery.replay is None)  # fmt: skip
                return False
            if prepared.error is not None:
                raise prepared.error
            assert prepared.reading is not None  # noqa: S101 - without an error there is a reading
            self._read(prepared, prepared.reading, batch)
        except InputRefusedError as error:
            self._refuse(prepared, str(error), batch, before, report)
            return False
        except (duckdb.InvalidInputException, duckdb.DataError, pa.ArrowException) as error:
            # The parser's text may quote the data: only its kind is told.
            reason = (
                f"{delivery.path.name}: cannot be read as {delivery.source.name} ({type(error).__name__}). "
                "Check that the format name fits the file."
            )
            self._refuse(prepared, reason, batch, before, report)
            return False
        finally:
            if prepared.cursor is not None:
                prepared.cursor.close()
            prepared.rows = None
        batch.readings.append((delivery, prepared.reading))
        if batch.pending_rows >= self.settings.chunk_rows:
            self._settle(batch)
        return True

    def _refuse(self, prepared: Prepared, reason: str, batch: _Batch, before: int, report: IngestReport) -> None:
        report.refused.append((str(prepared.delivery.path), reason))
        self._forget(prepared.staged, batch, before)
        if prepared.delivery.replay is None:  # rows to replay stay where they are
            landing.refuse(prepared.delivery.path, self.settings.home, reason)

    def _forget(self, staged: landing.Staged | None, batch: _Batch, before: int) -> None:
        """Undo what a refused file put into the batch."""
        if staged is None:
            return
        batch.counts.pop(staged.key, None)
        batch.sources.pop(staged.key, None)
        batch.finish_writing()
        for file in batch.written[before:]:
            (self.bronze.root / file.path).unlink(missing_ok=True)
        del batch.written[before:]
        batch.pending = [t for t in batch.pending if t.schema.metadata[b"file"] != staged.key.encode()]
        batch.pending_rows = sum(t.num_rows for t in batch.pending)
        landing.discard(staged)

    def _read(self, prepared: Prepared, reading: FileReading, batch: _Batch) -> None:
        key = reading.staged.key
        batch.sources[key] = reading.source.name
        delivered = 0
        semantic: dict[int, int] = {}
        rejected = np.array(reading.parser_rejects, dtype=np.int64) - np.arange(len(reading.parser_rejects))
        for table in prepared.tables():
            items = table["_item"].to_numpy()
            first = items == 0
            index = table["_index"].to_numpy() if "_index" in table.column_names else delivered + np.cumsum(first)
            row = index + np.searchsorted(rejected, index, side="right")
            failure = table["_failure"]
            bad = pc.is_valid(failure)
            if pc.any(bad).as_py():
                mask = bad.to_numpy()
                semantic.update(zip(row[mask].tolist(), failure.filter(bad).to_pylist(), strict=True))
            delivered += int(np.count_nonzero(first))
            keep = ~bad.to_numpy()
            if reading.unterminated:
                keep &= row != reading.rows_in
            helpers = [c for c in ("_failure", "_index") if c in table.column_names]
            numbers = row if prepared.delivery.replay is None else np.array(prepared.delivery.replay.rows)[row - 1]
            good = table.append_column("row_number", pa.array(numbers)).drop_columns(helpers)
            if not keep.all():
                good = good.filter(pa.array(keep))
            if good.num_rows:
                batch.pending.append(good.replace_schema_metadata({"file": key}))
                batch.pending_rows += good.num_rows
            if prepared.rows is None and batch.pending_rows >= self.settings.chunk_rows:
                self._settle(batch)
        self._balance(reading, delivered, semantic)

    def _balance(self, reading: FileReading, delivered: int, semantic: dict[int, int]) -> None:
        """What the parser delivered and rejected must be what the bytes hold."""
        total = delivered + len(reading.parser_rejects)
        if total != reading.rows_in:
            msg = (
                f"{reading.staged.name}: the bytes hold {reading.rows_in:,} rows, the parser found {total:,}. "
                "Check quotes and line ends, and deliver the file again."
            )
            raise InputRefusedError(msg)
        if reading.rows_in >= HOPELESS_ROWS and len(semantic.keys() | reading.rejects.keys()) == reading.rows_in:
            msg = (
                f"{reading.staged.name}: not one of its {reading.rows_in:,} rows can be read as {reading.source.name}. "
                "Check the format name and the mapping."
            )
            raise InputRefusedError(msg)
        wanted = {r for r in semantic if r not in reading.rejects}
        unterminated = reading.rows_in if reading.unterminated and reading.rows_in not in reading.rejects else 0
        raw = raw_rows(reading, wanted | ({unterminated} if unterminated else set())) if wanted or unterminated else {}
        for row in sorted(wanted):
            check = reading.checks[semantic[row]]
            reading.rejects[row] = Reject(row, check.failure_class, check.column, check.message, raw.get(row, b""))
        if unterminated:
            reading.rejects[unterminated] = Reject(
                unterminated, "unterminated_record", "record", "the file ends inside this row (no line end)",
                raw.get(unterminated, b""),
            )  # fmt: skip

    def _settle(self, batch: _Batch) -> None:
        """Drop duplicates from the pending rows and write one bronze file per day."""
        batch.finish_writing()
        if not batch.pending_rows:
            return
        parts = [t.append_column("_file", pa.array(np.full(t.num_rows, i, dtype=np.int32)))
                 for i, t in enumerate(batch.pending)]  # fmt: skip
        files = [t.schema.metadata[b"file"].decode() for t in batch.pending]
        chunk = pa.concat_tables([t.replace_schema_metadata(None) for t in parts], promote_options="default")
        batch.pending, batch.pending_rows = [], 0
        days = sorted({d.isoformat() for d in pc.unique(chunk["event_date"]).to_pylist()})
        live = self.bronze.parts()
        stored = [f for d in days for f in live.get(d, [])]
        stored += [f for f in batch.written if f.part in set(days)]
        found = find_duplicates(self.con, chunk, self.bronze.absolute(stored))
        self._count(batch, chunk, files, found, max(live, default=None))
        if len(found.rows):
            keep = np.ones(chunk.num_rows, dtype=bool)
            keep[found.rows] = False
            chunk = chunk.filter(pa.array(keep))
        for day, rows in split_by_day(chunk).items():
            table = self._bronze_rows(rows, batch, files)
            mark = f"{batch.batch_id}-{len(batch.written) + len(batch.writing):04d}"
            batch.writing.append(self.writer.submit(self.bronze.write, day, mark, [table]))

    def _count(
        self, batch: _Batch, chunk: pa.Table, files: list[str], found: Duplicates, last: str | None
    ) -> None:
        file_of = chunk["_file"].to_numpy()
        first_item = chunk["_item"].to_numpy() == 0
        duplicate = np.zeros(chunk.num_rows, dtype=bool)
        duplicate[found.rows] = True
        conflict = np.zeros(chunk.num_rows, dtype=bool)
        conflict[found.conflicts] = True
        late = np.zeros(chunk.num_rows, dtype=bool)
        if last is not None:
            late = pc.less(chunk["event_date"].cast(pa.string()), last).to_numpy(zero_copy_only=False)
        for position in np.unique(file_of).tolist():
            mine = file_of == position
            counts = batch.counts[files[position]]
            counts.accepted += int(np.count_nonzero(mine & first_item & ~duplicate))
            counts.duplicate += int(np.count_nonzero(mine & first_item & duplicate))
            counts.events += int(np.count_nonzero(mine & ~duplicate))
            counts.late += int(np.count_nonzero(mine & first_item & ~duplicate & late))
            counts.conflicts += int(np.count_nonzero(mine & first_item & conflict))

    def _bronze_rows(self, rows: pa.Table, batch: _Batch, files: list[str]) -> pa.Table:
        names = [batch.sources[f] for f in files]
        count = rows.num_rows
        extra: dict[str, Any] = {
            "source": pa.DictionaryArray.from_arrays(rows["_file"].combine_chunks(), pa.array(names)).cast(pa.string()),
            "batch_id": pa.repeat(batch.batch_id, count),
            "arrived_ts_us": pa.repeat(pa.scalar(batch.arrived_us, pa.int64()), count),
        }
        for name, values in extra.items():
            rows = rows.append_column(name, values)
        return rows

    def _commit(self, batch: _Batch, known: set[str], report: IngestReport) -> None:
        self._settle(batch)
        batch.finish_writing()
        if not batch.readings:
            return
        if self.bronze.transaction(INGEST_APPLICATION) >= int(batch.batch_id[1:]):
            msg = "bronze/events: another ingestion committed meanwhile. Run the same command again."
            raise IntegrityError(msg)
        rejected = [reading for delivery, reading in batch.readings if delivery.replay is None and reading.rejects]
        quarantine.put_in(self.quarantine, rejected, batch.batch_id, batch.arrived_us)
        entries = [self._entry(delivery, reading, batch) for delivery, reading in batch.readings]
        for entry in entries:
            if not entry.balanced():  # a defect of ours: better no commit than a wrong one
                msg = (
                    f"{entry.file_name}: its {entry.rows_in:,} rows do not add up ({entry.accepted:,} accepted, "
                    f"{entry.quarantined:,} quarantined, {entry.duplicate:,} duplicate, {entry.suppressed:,} "
                    "suppressed); nothing was committed."
                )
                raise InputRefusedError(msg)
        number = int(batch.batch_id[1:])
        self.bronze.commit(
            batch.written, replace=False,
            metadata={ledger.LEDGER_KEY: ledger.encode(entries), ZONE_KEY: self.settings.timezone},
            transaction=(INGEST_APPLICATION, number),
        )  # fmt: skip
        report.entries += entries
        report.days |= {f.part for f in batch.written}
        known.update(e.key for e in entries)
        quarantine.take_out(self.quarantine, entries)
        started = time.perf_counter()
        for delivery, reading in batch.readings:
            landing.archive(
                reading.staged, delivery.path if delivery.from_landing else None, self.settings.home,
                keep=self.settings.archive and delivery.replay is None,
            )  # fmt: skip
        report.staging_seconds += time.perf_counter() - started

    def _entry(self, delivery: Delivery, reading: FileReading, batch: _Batch) -> FileEntry:
        counts = batch.counts[reading.staged.key]
        account: dict[str, Any] = {"rows_in": reading.rows_in, "quarantined": len(reading.rejects)}
        if delivery.replay is not None:
            taken = tuple(n for i, n in enumerate(delivery.replay.rows, 1) if i not in reading.rejects)
            account = {"rows_in": 0, "quarantined": -len(taken), "replay_of": delivery.replay.part,
                       "replayed_rows": taken}  # fmt: skip
        return FileEntry(
            **account,
            batch_id=batch.batch_id,
            source=reading.source.name,
            file_name=reading.staged.name,
            file_sha256=reading.staged.sha256,
            size=reading.staged.size,
            arrived_ts_us=batch.arrived_us,
            contract_version=CONTRACT_VERSION,
            accepted=counts.accepted,
            duplicate=counts.duplicate,
            suppressed=0,
            events=counts.events,
            late=counts.late,
            conflicts=counts.conflicts,
            capabilities={**reading.source.capabilities, "is_synthetic": landing.is_synthetic(delivery.path)},
            contract=reading.source.contract,
        )
