"""``dim_customer``, brought on day by day, is what its expressions say of all days together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from behavior_assets.segmentation.months import behaviours, visits
from behavior_assets.sessions.sessionise import SILVER_SESSIONS
from behavior_assets.star import dimensions
from behavior_assets.star.aggregates import COMMERCE_EVENTS, CUSTOMER_DAY
from behavior_assets.star.build import StarBuilder
from exports.contract import gold
from resources.compute import DuckDB, all_of
from resources.engine import engine
from resources.lake import Lake
from resources.settings import create_home
from tests.silver_days import write_days

FIRST = date(2024, 1, 1)
FIRST_US, HOUR_US = 1_704_067_200_000_000, 3_600_000_000
OLD = 24 * 3  # an hour of the fourth day
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Visit:
    """Somebody comes at an hour after 2024 began and stays so many hours."""

    customer: int
    hour: int
    hours: int = 0
    cart: bool = False
    order: bool = False
    called: str = ""

    def events(self, through: int) -> list[tuple[int, str]]:
        """(hour, name) of what happened by the end of a day, counted from the first."""
        told = [(self.hour, "view_item"), (self.hour + self.hours, "view_item")]
        told += [(self.hour, "add_to_cart")] * self.cart + [(self.hour + self.hours, "purchase")] * self.order
        return [(hour, name) for hour, name in told if hour < 24 * (through + 1)]


CROWD = [Visit(100 + n, n % 24) for n in range(40)]  # came once, so that a day is little beside what there was


def day_of(hour: int) -> date:
    return FIRST + timedelta(days=hour // 24)


def silver(lake: Lake, came: list[Visit], through: int) -> None:
    """What silver holds at the end of a day: visits are known as far as they got."""
    by_day: dict[tuple[date, int], list[tuple[int, str, str]]] = {}
    sessions: Rows = []
    commerce: Rows = []
    for chain, visit in enumerate(came):
        known = visit.events(through)
        who = {"chain_key": chain, "customer_key": visit.customer}
        for hour, name in known:
            by_day.setdefault((day_of(hour), visit.customer), []).append((hour, name, visit.called))
        commerce += [{"event_date": day_of(hour), "event_ts_us": FIRST_US + hour * HOUR_US, "event_name": name,
                      "line_type": "sale", **who} for hour, name in known if name == "purchase"]  # fmt: skip
        names = [name for _, name in known]
        sessions += [{
            "session_key": chain, "event_date": day_of(visit.hour), "start_ts_us": FIRST_US + visit.hour * HOUR_US,
            "end_ts_us": FIRST_US + max(hour for hour, _ in known) * HOUR_US, "views": names.count("view_item"),
            "carts": names.count("add_to_cart"), "purchases": names.count("purchase"), **who,
        }] if known else []  # fmt: skip
    days = [{
        "event_date": day, "customer_key": who, "customer_id": max(c for *_, c in did) or f"c{who}", "events": len(did),
        "first_order_ts_us": min((FIRST_US + h * HOUR_US for h, n, _ in did if n == "purchase"), default=None),
        "orders": sum(n == "purchase" for _, n, _ in did), "views": sum(n == "view_item" for _, n, _ in did),
        "carts": sum(n == "add_to_cart" for _, n, _ in did), "categories": len(did) % 7,
        "revenue_net": Decimal(5 * who) if any(n == "purchase" for _, n, _ in did) else None,
    } for (day, who), did in by_day.items()]  # fmt: skip
    for spec, rows in ((CUSTOMER_DAY, days), (SILVER_SESSIONS, sessions), (COMMERCE_EVENTS, commerce)):
        write_days(lake, spec, rows)


def steps(home: Path, *known: tuple[list[Visit], int]) -> list[Rows]:
    """``dim_customer`` after each step, one lake brought on; that it is what its expressions say of all of silver."""
    made, lake, told = replace(create_home(home), timezone="UTC", threads=1), Lake(home / "lake"), []
    for came, through in known:
        silver(lake, CROWD + came, through)
        with engine(made) as backend:
            compute = DuckDB(backend)
            builder = StarBuilder(compute, lake, made)
            builder.dim_customer()
            days, sessions, commerce = (
                all_of(compute, lake.table(s)) for s in (CUSTOMER_DAY, SILVER_SESSIONS, COMMERCE_EVENTS)
            )
            newest, closed = [date.fromisoformat(builder.days[-1])], builder.month_ends[-1:]
            did = behaviours(days, visits(sessions, commerce), builder._ends(newest))
            of_all = dimensions.dim_customer(
                dimensions.customers_seen(days), did, days, builder._ends(newest), builder._ends(closed)
            )
            rows, expected = (backend.to_pyarrow(t.order_by("customer_key")).to_pylist()
                              for t in (all_of(compute, lake.table(gold("dim_customer"))), of_all))  # fmt: skip
        assert rows == expected
        told.append(rows)
    return told


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Has an entry for each time that days were added to customers who were known."""
    found, made = [], dimensions.customers_seen_since
    monkeypatch.setattr(dimensions, "customers_seen_since", lambda *tables: found.append(True) or made(*tables))
    return found


