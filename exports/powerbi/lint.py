"""What neither Microsoft's schemas nor its object model find wrong with a project, and Power BI Desktop would.

Works on the texts of the files alone: they may be freshly generated or read from a folder that somebody has edited.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from exports.contract import published
from exports.names import TABLES
from exports.powerbi import dax
from exports.powerbi.model import TYPES
from exports.powerbi.reading import Node, read, reference
from exports.powerbi.visuals import ROLES

_FOLDER = re.compile(r"^[A-Za-z0-9_][\w-]*$")
_LONGEST = 150  # Windows ends a path after 260 characters, and the home has its own
_KEYS = {"int64"}


@dataclass
class _Model:
    """What the files of a semantic model say."""

    tables: dict[str, Node] = field(default_factory=dict)
    columns: dict[tuple[str, str], Node] = field(default_factory=dict)
    measures: dict[str, tuple[str, Node]] = field(default_factory=dict)
    expressions: dict[str, Node] = field(default_factory=dict)
    relationships: list[Node] = field(default_factory=list)
    roles: list[Node] = field(default_factory=list)
    perspectives: list[Node] = field(default_factory=list)
    refs: Counter[str] = field(default_factory=Counter)


def read_folder(folder: Path) -> dict[str, str]:
    """The texts of a project's files by path, without Power BI's own cache. Raises UnicodeDecodeError."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes().decode("utf-8")
        for p in sorted(folder.rglob("*")) if p.is_file() and ".pbi" not in p.relative_to(folder).parts[:-1]
    }  # fmt: skip


def findings(files: Mapping[str, str]) -> list[str]:
    """What is wrong, each with the file and the name that it is about; empty for a project that will open."""
    wrong: list[str] = []
    model = _collect(files, wrong)
    wrong += _texts(files)
    wrong += _tables(model)
    wrong += _relations(model)
    wrong += _expressions(model)
    wrong += _references(model)
    wrong += _report(files, model)
    return wrong


def _collect(files: Mapping[str, str], wrong: list[str]) -> _Model:
    model = _Model()
    for path, text in files.items():
        if not path.endswith(".tmdl"):
            continue
        for node in read(path, text):
            _take(node, model, wrong)
    return model


def _take(node: Node, model: _Model, wrong: list[str]) -> None:
    if node.kind.startswith("ref "):
        model.refs[f"{node.kind[4:]} {node.name}"] += 1
    elif node.kind == "expression":
        model.expressions[node.name] = node
    elif node.kind == "relationship":
        model.relationships.append(node)
    elif node.kind in {"role", "perspective"}:
        (model.roles if node.kind == "role" else model.perspectives).append(node)
    elif node.kind == "table":
        wrong += _take_table(node, model)


def _take_table(node: Node, model: _Model) -> list[str]:
    wrong = []
    if node.name in model.tables:
        wrong.append(f"{node.path}: table {node.name!r} stands in {model.tables[node.name].path} as well")
    model.tables[node.name] = node
    for column in node.all("column"):
        if (node.name, column.name) in model.columns:
            wrong.append(f"{node.path}: two columns {node.name}[{column.name}]")
        model.columns[node.name, column.name] = column
    for measure in node.all("measure"):
        if measure.name in model.measures:
            wrong.append(f"{node.path}: measure {measure.name!r} stands in {model.measures[measure.name][0]} as well")
        model.measures[measure.name] = (node.name, measure)
    return wrong


def _texts(files: Mapping[str, str]) -> Iterable[str]:
    for path, text in files.items():
        if text.startswith("\ufeff"):
            yield f"{path}: begins with a byte order mark"
        if len(path) > _LONGEST:
            yield f"{path}: longer than {_LONGEST} characters"
        if path.endswith(".tmdl") and re.search(r"^\t* +\S", text, re.MULTILINE):
            yield f"{path}: indented by blanks; TMDL wants tabs"
        for number, line in enumerate(text.split("\n"), 1):
            if path.endswith(".tmdl") and re.match(r"\s*//(?!/)", line):
                yield f"{path}:{number}: a comment of two strokes"


