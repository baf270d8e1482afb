"""Silver tables that no chain made, kept by day like those that one did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from resources.parts import Days

if TYPE_CHECKING:
    from resources.lake import Lake
    from resources.table import TableSpec


def write_days(lake: Lake, spec: TableSpec, rows: list[dict[str, Any]]) -> None:
    """The rows, a part for each day; what is there of other days goes."""
    table, days = lake.table(spec), Days().split(pa.Table.from_pylist(rows, spec.schema))
    table.commit([table.write(day, "made", [part]) for day, part in days.items()], drop=set(table.parts()) - set(days))
