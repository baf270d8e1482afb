"""How the rows of a table fall into parts: days, or the days of the newest month and the months before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import ibis
import ibis.expr.types as ir
import numpy as np
import numpy.typing as npt
import pyarrow as pa

_MOST_RUNS = 2_000  # more slices than that cost more than sorting
_EPOCH = np.datetime64("1970-01-01", "D")


class Parts(Protocol):
    """Tells the part of a row by one of its columns."""

    @property
    def column(self) -> str:
        """The column that tells."""

    def split(self, table: pa.Table) -> dict[str, pa.Table]:
        """Rows by part, parts in order; the order inside a part is kept."""

    def name(self, table: ir.Table) -> ir.StringColumn:
        """The part of each row, as an expression."""


@dataclass(frozen=True)
class Days:
    """A part is a day of a date column."""

    column: str = "event_date"

    def split(self, table: pa.Table) -> dict[str, pa.Table]:
        """Rows by ISO day."""
        found = split(table, table[self.column].cast(pa.int32()).to_numpy())
        return {str(_EPOCH + ordinal): rows for ordinal, rows in found.items()}

    def name(self, table: ir.Table) -> ir.StringColumn:
        """The ISO day."""
        return table[self.column].cast("string")


@dataclass(frozen=True)
class Months:
    """A part is a day of the month that ``newest`` lies in, else a month; told by a yyyymmdd column."""

    newest: str
    column: str = "date_key"

    def part_of(self, day: str) -> str:
        """The part of an ISO day."""
        return day if day[:7] == self.newest[:7] else day[:7]

    def split(self, table: pa.Table) -> dict[str, pa.Table]:
        """Rows by ``2019-10-01`` or ``2019-10``."""
        keys = table[self.column].to_numpy()
        found = split(table, np.where(keys // 100 == self._month, keys, keys // 100))
        return {_dashed(str(unit)): rows for unit, rows in found.items()}

    def name(self, table: ir.Table) -> ir.StringColumn:
        """The same as an expression."""
        digits = table[self.column].cast("string")
        month = digits.substr(0, 4) + "-" + digits.substr(4, 2)
        is_newest = table[self.column] // 100 == self._month
        return ibis.ifelse(is_newest, month + "-" + digits.substr(6, 2), month)

    @property
    def _month(self) -> int:
        return int(self.newest[:7].replace("-", ""))


def split(table: pa.Table, values: npt.NDArray[np.integer[Any]]) -> dict[int, pa.Table]:
    """Rows by a whole number that each has, numbers in order, the order of the rows of one kept."""
    if not len(values):
        return {}
    starts = np.flatnonzero(np.diff(values, prepend=values[0] - 1))
    if len(starts) > _MOST_RUNS:
        order = np.argsort(values, kind="stable")
        table, values = table.take(pa.array(order)), values[order]
        starts = np.flatnonzero(np.diff(values, prepend=values[0] - 1))
    # An engine's threads each deliver whole days, one after the other: slices of those need not be copied.
    runs: dict[int, list[pa.Table]] = {}
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(values)], strict=True):
        runs.setdefault(int(values[start]), []).append(table.slice(start, end - start))
    return {value: pa.concat_tables(runs[value]) for value in sorted(runs)}


def _dashed(digits: str) -> str:
    """``2019-10-01`` of 20191001 and ``2019-10`` of 201910."""
    return "-".join(piece for piece in (digits[:4], digits[4:6], digits[6:]) if piece)
