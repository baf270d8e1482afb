"""Daily demand as a matrix, and the days on which the shop was shut, learnt from the days without any sale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

WEEK = 7
_LOOK_BACK_WEEKS = 8  # a weekday is shut from now on where so many of its last days were
_SHUT_SHARE = 0.8
_YEAR, _HOLIDAYS = 365, 5  # shorter closures (Easter, bank holidays) move from year to year


@dataclass(frozen=True)
class Demand:
    """Demand of S series on D days without a hole: ``values`` [S, D], all at least 0; ``first`` is day 0 since 1970.

    ``worth`` [S, D] is what a day's demand was worth in money; series are bottom ones (``names`` [S]).
    """

    names: tuple[str, ...]
    first: int
    values: Floats
    worth: Floats

    @property
    def days(self) -> int:
        """Number of days."""
        return int(self.values.shape[1])

    def until(self, days: int) -> Demand:
        """What was known after so many days."""
        return Demand(self.names, self.first, self.values[:, :days], self.worth[:, :days])

    def weekday(self, days: NDArray[np.int64]) -> NDArray[np.int64]:
        """Weekday (0 is Monday) of days counted from the first."""
        return (days + self.first + 3) % WEEK  # 1970-01-01 was a Thursday


def make_demand(
    name: NDArray[np.str_], day: NDArray[np.int64], quantity: Floats, worth: Floats, last: int | None = None
) -> Demand:
    """A matrix from order lines [n]: series, day since 1970, quantity and value of each. Days without lines are 0."""
    if not len(day):
        return Demand((), 0, np.zeros((0, 0)), np.zeros((0, 0)))
    names, row = np.unique(name, return_inverse=True)
    first, end = int(day.min()), int(day.max()) if last is None else last
    width = end - first + 1
    flat = row.reshape(-1) * width + (day - first)
    shape = (len(names), width)
    values = np.bincount(flat, quantity, len(names) * width).reshape(shape)
    money = np.bincount(flat, worth, len(names) * width).reshape(shape)
    return Demand(tuple(str(n) for n in names), first, np.maximum(values, 0.0), np.maximum(money, 0.0))


@dataclass(frozen=True)
class Calendar:
    """Whether the shop was open [D], and which weekdays it opens from now on [7]."""

    open: NDArray[np.bool_]
    weekdays: NDArray[np.bool_]

    @classmethod
    def always(cls, days: int) -> Calendar:
        """Open on all days, as if nothing were known."""
        return cls(np.ones(days, dtype=bool), np.ones(WEEK, dtype=bool))

    def ahead(self, demand: Demand, horizon: int) -> NDArray[np.bool_]:
        """Whether the shop will be open [horizon] on the days after the last.

        It shuts on the weekdays on which it has been shut, and on the dates on which it was shut for at least five days
        on end a year before.
        """
        days = np.arange(demand.days, demand.days + horizon)
        shut = ~self.open
        edges = np.flatnonzero(np.diff(np.concatenate([[False], shut, [False]]).astype(np.int8)))
        long = np.zeros(len(shut), dtype=bool)
        for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            long[begin:end] = end - begin >= _HOLIDAYS
        before = days - _YEAR
        known = (before >= 0) & (before < len(long))
        again = np.zeros(horizon, dtype=bool)
        again[known] = long[before[known]]
        found: NDArray[np.bool_] = self.weekdays[demand.weekday(days)] & ~again
        return found


def learn_calendar(demand: Demand) -> Calendar:
    """A day on which nothing at all was sold was shut, in a shop that sells on most days that it is open.

    Where whole days without a sale are ordinary (a small shop), nothing can be learnt from them and every day is open.
    """
    sold = demand.values.sum(axis=0) > 0
    weekday = demand.weekday(np.arange(demand.days))
    recent = np.arange(demand.days) >= demand.days - _LOOK_BACK_WEEKS * WEEK
    weekdays = np.ones(WEEK, dtype=bool)
    for number in range(WEEK):
        mine = recent & (weekday == number)
        weekdays[number] = not mine.any() or float(np.mean(~sold[mine])) < _SHUT_SHARE
    ordinary = sold[recent & weekdays[weekday]]
    if (len(ordinary) and ordinary.mean() < _SHUT_SHARE) or not weekdays.any():
        return Calendar.always(demand.days)
    return Calendar(sold, weekdays)
