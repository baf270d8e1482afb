"""Each guard finds the leak that it is there for, and nothing where there is none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from behavior_assets import leakage
from behavior_assets.forecasting import backtest, judge, model
from behavior_assets.forecasting import guards as forecast_guards
from behavior_assets.forecasting.methods import Method, seasonal_naive, smoothed
from behavior_assets.forecasting.series import Calendar, Demand
from behavior_assets.model_assets import verdicts_of
from behavior_assets.prediction import customer_model, customer_training, guards, past, session_model
from behavior_assets.prediction.customer_model import HORIZONS, Activity, Scored
from behavior_assets.prediction.features import FEATURES, prefix_features
from behavior_assets.prediction.load import Visitors
from behavior_assets.prediction.past import Moments, past_of
from behavior_assets.prediction.session_model import Data
from behavior_assets.prediction.steps import BY_EVENT, BY_SESSION, CART, PURCHASE, VIEW, Steps
from behavior_assets.recipes import RECIPES
from behavior_assets.segmentation import churn, report
from behavior_assets.segmentation import guards as value_guards
from behavior_assets.segmentation import model as model_of_values
from behavior_assets.segmentation.histories import Customers
from behavior_assets.trainer import Recipe
from behavior_assets.training import Trained
from resources.models import StoredModel
from tests import test_customer_value as customers
from tests import test_forecast_model as sales
from tests.test_prediction import DAY, shop


def features(steps: Steps) -> np.ndarray:
    """As the chain makes them, of sessions that have no past."""
    starts = Moments(steps.customer, steps.time_us[steps.begin])
    nothing = Moments(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
    known = past_of(starts, steps.day, nothing, np.zeros(0, dtype=np.int64), nothing, nothing)
    return prefix_features(steps, known, np.zeros(len(steps)))


def data(sessions: int = 20_000) -> Data:
    """Sessions in which a cart makes a purchase somewhat more likely."""
    steps = shop(sessions, 3)
    carts = np.repeat(np.add.reduceat((steps.kind == CART).astype(int), steps.begin), steps.length)
    unlucky = np.random.default_rng(1).random(len(steps.kind)) < 0.5
    kind = np.where((steps.kind == PURCHASE) & (carts == 0) & unlucky, VIEW, steps.kind)
    steps = replace(steps, kind=kind)
    return Data(steps, features(steps), session_model.split(steps.day))


@pytest.fixture(scope="module")
def sound() -> Data:
    """Without any leak."""
    return data()


def test_nothing_is_found_where_nothing_leaks(sound: Data) -> None:
    pytest.importorskip("sklearn")
    verdicts = [
        guards.prefix_invariance(sound.steps, features, FEATURES), guards.single_feature(sound, FEATURES),
        guards.label_shuffle(sound), guards.boundary(sound), guards.no_copies(sound.steps.key, sound.part),
    ]  # fmt: skip
    assert [v.name for v in verdicts if not v.passed] == [], verdicts
    assert verdicts[0].told["steps_looked_at"] > 1000
    assert verdicts[1].told["canary_is_found"]
    assert 0.25 < guards.adversarial(sound) < 0.65  # few days: what one of them has is not what the next has


def test_a_past_that_knows_the_future_is_named(sound: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """The session's own purchase is counted among the orders before it, as if it had been known a day ahead."""
    steps = sound.steps
    event = np.repeat(steps.customer, steps.length)

    def moments(kind: int) -> Moments:
        return Moments(event[steps.kind == kind], steps.time_us[steps.kind == kind])

    starts = Moments(steps.customer, steps.time_us[steps.begin])
    visitors = Visitors(starts, steps.day, moments(PURCHASE), moments(CART))

    def whoever(some: Steps, known: Visitors) -> np.ndarray:
        return prefix_features(some, known.before(some), np.zeros(len(some)))

    verdict = guards.past_invariance(steps, visitors, whoever, FEATURES)
    assert verdict.passed, verdict
    assert verdict.told["sessions"] > 50
    before = past.before

    def ahead(asked: Moments, happened: Moments) -> tuple[np.ndarray, np.ndarray]:
        return before(Moments(asked.customer, asked.time_us + DAY), happened)

    monkeypatch.setattr(past, "before", ahead)
    verdict = guards.past_invariance(steps, visitors, whoever, FEATURES)
    assert not verdict.passed
    assert "log_orders_before" in verdict.told["changed_features"]


