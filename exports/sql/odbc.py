"""A connection through ODBC, and which database answers at its other end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exports.sql.session import Session, first_line
from resources.errors import PublishError

if TYPE_CHECKING:
    from exports.sql.target import Target

_SECONDS = 15
# What drivers say of the database, in SQLGetInfo(SQL_DBMS_NAME).
_KINDS = {"postgresql": "postgresql", "mysql": "mysql", "mariadb": "mysql", "microsoft sql server": "mssql"}


def connect(target: Target) -> tuple[Session, str]:
    """A session through ODBC, and the kind of database (a name of ``plan.SUPPORTED``). Raises PublishError."""
    try:
        import pyodbc
    except ImportError as error:
        msg = ("--odbc: pyodbc cannot be loaded. Install the extra, pip install '.[sql]' in the repository, and on "
               "Debian the package unixodbc.")  # fmt: skip
        raise PublishError(msg) from error
    try:
        connection = pyodbc.connect(target.odbc, timeout=_SECONDS, autocommit=False)
    except pyodbc.Error as error:
        msg = f"--odbc: cannot connect: {target.hide(first_line(error))}"
        if error.args and error.args[0] in {"IM002", "IM003", "01000"}:
            known = ", ".join(pyodbc.drivers()) or "none"
            msg += f" Drivers on this machine: {known}. Debian has odbc-postgresql and odbc-mariadb."
        raise PublishError(msg) from error
    name = str(connection.getinfo(pyodbc.SQL_DBMS_NAME))
    kind = _KINDS.get(name.lower())
    if kind is None:
        connection.close()
        msg = f"--odbc: {name} cannot be published to; PostgreSQL, MySQL, MariaDB and SQL Server can."
        raise PublishError(msg)
    return Session(connection, pyodbc.Error, target.hide, odbc=True), kind
