"""``behavior models``: what is kept, what serves, one step back, and every figure of a card once more."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from behavior_assets import terminal
from resources.errors import IntegrityError, UsageError
from resources.settings import Settings, existing_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from behavior_assets.trainer import Recipe
    from resources.models import ModelStore

app = typer.Typer(help="Trained models: what is kept, what serves, how good it is known to be.", no_args_is_help=True)

HomeOption = Annotated[Path | None, typer.Option("--home", help="The home folder; else BEHAVIOR_HOME, else ./data.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on stdout and nothing else there.")]
NameArgument = Annotated[str, typer.Argument(help="The model; `behavior models list` has the names.")]
VersionOption = Annotated[str, typer.Option("--version", help="A version; else the one that serves.")]
_NEAR = 1e-6


def _store(home: Path | None) -> tuple[Settings, ModelStore]:
    from resources.models import ModelStore

    settings = existing_settings(home)
    return settings, ModelStore(settings.home.models)


def _recipe(name: str) -> Recipe:
    from behavior_assets.recipes import RECIPES

    if name not in RECIPES:
        msg = f"{name}: no such model. There are: {', '.join(RECIPES)}."
        raise UsageError(msg)
    return RECIPES[name]


@app.command("list")
def list_models(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Every model with its versions."""
    from behavior_assets.recipes import NAMES
    from behavior_assets.star.registry import dim_model

    _, store = _store(home)
    rows = [r for r in dim_model(store, NAMES).to_pylist() if r["model_key"] >= 0]
    rows.sort(key=lambda r: (r["model"], str(r["trained_at"] or ""), r["version"]))
    if as_json:
        terminal.tell_json({"models": [{**r, "trained_at": str(r["trained_at"] or "")} for r in rows]})
    else:
        terminal.tell_models(rows)


@app.command()
def card(name: NameArgument, version: VersionOption = "", home: HomeOption = None) -> None:
    """The model card, as Markdown."""
    from behavior_assets.trainer import CARD

    _, store = _store(home)
    recipe, attempt = _recipe(name), store.attempt(name) or {}
    wanted = version or store.champion(name) or attempt.get("version")
    if wanted:
        typer.echo(store.load(name, str(wanted)).papers[CARD].decode())
    else:
        told = f"{attempt.get('outcome', 'never trained')}: {attempt.get('reason', '')}".rstrip(": ")
        typer.echo(f"# {recipe.title}\n\n{told}")


@app.command()
def rollback(name: NameArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Let the version that served before serve again; the next run publishes what it tells."""
    _serve(name, home, "serves again", lambda store, day: store.rollback(name, day), as_json=as_json)


@app.command()
def promote(
    name: NameArgument,
    version: Annotated[str, typer.Argument(help="The version; `behavior models list` has them.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a version that is kept serve; the next run publishes what it tells."""
    from behavior_assets.trainer import failed_guards

    def change(store: ModelStore, day: str) -> None:
        if failed := failed_guards(store.load(name, version).told):
            msg = f"{name} {version}: it does not serve, as a leakage check found something: {', '.join(failed)}."
            raise UsageError(msg)
        store.promote(name, version, day)

    _serve(name, home, "serves", change, as_json=as_json)


def _serve(
    name: str, home: Path | None, word: str, change: Callable[[ModelStore, str], object], *, as_json: bool
) -> None:
    """Change which version serves while no run goes on, and say which does now and which did.

    ``change`` is told the newest day of data, until which what served so far is asked about.
    """
    from behavior_assets.prediction.load import days_of
    from resources.lake import Lake
    from resources.lock import exclusive

    settings, store = _store(home)
    _recipe(name)
    with exclusive(settings.home.dagster):
        left = store.champion(name)
        change(store, max(days_of(Lake(settings.home.lake)), default=""))
        version = store.champion(name)
    if as_json:
        terminal.tell_json({"model": name, "serves": version, "served_before": left})
    elif version == left:
        typer.echo(f"{name}: {version} serves already.")
    else:
        typer.echo(f"{name}: {version} {word}, instead of {left}. `behavior run` publishes what it tells.")


@app.command()
def recompute(
    name: NameArgument, version: VersionOption = "", home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """Every figure of a card, computed anew from the kept weights and the data that they were made from."""
    from behavior_assets.prediction.load import days_of
    from behavior_assets.trainer import about, figures_of
    from resources.home import HomeResource

    settings, store = _store(home)
    recipe, model = _recipe(name), store.load(name, version or None)
    resource = HomeResource(home=str(settings.home.root))
    lake, data = resource.lake(), model.told["data"]
    days = [d for d in days_of(lake) if d <= data["last"]]
    if not days or about(lake, recipe, days).inputs != data["inputs"]:
        msg = (
            f"{name} {model.version}: the data until {data['last']} are not what it was made from any more (late "
            "events, mended or erased rows), so its figures cannot be computed again. `behavior run --train` makes a "
            "new version."
        )
        raise UsageError(msg)
    with terminal.progress(silent=as_json) as tell:
        tell("loading", 0)
        with resource.engine() as backend:
            loaded = recipe.load(backend, lake, data["last"])
        tell("computing", 0)
        again = {(f.metric, f.slice, f.baseline): f for f in recipe.again(loaded, model)}
    rows = [_compared(f, again.get((f.metric, f.slice, f.baseline))) for f in figures_of(model)]
    wrong = [r for r in rows if not r["same"]]
    if as_json:
        terminal.tell_json({"model": name, "version": model.version, "figures": rows, "ok": not wrong})
    else:
        terminal.tell_recomputed(rows)
    if wrong:
        told = ", ".join(f"{r['metric']} ({r['slice']})" for r in wrong[:5])
        msg = f"{name} {model.version}: {len(wrong):,} of {len(rows):,} figures are not what its card says: {told}."
        raise IntegrityError(msg)


def _compared(card_: Any, again: Any) -> dict[str, Any]:
    pairs = [(getattr(card_, n), getattr(again, n) if again else float("nan")) for n in
             ("value", "lower", "upper", "baseline_value")]  # fmt: skip
    same = all((math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=_NEAR, abs_tol=_NEAR) for a, b in pairs)

    def known(value: float) -> float | None:
        return None if math.isnan(value) else value

    return {"metric": card_.metric, "slice": card_.slice, "baseline": card_.baseline, "card": known(pairs[0][0]),
            "again": known(pairs[0][1]), "same": bool(same and again)}  # fmt: skip
