"""Files into bronze: staged, parsed, deduplicated day by day, and committed once with their ledger."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import groupby

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from behavior_assets.ingestion import archive, landing, ledger, quarantine
from behavior_assets.ingestion.ahead import Delivery, Prepared, Reader
from behavior_assets.ingestion.batch import Batch, marker
from behavior_assets.ingestion.canonical import BRONZE_EVENTS, QUARANTINE_EVENTS
from behavior_assets.ingestion.deduplicate import find_duplicates, folded_ids, without
from behavior_assets.ingestion.ledger import FileEntry
from behavior_assets.ingestion.reader import FileReading
from behavior_assets.ingestion.redaction import blank_suppressed, has_expired
from behavior_assets.ingestion.shape import fitted, require_types
from behavior_assets.ingestion.sift import sift
from behavior_assets.privacy.suppression import Suppression, read_suppression
from resources.disk import refusal
from resources.engine import parser
from resources.errors import ConflictError, InputRefusedError, UsageError
from resources.failpoints import reach
from resources.lake import Lake
from resources.parquet import DataFile
from resources.parts import Days
from resources.settings import ZONE_KEY, Settings, with_zone

_FILES_PER_COMMIT = 500
_ATTEMPTS = 3
Told = Callable[[str, int], None]


@dataclass
class IngestReport:
    """What an ingestion did. ``days`` are the event days with new rows.

    ``renewed`` are files whose name was delivered before with other bytes, ``waiting`` those left for the next run.
    """

    entries: list[FileEntry] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    waiting: list[tuple[str, str]] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    renewed: list[str] = field(default_factory=list)
    days: set[str] = field(default_factory=set)
    staging_seconds: float = 0.0


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
        self.machine = lake.machine
        self.settings = settings
        self.con = connection
        self.now_us = now_us
        # While rows are parsed, duplicates are dropped from those before, and those before these are written.
        self.settler = ThreadPoolExecutor(1, thread_name_prefix="bronze-settler")
        self.writer = ThreadPoolExecutor(1, thread_name_prefix="bronze-writer")
        self._again: list[str] = []  # keys of deliveries that the archive may have lost and got again
        self._settled: set[int] = set()  # deliveries (by identity) whose fate is decided
        self.suppression = Suppression(set(), b"")
        self._earlier: list[FileEntry] | None = None  # the ledger as this ingestion found it

    def run(self, deliveries: Iterable[Delivery], progress: Told = lambda _name, _rows: None) -> IngestReport:
        """Ingest every delivery that is not in the ledger yet; refused files do not stop the others.

        What another writer's commit got in the way of is done again on the lake as that one left it.
        """
        report = IngestReport()
        wanted = [fitted(d) for d in deliveries]
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._run([d for d in wanted if id(d) not in self._settled], report, progress)
            except ConflictError:
                if attempt == _ATTEMPTS:
                    raise
            else:
                break
        report.renewed = ledger.renewed(self._earlier or [], report.entries)
        return report

    def _run(self, deliveries: list[Delivery], report: IngestReport, progress: Told) -> None:
        # Asked anew under the lock: another process may have brought the first file meanwhile.
        self.settings = with_zone(self.settings)
        self.suppression = read_suppression(self.settings)
        entries = ledger.read_ledger(self.bronze)
        self._earlier = entries if self._earlier is None else self._earlier
        known = {e.key for e in entries}
        # What a run that died had accepted already, and what it had put in without the rows beside it.
        quarantine.take_out(self.quarantine, entries, quarantine.unaccounted(self.quarantine, entries))
        deliveries = quarantine.still_there(deliveries, entries)
        batch: Batch | None = None
        arrived = self.now_us()
        for prepared, settings in self._prepared(deliveries, known, arrived):
            batch = batch or Batch(self.bronze.last_batch() + 1, arrived, ledger.reading_of(self.settings))
            if self._take(prepared, batch, known, report):
                self.settings = settings
                progress(prepared.delivery.path.name, batch.readings[-1][1].rows_in)
            else:
                self._settled.add(id(prepared.delivery))
            many = max(len(batch.readings), len(batch.written)) >= _FILES_PER_COMMIT
            if many or batch.weighs_much(self.settings):
                self._commit(batch, known, report)
                batch = None
        if batch is not None:
            self._commit(batch, known, report)
        if self.settings.archive:
            archive.keep_missed_notes(self.settings.home, entries, self.settings.timezone)
            if self.suppression and self._again:
                from behavior_assets.privacy.erasure.originals import blank_again

                blank_again(self.settings, self.con, self._again)
                self._again = []

    def _prepared(
        self, deliveries: Iterable[Delivery], known: Container[str], arrived: int
    ) -> Iterator[tuple[Prepared, Settings]]:
        """Deliveries read ahead, each with the settings that it was read by.

        Until a first file is taken the home has no zone, and files are read by their source's own, so those of one
        zone are read ahead together.
        """
        with parser(self.settings, beside=self.con) as locked:
            for zone, group in groupby(deliveries, key=lambda d: d.source.timezone):
                settings = self.settings if self.settings.timezone else replace(self.settings, timezone=zone)
                for prepared in Reader(locked, settings, known, arrived).read(group):
                    yield prepared, settings

    def _take(self, prepared: Prepared, batch: Batch, known: Container[str], report: IngestReport) -> bool:
        """Put a file's rows into the batch. A file in trouble is refused whole and leaves no row behind."""
        delivery, staged = prepared.delivery, prepared.staged
        if prepared.rows is None:
            # A streamed file shares no chunk with others, so that refusing it half way undoes only its own.
            self._settle(batch)
            batch.finish_settling()
        before = len(batch.written) + len(batch.writing)
        report.staging_seconds += prepared.staging_seconds
        try:
            # First of all: undoing a file by its key must not undo the one with the same bytes before it.
            if staged is not None and (staged.delivered_before(known) or staged.key in batch.sources):
                report.repeated.append(delivery.path.name)
                if staged.delivered_before(known) and delivery.replay is None:
                    self._again.append(staged.key)
                landed_path = delivery.path if delivery.from_landing else None
                landing.archive(staged, landed_path, self.settings.home,
                                keep=self.settings.archive and staged.delivered_before(known)
                                and delivery.replay is None
                                and not has_expired(self.settings.home, staged.source, staged.sha256))  # fmt: skip
                return False
            if prepared.error is not None:
                raise prepared.error
            assert prepared.reading is not None  # noqa: S101 - without an error there is a reading
            self._read(prepared, prepared.reading, batch)
            if delivery.replay is not None and len(prepared.reading.rejects) == prepared.reading.rows_in:
                landing.discard(prepared.reading.staged)  # none came back: there is nothing to commit
                return False
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
        if batch.is_full(self.settings):
            self._settle(batch)
        return True

    def _refuse(self, prepared: Prepared, reason: str, batch: Batch, before: int, report: IngestReport) -> None:
        left = isinstance(prepared.error, landing.LeftAloneError)
        told = report.waiting if left and prepared.delivery.from_landing else report.refused
        told.append((str(prepared.delivery.path), reason))
        if prepared.staged is not None:
            self._unlink(batch.forget(prepared.staged.key, before))
            landing.discard(prepared.staged)
        if prepared.delivery.replay is None and not left:  # rows to replay stay where they are
            landing.refuse(prepared.delivery.path, self.settings.home, reason)

    def _unlink(self, files: Iterable[DataFile]) -> None:
        """Remove files that are not committed; not one of the same name that another process did commit."""
        live = {f.path for f in self.bronze.files()}
        for file in files:
            if file.path not in live:
                (self.bronze.root / file.path).unlink(missing_ok=True)

    def _read(self, prepared: Prepared, reading: FileReading, batch: Batch) -> None:
        require_types(reading)
        batch.sources[reading.staged.key] = reading.source.name
        for rows in sift(prepared, reading):
            good = self._wanted(rows, reading)
            if good.num_rows:
                batch.hold(good, reading.staged.key)
            if prepared.rows is None and batch.is_full(self.settings):
                self._settle(batch)

        for number in [n for n, r in reading.rejects.items()
                       if self.suppression and self.suppression.record(reading.source, reading.header, r.raw)]:
            del reading.rejects[number]  # nobody is to mend it
            reading.suppressed.add(number)

    def _wanted(self, rows: pa.Table, reading: FileReading) -> pa.Table:
        """Rows without those of persons who are suppressed."""
        if not self.suppression:
            return rows
        gone = self.suppression.mask(rows, reading.source.name)
        if not gone.any():
            return rows
        reading.suppressed.update(rows["row_number"].to_numpy()[gone].tolist())
        return rows.filter(pa.array(~gone))

    def _settle(self, batch: Batch) -> None:
        """Begin to drop duplicates from the pending rows and to write one bronze file per day."""
        batch.finish_settling()
        if batch.pending_rows:
            batch.settling = self.settler.submit(self._settle_chunk, batch, *batch.take_pending())

    def _settle_chunk(self, batch: Batch, chunk: pa.Table, files: list[str]) -> None:
        days = sorted({d.isoformat() for d in pc.unique(chunk["event_date"]).to_pylist()})
        live = self.bronze.parts()
        stored = [f for d in days for f in live.get(d, [])]
        if batch.seen.may_hold(days, folded_ids(chunk["event_id"])):
            batch.finish_writing()
            stored += [f for f in batch.written if f.part in set(days)]
        try:
            found = find_duplicates(self.con, chunk, self.bronze.absolute(stored))
        except duckdb.OutOfMemoryException as error:
            if refusal(error):  # the disk, where it makes room, is full
                raise
            msg = (
                f"the setting memory_limit (now {self.settings.memory_limit // 2**20:,} MiB) has no room for "
                f"{chunk.num_rows:,} rows at once. Raise it, or lower the settings chunk_rows or threads."
            )
            raise UsageError(msg) from error
        batch.count(chunk, files, found, max(live, default=None))
        chunk = without(chunk, found.rows)
        batch.finish_writing()  # one chunk at a time waits to be written
        for day, rows in Days().split(chunk).items():
            batch.seen.note(day, folded_ids(rows["event_id"]))
            table = batch.stamp(rows, files)
            mark = f"{batch.batch_id}-{len(batch.written) + len(batch.writing):04d}"
            batch.writing.append(self.writer.submit(self.bronze.write, day, mark, [table]))

    def _commit(self, batch: Batch, known: set[str], report: IngestReport) -> None:
        """Quarantine, then bronze with the ledger: what is in bronze has its rejects beside it."""
        self._settle(batch)
        batch.finish()
        if not batch.readings:
            return
        entries = batch.entries()
        for entry in entries:
            if not entry.balanced():  # a defect of ours: better no commit than a wrong one
                msg = (
                    f"{entry.file_name}: its {entry.rows_in:,} rows do not add up ({entry.accepted:,} accepted, "
                    f"{entry.quarantined:,} quarantined, {entry.duplicate:,} duplicate, {entry.suppressed:,} "
                    "suppressed); nothing was committed."
                )
                raise InputRefusedError(msg)
        rejected = [reading for delivery, reading in batch.readings if delivery.replay is None and reading.rejects]
        told = marker(batch.number, entries)
        if self.settings.archive:
            archive.keep_mappings(self.settings.home, [reading.source for _, reading in batch.readings])
        try:
            quarantine.put_in(self.quarantine, rejected, batch, told)
            reach("ingest.quarantined")
            self.bronze.commit(
                batch.written, replace=False, batch=told,
                metadata={ledger.LEDGER_KEY: ledger.encode(entries), ZONE_KEY: self.settings.timezone,
                          **({archive.KEPT_KEY: self.machine or archive.HERE} if self.settings.archive else {})},
            )  # fmt: skip
        except ConflictError:
            self._unlink(batch.written)
            for _, reading in batch.readings:
                landing.discard(reading.staged)
            raise
        reach("ingest.committed")
        self._settled |= {id(delivery) for delivery, _ in batch.readings}
        report.entries += entries
        report.days |= {f.part for f in batch.written}
        known.update(e.key for e in entries)
        quarantine.take_out(self.quarantine, entries)
        started = time.perf_counter()
        for delivery, reading in batch.readings:
            if self.settings.archive and delivery.replay is None and delivery.redaction is None:
                blank_suppressed(self.settings.home, delivery.path, reading)
            landing.archive(
                reading.staged, delivery.path if delivery.from_landing else None, self.settings.home,
                keep=self.settings.archive and delivery.replay is None,
            )  # fmt: skip
        if self.settings.archive:
            archive.keep_notes(self.settings.home, entries, self.settings.timezone)
        report.staging_seconds += time.perf_counter() - started
