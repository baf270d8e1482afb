"""The asset of silver events."""

import dagster as dg

from behavior_assets.partitions import (
    OWNERS,
    PROGRESS,
    asset_key,
    check_results,
    check_specs,
    column_schema,
    wanted_days,
)
from behavior_assets.privacy.build import build_silver
from behavior_assets.privacy.key_guard import require_key
from behavior_assets.privacy.silver import SILVER_EVENTS
from behavior_assets.quality import held_days, judge_days
from resources.compute import DuckDB
from resources.home import HomeResource
from resources.lock import days_alone


def build_assets(partitions: dg.DailyPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """The assets of this topic."""

    @dg.asset(
        key=asset_key("silver/events"), deps=[asset_key("bronze/events")], partitions_def=partitions,
        group_name="privacy", owners=OWNERS, kinds={"deltalake", "ibis", "silver"},
        backfill_policy=dg.BackfillPolicy.single_run(),
        description="Events without personal data: keyed pseudonyms, truncated addresses, URLs by allow-list.",
        check_specs=check_specs("silver/events", gate=False),
        metadata={"dagster/column_schema": column_schema(SILVER_EVENTS)},
    )  # fmt: skip
    def silver(context: dg.AssetExecutionContext, home: HomeResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
        lake, settings = home.lake(), home.settings()
        table = lake.table(SILVER_EVENTS)
        require_key(settings, table)  # before the engine makes a key where there is none
        with home.engine(pseudonyms=True, others=True) as backend, days_alone(table.locks, wanted_days(context)):
            held = held_days(lake, "bronze/events")
            done = build_silver(backend, lake, settings, wanted_days(context), held, PROGRESS.get())
            verdict = judge_days(DuckDB(backend), lake, table)
        parts = table.parts()
        rows = sum(f.rows for day in wanted_days(context) for f in parts.get(day, []))
        return dg.MaterializeResult(
            metadata={
                "dagster/partition_row_count": rows, "dagster/row_count": table.rows(), "days_written": len(done),
            },
            check_results=check_results(verdict),
        )

    return [silver]
