"""``behavior``: a thin front over the same definitions that Dagster serves."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from behavior_assets import (
    audit_cli,
    consent_cli,
    erase_cli,
    keys_cli,
    models_cli,
    outlets_cli,
    publish_cli,
    retain_cli,
    subject_cli,
    terminal,
    unexpected,
)
from behavior_assets.models_cli import HomeOption, JsonOption
from resources.disk import disk_errors
from resources.errors import BehaviorError, IntegrityError, UsageError
from resources.process import tune
from resources.settings import create_home, existing_settings, load_settings, read_settings, resolve_home

if TYPE_CHECKING:
    from behavior_assets.chain import ChainReport

app = typer.Typer(
    help="A shop's clickstream in, a star schema with proof out.", no_args_is_help=True, add_completion=False,
    pretty_exceptions_enable=False,
)  # fmt: skip

app.add_typer(models_cli.app, name="models")
app.add_typer(keys_cli.app, name="keys")
app.add_typer(audit_cli.app, name="audit")
app.command()(outlets_cli.explain)
app.command()(outlets_cli.powerbi)
app.command()(publish_cli.publish)
app.command()(erase_cli.erase)
app.command()(retain_cli.retain)
app.command()(consent_cli.consent)
app.command()(subject_cli.export_subject)
app.command()(subject_cli.scan)


class Engine(StrEnum):
    """Engines of the chain."""

    duckdb = "duckdb"
    spark = "spark"


class SimulatedFormat(StrEnum):
    """Formats that the simulator writes."""

    rees46 = "rees46"
    ga4 = "ga4"




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
    try:
        config = ShopConfig(days=days, customers=customers, seed=seed, events=events, closed_weekday=closed_weekday)
    except ValueError as error:  # names the option, with an underscore
        option, _, rest = str(error).partition(" ")
        msg = f"--{option.replace('_', '-')} {rest}."
        raise UsageError(msg) from error
    try:
        with disk_errors(target), terminal.progress(silent=as_json) as tell:
            report = run_simulation(config, target, format_.value, lambda n, _all: tell("simulated days", n and 1))
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        msg = f"--out {target}: cannot be written to ({error.strerror or error}). Name another folder."
        raise UsageError(msg) from error
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
    context: typer.Context,
    source: Annotated[list[Path] | None, typer.Option("--source", help="Files or folders; may be repeated.")] = None,
    more: Annotated[list[Path] | None, typer.Argument(help="Further files or folders.")] = None,
    format_: Annotated[str, typer.Option("--format", help="rees46, taobao, online_retail, ga4 or generic.")] = "",
    mapping: Annotated[Path | None, typer.Option(help="YAML mapping, for --format generic.")] = None,
    home: HomeOption = None,
    engine: Annotated[
        Engine | None, typer.Option(envvar="BEHAVIOR_ENGINE", help="What computes; default: the setting engine.")
    ] = None,
    spark_remote: Annotated[
        str, typer.Option(envvar="BEHAVIOR_SPARK_REMOTE", help="sc://host:port, or a master; default: this machine.")
    ] = "",
    train: Annotated[bool, typer.Option("--train", help="Train every model anew, also where one serves.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Land the sources, materialise everything that follows and publish a snapshot.

    Without --source, whatever lies in landing/<format>/ is taken.
    """
    from behavior_assets.chain import run_chain
    from behavior_assets.ingestion.arrivals import find_files
    from behavior_assets.ingestion.sources import load_source
    from resources.table import shared_views

    paths = [*(source or []), *(more or [])]
    if paths:
        if not format_:
            msg = "--format is missing: say how to read the sources."
            raise UsageError(msg)
        load_source(format_, mapping)
        find_files(paths)
    settings = create_home(home)
    settings = replace(settings, engine=engine or settings.engine, spark_remote=spark_remote or settings.spark_remote)
    told = context.get_parameter_source("spark_remote")
    if told is not None and told.name == "COMMANDLINE" and settings.engine != Engine.spark:
        msg = "--spark-remote: is for --engine spark."
        raise UsageError(msg)
    with shared_views():
        with terminal.progress(silent=as_json) as tell:
            report = run_chain(settings, paths, format_, mapping, tell, train=train)
        _tell_report(report, home, as_json=as_json)


