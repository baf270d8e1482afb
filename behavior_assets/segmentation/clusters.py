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

    def moved(self, values: Floats, seed: int = SEED) -> tuple[Clusters, float]:
        """The same groups where these customers [n, F] have their centres now, and how stable they are there."""
        points = _sample(scaled(values, self.mean, self.deviation), seed)
        centres = k_means(points, len(self.centres), seed, self.centres)
        return Clusters(self.mean, self.deviation, centres), _stability(points, centres, seed, warm=True)

    def ordered(self, by: int) -> Clusters:
        """The same with the centre first that is greatest in one feature."""
        return Clusters(self.mean, self.deviation, self.centres[np.argsort(-self.centres[:, by], kind="stable")])

    def middles(self) -> Floats:
        """The centres [k, F] as features."""
        found: Floats = np.expm1(self.centres * self.deviation + self.mean)
        return found

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

    Only one thread must be at work where the answer is to be the same everywhere: the order of sums tells centres
    apart. Where no k is stable the most stable one is taken, and its Choice says how little that is.
    """
    logs = np.log1p(np.maximum(values, 0.0))
    deviation = logs.std(axis=0)
    mean, deviation = logs.mean(axis=0), np.where(deviation > 0, deviation, 1.0)
    points = (logs - mean) / deviation
    points, later = _sample(points, seed), _sample(later, seed)
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


def k_means(points: Floats, k: int, seed: int = SEED, begin: Floats | None = None) -> Floats:
    """Centres [k, F]; from ``begin`` [k, F] on, else from several draws of the points."""
    from sklearn.cluster import KMeans

    how: dict[str, Any] = {"n_init": _STARTS} if begin is None else {"n_init": 1, "init": begin}
    found: Floats = KMeans(k, random_state=seed, **how).fit(points).cluster_centers_
    return found


def _sample(rows: Floats, seed: int) -> Floats:
    """As many rows as are looked at, the same for arrays of one length."""
    if len(rows) <= _MOST_CUSTOMERS:
        return rows
    return rows[np.sort(np.random.default_rng(seed).choice(len(rows), _MOST_CUSTOMERS, replace=False))]


def _nearest(points: Floats, centres: Floats) -> Integers:
    # Not by a product of matrices, whose last digits change with the number of threads.
    distance = np.stack([((points - centre) ** 2).sum(axis=1) for centre in centres])
    found: Integers = distance.argmin(axis=0)
    return found


def _stability(points: Floats, centres: Floats, seed: int, *, warm: bool = False) -> float:
    """10th percentile of how alike all customers are grouped by centres that were found on customers drawn again."""
    from sklearn.metrics import adjusted_rand_score

    whole = _nearest(points, centres)
    dice = np.random.default_rng(seed)
    found = []
    for draw in range(_DRAWS):
        some = points[dice.integers(0, len(points), len(points))]
        again = k_means(some, len(centres), seed + 1 + draw, centres if warm else None)
        found.append(adjusted_rand_score(whole, _nearest(points, again)))
    return float(np.quantile(found, 0.1))


def eta_squared(group: Integers, value: Floats) -> float:
    """Share of the variance of ``value`` [n] that lies between groups [n]."""
    total = float(((value - value.mean()) ** 2).sum())
    if total == 0:
        return 0.0
    count = np.bincount(group)
    mean = np.bincount(group, value) / np.maximum(count, 1)
    return float((count * (mean - value.mean()) ** 2).sum() / total)
