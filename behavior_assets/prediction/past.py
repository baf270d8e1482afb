"""What was known of a visitor when a session began: earlier visits, orders and carts, never anything later."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

DAY_US = 86_400_000_000


@dataclass(frozen=True)
class Moments:
    """Things that happened [n]: who, and when (microseconds)."""

    customer: Integers
    time_us: Integers

    def only(self, which: NDArray[np.bool_]) -> Moments:
        """Some of them."""
        return Moments(self.customer[which], self.time_us[which])

    def and_(self, more: Moments) -> Moments:
        """These and others."""
        return Moments(np.append(self.customer, more.customer), np.append(self.time_us, more.time_us))


@dataclass(frozen=True)
class Past:
    """By session [N], before its first event: counts, and days since the last (NaN where there was none).

    ``open_cart_days``: days since the last add-to-cart, where no purchase came after it; ``today``: visits of the
    same day before this one.
    """

    visits: Integers
    orders: Integers
    days_since_visit: Floats
    days_since_order: Floats
    open_cart_days: Floats
    today: Integers


def before(asked: Moments, happened: Moments) -> tuple[Integers, Integers]:
    """For each moment asked about: how many things had happened to its customer before, and when the last did.

    Strictly before: what happens at the very instant is not known yet. -1 where nothing had.
    """
    if not len(asked.customer):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    customer = np.concatenate([happened.customer, asked.customer])
    time = np.concatenate([happened.time_us, asked.time_us])
    is_asked = np.concatenate([np.zeros(len(happened.customer), dtype=bool), np.ones(len(asked.customer), dtype=bool)])
    order = np.lexsort((~is_asked, time, customer))  # at one instant the question comes first
    events = (~is_asked[order]).astype(np.int64)
    total = np.cumsum(events)
    starts = np.flatnonzero(np.concatenate([[True], np.diff(customer[order]) != 0]))
    lengths = np.diff(np.append(starts, len(order)))
    base = np.repeat(total[starts] - events[starts], lengths)
    count = total - base
    last = np.maximum.accumulate(np.where(events == 1, np.arange(len(order)), -1))
    known = count > 0
    when = np.where(known, time[order][np.maximum(last, 0)], -1)
    answer_count, answer_when = np.zeros(len(customer), dtype=np.int64), np.zeros(len(customer), dtype=np.int64)
    answer_count[order], answer_when[order] = count, when
    split = len(happened.customer)
    return answer_count[split:], answer_when[split:]


def past_of(
    asked: Moments, day: Integers, visits: Moments, visit_day: Integers, orders: Moments, carts: Moments
) -> Past:
    """The past of sessions that begin at some moments on some days (since 1970).

    ``visits`` are all sessions' first events, ``orders`` purchases, ``carts`` add-to-carts. Of a visitor who is not
    known (-1) nothing is.
    """
    stranger = asked.customer < 0
    visited, last_visit = before(asked, visits)
    ordered, last_order = before(asked, orders)
    carted, last_cart = before(asked, carts)
    split = len(visits.customer)
    who = np.unique(np.append(visits.customer, asked.customer), return_inverse=True)[1].reshape(-1)
    days = np.append(visit_day, day)
    pair = who * (int(np.ptp(days)) + 1 if len(days) else 1) + days  # one number for each customer and day
    today, _ = before(Moments(pair[split:], asked.time_us), Moments(pair[:split], visits.time_us))

    def since(last: Integers, known: NDArray[np.bool_]) -> Floats:
        return np.where(known & ~stranger, (asked.time_us - last) / DAY_US, np.nan)

    return Past(
        visits=np.where(stranger, 0, visited),
        orders=np.where(stranger, 0, ordered),
        days_since_visit=since(last_visit, visited > 0),
        days_since_order=since(last_order, ordered > 0),
        open_cart_days=since(last_cart, (carted > 0) & (last_cart > last_order)),
        today=np.where(stranger, 0, today),
    )
