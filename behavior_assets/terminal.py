"""What the commands say: tables and sentences for a terminal, one JSON object for a program."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from behavior_assets.ingestion.names import shown
from resources import errors
from resources.errors import BehaviorError, InputRefusedError, QualityError

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from behavior_assets.chain import ChainReport

MOST_NAMES = 10  # of files that are told by name on a terminal

# Tables whose days are held back one by one; automation.DAY_TABLES, which takes long to import.
HOLDING = ("bronze/events", "silver/events", "silver/sessions")
_COUNTS = ("files", "rows_in", "accepted", "quarantined", "duplicate", "suppressed", "late")
_told: list[bool] = []  # whether the JSON object is on stdout already


def console() -> Console:
    """Where progress is shown: stdout is for the answer."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


@contextmanager
def progress(*, silent: bool) -> Iterator[Callable[[str, int], None]]:
    """A spinner line on stderr that tells the stage and its rows."""
    if silent or not sys.stderr.isatty():
        yield lambda _what, _rows: None
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    # A file's name may hold what Rich takes for markup.
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=console(), transient=True) as bar:
        task = bar.add_task("starting")
        totals: dict[str, int] = {}

        def tell(what: str, rows: int) -> None:
            totals[what] = totals.get(what, 0) + rows
            count = f"  {totals[what]:,} rows" if totals[what] else ""
            bar.update(task, description=f"{shown(what)}{count}")

        yield tell


def begin() -> None:
    """A command begins: nothing is on stdout yet."""
    _told.clear()


def tell_json(document: dict[str, Any]) -> None:
    """The one JSON object of a command."""
    _told.append(True)
    typer.echo(json.dumps(document, indent=1))


def fail(message: str, exit_code: int, *, as_json: bool) -> None:
    """An error on stderr, and as the JSON object where a program waits for one and has none yet."""
    if message:
        typer.echo(f"behavior: {message}", err=True)
    if as_json and not _told:
        typer.echo(json.dumps({"error": message or "wrong usage; stderr says how", "exit_code": exit_code}))


def tell_report(report: ChainReport, status: dict[str, Any], *, as_json: bool) -> None:
    """What a run did, as a table or as JSON; raises what its exit code says."""
    told = {**status, "seconds": report.seconds, "stages": report.stages,
            "peak_memory_mb": report.peak_memory_mb, "archive_seconds": report.archive_seconds,
            "refused": report.refused, "repeated": report.repeated, "renewed": report.renewed,
            "waiting": report.waiting, "failed_checks": report.failed_checks,
            **({"replayed": report.replayed} if report.replayed else {}),
            "models": report.models, "snapshot_is_new": report.snapshot_is_new, "failure": report.failure}  # fmt: skip
    if as_json:
        tell_json(told)
    elif not report.failure or report.failed_checks:
        _tell_run(told)
    _tell_notes(report)
    _raise_for(report)


def _tell_notes(report: ChainReport) -> None:
    """What is no error, but should be known."""
    if report.renewed:
        typer.echo(f"behavior: warning: delivered before under the same name with other content: "
                   f"{_names(report.renewed)}. Taken as new files; rows that are in already were counted as "
                   "duplicates.", err=True)  # fmt: skip
    for left in report.waiting[:MOST_NAMES]:
        typer.echo(f"behavior: not taken yet: {left['reason']}", err=True)
    if len(report.waiting) > MOST_NAMES:
        typer.echo(f"behavior: not taken yet: {len(report.waiting) - MOST_NAMES:,} more files.", err=True)


def _names(names: list[str]) -> str:
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more:,} more" if more > 0 else "")


def _raise_for(report: ChainReport) -> None:
    """All that went wrong in a run, with the exit code of the worst: a failure, a broken rule, a refused file."""
    rules = [_rule(check) for check in report.failed_checks]
    refused = [r["reason"] for r in report.refused]
    if report.failure and not _stopped_by_a_rule(report):
        kind = getattr(errors, report.failure_kind, BehaviorError)
        raise kind("\n".join([report.failure, *rules, *refused]))
    if rules:
        raise QualityError("\n".join([*rules, *refused]))
    if refused:
        raise InputRefusedError("\n".join(refused))


