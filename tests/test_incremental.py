"""Whatever the order, grouping and repetition of deliveries: the same tables as one delivery gives, and the right ones.

The shop's zone is Europe/London and the days around 2024-03-31, which has 23 hours and ends a month.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.conftest import Chain, rees46_row, same_key, shuffled, write_rees46

ZONE = ZoneInfo("Europe/London")
START = datetime(2024, 3, 30, tzinfo=UTC)
GAP, CAP = timedelta(minutes=30), timedelta(hours=24)
KINDS = ("view", "cart", "view", "purchase", "remove_from_cart")
MEASURES = "start_ts_us, end_ts_us, event_date, split_reason, events, views, carts, purchases"


class Run(NamedTuple):
    """A visitor's events at equal distances, counted in minutes from START. Visitor 3 brings a session id."""

    visitor: int
    begin: int
    step: int
    count: int


class Event(NamedTuple):
    """An event as it is delivered."""

    moment: datetime
    visitor: int
    kind: str
    product: int

    def line(self) -> str:
        """The row of the file. A product's brand changes with the month."""
        brand = f"brand{self.moment.month}" if self.product else ""
        session = "s" if self.visitor == 3 else ""
        return rees46_row(f"{self.moment:%Y-%m-%d %H:%M:%S}", self.kind, f"p{self.product}", f"u{self.visitor}",
                          f"{self.product + 1}.50", brand=brand, session=session)  # fmt: skip


def events_of(runs: Iterable[Run]) -> list[Event]:
    """The distinct events of some runs; kinds and products alternate."""
    found = {
        Event(START + timedelta(minutes=r.begin + r.step * i), r.visitor, KINDS[(i + r.visitor) % 5], i % 3)
        for r in runs for i in range(r.count)
    }  # fmt: skip
    return sorted(found)


