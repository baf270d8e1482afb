"""The single assembly point of everything Dagster sees."""

from __future__ import annotations

from datetime import date

import dagster as dg

from behavior_assets import automation
from behavior_assets.forecasting.assets import build_assets as forecast_assets
from behavior_assets.ingestion.assets import build_assets as ingestion_assets
from behavior_assets.partitions import daily
from behavior_assets.prediction.assets import build_assets as prediction_assets
from behavior_assets.privacy.assets import build_assets as privacy_assets
from behavior_assets.privacy.registry import registry, require_declared
from behavior_assets.segmentation.assets import build_assets as segmentation_assets
from behavior_assets.sessions.assets import build_assets as session_assets
from behavior_assets.star.assets import build_assets as star_assets
from behavior_assets.tables import all_tables
from exports.assets import build_assets as export_assets
from resources.home import HomeResource
from resources.settings import Settings, read_settings


def build_definitions(settings: Settings, known: tuple[date, date] | None = None) -> dg.Definitions:
    """Assets, checks, jobs, sensors and schedules for a home.

    ``known`` spares a process that knows the first and the last event day the listing of decades of other partitions.
    """
    days = daily(*known) if known else daily(settings.first_day)
    changed = automation.when_days_changed()
    assets = [
        *ingestion_assets(days),
        *privacy_assets(days),
        *session_assets(days),
        *segmentation_assets(changed),
        *prediction_assets(changed),
        *forecast_assets(changed),
        *star_assets(changed),
        *export_assets(changed),
    ]
    require_declared({"/".join(key.path) for asset in assets for key in asset.keys},
                     {spec.name: spec.schema.names for spec in all_tables()})  # fmt: skip
    return dg.Definitions(
        assets=dg.map_asset_specs(_with_personal, assets),
        jobs=[
            automation.ingest_job, automation.days_job, automation.star_job, automation.train_job,
            automation.retain_job,
        ],
        sensors=automation.build_sensors(),
        schedules=[automation.daily_round, automation.daily_retention, automation.weekly_training],
        resources={"home": HomeResource(
            home=str(settings.home.root), compute_engine=settings.engine, spark_remote=settings.spark_remote,
        )},
        executor=dg.in_process_executor,
    )


def _with_personal(spec: dg.AssetSpec) -> dg.AssetSpec:
    """An asset's spec with what it holds of persons, for the UI."""
    held = registry()["/".join(spec.key.path)]
    personal = {name: str(kind) for name, kind in held.columns.items()}
    return spec.merge_attributes(metadata={
        "personal_data": dg.MetadataValue.json(personal), "subject": str(held.subject), "purge": str(held.purge),
        "retention": str(held.layer),
    })  # fmt: skip


@dg.definitions
def defs() -> dg.Definitions:
    """The code location, of the home that ``BEHAVIOR_HOME`` names."""
    return build_definitions(read_settings())  # whatever state the lake is in, the UI must come up
