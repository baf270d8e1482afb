"""The illustrated report: one HTML file that needs nothing else, made of the aggregate tables only.

Charts are inline SVG, styles are inline, there is no script; a policy in the page forbids every request.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from exports.aggregate import MINIMUM, Aggregate, Value, aggregate
from exports.report import sections
from exports.report.judged import judged
from exports.report.story import MONEY, story
from exports.report.words import brief, cents, change, day, difference, number, percent, span
from resources.disk import disk_errors, draft_of, make_folder
from resources.failpoints import reach

if TYPE_CHECKING:
    import jinja2

FOLDER = "report"
_DEFINED = ("revenue_gross", "refunds", "revenue_net", "orders", "units", "average_order", "sessions", "conversion",
            "first_orders", "returning_orders")  # fmt: skip


_FORMS: dict[str, Callable[[Value], str]] = {
    "change": change, "points": partial(change, points=True), "difference": difference, "cents": cents,
    "added": partial(cents, sign=True),
}  # fmt: skip


def write_report(exports: Path, manifest: Mapping[str, Any], told: Aggregate | None = None) -> Path:
    """Write ``report/index.html`` of a snapshot in one step; its path. ``told`` spares computing the profile again."""
    target = exports / FOLDER / "index.html"
    text = page(told or aggregate(exports, manifest))
    with disk_errors(target):
        make_folder(target.parent)
        with draft_of(target) as draft:
            reach("outlet.file")
            draft.write_text(text, "utf-8")
    return target


def page(told: Aggregate) -> str:
    """The report of an aggregate profile: the same profile gives the same text."""
    style = files(__package__).joinpath("style.css").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return _template().render(
        told=told, style=Markup(style), style_hash=digest,  # noqa: S704 - our own file
        minimum=MINIMUM, story=story(told, shown), tiles=sections.tiles(told), days=sections.days(told),
        bridge=sections.bridge(told), funnel=sections.funnel(told), carts=sections.carts(told),
        products=sections.products(told), groups=sections.groups(told), segments=sections.segments(told),
        forecast=sections.forecast(told), models=judged(told), deliveries=sections.deliveries(told),
        blanks=sections.blanks(told), definitions=sections.definitions(told, _DEFINED), names=sections.NAMES,
        measures=MONEY,
    )  # fmt: skip


def shown(value: Value, kind: str, of: str) -> Markup:
    """A figure as the reader sees it, with the exact one of the tables (``of`` says which) in the markup."""
    if value is None:
        return Markup('<span class="none">\u2013</span>')
    form = _FORMS.get(kind)
    text = form(value) if form else number(value, kind)
    raw = value if isinstance(value, str | int | Decimal) else f"{value:.10g}" if isinstance(value, float) else value
    return Markup('<data value="{}" data-of="{}">{}</data>').format(raw, of, text)


def _reasons(notes: str | None) -> str:
    """A row's notes without the columns that each names."""
    return "; ".join(dict.fromkeys(n.split(":")[0] for n in (notes or "").split("; ") if n))


@cache
def _template() -> jinja2.Template:
    import jinja2

    loader = jinja2.FunctionLoader(lambda name: files(__package__).joinpath(name).read_text("utf-8"))
    made = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True,
                              undefined=jinja2.StrictUndefined)  # fmt: skip
    made.filters["reasons"] = _reasons
    made.globals |= {"shown": shown, "span": span, "day": day, "brief": brief, "percent": percent, "number": number}
    return made.get_template("page.html")
