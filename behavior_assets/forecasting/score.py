"""How good forecasts are: RMSSE, its weighted mean over levels (WRMSSE, as in M5), pinball loss, coverage and bias.

Makridakis, Spiliotis & Assimakopoulos (2022), "M5 accuracy competition", IJF 38(4).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def scale(history: Floats) -> Floats:
    """Mean squared step from day to day [S], counted from the first sale; NaN for a series without a step.

    ``history`` is [S, D].
    """
    found = np.full(len(history), np.nan)
    begun = (history > 0).argmax(axis=1)
    step = np.diff(history, axis=1) ** 2
    for row, first in enumerate(begun.tolist()):
        mine = step[row, first:]
        if history[row].any() and len(mine) and mine.mean() > 0:
            found[row] = mine.mean()
    return found


def rmsse(actual: Floats, forecast: Floats, scales: Floats) -> Floats:
    """Root mean squared scaled error [S] of forecasts [S, H]."""
    error: Floats = np.sqrt(((actual - forecast) ** 2).mean(axis=1) / scales)
    return error


def weighted(errors: Floats, weights: Floats) -> float:
    """Mean of errors [S] by weights [S]; series without an error (nothing to scale by) are left out."""
    known = np.isfinite(errors) & (weights > 0)
    return float(np.average(errors[known], weights=weights[known])) if known.any() else float("nan")


def pinball(actual: Floats, forecast: Floats, quantile: float) -> Floats:
    """Pinball loss of a quantile forecast, element by element."""
    short = actual - forecast
    return np.maximum(quantile * short, (quantile - 1) * short)
