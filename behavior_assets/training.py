"""What a training gives: a model to keep with the figures of its card, or the reason why there is none."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]

ALL = "all"  # the slice that is no slice


@dataclass(frozen=True)
class Figure:
    """One row of ``model_card``: a metric on a slice, the ends of its 95 % interval, and the same of a baseline.

    NaN stands for what there is none of.
    """

    metric: str
    value: float
    slice: str = ALL
    lower: float = float("nan")
    upper: float = float("nan")
    baseline: str = ""
    baseline_value: float = float("nan")


@dataclass(frozen=True)
class Trained:
    """A model as the store keeps it.

    ``told`` is plain JSON that scoring reads (settings, features, calibration, methods); ``arrays`` are its weights;
    ``card`` are the Markdown texts of the card's fields that the topic knows (``cards.FIELDS``), ``plots`` PNGs by
    title.
    """

    told: dict[str, Any]
    arrays: dict[str, Arrays]
    figures: tuple[Figure, ...]
    card: Mapping[str, str]
    plots: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class NotEnough:
    """No model, and why: ``reason`` says how much data there is of what, and how much is wanted."""

    reason: str


def seconds_of(work: Callable[[], object], times: int) -> list[float]:
    """Seconds that each of so many runs takes."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return found


def latency(what: str, seconds: Sequence[float]) -> str:
    """A line for the card: the median and the 99th percentile of runs, or the slowest where they are few."""
    few = len(seconds) < 100  # noqa: PLR2004 - below, the percentile is no other than the slowest
    middle, high = float(np.median(seconds)) * 1e3, float(np.quantile(seconds, 1.0 if few else 0.99)) * 1e3
    return (f"{what}: median {middle:,.3g} ms, {'slowest' if few else '99th percentile'} {high:,.3g} ms of "
            f"{len(seconds)} runs.")  # fmt: skip
