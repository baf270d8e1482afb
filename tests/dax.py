"""Measures evaluated as Power BI would: a DAX engine over the model's own tables and relationships."""

from __future__ import annotations

from datetime import date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from exports.measures.catalog import measures
from exports.powerbi.model import build_model

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pyarrow as pa

    from exports.measures.sql import Filter


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime.combine(value, time())
    return value


class DaxModel:
    """The model filled with tables by their published names."""

    def __init__(self, tables: Mapping[str, pa.Table]) -> None:
        from pbix_mcp.dax import engine

        self.engine, self.model = engine, build_model()
        self.tables = {}
        for table in self.model.tables:
            names = [c.source for c in table.columns]
            columns = [[_plain(v) for v in tables[table.source][n].to_pylist()] for n in names]
            self.tables[table.name] = {"columns": [c.name for c in table.columns],
                                       "rows": [list(r) for r in zip(*columns, strict=True)]}  # fmt: skip
        self.engine.mark_currency_columns(
            self.tables, {t.name: [c.name for c in t.columns if c.type == "decimal"] for t in self.model.tables}
        )
        self.relationships = [
            {"FromTable": r.many, "FromColumn": r.many_column, "ToTable": r.one, "ToColumn": r.one_column,
             "IsActive": r.is_active}
            for r in self.model.relationships
        ]  # fmt: skip

    def values(self, names: Iterable[str], filters: Iterable[Filter] = ()) -> dict[str, Any]:
        """Measures by name under filters."""
        context = {}
        for f in filters:
            table = self.model.table(f.place.table)
            column = table.column(f.place.column)
            kept = self.tables[table.name]
            at = kept["columns"].index(column.name)
            found = {str(r[at]): r[at] for r in kept["rows"]}
            shown = {k.removesuffix(" 00:00:00"): v for k, v in found.items()}
            context[f"{table.name}.{column.name}"] = [shown[v] for v in f.values if v in shown]
        told = self.engine.evaluate_measures_batch(
            list(names), self.tables, {m.name: m.dax for m in measures().values()}, context, "Date", "Date",
            self.relationships, date_tables={"Date": "Date"},
            measure_tables={m.name: self.model.table(m.table).name for m in measures().values()},
            model_columns={t: set(v["columns"]) for t, v in self.tables.items()},
        )  # fmt: skip
        return dict(told)

