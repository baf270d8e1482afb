"""Small Ibis expressions that sessions and the star share, each with one answer on every engine."""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

DIGITS = 17  # digits of microseconds until the year 5138


def count(condition: ir.BooleanValue) -> ir.IntegerScalar:
    """Rows for which a condition holds, 0 where there are none. DuckDB's plain sum would be 128 bits wide."""
    return ibis.coalesce(condition.cast("int64").sum().cast("int64"), 0)


def money(value: ir.NumericValue) -> ir.NumericValue:
    """A value as DECIMAL(18,4)."""
    return value.cast("decimal(18,4)")


def is_sale(events: ir.Table) -> ir.BooleanValue:
    """Order lines of type sale."""
    return (events.event_name == "purchase") & (events.line_type == "sale")
