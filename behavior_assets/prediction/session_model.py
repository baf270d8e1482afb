"""Training the model that tells, after every step of a session, whether a purchase follows; and scoring with it.

Days are cut in four, in their order: training, validation (which epoch, which model), calibration, test. A session that
a boundary cuts is left out of the part before it, since its end lies in the next. A step is asked about as long as
nothing was bought.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from behavior_assets.prediction import metrics, recurrent, trees
from behavior_assets.prediction.features import FEATURES
from behavior_assets.prediction.steps import CART, VIEW, Steps

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]
    Arrays = dict[str, NDArray[Any]]

PARTS = ("training", "validation", "calibration", "test")
SHARES = (0.10, 0.05, 0.15)  # of the days: validation, calibration, test
PREFIXES = (1, 3, 5, 10)
FEWEST_TRAINING, FEWEST_TEST = 1_000, 200  # sessions of each class, buyers (DESIGN §8)
FEWEST_BETWEEN = 20  # sessions of each class in validation and in calibration
NO_BROWSING = "the sources have no browsing events"
MOST_SESSIONS = 150_000  # trained on: the newest
MOST_ROWS = 400_000  # of prefixes that trees are trained on
GRU, BOOSTING = "gru", "boosting"
_SMALL = 1e-9  # a step of calibration far below what a chance shows


@dataclass(frozen=True)
class Days:
    """The first day (since 1970) of each part but the first."""

    validation: int
    calibration: int
    test: int

    def part(self, day: NDArray[np.int64]) -> NDArray[np.int64]:
        """Number of the part (in PARTS) of each day."""
        edges = np.array([self.validation, self.calibration, self.test])
        return np.searchsorted(edges, day, side="right")


@dataclass
class Data:
    """Sessions with their features [E, F], labels [E] and parts [N]."""

    steps: Steps
    features: Floats
    days: Days
    label: Flags = field(init=False)
    counts: Flags = field(init=False)
    part: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        """Find labels and parts; a session that a boundary cuts gets none (-1)."""
        self.label, self.counts = self.steps.bought()
        self.counts = self.counts & (self.steps.step <= recurrent.MOST_STEPS)
        self.part = trimmed(self.steps, self.days)

    def rows(self, part: str) -> Flags:
        """Steps [E] of a part that may be asked about."""
        return np.repeat(self.part == PARTS.index(part), self.steps.length) & self.counts


def split(day: NDArray[np.int64]) -> Days:
    """Where the parts begin, by the shares of the days from the first to the last."""
    first, last = int(day.min()), int(day.max()) + 1
    lengths = [max(round(share * (last - first)), 1) for share in SHARES]
    test = last - lengths[2]
    calibration = test - lengths[1]
    return Days(calibration - lengths[0], calibration, test)


def trimmed(steps: Steps, days: Days) -> NDArray[np.int64]:
    """Part of each session [N]; -1 for one that began in a part and was still going on when the next began."""
    part = days.part(steps.day)
    starts, ends = steps.time_us[steps.begin], steps.time_us[steps.begin + steps.length - 1]
    for number in range(1, len(PARTS)):
        later = starts[part >= number]
        if len(later):
            part = np.where((part == number - 1) & (ends >= later.min()), -1, part)
    return part


def shortage(steps: Steps) -> str:
    """Why there is not enough data for a model; empty where there is."""
    if not (steps.kind == VIEW).any():
        return NO_BROWSING
    data = Data(steps, np.zeros((len(steps.kind), 0)), split(steps.day))
    buys = np.add.reduceat(data.label & data.counts, steps.begin) > 0
    for number, (part, fewest) in enumerate(zip(PARTS, (FEWEST_TRAINING, FEWEST_BETWEEN, FEWEST_BETWEEN, FEWEST_TEST),
                                                strict=True)):  # fmt: skip
        for name, wanted in (("with", buys), ("without", ~buys)):
            count = int((wanted & (data.part == number)).sum())
            if count < fewest:
                return f"{count:,} sessions {name} a purchase in {part}, {fewest:,} are wanted"
    return ""


def logits(kind: str, arrays: Arrays, steps: Steps, features: Floats, wanted: Flags) -> Floats:
    """Uncalibrated log-odds [E] of a stored model at the ``wanted`` [E] steps, NaN elsewhere."""
    found = np.full(len(steps.kind), np.nan)
    if kind == BOOSTING:
        found[wanted] = trees.raw_scores(arrays, features[wanted])
        return found
    asked = np.add.reduceat(wanted, steps.begin) > 0 if len(steps) else np.zeros(0, dtype=bool)
    rows = np.repeat(asked, steps.length)
    norm = {name: arrays[f"norm_{name}"] for name in ("mean", "deviation")}
    known = recurrent.sequences(steps.only(asked), features[rows], norm)
    found[rows & (steps.step <= recurrent.MOST_STEPS)] = recurrent.scores(arrays, known)
    return np.where(wanted, found, np.nan)


def train_network(data: Data, seed: int, progress: Callable[[str], None] = lambda _what: None) -> Arrays:
    """Weights of the recurrent network, the epoch chosen by average precision on validation."""
    training = _newest(data)
    norm = recurrent.normaliser(data.features[np.repeat(training, data.steps.length)])
    whole = recurrent.sequences(data.steps, data.features, norm)
    cut = data.steps.step <= recurrent.MOST_STEPS

    def picked(sessions: Flags) -> recurrent.Sequences:
        events = np.repeat(sessions, whole.length)
        return recurrent.Sequences(whole.numbers[events], whole.category[events], whole.product[events],
                                   whole.length[sessions])  # fmt: skip

    validation = data.part == PARTS.index("validation")
    judged, wanted = picked(validation), np.repeat(validation, whole.length)
    asked = data.counts[cut][wanted]
    truth = data.label[cut][wanted][asked]

    def judge(weights: Arrays) -> float:
        return metrics.average_precision(truth, recurrent.scores(weights, judged)[asked])

    mine = np.repeat(training, whole.length)
    weights = recurrent.train(picked(training), data.label[cut][mine], data.counts[cut][mine], judge, seed, progress)
    return {**weights, **{f"norm_{k}": v for k, v in norm.items()}}


def train_trees(data: Data, seed: int) -> Arrays:
    """Boosted trees on the same prefixes; small ones, since few sessions buy and large trees learn them by heart."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    dice = np.random.default_rng(seed)
    rows = np.flatnonzero(np.repeat(_newest(data), data.steps.length) & data.counts)
    if len(rows) > MOST_ROWS:
        rows = np.sort(dice.choice(rows, MOST_ROWS, replace=False))
    model = HistGradientBoostingClassifier(
        learning_rate=0.1, max_iter=50, max_leaf_nodes=8, min_samples_leaf=500, l2_regularization=20.0,
        max_features=0.5, early_stopping=False, random_state=seed,
    )  # fmt: skip
    model.fit(trees.trainable(data.features[rows]), data.label[rows])
    return trees.exported(model)


