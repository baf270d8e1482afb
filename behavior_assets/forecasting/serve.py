"""Forecasts from a stored model: its trees and its network are only read, whatever trained them is not imported.

Smoothing and ETS have no weights to keep: they are estimated anew, on each series, as they are computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from behavior_assets.forecasting import methods as ways
from behavior_assets.forecasting import neural
from behavior_assets.forecasting.backtest import AVERAGE, NAIVE, PARTS, TOTAL, total_of
from behavior_assets.forecasting.intervals import LEVELS, Intervals
from behavior_assets.forecasting.methods import Method
from behavior_assets.forecasting.reconcile import Errors, reconcile
from behavior_assets.forecasting.series import Calendar, Demand, learn_calendar
from resources.errors import UsageError
from resources.models import StoredModel

if TYPE_CHECKING:
    Floats = NDArray[np.float64]
    Arrays = dict[str, NDArray[Any]]

Rows = dict[str, NDArray[Any]]

RECIPE = 2  # raised when the arrays mean something else: another one cannot be served by this code
BOOSTING, NETWORK = "boosting", "network"
STATISTICAL: dict[str, Method] = {"smoothed": ways.smoothed, "croston": ways.by_class, "ets": ways.auto_ets}
BOUNDS = tuple(f"{side}_{level}" for level in LEVELS for side in ("lower", "upper"))
_FEWEST_DAYS = 28


def forecast(stored: StoredModel, demand: Demand, origin_days: int | None = None) -> Rows:
    """Forecasts of the total and of every series that has sold, after so many days of history (all, if not told).

    Columns [n]: ``origin`` (the last day known) and ``day`` (since 1970), ``series`` (``total``, or a name),
    ``forecast`` and its bounds, in units. A series that the model has not seen is taken to be as hard to tell as the
    others are on average. Raises UsageError for a history under four weeks, or a model made by other code.
    """
    days = demand.days if origin_days is None else origin_days
    if stored.told["recipe"] != RECIPE:
        msg = f"{stored.name} {stored.version}: made by recipe {stored.told['recipe']}, not {RECIPE}. Train it anew."
        raise UsageError(msg)
    if not _FEWEST_DAYS <= days <= demand.days:
        msg = f"origin after {days} days: there must be {_FEWEST_DAYS} days or more of the {demand.days} there are."
        raise UsageError(msg)
    known = _begun(demand.until(days))
    calendar = learn_calendar(known)
    total = _told(stored, TOTAL, total_of(known), calendar)[0]
    _, parts = reconcile(total, _told(stored, PARTS, known, calendar), _errors(stored, known))
    return rows_of(known, parts, {level: _intervals(stored, level) for level in (TOTAL, PARTS)})


def _begun(demand: Demand) -> Demand:
    """The series that have sold."""
    sold = np.flatnonzero(demand.values.sum(axis=1))
    names = tuple(demand.names[n] for n in sold.tolist())
    return Demand(names, demand.first, demand.values[sold], demand.worth[sold])


def _told(stored: StoredModel, level: str, demand: Demand, calendar: Calendar) -> Floats:
    """What the method that serves a level tells [S, H]."""
    name = stored.told["methods"][level]
    names = stored.told["members"][level] if name == AVERAGE else [name]
    told = [_method(stored, level, n)(demand, calendar, stored.told["horizon"]) for n in names]
    return np.asarray(np.mean(told, axis=0))


def _method(stored: StoredModel, level: str, name: str) -> Method:
    if name == NAIVE:
        return ways.seasonal_naive
    if name in STATISTICAL:
        return STATISTICAL[name]
    weights = stored.arrays.get(NETWORK if name == NETWORK else f"{name}_{level}")
    if weights is None:  # there was nothing to learn from: training told zeros too
        return lambda demand, _calendar, horizon: np.zeros((len(demand.names), horizon))
    if name == NETWORK:
        return lambda demand, calendar, horizon: neural.told(weights, demand, calendar, horizon)[neural.MEDIAN]
    return lambda demand, calendar, horizon: ways.boosted(weights, demand, calendar, horizon)


def _errors(stored: StoredModel, demand: Demand) -> Errors:
    """The errors of the model's series, in the order of ``demand``; the mean for those it has not seen."""
    parts = stored.arrays["errors"]["parts"]
    known = dict(zip(stored.told["series"], parts.tolist(), strict=True))
    usual = float(parts.mean())
    told = stored.told["errors"]
    mine = np.array([known.get(n, usual) for n in demand.names])
    return Errors(told["total"], mine, told["summed"], told["together"])


def stored_intervals(intervals: Intervals) -> Arrays:
    """Intervals as arrays to keep."""
    return {"edges": intervals.edges} | {f"offsets_{level}": found for level, found in intervals.offsets.items()}


def _intervals(stored: StoredModel, level: str) -> Intervals:
    arrays = stored.arrays[f"intervals_{level}"]
    offsets = {share: arrays[f"offsets_{share}"] for share in LEVELS}
    return Intervals(arrays["edges"], offsets, stored.told["powers"][level])


def rows_of(known: Demand, parts: Floats, intervals: Mapping[str, Intervals]) -> Rows:
    """Rows to publish of forecasts [S, H] made when ``known`` was all that was known, the total's first.

    Series that have not sold yet are left out. The total is the sum of what is told, to the last digit.
    """
    begun = np.flatnonzero(known.values.sum(axis=1))
    names = [TOTAL, *(known.names[n] for n in begun.tolist())]
    told = {TOTAL: parts[begun].sum(axis=0)[None, :], PARTS: parts[begun]}
    horizon = parts.shape[1]
    origin = known.first + known.days - 1
    found: Rows = {
        "origin": np.full(len(names) * horizon, origin, dtype=np.int64),
        "day": np.tile(origin + 1 + np.arange(horizon), len(names)),
        "series": np.repeat(np.array(names), horizon),
        "forecast": np.concatenate([told[level].reshape(-1) for level in (TOTAL, PARTS)]),
    }
    for share in LEVELS:
        ends = [intervals[level].around(told[level], share) for level in (TOTAL, PARTS)]
        for side, name in enumerate(("lower", "upper")):
            found[f"{name}_{share}"] = np.concatenate([end[side].reshape(-1) for end in ends])
    return found


def joined(rows: Sequence[Rows]) -> Rows:
    """Rows one after another."""
    return {name: np.concatenate([r[name] for r in rows]) for name in rows[0]}
