"""Guards of the sales forecast: no method may see what comes after its origin, nor be chosen by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from behavior_assets.forecasting.backtest import run
from behavior_assets.forecasting.series import Demand
from behavior_assets.leakage import Verdict

if TYPE_CHECKING:
    from behavior_assets.forecasting.backtest import Origin
    from behavior_assets.forecasting.judge import Judged
    from behavior_assets.forecasting.methods import Method


def prefix_invariance(
    demand: Demand, origin: Origin, horizon: int, methods: Mapping[str, Mapping[str, Method]]
) -> Verdict:
    """No forecast, scale or weight of an origin changes when all that was sold after it is made another.

    Every method is trained and asked once more; the first origin is the quickest.
    """
    later = np.arange(demand.days) >= origin.days
    changed = (np.where(later, sold * 3 + 1, sold) for sold in (demand.values, demand.worth))
    other = Demand(demand.names, demand.first, *changed)
    again = run(other, [origin.days], horizon, methods)[0]
    wrong, looked_at = [], 0
    for level, forecasts in origin.forecasts.items():
        before = {**forecasts, "scales": origin.scales[level], "weights": origin.weights[level]}
        after = {**again.forecasts[level], "scales": again.scales[level], "weights": again.weights[level]}
        looked_at += len(forecasts)
        wrong += [f"{level}: {n}" for n, v in before.items() if not np.array_equal(v, after[n], equal_nan=True)]
    return Verdict("prefix_invariance", not wrong, {
        "changed": sorted(wrong), "methods": looked_at, "days_before": origin.days, "days_changed": int(later.sum()),
    })  # fmt: skip


def boundary(judged: Sequence[Judged], horizon: int) -> Verdict:
    """What chose the methods and the intervals of a judged origin was over by then."""
    over = sum(day + horizon > j.origin.days for j in judged for day in j.taught_by)
    taught = sum(len(j.taught_by) for j in judged)
    return Verdict("boundary", not over, {"origins_not_over": over, "origins_judged": len(judged), "taught_by": taught})
