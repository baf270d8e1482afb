"""``behavior consent``: what persons decided about being recognised, recorded and shown. No id is ever printed."""

from __future__ import annotations

import csv
import sys
import time
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from behavior_assets import terminal
from behavior_assets.models_cli import HomeOption, JsonOption
from behavior_assets.privacy.consents import ID_KINDS, STATES, Decision, history, record
from behavior_assets.privacy.normal import IdOf, normal_id
from behavior_assets.privacy.suppression import read_suppression
from resources.errors import UsageError
from resources.settings import existing_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resources.lake import Lake

COLUMNS = ("subject", "id_kind", "state", "version", "at")
_LEEWAY_US = 86_400_000_000  # clocks differ; a decision of tomorrow is a mistake
_LONGEST = 100  # of a version's name


class IdKind(StrEnum):
    """What an id is."""

    user = "user"
    client = "client"


class State(StrEnum):
    """What was decided."""

    granted = "granted"
    denied = "denied"
    withdrawn = "withdrawn"


def consent(
    subject: Annotated[str, typer.Option("--subject", help="The person's id; - reads it from standard input.")] = "",
    id_kind: Annotated[IdKind, typer.Option("--id-kind", help="user: of a login; client: of a browser.")] = IdKind.user,
    state: Annotated[State | None, typer.Option("--state", help="What the person decided.")] = None,
    version: Annotated[str, typer.Option("--version", help="Which text was asked: a name of yours.")] = "",
    at: Annotated[str, typer.Option("--at", help="When, as 2024-05-01T10:00:00Z; else now.")] = "",
    file: Annotated[Path | None, typer.Option("--file", help=f"CSV with the columns {','.join(COLUMNS)}.")] = None,
    show: Annotated[bool, typer.Option("--show", help="Show what is recorded of the person.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Record what persons decided, or show it. The next `behavior run` makes it hold in every table.

    `--subject -` keeps the id out of the shell's history and of the list of processes.
    """
    from resources.lake import Lake

    if bool(subject) == (file is not None):
        msg = "--subject ID (or - to read it from standard input) or --file FILE is wanted, and not both."
        raise UsageError(msg)
    settings = existing_settings(home)
    lake, now_us = Lake(settings.home.lake), time.time_ns() // 1000
    person = sys.stdin.readline().strip() if subject == "-" else subject.strip()
    if show:
        _show(lake, person, id_kind, as_json=as_json)
        return
    if file is not None:
        decisions = list(_read(file, now_us))
        _require(bool(decisions), str(file), "it has no decision")
    else:
        if state is None:
            msg = f"--state is missing: one of {', '.join(STATES)}; or --show, to see what is recorded."
            raise UsageError(msg)
        row = {"subject": person, "id_kind": id_kind, "state": state, "version": version, "at": at}
        decisions = [_decision(row, {c: f"--{c.replace('_', '-')}" for c in COLUMNS}, now_us)]
    with lake.alone():
        suppression = read_suppression(settings)
        wanted = [d for d in decisions if not (suppression and suppression.names(IdOf.person, d.subject, ""))]
        if wanted:
            record(lake, wanted, now_us)
    left = len(decisions) - len(wanted)
    if as_json:
        terminal.tell_json({"recorded": len(wanted), "suppressed": left})
        return
    typer.echo(f"Recorded: {len(wanted):,}. `behavior run` makes it hold in every table.")
    if left:
        typer.echo(f"Not recorded: {left:,}, of persons who were erased (`behavior erase --lift` takes them in again).")


def _show(lake: Lake, person: str, id_kind: str, *, as_json: bool) -> None:
    import ibis

    backend = ibis.duckdb.connect()
    told = [{"state": r["state"], "version": r["version"], "at": _shown(r["at_us"])}
            for r in history(backend, lake, person, id_kind)]  # fmt: skip
    if as_json:
        terminal.tell_json({"decisions": told})
        return
    for row in told:
        typer.echo(f"{row['at']}  {row['state']:<9}  {row['version']}".rstrip())
    if not told:
        typer.echo("Nothing is recorded of this person.")


def _shown(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1e6, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _read(path: Path, now_us: int) -> Iterator[Decision]:
    """Decisions of a CSV file: all of them or, with an error that names the row, none."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            rows = csv.DictReader(lines, strict=True)
            if tuple(rows.fieldnames or ()) != COLUMNS:
                msg = f"{path}: the first line must be {','.join(COLUMNS)}."
                raise UsageError(msg)
            for number, row in enumerate(rows, 1):
                where = {c: f"{path}: row {number}: {c}" for c in COLUMNS}
                if None in row or None in row.values():
                    msg = f"{path}: row {number}: {len(COLUMNS)} fields are wanted."
                    raise UsageError(msg)
                yield _decision(row, where, now_us)
    except OSError as error:
        msg = f"--file {path}: cannot be read ({error.strerror})."
        raise UsageError(msg) from error
    except (UnicodeDecodeError, csv.Error) as error:  # their words may quote the line
        msg = f"--file {path}: not a CSV file in UTF-8."
        raise UsageError(msg) from error


def _decision(row: dict[str, str], where: dict[str, str], now_us: int) -> Decision:
    """A decision of what was given. Raises UsageError naming the place, and never the id."""
    said = {c: row[c].strip() for c in COLUMNS}
    _require(normal_id(said["subject"]) is not None, where["subject"], "it is empty")
    _require(said["id_kind"] in ID_KINDS, where["id_kind"], f"one of {', '.join(ID_KINDS)} is wanted")
    _require(said["state"] in STATES, where["state"], f"one of {', '.join(STATES)} is wanted")
    _require(len(said["version"]) <= _LONGEST, where["version"], f"at most {_LONGEST} letters are wanted")
    try:
        moment = datetime.fromisoformat(said["at"]) if said["at"] else None
    except ValueError as error:
        msg = f"{where['at']}: not a time; write for example 2024-05-01T10:00:00Z."
        raise UsageError(msg) from error
    at_us = now_us
    if moment is not None:
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        at_us = int(moment.timestamp()) * 1_000_000 + moment.microsecond
    _require(at_us >= 0, where["at"], "a time before 1970")
    _require(at_us <= now_us + _LEEWAY_US, where["at"], "a time that has not come yet")
    return Decision(said["subject"], said["id_kind"], said["state"], said["version"], at_us)


def _require(right: bool, where: str, wrong: str) -> None:  # noqa: FBT001
    if not right:
        msg = f"{where}: {wrong}."
        raise UsageError(msg)