def _tables(model: _Model) -> Iterable[str]:
    for name, table in model.tables.items():
        if not table.all("partition"):
            yield f"{table.path}: table {name!r} has no partition"
        if name in model.expressions:
            yield f"{table.path}: an expression and a table are both called {name!r}"
        yield from _names_in(table)
        for column in table.all("column"):
            yield from _column(table, column)
    if not any(t.properties.get("dataCategory") == "Time" and any("isKey" in c.properties for c in t.all("column"))
               for t in model.tables.values()):  # fmt: skip
        yield "no table is marked as the date table"
    yield from _refs(model)


def _names_in(table: Node) -> Iterable[str]:
    columns = {c.name.lower() for c in table.all("column")}
    for measure in table.all("measure"):
        if measure.name.lower() in columns:
            yield f"{table.path}: a measure and a column are both called {table.name}[{measure.name}]"
    for level in (level for h in table.all("hierarchy") for level in h.all("level")):
        if level.properties.get("column", "").strip("'").lower() not in columns:
            yield f"{table.path}: level {level.name!r} names a column that {table.name} lacks"


def _refs(model: _Model) -> Iterable[str]:
    """What model.tmdl names against what there is."""
    there = {
        *(f"table {name}" for name in model.tables), *(f"role {r.name}" for r in model.roles),
        *(f"perspective {p.name}" for p in model.perspectives),
    }  # fmt: skip
    for one in sorted(there):
        if model.refs[one] != 1:
            yield f"model.tmdl: {model.refs[one]} references to {one}, not one"
    for ref in sorted(set(model.refs) - there):
        yield f"model.tmdl: refers to {ref}, which is in no file"


def _column(table: Node, column: Node) -> Iterable[str]:
    where = f"{table.path}: {table.name}[{column.name}]"
    type_, source = column.properties.get("dataType", ""), column.properties.get("sourceColumn", "")
    if type_ not in set(TYPES.values()):
        yield f"{where}: data type {type_ or 'missing'!r}"
    if not source:
        yield f"{where}: no sourceColumn"
    if column.properties.get("summarizeBy") != "none":
        yield f"{where}: would be summed up by itself; summarizeBy must be none"
    by = column.properties.get("sortByColumn", "").strip("'")
    if by and by not in {c.name for c in table.all("column")}:
        yield f"{where}: sorted by {by!r}, which the table lacks"
    of = {shown: name for name, shown in TABLES.items()}.get(table.name)
    if of:  # a table of the contract: its columns are Parquet's
        known = {c.name: TYPES[c.kind] for c in published()[of].columns}
        if known.get(source) != type_:
            yield f"{where}: {type_} of {of}.{source}, which is {known.get(source, 'not published')}"


def _relations(model: _Model) -> Iterable[str]:
    active: Counter[tuple[str, str]] = Counter()
    facts = {reference(r.properties.get("fromColumn", ""))[0] for r in model.relationships}
    for r in model.relationships:
        ends = [reference(r.properties.get(end, "")) for end in ("fromColumn", "toColumn")]
        missing = [e for e in ends if e not in model.columns]
        if missing:
            yield f"{r.path}: {r.name}: {missing[0][0]}[{missing[0][1]}] is not in the model"
            continue
        types = [model.columns[e].properties.get("dataType") for e in ends]
        if types[0] != types[1] or types[0] not in _KEYS:
            yield f"{r.path}: {r.name}: {types[0]} to {types[1]}; both must be int64"
        if r.properties.get("crossFilteringBehavior") == "bothDirections":
            yield f"{r.path}: {r.name}: filters in both directions"
        if ends[1][0] in facts:
            yield f"{r.path}: {r.name}: {ends[1][0]} points at another table itself: dimensions stand alone"
        if r.properties.get("isActive") != "false":
            active[ends[0][0], ends[1][0]] += 1
    for (many, one), count in active.items():
        if count > 1:
            yield f"relationships: {count} active ones from {many} to {one}"


