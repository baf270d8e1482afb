"""Random histories of a home: files land, again and mixed, runs die or meet a full disk, two run at once.

Every run happens in a child forked from this process, which never starts the database itself; so a run can be killed
and costs a fraction of a second. What the lake holds at the end is compared with ``tests.oracle``.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, precondition, rule

from resources import failpoints
from resources.disk import refusal
from resources.errors import StorageError
from tests import oracle
from tests.conftest import Chain, rees46_row, run_cli, shuffled, write_rees46

REFUSED = 75  # the exit status of a child whose disk refused a write, as was arranged
START = datetime(2024, 2, 28, 12, tzinfo=UTC)
KINDS = ("view", "cart", "purchase", "remove_from_cart")
BAD = (
    "2024-02-28 12:00:00 UTC,view,p1,20,toys,acme,cheap,u1,", "2024-02-28 12:00:00 UTC,glance,p1,20,toys,acme,1.00,u1,",
    "2024-02-28 12:00:00 UTC,view,p1,20,toys,acme,1.00,,", "yesterday,view,p1,20,toys,acme,1.00,u1,",
    "2024-02-28 12:00:00 UTC,view,p1,20,toys", "2024-02-28 12:00:00 UTC,view,p1,20,toys,acme,0.00001,u1,",
)  # fmt: skip

EVENTS = st.builds(
    lambda minutes, kind, product, user, price, session: rees46_row(
        f"{START + timedelta(minutes=minutes):%Y-%m-%d %H:%M:%S}", kind, f"p{product}", f"u{user}", price,
        session=session,
    ),
    st.integers(0, 72 * 6).map(lambda n: n * 10), st.sampled_from(KINDS), st.integers(0, 2), st.integers(0, 2),
    st.sampled_from(("1.50", "0", "12.3456")), st.sampled_from(("", "", "s1")),
)  # fmt: skip
ROWS = st.lists(st.one_of(EVENTS, EVENTS, EVENTS, EVENTS, st.sampled_from(BAD)), min_size=1, max_size=12)
PUBLISHING = [p for p in failpoints.PLACES if p.startswith("export.")]
# What no run here comes by: nothing is refused, replayed, torn or old, and the archive is on the same disk.
ELSEWHERE = {"home.dagster", "staging.replay", "landing.refuse", "landing.refused", "journal.mend", "archive.copy",
             "lake.vacuum", "export.copy"}  # fmt: skip


def faults(places: Iterable[str]) -> st.SearchStrategy[tuple[str, str, int]]:
    """A place, what happens there, and the how manieth time."""
    reached = st.sampled_from([p for p in places if p not in ELSEWHERE])
    return st.tuples(reached, st.sampled_from(failpoints.ACTIONS), st.sampled_from((1, 1, 1, 2, 3)))


@dataclass
class Tally:
    """What a number of histories did and found."""

    histories: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    doubled: int = 0
    through_dagster: int = 0


class Child:
    """Work in a forked process. ``end`` gives its exit status (negative: the signal that killed it) and its answer."""

    def __init__(self, work: Callable[[], Any]) -> None:
        """Start it."""
        self.pipe, writing = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            code = 0
            try:
                os.write(writing, json.dumps(work()).encode())
            except BaseException:  # noqa: BLE001 - whatever it is, the parent is told by status and stderr
                traceback.print_exc()
                code = 1
            finally:
                sys.stderr.flush()
                os._exit(code)
        os.close(writing)

    def end(self) -> tuple[int, Any]:
        """Wait for it."""
        with os.fdopen(self.pipe, "rb") as pipe:
            told = pipe.read()
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status), json.loads(told) if told else None


def forked(work: Callable[[], Any]) -> tuple[int, Any]:
    """Run something in a child and wait for it."""
    return Child(work).end()


def advance(home: Path, fault: str = "", *, star: bool = False) -> None:
    """One run below Dagster: what has landed goes to bronze, and everything that follows is brought up to date."""
    from behavior_assets.ingestion.arrivals import landed
    from resources.lock import exclusive

    failpoints.arm(fault)
    chain = Chain.at(home, archive=True, chunk_rows=20)
    with exclusive(chain.settings.home.lake):
        files = landed(chain.settings.home, ["rees46"], time.time() + 60).get("rees46", [])
        if files:
            report = chain.ingest(files, "rees46")
            if report.refused:
                raise AssertionError(report.refused)
        chain.build(star=star)


def state(home: Path) -> dict[str, Any]:
    """What a reader of the lake sees, in the oracle's terms."""
    from behavior_assets.ingestion.canonical import BRONZE_EVENTS
    from behavior_assets.ingestion.ledger import read_ledger
    from behavior_assets.verification import verify_home

    chain = Chain.at(home)

    def rows(table: str, query: str) -> list[tuple[Any, ...]]:
        return chain.rows(table, query) if chain.table(table).rows() else []

    entries = read_ledger(chain.lake.table(BRONZE_EVENTS))
    sums = {n: sum(getattr(e, n) for e in entries) for n in ("rows_in", "accepted", "quarantined", "duplicate")}
    names = {v: k for k, v in oracle.NAMES.items()}
    bronze = rows(
        "bronze/events",
        "SELECT event_ts_us, event_name, product_id, price::VARCHAR, user_id, coalesce(session_id, '') FROM t",
    )
    sessions = rows(
        "silver/sessions",
        "SELECT start_ts_us, end_ts_us, split_reason, events, views, carts, purchases FROM t",
    )
    return {
        "sums": sums, "sessions": sessions, "quarantine": len(rows("quarantine/events", "SELECT 1 FROM t")),
        "damage": verify_home(chain.settings)["problems"],
        "events": [(us, names[name], *rest) for us, name, *rest in bronze],
    }  # fmt: skip


