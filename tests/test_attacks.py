"""Re-identification (P17): what succeeds on the internal profile fails on the aggregate one, and on two releases."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exports.aggregate import MINIMUM, Aggregate, Span, aggregate, remember
from exports.aggregate.former import FILE
from exports.aggregate.shop import Shop
from exports.report import page
from tests.small_shop import FIRST, LAST, SmallShop, key, number, shop

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
try:
    import attacks
    import reidentification
finally:
    sys.path.pop(0)

Star = tuple[Aggregate, duckdb.DuckDBPyConnection]


def release(exports: Path, made: SmallShop, through: date | None = None) -> Aggregate:
    """Publish: what is told now, with what was told before in mind. ``through``: only days up to it are known."""
    if through:
        made = deepcopy(made)
        for name, column in (("fact_session", "date_key"), ("fact_sales", "date_key"),
                             ("fact_cart_item", "added_date_key")):  # fmt: skip
            made.rows[name] = [r for r in made.rows[name] if r[column] <= key(through)]
    manifest = made.write(exports) | ({"data_through": through.isoformat()} if through else {})
    told = aggregate(exports, manifest)
    remember(exports, told.memory)
    return told


def figures(told: Aggregate) -> dict[str, Any]:
    return {name: filled.rows for name, filled in told.tables.items()}


def opened(exports: Path) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    for folder in (exports / "tables").iterdir():
        con.execute(f"CREATE VIEW {folder.name} AS FROM '{folder}/*.parquet'")
    return con


def successes(exports: Path, told: Aggregate) -> list[tuple[str, int]]:
    """Every figure or combination of figures of the aggregate profile that concerns one to nine persons."""
    with opened(exports) as con:
        return [hit for f in attacks.families(con, told).values() for hit in attacks.derived(f.cells, f.persons)]


def test_the_attacker_can_subtract() -> None:
    """Of twelve rows of twelve persons, ten are told apart: the total less these is of two."""
    everybody = frozenset(range(12))
    persons = {n: f"person {n}" for n in everybody}
    assert not attacks.derived({"total": everybody}, persons)
    assert [n for _, n in attacks.derived({"total": everybody, "ten": frozenset(range(10))}, persons)] == [2, 2]
    # Three figures of fifteen, of which none is part of another, and all less two of them are five.
    thirds = {"a": frozenset(range(10)), "b": frozenset(range(5, 15)), "c": frozenset(range(15))}
    persons = {n: f"person {n}" for n in range(15)}
    assert 5 in [n for _, n in attacks.derived(thirds, persons)]


def test_the_attacker_finds_a_cell_of_nine(tmp_path: Path) -> None:
    """Planted: a day whose row was not withheld although nine bought."""
    made = shop()
    day = FIRST + timedelta(days=3)
    for name in ("fact_sales", "fact_session"):
        made.rows[name] = [r for r in made.rows[name] if r["date_key"] != key(day)
                           or r["customer_key"] in range(30, 39)]  # fmt: skip
    told = release(tmp_path, made)
    assert not successes(tmp_path, told)
    days = told.tables["day"]
    leak = replace(days, rows=tuple({**r, "units": 7} if r["date"] == day else r for r in days.rows))
    assert successes(tmp_path, replace(told, tables={**told.tables, "day": leak}))


@pytest.mark.parametrize("customers", [60, 36, 24, 20, 12, 9, 0])
def test_aggregate_tells_of_nobody(tmp_path: Path, customers: int) -> None:
    assert successes(tmp_path, release(tmp_path, shop(customers=customers))) == []


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(customers=st.integers(0, 30), seed=st.integers(0, 10**6), kept=st.floats(0.2, 1), days=st.integers(1, 65))
def test_no_tiny_shop_tells_of_anybody(customers: int, seed: int, kept: float, days: int) -> None:
    made, dice = shop(customers=customers, last_days=days), Random(seed)  # noqa: S311 - no secret
    for name in ("fact_session", "fact_sales", "fact_cart_item"):
        made.rows[name] = [r for r in made.rows.get(name, []) if dice.random() < kept]
    with TemporaryDirectory() as folder:
        assert successes(Path(folder), release(Path(folder), made)) == []


def test_little_knowledge_singles_out_on_internal(tmp_path: Path) -> None:
    """Sixty customers, each order of its own value: who knows one value knows the person."""
    shop().write(tmp_path)
    with opened(tmp_path) as con:
        rates = {o.attack: o.rate for o in [*attacks.singled_out(con), *attacks.unique_by_points(con)]}
    assert rates["day and value of an order"] == 1
    points = [rates[name] for name in rates if "points" in name]
    assert points == sorted(points)
    assert points[-1] > 0


def test_releases_are_linked_by_id_and_after_a_rotation_by_behaviour_only() -> None:
    before = {"a": (1, 2), "b": (3,), "c": (3,)}
    truth = {"a": "x", "b": "y", "c": "z"}
    after = {"x": (1, 2), "y": (3,), "z": (3,)}
    assert attacks.linked_by_id(before, before, {n: n for n in before}).rate == 1
    assert attacks.linked_by_id(before, after, truth).rate == 0
    assert attacks.linked_by_behaviour(before, after, truth).hits == 1  # b and c are alike


def without(made: SmallShop, *customers: int) -> SmallShop:
    """The shop after an erasure."""
    left = deepcopy(made)
    for name, rows in left.rows.items():
        left.rows[name] = [r for r in rows if r.get("customer_key") not in customers]
    return left


def with_late(made: SmallShop, customers: range, day: date) -> SmallShop:
    """The shop with one more order of each of some customers (who were not there on that day)."""
    later = deepcopy(made)
    line = next(r for r in later.rows["fact_sales"] if r["line_type"] == "sale")
    for customer in customers:
        later.rows["fact_sales"].append({**line, "order_key": number("late", customer), "customer_key": customer,
                                         "date_key": key(day), "revenue_gross": Decimal(100),
                                         "revenue_net": Decimal(100)})  # fmt: skip
    return later


CHANGES: dict[str, Callable[[SmallShop], SmallShop]] = {
    "one person is erased": lambda s: without(s, 20),
    "nine persons are erased": lambda s: without(s, *range(20, 29)),
    "one order is late": lambda s: with_late(s, range(1000, 1001), date(2024, 3, 27)),
    "nine orders are late": lambda s: with_late(s, range(1000, 1009), date(2024, 3, 27)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_two_releases_of_the_same_days_tell_nothing_of_a_few(tmp_path: Path, name: str) -> None:
    before = release(tmp_path, shop())
    after = release(tmp_path, CHANGES[name](shop()))
    assert figures(after) == figures(before)
    (tmp_path / FILE).unlink()  # what the memory is for: without it the difference is there for everybody
    assert figures(release(tmp_path, CHANGES[name](shop()))) != figures(before)


def test_many_late_orders_are_told_and_add_up(tmp_path: Path) -> None:
    """Twelve customers more on 27 March, each with an order of 100: the day and its week say so, and no other day."""
    day, monday = date(2024, 3, 27), date(2024, 3, 25)
    before = release(tmp_path, shop(customers=120))
    after = release(tmp_path, with_late(shop(customers=120), range(1000, 1012), day))

    def changed(table: str, of: str) -> dict[Any, Any]:
        return {b[of]: b["revenue_gross"] - a["revenue_gross"]
                for a, b in zip(before.rows(table), after.rows(table), strict=True) if a != b}  # fmt: skip

    assert changed("day", "date") == {day: 1200}
    assert changed("week", "week") == {monday: 1200}
    assert before.rows("products") == after.rows("products")  # four weeks are told once


def test_what_is_told_later_does_not_tell_of_an_erasure_before(tmp_path: Path) -> None:
    """Told through 25 February; customer 20 is erased; four weeks later everything adds up to the weeks as told."""
    release(tmp_path, shop(), FIRST + timedelta(days=27))
    told = release(tmp_path, without(shop(), 20))
    month, before = told.month, told.month.before
    weeks = {span: [w for w in told.rows("week") if span.first <= w["week"] <= span.last] for span in (month, before)}
    for table in ("products", "categories", "origins"):
        parts = {r.get("dimension") for r in told.rows(table)}
        for part in parts:
            rows = [r for r in told.rows(table) if r.get("dimension") == part]
            for column in ("units", "revenue_gross"):
                assert sum(r[column] for r in rows) == sum(w[column] for w in weeks[month]), (table, part, column)
    stages = [r for r in told.rows("funnel") if (r["dimension"], r["stage"]) == ("all", "visit")]
    assert {r["period"]: r["sessions"] for r in stages} == {
        "last four weeks": sum(w["sessions"] for w in weeks[month]),
        "four weeks before": sum(w["sessions"] for w in weeks[before])}  # fmt: skip


@pytest.mark.parametrize("customers", [60, 36])
def test_a_week_told_day_by_day_tells_no_more_than_at_once(tmp_path: Path, customers: int) -> None:
    """Published every evening for five weeks: the last release is clean, and so is what all releases tell of a day."""
    made, known = shop(customers=customers), dict[Any, set[Any]]()
    for n in range(20, 37):
        told = release(tmp_path, made, FIRST + timedelta(days=n))
        for row in told.rows("day"):
            known.setdefault(row["date"], set()).add(row["units"])
        assert successes(tmp_path, told) == []
    assert all(len(units - {None}) <= 1 for units in known.values())


def forgetting(exports: Path) -> None:
    """What was told stays known, but not what it was made from: everything is computed."""
    told = json.loads((exports / FILE).read_text("utf-8"))
    for rows in (told["day"], told.get("week", {})):
        for row in rows.values():
            del row["made_of"]
    (exports / FILE).write_text(json.dumps(told), "utf-8")


STEPS = st.tuples(st.sampled_from([None, *CHANGES]), st.integers(0, 12))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(customers=st.sampled_from([24, 60]), steps=st.lists(STEPS, min_size=2, max_size=4), began=st.integers(1, 50))
def test_a_week_that_nothing_changed_is_told_as_if_it_were_computed(
    customers: int, steps: list[tuple[str | None, int]], began: int
) -> None:
    made, through = shop(customers=customers), FIRST + timedelta(days=began)
    with TemporaryDirectory() as one, TemporaryDirectory() as other:
        release(Path(one), made, through)
        release(Path(other), made, through)
        for name, days in steps:
            through = min(through + timedelta(days=days), LAST)
            made = CHANGES[name](made) if name else made
            forgetting(Path(other))
            assert figures(release(Path(one), made, through)) == figures(release(Path(other), made, through))


def test_only_weeks_that_changed_are_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release(tmp_path, shop())
    asked = []
    rows = Shop.rows

    def noted(self: Shop, sql: str, **values: Any) -> list[Any]:
        if "k_visitors" in sql:
            asked.append((values["first"], values["last"]))
        return rows(self, sql, **values)

    monkeypatch.setattr(Shop, "rows", noted)
    release(tmp_path, with_late(shop(), range(1000, 1012), date(2024, 4, 1)))
    assert asked == [(20240401, 20240402)], "days of a week that is not over"
    release(tmp_path, shop())
    asked.clear()
    release(tmp_path, with_late(shop(), range(1000, 1012), date(2024, 3, 27)))
    assert asked == [(20240226, 20240331)] * 2, "days and weeks of March, which is one part; April is as before"
    asked.clear()
    release(tmp_path, with_late(shop(), range(1000, 1012), date(2024, 3, 27)))
    assert asked == []


def test_blocks_of_four_weeks_do_not_overlap(tmp_path: Path) -> None:
    """Weeks move on, the four weeks stay until the next four are over."""
    manifest = shop().write(tmp_path)
    ends = [FIRST + timedelta(days=n) for n in range(34, 63, 7)]
    spans = {aggregate(tmp_path, manifest | {"data_through": end.isoformat()}).month for end in ends}
    assert spans == {Span(date(2024, 2, 5), date(2024, 3, 3)), Span(date(2024, 3, 4), date(2024, 3, 31))}


def test_segments_are_of_ten_and_in_tens(tmp_path: Path) -> None:
    sizes = [r["customers"] for r in release(tmp_path, shop()).rows("segments")]
    assert sizes
    assert all(n >= MINIMUM and n % 10 == 0 for n in sizes)


def test_erased_records_are_not_told_apart(tmp_path: Path) -> None:
    """Three records of erased persons on a day would tell when one of them was there."""
    made = shop()
    made.rows["fact_data_quality"][0] |= {"quarantined": 4, "suppressed": 3}
    [row] = release(tmp_path, made).rows("data_quality")
    assert row["set_aside"] == 7
    assert not {"suppressed", "quarantined"} & row.keys()


def test_the_report_is_made_of_the_aggregate_tables_and_nothing_else(tmp_path: Path) -> None:
    told = release(tmp_path, shop())
    for file in tmp_path.rglob("*.parquet"):
        file.unlink()
    assert "<html" in page(told)


def test_the_memory_holds_no_small_group(tmp_path: Path) -> None:
    """Numbers of persons in it are of ten or more, or 0; a smaller one is not noted."""
    told = release(tmp_path, shop(customers=36))
    counts = [n for rows in (told.memory["day"], told.memory["week"]) for r in rows.values()
              for n in r["persons"].values()]  # fmt: skip
    assert None in counts
    assert all(n is None or n == 0 or n >= MINIMUM for n in counts)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> str:
    return reidentification.report(reidentification.make_home(tmp_path_factory.mktemp("shop")))


def test_the_documentation_tells_what_is_measured_now(simulated: str) -> None:
    """Also: on a simulated shop's home nothing succeeds on the aggregate profile."""
    assert simulated.splitlines()[-1].endswith("| 0 |")
    text = reidentification.DOCUMENT.read_text("utf-8")
    published = text.partition(reidentification.BEGIN)[2].partition(reidentification.END)[0]
    assert simulated in published, "run python benchmarks/reidentification.py --write"
