"""Quantiles of demand from a small network over all series, on the same features as the boosting.

Loss: pinball (Koenker & Bassett 1978, Econometrica 46(1)). Quantiles go through a growing function unchanged, so the
network learns those of log(1 + demand), where large and small series are alike. Keras trains it; ``scores`` runs the
same arithmetic in numpy, so that forecasting needs no TensorFlow.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from behavior_assets.forecasting.features import FEATURES, rows_at
from behavior_assets.forecasting.methods import SEED, training_rows
from behavior_assets.forecasting.series import Calendar, Demand
from resources.networks import load_keras

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Arrays = dict[str, NDArray[Any]]

QUANTILES = (0.025, 0.1, 0.5, 0.9, 0.975)
MEDIAN = QUANTILES.index(0.5)
_WIDTH, _BATCH, _ROWS, _RATE = 48, 1024, 120_000, 2e-3
_EPOCHS, _STEPS = 6, 150  # at least so many of either: few rows make few steps
FEWEST = 500


class Trainer:
    """Trains networks of one shape, one after another: building and compiling one costs more than training it."""

    def __init__(self, seed: int = SEED) -> None:
        self._seed = seed

    def fit(self, demand: Demand, calendar: Calendar, horizon: int) -> Arrays | None:
        """Weights; None with under 500 days to learn from. What was fitted before changes nothing.

        Demand is taken as it is: a quantile is not moved by how large the largest order was.
        """
        features, target = training_rows(demand, calendar, horizon, self._seed)
        if len(target) < FEWEST:
            return None
        model, fresh = self._fresh
        load_keras().utils.set_random_seed(self._seed)
        for variable, value in zip([*model.variables, *model.optimizer.variables], fresh, strict=True):
            variable.assign(value)
        dice = np.random.default_rng(self._seed)
        kept = dice.permutation(len(target))[:_ROWS]
        middle, spread = features.mean(axis=0), features.std(axis=0) + 1e-6
        logs = np.log1p(target)
        level, size = logs.mean(), logs.std() + 1e-6  # a network that begins at 0 would take long to reach large shops
        scaling = {"middle": middle, "spread": spread, "least": features.min(axis=0), "most": features.max(axis=0)}
        given = scaled(scaling, features[kept])
        wanted = ((logs[kept] - level) / size)[:, None].astype(np.float32)
        batches = -(-len(kept) // _BATCH)
        for _ in range(max(_EPOCHS, -(-_STEPS // batches))):
            for rows in np.array_split(dice.permutation(len(kept)), batches):  # fit() costs four times as much
                model.train_on_batch(given[rows], wanted[rows])
        whole = np.array([np.array_equal(target, np.rint(target))])
        return exported(model) | scaling | {"out": np.array([level, size]), "whole": whole}

    @cached_property
    def _fresh(self) -> tuple[Any, list[NDArray[Any]]]:
        """A compiled network, and the values of all its variables before any training."""
        keras = load_keras()

        keras.utils.set_random_seed(self._seed)
        model = build_network(len(FEATURES))
        model.compile(optimizer=keras.optimizers.Adam(_RATE), loss=_pinball)
        model.optimizer.build(model.trainable_variables)
        return model, [v.value.numpy() for v in [*model.variables, *model.optimizer.variables]]


def quantiles(demand: Demand, calendar: Calendar, horizon: int) -> Floats | None:
    """The ``QUANTILES`` [Q, S, H] of the days ahead from a network of its own; None with under 500 days to learn from.

    Units that are whole are told as whole ones.
    """
    weights = Trainer().fit(demand, calendar, horizon)
    return None if weights is None else rounded(weights, told(weights, demand, calendar, horizon))


def told(weights: Arrays, demand: Demand, calendar: Calendar, horizon: int) -> Floats:
    """The ``QUANTILES`` [Q, S, H] of the days ahead, 0 where the shop is shut."""
    rows = rows_at(demand, calendar, demand.days, calendar.ahead(demand, horizon))
    found = np.zeros((len(QUANTILES), len(demand.names), horizon))
    if len(rows.series):
        level, size = weights["out"]
        logs = scores(weights, rows.values).astype(np.float64) * size + level
        found[:, rows.series, rows.day - demand.days] = np.maximum(np.expm1(logs), 0.0).T
    return found


def rounded(weights: Arrays, found: Floats) -> Floats:
    """Quantiles in whole units where demand is: a lower end of .02 would leave out the days without a sale."""
    return np.rint(found) if weights["whole"][0] else found


def scores(weights: Arrays, features: Floats) -> NDArray[np.float32]:
    """Quantiles [n, Q] of scaled log(1 + demand) for features [n, F], as Keras computes them."""
    hidden = scaled(weights, features)
    for layer in ("first", "second"):
        hidden = np.maximum(hidden @ weights[f"{layer}_kernel"] + weights[f"{layer}_bias"], np.float32(0))
    lowest = hidden @ weights["lowest_kernel"] + weights["lowest_bias"]
    steps = np.logaddexp(np.float32(0), hidden @ weights["steps_kernel"] + weights["steps_bias"])
    found: NDArray[np.float32] = np.cumsum(np.concatenate([lowest, steps], axis=1), axis=1, dtype=np.float32)
    return found


def scaled(by: Arrays, features: Floats) -> NDArray[np.float32]:
    """What the network reads: features of one size, and none beyond what it has seen, where it would make things up."""
    inside = np.clip(features, by["least"], by["most"])
    return np.clip((inside - by["middle"]) / by["spread"], -5, 5).astype(np.float32)


def build_network(width: int) -> Any:
    """Two hidden layers; the lowest quantile and steps of at least 0 up to the next, so that none cross."""
    keras = load_keras()

    given = keras.Input((width,))
    hidden = keras.layers.Dense(_WIDTH, activation="relu", name="first")(given)
    hidden = keras.layers.Dense(_WIDTH, activation="relu", name="second")(hidden)
    lowest = keras.layers.Dense(1, name="lowest")(hidden)
    steps = keras.layers.Dense(len(QUANTILES) - 1, activation="softplus", name="steps")(hidden)
    told = [lowest]
    for number in range(len(QUANTILES) - 1):
        told.append(told[-1] + steps[:, number : number + 1])
    return keras.Model(given, keras.layers.Concatenate()(told))


def exported(network: Any) -> Arrays:
    """The network's weights as arrays."""
    found = {}
    for name in ("first", "second", "lowest", "steps"):
        for part, values in zip(("kernel", "bias"), network.get_layer(name).get_weights(), strict=True):
            found[f"{name}_{part}"] = np.asarray(values, dtype=np.float32)
    return found


def _pinball(actual: Any, told: Any) -> Any:
    from keras import ops

    at = ops.convert_to_tensor(np.array(QUANTILES, dtype=np.float32))
    short = actual - told
    return ops.mean(ops.maximum(at * short, (at - 1) * short), axis=-1)
