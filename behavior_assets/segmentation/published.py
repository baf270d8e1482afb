"""From what the value models say to rows of ``fact_customer_month``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from exports.contract import gold

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from behavior_assets.segmentation.model import Scores


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
