"""Assets of ingestion: the deliveries, and bronze and quarantine as they then are."""

import os
import time
from pathlib import Path

import dagster as dg

from behavior_assets.ingestion.ahead import Delivery
from behavior_assets.ingestion.arrivals import MAPPING, Landing, find_files, look
from behavior_assets.ingestion.canonical import BRONZE_EVENTS, QUARANTINE_EVENTS
from behavior_assets.ingestion.ingest import Ingestion, IngestReport
from behavior_assets.ingestion.names import from_config, shown
from behavior_assets.ingestion.quarantine import replays
from behavior_assets.ingestion.sources import FORMATS, load_source
from behavior_assets.ingestion.sources.base import Source
from behavior_assets.partitions import (
    OWNERS,
    PROGRESS,
    asset_key,
    check_results,
    check_specs,
    column_schema,
    wanted_days,
)
from behavior_assets.presence import require_originals
from behavior_assets.privacy.erasure.case import require_erasures_known
from behavior_assets.privacy.key_guard import require_same_key
from behavior_assets.privacy.silver import SILVER_EVENTS
from behavior_assets.quality import judge_days
from resources.compute import DuckDB
from resources.errors import BehaviorError, UsageError
from resources.home import HomeResource
from resources.lake import Lake
from resources.lock import exclusive
from resources.settings import Settings

GROUP = "ingestion"
DELIVERIES = asset_key("bronze/deliveries")


class DeliveryConfig(dg.Config):
    """Which files to ingest: paths of one format, or, without paths, all that lies in ``landing/<format>/``.

    With ``replay`` a failure class, the quarantined rows of that class instead (of one format, where it is named).
    """

    paths: list[str] = []  # noqa: RUF012 - a pydantic model copies its defaults
    format: str = ""
    mapping: str = ""
    replay: str = ""


def deliveries_of(config: DeliveryConfig, lake: Lake, settings: Settings) -> tuple[list[Delivery], Landing]:
    """The files a config means, and what stays in ``landing/``, each with its reason."""
    mended = from_config(config.mapping) if config.mapping else None
    inbox = settings.home.landing
    if config.replay:
        return replays(lake, settings, config.replay, config.format, mended), Landing()
    if config.paths:
        source = load_source(config.format, mended)
        named = [from_config(p) for p in config.paths]
        # What lay in landing/ when it was requested may have been taken by another run.
        there = [p for p in named if os.path.lexists(p) or not p.is_relative_to(inbox)]
        return [Delivery(p, source, p.is_relative_to(inbox)) for p in find_files(there)], Landing()
    found: list[Delivery] = []
    landing = look(settings.home, FORMATS, time.time())
    for name, files in landing.ready.items():
        try:
            source = landed_source(inbox / name)
        except UsageError as error:
            landing.refused.append((inbox / name, str(error)))
        else:
            found += [Delivery(p, source, from_landing=True) for p in files]
    return found, landing


def landed_source(folder: Path) -> Source:
    """How the files of ``landing/<format>/`` are read: those of ``generic`` by the ``mapping.yaml`` beside them.

    Raises UsageError where there is none, or none that is sound.
    """
    if folder.name != "generic":
        return load_source(folder.name)
    mapping = folder / MAPPING
    if not mapping.is_file():
        reason = f"its files wait, as nothing says how to read them. Put {MAPPING} there and run again."
        msg = f"{shown(folder)}: {reason} docs/formats.md shows one."
        raise UsageError(msg)
    try:
        return load_source(folder.name, mapping)
    except BehaviorError as error:
        msg = f"{shown(folder)}: its files wait for a sound {MAPPING}. {error}"
        raise UsageError(msg) from error


def report_metadata(report: IngestReport) -> dict[str, dg.MetadataValue]:
    """What an ingestion did, by counts, file names and reasons."""
    total = {n: sum(getattr(e, n) for e in report.entries)
             for n in ("rows_in", "accepted", "quarantined", "duplicate", "suppressed", "late")}  # fmt: skip
    return {
        **{name: dg.MetadataValue.int(value) for name, value in total.items()},
        "files": dg.MetadataValue.int(len(report.entries)),
        "repeated": dg.MetadataValue.json([shown(name) for name in report.repeated]),
        "renewed": dg.MetadataValue.json([shown(name) for name in report.renewed]),
        "refused": dg.MetadataValue.json(_told(report.refused)),
        "waiting": dg.MetadataValue.json(_told(report.waiting)),
        "days": dg.MetadataValue.json(sorted(report.days)),
        "staging_seconds": dg.MetadataValue.float(report.staging_seconds),
    }


