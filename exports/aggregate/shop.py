"""A published snapshot, opened for reading: its tables as views, its weeks, and what its sources can tell."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exports.aggregate.declare import Row, Table
from exports.aggregate.former import Former, read_former
from exports.bridge import cents
from exports.snapshot import add_views

if TYPE_CHECKING:
    import duckdb

WEEK = timedelta(days=7)
FOUR_WEEKS = timedelta(days=28)
DAY = timedelta(days=1)

# What a source lacks, in words that follow "no", and what follows of it.
LACKS = {
    "has_price": "prices", "has_views": "browsing events", "has_cart": "cart events",
    "has_checkout": "checkout events", "has_categories": "categories", "has_channel": "marketing channel",
    "has_device": "device", "has_country": "country", "has_refunds": "refunds", "has_sessions": "session ids",
    "has_consent": "consent",
}  # fmt: skip
_SO = {"has_views": ", so visits without an order are not seen"}

# What makes somebody one of the persons behind a kind of figure.
_VISITS = "fact_session JOIN dim_source USING (source_key)"
_VISIT, _SALE = "is_bot = 'No' AND has_views = 'Yes'", "line_type = 'sale'"
BEHIND = {
    "k_visitors": (_VISITS, _VISIT), "k_new": (_VISITS, f"{_VISIT} AND is_new_customer = 'Yes'"),
    "k_returning": (_VISITS, f"{_VISIT} AND is_new_customer = 'No'"), "k_buyers": ("fact_sales", _SALE),
    "k_bought": (_VISITS, f"{_VISIT} AND has_purchase = 'Yes'"),
    "k_looked": (_VISITS, f"{_VISIT} AND has_purchase = 'No'"),
    "k_first": ("fact_sales", f"{_SALE} AND is_first_order = 'Yes'"),
    "k_repeat": ("fact_sales", f"{_SALE} AND is_first_order = 'No' AND customer_key <> -1"),
    "k_refunded": ("fact_sales", "line_type = 'refund'"),
    "k_other": ("fact_sales", "line_type NOT IN ('sale', 'refund')"),
}  # fmt: skip


@dataclass(frozen=True)
class Span:
    """Days from ``first`` to ``last``, and as many before them."""

    first: date
    last: date

    @property
    def before(self) -> Span:
        """The span of the same length that ends the day before."""
        return Span(self.first - (self.last - self.first) - DAY, self.first - DAY)

    @property
    def keys(self) -> dict[str, int]:
        """Bounds as ``date_key``, for SQL: ``$first`` to ``$last``, and ``$earlier`` where the span before begins."""
        return {"earlier": date_key(self.before.first), "first": date_key(self.first), "last": date_key(self.last)}


@dataclass(frozen=True)
class Shop:
    """An open snapshot. ``week`` is its last complete week (Monday to Sunday), ``weeks`` how many there are."""

    con: duckdb.DuckDBPyConnection
    manifest: Mapping[str, Any]
    first_day: date
    through: date
    lacking: Mapping[str, tuple[str, ...]]  # by flag of dim_source: sources that lack it
    sources: tuple[str, ...]
    former: Former = field(default_factory=Former)

    @property
    def week(self) -> Span:
        """The last complete week."""
        monday = self.through - timedelta(days=self.through.weekday())
        if self.through.weekday() != 6:  # noqa: PLR2004 - Sunday
            monday -= WEEK
        return Span(monday, monday + WEEK - DAY)

    @property
    def weeks(self) -> int:
        """How many complete weeks the data hold."""
        begin = self.first_day + timedelta(days=-self.first_day.weekday() % 7)
        return max((self.week.last - begin + DAY) // WEEK, 0)

    @property
    def has_month(self) -> bool:
        """Whether the data hold the four weeks."""
        return self.month.first >= self.first_day

    @property
    def compares(self) -> bool:
        """Whether they hold the four before them too."""
        return self.month.before.first >= self.first_day

    @property
    def month(self) -> Span:
        """The last complete block of four weeks; blocks are those of the calendar, from 1 January 0001 (a Monday).

        They do not overlap: of four weeks that move on by one each week, two releases would tell single weeks.
        """
        last = date.fromordinal(self.week.last.toordinal() // FOUR_WEEKS.days * FOUR_WEEKS.days)
        return Span(last - FOUR_WEEKS + DAY, last)

    def has(self, flag: str) -> bool:
        """Whether every source can tell it."""
        return not self.lacking.get(flag)

    def has_any(self, flag: str) -> bool:
        """Whether some source can tell it."""
        return len(self.lacking.get(flag, ())) < len(self.sources)

    def why_not(self, flag: str) -> str:
        """Why a figure is blank, in a sentence's words."""
        return f"no {LACKS[flag]} from {' and '.join(self.lacking[flag])}{_SO.get(flag, '')}"

    def rows(self, sql: str, **values: Any) -> list[Row]:
        """A query's rows by column name, money in cents."""
        found = self.con.execute(sql, values or None)
        names = [d[0] for d in found.description or ()]
        return [{n: _plain(v) for n, v in zip(names, row, strict=True)} for row in found.fetchall()]

    def made_of(self, table: str, days: Iterable[date]) -> str:
        """What tells whether the rows of a table that are of some days are others than before."""
        parts = {part for d in days for part in ("all", d.isoformat()[:7], d.isoformat())}
        return fold(f["hash"] for f in self.manifest["tables"][table]["files"] if f["part"] in parts)

    def persons(self, behind: str, days: Iterable[date]) -> int:
        """How many persons stand behind a kind of figure on some days together; see BEHIND."""
        table, test = BEHIND[behind]
        found = self.con.execute(
            f"SELECT count(DISTINCT customer_key) FROM {table} WHERE {test} AND date_key IN (SELECT unnest($days))",
            {"days": [date_key(d) for d in days]},
        ).fetchall()
        return int(found[0][0])

    def blank(self, table: Table, rows: list[Row]) -> dict[str, str]:
        """Empty the columns that no source can fill, in place, and say why by column."""
        blank = {}
        for column, flag in table.needs.items():
            if not self.has_any(flag):
                blank[column] = self.why_not(flag)
                for row in rows:
                    row[column] = None
        return blank


