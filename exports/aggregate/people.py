"""Customers in groups: by the rules of RFM, lifecycle and behaviour, at the end of the newest closed month."""

from __future__ import annotations

from decimal import Decimal

from exports.aggregate.declare import Filled, Row, declared
from exports.aggregate.guard import LABEL, Guard, in_tens, keep_members, withhold
from exports.aggregate.shop import Shop

KINDS = {"rfm_segment": "RFM segment", "lifecycle": "lifecycle", "behaviour_type": "behaviour"}

SEGMENTS = declared("segments", "Customer segments", "one segment of customers with an order, at a month's end", """
    kind text : Which rule: RFM segment, lifecycle or behaviour
    segment text : Its name
    month_end date : Day at whose end the rule was applied
    customers int [customers] : Customers in it, in tens
    share share [of customers] : Its part of all customers with an order
    customers_before int [customers] : The same a month earlier
    revenue_so_far money [shop's currency] : Net revenue of these customers up to then, in two digits
    expected_revenue money [shop's currency] : What a model expects of them in the next 90 days, in two digits
""", {"revenue_so_far": "has_price", "expected_revenue": "has_price"})  # fmt: skip

_GUARDS = (
    Guard("customers_known", ("customers", "share", "revenue_so_far", "expected_revenue"), "customers", ("kind",)),
    Guard("k_before", ("customers_before",), "customers a month earlier", ("kind",)),
)


def segments(shop: Shop) -> Filled:
    """Segments at the end of the newest closed month, told once; the month before as it was told then."""
    newest = shop.rows("SELECT max(date) AS d FROM fact_customer_month JOIN dim_date USING (date_key)")
    return shop.former.once(newest[0]["d"], [SEGMENTS], lambda: (_segments(shop),))[0]


def _segments(shop: Shop) -> Filled:
    ends = [r["d"] for r in shop.rows("SELECT DISTINCT date_key AS d FROM fact_customer_month ORDER BY d DESC LIMIT 2")]
    if not ends:
        return Filled(SEGMENTS, (), {"": "no month is closed yet, or nobody has ordered"})
    rows: list[Row] = []
    for column, kind in KINDS.items():
        shop.con.execute(
            f"CREATE OR REPLACE TEMP TABLE months AS SELECT {column} AS member, customer_key, date_key = $now AS now, "
            "monetary, expected_value FROM fact_customer_month WHERE date_key IN (SELECT unnest($ends))",
            {"now": ends[0], "ends": ends},
        )
        keep_members(shop.con, "SELECT member, customer_key, now AS part, now AS counts FROM months")
        found = shop.rows(f"""
            SELECT {LABEL} AS segment, count(*) FILTER (now) AS customers,
                   count(*) FILTER (NOT now) AS customers_before,
                   sum(monetary) FILTER (now) AS revenue_so_far,
                   sum(CAST(expected_value AS DECIMAL(18, 6))) FILTER (now) AS expected_revenue  -- threads add floats
            FROM months GROUP BY 1 ORDER BY 2 DESC, 1""")
        found = [r for r in found if r["customers"] or r["customers_before"]]
        for row in found:
            row |= {"kind": kind, "customers_known": row["customers"], "k_before": row["customers_before"]}
            if len(ends) == 1:
                row["customers_before"] = None
        rows += found
    day = shop.rows("SELECT date FROM dim_date WHERE date_key = $k", k=ends[0])
    withhold(rows, _GUARDS)
    _rounded(rows)
    _as_told(shop, rows, ends)
    for row in rows:
        row["month_end"] = day[0]["date"] if day else None
    blank = shop.blank(SEGMENTS, rows)
    if all(r["expected_revenue"] is None for r in rows) and "expected_revenue" not in blank:
        blank["expected_revenue"] = "no model of customers' value serves"
    return Filled(SEGMENTS, tuple({c.name: r.get(c.name) for c in SEGMENTS.columns} for r in rows), blank)


def _rounded(rows: list[Row]) -> None:
    """Customers in tens, money in two digits: the next month's figures less these must not tell of a newcomer."""
    for row in rows:
        for column in ("customers", "customers_before"):
            row[column] = in_tens(row[column])
        for column in ("revenue_so_far", "expected_revenue"):
            row[column] = None if row[column] is None else Decimal(f"{row[column]:.1e}").quantize(Decimal("0.01"))
    for row in rows:
        total = sum(r["customers"] or 0 for r in rows if r["kind"] == row["kind"])
        row["share"] = round(row["customers"] / total, 6) if row["customers"] is not None and total else None


def _as_told(shop: Shop, rows: list[Row], ends: list[int]) -> None:
    """The month before as it was told then, if it was."""
    before = shop.rows("SELECT date FROM dim_date WHERE date_key = $k", k=ends[-1])
    then = shop.former.period(SEGMENTS, before[0]["date"]) if before and len(ends) > 1 else None
    if then is not None:
        known = {(r["kind"], r["segment"]): r["customers"] for r in then}
        for row in rows:
            row["customers_before"] = known.get((row["kind"], row["segment"]))
