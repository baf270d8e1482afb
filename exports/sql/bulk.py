"""Rows in the forms in which databases take many of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from resources.failpoints import reach

if TYPE_CHECKING:
    import pyarrow as pa

    from exports.sql.session import Session

_PARAMETERS = 2_000  # of one statement; SQL Server takes 2,100 at most


def csv_text(batch: pa.RecordBatch) -> bytes:
    """A batch as CSV: texts in quotes, NULL as nothing at all, micros and four decimals as they are."""
    import pyarrow as pa
    from pyarrow import csv

    out = pa.BufferOutputStream()
    csv.write_csv(batch, out, csv.WriteOptions(include_header=False))
    return bytes(out.getvalue())


def tuples(batch: pa.RecordBatch) -> list[tuple[Any, ...]]:
    """A batch as Python's values, row by row."""
    return list(zip(*(column.to_pylist() for column in batch.columns), strict=True))


def insert_rows(
    session: Session, place: str, batches: Iterator[pa.RecordBatch], tell: Callable[[int], None], *, fast: bool = False
) -> None:
    """Insert row by row, for drivers that know no faster way."""
    for batch in batches:
        reach("publish.load")
        signs = ", ".join([session.sign] * batch.num_columns)
        if batch.num_rows:
            session.insert(f"INSERT INTO {place} VALUES ({signs})", tuples(batch), fast=fast)
        tell(batch.num_rows)
