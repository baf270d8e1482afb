"""Training as such: whether it is due, what a model's papers say of it, and which version serves afterwards."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from importlib import metadata
from math import isnan
from typing import TYPE_CHECKING, Any, cast

from behavior_assets import cards
from behavior_assets.incremental import content, fingerprint
from behavior_assets.ingestion.canonical import BRONZE_EVENTS
from behavior_assets.ingestion.ledger import read_ledger
from behavior_assets.training import Figure, NotEnough, Trained
from resources.models import SERVING, ModelStore, StoredModel
from resources.process import peak_memory_mb

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

    from resources.lake import Lake
    from resources.table import TableSpec

CARD, ACCOUNT = "card.md", "training.json"
NOT_ENOUGH, REFUSED = "not enough data", "refused"
_PACKAGES = ("behavior-lakehouse", "keras", "numpy", "scikit-learn", "scipy", "statsforecast", "tensorflow")
_MISSING = "the packages that train are not installed: pip install '.[models]' in the repository"


@dataclass(frozen=True)
class Recipe:
    """How one model comes about. ``load`` reads what was known at the end of a day; ``train`` never touches the lake.

    ``train`` takes the loaded data, a seed, whether the data is synthetic, the version that serves (None before the
    first) and a function that is told of progress. ``again`` gives the figures of a stored model's card once more from
    its weights. ``tables`` are what is read; ``guards`` the leakage checks that a manifest tells of. Versions of
    another ``number`` are not scored with.
    """

    name: str
    title: str
    number: int
    tables: tuple[TableSpec, ...]
    guards: tuple[str, ...]
    load: Callable[[Backend, Lake, str], Any]
    train: Callable[[Any, int, bool, StoredModel | None, Callable[[str], None]], Trained | NotEnough]
    again: Callable[[Any, StoredModel], tuple[Figure, ...]]


@dataclass(frozen=True)
class About:
    """What a model is trained on. ``inputs`` is a digest of all files of its tables up to the last day."""

    sources: tuple[str, ...]
    synthetic: bool
    first: str
    last: str
    rows: int
    inputs: str
    versions: Mapping[str, int]

    @property
    def dataset(self) -> str:
        """Sources and days in a few words."""
        return f"{', '.join(self.sources)}, {self.first} to {self.last}" + (" (SYNTHETIC)" if self.synthetic else "")


def about(lake: Lake, recipe: Recipe, days: list[str]) -> About:
    """What there is to train on: the given days, which are not held back."""
    entries = read_ledger(lake.table(BRONZE_EVENTS))
    digests, versions = [], {}
    for spec in recipe.tables:
        table = lake.table(spec)
        live = table.parts()
        digests += [content(live[d]) for d in days if d in live] if spec.by_day else [content(table.files())]
        versions[spec.name] = table.version
    return About(
        tuple(sorted({e.source for e in entries})), any(e.capabilities.get("is_synthetic") for e in entries),
        days[0], days[-1], sum(f.rows for d in days for f in lake.table(recipe.tables[0]).parts().get(d, [])),
        fingerprint(*digests), versions,
    )  # fmt: skip


def is_overdue(store: ModelStore, recipe: Recipe, within_days: int, now: datetime) -> bool:
    """Whether the version that serves has learned from erased persons for longer than it may."""
    told = store.stale(recipe.name)
    return told is not None and now >= datetime.fromisoformat(told["since"]) + timedelta(days=within_days)


def is_due(store: ModelStore, recipe: Recipe, data: About, *, overdue: bool = False) -> bool:
    """Whether to train where nobody asks for it: no usable version serves, and these data have not failed already.

    One that is ``overdue`` is trained in any case.
    """
    if overdue:
        return True
    version = store.champion(recipe.name)
    if version is not None and store.load(recipe.name).told.get("recipe") == recipe.number:
        return False
    last = store.attempt(recipe.name) or {}
    return (last.get("inputs"), last.get("recipe")) != (data.inputs, recipe.number) or last.get("outcome") == SERVING


def train(
    recipe: Recipe, store: ModelStore, loaded: Any, data: About, seed: int,
    progress: Callable[[str], None] = lambda _what: None,
) -> dict[str, Any]:
    """Train, keep the version with its papers, and let it serve unless a guard against leakage found something.

    Returns how it ended: ``outcome``, ``reason`` and, where a model was made, its ``version``.
    """
    began, started = time.perf_counter(), datetime.now(UTC)
    before = _usable(store, recipe)
    try:
        found = recipe.train(loaded, seed, data.synthetic, before, progress)
    except ModuleNotFoundError as error:
        found = NotEnough(f"{_MISSING} ({error.name})")
    ended: dict[str, Any] = {"inputs": data.inputs, "recipe": recipe.number, "data": data.dataset}
    if isinstance(found, NotEnough):
        ended |= {"outcome": NOT_ENOUGH, "reason": found.reason}
        store.note(recipe.name, ended)
        return ended
    spent = time.perf_counter() - began
    version = _keep(recipe, store, found, data, spent, started)
    failed = failed_guards(found.told)
    ended |= {"outcome": REFUSED if failed else SERVING, "version": version,
              "reason": f"leakage checks failed: {', '.join(failed)}" if failed else ""}  # fmt: skip
    if not failed:
        store.promote(recipe.name, version, data.last)
    store.note(recipe.name, ended)
    return ended


def failed_guards(told: Mapping[str, Any]) -> list[str]:
    """Names of the guards against leakage that found something in a version's training."""
    return sorted(name for name, verdict in told.get("guards", {}).items() if not verdict["passed"])


