"""How figures and days are written: one form for each kind, the sign and the unit always there."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal

from exports.aggregate import Span, Value

NARROW = "\u202f"  # a thin space that does not break
MINUS = "\u2212"
NOT_KNOWN = "\u2013"
_THOUSAND, _MILLION = 1_000, 1_000_000
_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
           "December")  # fmt: skip
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def number(value: Value, kind: str) -> str:
    """A figure by the kind of its column: money in whole units from 1,000 on, shares in per cent."""
    if value is None:
        return NOT_KNOWN
    if isinstance(value, date):
        return day(value)
    if isinstance(value, str):
        return value
    return percent(float(value)) if kind == "share" else _signed(_plain(value, kind))


def _plain(value: float | Decimal, kind: str) -> str:
    size = abs(float(value))
    if kind == "int" or size == round(size):
        return f"{value:,.0f}"
    if kind == "money":
        return f"{value:,.0f}" if size >= _THOUSAND else f"{value:,.2f}"
    return f"{value:,.4f}" if size < 1 else f"{value:,.2f}"


def percent(value: float, digits: int = 1) -> str:
    """A share in per cent."""
    return _signed(f"{100 * value:.{digits}f}") + NARROW + "%"


def change(value: Value, *, points: bool = False) -> str:
    """A relative change with its sign, or the difference of two shares in percentage points."""
    if not isinstance(value, int | float | Decimal):
        return NOT_KNOWN
    shown = f"{100 * value:+.{2 if points else 1}f}"
    if not shown.strip("+-0."):
        return "0" + NARROW + ("pp" if points else "%")
    return _signed(shown) + NARROW + ("pp" if points else "%")


def difference(value: Value) -> str:
    """An amount with its sign."""
    if not isinstance(value, int | float | Decimal):
        return NOT_KNOWN
    shown = f"{value:+,.0f}" if abs(float(value)) >= _THOUSAND else f"{value:+,.2f}"
    return _signed(shown) if shown.strip("+-0.,") else "0"


def cents(value: Value, *, sign: bool = False) -> str:
    """An amount to the cent, where amounts are to add up as they are printed."""
    if not isinstance(value, int | float | Decimal):
        return NOT_KNOWN
    return _signed(f"{value:+,.2f}" if sign and value else f"{value:,.2f}")


def short(value: float) -> str:
    """A figure for a chart, in three digits: 950, 28.1k, 1.23M."""
    size = abs(value)
    if size >= _MILLION:
        return _signed(f"{value / _MILLION:.3g}M")
    if size >= 999.5:  # noqa: PLR2004 - what three digits would show as 1000
        return _signed(f"{value / _THOUSAND:.{1 if size < 99_950 else 0}f}k")  # noqa: PLR2004
    return _signed(f"{value:.3g}")


def axis_labels(values: Sequence[float]) -> list[str]:
    """Labels of an axis, all in one unit and exact: 200.0k and 202.5k."""
    most = max((abs(v) for v in values), default=0)
    unit, letter = (_MILLION, "M") if most >= _MILLION else (_THOUSAND, "k") if most >= _THOUSAND else (1, "")
    digits = next((d for d in range(4) if all(abs(round(v / unit, d) - v / unit) < 1e-9 for v in values)), 4)  # noqa: PLR2004
    return [_signed(f"{v / unit:,.{digits}f}{letter}") if v else "0" for v in values]


def _signed(text: str) -> str:
    return text.replace("-", MINUS)


def day(value: date, *, weekday: bool = False) -> str:
    """A day in words: 23 June 2024."""
    told = f"{value.day} {_MONTHS[value.month - 1]} {value.year}"
    return f"{_DAYS[value.weekday()]} {told}" if weekday else told


def brief(value: date) -> str:
    """A day for an axis: 23 Jun."""
    return f"{value.day} {_MONTHS[value.month - 1][:3]}"


def weekday(value: date) -> str:
    """The first letters of the weekday."""
    return _DAYS[value.weekday()][:3]


def span(value: Span) -> str:
    """Days from the first to the last in words: 17\u201323 June 2024."""
    first, last = value.first, value.last
    if first == last:
        return day(last)
    if (first.year, first.month) == (last.year, last.month):
        return f"{first.day}\u2060\u2013\u2060{day(last)}"
    if first.year != last.year:
        return f"{day(first)} to {day(last)}"
    return f"{first.day} {_MONTHS[first.month - 1]} to {day(last)}"


def listed(words: Sequence[str]) -> str:
    """Words as a sentence wants them: a, b and c."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))
