"""Assets of purchase prediction: the training of both models; what they score are tables of the star."""

import dagster as dg

from behavior_assets.model_assets import training_asset
from behavior_assets.prediction.recipes import CUSTOMERS, SESSIONS


def build_assets(condition: dg.AutomationCondition) -> list[dg.AssetsDefinition]:  # type: ignore[type-arg]
    """The assets of this topic."""
    return [training_asset(recipe, "prediction", condition) for recipe in (SESSIONS, CUSTOMERS)]
