"""The asset of sessions."""

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
from behavior_assets.quality import judge_days
from behavior_assets.sessions.build import build_sessions
from behavior_assets.sessions.sessionise import SILVER_SESSIONS
from resources.home import HomeResource


def build_assets(partitions: dg.DailyPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """The assets of this topic."""

    @dg.asset(
        key=asset_key("silver/sessions"), partitions_def=partitions,
        # A session reaches over midnight: the day before gives its open sessions, the day after may complete them.
        deps=[dg.AssetDep(asset_key("silver/events"), partition_mapping=dg.TimeWindowPartitionMapping(
            start_offset=-1, end_offset=1, allow_nonexistent_upstream_partitions=True))],
        group_name="sessions", owners=OWNERS, kinds={"deltalake", "ibis", "silver"},
        backfill_policy=dg.BackfillPolicy.single_run(),
        description="Sessions by the source's own id or by inactivity, on the day of their first event.",
        check_specs=check_specs("silver/sessions", gate=False),
        metadata={"dagster/column_schema": column_schema(SILVER_SESSIONS)},
    )  # fmt: skip
    def sessions(context: dg.AssetExecutionContext, home: HomeResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
        lake, settings = home.lake(), home.settings()
        table = lake.table(SILVER_SESSIONS)
        with home.compute(others=True) as compute:
            done = build_sessions(compute, lake, settings, wanted_days(context), progress=PROGRESS.get())
            verdict = judge_days(compute, lake, table)
        parts = table.parts()
        rows = sum(f.rows for day in wanted_days(context) for f in parts.get(day, []))
        return dg.MaterializeResult(
            metadata={
                "dagster/partition_row_count": rows, "dagster/row_count": table.rows(), "days_written": len(done),
            },
            check_results=check_results(verdict),
        )

    return [sessions]
