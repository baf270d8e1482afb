"""Sales forecasts as a stored model: trained on rolling origins here, served from plain numbers (``serve.py``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from behavior_assets import leakage
from behavior_assets.days import day_of
from behavior_assets.forecasting import guards, neural
from behavior_assets.forecasting import methods as ways
from behavior_assets.forecasting.backtest import AVERAGE, NAIVE, PARTS, TOTAL, WEIGHT_DAYS, choose, run, total_of
from behavior_assets.forecasting.card import LEAKAGE, card
from behavior_assets.forecasting.judge import Judged, figures, judge
from behavior_assets.forecasting.load import Loaded
from behavior_assets.forecasting.methods import Method
from behavior_assets.forecasting.series import Calendar, Demand, learn_calendar
from behavior_assets.forecasting.serve import (
    BOOSTING,
    BOUNDS,
    NETWORK,
    RECIPE,
    STATISTICAL,
    Rows,
    forecast,
    joined,
    rows_of,
    stored_intervals,
)
from behavior_assets.prediction.trees import exported
from behavior_assets.training import Figure, NotEnough, Trained, latency, seconds_of
from resources.models import StoredModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Arrays = dict[str, NDArray[Any]]

__all__ = ["HORIZON", "NETWORK", "Plan", "forecast", "plan", "shortage", "train"]

HORIZON = 28
FEWEST_DAYS = 56 + HORIZON  # 8 weeks beyond the holdout (DESIGN §8)
MOST_SERIES_OF_ETS = 100  # it does a hundred series a second
_LEARNING_DAYS = 91  # by then what trains has two origins of its own to learn from
_MOST_ORIGINS = 12
# The first of these that leaves so many origins to judge: all methods, else those that need no training; origins two
# weeks apart, else one.
_CHOICES = ((_LEARNING_DAYS, 14, 4), (_LEARNING_DAYS, 7, 3), (HORIZON, 14, 4), (HORIZON, 7, 1))


@dataclass(frozen=True)
class Plan:
    """The origins (days of history, oldest first), and whether methods that train have enough to learn from at all."""

    origins: tuple[int, ...]
    learns: bool


def plan(demand: Demand) -> Plan | None:
    """The origins that a history has room for; None where no forecast could be judged."""
    newest = demand.days - HORIZON
    for earliest, spacing, fewest in _CHOICES:
        days = list(range(newest, earliest - 1, -spacing))[:_MOST_ORIGINS][::-1]
        lively = tuple(d for d in days if _lively(demand, d))
        if sum(d >= lively[0] + HORIZON for d in lively) >= fewest:
            return Plan(lively, earliest == _LEARNING_DAYS)
    return None


def _lively(demand: Demand, days: int) -> bool:
    """Whether there is something to weigh series by before an origin, and something to judge them by after it."""
    before = slice(days - WEIGHT_DAYS, days)
    sold, worth = demand.values[:, before].any(), demand.worth[:, before].any()
    return bool(sold and worth and demand.values[:, days : days + HORIZON].any())


def shortage(demand: Demand) -> str:
    """Why there is not enough data for a model; empty where there is."""
    if demand.days < FEWEST_DAYS:
        return (f"{demand.days} days since the first sale, {FEWEST_DAYS} are wanted: 8 weeks to learn from and "
                f"{HORIZON} days to judge by")  # fmt: skip
    if not demand.values[:, -HORIZON:].any():
        return f"nothing was sold in the last {HORIZON} days"
    if plan(demand) is None:
        return (f"sales pause for too long: there are no two days, {HORIZON} apart, with sales in the {WEIGHT_DAYS} "
                f"days before and the {HORIZON} days after each")  # fmt: skip
    return ""


@dataclass
class Candidates:
    """The methods of each level, and what the network told about quantiles [Q, S, H], by days of history."""

    seed: int
    learns: bool
    series: int
    quantiles: dict[int, Floats] = field(default_factory=dict)
    trainer: neural.Trainer | None = None

    def by_level(self) -> dict[str, dict[str, Method]]:
        """Methods by name."""
        told: dict[str, Method] = {NAIVE: ways.seasonal_naive, **STATISTICAL}
        ets = {"ets": told.pop("ets")}
        if self.learns:
            told[BOOSTING] = partial(ways.boosting, seed=self.seed)
        parts = told | (ets if self.series <= MOST_SERIES_OF_ETS else {})
        if self.trainer is not None:
            parts[NETWORK] = self._network
        found = {TOTAL: told | ets, PARTS: parts}
        return {level: {n: partial(_begun, m) for n, m in by_name.items()} for level, by_name in found.items()}

    def _network(self, demand: Demand, calendar: Calendar, horizon: int) -> Floats:
        weights = self.trainer.fit(demand, calendar, horizon) if self.trainer else None
        if weights is None:
            return np.zeros((len(demand.names), horizon))
        told = neural.told(weights, demand, calendar, horizon)
        self.quantiles[demand.days] = neural.rounded(weights, told)
        found: Floats = told[neural.MEDIAN]
        return found


def _begun(method: Method, demand: Demand, calendar: Calendar, horizon: int) -> Floats:
    """A method's forecasts, 0 for a series that has not sold by then: nobody knew of it."""
    found: Floats = method(demand, calendar, horizon) * (demand.values.sum(axis=1) > 0)[:, None]
    return found


