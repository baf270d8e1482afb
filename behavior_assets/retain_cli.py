"""``behavior retain``: what is older than it is to be kept leaves the home."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from behavior_assets import terminal
from behavior_assets.models_cli import HomeOption, JsonOption
from resources.settings import existing_settings


def retain(
    home: HomeOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would leave, and change nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Take out of every layer what is older than the settings keep_<layer>_days, and purge what is left of it."""
    from behavior_assets.privacy.retention import Retention
    from behavior_assets.repair import by_the_chain

    settings = existing_settings(home)
    with terminal.progress(silent=as_json) as tell:
        retention = Retention(settings, by_the_chain, tell, lambda: datetime.now(UTC))
        told = retention.look() if dry_run else retention.run()
    if as_json:
        terminal.tell_json({"dry_run": dry_run, **told})
        return
    if not told["expired"]:
        typer.echo("Nothing has expired.")
    for name, count in told["expired"].items():
        typer.echo(f"  {name:<32} {count:>10,} {'would leave' if dry_run else 'left'}")
    if told["tombstones"]:
        typer.echo(f"  snapshots that became tombstones: {', '.join(told['tombstones'])}")
    for name in told["overdue"]:
        typer.echo(f"  {name} is older than it is to be kept, but it serves: train or publish anew")
