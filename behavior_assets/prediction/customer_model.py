"""Will a customer buy within the next 7 or 30 days: features by windows of days, as they were known at the score's day.

Training looks at several score days, a week apart, all of whose outcomes were known before the first day of the test is
scored; so no day's orders are an outcome in training and known in the test's features at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from behavior_assets.prediction import trees
from behavior_assets.prediction.session_model import calibrate, probabilities

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]
    Flags = NDArray[np.bool_]
    Arrays = dict[str, NDArray[Any]]

HORIZONS = (7, 30)
WINDOWS = ((1, 7), (8, 14), (15, 30))  # days before the end of the score's day, which is day 1
MEASURES = ("visits", "views", "carts", "orders", "revenue")
FEATURES = (
    *(f"{m}_{first}_{last}" for first, last in WINDOWS for m in MEASURES), "days_since_visit", "days_since_order",
    "days_known", "orders_so_far", "revenue_so_far", "days_between_orders", "open_cart_days",
)  # fmt: skip
SCORED_DAYS = 90  # customers who have not come for longer are not asked about
STEP_DAYS = 7
FEWEST_BUYERS = 200  # in the test, as for sessions
_MOST_DATES, _MOST_ROWS = 12, 300_000


@dataclass(frozen=True)
class Activity:
    """What customers did, by customer and day [n], sorted by both: ``values`` [n, MEASURES]; days since 1970."""

    customer: Integers
    day: Integers
    values: Floats

    def until(self, day: int) -> Activity:
        """What was known at the end of a day."""
        kept = self.day <= day
        return Activity(self.customer[kept], self.day[kept], self.values[kept])

    def otherwise_after(self, day: int) -> Activity:
        """The same until the end of a day, and something else after it: for guards against knowing the future.

        All happens in half the time, so that the newest day is another, and every row tells other things; of a
        customer's rows that then fall on one day the first is kept.
        """
        after = self.day > day
        values = np.where(after[:, None], self.values * 3 + 1, self.values)
        sooner = np.where(after, day + 1 + (self.day - day - 1) // 2, self.day)
        kept = np.ones(len(after), dtype=bool)
        kept[1:] = (self.customer[1:] != self.customer[:-1]) | (sooner[1:] != sooner[:-1])
        return Activity(self.customer[kept], sooner[kept], values[kept])


@dataclass(frozen=True)
class Scored:
    """Customers [m] at one score's day: keys and features [m, F]."""

    day: int
    customer: Integers
    features: Floats


def features_at(activity: Activity, day: int) -> Scored:
    """Features of every customer who came within ``SCORED_DAYS``, from what was known at the end of a day."""
    known = activity.until(day)
    customers, place = np.unique(known.customer, return_inverse=True)
    place = place.reshape(-1)
    count = len(customers)
    ago = day - known.day + 1  # the score's day itself is 1
    found = np.zeros((count, len(FEATURES)))
    column = len(WINDOWS) * len(MEASURES)
    found[:, :column] = window_sums(WINDOWS, place, ago, known.values, count)
    orders, carts = known.values[:, MEASURES.index("orders")], known.values[:, MEASURES.index("carts")]
    last_visit = _last(place, known.day, np.ones(len(place), dtype=bool), count)
    last_order = _last(place, known.day, orders > 0, count)
    last_cart = _last(place, known.day, (carts > 0) & (orders == 0), count)
    first_seen = np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(first_seen, place, known.day)
    order_days = np.bincount(place[orders > 0], minlength=count)
    first_order = np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(first_order, place[orders > 0], known.day[orders > 0])
    repeat = order_days > 1
    found[:, column] = day - last_visit
    found[:, column + 1] = np.where(last_order >= 0, day - last_order, np.nan)
    found[:, column + 2] = day - first_seen
    found[:, column + 3] = np.bincount(place, orders, count)
    found[:, column + 4] = np.bincount(place, known.values[:, MEASURES.index("revenue")], count)
    found[:, column + 5] = np.where(repeat, (last_order - first_order) / np.maximum(order_days - 1, 1), np.nan)
    found[:, column + 6] = np.where(last_cart > last_order, day - last_cart, np.nan)
    recent = day - last_visit < SCORED_DAYS
    return Scored(day, customers[recent], found[recent])


