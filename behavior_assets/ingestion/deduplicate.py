"""Which rows of a chunk have been seen before: in the chunk itself or in the bronze files of its days."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa


@dataclass(frozen=True)
class Duplicates:
    """Row positions in the chunk.

    ``rows`` repeat an earlier row with the same id and payload; ``conflicts`` share an id with another payload
    (they are kept: silver decides, and the conflict is counted).
    """

    rows: npt.NDArray[np.int64]
    conflicts: npt.NDArray[np.int64]


def find_duplicates(con: duckdb.DuckDBPyConnection, chunk: pa.Table, stored: list[str]) -> Duplicates:
    """Compare ids of a chunk with each other and with stored bronze files. Only ids are read from those."""
    cursor = con.cursor()
    keys = pa.table({
        "position": pa.array(np.arange(chunk.num_rows)),
        "event_id": chunk["event_id"],
        "event_date": chunk["event_date"],
        "payload": chunk["payload_hash"],
    })  # fmt: skip
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
        numbered AS (SELECT *, row_number() OVER same AS occurrence,
                            min(coalesce(payload, '')) OVER whole AS least,
                            max(coalesce(payload, '')) OVER whole AS most
                     FROM suspects
                     WINDOW same AS (PARTITION BY event_id, event_date, payload ORDER BY position),
                            whole AS (PARTITION BY event_id, event_date))
        SELECT n.position,
               n.occurrence > 1 OR EXISTS (FROM earlier e WHERE e.event_id = n.event_id
                   AND e.event_date = n.event_date AND e.payload IS NOT DISTINCT FROM n.payload) AS duplicate,
               n.least <> n.most OR EXISTS (FROM earlier e WHERE e.event_id = n.event_id
                   AND e.event_date = n.event_date AND e.payload IS DISTINCT FROM n.payload) AS conflict
        FROM numbered n ORDER BY n.position
    """).fetchnumpy()
    cursor.close()
    position = np.asarray(rows["position"], dtype=np.int64)
    duplicate = np.asarray(rows["duplicate"], dtype=bool)
    conflict = np.asarray(rows["conflict"], dtype=bool)
    return Duplicates(position[duplicate], position[conflict & ~duplicate])
