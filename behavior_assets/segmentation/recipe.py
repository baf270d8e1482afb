"""The value of customers, as the trainer wants it."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

from behavior_assets.prediction.load import days_of, load_activity
from behavior_assets.segmentation.fits import RECIPE
from behavior_assets.segmentation.model import NAME, train
from behavior_assets.star.aggregates import CUSTOMER_DAY
from behavior_assets.trainer import Recipe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ibis.backends.duckdb import Backend

    from behavior_assets.prediction.customer_model import Activity
    from behavior_assets.training import Figure, NotEnough, Trained
    from resources.lake import Lake
    from resources.models import StoredModel

    Loaded = tuple[Activity, list[date]]


def month_ends(first: date, last: date) -> Iterable[date]:
    """Last days of the months that are over by ``last``."""
    day = first.replace(day=1)
    while True:
        following = (day.replace(day=28) + timedelta(days=4)).replace(day=1)
        end = following - timedelta(days=1)
        if end > last:
            return
        yield end
        day = following


def _load(backend: Backend, lake: Lake, until: str) -> Loaded:
    days = [d for d in days_of(lake) if d <= until]
    ends = month_ends(date.fromisoformat(days[0]), date.fromisoformat(days[-1])) if days else ()
    return load_activity(backend, lake, days), list(ends)


def _train(
    loaded: Loaded, seed: int, _synthetic: bool, before: StoredModel | None, progress: Callable[[str], None]  # noqa: FBT001
) -> Trained | NotEnough:
    return train(*loaded, before, seed, progress)


def _again(loaded: Loaded, model: StoredModel) -> tuple[Figure, ...]:
    """The figures once more, of fits to the same data: a fit that was taken over from an earlier version is itself."""
    return getattr(train(*loaded, model, int(model.told["seed"])), "figures", ())


VALUE = Recipe(
    NAME, "What will customers buy, and who stays away?", RECIPE, (CUSTOMER_DAY,),
    ("prefix_invariance", "single_feature", "model_auc", "boundary"), _load, _train, _again,
)  # fmt: skip
