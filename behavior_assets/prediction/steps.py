"""Sessions as events in their order: what a shop saw, step by step, as columns of numbers.

Events of one instant stand in the order of the funnel (a view before a cart before a purchase) and then of their keys,
so that the order, and with it every prefix, is the same whatever engine or delivery it came by.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

KINDS = (
    "other", "session_start", "page_view", "search", "view_item", "add_to_wishlist", "add_to_cart", "remove_from_cart",
    "begin_checkout", "purchase",
)  # fmt: skip
VIEW, CART, REMOVE, CHECKOUT, PURCHASE = (
    KINDS.index(n) for n in ("view_item", "add_to_cart", "remove_from_cart", "begin_checkout", "purchase")
)
HOUR_US = 3_600_000_000
MILLIONTHS = 1e6  # of logarithms: whole numbers add up to the same whatever their order
USUAL_DAYS = 28  # a product's usual price is its mean over so many days before the event's


@dataclass(frozen=True)
class Steps:
    """N sessions of E events, laid end to end.

    By event [E]: ``kind`` (a number in KINDS), ``time_us``, ``price`` and ``usual_price`` (NaN where unknown),
    ``product`` and ``category`` (numbers, -1 where unknown), ``quantity``. By session [N]: ``key``, ``customer`` (-1
    where unknown), ``day`` (since 1970), ``hour`` (of the shop's clock, at the start), ``length``.
    """

    kind: Integers
    time_us: Integers
    price: Floats
    usual_price: Floats
    product: Integers
    category: Integers
    quantity: Integers
    key: Integers
    customer: Integers
    day: Integers
    hour: Integers
    length: Integers

    def __len__(self) -> int:
        """Number of sessions."""
        return len(self.length)

    @property
    def begin(self) -> Integers:
        """Place of each session's first event [N]."""
        found: Integers = np.cumsum(self.length) - self.length
        return found

    @property
    def session(self) -> Integers:
        """Session of each event [E]."""
        return np.repeat(np.arange(len(self)), self.length)

    @property
    def step(self) -> Integers:
        """How many events of its session came up to each event, itself included [E]."""
        found: Integers = np.arange(len(self.kind)) - np.repeat(self.begin, self.length) + 1
        return found

    def bought(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """By event [E]: is a purchase still to come in its session, and has none come yet, itself included."""
        is_purchase = (self.kind == PURCHASE).astype(np.int64)
        so_far = running(is_purchase, self)
        return overall(is_purchase, self) > so_far, so_far == 0

    def only(self, sessions: NDArray[np.bool_]) -> Steps:
        """Some of the sessions."""
        events = np.repeat(sessions, self.length)
        return self._taken(events, sessions, self.length[sessions])

    def first(self, steps: int) -> Steps:
        """Every session cut after so many events."""
        return self._taken(self.step <= steps, np.ones(len(self), dtype=bool), np.minimum(self.length, steps))

    def _taken(self, events: NDArray[np.bool_], sessions: NDArray[np.bool_], length: Integers) -> Steps:
        by_event = {n: getattr(self, n)[events] for n in BY_EVENT}
        by_session = {n: getattr(self, n)[sessions] for n in BY_SESSION}
        return replace(self, **by_event, **by_session, length=length)


BY_EVENT = ("kind", "time_us", "price", "usual_price", "product", "category", "quantity")
BY_SESSION = ("key", "customer", "day", "hour")


def running(values: NDArray[Any], steps: Steps) -> Floats:
    """Sum of values [E] over each session up to each event, itself included."""
    total = np.cumsum(values, dtype=np.float64)
    before = np.concatenate([[0.0], total])[steps.begin]
    found: Floats = total - np.repeat(before, steps.length)
    return found


def overall(values: NDArray[Any], steps: Steps) -> Floats:
    """Sum of values [E] over the whole session of each event: what no feature may know."""
    whole = np.add.reduceat(values.astype(np.float64), steps.begin) if len(steps) else np.zeros(0)
    return np.repeat(whole, steps.length)


def session_events(events: ir.Table, sessions: ir.Table, product_days: ir.Table) -> ir.Table:
    """Events of sessions in their order, as Ibis sees them.

    ``events`` are rows of ``silver/events``, ``sessions`` of ``silver/sessions``; ``product_days`` those of
    ``silver/product_day`` that reach ``USUAL_DAYS`` further back. Visits of programs are left out, and those without
    consent: no visit has events with and without it.
    """
    records = events.filter(events.is_record & (events.consent == "granted"))
    booked = sessions.filter(~sessions.is_bot).select(
        "session_key", "start_ts_us", "end_ts_us", "start_hour", chain="chain_key", who="customer_key",
        began="event_date",
    )  # fmt: skip
    on = [
        records.chain_key == booked.chain, records.event_ts_us >= booked.start_ts_us,
        records.event_ts_us <= booked.end_ts_us,
    ]  # fmt: skip
    joined = records.inner_join(booked, on)
    joined = joined.left_join(
        usual_prices(product_days), ["product_id", "event_date"], rname="{name}_usual"
    )
    kind = ibis.cases(*((joined.event_name == name, number) for number, name in enumerate(KINDS)), else_=0)
    made = joined.select(
        "session_key", "event_ts_us", "event_key",
        began=joined.began, start_hour=joined.start_hour, customer=ibis.coalesce(joined.who, -1),
        kind=kind.cast("int64"), price=joined.price.cast("float64"), usual_price=joined.usual_price,
        quantity=ibis.coalesce(joined.quantity, 1).cast("int64"),
        product=joined.product_id, category=ibis.coalesce(joined.category_path, "#" + joined.category_id),
    )  # fmt: skip
    return made.order_by("session_key", "event_ts_us", "kind", "event_key")


def usual_prices(product_days: ir.Table) -> ir.Table:
    """What a product usually costs on a day: the mean of its last prices on the 28 days before, none of the day's."""
    priced = product_days.filter(product_days.price > 0).select(
        "product_id", known="event_date", was=product_days.price
    )
    days = product_days.select("product_id", "event_date").distinct()
    on = [
        days.product_id == priced.product_id, priced.known < days.event_date,
        priced.known >= days.event_date - ibis.interval(days=USUAL_DAYS),
    ]  # fmt: skip
    joined = days.inner_join(priced, on, rname="{name}_right")
    return joined.group_by(["product_id", "event_date"]).agg(
        usual_price=joined.was.sum().cast("float64") / joined.was.count()  # a sum of decimals knows no order
    )


def shop_hours(events: ir.Table, product_days: ir.Table) -> ir.Table:
    """By hour since 1970: how many events tell a price that is usually known; their log discounts in millionths."""
    told = events.filter(events.is_record & (events.price > 0)).inner_join(
        usual_prices(product_days), ["product_id", "event_date"], rname="{name}_usual"
    )
    discount = (told.price.cast("float64") / told.usual_price).ln()
    return told.group_by(hour=told.event_ts_us // HOUR_US).agg(
        total=(discount * MILLIONTHS).round().cast("int64").sum().cast("int64"), count=told.count()
    )


def from_arrow(table: pa.Table) -> Steps:
    """Steps from the rows of ``session_events``."""
    keys = table["session_key"].to_numpy()
    first = np.flatnonzero(np.diff(keys, prepend=keys[:1] - 1))
    length = np.diff(np.append(first, len(keys)))
    return Steps(
        kind=table["kind"].to_numpy(),
        time_us=table["event_ts_us"].to_numpy(),
        price=_floats(table["price"]),
        usual_price=_floats(table["usual_price"]),
        product=coded(table["product"]),
        category=coded(table["category"]),
        quantity=table["quantity"].to_numpy(),
        key=keys[first],
        customer=table["customer"].to_numpy()[first],
        day=table["began"].cast(pa.int32()).to_numpy().astype(np.int64)[first],
        hour=table["start_hour"].to_numpy().astype(np.int64)[first],
        length=length.astype(np.int64),
    )


def _floats(column: pa.ChunkedArray) -> Floats:
    found: Floats = column.cast(pa.float64()).fill_null(float("nan")).to_numpy()
    return found


def coded(column: pa.ChunkedArray) -> Integers:
    """Texts as numbers that depend on nothing but the text (their digest's first 52 bits); -1 for NULL."""
    import hashlib

    dictionary = column.combine_chunks().dictionary_encode()
    if isinstance(dictionary, pa.ChunkedArray):
        dictionary = dictionary.combine_chunks()
    words = dictionary.dictionary.to_pylist()
    numbers = [int(hashlib.sha256(str(w).encode()).hexdigest()[:13], 16) for w in words]
    place = dictionary.indices.fill_null(len(words)).to_numpy()
    found: Integers = np.array([*numbers, -1], dtype=np.int64)[place]
    return found
