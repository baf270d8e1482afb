"""Where to publish to: a URL or an ODBC connection, told without its password."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from exports.sql.session import Session, first_line
from resources.errors import PublishError, UsageError

PASSWORD = "BEHAVIOR_PUBLISH_PASSWORD"  # noqa: S105 - the variable's name
_CONNECT_SECONDS = 15
# What users write, the driver of SQLAlchemy that is taken for it, and the package that holds the driver.
_DRIVERS = {
    "postgres": ("postgresql+psycopg", "psycopg"), "postgresql": ("postgresql+psycopg", "psycopg"),
    "mysql": ("mysql+pymysql", "pymysql"), "mariadb": ("mysql+pymysql", "pymysql"),
    "mssql": ("mssql+pyodbc", "pyodbc"), "sqlite": ("sqlite+pysqlite", "sqlite3"),
}  # fmt: skip
_EXTRA = "Install the extra: pip install '.[sql]' in the repository."


@dataclass(frozen=True)
class Target:
    """A database: a SQLAlchemy URL, or a DSN or connection string of ODBC. ``repr`` holds no password."""

    url: Any = None
    odbc: str = ""
    password: str = ""

    def __repr__(self) -> str:
        """Without the password."""
        return f"Target({self.shown})"

    @classmethod
    def parse(cls, url: str = "", odbc: str = "") -> Target:
        """The target that a command names. Raises UsageError for none, two, or one that cannot be understood."""
        if bool(url) == bool(odbc):
            msg = "Name the database with either --to URL or --odbc DSN."
            raise UsageError(msg)
        given = os.environ.get(PASSWORD, "")
        if odbc:
            text = odbc if "=" in odbc else f"DSN={odbc}"
            found = re.search(r"(?i)(?:^|;)\s*(?:pwd|password)\s*=\s*(\{(?:[^}]|\}\})*\}|[^;]*)", text)
            if not found and given:
                text = f"{text.rstrip(';')};PWD={{{given.replace('}', '}}')}}}"
            return cls(odbc=text, password=found[1].strip("{}") if found else given)
        return cls._of_url(url, given)

    @classmethod
    def _of_url(cls, url: str, given: str) -> Target:
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import ArgumentError

        try:
            made = make_url(url)
        except (ArgumentError, ValueError):
            made = None
        kind = made.get_backend_name() if made is not None else ""
        if made is None or kind not in _DRIVERS:
            known = "postgresql://user@host/database, mysql://user@host, mssql://…, sqlite:///file"
            msg = f"--to: this is not the URL of a database that can be published to. There are: {known}."
            raise UsageError(msg)
        if kind == "sqlite" and (made.database in {None, "", ":memory:"} or made.query.get("mode") == "memory"):
            msg = "--to: SQLite in memory is gone when the command ends. Name a file: sqlite:///folder/file.sqlite."
            raise UsageError(msg)
        if made.password is None and given and kind != "sqlite":
            made = made.set(password=given)
        return cls(url=made.set(drivername=_DRIVERS[kind][0]), password=str(made.password or ""))

    @property
    def shown(self) -> str:
        """The target as it may be told."""
        if self.url is not None:
            return str(self.url.render_as_string(hide_password=True))
        return self.hide(re.sub(r"(?i)((?:^|;)\s*(?:pwd|password)\s*=)(\{(?:[^}]|\}\})*\}|[^;]*)", r"\1***", self.odbc))

    def hide(self, text: str) -> str:
        """A text without the password."""
        return text.replace(self.password, "***") if self.password else text

    def connect(self) -> tuple[Session, str]:
        """A session, and which kind of database it is (a name of ``plan.SUPPORTED``). Raises PublishError."""
        if self.url is None:
            from exports.sql.odbc import connect

            return connect(self)
        return self._connect_url()

    def _connect_url(self) -> tuple[Session, str]:
        import sqlalchemy as sa

        kind: str = self.url.get_backend_name()
        arguments: dict[str, dict[str, Any]] = {
            "postgresql": {"connect_timeout": _CONNECT_SECONDS, "application_name": "behavior publish"},
            "mysql": {"connect_timeout": _CONNECT_SECONDS, "charset": "utf8mb4"}, "mssql": {}, "sqlite": {},
        }  # fmt: skip
        try:
            dialect = sa.create_engine(self.url).dialect
        except ImportError as error:
            package = next(m for d, m in _DRIVERS.values() if d == self.url.drivername)
            msg = f"{kind}: the driver {package} is not installed. {_EXTRA}"
            raise PublishError(msg) from error
        module: Any = dialect.import_dbapi()
        words, named = dialect.create_connect_args(self.url)
        connection = self.reached(lambda: module.connect(*words, **named, **arguments[kind]), module.Error)
        return Session(connection, module.Error, self.hide, odbc=kind == "mssql"), kind

    def reached(self, connect: Callable[[], Any], *errors: type[Exception]) -> Any:
        """What a driver's function for connecting gives. Raises PublishError in one line."""
        try:
            return connect()
        except errors as error:
            msg = f"{self.shown}: cannot connect: {self.hide(first_line(error))}"
            raise PublishError(msg) from error