def _told(files: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"file": shown(Path(f).name), "reason": shown(reason)} for f, reason in files]


def build_assets(partitions: dg.DailyPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """The assets of this topic."""

    @dg.asset(
        key=DELIVERIES, group_name=GROUP, owners=OWNERS, kinds={"deltalake", "duckdb", "file"},
        description="Landed files, each committed once to bronze with its account (rows in, accepted, quarantined, "
        "duplicate).",
        check_specs=[dg.AssetCheckSpec("no_file_refused", asset=DELIVERIES,
                                       description="Files that were refused as a whole.")],
    )  # fmt: skip
    def deliveries(
        context: dg.AssetExecutionContext, config: DeliveryConfig, home: HomeResource
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]
        settings = home.settings()
        ledger = home.lake().table(BRONZE_EVENTS)
        # One batch after the other: what another run has taken meanwhile is not there any more.
        with home.engine(others=True) as backend, exclusive(ledger.locks / "batch"):
            require_originals(home.lake())
            require_same_key(settings, home.lake().table(SILVER_EVENTS))
            require_erasures_known(settings.home, ledger)
            wanted, landing = deliveries_of(config, home.lake(), settings)
            report = Ingestion(home.lake(), settings, backend.con).run(wanted, PROGRESS.get())
        report.refused += [(str(p), reason) for p, reason in landing.refused]
        report.waiting += [(str(p), reason) for p, reason in landing.waiting]
        for told in _told(report.refused):
            context.log.error("refused %s: %s", told["file"], told["reason"])
        for told in _told(report.waiting):
            context.log.warning("not taken yet %s: %s", told["file"], told["reason"])
        for name in report.renewed:
            context.log.warning("delivered before under the same name with other content: %s", shown(name))
        metadata = report_metadata(report)
        passed = not report.refused
        refused = dg.AssetCheckResult(
            passed=passed, check_name="no_file_refused", asset_key=DELIVERIES,
            severity=dg.AssetCheckSeverity.WARN, metadata={"refused": metadata["refused"]},
        )  # fmt: skip
        return dg.MaterializeResult(metadata=metadata, check_results=[refused])

    @dg.asset(
        key=asset_key("bronze/events"), deps=[DELIVERIES], partitions_def=partitions, group_name=GROUP, owners=OWNERS,
        kinds={"deltalake", "bronze"}, backfill_policy=dg.BackfillPolicy.single_run(),
        description="Canonical events as delivered, one partition per shop's day; days that break a rule are held.",
        check_specs=check_specs("bronze/events", gate=False),
        metadata={"dagster/column_schema": column_schema(BRONZE_EVENTS)},
    )  # fmt: skip
    def bronze_events(context: dg.AssetExecutionContext, home: HomeResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
        table = home.lake().table(BRONZE_EVENTS)
        with home.engine(others=True) as backend:
            verdict = judge_days(DuckDB(backend), home.lake(), table)
        parts = table.parts()
        rows = sum(f.rows for day in wanted_days(context) for f in parts.get(day, []))
        return dg.MaterializeResult(
            metadata={"dagster/partition_row_count": rows, "dagster/row_count": table.rows()},
            check_results=check_results(verdict),
        )

    @dg.asset(
        key=asset_key("quarantine/events"), deps=[DELIVERIES], group_name=GROUP, owners=OWNERS,
        kinds={"deltalake"}, description="Rows that could not be accepted, with the reason and their raw bytes.",
        metadata={"dagster/column_schema": column_schema(QUARANTINE_EVENTS)},
    )  # fmt: skip
    def quarantine_events(home: HomeResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
        return dg.MaterializeResult(metadata={"dagster/row_count": home.lake().table(QUARANTINE_EVENTS).rows()})

    return [deliveries, bronze_events, quarantine_events]
