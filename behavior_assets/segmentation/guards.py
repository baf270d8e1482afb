"""Guards of the value models: nothing after a fit's day changes it, and no number tells by itself who stays away."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from behavior_assets import leakage
from behavior_assets.leakage import Verdict
from behavior_assets.segmentation import churn, model

if TYPE_CHECKING:
    from behavior_assets.prediction.customer_model import Activity
    from behavior_assets.segmentation.report import ChurnTest

_MONTH = 30  # days before, with whose customers a number of groups is chosen


def verdicts(activity: Activity, tested: ChurnTest | None, why_not: str, seed: int) -> list[Verdict]:
    """All of them. Where churn could not be ``tested``, its guards tell ``why_not``."""
    first, last = int(activity.day.min()), int(activity.day.max())
    day = tested.day if tested is not None else (first + last) // 2
    found = [_prefix_invariance(activity, day, seed)]
    if tested is None:
        nothing = {"not_looked_at": why_not}
        return [*found, *(Verdict(name, True, nothing) for name in ("single_feature", "model_auc", "boundary"))]  # noqa: FBT003
    over = sum(d + churn.HORIZON_DAYS > tested.day for d in tested.days)
    away, later = tested.away, churn.asked_at(activity, tested.day + churn.HORIZON_DAYS)
    canary = -leakage.grown(tested.asked, later, churn.ORDER_DAYS)
    waived = leakage.of_silence(churn.FEATURES)
    return [
        *found, leakage.single_feature(away, tested.asked.features, churn.FEATURES, canary, waived),
        leakage.too_good(away, tested.risk),
        Verdict("boundary", not over, {"outcomes_not_over": over, "days_in_training": len(tested.days)}),
    ]  # fmt: skip


def _prefix_invariance(activity: Activity, day: int, seed: int) -> Verdict:
    """A fit to a day, and its scores, stay the same when what customers do later is made another."""
    told, reasons = _told(activity, day, seed)
    other, _ = _told(activity.otherwise_after(day), day, seed)
    wrong = {name for name, values in other.items() if not np.array_equal(values, told[name])}
    return Verdict("prefix_invariance", not wrong, {
        "changed": sorted(wrong), "customers": len(model.customers_at(activity, day).key),
        "customer_days_changed": int((activity.day > day).sum()), "not_fitted": sorted(reasons),
    })  # fmt: skip


def _told(activity: Activity, day: int, seed: int) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """All that a fit at the end of a day tells then, and what it lacks. As bytes what is not known equals itself."""
    fit = model.fit_at(activity, day, day - _MONTH, None, seed)
    scores = model.score_with(fit, activity, day)
    found = {name: np.frombuffer(np.ascontiguousarray(v).tobytes(), np.uint8) for name, v in vars(scores).items()}
    groups = model.cluster_features(activity, model.customers_at(activity, day), day)
    return {**found, "cluster_features": np.frombuffer(groups.tobytes(), np.uint8)}, fit.reasons
