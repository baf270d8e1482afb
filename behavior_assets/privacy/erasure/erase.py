"""Erasing the persons of a case: suppress, delete, publish, purge, scan, and only then a receipt.

Each step may be done again, so a case that was interrupted goes on where it was. Bronze, which tells whose is what,
loses its rows last. While rows are taken out nobody else writes to the lake; what a run had begun to take in before the
suppression is taken out with the rest, as this waits for it.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ibis.backends.duckdb import Backend

from behavior_assets.ingestion.canonical import BRONZE_EVENTS, QUARANTINE_EVENTS
from behavior_assets.privacy.audit_log import open_audit
from behavior_assets.privacy.consents import CONSENTS
from behavior_assets.privacy.erasure import case as cases
from behavior_assets.privacy.erasure import takeout
from behavior_assets.privacy.erasure.case import EXECUTED, SUPPRESSED, VERIFIED, Called, Case
from behavior_assets.privacy.erasure.deliveries import Bad, Deliveries
from behavior_assets.privacy.erasure.facts import fresh_facts, keep_facts
from behavior_assets.privacy.erasure.lines import Theirs
from behavior_assets.privacy.erasure.loose import blank_loose
from behavior_assets.privacy.erasure.naming import name_keys, needles_of, tables_of
from behavior_assets.privacy.erasure.originals import blank_originals
from behavior_assets.privacy.erasure.proof import left_in, look, receipt_of
from behavior_assets.privacy.erasure.republish import can_republish, republish
from behavior_assets.privacy.erasure.subjects import Asked, IdKind, Subjects, open_subjects
from behavior_assets.privacy.key_guard import carries_former_key
from behavior_assets.privacy.normal import IdOf
from behavior_assets.privacy.registry import Purge, registry
from behavior_assets.privacy.scanner import Find
from behavior_assets.privacy.silver import SILVER_EVENTS
from behavior_assets.privacy.suppression import read_suppression, suppress, token
from behavior_assets.privacy.vault import forget
from behavior_assets.recipes import RECIPES
from behavior_assets.repair import DAMAGED
from exports.database import older_copies
from exports.snapshot import collect, read_manifest
from exports.tombstones import bury
from resources.engine import engine
from resources.errors import BehaviorError
from resources.failpoints import reach
from resources.keys import SUPPRESSION, load_key, was_destroyed
from resources.lake import Lake, alone
from resources.lock import exclusive
from resources.models import ModelStore
from resources.settings import Settings, with_zone
from resources.table import LakeTable, shared_views

Tell = Callable[[str, int], None]
_ROUNDS = 3  # of taking out and looking: what another process was writing meanwhile


class NotErasedError(BehaviorError):
    """Something of the persons is still there."""

    exit_code = 5


def require_persons(settings: Settings, asked: Sequence[Asked]) -> None:
    """Raise UsageError where an id is of several persons: before it becomes a case."""
    with open_subjects(settings, asked, whole=False):
        pass


@dataclass
class Erasure:
    """One case, carried through. ``now`` and ``chain`` may be given by a test."""

    settings: Settings
    case: Case
    chain: Callable[[Settings, Tell], list[str]]
    tell: Tell = lambda _what, _rows: None
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    seconds: dict[str, float] = field(default_factory=dict)

    def run(self) -> dict[str, Any]:
        """Bring the case to its end and return the receipt. Raises NotErasedError where something is left.

        Whoever carries an erasure through is waited for; where it was this case, that receipt is returned.
        """
        self._keep_out()  # at once
        with exclusive(cases.folder(self.settings.home).parent):
            done = cases.receipt(self.settings.home, self.case.name)
            if done is not None:
                return done
            self.case = cases.read(self.settings.home, self.case.name) or self.case
            return self._run()

    def _run(self) -> dict[str, Any]:
        with self._timed("suppress"):
            self.suppress()
        if carries_former_key(self.settings, Lake(self.settings.home.lake).table(SILVER_EVENTS)):
            self._chain()  # so that silver knows nobody under both keys
        for _ in range(_ROUNDS):
            with self._timed("delete"):
                self.delete()
            with self._timed("publish"):
                self.publish()
            with self._timed("purge"):
                self.purge()
            with self._timed("database"):
                self.publish_database()
            with self._timed("scan"):
                left = self.scan()
            if not left:
                return self.close()
        msg = (
            f"case {self.case.name}: {left_in(left)}. The persons stay suppressed and the case open: look there, then "
            f"`behavior erase --resume {self.case.name}`."
        )
        raise NotErasedError(msg)

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        started = time.perf_counter()
        self.tell(step, 0)
        yield
        self.seconds[step] = round(self.seconds.get(step, 0.0) + time.perf_counter() - started, 3)

    # Suppress

    def suppress(self) -> None:
        """Nothing of the persons is taken in from here on. What a run has open is waited for by ``delete``."""
        self._keep_out()
        self._reach(SUPPRESSED)

    def _keep_out(self) -> None:
        asked = cases.asked_of(self.case)
        key = load_key(self.settings, SUPPRESSION)
        tokens = {token(key, IdOf.person, a.id) for a in asked if a.kind is not IdKind.session}
        suppress(self.settings, self.case.name, tokens)

    # Delete

    def delete(self) -> None:
        """Take the persons' rows out of every table that the registry says holds any."""
        with alone(self.settings.home), open_subjects(self.settings, cases.asked_of(self.case)) as subjects:
            backend, lake = subjects.backend, subjects.lake
            tokens = subjects.tokens(load_key(self.settings, SUPPRESSION))
            suppress(self.settings, self.case.name, tokens)
            known = registry()
            tables = tables_of(lake)
            told = self.case.told
            counts, base = told.setdefault("rows", {}), dict(told.get("rows_before", {}))

            def count(name: str, rows: int) -> None:
                """Before the rows go, so that who dies after it has told; a round that is made again finds fewer."""
                counts[name] = max(counts.get(name, 0), base.get(name, 0) + rows)
                cases.keep(self.settings.home, self.case)
                self.tell(name, rows)

            afresh = self._name_visits(subjects, tables)
            fresh = self._fresh_facts(backend, lake)
            self._mark_models(taught=subjects.has_rows())
            for name in reversed(tables):
                holding = known[name]
                if takeout.is_by_keys(holding) and holding.purge is Purge.filter:
                    rows = takeout.rows_of(backend.con, tables[name], holding)
                    days = afresh if "event_key" in holding.columns else ()
                    count(name, takeout.number_of(rows))
                    takeout.take_out(tables[name], rows, afresh=days)
                    reach("privacy.taken")
            if CONSENTS.name in tables:
                rows = takeout.consents_of(backend.con, tables[CONSENTS.name])
                count(CONSENTS.name, takeout.number_of(rows))
                takeout.take_out(tables[CONSENTS.name], rows)
            forget(self.settings, subjects.pseudonyms())
            if QUARANTINE_EVENTS.name in tables:
                count(QUARANTINE_EVENTS.name, self._quarantine())
            reach("privacy.taken")
            if BRONZE_EVENTS.name in tables:
                rows = takeout.rows_of_bronze(backend.con, tables[BRONZE_EVENTS.name])
                held = {Path(path).parent.name.removeprefix("event_date=") for path in rows}
                told["days"] = sorted({*told.get("days", ()), *held})
                count(BRONZE_EVENTS.name, takeout.number_of(rows))
                takeout.take_out_of_bronze(backend.con, tables[BRONZE_EVENTS.name], rows, self.case.name)
            keep_facts(backend, lake, with_zone(self.settings), fresh)
            self._mark_models(taught=any(counts.values()))  # bronze may not have told of all
            told["rows_before"] = dict(counts)
            cases.keep(self.settings.home, self.case)

    def _mark_models(self, *, taught: bool) -> None:
        """Whoever did anything may have taught every model that serves."""
        store = ModelStore(self.settings.home.models)
        for name in RECIPES if taught else ():
            store.mark_stale(name, f"case {self.case.name}", self.now().astimezone(UTC).isoformat())
        self.case.told["models"] = sorted(name for name in RECIPES if store.stale(name))

    def _fresh_facts(self, backend: Backend, lake: Lake) -> dict[str, list[str]]:
        """Parts of facts that were up to date before anything was taken out, also where this is a second attempt."""
        batch = lake.table(BRONZE_EVENTS).last_batch()
        if self.case.told.get("batch") != batch:  # else what came since must be seen in them
            self.case.told |= {"batch": batch, "fresh": fresh_facts(backend, lake, with_zone(self.settings))}
            cases.keep(self.settings.home, self.case)
        found: dict[str, list[str]] = self.case.told["fresh"]
        return found

    def _name_visits(self, subjects: Subjects, tables: dict[str, LakeTable]) -> list[str]:
        """Add the keys of sessions to the persons' keys, and return the days of silver that are to be made again."""
        told = self.case.told
        days = name_keys(subjects, tables, told.get("shared", ()))
        # What later attempts cannot see any more: visits that were of others, too.
        told["shared"] = sorted(set(told.get("shared", ())) | subjects.shared_chains())
        told["afresh"] = sorted({*told.get("afresh", ()), *days})
        cases.keep(self.settings.home, self.case)
        self._remember(subjects)
        return list(told["afresh"])

    def _remember(self, subjects: Subjects) -> None:
        """Keep what they are called, before anything that tells it is gone; and take up what was known before."""
        found = subjects.con.execute("SELECT kind, list(key) FROM gone_key GROUP BY kind").fetchall()
        called = Called(subjects.texts(), {str(kind): set(keys) for kind, keys in found})
        known = cases.remember(self.settings.home, self.case, called)
        before = [(kind, key) for kind, keys in known.keys.items() for key in keys]
        subjects.add_keys(before)

    def _quarantine(self) -> int:
        called = cases.called_in(self.settings.home, self.case)
        theirs = Theirs(read_suppression(self.settings), called.texts.get(IdOf.person, ()))

        def is_theirs(bad: Bad) -> bool:
            return theirs.record(bad.source, bad.header, bad.raw)

        return takeout.take_out_of_quarantine(Deliveries(self.settings.home), self.case.name, is_theirs)

    # Publish

    def publish(self) -> None:
        """Make the aggregates again and publish; every snapshot from before becomes a tombstone.

        Where the pseudonym key was destroyed nothing of what is published was touched, and nothing can be made anew.
        """
        if was_destroyed(self.settings):
            return
        with alone(self.settings.home), shared_views():
            direct = can_republish(self.settings)
            if direct:
                republish(self.settings, self.tell)
        if not direct:
            self._chain()
        exports = self.settings.home.exports
        with alone(self.settings.home):
            current = read_manifest(exports)
            if current is not None:
                buried = bury(exports, current["snapshot"], "erased", self.case.name, self.now())
                collect(exports, self.settings.snapshots_kept, current["snapshot"])
                self.case.told["tombstones"] = sorted({*self.case.told.get("tombstones", ()), *buried})

    def publish_database(self) -> None:
        """The database that settings name gets the new snapshot. Raises NotErasedError where an older one stays."""
        if self.settings.publish_to and not was_destroyed(self.settings):
            try:
                with alone(self.settings.home):
                    left = "; ".join(older_copies(self.settings))
            except BehaviorError as error:
                left = str(error)
            if left:
                msg = (
                    f"case {self.case.name}: the persons were taken out of the home, but the database may still hold "
                    f"what was published before ({left}). Mend that, or end what reads it, then `behavior erase "
                    f"--resume {self.case.name}`."
                )
                raise NotErasedError(msg)
        self._reach(EXECUTED)

    def _chain(self) -> None:
        problems = self.chain(self.settings, self.tell)
        if problems:
            msg = (
                f"case {self.case.name}: the persons are suppressed, but the run failed: {problems[0]} Mend that, then "
                f"`behavior erase --resume {self.case.name}`."
            )
            raise NotErasedError(msg)

    # Purge

    def purge(self) -> None:
        """What no table names any more, and what never was in one: old files, originals, refused files."""
        with alone(self.settings.home), engine(with_zone(self.settings)) as backend, shared_views():
            shutil.rmtree(self.settings.home.staging, ignore_errors=True)
            called = cases.called_in(self.settings.home, self.case)
            persons = called.texts.get(IdOf.person, set())
            done = blank_originals(self.settings, backend.con, called.all_texts, persons, self.tell)
            bronze = Lake(self.settings.home.lake).table(BRONZE_EVENTS)
            loose = blank_loose(self.settings.home, needles_of(backend.con, called.texts, (), bronze))
            told = self.case.told
            told["originals"] = told.get("originals", 0) + done.files
            told["original_records"] = told.get("original_records", 0) + done.records
            told["refused_lines"] = told.get("refused_lines", 0) + loose
            reach("privacy.purge")
            for place in (self.settings.home.staging, self.settings.home.root / DAMAGED):
                shutil.rmtree(place, ignore_errors=True)
            Lake(self.settings.home.lake).vacuum(-1.0)
        cases.keep(self.settings.home, self.case)

    # Scan and receipt

    def scan(self) -> list[Find]:
        """Where anything of the persons still is, or may be. Suppression tokens and the open case tell nobody."""
        return look(self.settings, self.case)

    def close(self) -> dict[str, Any]:
        """The receipt; the case forgets of whom it was."""
        open_audit(self.settings).append(f"erase.{VERIFIED}", case=self.case.name, persons=self.case.persons)
        self.case.reached[VERIFIED] = self.now().astimezone(UTC).isoformat(timespec="milliseconds")
        receipt = receipt_of(self.settings, self.case, self.seconds)
        cases.close(self.settings.home, self.case, receipt)
        return receipt

    def _reach(self, state: str) -> None:
        """Come to a state, which the audit log tells first."""
        if state not in self.case.reached:
            open_audit(self.settings).append(f"erase.{state}", case=self.case.name, persons=self.case.persons)
        cases.reach_state(self.settings.home, self.case, state, self.now())
