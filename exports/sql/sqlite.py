"""SQLite: one transaction in its write-ahead log, beside which readers go on reading what was there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from exports.contract import PublishedTable
from exports.sql.bulk import insert_rows
from exports.sql.outlet import Outlet
from exports.sql.plan import Marker, Plan, literal
from exports.sql.session import Session
from resources.errors import PublishError, UsageError
from resources.failpoints import reach

if TYPE_CHECKING:
    import pyarrow as pa

_PATIENCE = 5_000  # milliseconds for others that write
_MARKED = "behavior_published"  # the table that holds the marker: SQLite has no comments


class Sqlite(Outlet):
    """A SQLite file. It has no schemas and no users: tables have their own names, and readers are not known to it."""

    def __init__(self, session: Session, plan: Plan) -> None:
        """Nothing lies aside: the transaction itself keeps it from readers."""
        super().__init__(session, plan)
        self.live = self.next = ""

    @contextmanager
    def alone(self) -> Iterator[None]:
        """The file's only write transaction, from here to the swap; a process that dies undoes it."""
        session = self.session
        session.connection.isolation_level = None  # transactions begin where we say so
        try:
            session.run(f"PRAGMA busy_timeout = {_PATIENCE}", "PRAGMA journal_mode = WAL",
                        "PRAGMA secure_delete = ON", "BEGIN IMMEDIATE")  # what an erased person leaves becomes zeros
        except session.error as error:
            told = str(error)
            if "locked" in told:
                told = "somebody else is writing to it. Publish again when that is done"
            msg = f"the SQLite file cannot be written to: {told}."
            raise PublishError(msg) from error
        try:
            yield
        finally:
            session.undo()

    def check(self, readers: Sequence[str]) -> None:
        """Tables of our names that are not ours."""
        if readers:
            msg = "--reader: SQLite has no roles; who may read the file is the file system's matter."
            raise UsageError(msg)
        names = {t.name for t in self.plan.tables}
        told = self.session.rows("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")
        self.refuse_foreign("main", {str(n) for (n,) in told} & names, self.served())

    def served(self) -> Marker | None:
        """From a table of its own."""
        known = self.session.rows(f"SELECT 1 FROM sqlite_master WHERE name = {literal(_MARKED)}")
        return Marker.parse(self.session.value(f"SELECT marker FROM {_MARKED}")) if known else None

    def counts(self, schema: str) -> dict[str, int]:
        """Counted."""
        present = {str(n) for (n,) in self.session.rows("SELECT name FROM sqlite_master WHERE type = 'table'")}
        names = [t.name for t in self.plan.tables if t.name in present]
        return {n: int(self.session.value(f"SELECT count(*) FROM {self.plan.place(schema, n)}")) for n in names}

    def prepare(self) -> None:
        """Drop what was published and make it anew, all of it unseen until the commit."""
        marker = self.served()
        with self._telling("making the tables"):
            self.session.run(*(f'DROP TABLE IF EXISTS "{n}"' for n in (marker.tables if marker else ())),
                             f"DROP TABLE IF EXISTS {_MARKED}", *self.plan.creates(""),
                             f"CREATE TABLE {_MARKED} (marker TEXT NOT NULL)",
                             f"INSERT INTO {_MARKED} VALUES ({literal(self.plan.marker.text)})")  # fmt: skip

    def load(self, table: PublishedTable, batches: Iterator[pa.RecordBatch], tell: Callable[[int], None]) -> None:
        """Decimals become floating point, times text: SQLite has no types for either."""
        with self._telling(f"loading {table.name}"):
            insert_rows(self.session, self.plan.place("", table.name), map(_simple, batches), tell)

    def complete(self) -> None:
        """Keys are in the tables already."""

    def grant(self, readers: Sequence[str]) -> None:
        """There are no roles."""

    def swap(self, readers: Sequence[str]) -> None:  # noqa: ARG002 - there are no roles
        """Commit."""
        reach("publish.swap")
        with self._telling("committing"):
            self.session.run("COMMIT")

    def sweep(self) -> list[str]:
        """Nothing was put away."""
        return []

    @contextmanager
    def _telling(self, doing: str) -> Iterator[None]:
        try:
            yield
        except self.session.error as error:
            msg = f"{doing}: {self.session.told(error)}"
            raise PublishError(msg) from error


def _simple(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A batch of what SQLite knows: integers, floating point and texts."""
    import pyarrow as pa

    def kind(told: pa.DataType) -> pa.DataType:
        if pa.types.is_decimal(told):
            return pa.float64()
        return pa.string() if pa.types.is_temporal(told) else told

    return batch.cast(pa.schema([f.with_type(kind(f.type)) for f in batch.schema]))
