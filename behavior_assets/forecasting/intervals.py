"""Conformal intervals: how far forecasts of the past were off tells how far this one may be.

Split conformal prediction by bins of the forecast (Vovk's Mondrian taxonomy; Vovk, Gammerman & Shafer 2005). Errors are
measured in units that grow with the forecast, so that series of all sizes can share a bin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LEVELS = (80, 95)
_POWER = 0.75  # between counts (0.5) and shares of the forecast (1)
_BINS, _FEWEST = 8, 200


@dataclass(frozen=True)
class Intervals:
    """Offsets by level [bins, 2] in units of the forecast; ``edges`` [bins - 1] are forecasts that part the bins."""

    edges: Floats
    offsets: dict[int, Floats]

    def around(self, forecast: Floats, level: int) -> tuple[Floats, Floats]:
        """Lower and upper bounds of forecasts of any shape, at least 0."""
        at = np.searchsorted(self.edges, forecast, side="right")
        off, size = self.offsets[level][at], unit(forecast)
        lower, upper = np.maximum(forecast + off[..., 0] * size, 0.0), np.maximum(forecast + off[..., 1] * size, 0.0)
        return np.minimum(lower, forecast), np.maximum(upper, forecast)


def unit(forecast: Floats) -> Floats:
    """The unit in which errors of a forecast are measured."""
    return np.asarray(np.maximum(forecast, 1e-3) ** _POWER)


def learn(actual: Floats, forecast: Floats) -> Intervals:
    """Intervals from forecasts [n] and what came [n]; a bin holds at least 200 of them where there are so many."""
    count = max(min(_BINS, len(forecast) // _FEWEST), 1)
    edges = np.unique(np.quantile(forecast, np.arange(1, count) / count)) if len(forecast) else np.zeros(0)
    at = np.searchsorted(edges, forecast, side="right")
    error = (actual - forecast) / unit(forecast)
    offsets = {level: np.zeros((len(edges) + 1, 2)) for level in LEVELS}
    for number in range(len(edges) + 1):
        mine = at == number
        if not mine.any():
            continue
        nothing = float(np.mean(actual[mine] <= 0))
        for level, found in offsets.items():
            found[number] = _ends(error[mine], nothing, level / 100)
    return Intervals(edges, offsets)


def _ends(errors: Floats, nothing: float, share: float) -> tuple[float, float]:
    """The ends between which ``share`` of the errors lie.

    As many outside below as above; but where days without any sale (``nothing``, a share) are more than may lie below,
    the interval begins with them, and all that lies outside lies above.
    """
    below = 0.0 if nothing >= (1 - share) / 2 else (1 - share) / 2
    count = len(errors)
    upper = min(np.ceil((below + share) * (count + 1)) / count, 1.0)
    lower = max(np.floor(below * (count + 1)) / count, 0.0)
    return float(np.quantile(errors, lower, method="lower")), float(np.quantile(errors, upper, method="higher"))
