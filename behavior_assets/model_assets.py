"""Training as Dagster assets: trains where no usable model serves, or where the run asks for it."""

import base64
from collections.abc import Iterable
from datetime import UTC, datetime
from math import isfinite
from typing import Any

import dagster as dg

from behavior_assets import cards
from behavior_assets.leakage import GUARDS
from behavior_assets.partitions import OWNERS, PROGRESS, asset_key
from behavior_assets.prediction.load import days_of
from behavior_assets.trainer import CARD, NOT_ENOUGH, Recipe, about, figures_of, is_due, is_overdue, train
from resources.home import HomeResource
from resources.models import ModelStore, StoredModel

SEED = 7
HEADLINES = ("ap", "auc", "brier_skill", "ece", "lift_at_10", "wrmsse", "bias", "coverage_80", "coverage_95",
             "churn_auc", "stability")  # fmt: skip
_OFF = {"outcome": "never trained", "reason": "the setting train_models is false; `behavior run --train` trains"}
_NOTHING = "No version is kept, so there is nothing to look at: this says nothing of a model."
_UNTOLD = "The training of this version tells nothing of this guard. Train it anew: `behavior run --train`."


class Training(dg.Config):
    """Settings of a training run."""

    train: bool = False  # also where a usable model serves
    seed: int = SEED


def model_key(name: str) -> dg.AssetKey:
    """The asset of a model."""
    return asset_key(f"models/{name}")


def training_asset(
    recipe: Recipe, group: str, condition: dg.AutomationCondition  # type: ignore[type-arg]
) -> dg.AssetsDefinition:
    """The asset that trains a model by its recipe."""
    key = model_key(recipe.name)

    @dg.asset(
        key=key, deps=[asset_key(t.name) for t in recipe.tables], group_name=group, owners=OWNERS, kinds={"numpy"},
        description=f"{recipe.title} Trained where no usable version serves, weekly, and when its scores drift.",
        automation_condition=condition,
        check_specs=[dg.AssetCheckSpec(name, asset=key, description=GUARDS[name]) for name in recipe.guards],
    )  # fmt: skip
    def model(
        context: dg.AssetExecutionContext, config: Training, home: HomeResource
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]
        lake, settings = home.lake(), home.settings()
        store = ModelStore(settings.home.models)
        days = days_of(lake)

        def tell(what: str) -> None:
            context.log.info(what)
            PROGRESS.get()(f"{recipe.name}: {what}", 0)

        def overdue() -> bool:
            return is_overdue(store, recipe, settings.retrain_within_days, datetime.now(UTC))

        late = overdue()
        # Without days (all have expired) nobody trains.
        due = bool(days) and (config.train or (
            settings.train_models and is_due(store, recipe, about(lake, recipe, days), overdue=late)
        ))  # fmt: skip
        if due:
            tell("loading")
            with home.engine() as backend:  # the lake is locked for no longer than reading takes
                days = days_of(lake)
                data, loaded = about(lake, recipe, days), recipe.load(backend, lake, days[-1])
            ended = train(recipe, store, loaded, data, config.seed, tell)
        else:
            ended = store.attempt(recipe.name) or ({} if settings.train_models else _OFF)
        if days and late and overdue():
            tell("retired: it has learned from erased persons, and no other version can take its place")
            store.retire(recipe.name, days[-1])
        told = [ended.get("version"), store.champion(recipe.name)]  # what this run made, else what serves
        version = next(filter(None, told if due else reversed(told)), None)
        shown = store.load(recipe.name, version) if version else None
        return dg.MaterializeResult(
            metadata=_metadata(recipe, ended, shown), check_results=list(verdicts_of(recipe, shown, trained_now=due))
        )

    return model


def _metadata(recipe: Recipe, ended: dict[str, Any], shown: StoredModel | None) -> dict[str, Any]:
    told: dict[str, Any] = {
        "outcome": str(ended.get("outcome", "")), "reason": str(ended.get("reason", "")),
        "version": shown.version if shown else "none", "trained": bool(shown),
    }  # fmt: skip
    if shown is None:
        return {**told, "card": dg.MetadataValue.md(f"# {recipe.title}\n\n{NOT_ENOUGH}: {ended.get('reason', '')}")}
    told["card"] = dg.MetadataValue.md(shown.papers[CARD].decode())
    figures = figures_of(shown)
    told["figures"] = dg.MetadataValue.md(cards.table(figures))
    # Numbers are drawn over time, one line for each training.
    told |= {
        f"{f.metric} ({f.slice})": f.value
        for f in figures if f.metric in HEADLINES and "," not in f.slice and isfinite(f.value)
    }  # fmt: skip
    for name, raw in shown.papers.items():
        if name.endswith(".png"):
            picture = base64.b64encode(raw).decode()
            told[name.removesuffix(".png")] = dg.MetadataValue.md(f"![{name}](data:image/png;base64,{picture})")
    return told


def verdicts_of(recipe: Recipe, shown: StoredModel | None, *, trained_now: bool) -> Iterable[dg.AssetCheckResult]:
    """What the guards found at the training of the version that is shown; by part where it has several.

    A guard that the version's training tells nothing of has failed, one that could not look warns. Without a version
    there is nothing to look at.
    """
    found = shown.told.get("guards", {}) if shown else {}
    for name in recipe.guards:
        mine = {k: v for k, v in found.items() if k == name or k.startswith(f"{name}_")}
        looked = {k: dg.MetadataValue.json(v) for k, v in mine.items()}
        blind = next((v["not_looked_at"] for v in mine.values() if "not_looked_at" in v), "")
        told = f"Not looked at. {blind}" if blind else "" if mine else _UNTOLD if shown else _NOTHING
        passed = shown is None or (bool(mine) and not blind and all(v["passed"] for v in mine.values()))
        yield dg.AssetCheckResult(
            passed=passed, check_name=name, asset_key=model_key(recipe.name), description=told or None,
            severity=dg.AssetCheckSeverity.WARN if blind else dg.AssetCheckSeverity.ERROR,
            metadata={"trained_now": trained_now, "version": shown.version if shown else "none", **looked},
        )  # fmt: skip
