"""A measure's SQL over the published tables, under filters: what Power BI's figure must equal.

A measure's own SQL speaks of filtered tables in braces and of other measures in brackets, each with modifiers:
``{fact_session|human|views@week_before}``, ``{fact_cart_item:purchased_date_key}``, ``[Orders|prices]``.
``|name`` keeps some rows, ``@name`` moves the days, ``:column`` names the date that filters, ``~column`` forgets the
filters on a column; ``{=table.column=5}`` is the one value that the column is filtered to, else 5. A filter on a
dimension reaches a table through its keys, as in Power BI.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from exports.contract import PublishedTable, published
from exports.measures.catalog import measures
from exports.measures.shapes import CAPABILITIES
from exports.names import Place

_TABLE = re.compile(r"\{(\w+)((?:[|@:~]\w+)*)\}")
_MEASURE = re.compile(r"\[([A-Z][^\]|@]*)((?:[|@]\w+)*)\]")
_CHOICE = re.compile(r"\{=(\w+)\.(\w+)=(\d+)\}")
_MODIFIER = re.compile(r"([|@:~])(\w+)")
_THROUGH = "(SELECT max(data_through) FROM refresh_info)"
_WINDOWS = {"refresh_info", "dim_date", "fact_session"}  # what tells from when to when there are data
_FROM = "(SELECT min(date) FROM dim_date WHERE date_key = (SELECT min(date_key) FROM fact_session))"
_SERVING = "model_key IN (SELECT model_key FROM dim_model WHERE is_champion = 'Yes')"


@dataclass(frozen=True)
class Filter:
    """A column's values that are kept, as text."""

    place: Place
    values: tuple[str, ...]

    @property
    def condition(self) -> str:
        """The condition in SQL."""
        shown = ", ".join("'" + v.replace("'", "''") + "'" for v in self.values)
        return f"CAST({self.place.column} AS VARCHAR) IN ({shown})"


@dataclass(frozen=True)
class _Context:
    """Filters, and the modifiers that a measure hands on to the tables below it."""

    filters: tuple[Filter, ...]
    keep: tuple[str, ...] = ()
    window: str = ""
    role: str = ""
    forget: tuple[str, ...] = ()

    def with_modifiers(self, text: str) -> _Context:
        made = self
        for kind, name in _MODIFIER.findall(text):
            if kind == "|":
                made = replace(made, keep=(*made.keep, name))
            elif kind == "@":
                made = replace(made, window=name)
            elif kind == ":":
                made = replace(made, role=name)
            else:
                made = replace(made, forget=(*made.forget, name))
        return made

    def choice(self, table: str, column: str, otherwise: str) -> str:
        """The one value that a column is filtered to, else another."""
        kept = [f.values for f in self.filters if (f.place.table, f.place.column) == (table, column)]
        return kept[0][0] if len(kept) == 1 and len(kept[0]) == 1 and kept[0][0].isdigit() else otherwise

    def on(self, table: str) -> list[str]:
        """The conditions that filters put on a table's own columns."""
        return [f.condition for f in self.filters if f.place.table == table and f.place.column not in self.forget]


def query(name: str, filters: Iterable[Filter] = ()) -> str:
    """A query that returns the measure as its one value. Raises KeyError for a measure that is not there."""
    return f'SELECT {_measure(name, _Context(tuple(filters)))} AS "{name}"'


def tables_of(name: str) -> set[str]:
    """The published tables that a measure reads."""
    told = measures()[name].sql
    found = set(re.findall(r"\b(?:dim|fact)_\w+|\bmodel_card\b|\brefresh_info\b", told))
    for other, modifiers in _MEASURE.findall(told):
        found |= tables_of(other) | (_WINDOWS if "@" in modifiers else set())
    return {t for t in found if t in published()}


def relations(name: str, filters: Iterable[Filter] = ()) -> list[tuple[str, str]]:
    """The filtered facts that a measure reads, as (column of the day, subquery)."""
    found: list[tuple[str, str]] = []
    _expand(measures()[name].sql, _Context(tuple(filters)), found)
    return found


def unrelated(name: str, filters: Iterable[Filter]) -> list[Filter]:
    """Filters that change nothing, since none of the measure's tables has a key of theirs."""
    facts = [published()[t] for t in tables_of(name)]
    reached = {c.references for t in facts for c in t.columns} | {t.name for t in facts}
    return [f for f in filters if f.place.table not in reached]


def _measure(name: str, context: _Context, seen: list[tuple[str, str]] | None = None) -> str:
    return f"({_expand(measures()[name].sql, context, seen)})"


