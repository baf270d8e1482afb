"""Forecasts that add up: minimum-trace reconciliation of a total with its parts.

Wickramasuriya, Athanasopoulos & Hyndman (2019), JASA 114(526). For one total over n parts their formula has a closed
form: the gap between the forecast of the total and the sum of the parts' is shared out by how wrong each of them tends
to be, so what is forecast well moves little. Nothing of size n by n is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Errors:
    """Mean squared errors of forecasts: of the total, of each part [n], of the sum of the parts.

    ``together`` is the mean product of the errors of the total and of that sum.

    With a diagonal error matrix ``summed`` is the sum of ``parts`` and ``together`` is 0. Parts of one shop err
    together (a quiet month is quiet for all), so that a sum is much less sure than independent parts would make it.
    How each part shares in what is common cannot be learnt from a few origins: it is taken to be in proportion to its
    own variance.
    """

    total: float
    parts: Floats
    summed: float
    together: float = 0.0

    @classmethod
    def diagonal(cls, total: float, parts: Floats) -> Errors:
        """Errors that have nothing to do with each other."""
        return cls(total, parts, float(parts.sum()))

    @property
    def share(self) -> float:
        """How much of the gap the parts take, the total taking the rest: 0 to 1."""
        spread = self.total + self.summed - 2 * self.together
        return float(np.clip((self.summed - self.together) / spread, 0.0, 1.0)) if spread > 0 else 1.0


def reconcile(total: Floats, parts: Floats, errors: Errors) -> tuple[Floats, Floats]:
    """Forecasts of the total [H] and its parts [n, H] that add up, all at least 0."""
    every = errors.parts.sum()
    weight = errors.parts / every if every > 0 else np.full(len(parts), 1 / max(len(parts), 1))
    gap = errors.share * (total - parts.sum(axis=0))
    wanted = np.maximum(parts.sum(axis=0) + gap, 0.0)
    moved = np.maximum(parts + weight[:, None] * gap, 0.0)
    # Clipping at zero leaves the sum too high: the rest comes out of what is positive, in proportion.
    found = moved.sum(axis=0)
    moved *= np.divide(wanted, found, out=np.zeros_like(wanted), where=found > 0)
    return moved.sum(axis=0), moved