def fold(told: Iterable[str]) -> str:
    """Sixteen hex digits that stand for some texts, in whatever order."""
    return hashlib.sha256(" ".join(sorted(told)).encode()).hexdigest()[:16]


def _plain(value: Any) -> Any:
    """Money in cents; all else as DuckDB gives it."""
    return cents(value) if isinstance(value, Decimal) else value


def date_key(day: date) -> int:
    """A day as the key of dim_date."""
    return day.year * 10000 + day.month * 100 + day.day


@contextmanager
def open_shop(exports: Path, manifest: Mapping[str, Any], memory_limit: int | None = None) -> Iterator[Shop]:
    """The snapshot that a manifest names, its tables as views of a database in memory (limited, in bytes)."""
    import duckdb

    with duckdb.connect(":memory:") as con:
        if memory_limit:
            con.execute(f"SET memory_limit = '{memory_limit}B'")
        add_views(con, exports, manifest)
        con.execute("SET TimeZone = 'UTC'")
        flags = [d[0] for d in con.execute("SELECT * FROM dim_source LIMIT 0").description or () if d[0] in LACKS]
        lacking = {
            flag: tuple(n for (n,) in con.execute(
                f"SELECT source_name FROM dim_source WHERE source_key <> -1 AND {flag} = 'No' ORDER BY 1"
            ).fetchall())
            for flag in flags
        }  # fmt: skip
        sources = con.execute("SELECT source_name FROM dim_source WHERE source_key <> -1 ORDER BY 1").fetchall()
        through = date.fromisoformat(manifest["data_through"])
        began = con.execute(
            "SELECT CAST(strptime(CAST(min(date_key) AS VARCHAR), '%Y%m%d') AS DATE) FROM fact_session"
        ).fetchall()[0][0]
        yield Shop(con, manifest, began or through, through, lacking, tuple(s for (s,) in sources),
                   read_former(exports))
