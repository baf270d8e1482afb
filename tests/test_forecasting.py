"""Forecasts: they add up, look at no future, know when the shop is shut, and their intervals hold what they promise."""

from __future__ import annotations

import numpy as np
import pytest

from behavior_assets.forecasting import methods as ways
from behavior_assets.forecasting import score
from behavior_assets.forecasting.backtest import AVERAGE, NAIVE, PARTS, TOTAL, choose, run
from behavior_assets.forecasting.features import FEATURES, rows_at
from behavior_assets.forecasting.intervals import learn, learn_total
from behavior_assets.forecasting.methods import demand_classes, seasonal_naive, smoothed, tamed, training_rows
from behavior_assets.forecasting.reconcile import Errors, reconcile
from behavior_assets.forecasting.series import Demand, learn_calendar, make_demand

MONDAY = 4  # 1970-01-05
SATURDAY = 5


def shop(values: np.ndarray) -> Demand:
    """Series over days that begin on a Monday, each unit worth 2."""
    return Demand(tuple(f"p{n}" for n in range(len(values))), MONDAY, values, values * 2.0)


def sold(series: int, days: int, seed: int = 1) -> np.ndarray:
    """Random sales, at least 1 a day in all; never on Saturdays."""
    values = np.random.default_rng(seed).poisson(3.0, (series, days)).astype(float)
    values[0] += 1
    values[:, np.arange(days) % 7 == SATURDAY] = 0
    return values


def test_order_lines_become_a_matrix_without_holes() -> None:
    names, days = np.array(["b", "a", "b"]), np.array([MONDAY, MONDAY + 2, MONDAY])
    demand = make_demand(names, days, np.array([2.0, 5.0, 1.0]), np.array([4.0, 5.0, 2.0]), last=MONDAY + 3)
    assert demand.names == ("a", "b")
    assert demand.values.tolist() == [[0, 0, 5, 0], [3, 0, 0, 0]]
    assert demand.worth.tolist() == [[0, 0, 5, 0], [6, 0, 0, 0]]
    assert demand.weekday(np.arange(4)).tolist() == [0, 1, 2, 3]
    assert make_demand(names[:0], days[:0], np.zeros(0), np.zeros(0)).days == 0


def test_saturdays_and_a_holiday_are_learnt() -> None:
    values = sold(3, 70)
    values[:, 36] = 0  # a Tuesday
    calendar = learn_calendar(shop(values))
    assert calendar.weekdays.tolist() == [True] * 5 + [False, True]
    assert not calendar.open[36]
    assert calendar.open.sum() == 70 - 10 - 1
    # The next Tuesdays are open again, the next Saturdays are not.
    assert calendar.ahead(shop(values), 8).tolist() == [True] * 5 + [False, True, True]


def test_a_long_closure_is_expected_again_after_a_year_and_a_short_one_is_not() -> None:
    values = sold(2, 360)
    values[:, 5:12] = 0
    values[:, 21:23] = 0
    demand = shop(values)
    ahead = learn_calendar(demand).ahead(demand, 35)  # days 360 to 394
    weekdays = np.arange(360, 395) % 7 != SATURDAY
    assert not ahead[10:17].any()  # days 370 to 376 are 5 to 11 a year later
    assert (ahead[26:] == weekdays[26:]).all()


def test_days_without_a_sale_are_ordinary_in_a_small_shop() -> None:
    values = np.zeros((1, 56))
    values[0, ::3] = 1
    calendar = learn_calendar(shop(values))
    assert calendar.open.all()
    assert calendar.weekdays.all()


def test_seasonal_naive_is_the_last_week_again() -> None:
    demand = shop(np.arange(14.0)[None, :])
    assert seasonal_naive(demand, learn_calendar(demand), 9).tolist() == [[7, 8, 9, 10, 11, 12, 13, 7, 8]]


def test_classes_of_demand() -> None:
    smooth, erratic, intermittent, lumpy = np.full(40, 5.0), np.ones(40), np.zeros(40), np.zeros(40)
    erratic[::8] = 50
    intermittent[::4] = 5
    lumpy[::4], lumpy[::16] = 1, 50
    found = demand_classes(np.stack([smooth, erratic, intermittent, lumpy, np.zeros(40)]))
    assert found.tolist() == ["smooth", "erratic", "intermittent", "lumpy", "intermittent"]


def test_one_huge_order_is_not_expected_again() -> None:
    values = sold(2, 100)
    values[1, 50] = 80_995
    demand = shop(values)
    calendar = learn_calendar(demand)
    assert tamed(demand, calendar).values[1].max() < 20
    assert demand.values[1, 50] == 80_995  # what is judged is not touched
    ahead = smoothed(demand, calendar, 7)  # from a Wednesday on
    assert ahead[:, 3].max() == 0
    assert ahead[1].max() < 20


