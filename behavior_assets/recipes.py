"""All models, by their names."""

from __future__ import annotations

from behavior_assets.forecasting.recipe import FORECAST
from behavior_assets.prediction.recipes import CUSTOMERS, SESSIONS
from behavior_assets.segmentation.recipe import VALUE

RECIPES = {recipe.name: recipe for recipe in (SESSIONS, CUSTOMERS, VALUE, FORECAST)}
NAMES = tuple(RECIPES)
