"""What runs by itself: files that land, days that changed, tables whose inputs changed, and a daily round."""

import hashlib
import json
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import dagster as dg

from behavior_assets.incremental import content, next_day
from behavior_assets.ingestion.arrivals import landed
from behavior_assets.ingestion.assets import DELIVERIES
from behavior_assets.ingestion.canonical import BRONZE_EVENTS
from behavior_assets.ingestion.sources import FORMATS
from behavior_assets.partitions import asset_key
from resources.home import HomeResource

FILES_PER_RUN = 200
RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
DAY_TABLES = ("bronze/events", "silver/events", "silver/sessions")

ingest_job = dg.define_asset_job(
    "ingest", dg.AssetSelection.assets(DELIVERIES, asset_key("quarantine/events")), executor_def=dg.in_process_executor,
    description="Landed files into bronze.",
)  # fmt: skip
days_job = dg.define_asset_job(
    "days", dg.AssetSelection.assets(*(asset_key(t) for t in DAY_TABLES)), executor_def=dg.in_process_executor,
    description="Bronze to sessions, for a range of days.",
)  # fmt: skip
star_job = dg.define_asset_job(
    "star",
    dg.AssetSelection.all()
    - dg.AssetSelection.assets(DELIVERIES, asset_key("quarantine/events"), *(asset_key(t) for t in DAY_TABLES)),
    executor_def=dg.in_process_executor,
    description="Everything that is not kept by day: the substrate, dimensions, facts, and the published snapshot.",
)


def when_days_changed() -> dg.AutomationCondition:  # type: ignore[type-arg]
    """The star is rebuilt as one, when sessions (the last table kept by day) were updated.

    Every table asks the same question of the same asset, so all are requested in one tick and run in one run, in
    their order: dimensions never lag behind facts. A table whose inputs broke a blocking rule waits.
    """
    condition = dg.AutomationCondition
    sessions = asset_key("silver/sessions")
    updated = condition.asset_matches(sessions, condition.newly_updated())
    busy = condition.asset_matches(sessions, condition.in_progress()) | condition.in_progress()
    handled = condition.newly_requested() | condition.newly_updated()
    return updated.since(handled) & ~busy & condition.all_deps_blocking_checks_passed()


@dg.sensor(job=ingest_job, minimum_interval_seconds=10, default_status=dg.DefaultSensorStatus.RUNNING,
           description="Requests an ingestion when files in landing/ have stopped growing.")  # fmt: skip
def landing_sensor(
    context: dg.SensorEvaluationContext, home: HomeResource
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """The run key is a digest of the files, so what was requested once is not requested again."""
    settings = home.settings()
    ready = landed(settings.home, FORMATS, time.time())
    if not ready:
        yield dg.SkipReason("landing/ holds no settled file.")
        return
    context.update_cursor(str(max(p.lstat().st_mtime for files in ready.values() for p in files)))
    for name, found in ready.items():
        files = [p for p in found if p.name != "mapping.yaml"][:FILES_PER_RUN]
        if not files:
            continue
        config: dict[str, object] = {"paths": [str(p) for p in files], "format": name}
        mapping = settings.home.landing / name / "mapping.yaml"
        if name == "generic":
            config["mapping"] = str(mapping)
        read_by = [mapping] if name == "generic" and mapping.is_file() else []
        yield dg.RunRequest(
            # The mapping is part of the request: the same files under a mended one are to be read again.
            run_key=f"{name}-{_digest([*files, *read_by])}",
            run_config={"ops": {"bronze__deliveries": {"config": config}}},
        )


def _digest(files: list[Path]) -> str:
    told = [(str(p), p.lstat().st_mtime_ns, p.lstat().st_size) for p in files]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


@dg.sensor(job=days_job, minimum_interval_seconds=10, default_status=dg.DefaultSensorStatus.RUNNING,
           description="Requests the days whose bronze changed, however old they are.")  # fmt: skip
def changed_days_sensor(
    context: dg.SensorEvaluationContext, home: HomeResource
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """The cursor remembers what each day's bronze held when it was last requested."""
    seen: dict[str, str] = json.loads(context.cursor or "{}")
    now = {day: content(files) for day, files in home.lake().table(BRONZE_EVENTS).parts().items()}
    changed = sorted(day for day, mark in now.items() if seen.get(day) != mark)
    if not changed:
        yield dg.SkipReason("No day of bronze has changed.")
        return
    for first, last in day_ranges(changed):
        marks = "".join(now[d] for d in changed if first <= d <= last)
        yield dg.RunRequest(
            run_key=f"{first}-{last}-{hashlib.sha256(marks.encode()).hexdigest()[:16]}",
            tags={RANGE_START: first, RANGE_END: last},
        )
    context.update_cursor(json.dumps(now))


def day_ranges(days: list[str], gap: int = 7) -> list[tuple[str, str]]:
    """Sorted days as ranges; holes of up to ``gap`` days (a closed weekday, a holiday) do not split a range."""
    if not days:
        return []
    cuts = [(a, b) for a, b in pairwise(days) if b > next_day(a, gap)]
    return list(zip([days[0], *(b for _, b in cuts)], [*(a for a, _ in cuts), days[-1]], strict=True))


@dg.schedule(job=ingest_job, cron_schedule="30 3 * * *", default_status=dg.DefaultScheduleStatus.RUNNING,
             description="Once a day, whatever lies in landing/, should the sensor have been off.")  # fmt: skip
def daily_round() -> dg.RunRequest:
    """Every day at 03:30 UTC."""
    return dg.RunRequest()


def build_sensors() -> list[dg.SensorDefinition]:
    """All sensors, running from the start."""
    tables = dg.AutomationConditionSensorDefinition(
        "changed_tables_sensor", target=dg.AssetSelection.all(), default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=10, description="Rebuilds gold and publishes when an input has changed.",
    )  # fmt: skip
    return [landing_sensor, changed_days_sensor, tables]
