"""Ways to forecast demand, each from what was known at its origin: [S, D] days of history to [S, H] days ahead.

No method is asked about days on which the shop is shut: these are 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from behavior_assets.forecasting.features import rows_at
from behavior_assets.forecasting.series import WEEK, Calendar, Demand, learn_calendar
from behavior_assets.prediction.trees import raw_scores

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Method = Callable[[Demand, Calendar, int], "Floats"]
SEED = 7
_SMOOTH_INTERVAL, _SMOOTH_VARIATION = 1.32, 0.49  # Syntetos, Boylan & Croston (2005), JORS 56
_TRAINING_ORIGINS, _TRAINING_ROWS = 10, 300_000
_ALPHA = 0.03  # level of a product: half its weight on the last 23 open days
_USUAL = 0.98  # a day above this share of a series' open days is taken for one as large as that, and no larger
_FEWEST_SALES = 4


def seasonal_naive(demand: Demand, calendar: Calendar, horizon: int) -> Floats:
    """The same weekday of the last week of history, whatever it was."""
    del calendar
    ahead = np.arange(horizon)
    found: Floats = demand.values[:, demand.days - WEEK + ahead % WEEK]
    return found


def auto_ets(demand: Demand, calendar: Calendar, horizon: int) -> Floats:
    """AutoETS(Z,N,Z) of statsforecast on the days that the shop was open, its season a week of them."""
    from statsforecast.models import AutoETS

    return _each(demand, calendar, horizon, lambda: AutoETS(season_length=_season(calendar), model="ZNZ"))


def smoothed(demand: Demand, calendar: Calendar, horizon: int) -> Floats:
    """Exponential smoothing of what is usual on open days, times the shop's weekday profile.

    A series that is young counts all its days alike until they are more than 1 / alpha.
    """
    history = tamed(demand, calendar).values[:, calendar.open]
    level, age = np.zeros(len(history)), np.zeros(len(history))
    for today in history.T:
        age += (age > 0) | (today > 0)
        rate = np.maximum(_ALPHA, 1 / np.maximum(age, 1))
        level += np.where(age > 0, rate * (today - level), 0.0)
    return level[:, None] * _weekday_factor(demand, calendar, horizon) * calendar.ahead(demand, horizon)


def tamed(demand: Demand, calendar: Calendar) -> Demand:
    """Demand to learn from: no day of a series above the 98 % quantile of its open days since the first sale.

    One order of thousands would otherwise be expected again for months. What is forecast is judged by all that came.
    """
    history = demand.values[:, calendar.open]
    most = np.full(len(history), np.inf)
    for row, values in enumerate(history):
        sold = np.flatnonzero(values)
        if len(sold) >= _FEWEST_SALES:
            most[row] = max(np.quantile(values[sold[0] :], _USUAL), 1.0)
    return Demand(demand.names, demand.first, np.minimum(demand.values, most[:, None]), demand.worth)


def plain_ets(demand: Demand, calendar: Calendar, horizon: int) -> Floats:
    """AutoETS(Z,N,Z) on all days, its season seven of them: the usual yardstick, which knows no closures."""
    del calendar
    return auto_ets(demand, Calendar.always(demand.days), horizon)


def by_class(demand: Demand, calendar: Calendar, horizon: int) -> Floats:
    """TSB where demand is intermittent, Croston-SBA where it is lumpy, simple smoothing elsewhere."""
    from statsforecast.models import TSB, CrostonSBA, SimpleExponentialSmoothingOptimized

    made: dict[str, Callable[[], object]] = {
        "intermittent": lambda: TSB(alpha_d=0.1, alpha_p=0.1), "lumpy": CrostonSBA,
        "smooth": SimpleExponentialSmoothingOptimized, "erratic": SimpleExponentialSmoothingOptimized,
    }  # fmt: skip
    classes = demand_classes(demand.values[:, calendar.open])
    found = np.zeros((len(demand.names), horizon))
    for name, model in made.items():
        rows = np.flatnonzero(classes == name)
        if len(rows):
            found[rows] = _each(_only(demand, rows), calendar, horizon, model)
    return found * _weekday_factor(demand, calendar, horizon)


def demand_classes(values: Floats) -> NDArray[np.str_]:
    """Smooth, erratic, intermittent or lumpy [S], by how often and how evenly a series [S, D] sells."""
    sold = values > 0
    count = sold.sum(axis=1)
    interval = np.divide(values.shape[1], count, out=np.full(len(values), np.inf), where=count > 0)
    total = values.sum(axis=1)
    mean = np.divide(total, count, out=np.zeros(len(values)), where=count > 0)
    variance = np.divide((values**2).sum(axis=1), count, out=np.zeros(len(values)), where=count > 0) - mean**2
    variation = np.divide(variance, mean**2, out=np.zeros(len(values)), where=mean > 0)
    often, even = interval < _SMOOTH_INTERVAL, variation < _SMOOTH_VARIATION
    return np.select([often & even, often, even], ["smooth", "erratic", "intermittent"], "lumpy")


def boosting(demand: Demand, calendar: Calendar, horizon: int, seed: int = SEED) -> Floats:
    """One HistGradientBoosting (Poisson) over all series, on features of rolling origins."""
    model = fit_boosting(demand, calendar, horizon, seed)
    return _boosted(demand, calendar, horizon, None if model is None else model.predict)


def fit_boosting(demand: Demand, calendar: Calendar, horizon: int, seed: int = SEED) -> Any:
    """The fitted trees; None where nothing can be learnt yet."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    features, target = training_rows(tamed(demand, calendar), calendar, horizon, seed)
    if not len(target) or target.sum() <= 0:
        return None
    model = HistGradientBoostingRegressor(
        loss="poisson", learning_rate=0.06, max_iter=150, max_leaf_nodes=31, min_samples_leaf=60, l2_regularization=1.0,
        early_stopping=False, random_state=seed,
    )  # fmt: skip
    return model.fit(features, target)


