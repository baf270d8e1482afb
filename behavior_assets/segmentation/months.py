"""What was known of each customer at the end of a day: orders, scores, lifecycle and behaviour, as Ibis expressions.

``ends`` are the days asked about: (month_end, day_end_us), the second the moment in UTC at which the shop's day ends.
All are asked about at once, and at each nothing later is known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import ibis

from behavior_assets.expressions import count, is_sale, money
from behavior_assets.segmentation.rules import (
    BEHAVIOUR_DAYS,
    CHURN_RISK,
    QUICK_MINUTES,
    behaviour,
    lifecycle,
    with_scores,
)

if TYPE_CHECKING:
    import ibis.expr.types as ir

_MINUTE_US = 60_000_000
_KEY = ["month_end", "customer_key"]


def visits(sessions: ir.Table, commerce: ir.Table) -> ir.Table:
    """Visits of known customers: (customer_key, event_date, end_us, has_cart, has_order, order_us).

    ``order_us`` is the time from the visit's first event to its first order; NULL without one, and where the source
    tells nothing but orders.
    """
    known = sessions.filter(sessions.customer_key.notnull())
    sales = commerce.filter(is_sale(commerce)).select("chain_key", "event_ts_us")
    bought = known.filter((known.purchases > 0) & (known.views + known.carts > 0))
    bought = bought.select("session_key", "start_ts_us", "end_ts_us", session_chain="chain_key")
    on = [
        sales.chain_key == bought.session_chain,
        sales.event_ts_us >= bought.start_ts_us,
        sales.event_ts_us <= bought.end_ts_us,
    ]
    ordered = bought.inner_join(sales, on)
    ordered = ordered.group_by("session_key").agg(order_us=(ordered.event_ts_us - ordered.start_ts_us).min())
    all_of_them = known.left_join(ordered, "session_key")
    return all_of_them.select(
        "customer_key", "event_date", "order_us", end_us=all_of_them.end_ts_us, has_cart=all_of_them.carts > 0,
        has_order=all_of_them.purchases > 0,
    )  # fmt: skip


def orders_known(days: ir.Table, ends: ir.Table) -> ir.Table:
    """Customers with an order by each end: first and last order's day, days, orders, net revenue, lifecycle.

    ``days``: ``silver/customer_day``. One row per (month_end, customer_key).
    """
    bought = days.filter((days.orders > 0) | days.revenue_net.notnull())
    ordered = bought.orders > 0
    ordered_day = ibis.ifelse(ordered, bought.event_date, ibis.null("date"))
    bought = bought.mutate(ordered_day=ordered_day)
    earlier = ibis.window(group_by="customer_key", order_by="event_date", preceding=(None, 1))
    bought = bought.mutate(
        before=ibis.ifelse(ordered, bought.ordered_day.max().over(earlier), ibis.null("date"))
    )
    known = bought.inner_join(ends, bought.event_date <= ends.month_end)
    grouped = known.group_by(_KEY).agg(
        first_order=known.ordered_day.min(),
        last_order=known.ordered_day.max(),
        last_but_one=known.before.max(),  # days before orders rise with the orders: the last order's is the greatest
        frequency=known.orders.sum().cast("int64"),
        monetary=money(ibis.coalesce(known.revenue_net.sum(), 0)),
    )
    grouped = grouped.filter(grouped.frequency > 0)
    grouped = grouped.mutate(recency_days=_days(grouped.month_end, grouped.last_order))
    return grouped.mutate(
        lifecycle=lifecycle(
            grouped.recency_days, _days(grouped.month_end, grouped.first_order),
            _days(grouped.last_order, grouped.last_but_one),
        )
    )  # fmt: skip


def _days(later: ir.DateColumn, earlier: ir.DateColumn) -> ir.IntegerColumn:
    return later.delta(earlier, unit="day").cast("int64")


def behaviours(days: ir.Table, came: ir.Table, ends: ir.Table) -> ir.Table:
    """(month_end, customer_key, behaviour_type) of customers who came within BEHAVIOUR_DAYS before each end.

    ``days``: ``silver/customer_day``; ``came``: ``visits``. A visit counts once it is over.
    """
    ends = ends.mutate(since=(ends.month_end - ibis.interval(days=BEHAVIOUR_DAYS)).cast("date"))
    did = days.orders + ibis.coalesce(days.views, 0) + ibis.coalesce(days.carts, 0)
    seen = days.filter((did > 0) | days.revenue_net.isnull())  # who only sent something back did not come
    seen = seen.select("customer_key", "event_date", "orders", "categories")
    seen = seen.inner_join(ends, [seen.event_date > ends.since, seen.event_date <= ends.month_end])
    seen = seen.group_by(_KEY).agg(orders=seen.orders.sum().cast("int64"), categories=seen.categories.max())
    shopped = came.filter(came.has_cart | came.has_order)  # few do, and the others count for nothing here
    shopped = shopped.inner_join(ends, [
        shopped.event_date > ends.since, shopped.event_date <= ends.month_end, shopped.end_us < ends.day_end_us
    ])  # fmt: skip
    shopped = shopped.group_by(_KEY).agg(
        abandoned=count(shopped.has_cart & ~shopped.has_order),
        bought=count(shopped.has_order),
        order_us=shopped.order_us.median(),
    )
    both = seen.left_join(shopped, _KEY)
    quick = ibis.coalesce(both.order_us <= QUICK_MINUTES * _MINUTE_US, ibis.literal(value=False))
    named = behaviour(
        both.orders, quick, ibis.coalesce(both.abandoned, 0), ibis.coalesce(both.bought, 0),
        ibis.coalesce(both.categories, 0),
    )  # fmt: skip
    return both.select("month_end", "customer_key", behaviour_type=named)


def months(days: ir.Table, came: ir.Table, ends: ir.Table) -> ir.Table:
    """Everything that rules say of customers with an order by each end, one row per (month_end, customer_key)."""
    found = with_scores(orders_known(days, ends))
    done = behaviours(days, came, ends)
    joined = found.left_join(done, _KEY).drop("month_end_right", "customer_key_right")
    return joined.mutate(behaviour_type=ibis.coalesce(joined.behaviour_type, CHURN_RISK))
