"""Forecasts that add up: minimum-trace reconciliation of a total with its parts.

Wickramasuriya, Athanasopoulos & Hyndman (2019), JASA 114(526), with a diagonal error matrix. For one total over n parts
their formula has a closed form: the gap between the forecast of the total and the sum of the parts' is shared out in
proportion to the error variances, so what is forecast well moves little. Nothing of size n by n is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def reconcile(
    total: Floats, parts: Floats, total_variance: float, part_variance: Floats
) -> tuple[Floats, Floats]:
    """Forecasts of the total [H] and its parts [n, H] that add up, all at least 0.

    The variances are those of the forecasts' errors, of the total and of each part [n].
    """
    spread = total_variance + part_variance.sum()
    share = part_variance / spread if spread > 0 else np.full(len(parts), 1 / max(len(parts), 1))
    gap = total - parts.sum(axis=0)
    moved = np.maximum(parts + share[:, None] * gap, 0.0)
    # Clipping at zero leaves the sum too high: the rest comes out of what is positive, in proportion.
    wanted = np.maximum(parts.sum(axis=0) + share.sum() * gap, 0.0)
    found = moved.sum(axis=0)
    moved *= np.divide(wanted, found, out=np.zeros_like(wanted), where=found > 0)
    return moved.sum(axis=0), moved
