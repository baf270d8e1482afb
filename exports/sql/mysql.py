"""MySQL and MariaDB: a schema is a database there; tables move between databases with one RENAME TABLE.

Rows go as INSERT statements of half a megabyte. LOAD DATA LOCAL would take two thirds of the time, but a client that
allows it hands out any file that the server asks for, keys among them, and the server then only warns of bad rows.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from exports.contract import PublishedTable
from exports.sql.bulk import insert_literals
from exports.sql.outlet import Outlet
from exports.sql.plan import Marker, literal
from exports.sql.session import first_line
from resources.errors import PublishError
from resources.failpoints import reach

if TYPE_CHECKING:
    import pyarrow as pa

_PATIENCE = 3  # seconds for readers; whoever comes after a waiting RENAME waits as well
_TRIES = 4
_MARKED = "refresh_info"  # the table whose comment is the marker: MySQL has no comments on databases


class MySql(Outlet):
    """A database of a MySQL (8 or newer) or MariaDB server."""

    @contextmanager
    def alone(self) -> Iterator[None]:
        """A named lock of the server; closing the connection frees it, also where the process dies."""
        session = self.session
        with session.transaction("connecting"):
            modes = "STRICT_ALL_TABLES,NO_BACKSLASH_ESCAPES,NO_ENGINE_SUBSTITUTION"
            if "mariadb" in str(session.value("SELECT VERSION()")).lower():
                modes += ",NO_AUTO_CREATE_USER"  # else a GRANT to a misspelt reader makes one without a password
            session.run(f"SET SESSION lock_wait_timeout = {_PATIENCE}", f"SET SESSION sql_mode = '{modes}'")
            if not session.value(f"SELECT GET_LOCK({literal('behavior publish ' + self.live)}, 0)"):
                msg = f"another publication to database {self.live} is at work there. Publish again when it is done."
                raise PublishError(msg)
        yield

    def check(self, readers: Sequence[str]) -> None:
        """Foreign tables; readers are granted here, as only that tells whether they exist."""
        with self.session.transaction("looking at the databases"):
            for schema in self._databases(rf"({self.live}|{self.next}|{self.old}\d*)"):
                self.refuse_foreign(schema, self._objects(schema), self._marker(schema))
        self.grant(readers)

    def _objects(self, schema: str) -> set[str]:
        return {str(name) for (name,) in self.session.rows(
            f"SELECT table_name FROM information_schema.tables WHERE table_schema = {literal(schema)} UNION ALL "
            f"SELECT routine_name FROM information_schema.routines WHERE routine_schema = {literal(schema)}"
        )}  # fmt: skip

    def _databases(self, pattern: str) -> list[str]:
        told = self.session.rows("SELECT schema_name FROM information_schema.schemata ORDER BY schema_name")
        return [str(name) for (name,) in told if re.fullmatch(pattern, str(name))]

    def _marker(self, schema: str) -> Marker | None:
        return Marker.parse(self.session.value(
            f"SELECT table_comment FROM information_schema.tables WHERE table_schema = {literal(schema)} "
            f"AND table_name = {literal(_MARKED)}"
        ))  # fmt: skip

    def served(self) -> Marker | None:
        """From the comment of ``refresh_info``."""
        return self._marker(self.live)

    def counts(self, schema: str) -> dict[str, int]:
        """Counted, not estimated."""
        present = self._objects(schema)
        names = [t.name for t in self.plan.tables if t.name in present]
        return {n: int(self.session.value(f"SELECT count(*) FROM {self.plan.place(schema, n)}")) for n in names}

    def prepare(self) -> None:
        """The marked table comes first, so that whatever a dead publication left is known as its own."""
        quoted = self.plan.quote(self.next)
        creates = dict(zip((t.name for t in self.plan.tables), self.plan.creates(self.next), strict=True))
        with self.session.transaction(
            f"making database {self.next} (a publisher needs ALL on {self.live}, {self.next} and {self.old})"
        ):
            self.session.run(f"DROP DATABASE IF EXISTS {quoted}",
                             f"CREATE DATABASE {quoted} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")  # fmt: skip
            marked = creates.pop(_MARKED).rpartition("COMMENT=")[0] + f"COMMENT={literal(self.plan.marker.text)}"
            self.session.run(marked, *creates.values())

    def load(self, table: PublishedTable, batches: Iterator[pa.RecordBatch], tell: Callable[[int], None]) -> None:
        """In a transaction a table."""
        with self.session.transaction(f"loading {table.name}"):
            insert_literals(self.session, self.plan.place(self.next, table.name), batches, tell)

    def complete(self) -> None:
        """Keys; comments are in the tables already.

        The server takes three times as long to check foreign keys when they are added as queries do.
        """
        session = self.session
        with session.transaction(f"adding keys in database {self.next}"):
            session.run("SET SESSION foreign_key_checks = 0", *self.plan.keys(self.next),
                        "SET SESSION foreign_key_checks = 1")  # fmt: skip
            wrong = [where for where, query in self.plan.orphans(self.next).items() if session.rows(query)]
        if wrong:
            msg = f"keys that are not there in their dimension: {', '.join(wrong)}. `behavior verify` tells more."
            raise PublishError(msg)

    def grant(self, readers: Sequence[str]) -> None:
        """To a database: rights follow its name, so they outlive every swap and never reach what lies aside."""
        # In a grant _ stands for any character.
        where = self.plan.quote(self.live).strip("`").replace("_", "\\_")
        for reader in readers:
            name, _, host = reader.partition("@")
            whom = literal(name) + (f"@{literal(host)}" if host else "")
            with self.session.transaction(f"granting to {reader} (make it first: CREATE USER or CREATE ROLE)"):
                self.session.run(f"GRANT SELECT, SHOW VIEW ON `{where}`.* TO {whom}")

    def swap(self, readers: Sequence[str]) -> None:  # noqa: ARG002 - granted before
        """Waits for queries that are running; a transaction that stays open stops it."""
        marker, old = self.served(), self._free()
        present = self._objects(self.live)
        gone = [n for n in (marker.tables if marker else ()) if n in present]
        place = self.plan.place
        moves = [f"{place(self.live, n)} TO {place(old, n)}" for n in gone]
        moves += [f"{place(self.next, t.name)} TO {place(self.live, t.name)}" for t in self.plan.tables]
        with self.session.transaction(f"swapping database {self.live}"):
            self.session.run(*(f"CREATE DATABASE IF NOT EXISTS {self.plan.quote(n)} CHARACTER SET utf8mb4 "
                               "COLLATE utf8mb4_bin" for n in (self.live, old)))  # fmt: skip
            reach("publish.swap")
            self._rename(f"RENAME TABLE {', '.join(moves)}")
            self.session.run(f"DROP DATABASE {self.plan.quote(self.next)}")

    def _rename(self, statement: str) -> None:
        for attempt in range(1, _TRIES + 1):
            try:
                self.session.run(statement)
            except self.session.error as error:
                if "lock wait timeout" not in str(error).lower():
                    raise
                if attempt == _TRIES:
                    msg = (f"transactions that stay open hold tables of database {self.live}, so that they cannot be "
                           "swapped; they still serve what they did. Publish again when these transactions are done "
                           "(SHOW PROCESSLIST names them).")  # fmt: skip
                    raise PublishError(msg) from error
                time.sleep(1)
            else:
                return

    def _free(self) -> str:
        taken = set(self._databases(rf"{self.old}\d*"))
        return next(n for n in (self.old, *(f"{self.old}{i}" for i in range(2, 100))) if n not in taken)

    def sweep(self) -> list[str]:
        """What others made there since keeps a database from being dropped."""
        session, left = self.session, []
        for schema in self._databases(rf"{self.old}\d*"):
            try:
                self.refuse_foreign(schema, self._objects(schema), self._marker(schema))
                session.run(f"DROP DATABASE {self.plan.quote(schema)}")
            except session.error as error:
                session.undo()
                left.append(f"{schema}: {session.hide(first_line(error))}")
            except PublishError as error:
                left.append(str(error))
        return left
