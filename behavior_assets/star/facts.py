"""Facts as pure Ibis expressions over silver and the dimensions; every key finds its member or is -1."""

from __future__ import annotations

from dataclasses import dataclass

import ibis
import ibis.expr.types as ir

from behavior_assets.expressions import money
from behavior_assets.segmentation.months import months
from behavior_assets.star.dimensions import date_key, yes_no
from exports.contract import UNKNOWN_KEY, gold
from resources.engine import surrogate_key

ENGAGED_US = 10_000_000
ENGAGED_VIEWS = 2
MODEL_COLUMNS = ("cluster", "churn_risk", "p_alive", "expected_purchases", "expected_value")


@dataclass(frozen=True)
class Dimensions:
    """The dimension tables that facts look up."""

    channel: ir.Table
    device: ir.Table
    country: ir.Table
    source: ir.Table
    customer: ir.Table
    product: ir.Table


def _key(fact: ir.Table, dimension: ir.Table, kind: str, column: str) -> ir.Table:
    """Add ``<kind>_key`` by looking a name up; names that are unknown get -1."""
    lookup = dimension.select(**{f"{kind}_key": f"{kind}_key", "looked_up": f"{kind}_name"})
    joined = fact.left_join(lookup, fact[column] == lookup.looked_up).drop("looked_up")
    return joined.mutate(**{f"{kind}_key": ibis.coalesce(joined[f"{kind}_key"], UNKNOWN_KEY)})


def _all_keys(fact: ir.Table, dims: Dimensions) -> ir.Table:
    for kind in ("channel", "device", "country", "source"):
        fact = _key(fact, getattr(dims, kind), kind, kind)
    return fact


def fact_session(sessions: ir.Table, dims: Dimensions) -> ir.Table:
    """One row per session, from ``silver/sessions``."""
    s = _all_keys(sessions, dims)
    first_days = dims.customer.select("customer_key", "first_seen_date")
    s = s.left_join(first_days, "customer_key").drop("customer_key_right")
    elapsed = s.end_ts_us - s.start_ts_us
    engaged = (elapsed > ENGAGED_US) | (s.views >= ENGAGED_VIEWS) | (s.purchases > 0)
    return s.mutate(
        date_key=date_key(s.event_date),
        hour_key=s.start_hour.cast("int64"),
        customer_key=ibis.coalesce(s.customer_key, UNKNOWN_KEY),
        is_new_customer=yes_no(s.first_seen_date == s.event_date),
        duration_s=(elapsed // 1_000_000).cast("int64"),
        is_bounce=yes_no(s.events == 1),
        is_engaged=yes_no(engaged),
        has_cart=yes_no(s.carts > 0),
        has_checkout=yes_no(s.checkouts > 0),
        has_purchase=yes_no(s.purchases > 0),
        is_bot=yes_no(s.is_bot),
    ).select(*gold("fact_session").schema.names)


def with_product(fact: ir.Table, products: ir.Table, day: str) -> ir.Table:
    """Add product_key and category_key of the version that is valid on a day."""
    versions = products.select(
        "product_key", "category_key", "valid_from", "valid_to", version_of="product_id"
    )
    on = [
        fact.product_id == versions.version_of,
        fact[day] >= versions.valid_from,
        fact[day] <= versions.valid_to,
    ]
    joined = fact.left_join(versions, on)
    return joined.mutate(
        product_key=ibis.coalesce(joined.product_key, UNKNOWN_KEY),
        category_key=ibis.coalesce(joined.category_key, UNKNOWN_KEY),
    ).drop("version_of", "valid_from", "valid_to")


def order_key(lines: ir.Table) -> ir.IntegerColumn:
    """The key of the order of each line of ``silver/commerce_events``."""
    return surrogate_key("order", ibis.coalesce(lines.transaction_id, "event " + lines.event_key.cast("string")))


def fact_sales(commerce: ir.Table, sessions: ir.Table, first_orders: ir.Table, dims: Dimensions) -> ir.Table:
    """One row per order line.

    ``sessions``: those that can hold the lines (their days and the ones before); ``first_orders``:
    (customer_key, first_order_ts_us) over all time.
    """
    lines = commerce.filter(commerce.line_type.notnull())
    booked = sessions.select(
        "session_key", "start_ts_us", "end_ts_us", "channel", "device", session_chain="chain_key",
        session_country="country",
    )  # fmt: skip
    on = [
        lines.chain_key == booked.session_chain,
        lines.event_ts_us >= booked.start_ts_us,
        lines.event_ts_us <= booked.end_ts_us,
    ]
    lines = lines.left_join(booked, on)
    lines = lines.mutate(
        country=ibis.coalesce(lines.country, lines.session_country),
        session_key=ibis.coalesce(lines.session_key, UNKNOWN_KEY),
    )
    lines = with_product(lines, dims.product, "event_date")
    lines = _all_keys(lines, dims)
    lines = lines.left_join(first_orders, "customer_key").drop("customer_key_right")
    lines = lines.mutate(order_key=order_key(lines))
    in_order = ibis.window(
        group_by=["order_key", "event_date"], order_by=["transaction_line", "product_id", "event_ts_us", "event_key"]
    )
    whole = ibis.window(group_by=["order_key", "event_date"])
    sale, refund = lines.line_type == "sale", lines.line_type == "refund"
    value = money(lines.price * lines.quantity)
    begun = lines.event_ts_us.min(where=sale).over(whole)
    of_the_day = ibis.window(group_by="event_date", order_by="order_key")
    return lines.mutate(
        date_key=date_key(lines.event_date),
        hour_key=lines.event_hour.cast("int64"),
        customer_key=ibis.coalesce(lines.customer_key, UNKNOWN_KEY),
        line_number=(ibis.row_number().over(in_order) + 1).cast("int64"),
        unit_price=lines.price,
        revenue_gross=ibis.ifelse(sale, value, ibis.null("decimal(18,4)")),
        refund_amount=ibis.ifelse(refund, money(-value), ibis.null("decimal(18,4)")),
        revenue_net=value,
        is_refund=yes_no(refund),
        is_first_order=yes_no(sale & (begun == lines.first_order_ts_us)),
        order_number=(ibis.dense_rank().over(of_the_day) + 1).cast("int64"),
    ).select(*gold("fact_sales").schema.names)


def fact_product_day(days: ir.Table, dims: Dimensions) -> ir.Table:
    """One row per product and day, from ``silver/product_day``."""
    facts = with_product(days, dims.product, "event_date")
    return facts.mutate(date_key=date_key(facts.event_date)).select(*gold("fact_product_day").schema.names)


def fact_customer_month(
    days: ir.Table, came: ir.Table, month_ends: ir.Table, scored: ir.Table | None = None
) -> ir.Table:
    """Customers with an order by each month's end, only from what was known then.

    ``came``: ``months.visits``; ``month_ends``: the closed months, as ``months`` wants them; ``scored``: what a model
    says, (date_key, customer_key, ``MODEL_COLUMNS``). What it does not speak of is NULL.
    """
    names = gold("fact_customer_month").schema.names
    known = months(days, came, month_ends)
    known = known.mutate(date_key=date_key(known.month_end))
    if scored is None:
        types = ibis.Schema.from_pyarrow(gold("fact_customer_month").schema)
        known = known.mutate(**{name: ibis.null(types[name]) for name in MODEL_COLUMNS})
    else:
        known = known.left_join(scored, ["date_key", "customer_key"])
    return known.select(*names)
