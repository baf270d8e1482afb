"""Mending bronze and quarantine: what their files lost is read again from the archive, whole or not at all."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from behavior_assets.incremental import chunks
from behavior_assets.ingestion import audit
from behavior_assets.ingestion.audit import batch_of
from behavior_assets.ingestion.ledger import FileEntry, Removed, sums_of
from behavior_assets.ingestion.reload import UNREADABLE, Originals, bronze_rows, quarantined_rows
from behavior_assets.privacy.marks import read_marks
from resources.disk import disk_errors, sync_path
from resources.errors import InputRefusedError
from resources.parquet import DataFile
from resources.table import LakeTable

_FIRST_AGAIN = 9000  # numbers of files that hold rows of a batch whose own file nobody knows any more


@dataclass
class Report:
    """What a repair did, and what it could not do."""

    done: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


@dataclass
class Mender:
    """Mends two tables whose logs are whole. ``away`` puts a damaged file aside; the ledger is the measure."""

    originals: Originals
    entries: list[FileEntry]
    bronze: LakeTable
    quarantine: LakeTable
    away: Callable[[Path], object]
    report: Report
    removed: list[Removed] = field(default_factory=list)
    _mended: set[str] = field(default_factory=set)

    def mend_bronze(self, wrong: Mapping[str, str]) -> None:
        """Make the damaged files again, batch by batch, earlier ones first: they tell what was a duplicate later.

        ``wrong``: damaged or lost files by path.
        """
        events: Counter[str] = Counter()
        for entry in self.entries:
            events[entry.batch_id] += entry.events
        events.subtract(sums_of(self.removed, "events"))
        lost: dict[str, list[DataFile]] = defaultdict(list)
        held: Counter[str] = Counter()
        for file in self.bronze.files():
            held[batch_of(file)] += file.rows
            if file.path in wrong:
                lost[batch_of(file)].append(file)
        for batch in sorted(events):
            rows = Counter({f.part: 0 for f in lost[batch]})
            for file in lost[batch]:
                rows[file.part] += file.rows
            for days in chunks(sorted(rows), rows, self.originals.settings.chunk_rows):
                self._mend_days(batch, days, [f for f in lost[batch] if f.part in days], wrong)
            if held[batch] < events[batch]:
                self._mend_batch(batch, events[batch] - held[batch], wrong)

    def _rows(self, batch: str, days: list[str] | None, wrong: Mapping[str, str]) -> tuple[dict[str, pa.Table], str]:
        """Rows by day of a batch that bronze should have and has not, and why some cannot be had."""
        stored = [f for f in self.bronze.files() if batch_of(f) <= batch and (days is None or f.part in days)
                  and (self.bronze.root / f.path).exists() and not self._still_wrong(f, wrong)]  # fmt: skip
        mine = [e for e in self.entries if e.batch_id == batch]
        found, missing = bronze_rows(self.originals, mine, days, self.bronze.absolute(stored))
        expired = read_marks(self.originals.settings.home).bronze
        return {day: rows for day, rows in found.items() if day >= expired}, "; ".join(missing)

    def _still_wrong(self, file: DataFile, wrong: Mapping[str, str]) -> bool:
        return file.path in wrong and file.path not in self._mended

    def _mend_days(self, batch: str, days: list[str], lost: list[DataFile], wrong: Mapping[str, str]) -> None:
        found, missing = self._rows(batch, days, wrong)
        for day in days:
            files = sorted((f for f in lost if f.part == day), key=lambda f: f.fingerprint)
            table = found.get(day, self.bronze.spec.schema.empty_table())
            made: list[DataFile] = []
            if table.num_rows == sum(f.rows for f in files):
                for file in files:  # the batch wrote them one after the other
                    made.append(self._write(self.bronze, file, table.slice(sum(f.rows for f in made), file.rows)))
            # Rows of a delivery that cannot be read may hide behind the same rows of another one.
            if not made or (missing and [f.path for f in made] != [f.path for f in files]):
                self._tell_lost(self.bronze, files, table.num_rows, missing)
                continue
            for new, old in zip(made, files, strict=True):
                self._place(self.bronze, new, old)

    def _mend_batch(self, batch: str, count: int, wrong: Mapping[str, str]) -> None:
        """Rows that the ledger counts and no file holds: of files that a commit took out."""
        found, missing = self._rows(batch, None, wrong)
        there = sum(t.num_rows for t in found.values())
        if there != count or missing:
            self.report.left.append(f"bronze/events: of batch {batch} {count:,} rows are lost, {there:,} can be read "
                                    f"again{': ' + missing if missing else ''}")  # fmt: skip
            return
        made = [self.bronze.write(day, f"{batch}-{_FIRST_AGAIN + n:04d}", [table])
                for n, (day, table) in enumerate(found.items())]  # fmt: skip
        self.bronze.commit(made, replace=False)
        self.report.done.append(f"bronze/events: {count:,} rows of batch {batch} read again from the archive")

    def mend_quarantine(self, wrong: Mapping[str, str]) -> None:
        """Give every delivery the rejects that the ledger says are left; what no delivery speaks for goes."""
        known, names = {e.key: e for e in self.entries}, audit.part_names(self.entries)
        expected = audit.in_quarantine(self.entries, self.removed)
        live = {names.get(part, part): files for part, files in self.quarantine.parts().items()}
        for key in sorted(known.keys() & (expected.keys() | live.keys())):
            files = live.get(key, [])
            if any(f.path in wrong for f in files) or sum(f.rows for f in files) != expected.get(key, 0):
                self._mend_part(known[key], files, expected.get(key, 0))

    def _mend_part(self, entry: FileEntry, files: list[DataFile], expected: int) -> None:
        if not expected:
            self.quarantine.commit([], remove=files)
            self.report.done.append(f"quarantine/events: rows of {entry.file_name} taken out, the ledger counts none")
            return
        try:
            names = {entry.key, entry.file_sha256}
            replayed = {n for e in self.entries if e.replay_of in names for n in e.replayed_rows}
            rows, reason = quarantined_rows(self.originals, entry, replayed), ""
        except UNREADABLE as error:
            rows, reason = None, str(error) if isinstance(error, InputRefusedError) else type(error).__name__
        old = files[0] if files else DataFile("", entry.key, entry.batch_id, "", expected, 0)
        if rows is None or rows.num_rows != expected:
            self._tell_lost(self.quarantine, files or [old], 0 if rows is None else rows.num_rows, reason)
            return
        self._place(self.quarantine, self._write(self.quarantine, old, rows), old)

    # Writing

    def _write(self, table: LakeTable, like: DataFile, rows: pa.Table) -> DataFile:
        """A file of the same part and inputs, in a place of its own until it is known to be right."""
        return LakeTable(self._place_of(table), table.spec).write(like.part, like.fingerprint, [rows], like.origin)

    def _place_of(self, table: LakeTable) -> Path:
        return self.originals.settings.home.staging / "mended" / table.spec.name

    def _place(self, table: LakeTable, new: DataFile, old: DataFile) -> None:
        """Put a file in the place of a damaged one: under the same name, or else by a commit."""
        target = table.root / new.path
        with disk_errors(table.root):
            if old.path and (table.root / old.path).exists():
                self.away(table.root / old.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            (self._place_of(table) / new.path).replace(target)
            sync_path(target.parent)
        same = new.path in {f.path for f in table.files()}
        if not same:
            table.commit([new], replace=False, remove=[old] if old.path else [])
        known = bool(old.sha256) and old.rows == new.rows
        told = "the same bytes as before" if same else "in other bytes than before" if known else "written anew"
        self._mended.add(old.path)
        where = f"{table.spec.name}/{old.path if known else new.path}"
        self.report.done.append(f"{where}: {new.rows:,} rows read again from the archive ({told})")

    def _tell_lost(self, table: LakeTable, files: Iterable[DataFile], there: int, missing: str) -> None:
        for file in files:
            reason = missing or f"the archive gives {there:,} rows for what is lost of {file.part}"
            self.report.left.append(f"{table.spec.name}/{file.path or file.part}: {file.rows:,} rows are lost and stay "
                                    f"so. {reason}")  # fmt: skip
