"""Late events amend the past: what they touch is made again, and what follows from it, and nothing else."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from behavior_assets.privacy.build import build_silver
from behavior_assets.privacy.silver import SILVER_EVENTS
from behavior_assets.sessions.build import build_sessions, stale_days
from resources.compute import DuckDB
from resources.engine import engine
from tests import oracle
from tests.conftest import Chain, rees46_row, same_key, write_rees46

VISITS = ("strftime(make_timestamp(start_ts_us), '%m-%d %H:%M') AS begun, "
          "strftime(make_timestamp(end_ts_us), '%m-%d %H:%M') AS ended, events, split_reason")  # fmt: skip


def views(user: str, *moments: str) -> list[str]:
    """Rows of one visitor at these minutes of 2024."""
    return [rees46_row(f"2024-{m}:00", "view", "p1", user) for m in moments]


def every_half_hour(first: str, last: str) -> list[str]:
    """Minutes of 2024 that leave no silence longer than 30 minutes."""
    begin, end = (datetime.strptime(f"2024-{m}", "%Y-%m-%d %H:%M").replace(tzinfo=UTC) for m in (first, last))
    count = (end - begin) // timedelta(minutes=30)
    return [f"{begin + timedelta(minutes=30 * n):%m-%d %H:%M}" for n in range(count + 1)]


class Shop:
    """A home into which deliveries come one by one, and what each of them changed."""

    def __init__(self, folder: Path, timezone: str = "UTC") -> None:
        self.folder, self.timezone = folder, timezone
        self.chain = Chain.at(folder / "home", timezone)
        self.delivered: list[str] = []

    def files(self, table: str) -> dict[str, tuple[str, ...]]:
        """A table's live files by day."""
        return {day: tuple(f.path for f in files) for day, files in self.chain.table(table).parts().items()}

    def arrive(self, rows: Iterable[str], *, star: bool = True) -> tuple[list[str], list[str]]:
        """Deliver rows and build; the days (month and day) of silver events and of sessions that were rewritten."""
        rows = list(rows)
        before = [self.files(t) for t in ("silver/events", "silver/sessions")]
        self.ingest(rows)
        self.chain.build(star=star)
        events, sessions = (
            [day[5:] for day, files in self.files(t).items() if files != old.get(day)]
            for t, old in zip(("silver/events", "silver/sessions"), before, strict=True)
        )
        return events, sessions

    def ingest(self, rows: list[str]) -> None:
        """Deliver rows, all of which must be accepted."""
        report = self.chain.ingest([write_rees46(self.folder / f"{len(self.delivered)}.csv", rows)], "rees46")
        assert [(e.accepted, e.rows_in) for e in report.entries] == [(len(rows), len(rows))]
        self.delivered += rows

    def sessions(self, held: Iterable[str] = ()) -> list[str]:
        """Bring silver up to date; the days of sessions that were written."""
        chain = self.chain
        with engine(chain.settings, pseudonyms=True) as backend:
            build_silver(backend, chain.lake, chain.settings)
            return [day[5:] for day in build_sessions(DuckDB(backend), chain.lake, chain.settings, held=held)]

    def visits(self) -> list[tuple[Any, ...]]:
        """Beginning, end, number of events and reason of every session."""
        return self.chain.rows("silver/sessions", f"SELECT {VISITS} FROM t ORDER BY ALL")

    def late(self) -> int:
        """Events that came after their day, as published."""
        return int(self.chain.rows("gold/fact_data_quality", "SELECT sum(late)::INT FROM t")[0][0])

    def assert_as_rebuilt(self) -> None:
        """Every gold table is what one sorted file in a new home gives."""
        same_key(self.folder / "home", self.folder / "again" / "home")
        again = Shop(self.folder / "again", self.timezone)
        again.arrive(sorted(self.delivered))
        assert self.chain.hashes() == again.chain.hashes()


# Around 11 January and 90 days later, two visitors a day.
QUIET_DAYS = ("01-10", "01-11", "01-12", "04-08", "04-09", "04-10")
QUIET = [f"{day} {hour}" for day in QUIET_DAYS for hour in ("09:00", "15:00")]


