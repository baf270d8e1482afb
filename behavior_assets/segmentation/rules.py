"""Groups of customers by thresholds that a person can read: RFM segments, lifecycle, behaviour types.

The first rule that holds gives the name. Scores go from 1 to 5, five being the best fifth of the month's customers.
"""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

SCORES = 5
NEW_DAYS, ACTIVE_DAYS, SLIPPING_DAYS = 30, 60, 120
LOYAL_ORDERS, EXPLORED_CATEGORIES, QUICK_MINUTES = 3, 5, 10
BEHAVIOUR_DAYS = 90  # of events before the month's end that behaviour types look at

CHURN_RISK = "Churn risk"
NO_SEGMENT, NO_LIFECYCLE = "None yet", "No order yet"  # of customers without an order by then

# Segment: what it means in words, for cards and documentation; the conditions stand in rfm_segment, in this order.
RFM_SEGMENTS = {
    "Champions": "bought lately (R 4 or 5), often and much (F and M 4 or 5)",
    "New": "one order so far, lately (R 4 or 5)",
    "Loyal": "buys often (F 4 or 5), not long ago (R 3 or more)",
    "Promising": "bought lately (R 4 or 5), not yet often",
    "Cannot lose": "bought often and much (F and M 4 or 5), but not for long (R 1)",
    "At risk": "bought more often than most (F 3 or more), but not lately (R 1 or 2)",
    "Needs attention": "middling in everything (R 3)",
    "Hibernating": "few orders, long ago (R 2)",
    "Lost": "few orders, longest ago (R 1)",
}
LIFECYCLES = {
    "New": f"first order within {NEW_DAYS} days",
    "Returned": f"last order within {NEW_DAYS} days, after a pause of more than {SLIPPING_DAYS}",
    "Active": f"last order within {ACTIVE_DAYS} days",
    "Slipping": f"last order within {SLIPPING_DAYS} days",
    "Dormant": f"last order more than {SLIPPING_DAYS} days ago",
}
BEHAVIOURS = {
    "Loyal": f"{LOYAL_ORDERS} orders or more within {BEHAVIOUR_DAYS} days",
    "Quick buyer": f"orders within {QUICK_MINUTES} minutes of arriving (the median of visits with more than an order)",
    "Cart abandoner": "more visits with a cart and no order than with an order",
    "Explorer": f"looked at {EXPLORED_CATEGORIES} categories or more on one day",
    "Buyer": "has ordered, and nothing of the above",
    "Browser": "comes, and puts nothing into the cart",
    CHURN_RISK: f"has not come within {BEHAVIOUR_DAYS} days",
}


def fifths(value: ir.NumericColumn, by: ir.Column, *, best_is_low: bool = False) -> ir.IntegerColumn:
    """Score 1 to 5 of each value among those of the same ``by``; equal values have one score.

    The share of others that are worse decides, so that ties never depend on an order.
    """
    order = value.desc() if best_is_low else value.asc()
    worse = ibis.percent_rank().over(ibis.window(group_by=by, order_by=order))
    return ibis.least(1 + (worse * SCORES).floor(), SCORES).cast("int64")


def with_scores(months: ir.Table) -> ir.Table:
    """Add r_score, f_score, m_score and rfm_segment to rows of (month_end, recency_days, frequency, monetary)."""
    scored = months.mutate(
        r_score=fifths(months.recency_days, months.month_end, best_is_low=True),
        f_score=fifths(months.frequency, months.month_end),
        m_score=fifths(months.monetary, months.month_end),
    )
    return scored.mutate(rfm_segment=rfm_segment(scored.r_score, scored.f_score, scored.m_score, scored.frequency))


def rfm_segment(
    r: ir.IntegerColumn, f: ir.IntegerColumn, m: ir.IntegerColumn, orders: ir.IntegerColumn
) -> ir.StringColumn:
    """The name of a segment, by scores and the number of orders."""
    lately, often, much = r >= 4, f >= 4, m >= 4  # noqa: PLR2004 - the words of RFM_SEGMENTS
    once = orders == 1
    return ibis.cases(
        (lately & often & much & ~once, "Champions"),
        (lately & once, "New"),
        ((r >= 3) & often & ~once, "Loyal"),  # noqa: PLR2004
        (lately, "Promising"),
        ((r == 1) & often & much & ~once, "Cannot lose"),
        ((r <= 2) & (f >= 3) & ~once, "At risk"),  # noqa: PLR2004
        (r == 3, "Needs attention"),  # noqa: PLR2004
        (r == 2, "Hibernating"),  # noqa: PLR2004
        else_="Lost",
    )


def lifecycle(
    recency_days: ir.IntegerColumn, days_since_first: ir.IntegerColumn, pause_days: ir.IntegerColumn
) -> ir.StringColumn:
    """Where a customer stands; ``pause_days``: between the last order and the one before, NULL with one order."""
    return ibis.cases(
        (days_since_first <= NEW_DAYS, "New"),
        ((recency_days <= NEW_DAYS) & (ibis.coalesce(pause_days, 0) > SLIPPING_DAYS), "Returned"),
        (recency_days <= ACTIVE_DAYS, "Active"),
        (recency_days <= SLIPPING_DAYS, "Slipping"),
        else_="Dormant",
    )


def behaviour(
    orders: ir.IntegerColumn, quick: ir.BooleanColumn, abandoned: ir.IntegerColumn, bought: ir.IntegerColumn,
    categories: ir.IntegerColumn,
) -> ir.StringColumn:
    """What a customer does who came within the last ``BEHAVIOUR_DAYS``, from the visits since: see BEHAVIOURS.

    ``abandoned`` and ``bought`` count visits with a cart and no order, and with an order; ``categories`` is the most
    that were looked at on one day.
    """
    return ibis.cases(
        (orders >= LOYAL_ORDERS, "Loyal"),
        ((bought > 0) & quick, "Quick buyer"),
        ((abandoned > 0) & (abandoned > bought), "Cart abandoner"),
        (categories >= EXPLORED_CATEGORIES, "Explorer"),
        (bought > 0, "Buyer"),
        else_="Browser",
    )
