"""Rolling origins: forecasts made again as they would have been made then, and the methods that did best by level."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from behavior_assets.forecasting import score
from behavior_assets.forecasting.intervals import Intervals, learn
from behavior_assets.forecasting.methods import Method
from behavior_assets.forecasting.reconcile import reconcile
from behavior_assets.forecasting.series import Demand, learn_calendar

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

TOTAL, PARTS = "total", "parts"
WEIGHT_DAYS = 28


@dataclass
class Origin:
    """What was forecast after so many days of history, by level and method: [S, H]; and what came."""

    days: int
    actual: dict[str, Floats]
    is_open: NDArray[np.bool_]
    scales: dict[str, Floats]
    weights: dict[str, Floats]
    forecasts: dict[str, dict[str, Floats]] = field(default_factory=lambda: {TOTAL: {}, PARTS: {}})

    def error(self, level: str, method: str) -> float:
        """Weighted RMSSE of a method on a level."""
        found = score.rmsse(self.actual[level], self.forecasts[level][method], self.scales[level])
        return score.weighted(found, self.weights[level])


def total_of(demand: Demand) -> Demand:
    """The sum of all series, as a series."""
    return Demand(("total",), demand.first, demand.values.sum(axis=0)[None, :], demand.worth.sum(axis=0)[None, :])


def run(
    demand: Demand, origins: Sequence[int], horizon: int, methods: Mapping[str, Mapping[str, Method]],
    progress: Callable[[int], None] = lambda _days: None,
) -> list[Origin]:
    """Forecast after each number of days in ``origins``, with the ``methods`` of each level.

    ``origins`` may name the last day, after which nothing is known yet (``actual`` is NaN there).
    """
    found = []
    whole = total_of(demand)
    for days in origins:
        known = {TOTAL: whole.until(days), PARTS: demand.until(days)}
        calendar = learn_calendar(known[PARTS])
        made = Origin(
            days,
            {TOTAL: _after(whole, days, horizon), PARTS: _after(demand, days, horizon)},
            calendar.ahead(known[PARTS], horizon),
            {level: score.scale(d.values) for level, d in known.items()},
            {level: d.worth[:, -WEIGHT_DAYS:].sum(axis=1) for level, d in known.items()},
        )
        for level, by_name in methods.items():
            for name, method in by_name.items():
                made.forecasts[level][name] = np.where(made.is_open, method(known[level], calendar, horizon), 0.0) \
                    if name != "seasonal_naive" else method(known[level], calendar, horizon)  # fmt: skip
        found.append(made)
        progress(days)
    return found


def _after(demand: Demand, days: int, horizon: int) -> Floats:
    found = np.full((len(demand.names), horizon), np.nan)
    known = demand.values[:, days : days + horizon]
    found[:, : known.shape[1]] = known
    return found


@dataclass(frozen=True)
class Champion:
    """The methods that serve each level, how wrong they were, and their intervals."""

    methods: dict[str, str]
    variances: dict[str, Floats]
    intervals: dict[str, Intervals]

    def forecast(self, origin: Origin) -> dict[str, Floats]:
        """Forecasts of an origin that add up, by level."""
        total, parts = reconcile(
            origin.forecasts[TOTAL][self.methods[TOTAL]][0], origin.forecasts[PARTS][self.methods[PARTS]],
            float(self.variances[TOTAL][0]), self.variances[PARTS],
        )  # fmt: skip
        return {TOTAL: total[None, :], PARTS: parts}


def choose(past: Sequence[Origin]) -> Champion:
    """The best method of each level by its mean error over past origins, all of whose days are known."""
    methods, variances = {}, {}
    for level in (TOTAL, PARTS):
        names = past[0].forecasts[level]
        methods[level] = min(names, key=lambda n: float(np.mean([o.error(level, n) for o in past])))
        squares = [(o.actual[level] - o.forecasts[level][methods[level]]) ** 2 for o in past]
        variances[level] = np.mean([s.mean(axis=1) for s in squares], axis=0)
    chosen = Champion(methods, variances, {})
    served = [chosen.forecast(o) for o in past]
    intervals = {}
    for level in (TOTAL, PARTS):
        alive = [np.repeat(o.weights[level] > 0, int(o.is_open.sum())) for o in past]
        actual = [o.actual[level][:, o.is_open].reshape(-1) for o in past]
        forecast = [s[level][:, o.is_open].reshape(-1) for s, o in zip(served, past, strict=True)]
        kept = np.concatenate(alive)
        intervals[level] = learn(np.concatenate(actual)[kept], np.concatenate(forecast)[kept])
    return Champion(methods, variances, intervals)
