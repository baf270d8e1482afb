"""BG/NBD and Gamma-Gamma: likelihoods and gradients by hand, parameters found again, histories from purchases."""

from __future__ import annotations

from math import lgamma, log

import numpy as np
import pytest

from behavior_assets.segmentation import value
from behavior_assets.segmentation.histories import bought_between, known_at
from behavior_assets.segmentation.value import BgNbd, GammaGamma, History, fit_bg_nbd, fit_gamma_gamma
from resources.errors import TrainingError

CDNOW = BgNbd(0.243, 4.414, 0.793, 2.426)  # Fader, Hardie & Lee (2005), table 2


def simulated(model: BgNbd, customers: int, age: float, seed: int) -> tuple[History, np.ndarray]:
    """Histories until ``age``, and the purchases of as long a time after it."""
    dice = np.random.default_rng(seed)
    rate, leaves = dice.gamma(model.r, 1 / model.alpha, customers), dice.beta(model.a, model.b, customers)
    counts, lasts, later = np.zeros(customers), np.zeros(customers), np.zeros(customers)
    for n in range(customers):
        time = 0.0
        while True:
            time += dice.exponential(1 / max(rate[n], 1e-12))
            if time > 2 * age:
                break
            if time <= age:
                counts[n], lasts[n] = counts[n] + 1, time
            else:
                later[n] += 1
            if dice.random() < leaves[n]:
                break
    return History(counts, lasts, np.full(customers, age)), later


def test_likelihood_of_two_customers_by_hand() -> None:
    """One who never came back, one who came back once at week 10 of 30."""
    r, alpha, a, b = 0.243, 4.414, 0.793, 2.426
    never = r * log(alpha) - r * log(alpha + 30)
    once = log(r) + r * log(alpha) + lgamma(a + b) + lgamma(b + 1) - lgamma(b) - lgamma(a + b + 1)
    once += log((1 / (alpha + 30)) ** (r + 1) + a / b * (1 / (alpha + 10)) ** (r + 1))
    history = History(np.array([0.0, 1.0]), np.array([0.0, 10.0]), np.array([30.0, 30.0]))
    assert CDNOW.log_likelihood(history) == pytest.approx(never + once)


@pytest.mark.parametrize("seed", [1, 2])
def test_gradients_are_those_of_the_likelihoods(seed: int) -> None:
    dice = np.random.default_rng(seed)
    history, _ = simulated(CDNOW, 200, 30, seed)
    count, mean = dice.integers(1, 9, 50).astype(float), dice.gamma(3, 10, 50)
    for size, likelihood in ((4, lambda x: value._log_likelihood(x, history)),
                             (3, lambda x: value._value_likelihood(x, count, mean))):  # fmt: skip
        at = dice.normal(0, 0.5, size)
        _, gradient = likelihood(at)
        steps = np.eye(size) * 1e-6
        numeric = [(likelihood(at + s)[0] - likelihood(at - s)[0]) / 2e-6 for s in steps]
        assert np.allclose(gradient, numeric, rtol=1e-4, atol=1e-3)


def test_parameters_are_found_again_and_the_future_is_told() -> None:
    history, later = simulated(CDNOW, 6000, 39, 3)
    found = fit_bg_nbd(history)
    assert found.log_likelihood(history) >= CDNOW.log_likelihood(history)
    assert (found.r, found.alpha) == pytest.approx((CDNOW.r, CDNOW.alpha), rel=0.2)
    assert found.a / (found.a + found.b) == pytest.approx(CDNOW.a / (CDNOW.a + CDNOW.b), rel=0.25)
    expected = found.expected(history, 39)
    assert expected.sum() == pytest.approx(later.sum(), rel=0.06)
    assert np.corrcoef(expected, later)[0, 1] > 0.5
    alive = found.alive(history)
    assert ((alive > 0) & (alive <= 1)).all()
    assert (alive[history.frequency == 0] == 1).all()


def test_the_unit_of_time_changes_alpha_alone() -> None:
    history, _ = simulated(CDNOW, 1500, 39, 4)
    weeks = fit_bg_nbd(history)
    days = fit_bg_nbd(History(history.frequency, history.recency * 7, history.age * 7))
    assert (days.r, days.alpha / 7, days.a, days.b) == pytest.approx((weeks.r, weeks.alpha, weeks.a, weeks.b), rel=1e-3)