def test_a_feature_that_knows_the_future_is_named(sound: Data) -> None:
    def leaking(steps: Steps) -> np.ndarray:
        whole = np.repeat(np.add.reduceat((steps.kind == PURCHASE).astype(float), steps.begin), steps.length)
        return np.column_stack([features(steps), whole, np.repeat(steps.length, steps.length)])

    found = guards.prefix_invariance(sound.steps, leaking, [*FEATURES, "purchases", "length"])
    assert (found.passed, found.told["changed_features"]) == (False, ["length", "purchases"])


def test_a_time_that_is_yet_to_come_is_named(sound: Data) -> None:
    def leaking(steps: Steps) -> np.ndarray:
        until_next = np.append(np.diff(steps.time_us), 0.0)
        return np.column_stack([features(steps), until_next])

    assert guards.prefix_invariance(sound.steps, leaking, [*FEATURES, "gap_to_next"]).told["changed_features"] == \
        ["gap_to_next"]  # fmt: skip


def test_a_purchase_count_among_the_features_is_named(sound: Data) -> None:
    whole = np.repeat(np.add.reduceat((sound.steps.kind == PURCHASE).astype(float), sound.steps.begin),
                      sound.steps.length)  # fmt: skip
    leaking = Data(sound.steps, np.column_stack([sound.features, whole]), sound.days)
    found = guards.single_feature(leaking, [*FEATURES, "purchases"])
    assert (found.passed, found.told["suspects"], found.told["best_feature"]) == (False, ["purchases"], "purchases")
    assert guards.single_feature(leaking, [*FEATURES, "purchases"], waived=["purchases"]).passed


def test_a_difference_of_two_features_that_is_the_label_is_too_good(sound: Data) -> None:
    """Neither tells anything by itself: only what a model makes of both."""
    rows = sound.rows("test")
    assert not leakage.too_good(sound.label[rows], sound.label[rows] + 0.0).passed
    assert leakage.too_good(sound.label[rows], sound.features[rows, FEATURES.index("carts")]).passed


def test_a_fold_that_was_oversampled_before_the_cut_is_found(sound: Data) -> None:
    """Sessions drawn again and again, and only then cut into parts: copies are in both."""
    pytest.importorskip("sklearn")
    dice = np.random.default_rng(2)
    drawn = np.sort(dice.integers(0, 3000, 20_000))
    made = gathered(sound, drawn)
    made.part = dice.integers(0, 4, len(drawn))
    found = guards.no_copies(made.steps.key, made.part)
    assert (found.passed, found.told["sessions_more_than_once"] > 2500) == (False, True)
    assert not guards.label_shuffle(made).passed
    assert guards.no_copies(sound.steps.key, sound.part).passed


def gathered(known: Data, sessions: np.ndarray) -> Data:
    """These sessions of another, in this order, as often as they are named."""
    steps = known.steps
    length = steps.length[sessions]
    events = np.concatenate([np.arange(b, b + n) for b, n in zip(steps.begin[sessions], length, strict=True)])
    by_event = {n: getattr(steps, n)[events] for n in BY_EVENT}
    by_session = {n: getattr(steps, n)[sessions] for n in BY_SESSION}
    return Data(replace(steps, **by_event, **by_session, length=length), known.features[events], known.days)


def test_a_boundary_that_was_not_trimmed_is_found(sound: Data) -> None:
    steps = sound.steps
    last = int(np.flatnonzero(steps.day < sound.days.validation)[-1])
    time = steps.time_us.copy()
    time[steps.begin[last] + steps.length[last] - 1] += 3 * DAY
    moved = Data(replace(steps, time_us=time), sound.features, sound.days)
    assert guards.boundary(moved).passed  # Data trims
    moved.part = sound.days.part(steps.day)
    found = guards.boundary(moved)
    assert (found.passed, found.told["sessions_over_the_boundary"]["training"]) == (False, 1)


# Sales forecasts


def looked_at(demand: Demand, method: Method) -> leakage.Verdict:
    """What the guard finds at the first origin, of this method beside the naive one."""
    methods = {level: {backtest.NAIVE: seasonal_naive, "other": method} for level in (backtest.TOTAL, backtest.PARTS)}
    origin = backtest.run(demand, [56], model.HORIZON, methods)[0]
    return forecast_guards.prefix_invariance(demand, origin, model.HORIZON, methods)


def test_a_forecast_that_sees_the_days_ahead_is_found() -> None:
    """Days that are cut off still lie behind the array that is left, where a careless method can find them."""

    def peeking(demand: Demand, _calendar: Calendar, horizon: int) -> np.ndarray:
        values = demand.values
        whole = values if values.base is None else values.base.reshape(len(values), -1)
        return whole[:, demand.days : demand.days + horizon]

    honest, dishonest = looked_at(sales.shop(140), smoothed), looked_at(sales.shop(140), peeking)
    assert (honest.passed, honest.told["methods"], honest.told["days_changed"]) == (True, 4, 84)
    assert (dishonest.passed, dishonest.told["changed"]) == (False, ["parts: other", "total: other"])