def _expand(sql: str, context: _Context, seen: list[tuple[str, str]] | None = None) -> str:
    """The SQL with measures and tables put in; facts are noted in ``seen`` with the column of their day."""

    def table(found: re.Match[str]) -> str:
        of = context.with_modifiers(found[2])
        made = _relation(found[1], of)
        role = _role(published()[found[1]], of) if found[1] in published() else ""
        if seen is not None and role:
            seen.append((role, made))
        return made

    told = _MEASURE.sub(lambda m: _measure(m[1], context.with_modifiers(m[2]), seen), sql)
    told = _CHOICE.sub(lambda m: context.choice(m[1], m[2], m[3]), _TABLE.sub(table, told))
    return told if told.lstrip().upper().startswith("SELECT") else f"SELECT {told}"


def _relation(name: str, context: _Context) -> str:
    """A table's rows under the filters, as a subquery."""
    if name == "dates":
        return _where("dim_date", context.on("dim_date"))
    table = published()[name]
    if not any(c.references for c in table.columns):
        return _where(name, context.on(name))
    conditions = [*_through_dimensions(table, context), *_of_days(table, context), *context.on(name)]
    conditions += [_kept(word, table, context) for word in context.keep]
    return _where(name, conditions)


def _where(table: str, conditions: list[str]) -> str:
    return f"(SELECT * FROM {table}{' WHERE ' if conditions else ''}{' AND '.join(conditions)})"


def _through_dimensions(table: PublishedTable, context: _Context) -> list[str]:
    keys = {c.references: c.name for c in table.columns if c.references and c.references != "dim_date"}
    found = []
    for dimension, key in keys.items():
        conditions = context.on(dimension)
        if conditions:
            found.append(f"{key} IN (SELECT {published()[dimension].key[0]} FROM {dimension} "
                         f"WHERE {' AND '.join(conditions)})")  # fmt: skip
    return found


def _role(table: PublishedTable, context: _Context) -> str:
    """Which of a fact's dates is the one that filters; empty where it has none."""
    roles = [c.name for c in table.columns if c.references == "dim_date"]
    return context.role or ("date_key" if "date_key" in roles else next(iter(roles), ""))


def _of_days(table: PublishedTable, context: _Context) -> list[str]:
    role, chosen = _role(table, context), context.on("dim_date")
    if not role:
        return []
    dates = _where("dim_date", chosen)
    if context.window == "latest":
        newest = _where(table.name, [f"{role} IN (SELECT date_key FROM {dates})"] if chosen else [])
        return [f"{role} = (SELECT max({role}) FROM {newest})"]
    if context.window:
        return [f"{role} IN (SELECT date_key FROM dim_date WHERE {_window(context.window, dates)})"]
    return [f"{role} IN (SELECT date_key FROM {dates})"] if chosen else []


def _window(name: str, dates: str) -> str:
    """Which days of the calendar a window means, given the chosen ones."""
    over = f"(SELECT date FROM {dates} WHERE date <= {_THROUGH})"
    anchor = f"(SELECT least(max(date), {_THROUGH}) FROM {dates})"
    begun = f"(SELECT min(date) FROM {dates}) <= {_THROUGH}"
    return {
        "week_before": f"date + 7 IN (SELECT date FROM {over}) AND (SELECT min(date) - 7 FROM {over}) >= {_FROM}",
        "year_before": f"date IN (SELECT CAST(date - INTERVAL 1 YEAR AS DATE) FROM {over} UNION ALL "
        f"SELECT last_day(date - INTERVAL 1 YEAR) FROM {over} WHERE date = last_day(date)) "
        f"AND (SELECT min(date) - INTERVAL 1 YEAR FROM {over}) >= {_FROM}",
        "rolling_7": f"date > {anchor} - 7 AND date <= {anchor} AND {begun}",
        "rolling_28": f"date > {anchor} - 28 AND date <= {anchor} AND {begun}",
        "month_to_date": f"date >= date_trunc('month', {anchor}) AND date <= {anchor} AND {begun}",
    }[name]


def _kept(word: str, table: PublishedTable, context: _Context) -> str:
    if word == "human":
        return "is_bot = 'No'"
    if word == "serving":
        return _SERVING
    if word == "level":  # parts where a category is chosen, else their total
        return f"level = '{'category' if context.on('dim_category') else 'total'}'"
    if not any(c.references == "dim_source" for c in table.columns):
        msg = f"{table.name} does not tell the source, so none can be asked whether it tells {word}"
        raise ValueError(msg)
    return f"source_key IN (SELECT source_key FROM dim_source WHERE {CAPABILITIES[word][0]} = 'Yes')"
