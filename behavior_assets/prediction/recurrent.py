"""A causal recurrent network over the steps of a session: after every step, the chance that a purchase follows.

Keras trains it; ``scores`` runs the same arithmetic in numpy, step after step, so that scoring needs no TensorFlow and
a step can only see what came before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from behavior_assets.prediction.features import BEFORE, FEATURES, STEP
from behavior_assets.prediction.steps import Steps
from resources.networks import load_keras

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Arrays = dict[str, NDArray[Any]]

UNITS, DENSE, CATEGORY_SIZE, PRODUCT_SIZE = 32, 32, 4, 4
DROPOUT, NAMES_DROPOUT = 0.2, 0.5  # of all, and of what embeddings tell: names are learnt by heart otherwise
CATEGORIES, PRODUCTS = 256, 2048  # buckets that codes are folded into; 0 is the unknown
MOST_STEPS = 20
INPUTS = tuple(FEATURES.index(n) for n in (*STEP, *BEFORE))
_AGES = tuple(n for n, i in enumerate(INPUTS) if FEATURES[i].startswith(("days_since", "open_cart")))
_SESSIONS, _STEPS = 512, 4096  # of a batch, whichever are more sessions: short ones cost more to begin than to learn
_EPOCHS, _PATIENCE = 4, 1
_LENGTHS = (2, 4, 8, MOST_STEPS)  # sessions of like length are trained together: padding costs as much as steps


@dataclass(frozen=True)
class Sequences:
    """Sessions cut after MOST_STEPS: numbers [E, I], and buckets of categories and products [E]."""

    numbers: NDArray[np.float32]
    category: NDArray[np.int32]
    product: NDArray[np.int32]
    length: NDArray[np.int64]


def normaliser(features: Floats) -> Arrays:
    """Means and deviations of the inputs [I], NaN aside, so that networks see numbers of one size."""
    chosen = _inputs(features)
    with np.errstate(invalid="ignore"):
        known = np.isfinite(chosen)
        count = np.maximum(known.sum(axis=0), 1)
        mean = np.where(known, chosen, 0.0).sum(axis=0) / count
        deviation = np.sqrt((np.where(known, chosen - mean, 0.0) ** 2).sum(axis=0) / count)
    return {"mean": mean, "deviation": np.where(deviation > 0, deviation, 1.0)}


def _inputs(features: Floats) -> Floats:
    """The inputs [n, I] of features [n, F]; what happened long ago and what never did are near each other."""
    chosen = np.take(features, INPUTS, axis=1)
    for column in _AGES:
        ages = chosen[:, column]
        chosen[:, column] = np.where(np.isfinite(ages), 1 / (1 + ages), 0.0)
    return chosen


def sequences(steps: Steps, features: Floats, norm: Arrays) -> Sequences:
    """What the network reads, from the steps and their features [E, F]; what is unknown is 0 after scaling."""
    kept = steps.step <= MOST_STEPS
    scaled = _inputs(features if kept.all() else features[kept])
    scaled -= norm["mean"]
    scaled /= norm["deviation"]
    np.nan_to_num(scaled, copy=False)
    np.clip(scaled, -8, 8, out=scaled)
    return Sequences(
        scaled.astype(np.float32),
        folded(steps.category[kept], CATEGORIES), folded(steps.product[kept], PRODUCTS),
        np.minimum(steps.length, MOST_STEPS),
    )  # fmt: skip


def folded(codes: NDArray[np.int64], buckets: int) -> NDArray[np.int32]:
    """Codes as numbers below ``buckets``; 0 for what is unknown (-1)."""
    return np.where(codes < 0, 0, codes % (buckets - 1) + 1).astype(np.int32)


def padded(values: NDArray[Any], length: NDArray[np.int64], width: int) -> NDArray[Any]:
    """Rows of sessions [E, …] as [N, width, …], zeros behind the end."""
    found = np.zeros((len(length), width, *values.shape[1:]), dtype=values.dtype)
    session = np.repeat(np.arange(len(length)), length)
    place = np.arange(len(values)) - np.repeat(np.cumsum(length) - length, length)
    found[session, place] = values
    return found


def build_network() -> Any:
    """The Keras model: embeddings and numbers, a dense layer, a GRU, a chance at every step."""
    keras = load_keras()

    numbers = keras.Input((None, len(INPUTS)), name="numbers")
    category = keras.Input((None,), dtype="int32", name="category")
    product = keras.Input((None,), dtype="int32", name="product")
    known = keras.layers.Concatenate()([
        keras.layers.Embedding(CATEGORIES, CATEGORY_SIZE, name="categories")(category),
        keras.layers.Embedding(PRODUCTS, PRODUCT_SIZE, name="products")(product),
    ])
    joined = keras.layers.Concatenate()([
        keras.layers.Dropout(DROPOUT)(numbers), keras.layers.Dropout(NAMES_DROPOUT)(known),
    ])
    hidden = keras.layers.Dense(DENSE, activation="relu", name="dense")(joined)
    hidden = keras.layers.Dropout(DROPOUT)(hidden)
    state = keras.layers.GRU(UNITS, return_sequences=True, reset_after=True, name="gru")(hidden)
    chance = keras.layers.Dense(1, name="hazard")(keras.layers.Dropout(DROPOUT)(state))
    return keras.Model([numbers, category, product], chance)


def train(
    known: Sequences, label: NDArray[np.bool_], counts: NDArray[np.bool_], weight_of: Callable[[Arrays], float],
    seed: int, progress: Callable[[str], None] = lambda _what: None,
) -> Arrays:
    """Weights of the epoch that ``weight_of`` (a validation score of weights, higher is better) likes best.

    ``label`` and ``counts`` [E] are by step: does a purchase follow, and is the step one that may be asked about.
    """
    keras = load_keras()

    keras.utils.set_random_seed(seed)
    network = build_network()
    network.compile(keras.optimizers.Adam(2e-3), keras.losses.BinaryCrossentropy(from_logits=True))
    dice = np.random.default_rng(seed)
    groups = list(_batches(known, label, counts))
    best: tuple[float, Arrays] = (-np.inf, {})
    worse = 0
    for epoch in range(_EPOCHS):
        order = [(g, rows) for g, (_, _, weight, n) in enumerate(groups)
                 for rows in np.array_split(dice.permutation(n), -(-n // max(_SESSIONS, _STEPS // weight.shape[1])))]
        dice.shuffle(order)
        if epoch == _EPOCHS // 2:
            network.optimizer.learning_rate = 5e-4
        for group, rows in order:
            inputs, target, weight, _ = groups[group]
            network.train_on_batch([i[rows] for i in inputs], target[rows], sample_weight=weight[rows])
        weights = exported(network)
        found = weight_of(weights)
        progress(f"epoch {epoch + 1} of {_EPOCHS}: validation AP {found:.4f}")
        if found > best[0]:
            best, worse = (found, weights), 0
        else:
            worse += 1
            if worse > _PATIENCE:
                break
    return best[1]


def _batches(known: Sequences, label: NDArray[np.bool_], counts: NDArray[np.bool_]) -> Any:
    """Sessions of like length as padded inputs, targets [n, T, 1], weights [n, T] and their number."""
    session = np.repeat(np.arange(len(known.length)), known.length)
    shortest = 0
    for longest in _LENGTHS:
        mine = (known.length > shortest) & (known.length <= longest)
        shortest = longest
        if not mine.any():
            continue
        events, length = mine[session], known.length[mine]
        inputs = [padded(v[events], length, longest) for v in (known.numbers, known.category, known.product)]
        target = padded(label[events].astype(np.float32), length, longest)[:, :, None]
        yield inputs, target, padded(counts[events].astype(np.float32), length, longest), int(mine.sum())


def exported(network: Any) -> Arrays:
    """The network's weights as arrays."""
    found = {}
    for name in ("categories", "products"):
        found[name] = np.asarray(network.get_layer(name).get_weights()[0], dtype=np.float32)
    parts_of = {"dense": ("kernel", "bias"), "gru": ("kernel", "recurrent", "bias"), "hazard": ("kernel", "bias")}
    for name, parts in parts_of.items():
        for part, values in zip(parts, network.get_layer(name).get_weights(), strict=True):
            found[f"{name}_{part}"] = np.asarray(values, dtype=np.float32)
    return found


