"""Every measure by its name."""

from __future__ import annotations

from functools import cache

from exports.measures import customers, forecasts, predictions, quality, sales, traffic
from exports.measures.measure import Measure


@cache
def measures() -> dict[str, Measure]:
    """Measures by name, topic after topic. Raises ValueError for two of one name."""
    topics = (sales, traffic, customers, forecasts, predictions, quality)
    found = [m for topic in topics for m in topic.MEASURES]
    told = {m.name: m for m in found}
    if len(told) != len(found):
        names = [m.name for m in found]
        msg = f"two measures of one name: {sorted({n for n in names if names.count(n) > 1})}"
        raise ValueError(msg)
    return told
