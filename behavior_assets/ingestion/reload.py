"""Deliveries of earlier days, read again from the archive as they were read when they came."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from behavior_assets.ingestion import landing, quarantine
from behavior_assets.ingestion.ahead import Delivery, Prepared, Reader, Replay
from behavior_assets.ingestion.archive import DIGITS, original_of, source_of
from behavior_assets.ingestion.arrivals import SYNTHETIC_MARK
from behavior_assets.ingestion.batch import Batch
from behavior_assets.ingestion.deduplicate import find_duplicates, without
from behavior_assets.ingestion.ledger import FileEntry, as_read
from behavior_assets.ingestion.names import fitting
from behavior_assets.ingestion.reader import raw_rows
from behavior_assets.ingestion.redaction import redaction_of
from behavior_assets.ingestion.shape import fitted, require_types
from behavior_assets.ingestion.sift import sift
from resources.disk import disk_errors
from resources.engine import parser
from resources.errors import InputRefusedError
from resources.integrity import sha256_of
from resources.parts import Days
from resources.settings import Settings

_SETTINGS = "If first_day or max_field_bytes was changed since, set it back and repair again"
UNREADABLE = (InputRefusedError, duckdb.Error, pa.ArrowException)  # what reading a delivery may raise


@dataclass
class Originals:
    """Deliveries as they came, made of what the archive keeps. ``entries``: all that the ledger ever knew, by key."""

    settings: Settings
    con: duckdb.DuckDBPyConnection
    entries: dict[str, FileEntry]

    def unavailable(self, entry: FileEntry) -> str:
        """Why a delivery cannot be had again; empty where it can."""
        home = self.settings.home
        try:
            source_of(home, entry)
            of = self._replayed(entry)
            path = original_of(home, of.source, of.file_sha256)
            blank = redaction_of(home, of.source, of.file_sha256)
            if path is None and blank is not None and not blank.now:
                return f"the original of {of.file_name} has expired (keep_archive_days): its rows cannot be had again"
            if path is None or sha256_of(path) not in {of.file_sha256, blank.now if blank else ""}:
                place = f"archive/{of.source}/{of.file_sha256[:DIGITS]}-{of.file_name}"
                return f"the archive does not have {of.file_name} whole. Put it there as {place}, and repair again"
        except InputRefusedError as error:
            return str(error)
        return ""

    def deliver(self, entry: FileEntry) -> Delivery:
        """A delivery as it came, under its own name. Raises InputRefusedError where the archive does not have it."""
        reason = self.unavailable(entry)
        if reason:
            raise InputRefusedError(reason)
        source = source_of(self.settings.home, entry)
        if not entry.replay_of:
            original = original_of(self.settings.home, entry.source, entry.file_sha256)
            assert original is not None  # noqa: S101 - it is available
            return Delivery(self.linked(original, entry.file_name, entry.capabilities), source,
                            redaction=redaction_of(self.settings.home, entry.source, entry.file_sha256))  # fmt: skip
        of = self._replayed(entry)
        with self.read(of) as prepared:
            assert prepared.reading is not None  # noqa: S101 - it was read without an error
            blank = prepared.reading.suppressed
            raw = raw_rows(prepared.reading, set(entry.replayed_rows) - blank)
            like = {"source_file": of.file_name, "kind": prepared.reading.staged.kind,
                    "header": prepared.reading.header}  # fmt: skip
            rows = [{**like, "raw": raw[n]} for n in entry.replayed_rows if n in raw]
        numbers = tuple(n for n in entry.replayed_rows if n not in blank)
        if len(rows) != len(numbers):
            msg = f"{of.file_name}: it does not have the rows that were replayed."
            raise InputRefusedError(msg)
        path = quarantine.as_file(self._folder(), entry.key, rows)
        return Delivery(path, source, replay=Replay(entry.replay_of, numbers))

    def linked(self, original: Path, name: str, capabilities: dict[str, bool]) -> Path:
        """An archived file under the name that it came with, and with the mark of what is simulated."""
        folder = self._folder()
        with disk_errors(folder):
            path = folder / fitting(name)
            try:
                os.link(original, path)
            except OSError:
                shutil.copyfile(original, path)
            if capabilities.get("is_synthetic"):
                (folder / SYNTHETIC_MARK).touch()
        return path

    @contextmanager
    def read(self, entry: FileEntry) -> Iterator[Prepared]:
        """A delivery, staged and opened. Raises one of UNREADABLE."""
        delivery = fitted(self.deliver(entry))
        zone = self.settings.timezone or delivery.source.timezone
        settings = as_read(replace(self.settings, timezone=zone), entry)
        with parser(settings, beside=self.con) as locked:
            (prepared,) = Reader(locked, settings, (), entry.arrived_ts_us).read([delivery])
            try:
                if prepared.error is not None:
                    raise prepared.error
                assert prepared.reading is not None  # noqa: S101 - without an error there is a reading
                require_types(prepared.reading)
                yield prepared
            finally:
                if prepared.cursor is not None:
                    prepared.cursor.close()
                if prepared.staged is not None:
                    landing.discard(prepared.staged)

    def differs(self, entry: FileEntry) -> str:
        """Where reading a delivery again gives another account of its rows than the ledger's; empty if it does not."""
        wanted = (len(entry.replayed_rows), 0) if entry.replay_of else (entry.rows_in, entry.quarantined)
        if entry.replay_of and not entry.replayed_rows:
            return ""
        try:
            with self.read(entry) as prepared:
                assert prepared.reading is not None  # noqa: S101 - it was read without an error
                for _ in sift(prepared, prepared.reading):
                    pass  # the rejects are known at the end
                found, blank = (prepared.reading.rows_in, len(prepared.reading.rejects)), prepared.reading.suppressed
        except UNREADABLE as error:
            told = str(error) if isinstance(error, InputRefusedError) else type(error).__name__
            return f"{entry.file_name}: its original cannot be read again as it was ({told}). {_SETTINGS}"
        if found == wanted or (found[0] == wanted[0] and 0 <= wanted[1] - found[1] <= len(blank)):
            return ""
        return (f"{entry.file_name}: its original gives {found[0]:,} rows, {found[1]:,} of them bad, the ledger says "
                f"{wanted[0]:,} and {wanted[1]:,}. {_SETTINGS}")  # fmt: skip

    def _replayed(self, entry: FileEntry) -> FileEntry:
        """The delivery that rows came with: for a replay, the one whose rows it brought back."""
        if not entry.replay_of:
            return entry
        if entry.replay_of not in self.entries:
            msg = f"{entry.file_name}: the ledger does not know the delivery whose rows were replayed."
            raise InputRefusedError(msg)
        return self.entries[entry.replay_of]

    def _folder(self) -> Path:
        folder = self.settings.home.staging / "reload" / uuid.uuid4().hex
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def bronze_rows(
    originals: Originals, entries: Iterable[FileEntry], days: Collection[str] | None, stored: list[str]
) -> tuple[dict[str, pa.Table], list[str]]:
    """What a batch brought for some days (None: for all) and is not in ``stored``, which are paths of bronze files.

    The rows are those, in the order, in which the batch wrote them, where ``stored`` are the files of earlier batches
    and what is left of its own. Also told is why deliveries cannot be had again.
    """
    entries = [e for e in entries if e.events]
    if not entries:
        return {}, []
    batch = Batch(int(entries[0].batch_id[1:]), entries[0].arrived_ts_us)
    missing: list[str] = []
    for entry in entries:
        try:
            with originals.read(entry) as prepared:
                assert prepared.reading is not None  # noqa: S101 - it was read without an error
                batch.sources[entry.key] = prepared.reading.source.name
                for rows in sift(prepared, prepared.reading):
                    wanted = rows if days is None else _of_days(rows, days)
                    if wanted.num_rows:
                        batch.hold(wanted, entry.key)
        except UNREADABLE as error:
            batch.forget(entry.key, 0)
            told = str(error) if isinstance(error, InputRefusedError) else type(error).__name__
            missing.append(f"{entry.file_name}: {told}" if entry.file_name not in told else told)
    if not batch.pending_rows:
        return {}, missing
    chunk, files = batch.take_pending()
    good = without(chunk, find_duplicates(originals.con, chunk, stored).rows)
    return {d: batch.stamp(t, files) for d, t in Days().split(good).items()}, missing


def _of_days(rows: pa.Table, days: Collection[str]) -> pa.Table:
    return rows.filter(pc.is_in(rows["event_date"].cast(pa.string()), pa.array(sorted(days))))


def quarantined_rows(originals: Originals, entry: FileEntry, replayed: Collection[int]) -> pa.Table:
    """A delivery's rejects without those that were replayed. Raises one of UNREADABLE."""
    with originals.read(entry) as prepared:
        assert prepared.reading is not None  # noqa: S101 - it was read without an error
        for _ in sift(prepared, prepared.reading):
            pass  # the rejects are known at the end
        left = {n: r for n, r in prepared.reading.rejects.items() if n not in replayed}
        return quarantine.rejected_rows(replace(prepared.reading, rejects=left), entry.arrived_ts_us)