def _expressions(model: _Model) -> Iterable[str]:
    for name, (_, measure) in model.measures.items():
        where = f"{measure.path}:{measure.line}: measure {name!r}"
        yield from (f"{where}: {w}" for w in dax.wrong(measure.text))
        if not measure.properties.get("displayFolder"):
            yield f"{where}: no display folder"
        yield from (f"{where}: {w}" for w in _unresolved(measure.text, model))
    for role in model.roles:
        for permission in role.all("tablePermission"):
            if permission.name not in model.tables:
                yield f"{role.path}: role {role.name!r}: no table {permission.name!r}"
            yield from (f"{role.path}: {permission.name}: {w}"
                        for w in (*dax.wrong(permission.text), *_unresolved(permission.text, model)))  # fmt: skip


def _unresolved(text: str, model: _Model) -> Iterable[str]:
    for of, name in dax.references(text):
        if of and of not in model.tables:
            yield f"no table {of!r}"
        elif of and (of, name) not in model.columns:
            yield f"no column {of}[{name}]"
        elif not of and name not in model.measures:  # a column is always named with its table
            yield f"no measure [{name}]"
    for of in dax.tables(text):
        if of not in model.tables:
            yield f"no table {of!r}"


def _references(model: _Model) -> Iterable[str]:
    for perspective in model.perspectives:
        for table in perspective.all("perspectiveTable"):
            for child in table.children:
                known = (table.name, child.name) in model.columns if child.kind == "perspectiveColumn" else (
                    model.measures.get(child.name, ("",))[0] == table.name)  # fmt: skip
                if not known:
                    yield f"{perspective.path}: {table.name}[{child.name}] is not in the model"


def _report(files: Mapping[str, str], model: _Model) -> Iterable[str]:
    pages = {p.split("/")[-2] for p in files if p.endswith("/page.json")}
    for path, text in files.items():
        if not path.endswith((".json", ".pbip", ".pbir", ".pbism", ".platform")):
            continue
        told: dict[str, Any] = json.loads(text)
        if "$schema" not in told:
            yield f"{path}: no $schema"
        if path.endswith("pages.json") and set(told.get("pageOrder", [])) != pages:
            yield f"{path}: the order names other pages than there are folders"
        if path.endswith(("/page.json", "/visual.json")):
            folder = path.split("/")[-2]
            if told.get("name") != folder or not _FOLDER.match(folder):
                yield f"{path}: the folder's name and the name inside differ, or Power BI would pass it over"
            yield from (f"{path}: {w}" for w in _fields(told, model))
            yield from (f"{path}: {w}" for w in _visual(told.get("visual") or {}, pages))


def _fields(told: Any, model: _Model) -> Iterable[str]:
    if isinstance(told, list):
        for item in told:
            yield from _fields(item, model)
    elif isinstance(told, dict):
        for kind in ("Column", "Measure"):
            found = told.get(kind)
            if isinstance(found, dict) and "Property" in found:
                table, name = found["Expression"]["SourceRef"]["Entity"], found["Property"]
                known = (table, name) in model.columns if kind == "Column" else (
                    model.measures.get(name, ("",))[0] == table)  # fmt: skip
                if not known:
                    yield f"{kind.lower()} {table}[{name}] is not in the model"
        for value in told.values():
            yield from _fields(value, model)


def _visual(visual: Mapping[str, Any], pages: set[str]) -> Iterable[str]:
    if "query" in visual:
        known = ROLES.get(visual["visualType"])
        if known is None:
            yield f"visual of the unknown type {visual['visualType']!r}"
        for role in visual["query"].get("queryState", {}):
            if known is not None and role not in {*known, "Tooltips"}:
                yield f"{visual['visualType']} has no role {role!r}"
    for tip in visual.get("visualContainerObjects", {}).get("visualTooltip", []):
        page = tip["properties"]["section"]["expr"]["Literal"]["Value"].strip("'")
        if page not in pages:
            yield f"points at the page {page!r}, which is not there"
