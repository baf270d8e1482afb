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

    def _ends(self, weight: Floats | None) -> tuple[Floats, Floats]:
        """Weight of buyers and of others down to the end of each group of equal chances."""
        w = np.ones(len(self.label)) if weight is None else weight[self.order]
        yes = np.cumsum(w * self.label)[self.last]
        return yes, np.cumsum(w)[self.last] - yes

    def auc(self, weight: Floats | None = None) -> float:
        """Area under the ROC curve: the chance that a buyer stands above another; NaN for one class."""
        yes, no = self._ends(weight)
        if not len(yes) or not yes[-1] or no[-1] <= 0:
            return float("nan")
        above = yes - np.diff(yes, prepend=0.0) / 2
        return float((np.diff(no, prepend=0.0) * above).sum() / (yes[-1] * no[-1]))

    def average_precision(self, weight: Floats | None = None) -> float:
        """Mean precision over the buyers, from the highest chance down; equal chances stand at one place."""
        yes, no = self._ends(weight)
        if not len(yes) or not yes[-1]:
            return float("nan")
        return float((np.diff(yes, prepend=0.0) * yes / np.maximum(yes + no, 1e-300)).sum() / yes[-1])

    def brier(self, weight: Floats | None = None) -> float:
        """Mean squared distance of the chance from what came."""
        return float(np.average((self.chance - self.label) ** 2, weights=self._mine(weight)))

    def brier_skill(self, weight: Floats | None = None) -> float:
        """Share of the Brier score of always telling the mean that a model saves; 0 says nothing, 1 everything."""
        mean = float(np.average(self.label, weights=self._mine(weight)))
        return 1 - self.brier(weight) / max(mean * (1 - mean), 1e-300)

    def log_loss(self, weight: Floats | None = None) -> float:
        """Mean negative log-likelihood."""
        safe = np.clip(self.chance, 1e-12, 1 - 1e-12)
        return float(np.average(-np.where(self.label, np.log(safe), np.log1p(-safe)), weights=self._mine(weight)))

    def ece(self, weight: Floats | None = None) -> float:
        """Expected calibration error over ten bins of equal weight; equal chances are shared out evenly."""
        came, told, total = self._until(np.arange(BINS + 1) / BINS, weight)
        return float(np.abs(np.diff(came) - np.diff(told)).sum() / total)

    def _until(self, shares: Floats, weight: Floats | None) -> tuple[Floats, Floats, float]:
        """Buyers and the sum of chances among the given shares of rows with the best chances, and all weight.

        Where a share ends amid equal chances these count in part, whatever their order.
        """
        yes, no = self._ends(weight)
        both = yes + no
        mass = np.cumsum(np.diff(both, prepend=0.0) * self.chance[self.last])
        at, begin = shares * both[-1], [0.0]
        found = (np.interp(at, np.append(begin, both), np.append(begin, values)) for values in (yes, mass))
        return next(found), next(found), float(both[-1])

    def lift(self, weight: Floats | None = None, share: float = 0.1) -> float:
        """How many times more buyers the tenth with the highest chances holds than a tenth drawn blindly."""
        (found, everyone), _, _ = self._until(np.array([share, 1.0]), weight)
        return float(found / max(everyone * share, 1e-300))

    def _mine(self, weight: Floats | None) -> Floats | None:
        return None if weight is None else weight[self.order]


METRICS: dict[str, Callable[[Ranked, Floats | None], float]] = {
    "ap": Ranked.average_precision, "auc": Ranked.auc, "brier": Ranked.brier, "brier_skill": Ranked.brier_skill,
    "log_loss": Ranked.log_loss, "ece": Ranked.ece, "lift_at_10": Ranked.lift,
}  # fmt: skip


def auc(label: Flags, chance: Floats) -> float:
    """``Ranked.auc`` of rows as they come."""
    return Ranked.of(label, chance).auc()


def average_precision(label: Flags, chance: Floats) -> float:
    """``Ranked.average_precision`` of rows as they come."""
    return Ranked.of(label, chance).average_precision()


def estimates(
    label: Flags, chance: Floats, group: NDArray[np.int64], names: tuple[str, ...] = tuple(METRICS), *, seed: int = 7,
    draws: int = 200,
) -> dict[str, Estimate]:
    """Metrics with 95 % intervals from drawing ``group`` (customers) again: their rows are not independent."""
    ranked = Ranked.of(label, chance)
    drawn = np.array([[METRICS[n](ranked, w) for n in names] for w in bootstrap_weights(group, draws, seed)])
    return {
        name: _interval(METRICS[name](ranked, None), drawn[:, column]) for column, name in enumerate(names)
    }  # fmt: skip


def difference(
    label: Flags, one: Floats, other: Floats, group: NDArray[np.int64], name: str = "ap", *, seed: int = 7,
    draws: int = 200,
) -> Estimate:
    """A metric of one model minus that of another on the same rows, paired in every draw."""
    metric, first, second = METRICS[name], Ranked.of(label, one), Ranked.of(label, other)
    drawn = [metric(first, w) - metric(second, w) for w in bootstrap_weights(group, draws, seed)]
    return _interval(metric(first, None) - metric(second, None), np.array(drawn))


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
    came, told, total = Ranked.of(label, chance)._until(np.arange(BINS + 1) / BINS, None)  # noqa: SLF001 - of this module
    rows = total / BINS
    both = zip(np.diff(told)[::-1].tolist(), np.diff(came)[::-1].tolist(), strict=True)
    return [{"told": t / rows, "came": c / rows, "rows": rows} for t, c in both]