def scores(weights: Arrays, known: Sequences) -> Floats:
    """Logits [E] of the chance that a purchase follows, for every step of sessions cut after MOST_STEPS."""
    joined = np.concatenate(
        [known.numbers, weights["categories"][known.category], weights["products"][known.product]], axis=1
    )
    hidden = np.maximum(joined @ weights["dense_kernel"] + weights["dense_bias"], 0.0)
    moved = hidden @ weights["gru_kernel"] + weights["gru_bias"][0]
    order = np.argsort(-known.length, kind="stable")  # longest first: the sessions that go on are always the first
    begin = (np.cumsum(known.length) - known.length)[order]
    length = known.length[order]
    state = np.zeros((len(order), UNITS), dtype=np.float32)
    found = np.empty(len(hidden), dtype=np.float32)
    recurrent, bias = weights["gru_recurrent"], weights["gru_bias"][1]
    for step in range(int(length.max(initial=0))):
        active = int(np.searchsorted(-length, -step, side="left"))
        at = begin[:active] + step
        inner = state[:active] @ recurrent + bias
        given = moved[at]
        update = _sigmoid(given[:, :UNITS] + inner[:, :UNITS])
        reset = _sigmoid(given[:, UNITS : 2 * UNITS] + inner[:, UNITS : 2 * UNITS])
        candidate = np.tanh(given[:, 2 * UNITS :] + reset * inner[:, 2 * UNITS :])
        state[:active] = update * state[:active] + (1 - update) * candidate
        found[at] = (state[:active] @ weights["hazard_kernel"])[:, 0] + weights["hazard_bias"][0]
    return found.astype(np.float64)


def _sigmoid(values: NDArray[Any]) -> NDArray[Any]:
    found: NDArray[Any] = 1 / (1 + np.exp(-values))
    return found