def expected_sessions(events: Iterable[Event]) -> list[tuple[Any, ...]]:
    """Sessions by following each visitor's events, the simplest way: a silence above 30 minutes or 24 hours cut."""
    sessions: dict[tuple[int, datetime, int], list[Event]] = {}
    last: dict[int, tuple[datetime, datetime]] = {}
    for event in sorted(events):
        before, start = last.get(event.visitor, (datetime.min.replace(tzinfo=UTC), event.moment))
        start = event.moment if event.moment - before > GAP else start
        last[event.visitor] = (event.moment, start)
        sessions.setdefault((event.visitor, start, (event.moment - start) // CAP), []).append(event)
    return sorted(
        (
            _us(found[0].moment), _us(found[-1].moment), found[0].moment.astimezone(ZONE).date(),
            "24 h cap" if block else "none", len(found),
            *(sum(e.kind == kind for e in found) for kind in ("view", "cart", "purchase")),
        )
        for (_, _, block), found in sessions.items()
    )  # fmt: skip


def _us(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


class Deliveries(NamedTuple):
    """How events arrive: in how many files, in how many rounds, mixed by a seed; every fifth row arrives twice."""

    files: int
    rounds: int
    seed: int
    chunk_rows: int


def deliver(base: Path, events: list[Event], how: Deliveries, *, star: bool) -> Chain:
    """Bring the events in files and rounds, with the chain after each round."""
    lines = [e.line() for e in events]
    lines = shuffled(lines + lines[::5], how.seed)
    files = [
        write_rees46(base / f"{n}.csv", lines[n :: how.files]) for n in range(how.files) if lines[n :: how.files]
    ]
    chain = Chain.at(base / "home", "Europe/London", chunk_rows=how.chunk_rows)
    for number in range(how.rounds):
        group = files[number :: how.rounds]
        if group:
            report = chain.ingest(group, "rees46")
            assert not report.refused, report.refused
            chain.build(star=star)
    return chain


def at_once(base: Path, events: list[Event], key_of: Chain) -> Chain:
    """All events in one file, sorted, with the same pseudonym key."""
    same_key(key_of.settings.home.root, base / "home")
    chain = Chain.at(base / "home", "Europe/London")
    chain.ingest([write_rees46(base / "all.csv", [e.line() for e in events])], "rees46")
    chain.build()
    return chain


RUNS = st.lists(
    st.builds(
        Run,
        visitor=st.integers(0, 3),
        begin=st.one_of(st.integers(0, 4 * 24 * 60), st.sampled_from([1380, 1410, 1440, 2820, 2850, 2879])),
        step=st.sampled_from([1, 15, 29, 30, 31, 60]),
        count=st.sampled_from([1, 1, 2, 3, 5, 60, 110]),
    ),
    min_size=1, max_size=6,
)  # fmt: skip
DELIVERIES = st.builds(
    Deliveries, files=st.integers(2, 6), rounds=st.just(2), seed=st.integers(0, 99),
    chunk_rows=st.sampled_from([150, 1_000_000]),
)  # fmt: skip
CALM = settings(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))

# Sessions that a late event bridges, that cross midnight, and that last longer than a day, on the short day too.
BRIDGED = [Run(0, 600, 1, 2), Run(0, 650, 1, 2), Run(0, 625, 1, 1)]
MIDNIGHT = [Run(1, 1430, 15, 3), Run(3, 2870, 29, 5)]
CONTINUOUS = [Run(2, 700, 30, 110), Run(2, 720, 15, 60)]


@settings(CALM, max_examples=8)
@example(BRIDGED, Deliveries(5, 3, 1, 1_000_000))
@example(MIDNIGHT, Deliveries(4, 3, 2, 1_000_000))
@example(CONTINUOUS, Deliveries(6, 3, 3, 150))
@given(RUNS, DELIVERIES)
def test_sessions_are_what_following_each_visitor_gives(runs: list[Run], how: Deliveries) -> None:
    events = events_of(runs)
    with tempfile.TemporaryDirectory() as folder:
        chain = deliver(Path(folder), events, how, star=False)
        assert chain.rows("silver/sessions", f"SELECT {MEASURES} FROM t ORDER BY ALL") == expected_sessions(events)


@settings(CALM, max_examples=3)
@example(BRIDGED + MIDNIGHT, Deliveries(5, 3, 1, 1_000_000))
@example(CONTINUOUS + MIDNIGHT, Deliveries(6, 2, 3, 150))
@given(RUNS, DELIVERIES)
def test_every_gold_table_is_what_one_delivery_gives(runs: list[Run], how: Deliveries) -> None:
    events = events_of(runs)
    with tempfile.TemporaryDirectory() as folder:
        incremental = deliver(Path(folder) / "rounds", events, how, star=True)
        rebuilt = at_once(Path(folder) / "once", events, incremental)
        assert incremental.hashes() == rebuilt.hashes()


# The same by eye


def arrive(chain: Chain, number: int, *moments: str) -> list[tuple[Any, ...]]:
    """Views of one visitor arrive; the sessions that are then there: day, start, minutes, events, split."""
    file = write_rees46(
        chain.settings.home.root.parent / f"{number}.csv", [rees46_row(m, "view", "p", "u") for m in moments]
    )
    chain.ingest([file], "rees46")
    chain.build(star=False)
    return chain.rows(
        "silver/sessions",
        "SELECT strftime(event_date, '%d'), strftime(make_timestamp(start_ts_us), '%H:%M'), "
        "(end_ts_us - start_ts_us) // 60000000, events, split_reason FROM t ORDER BY start_ts_us",
    )


def test_a_late_event_bridges_two_sessions(tmp_path: Path) -> None:
    chain = Chain.at(tmp_path / "home")
    assert arrive(chain, 1, "2024-05-01 10:00:00", "2024-05-01 10:40:00") == [
        ("01", "10:00", 0, 1, "none"),
        ("01", "10:40", 0, 1, "none"),
    ]
    assert arrive(chain, 2, "2024-05-01 10:20:00") == [("01", "10:00", 40, 3, "none")]


def test_a_session_crosses_midnight_and_is_completed_on_the_next_day(tmp_path: Path) -> None:
    chain = Chain.at(tmp_path / "home")
    assert arrive(chain, 1, "2024-05-01 23:50:00") == [("01", "23:50", 0, 1, "none")]
    assert arrive(chain, 2, "2024-05-02 00:10:00", "2024-05-02 09:00:00") == [
        ("01", "23:50", 20, 2, "none"),
        ("02", "09:00", 0, 1, "none"),
    ]


def test_a_late_evening_joins_sessions_that_began_after_midnight(tmp_path: Path) -> None:
    """The session's key and day move to the day before when its true beginning arrives last."""
    chain = Chain.at(tmp_path / "home")
    assert arrive(chain, 1, "2024-05-02 00:10:00") == [("02", "00:10", 0, 1, "none")]
    assert arrive(chain, 2, "2024-05-01 23:50:00") == [("01", "23:50", 20, 2, "none")]


def test_a_silence_of_exactly_the_gap_does_not_split(tmp_path: Path) -> None:
    chain = Chain.at(tmp_path / "home")
    moments = ("2024-05-01 10:00:00", "2024-05-01 10:30:00", "2024-05-01 11:00:01")
    assert arrive(chain, 1, *moments) == [("01", "10:00", 30, 2, "none"), ("01", "11:00", 0, 1, "none")]


def test_a_chain_is_cut_every_24_hours(tmp_path: Path) -> None:
    """An event each half hour for 50 hours from 12:00 on: 48 + 48 + 5 events."""
    begin = datetime(2024, 5, 1, 12, tzinfo=UTC)
    moments = [f"{begin + timedelta(minutes=30 * n):%Y-%m-%d %H:%M:%S}" for n in range(101)]
    assert arrive(Chain.at(tmp_path / "home"), 1, *shuffled(moments, 1)) == [
        ("01", "12:00", 23 * 60 + 30, 48, "none"),
        ("02", "12:00", 23 * 60 + 30, 48, "24 h cap"),
        ("03", "12:00", 2 * 60, 5, "24 h cap"),
    ]


@pytest.mark.parametrize(
    ("moment", "day", "hour"),
    [
        ("2024-03-31 00:59:59", "2024-03-31", 0),  # the last second before the clocks go forward
        ("2024-03-31 01:00:00", "2024-03-31", 2),
        ("2024-03-31 23:30:00", "2024-04-01", 0),  # half past midnight in London
        ("2024-10-27 00:30:00", "2024-10-27", 1),
        ("2024-10-27 01:30:00", "2024-10-27", 1),  # the same hour of the wall clock again
        ("2024-10-26 22:59:59", "2024-10-26", 23),
        ("2024-10-26 23:00:00", "2024-10-27", 0),
    ],
)
def test_days_and_hours_are_the_shops(tmp_path: Path, moment: str, day: str, hour: int) -> None:
    chain = Chain.at(tmp_path / "home", "Europe/London")
    chain.ingest([write_rees46(tmp_path / "a.csv", [rees46_row(moment, "view", "p", "u")])], "rees46")
    assert chain.rows("bronze/events", "SELECT event_date::VARCHAR, event_hour FROM t") == [(day, hour)]