def window_sums(
    windows: Sequence[tuple[int, int]], place: Integers, ago: Integers, values: Floats, count: int
) -> Floats:
    """Sums [count, windows x MEASURES] of rows [n] by customer's ``place``, over windows of days ``ago``."""
    found = np.zeros((count, len(windows) * len(MEASURES)))
    for number, (first, last) in enumerate(windows):
        inside = (ago >= first) & (ago <= last)
        for measure in range(len(MEASURES)):
            column = number * len(MEASURES) + measure
            found[:, column] = np.bincount(place[inside], values[inside, measure], count)
    return found


def _last(place: Integers, day: Integers, which: Flags, count: int) -> Integers:
    found = np.full(count, -1, dtype=np.int64)
    np.maximum.at(found, place[which], day[which])
    return found


def outcome(activity: Activity, scored: Scored, horizon: int) -> Flags:
    """Whether each scored customer [m] ordered within so many days after the score's day."""
    orders = activity.values[:, MEASURES.index("orders")] > 0
    inside = orders & (activity.day > scored.day) & (activity.day <= scored.day + horizon)
    return np.isin(scored.customer, activity.customer[inside])


@dataclass(frozen=True)
class Dates:
    """Score days of training, calibration and test, for one horizon."""

    training: tuple[int, ...]
    calibration: tuple[int, ...]
    test: tuple[int, ...]


def dates(first: int, last: int, horizon: int) -> Dates | None:
    """Score days between the first and the last day of data; None where two leak-free windows do not fit.

    The outcomes of training are known before the calibration's first day, and those before the test's.
    """
    longest = WINDOWS[-1][1]
    test = last - horizon
    calibration = test - horizon
    newest = calibration - horizon
    days = range(newest, first + longest - 2, -STEP_DAYS)
    training = tuple(sorted(days[:_MOST_DATES])) if newest >= first + longest - 1 else ()
    return Dates(training, (calibration,), (test,)) if training else None


@dataclass(frozen=True)
class CustomerModel:
    """Trees and calibration for one horizon."""

    horizon: int
    arrays: Arrays
    calibration: tuple[float, float]

    def chance(self, features: Floats) -> Floats:
        """P(an order within the horizon) [m]."""
        return probabilities(trees.raw_scores(self.arrays, features), self.calibration)


def train(activity: Activity, when: Dates, horizon: int, seed: int) -> CustomerModel:
    """A model of one horizon."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    dice = np.random.default_rng(seed)
    parts = [features_at(activity, day) for day in when.training]
    features = np.concatenate([p.features for p in parts])
    label = np.concatenate([outcome(activity, p, horizon) for p in parts])
    if len(label) > _MOST_ROWS:
        kept = np.sort(dice.choice(len(label), _MOST_ROWS, replace=False))
        features, label = features[kept], label[kept]
    model = HistGradientBoostingClassifier(
        learning_rate=0.08, max_iter=60, max_leaf_nodes=8, min_samples_leaf=100, l2_regularization=10.0,
        early_stopping=False, random_state=seed,
    )  # fmt: skip
    model.fit(trees.trainable(features), label)
    arrays = trees.exported(model)
    later = [features_at(activity, day) for day in when.calibration]
    logit = np.concatenate([trees.raw_scores(arrays, p.features) for p in later])
    came = np.concatenate([outcome(activity, p, horizon) for p in later])
    return CustomerModel(horizon, arrays, calibrate(logit, came))


def baselines(scored: Scored) -> dict[str, Floats]:
    """Scores [m] of rules: who came lately, who ordered lately, who ordered often."""
    column = {n: scored.features[:, FEATURES.index(n)] for n in FEATURES}
    since_order = np.nan_to_num(column["days_since_order"], nan=1e6)
    return {"recency_of_visit": -column["days_since_visit"], "recency_of_order": -since_order,
            "frequency": column["orders_so_far"] + 1e-6 * -since_order}  # fmt: skip
