"""Visuals of the report as the dictionaries that PBIR files hold; fields are named in plain words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from exports.measures.catalog import measures
from exports.names import TABLES, column_name, places

SCHEMA = "https://developer.microsoft.com/json-schemas/fabric/item/report/definition/visualContainer/2.1.0/schema.json"
INK, ACCENT, SECOND, MUTED, PAPER, LINE = "#1B2A41", "#1F5FA8", "#C8641B", "#5B6675", "#FFFFFF", "#D9DEE5"
# Query roles of each kind of visual that is used here, besides Tooltips.
ROLES = {
    "cardVisual": ("Data",), "slicer": ("Values",), "tableEx": ("Values",), "pivotTable": ("Rows", "Columns", "Values"),
    "lineChart": ("Category", "Y", "Series"), "areaChart": ("Category", "Y", "Series"), "funnel": ("Category", "Y"),
    "clusteredBarChart": ("Category", "Y", "Series"), "clusteredColumnChart": ("Category", "Y", "Series"),
    "columnChart": ("Category", "Y", "Series"), "donutChart": ("Category", "Y"),
}  # fmt: skip


@dataclass(frozen=True)
class Visual:
    """A visual: its kind, title, place (x, y, width, height in pixels), and by role the fields it shows."""

    kind: str
    title: str
    place: tuple[int, int, int, int]
    fields: dict[str, tuple[str, ...]]
    alt: str = ""
    sort: tuple[str, str] | None = None  # field and direction
    tooltip: str = ""  # page shown when pointing at a mark
    objects: dict[str, Any] = field(default_factory=dict)


def literal(value: str) -> dict[str, Any]:
    """A constant in a formatting property, as a query literal (``'text'``, ``12D``, ``true``)."""
    return {"expr": {"Literal": {"Value": value}}}


def text(value: str) -> dict[str, Any]:
    """A text constant."""
    return literal("'" + value.replace("'", "''") + "'")


def colour(value: str) -> dict[str, Any]:
    """A solid colour."""
    return {"solid": {"color": text(value)}}


def field_of(name: str) -> tuple[dict[str, Any], str, str]:
    """The field expression, query name and own name of a measure or a column (``Table[Column]``)."""
    found = measures().get(name)
    if found is not None:
        table, own, kind = TABLES[found.table], name, "Measure"
    else:
        place = places()[name.lower()]
        table, own, kind = TABLES[place.table], column_name(place.table, place.column), "Column"
    expression = {kind: {"Expression": {"SourceRef": {"Entity": table}}, "Property": own}}
    return expression, f"{table}.{own}", own


def _projection(name: str, *, active: bool) -> dict[str, Any]:
    expression, query_ref, own = field_of(name)
    told = {"field": expression, "queryRef": query_ref, "nativeQueryRef": own}
    return told | ({"active": True} if active else {})


def _container(visual: Visual) -> dict[str, Any]:
    is_slicer = visual.kind == "slicer"
    is_card = visual.kind == "cardVisual"
    title = {"show": literal("false" if is_slicer else "true"), "text": text(visual.title),
             "fontSize": literal("9D" if is_card else "11D"), "bold": literal("false" if is_card else "true"),
             "fontColor": colour(MUTED if is_card else INK)}  # fmt: skip
    paper = {"show": literal("true"), "color": colour(PAPER), "transparency": literal("0D")}
    found: dict[str, Any] = {
        "title": [{"properties": title}],
        "background": [{"properties": paper}],
        "border": [{"properties": {"show": literal("true"), "color": colour(LINE), "radius": literal("6D")}}],
        "general": [{"properties": {"altText": text(visual.alt or visual.title)}}],
    }
    if visual.tooltip:
        told = {"show": literal("true"), "type": text("Canvas"), "section": text(visual.tooltip)}
        found["visualTooltip"] = [{"properties": told}]
    return found


def visual_file(visual: Visual, name: str, order: int) -> dict[str, Any]:
    """``visual.json`` of a visual. Raises KeyError for a field or a role that is not there."""
    x, y, width, height = visual.place
    state: dict[str, Any] = {}
    for role, names in visual.fields.items():
        if role not in {*ROLES[visual.kind], "Tooltips"}:
            msg = f"{visual.kind} {visual.title!r}: it has no role {role}"
            raise KeyError(msg)
        state[role] = {"projections": [_projection(n, active=role in {"Category", "Rows"}) for n in names]}
    query: dict[str, Any] = {"queryState": state}
    if visual.sort:
        expression, _, _ = field_of(visual.sort[0])
        query["sortDefinition"] = {"sort": [{"field": expression, "direction": visual.sort[1]}]}
    shown: dict[str, Any] = {"visualType": visual.kind, "query": query}
    if visual.objects:
        shown["objects"] = visual.objects
    return {
        "$schema": SCHEMA, "name": name,
        "position": {"x": x, "y": y, "z": order, "width": width, "height": height, "tabOrder": order},
        "visual": shown | {"visualContainerObjects": _container(visual), "drillFilterOtherVisuals": True},
    }  # fmt: skip


def colours(*by_measure: tuple[str, str]) -> dict[str, Any]:
    """Formatting that gives each measure of a chart its own colour."""
    found = [{"properties": {"fill": colour(shown)}, "selector": {"metadata": field_of(name)[1]}}
             for name, shown in by_measure]  # fmt: skip
    return {"dataPoint": found}


def slicer_mode(mode: str, head: str = "") -> dict[str, Any]:
    """How a slicer is shown (``Dropdown``, ``Between``, ``Basic``), and what heads it instead of its column's name."""
    told: dict[str, Any] = {"data": [{"properties": {"mode": text(mode)}}]}
    if head:
        told["header"] = [{"properties": {"show": literal("true"), "text": text(head)}}]
    return told


def card_look() -> dict[str, Any]:
    """A card's figure in its own format, and no second name below it: the title tells it."""
    always = {"selector": {"id": "default"}}
    value = {"fontSize": literal("18D"), "fontColor": colour(INK), "labelDisplayUnits": literal("1D")}
    return {"value": [{"properties": value} | always],
            "label": [{"properties": {"show": literal("false")}} | always],
            "outline": [{"properties": {"show": literal("false")}} | always]}  # fmt: skip


def table_look(*, total: bool) -> dict[str, Any]:
    """A table whose long texts wrap; without a total where adding up tells nothing."""
    wrap = [{"properties": {"wordWrap": literal("true")}}]
    found = {"values": wrap, "columnHeaders": wrap}
    return found if total else found | {"total": [{"properties": {"totals": literal("false")}}]}
