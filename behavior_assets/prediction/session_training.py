"""The stored model ``session_purchase``: fitted once, then judged by everything that its card has to tell.

Fitting and judging are apart, so that every figure of a card can be computed again from the stored weights.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from behavior_assets import leakage
from behavior_assets.leakage import Verdict
from behavior_assets.prediction import guards, metrics
from behavior_assets.prediction.features import FEATURES
from behavior_assets.prediction.past import DAY_US
from behavior_assets.prediction.session_card import card_texts
from behavior_assets.prediction.session_model import (
    BOOSTING,
    GRU,
    PARTS,
    PREFIXES,
    Data,
    Days,
    baselines,
    calibrate,
    decile_rows,
    logits,
    probabilities,
    shortage,
    split,
    train_network,
    train_trees,
)
from behavior_assets.prediction.steps import CART, running
from behavior_assets.training import Figure, NotEnough, Trained, latency, seconds_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from behavior_assets.prediction.load import Sessions
    from behavior_assets.training import Arrays

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

NAME = "session_purchase"
RECIPE = 3  # raised when features, network or the way of training change: older versions are not scored any more
KINDS = (GRU, BOOSTING)
SLICE_PREFIX = 3
SHORT, LONG = 5, 10  # events of a session, for slices
_DECILES = 10
_TIMED = 300  # sessions
_FEWEST = 50  # buyers in a slice; with fewer nothing is told of it


def train(
    sessions: Sessions, seed: int, *, synthetic: bool, progress: Callable[[str], None] = lambda _what: None
) -> Trained | NotEnough:
    """Fit both models, choose the better one on validation, and judge it on the test."""
    if reason := shortage(sessions.steps):
        return NotEnough(reason)
    progress("features")
    data = Data(sessions.steps, sessions.features(), split(sessions.steps.day))
    # The network leaves half of two cores idle; neither draws from what the other draws from.
    with ThreadPoolExecutor(1) as beside:
        boosting = beside.submit(train_trees, data, seed)
        arrays = {GRU: train_network(data, seed, progress), BOOSTING: boosting.result()}
    progress("figures")
    told = _choose(data, arrays) | {"recipe": RECIPE, "seed": seed, "features": list(FEATURES)}
    judged = Judged(sessions, data, told, arrays, synthetic=synthetic)
    verdicts = judged.verdicts()
    told["guards"] = leakage.kept(verdicts)
    return Trained(told, arrays, judged.figures(), card_texts(judged, verdicts), judged.curves())


def again(
    sessions: Sessions, told: dict[str, Any], arrays: dict[str, Arrays], *, synthetic: bool
) -> tuple[Figure, ...]:
    """The figures of a stored model's card, computed anew from its weights and the sessions it was made from."""
    data = Data(sessions.steps, sessions.features(), Days(**told["days"]))
    return Judged(sessions, data, told, arrays, synthetic=synthetic).figures()


def _choose(data: Data, arrays: dict[str, Arrays]) -> dict[str, Any]:
    """Which model serves, how both are calibrated, and the deciles' edges by prefix."""
    validation, later = data.rows("validation"), data.rows("calibration")
    asked = validation | later
    precision, calibration, edges, chance_of = {}, {}, {}, {}
    for kind in KINDS:
        logit = logits(kind, arrays[kind], data.steps, data.features, asked)
        precision[kind] = metrics.average_precision(data.label[validation], logit[validation])
        calibration[kind] = list(calibrate(logit[later], data.label[later]))
        chance = chance_of[kind] = probabilities(logit, (calibration[kind][0], calibration[kind][1]))
        inner = np.arange(1, _DECILES) / _DECILES
        edges[kind] = {str(k): _quantiles(chance[later & (data.steps.step == k)], inner) for k in PREFIXES}
    served = max(KINDS, key=lambda kind: precision[kind])
    rows = {
        str(k): decile_rows(chance_of[served][later & (data.steps.step == k)], edges[served][str(k)]) for k in PREFIXES
    }  # fmt: skip
    return {
        "decile_rows": rows, "decile_edges": edges[served],
        "served": served, "validation_ap": precision, "calibration": calibration,
        "days": {"validation": data.days.validation, "calibration": data.days.calibration, "test": data.days.test},
        "first_day": int(data.steps.day.min()), "last_day": int(data.steps.day.max()),
    }  # fmt: skip


def _quantiles(values: Floats, at: Floats) -> list[float]:
    return np.quantile(values, at).tolist() if len(values) else [1.0] * len(at)


