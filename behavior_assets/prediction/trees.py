"""Boosted trees as plain numbers: scikit-learn trains them, this scores them, and no pickle lies between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_ROWS = 65_536  # scored at once: they stay in a core's cache


def trainable(features: Floats) -> Floats:
    """Features [n, F] as scikit-learn takes them: a column of which nothing is known is 0, and never split by."""
    return np.where(np.isfinite(features).any(axis=0), features, 0.0)


def exported(model: Any) -> dict[str, NDArray[Any]]:
    """The trees of a fitted HistGradientBoosting classifier or regressor of one output, without categorical splits.

    All nodes of all trees lie end to end; ``root`` is where each tree begins, ``left`` and ``right`` are places, and a
    leaf is its own child.
    """
    trees = [stage[0].nodes for stage in model._predictors]  # noqa: SLF001 - there is no other way to the nodes
    if any(len(stage) != 1 for stage in model._predictors) or any(t["is_categorical"].any() for t in trees):  # noqa: SLF001
        msg = "only one output and numbers for features can be exported"
        raise ValueError(msg)
    root = np.cumsum([0, *(len(t) for t in trees)])[:-1]
    nodes = np.concatenate(trees)
    base = np.repeat(root, [len(t) for t in trees])
    own = np.arange(len(nodes))
    leaf = nodes["is_leaf"].astype(bool)
    return {
        "root": root.astype(np.int32),
        "feature": np.where(leaf, 0, nodes["feature_idx"]).astype(np.int32),
        "threshold": np.where(leaf, np.inf, nodes["num_threshold"]).astype(np.float64),
        "missing_left": (leaf | nodes["missing_go_to_left"].astype(bool)),
        "left": np.where(leaf, own, base + nodes["left"]).astype(np.int32),
        "right": np.where(leaf, own, base + nodes["right"]).astype(np.int32),
        "value": np.where(leaf, nodes["value"], 0.0).astype(np.float64),
        "depth": np.array([max((int(t["depth"].max()) for t in trees), default=0)], dtype=np.int32),
        "baseline": np.asarray(model._baseline_prediction, dtype=np.float64).reshape(-1)[:1],  # noqa: SLF001
    }


def raw_scores(trees: dict[str, NDArray[Any]], features: Floats) -> Floats:
    """The sum of all trees [n] for features [n, F], before any link function; NaN is a value like others."""
    found = np.full(len(features), trees["baseline"][0])
    for begin in range(0, len(features), _ROWS):
        rows = features[begin : begin + _ROWS]
        index = np.arange(len(rows))
        total = found[begin : begin + _ROWS]
        for root in trees["root"]:
            at = np.full(len(rows), root, dtype=np.int32)
            for _ in range(int(trees["depth"][0])):
                value = rows[index, trees["feature"][at]]
                goes_left = np.where(np.isnan(value), trees["missing_left"][at], value <= trees["threshold"][at])
                at = np.where(goes_left, trees["left"][at], trees["right"][at])
            total += trees["value"][at]
    return found
