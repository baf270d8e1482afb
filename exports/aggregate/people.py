"""Customers in groups: by the rules of RFM, lifecycle and behaviour, at the end of the newest closed month."""

from __future__ import annotations

from exports.aggregate.declare import Filled, Row, declared
from exports.aggregate.guard import LABEL, Guard, keep_members, withhold
from exports.aggregate.shop import Shop

KINDS = {"rfm_segment": "RFM segment", "lifecycle": "lifecycle", "behaviour_type": "behaviour"}

SEGMENTS = declared("segments", "Customer segments", "one segment of customers with an order, at a month's end", """
    kind text : Which rule: RFM segment, lifecycle or behaviour
    segment text : Its name
    month_end date : Day at whose end the rule was applied
    customers int [customers] : Customers in it
    share share [of customers] : Its part of all customers with an order
    customers_before int [customers] : The same a month earlier
    revenue_so_far money [shop's currency] : Net revenue of these customers up to then
    expected_revenue money [shop's currency] : What a model expects of them in the next 90 days
""", {"revenue_so_far": "has_price", "expected_revenue": "has_price"})  # fmt: skip

_GUARDS = (
    Guard("customers_known", ("customers", "share", "revenue_so_far", "expected_revenue"), "customers", ("kind",)),
    Guard("k_before", ("customers_before",), "customers a month earlier", ("kind",)),
)


def segments(shop: Shop) -> Filled:
    """Segments at the end of the newest closed month, beside the month before."""
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
                   sum(monetary) FILTER (now) AS revenue_so_far, sum(expected_value) FILTER (now) AS expected_revenue
            FROM months GROUP BY 1 ORDER BY 2 DESC, 1""")
        found = [r for r in found if r["customers"] or r["customers_before"]]
        total = sum(r["customers"] for r in found)
        for row in found:
            row |= {"kind": kind, "customers_known": row["customers"], "k_before": row["customers_before"],
                    "share": round(row["customers"] / total, 6)}  # fmt: skip
            if len(ends) == 1:
                row["customers_before"] = None
        rows += found
    day = shop.rows("SELECT date FROM dim_date WHERE date_key = $k", k=ends[0])
    withhold(rows, _GUARDS)
    for row in rows:
        row["month_end"] = day[0]["date"] if day else None
    blank = shop.blank(SEGMENTS, rows)
    if all(r["expected_revenue"] is None for r in rows) and "expected_revenue" not in blank:
        blank["expected_revenue"] = "no model of customers' value serves"
    return Filled(SEGMENTS, tuple({c.name: r.get(c.name) for c in SEGMENTS.columns} for r in rows), blank)
