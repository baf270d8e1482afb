"""``behavior publish``: the current snapshot into another database."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from behavior_assets import terminal
from behavior_assets.models_cli import HomeOption, JsonOption
from resources.settings import existing_settings

if TYPE_CHECKING:
    from exports.sql.publish import SqlPublished


def publish(
    to: Annotated[str, typer.Option("--to", help="URL, such as postgresql://user@host/database.")] = "",
    odbc: Annotated[str, typer.Option("--odbc", help="A DSN or a connection string of ODBC.")] = "",
    schema: Annotated[str, typer.Option(help="Schema (MySQL, MariaDB: database) that is replaced.")] = "mart",
    reader: Annotated[list[str] | None, typer.Option(help="A role that may read it; may be repeated.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Load also what is served already.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Load the current snapshot into another database, where it replaces the last one in one step.

    The password comes from the URL, BEHAVIOR_PUBLISH_PASSWORD, or where the driver looks (PGPASSWORD, ~/.pgpass).
    """
    from exports.sql.publish import publish as load
    from exports.sql.target import Target

    target = Target.parse(to, odbc)
    settings = existing_settings(home)
    with terminal.progress(silent=as_json) as tell:
        done = load(settings, target, schema, tuple(reader or ()), tell, force=force)
    if as_json:
        terminal.tell_json(asdict(done))
    else:
        _tell(done)
    for left in done.left:
        typer.echo(f"behavior: not removed yet, the next publish tries again: {left}", err=True)
    if done.newer:
        typer.echo(f"behavior: snapshot {done.newer} was made meanwhile; publish again to load it.", err=True)


def _tell(done: SqlPublished) -> None:
    rows = sum(done.tables.values())
    where = f"{done.target}, schema {done.schema}" if done.schema else done.target
    if done.new:
        typer.echo(f"Snapshot {done.snapshot} is in {where}: {len(done.tables)} tables, {rows:,} rows in "
                   f"{done.seconds:.1f} s.")  # fmt: skip
    else:
        typer.echo(f"{where} serves snapshot {done.snapshot} already: nothing to do.")
