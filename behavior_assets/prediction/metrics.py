"""How good probabilities are, on rows that no training has seen.

Accuracy is not among the metrics: with few buyers it says nothing but how few they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

BINS = 10


@dataclass(frozen=True)
class Estimate:
    """A figure with the ends of its 95 % interval."""

    value: float
    lower: float
    upper: float


def auc(label: Flags, chance: Floats, weight: Floats | None = None) -> float:
    """Area under the ROC curve: the chance that a buyer stands above another; ties count half. NaN for one class."""
    w = np.ones(len(label)) if weight is None else weight
    values, place = np.unique(chance, return_inverse=True)
    yes = np.bincount(place.reshape(-1), w * label, len(values))
    no = np.bincount(place.reshape(-1), w * ~label, len(values))
    if not yes.sum() or not no.sum():
        return float("nan")
    below = np.cumsum(no) - no
    return float((yes * (below + no / 2)).sum() / (yes.sum() * no.sum()))


def average_precision(label: Flags, chance: Floats, weight: Floats | None = None) -> float:
    """Mean precision over the buyers, from the highest chance down; equal chances stand at one place."""
    w = np.ones(len(label)) if weight is None else weight
    values, place = np.unique(-chance, return_inverse=True)
    yes = np.bincount(place.reshape(-1), w * label, len(values))
    everyone = np.bincount(place.reshape(-1), w, len(values))
    if not yes.sum():
        return float("nan")
    return float((yes * np.cumsum(yes) / np.maximum(np.cumsum(everyone), 1e-300)).sum() / yes.sum())


def brier(label: Flags, chance: Floats, weight: Floats | None = None) -> float:
    """Mean squared distance of the chance from what came."""
    return float(np.average((chance - label) ** 2, weights=weight))


def brier_skill(label: Flags, chance: Floats, weight: Floats | None = None) -> float:
    """Share of the Brier score of always telling the mean that a model saves; 0 says nothing, 1 everything."""
    mean = float(np.average(label, weights=weight))
    return 1 - brier(label, chance, weight) / max(mean * (1 - mean), 1e-300)


def log_loss(label: Flags, chance: Floats, weight: Floats | None = None) -> float:
    """Mean negative log-likelihood."""
    safe = np.clip(chance, 1e-12, 1 - 1e-12)
    return float(np.average(-np.where(label, np.log(safe), np.log1p(-safe)), weights=weight))


def ece(label: Flags, chance: Floats, weight: Floats | None = None) -> float:
    """Expected calibration error over ten bins of equally many rows."""
    w = np.ones(len(label)) if weight is None else weight
    total = w.sum()
    found = 0.0
    for rows in np.array_split(np.argsort(chance, kind="stable"), BINS):
        mass = w[rows].sum()
        if mass > 0:
            found += abs((w[rows] * label[rows]).sum() - (w[rows] * chance[rows]).sum()) / total
    return float(found)


def lift(label: Flags, chance: Floats, weight: Floats | None = None, share: float = 0.1) -> float:
    """How many times more buyers the tenth with the highest chances holds than a tenth drawn blindly."""
    w = np.ones(len(label)) if weight is None else weight
    order = np.argsort(-chance, kind="stable")
    inside = np.clip(share * w.sum() - (np.cumsum(w[order]) - w[order]), 0, w[order])
    everyone = (w * label).sum()
    return float((inside * label[order]).sum() / max(everyone * share, 1e-300))


METRICS: dict[str, Callable[..., float]] = {
    "ap": average_precision, "auc": auc, "brier": brier, "brier_skill": brier_skill, "log_loss": log_loss, "ece": ece,
    "lift_at_10": lift,
}  # fmt: skip


def estimates(
    label: Flags, chance: Floats, group: NDArray[np.int64], names: tuple[str, ...] = tuple(METRICS), *, seed: int = 7,
    draws: int = 200,
) -> dict[str, Estimate]:
    """Metrics with 95 % intervals from drawing ``group`` (customers) again: their rows are not independent."""
    weights = bootstrap_weights(group, draws, seed)
    found = {}
    for name in names:
        metric = METRICS[name]
        drawn = [metric(label, chance, w) for w in weights]
        lower, upper = np.nanquantile(drawn, [0.025, 0.975]) if np.isfinite(drawn).any() else (np.nan, np.nan)
        found[name] = Estimate(metric(label, chance), float(lower), float(upper))
    return found


def difference(
    label: Flags, one: Floats, other: Floats, group: NDArray[np.int64], name: str = "ap", *, seed: int = 7,
    draws: int = 200,
) -> Estimate:
    """A metric of one model minus that of another on the same rows, paired in every draw."""
    metric = METRICS[name]
    drawn = [metric(label, one, w) - metric(label, other, w) for w in bootstrap_weights(group, draws, seed)]
    lower, upper = np.nanquantile(drawn, [0.025, 0.975])
    return Estimate(metric(label, one) - metric(label, other), float(lower), float(upper))


def bootstrap_weights(group: NDArray[np.int64], draws: int, seed: int) -> list[Floats]:
    """By draw, how often each row counts when groups are drawn with replacement."""
    dice = np.random.default_rng(seed)
    names, place = np.unique(group, return_inverse=True)
    count = len(names)
    return [
        np.bincount(dice.integers(0, count, count), minlength=count)[place.reshape(-1)].astype(float)
        for _ in range(draws)
    ]


def reliability(label: Flags, chance: Floats) -> list[dict[str, float]]:
    """By tenth of the rows: the mean chance told, the share that bought, and how many rows there are."""
    return [
        {"told": float(chance[rows].mean()), "came": float(label[rows].mean()), "rows": float(len(rows))}
        for rows in np.array_split(np.argsort(chance, kind="stable"), BINS) if len(rows)
    ]  # fmt: skip
