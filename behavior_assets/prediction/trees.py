"""Boosted trees as plain numbers: scikit-learn trains them, this scores them, and no pickle lies between."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_ROWS = 16_384  # scored at once: they stay in a core's cache
_FEW = 256  # rows for which walking all trees at once takes less than to plan them
_MOST_LEAVES = 64
_KINDS: tuple[type[np.unsignedinteger[Any]], ...] = (np.uint8, np.uint16, np.uint32, np.uint64)


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
    if any(int(t["is_leaf"].sum()) > _MOST_LEAVES for t in trees):
        msg = f"only trees of up to {_MOST_LEAVES} leaves can be exported"
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
    """The sum of all trees [n] for features [n, F], before any link function; NaN is a value like others.

    Trees are added in their order, whatever way is taken, so that a row's sum does not depend on its company.
    """
    found = np.full(len(features), trees["baseline"][0])
    if len(features) <= _FEW:
        for value in _walked(trees, features).T:
            found += value
        return found
    plans = [_Plan.of(trees, tree) for tree in range(len(trees["root"]))]
    for begin in range(0, len(features), _ROWS):
        columns = np.ascontiguousarray(features[begin : begin + _ROWS].T)
        total = found[begin : begin + _ROWS]
        for plan in plans:
            total += plan.values(columns)
    return found


def _walked(trees: dict[str, NDArray[Any]], features: Floats) -> Floats:
    """The value of each tree [n, T], from its root down, all at once."""
    index = np.arange(len(features))[:, None]
    at = np.broadcast_to(trees["root"], (len(features), len(trees["root"])))
    for _ in range(int(trees["depth"][0])):
        value = features[index, trees["feature"][at]]
        goes_left = np.where(np.isnan(value), trees["missing_left"][at], value <= trees["threshold"][at])
        at = np.where(goes_left, trees["left"][at], trees["right"][at])
    return np.asarray(trees["value"][at])


@dataclass(frozen=True)
class _Plan:
    """A tree as sets of leaves: a row that turns right at a node leaves all leaves to the left of it behind.

    Of those that are left at the end, the first is the row's (Lucchese et al. 2015, "QuickScorer", SIGIR). ``nodes``
    are (feature, threshold, whether NaN turns left, leaves that stay when turning right).
    """

    nodes: list[tuple[int, float, bool, int]]
    leaves: Floats
    kind: type[np.unsignedinteger[Any]]

    @classmethod
    def of(cls, trees: dict[str, NDArray[Any]], tree: int) -> _Plan:
        """From the arrays of ``exported``."""
        nodes: list[tuple[int, float, bool, int]] = []
        leaves: list[float] = []

        def visit(at: int) -> int:
            """The leaves below a node, as a set of bits; the leftmost leaf of the tree is the lowest bit."""
            left, right = int(trees["left"][at]), int(trees["right"][at])
            if left == at:
                leaves.append(float(trees["value"][at]))
                return 1 << (len(leaves) - 1)
            below = visit(left)
            told = int(trees["feature"][at]), float(trees["threshold"][at]), bool(trees["missing_left"][at])
            nodes.append((*told, below))
            return below | visit(right)

        everything = visit(int(trees["root"][tree]))
        kind = next(k for k in _KINDS if len(leaves) <= np.iinfo(k).bits)
        kept = [(feature, threshold, missing, everything & ~below) for feature, threshold, missing, below in nodes]
        return cls(kept, np.array(leaves), kind)

    def values(self, columns: Floats) -> Floats:
        """The leaf's value [n] of columns [F, n]."""
        left = np.full(columns.shape[1], (1 << len(self.leaves)) - 1, dtype=self.kind)
        for feature, threshold, nan_turns_left, kept in self.nodes:
            column = columns[feature]
            turns_right = column > threshold if nan_turns_left else ~(column <= threshold)
            left &= (turns_right.astype(self.kind) - self.kind(1)) | self.kind(kept)
        lowest = left & (~left + self.kind(1))
        return np.asarray(self.leaves[np.frexp(lowest.astype(np.float64))[1] - 1])
