"""How an aggregate table is declared: its grain, its columns with units, and what it needs of a source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any

Value = str | int | float | Decimal | date | datetime | None
Row = dict[str, Any]  # a Value by column

KINDS = ("date", "int", "money", "number", "share", "text")
NOTES = "notes"


@dataclass(frozen=True)
class Column:
    """A column: ``kind`` is one of KINDS; ``unit`` says of what ("orders", "shop's currency"), empty for texts."""

    name: str
    kind: str
    unit: str
    description: str


@dataclass(frozen=True)
class Table:
    """A declared table; ``needs`` names, by column, the flag of ``dim_source`` without which it is blank."""

    name: str
    title: str
    grain: str
    columns: tuple[Column, ...]
    needs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Filled:
    """A table with its rows; ``blank`` says, by column, why it is empty in every row ("" as a column: no rows)."""

    table: Table
    rows: tuple[Row, ...]
    blank: Mapping[str, str] = field(default_factory=dict)


def declared(name: str, title: str, grain: str, text: str, needs: Mapping[str, str] | None = None) -> Table:
    """A table from lines ``name kind [unit] : description``; a column of notes is added."""
    columns = []
    for line in filter(str.strip, text.splitlines()):
        head, description = line.strip().split(" : ", 1)
        column, kind, *unit = head.split(maxsplit=2)
        columns.append(Column(column, kind, " ".join(unit).strip("[]"), description))
    columns.append(Column(NOTES, "text", "", "Why figures of this row are blank, empty where none is"))
    return Table(name, title, grain, tuple(columns), needs or {})
