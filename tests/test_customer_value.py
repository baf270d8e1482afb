"""The value model: found again what customers were made of, deaf to the future, the same when it is read back."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from dataclasses import replace
from datetime import date, timedelta
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from behavior_assets.cards import FIELDS
from behavior_assets.days import number_of
from behavior_assets.incremental import read_parts
from behavior_assets.prediction.customer_model import MEASURES, Activity
from behavior_assets.prediction.load import load_activity
from behavior_assets.segmentation import churn, clusters, model, report
from behavior_assets.segmentation.fits import fits_of
from behavior_assets.segmentation.published import scored_rows
from behavior_assets.star import facts
from behavior_assets.star.aggregates import CUSTOMER_DAY
from behavior_assets.star.build import StarBuilder
from behavior_assets.training import NotEnough, Trained
from resources.compute import DuckDB
from resources.engine import engine
from resources.models import ModelStore, StoredModel
from tests.conftest import REPOSITORY, ingest_and_build, rees46_row, write_rees46

if find_spec("sklearn") is None:  # which is not imported here: a test wants it unloaded
    pytest.skip("scikit-learn is not installed", allow_module_level=True)

JANUARY_1 = number_of(date(2024, 1, 1))
ENDS = [date(2024, 1, 31), date(2024, 2, 29), date(2024, 3, 31), date(2024, 4, 30)]
DAYS = 150  # until 29 May
ELSEWHERE = {"data", "training", "versions"}  # fields of the card that others fill


def activity(rows: list[tuple[int, int, float, float]]) -> Activity:
    """(customer, day after 1 January, orders, revenue); each day is a visit with two views."""
    ordered = sorted(rows)
    values = np.zeros((len(ordered), len(MEASURES)))
    values[:, :2] = 1, 2
    values[:, 3:] = [r[2:] for r in ordered]
    return Activity(np.array([r[0] for r in ordered]), JANUARY_1 + np.array([r[1] for r in ordered]), values)


def shop(customers: int = 5000, seed: int = 1) -> tuple[Activity, np.ndarray]:
    """Customers who come, buy and leave for good by chances of their own; the day after 1 January at which each left.

    A third buys often and dear, the others seldom and cheap.
    """
    dice = np.random.default_rng(seed)
    good = dice.random(customers) < 1 / 3
    begins = dice.integers(0, 60, customers)
    leaves = begins + dice.exponential(80, customers).astype(int) + 1
    comes = np.where(good, 0.25, 0.08)
    day = np.arange(DAYS)
    here = (day >= begins[:, None]) & (day < leaves[:, None]) & (dice.random((customers, DAYS)) < comes[:, None])
    buys = here & (dice.random((customers, DAYS)) < 0.4)
    who, when = np.nonzero(here)
    worth = np.where(good, 90.0, 25.0)[who] * dice.lognormal(0, 0.4, len(who))
    values = np.zeros((len(who), len(MEASURES)))
    values[:, 0], values[:, 1] = 1, 3
    values[:, 3] = buys[who, when]
    values[:, 4] = np.round(worth, 2) * buys[who, when]
    return Activity(who.astype(np.int64), JANUARY_1 + when.astype(np.int64), values), leaves


@pytest.fixture(scope="module")
def made() -> tuple[Activity, np.ndarray]:
    return shop()


@pytest.fixture(scope="module")
def trained(made: tuple[Activity, np.ndarray]) -> Trained:
    found = model.train(made[0], ENDS)
    assert isinstance(found, Trained)
    return found


def stored(folder: Path, found: Trained) -> StoredModel:
    """The model as the store gives it back."""
    store = ModelStore(folder)
    return store.load(model.NAME, store.save(model.NAME, ENDS[-1], found.told, found.arrays))


def same(one: model.Scores, other: model.Scores) -> bool:
    numbers = ("customer", "churn_risk", "p_alive", "expected_purchases", "expected_value")
    equal = all(np.array_equal(getattr(one, n), getattr(other, n), equal_nan=True) for n in numbers)
    return equal and one.cluster.tolist() == other.cluster.tolist()


def test_what_customers_were_made_of_is_found(made: tuple[Activity, np.ndarray], trained: Trained) -> None:
    """Who has left by the end of April is told from who has not; the dear third is expected to bring more."""
    told = model.score(trained, made[0], ENDS[-1])
    assert told is not None
    left = made[1][told.customer] <= (ENDS[-1] - date(2024, 1, 1)).days
    assert told.p_alive[~left].mean() > told.p_alive[left].mean() + 0.1
    assert told.churn_risk[left].mean() > told.churn_risk[~left].mean() + 0.3
    first, last = ("1 of", f"{len(trained.told['fits'][-1]['groups']['labels'])} of")
    value = {n: told.expected_value[np.char.startswith(told.cluster, n)].mean() for n in (first, last)}
    assert value[first] > 2 * value[last]
    figure = {f.metric: f for f in trained.figures if f.slice == "all"}
    assert figure["churn_auc"].value > 0.8
    assert figure["churn_auc"].value > figure["churn_auc"].baseline_value - 0.01
    assert figure["churn_ece"].value < 0.12  # learnt from one early day
    assert figure["purchases_correlation"].value > figure["purchases_correlation"].baseline_value + 0.1
    assert 0.7 < figure["purchases_told_per_purchase"].value < 1.4
    assert figure["groups_stability"].value >= clusters.STABLE


def test_the_card_tells_all_that_the_topic_knows(trained: Trained) -> None:
    assert set(trained.card) == set(FIELDS) - ELSEWHERE
    assert all(text.strip() for text in trained.card.values())
    assert len({(f.metric, f.slice) for f in trained.figures}) == len(trained.figures)
    assert drifting(trained) == {"churn_adversarial_auc", "groups_relabelled"}


def drifting(trained: Trained) -> set[str]:
    """Figures that the card's drift sends its reader to; all are there."""
    named = set(re.findall("`(.+?)`", trained.card["drift"]))
    assert named <= {f.metric for f in trained.figures}
    return named


