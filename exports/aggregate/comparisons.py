"""The week's key figures beside those before, and why revenue changed: all of it of what the weeks tell."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from exports.aggregate.declare import NOTES, Filled, Row, declared
from exports.aggregate.guard import MINIMUM, note
from exports.aggregate.shop import WEEK, Shop, Span
from exports.aggregate.trade import change, ordered
from exports.bridge import AMOUNTS, Bridge, Totals, bridge, cents

_YEAR_OF_WEEKS = 52 * WEEK

KEY_TABLE = declared("key_figures", "Key figures", "one figure of the last complete week", """
    figure text : Name of the column in `week`
    week date : Monday of the week
    unit text : What is counted
    value number [by unit] : The week's value
    week_before number [by unit] : The same of the week before
    change share [of the week before] : Relative change; of a share the difference (0.01 is one percentage point)
    year_before number [by unit] : The same 52 weeks before
    change_on_year share [of the year before] : Change from it, told as `change` is
""")
BRIDGE_TABLE = declared("bridge", "Why revenue changed", "one cause of the change between two periods", """
    period text : week (the last complete one against the week before) or four weeks
    first date : First day of the later period
    last date : Its last day
    step int : Place in the chain
    cause text : What changed; before and after are the revenue of the periods
    measured text : What the two figures beside it are
    figure_before number [by measured] : Its figure in the earlier period
    figure_after number [by measured] : Its figure in the later period
    amount money [shop's currency] : By how much it moved revenue; for before and after, the revenue itself
""")


def key_figures(shop: Shop, weeks: Filled) -> Filled:
    """The last complete week beside the week before and the one 52 weeks before."""
    known = {row["week"]: row for row in weeks.rows}
    now = known.get(shop.week.first)
    rows: list[Row] = []
    for column in weeks.table.columns if now else ():
        if column.kind in {"date", "text"} or column.name.endswith("_change"):
            continue
        row: Row = {"figure": column.name, "week": shop.week.first, "unit": column.unit}
        row["value"] = now[column.name] if now else None
        for name, shift, told in (("week_before", WEEK, "change"), ("year_before", _YEAR_OF_WEEKS, "change_on_year")):
            row[name] = known.get(shop.week.first - shift, {}).get(column.name)
            row[told] = change(row[name], row["value"], share=column.kind == "share")
        if column.name in weeks.blank:
            note(row, weeks.blank[column.name])
        elif row["value"] is None and now and now.get(NOTES):
            note(row, str(now[NOTES]))
        rows.append(ordered(KEY_TABLE, row))
    return Filled(KEY_TABLE, tuple(rows), {} if rows else {"": "there is no complete week yet"})


def bridges(shop: Shop, weeks: Filled) -> Filled:
    """Why revenue changed, by week and by four weeks: of what the weeks tell, so that it tells no more than they."""
    if not shop.has_any("has_price"):
        return Filled(BRIDGE_TABLE, (), {"": shop.why_not("has_price")})
    rows: list[Row] = []
    why = "there are no two complete weeks yet"
    for name, span, there in (("week", shop.week, shop.weeks >= 2), ("four weeks", shop.month, shop.compares)):  # noqa: PLR2004
        if not there:
            continue
        why = f"one of the periods has fewer than {MINIMUM} buyers"
        ends = [[w for w in weeks.rows if s.first <= w["week"] <= s.last] for s in (span.before, span)]
        if all(w[c] is not None for end in ends for w in end for c in ("orders", "units", "revenue_gross")):
            rows += _steps(name, span, *_told(shop, weeks, ends))
    return Filled(BRIDGE_TABLE, tuple(rows), {} if rows else {"": why})


def _told(shop: Shop, weeks: Filled, ends: Sequence[Sequence[Row]]) -> tuple[str, Bridge]:
    """The bridge, and what it is of: gross revenue where refunds or other lines are not told."""
    others = "other_lines" not in weeks.blank

    def total(rows: Sequence[Row], column: str) -> Any:
        values = [w[column] for w in rows]
        return None if None in values else sum(values)

    visits = [total(rows, "sessions") for rows in ends]
    counted = shop.has("has_views") and None not in visits
    whole = not shop.rows("SELECT 1 FROM fact_sales WHERE line_type = 'sale' AND quantity IS NULL LIMIT 1")
    extras = [(total(r, "refunds"), total(r, "other_lines") if others else Decimal(0)) for r in ends]
    found = [
        Totals(seen if counted else None, total(rows, "orders"), total(rows, "units") if whole else None,
               Decimal(total(rows, "revenue_gross")), refunds or Decimal(0), other_lines=other or Decimal(0))
        for rows, seen, (refunds, other) in zip(ends, visits, extras, strict=True)
    ]  # fmt: skip
    if not shop.has_any("has_refunds") or any(None in e for e in extras):
        return "gross revenue", bridge(*(e.sales() for e in found))
    return "net revenue", bridge(*found)


def _steps(name: str, span: Span, revenue: str, told: Bridge) -> list[Row]:
    lines: list[tuple[str, str, Decimal | None, Decimal | None, Decimal]] = [
        ("before", revenue, None, None, told.before),
        *((s.name, s.of.replace("_", " "), s.before, s.after, s.amount) for s in told.steps),
        ("after", revenue, None, None, told.after),
    ]
    return [
        {"period": name, "first": span.first, "last": span.last, "step": number, "cause": cause, "measured": of,
         "figure_before": _number(old, cause), "figure_after": _number(new, cause), "amount": amount, NOTES: None}
        for number, (cause, of, old, new, amount) in enumerate(lines)
    ]  # fmt: skip


def _number(value: Decimal | None, cause: str) -> float | None:
    """A step's figure: counts and ratios as they are, amounts in cents."""
    if value is None:
        return None
    return float(cents(value) if cause in AMOUNTS else round(value, 6))
