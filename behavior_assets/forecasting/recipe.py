"""The sales forecast, as the trainer wants it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from behavior_assets.forecasting.load import Loaded, load_demand
from behavior_assets.forecasting.model import train
from behavior_assets.forecasting.serve import RECIPE
from behavior_assets.prediction.load import days_of
from behavior_assets.star.aggregates import COMMERCE_EVENTS, PRODUCT_DAY
from behavior_assets.trainer import Recipe

if TYPE_CHECKING:
    from collections.abc import Callable

    from ibis.backends.duckdb import Backend

    from behavior_assets.training import Figure, NotEnough, Trained
    from resources.lake import Lake
    from resources.models import StoredModel


def _load(backend: Backend, lake: Lake, until: str) -> Loaded:
    return load_demand(backend, lake, [d for d in days_of(lake) if d <= until])


def _train(
    loaded: Loaded, seed: int, _synthetic: bool, _before: StoredModel | None, progress: Callable[[str], None]  # noqa: FBT001
) -> Trained | NotEnough:
    return train(loaded, seed, progress)


def _again(loaded: Loaded, model: StoredModel) -> tuple[Figure, ...]:
    """The backtest once more: its figures are of many models, of which only the last is kept."""
    found = train(loaded, int(model.told["seed"]))
    return getattr(found, "figures", ())


FORECAST = Recipe(
    "sales_forecast", "How much will be sold on the next 28 days?", RECIPE, (COMMERCE_EVENTS, PRODUCT_DAY),
    ("prefix_invariance", "boundary"), _load, _train, _again,
)  # fmt: skip
