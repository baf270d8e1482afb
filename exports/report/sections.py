"""The report's sections as plain values for the template: charts, the figures beside them, and why some are blank."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date, timedelta
from typing import Any

from exports.aggregate import Aggregate, Row
from exports.aggregate.goods import FURTHER, LISTED
from exports.aggregate.guard import OTHER
from exports.report import charts
from exports.report.charts import Bar, Told
from exports.report.story import CAUSES, MONEY, kind_of, measure
from exports.report.svg import Sheet
from exports.report.words import brief, change, difference, number, percent, short, span

Section = dict[str, Any]
_SHOWN_WEEKS, _SPARK_WEEKS, _SHOWN_DAYS = 26, 13, 56
_LISTED = 12
_MOST_DAYS = 4  # of a week
_NOW = "last four weeks"
NAMES = {
    "revenue_net": "Net revenue", "revenue_gross": "Gross revenue", "orders": "Orders", "units": "Units sold",
    "average_order": "Average order", "sessions": "Visits", "conversion": "Visits with an order", "refunds": "Refunds",
    "first_orders": "First orders", "returning_orders": "Returning orders",
}  # fmt: skip
_TILES = ("orders", "average_order", "sessions", "conversion", "units", "refunds", "first_orders", "returning_orders")
_MOST_TILES = 8


def tiles(told: Aggregate) -> list[dict[str, Any]]:
    """Key figures of the week with their way over the last weeks; those that no source tells are listed apart."""
    key = {r["figure"]: r for r in told.rows("key_figures")}
    kinds = {c.name: c.kind for c in told.tables["week"].table.columns}
    weeks = told.rows("week")[-_SPARK_WEEKS:]
    found: list[dict[str, Any]] = []
    for name in (measure(told, "week"), *_TILES):
        row = key.get(name)
        if row is None or row["value"] is None or name in {f["name"] for f in found}:
            continue
        if name == "units" and all(w["units"] == w["orders"] for w in weeks):
            continue  # a source that tells a unit an order: the same figure twice
        values = [None if w[name] is None else float(w[name]) for w in weeks]
        known = [v for v in values if v is not None]
        label = (f"{NAMES[name]} over {len(values)} weeks, between {number(min(known), kinds[name])} and "
                 f"{number(max(known), kinds[name])}")  # fmt: skip
        found.append({"name": name, "label": NAMES[name], "row": row, "kind": kinds[name],
                      "points": kinds[name] == "share", "spark": charts.spark(values, label)})  # fmt: skip
    return found[:_MOST_TILES]


def days(told: Aggregate) -> Section | None:
    """The last complete week by day beside the week before, and the weeks."""
    name = measure(told, "day")
    known = {r["date"]: r for r in told.rows("day")}
    week = [told.week.first + timedelta(days=n) for n in range(7)]
    if not all(d in known for d in week):
        return None
    before = [known.get(d - timedelta(days=7), {}).get(name) for d in week]
    bars = [Bar(*charts.day_label(d)[:1], _float(known[d][name]), _float(b), below=brief(d))
            for d, b in zip(week, before, strict=True)]  # fmt: skip
    best = max((b for b in bars if b.value is not None), key=lambda b: b.value or 0, default=None)
    label = f"{MONEY[name].capitalize()} by day, {span(told.week)}, beside the week before" + (
        f"; most on {best.label} with {short(best.value or 0)}" if best else "")  # fmt: skip
    weekly = measure(told, "week")
    shown = told.rows("week")[-_SHOWN_WEEKS:]
    points = [(r["week"], _float(r[weekly])) for r in shown]
    return {
        "measure": MONEY[name], "weekly_measure": MONEY[weekly], "name": name, "kind": kind_of(name),
        "compared": _compared(bars), "told": sum(b.value is not None for b in bars) >= _MOST_DAYS,
        "chart": charts.figure(lambda w: charts.columns(bars, w), label),
        "weeks": charts.figure(lambda w: charts.weeks(points, w),
                               f"{MONEY[weekly].capitalize()} of {len(points)} weeks"),
        "rows": [known[d] for d in sorted(known) if d > told.week.last - timedelta(days=28)],
        "week_rows": shown, "count": len(points), "withheld": any(r[name] is None for r in known.values()),
    }  # fmt: skip


def bridge(told: Aggregate) -> Section | None:
    """The bridge of the two weeks as a waterfall, and both bridges as tables."""
    rows = {p: [r for r in told.rows("bridge") if r["period"] == p] for p in ("week", "four weeks")}
    rows = {p: r for p, r in rows.items() if r}
    if not rows:
        return None
    period = next(iter(rows))
    first, *steps, last = rows[period]
    moves = [(r["cause"].capitalize(), float(r["amount"])) for r in steps if r["amount"]]
    said = ", ".join(f"{n} {difference(a)}" for n, a in moves)
    ends = {"week": ("Week before", "This week"), "four weeks": ("4 weeks before", "These 4 weeks")}[period]
    label = f"From {number(first['amount'], 'money')} to {number(last['amount'], 'money')}: {said}"
    return {
        "revenue": first["measured"], "tables": rows, "meaning": CAUSES,
        "chart": charts.figure(lambda w: charts.waterfall((ends[0], float(first["amount"])), moves,
                                                          (ends[1], float(last["amount"])), w), label),
    }  # fmt: skip


def funnel(told: Aggregate) -> Section | None:
    """Stages of all visits, and by device and channel as a table."""
    rows = [r for r in told.rows("funnel") if r["dimension"] == "all"]
    split = [r for r in told.rows("funnel") if r["dimension"] != "all" and r["period"] == _NOW]
    made = _shares("Visits by stage", rows, "stage", "sessions", "share_of_visits")
    return made and made | {"split": split}


def carts(told: Aggregate) -> Section | None:
    """Outcomes of cart items, beside those of the four weeks before."""
    return _shares("Cart items by outcome", told.rows("cart_outcomes"), "outcome", "items", "share")


def _shares(what: str, rows: Sequence[Row], name: str, count: str, share: str) -> Section | None:
    """Shares of the last four weeks as bars, each with a mark where it was in the four weeks before."""
    now = [r for r in rows if r["period"] == _NOW]
    if not now:
        return None
    old = {r[name]: r[share] for r in rows if r["period"] != _NOW}
    bars = [Bar(r[name].capitalize(), r[share], old.get(r[name]),
                f"{number(r[count], 'int')} \u00b7 {_percent(r[share])}") for r in now]  # fmt: skip
    label = f"{what}: " + ", ".join(f"{b.label} {b.beside}" for b in bars)
    return {"chart": charts.figure(lambda w: charts.rows(bars, w), label), "rows": rows, "compared": _compared(bars)}


def products(told: Aggregate) -> Section:
    """Products that sold most, and that moved most."""
    listed = [r for r in told.rows("products") if r["rank"] is not None]
    together = {r["product"]: r for r in told.rows("products") if r["rank"] is None}
    movers = told.rows("product_movers")
    most = max((abs(float(r["revenue_change"])) for r in movers), default=1)
    return {
        "rows": listed[:_LISTED], "count": len(listed), "cut": len(listed) >= LISTED,
        "other": together.get(OTHER), "further": together.get(FURTHER),
        "movers": [(r, charts.change_bar(float(r["revenue_change"]), most).svg(
            "mini", difference(r["revenue_change"]))) for r in movers],
        "money": "revenue_gross" not in told.tables["products"].blank,
        "category": "category" not in told.tables["products"].blank,
    }  # fmt: skip


def groups(told: Aggregate) -> list[Section]:
    """Categories, channels, devices and countries by gross revenue (units where nothing has a price)."""
    found = []
    sets = [("Categories", told.tables["categories"], "category", told.rows("categories"))]
    origins = told.rows("origins")
    sets += [(_PLURAL[d], told.tables["origins"], "member", tuple(r for r in origins if r["dimension"] == d))
             for d in dict.fromkeys(r["dimension"] for r in origins)]  # fmt: skip
    for title, filled, member, rows in sets:
        if not rows:
            continue
        name, old = ("revenue_gross", "revenue_before")
        if name in filled.blank:
            name, old = ("units", "units_before")
        bars = [Bar(r[member], _float(r[name]), _float(r[old]), _beside(r, name)) for r in rows[:_LISTED]]
        label = f"{title} by {MONEY[name]}: " + ", ".join(f"{b.label} {b.beside}" for b in bars)
        found.append({"title": title, "measure": MONEY[name], "rows": rows, "member": member,
                      "table": filled.table.name,
                      "name": name, "old": old, "kind": kind_of(name), "compared": _compared(bars),
                      "chart": charts.figure(_lying(bars), label)})  # fmt: skip
    return found


_PLURAL = {"channel": "Channels", "device": "Devices", "country": "Countries"}


def _beside(row: Row, name: str) -> str:
    if row[name] is None:
        return "withheld"
    moved = row["revenue_change_share"]
    return short(float(row[name])) + (f" \u00b7 {change(moved)}" if moved is not None else "")


def segments(told: Aggregate) -> list[Section]:
    """Segments by each rule."""
    found: list[Section] = []
    rows = told.rows("segments")
    for kind in dict.fromkeys(r["kind"] for r in rows):
        own = [r for r in rows if r["kind"] == kind]
        bars = [Bar(r["segment"], _float(r["customers"]), _float(r["customers_before"]),
                    "withheld" if r["customers"] is None else
                    f"{number(r['customers'], 'int')} \u00b7 {_percent(r['share'])}") for r in own]  # fmt: skip
        label = f"Customers by {kind}: " + ", ".join(f"{b.label} {b.beside}" for b in bars)
        found.append({"kind": kind, "rows": own, "month_end": own[0]["month_end"], "compared": _compared(bars),
                      "chart": charts.figure(_lying(bars), label, charts.HALF if found else charts.WIDE)})  # fmt: skip
    return found


def _compared(bars: Sequence[Bar]) -> bool:
    """Whether any bar has a mark of what it was before."""
    return any(b.before is not None for b in bars)


def _lying(bars: Sequence[Bar]) -> Callable[[float], Sheet]:
    return lambda width: charts.rows(bars, width)


def forecast(told: Aggregate) -> Section | None:
    """Units sold, as they had been told, and as they are told now."""
    rows = told.rows("forecast")
    if not rows:
        return None
    newest = [r for r in rows if r["is_newest"] == "Yes"]
    past = [r for r in rows if r["is_newest"] == "No"]
    began = newest[0]["origin"] - timedelta(days=_SHOWN_DAYS)
    sold = [(r["date"], _float(r["units"])) for r in told.rows("day") if began < r["date"] <= newest[0]["origin"]]
    over = [r for r in past if r["actual"] is not None]
    inside = sum(r["lower_80"] <= r["actual"] <= r["upper_80"] for r in over)
    ahead = round(sum(r["forecast"] for r in newest))
    label = (f"Units by day: {len(sold)} days sold, and the forecast of the {len(newest)} days after, about {ahead:,} "
             "units in all")  # fmt: skip
    return {
        "chart": charts.figure(lambda w: charts.fan(sold, _told(past), _told(newest), w), label), "rows": newest,
        "past": past, "ahead": ahead, "days": len(newest), "over": len(over), "inside": inside,
        "wanted": round(0.8 * len(over)), "before": _units(told, newest[0]["origin"], len(newest)),
        "origin": newest[0]["origin"],
    }  # fmt: skip


def _told(rows: Iterable[Row]) -> list[Told]:
    return [Told(r["date"], r["forecast"], (r["lower_80"], r["upper_80"]), (r["lower_95"], r["upper_95"]))
            for r in rows]  # fmt: skip


def _units(told: Aggregate, last: date, count: int) -> int | None:
    """Units of as many days up to one; None where a day is withheld."""
    found = [r["units"] for r in told.rows("day") if last - timedelta(days=count) < r["date"] <= last]
    return None if None in found or len(found) < count else sum(found)


def deliveries(told: Aggregate) -> Section | None:
    """What was delivered, and what became of it, in all and by day of arrival."""
    rows = told.rows("data_quality")
    if not rows:
        return None
    counted = ("rows_in", "accepted", "set_aside", "duplicate", "late")
    total = {n: sum(r[n] for r in rows) for n in counted}
    return {"total": total, "rows": rows[-_LISTED:], "more": max(len(rows) - _LISTED, 0), "newest": rows[-1]["date"]}


def blanks(told: Aggregate) -> list[tuple[str, list[str]]]:
    """What cannot be told, by reason: columns with the tables that lack them."""
    found: dict[str, dict[str, list[str]]] = {}
    for row in told.rows("blanks"):
        title = told.tables[row["table"]].table.title
        what = NAMES.get(row["column"], row["column"].replace("_", " ").capitalize()) if row["column"] else title
        found.setdefault(row["reason"], {}).setdefault(what, []).append(title if row["column"] else "")
    return [
        (reason, [f"{what} ({', '.join(t.lower() for t in titles)})" if all(titles) else what
                  for what, titles in columns.items()])
        for reason, columns in sorted(found.items())
    ]  # fmt: skip


def _float(value: Any) -> float | None:
    return None if value is None else float(value)


def _percent(value: float | None) -> str:
    return "\u2013" if value is None else percent(value)


def definitions(told: Aggregate, wanted: Sequence[str]) -> list[tuple[str, str, str]]:
    """Term, unit and meaning of the figures of the weeks, as declared."""
    columns = {c.name: c for c in told.tables["week"].table.columns}
    return [(NAMES.get(n, n), columns[n].unit, columns[n].description) for n in wanted if n in columns]
