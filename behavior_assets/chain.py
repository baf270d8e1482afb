"""Running the chain in this process through the same Dagster definitions that the UI and the daemon use."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from behavior_assets import unexpected, unfinished
from behavior_assets.incremental import Progress, quiet
from behavior_assets.ingestion.canonical import BRONZE_EVENTS
from behavior_assets.ingestion.names import placed, to_config
from behavior_assets.privacy.marks import read_marks
from behavior_assets.privacy.silver import SILVER_EVENTS
from behavior_assets.sessions.sessionise import SILVER_SESSIONS
from behavior_assets.verification import require_files
from resources import errors
from resources.disk import dagster_unheard, disk_errors, draft_of, refusal
from resources.errors import BehaviorError
from resources.failpoints import reach
from resources.lake import Lake
from resources.lock import BusyError, exclusive
from resources.process import peak_memory_mb
from resources.settings import Settings, with_zone
from resources.spark_session import spark_at_hand
from resources.table import shared_views
from resources.vacuum import remove_drafts

if TYPE_CHECKING:
    import dagster as dg

REPOSITORY = Path(__file__).resolve().parent.parent
_EMPTY_DAYS = 100  # Dagster's notes on so many days that hold nothing cost as much as one more run of its own
_DRAFT_SECONDS = 3600.0  # outside of the lake another command may be writing; nothing there takes so long
# The event log keeps every message; the terminal is for the command's own words.
QUIET: dict[str, Any] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass
class ChainReport:
    """What a run did. ``stages`` are seconds by asset; ``archive_seconds`` the copying of files into the archive.

    ``models``: by name, how its training ended (or last ended), why, and the version.
    ``replayed``: the class, how many of its rows were in quarantine, and how many are left.
    """

    seconds: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)
    peak_memory_mb: int = 0
    archive_seconds: float = 0.0
    refused: list[dict[str, str]] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    renewed: list[str] = field(default_factory=list)
    waiting: list[dict[str, str]] = field(default_factory=list)
    replayed: dict[str, Any] = field(default_factory=dict)
    failed_checks: list[dict[str, str]] = field(default_factory=list)
    models: dict[str, dict[str, str]] = field(default_factory=dict)
    snapshot: str | None = None
    snapshot_is_new: bool = False
    failure: str = ""
    failure_kind: str = ""


def prepare_instance(settings: Settings) -> None:
    """DAGSTER_HOME below the home, with the repository's ``dagster.yaml``; telemetry of Dagster and GX off."""
    folder = settings.home.dagster
    folder.mkdir(parents=True, exist_ok=True)
    template = REPOSITORY / "dagster.yaml"
    if template.exists() and not (folder / "dagster.yaml").exists():
        with draft_of(folder / "dagster.yaml") as draft:
            shutil.copyfile(template, draft)
            reach("home.dagster")
    os.environ["DAGSTER_HOME"] = str(folder)
    os.environ["BEHAVIOR_HOME"] = str(settings.home.root)
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "yes")
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")


def run_chain(
    settings: Settings,
    paths: list[Path],
    format_name: str,
    mapping: Path | None = None,
    progress: Progress = quiet,
    replay: str = "",
    *,
    deliver: bool = True,
    train: bool = False,
) -> ChainReport:
    """Ingest the paths (or the quarantined rows of the class ``replay``), bring all that follows up to date, publish.

    Without ``deliver`` nothing is ingested, whatever lies in ``landing/``. ``train`` trains every model anew.

    Three runs in one process: the ingestion, which tells the days that are touched; one run over the range of these
    days; and one over all that is not kept by day.
    """
    home = settings.home
    # A second command waits; the daemon's runs only wait for the lake.
    with disk_errors(home.root), exclusive(home.dagster):
        config = {"paths": [to_config(placed(p)) for p in paths], "format": format_name,
                  "mapping": to_config(mapping) if mapping else "", "replay": replay}  # fmt: skip
        with shared_views(), Lake(home.lake).leased(), tidied(settings), spark_at_hand(settings):
            return _run_chain(settings, config if deliver else None, progress, train=train)


