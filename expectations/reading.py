"""Reads small results from DuckDB: one SELECT at a time, with errors that cannot quote a row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import duckdb

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_ROWS = 50_000
"""A verdict needs a row and a count one row a day. More means that data is being pulled out."""

# Their texts speak of SQL and schemas. Those of every other error can quote a row.
_SPEAKING_ERRORS = (duckdb.BinderException, duckdb.CatalogException, duckdb.ParserException)


class NotReadOnlyError(duckdb.ProgrammingError):
    """What was asked is more than one small SELECT."""


def read(
    connection: duckdb.DuckDBPyConnection, query: str, parameters: Sequence[Any] = ()
) -> tuple[Any, list[tuple[Any, ...]]]:
    """Return the DB-API description and all rows of one SELECT."""
    withheld: duckdb.Error | None = None
    try:
        kinds = [statement.type for statement in connection.extract_statements(query)]
        if kinds == [duckdb.StatementType.SELECT]:
            connection.execute(query, list(parameters))
            rows = connection.fetchmany(MOST_ROWS + 1)
            if len(rows) <= MOST_ROWS:
                return connection.description, rows
            withheld = NotReadOnlyError(f"more than {MOST_ROWS} rows would be read")
        else:
            withheld = NotReadOnlyError("one SELECT is expected")
    except duckdb.Error as error:
        withheld = _safe(error)
    # Raised out here, so that the original does not travel along as the context of this one.
    raise withheld


def _safe(error: duckdb.Error) -> duckdb.Error:
    """Return an error of the same class whose text cannot hold a value of a row."""
    if isinstance(error, _SPEAKING_ERRORS):
        return type(error)(str(error).strip().split("\n", 1)[0])
    return type(error)("details withheld, because they could quote a row")
