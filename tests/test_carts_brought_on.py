"""``fact_cart_item``, brought on day by day, is what its expression says of all days together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from behavior_assets.sessions.sessionise import SILVER_SESSIONS
from behavior_assets.star import build
from behavior_assets.star.aggregates import COMMERCE_EVENTS, PRODUCT_DAY
from behavior_assets.star.carts import fact_cart_item
from exports.contract import gold
from resources.compute import DuckDB, all_of
from resources.engine import engine
from resources.lake import Lake
from resources.settings import Settings, create_home
from tests.silver_days import write_days

FIRST = date(2024, 1, 1)
FIRST_US, HOUR_US, WINDOW_HOURS = 1_704_067_200_000_000, 3_600_000_000, 72
NAMES = ("add_to_cart", "remove_from_cart", "purchase")
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Touch:
    """At an hour after 2024 began somebody (negative: whom nobody knows) does something to a product."""

    hour: int
    name: str = "add_to_cart"
    owner: int = 1
    product: str = "p"
    category: str | None = "toys"

    @property
    def day(self) -> date:
        """The day of it."""
        return FIRST + timedelta(days=self.hour // 24)


CROWD = [Touch(n % 24, owner=100 + n, product="other") for n in range(60)]  # what they left is abandoned


def silver(lake: Lake, touches: Sequence[Touch]) -> None:
    """What silver holds of these: one visit each, and a product's category on the days on which it was touched."""
    commerce: Rows = []
    sessions: Rows = []
    for key, touch in enumerate(touches):
        moment = FIRST_US + touch.hour * HOUR_US
        who = {"event_date": touch.day, "chain_key": 1000 + abs(touch.owner),
               "customer_key": touch.owner if touch.owner > 0 else None}  # fmt: skip
        commerce += [{
            **who, "event_key": key, "event_ts_us": moment, "event_name": touch.name, "product_id": touch.product,
            "line_type": "sale" if touch.name == "purchase" else None, "quantity": 1, "price": Decimal(key % 5 + 1),
        }] if touch.name in NAMES else []  # fmt: skip
        sessions.append({**who, "session_key": key, "start_ts_us": moment, "end_ts_us": moment})
    seen = {(t.day, t.product): t.category for t in sorted(touches, key=lambda t: t.hour)}
    products = [{"event_date": day, "product_id": product, "category": category, "price": Decimal(1)}
                for (day, product), category in seen.items()]  # fmt: skip
    for spec, rows in ((COMMERCE_EVENTS, commerce), (SILVER_SESSIONS, sessions), (PRODUCT_DAY, products)):
        write_days(lake, spec, rows)


def settings_of(home: Path) -> Settings:
    return replace(create_home(home), timezone="UTC", threads=1, cart_abandonment_hours=WINDOW_HOURS)


def bring_on(home: Path, last_hour: int) -> Rows:
    """Bring the table up to date; that it is what its expression says of all of silver."""
    lake, made = Lake(home / "lake"), settings_of(home)
    with engine(made) as backend:
        compute = DuckDB(backend)
        builder = build.StarBuilder(compute, lake, made)
        for make in (builder.dim_category, builder.dim_product, builder.fact_cart_item):
            make()
        newest = FIRST_US + last_hour * HOUR_US
        commerce, products = (all_of(compute, lake.table(s)) for s in (COMMERCE_EVENTS, gold("dim_product")))
        of_all = fact_cart_item(commerce, products, WINDOW_HOURS * HOUR_US, newest)
        rows, expected = (backend.to_pyarrow(t.order_by("cart_key")).to_pylist()
                          for t in (all_of(compute, lake.table(gold("fact_cart_item"))), of_all))  # fmt: skip
        names = {p["product_key"]: p["product_id"] for p in backend.to_pyarrow(products).to_pylist()}
    assert rows == expected
    return [row | {"product": names[row["product_key"]]} for row in rows if row["customer_key"] < 100]


def steps(home: Path, *known: Sequence[Touch]) -> list[Rows]:
    """The table after each step, one lake brought on."""
    settings_of(home)
    told = []
    for touches in known:
        silver(Lake(home / "lake"), [*CROWD, *touches])
        told.append(bring_on(home, max(t.hour for t in (*CROWD, *touches))))
    return told


def day_by_day(home: Path, touches: Sequence[Touch], *days: int) -> list[Rows]:
    """The table at the end of each of these days, counted from the first."""
    touches = sorted(touches, key=lambda t: t.hour)
    return steps(home, *([t for t in touches if t.hour < 24 * (day + 1)] for day in days))


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> list[date]:
    """Has, for each time that days were added, the first day on which carts were looked at anew."""
    found, made = [], build.fact_cart_item_since
    monkeypatch.setattr(build, "fact_cart_item_since", lambda *a: found.append(a[1]) or made(*a))
    return found


def of(rows: Rows, name: str) -> dict[str, str]:
    """What is told of the carts by product, oldest first."""
    told: dict[str, str] = {}
    for row in sorted(rows, key=lambda r: (r["added_date_key"], r["last_date_key"])):
        told[row["product"]] = " ".join([*told.get(row["product"], "").split(), str(row[name])])
    return told


