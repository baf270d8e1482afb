"""Draws the asset graph as SVG from the Dagster definitions: `python docs/asset_graph.py` writes docs/asset_graph.svg.

`--check` writes nothing and ends with 1 when the picture is not the one that the definitions give now.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections import defaultdict
from pathlib import Path

TARGET = Path(__file__).with_name("asset_graph.svg")
BOX_WIDTH, BOX_HEIGHT, COLUMN, ROW, MARGIN, HEAD = 190, 30, 250, 42, 24, 40
COLOURS = {"ingestion": "#e8d5b5", "privacy": "#d9c9ea", "sessions": "#c4dff0", "star": "#cfe8cf", "exports": "#f3c9c9"}
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


def place(graph: Graph) -> dict[str, tuple[int, float]]:
    """Column (longest way from a root) and row of every asset; rows by the mean row of their neighbours."""
    depth: dict[str, int] = {}
    for name, (_, parents) in graph.items():
        depth[name] = max((depth[p] + 1 for p in parents), default=0)
    for name in graph:  # a root that feeds only late columns stands just before the first of them
        children = [depth[c] for c, (_, ps) in graph.items() if name in ps]
        if children and not graph[name][1]:
            depth[name] = min(children) - 1
    columns: dict[int, list[str]] = defaultdict(list)
    for name in sorted(graph):
        columns[depth[name]].append(name)
    near: dict[str, set[str]] = {n: set(ps) for n, (_, ps) in graph.items()}
    for name, (_, parents) in graph.items():
        for parent in parents:
            near[parent].add(name)
    rows = {n: i - (len(c) - 1) / 2 for c in columns.values() for i, n in enumerate(c)}
    for _ in range(SWEEPS):
        for column in sorted(columns):
            means = {n: sum(rows[o] for o in near[n]) / max(len(near[n]), 1) for n in columns[column]}
            columns[column].sort(key=lambda n: (means[n], n))  # noqa: B023 - used up before the next turn
            rows |= {n: i - (len(columns[column]) - 1) / 2 for i, n in enumerate(columns[column])}
    return {n: (depth[n], rows[n]) for n in graph}


def draw(graph: Graph) -> str:
    """The SVG text; the same graph gives the same bytes."""
    places = place(graph)
    lowest = min(r for _, r in places.values())
    width = MARGIN * 2 + max(c for c, _ in places.values()) * COLUMN + BOX_WIDTH
    height = round(HEAD + MARGIN * 2 + (max(r for _, r in places.values()) - lowest) * ROW + BOX_HEIGHT)

    def corner(name: str) -> tuple[int, int]:
        column, row = places[name]
        return MARGIN + column * COLUMN, round(HEAD + MARGIN + (row - lowest) * ROW)

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="Helvetica, Arial, sans-serif" font-size="13">',
        "<title>Asset graph of the Behavior Lakehouse</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    groups = list(dict.fromkeys(group for group, _ in graph.values()))
    for index, group in enumerate(sorted(groups, key=list(COLOURS).index)):
        x = MARGIN + index * 110
        lines += [f'<rect x="{x}" y="16" width="14" height="14" rx="3" fill="{COLOURS[group]}" stroke="#555"/>',
                  f'<text x="{x + 20}" y="28" fill="#222">{group}</text>']  # fmt: skip
    for name, (_, parents) in graph.items():
        x, y = corner(name)
        for parent in sorted(parents):
            px, py = corner(parent)
            start, end, middle = (px + BOX_WIDTH, py + BOX_HEIGHT // 2), (x, y + BOX_HEIGHT // 2), (COLUMN - BOX_WIDTH)
            lines.append(f'<path d="M{start[0]},{start[1]} C{start[0] + middle},{start[1]} {end[0] - middle},{end[1]} '
                         f'{end[0]},{end[1]}" fill="none" stroke="#999" stroke-width="1.1"/>')  # fmt: skip
    for name, (group, _) in graph.items():
        x, y = corner(name)
        lines += [f'<rect x="{x}" y="{y}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="6" fill="{COLOURS[group]}" '
                  'stroke="#555"/>',
                  f'<text x="{x + BOX_WIDTH // 2}" y="{y + 20}" text-anchor="middle" fill="#111">{name}</text>']  # fmt: skip
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
