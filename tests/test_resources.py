"""Deliverable 8: whatever a file unpacks to, a process stays within the memory limit of the settings.

Each file is taken in by a child of its own, whose resident memory at most is asked of the kernel. It may hold what the
imports hold, the limit, and ``BESIDE``: the limit is DuckDB's, and Python, pyarrow and the allocators have buffers of
their own (a few row groups, pages and batches), which do not grow with the file. ``make resources`` runs 20 M rows.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from behavior_assets.ingestion import ingest
from resources.errors import UsageError
from tests.capped import Capped
from tests.conftest import REES46_HEADER, Chain, rees46_row

MIB = 2**20
LIMIT = 384 * MIB
BESIDE = 128 * MIB
FULL = os.environ.get("BEHAVIOR_RESOURCES") == "full"
FIELDS = REES46_HEADER.split(",")
WIDE = 100_000


def event(**changes: Any) -> dict[str, Any]:
    """A rees46 row as an object."""
    row = rees46_row("2024-05-01 10:00:00", "view", "p1", "u1", session="s").split(",")
    return dict(zip(FIELDS, row, strict=True)) | changes


def line(**changes: Any) -> str:
    """The same as a line."""
    return ",".join(str(v) for v in event(**changes).values()) + "\n"


def many_rows(path: Path, days: int, rows_of_a_day: int) -> int:
    """Rows that differ, over days; how many."""
    rows = (rees46_row(f"DAY {n // 3600 % 24:02d}:{n // 60 % 60:02d}:{n % 60:02d}", "view", f"p{n % 5003}",
                       f"{n * 7919 % 400_009}", f"{n % 1000}.{n % 90 + 10}", brand=f"b{n % 97}", session=f"{n:032x}")
            for n in range(rows_of_a_day))  # fmt: skip
    block = "".join(row + "\n" for row in rows).encode()
    with path.open("wb") as file:
        file.write(f"{REES46_HEADER}\n".encode())
        for day in range(days):
            file.write(block.replace(b"DAY", b"2024-%02d-%02d" % (day // 28 + 1, day % 28 + 1)))
    return days * rows_of_a_day


def by_number(path: Path, rows: int, **changes: Any) -> None:
    """A Parquet file of so many equal rows, whose texts stand in it once each."""
    zeros = np.zeros(rows, dtype=np.int32)
    columns = {name: pa.DictionaryArray.from_arrays(zeros, pa.array([text])) for name, text in event(**changes).items()}
    pq.write_table(pa.table(columns), path, compression="zstd", row_group_size=rows)


def bomb(path: Path) -> None:
    """A million rows of 800 kB each: 800 GB in some 30 kB."""
    by_number(path, 1_000_000, brand="x" * 800_000)


def bomb_in_items(path: Path) -> None:
    """The same in a list of GA4's."""
    rows = 20_000
    items = pa.ListArray.from_arrays(
        np.arange(rows + 1, dtype=np.int32) * 10,
        pa.StructArray.from_arrays(
            [pa.DictionaryArray.from_arrays(np.zeros(rows * 10, np.int32), pa.array(["x" * 200_000]))], ["item_id"]),
    )  # fmt: skip
    texts = {"event_timestamp": "1714557600000000", "event_name": "view_item", "user_pseudo_id": "u"}
    pq.write_table(pa.table({**{k: [v] * rows for k, v in texts.items()}, "items": items}), path, compression="zstd")


def bomb_of_a_page(path: Path) -> None:
    """One text of 300 MB, packed to 20 kB."""
    table = pa.table({k: [v] for k, v in event(brand="x" * (300 * MIB)).items()})
    pq.write_table(table, path, compression="zstd", use_dictionary=False)


def bomb_of_a_dictionary(path: Path) -> None:
    """The same in a dictionary."""
    by_number(path, 10_000, brand="x" * (300 * MIB))


def packed(path: Path, content: bytes, times: int) -> None:
    """The same content over and over, by gzip."""
    with gzip.open(path, "wb", 6) as file:
        file.write(f"{REES46_HEADER}\n".encode())
        for _ in range(times):
            file.write(content)


def deep(path: Path) -> None:
    """Every other row is 100,000 lists in each other."""
    rows = (json.dumps(event(price=f"{n}")) for n in range(40))
    path.write_text("".join((r.replace('"acme"', "[" * WIDE + "]" * WIDE) if n % 2 else r) + "\n"
                            for n, r in enumerate(rows)))  # fmt: skip


def wide_header(path: Path) -> None:
    """100,000 columns that nobody wants."""
    path.write_text(",".join([*FIELDS, *(f"c{n}" for n in range(WIDE))]) + "\n" + "1," * (WIDE + 8) + "1\n")


def wide_rows(path: Path) -> None:
    """Every other row has 100,000 fields too many."""
    rows = (line(price=n) for n in range(40))
    path.write_text(REES46_HEADER + "\n" + "".join(
        row.rstrip() + ",1" * WIDE * (n % 2) + "\n" for n, row in enumerate(rows)))  # fmt: skip


def wide_objects(path: Path) -> None:
    """The same of JSON: rows of 100,000 keys."""
    more = {f"c{m}": m for m in range(WIDE)}
    path.write_text("".join(json.dumps(event(price=str(n)) | (more if n % 2 else {})) + "\n" for n in range(6)))