def _tell_report(report: ChainReport, home: Path | None, *, as_json: bool) -> None:
    from behavior_assets.status import status as read_status

    terminal.tell_report(report, read_status(load_settings(home)), as_json=as_json)


@app.command()
def status(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Rows by source and day, tables, the last snapshot, what is held back."""
    from behavior_assets.status import status as read_status

    told = read_status(existing_settings(home))
    if as_json:
        terminal.tell_json(told)
    else:
        terminal.tell_status(told)


@app.command()
def quarantine(
    home: HomeOption = None,
    show_values: Annotated[bool, typer.Option(help="Show the rows themselves: they may name persons.")] = False,
    as_json: JsonOption = False,
) -> None:
    """The rows that could not be accepted, by class, with examples."""
    from behavior_assets.ingestion.conflicts import conflicts
    from behavior_assets.ingestion.quarantine import classes
    from resources.lake import Lake

    settings = existing_settings(home)
    lake = Lake(settings.home.lake)
    found, lost = classes(lake, show_values=show_values), conflicts(lake, settings, show_values=show_values)
    if as_json:
        rows, conflicting = (sum(c["rows"] for c in told) for told in (found, lost))
        terminal.tell_json({"rows": rows, "conflicts": conflicting, "classes": [*found, *lost]})
    else:
        terminal.tell_quarantine([*found, *lost], show_values=show_values)


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
    from behavior_assets.ingestion.quarantine import count
    from resources.lake import Lake

    settings = create_home(existing_settings(home).home.root)
    lake = Lake(settings.home.lake)
    before = count(lake, failure_class, format_)
    with terminal.progress(silent=as_json) as tell:
        report = run_chain(settings, [], format_, mapping, tell, failure_class)
    report.replayed = {"class": failure_class, "rows": before, "left": count(lake, failure_class, format_)}
    _tell_report(report, home, as_json=as_json)


@app.command()
def verify(
    home: HomeOption = None,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what can be had again, and say what not.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check every file of lake, archive and exports against its hash, and the ledger against the tables."""
    from behavior_assets.verification import verify_at_rest

    settings = read_settings(home)  # not the lake's zone: a damaged lake is what is looked for
    with terminal.progress(silent=as_json) as tell:
        if repair:
            from behavior_assets.repair import by_the_chain, repair_home

            result = repair_home(settings, lambda: by_the_chain(settings, tell), lambda what: tell(what, 0))
        else:
            result = verify_at_rest(settings, lambda what: tell(what, 0))
    if as_json:
        terminal.tell_json(result)
    else:
        terminal.tell_verified(result)
    if not result["ok"]:
        raise IntegrityError(terminal.broken(result, settings.home.root, repair=repair))


def _home_named() -> str | None:
    """The home that the command line names, whatever else may be wrong with it."""
    words = sys.argv[1:]
    after = [b for a, b in pairwise(words) if a == "--home"]
    joined = [w.removeprefix("--home=") for w in words if w.startswith("--home=")]
    return next(iter([*after, *joined]), None)


def main() -> None:
    """Run the command; an error, also one that nobody foresaw, is one message on stderr and an exit code."""
    terminal.begin()
    tune()
    as_json = "--json" in sys.argv
    try:
        app(standalone_mode=True)
    except BehaviorError as error:
        terminal.fail(str(error), error.exit_code, as_json=as_json)
        sys.exit(error.exit_code)
    except SystemExit as leaving:
        if leaving.code == UsageError.exit_code:  # Typer has told what is wrong
            terminal.fail("", UsageError.exit_code, as_json=as_json)
        raise
    except Exception as error:  # noqa: BLE001 - the last resort: its own words may quote the data
        told = unexpected.foreseen(error, _home_named())
        terminal.fail(str(told), told.exit_code, as_json=as_json)
        sys.exit(told.exit_code)


if __name__ == "__main__":
    main()
