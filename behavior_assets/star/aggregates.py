"""The substrate of the star: what one day of silver events says about customers, products and orders."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from behavior_assets.expressions import DIGITS, count, is_sale, money, money_where
from behavior_assets.ingestion.canonical import MONEY
from resources.compute import Compute, parts_of
from resources.lake import Lake
from resources.table import TableSpec

VERSION = "aggregates-2"

CUSTOMER_DAY = TableSpec(
    "silver/customer_day",
    pa.schema([
        ("event_date", pa.date32()), ("customer_key", pa.int64()), ("customer_id", pa.string()),
        ("first_ts_us", pa.int64()), ("last_ts_us", pa.int64()), ("first_order_ts_us", pa.int64()),
        ("events", pa.int64()), ("orders", pa.int64()), ("revenue_net", MONEY),
        ("views", pa.int64()), ("carts", pa.int64()), ("categories", pa.int64()),
    ]),
    by_day=True,
    undictionaried=frozenset({"customer_key", "customer_id", "first_ts_us", "last_ts_us"}),
)  # fmt: skip

PRODUCT_DAY = TableSpec(
    "silver/product_day",
    pa.schema([
        ("event_date", pa.date32()), ("product_id", pa.string()),
        ("category", pa.string()), ("brand", pa.string()), ("product_name", pa.string()), ("price", MONEY),
        ("views", pa.int64()), ("carts", pa.int64()), ("removes", pa.int64()), ("purchases", pa.int64()),
        ("quantity", pa.int64()), ("revenue", MONEY),
    ]),
    by_day=True,
)  # fmt: skip

COMMERCE_EVENTS = TableSpec(
    "silver/commerce_events",
    pa.schema([
        ("event_date", pa.date32()), ("event_key", pa.int64()), ("event_ts_us", pa.int64()),
        ("event_hour", pa.int32()), ("event_name", pa.string()), ("chain_key", pa.int64()),
        ("customer_key", pa.int64()), ("product_id", pa.string()), ("price", MONEY), ("quantity", pa.int64()),
        ("transaction_id", pa.string()), ("transaction_line", pa.int64()), ("line_type", pa.string()),
        ("country", pa.string()), ("source", pa.string()),
    ]),
    by_day=True,
)  # fmt: skip


def customer_day(events: ir.Table) -> ir.Table:
    """One row per known customer and day; ``categories`` counts those that were looked at."""
    known = events.filter(events.customer_key.notnull())
    sale = is_sale(known)
    view = known.event_name == "view_item"
    category = ibis.coalesce(known.category_path, known.category_id)
    return known.group_by(["event_date", "customer_key"]).agg(
        customer_id=known.customer_id.arbitrary(),  # one id per key
        first_ts_us=known.event_ts_us.min(),
        last_ts_us=known.event_ts_us.max(),
        first_order_ts_us=known.event_ts_us.min(where=sale),
        events=known.count().cast("int64"),
        orders=known.transaction_id.nunique(where=sale).cast("int64"),
        revenue_net=money_where(known.line_type.notnull(), known.price, known.quantity),
        views=count(view),
        carts=count(known.event_name == "add_to_cart"),
        categories=category.nunique(where=view).cast("int64"),
    ).select(*CUSTOMER_DAY.schema.names)


def read_customer_days(compute: Compute, lake: Lake, days: Iterable[str] | None = None) -> ir.Table:
    """``silver/customer_day``, of some days or all.

    A day that is held back may be as an older version of the program wrote it: what it lacks is NULL.
    """
    table = lake.table(replace(CUSTOMER_DAY, widened=True))
    return parts_of(compute, table, table.parts() if days is None else days)


def product_day(events: ir.Table) -> ir.Table:
    """One row per product and day; attributes are the day's last non-null ones by (time, value)."""
    about = events.filter(events.product_id.notnull())
    sale = is_sale(about)
    about = about.mutate(category=ibis.coalesce(about.category_path, "#" + about.category_id))
    # First by combination of attributes: the strings below are then built for thousands of rows, not millions.
    looks = ["category", "brand", "product_name", "price"]
    combined = about.group_by(["event_date", "product_id", *looks]).agg(
        seen=about.event_ts_us.max(),
        views=count(about.event_name == "view_item"),
        carts=count(about.event_name == "add_to_cart"),
        removes=count(about.event_name == "remove_from_cart"),
        purchases=count(sale),
        quantity=ibis.coalesce(about.quantity.sum(where=sale).cast("int64"), 0),
        revenue=money_where(sale, about.price, about.quantity),
    )
    stamp = combined.seen.cast("string").lpad(DIGITS, "0")
    last = {name: (stamp + combined[name].cast("string")).max().substr(DIGITS) for name in looks}
    totals = {n: combined[n].sum().cast("int64") for n in ("views", "carts", "removes", "purchases", "quantity")}
    days = combined.group_by(["event_date", "product_id"]).agg(
        **{name: last[name] for name in looks if name != "price"},
        price=money(last["price"]),
        **totals,
        revenue=money(combined.revenue.sum()),
    )
    return days.select(*PRODUCT_DAY.schema.names)


def commerce_events(events: ir.Table) -> ir.Table:
    """The few events that carts and orders are made of, without the views around them."""
    names = ["add_to_cart", "remove_from_cart", "purchase", "refund", "adjustment"]
    kept = events.filter(events.event_name.isin(names) | events.line_type.notnull())
    return kept.select(*COMMERCE_EVENTS.schema.names)
