"""A sheet of SVG: shapes by class (the page's CSS colours them), text that is always escaped, axes of round steps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from markupsafe import Markup, escape

# px: how wide a letter of 12 px is on average, in the widest font of the page's stack.
LETTER, STRONG_LETTER = 7.2, 8.0
Point = tuple[float, float]


class Sheet:
    """A drawing of fixed width; marks are added in the order in which they lie upon each other."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self._marks: list[Markup] = []

    def rect(self, x: float, y: float, width: float, height: float, kind: str, radius: float = 0) -> None:
        """A rectangle; of one with no area nothing is drawn."""
        if width > 0 and height > 0:
            self._add('<rect x="{}" y="{}" width="{}" height="{}" rx="{}" class="{}"/>', x, y, width, height,
                      min(radius, width / 2, height / 2), kind)  # fmt: skip

    def line(self, start: Point, end: Point, kind: str) -> None:
        """A straight line."""
        self._add('<line x1="{}" y1="{}" x2="{}" y2="{}" class="{}"/>', *start, *end, kind)

    def dot(self, at: Point, radius: float, kind: str) -> None:
        """A disc."""
        self._add('<circle cx="{}" cy="{}" r="{}" class="{}"/>', *at, radius, kind)

    def path(self, points: Sequence[Point | None], kind: str, *, alone: bool = True) -> None:
        """A line through points, broken where one is None; a point alone is a dot, if wanted."""
        runs = _runs(points)
        found = " ".join("M" + " L".join(f"{_n(x)} {_n(y)}" for x, y in run) for run in runs if len(run) > 1)
        if found:
            self._add('<path d="{}" class="{}"/>', found, kind)
        for run in runs:
            if alone and len(run) == 1:
                self.dot(run[0], 1.5, kind + " alone")

    def band(self, lower: Sequence[Point], upper: Sequence[Point], kind: str) -> None:
        """The area between two lines."""
        around = [*upper, *reversed(lower)]
        if around:
            self._add('<path d="M{} Z" class="{}"/>', " L".join(f"{_n(x)} {_n(y)}" for x, y in around), kind)

    def text(self, at: Point, words: object, kind: str = "", anchor: str = "start") -> None:
        """A text, its baseline at a point; ``anchor`` is start, middle or end."""
        self._add('<text x="{}" y="{}" text-anchor="{}" class="{}">{}</text>', *at, anchor, f"t {kind}".strip(), words)

    def _add(self, form: str, *values: object) -> None:
        shown = [_n(v) if isinstance(v, float | int) else escape(v) for v in values]
        self._marks.append(Markup(form).format(*shown))  # noqa: S704 - the form is ours, values are escaped above

    def svg(self, kind: str, label: str) -> Markup:
        """The whole drawing; ``label`` is what a screen reader says of it."""
        head = Markup('<svg class="{}" viewBox="0 0 {} {}" width="{}" height="{}" role="img" aria-label="{}">').format(
            kind, *(_n(v) for v in (self.width, self.height) * 2), label
        )
        return head + Markup("").join(self._marks) + Markup("</svg>")


def _runs(points: Iterable[Point | None]) -> list[list[Point]]:
    runs: list[list[Point]] = [[]]
    for point in points:
        if point is None:
            runs.append([])
        else:
            runs[-1].append(point)
    return [r for r in runs if r]


def _n(value: float) -> str:
    """A number as SVG wants it, to a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0")


def ticks(low: float, high: float, wanted: int = 4) -> list[float]:
    """Round values (1, 2 or 5 times a power of ten apart) from at most ``low`` to at least ``high``."""
    if high <= low:
        high = low + 1
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(n * step, 10) for n in range(first, last + 1)]


def clipped(text: str, room: float) -> str:
    """A text that fits into so many pixels, shortened with an ellipsis."""
    letters = max(int(room / LETTER), 2)
    return text if len(text) <= letters else text[: letters - 1].rstrip() + "…"
