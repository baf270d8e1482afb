"""Draws the pages of the Power BI report: `python docs/power_bi_pages.py HOME` writes docs/power-bi/<page>.svg.

Places, titles, fields and order are those of the generated report, figures those of the home's published tables. It is
our own drawing, so that a page can be judged and read about where there is no Power BI.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

from power_bi_figures import Figures, Shown, biggest, told

from exports.measures.catalog import measures
from exports.names import column_name
from exports.powerbi.pages import PAGES, Page
from exports.powerbi.report import PAPER
from exports.powerbi.visuals import ACCENT, INK, LINE, MUTED, SECOND, Visual
from exports.report import svg
from exports.report.svg import Point, Sheet, clipped, ticks
from exports.report.words import brief, short

TARGET = Path(__file__).with_name("power-bi")
FOOTER = "Drawn by docs/power_bi_pages.py from the synthetic demo shop; not a screenshot of Power BI Desktop."
MEMBERS, ROWS, DAYS = 12, 17, 400  # most that bars, a table and a line show
TITLE, LETTER, STRONG, ROW = 30, 6.3, 7.2, 24  # px: a visual's head, a letter, a bold one, a table's row
CLASSES = {ACCENT: "a", SECOND: "b", MUTED: "c"}
STYLE = f"""
text {{ font: 12px "Segoe UI", "DejaVu Sans Condensed", "Helvetica Neue", Arial, sans-serif; fill: {INK} }}
.paper {{ fill: {PAPER} }} .box {{ fill: #fff; stroke: {LINE} }} .field {{ fill: #fff; stroke: #A9B2BE }}
.title {{ font-size: 14px; font-weight: 600 }} .value {{ font-size: 22px; font-weight: 600 }}
.muted {{ fill: {MUTED}; font-size: 11px }} .strong {{ font-weight: 600 }} .light {{ fill: #fff }}
.grid {{ stroke: {LINE} }} .axis {{ stroke: {MUTED} }} .a {{ fill: {ACCENT} }} .b {{ fill: {SECOND} }}
.c {{ fill: {MUTED} }} path {{ fill: none !important; stroke-width: 1.6 }}
path.a {{ stroke: {ACCENT} }} path.b {{ stroke: {SECOND} }} path.c {{ stroke: {MUTED}; stroke-width: 1 }}
""".replace("\n", " ")


class Box:
    """The inside of a visual, below its title."""

    def __init__(self, sheet: Sheet, visual: Visual) -> None:
        x, y, width, height = visual.place
        self.sheet, self.visual = sheet, visual
        self.left, self.top, self.right, self.bottom = x + 12, y + TITLE, x + width - 12, y + height - 10
        sheet.rect(x + 0.5, y + 0.5, width - 1, height - 1, "box", 6)

    @property
    def width(self) -> int:
        """Pixels between its edges."""
        return self.right - self.left

    def title(self) -> None:
        """Its title, cut where Power BI would cut it."""
        is_card = self.visual.kind == "cardVisual"
        words = clipped(self.visual.title, self.width * (1.15 if is_card else 0.9))
        self.sheet.text((self.left, self.visual.place[1] + 21), words, "muted" if is_card else "title")


def slicer(box: Box, figures: Figures) -> None:
    """A field with its name; the date with the ends that Power BI offers."""
    x, y, width, height = box.visual.place
    box.sheet.text((box.left, y + 17), box.visual.title, "muted")
    if box.visual.title == "Date":
        first, last = figures.con.execute("SELECT min(date), max(date) FROM dim_date").fetchall()[0]
        half = (box.width - 10) / 2
        for n, day in enumerate((first, last)):
            box.sheet.rect(box.left + n * (half + 10), y + 24, half, 26, "field", 3)
            box.sheet.text((box.left + 8 + n * (half + 10), y + 41), day)
        return
    box.sheet.rect(x + 12, y + 24, width - 24, height - 34, "field", 3)
    box.sheet.text((box.left + 8, y + 41), "All")
    box.sheet.text((box.right - 8, y + 41), "⌄", "", "end")


def card(box: Box, figures: Figures) -> None:
    """A measure's name and its figure."""
    (name,) = box.visual.fields["Data"]
    box.title()
    figure = figures.value(name)
    words = told(figure, measures()[name].format) if figure is not None else "--"
    box.sheet.text((box.left, (box.top + box.bottom) / 2 + 8), words, "value")


def tones(visual: Visual) -> list[str]:
    """The classes of a chart's measures, by the colours that the report gives them."""
    told_colours = [p["properties"]["fill"]["solid"]["color"]["expr"]["Literal"]["Value"]
                    for p in visual.objects["dataPoint"]]  # fmt: skip
    return [CLASSES[c.strip("'")] for c in told_colours]


def legend(box: Box, names: Sequence[str]) -> float:
    """The measures' names in their colours, where there are several; returns where the plot begins."""
    if len(names) < 2:  # noqa: PLR2004 - one needs no legend
        return box.top + 8
    x = float(box.left)
    for name, tone in zip(names, tones(box.visual), strict=True):
        box.sheet.dot((x + 4, box.top + 8), 4, tone)
        box.sheet.text((x + 13, box.top + 12), name, "muted")
        x += 13 + len(name) * LETTER + 16
    return box.top + 28


def scale(box: Box, shown: Shown, top: float, *, stacked: bool = False, zero: bool = True) -> Callable[[float], float]:
    """Lines of the value axis, and the height at which a value lies."""
    known = [[float(f) for f in figures if f is not None] for _, figures in shown.rows]
    high = max((sum(k) if stacked else max(k) for k in known if k), default=1.0)
    steps = ticks(0 if zero else min(min(k) for k in known if k), high, 4)
    form, bottom = measures()[shown.measures[0]].format, box.bottom - 20
    span = (bottom - top) / (steps[-1] - steps[0])
    for step in steps:
        y = bottom - (step - steps[0]) * span
        box.sheet.line((box.left + 44, y), (box.right, y), "grid" if step else "axis")
        words = f"{100 * step:.3g}%" if "%" in form else short(step)
        box.sheet.text((box.left + 38, y + 4), words, "muted", "end")
    return lambda value: bottom - (value - steps[0]) * span


def line_chart(box: Box, shown: Shown) -> None:
    """Measures over days, or over months."""
    top = legend(box, shown.measures)
    at = scale(box, shown, top)
    left, right = box.left + 50, box.right - 6
    first, last = shown.rows[0][0][0], shown.rows[-1][0][0]
    is_day = isinstance(first, date)
    span = (last - first).days if is_day else len(shown.rows) - 1

    def x(n: int) -> float:
        done = (shown.rows[n][0][0] - first).days if is_day else n
        return left + (right - left) * done / max(span, 1)

    for number, tone in reversed(list(enumerate(tones(box.visual)))):
        points: list[Point | None] = []
        for n, (_, figures) in enumerate(shown.rows):
            points.append(None if figures[number] is None else (x(n), at(float(figures[number]))))
        box.sheet.path(points, tone)
    every = max(-(-len(shown.rows) // max(int((right - left) // 90), 1)), 1)
    for n in range(0, len(shown.rows), every):
        member = shown.rows[n][0][0]
        end = "start" if n == 0 else "middle" if x(n) < right - 30 else "end"
        box.sheet.text((x(n), box.bottom - 3), brief(member) if is_day else member, "muted", end)


def columns(box: Box, shown: Shown) -> None:
    """Upright bars, beside each other or (columnChart) upon each other."""
    top, stacked = legend(box, shown.measures), box.visual.kind == "columnChart"
    at = scale(box, shown, top, stacked=stacked)
    slots = places_of([members[0] for members, _ in shown.rows])
    step = (box.right - box.left - 50) / (slots[-1] + 1)
    side = 1 if stacked else len(shown.measures)
    thick = min(step * 0.76, 90) / side
    every = max(-(-len(shown.rows) * 46 // (box.width - 50)), 1)
    for n, (members, figures) in enumerate(shown.rows):
        middle, below = box.left + 50 + step * (slots[n] + 0.5), 0.0
        for number, (figure, tone) in enumerate(zip(figures, tones(box.visual), strict=True)):
            value = float(figure or 0)
            x = middle + (0 if stacked else number) * thick - thick * side / 2
            box.sheet.rect(x, at(below + value), thick, at(below) - at(below + value), tone)
            below += value if stacked else 0
        if n % every == 0:
            member = members[0]
            label = brief(member) if isinstance(member, date) else str(member)
            box.sheet.text((middle, box.bottom - 3), label, "muted", "middle")


def places_of(members: Sequence[Any]) -> list[int]:
    """Where the members stand on an axis: days as far apart as they are, in their smallest distance."""
    if len(members) == 1 or not isinstance(members[0], date):
        return list(range(len(members)))
    days = [(m - members[0]).days for m in members]
    least = min(b - a for a, b in pairwise(days))
    return [d // least for d in days]


def bars(box: Box, shown: Shown) -> None:
    """Lying bars with their members at the left; more than fit are scrolled to."""
    row = min((box.bottom - box.top - 14) / max(len(shown.rows), 1), 34)
    labels = min(max(len(str(m[0])) for m, _ in shown.rows) * LETTER + 22, box.width * 0.4)
    most = max(float(f[0]) for _, f in shown.rows) or 1
    form = measures()[shown.measures[0]].format
    for n, ((member,), (figure,)) in enumerate(shown.rows):
        y, size = box.top + 6 + n * row, float(figure) / most * (box.width - labels - 64)
        room = (labels - 8) * svg.LETTER / LETTER
        box.sheet.text((box.left + labels - 8, y + row / 2 + 4), clipped(str(member), room), "", "end")
        box.sheet.rect(box.left + labels, y + row * 0.14, size, row * 0.72, "a")
        words = told(figure, "0.0%") if "%" in form else short(float(figure))
        box.sheet.text((box.left + labels + size + 5, y + row / 2 + 4), words, "muted")
    scrolled(box, shown)


def funnel(box: Box, shown: Shown) -> None:
    """A bar for each measure, each with its share of the first."""
    ((_, figures),) = shown.rows
    row = (box.bottom - box.top - 6) / len(figures)
    for n, (name, figure) in enumerate(zip(shown.measures, figures, strict=True)):
        y, share = box.top + 6 + n * row, float(figure or 0) / float(figures[0] or 1)
        room = box.width - 170
        box.sheet.text((box.left + 150, y + row / 2 + 4), name, "", "end")
        box.sheet.rect(box.left + 160 + room * (1 - share) / 2, y + 3, room * share, row - 6, "a")
        words = f"{told(figure, '#,0')} ({share:.1%})" if figure is not None else "(Blank)"
        middle, half = box.left + 160 + room / 2, room * share / 2
        inside = half * 2 > len(words) * LETTER + 10
        box.sheet.text((middle if inside else middle + half + 6, y + row / 2 + 4), words,
                       "light" if inside else "muted", "middle" if inside else "start")  # fmt: skip


def table(box: Box, shown: Shown) -> None:
    """Rows and their total; columns as wide as their words, cut where they do not fit, as Power BI wraps them."""
    heads = [*(c.split("[")[1].rstrip("]") for c in shown.columns), *shown.measures]
    forms = [*("" for _ in shown.columns), *(measures()[m].format for m in shown.measures)]
    rows = [(*members, *figures) for members, figures in shown.rows]
    has_total = "total" not in box.visual.objects
    if has_total:
        rows.append((*("Total" if n == 0 else "" for n in range(len(shown.columns))), *shown.total))
    cells = [[told(v, form) for v, form in zip(row, forms, strict=True)] for row in rows]
    wanted = [max(max(len(w) for w in h.split()) * STRONG, *(min(len(r[n]), 40) * LETTER for r in cells)) + 18
              for n, h in enumerate(heads)]  # fmt: skip
    part = min(box.width / sum(wanted), 1.6)
    widths = [w * part for w in wanted]
    lines = [wrapped(h, w, STRONG) for h, w in zip(heads, widths, strict=True)]
    y = box.top + 2 + max(len(line) for line in lines) * 14
    x = float(box.left)
    for n, (line, width) in enumerate(zip(lines, widths, strict=True)):
        for m, words in enumerate(reversed(line)):
            put(box, (x, y - 4 - m * 14), words, width, "strong", right=bool(forms[n]))
        x += width
    box.sheet.line((box.left, y + 2), (box.left + sum(widths), y + 2), "axis")
    fitting = int((box.bottom - y) // ROW) - has_total
    for number, cell in enumerate(cells[: min(len(cells) - has_total, fitting)] + cells[-1:] * has_total):
        last, x = has_total and number == min(len(cells) - 1, fitting), float(box.left)
        high = 1
        for n, (words, width) in enumerate(zip(cell, widths, strict=True)):
            told_lines = wrapped(words, width)
            for m, part_of in enumerate(told_lines):
                put(box, (x, y + 19 + m * 15), part_of, width, "strong" if last else "", right=bool(forms[n]))
            high, x = max(high, len(told_lines)), x + width
        y += ROW + (high - 1) * 15
        box.sheet.line((box.left, y + 2), (box.left + sum(widths), y + 2), "grid")
    scrolled(box, shown, max(len(cells) - has_total - fitting, 0))


def wrapped(words: str, width: float, letter: float = LETTER) -> list[str]:
    """Words in lines of a width."""
    lines = [""]
    for word in words.split(" "):
        joined = f"{lines[-1]} {word}".strip()
        if len(joined) * letter + 10 > width and lines[-1]:
            lines.append(word)
        else:
            lines[-1] = joined
    return lines


def put(box: Box, at: Point, words: str, width: float, kind: str, *, right: bool) -> None:
    """A cell's words, cut where they are too wide."""
    shown = clipped(words, width * svg.LETTER / LETTER)
    box.sheet.text((at[0] + width - 10, at[1]) if right else at, shown, kind, "end" if right else "start")


def scrolled(box: Box, shown: Shown, hidden: int = 0) -> None:
    """That there is more, where there is."""
    more = shown.more + hidden
    if more:
        box.sheet.text((box.right, box.visual.place[1] + 21), f"{more:,} more below", "muted", "end")


DRAWN: dict[str, Callable[[Box, Shown], None]] = {
    "lineChart": line_chart, "clusteredColumnChart": columns, "columnChart": columns, "clusteredBarChart": bars,
    "funnel": funnel, "tableEx": table,
}  # fmt: skip


def draw(page: Page, figures: Figures) -> str:
    """A page as SVG; the same home gives the same bytes."""
    width, height = page.size
    sheet = Sheet(width, height)
    sheet.rect(0, 0, width, height, "paper")
    for visual in page.visuals:
        box = Box(sheet, visual)
        if visual.kind in {"slicer", "cardVisual"}:
            (slicer if visual.kind == "slicer" else card)(box, figures)
            continue
        box.title()
        shown = figures.of(visual, _most(visual))
        if any(f is not None for _, fs in shown.rows for f in fs):
            DRAWN[visual.kind](box, shown)
        else:
            sheet.text((box.left, box.top + 20), "(nothing to show)", "muted")
    opened = "".join(f" Opened for {column_name(f.place.table, f.place.column)} {f.values[0]}." for f in figures.fixed)
    sheet.text((20, height - 4), f"{page.title}.{opened} {FOOTER}", "muted")
    drawn = str(sheet.svg("page", f"{page.title}: page of the Power BI report"))
    head, rest = drawn.split(">", 1)
    return f'{head} xmlns="http://www.w3.org/2000/svg"><style>{STYLE}</style>{rest}\n'


def _most(visual: Visual) -> int:
    return {"tableEx": ROWS, "clusteredBarChart": MEMBERS}.get(visual.kind, DAYS)


def main() -> None:
    """Draw every page that a reader sees."""
    if len(sys.argv) < 2:  # noqa: PLR2004 - the program's name and a home
        sys.exit("usage: python docs/power_bi_pages.py HOME [PAGE …]")
    figures = Figures(Path(sys.argv[1]))
    TARGET.mkdir(exist_ok=True)
    for page in PAGES:
        if page.tip or (sys.argv[2:] and page.name not in sys.argv[2:]):
            continue
        figures.fixed = (biggest(figures, page.drill, "Gross Sales"),) if page.drill else ()
        (TARGET / f"{page.name}.svg").write_text(draw(page, figures), "utf-8")


if __name__ == "__main__":
    main()
