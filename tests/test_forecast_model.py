"""Forecasts as a stored model: gates, what is kept, and scoring that trains nothing and knows no future."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from behavior_assets import cards
from behavior_assets.forecasting import card, neural
from behavior_assets.forecasting import methods as ways
from behavior_assets.forecasting import model as made
from behavior_assets.forecasting.backtest import AVERAGE, NAIVE, PARTS, TOTAL, choose, run, total_of
from behavior_assets.forecasting.judge import Ratio, judge
from behavior_assets.forecasting.load import CATEGORY, PRODUCT, Loaded, load_demand
from behavior_assets.forecasting.methods import seasonal_naive, smoothed
from behavior_assets.forecasting.model import HORIZON, Plan, forecast, plan, shortage, train
from behavior_assets.forecasting.series import Calendar, Demand, learn_calendar
from behavior_assets.forecasting.serve import Rows, _method
from behavior_assets.prediction import trees
from behavior_assets.training import Figure, NotEnough, Trained
from resources.engine import engine
from resources.errors import UsageError
from resources.models import ModelStore, StoredModel
from tests.conftest import REPOSITORY, Chain, require_packages, shuffled

MONDAY = 4  # 1970-01-05, the first day
WEEK = np.array([20, 20, 20, 20, 20, 8, 0])  # units a day of a series of size 1: quiet Saturdays, shut on Sundays
SIZES = np.array([0.2, 0.5, 1, 1, 1, 1, 2, 2, 2, 3, 4, 5])
BOUNDS = ("forecast", "lower_80", "upper_80")
OF_OTHERS = {"data", "training", "versions"}


def shop(days: int, seed: int = 1, sizes: np.ndarray = SIZES) -> Demand:
    """Sales that scatter about ``WEEK`` times ``sizes``, each unit worth 2."""
    mean = sizes[:, None] * WEEK[np.arange(days) % 7]
    values = np.random.default_rng(seed).poisson(mean).astype(float)
    return Demand(tuple(str(n) for n in range(len(sizes))), MONDAY, values, values * 2.0)


def stored(trained: Trained | NotEnough, root: Path) -> StoredModel:
    """The model as the store gives it back."""
    assert isinstance(trained, Trained)
    store = ModelStore(root)
    return store.load("forecast", store.save("forecast", date(2024, 1, 1), trained.told, trained.arrays))


def small(demand: Demand) -> Trained:
    """A model of a history too short for what trains."""
    found = train(Loaded(demand, CATEGORY), 7)
    assert isinstance(found, Trained)
    return found


@pytest.fixture(scope="module")
def demand() -> Demand:
    """Half a year."""
    return shop(168)


@pytest.fixture(scope="module")
def trained(demand: Demand) -> Trained:
    """A model of all methods."""
    require_packages("statsforecast", "sklearn", "keras")
    return small(demand)


@pytest.fixture(scope="module")
def model(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> StoredModel:
    """The same, kept and read again."""
    return stored(trained, tmp_path_factory.mktemp("models"))


def served(model: StoredModel, total: str, parts: str) -> StoredModel:
    """The model with other methods serving."""
    return replace(model, told={**model.told, "methods": {TOTAL: total, PARTS: parts}})


def matrix(rows: Rows, column: str = "forecast") -> np.ndarray:
    """A column as [1 + S, H], the total first."""
    return rows[column].reshape(-1, HORIZON)


def same(one: Rows, other: Rows) -> bool:
    """Whether all columns are the same, bit for bit."""
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


# What is enough

PAUSE = ("sales pause for too long: there are no two days, 28 apart, with sales in the 28 days before and the 28 days "
         "after each")  # fmt: skip

@pytest.mark.parametrize(("days", "quiet", "reason"), [
    (83, (0, 0), "83 days since the first sale, 84 are wanted: 8 weeks to learn from and 28 days to judge by"),
    (140, (112, 140), "nothing was sold in the last 28 days"),
    (112, (28, 84), PAUSE),
])  # fmt: skip
def test_too_little_is_told(days: int, quiet: tuple[int, int], reason: str) -> None:
    values = shop(days).values
    values[:, slice(*quiet)] = 0
    demand = Demand(shop(days).names, MONDAY, values, values)
    assert shortage(demand) == reason
    assert train(Loaded(demand, CATEGORY), 7) == NotEnough(reason)


def test_no_sale_at_all_is_too_little() -> None:
    assert shortage(Demand((), 0, np.zeros((0, 0)), np.zeros((0, 0)))).startswith("0 days since the first sale")


def test_origins_fit_the_history() -> None:
    assert plan(shop(84)) == Plan((28, 35, 42, 49, 56), learns=False)  # the last has one whose 28 days had passed
    assert plan(shop(168)) == Plan((91, 98, 105, 112, 119, 126, 133, 140), learns=True)
    long = plan(shop(400))
    assert long is not None
    assert (len(long.origins), long.origins[-1], long.origins[-1] - long.origins[-2]) == (12, 372, 14)


@pytest.mark.parametrize("odd", ["84 days", "one series", "always the same", "nothing has a price", "a pause"])
def test_a_small_history_makes_a_model(odd: str) -> None:
    pytest.importorskip("statsforecast")
    demand = shop(84 if odd == "84 days" else 112, sizes=SIZES[:1] if odd == "one series" else SIZES)
    if odd == "always the same":
        demand = Demand(demand.names, MONDAY, np.ones_like(demand.values), demand.worth)
    if odd == "a pause":
        demand.values[:, 40:60] = 0
    if odd == "nothing has a price":
        demand = Demand(demand.names, MONDAY, demand.values, demand.values)
    found = small(demand)
    assert set(found.told["members"][PARTS]) == {"smoothed", "croston", "ets"}
    rows = found.arrays["backtest"]
    assert np.isfinite(rows["forecast"]).all()
    if odd == "84 days":
        assert [f.lower for f in found.figures if f.slice == TOTAL] == pytest.approx([np.nan] * 7, nan_ok=True)


# What is kept


def test_the_shop_s_week_is_forecast(model: StoredModel, demand: Demand) -> None:
    found = matrix(forecast(model, demand))
    week = SIZES.sum() * WEEK
    assert found[0].reshape(4, 7).mean(axis=0) == pytest.approx(week, rel=0.15)
    assert (found[:, 6::7] == 0).all()
    assert found[0] == pytest.approx(found[1:].sum(axis=0), abs=1e-6)
    lower, upper = (matrix(forecast(model, demand), f"{side}_95") for side in ("lower", "upper"))
    assert (lower <= matrix(forecast(model, demand), "lower_80")).all()
    assert (upper >= matrix(forecast(model, demand), "upper_80")).all()


def test_the_figures_and_the_card_are_whole(trained: Trained) -> None:
    told = {(f.metric, f.slice): f for f in trained.figures}
    assert told["wrmsse", "all"].value < told["wrmsse", "all"].baseline_value == pytest.approx(
        np.mean([told["wrmsse", s].baseline_value for s in (TOTAL, CATEGORY)])
    )
    better = told["better_than_seasonal_naive", "all"]
    assert 0 < better.lower < better.value < better.upper < 1
    assert 0.7 < told["coverage_80", "all"].value < 0.9
    assert told["coverage_95", CATEGORY].value > 0.9
    assert told["pinball", CATEGORY].baseline == "network_quantiles"
    assert 0 < told["pinball", CATEGORY].baseline_value < 2 * told["pinball", CATEGORY].value
    assert told["coherence_error", "all"].value < 1e-6
    assert set(trained.card) == set(cards.FIELDS) - OF_OTHERS
    assert not set(cards.missing(trained.card)) - OF_OTHERS


def test_a_level_that_the_last_week_tells_as_well_is_said_so() -> None:
    figures = [
        Figure("wrmsse", 1.2, "total", baseline=NAIVE, baseline_value=1.1), Figure("bias", 0.5, "total"),
        Figure("wrmsse", 0.9, "category", baseline=NAIVE, baseline_value=1.0),
    ]  # fmt: skip
    said = "- **No better than the same weekday of the last week (total)**: WRMSSE 1.2, its 1.1."
    assert card._beaten(figures) == [said]
    assert card._beside(figures) == ["`wrmsse`"]


def test_past_forecasts_are_published_as_they_would_have_been(trained: Trained) -> None:
    rows = trained.arrays["backtest"]
    origins = np.unique(rows["origin"])
    assert (origins - MONDAY + 1).tolist() == [119, 126, 133, 140]
    for origin in origins:
        mine = {name: values[rows["origin"] == origin] for name, values in rows.items()}
        assert mine["series"].tolist()[::HORIZON] == [TOTAL, *(str(n) for n in range(len(SIZES)))]
        assert mine["day"][:HORIZON].tolist() == list(range(origin + 1, origin + 1 + HORIZON))
        found = matrix(mine)
        assert found[0] == pytest.approx(found[1:].sum(axis=0), abs=1e-6)


def test_the_figures_are_those_of_the_published_forecasts(trained: Trained, demand: Demand) -> None:
    told = {(f.metric, f.slice): f.value for f in trained.figures}
    rows, square, scaled, inside, sums = trained.arrays["backtest"], [], [], [], np.zeros(2)
    for origin in (119, 126, 133, 140):
        mine = {n: matrix(rows, n)[(matrix(rows, "origin") == MONDAY + origin - 1).all(axis=1)] for n in BOUNDS}
        both = np.vstack([demand.values.sum(axis=0), demand.values])
        actual = both[:, origin : origin + HORIZON]
        square.append(((mine["forecast"] - actual) ** 2).mean(axis=1))
        scale = (np.diff(both[:, :origin], axis=1) ** 2).mean(axis=1)
        scaled.append(np.sqrt(square[-1] / scale))
        was_open = actual[0] > 0
        inside.append(((actual >= mine["lower_80"]) & (actual <= mine["upper_80"]))[0, was_open].mean())
        sums += mine["forecast"][0].sum(), actual[0].sum()
        weight = both[1:, origin - 28 : origin].sum(axis=1)
        scaled[-1] = np.array([scaled[-1][0], np.average(scaled[-1][1:], weights=weight)])
    assert told["rmse", TOTAL] == pytest.approx(np.sqrt(np.mean([s[0] for s in square])))
    assert told["rmse", CATEGORY] == pytest.approx(np.sqrt(np.mean([s[1:] for s in square])))
    assert [told["wrmsse", TOTAL], told["wrmsse", CATEGORY]] == pytest.approx(np.mean(scaled, axis=0).tolist())
    assert told["coverage_80", TOTAL] == pytest.approx(np.mean(inside))
    assert told["bias", TOTAL] == pytest.approx(sums[0] / sums[1] - 1)


def test_a_series_that_nobody_knew_of_is_forecast_as_nothing() -> None:
    demand = Demand(("a", "b"), MONDAY, np.array([[0.0, 1.0], [0.0, 0.0]]), np.ones((2, 2)))

    def one_each(known: Demand, _calendar: Calendar, horizon: int) -> np.ndarray:
        return np.ones((len(known.names), horizon))

    found = made._begun(one_each, demand, learn_calendar(demand), 3)
    assert found.tolist() == [[1, 1, 1], [0, 0, 0]]


@pytest.mark.parametrize("method", [NAIVE, "smoothed", "croston", "ets", "boosting", "network", AVERAGE])
def test_the_stored_model_tells_what_training_told(model: StoredModel, demand: Demand, method: str) -> None:
    """Every method anew at the last day, trained as in the backtest, against what was kept of it."""
    candidates = made._candidates(demand, Plan((91,), learns=True), 7)
    chosen = {level: by_name for level, by_name in candidates.by_level().items() if method in {*by_name, AVERAGE}}
    (origin,) = run(demand, [demand.days], HORIZON, chosen)
    calendar = learn_calendar(demand)
    for level, known in ((TOTAL, total_of(demand)), (PARTS, demand)):
        if level not in chosen:
            continue
        names = model.told["members"][level] if method == AVERAGE else [method]
        found = np.mean([_method(model, level, n)(known, calendar, HORIZON) for n in names], axis=0)
        assert np.abs(found - origin.forecasts[level][method]).max() < 1e-6


def test_scoring_serves_what_the_champion_serves(model: StoredModel, demand: Demand) -> None:
    """Origins run again without what trains: the champion's own forecast of the last day is the stored model's."""
    methods = {level: {NAIVE: seasonal_naive, "smoothed": smoothed} for level in (TOTAL, PARTS)}
    origins = run(demand, [91, 105, 119, 133, 140, 168], HORIZON, methods)
    champion = choose(origins[:-1])
    errors = {"total": champion.errors.total, "summed": champion.errors.summed, "together": champion.errors.together}
    told = {**model.told, "methods": champion.methods, "errors": errors}
    mine = replace(model, told=told, arrays={**model.arrays, "errors": {"parts": champion.errors.parts}})
    wanted = champion.forecast(origins[-1])
    assert np.array_equal(matrix(forecast(mine, demand)), np.concatenate([wanted[TOTAL], wanted[PARTS]]))


def test_each_origin_is_judged_by_what_was_known(demand: Demand) -> None:
    """What lies ahead of the last origin makes another method the best there, and serves none."""
    methods = {level: {NAIVE: seasonal_naive, "smoothed": smoothed} for level in (TOTAL, PARTS)}
    origins = run(demand, [84, 112, 140], HORIZON, methods)
    for level in (TOTAL, PARTS):
        for origin in origins[1:]:
            origin.forecasts[level][NAIVE] = origin.actual[level]
    first, last = judge(origins, HORIZON)
    assert first.champion.methods == {TOTAL: "smoothed", PARTS: "smoothed"}
    assert last.champion.methods == {TOTAL: NAIVE, PARTS: NAIVE}  # the one before it was known by then


def test_ratios_by_hand() -> None:
    ratio = Ratio(np.array([[1.0, 8.0], [3.0, 0.0]]), np.array([[1.0, 1.0], [1.0, 0.0]]))
    assert ratio.value == 4.0
    again = ratio.again(np.array([[2.0, 0.0], [0.0, 2.0], [1.0, 1.0]]), np.array([[1.0, 1.0], [1.0, 1.0], [2.0, 0.0]]))
    assert again.tolist() == [4.5, 3.0, 2.0]
    assert np.isnan(Ratio(np.zeros((1, 1)), np.zeros((1, 1))).value)


# Scoring


def test_trees_and_network_are_what_their_libraries_tell(demand: Demand) -> None:
    require_packages("sklearn", "keras")
    calendar = learn_calendar(demand)
    features, _ = ways.training_rows(demand, calendar, HORIZON)
    boosting = ways.fit_boosting(demand, calendar, HORIZON)
    ours = np.exp(trees.raw_scores(trees.exported(boosting), features))
    assert np.abs(ours - boosting.predict(features)).max() < 1e-9
    trainer = neural.Trainer()
    weights = trainer.fit(demand, calendar, HORIZON)
    assert weights is not None
    given = neural.scaled(weights, features)
    assert np.abs(neural.scores(weights, features) - np.asarray(trainer._fresh[0](given))).max() < 1e-5
    trainer.fit(shop(168, seed=9), calendar, HORIZON)
    again = trainer.fit(demand, calendar, HORIZON)
    assert again is not None
    assert all(np.array_equal(weights[n], again[n]) for n in weights)  # what was fitted between is forgotten


SCORING = """
import sys
for name in ("sklearn", "tensorflow", "keras", "statsforecast"):
    sys.modules[name] = None
