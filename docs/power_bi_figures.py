"""What the report's visuals show without a choice in any slicer: each figure by its measure's own SQL."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb

from behavior_assets.outlets_cli import shown
from exports.contract import published
from exports.measures.catalog import measures
from exports.measures.sql import Filter, query
from exports.names import places
from exports.powerbi.visuals import Visual

Row = tuple[tuple[Any, ...], tuple[Any, ...]]  # members, then figures


@dataclass(frozen=True)
class Member(Filter):
    """One value of a column, also where it is missing."""

    @property
    def condition(self) -> str:
        """The condition in SQL."""
        return super().condition if self.values else f"{self.place.column} IS NULL"


@dataclass(frozen=True)
class Shown:
    """The rows that a visual shows, how many more there are, and what it shows of all together."""

    columns: tuple[str, ...]
    measures: tuple[str, ...]
    rows: list[Row]
    more: int
    total: tuple[Any, ...]


class Figures:
    """The published tables of a home. ``fixed``: what a page is opened for, besides what a visual asks."""

    def __init__(self, home: Path, fixed: tuple[Filter, ...] = ()) -> None:
        exports, self.fixed = home / "exports", fixed
        self.con = duckdb.connect(config={"threads": 1})
        for name, entry in json.loads((exports / "current.json").read_text("utf-8"))["tables"].items():
            paths = [str(exports / f["path"]) for f in entry["files"]]
            self.con.execute(f'CREATE TABLE "{name}" AS SELECT * FROM read_parquet({paths!r})')

    def value(self, measure: str, members: tuple[Filter, ...] = ()) -> Any:
        """A measure's figure; None where it is blank."""
        return self.con.execute(query(measure, (*self.fixed, *members))).fetchall()[0][0]

    def of(self, visual: Visual, most: int) -> Shown:
        """A visual's rows in its order; of more than ``most`` only the first, and all of a date or a number."""
        fields = [f for names in visual.fields.values() for f in names]
        shown = tuple(f for f in fields if f in measures())
        columns = tuple(f for f in fields if f not in shown)
        total = tuple(self.value(m) for m in shown)
        if not columns:
            return Shown(columns, shown, [((), total)], 0, total)
        by, direction = visual.sort or (columns[0], "Ascending")
        ranked: list[tuple[Any, tuple[Any, ...]]] = []
        for members in self._members(columns, shown):
            key = self.value(by, self._filters(columns, members)) if by in shown else members[columns.index(by)]
            if key is not None:
                ranked.append((key, members))
        ranked.sort(key=lambda found: found[0], reverse=direction == "Descending")
        rows: list[Row] = []
        more = 0
        for _, members in ranked:
            if len(rows) >= most:
                more += 1
                continue
            figures = tuple(self.value(m, self._filters(columns, members)) for m in shown)
            if any(f is not None for f in figures):
                rows.append((members, figures))
        return Shown(columns, shown, rows, more, total)

    def _members(self, columns: tuple[str, ...], shown: tuple[str, ...]) -> list[tuple[Any, ...]]:
        """Combinations of the columns' values that there are, through the first measure's table if they lie apart."""
        found = [places()[c.lower()] for c in columns]
        tables = list(dict.fromkeys(p.table for p in found))
        source = tables[0]
        if len(tables) > 1:
            source = fact = measures()[shown[0]].table
            keys = {c.references: c.name for c in published()[fact].columns if c.references}
            for table in (t for t in tables if t != fact):
                source += f" JOIN {table} ON {fact}.{keys[table]} = {table}.{published()[table].key[0]}"
        names = ", ".join(f"{p.table}.{p.column}" for p in found)
        where = [f.condition for f in self.fixed if f.place.table in tables]
        return self.con.execute(
            f"SELECT DISTINCT {names} FROM {source}{' WHERE ' if where else ''}{' AND '.join(where)} ORDER BY ALL"
        ).fetchall()

    def _filters(self, columns: tuple[str, ...], members: tuple[Any, ...]) -> tuple[Filter, ...]:
        return tuple(Member(places()[c.lower()], () if v is None else (str(v),))
                     for c, v in zip(columns, members, strict=True))  # fmt: skip


def biggest(figures: Figures, column: str, measure: str) -> Filter:
    """The member of a column with most of a measure."""
    visual = Visual("tableEx", "", (0, 0, 0, 0), {"Values": (column, measure)}, sort=(measure, "Descending"))
    ((member,), _) = figures.of(visual, 1).rows[0]
    return Filter(places()[column.lower()], (str(member),))


def told(figure: Any, form: str) -> str:
    """A figure as its format says."""
    if figure is None:
        return ""
    if isinstance(figure, datetime):
        return f"{figure:%Y-%m-%d %H:%M}"
    if isinstance(figure, date | str) or not form:
        return str(figure)
    return shown(figure, form)