@contextmanager
def tidied(settings: Settings) -> Iterator[None]:
    """Afterwards remove what runs leave behind, also those before that were killed; an error in here is told first."""
    try:
        yield
    except BaseException:
        with suppress(Exception):
            _tidy(settings)
        raise
    _tidy(settings)


def _tidy(settings: Settings) -> None:
    home = settings.home
    # Only where nobody else's files are being read or written now; else it is for the next command.
    lake = Lake(home.lake)
    with suppress(BusyError), lake.alone(wait=False):
        shutil.rmtree(home.staging, ignore_errors=True)
        lake.vacuum(settings.vacuum_grace_hours * 3600)
        lake.evict(settings.lake_cache)
    keys = settings.key_path.parent
    places = (home.root, home.dagster, keys, keys / "vault", home.refused, *home.archive.glob("*/"),
              *home.models.glob("*/"))  # fmt: skip
    remove_drafts(places, time.time() - _DRAFT_SECONDS)


@contextmanager
def _history(folder: Path) -> Iterator[None]:
    """Dagster's database cannot be read: say what it is good for, and how to go on without."""
    from sqlalchemy.exc import DatabaseError

    try:
        yield
    except DatabaseError as error:
        if type(error) is not DatabaseError or refusal(error):  # its heirs are locks, full disks, statements
            raise
        msg = (
            f"{folder}: Dagster's database there is damaged. It holds the history of runs and nothing of the data: "
            "move the folder away and run again."
        )
        raise BehaviorError(msg) from error


def _run_chain(
    settings: Settings, config: dict[str, Any] | None, progress: Progress, *, train: bool
) -> ChainReport:
    started = time.perf_counter()
    lake = Lake(settings.home.lake)
    with lake.beside():
        lake.recover()
        require_files(lake)
    prepare_instance(settings)
    import dagster as dg

    from behavior_assets.automation import RANGE_END, RANGE_START
    from behavior_assets.definitions import build_definitions
    from behavior_assets.partitions import PROGRESS
    from behavior_assets.recipes import NAMES
    from expectations.bridge import prepare

    warnings.simplefilter("ignore", dg.BetaWarning)
    report = ChainReport()
    token = PROGRESS.set(progress)
    try:
        definitions = build_definitions(settings)
        # Great Expectations takes seconds to import; meanwhile files are read. Where none come, no rule may be asked.
        warming = threading.Thread(target=prepare, daemon=True)
        awaited = config is not None and (config["paths"] or config["replay"] or any(settings.home.landing.glob("*/*")))
        folder = settings.home.dagster
        with disk_errors(folder), dagster_unheard(), _history(folder), dg.DagsterInstance.get() as instance:
            if awaited:
                # The thread would bring this part of SQLAlchemy, which Dagster's storage must not meet half imported.
                import sqlalchemy.orm  # noqa: F401

                warming.start()

            def execute(job: str, tags: dict[str, str] | None = None, **ops: Any) -> bool:
                result = definitions.resolve_job_def(job).execute_in_process(
                    instance=instance, raise_on_error=False, tags=tags, run_config={**ops, **QUIET}
                )
                _note(result, report)
                return bool(result.success)

            going = config is None or execute("ingest", ops={"bronze__deliveries": {"config": config}})
            if awaited:
                warming.join()
            now = Lake(settings.home.lake)
            days = sorted({day for spec in (BRONZE_EVENTS, SILVER_EVENTS) for day in now.table(spec).parts()})
            if going and days:
                ranges = stale_ranges(with_zone(settings), days)
                definitions = build_definitions(settings, (date.fromisoformat(days[0]), date.fromisoformat(days[-1])))
                # Only tables kept by day run over a range: Dagster notes every partition of every asset in it.
                going = all(execute("days", {RANGE_START: first, RANGE_END: last}) for first, last in ranges)
            if going and _any_session(settings):
                asked = {f"models__{name}": {"config": {"train": train}} for name in NAMES}
                execute("star", ops=asked)
            if report.snapshot is not None and not report.failure:  # whatever a repair took away is made again
                unfinished.end(settings.home)
    finally:
        PROGRESS.reset(token)
    report.seconds = round(time.perf_counter() - started, 3)
    report.peak_memory_mb = peak_memory_mb()
    return report


