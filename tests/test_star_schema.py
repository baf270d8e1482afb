"""The published star against the Power BI trade's acceptance list, on a simulated shop with every kind of event."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from exports.contract import PublishedTable, published
from tests.conftest import run_cli

FLAGS = {"Yes", "No"}
ALLOWED_PHYSICAL = {"INT64", "INT32", "BYTE_ARRAY", "BOOLEAN", "DOUBLE"}
TABLES = list(published().values())
FACTS = [t for t in TABLES if t.is_fact]
DIMENSIONS = [t for t in TABLES if t.name.startswith("dim_")]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home after a run over forty simulated days in GA4's format."""
    place = tmp_path_factory.mktemp("star")
    assert run_cli("simulate", "--home", place, "--days", 40, "--customers", 400, "--format", "ga4").code == 0
    done = run_cli("run", "--home", place, "--format", "ga4", "--source", place / "simulated" / "ga4", "--json")
    assert done.code == 0, done.err
    return place


@pytest.fixture(scope="module")
def star(home: Path) -> duckdb.DuckDBPyConnection:
    """A plain client on the published DuckDB file."""
    return duckdb.connect(str(home / "exports" / "behavior.duckdb"), read_only=True)


def one(star: duckdb.DuckDBPyConnection, query: str) -> Any:
    """The single value of a query."""
    found = star.execute(query).fetchone()
    assert found is not None
    return found[0]


def ids(tables: list[PublishedTable]) -> list[str]:
    """Test names."""
    return [t.name for t in tables]


@pytest.mark.parametrize("table", TABLES, ids=ids(TABLES))
def test_columns_are_the_contract(table: PublishedTable, star: duckdb.DuckDBPyConnection) -> None:
    """A reader finds exactly the declared columns, in their order."""
    assert [r[0] for r in star.execute(f'DESCRIBE "{table.name}"').fetchall()] == [c.name for c in table.columns]


@pytest.mark.parametrize("table", TABLES, ids=ids(TABLES))
def test_grain_is_unique(table: PublishedTable, star: duckdb.DuckDBPyConnection) -> None:
    """No two rows share the key of their grain."""
    key = ", ".join(table.key)
    assert one(star, f'SELECT count(*) FROM (SELECT {key} FROM "{table.name}" GROUP BY ALL HAVING count(*) > 1)') == 0


@pytest.mark.parametrize("table", TABLES, ids=ids(TABLES))
def test_only_declared_columns_hold_nulls(table: PublishedTable, star: duckdb.DuckDBPyConnection) -> None:
    """Keys are never NULL but for a date that has not happened; other columns only where the contract says so."""
    for column in table.columns:
        if not column.nullable:
            assert one(star, f'SELECT count(*) FROM "{table.name}" WHERE "{column.name}" IS NULL') == 0, column.name


@pytest.mark.parametrize("table", TABLES, ids=ids(TABLES))
def test_every_key_finds_its_member(table: PublishedTable, star: duckdb.DuckDBPyConnection) -> None:
    """Zero orphans; role-playing dates look up dim_date."""
    for column in table.columns:
        if column.references:
            member = published()[column.references].key[0]
            orphans = f"""SELECT count(*) FROM "{table.name}" f ANTI JOIN "{column.references}" d
                          ON f."{column.name}" = d."{member}" WHERE f."{column.name}" IS NOT NULL"""
            assert one(star, orphans) == 0, column.name


@pytest.mark.parametrize("table", DIMENSIONS, ids=ids(DIMENSIONS))
def test_dimensions_have_an_unknown_member(table: PublishedTable, star: duckdb.DuckDBPyConnection) -> None:
    """Key -1, in all but the calendar dimensions."""
    expected = 0 if table.name in {"dim_date", "dim_hour"} else 1
    assert one(star, f'SELECT count(*) FROM "{table.name}" WHERE {table.key[0]} = -1') == expected


def test_dimensions_do_not_reference_each_other(star: duckdb.DuckDBPyConnection) -> None:
    """dim_product carries its category's key and names; facts hold both keys, so no relationship is needed."""
    del star
    for table in FACTS:
        names = {c.name for c in table.columns}
        if "product_key" in names:
            assert "category_key" in names, table.name


def test_dates_are_contiguous_whole_years(star: duckdb.DuckDBPyConnection) -> None:
    """From 1 January to 31 December, without a hole, around every fact."""
    first, last, days = star.execute("SELECT min(date), max(date), count(*) FROM dim_date").fetchall()[0]
    assert (first.month, first.day, last.month, last.day) == (1, 1, 12, 31)
    assert (last - first).days + 1 == days


