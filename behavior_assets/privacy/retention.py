"""Retention: what is older than the settings ``keep_<layer>_days`` leaves every layer, and then every copy of it.

Marks are written first (``marks.py``), so whoever writes meanwhile brings nothing back. Each step may be done again: a
run that was interrupted is finished by the next.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import duckdb

from behavior_assets.ingestion.audit import batch_of, part_names
from behavior_assets.ingestion.canonical import BRONZE_EVENTS, QUARANTINE_EVENTS
from behavior_assets.ingestion.landing import REASON
from behavior_assets.ingestion.ledger import Removed, read_ledger
from behavior_assets.ingestion.redaction import Redaction, keep_redaction, redaction_of
from behavior_assets.privacy.audit_log import open_audit
from behavior_assets.privacy.due import Clock, Due, due
from behavior_assets.privacy.erasure.republish import republish
from behavior_assets.privacy.erasure.takeout import records_by_batch
from behavior_assets.privacy.marks import EXPIRED_KEY, PUBLISH, PURGE, keep_marks, read_marks
from behavior_assets.privacy.registry import Layer
from behavior_assets.privacy.silver import SILVER_EVENTS
from behavior_assets.privacy.vault import forget, successors
from behavior_assets.tables import all_tables
from exports.database import older_copies
from exports.snapshot import collect, read_manifest
from exports.tombstones import bury
from resources.errors import BehaviorError
from resources.failpoints import reach
from resources.keys import was_destroyed
from resources.lake import Lake, alone
from resources.models import ModelStore
from resources.parquet import DataFile
from resources.settings import Settings, with_zone
from resources.stamp import stamp
from resources.table import LakeTable, shared_views

Tell = Callable[[str, int], None]


class NotExpiredError(BehaviorError):
    """What had to leave may still be there."""

    exit_code = 5


@dataclass
class Retention:
    """One round. ``now`` and ``chain`` may be given by a test."""

    settings: Settings
    chain: Callable[[Settings, Tell], list[str]]
    tell: Tell = lambda _what, _rows: None
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    told: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """The zone tells the days."""
        self.settings = with_zone(self.settings)
        self.home = self.settings.home
        self.lake = Lake(self.home.lake)

    def look(self) -> dict[str, Any]:
        """What a round would take out now."""
        found = due(self.settings, self.now())
        return {"expired": found.counts(), "overdue": found.overdue, "tombstones": []}

    def run(self) -> dict[str, Any]:
        """Take out what has to leave, make the star again where it lost by that, purge, and note it.

        Raises NotExpiredError where the star could not be made again.
        """
        with alone(self.home), shared_views():
            self.lake.recover()
            found = due(self.settings, self.now())
            begun = read_marks(self.home).begun
            begun = PUBLISH if PUBLISH in {begun, self._begins(found)} else begun or self._begins(found)
            marks = replace(found.marks, begun=begun)
            if marks != read_marks(self.home):
                keep_marks(self.home, marks)
            if found.counts():  # who dies after it has told
                open_audit(self.settings).append("retain.begun", **_numbers(found.counts()))
            self._take_out(found)
            if begun:
                self.lake.vacuum(-1.0)  # now: what is made of it may fail to be made again
        self.told = {"expired": found.counts(), "overdue": found.overdue, "tombstones": []}
        if begun == PUBLISH:
            self._publish()
        if begun:
            with alone(self.home), shared_views():
                self._purge(everything=begun == PUBLISH)
                keep_marks(self.home, replace(read_marks(self.home), begun=""))
        open_audit(self.settings).append("retain", **self._noted())
        return self.told

    def _begins(self, found: Due) -> str:
        """What is to be done; empty where nothing has to leave."""
        if found.reaches_gold:
            return PUBLISH
        return PURGE if found.counts() else ""

    def _noted(self) -> dict[str, float | str | list[str]]:
        return {**_numbers(self.told["expired"]),
                "tombstones": list(self.told["tombstones"]), "overdue": list(self.told["overdue"])}  # fmt: skip

    # What leaves

    def _take_out(self, found: Due) -> None:
        """Derived tables first: bronze and quarantine tell with the commit how much expired of what the ledger has."""
        for spec in reversed(all_tables()):
            files = found.files.get(spec.name)
            if files:
                table = self.lake.table(spec)
                table.commit([], remove=files, metadata=self._said(table, files, found))
                self.tell(spec.name, sum(f.rows for f in files))
                reach("privacy.expire")
        for source, sha256, path in found.originals:
            known = redaction_of(self.home, source, sha256)
            keep_redaction(self.home, Redaction(source, sha256, "", known.rows if known else ()))
            path.unlink()
            reach("privacy.expire")
        for path in found.refused:
            path.unlink(missing_ok=True)
            path.with_name(path.name + REASON).unlink(missing_ok=True)
        for path in found.damaged:
            shutil.rmtree(path)
            reach("privacy.expire")
        for name, versions in found.models.items():
            ModelStore(self.home.models).remove(name, versions)
            reach("privacy.expire")

    def _said(self, table: LakeTable, files: list[DataFile], found: Due) -> dict[str, str] | None:
        """What goes with a commit, so that ``accepted = present + erased + expired``."""
        if table.spec is BRONZE_EVENTS:
            events: Counter[str] = Counter()
            for file in files:
                events[batch_of(file)] += file.rows
            with duckdb.connect() as con:
                con.read_parquet(table.absolute(files), union_by_name=True).create_view("gone")
                removed = Removed("expired", events=dict(events), records=records_by_batch(con, "gone"))
            return {**removed.noted(), EXPIRED_KEY: found.marks.bronze}
        if table.spec is QUARANTINE_EVENTS:
            keys = part_names(read_ledger(self.lake.table(BRONZE_EVENTS)))
            rows: Counter[str] = Counter()
            for file in files:
                rows[keys[file.part]] += file.rows
            return Removed("expired", quarantined=dict(rows)).noted()
        return None

    # What was made of it

    def _publish(self) -> None:
        if was_destroyed(self.settings):  # the chain cannot run any more, nor has anything to make but gold
            with alone(self.home), shared_views():
                republish(self.settings, self.tell)
        problems = [] if was_destroyed(self.settings) else self.chain(self.settings, self.tell)
        if not problems and read_manifest(self.home.exports) is not None:
            problems = [f"{name} still holds {rows:,} rows of them." for name, rows in
                        due(self.settings, self.now()).gold.items()]  # fmt: skip
        problems = problems or older_copies(self.settings)
        if problems:
            msg = (
                f"what expired has left the tables before gold, but the run did not take it out of gold: {problems[0]} "
                "Mend that, then `behavior retain` again."
            )
            raise NotExpiredError(msg)

    def _purge(self, *, everything: bool) -> None:
        """Older snapshots, pseudonyms of persons of whom no day is left, and files that no table names any more."""
        current = read_manifest(self.home.exports)
        if current is not None:
            moment, before = self.now(), stamp(Clock(self.settings, self.now()).moment(Layer.exports))
            case = f"retain {moment:%Y-%m-%d}"
            self.told["tombstones"] = bury(self.home.exports, current["snapshot"], "expired", case, moment,
                                           "" if everything else before)  # fmt: skip
            collect(self.home.exports, self.settings.snapshots_kept, current["snapshot"])
        reach("privacy.expire")
        if everything:
            self._forget()
        shutil.rmtree(self.home.staging, ignore_errors=True)
        self.lake.vacuum(-1.0)

    def _forget(self) -> None:
        """Take persons out of the vault whom silver does not know any more."""
        known = successors(self.settings)
        silver = self.lake.table(SILVER_EVENTS)
        if not known or not silver.exists():
            return
        here: set[str] = set()
        if silver.files():
            with duckdb.connect() as con:
                rows = con.read_parquet(silver.absolute(silver.files()), union_by_name=True)
                here = {str(i) for (i,) in rows.select("customer_id").distinct().fetchall()}
        forget(self.settings, {former for former, newest in known.items() if not {former, newest} & here})


def _numbers(counts: Mapping[str, int]) -> dict[str, float | str | list[str]]:
    return {name: float(count) for name, count in counts.items()}
