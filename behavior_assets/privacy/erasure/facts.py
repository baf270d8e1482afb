"""Facts whose rows stay when the sums around them change: a day's orders are not numbered anew for who left it."""

from __future__ import annotations

from collections.abc import Mapping

from ibis.backends.duckdb import Backend

from behavior_assets.incremental import derive_days
from behavior_assets.privacy.registry import told_by
from behavior_assets.privacy.silver import SILVER_EVENTS
from behavior_assets.quality import held_days
from behavior_assets.star.aggregates import PRODUCT_DAY, VERSION, product_day
from behavior_assets.star.build import StarBuilder
from behavior_assets.star.order import build_table
from exports.contract import gold
from resources.compute import DuckDB
from resources.lake import Lake
from resources.settings import Settings

_FACTS = ("fact_session", "fact_sales")
_AROUND = ("dim_category", "dim_product")  # of what facts point at, what is made of sums


def fresh_facts(backend: Backend, lake: Lake, settings: Settings) -> dict[str, list[str]]:
    """By fact, the parts that are as the star would write them now."""
    if not all(lake.table(gold(name)).exists() for name in (*_FACTS, *_AROUND, "dim_customer")):
        return {}
    look = StarBuilder(DuckDB(backend), lake, settings, only_look=True)
    return {name: sorted(set(lake.table(gold(name)).parts()) - set(build_table(look, name))) for name in _FACTS}


def keep_facts(backend: Backend, lake: Lake, settings: Settings, fresh: Mapping[str, list[str]]) -> None:
    """Bring what these facts point at up to date, and note in those parts that they are up to date with it."""
    if not fresh:
        return
    events = lake.table(SILVER_EVENTS)
    days = set(events.parts()) - held_days(lake, SILVER_EVENTS.name)
    sums = lake.table(PRODUCT_DAY)
    # Scores of others were told with the sums as they were: by their origin they stay so.
    compute = DuckDB(backend)
    origins = {day: files[0].as_made for day, files in sums.parts().items()}
    derive_days(compute, events, sums, product_day, VERSION, settings.summed_rows, days,
                told_by=told_by(sums.spec.name), origins=origins)  # fmt: skip
    builder = StarBuilder(compute, lake, settings, as_they_are=fresh)
    for name in (*_AROUND, *_FACTS):
        build_table(builder, name)
