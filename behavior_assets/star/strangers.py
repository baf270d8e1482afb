"""Rows that a table keeps although nothing can tell them again, without those of persons who are none any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from behavior_assets.star.aggregates import read_customer_days
from behavior_assets.star.dimensions import date_key
from exports.contract import UNKNOWN_KEY
from resources.compute import DuckDB

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

    from resources.lake import Lake


def first_days(backend: Backend, lake: Lake) -> pa.Table:
    """Customers in the order of their keys, with the day (yyyymmdd) since which anything is known of them."""
    days = read_customer_days(DuckDB(backend), lake)
    first = days.group_by("customer_key").agg(since=date_key(days.event_date.min()))
    return backend.to_pyarrow(first.order_by("customer_key"))


def without_strangers(rows: pa.Table, known: pa.Table) -> pa.Table:
    """Rows of nobody (-1), and of customers that are known since their ``date_key``; ``known``: ``first_days``.

    Who withdrew their consent is no customer any more, or one only since they gave it again.
    """
    customer, day = rows["customer_key"].to_numpy(), rows["date_key"].to_numpy()
    keys, since = known["customer_key"].to_numpy(), known["since"].to_numpy()
    place = np.minimum(np.searchsorted(keys, customer), max(len(keys) - 1, 0))
    there = (keys[place] == customer) & (since[place] <= day) if len(keys) else np.zeros(len(rows), dtype=bool)
    return rows.filter(pa.array(there | (customer == UNKNOWN_KEY)))
