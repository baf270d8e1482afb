"""The SQL of a rule: which rows break it, whether any does, and how many on each day.

Everything reads from the name `ROWS`, which `over` binds to the table.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from expectations.rules import relation_name

if TYPE_CHECKING:
    from expectations.rules import Rule, Scalar

ROWS = "rule_rows"
EVERY_ROW = f"SELECT * FROM {ROWS}"
HOW_MANY = f"SELECT count(*) FROM {ROWS}"

SQL_KINDS = frozenset({"unique", "matches", "references", "holds", "query"})
"""Kinds that great-expectations is given as SQL.

It has no regex for DuckDB, and no references; its `unique` takes three times as long as a GROUP BY.
"""

_DATES = ("DATE", "TIMESTAMP")
_INTEGERS = ("INTEGER", "BIGINT", "UINTEGER", "UBIGINT")


def quoted(name: str) -> str:
    """Return a name of a table or column as SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: Scalar) -> str:
    """Return a value from a rule file as SQL."""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, date):
        kind = "DATE" if type(value) is date else "TIMESTAMP"
        return f"{kind} '{value.isoformat()}'"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return str(value)


def over(source: str, query: str) -> str:
    """Bind `ROWS` in a query to a source, which is a name or a subquery as SQL.

    DuckDB materialises a common table expression unless told not to: that would copy every column.
    """
    return f"WITH {ROWS} AS NOT MATERIALIZED (SELECT * FROM {source}) {query}"


def breaches(rule: Rule) -> str:
    """Return the query for the rows that break a rule of rows."""
    if rule.kind == "query":
        return rule.sql.replace("{table}", ROWS)
    if rule.kind == "unique":
        keys = ", ".join(map(quoted, rule.columns))
        repeated = f"QUALIFY count(*) OVER (PARTITION BY {keys}) > 1"
        return f"{EVERY_ROW} WHERE {_filled(rule)} {repeated}"
    return f"{EVERY_ROW} WHERE {breach(rule)}"


def any_breach(rule: Rule) -> str:
    """Return a query that has a row only if the rule is broken, and no value in that row."""
    found = breaches(rule)
    if rule.kind == "unique":
        # A GROUP BY answers much sooner than the window that finds the rows.
        keys = ", ".join(map(quoted, rule.columns))
        repeated = f"GROUP BY {keys} HAVING count(*) > 1"
        found = f"SELECT 1 FROM {ROWS} WHERE {_filled(rule)} {repeated}"
    return f"SELECT 1 AS breach FROM (\n{found}\n) LIMIT 1"


def count_by_day(query: str, day: str | None) -> str:
    """Return the query for (day, rows) of a query; without a day expression it has one row."""
    counted = f"SELECT {day or 'NULL'} AS day, count(*) FROM (\n{query}\n)"
    return f"{counted} GROUP BY 1 ORDER BY 1"


def day_expression(column: str, kind: str) -> str | None:
    """Return a date, a time or a yyyymmdd number as ISO text; None for columns of other types."""
    if kind.startswith(_DATES):
        return f"CAST(CAST({quoted(column)} AS DATE) AS VARCHAR)"
    if kind in _INTEGERS:
        return f"strftime(try_strptime(CAST({quoted(column)} AS VARCHAR), '%Y%m%d'), '%Y-%m-%d')"
    return None


def _filled(rule: Rule) -> str:
    return " AND ".join(f"{quoted(column)} IS NOT NULL" for column in rule.columns)


def breach(rule: Rule) -> str:
    """Return the condition that is true for the rows that break the rule."""
    if rule.kind == "holds":
        # The line break ends a comment that the condition may end with.
        return f"(\n{rule.condition}\n) IS NOT TRUE"
    column = quoted(rule.columns[0])
    if rule.kind == "not_null":
        return f"{column} IS NULL"
    if rule.kind == "in_set":
        broken = f"{column} NOT IN ({', '.join(map(literal, rule.values))})"
    elif rule.kind == "between":
        below, above = ("<=", ">=") if rule.strict else ("<", ">")
        bounds = ((below, rule.minimum), (above, rule.maximum))
        broken = " OR ".join(f"{column} {sign} {literal(b)}" for sign, b in bounds if b is not None)
    elif rule.kind == "matches":
        broken = f"NOT regexp_full_match({column}, {literal(rule.pattern)})"
    elif rule.kind == "references":
        other, key = quoted(relation_name(rule.to_table)), quoted(rule.to_column)
        found = f"SELECT 1 FROM {other} AS target WHERE target.{key} = {ROWS}.{column}"
        # In this form DuckDB joins at once; with IS NOT NULL AND NOT EXISTS it first collects the keys that there are.
        return f"NOT ({column} IS NULL OR EXISTS ({found}))"
    else:
        message = f"{rule.kind} is not a rule of rows"
        raise ValueError(message)
    return f"{column} IS NOT NULL AND ({broken})"
