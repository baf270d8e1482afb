"""Which rows of a chunk are duplicates and which conflicts, against the simplest way to tell."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from behavior_assets.ingestion.deduplicate import SeenIds, find_duplicates
from resources.parts import Days, split

DAYS = (date(2024, 5, 1), date(2024, 5, 2))


class Row(NamedTuple):
    """An event: which of three ids, which day, which payload (0: the source has no ids of its own)."""

    number: int
    day: int
    payload: int



def table_of(rows: list[Row]) -> pa.Table:
    """Rows as ingestion holds them. The ids differ only in their last digits."""
    schema = pa.schema([("event_id", pa.string()), ("event_date", pa.date32()), ("payload_hash", pa.string())])
    ids, days = [f"{r.number:032x}" for r in rows], [DAYS[r.day] for r in rows]
    payloads = [f"p{r.payload}" if r.payload else None for r in rows]
    return pa.table([ids, days, payloads], schema=schema)


def expected(rows: list[Row], stored: list[Row]) -> tuple[list[int], list[int]]:
    """A row is a duplicate of an equal earlier one; it conflicts with an earlier one of its id and day."""
    seen = set(stored)
    duplicates, conflicts = [], []
    for position, row in enumerate(rows):
        if row in seen:
            duplicates.append(position)
        elif any((s.number, s.day) == (row.number, row.day) for s in seen):
            conflicts.append(position)
        seen.add(row)
    return duplicates, conflicts


ROWS = st.lists(st.builds(Row, st.integers(0, 3), st.integers(0, 1), st.integers(1, 2)), max_size=12)


NUMBERS = st.lists(st.integers(0, 9) | st.just(2**64 - 1), max_size=6)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS.filter(len), stored=ROWS, chunked=st.integers(1, 4))
def test_duplicates_and_conflicts(rows: list[Row], stored: list[Row], chunked: int, tmp_path: Path) -> None:
    chunk = pa.concat_tables([table_of(rows).slice(i, chunked) for i in range(0, len(rows), chunked)])
    files = []
    if stored:
        pq.write_table(table_of(stored), tmp_path / "stored.parquet")
        files = [str(tmp_path / "stored.parquet")]
    with duckdb.connect(":memory:") as con:
        found = find_duplicates(con, chunk, files)
    assert (found.rows.tolist(), found.conflicts.tolist()) == expected(rows, stored)


@given(
    noted=st.lists(st.tuples(st.sampled_from("ab"), NUMBERS), max_size=5), asked=NUMBERS,
    days=st.sets(st.sampled_from("ab")),
)
def test_ids_that_a_batch_has_seen_are_known_by_their_days(
    noted: list[tuple[str, list[int]]], asked: list[int], days: set[str]
) -> None:
    seen = SeenIds()
    for day, numbers in noted:
        seen.note(day, np.array(numbers, dtype=np.uint64))
    known = {n for day, numbers in noted for n in numbers if day in days}
    assert seen.may_hold(days, np.array(asked, dtype=np.uint64)) == bool(known & set(asked))


def test_of_days_that_were_forgotten_anything_may_be_known() -> None:
    seen = SeenIds(most=2)
    seen.note("a", np.array([1, 2], dtype=np.uint64))
    seen.note("b", np.array([3], dtype=np.uint64))
    assert seen.may_hold(["a"], np.array([9], dtype=np.uint64))
    assert not seen.may_hold(["b"], np.array([9], dtype=np.uint64))


def test_a_source_without_ids_has_only_duplicates() -> None:
    rows = [Row(1, 0, 0), Row(1, 0, 0), Row(2, 0, 0), Row(1, 1, 0)]
    with duckdb.connect(":memory:") as con:
        found = find_duplicates(con, table_of(rows), [])
    assert (found.rows.tolist(), found.conflicts.tolist()) == ([1], [])


@pytest.mark.parametrize("most_runs", [2_000, 1], ids=["slices", "sorted"])
@given(values=st.lists(st.integers(-2, 2), max_size=20))
def test_split_keeps_every_row_and_its_order(most_runs: int, values: list[int]) -> None:
    """Both ways of splitting give each value's rows in their order, values in order."""
    table = pa.table({"value": pa.array(values, pa.int64()), "row": pa.array(range(len(values)), pa.int64())})
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("resources.parts._MOST_RUNS", most_runs)
        found = split(table, np.array(values, dtype=np.int64))
    assert {v: rows["row"].to_pylist() for v, rows in found.items()} == {
        v: [n for n, other in enumerate(values) if other == v] for v in sorted(set(values))
    }
    assert list(found) == sorted(found)


def test_split_by_day_names_days() -> None:
    days = [date(2024, 2, 29), date(1969, 12, 31), date(2024, 2, 29)]
    found = Days().split(pa.table({"event_date": pa.array(days, pa.date32())}))
    assert {day: rows.num_rows for day, rows in found.items()} == {"1969-12-31": 1, "2024-02-29": 2}
