"""``behavior verify --repair``: what the archive and the other tables can give back is given back, nothing thrown away.

Originals (bronze and quarantine) are read again from the archive, everything else is made again from them by the chain.
What is damaged is put into ``<home>/damaged/``.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from behavior_assets import unfinished
from behavior_assets.ingestion import quarantine
from behavior_assets.ingestion.archive import read_notes
from behavior_assets.ingestion.canonical import BRONZE_EVENTS, QUARANTINE_EVENTS
from behavior_assets.ingestion.ledger import read_ledger, read_removed
from behavior_assets.ingestion.mend import Mender, Report
from behavior_assets.ingestion.redeliver import Lost, lost_batches, redeliver
from behavior_assets.ingestion.reload import Originals
from behavior_assets.rearchive import mend_archive, put_aside
from behavior_assets.relog import LogMender
from behavior_assets.tables import KEPT, ORIGINALS, all_tables
from behavior_assets.verification import Inspection, inspect_home, verify_home
from exports import mend
from resources.commits import Log
from resources.disk import disk_errors
from resources.engine import engine
from resources.errors import BehaviorError, IntegrityError
from resources.integrity import Sums, sha256_or_nothing
from resources.journal import Journal
from resources.keys import key_place
from resources.lake import Lake, alone
from resources.models import ModelStore
from resources.parquet import DataFile
from resources.settings import Home, Settings, with_zone
from resources.stamp import stamp
from resources.table import LakeTable

Rebuild = Callable[[], list[str]]  # brings all derived tables up to date and publishes; what went wrong
DAMAGED = "damaged"


class Aside:
    """A folder of its own below ``<home>/damaged/`` for what one repair takes out of the way."""

    def __init__(self, home: Home) -> None:
        self.home = home.root
        self.folder = home.root / DAMAGED / stamp(datetime.now(UTC))

    def __call__(self, path: Path) -> Path:
        """Move a file or a folder there, under the path that it has in the home."""
        target = self.folder / path.relative_to(self.home)
        number = 1
        while target.exists():
            number += 1
            target = target.with_name(f"{path.name}.{number}")
        with disk_errors(self.folder):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(path, target)
        return target


@dataclass
class Repair:
    """One repair of a home."""

    settings: Settings
    rebuild: Rebuild
    progress: Callable[[str], None] = lambda _what: None
    report: Report = field(default_factory=Report)

    def __post_init__(self) -> None:
        """Nothing is put aside yet, and no file is read."""
        self.away = Aside(self.settings.home)
        self.sums = Sums()
        self.lake = Lake(self.settings.home.lake)
        self.nowhere: list[tuple[LakeTable, DataFile]] = []

    def run(self) -> dict[str, Any]:
        """Repair, and say what was done, what was not, and what a fresh look finds."""
        with self._alone():
            found = self._look()
            if found.key:
                msg = f"{key_place(self.settings)}: {found.key} Nothing is repaired before: the key is needed for it."
                raise IntegrityError(msg)
            if self._fetch_anew(found):
                found = self._look()
            whole = not found.problems or self._mend_originals()
            if found.problems and whole:
                self._drop_derived()
            if found.problems:
                self.report.done += ModelStore(self.settings.home.models).mend(self.away)
                self._mend_exports()
        beyond = {p.where.split("/")[0] for p in found.problems} - {"archive"}
        beyond |= {p.where for p in unfinished.problems(self.settings.home)}  # what this repair began
        if beyond:
            if whole and (beyond != {"exports"} or self._look().exports.problems):  # all of them may be linked again
                self._rebuild()
            with self._alone():
                again = self._finish_exports()
            if whole and again:  # what was made again has other bytes than the manifest names
                self._rebuild()
            if not whole:
                self.report.left.append("derived tables: left as they are until bronze and quarantine are whole")
        with self._alone():
            self._send_anew()
            told = verify_home(self.settings, self.progress, self.sums)
        return {**told, "ok": told["ok"] and not self.report.left, "repaired": self.report.done,
                "left": self.report.left,
                "put_aside": str(self.away.folder) if self.away.folder.exists() else None}  # fmt: skip

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """With no other command, and no other writer to the lake."""
        home = self.settings.home
        with disk_errors(home.root), alone(home):
            yield

    def _begin(self, what: str) -> None:
        unfinished.begin(self.settings.home, what)

    def _look(self) -> Inspection:
        return inspect_home(self.settings, self.progress, self.sums)

    # What the store has of a lake that is kept in one

    def _fetch_anew(self, found: Inspection) -> bool:
        """Put the store's files in the place of damaged ones; whether there were any. What it has not is mended."""
        before = len(self.report.done)
        for name, check in found.tables.items():
            mirror, root = check.table.mirror, check.table.root
            if mirror is None:
                continue
            for file in check.files:
                if file.path in check.wrong and sha256_or_nothing(root / file.path) != file.sha256:
                    try:
                        mirror.fetch_anew(root, file, self.away)
                    except IntegrityError:
                        self.nowhere.append((check.table, file))
                    else:
                        self.report.done.append(f"{name}/{file.path}: fetched anew from the store")
        return len(self.report.done) > before

    def _send_anew(self) -> None:
        """What was whole neither here nor in the store goes there again if it was mended under its name."""
        for table, file in self.nowhere:
            if table.mirror is not None and sha256_or_nothing(table.root / file.path) == file.sha256:
                table.mirror.send_anew(table.root, file)
                self.report.done.append(f"{table.spec.name}/{file.path}: put into the store anew")

    # Originals

    def _mend_originals(self) -> bool:
        """Bronze and quarantine; whether they are whole afterwards."""
        found = self._look()
        aside = put_aside(self.settings.home, found.archive.damaged, self.away, self.report)
        with engine(self.settings) as backend:
            lost = LogMender(self.settings, backend.con, found, self.away, self._begin, self.report).run()
            for spec in all_tables():
                self._recover(spec.name)
            found = self._look()
            sound = all(found.tables[s.name].sound for s in ORIGINALS if s.name in found.tables)
            redelivered = sound and self._mend_rows(backend.con, found, lost)
        shutil.rmtree(self.settings.home.staging, ignore_errors=True)
        found = self._look()
        bronze = found.tables.get(BRONZE_EVENTS.name)
        commits = Log(bronze.table.root).commits(bronze.log) if bronze else []
        mend_archive(self.settings.home, commits, found.archive, aside, self.report)
        unfinished.settle(self.settings.home)
        if not sound:
            return False
        names = (*(spec.name for spec in ORIGINALS), "ledger/")
        return redelivered and not any(p.where.startswith(names) for p in found.problems) and not found.archive.lost

    def _recover(self, table: str) -> None:
        """Take torn commits away that nobody acknowledged."""
        try:
            for name in Journal(self.lake.root / table).recover():
                self.report.done.append(f"{table}/_delta_log/{name}: a commit that was never whole, taken away")
        except BehaviorError as error:
            self.report.left.append(str(error))

    def _mend_rows(self, con: duckdb.DuckDBPyConnection, found: Inspection, lost: Lost) -> bool:
        """Files of the tables, then batches that the ledger lost, then what these brought to light.

        Whether every batch is in again of which the archive tells.
        """
        lost = lost_batches(self.settings.home, found.entries or [], found.archive.unknown, lost)
        if lost.differs:
            lost.batches = []
        settings = with_zone(replace(self.settings, timezone=self.settings.timezone or lost.timezone))
        bronze, rejects = self.lake.table(BRONZE_EVENTS), self.lake.table(QUARANTINE_EVENTS)

        def mender() -> Mender:
            entries = read_ledger(bronze)
            known = {e.key: e for batch in lost.batches for e in batch.entries} | {e.key: e for e in entries}
            return Mender(Originals(settings, con, known), entries, bronze, rejects, self.away, self.report,
                          read_removed(bronze, rejects))  # fmt: skip

        wrong = [found.tables[spec.name].wrong if spec.name in found.tables else {} for spec in ORIGINALS]
        if found.entries:
            mender().mend_bronze(wrong[0])
            mender().mend_quarantine(wrong[1])
        again: set[str] = set()
        if lost.batches:
            self._begin(BRONZE_EVENTS.name)
            again = redeliver(self.lake, settings, con, mender().originals, lost, self.report)
            known = {e.account: e for e in read_ledger(bronze)}
            for note in read_notes(settings.home):
                # What was ingested again has another account now: replays, for one, are files of fewer rows.
                if note.batch_id in again and any(known.get(e.account) != e for e in note.entries):
                    self.away(note.path)
            mender().mend_quarantine({})
        whole = not lost.differs and again >= {e.batch_id for batch in lost.batches for e in batch.entries}
        if whole and rejects.exists() and found.entries is not None:  # else their delivery may still come
            gone = quarantine.unaccounted(rejects, read_ledger(bronze))
            quarantine.take_out(rejects, read_ledger(bronze), gone)
            self.report.done += [f"quarantine/events: {part}, which no delivery speaks for, taken out" for part in gone]
        return whole

    # What is made from them

    def _drop_derived(self) -> None:
        """Take damaged files, and days that bronze does not have, out of the tables that the chain makes again."""
        found = self._look()
        for spec in all_tables():
            check = found.tables.get(spec.name)
            if spec in KEPT or check is None or not check.sound:
                continue
            paths = {*check.wrong, *found.orphan_days.get(spec.name, [])}
            gone = [f for f in check.files if f.path in paths]
            if gone:
                self._begin(spec.name)
            for file in gone:
                if file.path in check.wrong and (check.table.root / file.path).exists():
                    self.away(check.table.root / file.path)
            if gone:
                self.lake.table(spec).commit([], remove=gone)
                self.report.done += [f"{spec.name}/{f.path}: taken out, to be made again" for f in gone]

    def _rebuild(self) -> None:
        self.progress("making again what was damaged")
        wrong = self.rebuild()
        told = "derived tables and the published snapshot: brought up to date"
        self.report.left += [reason for reason in wrong if reason not in self.report.left]
        if not wrong:
            unfinished.end(self.settings.home)
        if not wrong and told not in self.report.done:
            self.report.done.append(told)

    # What is published

    def _mend_exports(self) -> None:
        found = self._look()
        self.report.done += mend.mend_snapshots(self.settings.home.exports, self.lake, found.exports, self.away)

    def _finish_exports(self) -> bool:
        """Link what could be made again; whether the current snapshot has to be published anew."""
        exports = self.settings.home.exports
        self.report.done += mend.link_lost(exports, self.lake)
        current, older = mend.forget_lost(exports, self.away)
        self.report.left += [f"exports/{where}: an older snapshot, some of whose files are lost; it is put aside"
                             for where in older]  # fmt: skip
        self.report.done += [f"exports/{where}: names files that were made again with other bytes; put aside, and "
                             "published anew" for where in current]  # fmt: skip
        self.report.done += mend.write_views(exports)
        return bool(current)


def repair_home(
    settings: Settings, rebuild: Rebuild, progress: Callable[[str], None] = lambda _what: None
) -> dict[str, Any]:
    """Repair what can be repaired. The answer is that of ``verify_home`` afterwards, with what was done and what not.

    It is ``ok`` where nothing is broken any more and nothing was lost for good.

    ``rebuild`` brings the derived tables up to date and publishes.
    """
    return Repair(settings, rebuild, progress).run()


def by_the_chain(settings: Settings, progress: Callable[[str, int], None]) -> list[str]:
    """Bring everything up to date as ``behavior run`` does, without ingesting anything; what went wrong."""
    from behavior_assets.chain import run_chain

    try:
        done = run_chain(settings, [], "", progress=progress, deliver=False)
    except BehaviorError as error:
        return [str(error)]
    if done.failure:
        return [done.failure]
    if done.snapshot is not None:  # days that break a rule are held back as they were before
        return []
    return [f"{c['table']}: rule {c['rule']} failed for {c['rows']} rows, so nothing was published"
            for c in done.failed_checks]  # fmt: skip