def test_row_19_one_day_late_and_ninety_days_late(tmp_path: Path) -> None:
    """The day of the event is made again and no other; nothing is dropped; it is counted."""
    shop = Shop(tmp_path)
    shop.arrive([row for m in QUIET for row in views(f"u{m[-5:]}", m)])
    assert shop.late() == 0
    for moment, day, sessions in (
        ("04-09 09:20", "04-09", 12),  # one day late, into a session that is there
        ("01-11 12:00", "01-11", 13),  # 90 days late, a session of its own
        ("01-20 12:00", "01-20", 14),  # on a day that had nothing
    ):
        assert shop.arrive(views("u09:00", moment), star=False) == ([day], [day])
        assert len(shop.visits()) == sessions
    shop.arrive([*views("u09:00", "01-12 18:00")])
    assert shop.late() == 4
    assert sum(v[2] for v in shop.visits()) == len(QUIET) + 4
    shop.assert_as_rebuilt()


def test_row_19_late_and_new_in_one_delivery(tmp_path: Path) -> None:
    """What lies between the oldest and the newest day of a delivery stays as it is."""
    shop = Shop(tmp_path)
    shop.arrive([row for m in QUIET for row in views("u", m)], star=False)
    touched = ["01-10", "04-10", "04-11"]
    before = shop.files("silver/events")
    shop.ingest(views("u", "01-10 09:10", "04-10 15:30", "04-11 10:00"))
    assert shop.sessions() == touched
    assert [d[5:] for d, files in shop.files("silver/events").items() if files != before.get(d)] == touched


def test_a_visit_over_midnight_is_not_told_again_when_the_day_is_completed(tmp_path: Path) -> None:
    """Of the day before a new one only what begins there is completed, not what merely reaches into it."""
    shop = Shop(tmp_path)
    shop.arrive(views("u", "05-01 23:50", "05-02 00:10") + views("v", "05-02 23:50"), star=False)
    assert shop.arrive(views("v", "05-03 00:10"), star=False) == (["05-03"], ["05-02", "05-03"])
    assert shop.visits() == [
        ("05-01 23:50", "05-02 00:10", 2, "none"),
        ("05-02 23:50", "05-03 00:10", 2, "none"),
    ]
    assert shop.arrive(views("u", "05-04 12:00"), star=False) == (["05-04"], ["05-04"])


def test_a_late_event_at_midnight_joins_two_days(tmp_path: Path) -> None:
    """The visit of the second day becomes part of the first's: both days' sessions change, no third day's."""
    shop = Shop(tmp_path)
    base = views("u", "05-01 23:40", "05-02 00:20", "05-03 12:00") + views("v", "04-30 23:50", "05-01 00:10")
    shop.arrive(base, star=False)
    assert shop.arrive(views("u", "05-02 00:00"), star=False) == (["05-02"], ["05-01", "05-02"])
    assert shop.visits() == [
        ("04-30 23:50", "05-01 00:10", 2, "none"),
        ("05-01 23:40", "05-02 00:20", 3, "none"),
        ("05-03 12:00", "05-03 12:00", 1, "none"),
    ]


def test_a_late_event_moves_every_24_hour_cut_after_it_until_the_visitor_pauses(tmp_path: Path) -> None:
    """A bridge to an earlier visit gives three days of uninterrupted events another beginning, and so other cuts.

    The recomputation goes forward to the day on which the visitor pauses; the days after it stay.
    """
    shop = Shop(tmp_path)
    steady = every_half_hour("05-02 06:00", "05-04 12:00")
    others = [row for day in range(1, 9) for row in views("v", f"05-0{day} 10:00")]
    shop.arrive([*views("u", "05-02 05:00"), *views("u", *steady), *others, *views("u", "05-07 10:00")], star=False)
    own = "SELECT " + VISITS + " FROM t WHERE events > 1 ORDER BY 1"
    assert shop.chain.rows("silver/sessions", own) == [
        ("05-02 06:00", "05-03 05:30", 48, "none"),
        ("05-03 06:00", "05-04 05:30", 48, "24 h cap"),
        ("05-04 06:00", "05-04 12:00", 13, "24 h cap"),
    ]
    days = ["05-02", "05-03", "05-04"]
    assert shop.arrive(views("u", "05-02 05:30"), star=False) == (["05-02"], days)
    assert shop.chain.rows("silver/sessions", own) == [
        ("05-02 05:00", "05-03 04:30", 48, "none"),
        ("05-03 05:00", "05-04 04:30", 48, "24 h cap"),
        ("05-04 05:00", "05-04 12:00", 15, "24 h cap"),
    ]