def test_smoothing_of_the_same_every_day_is_that() -> None:
    values = np.full((1, 70), 4.0)
    demand = shop(values)
    assert smoothed(demand, learn_calendar(demand), 3) == pytest.approx(np.full((1, 3), 4.0))


def test_reconciled_forecasts_equal_the_dense_formula() -> None:
    """MinT: S (S' W^-1 S)^-1 S' W^-1 y, for a diagonal W and for one whose parts share a common error."""
    dice = np.random.default_rng(3)
    parts, total = dice.uniform(50, 90, (4, 5)), dice.uniform(250, 300, 5)
    variance = np.array([1.0, 4.0, 2.0, 0.5])
    summing = np.vstack([np.ones(4), np.eye(4)])
    # A common error in proportion to the variances, between parts (3) and with the total (2).
    for common, shared in ((0.0, 0.0), (3.0, 2.0)):
        weight = variance / variance.sum()
        dense = np.zeros((5, 5))
        dense[0, 0] = 9.0
        dense[1:, 1:] = np.diag(variance) + common * np.outer(weight, weight)
        dense[0, 1:] = dense[1:, 0] = shared * weight
        inverse = np.linalg.inv(dense)
        told = np.vstack([total, parts])
        wanted = summing @ np.linalg.solve(summing.T @ inverse @ summing, summing.T @ inverse @ told)
        errors = Errors(9.0, variance, float(variance.sum()) + common, shared)
        found = np.vstack(reconcile(total, parts, errors))
        assert found == pytest.approx(wanted)
        assert found[0] == pytest.approx(found[1:].sum(axis=0), abs=1e-9)
    assert Errors.diagonal(9.0, variance) == Errors(9.0, variance, 7.5, 0.0)


