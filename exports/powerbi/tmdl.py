"""The semantic model as TMDL text, a file per table (indented by tabs, as the format wants)."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable

from exports.measures.measure import Measure
from exports.names import TABLES, column_name
from exports.powerbi.model import (
    ACCESS,
    EXECUTIVE_MEASURES,
    EXECUTIVES,
    ROLE,
    Model,
    ModelColumn,
    ModelTable,
    Relationship,
    role_filters,
)
from exports.powerbi.sources import KEPT_YEARS, REFRESHED_DAYS, Expression, Source

PERSPECTIVE = "Executives"
_NAMES = uuid.UUID("6f1c2a7e-52d0-4c8e-9b57-2f6f0a3de111")  # the space of this model's lineage tags
_ACCESS_ROW = '{{"reader@example.com", "(unknown)"}}'


def quoted(name: str) -> str:
    """A name as TMDL writes it."""
    return name if re.fullmatch(r"[A-Za-z_]\w*", name) else "'" + name.replace("'", "''") + "'"


def lineage(*path: str) -> str:
    """The tag that stays the same for the same thing, so that a report finds it again."""
    return str(uuid.uuid5(_NAMES, "/".join(path)))


def _indented(text: str, depth: int) -> str:
    return "\n".join("\t" * depth + line if line else "" for line in text.split("\n"))


def _described(text: str, depth: int) -> str:
    return _indented("\n".join(f"/// {line}" for line in text.split("\n")), depth) + "\n" if text else ""


def _column(table: ModelTable, column: ModelColumn) -> str:
    lines = [f"dataType: {column.type}"]
    lines += ["isHidden"] if column.hidden else []
    lines += ["isKey"] if column.is_key else []
    sorts = {c.sort_by for c in table.columns}
    if column.hidden and table.is_fact and column.name not in sorts:
        lines.append("isAvailableInMdx: false")
    lines += [f"formatString: {column.format}"] if column.format else []
    lines += [f"dataCategory: {column.category}"] if column.category else []
    lines += [f"lineageTag: {lineage(table.name, column.name)}", "summarizeBy: none", f"sourceColumn: {column.source}"]
    lines += [f"sortByColumn: {quoted(column.sort_by)}"] if column.sort_by else []
    text = _described(column.description, 1) + f"\tcolumn {quoted(column.name)}\n" + _indented("\n".join(lines), 2)
    text += "\n\n\t\tannotation SummarizationSetBy = User\n"
    if column.format == "yyyy-mm-dd":
        text += "\n\t\tannotation UnderlyingDateTimeDataType = Date\n"
    return text


def _measure(table: str, measure: Measure) -> str:
    head = f"\tmeasure {quoted(measure.name)} ="
    single = "\n" not in measure.dax
    text = _described(measure.told, 1) + head + (f" {measure.dax}\n" if single else f"\n{_indented(measure.dax, 3)}\n")
    lines = [f"formatString: {measure.format}"] if measure.format else []
    lines += [f"displayFolder: {measure.folder}", f"lineageTag: {lineage(table, 'measure', measure.name)}"]
    return text + _indented("\n".join(lines), 2) + "\n"


def _hierarchy(table: str, name: str, levels: Iterable[str]) -> str:
    text = f"\thierarchy {quoted(name)}\n\t\tlineageTag: {lineage(table, 'hierarchy', name)}\n"
    for level in levels:
        tag = lineage(table, "hierarchy", name, level)
        text += f"\n\t\tlevel {quoted(level)}\n\t\t\tlineageTag: {tag}\n\t\t\tcolumn: {quoted(level)}\n"
    return text


def table_text(table: ModelTable, source: Source) -> str:
    """``tables/<name>.tmdl``."""
    head = _described(table.description, 0) + f"table {quoted(table.name)}\n"
    head += f"\tlineageTag: {lineage(table.name)}\n" + ("\tdataCategory: Time\n" if table.is_dates else "")
    parts = [_measure(table.name, m) for m in table.measures]
    parts += [_column(table, c) for c in table.columns]
    parts += [_hierarchy(table.name, name, levels) for name, levels in table.hierarchies]
    m = source.partition(table)
    if source.is_incremental(table):
        parts.append(
            f"\trefreshPolicy\n\t\tpolicyType: basic\n\t\trollingWindowGranularity: year\n"
            f"\t\trollingWindowPeriods: {KEPT_YEARS}\n\t\tincrementalGranularity: day\n"
            f"\t\tincrementalPeriods: {REFRESHED_DAYS}\n\t\tsourceExpression =\n{_indented(m, 4)}\n"
        )
    parts.append(_partition(table.name, m))
    return head + "\n" + "\n".join(parts)


def _partition(name: str, m: str) -> str:
    return (
        f"\tpartition {quoted(name)} = m\n\t\tmode: import\n\t\tsource =\n{_indented(m, 4)}\n\n"
        "\tannotation PBI_ResultType = Table\n"
    )


def access_text() -> str:
    """``tables/Country Access.tmdl``: who reads which countries, for the example role."""
    m = f"let\n\tSource = #table(type table [User = text, Country = text], {_ACCESS_ROW})\nin\n\tSource"
    text = _described("Which reader sees which country, one row each. Edit it in Power Query, or load it.", 0)
    text += f"table {quoted(ACCESS)}\n\tisHidden\n\tlineageTag: {lineage(ACCESS)}\n\n"
    columns = (
        ModelColumn("User", "User", "string", "", "User principal name of a reader.", hidden=True),
        ModelColumn("Country", "Country", "string", "", "Country as the data name it.", hidden=True),
    )
    shown = ModelTable(ACCESS, "", "", columns, ())
    return text + "\n".join(_column(shown, c) for c in columns) + "\n" + _partition(ACCESS, m)


def expressions_text(expressions: Iterable[Expression]) -> str:
    """``expressions.tmdl``."""
    parts = []
    for e in expressions:
        text = _described(e.description, 0) + f"expression {quoted(e.name)} ="
        if e.type:
            text += f' {e.m} meta [IsParameterQuery=true, Type="{e.type}", IsParameterQueryRequired=true]\n'
        else:
            text += f"\n{_indented(e.m, 2)}\n"
        result = e.type or ("Function" if e.m.startswith("(") else "Record" if e.name == "Manifest" else "Table")
        parts.append(f"{text}\tlineageTag: {lineage('expression', e.name)}\n\n\tannotation PBI_ResultType = {result}\n")
    return "\n".join(parts)


def _relationship(r: Relationship) -> str:
    text = f"relationship {quoted(r.name)}\n" + ("" if r.is_active else "\tisActive: false\n")
    return (
        text + f"\tfromColumn: {quoted(r.many)}.{quoted(r.many_column)}\n"
        f"\ttoColumn: {quoted(r.one)}.{quoted(r.one_column)}\n"
    )


def role_text(model: Model) -> str:
    """``roles/<name>.tmdl``: the example role."""
    text = _described("Example: a reader sees the countries that Country Access names for the account, and no fact "
                      "without a country.", 0)  # fmt: skip
    text += f"role {quoted(ROLE)}\n\tmodelPermission: read\n"
    for table, condition in role_filters(model).items():
        text += f"\n\ttablePermission {quoted(table)} = {condition}\n"
    return text


def perspective_text(model: Model) -> str:
    """``perspectives/Executives.tmdl``."""
    text = f"perspective {PERSPECTIVE}\n"
    for table in model.tables:
        columns = [column_name(table.source, c) for c in EXECUTIVES.get(table.source, ())]
        shown = [m.name for m in table.measures if m.name in EXECUTIVE_MEASURES]
        if columns or shown:
            text += f"\n\tperspectiveTable {quoted(table.name)}\n"
            text += "".join(f"\n\t\tperspectiveMeasure {quoted(m)}\n" for m in shown)
            text += "".join(f"\n\t\tperspectiveColumn {quoted(c)}\n" for c in columns)
    return text


def model_text(model: Model, source: Source) -> str:
    """``model.tmdl``."""
    tables = [*(t.name for t in model.tables), ACCESS]
    order = ", ".join(f'"{n}"' for n in [*(e.name for e in source.expressions), *tables])
    text = (
        "model Model\n\tculture: en-US\n\tdefaultPowerBIDataSourceVersion: powerBI_V3\n"
        "\tdiscourageImplicitMeasures\n\tsourceQueryCulture: en-US\n\tdataAccessOptions\n\t\tlegacyRedirects\n"
        f"\t\treturnErrorValuesAsNull\n\n\tannotation PBI_QueryOrder = [{order}]\n\n"
        "\tannotation __PBI_TimeIntelligenceEnabled = 0\n\n"
    )
    refs = [*(f"ref table {quoted(t)}" for t in tables), f"ref role {quoted(ROLE)}", f"ref perspective {PERSPECTIVE}"]
    return text + "\n".join(refs) + "\n"


def files(model: Model, source: Source) -> dict[str, str]:
    """The files of the model's ``definition`` folder: path and text."""
    found = {
        "database.tmdl": "database\n\tcompatibilityLevel: 1601\n",
        "model.tmdl": model_text(model, source),
        "expressions.tmdl": expressions_text(source.expressions),
        "relationships.tmdl": "\n".join(_relationship(r) for r in model.relationships),
        f"tables/{ACCESS}.tmdl": access_text(),
        f"roles/{ROLE}.tmdl": role_text(model),
        f"perspectives/{PERSPECTIVE}.tmdl": perspective_text(model),
    }
    return found | {f"tables/{TABLES[t.source]}.tmdl": table_text(t, source) for t in model.tables}