def test_carts_of_earlier_days_go_on(tmp_path: Path, added: list[date]) -> None:
    """One is bought, one is added to after a silence, one taken out and begun again; one begins."""
    touches = [
        Touch(5, product="bought"), Touch(125, "purchase", product="bought"),
        Touch(6, product="more"), Touch(126, product="more"),
        Touch(7, product="again"), Touch(8, "remove_from_cart", product="again"), Touch(127, product="again"),
        Touch(110, "purchase", product="no cart"), Touch(128, product="new", owner=-3),
    ]  # fmt: skip
    before, after = day_by_day(tmp_path, touches, 4, 5)
    assert of(before, "status") == {"bought": "abandoned", "more": "abandoned", "again": "removed"}
    assert of(after, "status") == {"bought": "recovered", "more": "open", "again": "removed open", "new": "open"}
    assert of(after, "quantity") == {"bought": "1", "more": "2", "again": "1 1", "new": "1"}
    assert added == [date(2024, 1, 2)]  # where what is abandoned now may have been open


def test_an_open_cart_is_abandoned_though_nobody_touches_it(tmp_path: Path, added: list[date]) -> None:
    """The next that anybody does comes long after its window of three days."""
    before, after = day_by_day(tmp_path, [Touch(100, product="left"), Touch(300, product="last")], 4, 12)
    assert of(before, "status") == {"left": "open"}
    assert of(after, "status") == {"left": "abandoned", "last": "open"}
    assert added == [date(2024, 1, 5)]


def test_a_category_that_is_known_later_is_told_of_earlier_carts(tmp_path: Path, added: list[date]) -> None:
    """The cart itself is abandoned by then, and nobody looks at it anew."""
    touches = [Touch(5, category=None), Touch(110, owner=2, product="q"), Touch(126, owner=2, category="toys")]
    before, after = day_by_day(tmp_path, touches, 4, 5)
    (unnamed, named) = ([r["category_key"] for r in rows if r["customer_key"] == 1] for rows in (before, after))
    assert unnamed != named
    assert added == [date(2024, 1, 2)]


def test_where_an_earlier_day_is_another_now_all_carts_are_looked_at(tmp_path: Path, added: list[date]) -> None:
    """An add that was not known; then one that is taken back; then another category of an earlier day."""
    few = [Touch(5), Touch(80, owner=2)]
    steps(tmp_path, few, [*few, Touch(6, product="late"), Touch(126)], [*few, Touch(126)],
          [Touch(5, category="home"), few[1], Touch(126), Touch(150)])  # fmt: skip
    assert added == []


def test_another_window_is_for_all_carts(tmp_path: Path, added: list[date], monkeypatch: pytest.MonkeyPatch) -> None:
    few = [Touch(5), Touch(30, owner=2)]
    steps(tmp_path, few)
    monkeypatch.setattr(f"{__name__}.WINDOW_HOURS", 24)
    (rows,) = steps(tmp_path, [*few, Touch(60, owner=3)])
    assert of(rows, "status") == {"p": "abandoned abandoned open"}
    assert added == []


def test_where_the_newest_event_goes_back_carts_are_open_again(tmp_path: Path, added: list[date]) -> None:
    """A visit was told again, and is hours earlier now."""
    cart = Touch(20, owner=2)
    before, after = steps(tmp_path, [cart, Touch(95, "view_item", 3)], [cart, Touch(90, "view_item", 3)])
    assert (of(before, "status"), of(after, "status")) == ({"p": "abandoned"}, {"p": "open"})
    assert added == [date(2023, 12, 31)]


def test_a_product_version_that_went_with_a_person_is_told_of_no_cart(tmp_path: Path) -> None:
    """Only who is erased had seen it in that category; the sums of the day lose that and are else as they were made."""
    erased, much_later = Touch(30, "view_item", 666, category="home"), Touch(200, "view_item", product="other")
    (before,) = steps(tmp_path, [Touch(5, category="toys"), erased, Touch(60, owner=5, category=None), much_later])
    table = Lake(tmp_path / "lake").table(PRODUCT_DAY)
    (seen,) = table.parts()["2024-01-02"]
    table.commit([table.write("2024-01-02", "made", [PRODUCT_DAY.schema.empty_table()], seen.sha256)])
    assert [f.as_made for f in table.parts()["2024-01-02"]] == [seen.as_made]
    after = bring_on(tmp_path, 200)
    assert len({row["product_key"] for row in before}) == 2
    assert len({row["product_key"] for row in after}) == 1


TOUCHES = st.builds(
    Touch, hour=st.integers(0, 24 * 12), name=st.sampled_from(NAMES), owner=st.sampled_from([1, 2, -3]),
    product=st.sampled_from(["p", "q"]), category=st.sampled_from([None, "toys", "home"]),
)  # fmt: skip


@settings(max_examples=10, deadline=None)
@given(touches=st.lists(TOUCHES, max_size=25), days=st.sets(st.integers(0, 12), min_size=2, max_size=4))
def test_whatever_comes_the_days_one_by_one_are_all_days(touches: list[Touch], days: set[int]) -> None:
    with TemporaryDirectory() as home:
        day_by_day(Path(home), touches, *sorted(days))
