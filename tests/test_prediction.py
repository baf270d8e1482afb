"""Purchase prediction below its assets: past, features that see no future, metrics, and models as plain numbers."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging.config
import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from behavior_assets.prediction import metrics, recurrent, session_model, trees
from behavior_assets.prediction.features import FEATURES, prefix_features, shop_discounts
from behavior_assets.prediction.past import Moments, Past, before, past_of
from behavior_assets.prediction.steps import CART, PURCHASE, VIEW, Steps, running
from resources.networks import load_keras
from tests.conftest import REPOSITORY, require_packages

MINUTE, DAY = 60_000_000, 86_400_000_000


def shop(sessions: int = 300, seed: int = 1) -> Steps:
    """Made-up sessions of 1 to 12 events over 40 days, one in four with a purchase."""
    dice = np.random.default_rng(seed)
    length = dice.integers(1, 13, sessions)
    events = int(length.sum())
    begin = np.cumsum(length) - length
    kind = dice.choice([VIEW, VIEW, VIEW, CART], events)
    buys = dice.random(sessions) < 0.25
    kind[(begin + length - 1)[buys]] = PURCHASE
    day = np.sort(dice.integers(0, 40, sessions))
    start = day * DAY + dice.integers(0, 20 * 60, sessions) * MINUTE
    offset = np.concatenate([np.cumsum(dice.integers(1, 600, n)) for n in length]) * 1_000_000
    price = np.where(dice.random(events) < 0.1, np.nan, dice.integers(1, 500, events) / 4)
    return Steps(
        kind=kind, time_us=np.repeat(start, length) + offset, price=price,
        usual_price=np.where(dice.random(events) < 0.3, np.nan, dice.integers(1, 500, events) / 4),
        product=dice.integers(-1, 30, events), category=dice.integers(-1, 6, events),
        quantity=np.ones(events, dtype=np.int64), key=np.arange(sessions), customer=dice.integers(-1, 60, sessions),
        day=day, hour=(start % DAY) // (60 * MINUTE), length=length,
    )  # fmt: skip


def past(steps: Steps) -> Past:
    """What was known before each session."""
    starts = Moments(steps.customer, steps.time_us[steps.begin])
    who = np.repeat(steps.customer, steps.length)
    orders, carts = (Moments(who[steps.kind == k], steps.time_us[steps.kind == k]) for k in (PURCHASE, CART))
    return past_of(starts, steps.day, starts, steps.day, orders, carts)


def features(steps: Steps) -> Any:
    """Features of every prefix."""
    return prefix_features(steps, past(steps), np.zeros(len(steps)))


def same(one: Any, other: Any) -> bool:
    """Equal, NaN included."""
    return bool(np.array_equal(one, other, equal_nan=True))


# What comes when


@given(st.lists(st.tuples(st.integers(-1, 3), st.integers(0, 9)), max_size=20),
       st.lists(st.tuples(st.integers(-1, 3), st.integers(0, 9)), max_size=20))
def test_before_is_strictly_before(happened: list[tuple[int, int]], asked: list[tuple[int, int]]) -> None:
    def moments(rows: list[tuple[int, int]]) -> Moments:
        table = np.array(rows, dtype=np.int64).reshape(-1, 2)
        return Moments(table[:, 0], table[:, 1])

    count, last = before(moments(asked), moments(happened))
    earlier = [[t for who, t in happened if (who, t) < (c, time) and who == c] for c, time in asked]
    assert count.tolist() == [len(e) for e in earlier]
    assert last.tolist() == [max(e, default=-1) for e in earlier]


def test_the_past_of_a_visitor_is_told_and_of_a_stranger_nothing() -> None:
    visits = Moments(np.array([1, 1, 1, -1, -1]), np.array([0, 2 * DAY, 2 * DAY + MINUTE, 0, DAY]))
    orders = Moments(np.array([1]), np.array([DAY]))
    carts = Moments(np.array([1]), np.array([DAY + DAY // 2]))
    found = past_of(visits, visits.time_us // DAY, visits, visits.time_us // DAY, orders, carts)
    assert found.visits.tolist() == [0, 1, 2, 0, 0]
    assert found.orders.tolist() == [0, 1, 1, 0, 0]
    assert found.today.tolist() == [0, 0, 1, 0, 0]
    assert found.days_since_order[1] == 1.0
    assert found.open_cart_days[1] == 0.5
    assert np.isnan(found.days_since_visit[[0, 3, 4]]).all()


def test_a_cart_that_was_bought_is_not_open() -> None:
    asked = Moments(np.array([1]), np.array([3 * DAY]))
    carts, orders = Moments(np.array([1]), np.array([DAY])), Moments(np.array([1]), np.array([2 * DAY]))
    assert np.isnan(past_of(asked, np.array([3]), asked, np.array([3]), orders, carts).open_cart_days[0])


def test_labels_look_ahead_and_risk_ends_with_the_purchase() -> None:
    steps = shop(3)
    one = replace(steps.only(np.array([True, False, False])).first(1), length=np.array([1]))
    made = Steps(**{**vars(one), **{n: np.repeat(getattr(one, n), 4) for n in
                 ("kind", "time_us", "price", "usual_price", "product", "category", "quantity")},
                 "length": np.array([4])})  # fmt: skip
    made.kind[:] = [VIEW, CART, PURCHASE, VIEW]
    later, at_risk = made.bought()
    assert later.tolist() == [True, True, False, False]
    assert at_risk.tolist() == [True, True, False, False]
    assert running(np.ones(4), made).tolist() == [1, 2, 3, 4]


# Features see no future


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 11))
def test_a_prefix_does_not_know_what_follows(seed: int, cut: int) -> None:
    """Cut off, or exchanged for something else: the rows up to the cut stay as they are."""
    steps = shop(60, seed)
    whole = features(steps)[steps.step <= cut]
    known = past(steps)
    cut_off = prefix_features(steps.first(cut), known, np.zeros(len(steps)))
    assert same(cut_off, whole)
    later = steps.step > cut
    other = {"kind": PURCHASE, "price": 1.0, "product": 7, "category": 3, "usual_price": 9.0}
    changed = replace(steps, **{n: np.where(later, value, getattr(steps, n)) for n, value in other.items()})
    assert same(prefix_features(changed, known, np.zeros(len(steps)))[~later], whole)


def test_features_of_one_session_by_hand() -> None:
    one = shop(1)
    made = Steps(**{**vars(one), "kind": np.array([VIEW, VIEW, CART]), "time_us": np.array([0, 10_000_000, 20_000_000]),
                    "price": np.array([10.0, 20.0, 20.0]), "usual_price": np.array([20.0, np.nan, 20.0]),
                    "product": np.array([5, 6, 6]), "category": np.array([1, 1, -1]), "quantity": np.array([1, 1, 2]),
                    "length": np.array([3])})  # fmt: skip
    told = dict(zip(FEATURES, features(made).T.tolist(), strict=True))
    assert told["step"] == [1, 2, 3]
    assert told["views"] == [1, 2, 2]
    assert told["carts"] == [0, 0, 1]
    assert told["products"] == [1, 2, 2]
    assert told["is_seen_before"] == [0, 0, 1]
    assert told["is_same_category"] == [0, 1, 0]
    assert np.allclose(told["log_discount"], [np.log(0.5), np.nan, 0.0], equal_nan=True)
    assert np.allclose(told["log_cart_value"], [0, 0, np.log1p(40)])
    assert told["steps_since_cart"] == [99, 99, 0]


def test_the_shop_s_discount_is_that_of_hours_that_are_over() -> None:
    hour = 3_600_000_000
    told = np.array([100, 102]), np.array([-500_000, -100_000]), np.array([1, 1])
    asked = np.array([100, 101, 103, 140]) * hour
    assert np.allclose(shop_discounts(*told, asked), [np.nan, -0.5, -0.3, np.nan], equal_nan=True)
    assert np.isnan(shop_discounts(*told, np.array([101 * hour - 1]))).all()  # the hour is not over


# Parts and gates


def test_a_session_that_a_boundary_cuts_is_in_no_part() -> None:
    steps = shop(40)
    days = session_model.split(steps.day)
    assert days.validation < days.calibration < days.test
    first = int(np.flatnonzero(steps.day >= days.test)[0])
    longest = int(np.flatnonzero(steps.day < days.test)[-1])
    time = steps.time_us.copy()
    time[steps.begin[longest] + steps.length[longest] - 1] = steps.time_us[steps.begin[first]] + DAY
    part = session_model.trimmed(replace(steps, time_us=time), days)
    assert part[longest] == -1
    assert session_model.trimmed(steps, days)[longest] == 2


def test_too_little_is_said_and_not_trained_on() -> None:
    steps = shop()
    assert "sessions with a purchase in training, 1,000 are wanted" in session_model.shortage(steps)
    sales = replace(steps, kind=np.full(len(steps.kind), PURCHASE))
    assert session_model.shortage(sales) == "the sources have no browsing events"


# Metrics


def ranked(name: str, label: NDArray[np.bool_], chance: NDArray[np.float64]) -> float:
    """One metric of rows as they come."""
    return metrics.METRICS[name](metrics.Ranked.of(label, chance).weighed())


def test_metrics_by_hand() -> None:
    label, chance = np.array([True, False, True, False]), np.array([0.9, 0.8, 0.7, 0.1])
    assert metrics.auc(label, chance) == 0.75
    assert metrics.average_precision(label, chance) == pytest.approx((1 + 2 / 3) / 2)
    assert metrics.auc(label, np.full(4, 0.5)) == 0.5
    assert metrics.average_precision(label, np.full(4, 0.5)) == 0.5
    assert ranked("brier", label, chance) == pytest.approx((0.01 + 0.64 + 0.09 + 0.01) / 4)
    assert ranked("brier_skill", label, np.full(4, 0.5)) == 0.0
    assert ranked("ece", label, np.full(4, 0.5)) == pytest.approx(0.0)  # half of them came
    assert ranked("ece", label, np.full(4, 0.7)) == pytest.approx(0.2)
    assert ranked("lift_at_10", np.arange(100) < 10, -np.arange(100.0)) == pytest.approx(10)
    assert ranked("lift_at_10", np.arange(100) < 10, np.zeros(100)) == pytest.approx(1)  # ties are shared out
    assert np.isnan(metrics.auc(np.ones(3, dtype=bool), np.arange(3.0)))


def test_metrics_are_those_of_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    dice = np.random.default_rng(3)
    label, chance = dice.random(500) < 0.2, np.round(dice.random(500), 1)
    weight = dice.integers(0, 4, 500).astype(float)
    theirs = {"auc": sklearn.roc_auc_score, "ap": sklearn.average_precision_score, "brier": sklearn.brier_score_loss}
    for name, metric in theirs.items():
        found = metrics.METRICS[name](metrics.Ranked.of(label, chance).weighed(weight))
        assert found == pytest.approx(metric(label, chance, sample_weight=weight))


def test_intervals_draw_groups_and_pairs() -> None:
    dice = np.random.default_rng(5)
    group = np.arange(400) // 4
    chance = dice.random(400)
    label = dice.random(400) < chance
    found = metrics.estimates(label, chance, group, ("auc",))["auc"]
    assert found.lower < found.value < found.upper
    assert metrics.difference(label, chance, chance, group).upper == 0.0
    assert metrics.difference(label, chance, dice.random(400), group).lower > 0.0


def test_calibration_undoes_what_was_done_to_the_odds() -> None:
    dice = np.random.default_rng(2)
    odds = dice.normal(-2, 1, 50_000)
    label = dice.random(50_000) < 1 / (1 + np.exp(-odds))
    slope, intercept = session_model.calibrate(3 * odds + 1, label)
    assert (3 * slope, slope + intercept) == pytest.approx((1, 0), abs=0.05)
    chance = session_model.probabilities(3 * odds + 1, (slope, intercept))
    assert ranked("ece", label, chance) < 0.01
    assert np.isfinite(session_model.calibrate(odds[:10], np.zeros(10, dtype=bool))).all()


# Models as plain numbers


@pytest.mark.parametrize("leaves", [2, 8, 9, 31, 33, 64])  # sets of leaves of 8, 16, 32 and 64 bits
def test_exported_trees_score_as_scikit_learn_does(leaves: int) -> None:
    """To the last digit, however many rows are asked about at once; missing values turn either way."""
    ensemble = pytest.importorskip("sklearn.ensemble")
    dice = np.random.default_rng(4)
    values = np.round(dice.normal(size=(20_000, 5)), 1)  # many are equal to a threshold's neighbour
    values[dice.random(values.shape) < 0.2] = np.nan
    label = np.nan_to_num(values[:, 0]) + np.isnan(values[:, 1]) + dice.normal(size=len(values)) > 0.5
    kind = ensemble.HistGradientBoostingClassifier
    model = kind(max_iter=20, max_leaf_nodes=leaves, min_samples_leaf=5, random_state=0).fit(values, label)
    arrays = trees.exported(model)
    nodes = np.diff([*arrays["root"], len(arrays["left"])])
    assert (nodes.max() + 1) // 2 == leaves
    found = trees.raw_scores(arrays, values)
    assert np.allclose(found, model.decision_function(values), atol=1e-9)
    assert np.array_equal(found[:200], trees.raw_scores(arrays, values[:200]))
    assert trees.raw_scores(arrays, values[:0]).shape == (0,)


def test_trees_that_cannot_be_exported_are_refused() -> None:
    ensemble = pytest.importorskip("sklearn.ensemble")
    dice = np.random.default_rng(4)
    values = dice.integers(0, 4, (300, 1)).astype(float)
    label = (values[:, 0] % 2) == 0
    model = ensemble.HistGradientBoostingClassifier(max_iter=3, categorical_features=[0]).fit(values, label)
    with pytest.raises(ValueError, match="only one output and numbers"):
        trees.exported(model)
    values, label = dice.normal(size=(5000, 2)), dice.random(5000) < 0.5
    large = ensemble.HistGradientBoostingClassifier(max_iter=1, max_leaf_nodes=65, min_samples_leaf=1)
    with pytest.raises(ValueError, match="up to 64 leaves"):
        trees.exported(large.fit(values, label))


def test_the_network_scores_in_numpy_as_in_keras() -> None:
    pytest.importorskip("keras")
    steps = shop(50)
    rows = features(steps)
    known = recurrent.sequences(steps, rows, recurrent.normaliser(rows))
    network = recurrent.build_network()
    for name in ("dense", "gru", "hazard"):  # biases begin at zero, which would hide a wrong one
        layer = network.get_layer(name)
        dice = np.random.default_rng(6)
        layer.set_weights([w + dice.normal(0, 0.3, w.shape) for w in layer.get_weights()])
    width = int(known.length.max())
    inputs = [recurrent.padded(v, known.length, width) for v in (known.numbers, known.category, known.product)]
    theirs = np.asarray(network(inputs, training=False))[:, :, 0]
    ours = recurrent.padded(recurrent.scores(recurrent.exported(network), known), known.length, width)
    inside = np.arange(width)[None, :] < known.length[:, None]
    assert np.allclose(ours[inside], theirs[inside], atol=1e-5)


def test_the_network_s_step_does_not_see_the_next() -> None:
    steps = shop(50)
    rows = features(steps)
    norm = recurrent.normaliser(rows)
    dice = np.random.default_rng(6)
    width = len(recurrent.INPUTS) + recurrent.CATEGORY_SIZE + recurrent.PRODUCT_SIZE
    shapes = {"categories": (recurrent.CATEGORIES, recurrent.CATEGORY_SIZE),
              "products": (recurrent.PRODUCTS, recurrent.PRODUCT_SIZE),
              "dense_kernel": (width, recurrent.DENSE), "dense_bias": (recurrent.DENSE,),
              "gru_kernel": (recurrent.DENSE, 3 * recurrent.UNITS),
              "gru_recurrent": (recurrent.UNITS, 3 * recurrent.UNITS), "gru_bias": (2, 3 * recurrent.UNITS),
              "hazard_kernel": (recurrent.UNITS, 1), "hazard_bias": (1,)}  # fmt: skip
    weights = {n: dice.normal(0, 0.5, s).astype(np.float32) for n, s in shapes.items()}
    whole = recurrent.scores(weights, recurrent.sequences(steps, rows, norm))[steps.step <= 3]
    cut = recurrent.sequences(steps.first(3), rows[steps.step <= 3], norm)
    assert np.allclose(recurrent.scores(weights, cut), whole, atol=1e-6)


def test_keras_leaves_the_terminal_open() -> None:
    """Its log would close what was the terminal at its import, when something else stands in its place."""
    pytest.importorskip("keras")
    listening = io.StringIO()
    with contextlib.redirect_stderr(listening):
        load_keras()
    logging.config.dictConfig({"version": 1})  # as Dagster does before a run: it closes every handler there is
    assert not listening.closed
    stream = importlib.import_module("absl.logging").get_absl_handler().python_handler.stream
    assert stream is sys.__stderr__


def test_the_number_of_cores_changes_no_network() -> None:
    """In processes of their own, which may use one core and all of them; a sum that more threads share is another."""
    require_packages("keras", "tensorflow")
    code = (
        "import hashlib\n"
        "from tests.test_prediction import features, session_model, shop\n"
        "steps = shop(2000)\n"  # fewer are not shared
        "data = session_model.Data(steps, features(steps), session_model.split(steps.day))\n"
        "weights = session_model.train_network(data, 7)\n"
        "print(hashlib.sha256(b''.join(weights[name].tobytes() for name in sorted(weights))).hexdigest())\n"
    )
    ours = {n: v for n, v in os.environ.items() if not n.startswith(("TF_NUM", "OMP_"))}
    pinned = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    told = {
        subprocess.run([sys.executable, "-c", begin + code], env=ours, cwd=REPOSITORY, check=True, capture_output=True,
                       text=True).stdout for begin in ("", pinned)
    }  # fmt: skip
    assert len(told) == 1
