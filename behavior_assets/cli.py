"""``behavior``: a thin front over the same definitions that Dagster serves."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resources import errors
from resources.errors import BehaviorError, InputRefusedError, IntegrityError, QualityError, UsageError
from resources.process import tune
from resources.settings import create_home, load_settings, read_settings, resolve_home

if TYPE_CHECKING:
    from rich.console import Console

    from behavior_assets.chain import ChainReport

MOST_NAMES = 10  # of files that are told by name on a terminal

app = typer.Typer(
    help="A shop's clickstream in, a star schema with proof out.", no_args_is_help=True, add_completion=False,
    pretty_exceptions_enable=False,
)  # fmt: skip

# Tables whose days are held back one by one; automation.DAY_TABLES, which takes long to import.
HOLDING = ("bronze/events", "silver/events", "silver/sessions")


class Engine(StrEnum):
    """Engines of the chain."""

    duckdb = "duckdb"
    spark = "spark"


class SimulatedFormat(StrEnum):
    """Formats that the simulator writes."""

    rees46 = "rees46"
    ga4 = "ga4"


HomeOption = Annotated[Path | None, typer.Option("--home", help="The home folder; else BEHAVIOR_HOME, else ./data.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on stdout and nothing else there.")]


def _console() -> Console:
    from rich.console import Console

    return Console(stderr=True, highlight=False)


@contextmanager
def _progress(*, silent: bool) -> Iterator[Callable[[str, int], None]]:
    """A spinner line on stderr that tells the stage and its rows."""
    if silent or not sys.stderr.isatty():
        yield lambda _what, _rows: None
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=_console(), transient=True) as bar:
        task = bar.add_task("starting")
        totals: dict[str, int] = {}

        def tell(what: str, rows: int) -> None:
            totals[what] = totals.get(what, 0) + rows
            bar.update(task, description=f"{what}  {totals[what]:,} rows")

        yield tell


@app.command()
def simulate(
    home: HomeOption = None,
    days: Annotated[int, typer.Option(min=1, help="Days of trading.")] = 180,
    customers: Annotated[int, typer.Option(min=1, help="Customers of the shop.")] = 20_000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 7,
    events: Annotated[int | None, typer.Option(min=1, help="Aim for so many events.")] = None,
    closed_weekday: Annotated[int | None, typer.Option(min=0, max=6, help="0 is Monday.")] = None,
    format_: Annotated[SimulatedFormat, typer.Option("--format", help="What to write.")] = SimulatedFormat.rees46,
    out: Annotated[Path | None, typer.Option(help="Folder; default <home>/simulated.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the event files of a made-up shop, and beside them the truth that the chain never reads."""
    from behavior_assets.simulation.shop import ShopConfig
    from behavior_assets.simulation.shop import simulate as run_simulation

    target = out or resolve_home(home).root / "simulated"
    config = ShopConfig(days=days, customers=customers, seed=seed, events=events, closed_weekday=closed_weekday)
    with _progress(silent=as_json) as tell:
        report = run_simulation(config, target, format_.value, lambda done, _all: tell("simulated days", done and 1))
    folder = target / format_.value
    if as_json:
        typer.echo(json.dumps({"folder": str(folder), "synthetic": True, **asdict(report)}, default=str))
        return
    typer.echo(f"SYNTHETIC: {report.rows:,} events of {len(report.files)} days in {folder}")
    for name, count in sorted(report.counts.items(), key=lambda item: -item[1]):
        typer.echo(f"  {name:<16} {count:>12,}  {count / max(report.rows, 1):7.2%}")
    typer.echo(f"  revenue          {report.revenue:>12,.2f} {report.currency}")
    where = f"--home {home} " if home else ""
    typer.echo(f"Next: behavior run {where}--format {format_.value} --source {folder}")


