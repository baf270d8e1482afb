"""Will a customer stay away: P(no order within the next 60 days), by what was known at a day.

Log-odds of boosted trees and of a logistic regression are added up: trees cannot see beyond the longest silence in
training, which is short in a young shop, and a line can. Training looks at days a week apart whose outcome was known at
the day of the fit. The chances are calibrated on customers whom neither has seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from behavior_assets.prediction import trees
from behavior_assets.prediction.customer_model import MEASURES, Activity, Scored, window_sums
from behavior_assets.prediction.session_model import calibrate, probabilities
from resources.errors import TrainingError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]
    Flags = NDArray[np.bool_]

HORIZON_DAYS = 60
WINDOWS = ((1, 30), (31, 90))  # days before the end of the day that is asked about, which is day 1
FEATURES = (
    *(f"{m}_{first}_{last}" for first, last in WINDOWS for m in MEASURES), "days_since_visit", "days_since_order",
    "days_since_first_order", "order_days", "revenue_so_far", "days_between_orders", "silence",
)  # fmt: skip
LINE = ("days_since_visit", "days_since_order", "order_days", "visits_1_30", "orders_1_30", "days_since_first_order")
_LINE = [FEATURES.index(name) for name in LINE]
ORDER_DAYS = FEATURES.index("order_days")
FEWEST = 200  # customers of each kind in training, as for buyers elsewhere
_FEWEST_CALIBRATION = 30
_STEP_DAYS, _MOST_DAYS, _MOST_ROWS = 7, 12, 200_000
_CALIBRATED = 4  # of so many customers one is for the calibration


def asked_at(activity: Activity, day: int) -> Scored:
    """Every customer with an order by the end of a day."""
    known = activity.until(day)
    orders, revenue = (known.values[:, MEASURES.index(n)] for n in ("orders", "revenue"))
    ordered = orders > 0
    customers = np.unique(known.customer[ordered])
    place = np.searchsorted(customers, known.customer)
    place[place == len(customers)] = 0
    mine = customers[place] == known.customer if len(customers) else np.zeros(len(place), dtype=bool)
    place, when, values, ordered = place[mine], known.day[mine], known.values[mine], ordered[mine]
    count, ago = len(customers), day - when + 1
    found = np.zeros((count, len(FEATURES)))
    column = len(WINDOWS) * len(MEASURES)
    found[:, :column] = window_sums(WINDOWS, place, ago, values, count)
    # Rows of a customer stand in the order of days: what is written last, stays.
    last_visit, last_order, first_order = (np.zeros(count, dtype=np.int64) for _ in range(3))
    last_visit[place], last_order[place[ordered]] = when, when[ordered]
    first_order[place[ordered][::-1]] = when[ordered][::-1]
    order_days = np.bincount(place[ordered], minlength=count)
    between = np.where(order_days > 1, (last_order - first_order) / np.maximum(order_days - 1, 1), np.nan)
    found[:, column:] = np.stack([
        day - last_visit, day - last_order, day - first_order, order_days,
        np.bincount(place, revenue[mine], count), between, (day - last_order) / between,
    ], axis=1)  # fmt: skip
    return Scored(day, customers, found)


def stays_away(activity: Activity, asked: Scored) -> Flags:
    """Whether each customer [n] had no order within HORIZON_DAYS after the day."""
    orders = activity.values[:, MEASURES.index("orders")] > 0
    inside = orders & (activity.day > asked.day) & (activity.day <= asked.day + HORIZON_DAYS)
    return ~np.isin(asked.customer, activity.customer[inside])


@dataclass(frozen=True)
class Churn:
    """Trees with ``line`` [4, LINE] (mean, deviation, weight of logarithms, intercept), and their calibration.

    ``days`` are those that taught it; a fit that comes from the store no longer tells them.
    """

    arrays: dict[str, NDArray[Any]]
    calibration: tuple[float, float]
    days: tuple[int, ...] = ()

    def risk(self, asked: Scored) -> Floats:
        """P(no order within HORIZON_DAYS) [n]."""
        return probabilities(_odds(self.arrays, asked.features), self.calibration)


def _odds(arrays: dict[str, NDArray[Any]], features: Floats) -> Floats:
    """Log-odds [n] before calibration."""
    mean, deviation, weight, intercept = arrays["line"]
    straight = (_logs(features) - mean) / deviation * weight
    found: Floats = trees.raw_scores(arrays, features) + straight.sum(axis=1) + intercept[0]
    return found


def _logs(features: Floats) -> Floats:
    return np.log1p(features[:, _LINE])


def training_days(activity: Activity, day: int) -> list[int]:
    """Days whose outcome was known at the end of ``day`` and that have a window of data before them."""
    if not len(activity.day):
        return []
    first = int(activity.day.min()) + WINDOWS[0][1] - 1
    return sorted(range(day - HORIZON_DAYS, first - 1, -_STEP_DAYS)[:_MOST_DAYS])


def fit(activity: Activity, day: int, seed: int) -> Churn:
    """Fit to what was known at the end of a day. Raises TrainingError where that is not enough."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    activity = activity.until(day)
    days = training_days(activity, day)
    if not days:
        msg = f"churn: {WINDOWS[0][1] + HORIZON_DAYS} days of data are wanted before it, or there is no outcome yet"
        raise TrainingError(msg)
    parts = [asked_at(activity, d) for d in days]
    features = np.concatenate([p.features for p in parts])
    away = np.concatenate([stays_away(activity, p) for p in parts])
    customer = np.concatenate([p.customer for p in parts])
    apart = customer % _CALIBRATED == 0
    teach, check = np.flatnonzero(~apart), np.flatnonzero(apart)
    few = min(int(away[teach].sum()), int((~away[teach]).sum()))
    few_to_check = min(int(away[check].sum()), int((~away[check]).sum()))
    if few < FEWEST or few_to_check < _FEWEST_CALIBRATION:
        msg = (f"churn: {few:,} customers who came back or stayed away to learn from, {FEWEST:,} of each are wanted; "
               f"{few_to_check:,} to calibrate on, {_FEWEST_CALIBRATION} are wanted")  # fmt: skip
        raise TrainingError(msg)
    if len(teach) > _MOST_ROWS:
        teach = np.sort(np.random.default_rng(seed).choice(teach, _MOST_ROWS, replace=False))
    model = HistGradientBoostingClassifier(
        learning_rate=0.08, max_iter=60, max_leaf_nodes=8, min_samples_leaf=100, l2_regularization=10.0,
        early_stopping=False, random_state=seed,
    )  # fmt: skip
    model.fit(trees.trainable(features[teach]), away[teach])
    arrays = {**trees.exported(model), "line": _line(features[teach], away[teach])}
    return Churn(arrays, calibrate(_odds(arrays, features[check]), away[check]), tuple(p.day for p in parts))


def _line(features: Floats, away: Flags) -> Floats:
    from sklearn.linear_model import LogisticRegression

    logs = _logs(features)
    mean, deviation = logs.mean(axis=0), logs.std(axis=0)
    deviation = np.where(deviation > 0, deviation, 1.0)
    found = LogisticRegression(max_iter=500).fit((logs - mean) / deviation, away)
    return np.stack([mean, deviation, found.coef_[0], np.full(len(mean), found.intercept_[0])])
