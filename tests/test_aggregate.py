"""The aggregate profile: its figures are those of the snapshot, of ten customers or more, and blank for a reason."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from exports.aggregate import MINIMUM, Aggregate, aggregate
from exports.aggregate.declare import KINDS, Row
from exports.aggregate.goods import FURTHER
from exports.aggregate.guard import OTHER, Guard, withhold
from exports.bridge import bridge, totals
from resources.errors import UsageError
from tests.small_shop import FIRST, LAST, key, shop

WEEK = (date(2024, 3, 25), date(2024, 3, 31))
MONTH = (date(2024, 3, 4), date(2024, 3, 31))
BEFORE = (date(2024, 2, 5), date(2024, 3, 3))
HIDDEN = ("Rare", "Secret", "rarities", "Tinyland", "tablet", "Tiny", "pseudonym")

Sql = Callable[[str], list[tuple[Any, ...]]]


def sql_of(exports: Path) -> Sql:
    con = duckdb.connect()
    for folder in (exports / "tables").iterdir():
        con.execute(f"CREATE VIEW {folder.name} AS FROM '{folder}/*.parquet'")
    return lambda query: con.execute(query).fetchall()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Aggregate, Sql]:
    exports = tmp_path_factory.mktemp("exports")
    return aggregate(exports, shop().write(exports)), sql_of(exports)


def between(days: tuple[date, date]) -> str:
    return f"date_key BETWEEN {key(days[0])} AND {key(days[1])}"


def test_a_week_is_what_the_snapshot_says(made: tuple[Aggregate, Sql]) -> None:
    told, sql = made
    row = next(r for r in told.rows("week") if r["week"] == WEEK[0])
    assert [(row["orders"], row["units"], row["revenue_gross"], row["refunds"], row["revenue_net"])] == sql(
        f"""SELECT count(DISTINCT order_key) FILTER (line_type = 'sale'), sum(quantity) FILTER (line_type = 'sale'),
                   sum(revenue_gross)::DECIMAL(18, 2), sum(refund_amount)::DECIMAL(18, 2),
                   sum(revenue_net)::DECIMAL(18, 2) FROM fact_sales WHERE {between(WEEK)}"""
    )
    [(sessions, bought)] = sql(f"""SELECT count(*), count(*) FILTER (has_purchase = 'Yes') FROM fact_session
                                   WHERE is_bot = 'No' AND {between(WEEK)}""")
    assert (row["sessions"], row["conversion"]) == (sessions, round(bought / sessions, 6))
    known = "line_type = 'sale' AND customer_key <> -1 AND is_first_order ="
    assert [(row["first_orders"], row["returning_orders"])] == sql(
        f"""SELECT count(DISTINCT order_key) FILTER ({known} 'Yes'), count(DISTINCT order_key) FILTER ({known} 'No')
            FROM fact_sales WHERE {between(WEEK)}"""
    )
    [value] = [r for r in told.rows("key_figures") if r["figure"] == "revenue_net"]
    assert (value["value"], value["week"]) == (row["revenue_net"], WEEK[0])


def test_days_and_weeks_are_those_of_the_calendar(made: tuple[Aggregate, Sql]) -> None:
    told, _ = made
    assert [r["date"] for r in told.rows("day")] == [FIRST + timedelta(n) for n in range((LAST - FIRST).days + 1)]
    assert [r["week"] for r in told.rows("week")] == [FIRST + timedelta(7 * n) for n in range(9)]
    assert (told.week.first, told.month.first) == (WEEK[0], MONTH[0])


def test_programs_are_no_visits(made: tuple[Aggregate, Sql]) -> None:
    told, sql = made
    [(people, everybody)] = sql("SELECT count(*) FILTER (is_bot = 'No'), count(*) FROM fact_session")
    assert everybody > people == sum(r["sessions"] for r in told.rows("day"))


def test_the_bridge_is_that_of_the_totals(made: tuple[Aggregate, Sql], tmp_path: Path) -> None:
    told, _ = made
    steps = [r for r in told.rows("bridge") if r["period"] == "week"]
    net = {r["week"]: r["revenue_net"] for r in told.rows("week")}
    assert steps[0]["amount"] == net[WEEK[0] - timedelta(7)]
    assert steps[-1]["amount"] == net[WEEK[0]] == sum(s["amount"] for s in steps[:-1])
    shop().write(tmp_path)
    with duckdb.connect() as con:
        for folder in (tmp_path / "tables").iterdir():
            con.execute(f"CREATE VIEW {folder.name} AS FROM '{folder}/*.parquet'")
        whole, desk = (totals(con, *MONTH, only) for only in ({}, {"device": "desktop"}))
        assert desk.orders < whole.orders
        assert (desk.sessions or 0) < (whole.sessions or 0)
        assert bridge(whole, whole).after == bridge(whole, desk).before
        with pytest.raises(UsageError, match="weather: a bridge can be filtered by"):
            totals(con, *MONTH, {"weather": "fine"})


def test_products_stages_and_carts_are_what_the_snapshot_says(made: tuple[Aggregate, Sql]) -> None:
    told, sql = made
    for row in told.rows("products"):
        if row["product"] != OTHER:
            [(orders, gross)] = sql(f"""SELECT count(DISTINCT order_key), sum(revenue_gross)::DECIMAL(18, 2)
                FROM fact_sales JOIN dim_product USING (product_key)
                WHERE product_id = '{row["product_id"]}' AND line_type = 'sale' AND {between(MONTH)}""")
            assert (row["orders"], row["revenue_gross"]) == ((orders + 5) // 10 * 10, gross)  # orders are told in tens
    stages = {r["stage"]: r["sessions"] for r in told.rows("funnel")
              if (r["period"], r["dimension"]) == ("last four weeks", "all")}  # fmt: skip
    [(visits, ordered)] = sql(f"""SELECT count(*), count(*) FILTER (has_purchase = 'Yes') FROM fact_session
                                  WHERE is_bot = 'No' AND {between(MONTH)}""")
    assert (stages["visit"], stages["order"]) == (visits, ordered)
    items = {r["outcome"]: r["items"] for r in told.rows("cart_outcomes") if r["period"] == "last four weeks"}
    assert items == dict(sql(f"""SELECT status, count(*) FROM fact_cart_item
                                 WHERE {between(MONTH).replace("date_key", "added_date_key")} GROUP BY 1"""))


def test_cells_are_of_the_declared_kind(made: tuple[Aggregate, Sql]) -> None:
    numbers = (int, float, Decimal)
    types = {"date": date, "int": int, "money": Decimal, "number": numbers, "share": numbers, "text": str}
    assert set(types) == set(KINDS)
    for name, filled in made[0].tables.items():
        for row in filled.rows:
            assert list(row) == [c.name for c in filled.table.columns], name
            for column in filled.table.columns:
                assert row[column.name] is None or isinstance(row[column.name], types[column.kind]), (name, column)
        assert all(c.description and (c.unit or c.kind in {"text", "date", "int"}) for c in filled.table.columns), name


def test_nobody_of_fewer_than_ten_is_named(made: tuple[Aggregate, Sql]) -> None:
    told, sql = made
    cells = [str(v) for f in told.tables.values() for r in f.rows for v in r.values()]
    assert not [c for c in cells if c in HIDDEN or "pseudonym" in c]
    # What is folded holds ten customers: the total less the listed ones tells of no fewer.
    for table, member, of in (("products", "product", "product_name"), ("categories", "category", "category_1")):
        listed = ", ".join("'" + r[member].replace("'", "''") + "'" for r in told.rows(table) if r[member] != OTHER)
        [(folded,)] = sql(f"""SELECT count(DISTINCT customer_key) FROM fact_sales JOIN dim_product USING (product_key)
                              WHERE line_type = 'sale' AND {between(MONTH)} AND {of} NOT IN ({listed})""")
        assert folded >= MINIMUM


def test_the_smallest_row_beside_a_blank_one_is_blank_too() -> None:
    people = [(1, 3), (1, 12), (1, 15), (1, 0), (2, 10), (2, 11), (3, 9)]
    rows: list[Row] = [{"week": week, "people": n, "orders": n, "notes": None} for week, n in people]
    withhold(rows, [Guard("people", ("orders",), "buyers", ("week",))])
    assert [r["orders"] for r in rows] == [None, None, 15, 0, 10, 11, None]
    assert [bool(r["notes"]) for r in rows] == [True, True, False, False, False, False, True]
    assert "people" not in rows[0]


def test_a_category_less_its_products_tells_of_nobody(tmp_path: Path) -> None:
    """Nine buy the rare book, eight others an odd toy: together seventeen, of each category too few."""
    known = shop()
    lines = [r for r in known.rows["fact_sales"] if r["product_key"] != 5]
    odd = [{**r, "product_key": 6, "line_number": 20} for r in lines if r["product_key"] == 1
           and 30 <= r["customer_key"] < 38 and r["line_type"] == "sale"]  # fmt: skip
    known.rows["fact_sales"] = lines + odd
    toy = next(r for r in known.rows["dim_product"] if r["product_key"] == 1)
    known.rows["dim_product"].append({**toy, "product_key": 6, "product_durable_key": 6, "product_id": "p6"})
    told, sql = aggregate(tmp_path, known.write(tmp_path)), sql_of(tmp_path)
    assert {r["category"] for r in told.rows("categories")} == {"toys", "books"}
    for category in ("toys", "books"):
        for column, days in (("revenue_gross", MONTH), ("revenue_before", BEFORE)):
            told_of = [r["product_id"] for r in told.rows("products") if r[column] is not None]
            listed = ", ".join(f"'{p}'" for p in told_of if p) or "''"
            [(persons,)] = sql(f"""SELECT count(DISTINCT customer_key) FROM fact_sales
                JOIN dim_product USING (product_key) WHERE line_type = 'sale' AND {between(days)}
                AND category_1 = '{category}' AND product_id NOT IN ({listed})""")
            assert persons == 0 or persons >= MINIMUM, (category, column)


def test_days_of_few_buyers_are_blank_and_cannot_be_told_from_their_week(tmp_path: Path) -> None:
    told = aggregate(tmp_path, shop(customers=36).write(tmp_path))
    sql = sql_of(tmp_path)
    kinds = {"orders": "line_type = 'sale'", "refunds": "line_type = 'refund'"}
    for column, kind in kinds.items():
        people = dict(sql(f"SELECT date_key, count(DISTINCT customer_key) FROM fact_sales WHERE {kind} GROUP BY 1"))
        weeks: dict[date, list[int | None]] = defaultdict(list)
        for row in told.rows("day"):
            count = people.get(key(row["date"]), 0)
            if 0 < count < MINIMUM:
                assert row[column] is None
                assert "fewer than 10" in row["notes"]
            if row[column] is None:
                weeks[row["week"]].append(count)
        assert weeks, column
        whole = {r["week"]: r[column] for r in told.rows("week")}
        for week, counts in weeks.items():
            assert whole.get(week) is None or len(counts) > 1, "a total less six days tells the seventh"
    hidden = {r["date"] for r in told.rows("day") if r["units"] is None}
    shown = {r["date"] for r in told.rows("forecast") if r["actual"] is not None}
    assert hidden
    assert not hidden & shown


@pytest.mark.parametrize(("flags", "blank"), [
    (("has_views", "has_refunds", "has_cart"), {"week.sessions", "week.conversion", "day.sessions", "funnel.",
                                                "week.refunds", "week.revenue_net", "cart_outcomes."}),
    (("has_price", "has_categories", "has_country", "has_checkout"), {
        "week.revenue_gross", "products.revenue_gross", "product_movers.", "bridge.", "cart_outcomes.value",
        "categories.", "products.category", "origins.by country", "funnel.the stage checkout"}),
])  # fmt: skip
def test_what_no_source_tells_is_blank_and_says_why(tmp_path: Path, flags: tuple[str, ...], blank: set[str]) -> None:
    told = aggregate(tmp_path, shop(dict.fromkeys(flags, "No"), customers=24).write(tmp_path))
    reasons = {f"{r['table']}.{r['column'] or ''}": r["reason"] for r in told.rows("blanks")}
    assert blank <= set(reasons)
    for name in blank:
        table, column = name.split(".")
        assert reasons[name].endswith("from handmade") or "handmade, so" in reasons[name]
        if column in {c.name for c in told.tables[table].table.columns}:
            assert {r[column] for r in told.rows(table)} == {None}
        elif not column:
            assert not told.rows(table)


def test_the_same_snapshot_gives_the_same_rows(made: tuple[Aggregate, Sql], tmp_path: Path) -> None:
    again = aggregate(tmp_path, shop().write(tmp_path))
    assert {n: f.rows for n, f in again.tables.items()} == {n: f.rows for n, f in made[0].tables.items()}


def test_products_beyond_the_list_are_told_together(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of two products that may be told one is listed; what all rows sold is what was sold."""
    monkeypatch.setattr("exports.aggregate.goods.LISTED", 1)
    rows = aggregate(tmp_path, shop().write(tmp_path)).rows("products")
    assert [r["rank"] for r in rows] == [1, None, None]
    assert [r["product"] for r in rows[1:]] == [FURTHER, OTHER]
    with duckdb.connect() as con:
        sold = con.execute(f"""SELECT sum(quantity)::BIGINT, sum(revenue_gross)::DECIMAL(18, 2)
            FROM read_parquet('{tmp_path}/tables/fact_sales/*.parquet')
            WHERE line_type = 'sale' AND {between(MONTH)}""").fetchall()
    assert [(sum(r["units"] for r in rows), sum(r["revenue_gross"] for r in rows))] == sold


def test_four_weeks_are_told_without_what_was_before(tmp_path: Path) -> None:
    """30 days hold four whole weeks (4 March to 31 March); the weeks before them are not known."""
    told = aggregate(tmp_path, shop(last_days=30).write(tmp_path))
    for table in ("products", "categories", "origins"):
        rows = told.rows(table)
        assert sum(r["units"] or 0 for r in rows) > 0, table
        assert {(r["orders_before"], r["revenue_before"], r["revenue_change"]) for r in rows} == {(None, None, None)}
        assert "eight complete weeks" in told.tables[table].blank["revenue_before"]
    assert not told.compares
    assert {r["period"] for r in told.rows("funnel")} == {"last four weeks"}
    assert "eight complete weeks" in told.tables["product_movers"].blank[""]


def test_a_home_of_a_few_days_has_no_weeks(tmp_path: Path) -> None:
    told = aggregate(tmp_path, shop(customers=12, last_days=4).write(tmp_path))
    assert not told.rows("week")
    assert told.rows("day")
    assert {"key_figures", "bridge", "funnel", "products"} <= {r["table"] for r in told.rows("blanks")}


