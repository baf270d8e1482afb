"""The week in sentences: what changed, what the arithmetic says of it, how unusual that is; never more than that."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from statistics import median
from typing import Any

from markupsafe import Markup

from exports.aggregate import Aggregate, Row, Value
from exports.report.words import day, difference, number, span

# What a cause of the bridge means in a sentence.
CAUSES = {
    "traffic": "the number of visits", "conversion": "the orders that came of each visit",
    "orders": "the number of orders", "basket": "the units in each order", "price": "the value of each unit",
    "order value": "the value of each order", "units": "the number of units", "sales": "sales",
    "units per session": "the units sold to each visit", "sales per session": "the sales to each visit",
    "refunds": "refunds", "shipping": "shipping", "fees": "fees", "adjustments": "adjustments",
    "bad debt": "bad debt", "other lines": "shipping, fees and other lines",
}  # fmt: skip
MONEY = {"revenue_net": "net revenue", "revenue_gross": "gross revenue", "units": "units sold", "orders": "orders"}
_USUAL_WEEKS, _FEWEST_WEEKS = 13, 5

Show = Callable[[Value, str, str], Markup]


def measure(told: Aggregate, table: str) -> str:
    """The measure of trade that a table can tell: net revenue, else gross, units, orders; known on most rows."""
    rows = told.rows(table)[-28:]
    for name in MONEY:
        if sum(r[name] is not None for r in rows) * 10 >= len(rows) * 9:
            return name
    return "orders"


def kind_of(name: str) -> str:
    """The kind of a measure."""
    return "money" if name.startswith("revenue") else "int"


def story(told: Aggregate, show: Show) -> list[Markup]:
    """Sentences, each from the aggregate tables; fewer where less is known."""
    weeks = told.rows("week")
    if not weeks:
        return [Markup("There is no complete week of data yet, so nothing is compared.")]
    sentences = [*_sales(told, show), *_causes(told), *_movers(told, show), *_since(told, show)]
    return [s for s in sentences if s]


def _sales(told: Aggregate, show: Show) -> list[Markup]:
    name = measure(told, "week")
    weeks, key = told.rows("week"), {r["figure"]: r for r in told.rows("key_figures")}
    now = key[name]
    if now["value"] is None:
        return [Markup("Of the last complete week too few customers are known to tell what it sold.")]
    what = show(now["value"], kind_of(name), f"key_figures.{name}")
    orders = show(key["orders"]["value"], "int", "key_figures.orders")
    amount = Markup("sold {} {}").format(what, "orders" if name == "orders" else "units")
    if name.startswith("rev"):
        amount = Markup("took {} in {} with {} orders").format(what, MONEY[name], orders)
    first = Markup("In the week of {} the shop {}").format(span(told.week), amount)
    if now["change"] is None:
        return [first + Markup(".")]
    more = "more" if now["change"] > 0 else "less"
    moved = show(abs(now["change"]), "share", f"key_figures.change.{name}")
    compared = Markup(", {} {} than the week before.").format(moved, more) if now["change"] else Markup(
        ", as much as the week before.")  # fmt: skip
    return [first + compared, _usual(weeks, name, now["change"], show)]


def _usual(weeks: tuple[Row, ...], name: str, moved: float, show: Show) -> Markup:
    """How large a change from week to week is usual: the median of the weeks before."""
    values = [w[name] for w in weeks[-_USUAL_WEEKS - 1 : -1]]
    changes = [abs(float(b) / float(a) - 1) for a, b in pairwise(values) if a and b is not None]
    if len(changes) < _FEWEST_WEEKS:
        return Markup("")
    usual = median(changes)
    shown = show(usual, "share", "derived")
    if abs(moved) <= usual:
        return Markup("That is no unusual change: half of the {} weeks before moved by more than {}.").format(
            len(changes), shown)  # fmt: skip
    much = "somewhat more" if abs(moved) <= 2 * usual else "far more"
    return Markup("That is {} than usual: half of the {} weeks before moved by less than {}.").format(
        much, len(changes), shown)  # fmt: skip


def _causes(told: Aggregate) -> list[Markup]:
    steps = [r for r in told.rows("bridge") if r["period"] == "week" and r["cause"] not in {"before", "after"}]
    moved = sorted((r for r in steps if r["amount"]), key=lambda r: -abs(r["amount"]))
    if not moved:
        return []

    def said(row: Row) -> Markup:
        shown = Markup('<data value="{}" data-of="bridge.amount">{}</data>').format(
            row["amount"], difference(row["amount"]))  # fmt: skip
        return Markup("{} ({})").format(CAUSES.get(row["cause"], row["cause"]), shown)

    largest = moved[0]
    against = [r for r in moved[1:] if (r["amount"] > 0) != (largest["amount"] > 0)]
    text = Markup("Taken apart, the largest part of the change went with {}").format(said(largest))
    if against:
        text += Markup("; {} pulled the other way").format(said(against[0]))
    return [text + Markup(". That says where the change shows, not what brought it about.")]


def _movers(told: Aggregate, show: Show) -> list[Markup]:
    """Which category moved most over four weeks, else which product."""
    rows = [(r["category"], r) for r in told.rows("categories") if r["revenue_change"] and r["category"][:1] != "("]
    of, table = "category", "categories"
    if not rows:
        rows = [(r["product"], r) for r in told.rows("product_movers")]
        of, table = "product with enough buyers to tell", "product_movers"
    rows = [(name, r) for name, r in rows if not name.startswith("other (")]
    if not rows:
        return []
    name, row = max(rows, key=lambda p: (abs(p[1]["revenue_change"]), p[0]))
    verb = "grew" if row["revenue_change"] > 0 else "fell"
    shown = Markup('<data value="{}" data-of="{}.revenue_change">{}</data>').format(
        row["revenue_change"], table, number(abs(row["revenue_change"]), "money"))  # fmt: skip
    before = show(row["revenue_change_share"], "change", f"{table}.revenue_change_share")
    told_of = (of, name, verb, shown, before)
    return [Markup("Over four weeks the {} that moved most was {}: it {} by {} ({}).").format(*told_of)]


def _since(told: Aggregate, show: Show) -> list[Markup]:
    """The days after the last complete week, beside the same weekdays."""
    if told.data_through <= told.week.last:
        return []
    name = measure(told, "day")
    known = {r["date"]: r[name] for r in told.rows("day")}
    days = (told.data_through - told.week.last).days
    new: list[Any] = [known.get(told.week.last + timedelta(days=n)) for n in range(1, days + 1)]
    old: list[Any] = [known.get(told.week.last + timedelta(days=n - 7)) for n in range(1, days + 1)]
    if None in new or None in old or not sum(old):
        return []
    before = show(float(sum(new)) / float(sum(old)) - 1, "change", "derived")
    count = "one day" if days == 1 else f"{days} days"
    return [Markup("In the {} since, up to {}, {} came to {} ({} against the same weekdays a week earlier).").format(
        count, day(told.data_through), MONEY[name], show(sum(new), kind_of(name), "derived"), before)]  # fmt: skip


__all__ = ["CAUSES", "MONEY", "Show", "kind_of", "measure", "story"]
