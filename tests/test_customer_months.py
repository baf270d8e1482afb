"""What was known of customers at month ends, from days and visits that a reader can follow."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import ibis
import pyarrow as pa

from behavior_assets.segmentation import months
from behavior_assets.sessions.sessionise import SILVER_SESSIONS
from behavior_assets.star import dimensions, facts
from behavior_assets.star.aggregates import COMMERCE_EVENTS, CUSTOMER_DAY

CON = ibis.duckdb.connect()
MAY_1 = date(2024, 5, 1)
DAY_US, MINUTE_US = 86_400_000_000, 60_000_000
MAY_1_US = 1_714_521_600_000_000
Rows = list[dict[str, Any]]


def table(rows: Rows, schema: pa.Schema) -> ibis.Table:
    return ibis.memtable(pa.Table.from_pylist(rows, schema=schema))


def days(*rows: tuple[int, int, int, float]) -> ibis.Table:
    """``silver/customer_day`` from (customer, day after 1 May, orders, revenue); views of as many things."""
    made = [
        {"event_date": MAY_1 + timedelta(days=d), "customer_key": c, "customer_id": f"c{c}", "events": 1, "orders": o,
         "first_order_ts_us": MAY_1_US + d * DAY_US if o else None,
         "revenue_net": Decimal(str(r)) if o or r else None, "views": 1, "carts": 0, "categories": 1}
        for c, d, o, r in rows
    ]  # fmt: skip
    return table(made, CUSTOMER_DAY.schema)


def ends(*offsets: int) -> ibis.Table:
    """Ends by days after 1 May."""
    return ibis.memtable(pa.table({
        "month_end": pa.array([MAY_1 + timedelta(days=n) for n in offsets], pa.date32()),
        "day_end_us": pa.array([MAY_1_US + (n + 1) * DAY_US for n in offsets], pa.int64()),
    }))  # fmt: skip


def no_visits() -> ibis.Table:
    return months.visits(table([], SILVER_SESSIONS.schema), table([], COMMERCE_EVENTS.schema))


def shopping(*visits: tuple[int, int, int, int, int | None]) -> ibis.Table:
    """Visits (customer, minute after 1 May, minutes long, things put into the cart, minutes to the order or None)."""
    sessions, sales = [], []
    for n, (customer, start, long, carts, order) in enumerate(visits):
        begin = MAY_1_US + start * MINUTE_US
        sessions.append({
            "session_key": n, "event_date": MAY_1 + timedelta(days=start // 1440), "start_ts_us": begin,
            "end_ts_us": begin + long * MINUTE_US, "chain_key": n, "customer_key": customer, "views": 1,
            "carts": carts, "purchases": int(order is not None),
        })  # fmt: skip
        if order is not None:
            sales += [{"event_name": "purchase", "line_type": "sale", "chain_key": n, "event_ts_us": t}
                      for t in (begin + order * MINUTE_US, begin + long * MINUTE_US)]  # fmt: skip
    return months.visits(table(sessions, SILVER_SESSIONS.schema), table(sales, COMMERCE_EVENTS.schema))


def told(made: ibis.Table, *columns: str) -> list[tuple[Any, ...]]:
    found = CON.to_pyarrow(made.select(*columns)).to_pylist()
    return sorted(tuple(r.values()) for r in found)


def test_a_month_end_does_not_know_later_orders() -> None:
    """Customer 1 orders on 2 May, twice on 12 May and on 5 June; customer 2 only in June; a refund is no order."""
    made = days((1, 1, 1, 10), (1, 11, 2, 30), (1, 35, 1, 99), (2, 40, 1, 7), (3, 3, 0, 0), (1, 20, 0, -4))
    found = facts.fact_customer_month(made, no_visits(), ends(30, 60))
    assert told(found, "date_key", "customer_key", "recency_days", "frequency", "monetary") == [
        (20240531, 1, 19, 3, Decimal(36)),
        (20240630, 1, 25, 4, Decimal(135)),
        (20240630, 2, 20, 1, Decimal(7)),
    ]
    only_may = facts.fact_customer_month(made.filter(made.event_date <= date(2024, 5, 31)), no_visits(), ends(30))
    assert CON.to_pyarrow(only_may).to_pylist() == [
        r for r in CON.to_pyarrow(found).to_pylist() if r["date_key"] == 20240531
    ]


def test_scores_are_fifths_of_those_who_had_ordered_by_then_and_ties_are_one() -> None:
    """Ten customers with one order each, a day apart: two by two the scores rise; all ordered as often."""
    found = facts.fact_customer_month(days(*((n, n, 1, 5.0) for n in range(10))), no_visits(), ends(30))
    assert told(found, "customer_key", "r_score", "f_score", "m_score", "rfm_segment") == [
        (n, 1 + n // 2, 1, 1, name) for n, name in enumerate(
            ["Lost", "Lost", "Hibernating", "Hibernating", "Needs attention", "Needs attention", *["New"] * 4])
    ]  # fmt: skip


def test_lifecycles_follow_the_last_two_orders() -> None:
    """By day after 1 May, at day 200. Two orders on one day are no pause."""
    made = days(
        (1, 180, 1, 1),  # first order 20 days ago
        (2, 10, 1, 1), (2, 190, 1, 1),  # back after 180 days
        (3, 10, 1, 1), (3, 190, 1, 1), (3, 195, 1, 1),  # back, and again: no longer
        (4, 100, 2, 2), (4, 150, 0, -1),  # the refund is no order: 100 days ago
        (5, 79, 1, 1),  # 121 days ago
    )  # fmt: skip
    found = facts.fact_customer_month(made, no_visits(), ends(200))
    assert told(found, "customer_key", "lifecycle") == [
        (1, "New"), (2, "Returned"), (3, "Active"), (4, "Slipping"), (5, "Dormant")
    ]  # fmt: skip
    earlier = facts.fact_customer_month(made, no_visits(), ends(60))
    assert told(earlier, "customer_key", "lifecycle") == [(2, "Active"), (3, "Active")]


def test_behaviour_is_of_the_visits_that_were_over() -> None:
    """The second customer's only order comes twenty minutes after midnight: at the month's end it is not known."""
    midnight = 31 * 1440
    came = shopping(
        (1, 600, 30, 1, 4), (1, 5000, 30, 1, 30), (1, 9000, 30, 1, 9),  # the median is 9 minutes
        (2, midnight - 10, 60, 1, 30),
        (3, 700, 20, 1, None), (3, 7000, 20, 1, None), (3, 8000, 20, 1, 15),
        (4, 800, 90, 0, 80),
    )  # fmt: skip
    seen = days(*((c, 2, 0, 0.0) for c in (1, 2, 3, 4, 5)), (6, 30, 3, 9.0), (7, 1, 0, 0.0))
    found = months.behaviours(seen, came, ends(30, 31, 91))
    assert told(found.filter(found.month_end == date(2024, 5, 31)), "customer_key", "behaviour_type") == [
        (1, "Quick buyer"), (2, "Browser"), (3, "Cart abandoner"), (4, "Buyer"), (5, "Browser"), (6, "Loyal"),
        (7, "Browser"),
    ]  # fmt: skip
    later = dict(told(found.filter(found.month_end == date(2024, 6, 1)), "customer_key", "behaviour_type"))
    assert later[2] == "Buyer"
    assert 7 not in dict(told(found.filter(found.month_end == date(2024, 7, 31)), "customer_key", "behaviour_type"))


def test_nobody_is_a_quick_buyer_where_only_orders_are_known() -> None:
    """A source without views: the visit begins with the order."""
    sessions = [{"session_key": 1, "event_date": MAY_1, "start_ts_us": MAY_1_US, "end_ts_us": MAY_1_US, "chain_key": 1,
                 "customer_key": 1, "views": 0, "carts": 0, "purchases": 1}]  # fmt: skip
    sales = [{"event_name": "purchase", "line_type": "sale", "chain_key": 1, "event_ts_us": MAY_1_US}]
    came = months.visits(table(sessions, SILVER_SESSIONS.schema), table(sales, COMMERCE_EVENTS.schema))
    found = months.behaviours(days((1, 0, 1, 5.0)), came, ends(30))
    assert told(found, "customer_key", "behaviour_type") == [(1, "Buyer")]


def test_who_only_sends_something_back_has_not_come() -> None:
    """The order is long ago; the refund's day has neither views nor carts, the other customer looked at something."""
    made = days((1, 0, 1, 5.0), (1, 95, 0, -5.0), (2, 0, 1, 5.0), (2, 95, 0, 0.0))
    refund = (made.customer_key == 1) & (made.revenue_net < 0)
    made = made.mutate(views=ibis.ifelse(refund, 0, made.views))
    found = months.behaviours(made, no_visits(), ends(100))
    assert told(found, "customer_key", "behaviour_type") == [(2, "Browser")]