def test_silence_and_a_long_past_make_a_customer_less_alive() -> None:
    history = History(np.array([2.0, 2.0, 20.0]), np.array([38.0, 5.0, 5.0]), np.full(3, 39.0))
    recent, silent, busy = CDNOW.alive(history)
    assert recent > silent > busy


def test_a_of_one_is_no_hole() -> None:
    history = History(np.array([3.0]), np.array([20.0]), np.array([39.0]))
    around = [BgNbd(0.2, 4.0, a, 2.4).expected(history, 10)[0] for a in (0.999, 1.0, 1.001)]
    assert around[0] == pytest.approx(around[1], rel=1e-3)
    assert around[1] == pytest.approx(around[2], rel=1e-3)


@pytest.mark.parametrize("model", [CDNOW, BgNbd(3, 12, 1.2, 1), BgNbd(0.8, 8, 0.05, 3), BgNbd(20, 100, 5, 50)])
def test_the_expectation_is_the_integral_that_it_stands_for(model: BgNbd) -> None:
    repeats = np.array([0.0, 1, 3, 10, 40])
    known = History(repeats, np.where(repeats > 0, 30.0, 0.0), np.full(5, 39.0))
    summed = model._summed(repeats, known.age, 26) * model.alive(known)
    assert model.expected(known, 26) == pytest.approx(summed, rel=1e-4)


def test_customers_of_one_rate_are_expected_at_that_rate() -> None:
    """Everybody buys every 14 weeks and hardly leaves: the hypergeometric function is no number there."""
    model = BgNbd(160_000.0, 14 * 160_000.0, 1e-5, 160_000.0)
    known = History(np.array([0.0, 5.0]), np.array([0.0, 70.0]), np.array([70.0, 70.0]))
    assert model.expected(known, 28.0) == pytest.approx([2.0, 2.0], rel=1e-3)


def test_gamma_gamma_finds_what_it_was_made_from() -> None:
    dice = np.random.default_rng(5)
    p, q, v = 6.25, 3.74, 15.44  # CDNOW, Fader & Hardie (2013)
    count = dice.integers(1, 8, 4000).astype(float)
    nu = dice.gamma(q, 1 / v, 4000)
    mean = dice.gamma(p * count, 1 / (count * nu))
    found = fit_gamma_gamma(count, mean)
    assert (found.p, found.q, found.v) == pytest.approx((p, q, v), rel=0.25)
    told = found.expected(count, mean)
    assert told.mean() == pytest.approx((p / nu).mean(), rel=0.05)
    low, high = found.expected(np.array([1.0, 1.0]), np.array([1.0, 1000.0]))
    assert 1 < low < told.mean() < high < 1000  # drawn towards the mean
    assert np.isnan(GammaGamma(2, 0.9, 1).expected(np.array([0.0]), np.array([0.0]))[0])


def test_what_cannot_be_fitted_says_so() -> None:
    with pytest.raises(TrainingError, match="no customer has bought twice"):
        fit_bg_nbd(History(np.zeros(5), np.zeros(5), np.full(5, 3.0)))
    with pytest.raises(TrainingError, match="fewer than two customers differ"):
        fit_gamma_gamma(np.ones(3), np.full(3, 7.0))
    with pytest.raises(ValueError, match="1 of 2 customers"):
        History(np.array([1.0, 1.0]), np.array([5.0, 2.0]), np.array([4.0, 4.0]))


def test_histories_from_purchases() -> None:
    """Two purchases of one day are one visit; what comes later is not known yet."""
    customer = np.array([7, 7, 7, 9, 9, 7])
    day = np.array([100, 107, 107, 104, 130, 121])
    worth = np.array([5.0, 3.0, 4.0, 10.0, 1.0, 8.0])
    known = known_at(customer, day, worth, 121, 7.0)
    assert known.key.tolist() == [7, 9]
    assert known.history.frequency.tolist() == [2, 0]
    assert known.history.recency.tolist() == [3, 0]
    assert np.allclose(known.history.age, [3, 17 / 7])
    assert known.repeat_value.tolist() == [7.5, 0]
    assert (known.first_day.tolist(), known.last_day.tolist()) == ([100, 104], [121, 104])
    assert bought_between(customer, day, known.key, 106, 130).tolist() == [2, 1]
    assert bought_between(customer, day, known.key, 107, 129).tolist() == [1, 0]
    assert len(known_at(customer, day, worth, 99, 7.0).key) == 0
