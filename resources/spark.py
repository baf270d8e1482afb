"""Spark as what computes the tables from silver events on: a session of this machine, or a remote one (Spark Connect).

Spark reads the lake's Delta tables itself, each at the version that this process sees, and its executors write the data
files with the lake's own writer, so that no row of an event passes through this process. What comes back is which
files there are; this process commits them as it commits its own, with the same marks, in one transaction.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.operations as ops
import ibis.expr.types as ir
import pyarrow as pa
from ibis.backends.duckdb import Backend

from resources.compute import shared
from resources.engine import SURROGATE_HEX_DIGITS
from resources.executor import shipped
from resources.parquet import DataFile
from resources.part_writer import BUCKET, FOUND, PART
from resources.parts import Parts
from resources.table import LakeTable

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from expectations.bridge import RuleResult
    from expectations.rules import RuleSet
    from resources.compute import Written

FILE_ROWS = 5_000_000  # about as many rows that a file is made of; a larger part is several files


@ibis.udf.scalar.builtin
def conv(digits: str, from_base: int, to_base: int) -> str:
    """A number in another base."""


@ibis.udf.scalar.builtin
def sha2(text: str, bits: int) -> str:
    """A SHA-2 hash in hex digits."""


def _surrogate_key(tab: ir.StringValue, business_id: ir.StringValue) -> ir.Value:
    """As the macro of the same name in ``resources.engine``, of Spark's functions."""
    digest = sha2(tab.concat("\x1f", business_id), 256)
    return conv(digest.substr(0, SURROGATE_HEX_DIGITS), 16, 10).cast("int64")


_OF_SPARK: dict[str, Callable[..., ir.Value]] = {"surrogate_key": _surrogate_key}


def of_spark(expression: ir.Expr) -> ir.Expr:
    """An expression in which functions that the engines supply by name are made of those that Spark has."""

    def replaced(node: ops.Node, changed: dict[str, Any] | None) -> Any:
        made = _OF_SPARK.get(getattr(node, "__func_name__", ""))
        if made is not None:
            arguments = changed or dict(zip(node.argnames, node.args, strict=True))
            return made(**{name: value.to_expr() for name, value in arguments.items()}).op()
        return node.__recreate__(changed) if changed else node

    return expression.op().replace(replaced).to_expr()