def test_a_late_event_across_the_24_hour_cut_changes_one_block(tmp_path: Path) -> None:
    """The cut is counted from the beginning, so an event after it belongs to the second block and moves nothing."""
    shop = Shop(tmp_path)
    steady = every_half_hour("05-01 12:00", "05-03 18:00")
    shop.arrive(views("u", *steady), star=False)
    assert shop.arrive(views("u", "05-02 12:10"), star=False) == (["05-02"], ["05-02"])
    assert [v[2:] for v in shop.visits()] == [(48, "none"), (49, "24 h cap"), (13, "24 h cap")]


@pytest.mark.parametrize(("zone", "short"), [("Europe/London", "03-31"), ("America/New_York", "03-10")])
def test_every_gold_table_is_as_rebuilt(tmp_path: Path, zone: str, short: str) -> None:
    """Bridges within a day, over midnight, over the cut and over the short day (of 23 hours), 90 days late; orders."""
    shop = Shop(tmp_path, zone)
    eve, morrow = (f"{datetime.strptime(f'2024-{short}', '%Y-%m-%d').replace(tzinfo=UTC) + timedelta(days=n):%m-%d}"
                   for n in (-1, 1))  # fmt: skip
    steady = every_half_hour(f"{eve} 18:00", f"{morrow} 06:00")
    missing = [steady[1], steady[20], steady[40]]

    def buys(user: str, moment: str) -> str:
        return rees46_row(f"2024-{moment}:00", "purchase", "p2", user, "5.00", brand=moment[:2])

    shop.arrive([
        *views("a", *(m for m in steady if m not in missing)), buys("a", f"{morrow} 05:40"),
        *views("b", f"{eve} 23:40", f"{short} 00:20"), buys("b", "04-20 12:00"),
        *views("c", "04-19 10:00", "04-19 10:50", "04-20 10:00"), buys("c", "04-19 10:51"),
    ])  # fmt: skip
    assert shop.late() == 0
    shop.arrive([
        *views("a", *missing), *views("b", f"{short} 00:00"), buys("b", "01-21 12:00"), *views("c", "04-19 10:25"),
        buys("c", "04-18 23:59"),
    ])  # fmt: skip
    assert shop.late() == 7
    shop.assert_as_rebuilt()


# Whatever arrives first: below bronze, so that many orders can be tried.

START = datetime(2024, 5, 1, tzinfo=UTC)


def silver_row(minute: int) -> dict[str, Any]:
    """A view of the one visitor, so many minutes after START."""
    moment = START + timedelta(minutes=minute)
    return {
        "event_key": minute, "event_ts_us": minute * 60_000_000 + 1_714_521_600_000_000, "event_date": moment.date(),
        "event_hour": moment.hour, "event_name": "view_item", "chain_key": 1, "customer_key": 1, "is_user": True,
        "is_record": True, "consent": "granted", "is_bot": False, "source": "rees46",
    }  # fmt: skip


def expected(minutes: Iterable[int]) -> list[tuple[Any, ...]]:
    """The sessions that the plain oracle finds."""
    events = [oracle.Event(START + timedelta(minutes=m), "view", "p", None, "u", "") for m in minutes]
    return [(_us(s.start), _us(s.end), s.start.date(), s.events, s.reason) for s in oracle.sessions_of(events)]


