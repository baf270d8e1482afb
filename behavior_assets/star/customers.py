"""``dim_customer``, and the days at which customers are looked at."""

from __future__ import annotations

from datetime import date
from functools import cached_property

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from behavior_assets.days import day_end_us, next_day
from behavior_assets.segmentation.months import behaviours, visits
from behavior_assets.segmentation.recipe import month_ends
from behavior_assets.segmentation.rules import BEHAVIOUR_DAYS
from behavior_assets.star import dimensions
from behavior_assets.star.aggregates import read_customer_days
from behavior_assets.star.writing import NO_DAY, StarWriter
from resources.compute import parts_of

_CUSTOMERS, _SESSIONS, _COMMERCE = "silver/customer_day", "silver/sessions", "silver/commerce_events"


class CustomerWriter(StarWriter):
    """Brings ``dim_customer`` up to date."""

    def dim_customer(self) -> list[str]:
        """Customers: who they are, and what rules say of them now."""
        newest, closed = [date.fromisoformat(d) for d in self.days[-1:]], self.month_ends[-1:]
        # Held one by one: with all that is joined in one query, memory has room for one thread only.
        seen = self.compute.hold("customers_seen", self._customers_seen())
        behaviour = self.compute.hold("behaviours", self._behaviours(newest))
        made = dimensions.dim_customer(seen, behaviour, self._customer_days, self._ends(newest), self._ends(closed))
        return self._write_whole("dim_customer", made, "customer_key")

    def _customers_seen(self) -> ir.Table:
        """``customers_seen`` of all days."""
        later = self._later("dim_customer")
        if later is None:
            return dimensions.customers_seen(self._customer_days)
        news = dimensions.customers_seen(read_customer_days(self.compute, self.lake, later))
        return dimensions.customers_seen_since(self._gold("dim_customer"), news)

    def _behaviours(self, newest: list[date]) -> ir.Table:
        """(customer_key, behaviour_type) of who came within ``BEHAVIOUR_DAYS``; earlier days are not read."""
        since = next_day(newest[0].isoformat(), -BEHAVIOUR_DAYS) if newest else NO_DAY
        sessions, commerce = (
            parts_of(self.compute, table, [day for day in table.parts() if day > since])
            for table in map(self._silver, (_SESSIONS, _COMMERCE))
        )
        days = [day for day in self._silver(_CUSTOMERS).parts() if day > since]
        came, ends = visits(sessions, commerce), self._ends(newest)
        found = behaviours(read_customer_days(self.compute, self.lake, days), came, ends)
        return found.select("customer_key", "behaviour_type")

    @cached_property
    def month_ends(self) -> list[date]:
        """Last days of the closed months."""
        days = [date.fromisoformat(d) for d in self.days]
        return list(month_ends(days[0], days[-1])) if days else []

    def _ends(self, days: list[date]) -> ir.Table:
        """Days as the rules of segments ask about them."""
        moments = [day_end_us(d.isoformat(), self.settings.timezone) for d in days]
        return ibis.memtable(pa.table({
            "month_end": pa.array(days, pa.date32()), "day_end_us": pa.array(moments, pa.int64())
        }))  # fmt: skip

    @cached_property
    def _customer_days(self) -> ir.Table:
        return read_customer_days(self.compute, self.lake)
