"""The model "customer_value": for every closed month's end what was fitted from what was known at that end.

A fit has up to three parts: how often customers buy and what it is worth (``value``), the groups that they fall into
(``clusters``), and who will stay away (``churn``). A part that cannot be fitted is missing, with the reason, and its
columns stay empty. A month's end is scored with the newest fit that is not later, so history never knows the future.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from behavior_assets import leakage
from behavior_assets.days import day_of, number_of
from behavior_assets.prediction.customer_model import MEASURES, Activity
from behavior_assets.segmentation import churn, clusters
from behavior_assets.segmentation.clusters import Clusters
from behavior_assets.segmentation.fits import (
    CLUSTER_FEATURES,
    EXPECTED_DAYS,
    UNIT_DAYS,
    Fit,
    Groups,
    digest,
    fits_of,
    kept,
)
from behavior_assets.segmentation.histories import Customers, known_at
from behavior_assets.segmentation.rules import ACTIVE_DAYS, LOYAL_ORDERS, NEW_DAYS, SLIPPING_DAYS
from behavior_assets.segmentation.value import BgNbd, GammaGamma, fit_bg_nbd, fit_gamma_gamma
from behavior_assets.training import NotEnough, Trained
from resources.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import date

    from numpy.typing import NDArray

    from resources.models import StoredModel

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

T = TypeVar("T")
NAME = "customer_value"
SEED = 7
FEWEST_BUYERS, FEWEST_REPEAT, FEWEST_WORTH = 200, 50, 50
_CAME_DAYS = (7, 30, 90)
_LARGE = 1.25  # an order is large or small that is so many times the usual one, or the usual one so many times it
_LABEL = "<U80"


@dataclass(frozen=True)
class Scores:
    """What the model says of customers [n] with an order, by key; NaN, and an empty cluster, where it says nothing."""

    customer: Integers
    cluster: NDArray[np.str_]
    churn_risk: Floats
    p_alive: Floats
    expected_purchases: Floats
    expected_value: Floats


def purchases(activity: Activity) -> tuple[Integers, Integers, Floats]:
    """Days with an order [m]: who, when, worth what (refunds of the same day are taken off)."""
    bought = activity.values[:, MEASURES.index("orders")] > 0
    worth = activity.values[bought, MEASURES.index("revenue")]
    return activity.customer[bought], activity.day[bought], worth


def customers_at(activity: Activity, day: int) -> Customers:
    """Customers with an order by the end of a day."""
    return known_at(*purchases(activity), day, UNIT_DAYS)


def spent_between(activity: Activity, wanted: Integers, after: int, until: int) -> Floats:
    """Net revenue [n] of customers (sorted keys) after one day and until another, which counts."""
    inside = (activity.day > after) & (activity.day <= until) & np.isin(activity.customer, wanted)
    place = np.searchsorted(wanted, activity.customer[inside])
    return np.bincount(place, activity.values[inside, MEASURES.index("revenue")], len(wanted)).astype(np.float64)


def cluster_features(activity: Activity, known: Customers, day: int) -> Floats:
    """CLUSTER_FEATURES [n, 4] of customers at the end of a day."""
    activity = activity.until(day)
    last_visit = activity.day[np.searchsorted(activity.customer, known.key, side="right") - 1]
    return np.stack(
        [day - known.last_day, known.history.frequency + 1.0, known.total_value, day - last_visit], axis=1
    )


def fit_at(activity: Activity, day: int, before: int | None, last: Fit | None, seed: int = SEED) -> Fit:
    """Fit all parts to what was known at the end of a day.

    ``before``: the month's end before it, with whose customers and their spending since a number of groups is chosen;
    ``last``: the fit of an earlier end, whose groups are kept as long as they are stable.
    """
    activity = activity.until(day)
    known = customers_at(activity, day)
    found = fit_value(activity, day)
    reasons = dict(found.reasons)
    kept_so_far = last.groups if last is not None else None
    groups = _part(reasons, "groups", lambda: _groups(activity, known, day, before, kept_so_far, seed))
    return replace(found, groups=groups, churn=_part(reasons, "churn", lambda: churn.fit(activity, day, seed)),
                   reasons=reasons)  # fmt: skip


def fit_value(activity: Activity, day: int) -> Fit:
    """Only how often customers buy and what it is worth, from what was known at the end of a day."""
    known = customers_at(activity, day)
    reasons: dict[str, str] = {}
    value = _part(reasons, "value", lambda: _value(known))
    return Fit(day, digest(activity, day), value, _part(reasons, "worth", lambda: _worth(known)), reasons=reasons)


def _part(reasons: dict[str, str], name: str, make: Callable[[], T]) -> T | None:
    try:
        return make()
    except TrainingError as error:
        reasons[name] = str(error)
        return None


def _value(known: Customers) -> BgNbd:
    buyers, repeat = len(known.key), int((known.history.frequency > 0).sum())
    if buyers < FEWEST_BUYERS or repeat < FEWEST_REPEAT:
        msg = (f"purchases: {buyers:,} customers with an order, {FEWEST_BUYERS} are wanted; {repeat:,} who ordered on "
               f"two days, {FEWEST_REPEAT} are wanted")  # fmt: skip
        raise TrainingError(msg)
    return fit_bg_nbd(known.history)


def _worth(known: Customers) -> GammaGamma:
    paid = (known.history.frequency > 0) & (known.repeat_value > 0)
    if paid.sum() < FEWEST_WORTH:
        msg = f"value: {int(paid.sum()):,} customers paid on a second day, {FEWEST_WORTH} are wanted"
        raise TrainingError(msg)
    return fit_gamma_gamma(known.history.frequency[paid], known.repeat_value[paid])


def _groups(
    activity: Activity, known: Customers, day: int, before: int | None, last: Groups | None, seed: int
) -> Groups:
    values = cluster_features(activity, known, day)
    if last is not None:
        moved, stability = last.clusters.moved(values, seed)
        if stability >= clusters.STABLE:
            return _named(moved, stability, last.holdout, last.chosen)
    if before is None:
        msg = "groups: a month that follows another is wanted, to see what groups spend later"
        raise TrainingError(msg)
    then = customers_at(activity, before)
    if len(then.key) < FEWEST_BUYERS:
        msg = f"groups: {len(then.key):,} customers with an order a month before, {FEWEST_BUYERS} are wanted"
        raise TrainingError(msg)
    later = spent_between(activity, then.key, before, day)
    found, tried = clusters.choose(cluster_features(activity, then, before), later, seed)
    holdout = next((c.holdout for c in tried if c.k == len(found.centres)), 0.0)
    moved, stability = found.moved(values, seed)
    return _named(moved.ordered(CLUSTER_FEATURES.index("revenue_so_far")), stability, holdout, day)


def _named(found: Clusters, stability: float, holdout: float, chosen: int) -> Groups:
    """Groups with a number, which they keep while they are kept, and words for their middle as it is now."""
    usual = np.expm1(found.mean)
    labels = [f"{n} of {len(found.centres)}: {_profile(m, usual)}" for n, m in enumerate(found.middles(), 1)]
    return Groups(found, tuple(labels), stability, holdout, chosen)


def _profile(middle: Floats, usual: Floats) -> str:
    """Words for CLUSTER_FEATURES [4] of a group's middle; an order's size is told beside the ``usual`` customer's."""
    since_order, orders, revenue, since_visit = (float(v) for v in middle)
    often = "one" if orders < 1.5 else "few" if orders < LOYAL_ORDERS else "many"  # noqa: PLR2004
    ratio = revenue / max(orders, 1) * usual[1] / usual[2] if usual[2] > 0 else 1.0
    size = " large" if ratio >= _LARGE else " small" if ratio <= 1 / _LARGE else ""
    ordered = _within(since_order, (NEW_DAYS, ACTIVE_DAYS, SLIPPING_DAYS))
    what = f"{often}{size} order{'s' * (often != 'one')}"
    return f"{what}, last {ordered}, came {_within(since_visit, _CAME_DAYS)}"


