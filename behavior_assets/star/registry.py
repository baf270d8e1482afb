"""``dim_model`` and ``model_card``: which versions of which models there are, and how good each is known to be."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from math import isnan
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from behavior_assets.prediction import metrics
from behavior_assets.trainer import ACCOUNT, NOT_ENOUGH, REFUSED, figures, figures_of
from behavior_assets.training import Figure
from exports.contract import UNKNOWN, UNKNOWN_KEY, gold
from resources.engine import SURROGATE_HEX_DIGITS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resources.models import ModelStore

NO_VERSION = "none"
DRIFT = "drift_psi"
DRIFTED = 0.2  # a population stability index above says that scores are spread otherwise than they were
_FEWEST, _FEWEST_BUYERS, _DRAWS = 200, 30, 100
_TENTHS = 10


def model_key(name: str, version: str) -> int:
    """Surrogate key of a version: as ``surrogate_key`` of the engine tells it."""
    text = f"dim_model\x1f{name} {version}"
    return int(hashlib.sha256(text.encode()).hexdigest()[:SURROGATE_HEX_DIGITS], 16)


def dim_model(store: ModelStore, names: Sequence[str]) -> pa.Table:
    """Every version that is kept, a row for each model that has none, and the unknown member."""
    rows = [_row(UNKNOWN_KEY, UNKNOWN, UNKNOWN, None, UNKNOWN, UNKNOWN, "")]
    for name in names:
        attempt, serving = store.attempt(name) or {}, store.champion(name)
        for version in store.versions(name):
            model = store.load(name, version)
            trained = json.loads(model.papers[ACCOUNT])["trained_at"]
            state, reason = "kept", ""
            if version == serving:
                state = "serving"
            elif version in store.asked(name):
                state = "served before"
            elif (attempt.get("version"), attempt.get("outcome")) == (version, REFUSED):
                state, reason = REFUSED, str(attempt.get("reason", ""))
            rows.append(_row(model_key(name, version), name, version, datetime.fromisoformat(trained).astimezone(UTC),
                             model.told["data"]["dataset"], state, reason))  # fmt: skip
        if not store.versions(name):
            rows.append(_row(model_key(name, NO_VERSION), name, NO_VERSION, None, str(attempt.get("data", UNKNOWN)),
                             NOT_ENOUGH, str(attempt.get("reason", "never trained"))))  # fmt: skip
    return pa.Table.from_pylist(rows, schema=gold("dim_model").schema).sort_by("model_key")


def _row(
    key: int, model: str, version: str, trained_at: datetime | None, dataset: str, state: str, reason: str
) -> dict[str, Any]:
    return {"model_key": key, "model": model, "version": version,
            "trained_at": trained_at.replace(tzinfo=None) if trained_at else None, "dataset": dataset, "state": state,
            "reason": reason, "is_champion": "Yes" if state == "serving" else "No"}  # fmt: skip


def model_card(store: ModelStore, names: Sequence[str], live: Mapping[str, Iterable[Figure]]) -> pa.Table:
    """Every figure of every version's card, and the ``live`` ones of the versions that serve, by model."""
    rows = []
    for name in names:
        serving = store.champion(name)
        for version in store.versions(name):
            told = [*figures_of(store.load(name, version)), *figures(store.remarks(name).get(version, ()))]
            told += live.get(name, ()) if version == serving else ()
            rows += [_figure(model_key(name, version), f) for f in told]
        if not store.versions(name):
            rows.append(_figure(model_key(name, NO_VERSION), Figure(NOT_ENOUGH, float("nan"))))
    found = pa.Table.from_pylist(rows, schema=gold("model_card").schema)
    return found.sort_by([(n, "ascending") for n in ("model_key", "metric", "slice", "baseline")])


def _figure(key: int, figure: Figure) -> dict[str, Any]:
    def known(value: float) -> float | None:
        return None if isnan(value) else value

    return {"model_key": key, "metric": figure.metric, "slice": figure.slice, "value": known(figure.value),
            "lower": known(figure.lower), "upper": known(figure.upper), "baseline": figure.baseline,
            "baseline_value": known(figure.baseline_value)}  # fmt: skip


def live_figures(
    label: NDArray[np.bool_], chance: NDArray[np.float64], customer: NDArray[np.int64], name: str
) -> list[Figure]:
    """How good a version was on rows [n] whose outcome has come since, none of which made it."""
    found = [Figure("rows", float(len(label)), name)]
    if label.sum() >= _FEWEST_BUYERS and not label.all():
        wanted = ("ap", "auc", "brier_skill", "ece", "lift_at_10")
        told = metrics.estimates(label, chance, customer, wanted, draws=_DRAWS)
        found += [Figure(metric, e.value, name, e.lower, e.upper) for metric, e in told.items()]
    return found


def drift(decile: NDArray[np.int64], usual: Sequence[int], name: str) -> list[Figure]:
    """Population stability index of deciles [n], against how many rows of the calibration were in each.

    Siddiqi (2006), "Credit risk scorecards". Chance alone gives (deciles - 1) (1/n + 1/m); few rows must differ more.
    """
    known, rows = np.array(usual, dtype=float), len(decile)
    if rows < _FEWEST or known.sum() < _FEWEST:
        return []
    share = np.maximum(np.bincount(decile - 1, minlength=_TENTHS) / rows, 1e-4)
    before = np.maximum(known / known.sum(), 1e-4)
    value = float(((share - before) * np.log(share / before)).sum())
    by_chance = (_TENTHS - 1) * (1 / rows + 1 / known.sum())
    return [Figure(DRIFT, value, name, baseline="drifted above", baseline_value=max(DRIFTED, 3 * by_chance))]
