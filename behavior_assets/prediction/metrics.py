"""How good probabilities are, on rows that no training has seen.

Accuracy is not among the metrics: with few buyers it says nothing but how few they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
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


@dataclass(frozen=True)
class Ranked:
    """Rows [n] from the highest chance down, sorted once for many weights: ``last`` are the ends of equal chances."""

    label: Flags
    chance: Floats
    order: NDArray[np.int64]
    last: NDArray[np.int64]

    @classmethod
    def of(cls, label: Flags, chance: Floats) -> Ranked:
        """Rank rows as they come."""
        order = np.argsort(-chance, kind="stable")
        ranked = chance[order]
        last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) if len(ranked) else np.zeros(0, np.int64)
        return cls(label[order], ranked, order, last)

    def weighed(self, weight: Floats | None = None) -> Weighed:
        """The rows, each as often as ``weight`` (by row as they came) says; None: once."""
        w = np.ones(len(self.label)) if weight is None else weight[self.order]
        yes = np.cumsum(w * self.label)[self.last]
        return Weighed(self, w, yes, np.cumsum(w)[self.last])


@dataclass(frozen=True)
class Weighed:
    """Ranked rows with weights [n]; ``yes`` and ``both``: weight of buyers, of all, to the ends of equal chances."""

    ranked: Ranked
    weight: Floats
    yes: Floats
    both: Floats

    def auc(self) -> float:
        """Area under the ROC curve: the chance that a buyer stands above another; NaN for one class."""
        yes, no = self.yes, self.both - self.yes
        if not len(yes) or not yes[-1] or no[-1] <= 0:
            return float("nan")
        above = yes - np.diff(yes, prepend=0.0) / 2
        return float((np.diff(no, prepend=0.0) * above).sum() / (yes[-1] * no[-1]))

    def average_precision(self) -> float:
        """Mean precision over the buyers, from the highest chance down; equal chances stand at one place."""
        yes = self.yes
        if not len(yes) or not yes[-1]:
            return float("nan")
        return float((np.diff(yes, prepend=0.0) * yes / np.maximum(self.both, 1e-300)).sum() / yes[-1])

    def brier(self) -> float:
        """Mean squared distance of the chance from what came."""
        return float(np.average((self.ranked.chance - self.ranked.label) ** 2, weights=self.weight))

    def brier_skill(self) -> float:
        """Share of the Brier score of always telling the mean that a model saves; 0 says nothing, 1 everything."""
        mean = float(np.average(self.ranked.label, weights=self.weight))
        return 1 - self.brier() / max(mean * (1 - mean), 1e-300)

    def log_loss(self) -> float:
        """Mean negative log-likelihood."""
        safe = np.clip(self.ranked.chance, 1e-12, 1 - 1e-12)
        told = np.where(self.ranked.label, np.log(safe), np.log1p(-safe))
        return float(np.average(-told, weights=self.weight))

    def ece(self) -> float:
        """Expected calibration error over ten bins of equal weight; equal chances are shared out evenly."""
        came, told = self.until(np.arange(BINS + 1) / BINS)
        return float(np.abs(np.diff(came) - np.diff(told)).sum() / self.both[-1])

    def until(self, shares: Floats) -> tuple[Floats, Floats]:
        """Buyers and the sum of chances among the given shares of rows with the best chances.

        Where a share ends amid equal chances these count in part, whatever their order.
        """
        mass = np.cumsum(np.diff(self.both, prepend=0.0) * self.ranked.chance[self.ranked.last])
        at, ends = shares * self.both[-1], np.append(0.0, self.both)
        return np.interp(at, ends, np.append(0.0, self.yes)), np.interp(at, ends, np.append(0.0, mass))

    def lift(self, share: float = 0.1) -> float:
        """How many times more buyers the tenth with the highest chances holds than a tenth drawn blindly."""
        (found, everyone), _ = self.until(np.array([share, 1.0]))
        return float(found / max(everyone * share, 1e-300))


METRICS: dict[str, Callable[[Weighed], float]] = {
    "ap": Weighed.average_precision, "auc": Weighed.auc, "brier": Weighed.brier, "brier_skill": Weighed.brier_skill,
    "log_loss": Weighed.log_loss, "ece": Weighed.ece, "lift_at_10": Weighed.lift,
}  # fmt: skip


def auc(label: Flags, chance: Floats) -> float:
    """``Weighed.auc`` of rows as they come."""
    return Ranked.of(label, chance).weighed().auc()


def average_precision(label: Flags, chance: Floats) -> float:
    """``Weighed.average_precision`` of rows as they come."""
    return Ranked.of(label, chance).weighed().average_precision()


def estimates(
    label: Flags, chance: Floats, group: NDArray[np.int64], names: tuple[str, ...] = tuple(METRICS), *, seed: int = 7,
    draws: int = 200,
) -> dict[str, Estimate]:
    """Metrics with 95 % intervals from drawing ``group`` (customers) again: their rows are not independent."""
    ranked = Ranked.of(label, chance)
    all_ = (ranked.weighed(w) for w in bootstrap_weights(group, draws, seed))
    drawn, once = np.array([[METRICS[n](rows) for n in names] for rows in all_]), ranked.weighed()
    return {name: _interval(METRICS[name](once), drawn[:, column]) for column, name in enumerate(names)}


def difference(
    label: Flags, one: Floats, other: Floats, group: NDArray[np.int64], name: str = "ap", *, seed: int = 7,
    draws: int = 200,
) -> Estimate:
    """A metric of one model minus that of another on the same rows, paired in every draw."""
    metric, first, second = METRICS[name], Ranked.of(label, one), Ranked.of(label, other)
    weights = bootstrap_weights(group, draws, seed)
    drawn = [metric(first.weighed(w)) - metric(second.weighed(w)) for w in weights]
    return _interval(metric(first.weighed()) - metric(second.weighed()), np.array(drawn))


def _interval(value: float, drawn: Floats) -> Estimate:
    known = drawn[np.isfinite(drawn)]
    lower, upper = np.quantile(known, [0.025, 0.975]) if len(known) else (np.nan, np.nan)
    return Estimate(value, float(lower), float(upper))


def bootstrap_weights(group: NDArray[np.int64], draws: int, seed: int) -> Iterator[Floats]:
    """By draw, how often each row counts when groups are drawn with replacement."""
    dice = np.random.default_rng(seed)
    names, place = np.unique(group, return_inverse=True)
    count = len(names)
    for _ in range(draws):
        yield np.bincount(dice.integers(0, count, count), minlength=count)[place.reshape(-1)].astype(float)


def reliability(label: Flags, chance: Floats) -> list[dict[str, float]]:
    """By tenth of the rows, from the lowest chances up: the mean chance told, the share that bought, how many rows."""
    came, told = Ranked.of(label, chance).weighed().until(np.arange(BINS + 1) / BINS)
    rows = len(label) / BINS
    both = zip(np.diff(told)[::-1].tolist(), np.diff(came)[::-1].tolist(), strict=True)
    return [{"told": t / rows, "came": c / rows, "rows": rows} for t, c in both]