def test_the_same_data_give_the_same_model(made: tuple[Activity, np.ndarray], trained: Trained) -> None:
    again = model.train(made[0], ENDS)
    assert isinstance(again, Trained)
    assert again.told == trained.told
    assert all(np.array_equal(again.arrays[g][n], a) for g, group in trained.arrays.items() for n, a in group.items())
    assert [repr(f) for f in again.figures] == [repr(f) for f in trained.figures]


def test_threads_change_no_model(trained: Trained) -> None:
    """In a process of its own, in which nothing has loaded scikit-learn yet, with more threads than there are cores."""
    code = (
        "import hashlib, sys\n"
        "from tests.test_customer_value import ENDS, model, shop\n"
        "assert 'sklearn' not in sys.modules\n"
        "found = model.train(shop()[0], ENDS)\n"
        "print(hashlib.sha256(b''.join(a.tobytes() for g in found.arrays.values() for a in g.values())).hexdigest())\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "OMP_NUM_THREADS": "4"}, cwd=REPOSITORY, check=True,
        capture_output=True, text=True,
    )  # fmt: skip
    whole = b"".join(a.tobytes() for group in trained.arrays.values() for a in group.values())
    assert told.stdout.strip() == hashlib.sha256(whole).hexdigest()


@pytest.mark.parametrize("end", ENDS[1:])
def test_what_comes_later_changes_no_fit_and_no_score(
    made: tuple[Activity, np.ndarray], trained: Trained, end: date
) -> None:
    """After the month's end everybody buys every day, for a fortune: nothing known before it moves."""
    known = made[0].until(number_of(end))
    everybody = np.arange(5100)
    values = np.tile([1.0, 9.0, 9.0, 3.0, 1e6], (len(everybody), 1))
    customer, day = [known.customer], [known.day]
    for n in range(1, 40):
        customer, day = [*customer, everybody], [*day, np.full(len(everybody), number_of(end) + n)]
    who, when = np.concatenate(customer), np.concatenate(day)
    order = np.lexsort([when, who])
    what = np.concatenate([known.values, *[values] * 39])[order]
    wild = Activity(who[order], when[order], what)
    found = model.train(wild, [e for e in ENDS if e <= end])
    assert isinstance(found, Trained)
    assert found.told["fits"] == trained.told["fits"][: len(found.told["fits"])]
    for e in ENDS:
        if e <= end:
            one, other = model.score(found, wild, e), model.score(trained, made[0], e)
            assert one is not None
            assert other is not None
            assert same(one, other)


def test_reading_it_back_changes_no_score(made: tuple[Activity, np.ndarray], trained: Trained, tmp_path: Path) -> None:
    read = stored(tmp_path, trained)
    for end in ENDS:
        one, other = model.score(trained, made[0], end), model.score(read, made[0], end)
        assert one is not None
        assert other is not None
        assert same(one, other)