@app.command()
def run(
    source: Annotated[list[Path] | None, typer.Option("--source", help="Files or folders; may be repeated.")] = None,
    more: Annotated[list[Path] | None, typer.Argument(help="Further files or folders.")] = None,
    format_: Annotated[str, typer.Option("--format", help="rees46, taobao, online_retail, ga4 or generic.")] = "",
    mapping: Annotated[Path | None, typer.Option(help="YAML mapping, for --format generic.")] = None,
    home: HomeOption = None,
    engine: Annotated[Engine, typer.Option(envvar="BEHAVIOR_ENGINE", help="What computes.")] = Engine.duckdb,
    as_json: JsonOption = False,
) -> None:
    """Land the sources, materialise everything that follows and publish a snapshot.

    Without --source, whatever lies in landing/<format>/ is taken.
    """
    from behavior_assets.chain import run_chain
    from behavior_assets.ingestion.arrivals import find_files
    from behavior_assets.ingestion.sources import load_source

    if engine is Engine.spark:
        msg = "--engine spark: this version computes with DuckDB only; leave --engine away."
        raise UsageError(msg)
    paths = [*(source or []), *(more or [])]
    if paths:
        if not format_:
            msg = "--format is missing: say how to read the sources."
            raise UsageError(msg)
        load_source(format_, mapping)
        find_files(paths)
    settings = create_home(home)
    with _progress(silent=as_json) as tell:
        report = run_chain(settings, paths, format_, mapping, tell)
    _tell_report(report, home, as_json=as_json)


def _tell_report(report: ChainReport, home: Path | None, *, as_json: bool) -> None:
    """What a run did, as a table or as JSON, and its exit code."""
    from behavior_assets.status import status as read_status

    told = {**read_status(load_settings(home)), "seconds": report.seconds, "stages": report.stages,
            "peak_memory_mb": report.peak_memory_mb, "archive_seconds": report.archive_seconds,
            "refused": report.refused, "repeated": report.repeated, "failed_checks": report.failed_checks,
            "snapshot_is_new": report.snapshot_is_new, "failure": report.failure}  # fmt: skip
    if as_json:
        _tell_json(told)
    elif not report.failure or report.failed_checks:
        _tell_run(told)
    _raise_for(report)


def _raise_for(report: ChainReport) -> None:
    """All that went wrong in a run, with the exit code of the worst: a failure, a broken rule, a refused file."""
    rules = [f"{c['table']}: rule {c['rule']} failed for {c['rows']} rows" + _consequence(c)
             for c in report.failed_checks]  # fmt: skip
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


def _consequence(check: dict[str, str]) -> str:
    """What a broken rule stops: days of a table that is kept by day, else the publication."""
    if check["table"] in HOLDING:
        return f" (held back: {check['days']})"
    days = f" on {check['days']}" if check["days"] else ""
    return f"{days}; nothing new is published, the last snapshot stays"