def _within(days: float, limits: tuple[int, ...]) -> str:
    limit = next((limit for limit in limits if days <= limit), None)
    return f"within {limit} days" if limit else "longer ago"


def score_with(fit: Fit, activity: Activity, day: int) -> Scores:
    """What a fit says of the customers who had ordered by the end of a day."""
    activity = activity.until(day)
    known = customers_at(activity, day)
    nothing = np.full(len(known.key), np.nan)
    alive = expected = money = risk = nothing
    label = np.full(len(known.key), "", dtype=_LABEL)
    if fit.value is not None:
        alive = fit.value.alive(known.history) if fit.value.tells_leaving else nothing
        expected = fit.value.expected(known.history, EXPECTED_DAYS / UNIT_DAYS)
        if fit.worth is not None:
            count = np.where(known.repeat_value > 0, known.history.frequency, 0.0)
            money = np.round(expected * fit.worth.expected(count, known.repeat_value), 4)
    if fit.groups is not None:
        group = fit.groups.clusters.assign(cluster_features(activity, known, day))
        label = np.array(fit.groups.labels, dtype=_LABEL)[group]
    if fit.churn is not None:
        risk = fit.churn.risk(churn.asked_at(activity, day))
    return Scores(known.key, label, risk, alive, expected, money)


def score(model: StoredModel | Trained, activity: Activity, month_end: date) -> Scores | None:
    """What the newest fit that is not later than a month's end says at it; None where there is none."""
    day = number_of(month_end)
    known = [f for f in fits_of(model) if f.day <= day]
    return score_with(known[-1], activity, day) if known else None


