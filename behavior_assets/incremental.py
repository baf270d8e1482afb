"""What makes the chain incremental: days whose recorded inputs changed, worked on in chunks that fit in memory.

Every derived day's file carries a fingerprint of the files it was made from. A day is stale when its fingerprint is
not the one that its inputs give now; nothing else decides what a run has to do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import ibis.expr.types as ir
from ibis.backends.duckdb import Backend

from resources.compute import Compute, DuckDB, parts_of
from resources.parquet import DataFile
from resources.parts import Days
from resources.table import LakeTable

FINGERPRINT_DIGITS = 16
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


def read_parts(backend: Backend, table: LakeTable, parts: Iterable[str]) -> ir.Table:
    """The named parts of a lake table."""
    return parts_of(DuckDB(backend), table, parts)


def derive_days(
    compute: Compute,
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
        for group in chunks(stale, rows, compute.at_once(chunk_rows)):
            made = build(compute.read(source, [f for day in group for f in live[day]]))
            write = compute.write(target, made, Days(), {day: expected[day] for day in group}, origins,
                                  made_of=sum(rows[day] for day in group))  # fmt: skip
            if writing is not None:
                target.commit(writing.result(), metadata=metadata)
            writing = writer.submit(write)
            progress(target.spec.name, sum(rows[day] for day in group))
        if writing is not None:
            target.commit(writing.result(), metadata=metadata)
    return stale
