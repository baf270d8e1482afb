"""Every measure of the Power BI model tells what its SQL tells, under any filter; and what it tells is right."""

from __future__ import annotations

import math
from datetime import date
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from exports.contract import published
from exports.measures.catalog import measures
from exports.measures.sql import Filter, query, tables_of, unrelated
from exports.names import places
from tests.conftest import require_packages
from tests.dax import DaxModel
from tests.little_star import LittleStar

if TYPE_CHECKING:
    from collections.abc import Iterator

FILTERS: dict[str, dict[str, list[str]]] = {
    "nothing chosen": {},
    "a year": {"Year": ["2025"]},
    "a leap year's February, a year before": {"Year Month": ["2025-02"]},
    "a month that has just begun": {"Year Month": ["2026-01"], "Country": ["France"]},
    "days that are still to come": {"Year Month": ["2026-02"]},
    "one day": {"Date": ["2026-01-05"]},
    "Mondays": {"Weekday": ["Monday"], "Year Month": ["2026-01", "2025-12"]},
    "a brand, whose products have versions": {"Brand": ["acme"], "Year": ["2025"]},
    "a category": {"Category Level 1": ["toys"]},
    "a source that tells no prices": {"Source": ["taobao"]},
    "a source that tells orders only": {"Source": ["online_retail"]},
    "two dimensions": {"Source": ["ga4"], "Device": ["mobile"]},
    "a segment": {"Customer Months[RFM Segment]": ["Lost"]},
    "another prefix": {"Events Seen": ["3"]},
    "another horizon, one decile": {"Customer Predictions[Horizon Days]": ["7"],
                                    "Customer Predictions[Decile]": ["10"]},
    "a model": {"Model": ["session_purchase"], "Metric": ["auc"], "Of Which Rows": ["all"]},
    "a forecast horizon": {"Sales Forecasts[Horizon Days]": ["3"]},
}  # fmt: skip


def chosen(wanted: dict[str, list[str]]) -> list[Filter]:
    """Filters by the names that a reader sees."""
    return [Filter(places()[name.lower()], tuple(values)) for name, values in wanted.items()]


@pytest.fixture(scope="module")
def star() -> LittleStar:
    return LittleStar()


@pytest.fixture(scope="module")
def con(star: LittleStar) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as made:
        for name, rows in star.tables.items():
            made.register("made", rows)
            made.execute(f"CREATE TABLE {name} AS FROM made")
        yield made


@pytest.fixture(scope="module")
def dax(star: LittleStar) -> DaxModel:
    require_packages("pbix_mcp")
    return DaxModel(star.tables)


_figures: dict[str, dict[str, Any]] = {}


def figures(con: duckdb.DuckDBPyConnection, wanted: dict[str, list[str]]) -> dict[str, Any]:
    """Every measure by SQL under filters; asked once."""
    key = str(wanted)
    if key not in _figures:
        _figures[key] = {n: con.execute(query(n, chosen(wanted))).fetchall()[0][0] for n in measures()}
    return _figures[key]


def same(told: Any, wanted: Any) -> bool:
    """Equal; a blank is only a blank, and never 0."""
    if told is None or wanted is None or isinstance(wanted, str):
        return told == wanted
    if isinstance(wanted, date):
        return str(told).removesuffix(" 00:00:00") == str(wanted)
    return math.isclose(float(told), float(wanted), rel_tol=1e-9, abs_tol=1e-9)


@pytest.mark.parametrize("wanted", FILTERS.values(), ids=FILTERS.keys())
def test_power_bi_and_sql_tell_the_same(
    con: duckdb.DuckDBPyConnection, dax: DaxModel, wanted: dict[str, list[str]]
) -> None:
    filters = chosen(wanted)
    told, found = dax.values(measures(), filters), figures(con, wanted)
    assert {n: (told[n], found[n]) for n in measures() if not same(told[n], found[n])} == {}


def test_every_measure_tells_something_somewhere(con: duckdb.DuckDBPyConnection) -> None:
    """An equation of blanks would prove nothing."""
    told = {n for wanted in FILTERS.values() for n, value in figures(con, wanted).items() if value is not None}
    assert set(measures()) - told == set()
    assert len(measures()) >= 40


