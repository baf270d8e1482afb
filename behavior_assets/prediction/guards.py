"""Guards of the model of sessions: each looks for one way in which the answer can creep into what a model is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from behavior_assets import leakage
from behavior_assets.leakage import Verdict
from behavior_assets.prediction import metrics
from behavior_assets.prediction.session_model import PARTS, Data
from behavior_assets.prediction.steps import PURCHASE, Steps, overall
from behavior_assets.prediction.trees import trainable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from behavior_assets.prediction.load import Visitors

    Floats = NDArray[np.float64]

SHUFFLED = 0.03  # how far from one half a model may get that was taught made-up labels
_SESSIONS, _ROWS = 2_000, 60_000


def prefix_invariance(
    steps: Steps, features: Callable[[Steps], Floats], names: Sequence[str], seed: int = 7
) -> Verdict:
    """No feature of a step changes when what follows is cut off, or exchanged for a purchase of something else.

    ``features`` makes the features [E, F] of some sessions. ``steps`` are as many sessions as fit in seconds; the
    newest are looked at.
    """
    some = steps.only(np.arange(len(steps)) >= len(steps) - _SESSIONS)
    dice = np.random.default_rng(seed)
    cut = np.repeat(dice.integers(1, np.maximum(some.length, 2)), some.length)
    early = some.step <= cut
    whole = features(some)
    other = {"kind": PURCHASE, "price": 1.0, "usual_price": 2.0, "product": 12345, "category": 678, "quantity": 9}
    changed = replace(some, **{n: np.where(early, getattr(some, n), v) for n, v in other.items()})
    late = replace(some, time_us=np.where(early, some.time_us, some.time_us + 60_000_000))
    shortest = int(min(cut.min(initial=1), 3))
    looks = {
        "changed": (features(changed)[early], whole[early]), "later": (features(late)[early], whole[early]),
        "cut": (features(some.first(shortest)), whole[some.step <= shortest]),
    }  # fmt: skip
    wrong = sorted({
        names[column] for after, before in looks.values() for column in range(len(names))
        if not np.array_equal(after[:, column], before[:, column], equal_nan=True)
    })  # fmt: skip
    return Verdict("prefix_invariance", not wrong, {"changed_features": wrong, "sessions": len(some),
                                                    "steps_looked_at": int(early.sum())})  # fmt: skip


def past_invariance(
    steps: Steps, visitors: Visitors, features: Callable[[Steps, Visitors], Floats], names: Sequence[str]
) -> Verdict:
    """No feature changes when all that a visitor does from the session's first moment on is taken away, or made more.

    Of each of the newest visitors one session is looked at, so that what is changed lies before none of them.
    """
    newest = np.flatnonzero((np.arange(len(steps)) >= len(steps) - _SESSIONS) & (steps.customer >= 0))
    chosen = newest[np.unique(steps.customer[newest], return_index=True)[1]]
    some = steps.only(np.isin(np.arange(len(steps)), chosen))
    begun = dict(zip(some.customer.tolist(), some.time_us[some.begin].tolist(), strict=True))
    whole = features(some, visitors)
    wrong: set[str] = set()
    for other in (visitors.cut(begun), visitors.more(begun)):
        found = features(some, other)
        wrong |= {names[c] for c in range(len(names)) if not np.array_equal(found[:, c], whole[:, c], equal_nan=True)}
    return Verdict("past_invariance", not wrong, {"changed_features": sorted(wrong), "sessions": len(some)})


def single_feature(data: Data, names: Sequence[str], waived: Sequence[str] = ()) -> Verdict:
    """No feature tells by itself what a session will do; the canary is the number of its purchases."""
    rows = _some(data, "training")
    canary = overall(data.steps.kind == PURCHASE, data.steps)[rows]
    return leakage.single_feature(data.label[rows], data.features[rows], names, canary, waived)


def label_shuffle(data: Data, seed: int = 7) -> Verdict:
    """Labels drawn by lot, one for each session, cannot be told for sessions that were not trained on.

    Where they can, the sessions judged were trained on (copies that were drawn before the cut, say).
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    dice = np.random.default_rng(seed)
    keys, place = np.unique(data.steps.key, return_inverse=True)
    drawn = np.repeat((dice.random(len(keys)) < 0.5)[place.reshape(-1)], data.steps.length)  # noqa: PLR2004 - a coin
    rows, judged = _some(data, "training"), _some(data, "validation")
    model = HistGradientBoostingClassifier(  # large enough to know rows by heart
        max_iter=60, max_leaf_nodes=127, min_samples_leaf=2, learning_rate=0.3, random_state=seed
    )
    model.fit(trainable(data.features[rows]), drawn[rows])
    area = metrics.auc(drawn[judged], model.decision_function(data.features[judged]))
    # The deviation of an AUC that knows nothing is sqrt((1/yes + 1/no) / 12), of rows that are drawn one by one. Here
    # a session is drawn with all of its rows, so that there are only so many draws (Kish 1965, "Survey sampling").
    rows_of = np.unique(data.steps.session[judged], return_counts=True)[1].astype(float)
    draws = rows_of.sum() ** 2 / max((rows_of**2).sum(), 1.0)
    allowed = max(SHUFFLED, 3 / np.sqrt(3 * max(draws, 1.0)))
    return Verdict("label_shuffle", abs(area - 0.5) <= allowed, {
        "auc": round(area, 4), "allowed": round(allowed, 4), "sessions_worth": round(draws),
    })  # fmt: skip