from dataclasses import replace
from pathlib import Path
import numpy as np
from behavior_assets.forecasting.model import forecast
from behavior_assets.forecasting.series import Demand
from resources.models import ModelStore
store = ModelStore(Path(sys.argv[1]))
model = store.load("forecast", store.versions("forecast")[0])
values = np.load(sys.argv[2])
demand = Demand(tuple(str(n) for n in range(len(values))), 4, values, values * 2.0)
told = {**model.told, "methods": {"total": "boosting", "parts": "network"}}
np.savez(sys.argv[3], **forecast(replace(model, told=told), demand))
"""


def test_scoring_needs_no_library_that_trains(model: StoredModel, trained: Trained, demand: Demand,
                                              tmp_path: Path) -> None:  # fmt: skip
    stored(trained, tmp_path / "models")
    np.save(tmp_path / "values.npy", demand.values)
    arguments = [tmp_path / "models", tmp_path / "values.npy", tmp_path / "rows.npz"]
    subprocess.run([sys.executable, "-c", SCORING, *map(str, arguments)], check=True, cwd=REPOSITORY,
                   env={**os.environ, "PYTHONPATH": str(REPOSITORY)})  # fmt: skip
    with np.load(tmp_path / "rows.npz") as found:
        assert same(dict(found), forecast(served(model, "boosting", "network"), demand))


@pytest.mark.parametrize("methods", [("boosting", "network"), ("smoothed", "boosting"), (AVERAGE, AVERAGE)])
def test_days_after_the_origin_change_nothing(model: StoredModel, demand: Demand, methods: tuple[str, str]) -> None:
    values = np.vstack([demand.values, np.zeros((1, demand.days))])
    values[:, 140:] = 999  # a new series among them
    changed = Demand((*demand.names, "new"), MONDAY, values, values * 2.0)
    mine = served(model, *methods)
    before = forecast(mine, demand, 140)
    assert same(before, forecast(mine, changed, 140))
    assert not same(before, forecast(mine, demand, 139))


def test_days_after_the_last_origin_change_no_past_forecast() -> None:
    pytest.importorskip("statsforecast")
    demand = shop(112)
    values = np.vstack([demand.values, np.zeros((1, demand.days))])
    values[:, 84:] = 50
    changed = Demand((*demand.names, "new"), MONDAY, values, values * 2.0)
    one, two = (small(d).arrays["backtest"] for d in (demand, changed))
    assert len(np.unique(one["origin"])) == 5
    assert same(one, two)


def test_a_new_series_is_told_from_its_own_days(model: StoredModel, demand: Demand) -> None:
    values = np.vstack([demand.values, 2 * demand.values[2]])
    values[-1, :120] = 0
    more = Demand((*demand.names, "new"), MONDAY, values, values * 2.0)
    for parts in ("smoothed", "boosting", "network", AVERAGE):
        rows = forecast(served(model, "smoothed", parts), more)
        found = matrix(rows)
        assert rows["series"].tolist()[-1] == "new"
        assert found[-1].mean() == pytest.approx(2 * WEEK.mean(), rel=0.35)
        assert found[0] == pytest.approx(found[1:].sum(axis=0), abs=1e-6)


def test_a_new_series_is_as_hard_as_others_on_average(model: StoredModel, demand: Demand) -> None:
    from behavior_assets.forecasting.serve import _errors

    more = Demand(("new", *demand.names[::-1]), MONDAY, np.ones((13, 28)), np.ones((13, 28)))
    known = model.arrays["errors"]["parts"]
    assert _errors(model, more).parts.tolist() == [known.mean(), *known[::-1]]


def test_what_cannot_be_served_is_told(model: StoredModel, demand: Demand) -> None:
    with pytest.raises(UsageError, match="forecast-0"):
        forecast(replace(model, told={**model.told, "recipe": "forecast-0"}), demand)
    for days in (27, 169):
        with pytest.raises(UsageError, match=f"origin after {days} days"):
            forecast(model, demand, days)


# From the lake

MAPPING = """columns: {event_time: at, event_name: what, user_id: who, event_id: nr, product_id: product,
  quantity: units, price: price%s}
