"""Evaluates the rules of a table in Spark: the same SQL as in the database, in Spark's words, in few passes.

great-expectations gives its verdicts over DuckDB only; here the SQL of a rule is asked whether any row breaks it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlglot
from sqlglot import exp

from expectations import sql
from expectations.bridge import Evaluation, RuleError
from expectations.rules import ROW_KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyspark.sql import SparkSession

    from expectations.bridge import RuleResult
    from expectations.rules import Rule, RuleSet

_TYPES = {"bigint": "BIGINT", "int": "INTEGER", "string": "VARCHAR", "date": "DATE", "boolean": "BOOLEAN"}


def evaluate(session: SparkSession, relation: str, rules: RuleSet) -> list[RuleResult]:
    """Evaluate the rules of a table on a view of a session. As ``expectations.bridge.evaluate``."""
    return SparkEvaluation(session, relation, rules).results()


def of_spark(query: str) -> str:
    """A query in DuckDB's SQL as Spark understands it."""
    tree = sqlglot.parse_one(query, read="duckdb")
    for table in tree.find_all(exp.CTE):
        table.set("materialized", None)
    return tree.transform(_replaced).sql(dialect="spark")


def _replaced(node: exp.Expression) -> exp.Expression:
    if isinstance(node, exp.Anonymous) and node.name.lower() == "list_position":
        return exp.Anonymous(this="array_position", expressions=node.expressions)
    if isinstance(node, exp.RegexpFullMatch):
        return exp.RegexpLike(this=node.this, expression=exp.Literal.string(rf"\A(?:{node.expression.this})\z"))
    return node


class SparkEvaluation(Evaluation):
    """One view under the rules of one table."""

    def __init__(self, session: SparkSession, relation: str, rules: RuleSet) -> None:
        self.session = session
        super().__init__(relation, rules)

    def _columns(self) -> dict[str, str]:
        fields = self.session.table(self.relation).schema
        return {f.name: _TYPES.get(f.dataType.simpleString(), f.dataType.simpleString().upper()) for f in fields}

    def _ask(self, query: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self.session.sql(of_spark(query)).collect()]

    def _names(self, query: str) -> set[str]:
        return set(self.session.sql(of_spark(query)).columns)

    def _read(self, names: tuple[str, ...], query: str) -> list[tuple[Any, ...]]:
        """Run SQL of our own. Spark's errors may quote a row: only their kind is told."""
        try:
            return self._ask(query)
        except Exception as error:  # noqa: BLE001 - py4j, Spark Connect and Sail have errors of their own
            why = type(error).__name__
        raise RuleError.of(self.rules.table, names, why)

    def _understands(self, query: str) -> bool:
        try:
            self._names(query)
        except Exception:  # noqa: BLE001 - as above
            return False
        return True

    def _verdicts(self, rules: list[Rule]) -> dict[str, bool]:
        others = [r for r in rules if r.kind not in ROW_KINDS | {"columns", "row_count"}]
        return {**self._of_table(rules), **self._of_rows(rules), **self._of_queries(others)}

    def _of_table(self, rules: Iterable[Rule]) -> dict[str, bool]:
        told = {}
        for rule in rules:
            if rule.kind == "columns":
                told[rule.name] = not self._wrong_columns(rule)[0]
            elif rule.kind == "row_count":
                told[rule.name] = not self._rows_outside(rule)
        return told

    def _of_rows(self, rules: Iterable[Rule]) -> dict[str, bool]:
        """All rules that look at one row alone, in one pass."""
        mine = [rule for rule in rules if rule.kind in ROW_KINDS]
        if not mine:
            return {}
        counts = ", ".join(f"count(*) FILTER (WHERE {sql.breach(rule)}) AS broken_{n}" for n, rule in enumerate(mine))
        query = self._over_relation(f"SELECT {counts} FROM {sql.ROWS}")
        try:
            (found,) = self._read((), query)
        except RuleError:  # the one at fault is told by name
            return self._of_queries(mine)
        return {rule.name: not count for rule, count in zip(mine, found, strict=True)}

    def _of_queries(self, rules: Iterable[Rule]) -> dict[str, bool]:
        """Rules that compare rows with each other or with another table, each by itself."""
        return {r.name: not self._read((r.name,), self._over_relation(sql.any_breach(r))) for r in rules}