def test_product_versions_neither_overlap_nor_leave_gaps(star: duckdb.DuckDBPyConnection) -> None:
    """Each version begins on the day after the one before; exactly one is current."""
    broken = """SELECT count(*) FROM (
        SELECT valid_from, lag(valid_to) OVER (PARTITION BY product_durable_key ORDER BY valid_from) AS before
        FROM dim_product) WHERE before IS NOT NULL AND valid_from <> before + INTERVAL 1 DAY"""
    assert one(star, broken) == 0
    current = "SELECT count(*) FROM dim_product WHERE is_current = 'Yes' GROUP BY product_durable_key"
    assert {n for (n,) in star.execute(current).fetchall()} == {1}
    assert one(star, "SELECT min(valid_from) FROM dim_product") == date(1900, 1, 1)


@pytest.mark.parametrize("table", TABLES, ids=ids(TABLES))
def test_flags_are_words_and_money_is_decimal(table: PublishedTable, star: duckdb.DuckDBPyConnection) -> None:
    """Yes or No; never a float."""
    types = dict(r[:2] for r in star.execute(f'DESCRIBE "{table.name}"').fetchall())
    for column in table.columns:
        if column.kind == "flag":
            found = {v for (v,) in star.execute(f'SELECT DISTINCT "{column.name}" FROM "{table.name}"').fetchall()}
            assert found <= FLAGS, column.name
        if column.kind == "money":
            assert types[column.name] == "DECIMAL(18,4)", column.name
        if column.kind in {"key", "int"}:
            assert types[column.name] == "BIGINT", column.name


def test_facts_hold_no_raw_identifier_or_second() -> None:
    """No session id, user agent, URL or time of day in a published fact."""
    for table in FACTS:
        for column in table.columns:
            assert column.kind != "timestamp", (table.name, column.name)
            assert not {"url", "user_agent", "session_id", "ip"} & {column.name}, table.name


def test_files_keep_the_parquet_profile(home: Path) -> None:
    """Signed integers, decimals as INT64, text as UTF-8, SNAPPY; no unsigned, no INT96, no zoned times, no lists."""
    manifest = json.loads((home / "exports" / "current.json").read_text("utf-8"))
    for name, entry in manifest["tables"].items():
        for file in entry["files"]:
            schema = pq.ParquetFile(home / "exports" / file["path"]).schema
            assert schema.names == [c.name for c in published()[name].columns]
            for index in range(len(schema)):
                column = schema.column(index)
                assert column.physical_type in ALLOWED_PHYSICAL, (name, column.name)
                logical = str(column.logical_type)
                assert "isSigned=false" not in logical, (name, column.name)
                assert "isAdjustedToUTC=true" not in logical, (name, column.name)
                assert column.max_repetition_level == 0, (name, column.name)
            meta = pq.ParquetFile(home / "exports" / file["path"]).metadata
            kinds = {meta.row_group(g).column(c).compression
                     for g in range(meta.num_row_groups) for c in range(meta.num_columns)}  # fmt: skip
            assert kinds <= {"SNAPPY"}


def test_synthetic_data_says_so_wherever_it_shows(home: Path, star: duckdb.DuckDBPyConnection) -> None:
    """In the manifest, in refresh_info, in dim_source and in the words of status."""
    assert json.loads((home / "exports" / "current.json").read_text("utf-8"))["synthetic"] is True
    assert one(star, "SELECT is_synthetic FROM refresh_info") == "Yes"
    assert one(star, "SELECT is_synthetic FROM dim_source WHERE source_name = 'ga4'") == "Yes"
    assert "SYNTHETIC" in run_cli("status", "--home", home).out


def test_one_more_day_publishes_one_more_days_files(home: Path, tmp_path: Path) -> None:
    """Files of closed days are shared between snapshots, and a reader of the old one keeps all of its files."""
    out = tmp_path / "more"
    arguments = ("--days", 41, "--customers", 400, "--format", "ga4", "--out", out)
    assert run_cli("simulate", "--home", home, *arguments).code == 0
    newest = max((out / "ga4").iterdir())
    before = json.loads((home / "exports" / "current.json").read_text("utf-8"))
    inodes = {f["path"]: (home / "exports" / f["path"]).stat().st_ino
              for t in before["tables"].values() for f in t["files"]}  # fmt: skip
    assert run_cli("run", "--home", home, "--format", "ga4", "--source", newest).code == 0
    after = json.loads((home / "exports" / "current.json").read_text("utf-8"))
    assert after["snapshot"] != before["snapshot"]
    for path, inode in inodes.items():
        assert (home / "exports" / path).stat().st_ino == inode, path
    old = {f["path"] for f in before["tables"]["fact_session"]["files"]}
    new = {f["path"] for f in after["tables"]["fact_session"]["files"]}
    # The new day, and the day before it whose last sessions may reach over midnight.
    assert len(new - old) <= 2
