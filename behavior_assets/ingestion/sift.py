"""Sifting a file's rows: the good ones go on, the bad ones get a reason, none is missing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from behavior_assets.ingestion.ahead import Prepared
from behavior_assets.ingestion.reader import FileReading, Reject, raw_rows
from resources.errors import InputRefusedError

HOPELESS_ROWS = 10  # a file of so many rows without a good one is of another format, not merely bad


def sift(prepared: Prepared, reading: FileReading) -> Iterator[pa.Table]:
    """The good rows of a delivery with their ``row_number``; the bad ones are in ``reading.rejects`` at the end.

    Raises InputRefusedError, at the end, where rows are missing or none is good.
    """
    delivered = 0
    semantic: dict[int, int] = {}
    rejected = np.array(reading.parser_rejects, dtype=np.int64) - np.arange(len(reading.parser_rejects))
    replay = prepared.delivery.replay
    blanked = np.array(sorted(reading.suppressed), dtype=np.int64)  # in the archive: of whom was erased since
    for table in prepared.tables():
        first = table["_item"].to_numpy() == 0
        index = table["_index"].to_numpy() if "_index" in table.column_names else delivered + np.cumsum(first)
        row = index + np.searchsorted(rejected, index, side="right")
        failure = table["_failure"]
        gone = np.isin(row, blanked)
        mask = pc.is_valid(failure).to_numpy() & ~gone
        if mask.any():
            semantic.update(zip(row[mask].tolist(), failure.filter(pa.array(mask)).to_pylist(), strict=True))
            last = int(row[mask].max())
            reading.require_room(len(semantic), 0, last, reading.checks[semantic[last]].message)
        delivered += int(np.count_nonzero(first))
        keep = ~(mask | gone)
        if reading.unterminated:
            keep &= row != reading.rows_in
        helpers = [c for c in ("_failure", "_index") if c in table.column_names]
        numbers = row if replay is None else np.array(replay.rows)[row - 1]
        good = table.append_column("row_number", pa.array(numbers)).drop_columns(helpers)
        if not keep.all():
            good = good.filter(pa.array(keep))
        if good.num_rows:
            yield good
    for number in reading.rejects.keys() & reading.suppressed:
        del reading.rejects[number]
    balance(reading, delivered, semantic)


def balance(reading: FileReading, delivered: int, semantic: dict[int, int]) -> None:
    """What the parser delivered and rejected must be what the bytes hold. ``semantic``: bad row to breached check."""
    total = delivered + len(reading.parser_rejects)
    if total != reading.rows_in:
        msg = (
            f"{reading.staged.name}: the bytes hold {reading.rows_in:,} rows, the parser found {total:,}. "
            "Check quotes and line ends, and deliver the file again."
        )
        raise InputRefusedError(msg)
    hopeless = reading.rows_in >= HOPELESS_ROWS and not reading.staged.replay_of  # rows of a replay just stay
    if hopeless and len(semantic.keys() | reading.rejects.keys()) == reading.rows_in:
        msg = (
            f"{reading.staged.name}: not one of its {reading.rows_in:,} rows can be read as {reading.source.name}. "
            "Check the format name and the mapping."
        )
        raise InputRefusedError(msg)
    wanted = {r for r in semantic if r not in reading.rejects}
    known = reading.rejects.keys() | reading.suppressed
    unterminated = reading.rows_in if reading.unterminated and reading.rows_in not in known else 0
    raw = raw_rows(reading, wanted | ({unterminated} if unterminated else set())) if wanted or unterminated else {}
    for row in sorted(wanted):
        check = reading.checks[semantic[row]]
        reading.rejects[row] = Reject(row, check.failure_class, check.column, check.message, raw.get(row, b""))
    if unterminated:
        reading.rejects[unterminated] = Reject(
            unterminated, "unterminated_record", "record", "the file ends inside this row (no line end)",
            raw.get(unterminated, b""),
        )  # fmt: skip