def _usable(store: ModelStore, recipe: Recipe) -> StoredModel | None:
    try:
        serving = store.load(recipe.name) if store.champion(recipe.name) else None
    except Exception:  # noqa: BLE001 - whatever is wrong with it, a new one is being made
        return None
    return serving if serving is not None and serving.told.get("recipe") == recipe.number else None


def _keep(
    recipe: Recipe, store: ModelStore, found: Trained, data: About, seconds: float, started: datetime
) -> str:
    """Save a version with its card, its pictures and an account of its training."""
    versions = {name: _version(name) for name in _PACKAGES}
    account = {
        "trained_at": started.isoformat(timespec="seconds"), "seconds": round(seconds, 1),
        "peak_memory_mb": peak_memory_mb(), "cores": os.cpu_count() or 0, "tables": dict(data.versions),
        "packages": versions,
    }  # fmt: skip
    licence = "made by this project's simulator" if data.synthetic else "the shop's own data"
    texts = {
        **found.card,
        "data": f"{data.dataset}; {licence}; {data.rows:,} rows of {recipe.tables[0].name}; digest of all that was "
                f"read {data.inputs}.",
        "training": f"{account['seconds']} s on {account['cores']} cores without a GPU; the process's peak so far "
                    f"{account['peak_memory_mb']:,} MiB.",
        "versions": f"Recipe {recipe.number}; " + ", ".join(f"{n} {v}" for n, v in versions.items() if v) + ".",
    }  # fmt: skip
    card = cards.render(recipe.title, texts, found.figures, synthetic=data.synthetic)
    papers = {CARD: card.encode(), ACCOUNT: json.dumps(account, indent=1).encode()}
    papers |= {f"{name}.png": picture for name, picture in found.plots.items()}
    told = {
        **found.told, "figures": [plain(f) for f in found.figures],
        "data": {"dataset": data.dataset, "synthetic": data.synthetic, "first": data.first, "last": data.last,
                 "inputs": data.inputs},
    }  # fmt: skip
    return store.save(recipe.name, date.fromisoformat(data.last), told, found.arrays, papers)


def plain(figure: Figure) -> dict[str, Any]:
    """A figure as JSON has it."""
    return {name: None if isinstance(v, float) and isnan(v) else v for name, v in asdict(figure).items()}


def figures_of(model: StoredModel) -> tuple[Figure, ...]:
    """The figures of a stored model's card."""
    return figures(model.told["figures"])


def figures(told: Iterable[Mapping[str, Any]]) -> tuple[Figure, ...]:
    """Figures from what ``plain`` made of them."""
    return tuple(
        Figure(**{name: cast("Any", float("nan") if v is None else v) for name, v in one.items()}) for one in told
    )


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
