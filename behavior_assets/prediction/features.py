"""Features of every prefix of a session: one definition, for training, scoring and the checks that nothing leaks.

The features of a step use its session's events up to it, what was known of the visitor when the session began, and what
the shop had seen by the hour before. ``checks.prefix_invariance`` holds them to that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from behavior_assets.prediction.past import Past
from behavior_assets.prediction.steps import CART, CHECKOUT, HOUR_US, KINDS, MILLIONTHS, REMOVE, VIEW, Steps, running

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

SHOWN = KINDS[:-1]  # a step that can be asked about has seen no purchase
# What each step brings by itself, then what the steps so far add up to, then what was known before the session.
STEP = (
    *(f"is_{k}" for k in SHOWN), "log_gap_s", "log_price", "log_discount", "is_seen_before", "is_same_category",
)  # fmt: skip
SO_FAR = (
    "step", "views", "carts", "removes", "checkouts", "log_elapsed_s", "products", "categories", "mean_log_price",
    "mean_log_discount", "log_cart_value", "items_in_cart", "steps_since_cart", "last_kind_before",
    "views_of_this_product",
)  # fmt: skip
BEFORE = (
    "hour_sin", "hour_cos", "weekday", "log_visits_before", "log_orders_before", "days_since_visit", "days_since_order",
    "open_cart_days", "visits_today", "shop_discount",
)  # fmt: skip
FEATURES = (*STEP, *SO_FAR, *BEFORE)
_NO_CART = 99.0
CENTS = 10_000.0  # sums are of whole numbers: those of fractions would depend on all sessions that lie before


def prefix_features(steps: Steps, past: Past, shop_discount: Floats) -> Floats:
    """Features [E, F] of every event's prefix; NaN where nothing is known. ``shop_discount`` is by session [N]."""
    kind, price = steps.kind, steps.price
    is_first = steps.step == 1
    gap = np.where(is_first, 0.0, np.diff(steps.time_us, prepend=steps.time_us[:1]) / 1e6)
    elapsed = (steps.time_us - np.repeat(steps.time_us[steps.begin], steps.length)) / 1e6
    with np.errstate(divide="ignore", invalid="ignore"):
        log_price = np.where(price > 0, np.log(price), np.nan)
        log_discount = np.where(steps.usual_price > 0, log_price - np.log(steps.usual_price), np.nan)
    seen, views_of_it = _seen(steps, steps.product)
    seen_category, _ = _seen(steps, steps.category)
    same = np.concatenate([[False], steps.category[1:] == steps.category[:-1]]) & ~is_first & (steps.category >= 0)
    by_step = [
        *((kind == number).astype(float) for number in range(len(SHOWN))),
        np.log1p(np.maximum(gap, 0.0)), log_price, log_discount, seen.astype(float), same.astype(float),
    ]  # fmt: skip
    carted = (kind == CART).astype(float)
    removed = (kind == REMOVE).astype(float)
    value = np.rint(np.nan_to_num(price) * CENTS) * steps.quantity * carted
    so_far = [
        steps.step.astype(float), running((kind == VIEW).astype(float), steps), running(carted, steps),
        running(removed, steps), running((kind == CHECKOUT).astype(float), steps), np.log1p(elapsed),
        running((~seen & (steps.product >= 0)).astype(float), steps),
        running((~seen_category & (steps.category >= 0)).astype(float), steps),
        _mean_so_far(log_price, steps), _mean_so_far(log_discount, steps), np.log1p(running(value, steps) / CENTS),
        np.maximum(running(carted - removed, steps), 0.0), _since(kind == CART, steps),
        np.where(is_first, -1.0, np.concatenate([[-1], kind[:-1]])), views_of_it,
    ]  # fmt: skip
    angle = 2 * np.pi * steps.hour / 24
    by_session = [
        np.sin(angle), np.cos(angle), ((steps.day + 3) % 7).astype(float), np.log1p(past.visits), np.log1p(past.orders),
        past.days_since_visit, past.days_since_order, past.open_cart_days, past.today.astype(float), shop_discount,
    ]  # fmt: skip
    found = np.empty((len(kind), len(FEATURES)))
    for place, column in enumerate([*by_step, *so_far]):
        found[:, place] = column
    for place, column in enumerate(by_session, len(by_step) + len(so_far)):
        found[:, place] = np.repeat(column, steps.length)
    return found


def _seen(steps: Steps, code: Integers) -> tuple[NDArray[np.bool_], Floats]:
    """By event: has its session had this code before, and how often up to now; never for a code that is unknown."""
    order = np.lexsort((np.arange(len(code)), code, steps.session))
    session, sorted_code = steps.session[order], code[order]
    fresh = np.ones(len(code), dtype=bool)
    fresh[1:] = (session[1:] != session[:-1]) | (sorted_code[1:] != sorted_code[:-1])
    starts = np.flatnonzero(fresh)
    number = np.arange(len(code)) - np.repeat(starts, np.diff(np.append(starts, len(code)))) + 1
    count = np.empty(len(code))
    count[order] = number
    known = code >= 0
    return (count > 1) & known, np.where(known, count, 0.0)


def _mean_so_far(values: Floats, steps: Steps) -> Floats:
    """Mean of what is known of ``values`` [E] in each prefix, NaN where nothing is."""
    known = np.isfinite(values)
    count = running(known.astype(float), steps)
    total = running(np.rint(np.where(known, values, 0.0) * MILLIONTHS), steps)
    return np.where(count > 0, total / MILLIONTHS / np.maximum(count, 1), np.nan)


def _since(happened: NDArray[np.bool_], steps: Steps) -> Floats:
    """Steps since something last happened in the session, ``_NO_CART`` where it has not."""
    place = np.arange(len(happened))
    last = np.maximum.accumulate(np.where(happened, place, -1)) if len(place) else place
    begin = np.repeat(steps.begin, steps.length)
    return np.where(last >= begin, place - last, _NO_CART).astype(float)


def shop_discounts(hour: Integers, total: Floats, count: Integers, asked_us: Integers, hours: int = 24) -> Floats:
    """How much cheaper than usual the shop's products were over the ``hours`` whole hours before each asked moment [N].

    ``hour`` are hours since 1970 with events, ``total`` their sum of log discounts in millionths, ``count`` how many
    tell of one; NaN where no event tells.
    """
    if not len(hour):
        return np.full(len(asked_us), np.nan)
    first, width = int(hour.min()), int(hour.max() - hour.min()) + 2
    totals = np.concatenate([[0.0], np.cumsum(np.bincount(hour - first, total, width))])
    counts = np.concatenate([[0.0], np.cumsum(np.bincount(hour - first, count, width))])
    over = asked_us // HOUR_US - first  # hours that were over
    until, since = np.clip(over, 0, width), np.clip(over - hours, 0, width)
    told = counts[until] - counts[since]
    return np.where(told > 0, (totals[until] - totals[since]) / MILLIONTHS / np.maximum(told, 1), np.nan)
