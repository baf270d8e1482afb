"""The stored model ``customer_purchase``: one set of trees for each horizon, judged on the newest day that can be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from behavior_assets import leakage
from behavior_assets.days import day_of
from behavior_assets.leakage import Verdict
from behavior_assets.prediction import metrics
from behavior_assets.prediction.customer_model import (
    FEATURES,
    FEWEST_BUYERS,
    HORIZONS,
    SCORED_DAYS,
    STEP_DAYS,
    WINDOWS,
    Activity,
    CustomerModel,
    Dates,
    Scored,
    baselines,
    dates,
    features_at,
    outcome,
    train,
)
from behavior_assets.prediction.session_model import FEWEST_BETWEEN, decile_rows
from behavior_assets.training import Figure, NotEnough, Trained, latency, seconds_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from behavior_assets.training import Arrays

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

NAME = "customer_purchase"
RECIPE = 2  # raised when features or the way of training change: older versions are not scored any more
FAILURES = "Customers who have not come for 90 days are not scored. A season that was not seen cannot be foreseen."
_DECILES = 10


def fit(
    activity: Activity, seed: int, *, synthetic: bool, progress: Callable[[str], None] = lambda _what: None
) -> Trained | NotEnough:
    """Fit a model of each horizon that the data has room for."""
    if not len(activity.day):
        return NotEnough("no customer is known by an id")
    first, last = int(activity.day.min()), int(activity.day.max())
    horizons, arrays, rows, reasons = {}, {}, {}, []
    for horizon in HORIZONS:
        when = dates(first, last, horizon)
        if when is None:
            need = WINDOWS[-1][1] + 3 * horizon
            reasons.append(f"{horizon} days ahead: {last - first + 1} days of data, {need} are wanted")
            continue
        if short := _shortage(activity, when, horizon):
            reasons.append(f"{horizon} days ahead: {short}")
            continue
        progress(f"{horizon} days ahead")
        model = train(activity, when, horizon, seed)
        later = model.chance(features_at(activity, when.calibration[0]).features)
        edges = np.quantile(later, np.arange(1, _DECILES) / _DECILES).tolist()
        rows[str(horizon)] = decile_rows(later, edges)
        horizons[str(horizon)] = {
            "calibration": list(model.calibration), "training_days": list(when.training),
            "calibration_day": when.calibration[0], "test_day": when.test[0],
            "decile_edges": edges,
        }  # fmt: skip
        arrays[f"trees_{horizon}"] = model.arrays
    if not horizons:
        return NotEnough("; ".join(reasons))
    told = {"recipe": RECIPE, "seed": seed, "horizons": horizons, "features": list(FEATURES), "decile_rows": rows,
            "not_enough": reasons, "first_day": first, "last_day": last}  # fmt: skip
    judged = Judged(activity, told, arrays, synthetic)
    verdicts = judged.verdicts()
    told["guards"] = leakage.kept(verdicts)
    return Trained(told, arrays, judged.figures(), judged.texts(verdicts), judged.curves())


def _shortage(activity: Activity, when: Dates, horizon: int) -> str:
    """Why a horizon has not enough data; empty where it has."""
    fewest = {"training": FEWEST_BETWEEN, "calibration": FEWEST_BETWEEN, "test": FEWEST_BUYERS}
    for part, days in (("training", when.training), ("calibration", when.calibration), ("test", when.test)):
        came = np.concatenate([outcome(activity, features_at(activity, day), horizon) for day in days])
        for words, count in (("buy", int(came.sum())), ("do not buy", int((~came).sum()))):
            if count < fewest[part]:
                return f"{count:,} customers {words} in the {part}, {fewest[part]} are wanted"
    return ""


def again(
    activity: Activity, told: dict[str, Any], arrays: dict[str, Arrays], *, synthetic: bool
) -> tuple[Figure, ...]:
    """The figures of a stored model's card, computed anew from its weights and what it was made from."""
    return Judged(activity, told, arrays, synthetic).figures()


