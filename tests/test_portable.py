"""What runs on DuckDB and on Spark is made of operations that mean the same on both.

House rules and their reasons: durations in integers (`delta` counts crossings here and whole units there), no epoch
seconds (rounded here, floored there), no `hash` and nothing approximate, texts split by `re_split` only, nothing that
depends on the order of rows unless a window says which. What is allowed is what the differential tests have seen equal.
"""

from __future__ import annotations

import ast
from typing import Any

import ibis
import ibis.expr.operations as ops
import ibis.expr.types as ir
import pytest

from behavior_assets.simulation.shop import ShopConfig, simulate
from resources.compute import DuckDB
from tests.conftest import REPOSITORY, Chain

ALLOWED = frozenset({
    "Add", "Aggregate", "And", "Arbitrary", "ArrayIndex", "ArrayLength", "Cast", "Coalesce", "Count",
    "CountDistinct", "CountStar", "DatabaseTable", "DateDelta", "DateSub", "DenseRank", "Distinct", "DropColumns",
    "Equals", "ExtractDay", "ExtractMonth", "ExtractYear", "Field", "Filter", "Floor", "FloorDivide", "Greater",
    "GreaterEqual", "Greatest", "IfElse", "InMemoryTable", "InValues", "IsNull", "JoinChain", "JoinLink",
    "JoinReference", "LPad", "Lag", "Lead", "Least", "Less", "LessEqual", "Literal", "Max", "Median", "Min",
    "Modulus", "Multiply", "Negate", "Not", "NotEquals", "NotNull", "Or", "PercentRank", "Project", "RPad",
    "RegexExtract", "RegexSplit", "RowNumber", "SearchedCase", "Sort", "SortKey", "StartsWith", "StringConcat",
    "Substring", "Subtract", "Sum", "Union", "WindowBoundary", "WindowFunction", "surrogate_key()",
})  # fmt: skip

# Modules whose expressions run on either engine; they may not speak to one of them.
PORTABLE = (
    "behavior_assets/expressions.py", "behavior_assets/sessions/sessionise.py", "behavior_assets/sessions/build.py",
    "behavior_assets/star/aggregates.py", "behavior_assets/star/build.py", "behavior_assets/star/carts.py",
    "behavior_assets/star/dimensions.py", "behavior_assets/star/facts.py", "behavior_assets/star/writing.py",
    "behavior_assets/segmentation/months.py", "behavior_assets/segmentation/rules.py",
)  # fmt: skip
# Attributes by which an expression or a backend leaves Ibis, or says something else on each engine.
OF_ONE_ENGINE = frozenset({"con", "raw_sql", "sql", "execute", "to_pyarrow", "to_pyarrow_batches", "read_parquet",
                           "create_table", "epoch_seconds", "hash", "approx_nunique", "approx_median",
                           "bucket", "asof_join", "uuid"})  # fmt: skip


class Recording(DuckDB):
    """Notes the operations of whatever is computed."""

    def __init__(self, backend: Any, seen: set[str]) -> None:
        super().__init__(backend)
        self.seen = seen

    def _note(self, expression: ir.Expr) -> None:
        self.seen |= {_name(node) for node in expression.op().find(ops.Node)}

    def hold(self, name: str, expression: ir.Table) -> ir.Table:  # noqa: D102 - of the interface, like the next two
        self._note(expression)
        return super().hold(name, expression)

    def rows(self, expression: ir.Table) -> Any:  # noqa: D102
        self._note(expression)
        return super().rows(expression)

    def write(self, target: Any, expression: ir.Table, *arguments: Any, **more: Any) -> Any:  # noqa: D102
        self._note(expression)
        return super().write(target, expression, *arguments, **more)


def _name(node: ops.Node) -> str:
    return f"{node.__func_name__}()" if isinstance(node, ops.ScalarUDF) else type(node).__name__


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The operations of a chain over two months, whole and brought up to date."""
    folder, found = tmp_path_factory.mktemp("portable"), set[str]()
    simulate(ShopConfig(days=40, customers=60, seed=5), folder, "rees46")
    files = sorted((folder / "rees46").glob("*.csv"))
    chain = Chain.at(folder / "home")
    for some in (files[:30], files[30:]):
        chain.ingest(some, "rees46")
        chain.build(by=lambda backend: Recording(backend, found))
    return found


def test_only_operations_that_mean_the_same_everywhere(seen: set[str]) -> None:
    assert seen - ALLOWED == set()


def test_the_list_holds_nothing_that_is_not_used(seen: set[str]) -> None:
    assert ALLOWED - seen == set()


@pytest.mark.parametrize("path", PORTABLE)
def test_no_module_speaks_to_one_engine(path: str) -> None:
    tree = ast.parse((REPOSITORY / path).read_text("utf-8"))
    found = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)} & OF_ONE_ENGINE
    assert found == set()


def test_a_forbidden_operation_is_seen() -> None:
    """The lint itself: the hash of a text is another number on each engine."""
    t = ibis.memtable({"a": ["x"]})
    found = set[str]()
    Recording(ibis.duckdb.connect(), found).rows(t.mutate(h=t.a.hash()))
    assert found - ALLOWED
