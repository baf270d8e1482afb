"""A connection as the publication needs it: statements, rows, one transaction at a time, errors in the user's words.

Drivers differ in how they tell of an error; what they say of a row's values is left out, as it may quote the data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from resources.errors import PublishError

_ABOUT_DATA = ("22", "23")  # SQLSTATE classes whose messages quote values


class Session:
    """One connection of a DBAPI driver. ``hide`` takes the password out of a text."""

    def __init__(self, connection: Any, error: type[Exception], hide: Callable[[str], str], *, odbc: bool) -> None:
        self.connection, self.error, self.hide, self.odbc = connection, error, hide, odbc

    def run(self, *statements: str) -> None:
        """Run statements that give no rows."""
        cursor = self.connection.cursor()
        try:
            for statement in statements:
                cursor.execute(statement)
        finally:
            cursor.close()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        cursor = self.connection.cursor()
        try:
            cursor.execute(query)
            return [tuple(row) for row in cursor.fetchall()]
        finally:
            cursor.close()

    def value(self, query: str) -> Any:
        """The first column of the first row; None without a row."""
        rows = self.rows(query)
        return rows[0][0] if rows else None

    def insert(self, statement: str, rows: Sequence[Sequence[Any]], *, fast: bool = False) -> None:
        """Run a statement with parameters for every row; ``fast`` sends them in one block (SQL Server's driver)."""
        cursor = self.connection.cursor()
        try:
            if fast:
                cursor.fast_executemany = True
            cursor.executemany(statement, rows)
        finally:
            cursor.close()

    @contextmanager
    def transaction(self, doing: str) -> Iterator[None]:
        """All or nothing. ``doing`` says in an error what was being done."""
        try:
            yield
            self.connection.commit()
        except self.error as error:
            self.undo()
            msg = f"{doing}: {self.told(error)}"
            raise PublishError(msg) from error
        except BaseException:
            self.undo()
            raise

    def undo(self) -> None:
        """Roll back, also where the connection is gone."""
        try:
            self.connection.rollback()
        except self.error:
            return

    def told(self, error: Exception) -> str:
        """What the server said, in one line, without values and without the password."""
        state = sqlstate(error)
        if state.startswith(_ABOUT_DATA):
            return f"the server refused rows (SQLSTATE {state}, {type(error).__name__})."
        return self.hide(first_line(error))

    def close(self) -> None:
        """Give the connection back; a broken one as well."""
        try:
            self.connection.close()
        except self.error:
            return


def sqlstate(error: BaseException) -> str:
    """The SQLSTATE of a driver's error; empty where the driver has none."""
    state = getattr(error, "sqlstate", None)
    if state is None and error.args and isinstance(error.args[0], str) and len(error.args[0]) == 5:  # noqa: PLR2004
        state = error.args[0]  # ODBC
    if state is None and error.args and isinstance(error.args[0], int):
        state = _MYSQL_STATES.get(error.args[0])
    return str(state or "")


# MySQL's driver tells numbers; those whose texts quote values.
_MYSQL_STATES = {1062: "23000", 1292: "22007", 1366: "22007", 1367: "22007", 1452: "23000", 1048: "23000",
                 1264: "22003", 1265: "01000", 1406: "22001"}  # fmt: skip


def first_line(error: BaseException) -> str:
    """The message of a driver's error without its context, which may quote rows."""
    diagnosis = getattr(error, "diag", None)
    text = getattr(diagnosis, "message_primary", None)
    if not text and len(error.args) > 1 and isinstance(error.args[1], str):
        text = error.args[1]
    lines = [line.strip() for line in str(text or error).splitlines()]
    return next((line for line in lines if line), type(error).__name__)