@dataclass
class Judged:
    """A fitted model on what it was made from."""

    activity: Activity
    told: dict[str, Any]
    arrays: dict[str, Arrays]
    synthetic: bool

    @cached_property
    def tests(self) -> dict[int, tuple[Scored, Flags, Floats]]:
        """By horizon: the customers of the test's day, what came, and the chances told."""
        found = {}
        for name, told in self.told["horizons"].items():
            scored = features_at(self.activity, told["test_day"])
            came = outcome(self.activity, scored, int(name))
            found[int(name)] = (scored, came, self.model(int(name)).chance(scored.features))
        return found

    def verdicts(self) -> list[Verdict]:
        """The guards against leakage: what follows changes no feature, nothing is too good, no outcome overlaps."""
        found = []
        for horizon, (scored, came, chance) in self.tests.items():
            changed = features_at(self.activity.otherwise_after(scored.day), scored.day)
            same = np.array_equal(changed.features, scored.features, equal_nan=True)
            found.append(Verdict(f"prefix_invariance_{horizon}", same, {"customers": len(scored.customer)}))
            part = f"_{horizon}"
            later = features_at(self.activity, scored.day + horizon)
            canary = leakage.grown(scored, later, FEATURES.index("orders_so_far"))
            waived = leakage.of_silence(FEATURES)
            found.append(leakage.single_feature(came, scored.features, FEATURES, canary, waived, part))
            found.append(leakage.too_good(came, chance, part))
            told = self.told["horizons"][str(horizon)]
            ends = [d + horizon for d in told["training_days"]]
            apart = max(ends) <= told["calibration_day"] and told["calibration_day"] + horizon <= told["test_day"]
            found.append(Verdict(f"boundary_{horizon}", apart, {"score_days_in_training": len(ends)}))
        return found

    def figures(self) -> tuple[Figure, ...]:
        """Everything that ``model_card`` tells."""
        found = []
        for horizon, (scored, came, chance) in self.tests.items():
            at = f"{horizon} days ahead"
            found += [Figure("customers", float(len(came)), at), Figure("prevalence", float(came.mean()), at)]
            if not self.synthetic:
                found.append(Figure("accuracy_of_all_negative", float(1 - came.mean()), at))
            rules = baselines(scored)
            for metric, e in metrics.estimates(came, chance, scored.customer).items():
                names: dict[str, Floats | None] = dict(rules) if metric in {"ap", "auc", "lift_at_10"} else {"": None}
                for name, values in names.items():
                    theirs = float("nan")
                    if values is not None:
                        theirs = metrics.METRICS[metric](metrics.Ranked.of(came, values).weighed())
                    found.append(Figure(metric, e.value, at, e.lower, e.upper, name, theirs))
            found.append(Figure("adversarial_auc", self._drifted(horizon, scored), f"{at}, training against test",
                                baseline="no drift", baseline_value=0.5))  # fmt: skip
            ordered = scored.features[:, FEATURES.index("orders_so_far")] > 0
            for name, mine in (("has ordered before", ordered), ("has not ordered before", ~ordered)):
                if came[mine].sum() >= FEWEST_BUYERS // 4:
                    sliced = metrics.estimates(came[mine], chance[mine], scored.customer[mine], ("ap", "auc", "ece"))
                    found += [Figure(m, e.value, f"{at}, {name}", e.lower, e.upper) for m, e in sliced.items()]
        return tuple(found)

    def _drifted(self, horizon: int, scored: Scored) -> float:
        """How well the newest day of training and the test's are told apart; customers are learnt from, or judged."""
        then = features_at(self.activity, self.told["horizons"][str(horizon)]["training_days"][-1])
        return leakage.days_told_apart(then, scored)

    def curves(self) -> dict[str, bytes]:
        """Pictures for the UI."""
        from behavior_assets.plots import precision_recall, reliability_and_lift

        told = {f"{horizon} days": (came, chance) for horizon, (_, came, chance) in self.tests.items()}
        return {"reliability_and_lift": reliability_and_lift(told), "precision_recall": precision_recall(told)}

    def latency(self) -> str:
        """How long a score day takes, features and all."""
        told = []
        for horizon, (scored, _, _) in self.tests.items():
            def work(horizon: int = horizon, day: int = scored.day) -> None:
                self.model(horizon).chance(features_at(self.activity, day).features)

            told.append(latency(f"{len(scored.customer):,} customers, {horizon} days ahead", seconds_of(work, 3)))
        return " ".join(told)

    def model(self, horizon: int) -> CustomerModel:
        """The model of a horizon."""
        slope, intercept = self.told["horizons"][str(horizon)]["calibration"]
        return CustomerModel(horizon, self.arrays[f"trees_{horizon}"], (slope, intercept))

    def texts(self, verdicts: list[Verdict]) -> dict[str, str]:
        """Markdown by field of ``cards.FIELDS``, but for what the training's desk knows."""
        days = {h: [day_of(d) for d in (t["training_days"][0], t["training_days"][-1],
                t["calibration_day"], t["test_day"])] for h, t in self.told["horizons"].items()}  # fmt: skip
        split = "\n".join(f"- {h} days: trained on score days {a} to {b}, every {STEP_DAYS} days, calibrated on {c}, "
                          f"tested on {d}" for h, (a, b, c, d) in days.items())  # fmt: skip
        missing = [f"There is no model for {reason}." for reason in self.told["not_enough"]]
        shares = ", ".join(f"{came.mean():.2%} within {h} days" for h, (_, came, _) in self.tests.items())
        bins = ["| horizon | tenth | chance told | share that ordered | customers |", "|---|---|---|---|---|"]
        for horizon, (_, came, chance) in self.tests.items():
            for n, b in enumerate(metrics.reliability(came, chance), 1):
                bins.append(f"| {horizon} | {n} | {b['told']:.4f} | {b['came']:.4f} | {b['rows']:,.0f} |")
        return {
            "use": "Whom to write to in the coming week or month. Not for prices, and not for decisions that harm a "
                   "person.",
            "failures": " ".join([FAILURES, *missing]),
            "unit": f"A customer with a visit within {SCORED_DAYS} days, at the end of a score day: every Sunday, the "
                    "days of the test, and the newest day.",
            "label": f"Whether the customer orders within {' or '.join(self.told['horizons'])} days after the score "
                     "day.",
            "features": f"All known at the end of the score day: {', '.join(FEATURES)}. Windows are days back, the "
                        "score day itself being the first.",
            "split": split + "\n\nThe outcomes of a part are over before the next part's score day. Nothing is drawn "
                     "twice or balanced.",
            "prevalence": f"Of the test's customers order: {shares}.",
            "baselines": "Rules that need no training: who came last (`recency_of_visit`), who ordered last "
                         "(`recency_of_order`), who ordered most (`frequency`). Nobody orders: the prevalence. Figures "
                         "below.",
            "seeds": f"Seed {self.told['seed']}, one training. Intervals are of 95 %, from drawing the test's "
                     "customers 200 times; one test day does not tell how days differ.",
            "reliability": "\n".join(bins),
            "lift": "`lift_at_10` below, beside that of the rules.",
            "slices": "Customers who have ordered before and who have not: below.",
            "drift": "`adversarial_auc` below: how well the newest score day of training and the test's are told apart "
                     "by their features (.5: not at all; in a young shop customers are known for longer each week). "
                     "While it serves, the drift of its scores is told in `model_card` as `drift_psi`.",
            "leakage": leakage.lines(verdicts),
            "latency": self.latency(),
        }  # fmt: skip
