"""Groups that the data itself falls into: K-means, with as many groups as stay the same and tell what is spent later.

Silhouettes always say two. Here k is the one, among those whose groups are found again on other customers (bootstrap,
adjusted Rand index of Hubert & Arabie 1985, its 10th percentile at least .85), whose groups differ most in what they
spend afterwards (eta squared on the holdout); the fewest where more tell nothing more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

CANDIDATES = range(2, 9)
STABLE = 0.85
_NO_BETTER = 0.01  # of eta squared: more groups must tell at least so much more
_DRAWS, _MOST_CUSTOMERS, _STARTS = 10, 20_000, 4
SEED = 7


@dataclass(frozen=True)
class Clusters:
    """Means [F] and deviations [F] of the logarithms of features, and centres [k, F] in that scale."""

    mean: Floats
    deviation: Floats
    centres: Floats

    def assign(self, values: Floats) -> Integers:
        """The nearest centre's number [n] of customers with features [n, F], all at least 0."""
        return _nearest(scaled(values, self.mean, self.deviation), self.centres)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What a model store keeps."""
        return {"mean": self.mean, "deviation": self.deviation, "centres": self.centres}


@dataclass(frozen=True)
class Choice:
    """What is known of one k: how stable, and how much of later spending its groups explain."""

    k: int
    stability: float
    holdout: float


def scaled(values: Floats, mean: Floats, deviation: Floats) -> Floats:
    """Logarithms, centred and of one size: spending has a long tail."""
    found: Floats = (np.log1p(np.maximum(values, 0.0)) - mean) / deviation
    return found


def choose(values: Floats, later: Floats, seed: int = SEED) -> tuple[Clusters, list[Choice]]:
    """Clusters of customers with features [n, F], by what they spent ``later`` [n]; and all that was tried.

    Where no k is stable the most stable one is taken, and its Choice says how little that is.
    """
    logs = np.log1p(np.maximum(values, 0.0))
    deviation = logs.std(axis=0)
    mean, deviation = logs.mean(axis=0), np.where(deviation > 0, deviation, 1.0)
    points = (logs - mean) / deviation
    dice = np.random.default_rng(seed)
    if len(points) > _MOST_CUSTOMERS:
        picked = np.sort(dice.choice(len(points), _MOST_CUSTOMERS, replace=False))
        points, later = points[picked], later[picked]
    distinct = len(np.unique(points, axis=0))
    tried, centres = [], {}
    for k in CANDIDATES:
        if k > distinct:
            break
        centres[k] = k_means(points, k, seed)
        tried.append(Choice(k, _stability(points, centres[k], seed), eta_squared(_nearest(points, centres[k]), later)))
    if not tried:  # all customers are alike
        return Clusters(mean, deviation, points[:1]), tried
    stable = [c for c in tried if c.stability >= STABLE]
    most = max((c.holdout for c in stable), default=0.0)
    best = next((c for c in stable if c.holdout >= most - _NO_BETTER), None) or max(tried, key=lambda c: c.stability)
    found = centres[best.k]
    return Clusters(mean, deviation, found[np.lexsort(found.T[::-1])]), tried


def k_means(points: Floats, k: int, seed: int = SEED) -> Floats:
    """Centres [k, F]."""
    from sklearn.cluster import KMeans

    found: Floats = KMeans(k, n_init=_STARTS, random_state=seed).fit(points).cluster_centers_
    return found


def _squares(points: Floats, centres: Floats) -> Floats:
    found: Floats = (points**2).sum(axis=1)[:, None] - 2 * points @ centres.T + (centres**2).sum(axis=1)[None, :]
    return np.maximum(found, 0.0)


def _nearest(points: Floats, centres: Floats) -> Integers:
    found: Integers = _squares(points, centres).argmin(axis=1)
    return found


def _stability(points: Floats, centres: Floats, seed: int) -> float:
    """10th percentile of how alike all customers are grouped by centres that were found on customers drawn again."""
    from sklearn.metrics import adjusted_rand_score

    whole = _nearest(points, centres)
    dice = np.random.default_rng(seed)
    found = []
    for draw in range(_DRAWS):
        some = points[dice.integers(0, len(points), len(points))]
        found.append(adjusted_rand_score(whole, _nearest(points, k_means(some, len(centres), seed + 1 + draw))))
    return float(np.quantile(found, 0.1))


def eta_squared(group: Integers, value: Floats) -> float:
    """Share of the variance of ``value`` [n] that lies between groups [n]."""
    total = float(((value - value.mean()) ** 2).sum())
    if total == 0:
        return 0.0
    count = np.bincount(group)
    mean = np.bincount(group, value) / np.maximum(count, 1)
    return float((count * (mean - value.mean()) ** 2).sum() / total)
