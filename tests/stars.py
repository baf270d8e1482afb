"""Published stars that no chain made: every table and column of the contract, filled with what databases trip over."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from exports.contract import Column, PublishedTable, gold
from exports.contract import published as contract
from exports.snapshot import publish
from resources.lake import Lake
from resources.settings import Settings, create_home

FIRST_DAY = date(2024, 1, 1)
DAYS = 91
ROWS = 60  # of a fact: fewer than days, so that every key that holds a day is unique
TEXTS = (
    "plain", "", "NULL", "\\N", "\\.", "line\n\\.\nend", 'a,b;"c"', "it's; DROP TABLE dim_date; --", "back\\slash\\'\\",
    "tab\tand\r\nbreaks",
    "Ünïcödé 商品 😀", "cafe\u0301 café", "{fn x} ? %s %% :name $1", " spaces ", "x" * 300, "\x7f",
)  # fmt: skip
MONEY = ("0.0001", "-0.0001", "-99999999999999.9999", "99999999999999.9999", "12.3400", "0.0000")
NUMBERS = (0.1 + 0.2, -1e-300, 1e300, 5.0, 1 / 3)
TIMES = tuple(map(datetime.fromisoformat, ("2024-02-29T23:59:59.999999", "1999-12-31T00:00:00.000001", "2024-01-01")))
DATES = (date(2024, 2, 29), date(9999, 12, 31), date(1970, 1, 1))


def make_star(root: Path) -> Path:
    """A home with one snapshot."""
    republish(root, 0)
    return root


def republish(home: Path, change: int) -> str:
    """Publish other rows in the same tables (``change`` is added to measures); the snapshot's id."""
    settings: Settings = create_home(home)
    lake = Lake(settings.home.lake)
    keys: dict[str, list[int]] = {}
    tables = [t for t in contract().values() if t.name != "refresh_info"]
    # Dimensions that refer to others after these.
    for table in sorted(tables, key=lambda t: (not t.name.startswith("dim_"), any(c.references for c in t.columns))):
        rows = _rows(table, keys, change)
        keys[table.name] = [r[table.key[0]] for r in rows]
        own = lake.table(gold(table.name))
        made = pa.Table.from_pylist(rows, schema=table.spec.schema)
        own.commit([own.write("all", f"made{change}", [made])])
    with duckdb.connect(":memory:") as con:
        done = publish(lake, settings, con, FIRST_DAY + timedelta(DAYS - 1), datetime.now(UTC), synthetic=False)
    return done.snapshot


def _rows(table: PublishedTable, keys: dict[str, list[int]], change: int) -> list[dict[str, Any]]:
    if table.name == "dim_date":
        return [_day(FIRST_DAY + timedelta(n)) for n in range(DAYS)]
    count = ROWS if table.is_fact else len(TEXTS)
    return [{c.name: _value(table, c, keys, n, change) for c in table.columns} for n in range(count)]


def _day(day: date) -> dict[str, Any]:
    return {"date_key": int(f"{day:%Y%m%d}"), "date": day, "year": day.year, "quarter": (day.month + 2) // 3,
            "month_number": day.month, "month_name": f"{day:%B}", "iso_week": day.isocalendar().week,
            "weekday_number": day.isoweekday(), "weekday_name": f"{day:%A}",
            "is_weekend": "Yes" if day.isoweekday() > 5 else "No", "calendar_month": f"{day:%Y-%m}",
            "week_start": day - timedelta(day.weekday())}  # fmt: skip


def _value(table: PublishedTable, column: Column, keys: dict[str, list[int]], n: int, change: int) -> Any:
    if column.nullable and n % 3 == 0:
        return None
    if column.references:
        known = keys[column.references]
        return known[n % len(known)]
    if column.kind == "key":
        return n - 1 if n < 3 else (-1) ** n * (2**62 + n)
    if column.kind == "text":
        return f"{TEXTS[n % len(TEXTS)][:20]}{n}" if column.name in table.key else TEXTS[n % len(TEXTS)]
    if column.kind == "money" and change:
        return Decimal(change)
    values: dict[str, Any] = {"int": (n + change, -n), "money": [Decimal(m) for m in MONEY], "number": NUMBERS,
                              "flag": ("Yes", "No"), "date": DATES, "timestamp": TIMES}  # fmt: skip
    return next(itertools.islice(itertools.cycle(values[column.kind]), n, None))
