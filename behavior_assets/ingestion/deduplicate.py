"""Which rows of a chunk have been seen before: in the chunk itself or in the bronze files of its days."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

_ID_BYTES = 32
_FEW = 64  # rows that are cut out of a chunk; more are filtered
_ODD = np.uint64(0x9E3779B97F4A7C15)  # spreads a number over all 64 bits (Knuth's multiplicative hashing)


@dataclass(frozen=True)
class Duplicates:
    """Row positions in the chunk.

    ``rows`` repeat an earlier row with the same id and payload; ``conflicts`` bring another payload to an earlier
    row's id (they are kept: silver decides, and the conflict is counted).
    """

    rows: npt.NDArray[np.int64]
    conflicts: npt.NDArray[np.int64]


class SeenIds:
    """Which days' ids a batch has seen, as one number per id, so that its own files need hardly ever be read again."""

    def __init__(self, most: int = 16_000_000) -> None:
        self._most = most
        self._known: dict[str, list[npt.NDArray[np.uint64]]] = {}
        self._forgotten: set[str] = set()

    def may_hold(self, days: Iterable[str], ids: npt.NDArray[np.uint64]) -> bool:
        """Whether any of the ids may have been seen on one of the days."""
        days = set(days)
        if days & self._forgotten:
            return True
        known = [numbers for day in days for numbers in self._known.get(day, [])]
        ordered = np.sort(ids) if known else ids  # what is looked up in order is found in the processor's cache
        return any(_among(ordered, numbers).any() for numbers in known)

    def note(self, day: str, ids: npt.NDArray[np.uint64]) -> None:
        """Remember the ids of a day; the days that were noted first are forgotten when there are too many."""
        self._known.setdefault(day, []).append(np.sort(ids))
        while sum(len(n) for numbers in self._known.values() for n in numbers) > self._most and len(self._known) > 1:
            oldest = next(iter(self._known))
            del self._known[oldest]
            self._forgotten.add(oldest)


def find_duplicates(con: duckdb.DuckDBPyConnection, chunk: pa.Table, stored: list[str]) -> Duplicates:
    """Compare ids of a chunk with each other and with stored bronze files. Only ids are read from those."""
    keys = pa.table({
        "position": pa.array(np.arange(chunk.num_rows)),
        "event_id": chunk["event_id"],
        "event_date": chunk["event_date"],
        "payload": chunk["payload_hash"],
    })  # fmt: skip
    if not stored:
        keys = keys.filter(_repeated(folded_ids(chunk["event_id"])))
        if not keys.num_rows:
            none = np.empty(0, dtype=np.int64)
            return Duplicates(none, none)
    cursor = con.cursor()
    cursor.register("chunk_keys", keys)
    earlier = "SELECT NULL::VARCHAR AS event_id, NULL::DATE AS event_date, NULL::VARCHAR AS payload WHERE false"
    if stored:
        names = ", ".join("'" + s.replace("'", "''") + "'" for s in stored)
        earlier = (
            "SELECT DISTINCT event_id, event_date, payload_hash AS payload "
            f"FROM read_parquet([{names}]) SEMI JOIN chunk_keys USING (event_id, event_date)"
        )
    rows = cursor.execute(f"""
        WITH earlier AS ({earlier}),
        repeated AS (SELECT event_id, event_date FROM chunk_keys GROUP BY ALL HAVING count(*) > 1
                     UNION SELECT event_id, event_date FROM earlier),
        suspects AS (SELECT * FROM chunk_keys SEMI JOIN repeated USING (event_id, event_date)),
        numbered AS (SELECT *, row_number() OVER same AS occurrence, row_number() OVER whole AS place
                     FROM suspects
                     WINDOW same AS (PARTITION BY event_id, event_date, payload ORDER BY position),
                            whole AS (PARTITION BY event_id, event_date ORDER BY position))
        SELECT n.position,
               n.occurrence > 1 OR EXISTS (FROM earlier e WHERE e.event_id = n.event_id
                   AND e.event_date = n.event_date AND e.payload IS NOT DISTINCT FROM n.payload) AS duplicate,
               n.place > 1 OR EXISTS (FROM earlier e WHERE e.event_id = n.event_id
                   AND e.event_date = n.event_date AND e.payload IS DISTINCT FROM n.payload) AS conflict
        FROM numbered n ORDER BY n.position
    """).fetchnumpy()
    cursor.close()
    position = np.asarray(rows["position"], dtype=np.int64)
    duplicate = np.asarray(rows["duplicate"], dtype=bool)
    conflict = np.asarray(rows["conflict"], dtype=bool)
    return Duplicates(position[duplicate], position[conflict & ~duplicate])


def without(chunk: pa.Table, rows: npt.NDArray[np.int64]) -> pa.Table:
    """A chunk without some rows, whose positions are in order; few are cut out, and no other row is copied."""
    if not len(rows):
        return chunk
    if len(rows) > _FEW:
        keep = np.ones(chunk.num_rows, dtype=bool)
        keep[rows] = False
        return chunk.filter(pa.array(keep))
    starts, ends = np.concatenate(([0], rows + 1)), np.concatenate((rows, [chunk.num_rows]))
    return pa.concat_tables(
        [chunk.slice(start, end - start) for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
    )


def folded_ids(ids: pa.ChunkedArray) -> npt.NDArray[np.uint64]:
    """One number per id; equal ids have equal numbers, and what has must still be compared in full.

    Eight hex digits fill a number's eight bytes with 32 bits only, so two such numbers are folded into one.
    """
    return np.concatenate([_folded(c) for c in ids.chunks if len(c)] or [np.empty(0, dtype=np.uint64)])


def _repeated(folded: npt.NDArray[np.uint64]) -> pa.Array:
    """Which rows' ids may occur more than once: sorting one number per id is far cheaper than grouping texts."""
    ordered = np.sort(folded)
    return pa.array(_among(folded, ordered[1:][ordered[1:] == ordered[:-1]]))


def _among(numbers: npt.NDArray[np.uint64], ordered: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """Which of some numbers are among others that are in order; numpy's ``isin`` takes fifty times as long."""
    if not len(ordered):
        return np.zeros(len(numbers), dtype=bool)
    place = np.minimum(np.searchsorted(ordered, numbers), len(ordered) - 1)
    return np.equal(ordered[place], numbers)


def _folded(ids: pa.StringArray) -> npt.NDArray[np.uint64]:
    """A number for the first sixteen of an id's 32 bytes."""
    _, places, text = ids.buffers()
    start = int(np.frombuffer(places, dtype=np.int32)[ids.offset])
    numbers = np.frombuffer(text, dtype=np.uint64, count=len(ids) * _ID_BYTES // 8, offset=start)
    words = _ID_BYTES // 8
    return numbers[::words] * _ODD + numbers[1::words]