def _newest(data: Data) -> Flags:
    """Training sessions [N], the newest where there are more than MOST_SESSIONS."""
    training: Flags = data.part == 0
    if training.sum() > MOST_SESSIONS:
        starts = data.steps.time_us[data.steps.begin]
        edge = np.sort(starts[training])[-MOST_SESSIONS]
        training = training & (starts >= edge)
    return training


def calibrate(logit: Floats, label: Flags) -> tuple[float, float]:
    """Slope and intercept (Platt 1999) that make log-odds fit what came; they keep the order of rows.

    Newton's method on the log-likelihood, with Platt's targets, which stay finite where all rows are of one class.
    """
    yes, no = int(label.sum()), int((~label).sum())
    target = np.where(label, (yes + 1) / (yes + 2), 1 / (no + 2))
    middle, size = float(logit.mean()), float(logit.std()) or 1.0
    scaled = (logit - middle) / size

    def loss(at: Floats) -> float:
        odds = at[0] * scaled + at[1]
        return float((np.logaddexp(0, odds) - target * odds).sum())

    at = np.array([0.0, np.log((yes + 1) / (no + 1))])
    for _ in range(100):
        chance = 1 / (1 + np.exp(-(at[0] * scaled + at[1])))
        error, weight = target - chance, chance * (1 - chance)
        gradient = np.array([(error * scaled).sum(), error.sum()])
        mixed = (weight * scaled).sum()
        hessian = np.array([[(weight * scaled**2).sum(), mixed], [mixed, weight.sum()]]) + np.eye(2) * 1e-9
        step, now = np.linalg.solve(hessian, gradient), loss(at)
        while loss(at + step) > now and np.abs(step).max() > _SMALL:
            step /= 2
        if np.abs(step).max() <= _SMALL:
            break
        at = at + step
    slope = float(at[0]) / size
    return slope, float(at[1]) - slope * middle


def probabilities(logit: Floats, calibration: tuple[float, float]) -> Floats:
    """Calibrated chances of log-odds."""
    found: Floats = 1 / (1 + np.exp(-(calibration[0] * logit + calibration[1])))
    return found


def deciles(chance: Floats, edges: Sequence[float]) -> NDArray[np.int64]:
    """1 to 10 by nine edges: ten are the chances as high as the highest tenth of those that gave the edges."""
    found: NDArray[np.int64] = 1 + np.searchsorted(np.asarray(edges), chance, side="right")
    return found


def decile_rows(chance: Floats, edges: Sequence[float]) -> list[int]:
    """How many chances are in each decile."""
    found: list[int] = np.bincount(deciles(chance, edges) - 1, minlength=len(edges) + 1).tolist()
    return found


def baselines(data: Data) -> dict[str, Floats]:
    """Scores [E] of what needs no training: nobody buys, a rule that a person would use, what others bought.

    ``rule``: carts, then checkouts, then views so far. ``popularity``: how often a cart followed views of the product
    of this step, in training.
    """
    column = {n: data.features[:, FEATURES.index(n)] for n in ("carts", "removes", "checkouts", "views")}
    rule = 10 * column["checkouts"] + 3 * (column["carts"] - column["removes"]) + np.minimum(column["views"], 20) / 20
    return {"all_negative": np.zeros(len(data.label)), "rule": rule, "popularity": _popularity(data)}


def _popularity(data: Data) -> Floats:
    known = np.repeat(data.part == 0, data.steps.length)
    names, place = np.unique(data.steps.product, return_inverse=True)
    place = place.reshape(-1)
    views = np.bincount(place[known & (data.steps.kind == VIEW)], minlength=len(names))
    carts = np.bincount(place[known & (data.steps.kind == CART)], minlength=len(names))
    share = (carts + 1) / (views + 20)
    share[names < 0] = carts.sum() / max(views.sum(), 1)
    found: Floats = share[place]
    return found
