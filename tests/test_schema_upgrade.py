"""A table that an older version of the program made, with fewer columns, takes the new ones."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from behavior_assets.star.aggregates import CUSTOMER_DAY, read_customer_days
from resources.commits import Log
from resources.compute import DuckDB
from resources.engine import engine
from resources.lake import Lake
from resources.settings import create_home
from resources.table import LakeTable, TableSpec

if TYPE_CHECKING:
    from pathlib import Path

OLD = pa.schema([("event_date", pa.date32()), ("key", pa.int64())])
NEW = pa.schema([*OLD, ("share", pa.float64()), ("value", pa.decimal128(18, 4)), ("name", pa.string())])
DAYS = ("2024-05-01", "2024-05-02")


def put(table: LakeTable, day: str, key: int) -> None:
    """Commit one day's row: its new columns are half, twice the key, and a name."""
    values = {"event_date": date.fromisoformat(day), "key": key, "share": 0.5, "value": 2 * key, "name": "n"}
    row = {n: [values[n]] for n in table.spec.schema.names}
    table.commit([table.write(day, f"v{len(row)}", [pa.table(row, schema=table.spec.schema)])])


@pytest.mark.parametrize("by_day", [True, False])
def test_new_columns_come_with_the_next_commit(tmp_path: Path, by_day: bool) -> None:
    lake = Lake(tmp_path)
    old, new = (lake.table(TableSpec("silver/made", s, by_day=by_day)) for s in (OLD, NEW))
    for n, day in enumerate(DAYS):
        put(old, day, n)
    put(new, DAYS[0], 7)
    delta = DeltaTable(str(new.root))
    assert [f.name for f in delta.schema().fields] == NEW.names
    rows = sorted(pa.table(delta.to_pyarrow_table()).select(["key", "share", "name"]).to_pylist(),
                  key=lambda r: int(r["key"]))  # fmt: skip
    assert rows == [{"key": 1, "share": None, "name": None}, {"key": 7, "share": 0.5, "name": "n"}]
    put(new, DAYS[1], 8)
    assert sorted(pa.table(DeltaTable(str(new.root)).to_pyarrow_table())["value"].to_pylist()) == [14, 16]
    assert Log(new.root).damage() == {}
    versions = new.version
    put(new, DAYS[1], 9)
    assert new.version == versions + 1  # nothing is widened twice


def test_readers_of_delta_see_the_new_columns(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    put(lake.table(TableSpec("silver/made", OLD, by_day=True)), DAYS[0], 1)
    put(lake.table(TableSpec("silver/made", NEW, by_day=True)), DAYS[1], 2)
    with duckdb.connect() as con:
        try:
            con.execute("LOAD delta")
        except duckdb.Error:
            pytest.skip("DuckDB's delta extension is not installed here")
        found = con.execute(f"SELECT key, share FROM delta_scan('{tmp_path}/silver/made') ORDER BY key").fetchall()
    assert found == [(1, None), (2, 0.5)]


def test_what_a_crash_leaves_after_the_new_columns_is_made_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit of the columns is there and nobody has noted it: it is whole, so it is noted."""
    lake = Lake(tmp_path)
    put(lake.table(TableSpec("silver/made", OLD, by_day=True)), DAYS[0], 1)
    new = lake.table(TableSpec("silver/made", NEW, by_day=True))

    def dies() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(new.journal, "note", dies)
    with pytest.raises(KeyboardInterrupt):
        put(new, DAYS[1], 2)
    again = lake.table(TableSpec("silver/made", NEW, by_day=True))
    assert lake.recover() == []
    put(again, DAYS[1], 2)
    assert again.rows() == 2
    assert Log(again.root).damage() == {}


def test_customer_days_of_an_older_version_are_read_with_nothing_in_the_new_columns(tmp_path: Path) -> None:
    """A day that is held back stays as it was written."""
    settings = create_home(tmp_path / "home")
    lake = Lake(settings.home.lake)
    old = pa.schema([f for f in CUSTOMER_DAY.schema if f.name not in {"views", "carts", "categories"}])
    for schema, day, more in ((old, DAYS[0], {}), (CUSTOMER_DAY.schema, DAYS[1], {"views": 4})):
        table = lake.table(TableSpec(CUSTOMER_DAY.name, schema, by_day=True))
        row = {"event_date": date.fromisoformat(day), "customer_key": 1, "orders": 1, **more}
        table.commit([table.write(day, "f", [pa.Table.from_pylist([row], schema=schema)])])
        with engine(settings) as backend:
            found = read_customer_days(DuckDB(backend), lake).order_by("event_date").select("orders", "views")
            told = backend.to_pyarrow(found).to_pylist()
    assert told == [{"orders": 1, "views": None}, {"orders": 1, "views": 4}]
