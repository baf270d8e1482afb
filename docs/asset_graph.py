"""Draws the asset graph as SVG from the Dagster definitions: `python docs/asset_graph.py` writes docs/asset_graph.svg.

`--check` writes nothing and ends with 1 when the picture is not the one that the definitions give now.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

TARGET = Path(__file__).with_name("asset_graph.svg")
BOX_WIDTH, BOX_HEIGHT, COLUMN, ROW, MARGIN, HEAD = 190, 30, 250, 42, 24, 40
COLOURS = {
    "ingestion": "#e8d5b5", "privacy": "#d9c9ea", "sessions": "#c4dff0", "segmentation": "#f7e3a1",
    "prediction": "#f5d0b0", "forecasting": "#bfe3dd", "star": "#cfe8cf", "exports": "#f3c9c9",
}  # fmt: skip
SWEEPS = 8  # passes of the barycentre heuristic that untangles the lines

Graph = dict[str, tuple[str, frozenset[str]]]


def read_graph() -> Graph:
    """Each asset's group and parents, without parents that are reached through another parent anyway."""
    import dagster as dg

    warnings.simplefilter("ignore", dg.BetaWarning)
    from behavior_assets.definitions import build_definitions
    from resources.settings import load_settings

    with tempfile.TemporaryDirectory() as home:
        graph = build_definitions(load_settings(home)).resolve_asset_graph()
    parents = {k.to_user_string(): {p.to_user_string() for p in graph.get(k).parent_keys}
               for k in graph.toposorted_asset_keys}  # fmt: skip
    above: dict[str, set[str]] = {}
    for name, direct in parents.items():
        above[name] = direct.union(*(above[p] for p in direct))
    return {
        k.to_user_string(): (
            str(graph.get(k).group_name),
            frozenset(p for p in parents[k.to_user_string()]
                      if not any(p in above[other] for other in parents[k.to_user_string()])),
        )
        for k in graph.toposorted_asset_keys
    }  # fmt: skip


def layers(graph: Graph) -> dict[str, int]:
    """Column of every asset: as late as its children allow; one without children right after its parents."""
    children: dict[str, set[str]] = {name: set() for name in graph}
    longest: dict[str, int] = {}
    for name, (_, parents) in graph.items():
        longest[name] = max((longest[p] + 1 for p in parents), default=0)
        for parent in parents:
            children[parent].add(name)
    column: dict[str, int] = {}
    for name in reversed(graph):
        column[name] = min((column[c] - 1 for c in children[name]), default=longest[name])
    return column


def place(graph: Graph) -> tuple[dict[str, tuple[int, float]], list[list[str]]]:
    """Column and row of every asset and of every point where a line passes a column, and the lines.

    A line that skips columns gets a place of its own in each; rows follow the mean row of the neighbours.
    """
    column = layers(graph)
    ways = [[parent, *(f"{parent}>{c}" for c in range(column[parent] + 1, column[name])), name]
            for name, (_, parents) in graph.items() for parent in sorted(parents)]  # fmt: skip
    near: dict[str, set[str]] = defaultdict(set)
    for way in ways:
        for one, other in pairwise(way):
            near[one].add(other)
            near[other].add(one)
            column.setdefault(one, column[way[0]] + way.index(one))
    columns: dict[int, list[str]] = defaultdict(list)
    for name in sorted(column):
        columns[column[name]].append(name)
    rows: dict[str, float] = {}
    for _ in range(SWEEPS):
        for number in (*sorted(columns), *sorted(columns, reverse=True)):
            means = [(sum(rows.get(o, 0) for o in near[n]) / max(len(near[n]), 1), n) for n in columns[number]]
            columns[number] = [n for _, n in sorted(means)]
            rows |= {n: i - (len(means) - 1) / 2 for i, n in enumerate(columns[number])}
    return {n: (column[n], rows[n]) for n in column}, ways


def draw(graph: Graph) -> str:
    """The SVG text; the same graph gives the same bytes."""
    places, ways = place(graph)
    lowest = min(r for _, r in places.values())
    width = MARGIN * 2 + max(c for c, _ in places.values()) * COLUMN + BOX_WIDTH
    height = round(HEAD + MARGIN * 2 + (max(r for _, r in places.values()) - lowest) * ROW + BOX_HEIGHT)

    def corner(name: str) -> tuple[int, int]:
        column, row = places[name]
        return MARGIN + column * COLUMN, round(HEAD + MARGIN + (row - lowest) * ROW)

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
        "<style>text {font: 13px Helvetica, Arial, sans-serif} path {fill: none; stroke: #999}</style>",
        "<title>Asset graph of the Behavior Lakehouse</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    groups = list(dict.fromkeys(group for group, _ in graph.values()))
    for index, group in enumerate(sorted(groups, key=list(COLOURS).index)):
        x = MARGIN + index * 110
        lines.append(f'<rect x="{x}" y="16" width="14" height="14" rx="3" fill="{COLOURS[group]}" stroke="#555"/>')
        lines.append(f'<text x="{x + 20}" y="28">{group}</text>')
    bend = COLUMN - BOX_WIDTH
    for one, other in sorted({step for way in ways for step in pairwise(way)}):
        (left, top), (right, bottom) = corner(one), corner(other)
        left, top, bottom = left + BOX_WIDTH, top + BOX_HEIGHT // 2, bottom + BOX_HEIGHT // 2
        through = "" if other in graph else f" H{right + BOX_WIDTH}"
        curve = f"M{left},{top} C{left + bend},{top} {right - bend},{bottom} {right},{bottom}{through}"
        lines.append(f'<path d="{curve}"/>')
    size = f'width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="6" stroke="#555"'
    for name, (group, _) in graph.items():
        x, y = corner(name)
        lines.append(f'<rect x="{x}" y="{y}" {size} fill="{COLOURS[group]}"/>')
        lines.append(f'<text x="{x + BOX_WIDTH // 2}" y="{y + 20}" text-anchor="middle">{name}</text>')
    return "\n".join([*lines, "</svg>"]) + "\n"


def main() -> None:
    """Write the picture, or check it."""
    text = draw(read_graph())
    if "--check" in sys.argv[1:]:
        if not TARGET.exists() or TARGET.read_text("utf-8") != text:
            sys.exit(f"{TARGET.name} is not up to date. Run: python docs/asset_graph.py")
    else:
        TARGET.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
