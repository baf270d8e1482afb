"""Purchase prediction by customer: windows by hand, nothing of the future, and leak-free score days."""

from __future__ import annotations

import numpy as np
import pytest

from behavior_assets.prediction import metrics
from behavior_assets.prediction.customer_model import (
    FEATURES,
    MEASURES,
    WINDOWS,
    Activity,
    baselines,
    dates,
    features_at,
    outcome,
    train,
)


def activity(rows: list[tuple[int, int, dict[str, float]]]) -> Activity:
    """From (customer, day, measures)."""
    rows = sorted(rows, key=lambda r: (r[0], r[1]))
    values = np.array([[m.get(n, 0.0) for n in MEASURES] for _, _, m in rows], dtype=float).reshape(-1, len(MEASURES))
    return Activity(np.array([r[0] for r in rows]), np.array([r[1] for r in rows]), values)


VISIT = {"visits": 1.0, "views": 3.0}
ORDER = {"visits": 1.0, "views": 1.0, "carts": 1.0, "orders": 1.0, "revenue": 20.0}


def test_windows_by_hand() -> None:
    """The score's day is the first of the first window; day 100 is it."""
    made = activity([(1, 100, VISIT), (1, 94, VISIT), (1, 93, ORDER), (1, 87, VISIT), (1, 86, ORDER), (1, 71, VISIT),
                     (1, 70, VISIT), (1, 101, ORDER), (2, 101, VISIT), (3, 10, VISIT),
                     (4, 99, {"visits": 1, "carts": 2})])  # fmt: skip
    found = features_at(made, 100)
    assert found.customer.tolist() == [1, 4]  # 2 had not come yet, 3 came too long ago
    told = dict(zip(FEATURES, found.features[0].tolist(), strict=True))
    assert [told[f"visits_{a}_{b}"] for a, b in WINDOWS] == [2, 2, 2]
    assert [told[f"orders_{a}_{b}"] for a, b in WINDOWS] == [0, 1, 1]
    assert [told[f"views_{a}_{b}"] for a, b in WINDOWS] == [6, 4, 4]
    assert (told["days_since_visit"], told["days_since_order"], told["days_known"]) == (0, 7, 30)
    assert (told["orders_so_far"], told["revenue_so_far"], told["days_between_orders"]) == (2, 40, 7)
    assert np.isnan(told["open_cart_days"])
    assert found.features[1, FEATURES.index("open_cart_days")] == 1


def test_outcomes_are_of_the_days_after_the_score() -> None:
    made = activity([(1, 100, ORDER), (1, 107, ORDER), (2, 100, ORDER), (2, 108, ORDER), (3, 100, VISIT)])
    scored = features_at(made, 100)
    assert outcome(made, scored, 7).tolist() == [True, False, False]
    assert outcome(made, scored, 8).tolist() == [True, True, False]


def test_features_do_not_know_what_comes_later() -> None:
    dice = np.random.default_rng(1)
    rows = [(int(c), int(d), ORDER if dice.random() < 0.2 else VISIT)
            for c, d in {(int(dice.integers(50)), int(dice.integers(120))) for _ in range(900)}]  # fmt: skip
    before = features_at(activity([r for r in rows if r[1] <= 80]), 80)
    after = features_at(activity(rows), 80)
    assert before.customer.tolist() == after.customer.tolist()
    assert np.array_equal(before.features, after.features, equal_nan=True)


@pytest.mark.parametrize("horizon", [7, 30])
def test_score_days_leave_no_outcome_in_two_parts(horizon: int) -> None:
    when = dates(0, 179, horizon)
    assert when is not None
    assert when.test[0] + horizon == 179  # the newest outcome that is known
    assert max(when.training) + horizon <= min(when.calibration)
    assert max(when.calibration) + horizon <= min(when.test)
    assert min(when.training) >= 29  # all windows lie in the data
    assert len(when.training) > 1


def test_too_few_days_have_no_score_days() -> None:
    assert dates(0, 29 + 3 * 30, 30) is not None
    assert dates(0, 28 + 3 * 30, 30) is None


def test_who_comes_often_buys_more() -> None:
    """Customers differ in how often they come and buy: the model finds it, and its chances are what comes."""
    pytest.importorskip("sklearn")
    dice = np.random.default_rng(2)
    customers, days = 3000, 180
    comes, buys = dice.beta(1, 12, customers), dice.beta(2, 6, customers)
    visited = dice.random((customers, days)) < comes[:, None]
    ordered = visited & (dice.random((customers, days)) < buys[:, None])
    who, day = np.nonzero(visited)
    values = np.zeros((len(who), len(MEASURES)))
    values[:, 0], values[:, 1] = 1, 2
    values[:, 3], values[:, 4] = ordered[who, day], 25 * ordered[who, day]
    made = Activity(who, day, values)
    when = dates(0, days - 1, 30)
    assert when is not None
    model = train(made, when, 30, 7)
    scored = features_at(made, when.test[0])
    label, chance = outcome(made, scored, 30), model.chance(scored.features)
    rules = {n: metrics.auc(label, s) for n, s in baselines(scored).items()}
    assert metrics.auc(label, chance) > max(rules.values()) - 0.01, rules
    assert metrics.auc(label, chance) > 0.75
    assert metrics.Ranked.of(label, chance).weighed().ece() < 0.05