def _stopped_by_a_rule(report: ChainReport) -> bool:
    """Whether the failure is only Dagster's word for a blocking rule, which is told as such."""
    return bool(report.failed_checks) and report.failure_kind.startswith("DagsterAssetCheckFailed")


def _rule(check: dict[str, str]) -> str:
    if check["table"].startswith("models/"):
        return (f"{check['table']}: the leakage check {check['rule']} failed; the version is kept, and does not serve. "
                f"`behavior models card {check['table'].removeprefix('models/')}` tells what was found.")  # fmt: skip
    return f"{check['table']}: rule {check['rule']} failed for {check['rows']} rows" + _consequence(check)


def _consequence(check: dict[str, str]) -> str:
    """What a broken rule stops: days of a table that is kept by day, else the publication."""
    if check["table"] in HOLDING:
        return f" (held back: {check['days']})"
    days = f" on {check['days']}" if check["days"] else ""
    return f"{days}; nothing new is published, the last snapshot stays"


def _tell_run(told: dict[str, Any]) -> None:
    tell_status(told)
    if told["repeated"]:
        typer.echo(f"\nSkipped, delivered before with the same bytes, format and mapping: {_names(told['repeated'])}")
    if replayed := told.get("replayed"):
        back, left = replayed["rows"] - replayed["left"], replayed["left"]
        typer.echo(f"\nOf {replayed['rows']:,} rows of the class {replayed['class']} {back:,} were accepted."
                   + (f" {left:,} are bad still: `behavior quarantine` says why." if left else ""))  # fmt: skip
    from resources.models import SERVING

    for name, model in told["models"].items():
        told_of = model["version"] if model["outcome"] == SERVING else f"{model['outcome']}: {model['reason']}"
        typer.echo(f"Model {name}: {told_of}")
    new = "published" if told["snapshot_is_new"] else "nothing changed, still"
    seconds, peak = told["seconds"], told["peak_memory_mb"]
    typer.echo(f"\nSnapshot {told['snapshot']} ({new}) in {seconds:.1f} s; this process took up to {peak:,} MiB.")


def tell_status(told: dict[str, Any]) -> None:
    """What a home holds."""
    from rich.console import Console
    from rich.table import Table

    out = Console(highlight=False)
    if told["synthetic"]:
        out.print("[bold]SYNTHETIC DATA[/bold]: made by the simulator, no real shop.")
    counts = Table("source")
    for row in told["sources"]:
        counts.add_column(row["source"], justify="right", overflow="fold")
    for count in _COUNTS:
        counts.add_row(count.replace("_", " "), *(f"{row[count]:,}" for row in told["sources"]))
    out.print(counts)
    tables = Table("table", "rows")
    for name, rows in told["tables"].items():
        tables.add_row(name, f"{rows:,}")
    out.print(tables)
    for held in told["held_days"]:
        out.print(f"[bold]Held back[/bold]: {held['table']} {held['day']} breaks {held['rules']}")
    out.print(f"Snapshot: {told['snapshot'] or 'none yet'}, data through {told['data_through'] or '-'}; "
              f"zone {told['timezone'] or 'not decided yet'}; "
              f"consent where a source is silent: {told['consent_when_absent']}; "
              f"profile: {told['profile']}; "
              f"pseudonyms under version {told['key_version'] or '-'} of the key")  # fmt: skip
    if told["erasures"]["open"]:
        out.print(f"[bold]Erasures[/bold]: {told['erasures']['open']} open, {told['erasures']['overdue']} overdue; "
                  "`behavior erase --list` tells which.")  # fmt: skip
    if told["stale_models"]:
        out.print(f"Models that learned from erased persons: {', '.join(told['stale_models'])}")
    if any(told["removed"].values()):
        out.print("Records taken out again: " + ", ".join(f"{n:,} {why}" for why, n in told["removed"].items()))
    if told["without_consent"]:
        out.print("Events without consent: "
                  + ", ".join(f"{count:,} {reason}" for reason, count in told["without_consent"].items()))  # fmt: skip


