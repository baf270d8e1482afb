"""The report's charts: pure functions from figures to SVG, each drawn for the width at which it is shown.

Colours mean one thing each (now, before, more, less) and never stand alone: a sign, a label or a shape says the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from markupsafe import Markup

from exports.report.svg import LETTER, STRONG_LETTER, Point, Sheet, clipped, ticks
from exports.report.words import axis_labels, brief, difference, number, short, weekday

WIDE, HALF, NARROW = 848, 404, 342  # px: the page's column, half of it, a phone's
_NARROW_ENOUGH = 480
_ROOM = 6  # px between a mark and its label


def figure(draw: Callable[[float], Sheet], label: str, wide: float = WIDE) -> Markup:
    """A chart twice, for a page and for a phone; CSS shows one of them, also to screen readers."""
    return draw(wide).svg("chart wide", label) + draw(NARROW).svg("chart narrow", label)


def spark(values: Sequence[float | None], label: str, width: float = 128, height: float = 34) -> Markup:
    """The way of a figure over weeks, the newest as a dot."""
    sheet = Sheet(width, height)
    known = [v for v in values if v is not None]
    if len(known) > 1:
        low, high = min(known), max(known)
        step = (width - 8) / (len(values) - 1)
        points = [None if v is None else (3 + n * step, height - 5 - (height - 10) * (v - low) / ((high - low) or 1))
                  for n, v in enumerate(values)]  # fmt: skip
        sheet.path(points, "line", alone=False)  # so small, a dot between unknown weeks looks like dirt
        if points[-1]:
            sheet.dot(points[-1], 3.2, "now")
    return sheet.svg("spark", label)


@dataclass(frozen=True)
class Bar:
    """A bar: its label, its value, the value before (a mark), and what is written beside it."""

    label: str
    value: float | None
    before: float | None = None
    beside: str = ""
    below: str = ""
    strong: bool = True


def columns(bars: Sequence[Bar], width: float, height: float = 220) -> Sheet:
    """Upright bars with the value before as a mark across. Figures stand in a row below: none is the mark's."""
    sheet = Sheet(width, height)
    top, bottom = 8, 56
    most = max([v for b in bars for v in (b.value, b.before) if v is not None] or [0]) or 1
    step = width / max(len(bars), 1)
    thick = min(step * 0.62, 64)
    sheet.line((0, height - bottom + 0.5), (width, height - bottom + 0.5), "axis")
    for n, bar in enumerate(bars):
        middle, scale = step * (n + 0.5), (height - top - bottom) / most
        tall = max(bar.value or 0, 0) * scale
        sheet.rect(middle - thick / 2, height - bottom - tall, thick, tall, "now" if bar.strong else "pale", 2)
        if bar.before is not None:
            at = height - bottom - max(bar.before, 0) * scale
            sheet.line((middle - thick / 2 - 4, at), (middle + thick / 2 + 4, at), "mark")
        words = short(bar.value) if bar.value is not None else NOT_TOLD
        sheet.text((middle, height - 38), words, "strong" if bar.value is not None else "muted", "middle")
        sheet.text((middle, height - 21), bar.label, "", "middle")
        sheet.text((middle, height - 5), bar.below, "muted", "middle")
    return sheet


NOT_TOLD = "n/a"


