"""The asset of sales forecasting: its training; what it tells is a table of the star."""

import dagster as dg

from behavior_assets.forecasting.recipe import FORECAST
from behavior_assets.model_assets import training_asset


def build_assets(condition: dg.AutomationCondition) -> list[dg.AssetsDefinition]:  # type: ignore[type-arg]
    """The assets of this topic."""
    return [training_asset(FORECAST, "forecasting", condition)]