def _us(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


# Minutes of four days: runs without a pause, some over a cut or a midnight, and in which delivery each run's
# every so manieth event comes.
RUN = st.builds(
    lambda begin, step, count: {begin + step * n for n in range(count)},
    st.one_of(st.integers(0, 3 * 1440), st.sampled_from([1380, 1410, 1439, 1440, 2850, 2879, 2880])),
    st.sampled_from([1, 20, 30, 31]), st.sampled_from([1, 2, 3, 60, 110]),
)  # fmt: skip


@settings(deadline=None, derandomize=True, database=None, max_examples=4, suppress_health_check=list(HealthCheck),
          phases=[Phase.explicit, Phase.generate])
@example([{1430, 1450}, {2900}, {4400}], 1, 0, [0, 1, 2])
@example([{n * 30 for n in range(100)}, {3100, 3130}], 7, 3, [2, 0, 1])
@given(st.lists(RUN, min_size=1, max_size=4), st.integers(1, 60), st.integers(0, 59), st.permutations([0, 1, 2]))
def test_the_order_of_arrival_does_not_matter(runs: list[set[int]], every: int, shift: int, order: list[int]) -> None:
    """After each of three deliveries sessions are what following the events that are there gives."""
    minutes = sorted(set().union(*runs))
    deliveries: list[set[int]] = [set(), set(), set()]
    for place, minute in enumerate(minutes):  # mostly by time, single events in another delivery
        chosen = place * 3 // len(minutes)
        deliveries[order[(chosen + 1) % 3 if (place + shift) % (every + 1) == 0 else chosen]].add(minute)
    with tempfile.TemporaryDirectory() as folder:
        chain = Chain.at(Path(folder))
        table, here = chain.table("silver/events"), set[int]()
        for number, delivery in enumerate(d for d in deliveries if d):
            here |= delivery
            days = {silver_row(m)["event_date"] for m in delivery}
            files = []
            for day in sorted(days):
                rows = [silver_row(m) for m in sorted(here) if silver_row(m)["event_date"] == day]
                batch = pa.Table.from_pylist(rows, schema=SILVER_EVENTS.schema)
                files.append(table.write(day.isoformat(), f"f{number}", [batch]))
            table.commit(files)
            with engine(chain.settings) as backend:
                build_sessions(DuckDB(backend), chain.lake, chain.settings)
            found = chain.rows("silver/sessions", "SELECT start_ts_us, end_ts_us, event_date, events, split_reason "
                               "FROM t ORDER BY ALL")  # fmt: skip
            assert found == expected(here)
            assert stale_days(chain.lake, chain.settings) == []


def test_a_day_that_is_held_back_keeps_its_place_between_its_neighbours(tmp_path: Path) -> None:
    """Its open visit goes on into the next day, whether that day is worked on alone or with those before."""
    shop = Shop(tmp_path)
    shop.arrive(views("u", "05-01 12:00", "05-02 23:50", "05-03 00:10"), star=False)
    before = shop.visits()
    for late in (["05-03 12:00"], ["05-01 15:00", "05-03 18:00"]):
        shop.ingest(views("u", *late))
        shop.sessions(held=["2024-05-02"])
        assert set(before) <= set(shop.visits())
    assert len(shop.visits()) == len(before) + 3


def built(shop: Shop, days: list[str], **settings: int) -> list[str]:
    """Days of sessions that were written where some are asked for."""
    chain = shop.chain
    chosen = replace(chain.settings, **settings)  # type: ignore[arg-type]
    with engine(chain.settings, pseudonyms=True) as backend:
        build_silver(backend, chain.lake, chain.settings)
        return [day[5:] for day in build_sessions(DuckDB(backend), chain.lake, chosen, [f"2024-{d}" for d in days])]


def test_no_day_beyond_those_that_are_asked_for_is_made_for_its_own_sake(tmp_path: Path) -> None:
    """Other processes may be at the others: after a change of the gap every day is stale, and one is asked for."""
    shop = Shop(tmp_path)
    shop.arrive([row for n in range(1, 7) for row in views("u", f"05-0{n} 12:00")], star=False)
    assert built(shop, ["05-02"], session_gap_minutes=45) == ["05-02"]
    assert stale_days(shop.chain.lake, replace(shop.chain.settings, session_gap_minutes=45)) == [
        f"2024-05-0{n}" for n in (1, 3, 4, 5, 6)
    ]  # fmt: skip


def test_a_day_is_followed_by_the_one_that_its_open_visits_reach(tmp_path: Path) -> None:
    """A late event keeps a visit open at midnight: the day after goes with it, and the one after that does not."""
    shop = Shop(tmp_path)
    shop.arrive([*views("u", "05-02 12:00", "05-03 00:10", "05-04 12:00")], star=False)
    shop.ingest(views("u", "05-02 23:50"))
    assert built(shop, ["05-02"]) == ["05-02", "05-03"]
    assert stale_days(shop.chain.lake, shop.chain.settings) == []