def weeks(points: Sequence[tuple[date, float | None]], width: float, height: float = 220) -> Sheet:
    """A bar for each week, the newest in full colour, with a scale of round steps at the left."""
    sheet = Sheet(width, height)
    steps = ticks(0, max([v for _, v in points if v is not None] or [1]), 4)
    left = _beside_scale(steps)
    top, bottom = 10, 24
    per_unit = (height - top - bottom) / steps[-1]
    _scale(sheet, steps, left, height - bottom, per_unit)
    step = (width - left) / max(len(points), 1)
    for n, (_, value) in enumerate(points):
        tall = max(value or 0, 0) * per_unit
        kind = "now" if n == len(points) - 1 else "pale"
        sheet.rect(left + n * step + step * 0.14, height - bottom - tall, step * 0.72, tall, kind, 1.5)
    every = max(-(-len(points) // max(int((width - left) // 74), 1)), 1)
    for n in range(len(points) - 1, -1, -every):
        last = n == len(points) - 1
        sheet.text((left + step * (n + (1 if last else 0.5)), height - 6), brief(points[n][0]), "muted",
                   "end" if last else "middle")  # fmt: skip
    return sheet


def _beside_scale(steps: Sequence[float]) -> float:
    """Where a chart begins to the right of its scale's labels."""
    return max(map(len, axis_labels(steps))) * LETTER + _ROOM


def _scale(sheet: Sheet, steps: Sequence[float], left: float, bottom: float, per_unit: float) -> None:
    """Lines across at round steps, their labels at the left; ``per_unit``: pixels of one unit."""
    for at, label in zip(steps, axis_labels(steps), strict=True):
        y = round(bottom - at * per_unit) + 0.5
        sheet.line((left, y), (sheet.width, y), "grid" if at else "axis")
        sheet.text((left - _ROOM, y + 4), label, "muted", "end")


def waterfall(before: tuple[str, float], steps: Sequence[tuple[str, float]], after: tuple[str, float],
              width: float) -> Sheet:  # fmt: skip
    """From one revenue to the next, cause by cause. Ends are dots: no bar begins in the middle of a scale."""
    narrow = width < _NARROW_ENOUGH
    row, left, room = (46, 0, 6) if narrow else (34, 150, 76)  # room: for a label on either side
    levels = [before[1]]
    for _, amount in steps:
        levels.append(levels[-1] + amount)
    low, high = min(levels), max(levels)
    sheet = Sheet(width, row * (len(steps) + 2) + 24)

    def x(value: float) -> float:
        return left + room + (width - left - 2 * room) * ((value - low) / (high - low) if high > low else 0.5)

    def y(n: int) -> float:
        return row * n + (32 if narrow else row / 2)

    steps_in = [at for at in ticks(low, high, 2 if narrow else 4) if low <= at <= high]
    for at, label in zip(steps_in, axis_labels(steps_in), strict=True):
        sheet.line((x(at), 4), (x(at), sheet.height - 22), "grid")
        sheet.text((min(max(x(at), 24), width - 24), sheet.height - 6), label, "muted", "middle")
    names = [before[0], *(name for name, _ in steps), after[0]]
    told = [number(before[1], "money"), *(difference(a) for _, a in steps), number(after[1], "money")]
    for n, (name, words) in enumerate(zip(names, told, strict=True)):
        start, end = x(levels[max(n - 1, 0)]), x(levels[min(n, len(steps))])
        ends = n in {0, len(names) - 1}
        if n:
            sheet.line((start, y(n - 1) + 9), (start, y(n) - (5 if ends else 9)), "joint")
        if ends:
            sheet.dot((end, y(n)), 5, "end-dot")
        else:
            kind = "more" if end > start else "less"
            sheet.rect(min(start, end), y(n) - 9, max(abs(end - start), 1.5), 18, kind, 1.5)
        if narrow:
            sheet.text((0, y(n) - 15), name)
            sheet.text((width, y(n) - 15), words, "strong", "end")
        else:
            sheet.text((0, y(n) + 4), clipped(name, left - 8))
            down = n and not ends and end < start
            sheet.text((min(start, end) - _ROOM if down else max(start, end) + _ROOM + 4 * ends, y(n) + 4), words,
                       "strong", "end" if down else "start")  # fmt: skip
    return sheet


def rows(bars: Sequence[Bar], width: float, labels: float = 190, beside: float = 150) -> Sheet:
    """Lying bars, one to a row, the value before as a mark; on a phone the label stands above its bar."""
    narrow = width < _NARROW_ENOUGH
    row, thick = (46, 14) if narrow else (32, 18)
    sheet = Sheet(width, max(row * len(bars), 1))
    left, right = (0, 0) if narrow else (labels, beside)
    most = max([v for b in bars for v in (b.value, b.before) if v is not None] or [0]) or 1
    scale = (width - left - right - 4) / most
    for n, bar in enumerate(bars):
        y = row * n + (24 if narrow else 7)
        sheet.rect(left, y, max(bar.value or 0, 0) * scale, thick, "now" if bar.strong else "pale", 1.5)
        if bar.before is not None:
            at = left + bar.before * scale
            sheet.line((at, y - 4), (at, y + thick + 4), "mark")
        if narrow:
            sheet.text((0, y - 7), clipped(bar.label, width - len(bar.beside) * STRONG_LETTER - 12), "")
            sheet.text((width, y - 7), bar.beside, "strong", "end")
        else:
            sheet.text((0, y + 13), clipped(bar.label, left - 12), "")
            sheet.text((width, y + 13), bar.beside, "strong", "end")
    return sheet


@dataclass(frozen=True)
class Told:
    """A day as a forecast told it."""

    day: date
    middle: float
    inner: tuple[float, float]
    outer: tuple[float, float]


def fan(actual: Sequence[tuple[date, float | None]], past: Sequence[Told], ahead: Sequence[Told], width: float,
        height: float = 280) -> Sheet:  # fmt: skip
    """What was sold (line), what had been told of it (dashes, band), and what is told of the days ahead (bands)."""
    sheet = Sheet(width, height)
    days = [d for d, _ in actual] + [t.day for t in (*past, *ahead)]
    first, last = min(days), max(days)
    most = max([v for _, v in actual if v is not None] + [t.outer[1] for t in ahead] + [t.inner[1] for t in past])
    steps = ticks(0, most, 4)
    left = _beside_scale(steps)
    top, bottom = 26, 24
    per_unit = (height - top - bottom) / steps[-1]

    def at(day: date, value: float) -> Point:
        along = (day - first).days / max((last - first).days, 1)
        return left + (width - left - 4) * along, height - bottom - value * per_unit

    _scale(sheet, steps, left, height - bottom, per_unit)
    for told, kind in ((ahead, "outer"), (ahead, "inner"), (past, "inner past")):
        ends = [t.outer if kind == "outer" else t.inner for t in told]
        sheet.band([at(t.day, e[0]) for t, e in zip(told, ends, strict=True)],
                   [at(t.day, e[1]) for t, e in zip(told, ends, strict=True)], kind)  # fmt: skip
    sheet.path([at(t.day, t.middle) for t in past], "told-past")
    sheet.path([None if v is None else at(d, v) for d, v in actual], "line")
    sheet.path([at(t.day, t.middle) for t in ahead], "told")
    if ahead:
        border = at(ahead[0].day, 0)[0] - (at(ahead[0].day + timedelta(days=1), 0)[0] - at(ahead[0].day, 0)[0]) / 2
        sheet.line((border, 8), (border, height - bottom), "joint")
        sheet.text((border + 6, 16), "forecast", "strong")
        sheet.text((border - 6, 16), "sold", "strong", "end")
    mondays = [d for d in (first + timedelta(days=n) for n in range((last - first).days + 1)) if d.weekday() == 0]
    every = max(-(-len(mondays) // max(int((width - left) // 62), 1)), 1)
    for monday in mondays[::every]:
        x = at(monday, 0)[0]
        if x < width - 20:
            sheet.line((x, height - bottom), (x, height - bottom + 4), "axis")
            sheet.text((max(x, left + 14), height - 6), brief(monday), "muted", "middle")
    return sheet


def change_bar(value: float, most: float, width: float = 96, height: float = 14) -> Sheet:
    """A small bar to the right for more, to the left for less."""
    sheet = Sheet(width, height)
    half = width / 2
    long = abs(value) / (most or 1) * (half - 1)
    sheet.rect(half if value > 0 else half - long, 2, long, height - 4, "more" if value > 0 else "less", 1)
    sheet.line((half, 0), (half, height), "axis")
    return sheet


def day_label(day: date) -> tuple[str, str]:
    """Weekday and date under a column."""
    return weekday(day), brief(day)
