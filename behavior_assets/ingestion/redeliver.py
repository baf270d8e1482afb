"""Batches that the ledger has lost, delivered again from the archive in the order in which they came."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import duckdb

from behavior_assets.ingestion import archive, landing
from behavior_assets.ingestion.ahead import Delivery, Prepared
from behavior_assets.ingestion.batch import Batch
from behavior_assets.ingestion.canonical import BRONZE_EVENTS
from behavior_assets.ingestion.ingest import Ingestion, IngestReport
from behavior_assets.ingestion.ledger import FileEntry, as_read, read_ledger
from behavior_assets.ingestion.mend import Report
from behavior_assets.ingestion.reload import Originals
from behavior_assets.ingestion.sources import load_source
from resources.errors import BehaviorError, InputRefusedError
from resources.lake import Lake
from resources.settings import Home, Settings


@dataclass
class LostBatch:
    """Deliveries that came together: those whose account is known, and archived files of which nothing else is."""

    arrived_us: int
    entries: list[FileEntry] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)


@dataclass
class Lost:
    """What the ledger does not know any more. ``told`` are entries that commits after a damaged one held."""

    told: list[FileEntry] = field(default_factory=list)
    timezone: str = ""
    batches: list[LostBatch] = field(default_factory=list)
    differs: bool = False  # read again they would not be what they were, so nothing is delivered


class DiffersError(InputRefusedError):
    """A batch that is delivered again would not be what it was."""


class Redelivery(Ingestion):
    """An ingestion that commits a batch only where it is the one that the ledger knew."""

    def begin(self, batch: LostBatch, *, alone: bool) -> None:
        """What comes next. ``alone``: not after the batches that it came after, so other rows are duplicates."""
        self.now_us = lambda: batch.arrived_us
        self._alone = alone
        self._expected = {e.account: e for e in batch.entries}

    def _commit(self, batch: Batch, known: set[str], report: IngestReport) -> None:
        self._settle(batch)
        batch.finish()
        told = [(self._expected[e.account], e) for e in batch.entries() if e.account in self._expected]
        wrong = [_difference(old, new) for old, new in told if not self._agree(old, new)]
        if wrong:
            self._unlink(batch.written)
            raise DiffersError("; ".join(wrong))
        super()._commit(batch, known, report)

    def _agree(self, old: FileEntry, new: FileEntry) -> bool:
        """Whether it is what it was, without the records of persons who were erased since."""
        rows, again = ((e.quarantined, e.accepted + e.duplicate) for e in (old, new))
        erased = new.suppressed - old.suppressed
        if erased:
            fewer = all(now <= was for was, now in zip(rows, again, strict=True))
            return old.rows_in == new.rows_in and erased > 0 and fewer
        return (old.rows_in, rows) == (new.rows_in, again) and (self._alone or old.duplicate == new.duplicate)

    def _refuse(self, prepared: Prepared, reason: str, batch: Batch, before: int, report: IngestReport) -> None:
        """An archived original stays where it is."""
        self._alone = True
        report.refused.append((str(prepared.delivery.path), reason))
        if prepared.staged is not None:
            self._unlink(batch.forget(prepared.staged.key, before))
            landing.discard(prepared.staged)


def _difference(old: FileEntry, new: FileEntry) -> str:
    return (f"{old.file_name} (batch {old.batch_id}): read again, of {new.rows_in:,} rows {new.accepted:,} are "
            f"accepted, {new.quarantined:,} bad and {new.duplicate:,} duplicates; the ledger said {old.accepted:,}, "
            f"{old.quarantined:,} and {old.duplicate:,} of {old.rows_in:,}. Nothing of it was committed")  # fmt: skip


def lost_batches(home: Home, known: Iterable[FileEntry], unknown: Iterable[Path], lost: Lost) -> Lost:
    """The batches of which the archive or a commit that was put aside tells and the ledger (``known``) does not.

    ``unknown``: archived files that the ledger does not know. Of one that nothing else tells of, the time when it was
    written stands for its arrival.
    """
    there = {e.account for e in known}
    notes = archive.read_notes(home)
    entries: dict[str, dict[tuple[object, ...], FileEntry]] = defaultdict(dict)
    for entry in (*lost.told, *(e for note in notes for e in note.entries)):
        if entry.account not in there:
            entries[entry.batch_id][entry.account] = entry
    batches = [LostBatch(min(e.arrived_ts_us for e in found.values()), list(found.values()))
               for _, found in sorted(entries.items())]  # fmt: skip
    told = {(e.source, e.file_sha256[: archive.DIGITS]) for found in entries.values() for e in found.values()}
    strays = sorted((p.stat().st_mtime_ns // 1000, p) for p in unknown
                    if (p.parent.name, p.name[: archive.DIGITS]) not in told)  # fmt: skip
    ends = sorted(b.arrived_us for b in batches)
    # Between two batches that are known lies one, as far as anybody can tell.
    for _, together in groupby(strays, key=lambda s: sum(end <= s[0] for end in ends)):
        group = list(together)
        batches.append(LostBatch(group[0][0], files=[path for _, path in group]))
    lost.batches = sorted(batches, key=lambda b: (b.arrived_us, bool(b.files)))
    lost.timezone = lost.timezone or next((n.timezone for n in notes), "")
    return lost


def redeliver(
    lake: Lake, settings: Settings, con: duckdb.DuckDBPyConnection, originals: Originals, lost: Lost, report: Report
) -> set[str]:
    """Ingest lost batches again, each with its arrival and settings. Returns those that are in as a whole.

    It ends with the first that is not what it was.
    """
    whole: set[str] = set()
    known = read_ledger(lake.table(BRONZE_EVENTS))
    alone = any(batch.files for batch in lost.batches)  # nobody knows when these came
    for batch in lost.batches:
        before = len(report.left)
        deliveries: list[Delivery] = []
        for entry in batch.entries:
            if entry.replay_of and not entry.replayed_rows:  # it brought nothing
                continue
            try:
                deliveries.append(originals.deliver(entry))
            except InputRefusedError as error:
                report.left.append(f"{entry.file_name} (batch {entry.batch_id}, {entry.rows_in:,} rows): {error}")
        for path in batch.files:
            try:
                deliveries.append(_stray(settings.home, originals, path))
            except BehaviorError as error:
                report.left.append(f"{path.relative_to(settings.home.root)}: {error}")
        ingestion = Redelivery(lake, as_read(settings, batch.entries[0]) if batch.entries else settings, con)
        alone |= len(report.left) > before
        ingestion.begin(batch, alone=alone or any(e.arrived_ts_us > batch.arrived_us for e in known))
        try:
            done = ingestion.run(deliveries)
        except DiffersError as error:
            report.left.append(f"bronze/events: {error}")
            break
        report.left += [reason for _, reason in done.refused]
        report.done += [f"{e.file_name}: {e.rows_in or -e.quarantined:,} rows ingested again from the archive "
                        f"(batch {e.batch_id})" for e in done.entries]  # fmt: skip
        if len(report.left) == before:
            whole |= {e.batch_id for e in batch.entries}
        else:
            alone = True
    return whole


def _stray(home: Home, originals: Originals, path: Path) -> Delivery:
    """A file of which only the archive knows. One of ``generic`` is read by the mapping, if there is only one."""
    mapping = None
    if path.parent.name == "generic":
        kept = sorted((home.archive / archive.MAPPINGS).glob("*.yaml"))
        if len(kept) != 1:
            msg = f"nobody can tell which of {len(kept)} mappings it came with. Deliver it again with its mapping."
            raise InputRefusedError(msg)
        (mapping,) = kept
    source = load_source(path.parent.name, mapping)
    return Delivery(originals.linked(path, archive.original_name(path), {}), source)
