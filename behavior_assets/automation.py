"""What runs by itself: files that land, days that changed, tables whose inputs changed, and a daily round."""

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import dagster as dg

from behavior_assets import staleness
from behavior_assets.ingestion.arrivals import MAPPING, look
from behavior_assets.ingestion.assets import DELIVERIES, landed_source
from behavior_assets.ingestion.names import shown, to_config
from behavior_assets.ingestion.sources import FORMATS
from behavior_assets.partitions import asset_key
from behavior_assets.recipes import NAMES
from behavior_assets.sessions.sessionise import SILVER_SESSIONS
from behavior_assets.star.cards import drifted
from resources.errors import UsageError
from resources.home import HomeResource
from resources.models import ModelStore

FILES_PER_RUN = 200
GAP_DAYS = 7  # days without events that two ranges of changed days may enclose and still be one
MOST_TOLD = 5  # reasons in a sensor's answer
REQUEST = "behavior/request"  # tag: what a run was requested for, so that a failed one is known again
RETRY_SECONDS, MOST_RETRY_SECONDS = 30.0, 3600.0  # the pause after a failed run, doubled each time
LOST_SECONDS = 6 * 3600.0  # a run that has not stirred for so long was killed
NOT_FINISHED = [
    dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING,
]  # fmt: skip
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

train_job = dg.define_asset_job(
    "train", dg.AssetSelection.assets(*(asset_key(f"models/{name}") for name in NAMES)).downstream(),
    executor_def=dg.in_process_executor, description="Every model anew, what it tells, and the published snapshot.",
    config={"ops": {f"models__{name}": {"config": {"train": True}} for name in NAMES}},
)  # fmt: skip


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
    """The run key is a digest of the files, so what was requested once is not requested again.

    What cannot be requested is told: in the log when it is new (the cursor remembers), and where nothing else is to do.
    """
    settings = home.settings()
    landing = look(settings.home, FORMATS, time.time())
    left = [reason for _, reason in (*landing.refused, *landing.waiting)]
    requests = []
    for name, found in landing.ready.items():
        folder, files = settings.home.landing / name, found[:FILES_PER_RUN]
        try:
            landed_source(folder)
        except UsageError as error:
            left.append(str(error))
            continue
        config: dict[str, object] = {"paths": [to_config(p) for p in files], "format": name}
        read_by = []
        if name == "generic":
            config["mapping"] = str(folder / MAPPING)
            read_by = [folder / MAPPING]
        requests.append(dg.RunRequest(
            # The mapping is part of the request: the same files under a mended one are to be read again.
            run_key=f"{name}-{_digest([*files, *read_by])}",
            run_config={"ops": {"bronze__deliveries": {"config": config}}},
        ))  # fmt: skip
    told = hashlib.sha256("\n".join(shown(reason) for reason in left).encode()).hexdigest()
    if left and told != context.cursor:
        for reason in left:
            context.log.warning("not taken: %s", shown(reason))
    context.update_cursor(told)
    yield from requests
    if not requests:
        more = f" and {len(left) - MOST_TOLD:,} more" if len(left) > MOST_TOLD else ""
        reasons = " ".join(shown(reason) for reason in left[:MOST_TOLD]) + more
        yield dg.SkipReason(f"landing/ holds no settled file that can be read. {reasons}".strip())


def _digest(files: list[Path]) -> str:
    told = []
    for path in files:
        with suppress(FileNotFoundError):  # another run has taken it
            found = path.stat()
            told.append((str(path), found.st_mtime_ns, found.st_size))
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


@dg.sensor(job=days_job, minimum_interval_seconds=10, default_status=dg.DefaultSensorStatus.RUNNING,
           description="Requests the days whose bronze changed, however old they are.")  # fmt: skip
