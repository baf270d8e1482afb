"""GA4 records are judged by what was read of them; none whose type is wrong may be missed by that."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import duckdb
import pytest

from behavior_assets.ingestion.sources import ga4
from behavior_assets.ingestion.text_files import json_relation

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -5, 12, 1.5, -0.25, 1e30, 12345678901234567890123, 10**19, 2**63, "", "x", "1.5", "true",
    "[", "{", "1e5", "123456789012345678901234567890", "NaN", [], [1], ["x"], [None], [[]], [{}], [{"key": "a"}],
    [{"item_id": 1}], [1, {"item_id": 1}], {}, {"a": 1}, {"category": "x"}, {"transaction_id": None}, {"key": "a"},
)  # fmt: skip
KEYS = (*ga4._LISTS, *ga4._STRUCTURES, *ga4._VALUES)


def written(key: str, value: object) -> Iterator[str]:
    """A record in the ways in which exports write one: without blanks, with some, with more, its key with an escape."""
    record = {"event_name": "page_view", "user_pseudo_id": "c1"} | {key: value}
    yield json.dumps(record, separators=(",", ":"))
    yield json.dumps(record)
    yield json.dumps(record, separators=(" ,", " :  "))
    yield json.dumps(record).replace(key, f"\\u{ord(key[0]):04x}{key[1:]}")


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    """A table ``p`` of every value under every key, read as ingestion reads it."""
    with duckdb.connect() as con:
        con.execute("CREATE TABLE lines (line VARCHAR)")
        con.executemany("INSERT INTO lines VALUES (?)",
                        [[line] for key in KEYS for value in VALUES for line in written(key, value)])  # fmt: skip
        con.execute(f"CREATE TABLE p AS SELECT * FROM {json_relation('lines', ga4.SOURCE)}")
        yield con


def _told(con: duckdb.DuckDBPyConnection, breach: str) -> set[str]:
    return {line for (line,) in con.execute(f"SELECT line FROM p WHERE {breach}").fetchall()}


@pytest.mark.parametrize(
    ("quick", "thorough"),
    [
        (ga4._of(ga4._LISTS, ga4._no_list, "ARRAY"), ga4._of(ga4._LISTS, lambda _: "true", "ARRAY")),
        (ga4._of(ga4._STRUCTURES, ga4._no_object, "OBJECT"), ga4._of(ga4._STRUCTURES, lambda _: "true", "OBJECT")),
        (ga4._of(ga4._VALUES, ga4._no_text, "VARCHAR", "UBIGINT", "BIGINT"),
         ga4._of(ga4._VALUES, lambda _: "true", "VARCHAR", "UBIGINT", "BIGINT")),
        *((ga4._others(ga4._no_objects(key), f"json_type(line, '$.{key}[*]')", ("OBJECT",)),
           ga4._others("true", f"json_type(line, '$.{key}[*]')", ("OBJECT",))) for key in ga4._LISTS),
    ],
    ids=["lists", "structures", "values", "event_params", "items"],
)  # fmt: skip
def test_nothing_is_missed_by_the_first_look(con: duckdb.DuckDBPyConnection, quick: str, thorough: str) -> None:
    wanted = _told(con, thorough)
    assert wanted
    assert _told(con, quick) == wanted
    assert quick in [check.breach for check in ga4.SOURCE.checks]