def test_reconciled_forecasts_add_up_at_zero_too() -> None:
    parts = np.array([[5.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    total, moved = reconcile(np.array([2.0, 3.0]), parts, Errors.diagonal(0.0, np.array([0.1, 5.0, 1.0])))
    assert total == pytest.approx([2.0, 3.0])
    assert moved.sum(axis=0) == pytest.approx(total)
    assert moved.min() >= 0
    # No error is known at all: the parts take the gap evenly.
    assert reconcile(np.array([4.0]), np.zeros((2, 1)), Errors.diagonal(0.0, np.zeros(2)))[1].tolist() == [[2], [2]]


def test_features_know_no_future() -> None:
    values = sold(3, 120)
    demand = shop(values)
    changed = values.copy()
    changed[:, 90:] = 999
    other = shop(changed)
    is_open = learn_calendar(demand.until(90)).ahead(demand.until(90), 28)
    before = rows_at(demand, learn_calendar(demand), 90, is_open)
    after = rows_at(other, learn_calendar(other), 90, is_open)
    assert before.values.shape == (3 * 24, len(FEATURES))
    assert (before.values == after.values).all()
    assert (before.day == after.day).all()


def test_origins_know_no_future() -> None:
    values = sold(3, 160)
    changed = values.copy()
    changed[:, 132:] += 500
    methods = {TOTAL: {NAIVE: seasonal_naive, "smoothed": smoothed}, PARTS: {NAIVE: seasonal_naive}}
    one, two = (run(shop(v), [104, 132], 28, methods) for v in (values, changed))
    for mine, theirs in zip(one, two, strict=True):
        assert (mine.scales[PARTS] == theirs.scales[PARTS]).all()
        assert (mine.weights[PARTS] == theirs.weights[PARTS]).all()
        for level, names in methods.items():
            for name in names:
                assert (mine.forecasts[level][name] == theirs.forecasts[level][name]).all()
    assert choose(one[:1]).methods == choose(two[:1]).methods


def test_training_rows_end_where_what_is_known_ends() -> None:
    demand = shop(sold(2, 120))
    features, target = training_rows(demand, learn_calendar(demand), 28)
    # Origins after 92, 85, 78, 71, 64 and 57 days: 24 open days ahead of each, two series.
    assert features.shape == (6 * 24 * 2, len(FEATURES))
    assert len(target) == 288
    assert training_rows(demand.until(60), learn_calendar(demand.until(60)), 28)[1].size == 0


@pytest.mark.parametrize("mean", [0.3, 5.0, 400.0])
def test_intervals_cover_what_they_promise(mean: float) -> None:
    dice = np.random.default_rng(5)
    forecast = dice.uniform(0.5, 1.5, 6000) * mean
    actual = dice.poisson(dice.gamma(4.0, forecast / 4.0)).astype(float)
    intervals = learn(actual[:4000], forecast[:4000])
    for level in (80, 95):
        lower, upper = intervals.around(forecast[4000:], level)
        inside = float(np.mean((actual[4000:] >= lower - 1e-9) & (actual[4000:] <= upper + 1e-9)))
        # Counts of few units come in steps: whole ones are inside or outside.
        assert level / 100 - 0.03 <= inside <= level / 100 + (0.03 if mean > 1 else 0.16)
        assert (lower <= forecast[4000:]).all()
        assert (upper >= forecast[4000:]).all()
        assert lower.min() >= 0


def test_intervals_of_a_total_cover_what_they_promise() -> None:
    """Months that turn out 20 % high or low as a whole, six of them seen: on average over shops the level is kept."""
    inside: dict[int, list[float]] = {80: [], 95: []}
    for seed in range(150):
        dice = np.random.default_rng(seed)
        month = 1 + 0.2 * dice.standard_normal(7)
        actual = [1000 * m * (1 + 0.3 * dice.standard_normal(24)) for m in month]
        intervals = learn_total(actual[:6], [np.full(24, 1000.0)] * 6, 6 * 24)
        for level, found in inside.items():
            lower, upper = intervals.around(np.full(24, 1000.0), level)
            found.append(float(np.mean((actual[6] >= lower) & (actual[6] <= upper))))
    assert np.mean(inside[80]) == pytest.approx(0.80, abs=0.03)
    assert np.mean(inside[95]) == pytest.approx(0.95, abs=0.03)


def test_errors_by_hand() -> None:
    history = np.array([[0.0, 2.0, 4.0, 2.0], [1.0, 1.0, 1.0, 1.0]])
    scales = score.scale(history)
    assert scales[0] == 4.0  # steps of 2 and -2 since the first sale
    assert np.isnan(scales[1])  # no step, nothing to scale by
    errors = score.rmsse(np.array([[4.0, 0.0], [1.0, 1.0]]), np.array([[0.0, 0.0], [1.0, 1.0]]), scales)
    assert errors[0] == pytest.approx(np.sqrt(8.0 / 4.0))
    assert score.weighted(np.array([1.0, 3.0, np.nan]), np.array([3.0, 1.0, 9.0])) == 1.5
    assert np.isnan(score.weighted(np.array([np.nan]), np.array([1.0])))
    assert score.pinball(np.array([10.0, 10.0]), np.array([8.0, 12.0]), 0.9) == pytest.approx([1.8, 0.2])


def test_methods_that_learn_see_the_week() -> None:
    """Sundays sell a quarter of Mondays to Fridays: all that forecast know it, and none sells on Saturdays."""
    pytest.importorskip("statsforecast")
    pytest.importorskip("sklearn")
    dice = np.random.default_rng(2)
    weekday = np.arange(168) % 7
    mean = np.where(weekday == SATURDAY, 0.0, np.where(weekday == 6, 5.0, 20.0))
    demand = shop(dice.poisson(mean, (6, 168)).astype(float))
    made = {"ets": ways.auto_ets, "croston": ways.by_class, "boosting": ways.boosting, "smoothed": smoothed}
    (origin,) = run(demand, [140], 28, {TOTAL: {"smoothed": smoothed}, PARTS: made})
    assert set(origin.forecasts[PARTS]) == {*made, AVERAGE}
    assert origin.was_open.sum() == 24
    for found in origin.forecasts[PARTS].values():
        assert found[:, SATURDAY::7].max() == 0
        assert found[:, 6::7].mean() == pytest.approx(5.0, rel=0.25)
        assert found[:, 0::7].mean() == pytest.approx(20.0, rel=0.15)


def test_the_best_of_the_past_serves_and_adds_up() -> None:
    demand = shop(sold(4, 216))
    methods = {level: {NAIVE: seasonal_naive, "smoothed": smoothed} for level in (TOTAL, PARTS)}
    origins = run(demand, [104, 118, 132, 146, 188, 216], 28, methods)
    champion = choose(origins[:4])
    assert champion.methods == {TOTAL: "smoothed", PARTS: "smoothed"}  # what repeats last week repeats its noise
    assert np.isnan(origins[5].actual[TOTAL]).all()  # nothing is known yet, and it can be forecast
    for origin in origins[4:]:
        told = champion.forecast(origin)
        assert told[TOTAL][0] == pytest.approx(told[PARTS].sum(axis=0), abs=1e-9)


def test_quantiles_of_the_network_do_not_cross_and_bear_on_the_week() -> None:
    pytest.importorskip("keras")
    from behavior_assets.forecasting.neural import QUANTILES, quantiles

    weekday = np.arange(150) % 7
    mean = np.where(weekday == SATURDAY, 0.0, np.where(weekday == 6, 5.0, 20.0))
    demand = shop(np.random.default_rng(2).poisson(mean, (6, 150)).astype(float))
    calendar = learn_calendar(demand)
    found = quantiles(demand, calendar, 28)
    assert found is not None
    assert found.shape == (len(QUANTILES), 6, 28)
    assert (np.diff(found, axis=0) >= 0).all()
    assert (found == np.rint(found)).all()  # units are whole
    assert found[:, :, ~calendar.ahead(demand, 28)].max() == 0
    assert quantiles(demand.until(60), learn_calendar(demand.until(60)), 28) is None  # nothing to learn from