def test_series_weighed_by_what_they_will_sell_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def until(demand: Demand, days: int) -> Demand:
        return Demand(demand.names, demand.first, demand.values[:, :days], demand.worth)

    monkeypatch.setattr(Demand, "until", until)
    found = looked_at(sales.shop(140), smoothed)
    assert (found.passed, found.told["changed"]) == (False, ["parts: weights", "total: weights"])


def test_an_origin_judged_by_methods_chosen_too_late_is_found() -> None:
    methods = {level: {backtest.NAIVE: seasonal_naive} for level in (backtest.TOTAL, backtest.PARTS)}
    origins = backtest.run(sales.shop(140), [56, 70, 84, 98], model.HORIZON, methods)
    assert forecast_guards.boundary(judge.judge(origins, model.HORIZON), model.HORIZON).passed
    found = forecast_guards.boundary(judge.judge(origins, model.HORIZON - 14), model.HORIZON)
    assert (found.passed, found.told["origins_not_over"]) == (False, 3)


# Values of customers


@pytest.fixture(scope="module")
def activity() -> Activity:
    """A shop of which churn can be told."""
    return customers.shop()[0]


def churn_test(activity: Activity) -> report.ChurnTest:
    pytest.importorskip("sklearn")
    found, why_not = report.churn_test(activity, 7)
    assert found is not None, why_not
    return found


def failed(found: list[leakage.Verdict]) -> list[str]:
    return [v.name for v in found if not v.passed]


def test_values_that_know_nothing_of_later_days_pass(activity: Activity) -> None:
    found = value_guards.verdicts(activity, churn_test(activity), "", 7)
    assert failed(found) == []
    assert [v.name for v in found] == ["prefix_invariance", "single_feature", "model_auc", "boundary"]
    assert min(found[0].told["customers"], found[0].told["customer_days_changed"]) > 100
    untold = value_guards.verdicts(activity, None, "too few", 7)
    assert [v.told.get("not_looked_at") for v in untold] == [None, "too few", "too few", "too few"]


def test_values_that_know_later_days_are_found(activity: Activity, monkeypatch: pytest.MonkeyPatch) -> None:
    tested = churn_test(activity)
    honest = Activity.until

    def until(known: Activity, day: int) -> Activity:
        """Cut off as it should be, but for each customer's revenue, which is of all days."""
        cut = honest(known, day)
        revenue = np.bincount(known.customer, known.values[:, -1])[cut.customer]
        return replace(cut, values=np.column_stack([cut.values[:, :-1], revenue]))

    monkeypatch.setattr(Activity, "until", until)
    found = value_guards.verdicts(activity, tested, "", 7)
    assert failed(found) == ["prefix_invariance"]
    assert found[0].told["changed"] == ["churn_risk", "cluster", "expected_value"]


def test_silence_counted_to_the_newest_day_of_all_data_is_found(
    activity: Activity, monkeypatch: pytest.MonkeyPatch
) -> None:
    tested = churn_test(activity)
    honest = model_of_values.cluster_features

    def cluster_features(known: Activity, customers: Customers, day: int) -> np.ndarray:
        features = honest(known, customers, day).astype(float)
        features[:, 0] += known.day.max() - day
        return features

    monkeypatch.setattr(model_of_values, "cluster_features", cluster_features)
    found = value_guards.verdicts(activity, tested, "", 7)
    assert failed(found) == ["prefix_invariance"]
    assert "cluster_features" in found[0].told["changed"]