def changed_days_sensor(
    context: dg.SensorEvaluationContext, home: HomeResource
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """What silver and sessions say they were made from decides, not what was requested: a failed run is tried again.

    The cursor remembers the state of the tables that was found to need nothing.
    """
    settings, lake = home.settings(), home.lake()
    state = staleness.state(lake, settings)
    days = [] if state == context.cursor else staleness.stale_days(lake, settings)
    if not days:
        context.update_cursor(state)
        yield dg.SkipReason("No day of bronze has changed.")
        return
    waiting = []
    for first, last in staleness.day_ranges(days, GAP_DAYS):
        digest = hashlib.sha256(f"{state}{first}{last}".encode()).hexdigest()[:16]
        attempt, reason = _attempt(context.instance, first, last, digest)
        if reason:
            waiting.append(f"{first} to {last}: {reason}")
            continue
        yield dg.RunRequest(
            run_key=f"{first}-{last}-{digest}-{attempt}",
            tags={RANGE_START: first, RANGE_END: last, REQUEST: digest},
        )
    if waiting:
        yield dg.SkipReason("; ".join(waiting))


def _attempt(instance: dg.DagsterInstance, first: str, last: str, digest: str) -> tuple[int, str]:
    """Which attempt at a range of days is due (from 0), or why none is."""
    now = time.time()
    busy = instance.get_run_records(dg.RunsFilter(job_name=days_job.name, statuses=NOT_FINISHED), limit=50)
    for record in busy:
        tags = record.dagster_run.tags
        covers = tags.get(RANGE_START, "9") <= first and last <= tags.get(RANGE_END, "")
        if covers and now - record.update_timestamp.timestamp() < LOST_SECONDS:
            return 0, "a run is under way"
    runs = instance.get_run_records(dg.RunsFilter(job_name=days_job.name, tags={REQUEST: digest}))
    if any(r.dagster_run.is_success for r in runs):
        return 0, "a run has ended well and left it as it is"
    if runs:
        pause = min(RETRY_SECONDS * 2 ** (len(runs) - 1), MOST_RETRY_SECONDS)
        if now < max(r.update_timestamp.timestamp() for r in runs) + pause:
            return 0, f"a run has failed; it is tried again after {pause:.0f} s"
    return len(runs), ""


@dg.schedule(job=ingest_job, cron_schedule="30 3 * * *", default_status=dg.DefaultScheduleStatus.RUNNING,
             description="Once a day, whatever lies in landing/, should the sensor have been off.")  # fmt: skip
def daily_round() -> dg.RunRequest:
    """Every day at 03:30 UTC."""
    return dg.RunRequest()


@dg.op(name="expire", description="`behavior retain`, in a process of its own: it runs jobs of its own.")
def expire(home: HomeResource) -> None:
    """What is older than it is to be kept leaves the home; what the command says, the run's log shows."""
    command = [sys.executable, "-m", "behavior_assets.cli", "retain", "--home", str(home.settings().home.root)]
    subprocess.run(command, check=True, cwd=Path(__file__).resolve().parent.parent)  # noqa: S603


@dg.job(name="retain", executor_def=dg.in_process_executor, description="What has expired leaves every layer.")
def retain_job() -> None:
    """One step."""
    expire()


@dg.schedule(job=retain_job, cron_schedule="30 2 * * *", default_status=dg.DefaultScheduleStatus.RUNNING,
             description="Once a day, what has expired by the settings keep_<layer>_days leaves the home.")  # fmt: skip
def daily_retention(home: HomeResource) -> dg.RunRequest | dg.SkipReason:
    """Every day at 02:30 UTC, where any layer has a limit."""
    settings = home.settings()
    if not any(value for name, value in vars(settings).items() if name.startswith("keep_")):
        return dg.SkipReason("Everything is kept for ever: behavior.toml sets no keep_<layer>_days.")
    return dg.RunRequest()


@dg.schedule(job=train_job, cron_schedule="30 4 * * 1", default_status=dg.DefaultScheduleStatus.RUNNING,
             description="Once a week every model is trained anew.")  # fmt: skip
def weekly_training(home: HomeResource) -> dg.RunRequest | dg.SkipReason:
    """Mondays at 04:30 UTC, where there is anything to train on."""
    if not home.settings().train_models:
        return dg.SkipReason("The setting train_models is false.")
    if not home.lake().table(SILVER_SESSIONS).rows():
        return dg.SkipReason("There are no sessions yet.")
    return dg.RunRequest()


@dg.sensor(job=train_job, minimum_interval_seconds=3600, default_status=dg.DefaultSensorStatus.RUNNING,
           description="Requests a training when the scores of a serving model have drifted.")  # fmt: skip
def drift_sensor(home: HomeResource) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Once for each set of versions that serve: where the new ones drift as well, the week's training is waited for."""
    if not home.settings().train_models:
        yield dg.SkipReason("The setting train_models is false.")
        return
    with home.engine() as backend:
        found = drifted(backend, home.lake())
    if not found:
        yield dg.SkipReason("No serving model's scores have drifted.")
        return
    served = [f"{name} {ModelStore(home.settings().home.models).champion(name)}" for name in found]
    yield dg.RunRequest(run_key=f"drift: {', '.join(served)}")


def build_sensors() -> list[dg.SensorDefinition]:
    """All sensors, running from the start."""
    tables = dg.AutomationConditionSensorDefinition(
        "changed_tables_sensor", target=dg.AssetSelection.all(), default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=10, description="Rebuilds gold and publishes when an input has changed.",
    )  # fmt: skip
    return [landing_sensor, changed_days_sensor, drift_sensor, tables]
