"""PostgreSQL: COPY into a schema aside, swapped by two renames in one transaction."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from exports.contract import PublishedTable
from exports.sql.bulk import csv_text, insert_literals
from exports.sql.outlet import Outlet
from exports.sql.plan import Marker, literal
from exports.sql.session import first_line, sqlstate
from resources.errors import PublishError
from resources.failpoints import reach

if TYPE_CHECKING:
    import pyarrow as pa

_LOCK_SPACE = 0x6265_6876  # "behv": of advisory locks, the upper half
_DEPENDENT = "2BP01"  # dependent_objects_still_exist
_PATIENCE = "2s"  # for readers of what is to be dropped


class Postgres(Outlet):
    """A schema of a PostgreSQL database (12 or newer)."""

    @contextmanager
    def alone(self) -> Iterator[None]:
        """An advisory lock of the session; closing the connection frees it, also where the process dies."""
        session = self.session
        key = f"{_LOCK_SPACE}, hashtext({literal(self.live)})"
        with session.transaction("connecting"):
            session.run("SET client_encoding TO 'UTF8'", "SET client_min_messages TO warning",
                        "SET maintenance_work_mem TO '256MB'")  # of indexes
            if not session.value(f"SELECT CASE WHEN pg_try_advisory_lock({key}) THEN 1 ELSE 0 END"):
                msg = f"another publication to schema {self.live} is at work there. Publish again when it is done."
                raise PublishError(msg)
        yield

    def check(self, readers: Sequence[str]) -> None:
        """The right to make schemas, the owner of what is to be replaced, foreign objects, unknown readers."""
        session = self.session
        with session.transaction("looking at the database"):
            if not session.value("SELECT CASE WHEN has_database_privilege(current_database(), 'CREATE') THEN 1 END"):
                role, database = session.rows("SELECT current_user, current_database()")[0]
                msg = (f'role {role} may not create schemas in database {database}. Its owner lets it: GRANT CREATE ON '
                       f'DATABASE "{database}" TO "{role}".')  # fmt: skip
                raise PublishError(msg)
            for reader in readers:
                if not session.rows(f"SELECT 1 FROM pg_roles WHERE rolname = {literal(reader)}"):
                    msg = f"--reader {reader}: there is no such role. Make it first: CREATE ROLE {reader} LOGIN …"
                    raise PublishError(msg)
            for schema in self._ours(rf"({self.live}|{self.next}|{self.old}\d*)"):
                self._check_schema(schema)

    def _check_schema(self, schema: str) -> None:
        session = self.session
        objects = {
            str(name) for (name,) in session.rows(
                f"SELECT relname FROM pg_class WHERE relnamespace = {literal(schema)}::regnamespace AND relkind <> 'i' "
                f"UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = {literal(schema)}::regnamespace"
            )
        }  # fmt: skip
        self.refuse_foreign(schema, objects, self._marker(schema))
        owner = session.rows(
            "SELECT pg_get_userbyid(nspowner), current_user FROM pg_namespace WHERE nspname = "
            f"{literal(schema)} AND NOT pg_has_role(nspowner, 'USAGE')"
        )
        if owner:
            msg = f"schema {schema} belongs to role {owner[0][0]}, so that {owner[0][1]} cannot replace it."
            raise PublishError(msg)

    def _ours(self, pattern: str) -> list[str]:
        """Schemas by a pattern of their names."""
        told = self.session.rows("SELECT nspname FROM pg_namespace ORDER BY nspname")
        return [str(name) for (name,) in told if re.fullmatch(pattern, str(name))]

    def _marker(self, schema: str) -> Marker | None:
        return Marker.parse(self.session.value(
            f"SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = {literal(schema)}"
        ))  # fmt: skip

    def served(self) -> Marker | None:
        """From the comment of the schema."""
        return self._marker(self.live)

    def counts(self, schema: str) -> dict[str, int]:
        """Counted, not estimated."""
        present = {str(n) for (n,) in self.session.rows(
            f"SELECT tablename FROM pg_tables WHERE schemaname = {literal(schema)}")}  # fmt: skip
        names = [t.name for t in self.plan.tables if t.name in present]
        return {n: int(self.session.value(f"SELECT count(*) FROM {self.plan.place(schema, n)}")) for n in names}

    def prepare(self) -> None:
        """A schema aside that nobody else may look into, with its marker from its first moment."""
        session = self.session
        with session.transaction(f"making schema {self.next}"):
            if self._ours(self.next):
                self._drop(self.next)
            quoted = self.plan.quote(self.next)
            session.run(f"CREATE SCHEMA {quoted}", f"REVOKE ALL ON SCHEMA {quoted} FROM PUBLIC",
                        f"COMMENT ON SCHEMA {quoted} IS {literal(self.plan.marker.text)}")  # fmt: skip

    def load(self, table: PublishedTable, batches: Iterator[pa.RecordBatch], tell: Callable[[int], None]) -> None:
        """By COPY; through ODBC by INSERT.

        Frozen rows are seen by transactions that are older than they are: to REPEATABLE READ, others' tables would
        be empty after the swap.
        """
        session, place = self.session, self.plan.place(self.next, table.name)
        with session.transaction(f"loading {table.name}"):
            session.run(self.plan.create(table, self.next))
            if session.odbc:
                insert_literals(session, place, batches, tell)
                return
            into = f"COPY {place} FROM STDIN (FORMAT csv, FREEZE)"
            with session.connection.cursor() as cursor, cursor.copy(into) as copy:
                for batch in batches:
                    reach("publish.load")
                    copy.write(csv_text(batch))
                    tell(batch.num_rows)

    def complete(self) -> None:
        """Keys, descriptions, and the planner's statistics."""
        session = self.session
        for statement in self.plan.keys(self.next):
            with session.transaction(f"adding keys in schema {self.next}"):
                session.run(statement)
        with session.transaction(f"describing schema {self.next}"):
            session.run(*self.plan.comments(self.next))
            session.run(*(f"ANALYZE {self.plan.place(self.next, t.name)}" for t in self.plan.tables))

    def _readers(self) -> list[str]:
        """Who may look into the live schema, beside its owner, as quoted names."""
        return [str(name) for (name,) in self.session.rows(
            "SELECT DISTINCT quote_ident(pg_get_userbyid(acl.grantee)) FROM pg_namespace n, aclexplode(n.nspacl) acl "
            f"WHERE n.nspname = {literal(self.live)} AND acl.grantee NOT IN (0, n.nspowner) "
            "AND acl.privilege_type = 'USAGE'"
        )]  # fmt: skip

    def grant(self, readers: Sequence[str]) -> None:
        """The schema and its tables, to read."""
        with self.session.transaction("granting"):
            self._grant(self.live, [self.plan.quote(r) for r in readers])

    def _grant(self, schema: str, readers: Sequence[str]) -> None:
        quoted = self.plan.quote(schema)
        for reader in readers:
            self.session.run(f"GRANT USAGE ON SCHEMA {quoted} TO {reader}",
                             f"GRANT SELECT ON ALL TABLES IN SCHEMA {quoted} TO {reader}")  # fmt: skip

    def swap(self, readers: Sequence[str]) -> None:
        """Two renames: open transactions go on with the tables that they read."""
        session = self.session
        with session.transaction(f"swapping schema {self.live}"):
            session.run(f"SET LOCAL lock_timeout = '{_PATIENCE}'")
            kept = self._readers()
            if self._ours(self.live):
                live, old = self.plan.quote(self.live), self.plan.quote(self._free())
                # Whoever read it goes on reading in an open transaction; nobody begins to.
                session.run(*(f"REVOKE ALL ON SCHEMA {live} FROM {r}" for r in (*kept, "PUBLIC")),
                            f"ALTER SCHEMA {live} RENAME TO {old}")  # fmt: skip
            session.run(f"ALTER SCHEMA {self.plan.quote(self.next)} RENAME TO {self.plan.quote(self.live)}")
            self._grant(self.live, sorted({*kept, *(self.plan.quote(r) for r in readers)}))
            reach("publish.swap")

    def _free(self) -> str:
        """A name for what is put away: older ones may still be read."""
        taken = set(self._ours(rf"{self.old}\d*"))
        return next(n for n in (self.old, *(f"{self.old}{i}" for i in range(2, 100))) if n not in taken)

    def sweep(self) -> list[str]:
        """What is still read, or what others built views on, stays for the next time."""
        session, left = self.session, []
        for schema in self._ours(rf"{self.old}\d*"):
            try:
                session.run(f"SET LOCAL lock_timeout = '{_PATIENCE}'")
                self._drop(schema)
                session.connection.commit()
            except session.error as error:
                session.undo()
                left.append(f"{schema}: {_why(error)}")
        return left

    def _drop(self, schema: str) -> None:
        """Drop a schema of ours; a view that others made over it is never taken along, and makes this fail."""
        marker = self._marker(schema)
        names = [str(n) for (n,) in self.session.rows(
            f"SELECT tablename FROM pg_tables WHERE schemaname = {literal(schema)}")]  # fmt: skip
        ours = [self.plan.place(schema, n) for n in names if marker and n in marker.tables]
        if ours:
            self.session.run(f"DROP TABLE {', '.join(ours)}")
        self.session.run(f"DROP SCHEMA {self.plan.quote(schema)}")


def _why(error: Exception) -> str:
    """Why something cannot be dropped; what depends on it is named."""
    detail = getattr(getattr(error, "diag", None), "message_detail", None)
    if sqlstate(error) == _DEPENDENT and detail:
        return f"{str(detail).splitlines()[0]}; made by others, so make it anew over what is served now"
    return first_line(error)
