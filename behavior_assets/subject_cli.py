"""``behavior export-subject`` and ``behavior scan``: what is held of one person, and where anything of them is."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from behavior_assets import terminal
from behavior_assets.erase_cli import KindOption, SubjectOption, asked_for
from behavior_assets.models_cli import HomeOption, JsonOption
from behavior_assets.privacy.erasure.subjects import IdKind
from resources.errors import IntegrityError
from resources.settings import existing_settings

_MOST = 20  # places of a layer that a terminal shows
_GRADES = {
    "anywhere": "can only be theirs: found in every spelling, wherever it stands",
    "whole": "counts where it stands alone and is not named a product, a price or a time",
    "weak": "counts only where a column, a field or a word says that it is a person's: elsewhere nothing is proven",
}


def export_subject(
    subject: SubjectOption,
    out: Annotated[Path, typer.Option("--out", help="A new or empty folder, for its owner only.")],
    id_kind: KindOption = IdKind.user,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write everything that is held of one person, and of nobody else, as CSV and JSON with explanations."""
    from behavior_assets.privacy.access.export import export_subject as export

    settings = existing_settings(home)
    told = export(settings, asked_for(subject, None, id_kind), out, datetime.now(UTC))
    rows = {f["table"]: f["rows"] for f in told["files"] if f["rows"]}
    left_out = sum(f["left_out"] + f["texts_left_out"] for f in told["files"])
    if as_json:
        terminal.tell_json({"known": told["known"], "out": str(out), "rows": rows, "left_out": left_out,
                            "snapshot": told["snapshot"]})  # fmt: skip
        return
    for name, count in rows.items():
        typer.echo(f"  {name:<32} {count:>10,} rows")
    if left_out:
        typer.echo(f"  {left_out:,} rows and texts were left out, since they name others: about.json counts them.")
    typer.echo(f"{out}: README.txt says what is what." if rows else f"{out}: nobody is known by this id; no table has "
               "a row of theirs.")  # fmt: skip


def scan(
    subject: SubjectOption,
    id_kind: KindOption = IdKind.user,
    expect_none: Annotated[bool, typer.Option("--expect-none", help="Exit code 5 where anything is found.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look through every byte and cell of the home for a person: where they are, and where nobody can tell."""
    from behavior_assets.privacy.scan_of_person import look_for

    settings = existing_settings(home)
    told = look_for(settings, asked_for(subject, None, id_kind))
    if as_json:
        terminal.tell_json(told)
    else:
        _tell(told)
    if expect_none and (told["found"] or told["unread"]):
        msg = f"scan: {told['found']:,} places hold something of the person, {len(told['unread']):,} cannot be read."
        raise IntegrityError(msg)


def _tell(told: dict[str, Any]) -> None:
    for layer, places in told["places"].items():
        typer.echo(f"{layer}: {len(places):,} places")
        for place in places[:_MOST]:
            typer.echo(f"  {place['path']}  {place['place']}  {place['how']}")
        if len(places) > _MOST:
            typer.echo(f"  and {len(places) - _MOST:,} more; --json lists all")
    if told["unread"]:
        typer.echo("cannot be looked into, so nothing is proven there:")
        for place in told["unread"]:
            typer.echo(f"  {place['path']}  {place['why']}")
    for grade, names in told["names"].items():
        typer.echo(f"{grade}: {names:,} of their ids and keys; such a one {_GRADES[grade]}")
    typer.echo(f"the id that was asked by is of the grade {told['grade']}")
    for left in told["left_out"]:
        typer.echo(f"left out: {left}")
    typer.echo(f"found: {told['found']:,}" + ("" if told["known"] else "; no event of theirs is in the lake"))
