"""Trade by day and by week."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from exports.aggregate.declare import NOTES, Column, Filled, Row, Table, Value, declared
from exports.aggregate.former import settled
from exports.aggregate.guard import MINIMUM, Guard, note, withhold
from exports.aggregate.shop import DAY, WEEK, Shop, Span, date_key, fold
from exports.bridge import cents

_RULE = "trade-1"  # a change makes every day and week anew

_FIGURES = """
    sessions int [sessions] : Visits of people (visitors that say they are programs are left out)
    orders int [orders] : Orders with at least one sale line, whoever placed them
    units int [units] : Units on sale lines
    revenue_gross money [shop's currency] : Value of sale lines
    refunds money [shop's currency] : Value of refund lines, as a positive amount, on the refund's day
    other_lines money [shop's currency] : Shipping, fees, adjustments and bad debt, with their sign
    revenue_net money [shop's currency] : Gross revenue less refunds, with the other lines
    conversion share [of sessions] : Sessions with a purchase among all
    average_order money [per order] : Gross revenue per order
    new_sessions int [sessions] : Visits on the visitor's first day
    returning_sessions int [sessions] : Visits on later days
    first_orders int [orders] : Orders that are their customer's first
    returning_orders int [orders] : Orders of known customers who had ordered before
"""
_NEEDS = {
    "sessions": "has_views", "conversion": "has_views", "new_sessions": "has_views", "returning_sessions": "has_views",
    "revenue_gross": "has_price", "refunds": "has_refunds", "revenue_net": "has_refunds", "average_order": "has_price",
}  # fmt: skip

DAY_TABLE = declared("day", "Days", "one day of trade", "date date : Day in the shop's time zone\n"
                     "week date : Monday of its week" + _FIGURES, _NEEDS)  # fmt: skip
WEEK_TABLE = declared("week", "Weeks", "one complete week, Monday to Sunday", "week date : Its Monday" + _FIGURES
                      + "revenue_gross_change share [of the week before] : Change of gross revenue\n"
                      "sessions_change share [of the week before] : Change of sessions\n"
                      "orders_change share [of the week before] : Change of orders", _NEEDS)  # fmt: skip
_GUARDS = (
    Guard("k_visitors", ("sessions", "conversion", "new_sessions", "returning_sessions"), "visitors"),
    Guard("k_new", ("new_sessions", "returning_sessions"), "new visitors"),
    Guard("k_returning", ("new_sessions", "returning_sessions"), "returning visitors"),
    Guard("k_buyers", ("orders", "units", "revenue_gross", "revenue_net", "conversion", "average_order",
                       "first_orders", "returning_orders"), "buyers"),
    Guard("k_first", ("first_orders", "returning_orders"), "new buyers"),
    Guard("k_repeat", ("first_orders", "returning_orders"), "returning buyers"),
    Guard("k_bought", ("conversion",), "visitors with an order"),
    Guard("k_looked", ("conversion",), "visitors without an order"),
    Guard("k_nobody", ("first_orders", "returning_orders"), "orders of unknown customers"),
    Guard("k_refunded", ("refunds", "revenue_net"), "customers with refunds"),
    Guard("k_other", ("other_lines", "revenue_net"), "customers with such lines"),
)  # fmt: skip


_SUMS = {"sessions": "k_visitors", "new_sessions": "k_new", "returning_sessions": "k_returning", "orders": "k_buyers",
         "units": "k_buyers", "revenue_gross": "k_buyers", "first_orders": "k_first", "returning_orders": "k_repeat",
         "refunds": "k_refunded", "other_lines": "k_other"}  # fmt: skip
# Whose number must have changed by ten before a figure does. Net revenue and averages follow from the others.
_BEHIND = _SUMS | {"conversion": "k_bought"}


def _by(bucket: str) -> str:
    """SQL of the figures of days $first to $last by a bucket of them, with the customers behind each (``k_…``)."""
    return f"""
        WITH visits AS (
            SELECT {bucket} AS bucket, count(*) AS sessions, count(*) FILTER (has_purchase = 'Yes') AS buying,
                   count(*) FILTER (is_new_customer = 'Yes') AS new_sessions,
                   count(DISTINCT customer_key) AS k_visitors,
                   count(DISTINCT customer_key) FILTER (is_new_customer = 'Yes') AS k_new,
                   count(DISTINCT customer_key) FILTER (is_new_customer = 'No') AS k_returning,
                   count(DISTINCT customer_key) FILTER (has_purchase = 'Yes') AS k_bought,
                   count(DISTINCT customer_key) FILTER (has_purchase = 'No') AS k_looked
            FROM fact_session JOIN dim_date USING (date_key) JOIN dim_source USING (source_key)
            WHERE is_bot = 'No' AND has_views = 'Yes' AND date_key BETWEEN $first AND $last GROUP BY 1
        ), orders AS (
            SELECT order_key, date_key, max(is_first_order) AS first FROM fact_sales
            WHERE line_type = 'sale' AND date_key BETWEEN $first AND $last GROUP BY ALL
        ), sales AS (
            SELECT {bucket} AS bucket, count(DISTINCT order_key) FILTER (line_type = 'sale') AS orders,
                   sum(quantity) FILTER (line_type = 'sale') AS units, sum(revenue_gross) AS gross,
                   sum(refund_amount) AS refunds, sum(revenue_net) AS net,
                   sum(revenue_net) FILTER (line_type NOT IN ('sale', 'refund')) AS others,
                   count(DISTINCT order_key) FILTER (line_type = 'sale' AND first = 'Yes') AS first_orders,
                   count(DISTINCT order_key) FILTER (line_type = 'sale' AND first = 'No' AND customer_key <> -1)
                       AS later_orders,
                   count(DISTINCT customer_key) FILTER (line_type = 'sale') AS k_buyers,
                   count(DISTINCT customer_key) FILTER (line_type = 'sale' AND first = 'Yes') AS k_first,
                   count(DISTINCT customer_key) FILTER (line_type = 'sale' AND first = 'No' AND customer_key <> -1)
                       AS k_repeat,
                   count(DISTINCT order_key) FILTER (line_type = 'sale' AND customer_key = -1) AS k_nobody,
                   count(DISTINCT customer_key) FILTER (line_type = 'refund') AS k_refunded,
                   count(DISTINCT customer_key) FILTER (line_type NOT IN ('sale', 'refund')) AS k_other
            FROM fact_sales LEFT JOIN orders USING (order_key, date_key) JOIN dim_date USING (date_key)
            WHERE date_key BETWEEN $first AND $last GROUP BY 1
        ), buckets AS (
            SELECT DISTINCT {bucket} AS bucket FROM dim_date WHERE date_key BETWEEN $first AND $last
        )
        SELECT bucket, coalesce(sessions, 0) AS sessions, coalesce(orders, 0) AS orders,
               CAST(coalesce(units, 0) AS BIGINT) AS units, coalesce(gross, 0) AS revenue_gross,
               coalesce(refunds, 0) AS refunds, coalesce(others, 0) AS other_lines, coalesce(net, 0) AS revenue_net,
               round(buying / nullif(sessions, 0), 6) AS conversion,
               coalesce(new_sessions, 0) AS new_sessions, coalesce(sessions - new_sessions, 0) AS returning_sessions,
               coalesce(first_orders, 0) AS first_orders, coalesce(later_orders, 0) AS returning_orders,
               COLUMNS(c -> c LIKE 'k\\_%' ESCAPE '\\')
        FROM buckets LEFT JOIN visits USING (bucket) LEFT JOIN sales USING (bucket) ORDER BY bucket
    """


_MONDAY = "CAST(date - CAST(weekday_number - 1 AS INTEGER) AS DATE)"


def day(shop: Shop) -> Filled:
    """Every day from the first to the newest one; as told before where only a few persons made the difference."""
    days = [shop.first_day + n * DAY for n in range((shop.through - shop.first_day).days + 1)]
    made_of = {monday: _made_of(shop, monday) for monday in {_monday(d) for d in days}}
    computed = {row.pop("bucket"): row for row in _computed(shop, DAY_TABLE, "date", days, made_of)}
    for key, row in computed.items():
        row["date"], row["week"] = key, _monday(key)
    persons = {key: {g.persons: row[g.persons] for g in _GUARDS} for key, row in computed.items()}
    withhold(list(computed.values()), [replace(g, within=("week",)) for g in _GUARDS])
    rows = []
    for key in days:
        row, now = ordered(DAY_TABLE, computed.get(key, {})), persons.get(key, {})
        old = shop.former.row(DAY_TABLE, key)
        if old is not None:
            was, closed = shop.former.persons(DAY_TABLE, key), shop.former.row(WEEK_TABLE, _monday(key)) is not None
            if key not in computed or not settled(old, was, row, now, _BEHIND, closed=closed):
                row, now = old, dict(was)
        shop.former.tell(DAY_TABLE, key, row, now, made_of[_monday(key)])
        rows.append(row)
    return _filled(shop, DAY_TABLE, rows)


def week(shop: Shop, days: Filled) -> Filled:
    """Every complete week, with its change from the week before: the sum of its days, where all of them are told."""
    mondays = [shop.week.first - n * WEEK for n in reversed(range(shop.weeks))]
    made_of = {monday: _made_of(shop, monday) for monday in mondays}
    computed = {row.pop("bucket"): row for row in _computed(shop, WEEK_TABLE, _MONDAY, mondays, made_of)}
    for key, row in computed.items():
        row["week"] = key
    withhold(list(computed.values()), [replace(g, within=("week",)) for g in _GUARDS])
    for key, row in computed.items():
        old = shop.former.row(WEEK_TABLE, key)
        own = [d for d in days.rows if d["week"] == key]
        for column in _SUMS:
            _sum_up(shop, row, column, own, old)
        row["revenue_net"] = _net(row)
        if old is not None:
            row[NOTES] = old[NOTES]  # a new note would tell that somebody came or went
        _conversion(shop, row, own, old)
        _average([row])
    rows = [computed.get(key) or shop.former.row(WEEK_TABLE, key) or {} for key in mondays]
    blank: Row = {}
    for before, row in zip([blank, *rows], rows, strict=False):
        for column in ("revenue_gross", "sessions", "orders"):
            row[f"{column}_change"] = change(before.get(column), row[column])
        shop.former.tell(WEEK_TABLE, row["week"], ordered(WEEK_TABLE, row), {}, made_of[row["week"]])
    return _filled(shop, WEEK_TABLE, rows)


def _computed(
    shop: Shop, table: Table, bucket: str, keys: Sequence[date], made_of: Mapping[date, str]
) -> list[Row]:
    """Figures by a bucket of days, from the first week that is not as it was told to the last; ``made_of`` by week."""
    new = [k for k in keys if not shop.former.stands(table, k, made_of[_monday(k)])]
    if not new:
        return []
    first, last = max(_monday(new[0]), shop.first_day), min(_monday(new[-1]) + WEEK - DAY, shop.through)
    rows = shop.rows(_by(bucket), first=date_key(first), last=date_key(last))
    _average(rows)
    return rows


def _made_of(shop: Shop, monday: date) -> str:
    """What a week is made from: who is told of a day depends on the others of its week."""
    days = [monday + n * DAY for n in range(WEEK // DAY)]
    return fold([_RULE, *(shop.made_of(t, days) for t in ("fact_session", "fact_sales", "dim_source"))])


def _sum_up(shop: Shop, row: Row, column: str, days: Sequence[Row], old: Row | None) -> None:
    """A week's figure: of its days; where some are not told, as told before, or with ten persons in what is not."""
    hidden = [d["date"] for d in days if d[column] is None]
    if not hidden:
        row[column] = sum((d[column] for d in days), row[column] * 0 if row[column] is not None else 0)
    elif old is not None:
        row[column] = old[column]
    elif row[column] is not None and 0 < shop.persons(_BEHIND[column], hidden) < MINIMUM:
        row[column] = None
        note(row, f"its days that are blank are of fewer than {MINIMUM}: {column}")


def _conversion(shop: Shop, row: Row, days: Sequence[Row], old: Row | None) -> None:
    """The same of a share: what its days say of visits with an order adds up."""
    visited = [d for d in days if d["sessions"] != 0]
    hidden = [d["date"] for d in visited if d["conversion"] is None]
    if not hidden and row["sessions"]:
        row["conversion"] = round(sum(round(d["conversion"] * d["sessions"]) for d in visited) / row["sessions"], 6)
    elif old is not None:
        row["conversion"] = old["conversion"]
    elif hidden and any(0 < shop.persons(k, hidden) < MINIMUM for k in ("k_bought", "k_looked")):
        row["conversion"] = None


def _net(row: Row) -> Value:
    parts = (row["revenue_gross"], row["refunds"], row["other_lines"])
    return None if None in parts else parts[0] - parts[1] + parts[2]


def told_of(weeks: Filled, span: Span, column: str) -> Any:
    """What the weeks tell of a period; None where one of them does not."""
    values = [w[column] for w in weeks.rows if span.first <= w["week"] <= span.last]
    return None if None in values or not values else sum(values)


def tells_of_few(shop: Shop, days: Filled, weeks: Filled, span: Span, column: str) -> bool:
    """Whether a period's total, less all weeks and days that are told, is of one to nine persons."""
    blank = {w["week"] for w in weeks.rows if w[column] is None}
    hidden = [d["date"] for d in days.rows
              if d["week"] in blank and span.first <= d["date"] <= span.last and d[column] is None]  # fmt: skip
    behind = ("k_bought", "k_looked") if column == "conversion" else (_BEHIND[column],)
    return bool(hidden) and any(0 < shop.persons(b, hidden) < MINIMUM for b in behind)


def change(before: Value, after: Value, *, share: bool = False) -> float | None:
    """Relative change, of shares the difference; None where a value is not known or there was nothing before."""
    if not isinstance(before, int | float | Decimal) or not isinstance(after, int | float | Decimal):
        return None
    if share:
        return round(float(after) - float(before), 6)
    return round(float(after) / float(before) - 1, 6) if before > 0 else None


def _monday(value: Value) -> date:
    return _day(value) - timedelta(days=_day(value).weekday())


def _day(value: Value) -> date:
    if not isinstance(value, date):
        raise TypeError(value)
    return value


def _average(rows: list[Row]) -> None:
    for row in rows:
        known = row["orders"] and row["revenue_gross"] is not None
        row["average_order"] = cents(row["revenue_gross"] / row["orders"]) if known else None


def ordered(table: Table, row: Row) -> Row:
    """A row with the declared columns alone, in their order."""
    columns: Sequence[Column] = table.columns
    return {c.name: row.get(c.name) for c in columns}


def _filled(shop: Shop, table: Table, rows: list[Row]) -> Filled:
    """Rows in the order of the declared columns, blank where no source can tell."""
    blank = shop.blank(table, rows)
    if not shop.rows("SELECT 1 FROM fact_sales WHERE line_type NOT IN ('sale', 'refund') LIMIT 1"):
        blank["other_lines"] = f"no shipping, fees or other lines from {' and '.join(shop.sources)}"
        for row in rows:
            row["other_lines"] = None
    return Filled(table, tuple(ordered(table, r) for r in rows), blank)