@pytest.fixture
def by_eye() -> Iterator[duckdb.DuckDBPyConnection]:
    """Two weeks of a shop, small enough to be added up by eye."""
    with duckdb.connect() as made:
        for name, table in published().items():
            made.register("made", table.spec.schema.empty_table())
            made.execute(f"CREATE TABLE {name} AS FROM made")
        made.execute("""
            INSERT INTO refresh_info VALUES ('s', '2024-05-13 02:00:00', '2024-05-12', 'No');
            INSERT INTO dim_date (date_key, date, calendar_month)
                SELECT strftime(d, '%Y%m%d')::BIGINT, d, strftime(d, '%Y-%m')
                FROM (SELECT DATE '2024-01-01' + range::INT AS d FROM range(366));
            INSERT INTO dim_source (source_key, has_price, has_views, has_cart, has_checkout, has_refunds) VALUES
                (1, 'Yes', 'Yes', 'Yes', 'No', 'Yes'), (2, 'No', 'No', 'No', 'No', 'No');
            INSERT INTO fact_sales (date_key, order_number, customer_key, source_key, line_type, quantity,
                revenue_gross, refund_amount, revenue_net, is_first_order) VALUES
                (20240503, 1, 7, 1, 'sale', 2, 20, NULL, 20, 'Yes'),     -- a week before the 10th
                (20240510, 1, 7, 1, 'sale', 1, 30, NULL, 30, 'No'),      -- one order of two lines
                (20240510, 1, 7, 1, 'sale', 1, 20, NULL, 20, 'No'),
                (20240510, 1, 7, 1, 'shipping', 1, NULL, NULL, 5, 'No'),
                (20240510, 2, -1, 2, 'sale', 1, NULL, NULL, NULL, 'No'), -- a source without prices
                (20240511, 3, 7, 1, 'refund', -1, NULL, 30, -30, 'No');
            INSERT INTO fact_session (date_key, customer_key, source_key, is_bot, has_cart, has_purchase, has_checkout)
                VALUES (20240503, 7, 1, 'No', 'No', 'Yes', 'No'),
                (20240510, 7, 1, 'No', 'Yes', 'Yes', 'No'), (20240510, 8, 1, 'No', 'Yes', 'No', 'No'),
                (20240510, 9, 1, 'No', 'No', 'No', 'No'), (20240510, 9, 1, 'No', 'No', 'No', 'No'),
                (20240510, -1, 1, 'Yes', 'No', 'No', 'No'), (20240510, 9, 2, 'No', 'No', 'Yes', 'No');
        """)
        yield made


@pytest.mark.parametrize(("name", "day", "value"), [
    ("Revenue", "2024-05-10", 55), ("Gross Sales", "2024-05-10", 50), ("Orders", "2024-05-10", 2),
    ("Average Order Value", "2024-05-10", 50), ("Revenue Previous Week", "2024-05-10", 20),
    ("Revenue Previous Week", "2024-05-09", None), ("Revenue WoW", "2024-05-10", 1.75),
    ("Revenue Rolling 7 Days", "2024-05-11", 25),
    ("Revenue Month to Date", "2024-05-11", 45), ("Refunds", "2024-05-11", 30), ("Refunds", "2024-05-10", None),
    ("Sessions", "2024-05-10", 5), ("Bot Sessions", "2024-05-10", 1), ("Conversion Rate", "2024-05-10", 0.25),
    ("Cart Rate", "2024-05-10", 0.5), ("Cart Abandonment Rate", "2024-05-10", 0.5),
    ("Checkout Abandonment Rate", "2024-05-10", None), ("Customers", "2024-05-10", 1),
    ("First Orders", "2024-05-03", 1), ("Returning Orders", "2024-05-10", 1),
    ("Revenue per Session", "2024-05-10", 12.5), ("Revenue Month to Date", "2024-06-01", None),
])  # fmt: skip
def test_figures_that_can_be_added_up_by_eye(
    by_eye: duckdb.DuckDBPyConnection, name: str, day: str, value: float | None
) -> None:
    told = by_eye.execute(query(name, chosen({"Date": [day]}))).fetchall()[0][0]
    if value is None:
        assert told is None
    else:
        assert float(told) == pytest.approx(value)


def test_a_filter_that_reaches_none_of_a_measures_tables_is_named() -> None:
    filters = chosen({"Country": ["France"], "Brand": ["acme"]})
    assert [f.place.column for f in unrelated("Cart Items", filters)] == ["country_name"]
    assert unrelated("Revenue", filters) == []
    assert tables_of("Revenue WoW") == {"fact_sales", "refresh_info", "dim_date", "fact_session"}


def test_where_no_source_tells_prices_only_money_of_customers_is_blank(con: duckdb.DuckDBPyConnection) -> None:
    told = figures(con, FILTERS["a source that tells no prices"])
    known = ("Customers at Month End", "Average Recency Days", "Average Orders per Customer", "Expected Order Days")
    assert {n for n in known if told[n] is None} == set()
    assert [told[n] for n in ("Average Revenue per Customer", "Expected Revenue")] == [None, None]
