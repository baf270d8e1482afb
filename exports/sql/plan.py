"""What a publication looks like in a database: tables, types, keys, comments and its marker, without touching one.

Everything derives from ``exports/contract.py``; only the widths of texts are measured, so that a column is as wide as
its content needs, with room, instead of unbounded (ODBC clients show unbounded text as memo fields of 8190 characters).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from exports.contract import Column, PublishedTable, published
from exports.snapshot import Manifest
from resources.errors import UsageError

if TYPE_CHECKING:
    import sqlalchemy as sa

VERSION = 1  # of the shape: part of the fingerprint, so that a change here loads again
SUPPORTED = ("postgresql", "mysql", "mssql", "sqlite")
MARK = "Behavior Lakehouse: "
Widths = Mapping[tuple[str, str], int]  # characters of the longest text, by table and column

_STEPS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4000)
_ROOM = 1.25  # later snapshots have longer texts
_FLAG_WIDTH = 3
_KEYED_FIRST = {"mysql", "sqlite"}  # InnoDB keeps rows by their primary key, and SQLite cannot add one
_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,39}")


@dataclass(frozen=True)
class Marker:
    """What a publication says of itself in the database; only what carries one is ever replaced or dropped."""

    snapshot: str
    content: str
    fingerprint: str
    tables: tuple[str, ...]

    @property
    def text(self) -> str:
        """The comment that holds it."""
        told = {"snapshot": self.snapshot, "content": self.content, "plan": self.fingerprint, "tables": self.tables}
        return MARK + json.dumps(told, separators=(",", ":"))

    @classmethod
    def parse(cls, comment: str | None) -> Marker | None:
        """The marker that a comment holds; None where it holds none."""
        if not comment or not comment.startswith(MARK):
            return None
        try:
            told = json.loads(comment.removeprefix(MARK))
            return cls(told["snapshot"], told["content"], told["plan"], tuple(told["tables"]))
        except (ValueError, KeyError, TypeError):
            return None


@dataclass(frozen=True)
class Plan:
    """The tables of one snapshot for one kind of database (a name of ``SUPPORTED``) and one schema."""

    dialect: str
    schema: str
    tables: tuple[PublishedTable, ...]
    widths: Widths
    rows: Mapping[str, int]
    snapshot: str
    content: str

    @classmethod
    def of(cls, manifest: Manifest, widths: Widths, dialect: str, schema: str) -> Plan:
        """The plan for a manifest. Raises UsageError for a schema's name that would need quoting everywhere."""
        check_schema(schema)
        tables = tuple(t for name, t in published().items() if name in manifest["tables"])
        told = {n: (t["rows"], t["hash"]) for n, t in manifest["tables"].items()}
        return cls(dialect, schema, tables, widths, {n: rows for n, (rows, _) in told.items()},
                   manifest["snapshot"], _short(json.dumps(told, sort_keys=True)))  # fmt: skip

    @cached_property
    def marker(self) -> Marker:
        """What is written beside the tables once they are loaded."""
        shape = [VERSION, *self.creates("s"), *self.keys("s"), *self.comments("s")]
        return Marker(self.snapshot, self.content, _short("\n".join(map(str, shape))),
                      tuple(t.name for t in self.tables))  # fmt: skip

    def quote(self, name: str) -> str:
        """An identifier, quoted where this database needs it."""
        quoted: str = _dialect(self.dialect).identifier_preparer.quote_identifier(name)
        return quoted

    def place(self, schema: str, table: str) -> str:
        """A table's name with its schema; SQLite has none, so that the schema is a suffix there."""
        if self.dialect == "sqlite":
            return self.quote(table + schema)
        return f"{self.quote(schema)}.{self.quote(table)}"

    def creates(self, schema: str) -> list[str]:
        """``CREATE TABLE`` for every table, with the keys that do not come after the load."""
        return [self.create(t, schema) for t in self.tables]

    def keys(self, schema: str) -> list[str]:
        """Primary keys, then foreign keys: one statement for each table."""
        if self.dialect == "sqlite":
            return []
        primary = [f"ALTER TABLE {self.place(schema, t.name)} ADD PRIMARY KEY ({self._list(t.key)})"
                   for t in self.tables if self.dialect not in _KEYED_FIRST]  # fmt: skip
        foreign = []
        for table in self.tables:
            added = ", ".join(f"ADD {text}" for text in self._foreign(table, schema))
            if self.dialect == "mssql":
                added = "ADD " + ", ".join(self._foreign(table, schema))
            if self._references(table):
                foreign.append(f"ALTER TABLE {self.place(schema, table.name)} {added}")
        return primary + foreign

    def orphans(self, schema: str) -> dict[str, str]:
        """For every reference, a query that gives a row where a key is not there in its dimension."""
        found = {}
        for table in self.tables:
            for name, other in self._references(table):
                column, key = self.quote(name), self.quote(other.key[0])
                found[f"{table.name}.{name}"] = (
                    f"SELECT 1 FROM {self.place(schema, table.name)} f LEFT JOIN {self.place(schema, other.name)} d "
                    f"ON d.{key} = f.{column} WHERE f.{column} IS NOT NULL AND d.{key} IS NULL LIMIT 1"
                )
        return found

    def comments(self, schema: str) -> list[str]:
        """A comment for every table (its grain) and column; MySQL has them in ``CREATE TABLE``, SQLite has none."""
        from sqlalchemy.schema import SetColumnComment, SetTableComment

        dialect = _dialect(self.dialect)
        if not dialect.supports_comments or dialect.inline_comments:
            return []
        found = []
        for table in self.tables:
            made = self._table(table, schema)
            found.append(str(SetTableComment(made).compile(dialect=dialect)))
            found += [str(SetColumnComment(c).compile(dialect=dialect)) for c in made.columns]
        return found

    def create(self, table: PublishedTable, schema: str) -> str:
        """``CREATE TABLE`` for one table."""
        from sqlalchemy.schema import CreateTable

        text = str(CreateTable(self._table(table, schema)).compile(dialect=_dialect(self.dialect))).strip()
        foreign = self._foreign(table, schema) if self.dialect == "sqlite" else []
        return text.removesuffix(")").rstrip() + "".join(f", \n\t{f}" for f in foreign) + "\n)" if foreign else text

    def _table(self, table: PublishedTable, schema: str) -> sa.Table[Any]:
        import sqlalchemy as sa

        columns = [sa.Column(c.name, self._type(table, c), nullable=c.nullable, comment=f"{c.description}.",
                             autoincrement=False) for c in table.columns]  # fmt: skip
        key = [sa.PrimaryKeyConstraint(*table.key)] if self.dialect in _KEYED_FIRST else []
        name, where = (table.name + schema, None) if self.dialect == "sqlite" else (table.name, schema)
        # Bytes are compared, as where the tables come from: "Ada" and "ada" are two brands.
        return sa.Table(name, sa.MetaData(), *columns, *key, schema=where, comment=f"One row is {table.grain}.",
                        mysql_charset="utf8mb4", mysql_collate="utf8mb4_bin", mysql_engine="InnoDB")  # fmt: skip

    def _type(self, table: PublishedTable, column: Column) -> Any:
        import sqlalchemy as sa
        from sqlalchemy.dialects import mssql, mysql

        if column.kind in {"text", "flag"}:
            return self._text(_FLAG_WIDTH if column.kind == "flag" else self.width(table.name, column.name))
        exact: dict[str, Any] = {"mysql": mysql.DATETIME(fsp=6), "mssql": mssql.DATETIME2(6)}  # type: ignore[no-untyped-call]
        micros = exact.get(self.dialect, sa.DateTime())
        date = mssql.DATE() if self.dialect == "mssql" else sa.Date()
        return {"key": sa.BigInteger(), "int": sa.BigInteger(), "money": sa.Numeric(18, 4), "number": sa.Double(),
                "date": date, "timestamp": micros}[column.kind]  # fmt: skip

    def _text(self, width: int) -> Any:
        import sqlalchemy as sa

        if self.dialect == "mssql":  # counts in UTF-16, where a character may take two
            return sa.NVARCHAR(2 * width) if 2 * width <= _STEPS[-1] else sa.NVARCHAR()
        if self.dialect == "mysql" and width > _STEPS[-1]:
            from sqlalchemy.dialects import mysql

            return mysql.LONGTEXT()
        return sa.String(width)

    def width(self, table: str, column: str) -> int:
        """Characters that a text column has room for."""
        needed = int(self.widths.get((table, column), 0) * _ROOM)
        return next((step for step in _STEPS if step >= needed), needed)

    def _references(self, table: PublishedTable) -> list[tuple[str, PublishedTable]]:
        known = {t.name: t for t in self.tables}
        return [(c.name, known[c.references]) for c in table.columns if c.references in known]

    def _foreign(self, table: PublishedTable, schema: str) -> list[str]:
        """Foreign keys of a table."""
        return [f"FOREIGN KEY ({self.quote(name)}) REFERENCES {self.place(schema, other.name)} "
                f"({self._list(other.key)})" for name, other in self._references(table)]  # fmt: skip

    def _list(self, names: Iterable[str]) -> str:
        return ", ".join(self.quote(n) for n in names)


def check_schema(schema: str) -> None:
    """Raise UsageError unless a name is one that every database takes without quoting, with room for suffixes."""
    if not _SCHEMA.fullmatch(schema):
        msg = f"--schema {schema!r}: write up to 40 of a-z, 0-9 and _, and no digit first."
        raise UsageError(msg)
    if schema in {"public", "dbo", "sys", "mysql", "information_schema", "performance_schema"}:
        msg = f"--schema {schema}: it belongs to the database itself. Name one that is only for what is published."
        raise UsageError(msg)


def literal(text: str) -> str:
    """A text as SQL; for names and comments of ours, which hold no backslash."""
    return "'" + text.replace("'", "''") + "'"


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def _dialect(name: str) -> Any:
    """SQLAlchemy's dialect; parameters by name, as others double every percent sign of a comment."""
    from sqlalchemy.dialects import mssql, mysql, postgresql, sqlite

    modules: dict[str, Any] = {"postgresql": postgresql, "mysql": mysql, "mssql": mssql, "sqlite": sqlite}
    return modules[name].dialect(paramstyle="named")
