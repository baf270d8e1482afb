"""``behavior audit``: whether the log of what was done to personal data is as it was written, and what it tells."""

from __future__ import annotations

import json
from dataclasses import asdict

import typer

from behavior_assets import terminal
from behavior_assets.models_cli import HomeOption, JsonOption
from resources.errors import IntegrityError
from resources.settings import existing_settings

app = typer.Typer(help="The log of what was done to personal data: chained and signed.", no_args_is_help=True)


@app.command()
def verify(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Tell whether an entry was edited, taken out, put in, moved or cut off; exit code 5 where one was."""
    from behavior_assets.privacy.audit_log import open_audit

    log = open_audit(existing_settings(home))
    verdict = log.verify()
    if as_json:
        terminal.tell_json({"ok": not verdict.problems, "entries": verdict.entries, "problems": list(verdict.problems)})
    elif not verdict.problems:
        typer.echo(f"{log.path}: {verdict.entries:,} entries, every one as it was written.")
    if verdict.problems:
        lines = [f"{log.path} is not what was written to it.", *(f"  {p}" for p in verdict.problems),
                 "Restore it and its heads from a backup, and find out who changed it."]  # fmt: skip
        raise IntegrityError("\n".join(lines))


@app.command("list")
def list_entries(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Every entry in order; of a log that was changed none is told."""
    from behavior_assets.privacy.audit_log import open_audit

    entries = list(open_audit(existing_settings(home)).entries())
    if as_json:
        terminal.tell_json({"entries": [asdict(e) for e in entries]})
        return
    for e in entries:
        typer.echo(f"{e.seq:>5}  {e.at}  {e.actor}  {e.action}  {json.dumps(e.told, sort_keys=True)}")
    if not entries:
        typer.echo("Nothing was noted yet.")