def train(loaded: Loaded, seed: int, progress: Callable[[str], None] = lambda _what: None) -> Trained | NotEnough:
    """Try all methods on the past, keep what forecasts best, and tell how good it was.

    ``arrays["backtest"]`` are the forecasts that would have been served in the past (``serve.Rows``).
    """
    demand = loaded.demand
    reason = shortage(demand)
    planned = plan(demand)
    if reason or planned is None:
        return NotEnough(reason)
    candidates = _candidates(demand, planned, seed)
    by_level = candidates.by_level()
    total = len(planned.origins)

    def tell(days: int) -> None:
        progress(f"origin {planned.origins.index(days) + 1} of {total}")

    origins = run(demand, planned.origins, HORIZON, by_level, tell)
    judged = judge(origins, HORIZON)
    champion = choose(origins)
    progress("guards against leakage")
    verdicts = [guards.prefix_invariance(demand, origins[0], HORIZON, by_level), guards.boundary(judged, HORIZON)]
    progress("final weights")
    found = (*figures(judged, candidates.quantiles, loaded.level, seed), _change(demand))
    told = {
        "recipe": RECIPE, "level": loaded.level, "horizon": HORIZON, "seed": seed, "series": list(demand.names),
        "first_day": day_of(demand.first), "last_day": day_of(demand.first + demand.days - 1),
        "methods": champion.methods, "members": {level: _members(names) for level, names in by_level.items()},
        "origins": [day_of(demand.first + d - 1) for d in planned.origins],
        "judged": [day_of(demand.first + j.origin.days - 1) for j in judged],
        "judged_methods": [j.champion.methods for j in judged],
        "errors": {"total": champion.errors.total, "summed": champion.errors.summed,
                   "together": champion.errors.together},
        "powers": {level: intervals.power for level, intervals in champion.intervals.items()},
        "guards": leakage.kept(verdicts),
    }  # fmt: skip
    arrays: dict[str, Arrays] = {
        "errors": {"parts": champion.errors.parts},
        **{f"intervals_{level}": stored_intervals(i) for level, i in champion.intervals.items()},
        **_weights(demand, candidates), "backtest": _backtest(demand, judged),
    }  # fmt: skip
    served = StoredModel("sales_forecast", "", told, arrays, {})
    texts = card(told, origins, found) | {
        "leakage": f"{leakage.lines(verdicts)}\n{LEAKAGE}",
        "latency": latency(f"{HORIZON} days of {len(demand.names):,} series and their total",
                           seconds_of(lambda: forecast(served, demand), 3)),
    }  # fmt: skip
    return Trained(told, arrays, found, texts, {"backtest": _picture(demand, arrays["backtest"])})


def _change(demand: Demand) -> Figure:
    """Units of the last four weeks beside those of the four before."""
    last, before = (demand.values[:, days].sum() for days in (slice(-28, None), slice(-56, -28)))
    return Figure("change_of_demand", float(last / before - 1) if before > 0 else float("nan"), TOTAL)


def _picture(demand: Demand, rows: Rows) -> bytes:
    """The backtest's totals over what was sold."""
    from behavior_assets.plots import backtest

    mine = rows["series"] == TOTAL
    told = {name: rows[name][mine] for name in ("forecast", *BOUNDS)}
    first = demand.first
    return backtest(rows["origin"][mine] - first, rows["day"][mine] - first, told, demand.values.sum(axis=0))


def _candidates(demand: Demand, planned: Plan, seed: int) -> Candidates:
    """What can be tried. The network is, where Keras is installed and it has enough rows at the first origin."""
    first = demand.until(planned.origins[0])
    rows = len(ways.training_rows(first, learn_calendar(first), HORIZON)[1]) if planned.learns else 0
    able = rows >= neural.FEWEST and find_spec("keras") is not None
    return Candidates(seed, planned.learns, len(demand.names), trainer=neural.Trainer(seed) if able else None)


def _members(by_name: Mapping[str, Method]) -> list[str]:
    """What ``AVERAGE`` is the mean of, in its order."""
    return [n for n in by_name if n not in {NAIVE, AVERAGE}]


def _weights(demand: Demand, candidates: Candidates) -> dict[str, Arrays]:
    """Boosted trees of both levels and the network, from all days."""
    found: dict[str, Arrays] = {}
    calendar = learn_calendar(demand)
    if candidates.learns:
        for level, known in ((TOTAL, total_of(demand)), (PARTS, demand)):
            trees = ways.fit_boosting(known, calendar, HORIZON, candidates.seed)
            if trees is not None:
                found[f"{BOOSTING}_{level}"] = exported(trees)
    network = candidates.trainer.fit(demand, calendar, HORIZON) if candidates.trainer else None
    return found if network is None else found | {NETWORK: network}


def _backtest(demand: Demand, judged: list[Judged]) -> Rows:
    """What would have been served at each judged origin."""
    return joined([
        rows_of(demand.until(j.origin.days), j.forecast[PARTS], j.champion.intervals) for j in judged
    ])  # fmt: skip
