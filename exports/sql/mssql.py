"""SQL Server: rows in blocks through ODBC, tables transferred between schemas in one transaction.

Nobody has run this against a server here: tests compile its statements, and no more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from exports.contract import PublishedTable
from exports.sql.bulk import insert_rows
from exports.sql.outlet import Outlet
from exports.sql.plan import Marker, literal
from exports.sql.session import first_line
from resources.errors import PublishError
from resources.failpoints import reach

if TYPE_CHECKING:
    import pyarrow as pa

_PATIENCE = 5_000  # milliseconds for readers
_PROPERTY = "behavior"  # the extended property of a schema that holds the marker


class SqlServer(Outlet):
    """A schema of a SQL Server database (2016 or newer)."""

    @contextmanager
    def alone(self) -> Iterator[None]:
        """An application lock of the session; closing the connection frees it."""
        session = self.session
        with session.transaction("connecting"):
            session.run(f"SET LOCK_TIMEOUT {_PATIENCE}")
            name = literal(f"behavior publish {self.live}")
            got = session.value("SET NOCOUNT ON; DECLARE @r int; EXEC @r = sp_getapplock @LockMode = 'Exclusive', "
                                f"@Resource = {name}, @LockOwner = 'Session', @LockTimeout = 0; SELECT @r")  # fmt: skip
            if got < 0:
                msg = f"another publication to schema {self.live} is at work there. Publish again when it is done."
                raise PublishError(msg)
        yield

    def check(self, readers: Sequence[str]) -> None:
        """Foreign objects and unknown readers."""
        with self.session.transaction("looking at the database"):
            for schema in self._schemas(rf"({self.live}|{self.next}|{self.old}\d*)"):
                self.refuse_foreign(schema, self._objects(schema), self._marker(schema))
            for reader in readers:
                if not self.session.rows(f"SELECT 1 FROM sys.database_principals WHERE name = {literal(reader)}"):
                    msg = f"--reader {reader}: there is no such user or role. Make it first: CREATE ROLE {reader}"
                    raise PublishError(msg)

    def _objects(self, schema: str) -> set[str]:
        return {str(name) for (name,) in self.session.rows(
            "SELECT name FROM sys.objects WHERE parent_object_id = 0 AND "
            f"schema_id = SCHEMA_ID({literal(schema)})")}  # fmt: skip

    def _schemas(self, pattern: str) -> list[str]:
        told = self.session.rows("SELECT name FROM sys.schemas ORDER BY name")
        return [str(name) for (name,) in told if re.fullmatch(pattern, str(name))]

    def _marker(self, schema: str) -> Marker | None:
        return Marker.parse(self.session.value(
            "SELECT CAST(value AS nvarchar(4000)) FROM sys.extended_properties WHERE class = 3 AND "
            f"name = {literal(_PROPERTY)} AND major_id = SCHEMA_ID({literal(schema)})"
        ))  # fmt: skip

    def _mark(self, schema: str, marker: Marker) -> None:
        where = f"@name = {literal(_PROPERTY)}, @level0type = 'SCHEMA', @level0name = {literal(schema)}"
        if self._marker(schema):
            self.session.run(f"EXEC sys.sp_dropextendedproperty {where}")
        self.session.run(f"EXEC sys.sp_addextendedproperty @value = N{literal(marker.text)}, {where}")

    def served(self) -> Marker | None:
        """From an extended property of the schema."""
        return self._marker(self.live)

    def counts(self, schema: str) -> dict[str, int]:
        """Counted."""
        present = self._objects(schema)
        names = [t.name for t in self.plan.tables if t.name in present]
        return {n: int(self.session.value(f"SELECT count_big(*) FROM {self.plan.place(schema, n)}")) for n in names}

    def prepare(self) -> None:
        """A schema aside with its marker."""
        with self.session.transaction(f"making schema {self.next}"):
            if self._schemas(self.next):
                self._drop(self.next)
            self.session.run(f"CREATE SCHEMA {self.plan.quote(self.next)}")
            self._mark(self.next, self.plan.marker)
            self.session.run(*self.plan.creates(self.next))

    def load(self, table: PublishedTable, batches: Iterator[pa.RecordBatch], tell: Callable[[int], None]) -> None:
        """In blocks."""
        with self.session.transaction(f"loading {table.name}"):
            insert_rows(self.session, self.plan.place(self.next, table.name), batches, tell, fast=True)

    def complete(self) -> None:
        """Keys and descriptions."""
        with self.session.transaction(f"adding keys in schema {self.next}"):
            self.session.run(*self.plan.keys(self.next), *self.plan.comments(self.next))

    def grant(self, readers: Sequence[str]) -> None:
        """On the schema, which stays when its tables change."""
        with self.session.transaction("granting"):
            self._grant(readers)

    def _grant(self, readers: Sequence[str]) -> None:
        self.session.run(*(f"GRANT SELECT ON SCHEMA::{self.plan.quote(self.live)} TO {self.plan.quote(r)}"
                           for r in readers))  # fmt: skip

    def swap(self, readers: Sequence[str]) -> None:
        """Waits for queries that are running, as long as _PATIENCE."""
        quote, place = self.plan.quote, self.plan.place
        with self.session.transaction(f"swapping schema {self.live}"):
            marker, taken = self.served(), set(self._schemas(rf"{self.old}\d*"))
            old = next(n for n in (self.old, *(f"{self.old}{i}" for i in range(2, 100))) if n not in taken)
            if not self._schemas(self.live):
                self.session.run(f"CREATE SCHEMA {quote(self.live)}")
            if marker:
                self.session.run(f"CREATE SCHEMA {quote(old)}")
                self._mark(old, marker)
                present = self._objects(self.live)
                self.session.run(*(f"ALTER SCHEMA {quote(old)} TRANSFER {place(self.live, n)}"
                                   for n in marker.tables if n in present))  # fmt: skip
            self.session.run(*(f"ALTER SCHEMA {quote(self.live)} TRANSFER {place(self.next, t.name)}"
                               for t in self.plan.tables))  # fmt: skip
            self._mark(self.live, self.plan.marker)
            self._drop(self.next)
            self._grant(readers)
            reach("publish.swap")

    def sweep(self) -> list[str]:
        """What is still read stays for the next time."""
        session, left = self.session, []
        for schema in self._schemas(rf"{self.old}\d*"):
            try:
                self._drop(schema)
                session.connection.commit()
            except session.error as error:
                session.undo()
                left.append(f"{schema}: {session.hide(first_line(error))}")
        return left

    def _drop(self, schema: str) -> None:
        """Drop a schema of ours, what refers to other tables first."""
        marker = self._marker(schema)
        ours = self._objects(schema) & set(marker.tables if marker else ())
        keys = self.session.rows(
            "SELECT OBJECT_NAME(parent_object_id), name FROM sys.foreign_keys WHERE "
            f"schema_id = SCHEMA_ID({literal(schema)})")  # fmt: skip
        place, quote = self.plan.place, self.plan.quote
        self.session.run(*(f"ALTER TABLE {place(schema, str(t))} DROP CONSTRAINT {quote(str(k))}" for t, k in keys),
                         *(f"DROP TABLE {place(schema, n)}" for n in sorted(ours)),
                         f"DROP SCHEMA {quote(schema)}")  # fmt: skip