class Spark:
    """Computes in a Spark session. ``local``: the DuckDB of this process."""

    def __init__(self, session: SparkSession, local: Backend) -> None:
        self.session = session
        self.local = local
        self._ibis = ibis.pyspark.connect(session)
        self._held: dict[str, DataFrame] = {}
        self._views = 0

    def at_once(self, rows: int) -> int:  # noqa: ARG002 - of the interface
        """Everything: Spark bounds its memory by itself."""
        return sys.maxsize

    def read(self, table: LakeTable, files: Sequence[DataFile]) -> ir.Table:
        """The table's version that this process sees, through Delta: all of it or some days, else those files alone."""
        types = ibis.Schema.from_pyarrow(table.spec.schema)
        if not files:
            return ibis.memtable(table.spec.schema.empty_table(), schema=types)
        paths = table.absolute(files)  # all of them are there
        days, wanted = {f.part for f in files}, {f.path for f in files}
        if wanted == {f.path for f in table.files()} and not table.first_day:
            frame = self._through_delta(table)
        elif table.spec.by_day and wanted == {f.path for f in table.files() if f.part in days}:
            named = ", ".join(f"DATE '{day}'" for day in sorted(days))
            frame = self._through_delta(table).where(f"event_date IN ({named})")
        else:
            frame = self.session.read.schema(_types(types)).parquet(*paths)
        self._views += 1
        return self._named(f"{table.spec.view}_{self._views}", frame)

    def _through_delta(self, table: LakeTable) -> DataFrame:
        return self.session.read.format("delta").option("versionAsOf", table.version).load(str(table.root))

    def hold(self, name: str, expression: ir.Table) -> ir.Table:
        """Kept by Spark's cache under a name."""
        frame = self._frame(expression).persist()
        made = self._named(name, frame)
        if name in self._held:
            self._held[name].unpersist()
        self._held[name] = frame
        return made

    def rows(self, expression: ir.Table) -> pa.Table:
        """A result that is small enough for this process."""
        return self._frame(expression).toArrow().cast(expression.schema().to_pyarrow())

    def write(
        self, target: LakeTable, expression: ir.Table, parts: Parts | None, marks: Mapping[str, str] | str,
        origins: Mapping[str, str] | None = None, order: Sequence[str] = (), made_of: int = 0,
    ) -> Written:
        """Executors sort the rows into parts and write them; a large part is several files."""
        spec = target.spec
        columns = expression.select(*(n for n in spec.schema.names if n in expression.columns))
        if parts is None:
            if isinstance(marks, str) or len(marks) != 1:
                msg = "rows that are one part need one fingerprint"
                raise ValueError(msg)
            columns = columns.mutate(**{PART: ibis.literal(next(iter(marks)))})
        else:
            columns = columns.mutate(**{PART: parts.name(columns)})
        count = 1 if isinstance(marks, str) else max(len(marks), 1)
        buckets = max(1, made_of // count // FILE_ROWS)
        columns = columns.mutate(**{BUCKET: columns[columns.columns[0]].hash() % buckets if buckets > 1 else 0})
        frame = self._frame(columns)
        together = min(count * buckets, self._parallel) if parts is not None else 1
        frame = frame.repartition(together, PART, BUCKET).sortWithinPartitions(PART, BUCKET, *order)
        writer = shipped(
            "resources.part_writer", "PartWriter", root=str(target.root), by_day=spec.by_day, schema=spec.schema,
            undictionaried=spec.undictionaried, marks=marks if isinstance(marks, str) else dict(marks),
            origins=dict(origins or {}),
        )  # fmt: skip
        found = [DataFile(**row.asDict()) for row in frame.mapInArrow(writer, FOUND).collect()]
        empty = spec.schema.empty_table()
        wanted = {} if isinstance(marks, str) else dict(marks)
        missing = wanted.keys() - {f.part for f in found}
        found += [target.write(p, wanted[p], [empty], (origins or {}).get(p, "")) for p in sorted(missing)]
        return lambda: found

    @property
    def _parallel(self) -> int:
        return int(self.session.conf.get("spark.sql.shuffle.partitions", "200") or 200)

    def judge(
        self, table: LakeTable, files: Sequence[DataFile], related: Iterable[LakeTable], rules: RuleSet,
        sharing: tuple[Sequence[DataFile], Sequence[str]] | None = None,
    ) -> list[RuleResult]:
        """By SQL in Spark."""
        from expectations.spark import evaluate

        view = table.spec.view
        views = {t.spec.view: self.read(t, t.files()) for t in related}
        if sharing is None:
            views[view] = self.read(table, files)
        else:
            views |= {f"{view}_all": self.read(table, files), f"{view}_sharing": self.read(table, sharing[0])}
        for name, rows in views.items():
            self._frame(rows).createOrReplaceTempView(name)
        if sharing is not None:
            quoted = shared(view, sharing[1]).replace('"', "`")
            self.session.sql(quoted).createOrReplaceTempView(view)
        return evaluate(self.session, view, rules)

    def _named(self, name: str, frame: DataFrame) -> ir.Table:
        frame.createOrReplaceTempView(name)
        return self._ibis.table(name)

    def _frame(self, expression: ir.Table) -> DataFrame:
        made = of_spark(expression)
        for node in made.op().find(ops.InMemoryTable):
            rows = node.data.to_pyarrow(node.schema)
            frame = self.session.createDataFrame(rows, _types(node.schema))
            frame.createOrReplaceTempView(node.name)
        frame, wanted = self.session.sql(str(self._ibis.compile(made))), _types(made.as_table().schema())
        # A literal is an INT to Spark whatever type the expression gives it, and a sum of decimals a wider one.
        if [(f.name, f.dataType) for f in frame.schema] != [(f.name, f.dataType) for f in wanted]:
            frame = frame.select(*(frame[f.name].cast(f.dataType) for f in wanted))
        return frame


def _types(schema: ibis.Schema) -> Any:
    """A schema as Spark has it; rows alone do not tell it where there are none."""
    from pyspark.sql.pandas.types import from_arrow_schema

    return from_arrow_schema(schema.to_pyarrow())