@app.command()
def status(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Rows by source and day, tables, the last snapshot, what is held back."""
    from behavior_assets.status import status as read_status

    told = read_status(load_settings(home))
    if as_json:
        typer.echo(json.dumps(told, indent=1))
    else:
        _tell_status(told)


@app.command()
def quarantine(
    home: HomeOption = None,
    show_values: Annotated[bool, typer.Option(help="Show the rows themselves: they may name persons.")] = False,
    as_json: JsonOption = False,
) -> None:
    """The rows that could not be accepted, by class, with examples."""
    from behavior_assets.ingestion.quarantine import classes
    from resources.lake import Lake

    found = classes(Lake(load_settings(home).home.lake), show_values=show_values)
    if as_json:
        _tell_json({"rows": sum(c["rows"] for c in found), "classes": found})
        return
    for told in found:
        typer.echo(f"{told['source']}  {told['failure_class']}  {told['rows']:,} rows")
        for e in told["examples"]:
            raw = f"\n      {e['raw']}" if show_values else ""
            typer.echo(f"    {e['file']}, row {e['row']}, {e['column']}: {e['message']}{raw}")
    typer.echo("After mending: behavior replay --class CLASS" if found else "The quarantine is empty.")


@app.command()
def replay(
    failure_class: Annotated[str, typer.Option("--class", help="The class whose rows are read again.")],
    format_: Annotated[str, typer.Option("--format", help="Only rows of this source.")] = "",
    mapping: Annotated[Path | None, typer.Option(help="The mended mapping, for rows of generic files.")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read quarantined rows again, after a mapping or a rule was mended; what is accepted leaves the quarantine."""
    from behavior_assets.chain import run_chain

    settings = create_home(home)
    with _progress(silent=as_json) as tell:
        report = run_chain(settings, [], format_, mapping, tell, failure_class)
    _tell_report(report, home, as_json=as_json)


@app.command()
def verify(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Check every file of lake and exports against its hash, and the ledger against the tables."""
    from behavior_assets.verification import verify_home

    settings = read_settings(home)  # not the lake's zone: a damaged lake is what is looked for
    with _progress(silent=as_json) as tell:
        result = verify_home(settings, lambda what: tell(what, 0))
    if as_json:
        _tell_json(result)
    else:
        typer.echo(f"{result['tables']} tables, {result['files']} files, {result['rows']:,} rows read and compared.")
        typer.echo("Everything is whole." if result["ok"] else "BROKEN:")
    if not result["ok"]:
        lines = [f"{p['where']}: {p['what']}" for p in result["problems"]]
        raise IntegrityError("\n".join(lines))


_told: list[bool] = []  # whether the JSON object is on stdout already


def _tell_json(document: dict[str, Any]) -> None:
    _told.append(True)
    typer.echo(json.dumps(document, indent=1))


def _tell_run(told: dict[str, Any]) -> None:
    _tell_status(told)
    if told["repeated"]:
        shown, more = told["repeated"][:MOST_NAMES], len(told["repeated"]) - MOST_NAMES
        names = ", ".join(shown) + (f" and {more:,} more" if more > 0 else "")
        typer.echo(f"\nSkipped, delivered before with the same bytes, format and mapping: {names}")
    new = "published" if told["snapshot_is_new"] else "nothing changed, still"
    seconds, peak = told["seconds"], told["peak_memory_mb"]
    typer.echo(f"\nSnapshot {told['snapshot']} ({new}) in {seconds:.1f} s, peak {peak:,} MiB.")


def _tell_status(told: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if told["synthetic"]:
        console.print("[bold]SYNTHETIC DATA[/bold]: made by the simulator, no real shop.")
    counts = Table("source", *(c.replace("_", " ") for c in ("files", "rows_in", "accepted", "quarantined",
                                                              "duplicate", "suppressed", "late")))  # fmt: skip
    for row in told["sources"]:
        counts.add_row(row["source"], *(f"{row[c]:,}" for c in ("files", "rows_in", "accepted", "quarantined",
                                                                "duplicate", "suppressed", "late")))  # fmt: skip
    console.print(counts)
    tables = Table("table", "rows")
    for name, rows in told["tables"].items():
        tables.add_row(name, f"{rows:,}")
    console.print(tables)
    for held in told["held_days"]:
        console.print(f"[bold]Held back[/bold]: {held['table']} {held['day']} breaks {held['rules']}")
    console.print(f"Snapshot: {told['snapshot'] or 'none yet'}, data through {told['data_through'] or '-'}; "
                  f"zone {told['timezone'] or 'not decided yet'}; "
                  f"consent where a source is silent: {told['consent_when_absent']}")  # fmt: skip


def main() -> None:
    """Run the command; an error for the user is one message on stderr and an exit code."""
    _told.clear()
    tune()
    try:
        app(standalone_mode=True)
    except BehaviorError as error:
        typer.echo(f"behavior: {error}", err=True)
        if "--json" in sys.argv and not _told:
            typer.echo(json.dumps({"error": str(error), "exit_code": error.exit_code}))
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
