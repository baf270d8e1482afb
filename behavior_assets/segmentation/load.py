"""From the lake to what the value models want, and from what they say to rows of ``fact_customer_month``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from behavior_assets.prediction.customer_model import MEASURES, Activity
from behavior_assets.star.aggregates import read_customer_days
from exports.contract import gold

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from ibis.backends.duckdb import Backend

    from behavior_assets.segmentation.model import Scores
    from resources.lake import Lake


def load_activity(backend: Backend, lake: Lake, days: Sequence[str]) -> Activity:
    """What customers did on some days, from ``silver/customer_day``. A day with events is a visit."""
    rows = read_customer_days(backend, lake, days)
    wanted = rows.select("customer_key", "event_date", "views", "carts", "orders", revenue=rows.revenue_net)
    found = backend.to_pyarrow(wanted.order_by("customer_key", "event_date"))
    values = np.ones((len(found), len(MEASURES)))
    for column, name in enumerate(MEASURES[1:], 1):
        values[:, column] = found[name].cast(pa.float64()).fill_null(0).to_numpy()
    day = found["event_date"].cast(pa.int32()).to_numpy().astype(np.int64)
    return Activity(found["customer_key"].to_numpy().astype(np.int64), day, values)


def scored_rows(scores: Sequence[tuple[date, Scores]]) -> pa.Table:
    """Rows (date_key, customer_key, model's columns) that ``facts.fact_customer_month`` joins; NaN becomes NULL."""
    names = ("date_key", "customer_key", "cluster", "churn_risk", "p_alive", "expected_purchases", "expected_value")
    schema = pa.schema([gold("fact_customer_month").schema.field(n) for n in names])
    parts = [schema.empty_table()]
    for day, told in scores:
        floats = [pa.array(getattr(told, n), pa.float64(), from_pandas=True) for n in names[3:]]
        money = floats.pop()
        columns = [
            pa.array(np.full(len(told.customer), day.year * 10_000 + day.month * 100 + day.day)),
            pa.array(told.customer),
            pa.array(told.cluster, pa.string(), mask=told.cluster == ""),
            *floats,
            money.cast(schema.field("expected_value").type, safe=False),
        ]
        parts.append(pa.Table.from_arrays(columns, schema=schema))
    return pa.concat_tables(parts)
