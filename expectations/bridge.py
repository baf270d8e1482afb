"""Evaluates the rules of a table with great-expectations, inside the database.

great-expectations gives the verdicts, in one validation per table, and never sees a value of a row.
Only for broken rules does SQL of our own count the rows, and on which days they lie.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import duckdb

from expectations import sql
from expectations.reading import read
from expectations.validation import prepare, verdicts
from resources.errors import RuleError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from expectations.rules import Rule, RuleSet

__all__ = ["UNKNOWN_DAY", "RuleError", "RuleResult", "evaluate", "prepare"]

UNKNOWN_DAY = "unknown"
"""The day of a breach in a row that has none."""

_RELATION = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class RuleResult:
    """What came of one rule.

    `unexpected` and `total` count rows; for `columns` they count columns, and for `row_count`
    `unexpected` is how many rows there are too few or too many. `failed_days` is the number of
    breaking rows by ISO day; a broken rule without days is broken for the table as a whole.
    `reason` speaks of columns, never of values.
    """

    rule: Rule
    passed: bool
    unexpected: int
    total: int
    failed_days: dict[str, int] = field(default_factory=dict)
    reason: str = ""


def evaluate(
    connection: duckdb.DuckDBPyConnection, relation: str, rules: RuleSet
) -> list[RuleResult]:
    """Evaluate the rules of a table on a relation that this very connection can see.

    Results come in the order of the rules. A rule whose columns are missing is broken for every
    row. An unread result of the connection is lost, and one thread at a time may use it.
    """
    if not _RELATION.fullmatch(relation):
        raise RuleError.of(rules.table, (), "the name of the relation is not a plain identifier")
    return DuckDBEvaluation(connection, relation, rules).results()


class Evaluation(ABC):
    """One relation under the rules of one table; where it lies and who answers is for the heirs to say."""

    def __init__(self, relation: str, rules: RuleSet) -> None:
        self.relation = relation
        self.rules = rules
        self.types = self._columns()
        self.wanted = [column for rule in rules.rules for column in rule.columns]
        self.day = self._day()
        self.total: int = self._read((), self._over_relation(sql.HOW_MANY))[0][0]

    def results(self) -> list[RuleResult]:
        unmet = {rule.name: why for rule in self.rules.rules if (why := self._unmet(rule))}
        passed = self._verdicts([rule for rule in self.rules.rules if rule.name not in unmet])
        return [
            self._result(rule, passed=passed.get(rule.name, False), unmet=unmet.get(rule.name, ""))
            for rule in self.rules.rules
        ]

    def _result(self, rule: Rule, *, passed: bool, unmet: str) -> RuleResult:
        total = len(rule.columns) if rule.kind == "columns" else self.total
        if passed:
            return RuleResult(rule, passed=True, unexpected=0, total=total)
        days: dict[str, int] = {}
        reason = unmet
        if unmet:
            unexpected = self.total
            days = self._days(rule, sql.EVERY_ROW)
        elif rule.kind == "columns":
            unexpected, reason = self._wrong_columns(rule)
            days = self._days(rule, sql.EVERY_ROW)
        elif rule.kind == "row_count":
            unexpected = self._rows_outside(rule)
        else:
            unexpected, days = self._breaches(rule)
        return RuleResult(rule, False, unexpected, total, days, reason)  # noqa: FBT003

    @abstractmethod
    def _columns(self) -> dict[str, str]:
        """Return the type of each column, as DuckDB calls it."""

    @abstractmethod
    def _read(self, names: tuple[str, ...], query: str) -> list[tuple[Any, ...]]:
        """Run SQL of our own."""

    @abstractmethod
    def _names(self, query: str) -> set[str]:
        """Return the columns that a query would give."""

    @abstractmethod
    def _understands(self, query: str) -> bool:
        """Return whether all columns that a query needs are there."""

    @abstractmethod
    def _verdicts(self, rules: list[Rule]) -> dict[str, bool]:
        """Return which rules are kept, by name."""

    def _day(self) -> str | None:
        """Return the day of a row as SQL."""
        column = self.rules.day_column
        if column is None:
            return None
        if column not in self.types:
            if column in self.wanted:  # then a rule says so, which is better than an error
                return None
            raise RuleError.of(self.rules.table, (), f"there is no day column {column!r}")
        day = sql.day_expression(column, self.types[column])
        if day is None:
            why = f"the day column {column!r} is of type {self.types[column]}"
            raise RuleError.of(self.rules.table, (), why)
        return day

    def _missing(self, columns: Iterable[str]) -> list[str]:
        return [column for column in dict.fromkeys(columns) if column not in self.types]

    def _unmet(self, rule: Rule) -> str:
        """Return why a rule cannot be asked: the columns that it needs and the relation lacks."""
        if rule.kind == "columns":
            return ""
        if missing := self._missing(rule.columns):
            return f"missing columns: {', '.join(missing)}"
        # Which columns a piece of SQL needs only the database knows. It is asked when some are
        # missing: otherwise a name that it does not find is a mistake in the rule.
        missing = self._missing(self.wanted)
        asked = missing and rule.kind in {"holds", "query"}
        if asked and not self._understands(self._over_relation(sql.any_breach(rule))):
            return f"needs a column that is missing; missing columns: {', '.join(missing)}"
        return ""

    def _over_relation(self, query: str) -> str:
        return sql.over(sql.quoted(self.relation), query)

    def _breaches(self, rule: Rule) -> tuple[int, dict[str, int]]:
        """Return how many rows break a rule, and how many on each day."""
        query = sql.breaches(rule)
        named = self.day and rule.kind == "query"
        if named and self.rules.day_column not in self._names(self._over_relation(query)):
            rows = self._read((rule.name,), self._over_relation(sql.count_by_day(query, None)))
            return rows[0][1], {}
        days = self._days(rule, query)
        if days:
            return sum(days.values()), days
        rows = self._read((rule.name,), self._over_relation(sql.count_by_day(query, None)))
        if not rows:
            why = "great-expectations calls it broken, but no row breaks it"
            raise RuleError.of(self.rules.table, (rule.name,), why)
        return rows[0][1], {}

    def _days(self, rule: Rule, query: str) -> dict[str, int]:
        if self.day is None:
            return {}
        rows = self._read((rule.name,), self._over_relation(sql.count_by_day(query, self.day)))
        return {UNKNOWN_DAY if day is None else day: count for day, count in rows}

    def _wrong_columns(self, rule: Rule) -> tuple[int, str]:
        """Return how many columns are wrong, and which."""
        missing = self._missing(rule.columns)
        extra = (
            [column for column in self.types if column not in rule.columns] if rule.exact else []
        )
        if not missing and not extra:
            moved = [a for a, b in zip(self.types, rule.columns, strict=True) if a != b]
            return len(moved), f"columns out of order: {', '.join(moved)}"
        named = {"missing columns": missing, "unexpected columns": extra}
        return len(missing) + len(extra), "; ".join(
            f"{what}: {', '.join(columns)}" for what, columns in named.items() if columns
        )

    def _rows_outside(self, rule: Rule) -> int:
        """Return how many rows a table has too few or too many."""
        low = rule.minimum if isinstance(rule.minimum, int) else self.total
        high = rule.maximum if isinstance(rule.maximum, int) else self.total
        return max(low - self.total, self.total - high, 0)


class DuckDBEvaluation(Evaluation):
    """A relation of a connection; great-expectations gives the verdicts."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, relation: str, rules: RuleSet
    ) -> None:
        self.connection = connection
        super().__init__(relation, rules)

    def _columns(self) -> dict[str, str]:
        described = self._read((), f"DESCRIBE {sql.quoted(self.relation)}")
        return {row[0]: row[1] for row in described}

    def _read(self, names: tuple[str, ...], query: str) -> list[tuple[Any, ...]]:
        try:
            return read(self.connection, query)[1]
        except duckdb.Error as error:  # its text is safe to pass on
            why = f"{type(error).__name__}: {error}"
            raise RuleError.of(self.rules.table, names, why) from None

    def _names(self, query: str) -> set[str]:
        return {row[0] for row in self._read((), f"DESCRIBE {query}")}

    def _understands(self, query: str) -> bool:
        try:
            read(self.connection, f"DESCRIBE {query}")
        except duckdb.BinderException:
            return False
        except duckdb.Error:
            return True  # great-expectations meets it again and it becomes a RuleError
        return True

    def _verdicts(self, rules: list[Rule]) -> dict[str, bool]:
        if not rules:
            return {}
        passed, raised = verdicts(self.connection, self.relation, rules)
        if raised:
            self._blame([rule for rule in rules if rule.name in raised])
        return passed

    def _blame(self, rules: list[Rule]) -> None:
        """Raise for the rule at fault: a bad one spoils the query that it shares with good ones."""
        for rule in rules:
            if rule.kind not in {"columns", "row_count"}:
                self._read((rule.name,), self._over_relation(sql.any_breach(rule)))
        names = tuple(rule.name for rule in rules)
        raise RuleError.of(self.rules.table, names, "great-expectations raised an exception")