def tell_models(rows: list[dict[str, Any]]) -> None:
    """Versions of models."""
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for name in ("model", "version", "state", "trained at", "data"):
        table.add_column(name, no_wrap=name in {"model", "version"})
    for row in rows:
        table.add_row(row["model"], row["version"], row["state"] + (f": {row['reason']}" if row["reason"] else ""),
                      f"{row['trained_at']:%Y-%m-%d %H:%M}" if row["trained_at"] else "", row["dataset"])  # fmt: skip
    Console(highlight=False).print(table)


def tell_recomputed(rows: list[dict[str, Any]]) -> None:
    """Figures of a card beside the same computed anew."""
    from rich.console import Console
    from rich.table import Table

    table = Table("metric", "slice", "baseline", "card", "again", "")
    for row in rows:
        card, again = ("" if row[n] is None else f"{row[n]:,.6g}" for n in ("card", "again"))
        table.add_row(row["metric"], row["slice"], row["baseline"], card, again, "" if row["same"] else "DIFFERS")
    Console(highlight=False).print(table)
    typer.echo(f"{sum(r['same'] for r in rows):,} of {len(rows):,} figures are the same.")


def tell_quarantine(found: list[dict[str, Any]], *, show_values: bool) -> None:
    """Classes of quarantined rows with their examples."""
    for told in found:
        typer.echo(f"{told['source']}  {told['failure_class']}  {told['rows']:,} rows")
        for e in told["examples"]:
            raw = f"\n      {shown(e['raw'])}" if show_values else ""
            typer.echo(f"    {shown(e['file'])}, row {e['row']}, {e['column']}: {e['message']}{raw}")
        if told["instead"]:
            typer.echo(f"    {told['instead'][:1].upper()}{told['instead'][1:]}")
    if not found:
        typer.echo("The quarantine is empty.")
    elif not all(told["instead"] for told in found):
        typer.echo("After mending: behavior replay --class CLASS")


def tell_verified(told: dict[str, Any]) -> None:
    """What ``behavior verify`` looked at, and with ``--repair`` what it did and what it could not do."""
    for line in told.get("repaired", []):
        typer.echo(f"Repaired: {line}")
    for line in told.get("left", []):
        typer.echo(f"NOT repaired: {line}")
    if told.get("put_aside"):
        typer.echo(f"What was damaged is kept in {told['put_aside']}.")
    typer.echo(f"{told['tables']} tables, {told['files']} files, {told['rows']:,} rows read and compared.")
    for line in told.get("elsewhere", []):
        typer.echo(f"Not looked at here: {line}.")
    count = len(told["problems"])
    if count:
        typer.echo(f"BROKEN: {count} problem{'s' if count > 1 else ''}.")
    elif told.get("left"):
        typer.echo("What is there is whole; what is lost is named above.")
    else:
        typer.echo("Everything is whole.")


def broken(told: dict[str, Any], home: Path, *, repair: bool) -> str:
    """What is broken, a line each, and what to do about it."""
    found, lost = told["problems"], told.get("left", [])
    if not found:
        return f"{home}: not everything could be given back. What is lost is told above (NOT repaired)."
    lines = [f"{home} is damaged. Files of tables are named as below {home / 'lake'}.",
             *(f"  {p['where']}: {p['what']}" for p in found)]  # fmt: skip
    if not repair and any(p["repair"] for p in found):
        lines.append("`behavior verify --repair` mends what archive and tables can give back, and deletes nothing.")
    if repair and lost:
        lines.append("Why the repair could not mend it is told above.")
    return "\n".join(lines)
