"""What a forecast's model card says, in the fields that the topic knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan
from typing import Any

import numpy as np

from behavior_assets.forecasting.backtest import NAIVE, PARTS, TOTAL, Origin
from behavior_assets.forecasting.features import FEATURES
from behavior_assets.training import Figure

_USE = """Plan stock, staff and budgets for the next {horizon} days, in total and by {level}, and notice when sales
leave what was to be expected. A total and its parts add up. The intervals say how far to trust each number."""
_FAILURES = """- Promotions, prices, stock-outs and news to come are not known to it: it repeats what the past tells.
- What was out of stock was not sold, and is taken for days without demand.
- A series that never sold has no forecast; one that is new is told from its few days, with intervals of the others.
- Moving holidays and short closures are not foreseen; a closure of five days or more is expected again a year later.
- Under a year of history no season of the year can be learnt.
- A lone day of very large orders is not expected again: days count up to the 98 % quantile of a series.
- The total is the sum of what has sold so far: where much of what sells is new, it is too low (see the bias)."""
_LABEL = """Units sold on each of the {horizon} days after the origin. What a customer takes back on the day of the
order does not count as sold; what comes back later does, as it was demand. Units of unknown customers always count."""
LEAKAGE = """- What trains learns from origins whose days ahead had ended before the origin that is judged.
- Whether the shop opens on a day ahead is told from the past; on which days it did open is used for judging only.
- A series that had not sold by an origin is 0 there and has no rows.
- One thing is known afterwards: products are counted in the category that they have now."""


def card(told: Mapping[str, Any], origins: Sequence[Origin], figures: Sequence[Figure]) -> dict[str, str]:
    """Texts by field of ``cards.FIELDS``; data, training, latency, leakage and versions are for others to tell."""
    names = {"level": told["level"], "horizon": told["horizon"]}
    judged, count = told["judged"], len(told["series"])
    return {
        "use": _USE.format(**names),
        "failures": "\n".join([_FAILURES.format(**names), *_beaten(figures)]),
        "unit": f"One day of one series: {count:,} of level {told['level']}, and their total. Forecast at the end of "
                f"a day, for the {told['horizon']} days after it.",
        "label": _LABEL.format(**names),
        "features": f"Known at the end of the origin's day, from daily units alone: {', '.join(FEATURES)}; weekdays "
                    "and closures learnt from days without any sale. The statistical methods read the series itself.",
        "split": f"{len(origins)} rolling origins from {told['origins'][0]} to {told['origins'][-1]}, each followed by "
                 f"{told['horizon']} days. {len(judged)} of them are judged (from {judged[0]} on): those that have "
                 "earlier origins whose days had passed. Series weigh by the money of the four weeks before. The model "
                 "that is kept learns from all days. Nothing is trimmed.",
        "prevalence": "not applicable: units are forecast, and no class of them is rare or common.",
        "baselines": "Mean weighted RMSSE over all origins, by level; the best serves. `seasonal_naive` (the same "
                     f"weekday of the last week) stands beside {', '.join(_beside(figures))}.\n\n"
                     + _methods(told, origins),
        "seeds": f"Seed {told['seed']}. Intervals of figures: 1,000 draws of origins and series. {_few(len(judged))}",
        "reliability": "Share of days inside the intervals, at judged origins; parts weigh by their money.\n\n"
                       + _coverage(figures),
        "lift": "not applicable: nothing is ranked. `better_than_seasonal_naive` tells what the model gains.",
        "slices": "Every figure is told for the total and for the parts by themselves: "
                  + "; ".join(f"{f.metric} of {f.slice} {f.value:,.3f}" for f in figures
                              if f.metric in {"wrmsse", "rmse"} and f.slice != "all") + ".",
        "drift": "`change_of_demand` below: units of the last four weeks beside the four before. While it serves, "
                 "`model_card` tells its error (`wape`), bias and coverage of days that came since (`served, ...`): a "
                 "coverage_80 far below .8 says that sales no longer do what they did. It is trained anew each week.",
    }  # fmt: skip


def _beside(figures: Sequence[Figure]) -> list[str]:
    """Figures that have a baseline."""
    return sorted({f"`{f.metric}`" for f in figures if f.baseline == NAIVE})


def _beaten(figures: Sequence[Figure]) -> list[str]:
    """Where what serves was no better than its baseline at the judged origins."""
    worse = [f for f in figures if f.metric == "wrmsse" and f.baseline == NAIVE and f.value >= f.baseline_value]
    return [f"- **No better than the same weekday of the last week ({f.slice})**: WRMSSE {f.value:.4g}, its "
            f"{f.baseline_value:.4g}." for f in worse]  # fmt: skip


def _few(judged: int) -> str:
    if judged == 1:
        return "Only one origin could be judged: nothing tells how much luck there is in the figures of the total."
    return "The days of neighbouring origins overlap, so intervals are rather too narrow than too wide."


def _methods(told: Mapping[str, Any], origins: Sequence[Origin]) -> str:
    rows = ["| level | method | WRMSSE | serves |", "|---|---|---|---|"]
    for level, name in ((TOTAL, "total"), (PARTS, told["level"])):
        errors = {m: float(np.mean([o.error(level, m) for o in origins])) for m in origins[0].forecasts[level]}
        for method, error in sorted(errors.items(), key=lambda item: item[1]):
            serves = "yes" if method == told["methods"][level] else ""
            rows.append(f"| {name} | {method} | {error:.4f} | {serves} |")
    return "\n".join(rows)


def _coverage(figures: Sequence[Figure]) -> str:
    rows = ["| promised | slice | came true | 95 % interval |", "|---|---|---|---|"]
    for f in figures:
        if f.metric.startswith("coverage_"):
            ends = "" if isnan(f.lower) else f"{f.lower:.1%} to {f.upper:.1%}"
            rows.append(f"| {f.metric.removeprefix('coverage_')} % | {f.slice} | {f.value:.1%} | {ends} |")
    return "\n".join(rows)
