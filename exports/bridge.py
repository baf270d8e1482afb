"""Why revenue changed between two periods: traffic, conversion, basket, price, refunds and the other lines.

Gross revenue is a product of links (sessions, orders per session, units per order, gross per unit). Its change is
shared among them by logarithmic means (LMDI-I: Ang 2005, "The LMDI approach to decomposition analysis"), which leaves
no rest and treats both periods alike. Lines are rounded by largest remainder, so that they add up to the cent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING

from resources.errors import UsageError

if TYPE_CHECKING:
    import duckdb

FILTERS = ("channel", "device", "country", "source")
_CENT = Decimal("0.01")
_DIGITS = 50  # of logarithms: far beyond what 18 digits of money can show
_OTHER = ("shipping", "fees", "adjustments", "bad_debt", "other_lines")

# Steps whose figures are amounts of money; the others' are counts and ratios.
AMOUNTS = frozenset({"sales", "refunds", *(n.replace("_", " ") for n in _OTHER)})

# What a link is called, by what it counts and what it is divided by.
_LINKS = {
    ("sessions", ""): "traffic", ("orders", ""): "orders", ("units", ""): "units", ("gross", ""): "sales",
    ("orders", "sessions"): "conversion", ("units", "sessions"): "units per session",
    ("gross", "sessions"): "sales per session", ("units", "orders"): "basket", ("gross", "orders"): "order value",
    ("gross", "units"): "price",
}  # fmt: skip


@dataclass(frozen=True)
class Totals:
    """What a period adds up to. None is "not known" (no source tells it, or not of all orders), never 0.

    ``refunds`` is a positive amount, and no line of the bridge where it is not known; the lines after it carry their
    own sign. Money is of at most 4 decimals.
    """

    sessions: int | None
    orders: int
    units: int | None
    gross: Decimal
    refunds: Decimal | None = Decimal(0)
    shipping: Decimal = Decimal(0)
    fees: Decimal = Decimal(0)
    adjustments: Decimal = Decimal(0)
    bad_debt: Decimal = Decimal(0)
    other_lines: Decimal = Decimal(0)  # such lines where they are not to be told apart

    @property
    def others(self) -> Decimal:
        """Every line that is neither sale nor refund."""
        return sum((getattr(self, n) for n in _OTHER), Decimal(0))

    def sales(self) -> Totals:
        """What was sold alone: all that is told where nobody tells refunds."""
        return Totals(self.sessions, self.orders, self.units, self.gross, refunds=None)

    @property
    def net(self) -> Decimal:
        """What remains: sales less refunds, with every other line."""
        return self.gross - (self.refunds or 0) + self.others


@dataclass(frozen=True)
class Step:
    """One line of a bridge: its name, what ``of`` was in both periods, and the amount by which it moved net revenue."""

    name: str
    of: str
    before: Decimal
    after: Decimal
    amount: Decimal


@dataclass(frozen=True)
class Bridge:
    """Net revenue before, what each line added, net revenue after; in cents it adds up exactly."""

    before: Decimal
    after: Decimal
    steps: tuple[Step, ...]

    def amount(self, name: str) -> Decimal:
        """What a line did; 0 where the bridge has no such line."""
        return next((s.amount for s in self.steps if s.name == name), Decimal(0))


def bridge(before: Totals, after: Totals) -> Bridge:
    """Share the change of net revenue among its causes.

    A link that is not known in a period, or is 0 where there are sales, is left out: its neighbours become one ("order
    value" instead of basket and price; "orders" instead of traffic and conversion). Where one period sold nothing, the
    first link that is 0 there has done it all, which is the limit of the logarithmic mean. Where gross revenue is
    negative nothing can be shared: it is one line, "sales".
    """
    exact: list[tuple[str, str, Decimal, Decimal, Decimal]] = []
    chain = _chain(before, after)
    for (name, of), amount in zip(_names(chain), _shares(before, after, chain), strict=True):
        old, new = (_ratio(_value(t, name), _value(t, of) if of else Decimal(1)) for t in (before, after))
        exact.append((_LINKS[name, of], f"{name} per {of.removesuffix('s')}" if of else name, old, new, amount))
    if before.refunds is not None and after.refunds is not None:
        exact.append(("refunds", "refunds", before.refunds, after.refunds, before.refunds - after.refunds))
    for name in _OTHER:
        old, new = getattr(before, name), getattr(after, name)
        if old or new:
            exact.append((name.replace("_", " "), name, old, new, new - old))
    start, end = cents(before.net), cents(after.net)
    rounded = to_cents([e[4] for e in exact], end - start)
    steps = tuple(Step(e[0], e[1], e[2], e[3], amount) for e, amount in zip(exact, rounded, strict=True))
    return Bridge(start, end, steps)


def cents(value: Decimal) -> Decimal:
    """An amount in whole cents, halves upwards (also below 0, so that equal fractions stay equal)."""
    with localcontext(prec=_DIGITS):
        return (value / _CENT + Decimal("0.5")).__floor__() * _CENT


def to_cents(amounts: Sequence[Decimal], total: Decimal) -> list[Decimal]:
    """Amounts in whole cents that add up to ``total``, which is less than a cent from their sum.

    What rounding down leaves goes, a cent each, to those that lost most. An amount in whole cents stays as it is.
    """
    with localcontext(prec=_DIGITS):
        whole = [(a / _CENT).__floor__() for a in amounts]
        lost = [a / _CENT - w for a, w in zip(amounts, whole, strict=True)]
        left = int(total / _CENT) - sum(whole)
        for at in sorted(range(len(amounts)), key=lambda n: (-lost[n], n))[:left]:
            whole[at] += 1
        return [w * _CENT for w in whole]


def _value(totals: Totals, name: str) -> Decimal:
    return Decimal(getattr(totals, name) or 0)


def _ratio(value: Decimal, of: Decimal) -> Decimal:
    return value / of if of else Decimal(0)


def _chain(before: Totals, after: Totals) -> list[str]:
    """Links that both periods know, gross last; only gross where it is negative."""
    if min(before.gross, after.gross) < 0:
        return ["gross"]
    return [*(n for n in ("sessions", "orders", "units") if all(_usable(t, n) for t in (before, after))), "gross"]


def _usable(totals: Totals, name: str) -> bool:
    value = getattr(totals, name)
    return value is not None and (value > 0 if totals.gross else value >= 0)


def _names(chain: Sequence[str]) -> list[tuple[str, str]]:
    return list(zip(chain, ["", *chain[:-1]], strict=True))


def _shares(before: Totals, after: Totals, chain: Sequence[str]) -> list[Decimal]:
    """What each link did to gross revenue; the sum is the difference exactly."""
    old, new = before.gross, after.gross
    shares = [Decimal(0)] * len(chain)
    if min(old, new) <= 0:
        empty = before if old == 0 else after
        first = next((n for n, name in enumerate(chain) if _value(empty, name) == 0), len(chain) - 1)
        shares[first] = new - old
        return shares
    with localcontext(prec=_DIGITS):
        mean = old if old == new else (new - old) / (new / old).ln()
        for at, (name, of) in enumerate(_names(chain)):
            ratio = _value(after, name) / _value(before, name)
            if of:
                ratio = ratio * _value(before, of) / _value(after, of)
            shares[at] = (mean * ratio.ln()).quantize(Decimal("1e-20")) if ratio != 1 else Decimal(0)
        widest = max(range(len(chain)), key=lambda n: abs(shares[n]))
        shares[widest] += new - old - sum(shares)
    return shares


def totals(
    con: duckdb.DuckDBPyConnection, first: date, last: date, only: Mapping[str, str] | None = None
) -> Totals:
    """What the days from ``first`` to ``last`` add up to, from the published tables of a connection.

    ``only``: names by channel, device, country or source. Sessions are those of people (not of bots), and known only
    where every source has browsing events. Raises UsageError for a filter that is none of these.
    """
    chosen = dict(only or {})
    unknown = sorted(set(chosen) - set(FILTERS))
    if unknown:
        msg = f"{', '.join(unknown)}: a bridge can be filtered by {', '.join(FILTERS)}."
        raise UsageError(msg)
    where = "date_key BETWEEN $first AND $last" + "".join(
        f" AND {n}_key IN (SELECT {n}_key FROM dim_{n} WHERE {n}_name = ${n})" for n in chosen
    )
    values = {"first": int(f"{first:%Y%m%d}"), "last": int(f"{last:%Y%m%d}"), **chosen}
    sales = con.execute(
        f"""SELECT count(DISTINCT order_key) FILTER (line_type = 'sale'),
                   CASE WHEN count(*) FILTER (line_type = 'sale' AND quantity IS NULL) = 0
                        THEN coalesce(sum(quantity) FILTER (line_type = 'sale'), 0) END,
                   coalesce(sum(revenue_gross), 0), coalesce(sum(refund_amount), 0),
                   {', '.join(f"coalesce(sum(revenue_net) FILTER (line_type = '{t}'), 0)"
                              for t in ("shipping", "fee", "adjustment", "bad_debt"))}
            FROM fact_sales WHERE {where}""",
        values,
    ).fetchall()[0]
    told = con.execute(
        f"""SELECT (SELECT count(*) FROM fact_session WHERE {where} AND is_bot = 'No'),
                   (SELECT count(*) FROM dim_source WHERE source_key <> -1 AND has_views = 'No'
                    {"AND source_name = $source" if "source" in chosen else ""})""",
        values,
    ).fetchall()[0]
    orders, units, *money = sales
    return Totals(told[0] if told[1] == 0 else None, orders, None if units is None else int(units), *money)
