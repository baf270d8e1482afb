"""One day of trade: sessions become events with a time, products, prices and orders.

Products and pauses are drawn from the event names alone, never from the hidden state: that keeps the
truth of `intent` exact for an observer who sees them as well.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Self

import numpy as np

from behavior_assets.simulation.intent import (
    CART,
    CHECKOUT,
    PAGE_VIEW,
    PURCHASE,
    REMOVE,
    SEARCH,
    SESSION_START,
    VIEW,
    walk,
)
from behavior_assets.simulation.traffic import DAY_US, REST_US, SECOND_US

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from behavior_assets.simulation.intent import IntentModel, Walks
    from behavior_assets.simulation.shop import Calendar, Catalogue, Format
    from behavior_assets.simulation.traffic import Population, Visits

SLOTS = 4
KEY_BYTES = 16
FRESH_IN_CATEGORY = 0.60
SAME_PRODUCT = 0.22
MEDIAN_PAUSE_S, PAUSE_SPREAD, LONGEST_PAUSE_S = 38.0, 1.05, 1_500.0
PURCHASE_ROW_PAUSE_S = 1.0
QUANTITIES = (0.86, 0.10, 0.04)


@dataclass(frozen=True)
class Columns:
    """Arrays of one length along their first axis."""

    @classmethod
    def concat(cls, parts: list[Self]) -> Self:
        """Lay the parts end to end."""
        return cls(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)})

    def take(self, index: NDArray[np.int64] | NDArray[np.bool_] | slice) -> Self:
        """Rows by position or mask."""
        return type(self)(**{f.name: getattr(self, f.name)[index] for f in fields(self)})


@dataclass(frozen=True)
class Sessions(Columns):
    """n sessions. `key` [n, 16] random bytes; `sets` the covariates' index."""

    customer: NDArray[np.int64]
    start_us: NDArray[np.int64]
    sets: NDArray[np.int64]
    key: NDArray[np.uint8]
    bought: NDArray[np.bool_]

    def __len__(self) -> int:
        """Count the sessions."""
        return len(self.customer)


@dataclass(frozen=True)
class Events(Columns):
    """m events. `product`, `quantity` [m, 4]: the items, -1 and 0 where none; `order` is -1 but for orders.

    `price_day` is the day whose prices hold (the session's first). `chance` is the exact
    P(purchase later), `later` whether it came; both are filled by the caller of `trade`.
    """

    session: NDArray[np.int64]
    index: NDArray[np.int32]
    kind: NDArray[np.int8]
    state: NDArray[np.int8]
    time_us: NDArray[np.int64]
    price_day: NDArray[np.int64]
    product: NDArray[np.int32]
    quantity: NDArray[np.int8]
    order: NDArray[np.int64]
    chance: NDArray[np.float64]
    later: NDArray[np.bool_]

    def __len__(self) -> int:
        """Count the events."""
        return len(self.kind)


