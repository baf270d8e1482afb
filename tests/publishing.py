"""What the tests of every database share: a publication, what is published, and one that dies on its way."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb

from exports.contract import published as contract
from exports.database import older_copies
from exports.sql.publish import SqlPublished, publish
from exports.sql.target import Target
from resources.failpoints import VARIABLE
from resources.settings import existing_settings
from tests.conftest import REPOSITORY, Chain

Rows = dict[str, list[str]]
CUSTOMERS = "SELECT count(*) FROM mart.dim_customer WHERE customer_key > 0"
REVENUE = """SELECT d.year * 100 + d.month_number, count(*), sum(f.revenue_net)
    FROM {0}fact_sales f JOIN {0}dim_date d ON d.date_key = f.date_key
    GROUP BY d.year, d.month_number ORDER BY d.year, d.month_number"""


def load(home: Path, url: str = "", odbc: str = "", readers: Sequence[str] = (), **options: Any) -> SqlPublished:
    """Publish a home."""
    return publish(existing_settings(home), Target.parse(url, odbc), readers=readers, **options)


def published_to(url: str, chain: Chain) -> Chain:
    """A chain whose home is published to a database, which its settings name."""
    chain = Chain(replace(chain.settings, publish_to=url))
    assert older_copies(chain.settings) == []
    return chain


def columns(table: str) -> str:
    """A table's columns, as a list in SQL that every database understands here."""
    return ", ".join(c.name for c in contract()[table].columns)


def expected(home: Path) -> Rows:
    """Every published table's rows, in an order of their own."""
    with duckdb.connect(str(home / "exports" / "behavior.duckdb"), read_only=True) as con:
        return {t: sorted(map(repr, con.execute(f"SELECT {columns(t)} FROM {t}").fetchall())) for t in contract()}


def told(ask: Callable[[str], list[Any]], prefix: str = "mart.") -> Rows:
    """What a database tells of the same tables."""
    return {t: sorted(repr(tuple(row)) for row in ask(f"SELECT {columns(t)} FROM {prefix}{t}")) for t in contract()}


def killed(home: Path, url: str, place: str) -> None:
    """A publication that dies at a place."""
    code = ("import sys; from exports.sql.publish import publish; from exports.sql.target import Target; "
            "from resources.settings import existing_settings; "
            "publish(existing_settings(sys.argv[1]), Target.parse(sys.argv[2]), force=True)")  # fmt: skip
    died = subprocess.run(
        [sys.executable, "-c", code, str(home), url], check=False, capture_output=True, cwd=REPOSITORY,
        env={**os.environ, VARIABLE: f"{place}:kill"},
    )  # fmt: skip
    assert died.returncode == -9, died.stderr.decode()
