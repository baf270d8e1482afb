"""Pictures of how good a model is, as PNG bytes, small enough for Dagster's event log."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from behavior_assets.prediction import metrics

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]
    Rows = Mapping[str, tuple[Flags, Floats]]

_DOTS = 80  # per inch
_POINTS = 200  # of a curve
_BEFORE = 28  # days of sales that are shown before the first origin


def _figure(columns: int) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.8 * columns, 3.6), dpi=_DOTS, layout="constrained")
    return figure, figure.subplots(1, columns, squeeze=False)[0]


def _png(figure: Any) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})  # nothing of the machine is told
    return file.getvalue()


def reliability_and_lift(rows: Rows) -> bytes:
    """Chance told against share that came, by tenth; and buyers found among the share of rows with the best chances."""
    figure, (left, right) = _figure(2)
    for name, (label, chance) in rows.items():
        bins = metrics.reliability(label, chance)
        left.plot([b["told"] for b in bins], [b["came"] for b in bins], marker="o", markersize=3, label=name)
        found = np.cumsum(label[np.argsort(-chance, kind="stable")]) / max(label.sum(), 1)
        at = np.unique(np.linspace(0, len(found) - 1, _POINTS).astype(int))
        right.plot((at + 1) / len(found), found[at], label=name)
    most = max(left.get_xlim()[1], left.get_ylim()[1])
    left.plot([0, most], [0, most], color="grey", linewidth=0.8)
    right.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    left.set(title="Reliability", xlabel="chance told", ylabel="share that came")
    right.set(title="Gain", xlabel="share of rows, best first", ylabel="share of buyers found")
    left.legend(fontsize="small")
    return _png(figure)


def precision_recall(rows: Rows) -> bytes:
    """Precision by recall, with the share of buyers as the line that knows nothing."""
    figure, (axes,) = _figure(1)
    for name, (label, chance) in rows.items():
        hits = np.cumsum(label[np.argsort(-chance, kind="stable")])
        at = np.unique(np.linspace(min(20, len(hits) - 1), len(hits) - 1, _POINTS).astype(int))
        (line,) = axes.plot(hits[at] / max(hits[-1], 1), hits[at] / (at + 1), label=name)
        axes.axhline(float(label.mean()), color=line.get_color(), linewidth=0.6, linestyle="--")
    axes.set(title="Precision and recall", xlabel="share of buyers found", ylabel="share of found that buy")
    axes.legend(fontsize="small")
    return _png(figure)


def backtest(origin: NDArray[np.int64], day: NDArray[np.int64], told: Mapping[str, Floats], sold: Floats) -> bytes:
    """Forecasts of the total [n] as they would have been made at each origin, with their intervals, over what was sold.

    ``day`` and ``origin`` count from the first of the days of ``sold`` [D]; ``told`` has forecast and bounds.
    """
    figure, (axes,) = _figure(1)
    figure.set_size_inches(9.6, 3.6)
    shown = max(int(origin.min()) - _BEFORE, 0)
    axes.plot(np.arange(shown, len(sold)), sold[shown:], color="black", linewidth=0.9, label="sold")
    for number, at in enumerate(np.unique(origin).tolist()):
        mine = origin == at
        (line,) = axes.plot(day[mine], told["forecast"][mine], linewidth=1.2, label="told" if number == 0 else None)
        for share, strength in (("95", 0.12), ("80", 0.22)):
            lower, upper = (told[f"{side}_{share}"][mine] for side in ("lower", "upper"))
            axes.fill_between(day[mine], lower, upper, color=line.get_color(), alpha=strength, linewidth=0)
    axes.set(title="Backtest of the total: told at each origin, and sold", xlabel="day of data", ylabel="units")
    axes.legend(fontsize="small")
    return _png(figure)


def profiles(label: NDArray[np.str_], values: Mapping[str, Floats]) -> bytes:
    """Groups of customers [n]: how many there are in each, and the median of each value by group."""
    names = np.unique(label)
    figure, axes = _figure(len(values) + 1)
    short = [str(n).partition(":")[0] for n in names.tolist()]
    axes[0].bar(short, [int((label == n).sum()) for n in names], color="#7a9cc6")
    axes[0].set(title="customers")
    for place, (name, value) in zip(axes[1:], values.items(), strict=True):
        place.bar(short, [float(np.median(value[label == n])) for n in names], color="#9cc67a")
        place.set(title=f"median {name}")
    for place in axes:
        place.tick_params(axis="x", rotation=45)
    return _png(figure)
