"""What is known at an origin about a day ahead of it: one definition, for training and forecasting alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from behavior_assets.forecasting.series import WEEK, Calendar, Demand

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

WINDOWS = (7, 14, 28, 56)
SAME_WEEKDAYS = (4, 8)
FEATURES = (
    *(f"mean_of_{w}_open_days" for w in WINDOWS), *(f"mean_of_{n}_same_weekdays" for n in SAME_WEEKDAYS),
    "share_of_28_days_with_sales", "days_since_last_sale", "days_since_first_sale", "most_in_28_days",
    "shop_trend", "weekday_factor", "horizon", "weekday", "day_of_month", "mean_value",
)  # fmt: skip
_NEVER = 999.0


@dataclass(frozen=True)
class Rows:
    """Feature rows [N, F] of ``series`` [N] at ``day`` [N] (counted from the demand's first)."""

    values: Floats
    series: NDArray[np.int64]
    day: NDArray[np.int64]


def rows_at(demand: Demand, calendar: Calendar, origin: int, is_open: NDArray[np.bool_]) -> Rows:
    """Features of every series for the open ones of the H days after ``origin`` days of history.

    ``is_open`` [H] tells which those are. Only the first ``origin`` days of demand and calendar are looked at.
    """
    past, opened = demand.values[:, :origin], calendar.open[:origin]
    worth = demand.worth[:, :origin]
    at = np.flatnonzero(opened)
    means = [_mean(past, at[-w:]) for w in WINDOWS]
    ahead = np.flatnonzero(is_open)
    days = origin + ahead
    weekday = demand.weekday(days)
    past_weekday = demand.weekday(np.arange(origin))
    same = {n: np.zeros((len(past), WEEK)) for n in SAME_WEEKDAYS}
    factor = np.ones(WEEK)
    shop = past.sum(axis=0)
    usual = shop[at[-56:]].mean() if len(at) else 0.0
    for number in range(WEEK):
        mine = at[past_weekday[at] == number]
        for count, found in same.items():
            found[:, number] = _mean(past, mine[-count:])
        if usual > 0 and len(mine):
            factor[number] = shop[mine[-8:]].mean() / usual
    recent = at[-28:]
    sold = past > 0
    has_sold = sold.any(axis=1)
    last = origin - 1 - sold[:, ::-1].argmax(axis=1)
    begun = sold.argmax(axis=1)
    trend = shop[at[-7:]].mean() / shop[at[-28:]].mean() if len(at) and shop[at[-28:]].mean() > 0 else 1.0
    units = past[:, -56:].sum(axis=1)
    price = np.divide(worth[:, -56:].sum(axis=1), units, out=np.zeros(len(past)), where=units > 0)
    fixed = np.stack([
        *(np.log1p(m) for m in means),
        _mean(sold.astype(float), recent), np.where(has_sold, origin - last, _NEVER),
        np.where(has_sold, origin - begun, 0.0), np.log1p(past[:, recent].max(axis=1, initial=0.0)),
        np.full(len(past), trend), np.log1p(price),
    ], axis=1)  # fmt: skip
    dates = np.datetime64(demand.first, "D") + days
    of_month = (dates - dates.astype("datetime64[M]")).astype(np.int64) + 1
    count, width = len(past), len(ahead)
    values = np.empty((count, width, len(FEATURES)))
    windows = len(WINDOWS)
    values[:, :, :windows] = fixed[:, None, :windows]
    for place, found in enumerate(same.values()):
        values[:, :, windows + place] = np.log1p(found[:, weekday])
    begin = windows + len(same)
    values[:, :, begin : begin + 5] = fixed[:, None, windows : windows + 5]
    values[:, :, begin + 5] = factor[weekday][None, :]
    values[:, :, begin + 6] = (ahead + 1)[None, :]
    values[:, :, begin + 7] = weekday[None, :]
    values[:, :, begin + 8] = of_month[None, :]
    values[:, :, begin + 9] = fixed[:, None, windows + 5]
    series = np.repeat(np.arange(count), width)
    return Rows(values.reshape(count * width, len(FEATURES)), series, np.tile(days, count))


def _mean(values: Floats, at: NDArray[np.int64]) -> Floats:
    found: Floats = values[:, at].mean(axis=1) if len(at) else np.zeros(len(values))
    return found
