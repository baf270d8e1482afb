"""Mending logs: a damaged commit is taken away with all after it, where what these brought can be had again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from behavior_assets.ingestion import audit
from behavior_assets.ingestion.archive import DIGITS, kept
from behavior_assets.ingestion.ledger import LEDGER_KEY, FileEntry, decode
from behavior_assets.ingestion.mend import Report
from behavior_assets.ingestion.redeliver import Lost, lost_batches
from behavior_assets.ingestion.reload import Originals
from behavior_assets.ingestion.sources import FORMATS
from behavior_assets.tables import KEPT, ORIGINALS
from behavior_assets.verification import Inspection, TableCheck
from resources.commits import Commit, Log, live_files
from resources.parquet import DataFile
from resources.settings import ZONE_KEY, Settings
from resources.table import BATCHES

BRONZE, QUARANTINE = (spec.name for spec in ORIGINALS)


@dataclass
class LogMender:
    """Mends the logs of a home's tables. ``away`` puts things aside; ``begin`` is told of a table that loses something.

    A batch goes into quarantine before bronze, so the last batch of quarantine is never more than one above bronze's.
    Here it is kept so: whenever batches are to be delivered again, quarantine is first cut back to what bronze has
    (or will have: it is cut before bronze), whoever left it ahead. Batches that do not come after its last are refused.
    """

    settings: Settings
    con: duckdb.DuckDBPyConnection
    found: Inspection
    away: Callable[[Path], object]
    begin: Callable[[str], object]
    report: Report

    def run(self) -> Lost:
        """Mend what can be mended; the answer is what the ledger has lost by it."""
        for name, check in self.found.tables.items():
            if check.log and not check.damaged_commits:
                Log(check.table.root).mend(self.away)
                self.report.done += [f"{name}/{path}: put aside, the table can do without" for path in check.log]
            elif not check.sound and check.table.spec not in KEPT:
                self._cut(check, min(check.damaged_commits, default=0))
        bronze, quarantine = self.found.tables.get(BRONZE), self.found.tables.get(QUARANTINE)
        if bronze is not None and bronze.damaged_commits:
            return self._mend_bronze(bronze, quarantine)
        known = self.found.entries or []
        before = Log(bronze.table.root).commits(bronze.log) if bronze is not None else []
        lost = lost_batches(self.settings.home, known, self._unknown(known), Lost(timezone=_zone(before)))
        differs = self._differing(known, lost)
        if differs:
            self.report.left += [f"{BRONZE}: left as it is. {reason}" for reason in differs]
            return Lost(differs=True)
        if lost.batches and quarantine is not None:
            self._cut_quarantine(quarantine, before)
        elif bronze is None and quarantine is not None and quarantine.damaged_commits:
            self._leave(quarantine, ["the archive has none of it"])
        elif quarantine is not None and quarantine.damaged_commits:
            self._mend_quarantine(quarantine, known, min(quarantine.damaged_commits))
        return Lost()

    def _cut_quarantine(self, quarantine: TableCheck, bronze: Iterable[Commit]) -> None:
        """Take back what commits brought that are damaged, or are of batches that these commits of bronze lack."""
        last = max((c.markers.get(BATCHES, 0) for c in bronze), default=0)
        told = Log(quarantine.table.root).commits(quarantine.log)
        later = [c.number for c in told if c.markers.get(BATCHES, 0) > last]
        if later or quarantine.damaged_commits:
            first = min([*later, *quarantine.damaged_commits])
            left = {f.path for f in live_files([c for c in told if c.number < first])}
            for file in live_files(told):  # not every delivery may come again, and nobody else keeps its rejects
                path = quarantine.table.root / file.path
                if first and file.path not in left and file.path not in quarantine.wrong and path.exists():
                    self.away(path)
            self._cut(quarantine, first)

    def _cut(self, check: TableCheck, first: int) -> None:
        """Make a table what it was before a commit; before the first there was none."""
        name = check.table.spec.name
        self.begin(name)
        for path in check.wrong:  # whoever makes the file again would write over it
            if (check.table.root / path).exists():
                self.away(check.table.root / path)
        if first == 0:
            self.away(check.table.root)
            self.report.done.append(f"{name}: the table is put aside as a whole, its first commit is damaged")
            return
        Log(check.table.root).cut(first, self.away)
        self.report.done.append(f"{name}/_delta_log: put aside from commit {first} on")

    def _leave(self, check: TableCheck, reasons: Iterable[str]) -> None:
        told = f"left as it is. What it brought cannot be had again: {'; '.join(reasons)}"
        self.report.left += [f"{check.table.spec.name}/{path}: {told}" for path in check.log if path.endswith(".json")]

    def _mend_bronze(self, bronze: TableCheck, quarantine: TableCheck | None) -> Lost:
        first = min(bronze.damaged_commits)
        commits = Log(bronze.table.root).commits(bronze.log)
        before, after = [c for c in commits if c.number < first], [c for c in commits if c.number > first]
        known = _entries(before)
        lost = lost_batches(self.settings.home, known, self._unknown(known), Lost(_entries(after), _zone(commits)))
        reasons = self._in_the_way(bronze, first, after, known, lost)
        if reasons:
            self._leave(bronze, reasons)
            return Lost()
        if quarantine is not None:
            self._cut_quarantine(quarantine, before)
        self._cut(bronze, first)
        return lost

    def _differing(self, known: Iterable[FileEntry], lost: Lost) -> list[str]:
        """What reading lost deliveries again gives another account of; those that cannot be had are left out."""
        gone = {e.key: e for batch in lost.batches for e in batch.entries}
        settings = replace(self.settings, timezone=self.settings.timezone or lost.timezone)
        originals = Originals(settings, self.con, {e.key: e for e in known} | gone)
        return [reason for e in gone.values() if not originals.unavailable(e) and (reason := originals.differs(e))]

    def _unknown(self, known: Iterable[FileEntry]) -> list[Path]:
        """Whole originals in the archive that some entries do not know."""
        told = {(e.source, e.file_sha256[:DIGITS]) for e in known}
        return [path for path, digits in kept(self.settings.home) if path.parent.name in FORMATS
                and (path.parent.name, digits) not in told and path not in self.found.archive.damaged]  # fmt: skip

    def _in_the_way(
        self, bronze: TableCheck, first: int, after: Collection[Commit], known: Iterable[FileEntry], lost: Lost
    ) -> list[str]:
        """Why what the commits from ``first`` on brought cannot be delivered again; nothing where it can."""
        gone = {e.key: e for batch in lost.batches for e in batch.entries}
        originals = Originals(self.settings, self.con, {e.key: e for e in known} | gone)
        told = [(e, originals.unavailable(e)) for e in gone.values()]
        reasons = [f"{e.file_name}, {e.rows_in:,} rows: {reason}" for e, reason in told if reason]
        reasons += self._differing(known, lost)
        log = Log(bronze.table.root)
        numbers = {int(n[:20]) for n in {*log.journal.noted(), *log.journal.present()} if n.endswith(".json")}
        explained = len({e.batch_id for e in gone.values()}) + (first == 0)
        explained += sum(LEDGER_KEY not in c.info for c in after)
        if sum(n >= first for n in numbers) > explained and not any(batch.files for batch in lost.batches):
            told_of = {e.batch_id for e in (*known, *gone.values())}
            reasons.append(f"the archive has no delivery that the ledger does not know, {_unnamed(bronze, told_of)}")
        return reasons

    def _mend_quarantine(self, quarantine: TableCheck, entries: list[FileEntry], first: int) -> None:
        """Cut the log where the archive has what is then missing; the rows are read again afterwards."""
        left = live_files([c for c in Log(quarantine.table.root).commits(quarantine.log) if c.number < first])
        names, rows = audit.part_names(entries), Counter[str]()
        for file in left:
            if (quarantine.table.root / file.path).exists():
                rows[names.get(file.part, "")] += file.rows
        expected = audit.in_quarantine(entries)
        originals = Originals(self.settings, self.con, {e.key: e for e in entries})
        told = [(e, originals.unavailable(e)) for e in entries if rows[e.key] != expected.get(e.key, 0)]
        reasons = [f"{e.file_name}, {expected[e.key]:,} rows: {reason}" for e, reason in told
                   if reason and e.key in expected]  # fmt: skip
        if reasons:
            self._leave(quarantine, reasons)
        else:
            self._cut(quarantine, first)


def _unnamed(bronze: TableCheck, told: Collection[str]) -> str:
    """What the data files tell of batches of which no whole commit does (``told`` are the others)."""
    rows = Counter[str]()
    for path in sorted(bronze.table.root.glob("event_date=*/*.parquet")):
        with suppress(ValueError, pa.ArrowException, OSError):
            file = DataFile.parse(path.relative_to(bronze.table.root).as_posix(), pq.read_metadata(path).num_rows, 0)
            rows[audit.batch_of(file)] += file.rows
    found = [f"{count:,} rows of batch {batch}" for batch, count in sorted(rows.items()) if batch not in told]
    if not found:
        return "and nothing tells which rows the damaged commits brought"
    return f"and {', '.join(found)} are only in data files that no whole commit names: whose they are nobody can tell"


def _zone(commits: Iterable[Commit]) -> str:
    return next((str(c.info[ZONE_KEY]) for c in commits if ZONE_KEY in c.info), "")


def _entries(commits: Iterable[Commit]) -> list[FileEntry]:
    return [e for c in commits if LEDGER_KEY in c.info for e in decode(c.info[LEDGER_KEY])]
