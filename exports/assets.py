"""The asset that publishes."""

from datetime import UTC, date, datetime

import dagster as dg

from behavior_assets.ingestion.canonical import BRONZE_EVENTS
from behavior_assets.ingestion.ledger import read_ledger
from behavior_assets.partitions import OWNERS, asset_key
from behavior_assets.sessions.sessionise import SILVER_SESSIONS
from behavior_assets.star.order import GOLD_INPUTS
from exports.snapshot import publish
from resources.errors import QualityError
from resources.home import HomeResource
from resources.lake import Lake

SNAPSHOT = asset_key("exports/snapshot")


def data_through(lake: Lake) -> date:
    """The newest day that holds sessions. Raises QualityError where every day is held back."""
    days = [d for d, files in lake.table(SILVER_SESSIONS).parts().items() if sum(f.rows for f in files)]
    if not days:
        msg = "every day is held back, so nothing is published; `behavior status` tells which rules they break."
        raise QualityError(msg)
    return date.fromisoformat(max(days))


def build_assets(condition: dg.AutomationCondition) -> list[dg.AssetsDefinition]:  # type: ignore[type-arg]
    """The assets of this topic."""

    @dg.asset(
        key=SNAPSHOT, deps=[asset_key(f"gold/{n}") for n in GOLD_INPUTS], group_name="exports", owners=OWNERS,
        kinds={"parquet", "duckdb"}, automation_condition=condition,
        description="The published star: Parquet files, manifest and DuckDB views, switched in one step.",
    )  # fmt: skip
    def snapshot(home: HomeResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
        lake, settings = home.lake(), home.settings()
        synthetic = any(
            e.capabilities.get("is_synthetic") for e in read_ledger(lake.table(BRONZE_EVENTS))
        )
        with home.engine() as backend:
            done = publish(lake, settings, backend.con, data_through(lake), datetime.now(UTC), synthetic=synthetic)
            lake.vacuum(settings.vacuum_grace_hours * 3600)  # the lake is locked here, and the work is done
        return dg.MaterializeResult(metadata={
            "snapshot": done.snapshot, "new": done.new, "files_added": done.files_added,
            "rows": sum(done.tables.values()), "synthetic": synthetic,
        })  # fmt: skip

    return [snapshot]