@dataclass(frozen=True)
class Shop:
    """What a day of trade needs; `population` is changed by each day, `rng` advances."""

    fmt: Format
    model: IntentModel
    catalogue: Catalogue
    calendar: Calendar
    population: Population
    rng: np.random.Generator

    def trade(self, day: int, first_order: int) -> tuple[Sessions, Events]:
        """Play one day. Sessions are contiguous in the events and in the order of their indices."""
        visits = self.population.visits(self.calendar, day, self.rng)
        walks = walk(self.model, visits.sets, self.rng)
        times, end = self._times(day, visits, walks)
        kept = self._without_collisions(visits, end)
        rows = np.repeat(kept, walks.length)
        session = (np.cumsum(kept) - 1)[np.repeat(np.arange(len(kept)), walks.length)[rows]]
        begin = np.cumsum(walks.length) - walks.length
        index = (np.arange(len(rows)) - np.repeat(begin, walks.length))[rows]
        kind, open_product = walks.event[rows], visits.open_product[kept]
        product, left = self._products(session, index, kind, open_product)
        bought = np.bincount(session, kind == PURCHASE, int(kept.sum())) > 0
        later = _later(session, kind, len(bought))
        self.population.remember(
            day,
            customer=visits.customer[kept],
            end_us=end[kept],
            bought=bought,
            left_product=np.where(bought, -1, left),
            rng=self.rng,
        )
        quantity = np.where(product >= 0, 1, 0).astype(np.int8)
        order = np.full(len(kind), -1, dtype=np.int64)
        paid = np.flatnonzero(kind == PURCHASE)
        # Rows of one run of purchases are one order.
        heads = (index[paid] == 0) | (kind[np.maximum(paid - 1, 0)] != PURCHASE)
        order[paid] = first_order + np.cumsum(heads) - 1
        if self.fmt == "ga4":
            drawn = self.rng.choice(len(QUANTITIES), (len(paid), SLOTS), p=QUANTITIES) + 1
            quantity[paid] = np.where(product[paid] >= 0, drawn, 0)
        count = len(kind)
        sessions = Sessions(
            customer=visits.customer[kept],
            start_us=times[rows][index == 0],
            sets=visits.sets[kept],
            key=self.rng.integers(0, 256, (len(bought), KEY_BYTES), dtype=np.uint8),
            bought=bought,
        )
        return sessions, Events(
            session=session,
            index=index.astype(np.int32),
            kind=kind,
            state=walks.state[rows],
            time_us=times[rows],
            price_day=np.full(count, day),
            product=product,
            quantity=quantity,
            order=order,
            chance=np.full(count, np.nan),
            later=later,
        )

    def _times(self, day: int, visits: Visits, walks: Walks) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Event times [events] and session ends [n], at least a second between two events of a session."""
        count = len(walks.event)
        pause = np.minimum(MEDIAN_PAUSE_S * self.rng.lognormal(0.0, PAUSE_SPREAD, count), LONGEST_PAUSE_S)
        run = walks.event == PURCHASE
        run[1:] &= walks.event[:-1] == PURCHASE
        pause[run] = PURCHASE_ROW_PAUSE_S
        if self.fmt == "rees46":
            pause_us = np.maximum(pause.astype(np.int64), 1) * SECOND_US
        else:
            pause_us = np.maximum((pause * SECOND_US).astype(np.int64), SECOND_US)
        begin = np.cumsum(walks.length) - walks.length
        pause_us[begin] = 0
        passed = np.cumsum(pause_us)
        passed -= np.repeat(passed[begin], walks.length)
        start = visits.start_us.copy()
        end = start + passed[begin + walks.length - 1]
        if self.calendar.closes_after(day):
            early = np.maximum(end - ((day + 1) * DAY_US - SECOND_US), 0)
            start, end = start - early, end - early
        return np.repeat(start, walks.length) + passed, end

    def _without_collisions(self, visits: Visits, end: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Drop a second visit begun before the first was well over; its own content plays no part."""
        firsts = np.zeros(len(self.population.rate), dtype=np.int64)
        firsts[visits.customer[~visits.second]] = end[~visits.second]
        kept: NDArray[np.bool_] = ~(visits.second & (visits.start_us < firsts[visits.customer] + REST_US))
        return kept

    def _products(
        self,
        session: NDArray[np.int64],
        index: NDArray[np.int64],
        kind: NDArray[np.int8],
        open_product: NDArray[np.int64],
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Items of each event [m, 4] and the last product left in each session's cart [n], -1 if none."""
        m, n = len(kind), len(open_product)
        begin = np.searchsorted(session, np.arange(n))
        choice, uniform = self.rng.random(m), self.rng.random(m)
        paid = kind == PURCHASE
        paid_before = np.zeros(m, dtype=bool)
        paid_before[1:] = paid[:-1]
        first = index == 0
        fresh = first | ((kind == VIEW) & (choice >= SAME_PRODUCT)) | (paid & paid_before & ~first)
        focus = self.catalogue.category[self.catalogue.anywhere(self.rng.random(n))]
        inside = first | (choice < SAME_PRODUCT + FRESH_IN_CATEGORY) | paid
        drawn = np.where(
            inside, self.catalogue.within(focus[session], uniform), self.catalogue.anywhere(uniform)
        )  # one uniform serves both: only one of the two is used
        main = drawn[np.maximum.accumulate(np.where(fresh, np.arange(m), 0))]

        kept_cart = kind == CART
        kept_cart[:-1] &= kind[1:] != REMOVE
        opened = (open_product >= 0).astype(np.int64)
        before = np.cumsum(kept_cart) - kept_cart
        before = before - before[begin][session] + opened[session]
        size = np.bincount(session, kept_cart, n).astype(np.int64) + opened
        offset = np.cumsum(size) - size
        queue = np.full(int(size.sum()), -1, dtype=np.int64)
        queue[offset[opened > 0]] = open_product[opened > 0]
        queue[(offset[session] + before)[kept_cart]] = main[kept_cart]

        items = np.full((m, SLOTS), -1, dtype=np.int32)
        shown = ~np.isin(kind, (SESSION_START, PAGE_VIEW, SEARCH)) if self.fmt == "ga4" else np.ones(m, dtype=bool)
        items[shown, 0] = main[shown]
        buys = np.flatnonzero(paid | (kind == CHECKOUT))
        taken = self._taken(session, paid, begin, before)[buys]
        slots = SLOTS if self.fmt == "ga4" else 1
        for slot in range(slots):
            has = taken + slot < before[buys]
            items[buys[has], slot] = queue[(offset[session[buys]] + taken + slot)[has]]
        left = np.where(size > opened, queue[np.maximum(offset + size - 1, 0)] if len(queue) else -1, -1)
        return items, left

    def _taken(
        self, session: NDArray[np.int64], paid: NDArray[np.bool_], begin: NDArray[np.int64], before: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """How many of the session's cart entries were bought before each event."""
        earlier: NDArray[np.int64] = np.cumsum(paid) - paid
        if self.fmt == "rees46":  # one row buys one entry
            return earlier - earlier[begin][session]
        # A GA4 purchase buys all that is in the cart: the entries before the session's previous purchase.
        last = np.maximum.accumulate(np.where(paid, np.arange(len(paid)), -1))
        previous = np.concatenate([[-1], last])[: len(paid)]
        return np.where(previous >= begin[session], before[np.maximum(previous, 0)], 0)


def _later(session: NDArray[np.int64], kind: NDArray[np.int8], sessions: int) -> NDArray[np.bool_]:
    """Whether a purchase follows strictly later in the session [m]."""
    last = np.full(sessions, -1, dtype=np.int64)
    paid = np.flatnonzero(kind == PURCHASE)
    last[session[paid]] = paid
    return np.arange(len(kind)) < last[session]
