"""Rolling origins: forecasts made again as they would have been made then, and the methods that did best by level."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from behavior_assets.forecasting import score
from behavior_assets.forecasting.intervals import Intervals, learn, learn_total
from behavior_assets.forecasting.methods import Method
from behavior_assets.forecasting.reconcile import Errors, reconcile
from behavior_assets.forecasting.series import Demand, learn_calendar

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

TOTAL, PARTS = "total", "parts"
NAIVE, AVERAGE = "seasonal_naive", "average"
WEIGHT_DAYS = 28


@dataclass
class Origin:
    """What was forecast after so many days of history, by level and method: [S, H]; and what came.

    ``was_open`` [H] tells on which of the days ahead the shop turned out to be open; it is for judging only.
    """

    days: int
    actual: dict[str, Floats]
    was_open: NDArray[np.bool_]
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

    Where a level has two methods or more beside the naive one, their mean is one more. ``origins`` may name the last
    day, after which nothing is known yet (``actual`` is NaN there).
    """
    found = []
    whole = total_of(demand)
    for days in origins:
        known = {TOTAL: whole.until(days), PARTS: demand.until(days)}
        calendar = learn_calendar(known[PARTS])
        made = Origin(
            days,
            {TOTAL: _after(whole, days, horizon), PARTS: _after(demand, days, horizon)},
            _was_open(demand, days, horizon),
            {level: score.scale(d.values) for level, d in known.items()},
            {level: d.worth[:, -WEIGHT_DAYS:].sum(axis=1) for level, d in known.items()},
        )
        for level, by_name in methods.items():
            told = {name: method(known[level], calendar, horizon) for name, method in by_name.items()}
            mixed = [f for name, f in told.items() if name != NAIVE]
            if len(mixed) > 1:
                told[AVERAGE] = np.mean(mixed, axis=0)
            made.forecasts[level] = told
        found.append(made)
        progress(days)
    return found


def _was_open(demand: Demand, days: int, horizon: int) -> NDArray[np.bool_]:
    found = np.zeros(horizon, dtype=bool)
    known = learn_calendar(demand.until(days + horizon)).open[days:]
    found[: len(known)] = known
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
    errors: Errors
    intervals: dict[str, Intervals]

    def forecast(self, origin: Origin) -> dict[str, Floats]:
        """Forecasts of an origin that add up, by level."""
        total, parts = _served(origin, self.methods)
        total, parts = reconcile(total, parts, self.errors)
        return {TOTAL: total[None, :], PARTS: parts}


def _served(origin: Origin, methods: Mapping[str, str]) -> tuple[Floats, Floats]:
    return origin.forecasts[TOTAL][methods[TOTAL]][0], origin.forecasts[PARTS][methods[PARTS]]


def choose(past: Sequence[Origin]) -> Champion:
    """The best method of each level by its mean error over past origins, all of whose days are known."""
    methods = {}
    for level in (TOTAL, PARTS):
        names = past[0].forecasts[level]
        methods[level] = min(names, key=lambda n, at=level: float(np.mean([o.error(at, n) for o in past])))  # type: ignore[misc]
    chosen = Champion(methods, _errors(past, methods), {})
    served = [chosen.forecast(o) for o in past]
    seen: dict[str, tuple[list[Floats], list[Floats]]] = {TOTAL: ([], []), PARTS: ([], [])}
    for told, origin in zip(served, past, strict=True):
        for level, (actual, forecast) in seen.items():
            at = np.ix_(origin.weights[level] > 0, origin.was_open)
            actual.append(origin.actual[level][at].reshape(-1))
            forecast.append(told[level][at].reshape(-1))
    days = np.unique(np.concatenate([o.days + np.flatnonzero(o.was_open) for o in past]))
    intervals = {
        TOTAL: learn_total(*seen[TOTAL], len(days)),
        PARTS: learn(np.concatenate(seen[PARTS][0]), np.concatenate(seen[PARTS][1])),
    }
    return Champion(methods, chosen.errors, intervals)


def _errors(past: Sequence[Origin], methods: Mapping[str, str]) -> Errors:
    """Second moments of past errors, bias and all: a sum that is too high by habit is not to be trusted."""
    total, summed, parts = [], [], []
    for origin in past:
        whole, pieces = _served(origin, methods)
        total.append(whole - origin.actual[TOTAL][0])
        summed.append(pieces.sum(axis=0) - origin.actual[PARTS].sum(axis=0))
        parts.append(((pieces - origin.actual[PARTS]) ** 2).mean(axis=1))
    of_total, of_sum = np.concatenate(total), np.concatenate(summed)
    together = float(np.mean(of_total * of_sum))
    return Errors(float(np.mean(of_total**2)), np.mean(parts, axis=0), float(np.mean(of_sum**2)), together)