def wide_parquet(path: Path) -> None:
    """A footer of 12,000 columns."""
    columns = {**{k: [v] for k, v in event().items()}, **{f"c{n}": [1] for n in range(12_000)}}
    pq.write_table(pa.table(columns), path, write_statistics=False)


def one_field(path: Path) -> None:
    """20 MB in one of three rows."""
    path.write_text(REES46_HEADER + "\n" + line(price=1) + line(price=2, brand="x" * 20_000_000) + line(price=3))


def long_fields(path: Path) -> None:
    """Rows that are each just not too long."""
    path.write_text(REES46_HEADER + "\n" + "".join(line(price=n, brand="x" * 1_900_000) for n in range(60)))


# Format, file name, how it is made, and what becomes of it: rows accepted and quarantined, or words of the refusal.
Case = tuple[str, str, Callable[[Path], None], tuple[int, int] | str]
CASES: dict[str, Case] = {
    "Parquet bomb": ("rees46", "a.parquet", bomb, "2,048 rows on end hold"),
    "Parquet bomb in a list": ("ga4", "a.parquet", bomb_in_items, "2,048 rows on end hold"),
    "Parquet bomb of a page": ("rees46", "a.parquet", bomb_of_a_page, "raise the setting"),
    "Parquet bomb of a dictionary": ("rees46", "a.parquet", bomb_of_a_dictionary, "a dictionary of 300 MiB"),
    "Parquet bomb of rows": ("rees46", "a.parquet", lambda p: by_number(p, 30_000_000), "in less than a bit each"),
    "JSON of depth 100,000": ("rees46", "a.jsonl", deep, (20, 20)),
    "header of 100,000 columns": ("rees46", "a.csv", wide_header, "99995 more unknown columns"),
    "rows of 100,000 fields": ("rees46", "a.csv", wide_rows, (20, 20)),
    "objects of 100,000 keys": ("rees46", "a.jsonl", wide_objects, (3, 3)),
    "Parquet of 12,000 columns": ("rees46", "a.parquet", wide_parquet, "columns, more than 10,000"),
    "field of 20 MB": ("rees46", "a.csv", one_field, (2, 1)),
    "fields of 1.9 MB": ("rees46", "a.csv", long_fields, "2,048 rows on end hold 108 MiB"),
    "gzip bomb of one line": ("rees46", "a.csv.gz", lambda p: packed(p, b"0" * MIB, 200), "longer than the setting"),
    "gzip bomb of rows": ("rees46", "a.csv.gz", lambda p: packed(p, line().encode() * 10_000, 50), (1, 0)),
}


@pytest.fixture(scope="module")
def capped() -> Iterator[Capped]:
    """The process that measures."""
    process = Capped()
    yield process
    process.end()


def within(told: dict[str, Any], base: int, limit: int) -> bool:
    """Whether that much memory is what the settings allow."""
    return bool(told["peak"] <= base + limit + BESIDE)


@pytest.mark.parametrize("case", CASES)
def test_a_hostile_file_stays_under_the_memory_limit(tmp_path: Path, capped: Capped, case: str) -> None:
    """And is taken in, put into quarantine row by row, or refused with what to do."""
    form, name, make, wanted = CASES[case]
    make(tmp_path / name)
    told = capped.ask(home=tmp_path / "home", path=tmp_path / name, form=form, memory_limit=LIMIT)
    assert told["code"] == 0
    assert within(told, capped.base, LIMIT), f"{told['peak'] // MIB} MiB, {capped.base // MIB} of them imports"
    if isinstance(wanted, str):
        (reason,) = told["refused"]
        assert reason.startswith(f"{name}: ")
        assert wanted in reason
    else:
        ((_, accepted, quarantined, _),) = told["entries"]
        assert (accepted, quarantined) == wanted


def test_rows_are_not_held_all_at_once(tmp_path: Path, capped: Capped) -> None:
    """3 M (20 M by ``make resources``); who reads such a file at once takes more than is allowed."""
    path, limit = tmp_path / "a.csv", 512 * MIB
    rows = many_rows(path, 280 if FULL else 42, 71_429)
    told = capped.ask(home=tmp_path / "home", path=path, form="rees46", memory_limit=limit)
    assert (told["code"], told["refused"]) == (0, [])
    assert told["entries"] == [[rows, rows, 0, 0]]
    print(f"{rows:,} rows: {told['peak'] // MIB:,} MiB, {told['seconds']} s")  # noqa: T201 - shown by make resources
    assert within(told, capped.base, limit), f"{told['peak'] // MIB} MiB"
    assert not within(capped.ask(path=path, form="naive"), capped.base, limit)


def test_a_limit_that_is_too_small_is_told_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In words that say which settings to change; nothing is committed."""
    chain = Chain.at(tmp_path / "home", memory_limit=256 * MIB)

    def full(*_: object) -> None:
        raise duckdb.OutOfMemoryException

    monkeypatch.setattr(ingest, "find_duplicates", full)
    (tmp_path / "a.csv").write_text(f"{REES46_HEADER}\n{line()}")
    with pytest.raises(UsageError, match=r"memory_limit \(now 256 MiB\).*chunk_rows"):
        chain.ingest([tmp_path / "a.csv"], "rees46")
    assert not chain.table("bronze/events").exists()