ignore: [category]
"""
DAYS = ("2024-05-01", "2024-05-02", "2024-05-03", "2024-05-04")
EVENTS = """2024-05-01 10:00:00,purchase,u1,1,p1,toys,5,2.00
2024-05-01 10:01:00,purchase,u2,2,p1,toys,3,2.00
2024-05-01 10:02:00,refund,u1,3,p1,toys,2,2.00
2024-05-01 10:03:00,purchase,u4,4,p1,toys,80,2.00
2024-05-01 10:15:00,refund,u4,5,p1,toys,80,2.00
2024-05-01 11:00:00,purchase,u1,6,p3,books,1,7.00
2024-05-02 10:00:00,refund,u2,7,p1,toys,3,2.00
2024-05-02 10:01:00,purchase,u3,8,p2,,4,1.50
2024-05-02 10:02:00,purchase,,9,p2,,2,1.50
2024-05-02 10:03:00,refund,,10,p2,,2,1.50
2024-05-03 10:00:00,view_item,u1,11,p3,toys,1,7.00
2024-05-04 10:00:00,view_item,u1,12,p1,toys,1,2.00
""".splitlines()


def shop_of(folder: Path, events: list[str], *, categories: bool = True) -> Chain:
    """A home with these events."""
    folder.mkdir()
    text = MAPPING % (", category_path: category" if categories else "")
    mapping, file = folder / "map.yaml", folder / "events.csv"
    mapping.write_text(text.replace("ignore: [category]\n", "") if categories else text)
    file.write_text("\n".join(["at,what,who,nr,product,category,units,price", *events]) + "\n")
    chain = Chain.at(folder / "home")
    report = chain.ingest([file], "generic", mapping)
    assert not report.refused, report.refused
    chain.build()
    return chain


def load(chain: Chain, days: tuple[str, ...] = DAYS) -> Loaded:
    """Demand of a home."""
    with engine(chain.settings) as backend:
        return load_demand(backend, chain.lake, days)


def test_demand_by_the_category_that_a_product_has_now(tmp_path: Path) -> None:
    chain = shop_of(tmp_path / "a", EVENTS)
    found = load(chain)
    names = dict(chain.rows("gold/dim_category", "SELECT category_key::VARCHAR, category_name FROM t"))
    told = {names[n]: row for n, row in zip(found.demand.names, found.demand.values.tolist(), strict=True)}
    worth = {names[n]: row for n, row in zip(found.demand.names, found.demand.worth.tolist(), strict=True)}
    assert found.level == CATEGORY
    # 5 - 2 of u1, 3 of u2, none of the 80, and a book that is a toy by now. What comes back on the second day was sold.
    assert told == {"toys": [3 + 3 + 1, 0, 0, 0], "(unknown)": [0, 4 + 2, 0, 0]}
    assert worth == {"toys": [6 + 6 + 7, 0, 0, 0], "(unknown)": [0, 9, 0, 0]}
    assert load(chain, DAYS[:1]).demand.values.tolist() == [[7]]
    other = load(shop_of(tmp_path / "b", shuffled(EVENTS, 3)))
    assert (other.demand.names, other.level) == (found.demand.names, found.level)
    assert np.array_equal(other.demand.values, found.demand.values)
    assert np.array_equal(other.demand.worth, found.demand.worth)


def test_demand_by_product_where_there_are_no_categories(tmp_path: Path) -> None:
    chain = shop_of(tmp_path / "a", EVENTS, categories=False)
    found = load(chain)
    names = dict(chain.rows("gold/dim_product", "SELECT product_durable_key::VARCHAR, product_id FROM t"))
    told = {names[n]: row for n, row in zip(found.demand.names, found.demand.values.tolist(), strict=True)}
    assert (found.level, found.demand.first) == (PRODUCT, 19844)  # 2024-05-01
    assert told == {"p1": [6, 0, 0, 0], "p2": [0, 6, 0, 0], "p3": [1, 0, 0, 0]}


def test_nothing_sold_is_no_demand(tmp_path: Path) -> None:
    chain = shop_of(tmp_path / "a", EVENTS[-2:])
    assert load(chain).demand.names == ()
    assert load(chain, ()).demand.days == 0
