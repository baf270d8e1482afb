"""Publishing to a SQLite file, and the statements for SQL Server, which nobody here has."""

from __future__ import annotations

import re
import sqlite3
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
import sqlglot

from exports.contract import published as contract
from exports.snapshot import read_manifest
from exports.sql import publish as publishing
from exports.sql.plan import SUPPORTED, Marker, Plan
from exports.sql.source import Source
from resources.errors import BehaviorError, PublishError
from resources.settings import existing_settings
from tests.conftest import run_cli
from tests.damage import copied
from tests.publishing import columns, killed, load
from tests.stars import make_star, republish


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_star(tmp_path_factory.mktemp("star"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "star.sqlite"


def ask(file: Path, query: str) -> list[tuple[Any, ...]]:
    """Rows of a query."""
    with sqlite3.connect(file) as con:
        return con.execute(query).fetchall()


def rows(file: Path) -> dict[str, list[str]]:
    """Every table's rows, money rounded to what it was: SQLite keeps 15 digits of it."""
    return {t: sorted(repr([_rounded(v) for v in r]) for r in ask(file, f"SELECT {columns(t)} FROM {t}"))
            for t in contract()}  # fmt: skip


def expected(home: Path) -> dict[str, list[str]]:
    """The same of what is published."""
    with duckdb.connect(str(home / "exports" / "behavior.duckdb"), read_only=True) as con:
        return {t: sorted(repr([_rounded(_simple(v)) for v in r])
                          for r in con.execute(f"SELECT {columns(t)} FROM {t}").fetchall())
                for t in contract()}  # fmt: skip


def _simple(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat(" ", "microseconds")
    return value.isoformat() if isinstance(value, date) else value


def _rounded(value: Any) -> Any:
    return f"{float(value):.15g}" if isinstance(value, float | Decimal) or (
        isinstance(value, int) and abs(value) < 2**53) else value  # fmt: skip


def test_every_table_holds_what_is_published(home: Path, file: Path) -> None:
    assert load(home, f"sqlite:///{file}").new
    assert rows(file) == expected(home)
    assert ask(file, "PRAGMA foreign_key_check") == []
    references = ask(file, "PRAGMA foreign_key_list(fact_product_day)")
    assert {(r[2], r[3], r[4]) for r in references} == {
        ("dim_date", "date_key", "date_key"), ("dim_product", "product_key", "product_key"),
        ("dim_category", "category_key", "category_key")}  # fmt: skip
    again = run_cli("publish", "--home", home, "--to", f"sqlite:///{file}")
    assert (again.code, "already: nothing to do" in again.out) == (0, True)


def test_killed_half_way_the_old_tables_are_served_also_beside_a_reader(home: Path, file: Path, tmp_path: Path) -> None:
    changing, url = copied(home, tmp_path / "home"), f"sqlite:///{file}"
    load(changing, url)
    before = expected(changing)
    republish(changing, 5)
    for place in ("publish.load", "publish.swap"):
        killed(changing, url, place)
        assert rows(file) == before, place
    with sqlite3.connect(file) as reader:
        reader.execute("BEGIN")
        total = "SELECT sum(revenue_net) FROM fact_sales"
        old = reader.execute(total).fetchall()
        assert load(changing, url).new
        assert reader.execute(total).fetchall() == old
    assert rows(file) == expected(changing) != before


def test_tables_of_others_are_refused_and_those_of_other_names_stay(home: Path, file: Path) -> None:
    ask(file, "CREATE TABLE fact_sales (n int)")
    with pytest.raises(PublishError, match=r"did not make \(fact_sales\)"):
        load(home, f"sqlite:///{file}")
    ask(file, "DROP TABLE fact_sales")
    ask(file, "CREATE TABLE budget (n int)")
    load(home, f"sqlite:///{file}")
    load(home, f"sqlite:///{file}", force=True)
    assert ask(file, "SELECT count(*) FROM budget") == [(0,)]
    for url in ("sqlite://", "sqlite:///:memory:", "sqlite:///file:x?mode=memory&uri=true"):
        memory = run_cli("publish", "--home", home, "--to", url)
        assert (memory.code, "SQLite in memory is gone" in memory.err) == (2, True), url
    readers = run_cli("publish", "--home", home, "--to", f"sqlite:///{file}", "--reader", "bi")
    assert (readers.code, "SQLite has no roles" in readers.err) == (2, True)
    nowhere = run_cli("publish", "--home", home, "--to", f"sqlite:///{file.parent}/no/where.sqlite")
    assert (nowhere.code, "unable to open database file" in nowhere.err) == (1, True)


def test_two_at_once_do_not_mix(home: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[str] = []

    def meanwhile(place: str) -> None:
        if place == "publish.keys":
            with pytest.raises(PublishError) as error:
                load(home, f"sqlite:///{file}")
            refused.append(str(error.value))

    monkeypatch.setattr("exports.sql.sqlite._PATIENCE", 50)
    monkeypatch.setattr(publishing, "reach", meanwhile)
    assert load(home, f"sqlite:///{file}").new
    assert "somebody else is writing to it" in refused[0]


def test_a_snapshot_that_is_removed_while_it_is_read_is_told_of(home: Path, tmp_path: Path) -> None:
    changing = copied(home, tmp_path / "home")
    (changing / "behavior.toml").write_text("snapshots_kept = 1\n", "utf-8")
    with Source.current(existing_settings(changing)) as source:
        now = republish(changing, 4)
        with pytest.raises(BehaviorError, match=f"was removed while it was read, .* .now {now}"):
            list(source.batches("fact_sales"))


# Plans, without a database


def plan(home: Path, dialect: str) -> Plan:
    """The plan of a home's snapshot."""
    manifest = read_manifest(home / "exports")
    assert manifest is not None
    return Plan.of(manifest, {("dim_product", "product_name"): 300, ("dim_product", "brand"): 5000}, dialect, "mart")


@pytest.mark.parametrize("dialect", SUPPORTED)
def test_every_column_of_the_contract_is_in_the_statements(home: Path, dialect: str) -> None:
    made = plan(home, dialect).creates("mart_next")
    assert len(made) == len(contract())
    for text, table in zip(made, contract().values(), strict=True):
        names = re.findall(r'^\t[\["`]?(\w+)', text, re.MULTILINE)
        assert names[: len(table.columns)] == [c.name for c in table.columns]
        assert text.count("NOT NULL") == sum(not c.nullable for c in table.columns)


def test_the_statements_for_sql_server_are_its_sql(home: Path) -> None:
    """Read by a parser of its language, as there is no server."""
    shaped = plan(home, "mssql")
    (product,) = [t for t in shaped.creates("mart_next") if "[dim_product]" in t or ".dim_product" in t]
    for words in ("product_name NVARCHAR(1024) NOT NULL", "brand NVARCHAR(max) NOT NULL", "valid_from DATE NOT NULL",
                  "product_key BIGINT NOT NULL"):  # fmt: skip
        assert words in product
    (info,) = [t for t in shaped.creates("mart_next") if "refresh_info" in t]
    assert "published_at DATETIME2(6) NOT NULL" in info
    (sales,) = [t for t in shaped.creates("mart_next") if "fact_sales " in t]
    assert "revenue_net DECIMAL(18, 4) NULL" in sales.replace("NUMERIC", "DECIMAL")
    (keys,) = [k for k in shaped.keys("mart_next") if "FOREIGN" in k and "dim_product] " in k.split("ADD")[0]]
    assert keys == ("ALTER TABLE [mart_next].[dim_product] ADD FOREIGN KEY ([category_key]) REFERENCES "
                    "[mart_next].[dim_category] ([category_key])")  # fmt: skip
    for text in [*shaped.creates("mart_next"), *shaped.keys("mart_next")]:
        assert sqlglot.parse_one(text, read="tsql") is not None
    assert len(shaped.comments("mart_next")) == sum(1 + len(t.columns) for t in contract().values())


def test_a_marker_is_read_back_and_nothing_else_is_taken_for_one(home: Path) -> None:
    marker = plan(home, "postgresql").marker
    assert Marker.parse(marker.text) == marker
    for other in (None, "", "Our mart", "Behavior Lakehouse: soon", 'Behavior Lakehouse: {"a":1}'):
        assert Marker.parse(other) is None
