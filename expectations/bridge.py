"""Evaluates the rules of a table with great-expectations, inside the database.

great-expectations gives the verdicts, in one validation per table, and never sees a value of a row.
Only for broken rules does SQL of our own count the rows, and on which days they lie.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any

import duckdb

from expectations import sql

if TYPE_CHECKING:
    from collections.abc import Iterable

    from expectations.rules import Rule, RuleSet

UNKNOWN_DAY = "unknown"
"""The day of a breach in a row that has none."""

_RELATION = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MOST_ASSETS = 128


class RuleError(RuntimeError):
    """A rule could not be evaluated; says nothing of the data, and names table and rules."""

    def __init__(self, table: str, rules: tuple[str, ...], why: str) -> None:
        named = f"rule {', '.join(map(repr, rules))} could not be evaluated" if rules else "not evaluated"
        super().__init__(f"{table}: {named}: {why}")
        self.table = table
        self.rules = rules


@dataclass(frozen=True)
class RuleResult:
    """What came of one rule.

    `unexpected` and `total` count rows; for `columns` they count columns, for `row_count`
    `unexpected` is how many rows there are too few or too many. A rule that is broken without
    days in `failed_days` is broken for the whole table. `reason` names columns, never values.
    """

    rule: Rule
    passed: bool
    unexpected: int
    total: int
    failed_days: dict[str, int] = field(default_factory=dict)
    reason: str = ""


def evaluate(connection: duckdb.DuckDBPyConnection, relation: str, rules: RuleSet) -> list[RuleResult]:
    """Evaluate the rules of a table on a relation that is visible in this very connection.

    Results come in the order of the rules. A result of the connection that was not read yet is
    lost. A column that the relation lacks breaks every rule that needs it.
    """
    if not _RELATION.fullmatch(relation):
        raise RuleError(rules.table, (), "the relation's name is not a plain identifier")
    return _Evaluation(connection, relation, rules).results()


def prepare() -> None:
    """Import great-expectations now: seconds that a thread can spend while the database works."""
    _session.start()


class _Evaluation:
    """One relation under the rules of one table."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, relation: str, rules: RuleSet) -> None:
        self.connection = connection
        self.relation = relation
        self.rules = rules
        described = self._read((), f"DESCRIBE {sql.quoted(relation)}")
        self.types: dict[str, str] = {row[0]: row[1] for row in described}
        self.day = self._day()
        self.total: int = self._read((), f"SELECT count(*) FROM {sql.quoted(relation)}")[0][0]  # noqa: S608

    def results(self) -> list[RuleResult]:
        unmet = {rule.name: why for rule in self.rules.rules if (why := self._unmet(rule))}
        asked = [rule for rule in self.rules.rules if rule.name not in unmet]
        passed = self._verdicts(asked)
        return [
            RuleResult(rule, passed=True, unexpected=0, total=self._population(rule))
            if passed.get(rule.name)
            else self._broken(rule, unmet.get(rule.name, ""))
            for rule in self.rules.rules
        ]

    def _read(self, names: tuple[str, ...], query: str) -> list[tuple[Any, ...]]:
        """Run SQL of our own; an error is raised without what it may quote from a row."""
        from expectations.duckdb_dialect import safe_error

        withheld: duckdb.Error | None = None
        try:
            return self.connection.execute(query).fetchall()
        except duckdb.Error as error:
            withheld = safe_error(error)
        raise RuleError(self.rules.table, names, f"{type(withheld).__name__}: {withheld}")

    def _day(self) -> str | None:
        column = self.rules.day_column
        if column is None or column not in self.types:
            return None
        day = sql.day_expression(column, self.types[column])
        if day is None:
            why = f"the day column {column!r} is of type {self.types[column]}"
            raise RuleError(self.rules.table, (), why)
        return day

    def _missing(self, columns: Iterable[str]) -> list[str]:
        return [column for column in columns if column not in self.types]

    def _unmet(self, rule: Rule) -> str:
        """Return why a rule cannot be asked: columns that it needs and the relation lacks."""
        if rule.kind == "columns":
            return ""
        if missing := self._missing(rule.columns):
            return f"missing columns: {', '.join(missing)}"
        # Which columns SQL needs, only the database can say, and it need not unless some are missing.
        expected = [column for other in self.rules.rules for column in other.columns]
        if rule.kind in {"holds", "query"} and self._missing(expected):
            bound = sql.over(sql.quoted(self.relation), sql.any_breach(rule))
            try:
                self.connection.execute(f"DESCRIBE {bound}")
            except duckdb.BinderException:
                return f"may need missing columns: {', '.join(self._missing(expected))}"
            except duckdb.Error:
                return ""
        return ""

    def _verdicts(self, rules: list[Rule]) -> dict[str, bool]:
        """Return which rules hold; one that great-expectations could not evaluate is an error."""
        if not rules:
            return {}
        verdicts, raised = _session.validate(self.connection, self.relation, rules)
        if raised:
            self._blame([rule for rule in rules if rule.name in raised])
        return verdicts

    def _blame(self, rules: list[Rule]) -> None:
        """Raise for the rules that are at fault: one bad rule spoils the query that it shares."""
        for rule in rules:
            if rule.kind not in {"columns", "row_count"}:
                self._read((rule.name,), sql.over(sql.quoted(self.relation), sql.any_breach(rule)))
        names = tuple(rule.name for rule in rules)
        raise RuleError(self.rules.table, names, "great-expectations raised an exception")

    def _population(self, rule: Rule) -> int:
        return len(rule.columns) if rule.kind == "columns" else self.total

    def _broken(self, rule: Rule, reason: str) -> RuleResult:
        """Count what breaks a rule."""
        if rule.kind == "columns":
            wrong = self._missing(rule.columns)
            reason = f"missing columns: {', '.join(wrong)}" if wrong else "the columns differ"
            if rule.exact:
                extra = [column for column in self.types if column not in rule.columns]
                reason += f"; unexpected columns: {', '.join(extra)}" if extra else ""
                wrong = wrong + extra or [
                    found for found, named in zip(self.types, rule.columns, strict=False) if found != named
                ]
                reason = reason.removeprefix("the columns differ; ").replace("the columns differ", "the order of the columns differs")  # noqa: E501
            return RuleResult(rule, False, len(wrong), len(rule.columns), self._days(sql.all_rows()), reason)
        if rule.kind == "row_count":
            low, high = rule.minimum, rule.maximum
            short = int(low) - self.total if low is not None else 0  # type: ignore[arg-type]
            surplus = self.total - int(high) if high is not None else 0  # type: ignore[arg-type]
            return RuleResult(rule, passed=False, unexpected=max(short, surplus), total=self.total)
        return RuleResult(rule, False, 0, 0)