def boosted(trees: dict[str, NDArray[Any]], demand: Demand, calendar: Calendar, horizon: int) -> Floats:
    """What ``boosting`` tells, from exported trees and without scikit-learn."""
    return _boosted(demand, calendar, horizon, lambda rows: np.exp(raw_scores(trees, rows)))


def _boosted(demand: Demand, calendar: Calendar, horizon: int, told: Callable[[Floats], Floats] | None) -> Floats:
    demand = tamed(demand, calendar)
    rows = rows_at(demand, calendar, demand.days, calendar.ahead(demand, horizon))
    found = np.zeros((len(demand.names), horizon))
    if told is not None and len(rows.series):
        found[rows.series, rows.day - demand.days] = told(rows.values)
    return found


def training_rows(demand: Demand, calendar: Calendar, horizon: int, seed: int = SEED) -> tuple[Floats, Floats]:
    """Features [N, F] and demand [N] of days after origins a week apart, the newest whose days ahead are known."""
    dice = np.random.default_rng(seed)
    newest = demand.days - horizon
    origins = [o for o in range(newest, newest - WEEK * _TRAINING_ORIGINS, -WEEK) if o >= 2 * horizon]
    found: list[tuple[Floats, Floats]] = []
    for origin in origins:
        known = learn_calendar(demand.until(origin))
        rows = rows_at(demand, known, origin, calendar.open[origin : origin + horizon])
        alive = demand.values[rows.series, :].any(axis=1)
        most = _TRAINING_ROWS // len(origins)
        kept = np.flatnonzero(alive)
        if len(kept) > most:
            kept = np.sort(dice.choice(kept, most, replace=False))
        found.append((rows.values[kept], demand.values[rows.series[kept], rows.day[kept]]))
    if not found:
        return np.zeros((0, 0)), np.zeros(0)
    return np.concatenate([f for f, _ in found]), np.concatenate([t for _, t in found])


def _only(demand: Demand, rows: NDArray[np.int64]) -> Demand:
    names = tuple(demand.names[r] for r in rows.tolist())
    return Demand(names, demand.first, demand.values[rows], demand.worth[rows])


def _season(calendar: Calendar) -> int:
    return max(int(calendar.weekdays.sum()), 1)


def _each(demand: Demand, calendar: Calendar, horizon: int, make: Callable[[], object]) -> Floats:
    """A statsforecast model on every series by itself, over its open days since its first sale."""
    is_open = calendar.ahead(demand, horizon)
    steps = int(is_open.sum())
    found = np.zeros((len(demand.names), horizon))
    history = demand.values[:, calendar.open]
    for row, values in enumerate(history):
        sold = np.flatnonzero(values)
        if not len(sold) or not steps:
            continue
        mine = values[sold[0] :]
        if len(mine) <= 2 * _season(calendar):
            found[row, is_open] = mine.mean()
            continue
        told = make().forecast(y=mine, h=steps)["mean"]  # type: ignore[attr-defined]
        found[row, is_open] = np.maximum(np.nan_to_num(np.asarray(told, dtype=float)), 0.0)
    return found


def _weekday_factor(demand: Demand, calendar: Calendar, horizon: int) -> Floats:
    """How much of an average open day the shop sells on each day ahead [H]: flat methods know no weekdays."""
    at = np.flatnonzero(calendar.open)[-56:]
    shop, weekday = demand.values.sum(axis=0), demand.weekday(np.arange(demand.days))
    usual = shop[at].mean() if len(at) else 0.0
    factor = np.ones(WEEK)
    for number in range(WEEK):
        mine = at[weekday[at] == number]
        if usual > 0 and len(mine):
            factor[number] = shop[mine].mean() / usual
    ahead: Floats = factor[demand.weekday(np.arange(demand.days, demand.days + horizon))]
    return ahead
