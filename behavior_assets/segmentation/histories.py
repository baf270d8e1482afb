"""From purchases to what the models of ``value`` want to know of each customer at a day."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from behavior_assets.segmentation.value import History

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Customers:
    """Customers [n] in the order of their keys, with what was known at the end of one day.

    ``repeat_value`` is the mean value of the purchases after the first, 0 where there is none, ``total_value`` what all
    were worth; ``last_day`` and ``first_day`` count days.
    """

    key: NDArray[np.int64]
    history: History
    repeat_value: NDArray[np.float64]
    first_day: NDArray[np.int64]
    last_day: NDArray[np.int64]
    total_value: NDArray[np.float64]


def known_at(
    customer: NDArray[np.int64], day: NDArray[np.int64], value: NDArray[np.float64], today: int, unit_days: float
) -> Customers:
    """Histories at the end of ``today`` from purchases [m]: who, on which day, worth what; later ones are left out.

    Purchases of one day are one, as a customer who pays twice has come once. Times are in units of ``unit_days``.
    """
    kept = day <= today
    pairs = np.stack([customer[kept], day[kept]], axis=1)
    visits, place = np.unique(pairs, axis=0, return_inverse=True)  # in the order of customers, then days
    spent = np.bincount(place.reshape(-1), value[kept], len(visits)).astype(np.float64)
    key, begin, count = np.unique(visits[:, 0], return_index=True, return_counts=True)
    first, last = visits[begin, 1], visits[begin + count - 1, 1]
    repeats = count - 1
    total = np.add.reduceat(spent, begin) if len(begin) else spent
    history = History(repeats.astype(float), (last - first) / unit_days, (today - first) / unit_days)
    repeat_value = (total - spent[begin]) / np.maximum(repeats, 1)
    return Customers(key, history, repeat_value, first, last, total)


def bought_between(
    customer: NDArray[np.int64], day: NDArray[np.int64], wanted: NDArray[np.int64], after: int, until: int
) -> NDArray[np.int64]:
    """Days [n] on which the wanted customers (sorted keys) bought after one day and until another, which counts."""
    inside = (day > after) & (day <= until)
    visits = np.unique(np.stack([customer[inside], day[inside]], axis=1), axis=0)
    known = visits[np.isin(visits[:, 0], wanted), 0]
    return np.bincount(np.searchsorted(wanted, known), minlength=len(wanted)).astype(np.int64)
