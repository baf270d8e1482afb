"""The report (PBIR): files of pages and visuals, as text."""

from __future__ import annotations

import json
import re
from typing import Any

from exports.powerbi.pages import PAGES, Page
from exports.powerbi.visuals import Visual, colour, field_of, literal, visual_file

_BASE = "https://developer.microsoft.com/json-schemas/fabric/item/report/definition"
PAPER = "#F4F6F9"


def files() -> dict[str, str]:
    """The files of the report's ``definition`` folder: path and text."""
    shown = [p.name for p in PAGES]
    found: dict[str, Any] = {
        "report.json": {
            "$schema": f"{_BASE}/report/3.0.0/schema.json", "themeCollection": {},
            "settings": {"useStylableVisualContainerHeader": True, "useEnhancedTooltips": True,
                         "defaultDrillFilterOtherVisuals": True},
        },
        "version.json": {"$schema": f"{_BASE}/versionMetadata/1.0.0/schema.json", "version": "2.0.0"},
        "pages/pages.json": {"$schema": f"{_BASE}/pagesMetadata/1.0.0/schema.json", "pageOrder": shown,
                             "activePageName": shown[0]},
    }  # fmt: skip
    for page in PAGES:
        found[f"pages/{page.name}/page.json"] = _page(page)
        for order, visual in enumerate(page.visuals):
            name = visual_name(visual, order)
            found[f"pages/{page.name}/visuals/{name}/visual.json"] = visual_file(visual, name, order * 1000)
    return {path: json.dumps(told, indent=2, ensure_ascii=False) + "\n" for path, told in found.items()}


def visual_name(visual: Visual, order: int) -> str:
    """A short folder name: its place among the page's visuals and the beginning of its title."""
    return f"v{order:02d}_" + "_".join(re.findall(r"[a-z0-9]+", visual.title.lower())[:2])[:24]


def _page(page: Page) -> dict[str, Any]:
    width, height = page.size
    told: dict[str, Any] = {
        "$schema": f"{_BASE}/page/2.0.0/schema.json", "name": page.name, "displayName": page.title,
        "displayOption": "ActualSize" if page.tip else "FitToPage", "height": height, "width": width,
        "objects": {"background": [{"properties": {"color": colour(PAPER), "transparency": literal("0D")}}]},
    }  # fmt: skip
    if page.tip:
        return told | {"type": "Tooltip", "visibility": "HiddenInViewMode",
                       "pageBinding": {"name": f"{page.name}_binding", "type": "Tooltip"}}  # fmt: skip
    if page.drill:
        expression = field_of(page.drill)[0]
        filter_name = f"{page.name}_filter"
        told |= {
            "type": "Drillthrough", "visibility": "HiddenInViewMode",
            "filterConfig": {"filters": [{"name": filter_name, "field": expression, "type": "Categorical",
                                          "howCreated": "Drillthrough"}]},
            "pageBinding": {"name": f"{page.name}_binding", "type": "Drillthrough",
                            "parameters": [{"name": f"{page.name}_parameter", "boundFilter": filter_name,
                                            "fieldExpr": expression}]},
        }  # fmt: skip
    return told
