"""What was told before: a figure of the past is not told anew because of a few persons.

Whoever keeps two releases can subtract them. Late orders, an erasure or a withdrawal of consent would then be told to
the cent. So a day's row changes only where each of its changed figures has ten persons more or fewer behind it than
before; a table of four weeks, or of a month's end, is told once. The memory, ``told.json`` beside ``outlets.json``,
holds what was published, and numbers of persons of ten or more: no small group, and nobody.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from exports.aggregate.declare import Filled, Row, Table
from exports.aggregate.guard import MINIMUM, OTHER
from resources.disk import disk_errors, draft_of
from resources.failpoints import reach

FILE = "told.json"
_PERSONS, _MADE_OF = "persons", "made_of"


@dataclass
class Former:
    """The release before (``was``), and what this one tells (``now``): by table, then by day, week or period."""

    was: Mapping[str, Any] = field(default_factory=dict)
    now: dict[str, Any] = field(default_factory=dict)

    def row(self, table: Table, key: date) -> Row | None:
        """A day's or week's row as it was told."""
        row = self.was.get(table.name, {}).get(key.isoformat())
        return _decoded(table, row) if row and _same_columns(table, row) else None

    def persons(self, table: Table, key: date) -> Mapping[str, int | None]:
        """How many persons stood behind it; None for one to nine."""
        found: Mapping[str, int | None] = self.was[table.name][key.isoformat()][_PERSONS]
        return found

    def stands(self, table: Table, key: date, made_of: str) -> bool:
        """Whether a row was told, and what it is made from is as it was then."""
        row = self.was.get(table.name, {}).get(key.isoformat())
        return bool(row and _same_columns(table, row) and row.get(_MADE_OF) == made_of)

    def tell(self, table: Table, key: date, row: Row, persons: Mapping[str, int | None], made_of: str) -> None:
        """Note a row that is told, with the persons behind it and what it is made from."""
        kept = {name: None if 0 < (n or 0) < MINIMUM else n or 0 for name, n in persons.items()}
        self.now.setdefault(table.name, {})[key.isoformat()] = (
            _encoded(row) | {_PERSONS: kept, _MADE_OF: made_of}
        )  # fmt: skip

    def once(
        self, key: date | None, tables: Sequence[Table], make: Callable[[], tuple[Filled, ...]]
    ) -> tuple[Filled, ...]:
        """Tables of a period (None: there is none yet): as they were told of it; made only where one was not."""
        told = {t.name: self._whole(t, key) for t in tables} if key else {}
        made = {f.table.name: f for f in (make() if None in told.values() or not told else ())}
        found = tuple(told.get(t.name) or made[t.name] for t in tables)
        for filled in found:
            self.now[filled.table.name] = {"of": key and key.isoformat(), "rows": [_encoded(r) for r in filled.rows],
                                           "blank": dict(filled.blank)}  # fmt: skip
        return found

    def _whole(self, table: Table, key: date) -> Filled | None:
        """A table of a period as it was told; None where it was not."""
        old = self.was.get(table.name, {})
        rows = old.get("rows", [])
        if old.get("of") != key.isoformat() or not all(_same_columns(table, r) for r in rows):
            return None
        return Filled(table, tuple(_decoded(table, r) for r in rows), old["blank"])

    def period(self, table: Table, key: date) -> list[Row] | None:
        """The rows of a table of a period that was told; None where it was not."""
        old = self.was.get(table.name, {})
        rows = old.get("rows") if old.get("of") == key.isoformat() else None
        return [_decoded(table, r) for r in rows] if rows and all(_same_columns(table, r) for r in rows) else None


def settled(old: Row, was: Mapping[str, int | None], new: Row, now: Mapping[str, int | None],
            behind: Mapping[str, str], *, closed: bool) -> bool:  # fmt: skip
    """Whether a row may be told anew. ``behind``: by figure, which count of persons; ``closed``: its total is told."""
    for column, persons in behind.items():
        if old[column] == new[column]:
            continue
        if old[column] is None:
            if closed:  # its total is known, so what was withheld could be told from it before and now
                return False
            continue
        before, after = was.get(persons), now.get(persons)
        if new[column] is None or before is None or after is None or abs(after - before) < MINIMUM:
            return False
    return True


def carry(rows: list[Row], column: str, total: Any) -> None:
    """Make rows add up to a total that was told before: what the difference tells is hidden in the largest group."""
    values = [r[column] for r in rows]
    if total is None or not rows or None in values:
        return
    last = rows[-1]
    largest = last if OTHER in last.values() else max(rows, key=lambda r: r[column])
    largest[column] += total - sum(values)


def read_former(exports: Path) -> Former:
    """What was told of a home; nothing where the memory is lost: then all is told as if for the first time."""
    try:
        told = json.loads((exports / FILE).read_text("utf-8"))
    except (OSError, ValueError):
        return Former()
    return Former(told if isinstance(told, dict) else {})


def remember(exports: Path, now: Mapping[str, Any]) -> None:
    """Keep what is told, before it is told: a figure that was noted and not published is only older."""
    with disk_errors(exports), draft_of(exports / FILE) as draft:
        reach("outlet.note")
        draft.write_text(json.dumps(now, indent=0), "utf-8")


def _same_columns(table: Table, row: Mapping[str, Any]) -> bool:
    return {c.name for c in table.columns} == row.keys() - {_PERSONS, _MADE_OF}


def _encoded(row: Row) -> Row:
    return {n: v.isoformat() if isinstance(v, date) else str(v) if isinstance(v, Decimal) else v
            for n, v in row.items()}  # fmt: skip


def _decoded(table: Table, row: Mapping[str, Any]) -> Row:
    kinds: dict[str, Callable[[Any], Any]] = {"date": date.fromisoformat, "money": Decimal}
    return {c.name: kinds[c.kind](row[c.name]) if c.kind in kinds and row[c.name] is not None else row[c.name]
            for c in table.columns}  # fmt: skip
