"""Why revenue changed: the lines of a bridge add up to the cent, whatever happened, and name the cause."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exports.bridge import Bridge, Totals, bridge, cents

MONEY = st.decimals(Decimal(0), Decimal("9e9"), places=4)
SIGNED = st.decimals(Decimal("-9e6"), Decimal("9e6"), places=4)
COUNT = st.one_of(st.just(0), st.just(1), st.integers(0, 10**9))


@st.composite
def anything(draw: st.DrawFn) -> Totals:
    """Totals of a period, also ones that no shop has: units without orders, negative sales."""
    maybe = st.one_of(st.none(), COUNT)
    gross = draw(st.one_of(st.just(Decimal(0)), MONEY, SIGNED))
    return Totals(draw(maybe), draw(COUNT), draw(maybe), gross, draw(MONEY), *(draw(SIGNED) for _ in range(4)))


@given(anything(), anything())
@settings(max_examples=150, deadline=None)
def test_the_lines_add_up_to_the_cent(before: Totals, after: Totals) -> None:
    told = bridge(before, after)
    assert sum((s.amount for s in told.steps), told.before) == told.after
    assert (told.before, told.after) == (cents(before.net), cents(after.net))
    assert all(s.amount == cents(s.amount) for s in told.steps)


@given(anything(), anything())
@settings(max_examples=60, deadline=None)
def test_the_way_back_undoes_every_line(before: Totals, after: Totals) -> None:
    there, back = bridge(before, after), bridge(after, before)
    for step in there.steps:
        assert abs(step.amount + back.amount(step.name)) <= Decimal("0.02")  # each rounded once


@given(anything())
@settings(max_examples=30, deadline=None)
def test_nothing_changed_so_no_line_did_anything(same: Totals) -> None:
    assert {s.amount for s in bridge(same, same).steps} == {Decimal(0)}


BASE = Totals(sessions=1000, orders=50, units=100, gross=Decimal("2000.00"))


def lines(told: Bridge) -> dict[str, str]:
    return {s.name: f"{s.amount:+}" for s in told.steps if s.amount}


@pytest.mark.parametrize(("after", "expected"), [
    (replace(BASE, sessions=1100, orders=55, units=110, gross=Decimal("2200.00")), {"traffic": "+200.00"}),
    (replace(BASE, orders=60, units=120, gross=Decimal(2400)), {"conversion": "+400.00"}),
    (replace(BASE, units=80, gross=Decimal(1600)), {"basket": "-400.00"}),
    (replace(BASE, gross=Decimal(1900)), {"price": "-100.00"}),
    (replace(BASE, refunds=Decimal("12.345")), {"refunds": "-12.34"}),  # 1987.655 is 1987.66
    (replace(BASE, shipping=Decimal(5), bad_debt=Decimal(-7)), {"shipping": "+5.00", "bad debt": "-7.00"}),
    # Twice the visitors of whom half as many buy: nothing changed in sum, and yet two things happened.
    (replace(BASE, sessions=2000), {"traffic": "+1386.29", "conversion": "-1386.29"}),
    # Sales that ended: the first link that is 0 did it.
    (Totals(0, 0, 0, Decimal(0)), {"traffic": "-2000.00"}),
    (Totals(900, 0, 0, Decimal(0)), {"conversion": "-2000.00"}),
    (Totals(900, 40, 90, Decimal(0)), {"price": "-2000.00"}),
])  # fmt: skip
def test_a_change_is_put_where_it_happened(after: Totals, expected: dict[str, str]) -> None:
    assert lines(bridge(BASE, after)) == expected


def test_what_is_not_known_is_left_out_of_the_chain() -> None:
    def names(**unknown: None) -> list[str]:
        return [s.name for s in bridge(replace(BASE, **unknown), BASE).steps]

    assert names() == ["traffic", "conversion", "basket", "price", "refunds"]
    assert names(sessions=None) == ["orders", "basket", "price", "refunds"]
    assert names(units=None) == ["traffic", "conversion", "order value", "refunds"]
    # Sales without a session cannot be told by sessions.
    assert bridge(replace(BASE, sessions=0), BASE).steps[0].name == "orders"
