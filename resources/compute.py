"""What computes the tables from silver events on: reads the lake, keeps intermediate results, writes parts.

The expressions are the same wherever they run. DuckDB, in this process, is here; Spark in ``resources.spark``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import ibis
import ibis.expr.types as ir
import pyarrow as pa
from ibis.backends.duckdb import Backend

from resources.parquet import DataFile
from resources.parts import Parts
from resources.table import LakeTable, TableSpec

if TYPE_CHECKING:
    from expectations.bridge import RuleResult
    from expectations.rules import RuleSet

_MOST_HELD = 3_000_000  # a part that is made of more rows is written as a stream, not held in memory
Written = Callable[[], list[DataFile]]


class Compute(Protocol):
    """An engine with the lake in reach.

    ``local`` is the DuckDB of this process, for what is small, and for models.
    """

    local: Backend

    def at_once(self, rows: int) -> int:
        """How many rows may be worked on at a time where the setting ``chunk_rows`` says so many."""

    def read(self, table: LakeTable, files: Sequence[DataFile]) -> ir.Table:
        """Live data files of a table; no files give no rows, with the table's columns."""

    def hold(self, name: str, expression: ir.Table) -> ir.Table:
        """Compute an expression now and keep the result under a name, in place of an older one of that name."""

    def rows(self, expression: ir.Table) -> pa.Table:
        """A small result, in this process."""

    def write(
        self, target: LakeTable, expression: ir.Table, parts: Parts | None, marks: Mapping[str, str] | str,
        origins: Mapping[str, str] | None = None, order: Sequence[str] = (), made_of: int = 0,
    ) -> Written:
        """Run an expression and write a file for each part in ``marks``, which gives their fingerprints.

        A part without rows gets an empty file. ``marks`` may be one fingerprint for whatever parts are found;
        ``parts`` None means that the rows are one part. Columns that the expression lacks are written as NULL.
        ``origins``: of DataFile. ``order``: columns by which rows are sorted in a file. ``made_of``: about how many
        rows are read for it. The function that is returned ends the writing, and another thread may call it.
        """

    def judge(
        self, table: LakeTable, files: Sequence[DataFile], related: Iterable[LakeTable], rules: RuleSet,
        sharing: tuple[Sequence[DataFile], Sequence[str]] | None = None,
    ) -> list[RuleResult]:
        """What rules say of some files of a table; ``related`` are the tables that they compare it with.

        ``sharing`` (other files, columns) leaves only rows whose values in these columns are in the other files, too.
        """


class DuckDB:
    """Computes in this process, with the limits of the backend."""

    def __init__(self, backend: Backend) -> None:
        self.local = backend

    def at_once(self, rows: int) -> int:
        """As many as the setting says: that bounds memory."""
        return rows

    def read(self, table: LakeTable, files: Sequence[DataFile]) -> ir.Table:
        """The files, by their paths."""
        return read_files(self.local, table.spec, table.absolute(files))

    def hold(self, name: str, expression: ir.Table) -> ir.Table:
        """A temporary table."""
        return hold(self.local, name, expression)

    def rows(self, expression: ir.Table) -> pa.Table:
        """The result."""
        return self.local.to_pyarrow(expression)

    def write(
        self, target: LakeTable, expression: ir.Table, parts: Parts | None, marks: Mapping[str, str] | str,
        origins: Mapping[str, str] | None = None, order: Sequence[str] = (), made_of: int = 0,
    ) -> Written:
        """The result is held in memory and written by the returned function; a large part is streamed at once."""
        origin = origins or {}
        columns = expression.select(*(n for n in target.spec.schema.names if n in expression.columns))
        columns = columns.order_by(*order) if order else columns
        if not isinstance(marks, str) and len(marks) == 1:
            ((part, mark),) = marks.items()
            if made_of <= _MOST_HELD:
                rows = self.local.to_pyarrow(columns)
                return lambda: [target.write(part, mark, [rows], origin.get(part, ""))]
            file = target.write(part, mark, self.local.to_pyarrow_batches(columns), origin.get(part, ""))
            return lambda: [file]
        if parts is None:
            msg = "rows that are one part need one fingerprint"
            raise ValueError(msg)
        table = self.local.to_pyarrow(columns)

        def write() -> list[DataFile]:
            found = parts.split(table)
            empty = target.spec.schema.empty_table()
            wanted = dict.fromkeys(found, marks) if isinstance(marks, str) else marks
            return [target.write(p, mark, [found.get(p, empty)], origin.get(p, "")) for p, mark in wanted.items()]

        return write

    def judge(
        self, table: LakeTable, files: Sequence[DataFile], related: Iterable[LakeTable], rules: RuleSet,
        sharing: tuple[Sequence[DataFile], Sequence[str]] | None = None,
    ) -> list[RuleResult]:
        """By great-expectations, in the database."""
        from expectations.bridge import evaluate

        view = table.spec.view
        for other in related:
            self._register(other, other.files(), other.spec.view)
        if sharing is None:
            self._register(table, files, view)
        else:
            self._register(table, files, f"{view}_all")
            self._register(table, sharing[0], f"{view}_sharing")
            self.local.con.execute(f"CREATE OR REPLACE VIEW {view} AS {shared(view, sharing[1])}")
        return evaluate(self.local.con, view, rules)

    def _register(self, table: LakeTable, files: Sequence[DataFile], view: str) -> None:
        """A view over some files of a table."""
        con = self.local.con
        names = ", ".join("'" + p.replace("'", "''") + "'" for p in table.absolute(files))
        if names:
            # A day that is held back may be as an older version of the program wrote it, with fewer columns.
            source = f"read_parquet([{names}], union_by_name = true)"
            con.execute(f"CREATE OR REPLACE VIEW {view} AS SELECT * FROM {source}")
        else:
            con.register(f"{view}_empty", table.spec.schema.empty_table())
            con.execute(f"CREATE OR REPLACE VIEW {view} AS SELECT * FROM {view}_empty")


def shared(view: str, columns: Sequence[str]) -> str:
    """SQL for the rows of ``<view>_all`` whose values in some columns are in ``<view>_sharing``, none of them NULL."""
    names = ", ".join(f'"{name}"' for name in columns)
    return f"SELECT * FROM {view}_all WHERE ({names}) IN (SELECT {names} FROM {view}_sharing)"


def read_files(backend: Backend, spec: TableSpec, paths: Sequence[str]) -> ir.Table:
    """Data files as an Ibis table; no files give no rows, with the table's columns."""
    types = ibis.Schema.from_pyarrow(spec.schema)
    if not paths:
        return ibis.memtable(spec.schema.empty_table(), schema=types)
    if not spec.widened:
        return backend.read_parquet(list(paths))
    rows = backend.read_parquet(list(paths), union_by_name=True)
    missing = [name for name in types if name not in rows.columns]
    return rows.mutate(**{name: ibis.null(types[name]) for name in missing}) if missing else rows


def hold(backend: Backend, name: str, expression: ir.Table) -> ir.Table:
    """Compute an expression now and keep the result as a temporary table, in place of an older one of that name."""
    # Not create_table's own overwrite, which fills a second table from the first.
    backend.raw_sql(f'DROP TABLE IF EXISTS temp.main."{name}"')
    return backend.create_table(name, expression, temp=True)


def parts_of(compute: Compute, table: LakeTable, parts: Iterable[str]) -> ir.Table:
    """The named parts of a lake table."""
    live = table.parts()
    return compute.read(table, [f for part in parts for f in live.get(part, [])])


def all_of(compute: Compute, table: LakeTable) -> ir.Table:
    """A whole lake table."""
    return compute.read(table, table.files())
