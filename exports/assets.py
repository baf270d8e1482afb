"""The assets that publish: the snapshot, and what is made of it for people and databases."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import dagster as dg

from behavior_assets.ingestion.canonical import BRONZE_EVENTS
from behavior_assets.ingestion.ledger import read_ledger
from behavior_assets.partitions import OWNERS, asset_key
from behavior_assets.privacy.erasure.case import open_cases
from behavior_assets.privacy.marks import read_marks
from behavior_assets.sessions.sessionise import SILVER_SESSIONS
from behavior_assets.star.order import GOLD_INPUTS
from exports import outlets
from exports.database import publish_to_setting
from exports.snapshot import Manifest, alone, current_manifest, data_through, publish
from resources.home import HomeResource
from resources.settings import Settings

SNAPSHOT = asset_key("exports/snapshot")
IN_TIME = "erasures_in_time"
DUE, LATE = timedelta(hours=26), timedelta(hours=50)  # of a shop whose files come once a day


def build_assets(condition: dg.AutomationCondition) -> list[dg.AssetsDefinition]:  # type: ignore[type-arg]
    """The assets of this topic."""

    @dg.asset(
        key=SNAPSHOT, deps=[asset_key(f"gold/{n}") for n in GOLD_INPUTS], group_name="exports", owners=OWNERS,
        kinds={"parquet", "duckdb"}, automation_condition=condition,
        freshness_policy=dg.FreshnessPolicy.time_window(fail_window=LATE, warn_window=DUE),
        description="The published star: Parquet files, manifest and DuckDB views, switched in one step.",
        check_specs=[dg.AssetCheckSpec(IN_TIME, asset=SNAPSHOT, description="No erasure of a person is overdue.")],
    )  # fmt: skip
    def snapshot(home: HomeResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
        lake, settings = home.lake(), home.settings()
        synthetic = any(
            e.capabilities.get("is_synthetic") for e in read_ledger(lake.table(BRONZE_EVENTS))
        )
        with home.engine() as backend:
            through = data_through(
                lake.table(SILVER_SESSIONS), settings.home.exports, expired=bool(read_marks(settings.home).silver)
            )
            done = publish(lake, settings, backend.con, through, datetime.now(UTC), synthetic=synthetic)
            lake.vacuum(settings.vacuum_grace_hours * 3600)  # the lake is locked here, and the work is done
        return dg.MaterializeResult(metadata={
            "snapshot": done.snapshot, "new": done.new, "files_added": done.files_added,
            "rows": sum(done.tables.values()), "synthetic": synthetic,
        }, check_results=[_erasures_in_time(settings)])  # fmt: skip

    return [snapshot, *_outlets(condition)]


def _erasures_in_time(settings: Settings) -> dg.AssetCheckResult:
    late = [c.name for c in open_cases(settings.home) if c.overdue(datetime.now(UTC), settings.erase_within_days)]
    return dg.AssetCheckResult(
        passed=not late, check_name=IN_TIME, asset_key=SNAPSHOT, metadata={"cases": late},
        description=f"Overdue: {', '.join(late)}. `behavior erase --resume CASE` goes on with one." if late else None,
    )


def _outlets(condition: dg.AutomationCondition) -> list[dg.AssetsDefinition]:  # type: ignore[type-arg]
    """What is made of every snapshot: each says of which one it is, and is late when a day has gone by without."""
    fresh = dg.FreshnessPolicy.time_window(fail_window=LATE, warn_window=DUE)

    def made(name: str, make: Callable[[Settings, Manifest], outlets.Made], kinds: set[str], description: str,
             ) -> dg.AssetsDefinition:  # fmt: skip
        @dg.asset(key=asset_key(f"exports/{name}"), deps=[SNAPSHOT], group_name="exports", owners=OWNERS, kinds=kinds,
                  automation_condition=condition, freshness_policy=fresh, description=description)  # fmt: skip
        def outlet(home: HomeResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
            settings = home.settings()
            with alone(settings.home.exports):
                done = make(settings, current_manifest(settings.home.exports))
            return dg.MaterializeResult(metadata={
                "of_snapshot": done.snapshot, "made_now": done.new, "files": done.files, "edited": done.edited,
            })  # fmt: skip

        return outlet

    @dg.asset(key=asset_key("exports/database"), deps=[SNAPSHOT], group_name="exports", owners=OWNERS, kinds={"sql"},
              automation_condition=condition, freshness_policy=fresh, pool="database",
              description="The star in another database, where behavior.toml names one (publish_to).")  # fmt: skip
    def database(home: HomeResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
        settings = home.settings()
        current_manifest(settings.home.exports)  # before the first there is nothing to be late with
        done = publish_to_setting(settings)
        if done is None:
            return dg.MaterializeResult(metadata={"target": "none: publish_to is not set in behavior.toml"})
        return dg.MaterializeResult(metadata={
            "of_snapshot": done.snapshot, "made_now": done.new, "target": done.target, "schema": done.schema,
            "rows": sum(done.tables.values()), "not_removed_yet": done.left,
        })  # fmt: skip

    return [
        made("powerbi", lambda s, m: outlets.powerbi(s.home.exports, m), {"powerbi"},
             "The Power BI project: semantic model, measures, report."),
        made("report", lambda s, m: outlets.report(s.home.exports, m, s.memory_limit), {"html"},
             "The illustrated report: the shop's week, one page for anybody."),
        made("aggregate", lambda s, m: outlets.aggregate(s.home.exports, m, s.memory_limit), {"excel"},
             "CSV and Excel of the aggregate profile: no row of a person."),
        database,
    ]
