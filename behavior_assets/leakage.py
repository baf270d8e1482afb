"""What every guard against leakage has in common: its verdict, its limits, and how a card and a check tell of it.

Kaufman, Rosset, Perlich & Stitelman (2012), "Leakage in data mining", ACM TKDD 6(4). A guard that finds nothing tells
what it looked at, so that one that could not have found anything is seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from behavior_assets.prediction import metrics
from behavior_assets.prediction.trees import trainable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from behavior_assets.prediction.customer_model import Scored

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

# Guard: what it holds to. A model's recipe names those that look at it.
GUARDS = {
    "prefix_invariance": "What happens after a moment changes nothing that is told at that moment.",
    "past_invariance": "What a visitor does from a session's beginning on changes nothing of what was known before it.",
    "single_feature": "No feature tells the label by itself; the canary, which does, is found.",
    "model_auc": "The model is not too good to be true.",
    "label_shuffle": "Labels drawn by lot cannot be learnt.",
    "boundary": "Nothing of a later part of the split is in an earlier one.",
    "no_copies": "Each session is in one part, once.",
}
MOST_BY_ONE, MOST_BY_MODEL = 0.85, 0.97  # an AUC above is too good to be true


@dataclass(frozen=True)
class Verdict:
    """What a guard found. ``told`` are figures for the check's metadata.

    ``name`` is a guard's, with ``_<part>`` behind it where the parts of a model are looked at one by one.
    """

    name: str
    passed: bool
    told: dict[str, Any] = field(default_factory=dict)


def kept(verdicts: Iterable[Verdict]) -> dict[str, dict[str, Any]]:
    """Verdicts as a model keeps them, by name."""
    return {v.name: {"passed": bool(v.passed), **v.told} for v in verdicts}


def lines(verdicts: Iterable[Verdict]) -> str:
    """Verdicts as a card tells them."""
    return "\n".join(f"- {v.name}: {'passed' if v.passed else 'FAILED'} ({_words(v)})" for v in verdicts)


def _words(verdict: Verdict) -> str:
    return ", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in verdict.told.items())


def single_feature(
    label: Flags, features: Floats, names: Sequence[str], canary: Floats, waived: Sequence[str] = (), part: str = ""
) -> Verdict:
    """No feature [n, F] tells the label [n] by itself; ``canary`` [n], which does, is found, or the guard is blind."""
    found = {name: area for name, area in by_feature(label, features, names).items() if not np.isnan(area)}
    best = max(found, key=lambda n: found[n])
    suspects = sorted(n for n, area in found.items() if area > MOST_BY_ONE and n not in waived)
    of_canary = metrics.auc(label, canary)
    seen = bool(of_canary > MOST_BY_ONE)
    return Verdict(f"single_feature{part}", not suspects and seen, {
        "suspects": suspects, "best_feature": best, "best_auc": round(found[best], 4),
        "canary_auc": round(of_canary, 4), "canary_is_found": seen, "rows": len(label),
        **({"waived": sorted(waived)} if waived else {}),
    })  # fmt: skip


def by_feature(label: Flags, features: Floats, names: Sequence[str]) -> dict[str, float]:
    """How well each feature [n, F] by itself tells the label [n] (AUC, one half or more); NaN for one class."""
    areas = {n: metrics.auc(label, np.nan_to_num(features[:, at], nan=-1e9)) for at, n in enumerate(names)}
    return {name: max(area, 1 - area) for name, area in areas.items()}


def of_silence(names: Sequence[str]) -> tuple[str, ...]:
    """Features of a customer that may tell what he will do nearly by themselves: how long ago, and how much, he came.

    Who has not come for long will hardly come again, which is no leak. That these end at their day is for
    ``prefix_invariance`` to see.
    """
    return tuple(n for n in names if n.startswith(("days_since_visit", "days_since_order", "visits", "views")))


def grown(now: Scored, later: Scored, column: int) -> Floats:
    """By how much a feature of each customer [n] has grown at a later day: what nobody can know now, for a canary.

    It is made as the features are, so that it finds what would have come in by their way.
    """
    place = np.minimum(np.searchsorted(later.customer, now.customer), len(later.customer) - 1)
    known = later.customer[place] == now.customer
    found: Floats = np.where(known, later.features[place, column] - now.features[:, column], 0.0)
    return found


def too_good(label: Flags, chance: Floats, part: str = "") -> Verdict:
    """A model of what people will do is never nearly always right."""
    area = metrics.auc(label, chance)
    return Verdict(f"model_auc{part}", bool(area <= MOST_BY_MODEL), {"auc": round(area, 4), "most": MOST_BY_MODEL})


def told_apart(features: Floats, is_test: Flags, learnt: Flags, seed: int = 7) -> float:
    """How well rows [n, F] of the test are told from others by their features (AUC); one half if nothing drifts.

    Adversarial validation: ``learnt`` rows [n] teach, the others are judged. NaN where either lacks one sort.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    if any(len(np.unique(is_test[rows])) < 2 for rows in (learnt, ~learnt)):  # noqa: PLR2004 - both sorts
        return float("nan")
    model = HistGradientBoostingClassifier(max_iter=30, max_leaf_nodes=8, random_state=seed)
    model.fit(trainable(features[learnt]), is_test[learnt])
    return metrics.auc(is_test[~learnt], model.decision_function(features[~learnt]))


def days_told_apart(before: Scored, after: Scored) -> float:
    """How well two days are told apart by their customers' features; every other customer teaches."""
    customer = np.concatenate([before.customer, after.customer])
    is_test = np.arange(len(customer)) >= len(before.customer)
    return told_apart(np.concatenate([before.features, after.features]), is_test, customer % 2 == 0)
