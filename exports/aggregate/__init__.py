"""The `aggregate` profile: small tables of a published snapshot in which nobody can be singled out.

No row is of a customer, a session or an order; every figure of persons has ten or more customers behind it. Programs
that say so (bots) are left out of sessions and stages; orders count whoever placed them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from exports.aggregate import about, comparisons, goods, models, people, trade, visits
from exports.aggregate.declare import Column, Filled, Row, Table, Value
from exports.aggregate.former import remember
from exports.aggregate.guard import MINIMUM
from exports.aggregate.shop import Shop, Span, open_shop

PROFILE = "aggregate"


@dataclass(frozen=True)
class Aggregate:
    """The profile's tables of one snapshot, by name, in the order in which they are told."""

    snapshot: str
    data_through: date
    first_day: date
    synthetic: bool
    sources: tuple[str, ...]
    week: Span
    month: Span
    compares: bool  # whether there are four weeks before the month
    tables: Mapping[str, Filled]
    memory: Mapping[str, Any] = field(default_factory=dict)  # what to remember before it is told

    @property
    def so_far(self) -> Span:
        """All days that the data hold."""
        return Span(self.first_day, self.data_through)

    def rows(self, name: str) -> tuple[Row, ...]:
        """A table's rows."""
        return self.tables[name].rows


def aggregate(exports: Path, manifest: Mapping[str, Any], memory_limit: int | None = None) -> Aggregate:
    """Compute the profile of the snapshot that a manifest names.

    The same snapshot after the same releases gives the same rows. Whoever publishes them calls ``remember`` first.
    """
    with open_shop(exports, manifest, memory_limit) as shop:
        filled = _tables(shop)
        return Aggregate(
            snapshot=str(manifest["snapshot"]), data_through=shop.through, first_day=shop.first_day,
            synthetic=bool(manifest["synthetic"]), sources=shop.sources, week=shop.week, month=shop.month,
            compares=shop.compares, tables={f.table.name: f for f in filled}, memory=shop.former.now,
        )  # fmt: skip


def _tables(shop: Shop) -> list[Filled]:
    days = trade.day(shop)
    weeks = trade.week(shop, days)
    filled = [
        comparisons.key_figures(shop, weeks), weeks, days, comparisons.bridges(shop, weeks),
        *visits.paths(shop, days, weeks), *goods.goods(shop, days, weeks), people.segments(shop),
        models.forecast(shop, days), models.quality(shop), about.data_quality(shop), about.sources(shop),
    ]  # fmt: skip
    return [*filled, about.blanks(filled)]


__all__ = ["MINIMUM", "PROFILE", "Aggregate", "Column", "Filled", "Row", "Span", "Table", "Value", "aggregate",
           "remember"]  # fmt: skip
