"""The two models of purchases, as the trainer wants them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from behavior_assets.incremental import read_parts
from behavior_assets.prediction import customer_training, session_training
from behavior_assets.prediction.load import days_of, load_activity, load_sessions, load_visitors
from behavior_assets.prediction.session_model import NO_BROWSING
from behavior_assets.privacy.silver import SILVER_EVENTS
from behavior_assets.sessions.sessionise import SILVER_SESSIONS
from behavior_assets.star.aggregates import COMMERCE_EVENTS, CUSTOMER_DAY, PRODUCT_DAY
from behavior_assets.trainer import Recipe
from behavior_assets.training import NotEnough

if TYPE_CHECKING:
    from collections.abc import Callable

    from ibis.backends.duckdb import Backend

    from behavior_assets.prediction.customer_model import Activity
    from behavior_assets.prediction.load import Sessions
    from behavior_assets.training import Figure, Trained
    from resources.lake import Lake
    from resources.models import StoredModel

MOST_EVENTS = 4_000_000  # trained on and judged by: the newest days that hold no more, so that memory has an end


def newest_days(lake: Lake, until: str) -> list[str]:
    """Days up to one, in order: as many of the newest as hold ``MOST_EVENTS``, and one at least."""
    live = lake.table(SILVER_EVENTS).parts()
    found: list[str] = []
    rows = 0
    for day in reversed([d for d in days_of(lake) if d <= until]):
        rows += sum(f.rows for f in live.get(day, []))
        if found and rows > MOST_EVENTS:
            break
        found.append(day)
    return found[::-1]


def _load_sessions(backend: Backend, lake: Lake, until: str) -> Sessions | None:
    """None where nobody is seen to look at anything: nothing else needs to be read to know that."""
    found = read_parts(backend, lake.table(SILVER_SESSIONS), [d for d in days_of(lake) if d <= until])
    if not backend.execute(found.views.sum()):
        return None
    return load_sessions(backend, lake, newest_days(lake, until), load_visitors(backend, lake, until))


def _load_customers(backend: Backend, lake: Lake, until: str) -> Activity:
    return load_activity(backend, lake, [d for d in days_of(lake) if d <= until])


def _train_sessions(
    loaded: Sessions | None, seed: int, synthetic: bool, _before: StoredModel | None, progress: Callable[[str], None]  # noqa: FBT001
) -> Trained | NotEnough:
    if loaded is None:
        return NotEnough(NO_BROWSING)
    return session_training.train(loaded, seed, synthetic=synthetic, progress=progress)


def _train_customers(
    loaded: Activity, seed: int, synthetic: bool, _before: StoredModel | None, progress: Callable[[str], None]  # noqa: FBT001
) -> Trained | NotEnough:
    return customer_training.fit(loaded, seed, synthetic=synthetic, progress=progress)


def _sessions_again(loaded: Sessions | None, model: StoredModel) -> tuple[Figure, ...]:
    if loaded is None:
        return ()
    return session_training.again(loaded, model.told, model.arrays, synthetic=_synthetic(model))


def _customers_again(loaded: Activity, model: StoredModel) -> tuple[Figure, ...]:
    return customer_training.again(loaded, model.told, model.arrays, synthetic=_synthetic(model))


def _synthetic(model: StoredModel) -> bool:
    told: Any = model.told["data"]["synthetic"]
    return bool(told)


SESSIONS = Recipe(
    session_training.NAME, "Will this session buy?", session_training.RECIPE,
    (SILVER_SESSIONS, SILVER_EVENTS, COMMERCE_EVENTS, PRODUCT_DAY),
    ("prefix_invariance", "past_invariance", "single_feature", "model_auc", "label_shuffle", "boundary", "no_copies"),
    _load_sessions, _train_sessions, _sessions_again,
)  # fmt: skip
CUSTOMERS = Recipe(
    customer_training.NAME, "Will this customer order within 7 or 30 days?", customer_training.RECIPE,
    (CUSTOMER_DAY,), ("prefix_invariance", "single_feature", "model_auc", "boundary"),
    _load_customers, _train_customers, _customers_again,
)  # fmt: skip
