"""The trainer: when training is due, what its papers must say, and what serves afterwards."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from behavior_assets import cards
from behavior_assets.cards import FIELDS
from behavior_assets.star.registry import DRIFT, dim_model, drift, live_figures, model_card, model_key
from behavior_assets.trainer import ACCOUNT, CARD, NOT_ENOUGH, REFUSED, About, Recipe, figures_of, is_due, train
from behavior_assets.training import Figure, NotEnough, Trained
from resources.engine import engine
from resources.errors import TrainingError
from resources.models import SERVING, ModelStore
from resources.settings import create_home
from resources.table import TableSpec

FIGURES = (Figure("ap", 0.25, "prefix 1", 0.2, 0.3, "rule", 0.1), Figure("sessions", 100.0))
TEXTS = dict.fromkeys(FIELDS, "Something.")


def found(weight: float = 1.0, *, leak: bool = False, **texts: str) -> Trained:
    """A model of one number."""
    guards = {"boundary": {"passed": not leak, "sessions": 3}}
    return Trained({"recipe": 1, "guards": guards}, {"w": {"w": np.array([weight])}}, FIGURES, {**TEXTS, **texts})


def recipe(result: Trained | NotEnough, number: int = 1) -> Recipe:
    """A recipe that gives a result, whatever it is told."""
    table = TableSpec("silver/toys", pa.schema([]))
    nothing, train_ = (lambda *_: None), (lambda *_: result)
    return Recipe("toy", "Does it toy?", number, (table,), ("boundary",), nothing, train_, lambda *_: ())


def about(inputs: str = "aaaa", last: str = "2026-01-31") -> About:
    """Data of a month."""
    return About(("rees46",), False, "2026-01-01", last, 1000, inputs, {})


def trained(store: ModelStore, result: Trained | NotEnough, data: About | None = None) -> dict[str, Any]:
    """How a training ends."""
    return train(recipe(result), store, None, data or about(), 7)


def test_a_model_is_kept_with_its_papers_and_serves(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    ended = trained(store, found())
    assert (ended["outcome"], ended["reason"]) == (SERVING, "")
    model = store.load("toy")
    assert (model.version, model.version[:9]) == (ended["version"], "20260131-")
    assert str(figures_of(model)) == str(FIGURES)  # NaN is not NaN
    card = model.papers[CARD].decode()
    assert card.startswith("# Does it toy?\n\n## Intended use\nSomething.")
    assert "rees46, 2026-01-01 to 2026-01-31; the shop's own data; 1,000 rows of silver/toys" in card
    assert "| ap | prefix 1 | 0.25 | 0.2 to 0.3 | rule | 0.1 |" in card
    account = json.loads(model.papers[ACCOUNT])
    assert datetime.fromisoformat(account["trained_at"]).tzinfo is not None
    assert account["packages"]["numpy"] == np.__version__
    assert trained(store, found())["version"] == ended["version"], "the same training is the same version"


def test_training_is_due_where_nothing_usable_serves(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    assert is_due(store, recipe(found()), about())
    trained(store, NotEnough("two rows"))
    assert not is_due(store, recipe(found()), about()), "the same data would fail again"
    assert is_due(store, recipe(found()), about("bbbb"))
    assert is_due(store, recipe(found(), 2), about()), "another recipe may do with less"
    trained(store, found())
    assert not is_due(store, recipe(found()), about("bbbb")), "new data alone are no reason"
    assert is_due(store, recipe(found(), 2), about()), "what serves is of an older recipe"


def test_a_leak_keeps_a_version_from_serving(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    first = trained(store, found())["version"]
    ended = trained(store, found(2.0, leak=True), about("bbbb"))
    assert (ended["outcome"], ended["reason"]) == (REFUSED, "leakage checks failed: boundary")
    assert store.champion("toy") == first
    states = {r["version"]: (r["state"], r["reason"], r["is_champion"]) for r in dim_model(store, ["toy"]).to_pylist()}
    assert states[first] == ("serving", "", "Yes")
    assert states[ended["version"]] == (REFUSED, "leakage checks failed: boundary", "No")


@pytest.mark.parametrize("field", list(FIELDS))
def test_a_card_that_lacks_a_field_fails(tmp_path: Path, field: str) -> None:
    texts = {**TEXTS, field: " "}
    with pytest.raises(TrainingError, match=f"empty: {field}"):
        cards.render("Toy", texts, FIGURES, synthetic=False)
    if field not in {"data", "training", "versions"}:  # which the trainer tells
        with pytest.raises(TrainingError, match=f"empty: {field}"):
            trained(ModelStore(tmp_path), found(**{field: ""}))
        assert not ModelStore(tmp_path).versions("toy")


def test_a_card_has_figures_and_no_field_of_its_own() -> None:
    with pytest.raises(TrainingError, match="no figures"):
        cards.render("Toy", TEXTS, (), synthetic=False)
    with pytest.raises(TrainingError, match="unknown: mood"):
        cards.render("Toy", {**TEXTS, "mood": "good"}, FIGURES, synthetic=False)
    assert "SYNTHETIC" in cards.render("Toy", TEXTS, FIGURES, synthetic=True)


def test_packages_that_are_not_installed_are_named(tmp_path: Path) -> None:
    def missing(*_: Any) -> Trained:
        raise ModuleNotFoundError(name="tensorflow")

    ended = train(replace(recipe(found()), train=missing), ModelStore(tmp_path), None, about(), 7)
    assert ended["outcome"] == NOT_ENOUGH
    assert ended["reason"].endswith("pip install '.[models]' in the repository (tensorflow)")


def test_every_model_has_a_row_and_keys_are_those_of_the_engine(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "models")
    trained(store, NotEnough("two rows"))
    rows = dim_model(store, ["toy", "other"]).to_pylist()
    assert {(r["model"], r["version"], r["state"], r["reason"]) for r in rows} == {
        ("(unknown)", "(unknown)", "(unknown)", ""), ("toy", "none", NOT_ENOUGH, "two rows"),
        ("other", "none", NOT_ENOUGH, "never trained"),
    }  # fmt: skip
    with engine(create_home(tmp_path / "home")) as backend:
        ((key,),) = backend.con.execute("SELECT surrogate_key('dim_model', 'toy none')").fetchall()
    assert key == model_key("toy", "none")
    assert [r["metric"] for r in model_card(store, ["toy"], {}).to_pylist()] == [NOT_ENOUGH]


def test_live_figures_and_remarks_stand_in_the_card_of_the_version_that_serves(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    first = trained(store, found())["version"]
    second = trained(store, found(2.0), about("bbbb", "2026-02-28"))["version"]
    store.remark("toy", first, [{"metric": "auc_below_optimum", "value": 0.01, "slice": "all", "lower": None,
                                 "upper": None, "baseline": "", "baseline_value": None}])  # fmt: skip
    rows = model_card(store, ["toy"], {"toy": [Figure("rows", 5.0, "served")]}).to_pylist()
    told = {(r["model_key"], r["metric"], r["slice"]): r["value"] for r in rows}
    assert told[model_key("toy", second), "rows", "served"] == 5.0
    assert (model_key("toy", first), "rows", "served") not in told
    assert told[model_key("toy", first), "auc_below_optimum", "all"] == 0.01


def test_scores_that_are_spread_otherwise_have_drifted() -> None:
    even, odd, usual = np.repeat(np.arange(1, 11), 50), np.repeat([1, 10], 250), [100] * 10
    assert [(f.metric, f.value) for f in drift(even, usual, "all")] == [(DRIFT, pytest.approx(0.0, abs=1e-9))]
    assert drift(odd, usual, "all")[0].value > 1
    assert drift(odd[:100], usual, "all") == []
    ties = [200, 0, 150, 50, 100, 100, 100, 100, 100, 100]  # equal chances leave tenths that are none
    assert drift(np.repeat(np.arange(1, 11), ties), ties, "all")[0].value == pytest.approx(0.0)


def test_few_rows_do_not_drift_by_chance() -> None:
    dice = np.random.default_rng(3)
    told = []
    for _ in range(200):
        usual = np.bincount(dice.integers(0, 10, 250), minlength=10)
        told += drift(dice.integers(1, 11, 220), usual.tolist(), "all")
    assert len(told) == 200
    assert sum(f.value > f.baseline_value for f in told) <= 2


def test_nothing_is_told_of_few_buyers() -> None:
    dice = np.random.default_rng(1)
    chance = dice.random(1000)
    label = dice.random(1000) < chance
    names = [f.metric for f in live_figures(label, chance, np.arange(1000), "all")]
    assert names == ["rows", "ap", "auc", "brier_skill", "ece", "lift_at_10"]
    assert [f.metric for f in live_figures(label[:20], chance[:20], np.arange(20), "all")] == ["rows"]