def test_scoring_needs_no_scikit_learn(
    made: tuple[Activity, np.ndarray], trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [n for n in sys.modules if n.split(".")[0] == "sklearn"]:
        monkeypatch.setitem(sys.modules, name, None)
    assert model.score(trained, made[0], ENDS[-1]) is not None


def test_a_month_is_scored_with_the_newest_fit_that_is_not_later(
    made: tuple[Activity, np.ndarray], trained: Trained
) -> None:
    fits = fits_of(trained)
    march = number_of(ENDS[2])
    told = model.score(trained, made[0], ENDS[2])
    assert told is not None
    assert same(told, model.score_with(fits[2], made[0], march))
    assert not same(told, model.score_with(fits[3], made[0], march))
    may = model.score(trained, made[0], date(2024, 5, 29))
    assert may is not None
    assert same(may, model.score_with(fits[3], made[0], number_of(date(2024, 5, 29))))
    assert model.score(trained, made[0], date(2023, 12, 31)) is None


def test_fits_are_carried_over(made: tuple[Activity, np.ndarray], trained: Trained, tmp_path: Path) -> None:
    """A model of three months is given a fourth: the three stay as long as what they were fitted to does."""
    earlier = model.train(made[0].until(number_of(ENDS[2])), ENDS[:3])
    assert isinstance(earlier, Trained)

    def fitted(activity: Activity, before: StoredModel) -> tuple[Trained, list[str]]:
        told: list[str] = []
        found = model.train(activity, ENDS, before, progress=told.append)
        assert isinstance(found, Trained)
        return found, [words.removeprefix("customer value, ") for words in told[:-1]]

    # Groups go on from those before, so the fourth fit is what training at once gives where nothing has changed.
    calm, days = fitted(made[0], stored(tmp_path, earlier))
    assert (calm.told, days) == (trained.told, ["2024-04-30"])
    # A late event in March: February's fit stays, March's and April's are made again.
    march = number_of(ENDS[1]) + 5
    late = replace(made[0], values=made[0].values * np.where(made[0].day[:, None] == march, 2.0, 1.0))
    found, days = fitted(late, stored(tmp_path, calm))
    assert days == ["2024-03-31", "2024-04-30"]
    assert found.told["fits"][:2] == calm.told["fits"][:2]
    assert found.told["fits"][2] != calm.told["fits"][2]
    other_recipe = replace(stored(tmp_path, earlier), told={**earlier.told, "recipe": 0})
    assert fitted(made[0], other_recipe)[1] == [str(d) for d in ENDS]


def test_where_nobody_is_seen_to_leave_it_is_not_told_who_has(made: tuple[Activity, np.ndarray]) -> None:
    fit = model.fit_at(made[0], number_of(ENDS[3]), None, None)
    assert fit.value is not None
    at_the_edge = replace(fit, value=replace(fit.value, a=float(np.exp(-12.0))))
    assert (fit.value.tells_leaving, at_the_edge.value and at_the_edge.value.tells_leaving) == (True, False)
    scores = [model.score_with(f, made[0], number_of(ENDS[3])) for f in (fit, at_the_edge)]
    assert np.isfinite(scores[0].p_alive).all()
    assert np.isnan(scores[1].p_alive).all()
    assert np.isfinite(scores[1].expected_purchases).all()


def test_parts_that_cannot_be_fitted_say_why(trained: Trained) -> None:
    first, second, third, _ = (fit["reasons"] for fit in trained.told["fits"])
    assert first["groups"].startswith("groups: a month that follows another is wanted")
    too_early = "churn: 90 days of data are wanted before it, or there is no outcome yet"
    assert first["churn"] == second["churn"] == too_early
    assert third == {}


def test_churn_that_could_not_be_tested_has_no_figures(made: tuple[Activity, np.ndarray]) -> None:
    found = model.train(made[0].until(number_of(ENDS[1])), ENDS[:2])
    assert isinstance(found, Trained)
    assert not [f.metric for f in found.figures if f.metric.startswith("churn")]
    assert "Churn could not be tested on 2023-12-31" in found.card["split"]
    assert "churn_adversarial_auc" not in drifting(found)


def test_too_few_customers_are_not_enough() -> None:
    """A hundred who buy once and come back for a look."""
    few = activity([(c, d, d == 3, 9.0 * (d == 3)) for c in range(100) for d in (3, 8)])
    found = model.train(few, ENDS[:2])
    assert isinstance(found, NotEnough)
    assert found.reason == (
        "On 2024-02-29: purchases: 100 customers with an order, 200 are wanted; 0 who ordered on two days, 50 are "
        "wanted; value: 0 customers paid on a second day, 50 are wanted; groups: 100 customers with an order a month "
        "before, 200 are wanted; churn: 90 days of data are wanted before it, or there is no outcome yet."
    )
    assert isinstance(model.train(few, []), NotEnough)


def test_without_prices_nothing_is_expected_in_money(made: tuple[Activity, np.ndarray]) -> None:
    free = replace(made[0], values=made[0].values * [1, 1, 1, 1, 0])
    found = model.train(free, ENDS[:2])
    assert isinstance(found, Trained)
    told = model.score(found, free, ENDS[1])
    assert told is not None
    assert np.isnan(told.expected_value).all()
    assert (told.expected_purchases > 0).all()
    rows = scored_rows([(ENDS[1], told)])
    assert rows["expected_value"].null_count == rows["churn_risk"].null_count == len(rows)
    assert rows["date_key"].unique().to_pylist() == [20240229]


def test_churn_features_by_hand() -> None:
    """At day 100: ordered on days 40, 60 and 90, looked on day 95; the other ordered once, on day 5."""
    made = activity([(7, 40, 1, 10), (7, 60, 2, 30), (7, 90, 1, 5), (7, 95, 0, 0), (7, 101, 5, 99), (9, 5, 1, 8),
                     (8, 50, 0, 0)])  # fmt: skip
    asked = churn.asked_at(made, JANUARY_1 + 100)
    assert asked.customer.tolist() == [7, 9]
    told = dict(zip(churn.FEATURES, asked.features[0].tolist(), strict=True))
    assert [told[f"{n}_1_30"] for n in MEASURES] == [2, 4, 0, 1, 5]
    assert [told[f"{n}_31_90"] for n in MEASURES] == [2, 4, 0, 3, 40]
    names = ("days_since_visit", "days_since_order", "days_since_first_order", "order_days", "revenue_so_far")
    assert [told[n] for n in names] == [5, 10, 60, 3, 45]
    assert (told["days_between_orders"], told["silence"]) == (25, 10 / 25)
    other = dict(zip(churn.FEATURES, asked.features[1].tolist(), strict=True))
    assert (other["visits_1_30"], other["visits_31_90"], other["days_since_visit"]) == (0, 0, 95)
    assert np.isnan(other["silence"])
    assert churn.stays_away(made, asked).tolist() == [False, True]


def test_training_days_have_known_outcomes() -> None:
    made = activity([(1, 0, 1, 1), (1, 200, 1, 1)])
    days = [d - JANUARY_1 for d in churn.training_days(made, JANUARY_1 + 120)]
    assert days == [32, 39, 46, 53, 60]  # 60 and 60 are 120; the first has 30 days behind it
    assert churn.training_days(made, JANUARY_1 + 88) == []


def test_the_best_tenth_by_hand() -> None:
    """Of twenty the two best are told at places 1 and 3."""
    came = np.zeros(20)
    came[[4, 9, 11]] = 50, 40, 1
    told = np.zeros(20)
    told[[4, 7, 9]] = 9, 8, 7
    assert report.captured(told, came) == 0.5
    assert np.isnan(report.captured(told, np.zeros(20)))


def test_activity_is_what_the_lake_says(tmp_path: Path) -> None:
    rows = [
        rees46_row("2024-05-01 10:00:00", "view", "p", "u"), rees46_row("2024-05-01 10:01:00", "cart", "p", "u"),
        rees46_row("2024-05-01 10:02:00", "purchase", "p", "u", "2.50"),
        rees46_row("2024-05-03 10:00:00", "view", "p", "u"), rees46_row("2024-05-03 10:00:10", "view", "q", "u"),
    ]  # fmt: skip
    chain = ingest_and_build(tmp_path / "home", [[write_rees46(tmp_path / "a.csv", rows)]], "rees46")
    with engine(chain.settings) as backend:
        found = load_activity(backend, chain.lake, ["2024-05-01", "2024-05-03"])
        assert found.values.tolist() == [[1, 1, 1, 1, 2.5], [1, 2, 0, 0, 0]]
        assert (found.day - number_of(date(2024, 5, 1))).tolist() == [0, 2]
        assert len(load_activity(backend, chain.lake, ["2024-05-03"]).day) == 1
        builder = StarBuilder(DuckDB(backend), chain.lake, chain.settings)
        days = read_parts(backend, chain.lake.table(CUSTOMER_DAY), ["2024-05-01"])
        told = model.Scores(found.customer[:1], np.array(["1 of 1: x"]), *(np.array([v]) for v in (0.5, 1, 2, 10.0)))
        scored = backend.create_table("scored", scored_rows([(date(2024, 5, 31), told)]), temp=True)
        ends = builder._ends([date(2024, 5, 31), date(2024, 5, 31) + timedelta(days=30)])
        months = facts.fact_customer_month(days, builder._visits, ends, scored).order_by("date_key")
        joined = backend.to_pyarrow(months).to_pylist()
    assert [(r["date_key"], r["cluster"], r["churn_risk"], float(r["expected_value"] or 0)) for r in joined] == [
        (20240531, "1 of 1: x", 0.5, 10.0), (20240630, None, None, 0.0)
    ]  # fmt: skip
