"""Cart lives: what became of a product that a customer put into the cart, across sessions."""

from __future__ import annotations

from datetime import date

import ibis
import ibis.expr.types as ir

from behavior_assets.expressions import is_sale, money
from behavior_assets.star.dimensions import date_key
from behavior_assets.star.facts import with_product
from exports.contract import UNKNOWN_KEY, gold
from resources.engine import surrogate_key


def fact_cart_item(commerce: ir.Table, products: ir.Table, window_us: int, through_us: int) -> ir.Table:
    """One row per product in a cart life.

    A life begins with an add and ends with a purchase or a removal; the next add begins another. Without an end it
    is ``abandoned`` when untouched for ``window_us`` before ``through_us`` (the newest event), else ``open``; a
    purchase after such a silence is ``recovered``.
    """
    return _items(_touches(commerce), products, window_us, through_us)


def fact_cart_item_since(
    before: ir.Table, first_day: date, commerce: ir.Table, products: ir.Table, window_us: int, through_us: int
) -> ir.Table:
    """``fact_cart_item`` of all days, from what it was ``before`` the last of them came.

    Only carts that were touched on ``first_day`` or later are looked at anew: it is not after the first day that came,
    nor after the last touch of any that was open or is now. What a product is called may be known only now. Days are
    taken to follow each other: where clocks went back over midnight (St John's until 2010) a life could begin anew.
    """
    touches = _touches(commerce)
    again = touches.filter(touches.event_date >= first_day).select("owner", "product_id").distinct()
    items = _items(touches.semi_join(again, ["owner", "product_id"]), products, window_us, through_us)
    stay = before.anti_join(items, "cart_key").drop("category_key")
    stay = stay.left_join(products.select("product_key", "category_key"), "product_key").drop("product_key_right")
    return items.union(stay.select(*items.columns))


def _touches(commerce: ir.Table) -> ir.Table:
    """Everything that happened to products in carts, with its ``owner``."""
    sale = is_sale(commerce)
    touches = commerce.filter(commerce.event_name.isin(["add_to_cart", "remove_from_cart"]) | sale)
    touches = touches.filter(touches.product_id.notnull())
    return touches.mutate(
        owner=ibis.coalesce(touches.customer_key, touches.chain_key),
        # At one instant an add comes before its purchase.
        step=ibis.cases(
            (touches.event_name == "add_to_cart", 0), (touches.event_name == "remove_from_cart", 1), else_=2
        ),
    )


def _items(touches: ir.Table, products: ir.Table, window_us: int, through_us: int) -> ir.Table:
    touches = touches.mutate(ends=(touches.step > 0).cast("int64"))
    inside = {"group_by": ["owner", "product_id"], "order_by": ["event_ts_us", "step", "event_key"]}
    order = ibis.window(**inside)
    touches = touches.mutate(
        life=touches.ends.sum().over(ibis.cumulative_window(**inside)) - touches.ends,
        silence=ibis.ifelse(  # before an end lies another life
            touches.ends.lag().over(order) == 0, touches.event_ts_us - touches.event_ts_us.lag().over(order),
            ibis.null("int64"),
        ),
    )  # fmt: skip
    added = touches.step == 0
    lives = touches.group_by(["owner", "product_id", "life"]).agg(
        added_ts=touches.event_ts_us.min(where=added),
        added_date=touches.event_date.min(where=added),
        last_ts=touches.event_ts_us.max(),
        last_date=touches.event_date.max(),
        purchased_date=touches.event_date.min(where=touches.step == 2),  # noqa: PLR2004
        removed=(touches.step == 1).max(),
        silence=ibis.coalesce(touches.silence.max(), 0),
        customer_key=touches.customer_key.max(),
        quantity=ibis.coalesce(touches.quantity.sum(where=added).cast("int64"), 0),
        price=touches.price.max(),
    )
    lives = lives.filter(lives.added_ts.notnull())
    status = ibis.cases(
        (lives.purchased_date.notnull() & (lives.silence >= window_us), "recovered"),
        (lives.purchased_date.notnull(), "purchased"),
        (lives.removed, "removed"),
        (lives.last_ts + window_us <= through_us, "abandoned"),
        else_="open",
    )
    business_id = lives.owner.cast("string") + "|" + lives.product_id + "|" + lives.added_ts.cast("string")
    items = lives.mutate(
        cart_key=surrogate_key("fact_cart_item", business_id + "|" + lives.life.cast("string")),
        status=status,
        value=money(lives.price * lives.quantity),
        customer_key=ibis.coalesce(lives.customer_key, UNKNOWN_KEY),
        added_date_key=date_key(lives.added_date),
        last_date_key=date_key(lives.last_date),
        purchased_date_key=date_key(lives.purchased_date),
    )
    items = with_product(items, products, "added_date")
    return items.select(*gold("fact_cart_item").schema.names)
