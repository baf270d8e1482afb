"""Taking persons' rows out of tables of the lake: only files that hold such rows are written again.

Every other row of these files stays as it is and in its order. A new file keeps the origin of the one before it
(``DataFile.origin``), so no day becomes stale for it; where the day has to be made again, ``afresh`` leaves that away.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from behavior_assets.ingestion.audit import batch_of
from behavior_assets.ingestion.ledger import Removed
from behavior_assets.privacy.erasure.deliveries import Bad, Deliveries
from behavior_assets.privacy.normal import normal_id
from behavior_assets.privacy.registry import Holding, Subject
from resources.parquet import DataFile
from resources.table import LakeTable

# Columns that tell a person's rows, with the kind of key that stands in them.
_KEYS = {"customer_key": "customer", "event_key": "event", "chain_key": "chain", "session_key": "session",
         "user_key": "customer", "any_key": "customer", "order_key": "order", "cart_key": "cart"}  # fmt: skip
Rows = Mapping[str, "np.ndarray[Any, np.dtype[np.int64]]"]  # by path in the table, numbers of rows from 0


def rows_of(con: duckdb.DuckDBPyConnection, table: LakeTable, holding: Holding) -> Rows:
    """Where rows of the subjects in ``gone_key`` lie in a table that pseudonymous keys tell them by."""
    files = table.files()
    names = [n for n in _KEYS if n in holding.columns]
    if "event_key" in names and "chain_key" in names:  # a visit may hold events of others, too
        names.remove("chain_key")
    if not files or not names:
        return {}
    paths = table.absolute(files)
    mine = " OR ".join(f"{n} IN (SELECT key FROM gone_key WHERE kind = '{_KEYS[n]}')" for n in names)
    rows = con.read_parquet(paths, filename=True, file_row_number=True, union_by_name=True)
    rows.create_view("holding", replace=True)
    return _grouped(con, f"SELECT filename, file_row_number FROM holding WHERE {mine}", table)


def consents_of(con: duckdb.DuckDBPyConnection, table: LakeTable) -> Rows:
    """Where decisions of the subjects lie in ``bronze/consents``."""
    files = table.files()
    if not files:
        return {}
    read = con.read_parquet(table.absolute(files), filename=True, file_row_number=True)
    told = read.select("filename, file_row_number, subject").fetchall()
    mine = {i for (i,) in con.execute("SELECT id FROM client UNION SELECT id FROM person").fetchall()}
    names = {path: file.path for file, path in zip(files, table.absolute(files), strict=True)}
    found: dict[str, list[int]] = defaultdict(list)
    for path, number, subject in told:
        if normal_id(subject) in mine:
            found[names[str(path)]].append(number)
    return {path: np.array(sorted(numbers), dtype=np.int64) for path, numbers in found.items()}


def shared_days(con: duckdb.DuckDBPyConnection, events: LakeTable, rows: Rows) -> list[str]:
    """Days of silver/events that are to be made again: of visits of others as well, and of carts without a person.

    Such visits leave ``gone_key``: what others did in them stays. No key tells whose a cart without a person is.
    """
    if not rows:
        return []
    paths = {str(Path(events.root) / path): path for path in rows}
    gone = pa.table({"filename": [p for p, name in paths.items() for _ in rows[name]],
                     "file_row_number": np.concatenate([rows[name] for name in paths.values()])})  # fmt: skip
    con.register("gone_event", gone)
    con.execute("""CREATE OR REPLACE TEMP TABLE shared_chain AS SELECT DISTINCT chain_key AS key FROM holding
        ANTI JOIN gone_event USING (filename, file_row_number)
        WHERE chain_key IN (SELECT key FROM gone_key WHERE kind = 'chain')""")
    con.execute("DELETE FROM gone_key WHERE kind = 'chain' AND key IN (FROM shared_chain)")
    days = con.execute("""WITH gone AS (FROM holding SEMI JOIN gone_event USING (filename, file_row_number)),
        cart AS (SELECT chain_key FROM gone WHERE customer_key IS NULL AND event_name = 'add_to_cart')
        SELECT DISTINCT event_date FROM gone WHERE chain_key IN (FROM shared_chain)
        OR (customer_key IS NULL AND chain_key IN (FROM cart))""").fetchall()
    con.unregister("gone_event")
    return sorted(day.isoformat() for (day,) in days)


def _grouped(con: duckdb.DuckDBPyConnection, sql: str, table: LakeTable) -> Rows:
    found = con.execute(f"SELECT filename, list(file_row_number) FROM ({sql}) GROUP BY filename").fetchall()
    names = {path: file.path for file, path in zip(table.files(), table.absolute(table.files()), strict=True)}
    return {names[str(path)]: np.array(sorted(rows), dtype=np.int64) for path, rows in found}


def rewritten(table: LakeTable, rows: Rows, *, afresh: Iterable[str] = ()) -> tuple[list[DataFile], list[DataFile]]:
    """Files without some of their rows, and those that they stand for; not committed yet."""
    again, old = set(afresh), [f for f in table.files() if f.path in rows]

    def write(file: DataFile) -> DataFile:
        left = without(table.root / file.path, rows[file.path])
        return table.write(file.part, file.fingerprint, left, "" if file.part in again else file.as_made)

    with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="takeout") as pool:
        return list(pool.map(write, old)), old


def take_out(table: LakeTable, rows: Rows, *, afresh: Iterable[str] = (), removed: Removed | None = None) -> int:
    """Commit a table without some rows; how many it were. ``removed`` goes with the commit."""
    new, old = rewritten(table, rows, afresh=afresh)
    told = removed.noted() if removed is not None else None
    if old:
        table.commit(new, replace=False, remove=old, metadata=told)
    return number_of(rows)


def without(path: Path, gone: np.ndarray[Any, Any]) -> Iterator[pa.Table]:
    """The rows of a file that stay, in their order, a group at a time."""
    done = 0
    file = pq.ParquetFile(path)
    for number in range(file.num_row_groups):
        group = file.read_row_group(number, use_threads=False)
        here = gone[(gone >= done) & (gone < done + group.num_rows)] - done
        done += group.num_rows
        # Rows between those that go need not be copied.
        starts, ends = [0, *(here + 1).tolist()], [*here.tolist(), group.num_rows]
        pieces = [group.slice(a, b - a) for a, b in zip(starts, ends, strict=True) if b > a]
        if pieces:
            yield pa.concat_tables(pieces)


def number_of(rows: Rows) -> int:
    """How many rows they are."""
    return sum(len(numbers) for numbers in rows.values())


def rows_of_bronze(con: duckdb.DuckDBPyConnection, table: LakeTable) -> Rows:
    """Where the rows in ``gone_row`` lie in bronze."""
    return _grouped(con, "SELECT filename, file_row_number FROM gone_row", table)


def take_out_of_bronze(con: duckdb.DuckDBPyConnection, table: LakeTable, rows: Rows, case: str) -> None:
    """Bronze without the rows in ``gone_row``. The commit tells how many of each batch went."""
    by_path = {f.path: f for f in table.files()}
    events: dict[str, int] = defaultdict(int)
    for path, numbers in rows.items():
        events[batch_of(by_path[path])] += len(numbers)
    take_out(table, rows, removed=Removed("erased", case, dict(events), records_by_batch(con, "gone_row")))


def records_by_batch(con: duckdb.DuckDBPyConnection, events: str) -> dict[str, int]:
    """How many records of each batch the rows of bronze in a table or view of the connection are."""
    counted = con.execute(
        f"SELECT batch_id, count(DISTINCT (source, coalesce(record_id, event_id))) FROM {events} GROUP BY batch_id"
    ).fetchall()
    return {str(batch): int(count) for batch, count in counted}


def take_out_of_quarantine(deliveries: Deliveries, case: str, is_theirs: Callable[[Bad], bool]) -> int:
    """Quarantine without the rows of whom ``is_theirs`` tells; how many went."""
    found: dict[str, Any] = {}
    counts: dict[str, int] = defaultdict(int)
    for file in deliveries.quarantine.files():
        hit = [number for number, bad in enumerate(deliveries.rows(file)) if is_theirs(bad)]
        if hit:
            found[file.path] = np.array(hit, dtype=np.int64)
            counts[deliveries.key_of(file)] += len(hit)
    removed = Removed("erased", case, quarantined=dict(counts))
    return take_out(deliveries.quarantine, found, removed=removed) if found else 0


def is_by_keys(holding: Holding) -> bool:
    """Whether pseudonymous keys tell whose a table's rows are."""
    return holding.subject in {Subject.customer, Subject.visit}