def train(
    activity: Activity, month_ends: Sequence[date], before: StoredModel | None = None, seed: int = SEED,
    progress: Callable[[str], None] = lambda _: None,
) -> Trained | NotEnough:
    """Fits for all closed months' ends; those of ``before`` are taken over where recipe and data are the same."""
    # Only libraries that are loaded by then are held to a number of threads.
    import sklearn.cluster
    import sklearn.ensemble
    import sklearn.linear_model
    import sklearn.metrics  # noqa: F401
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    from behavior_assets.segmentation import report

    ends = sorted(number_of(d) for d in month_ends)
    if not ends or not len(activity.day):
        return NotEnough("No month is over yet: customers are looked at on the last days of months.")
    earlier = fits_of(before) if before is not None else []
    known = {f.day: f for f in earlier if f.day in set(ends) and f.inputs == digest(activity, f.day)}
    # The order of sums must not change with the number of threads, or the same data would give another model.
    with threadpool_limits(1):
        for place, day in enumerate(ends):
            if day not in known:
                progress(f"customer value, {day_of(day)}")
                last = next((known[d] for d in reversed(ends[:place]) if known[d].groups is not None), None)
                known[day] = fit_at(activity, day, ends[place - 1] if place else None, last, seed)
        fits = [known[d] for d in ends]
        if all(f.is_empty for f in fits):
            return NotEnough(f"On {day_of(ends[-1])}: {'; '.join(fits[-1].reasons.values())}.")
        progress("customer value, what the fits are worth")
        figures, card, verdicts = report.told(activity, fits, seed)
        pictures = _picture(activity, fits[-1])
    told, arrays = kept(fits)
    return Trained({**told, "seed": seed, "guards": leakage.kept(verdicts)}, arrays, figures, card, pictures)


def _picture(activity: Activity, fit: Fit) -> dict[str, bytes]:
    """The groups of the newest fit by what they were made from; none where there are no groups."""
    if fit.groups is None:
        return {}
    from behavior_assets.plots import profiles

    known = customers_at(activity, fit.day)
    values = cluster_features(activity, known, fit.day)
    named = {name.replace("_", " "): values[:, column] for column, name in enumerate(CLUSTER_FEATURES)}
    return {"segment_profile": profiles(score_with(fit, activity, fit.day).cluster, named)}
