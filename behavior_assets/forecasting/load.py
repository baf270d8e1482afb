"""From silver to daily demand: one series for each category, or for each product of a shop without categories."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import ibis
import numpy as np
import pyarrow as pa

from behavior_assets.days import number_of
from behavior_assets.expressions import money
from behavior_assets.forecasting.series import Demand, make_demand
from behavior_assets.incremental import read_parts
from behavior_assets.star.aggregates import COMMERCE_EVENTS, PRODUCT_DAY
from exports.contract import UNKNOWN, UNKNOWN_KEY
from resources.compute import hold
from resources.engine import surrogate_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    import ibis.expr.types as ir
    from ibis.backends.duckdb import Backend

    from resources.lake import Lake

CATEGORY, PRODUCT = "category", "product"


@dataclass(frozen=True)
class Loaded:
    """Demand whose names are keys of gold: ``category_key``, or ``product_durable_key`` where ``level`` is product."""

    demand: Demand
    level: str


def load_demand(backend: Backend, lake: Lake, days: Sequence[str]) -> Loaded:
    """Units sold on each of the days up to the last of ``days``; those that are not named count as days without sales.

    A product's sales belong to the category that it has now, on all days. Products without one are a series of their
    own (-1). Where no price is told, units stand for money.
    """
    wanted = set(days)
    table = lake.table(COMMERCE_EVENTS)
    sold = sold_lines(read_parts(backend, table, [d for d in table.parts() if d in wanted]))
    about = lake.table(PRODUCT_DAY)
    keyed = _keys(read_parts(backend, about, about.parts()))
    joined = sold.left_join(keyed, "product_id")
    joined = joined.mutate(category_key=ibis.coalesce(joined.category_key, UNKNOWN_KEY),
                           product_key=surrogate_key("dim_product_durable", joined.product_id))  # fmt: skip
    joined = hold(backend, "sold_lines", joined)  # it is asked twice
    known = joined.aggregate(found=(joined.category_key != UNKNOWN_KEY).any())
    level = CATEGORY if backend.to_pyarrow(known)["found"][0].as_py() else PRODUCT
    series = joined[f"{level}_key"]
    # Sums of whole numbers and decimals: no order of rows changes a digit of them.
    daily = joined.group_by(series=series, day=joined.event_date).agg(
        units=joined.units.sum().cast("int64"), worth=joined.worth.sum().cast("float64")
    )
    found = backend.to_pyarrow(daily.order_by("series", "day"))
    units, worth = found["units"].to_numpy().astype(np.float64), found["worth"].fill_null(0.0).to_numpy()
    day = found["day"].cast(pa.int32()).to_numpy().astype(np.int64)
    last = number_of(max(days)) if days else None
    demand = make_demand(found["series"].to_numpy().astype(str), day, units, worth if worth.any() else units, last)
    return Loaded(demand, level)


def sold_lines(events: ir.Table) -> ir.Table:
    """Units by product, day and customer that were not taken back on the day of the order, and what they are worth.

    A customer who orders 80,995 of a product and has none of it 12 minutes later made no demand. What comes back on a
    later day is a refund, and was demand.
    """
    told = events.filter(events.product_id.notnull())
    told = told.mutate(quantity=ibis.coalesce(told.quantity, 1))
    sale = (told.line_type == "sale") & (told.quantity > 0)
    undone = (told.line_type == "refund") & told.customer_key.notnull()
    lines = told.group_by("product_id", "event_date", "customer_key").agg(
        sold=told.quantity.sum(where=sale).cast("int64"),
        worth=money(told.price * told.quantity).sum(where=sale).cast("float64"),
        undone=ibis.coalesce(told.quantity.abs().sum(where=undone).cast("int64"), 0),
    )
    lines = lines.mutate(units=lines.sold - lines.undone)
    lines = lines.filter(lines.units > 0)
    return lines.select("product_id", "event_date", "units", worth=money(lines.worth * lines.units / lines.sold))


def _keys(days: ir.Table) -> ir.Table:
    """The key of every product's newest category, as the current version in ``gold/dim_product`` has it."""
    newest = days.category.argmax(days.event_date, where=days.category.notnull())
    current = days.group_by("product_id").agg(category=newest)
    name = ibis.coalesce(current.category, UNKNOWN)
    key = ibis.ifelse(name == UNKNOWN, UNKNOWN_KEY, surrogate_key("dim_category", name))
    return current.select("product_id", category_key=key)
