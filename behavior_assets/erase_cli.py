"""``behavior erase``: a person out of everything that the home holds, with a receipt."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from behavior_assets import terminal
from behavior_assets.models_cli import HomeOption, JsonOption
from behavior_assets.privacy.erasure.subjects import Asked, IdKind
from behavior_assets.privacy.normal import normal_id
from resources.errors import UsageError
from resources.settings import Settings, existing_settings

SubjectOption = Annotated[str, typer.Option("--subject", help="The id; - reads it from stdin, out of shells' history.")]
KindOption = Annotated[IdKind, typer.Option("--id-kind", help="user (also a client id), email or session.")]


def erase(
    subject: SubjectOption = "",
    id_kind: KindOption = IdKind.user,
    subjects: Annotated[Path | None, typer.Option("--subjects", help="A file with an id per line.")] = None,
    resume: Annotated[str, typer.Option("--resume", help="Go on with a case that was interrupted.")] = "",
    lift: Annotated[str, typer.Option("--lift", help="Take in again, from now on, whom this case has kept out.")] = "",
    list_: Annotated[bool, typer.Option("--list", help="Show every case, its state and what is overdue.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Erase persons: suppress, delete everywhere, publish, purge, scan; the receipt comes only after the scan."""
    settings = existing_settings(home)
    if list_:
        _list(settings, as_json=as_json)
        return
    from behavior_assets.privacy.erasure.case import open_case, require_case, welcome
    from behavior_assets.privacy.erasure.erase import Erasure, require_persons
    from behavior_assets.repair import by_the_chain

    if sum(map(bool, (subject, subjects, resume, lift))) != 1:
        msg = "one of --subject, --subjects and --resume says whom to erase; --lift ends a case, --list has all."
        raise UsageError(msg)
    if lift:
        welcome(settings, lift)
        terminal.tell_json({"case": lift, "lifted": True}) if as_json else typer.echo(f"Case {lift} keeps nobody out.")
        return
    if resume:
        case = require_case(settings, resume)
    else:
        asked = asked_for(subject, subjects, id_kind)
        require_persons(settings, asked)
        case = open_case(settings, asked, datetime.now(UTC))
    with terminal.progress(silent=as_json) as tell:
        receipt = Erasure(settings, case, by_the_chain, tell).run()
    if as_json:
        terminal.tell_json(receipt)
    else:
        _tell(receipt)


def asked_for(subject: str, subjects: Path | None, kind: IdKind) -> list[Asked]:
    """The ids of a command. Raises UsageError, naming lines and no id, for what is none."""
    if subjects is not None:
        try:
            lines = subjects.read_text("utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            msg = f"--subjects {subjects}: cannot be read ({type(error).__name__}). It is a text file, an id per line."
            raise UsageError(msg) from error
    else:
        lines = [sys.stdin.readline()] if subject == "-" else [subject]
    asked = [Asked(line.strip(), kind) for line in lines if normal_id(line)]
    if not asked:
        msg = "--subject: an id is not to be empty." if subjects is None else f"--subjects {subjects}: it has no id."
        raise UsageError(msg)
    return asked


def _list(settings: Settings, *, as_json: bool) -> None:
    from behavior_assets.privacy.erasure.case import states

    found = states(settings, datetime.now(UTC))
    if as_json:
        terminal.tell_json({"cases": found})
        return
    if not found:
        typer.echo("Nobody was erased yet.")
    for told in found:
        late = f"  OVERDUE: over {settings.erase_within_days} days" if told["overdue"] else ""
        lifted = "  lifted: what comes of them is taken in again" if told.get("lifted") else ""
        typer.echo(f"{told['case']}  {told['persons']:>6,} persons  {told['state']:<10} asked "
                   f"{told['reached']['requested'][:10]}{late}{lifted}")  # fmt: skip


def _tell(receipt: dict[str, Any]) -> None:
    persons = receipt["persons"]
    who = "1 person is" if persons == 1 else f"{persons:,} persons are"
    typer.echo(f"Case {receipt['case']}: {who} erased; a scan of the home found nothing.")
    for name, rows in receipt["rows"].items():
        typer.echo(f"  {name:<32} {rows:>10,} rows taken out")
    if not receipt["rows"]:
        typer.echo("  Nothing was held of them; what comes of them later is suppressed (a session: what names nobody).")
    if receipt["originals"]:
        typer.echo(f"  archive: {receipt['original_records']:,} records blank in {receipt['originals']:,} files")
    if receipt["tombstones"]:
        typer.echo(f"  snapshots that became tombstones: {', '.join(receipt['tombstones'])}")
    if receipt["models"]:
        typer.echo(f"  models that learned from them, to be trained anew: {', '.join(receipt['models'])}")
    typer.echo("  seconds: " + ", ".join(f"{step} {s:.1f}" for step, s in receipt["seconds"].items()))
    for place in receipt["not_covered"]:
        typer.echo(f"  not covered: {place}")
