"""What makes the chain incremental: days whose recorded inputs changed, worked on in chunks that fit in memory.

Every derived day's file carries a fingerprint of the files it was made from. A day is stale when its fingerprint is
not the one that its inputs give now; nothing else decides what a run has to do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from ibis.backends.duckdb import Backend

from behavior_assets.days import day_of
from resources.lake import LakeTable, TableSpec
from resources.parquet import DataFile

FINGERPRINT_DIGITS = 16
_MOST_RUNS = 2_000  # more slices than that cost more than sorting
Progress = Callable[[str, int], None]


def quiet(_what: str, _count: int) -> None:
    """No progress."""


def fingerprint(*inputs: object) -> str:
    """Sixteen hex digits that stand for a list of inputs."""
    text = "\x1f".join(str(i) for i in inputs)
    return hashlib.sha256(text.encode()).hexdigest()[:FINGERPRINT_DIGITS]


def content(files: Iterable[DataFile]) -> str:
    """A fingerprint of files by their content as it was made: for tables whose rows are each of one person.

    Where a person is taken out, the rows are taken out of every such table; nobody else's is made again.
    """
    return fingerprint(*sorted(f.as_made for f in files))


def content_now(files: Iterable[DataFile]) -> str:
    """A fingerprint of files by their content as it is: for sums over persons, which lose who is taken out."""
    return fingerprint(*sorted(f.sha256 for f in files))


def made_from(version: str, told: str, mark: str = "") -> str:
    """What ``derive_days`` notes of a day: the rule, the content of its source, and what else it is made from."""
    return fingerprint(version, told, *([mark] if mark else []))


def stale_parts(expected: Mapping[str, str], target: LakeTable) -> list[str]:
    """Parts whose recorded fingerprint differs from the expected one, in order."""
    recorded = target.fingerprints()
    return [part for part in sorted(expected) if recorded.get(part) != expected[part]]


def chunks(days: Sequence[str], rows: Mapping[str, int], limit: int) -> Iterator[list[str]]:
    """Days grouped, in order, so that no group of several days holds more than ``limit`` rows."""
    group: list[str] = []
    held = 0
    for day in days:
        size = rows.get(day, 0)
        if group and held + size > limit:
            yield group
            group, held = [], 0
        group.append(day)
        held += size
    if group:
        yield group


def read_files(backend: Backend, spec: TableSpec, paths: Sequence[str]) -> ir.Table:
    """Data files as an Ibis table; no files give no rows, with the table's columns."""
    types = ibis.Schema.from_pyarrow(spec.schema)
    if not paths:
        return ibis.memtable(spec.schema.empty_table(), schema=types)
    if not spec.widened:
        return backend.read_parquet(list(paths))
    rows = backend.read_parquet(list(paths), union_by_name=True)
    missing = [name for name in types if name not in rows.columns]
    return rows.mutate(**{name: ibis.null(types[name]) for name in missing}) if missing else rows


def read_parts(backend: Backend, table: LakeTable, parts: Iterable[str]) -> ir.Table:
    """The named parts of a lake table."""
    live = table.parts()
    files = [f for part in parts for f in live.get(part, [])]
    return read_files(backend, table.spec, table.absolute(files))


def hold(backend: Backend, name: str, expression: ir.Table) -> ir.Table:
    """Compute an expression now and keep the result as a temporary table, in place of an older one of that name."""
    # Not create_table's own overwrite, which fills a second table from the first.
    backend.raw_sql(f'DROP TABLE IF EXISTS temp.main."{name}"')
    return backend.create_table(name, expression, temp=True)


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


def split_by_day(table: pa.Table, column: str = "event_date") -> dict[str, pa.Table]:
    """Rows by day, days in order, the order inside a day kept."""
    found = split(table, table[column].cast(pa.int32()).to_numpy())
    return {day_of(ordinal): rows for ordinal, rows in found.items()}


def write_days(
    backend: Backend, target: LakeTable, expr: ir.Table, fingerprints: Mapping[str, str],
    origins: Mapping[str, str] | None = None,
) -> Callable[[], list[DataFile]]:
    """Run an expression and write one file for each day in ``fingerprints``; a day without rows gets an empty file.

    Columns that the expression lacks are written as NULL. Several days are held in memory and written by the
    returned function, which another thread may call; a single day is streamed at once. ``origins``: of DataFile.
    """
    origin = origins or {}
    columns = expr.select(*(n for n in target.spec.schema.names if n in expr.columns))
    if len(fingerprints) == 1:
        ((day, mark),) = fingerprints.items()
        file = target.write(day, mark, backend.to_pyarrow_batches(columns), origin.get(day, ""))
        return lambda: [file]
    table = backend.to_pyarrow(columns)

    def write() -> list[DataFile]:
        found = split_by_day(table)
        empty = target.spec.schema.empty_table()
        return [target.write(day, mark, [found.get(day, empty)], origin.get(day, "")) for day, mark in
                fingerprints.items()]  # fmt: skip

    return write


def derive_days(
    backend: Backend,
    source: LakeTable,
    target: LakeTable,
    build: Callable[[ir.Table], ir.Table],
    version: str,
    chunk_rows: int,
    days: Iterable[str] | None = None,
    progress: Progress = quiet,
    metadata: Mapping[str, str] | None = None,
    told_by: Callable[[Iterable[DataFile]], str] = content,
    marks: Mapping[str, str] | None = None,
    mark: str = "",
    origins: Mapping[str, str] | None = None,
) -> list[str]:
    """Bring a table up to date that is, day by day, a pure function of another. Returns the days rewritten.

    ``days`` limits the work; ``version`` names the rule, so that a new rule makes every day stale. ``told_by``:
    ``content_now`` for a table of sums; ``marks`` stand for what else some days are made from, and ``mark``, readable
    at the end of the fingerprint, for all; ``origins`` are those of the new files. One chunk is written while the next
    is computed.
    """
    live = source.parts()
    wanted = set(live) if days is None else set(live) & set(days)
    expected = {d: made_from(version, told_by(live[d]), (marks or {}).get(d, "")) + mark for d in sorted(wanted)}
    stale = stale_parts(expected, target)
    rows = {day: sum(f.rows for f in files) for day, files in live.items()}
    with ThreadPoolExecutor(1, thread_name_prefix="day-writer") as writer:
        writing: Future[list[DataFile]] | None = None
        for group in chunks(stale, rows, chunk_rows):
            made = build(read_parts(backend, source, group))
            write = write_days(backend, target, made, {day: expected[day] for day in group}, origins)
            if writing is not None:
                target.commit(writing.result(), metadata=metadata)
            writing = writer.submit(write)
            progress(target.spec.name, sum(rows[day] for day in group))
        if writing is not None:
            target.commit(writing.result(), metadata=metadata)
    return stale
