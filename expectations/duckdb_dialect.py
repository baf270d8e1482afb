"""The SQLAlchemy dialect through which great-expectations reads a borrowed DuckDB connection.

duckdb-engine hands out lazy results, which DuckDB drops when the transaction ends, and
great-expectations fetches after that: every expectation then fails quietly. Here a statement is
read to its end while it runs, no transaction is touched, and nothing but a SELECT passes.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import duckdb
from sqlalchemy import pool, types
from sqlalchemy.dialects import registry
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.sql.compiler import IdentifierPreparer

from expectations.reading import read

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

URL = "duckdb+borrowed://"
# Rule SQL goes through `str.format` (great-expectations) and `text()` (SQLAlchemy), which would
# read the braces and colons of a regex as placeholders. They travel as private-use characters.
_SHIELD = str.maketrans({"{": "\ue000", "}": "\ue001", ":": "\ue002"})
_UNSHIELD = str.maketrans({"\ue000": "{", "\ue001": "}", "\ue002": ":"})

_borrowed: ContextVar[duckdb.DuckDBPyConnection] = ContextVar("borrowed duckdb connection")


def shield(sql: str) -> str:
    """Hide braces and colons from the templating between a rule and the database."""
    return sql.translate(_SHIELD)


def register() -> None:
    """Make `URL` known to SQLAlchemy."""
    registry.register("duckdb.borrowed", __name__, "BorrowedDuckDBDialect")


@contextmanager
def lent(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Let engines made from `URL` read through this connection, and no other, for a while."""
    token = _borrowed.set(connection)
    try:
        yield
    finally:
        _borrowed.reset(token)


class _Cursor:
    """A DB-API cursor that has read its result before `execute` returns."""

    arraysize = 1
    rowcount = -1
    lastrowid = None

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._rows: list[tuple[Any, ...]] = []
        self.description: Any = None

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> None:
        query = statement.translate(_UNSHIELD)
        self.description, self._rows = read(self._connection, query, parameters)

    def fetchone(self) -> tuple[Any, ...] | None:
        return self._rows.pop(0) if self._rows else None

    def fetchmany(self, size: int | None = None) -> list[tuple[Any, ...]]:
        size = self.arraysize if size is None else size
        taken, self._rows = self._rows[:size], self._rows[size:]
        return taken

    def fetchall(self) -> list[tuple[Any, ...]]:
        taken, self._rows = self._rows, []
        return taken

    def close(self) -> None:
        """Nothing is held: the result is in memory and the connection is not ours."""


class _Connection:
    """A DB-API connection over a borrowed one: it neither ends its transaction nor closes it.

    The connection itself is used, not a cursor of it: temporary views are private to a connection.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def cursor(self) -> _Cursor:
        return _Cursor(self._connection)

    def commit(self) -> None:
        """Do nothing: the transaction is the lender's."""

    def rollback(self) -> None:
        """Do nothing: the transaction is the lender's."""

    def close(self) -> None:
        """Do nothing: the connection is the lender's."""


class _QuoteEverything(IdentifierPreparer):
    """Quotes every name, so that no list of DuckDB's reserved words is needed."""

    def quote(self, ident: str, force: Any = None) -> str:  # noqa: ARG002
        return self.quote_identifier(ident)


class BorrowedDuckDBDialect(DefaultDialect):
    """What great-expectations asks of a dialect, in as few statements as it can be had."""

    name = "duckdb"
    driver = "borrowed"
    preparer = _QuoteEverything
    default_paramstyle = "qmark"
    supports_native_boolean = True
    supports_native_decimal = True
    supports_sane_rowcount = False
    # Compiled statements would outlive the views that they name.
    supports_statement_cache = False

    @classmethod
    def import_dbapi(cls) -> Any:
        """DuckDB itself."""
        return duckdb

    @classmethod
    def get_pool_class(cls, url: Any) -> type[pool.Pool]:  # noqa: ARG003
        """Keep no connections."""
        # A pooled connection would keep pointing at a lender that is gone.
        return pool.NullPool

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "paramstyle": "qmark"})

    def connect(self, *_args: Any, **_kwargs: Any) -> Any:
        """The connection that is lent at the moment."""
        connection = _borrowed.get(None)
        if connection is None:
            message = "no connection is lent"
            raise duckdb.ProgrammingError(message)
        return _Connection(connection)

    def create_connect_args(self, url: Any) -> Any:  # noqa: ARG002
        """None: nothing is opened."""
        return (), {}

    def initialize(self, connection: Any) -> None:
        """Ask the server nothing: what would be asked is known."""

    def do_begin(self, dbapi_connection: Any) -> None:
        """Do nothing: the transaction is the lender's."""

    def do_commit(self, dbapi_connection: Any) -> None:
        """Do nothing: the transaction is the lender's."""

    def do_rollback(self, dbapi_connection: Any) -> None:
        """Do nothing: the transaction is the lender's."""

    def has_table(
        self, connection: Any, table_name: str, schema: str | None = None, **_kw: Any
    ) -> bool:
        """Whether a table or view of that name can be read."""
        try:
            self.get_columns(connection, table_name, schema)
        except duckdb.CatalogException:
            return False
        return True

    def get_pk_constraint(self, *_args: Any, **_kwargs: Any) -> Any:
        """None: files have no keys."""
        return {"constrained_columns": [], "name": None}

    def get_columns(
        self, connection: Any, table_name: str, schema: str | None = None, **_kw: Any
    ) -> Any:
        """Names only: no rule asks great-expectations for a type."""
        name = self.identifier_preparer.quote(table_name)
        if schema:
            name = f"{self.identifier_preparer.quote(schema)}.{name}"
        rows = connection.exec_driver_sql(f"DESCRIBE {name}").fetchall()
        return [
            {"name": row[0], "type": types.NullType(), "nullable": True, "default": None}
            for row in rows
        ]
