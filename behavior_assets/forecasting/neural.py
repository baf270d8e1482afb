"""Quantiles of demand from a small Keras network over all series, on the same features as the boosting.

Loss: pinball (Koenker & Bassett 1978, Econometrica 46(1)). Quantiles go through a growing function unchanged, so the
network learns those of log(1 + demand), where large and small series are alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from behavior_assets.forecasting.features import rows_at
from behavior_assets.forecasting.methods import SEED, training_rows
from behavior_assets.forecasting.series import Calendar, Demand
from resources.networks import load_keras

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

QUANTILES = (0.025, 0.1, 0.5, 0.9, 0.975)
_WIDTH, _EPOCHS, _BATCH, _ROWS, _RATE = 48, 6, 1024, 120_000, 2e-3
_FEWEST = 500


def quantiles(demand: Demand, calendar: Calendar, horizon: int) -> Floats | None:
    """The ``QUANTILES`` [Q, S, H] of the days ahead, 0 where the shop is shut; None with under 500 days to learn from.

    Demand is taken as it is: a quantile is not moved by how large the largest order was.
    """
    features, target = training_rows(demand, calendar, horizon)
    if len(target) < _FEWEST:
        return None
    rows = rows_at(demand, calendar, demand.days, calendar.ahead(demand, horizon))
    found = np.zeros((len(QUANTILES), len(demand.names), horizon))
    if len(rows.series):
        found[:, rows.series, rows.day - demand.days] = _predict(features, target, rows.values).T
    return found


def _predict(features: Floats, target: Floats, ahead: Floats) -> Floats:
    """Train on rows [N, F], and tell the quantiles [M, Q] of others [M, F]."""
    keras = load_keras()

    keras.utils.set_random_seed(SEED)
    dice = np.random.default_rng(SEED)
    kept = dice.permutation(len(target))[:_ROWS]
    middle, spread = features.mean(axis=0), features.std(axis=0) + 1e-6
    model = _network(features.shape[1])
    model.compile(optimizer=keras.optimizers.Adam(_RATE), loss=_pinball)
    given = np.clip((features[kept] - middle) / spread, -5, 5).astype(np.float32)
    model.fit(given, np.log1p(target[kept])[:, None].astype(np.float32), batch_size=_BATCH, epochs=_EPOCHS, verbose=0)
    # Called, not predict(): that would trace a graph for one use.
    told = keras.ops.convert_to_numpy(model(np.clip((ahead - middle) / spread, -5, 5).astype(np.float32)))
    keras.backend.clear_session()
    found: Floats = np.maximum(np.expm1(np.asarray(told, dtype=float)), 0.0)
    # A lower end of .02 of a unit would leave out the days without a sale, which it means to count in.
    return np.rint(found) if (target == np.rint(target)).all() else found


def _network(width: int) -> Any:
    """Two hidden layers; the lowest quantile and steps of at least 0 up to the next, so that none cross."""
    keras = load_keras()

    given = keras.Input((width,))
    hidden = keras.layers.Dense(_WIDTH, activation="relu")(given)
    hidden = keras.layers.Dense(_WIDTH, activation="relu")(hidden)
    lowest = keras.layers.Dense(1)(hidden)
    steps = keras.layers.Dense(len(QUANTILES) - 1, activation="softplus")(hidden)
    told = [lowest]
    for number in range(len(QUANTILES) - 1):
        told.append(told[-1] + steps[:, number : number + 1])
    return keras.Model(given, keras.layers.Concatenate()(told))


def _pinball(actual: Any, told: Any) -> Any:
    from keras import ops

    at = ops.convert_to_tensor(np.array(QUANTILES, dtype=np.float32))
    short = actual - told
    return ops.mean(ops.maximum(at * short, (at - 1) * short), axis=-1)