def test_churn_learnt_from_outcomes_that_were_not_known_is_found(
    activity: Activity, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = churn.training_days
    monkeypatch.setattr(churn, "training_days", lambda known, day: [*honest(known, day), day - 30])
    found = value_guards.verdicts(activity, churn_test(activity), "", 7)
    assert failed(found) == ["boundary"]
    assert found[-1].told["outcomes_not_over"] == 1


def test_churn_guards_that_would_see_no_leak_fail(activity: Activity, monkeypatch: pytest.MonkeyPatch) -> None:
    """If features were of one day whichever is asked for, no future could come in by them: the canary is missed."""
    tested = churn_test(activity)
    monkeypatch.setattr(churn, "asked_at", lambda _activity, _day: tested.asked)
    found = value_guards.verdicts(activity, tested, "", 7)
    assert failed(found) == ["single_feature"]
    assert not found[1].told["canary_is_found"]


def test_churn_that_is_told_by_one_number_is_found(activity: Activity) -> None:
    tested = churn_test(activity)
    features = tested.asked.features.copy()
    features[:, 3] = ~tested.away
    leaking = replace(tested, asked=replace(tested.asked, features=features), risk=tested.away + 0.0)
    found = value_guards.verdicts(activity, leaking, "", 7)
    assert failed(found) == ["single_feature", "model_auc"]
    assert found[1].told["suspects"] == [churn.FEATURES[3]]


# Purchases of customers


@pytest.fixture(scope="module")
def judged(activity: Activity) -> customer_training.Judged:
    pytest.importorskip("sklearn")
    found = customer_training.fit(activity, 7, synthetic=True)
    assert isinstance(found, Trained), found
    return customer_training.Judged(activity, found.told, found.arrays, synthetic=True)


def test_customers_whose_features_know_nothing_of_later_days_pass(judged: customer_training.Judged) -> None:
    found = judged.verdicts()
    assert failed(found) == []
    assert [v.name for v in found] == [
        f"{name}_{horizon}" for horizon in HORIZONS
        for name in ("prefix_invariance", "single_feature", "model_auc", "boundary")
    ]  # fmt: skip


def test_customers_of_whom_later_orders_are_known_are_found(
    activity: Activity, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that is taught and asked with a feature that counts the orders of the days ahead."""
    honest, column = customer_model.features_at, customer_model.FEATURES.index("orders_so_far")

    def leaking(known: Activity, day: int) -> Scored:
        now = honest(known, day)
        now.features[:, column] = leakage.grown(now, honest(known, day + 30), column)
        return now

    for module in (customer_model, customer_training):
        monkeypatch.setattr(module, "features_at", leaking)
    found = customer_training.fit(activity, 7, synthetic=True)
    assert isinstance(found, Trained), found
    told = found.told["guards"]
    assert {name for name, v in told.items() if not v["passed"]} >= {
        "prefix_invariance_7", "prefix_invariance_30", "single_feature_30", "model_auc_30",
    }  # fmt: skip
    assert told["single_feature_30"]["suspects"] == ["orders_so_far"]


def test_customer_guards_that_would_see_no_leak_fail(
    judged: customer_training.Judged, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If features were of the test's day whichever is asked for, the canary is missed."""
    then = {horizon: scored for horizon, (scored, _came, _chance) in judged.tests.items()}
    monkeypatch.setattr(customer_training, "features_at", lambda _activity, day: then[7 if day >= then[7].day else 30])
    assert failed(judged.verdicts()) == ["single_feature_7"]


def test_customers_learnt_from_outcomes_that_were_not_known_are_found(judged: customer_training.Judged) -> None:
    horizons = {name: dict(told) for name, told in judged.told["horizons"].items()}
    horizons["30"]["training_days"] = [*horizons["30"]["training_days"], horizons["30"]["calibration_day"] - 29]
    assert failed(replace(judged, told={**judged.told, "horizons": horizons}).verdicts()) == ["boundary_30"]


# As checks of assets


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda r: r.name)
def test_a_guard_that_did_not_look_has_not_passed(recipe: Recipe) -> None:
    """Every model has guards; a version that tells nothing of one fails its check, and without one nothing is said."""
    assert {"prefix_invariance", "boundary"} <= set(recipe.guards) <= set(leakage.GUARDS)
    fine = {name: {"passed": True} for name in recipe.guards}
    for told, passed in ((fine, True), ({**fine, "boundary": {"passed": False}}, False),
                         ({n: v for n, v in fine.items() if n != "boundary"}, False)):  # fmt: skip
        shown = StoredModel(recipe.name, "v", {"guards": told}, {}, {})
        results = {r.check_name: r for r in verdicts_of(recipe, shown, trained_now=True)}
        assert results.pop("boundary").passed is passed
        assert all(r.passed for r in results.values())
    could_not = {**fine, "boundary": {"passed": True, "not_looked_at": "too few"}}
    blind = StoredModel(recipe.name, "v", {"guards": could_not}, {}, {})
    warned = {r.check_name: r for r in verdicts_of(recipe, blind, trained_now=True)}["boundary"]
    assert (warned.passed, warned.severity.name, warned.description) == (False, "WARN", "Not looked at. too few")
    nothing = list(verdicts_of(recipe, None, trained_now=False))
    assert all(r.passed and "nothing to look at" in (r.description or "") for r in nothing)