def boundary(data: Data) -> Verdict:
    """No session of a part has an event after the next part begins."""
    steps = data.steps
    starts, ends = steps.time_us[steps.begin], steps.time_us[steps.begin + steps.length - 1]
    over = {}
    for number, name in enumerate(PARTS[:-1]):
        later = starts[data.part > number]
        if len(later):
            over[name] = int(((data.part == number) & (ends >= later.min())).sum())
    return Verdict("boundary", not any(over.values()), {"sessions_over_the_boundary": over})


def no_copies(key: NDArray[np.int64], part: NDArray[np.int64]) -> Verdict:
    """Each session is in one part, and there once: rows that were drawn twice before the cut are in both."""
    kept = part >= 0
    names, count = np.unique(key[kept], return_counts=True)
    twice = int((count > 1).sum())
    return Verdict("no_copies", not twice, {"sessions": len(names), "sessions_more_than_once": twice})


def adversarial(data: Data, seed: int = 7) -> float:
    """How well training and test can be told apart by their features (AUC); one half if nothing drifts.

    Learnt on every other day and judged on the days between: what is the same for all of an hour would give it away.
    """
    rows, is_test = _training_and_test(data)
    learnt = np.repeat(data.steps.day % 2 == 0, data.steps.length)[rows]
    return leakage.told_apart(data.features[rows], is_test, learnt, seed)


def most_apart(data: Data, names: Sequence[str]) -> tuple[str, float]:
    """The feature by which alone training and test are told apart best, and how well (AUC, one half or more)."""
    rows, is_test = _training_and_test(data)
    areas = leakage.by_feature(is_test, data.features[rows], names)
    best = max(areas, key=lambda n: areas[n])
    return best, areas[best]


def _training_and_test(data: Data) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Places of steps of both parts, and which are of the test."""
    rows = np.concatenate([_some(data, "training"), _some(data, "test")])
    return rows, np.repeat(data.part == PARTS.index("test"), data.steps.length)[rows]


def _some(data: Data, part: str, seed: int = 7) -> NDArray[np.int64]:
    """Places of steps of a part, a sample where there are many."""
    rows = np.flatnonzero(data.rows(part))
    if len(rows) > _ROWS:
        rows = np.sort(np.random.default_rng(seed).choice(rows, _ROWS, replace=False))
    return rows
