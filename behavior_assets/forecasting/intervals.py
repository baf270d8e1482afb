"""Conformal intervals: how far forecasts of the past were off tells how far this one may be.

Split conformal prediction by bins of the forecast (Vovk's Mondrian taxonomy; Vovk, Gammerman & Shafer 2005). Errors are
measured in units that grow with the forecast, so that series of all sizes can share a bin.

A total is one series, seen at a few origins whose days overlap: its errors are few and err together (see
``learn_total``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LEVELS = (80, 95)
_POWER = 0.75  # between counts (0.5) and shares of the forecast (1)
_SHARE = 1.0
_BINS, _FEWEST = 8, 200


@dataclass(frozen=True)
class Intervals:
    """Offsets by level [bins, 2] in units of the forecast to the ``power``; ``edges`` [bins - 1] part the bins."""

    edges: Floats
    offsets: dict[int, Floats]
    power: float = _POWER

    def around(self, forecast: Floats, level: int) -> tuple[Floats, Floats]:
        """Lower and upper bounds of forecasts of any shape, at least 0."""
        at = np.searchsorted(self.edges, forecast, side="right")
        off, size = self.offsets[level][at], unit(forecast, self.power)
        lower, upper = np.maximum(forecast + off[..., 0] * size, 0.0), np.maximum(forecast + off[..., 1] * size, 0.0)
        return np.minimum(lower, forecast), np.maximum(upper, forecast)


def unit(forecast: Floats, power: float = _POWER) -> Floats:
    """The unit in which errors of a forecast are measured."""
    return np.asarray(np.maximum(forecast, 1e-3) ** power)


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


def learn_total(actual: Sequence[Floats], forecast: Sequence[Floats], days: int) -> Intervals:
    """Intervals of one large series from what came and what was forecast at each of a few origins.

    Whole months turn out high or low together. Which way the next one goes cannot be told from a few, so each origin
    counts twice: as it came, and with its mean error turned around. Origins overlap: there are only as many errors as
    there were different ``days``, which widens the ends as so few deserve.
    """
    errors = [(a - f) / unit(f, _SHARE) for a, f in zip(actual, forecast, strict=True) if len(a)]
    offsets = {level: np.zeros((1, 2)) for level in LEVELS}
    if errors:
        both = np.concatenate([np.concatenate([e, e - 2 * e.mean()]) for e in errors])
        for level, found in offsets.items():
            outside = (1 - level / 100) / 2
            ends = np.clip([(outside * (days + 1) - 1) / days, (1 - outside) * (days + 1) / days], 0.0, 1.0)
            found[0] = np.quantile(both, ends)
    return Intervals(np.zeros(0), offsets, _SHARE)


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