class Shop(RuleBasedStateMachine):
    """A home and what was delivered to it."""

    files = Bundle("files")
    tally = Tally()
    through_dagster = False

    @initialize()
    def open(self) -> None:
        """An empty home."""
        self.base = Path(tempfile.mkdtemp(prefix="history-"))
        self.home = self.base / "home"
        self.delivered: list[list[str]] = []
        self.number = 0

    def _land(self, lines: list[str]) -> list[str]:
        if not oracle.events_of(lines):  # ten such rows are a file of another format, refused whole
            lines = lines[:5]
        self.number += 1
        draft = write_rees46(self.base / f"{self.number}.csv", lines)
        target = self.home / "landing" / "rees46" / draft.name
        target.parent.mkdir(parents=True, exist_ok=True)
        draft.replace(target)
        self.delivered.append(lines)
        return lines

    @rule(target=files, rows=ROWS)
    def lands(self, rows: list[str]) -> list[str]:
        """A new file."""
        return self._land(rows)

    @rule(lines=files)
    def lands_again(self, lines: list[str]) -> None:
        """The same bytes under another name."""
        self._land(lines)

    @rule(lines=files, seed=st.integers(0, 99), more=ROWS)
    def lands_mixed(self, lines: list[str], seed: int, more: list[str]) -> None:
        """Old rows in another order with new ones between."""
        self._land(shuffled([*lines, *more], seed))

    @rule()
    def runs(self) -> None:
        """A run that nothing disturbs."""
        self._check(forked(lambda: self._advance("")))

    @precondition(lambda self: self.through_dagster)  # below it nothing is published
    @rule(rows=ROWS, fault=faults(PUBLISHING))
    def meets_a_fault_when_publishing(self, rows: list[str], fault: tuple[str, str, int]) -> None:
        """A new file, and a run that is stopped when all is computed."""
        self.meets_a_fault(rows, fault)

    @rule(rows=ROWS, fault=faults(p for p in failpoints.PLACES if p not in PUBLISHING))
    def meets_a_fault(self, rows: list[str], fault: tuple[str, str, int]) -> None:
        """A new file, and a run that dies or whose disk refuses; the place may be one that this run never comes by."""
        self._land(rows)
        place, action, number = fault
        code, _ = forked(lambda: self._quietly(f"{place}:{action}@{number}"))
        assert code in {0, REFUSED, -signal.SIGKILL}, "a run under a fault ended with another error"
        if code:
            self.tally.faults[f"{place}:{action}"] += 1

    @rule()
    def runs_twice_at_once(self) -> None:
        """Two processes on one home: no error, and a result that one after the other would give."""
        both = [Child(lambda: self._advance("")) for _ in range(2)]
        assert [child.end()[0] for child in both] == [0, 0], "a run failed beside another"
        self._check((0, None))

    def _advance(self, fault: str) -> None:
        if self.through_dagster:
            failpoints.arm(fault)
            landing = self.home / "landing"
            old = time.time() - 60
            for path in landing.rglob("*.csv"):
                os.utime(path, (old, old))
            done = run_cli("run", "--home", self.home, "--json")
            if done.code == StorageError.exit_code and "the disk refused a write" in done.err:
                raise StorageError(done.err)
            if done.code not in {0, 3}:
                raise AssertionError(done.err)
        else:
            advance(self.home, fault)

    def _quietly(self, fault: str) -> None:
        with open(os.devnull, "w") as null:  # noqa: PTH123 - what a fault prints is expected
            os.dup2(null.fileno(), 2)
            try:
                self._advance(fault)
            except Exception as error:
                if isinstance(error, StorageError) or refusal(error):
                    os._exit(REFUSED)
                raise

    def _check(self, ended: tuple[int, Any]) -> None:
        code, _ = ended
        assert code == 0, "an undisturbed run failed"
        code, found = forked(lambda: state(self.home))
        assert code == 0
        assert found["damage"] == []
        wanted = oracle.events_of(line for lines in self.delivered for line in lines)
        expected = Counter(_shown(e) for e in wanted.values())
        got = Counter(tuple(e) for e in found["events"])
        lost, doubled = (expected - got).total(), (got - expected).total()
        self.tally.lost += lost
        self.tally.doubled += doubled
        assert (lost, doubled) == (0, 0), (expected - got, got - expected)
        sums = found["sums"]
        assert sums["rows_in"] == sums["accepted"] + sums["quarantined"] + sums["duplicate"]
        assert found["quarantine"] == sums["quarantined"] == oracle.rejected(self.delivered)
        sessions = [oracle.Session(_time(a), _time(b), *rest) for a, b, *rest in found["sessions"]]
        assert sorted(sessions) == oracle.sessions_of(wanted.values())

    def teardown(self) -> None:
        """Whatever happened, one more run makes everything good."""
        if not hasattr(self, "base"):
            return
        try:
            self._check(forked(lambda: self._advance("")))
            self.tally.histories += 1
            self.tally.through_dagster += self.through_dagster
        finally:
            shutil.rmtree(self.base, ignore_errors=True)


def _time(microseconds: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)


def _shown(event: oracle.Event) -> tuple[Any, ...]:
    """An event as ``state`` tells it."""
    microseconds = (event.moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    price = None if event.price is None else f"{event.price.quantize(Decimal('0.0001'))}"
    return (microseconds, event.kind, event.product, price, event.user, event.session)
