"""``behavior keys``: the versions of the pseudonym key, a new one, the end of an old one, and translating extracts."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from behavior_assets import terminal
from behavior_assets.models_cli import HomeOption, JsonOption
from resources.errors import UsageError
from resources.settings import existing_settings

app = typer.Typer(help="The pseudonym key: its versions, rotation, and the end of an old one.", no_args_is_help=True)


@app.command("list")
def list_keys(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Every version, which one is in force, and which should be destroyed by now."""
    from behavior_assets.privacy.rotation import held_versions
    from resources.keys import PURPOSES, key_place, when_destroyed

    settings = existing_settings(home)
    destroyed_at = when_destroyed(settings)
    found = [] if destroyed_at else held_versions(settings)
    if as_json:
        places = {purpose: key_place(settings, purpose) for purpose in PURPOSES}
        terminal.tell_json({"versions": [asdict(v) for v in found], "places": places, "destroyed": destroyed_at,
                            "window_days": settings.key_window_days})  # fmt: skip
        return
    for v in found:
        state = "in force" if v.in_force else f"DESTROY IT, it was due {v.due[:10]}" if v.overdue else (
            f"kept until {v.due[:10]}" if v.due else "former")  # fmt: skip
        joined = f"; extracts can be translated ({', '.join(v.maps)})" if v.maps else ""
        typer.echo(f"version {v.version}  key {v.id}  {state}; {v.days:,} days of silver carry it{joined}")
    if destroyed_at:
        typer.echo(f"Every version was destroyed ({destroyed_at}): pseudonyms lead to nobody, and no run goes on.")
    elif not found:
        typer.echo("There is no key yet: the first `behavior run` makes it.")


@app.command()
def rotate(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Put a new version in force; the next `behavior run` makes everything after bronze again with it."""
    from behavior_assets.privacy.rotation import rotate as rotated

    settings = existing_settings(home)
    fresh = rotated(settings)
    if as_json:
        terminal.tell_json({"version": fresh.number, "id": fresh.id, "made": fresh.made})
        return
    typer.echo(f"Version {fresh.number} (key {fresh.id}) is in force. Next: behavior run. It keeps a map of former "
               f"pseudonyms; destroy version {fresh.number - 1} after {settings.key_window_days} days.")  # fmt: skip


@app.command()
def destroy(
    version: Annotated[int | None, typer.Option("--version", help="The old version.")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All versions: pseudonyms lead to nobody any more, and no run goes on.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Drop an old version and its map for good: extracts from before cannot be joined any more."""
    from behavior_assets.privacy.rotation import destroy as destroyed
    from behavior_assets.privacy.rotation import destroy_all

    if (version is None) != everything:
        msg = "Name either --version N or --all; `behavior keys list` names the versions."
        raise UsageError(msg)
    settings = existing_settings(home)
    gone = destroy_all(settings) if version is None else destroyed(settings, version)
    if as_json:
        terminal.tell_json({"destroyed": gone})
    else:
        typer.echo(f"Destroyed: {', '.join(gone)}. Backups of the keys folder hold them still: destroy those too.")


@app.command()
def translate(
    source: Annotated[Path, typer.Argument(help="A CSV file with pseudonyms from before a rotation.")],
    out: Annotated[Path, typer.Option(help="The file to write.")],
    column: Annotated[str, typer.Option(help="The column that holds them.")] = "customer_id",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy an extract with its former pseudonyms as those in force; unknown ones become empty."""
    from behavior_assets.privacy.audit_log import open_audit
    from behavior_assets.privacy.vault import maps
    from behavior_assets.privacy.vault import translate as translated

    settings = existing_settings(home)
    if out.exists():
        msg = f"--out {out}: is there already. Name a new file."
        raise UsageError(msg)
    if not maps(settings):
        msg = "There is no map to translate with: nothing was rotated, no run has followed, or the maps were destroyed."
        raise UsageError(msg)
    open_audit(settings).append("keys.translate")
    counts = translated(settings, source, column, out)
    if as_json:
        terminal.tell_json({"out": str(out), **counts})
    else:
        typer.echo(f"{out}: {counts['translated']:,} of {counts['rows']:,} rows translated, {counts['unchanged']:,} "
                   f"left as they were, {counts['unknown']:,} unknown and now empty.")  # fmt: skip
