"""Rows in the forms in which databases take many of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from resources.failpoints import reach

if TYPE_CHECKING:
    import pyarrow as pa

    from exports.sql.session import Session

_STATEMENT = 500_000  # characters of one INSERT; MySQL's max_allowed_packet is 16 MB or more
Tell = Callable[[int], None]


def csv_text(batch: pa.RecordBatch) -> bytes:
    """A batch as CSV: texts in quotes, NULL as nothing at all, micros and four decimals as they are."""
    import pyarrow as pa
    from pyarrow import csv

    out = pa.BufferOutputStream()
    csv.write_csv(batch, out, csv.WriteOptions(include_header=False))
    return bytes(out.getvalue())


def literals(batch: pa.RecordBatch) -> list[str]:
    """A batch as SQL, ``(1, 'a', NULL)`` for each row, for servers to whom a backslash is only a character."""
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = []
    for column in batch.columns:
        text = column.cast(pa.string())
        if not _is_number(column.type):
            doubled = pc.replace_substring(text, "'", "''")
            text = pc.binary_join_element_wise("'", doubled, "'", "")
        columns.append(pc.fill_null(text, "NULL"))
    joined = pc.binary_join_element_wise(*columns, ",")
    rows: list[str] = pc.binary_join_element_wise("(", joined, ")", "").to_pylist()
    return rows


def _is_number(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def insert_literals(session: Session, place: str, batches: Iterator[pa.RecordBatch], tell: Tell) -> None:
    """Insert many rows with each statement: about a tenth of the time of one statement a row."""
    for batch in batches:
        reach("publish.load")
        kept: list[str] = []
        size = 0
        for row in literals(batch):
            if kept and size + len(row) > _STATEMENT:
                session.run(f"INSERT INTO {place} VALUES {','.join(kept)}")
                kept, size = [], 0
            kept.append(row)
            size += len(row) + 1
        if kept:
            session.run(f"INSERT INTO {place} VALUES {','.join(kept)}")
        tell(batch.num_rows)


def insert_rows(
    session: Session, place: str, batches: Iterator[pa.RecordBatch], tell: Tell, *, fast: bool = False
) -> None:
    """Insert by one statement with parameters; ``fast``: the driver sends rows in blocks."""
    for batch in batches:
        reach("publish.load")
        rows: list[tuple[Any, ...]] = list(zip(*(column.to_pylist() for column in batch.columns), strict=True))
        if rows:
            session.insert(f"INSERT INTO {place} VALUES ({', '.join('?' * batch.num_columns)})", rows, fast=fast)
        tell(batch.num_rows)
