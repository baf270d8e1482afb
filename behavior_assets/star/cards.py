"""``dim_model`` and ``model_card`` as tables: what is kept, what serves, and how good it turned out to be."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from behavior_assets.forecasting import published as forecasts
from behavior_assets.forecasting.recipe import FORECAST
from behavior_assets.forecasting.serve import BOUNDS
from behavior_assets.incremental import content, fingerprint
from behavior_assets.prediction.recipes import CUSTOMERS, SESSIONS
from behavior_assets.recipes import NAMES
from behavior_assets.star import registry
from exports.contract import gold
from resources.compute import read_files
from resources.models import ModelStore

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

    from behavior_assets.training import Figure
    from resources.lake import Lake
    from resources.settings import Settings

VERSION = "cards-1"
WHOLE = "all"
# Tables whose rows tell how good a serving version is: its recipe, and the column that parts the rows.
LIVE = {
    "fact_session_prediction": (SESSIONS, "prefix"),
    "fact_customer_prediction": (CUSTOMERS, "horizon_days"),
}
# The newest days whose scores are compared with those of the calibration; a customer is to count once.
DRIFT_DAYS = {"fact_session_prediction": 7, "fact_customer_prediction": 1}
WORDS = {"prefix": "prefix {}", "horizon_days": "{} days ahead"}


@dataclass
class CardBuilder:
    """Brings both tables up to date; each method returns the parts written."""

    backend: Backend
    lake: Lake
    settings: Settings

    @cached_property
    def store(self) -> ModelStore:
        """The home's models."""
        return ModelStore(self.settings.home.models)

    def dim_model(self) -> list[str]:
        """Versions of models."""
        target = self.lake.table(gold("dim_model"))
        before = {f.path for f in target.files()}
        file = target.write(WHOLE, VERSION, [registry.dim_model(self.store, NAMES)])
        target.commit([file])
        return [] if file.path in before else [WHOLE]

    def model_card(self) -> list[str]:
        """What is known of each version; made again when a version, or what a serving one told, changed."""
        target = self.lake.table(gold("model_card"))
        facts = [self.lake.table(gold(name)) for name in (*LIVE, forecasts.NAME)]
        store = self.store
        state = [
            (n, store.served(n), sorted(store.asked(n)), store.versions(n), store.attempt(n), store.remarks(n))
            for n in NAMES
        ]
        expected = fingerprint(VERSION, state, *(content(t.files()) for t in facts))
        if target.fingerprints().get(WHOLE) == expected:
            return []
        live = {recipe.name: self._live(table, column) for table, (recipe, column) in LIVE.items()}
        live[FORECAST.name] = self._live_forecasts()
        target.commit([target.write(WHOLE, expected, [registry.model_card(self.store, NAMES, live)])])
        return [WHOLE]

    def _live(self, name: str, column: str) -> list[Figure]:
        """Figures of what the serving version told of days that did not make it; ``column`` parts the rows."""
        recipe, _ = LIVE[name]
        version = self.store.champion(recipe.name)
        if version is None:
            return []
        table = self.lake.table(gold(name))
        files = [f for f in table.files() if f.part.endswith(f".{version[-8:]}")]
        rows = read_files(self.backend, table.spec, table.absolute(files))
        rows = rows.filter(rows.is_out_of_sample == "Yes")
        names = ("date_key", "customer_key", "probability", "decile", "outcome")
        told = self.backend.to_pyarrow(rows.select(*names, part=column))
        part, newest = told["part"].to_numpy(), told["date_key"].to_numpy()
        usual = self.store.load(recipe.name, version).told.get("decile_rows", {})  # one of an older recipe has none
        is_known = told["outcome"].is_valid().to_numpy()
        label = told["outcome"].fill_null(0).to_numpy() > 0
        chance, customer = told["probability"].to_numpy(), told["customer_key"].to_numpy()
        since = 0
        if len(newest):
            last = date.fromisoformat(str(newest.max()))
            since = int(f"{last - timedelta(days=DRIFT_DAYS[name] - 1):%Y%m%d}")
        found: list[Figure] = []
        for value in np.unique(part).tolist():
            mine = part == value
            rows_known = mine & is_known
            found += registry.live_figures(
                label[rows_known], chance[rows_known], customer[rows_known], f"served, {WORDS[column].format(value)}"
            )
            recent = mine & (newest >= since)
            known = usual.get(str(value), [])
            found += registry.drift(told["decile"].to_numpy()[recent], known, f"served, {WORDS[column].format(value)}")
        return found

    def _live_forecasts(self) -> list[Figure]:
        """Figures of what the serving forecast told after its training, of days that have come since."""
        version = self.store.champion(FORECAST.name)
        if version is None:
            return []
        trained = int(self.store.load(FORECAST.name, version).told["last_day"].replace("-", ""))
        table = self.lake.table(gold(forecasts.NAME))
        files = [f for f in table.files() if f.part.endswith(f".{version[-8:]}")]
        rows = read_files(self.backend, table.spec, table.absolute(files))
        rows = rows.filter((rows.origin_date_key >= trained) & rows.actual.notnull())
        told = self.backend.to_pyarrow(rows)
        column = {n: told[n].to_numpy() for n in ("level", "forecast", "actual", *BOUNDS)}
        return forecasts.live_figures(
            column["level"].astype(str), column["forecast"], column["actual"], {n: column[n] for n in BOUNDS}
        )


def drifted(backend: Backend, lake: Lake) -> list[str]:
    """Names of models whose serving version's scores are spread otherwise than they were when it was made."""
    card, models = (lake.table(gold(name)) for name in ("model_card", "dim_model"))
    if not card.files():
        return []
    told = read_files(backend, card.spec, card.absolute(card.files()))
    versions = read_files(backend, models.spec, models.absolute(models.files()))
    wrong = told.filter((told.metric == registry.DRIFT) & (told.value > told.baseline_value))
    found = wrong.inner_join(versions.filter(versions.is_champion == "Yes"), "model_key").model
    return sorted(set(backend.to_pyarrow(found).to_pylist()))