@dataclass
class Judged:
    """A fitted model on the sessions it was made from, its test apart."""

    sessions: Sessions
    data: Data
    told: dict[str, Any]
    arrays: dict[str, Arrays]
    synthetic: bool

    @cached_property
    def test(self) -> Flags:
        """Steps [E] of the test that may be asked about."""
        return self.data.rows("test")

    @cached_property
    def chances(self) -> dict[str, Floats]:
        """Calibrated chances [E] of both models on the test, NaN elsewhere."""
        found = {}
        for kind in KINDS:
            logit = logits(kind, self.arrays[kind], self.data.steps, self.data.features, self.test)
            slope, intercept = self.told["calibration"][kind]
            found[kind] = probabilities(logit, (slope, intercept))
        return found

    @cached_property
    def rules(self) -> dict[str, Floats]:
        """Scores [E] of what needs no training."""
        return baselines(self.data)

    @property
    def served(self) -> str:
        """The kind that serves."""
        return str(self.told["served"])

    @cached_property
    def group(self) -> NDArray[np.int64]:
        """Customer of each step [E]; a stranger is a customer of their own."""
        steps = self.data.steps
        own = np.where(steps.customer < 0, -2 - np.arange(len(steps)), steps.customer)
        return np.repeat(own, steps.length)

    def at(self, prefix: int) -> Flags:
        """Test steps [E] that are so many events into their session."""
        found: Flags = self.test & (self.data.steps.step == prefix)
        return found

    def verdicts(self) -> list[Verdict]:
        """The guards against leakage."""
        sessions, data, test = self.sessions, self.data, self.test

        def features(some: Any) -> Floats:
            return type(sessions)(some, sessions.visitors, sessions.discount[-len(some) :]).features()

        def whoever(some: Any, visitors: Any) -> Floats:
            return type(sessions)(some, visitors, np.zeros(len(some))).features()

        return [
            guards.prefix_invariance(sessions.steps, features, FEATURES),
            guards.past_invariance(sessions.steps, sessions.visitors, whoever, FEATURES),
            guards.single_feature(data, FEATURES),
            leakage.too_good(data.label[test], self.chances[self.served][test]),
            guards.label_shuffle(data),
            guards.boundary(data),
            guards.no_copies(data.steps.key, data.part),
        ]

    def figures(self) -> tuple[Figure, ...]:
        """Everything that ``model_card`` tells."""
        found: list[Figure] = []
        for prefix in PREFIXES:
            found += self._prefix(prefix)
        found += self._slices()
        area = guards.adversarial(self.data)
        return (*found, Figure("adversarial_auc", area, "training against test", baseline="no drift",
                               baseline_value=0.5))  # fmt: skip

    def _prefix(self, prefix: int) -> list[Figure]:
        rows, name = self.at(prefix), f"prefix {prefix}"
        label, chance, group = self.data.label[rows], self.chances[self.served][rows], self.group[rows]
        if label.sum() < _FEWEST:
            return [Figure("sessions", float(rows.sum()), name), Figure("buyers", float(label.sum()), name)]
        found = [Figure("sessions", float(rows.sum()), name), Figure("prevalence", float(label.mean()), name)]
        if not self.synthetic:
            found.append(Figure("accuracy_of_all_negative", float(1 - label.mean()), name))
        other = next(kind for kind in KINDS if kind != self.served)
        beside = {other: self.chances[other][rows], **{n: values[rows] for n, values in self.rules.items()}}
        for metric, e in metrics.estimates(label, chance, group).items():
            names = beside if metric in {"ap", "auc", "lift_at_10"} else {other: beside[other]}
            for baseline, values in names.items():
                theirs = metrics.METRICS[metric](metrics.Ranked.of(label, values).weighed())
                found.append(Figure(metric, e.value, name, e.lower, e.upper, baseline, theirs))
        apart = metrics.difference(label, self.chances[GRU][rows], self.chances[BOOSTING][rows], group)
        found.append(Figure("ap_gru_minus_boosting", apart.value, name, apart.lower, apart.upper))
        return found

    def slices(self) -> dict[str, Flags]:
        """Test steps [E] by what they have in common."""
        steps, rows = self.data.steps, self.at(SLICE_PREFIX)
        visits = self.data.features[:, FEATURES.index("log_visits_before")]
        length = np.repeat(steps.length, steps.length)
        month = np.repeat((steps.day * DAY_US).astype("datetime64[us]").astype("datetime64[M]"), steps.length)
        cart = (steps.kind == CART) & (running(steps.kind == CART, steps) == 1)
        at = f"prefix {SLICE_PREFIX}, "
        found = {
            at + "new visitors": rows & (visits == 0), at + "returning visitors": rows & (visits > 0),
            at + f"sessions of up to {SHORT} events": rows & (length <= SHORT),
            at + f"sessions of {SHORT + 1} to {LONG} events": rows & (length > SHORT) & (length <= LONG),
            at + f"sessions of more than {LONG} events": rows & (length > LONG),
        }  # fmt: skip
        found |= {at + str(m): rows & (month == m) for m in np.unique(month[rows])}
        return found | {"at the first add_to_cart": self.test & cart}

    def _slices(self) -> list[Figure]:
        found = []
        for name, rows in self.slices().items():
            label, chance = self.data.label[rows], self.chances[self.served][rows]
            found.append(Figure("prevalence", float(label.mean()) if len(label) else float("nan"), name))
            if label.sum() >= _FEWEST:
                told = metrics.estimates(label, chance, self.group[rows], ("ap", "auc", "ece"))
                found += [Figure(metric, e.value, name, e.lower, e.upper) for metric, e in told.items()]
        return found

    def curves(self) -> dict[str, bytes]:
        """Pictures for the UI."""
        from behavior_assets.plots import precision_recall, reliability_and_lift

        told = {f"prefix {k}": (self.data.label[self.at(k)], self.chances[self.served][self.at(k)]) for k in PREFIXES}
        told = {name: rows for name, rows in told.items() if rows[0].any()}
        return {"reliability_and_lift": reliability_and_lift(told), "precision_recall": precision_recall(told)}

    def latency(self) -> str:
        """How long one session of the test takes, event by event all of them, its features made beforehand."""
        steps, found = self.data.steps, []
        chosen = self.data.part == PARTS.index("test")
        chosen &= np.cumsum(chosen) <= _TIMED
        some, features = steps.only(chosen), self.data.features[np.repeat(chosen, steps.length)]
        weights = self.arrays[self.served]
        for number, (begin, length) in enumerate(zip(some.begin.tolist(), some.length.tolist(), strict=True)):
            one, mine = some.only(np.arange(len(some)) == number), features[begin : begin + length]
            wanted = np.ones(length, dtype=bool)
            found += seconds_of(lambda o=one, f=mine, w=wanted: logits(self.served, weights, o, f, w), 1)  # type: ignore[misc]
        return latency("One session, its features made beforehand", found)
