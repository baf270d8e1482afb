"""Small Ibis expressions that sessions and the star share, each with one answer on every engine."""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

DIGITS = 17  # digits of microseconds until the year 5138


def count(condition: ir.BooleanValue) -> ir.IntegerScalar:
    """Rows for which a condition holds, 0 where there are none."""
    return condition.count(where=condition).cast("int64")


def money(value: ir.NumericValue) -> ir.NumericValue:
    """A value as DECIMAL(18,4)."""
    return value.cast("decimal(18,4)")


def money_where(condition: ir.BooleanValue, price: ir.NumericValue, quantity: ir.NumericValue) -> ir.NumericScalar:
    """Sum of price times quantity where a condition holds, NULL where it never does.

    The condition stands inside: few rows are order lines, and only they are worth 128-bit arithmetic.
    """
    lines = ibis.ifelse(condition, money(price * quantity), ibis.null("decimal(18,4)"))
    return money(lines.sum())


def is_sale(events: ir.Table) -> ir.BooleanValue:
    """Order lines of type sale."""
    return (events.event_name == "purchase") & (events.line_type == "sale")
