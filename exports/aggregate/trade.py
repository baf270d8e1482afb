"""Trade by day and by week, the week's key figures beside those before, and why revenue changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

from exports.aggregate.declare import NOTES, Column, Filled, Row, Table, Value, declared
from exports.aggregate.guard import MINIMUM, Guard, note, withhold
from exports.aggregate.shop import WEEK, Shop, Span, date_key
from exports.bridge import AMOUNTS, Bridge, Totals, bridge, cents, totals

_YEAR_OF_WEEKS = 52 * WEEK

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
KEY_TABLE = declared("key_figures", "Key figures", "one figure of the last complete week", """
    figure text : Name of the column in `week`
    week date : Monday of the week
    unit text : What is counted
    value number [by unit] : The week's value
    week_before number [by unit] : The same of the week before
    change share [of the week before] : Relative change; of a share the difference (0.01 is one percentage point)
    year_before number [by unit] : The same 52 weeks before
    change_on_year share [of the year before] : Change from it, told as `change` is
""")
BRIDGE_TABLE = declared("bridge", "Why revenue changed", "one cause of the change between two periods", """
    period text : week (the last complete one against the week before) or four weeks
    first date : First day of the later period
    last date : Its last day
    step int : Place in the chain
    cause text : What changed; before and after are the revenue of the periods
    measured text : What the two figures beside it are
    figure_before number [by measured] : Its figure in the earlier period
    figure_after number [by measured] : Its figure in the later period
    amount money [shop's currency] : By how much it moved revenue; for before and after, the revenue itself
""")

_GUARDS = (
    Guard("k_visitors", ("sessions", "conversion", "new_sessions", "returning_sessions"), "visitors"),
    Guard("k_new", ("new_sessions", "returning_sessions"), "new visitors"),
    Guard("k_returning", ("new_sessions", "returning_sessions"), "returning visitors"),
    Guard("k_buyers", ("orders", "units", "revenue_gross", "revenue_net", "conversion", "average_order",
                       "first_orders", "returning_orders"), "buyers"),
    Guard("k_first", ("first_orders", "returning_orders"), "new buyers"),
    Guard("k_repeat", ("first_orders", "returning_orders"), "returning buyers"),
    Guard("k_refunded", ("refunds", "revenue_net"), "customers with refunds"),
    Guard("k_other", ("other_lines", "revenue_net"), "customers with such lines"),
)  # fmt: skip


def _by(bucket: str) -> str:
    """SQL of the figures by a bucket of days, with the customers behind each (columns that begin with ``k_``)."""
    return f"""
        WITH visits AS (
            SELECT {bucket} AS bucket, count(*) AS sessions, count(*) FILTER (has_purchase = 'Yes') AS buying,
                   count(*) FILTER (is_new_customer = 'Yes') AS new_sessions,
                   count(DISTINCT customer_key) AS k_visitors,
                   count(DISTINCT customer_key) FILTER (is_new_customer = 'Yes') AS k_new,
                   count(DISTINCT customer_key) FILTER (is_new_customer = 'No') AS k_returning
            FROM fact_session JOIN dim_date USING (date_key) JOIN dim_source USING (source_key)
            WHERE is_bot = 'No' AND has_views = 'Yes' GROUP BY 1
        ), orders AS (
            SELECT order_key, date_key, max(is_first_order) AS first FROM fact_sales
            WHERE line_type = 'sale' GROUP BY ALL
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
                   count(DISTINCT customer_key) FILTER (line_type = 'refund') AS k_refunded,
                   count(DISTINCT customer_key) FILTER (line_type NOT IN ('sale', 'refund')) AS k_other
            FROM fact_sales LEFT JOIN orders USING (order_key, date_key) JOIN dim_date USING (date_key) GROUP BY 1
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
    """Every day from the first to the newest one."""
    rows = shop.rows(_by("date"), first=date_key(shop.first_day), last=date_key(shop.through))
    for row in rows:
        row["date"] = row.pop("bucket")
        row["week"] = _monday(row["date"])
    _average(rows)
    withhold(rows, [replace(g, within=("week",)) for g in _GUARDS])
    return _filled(shop, DAY_TABLE, rows)


def week(shop: Shop) -> Filled:
    """Every complete week, with its change from the week before."""
    last = shop.week.last
    first = last - shop.weeks * WEEK + timedelta(days=1)
    rows = shop.rows(_by(_MONDAY), first=date_key(first), last=date_key(last)) if shop.weeks else []
    for row in rows:
        row["week"] = row.pop("bucket")
        # Longer periods are blocks of four weeks counted back from the newest.
        row["block"] = (last - _day(row["week"])).days // 28
    _average(rows)
    withhold(rows, [replace(g, within=("block",)) for g in _GUARDS])
    blank: Row = {}
    for before, row in zip([blank, *rows], rows, strict=False):
        row.pop("block")
        for column in ("revenue_gross", "sessions", "orders"):
            row[f"{column}_change"] = change(before.get(column), row[column])
    return _filled(shop, WEEK_TABLE, rows)


def key_figures(shop: Shop, weeks: Filled) -> Filled:
    """The last complete week beside the week before and the one 52 weeks before."""
    known = {row["week"]: row for row in weeks.rows}
    now = known.get(shop.week.first)
    rows: list[Row] = []
    for column in weeks.table.columns if now else ():
        if column.kind in {"date", "text"} or column.name.endswith("_change"):
            continue
        row: Row = {"figure": column.name, "week": shop.week.first, "unit": column.unit}
        row["value"] = now[column.name] if now else None
        for name, shift, told in (("week_before", WEEK, "change"), ("year_before", _YEAR_OF_WEEKS, "change_on_year")):
            row[name] = known.get(shop.week.first - shift, {}).get(column.name)
            row[told] = change(row[name], row["value"], share=column.kind == "share")
        if column.name in weeks.blank:
            note(row, weeks.blank[column.name])
        elif row["value"] is None and now and now.get(NOTES):
            note(row, str(now[NOTES]))
        rows.append(_ordered(KEY_TABLE, row))
    return Filled(KEY_TABLE, tuple(rows), {} if rows else {"": "there is no complete week yet"})


def bridges(shop: Shop, weeks: Filled) -> Filled:
    """Why revenue changed, by week and by four weeks; blank where a period is not there or of too few customers."""
    if not shop.has_any("has_price"):
        return Filled(BRIDGE_TABLE, (), {"": shop.why_not("has_price")})
    rows: list[Row] = []
    why = "there are no two complete weeks yet"
    for name, span, there in (("week", shop.week, shop.weeks >= 2), ("four weeks", shop.month, shop.compares)):  # noqa: PLR2004
        if not there:
            continue
        why = f"one of the periods has fewer than {MINIMUM} buyers"
        people = [_people(shop, s) for s in (span.before, span)]
        if name == "week":
            for found, row in zip(people, weeks.rows[-2:], strict=True):
                _as_withheld(found, row)
        if all(p["sale"] >= MINIMUM for p in people):
            rows += _steps(name, span, *_told(shop, span, people))
    return Filled(BRIDGE_TABLE, tuple(rows), {} if rows else {"": why})


def _people(shop: Shop, span: Span) -> dict[str, int]:
    """How many customers stand behind each type of line."""
    found = shop.con.execute(
        "SELECT line_type, count(DISTINCT customer_key) FROM fact_sales WHERE date_key BETWEEN $first AND $last "
        "GROUP BY 1", {"first": date_key(span.first), "last": date_key(span.last)},
    ).fetchall()  # fmt: skip
    others = [n for kind, n in found if kind not in {"sale", "refund"}]
    known = dict(found)
    # Which of the other lines may be told apart: all, if none is of too few.
    return {"sale": known.get("sale", 0), "refund": known.get("refund", 0), "each": min(others, default=0),
            "others": max(others, default=0)}  # fmt: skip


def _as_withheld(people: dict[str, int], row: Row) -> None:
    """What the weeks do not tell, the bridge of two weeks does not either."""
    for column, kind in (("revenue_gross", "sale"), ("refunds", "refund"), ("other_lines", "others")):
        if row[column] is None and people[kind]:
            people[kind] = 1


def _told(shop: Shop, span: Span, people: Sequence[dict[str, int]]) -> tuple[str, Bridge]:
    """The bridge, and what it is of: gross revenue where refunds are not known, or refunds or others of too few."""
    ends = [totals(shop.con, s.first, s.last) for s in (span.before, span)]
    if not shop.has_any("has_refunds") or any(0 < p[kind] < MINIMUM for p in people for kind in ("refund", "others")):
        return "gross revenue", bridge(*(e.sales() for e in ends))
    if any(0 < p["each"] < MINIMUM for p in people):
        ends = [Totals(e.sessions, e.orders, e.units, e.gross, e.refunds, other_lines=e.others) for e in ends]
    return "net revenue", bridge(*ends)


def _steps(name: str, span: Span, revenue: str, told: Bridge) -> list[Row]:
    lines: list[tuple[str, str, Decimal | None, Decimal | None, Decimal]] = [
        ("before", revenue, None, None, told.before),
        *((s.name, s.of.replace("_", " "), s.before, s.after, s.amount) for s in told.steps),
        ("after", revenue, None, None, told.after),
    ]
    return [
        {"period": name, "first": span.first, "last": span.last, "step": number, "cause": cause, "measured": of,
         "figure_before": _number(old, cause), "figure_after": _number(new, cause), "amount": amount, NOTES: None}
        for number, (cause, of, old, new, amount) in enumerate(lines)
    ]  # fmt: skip


def _number(value: Decimal | None, cause: str) -> float | None:
    """A step's figure: counts and ratios as they are, amounts in cents."""
    if value is None:
        return None
    return float(cents(value) if cause in AMOUNTS else round(value, 6))


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
        row["average_order"] = cents(row["revenue_gross"] / row["orders"]) if row["orders"] else None


def _ordered(table: Table, row: Row) -> Row:
    columns: Sequence[Column] = table.columns
    return {c.name: row.get(c.name) for c in columns}


def _filled(shop: Shop, table: Table, rows: list[Row]) -> Filled:
    """Rows in the order of the declared columns, blank where no source can tell."""
    blank = shop.blank(table, rows)
    if not shop.rows("SELECT 1 FROM fact_sales WHERE line_type NOT IN ('sale', 'refund') LIMIT 1"):
        blank["other_lines"] = f"no shipping, fees or other lines from {' and '.join(shop.sources)}"
        for row in rows:
            row["other_lines"] = None
    return Filled(table, tuple(_ordered(table, r) for r in rows), blank)