def _any_session(settings: Settings) -> bool:
    """Whether there is anything to publish: not where every day is held back, but where the last one has expired."""
    return Lake(settings.home.lake).table(SILVER_SESSIONS).rows() > 0 or bool(read_marks(settings.home).silver)


def stale_ranges(settings: Settings, days: list[str]) -> list[tuple[str, str]]:
    """Those of some days whose silver or sessions are not made from what there is now, as ranges; else the newest."""
    from behavior_assets.staleness import day_ranges, stale_days

    return day_ranges(stale_days(Lake(settings.home.lake), settings), _EMPTY_DAYS) or [(days[-1], days[-1])]


def _note(result: dg.ExecuteInProcessResult, report: ChainReport) -> None:
    """Take durations, refused files, failed checks and the snapshot from a run's events."""
    for event in result.all_events:
        if event.is_step_success and event.step_key:
            name = event.step_key.replace("__", "/")
            before = report.stages.get(name, 0.0)  # of another range of days
            report.stages[name] = round(before + event.step_success_data.duration_ms / 1000, 3)
        elif event.is_step_failure and event.step_key:
            _note_failure(event.step_failure_data.error, report)
        elif event.event_type_value == "ASSET_CHECK_EVALUATION":
            _note_check(event.event_specific_data, report)
        elif event.is_step_materialization:
            _note_materialization(event, report)


def _note_failure(error: Any, report: ChainReport) -> None:
    """The words of the error that was meant for the user, else type and place of the innermost; the first tells."""
    if unexpected.debugging() and error is not None:
        sys.stderr.write(error.to_string())
    found = []
    while error is not None:
        found.append(error)
        error = error.cause
    if not found or report.failure:
        return
    told = next((e for e in found if hasattr(errors, str(e.cls_name))), None)
    report.failure_kind = str((told or found[-1]).cls_name)
    if told is not None:
        report.failure = str(told.message).strip().removeprefix(f"resources.errors.{told.cls_name}: ")
    else:  # its words may quote the data
        report.failure = unexpected.summary(report.failure_kind, unexpected.frames_of(found[-1].stack))


def _note_check(evaluation: Any, report: ChainReport) -> None:
    table = "/".join(evaluation.asset_key.path)
    if evaluation.check_name == "no_file_refused" and not evaluation.passed:
        report.refused = list(evaluation.metadata["refused"].value)
    elif table.startswith("models/"):
        could_look = evaluation.severity.value == "ERROR"  # else it warns, and the card says so
        if could_look and not evaluation.passed and evaluation.metadata["trained_now"].value:
            report.failed_checks.append({"table": table, "rule": evaluation.check_name, "rows": "", "days": ""})
    elif evaluation.check_name == "blocking_rules" and not evaluation.passed:
        for rule, told in evaluation.metadata["breaches"].value.items():
            days = ", ".join(told["days"][:5]) + (" …" if len(told["days"]) > 5 else "")  # noqa: PLR2004
            report.failed_checks.append(
                {"table": table, "rule": rule, "rows": str(told["rows"]), "days": days}
            )


def _note_materialization(event: Any, report: ChainReport) -> None:
    materialization = event.step_materialization_data.materialization
    metadata = materialization.metadata
    if "staging_seconds" in metadata:
        report.archive_seconds = round(float(metadata["staging_seconds"].value), 3)
        report.repeated = [str(name) for name in metadata["repeated"].value]
        report.renewed = [str(name) for name in metadata["renewed"].value]
        report.waiting = list(metadata["waiting"].value)
    if "outcome" in metadata:
        name = materialization.asset_key.path[-1]
        report.models[name] = {key: str(metadata[key].value) for key in ("outcome", "reason", "version")}
    if "snapshot" in metadata:
        report.snapshot = str(metadata["snapshot"].value)
        report.snapshot_is_new = bool(metadata["new"].value)
