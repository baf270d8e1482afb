"""One snapshot, five ways to read it: whoever asks is told the same revenue."""

from __future__ import annotations

import csv
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.conftest import published
from tests.publishing import REVENUE, load
from tests.servers import PASSWORD, Server, mariadb, odbc_driver, postgres, require
from tests.stars import make_star, republish

Months = list[tuple[int, int, Decimal]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_star(tmp_path_factory.mktemp("star"))
    republish(root, 3)  # money that adds up to something readable
    return root


@pytest.fixture(scope="module")
def star(home: Path) -> Iterator[tuple[Server, Server]]:
    """The same snapshot in PostgreSQL and in MariaDB."""
    secret = quote(PASSWORD, safe="")
    with postgres() as first, mariadb() as second:
        load(home, f"postgresql://boss:{secret}@127.0.0.1:{first.port}/postgres")
        load(home, f"mysql://boss:{secret}@127.0.0.1:{second.port}")
        yield first, second


@pytest.fixture(scope="module")
def expected(home: Path) -> Months:
    """What is published: 60 lines on 60 days, of which every third has no revenue and the others 3 each."""
    found = published(home, REVENUE.format(""))
    assert found == [(202401, 31, Decimal("60.0000")), (202402, 29, Decimal("60.0000"))]
    return found


def lines(text: str) -> Months:
    """What a client printed as CSV."""
    return [(int(month), int(count), Decimal(revenue)) for month, count, revenue in csv.reader(io.StringIO(text))]


def client(*command: str, **environment: str) -> Months:
    """What a program prints."""
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return lines(done.stdout)


def odbc(text: str) -> Months:
    """What pyodbc is told."""
    import pyodbc

    connection = pyodbc.connect(text)
    try:
        return [tuple(row) for row in connection.execute(REVENUE.format("mart."))]
    finally:
        connection.close()


def test_psql(star: tuple[Server, Server], expected: Months) -> None:
    require(("program", "psql"))
    told = client("psql", "-h", "127.0.0.1", "-p", str(star[0].port), "-U", "boss", "-d", "postgres", "--csv", "-t",
                  "-c", REVENUE.format("mart."), PGPASSWORD=PASSWORD)  # fmt: skip
    assert told == expected


def test_odbc_of_postgresql(star: tuple[Server, Server], expected: Months) -> None:
    driver = odbc_driver("PostgreSQL Unicode")
    assert odbc(f"Driver={{{driver}}};Server=127.0.0.1;Port={star[0].port};Database=postgres;UID=boss;"
                f"PWD={{{PASSWORD}}};BoolsAsChar=0") == expected  # fmt: skip


def test_odbc_of_mariadb(star: tuple[Server, Server], expected: Months) -> None:
    driver = odbc_driver("MariaDB Unicode")
    assert odbc(f"Driver={{{driver}}};Server=127.0.0.1;Port={star[1].port};UID=boss;PWD={{{PASSWORD}}}") == expected


def test_pandas_through_sqlalchemy(star: tuple[Server, Server], expected: Months) -> None:
    """As docs/sql.md says."""
    import pandas as pd
    import sqlalchemy as sa

    engine = sa.create_engine(f"postgresql+psycopg://boss:{quote(PASSWORD, safe='')}@127.0.0.1:{star[0].port}/postgres")
    told = pd.read_sql(sa.text(REVENUE.format("mart.")), engine)
    engine.dispose()
    assert [tuple(row) for row in told.itertuples(index=False)] == expected


def test_the_duckdb_command(home: Path, expected: Months) -> None:
    beside = Path(sys.executable).parent / "duckdb"
    program = str(beside) if beside.exists() else shutil.which("duckdb") or "duckdb"
    require(("program", program))
    views = str(home / "exports" / "behavior.duckdb")
    assert client(program, "-readonly", "-csv", "-noheader", views, "-c", REVENUE.format("")) == expected