def column(rows: Rows, name: str, *customers: int) -> list[str]:
    """What is told of some customers."""
    return [str(row[name]) for row in rows if row["customer_key"] in customers]


def test_a_day_is_added_to_those_before_it(tmp_path: Path, added: list[bool]) -> None:
    """One comes again, one for the first time, one orders for the first time and one once more."""
    came = [Visit(1, 5), Visit(1, OLD), Visit(2, OLD), Visit(3, 5), Visit(3, OLD, order=True), Visit(4, 5, order=True),
            Visit(4, OLD, order=True)]  # fmt: skip
    _, rows = steps(tmp_path, (came, 2), (came, 3))
    assert added == [True]
    assert column(rows, "first_seen_date", 1, 2) == ["2024-01-01", "2024-01-04"]
    assert column(rows, "last_seen_date", 1, 2, 100) == ["2024-01-04", "2024-01-04", "2024-01-01"]
    assert column(rows, "first_order_date", 1, 3, 4) == ["None", "2024-01-04", "2024-01-01"]


def test_where_an_earlier_day_is_another_now_all_are_looked_at(tmp_path: Path, added: list[bool]) -> None:
    """A visit of long ago that nobody had heard of, then one that is taken back."""
    few = [Visit(1, 5), Visit(2, OLD)]
    *_, late, less = steps(tmp_path, (few, 4), ([*few, Visit(1, 30, order=True)], 5), (few[:1], 6))
    assert added == []
    assert column(late, "first_order_date", 1) == ["2024-01-02"]
    assert column(less, "first_order_date", 1, 2) == ["None"]


def test_customers_that_something_else_made_are_not_added_to(tmp_path: Path, added: list[bool]) -> None:
    """A commit of other rows by another hand, as a restored table would be."""
    came = [Visit(1, 5), Visit(2, OLD)]
    steps(tmp_path, (came, 2))
    table = Lake(tmp_path / "lake").table(gold("dim_customer"))
    table.commit([table.write("all", "other", [table.spec.schema.empty_table()])])
    steps(tmp_path, (came, 3))
    assert added == []


def test_two_customers_with_one_key_have_no_name_also_when_the_second_comes_later(tmp_path: Path) -> None:
    (rows,) = steps(tmp_path / "1", ([Visit(1, 5), Visit(1, OLD, called="another")], 3))
    *_, later = steps(tmp_path / "2", *(([Visit(1, 5), Visit(1, OLD, called="another")], day) for day in (2, 3, 4)))
    assert column(rows, "customer_id", 1) == column(later, "customer_id", 1) == ["None"]


def test_behaviour_looks_back_for_ninety_days(tmp_path: Path) -> None:
    """A cart that was left on the first day counts for the last time on the ninetieth."""
    came = [Visit(1, 5, cart=True), Visit(2, 24 * 89), Visit(2, 24 * 90)]
    counts, no_more = steps(tmp_path, (came, 89), (came, 90))
    assert column(counts, "behaviour_type", 1) == ["Cart abandoner"]
    assert column(no_more, "behaviour_type", 1) == ["Churn risk"]


VISITS = st.builds(
    Visit, customer=st.integers(1, 4), hour=st.integers(0, 24 * 6) | st.integers(24 * 88, 24 * 96),
    hours=st.integers(0, 23), cart=st.booleans(), order=st.booleans(),
)  # fmt: skip
DAYS = st.sets(st.integers(0, 8) | st.integers(85, 100), min_size=2, max_size=4)


@settings(max_examples=10, deadline=None)
@given(visits=st.lists(VISITS, max_size=14), days=DAYS)
def test_whatever_comes_the_days_one_by_one_are_all_days(visits: list[Visit], days: set[int]) -> None:
    """Also behaviour types, which look back for 90 days only, where most of what is told lies further back."""
    with TemporaryDirectory() as home:
        steps(Path(home), *((visits, day) for day in sorted(days)))