def customers(made: ibis.Table, newest: int, *month_end: int) -> ibis.Table:
    """``dim_customer`` where nobody put anything into a cart."""
    behaviour = months.behaviours(made, no_visits(), ends(newest))
    return dimensions.dim_customer(dimensions.customers_seen(made), behaviour, made, ends(newest), ends(*month_end))


def test_customers_now() -> None:
    """RFM of the newest closed month (May), the rest of the newest day (9 June)."""
    made = days((1, 1, 1, 10), (2, 36, 1, 10), (3, 38, 0, 0))
    found = customers(made, 39, 30)
    assert told(found, "customer_key", "rfm_segment", "behaviour_type", "lifecycle") == [
        (-1, "(unknown)", "(unknown)", "(unknown)"),
        (1, "Lost", "Browser", "Active"),  # alone, and so in the lowest fifth of everything
        (2, "None yet", "Browser", "New"),
        (3, "None yet", "Browser", "No order yet"),
    ]
    before_a_month = customers(made, 39)
    assert {r[0] for r in told(before_a_month, "rfm_segment")} == {"(unknown)", "None yet"}


def test_a_key_of_two_customers_has_no_customer() -> None:
    """They came on different days, so no rule of a day can see it; one of the dimension does not let it pass."""
    made = days((1, 1, 1, 10), (1, 36, 1, 10), (2, 36, 1, 10))
    other = (made.customer_key == 1) & (made.event_date > made.event_date.min().as_scalar())
    made = made.mutate(customer_id=ibis.ifelse(other, "b" * 32, made.customer_id))
    found = dict(told(customers(made, 39, 30), "customer_key", "customer_id"))
    assert found[1] is None
    assert found[2] is not None


def test_what_a_model_says_is_joined() -> None:
    scored = ibis.memtable(pa.table({
        "date_key": [20240531], "customer_key": [1], "cluster": ["1 of 2"], "churn_risk": [0.5], "p_alive": [1.0],
        "expected_purchases": [0.25], "expected_value": pa.array([Decimal("2.5000")], pa.decimal128(18, 4)),
    }))  # fmt: skip
    found = facts.fact_customer_month(days((1, 1, 1, 10), (2, 2, 1, 10)), no_visits(), ends(30), scored)
    assert told(found, "customer_key", *facts.MODEL_COLUMNS) == [
        (1, "1 of 2", 0.5, 1.0, 0.25, Decimal("2.5000")), (2, None, None, None, None, None)
    ]  # fmt: skip
