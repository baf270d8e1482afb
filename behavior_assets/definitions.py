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
from behavior_assets.segmentation.assets import build_assets as segmentation_assets
from behavior_assets.sessions.assets import build_assets as session_assets
from behavior_assets.star.assets import build_assets as star_assets
from exports.assets import build_assets as export_assets
from resources.home import HomeResource
from resources.settings import Settings, read_settings


def build_definitions(settings: Settings, known: tuple[date, date] | None = None) -> dg.Definitions:
    """Assets, checks, jobs, sensors and schedules for a home.

    ``known`` spares a process that knows the first and the last event day the listing of decades of other partitions.
    """
    days = daily(*known) if known else daily(settings.first_day)
    changed = automation.when_days_changed()
    return dg.Definitions(
        assets=[
            *ingestion_assets(days),
            *privacy_assets(days),
            *session_assets(days),
            *segmentation_assets(changed),
            *prediction_assets(changed),
            *forecast_assets(changed),
            *star_assets(changed),
            *export_assets(changed),
        ],
        jobs=[automation.ingest_job, automation.days_job, automation.star_job, automation.train_job],
        sensors=automation.build_sensors(),
        schedules=[automation.daily_round, automation.weekly_training],
        resources={"home": HomeResource(home=str(settings.home.root))},
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """The code location, of the home that ``BEHAVIOR_HOME`` names."""
    return build_definitions(read_settings())  # whatever state the lake is in, the UI must come up
