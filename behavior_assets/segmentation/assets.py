"""The asset of customer values: its training; what it tells stands in ``fact_customer_month``."""

import dagster as dg

from behavior_assets.model_assets import training_asset
from behavior_assets.segmentation.recipe import VALUE


def build_assets(condition: dg.AutomationCondition) -> list[dg.AssetsDefinition]:  # type: ignore[type-arg]
    """The assets of this topic."""
    return [training_asset(VALUE, "segmentation", condition)]
