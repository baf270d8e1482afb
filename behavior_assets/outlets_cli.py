"""``behavior explain`` and ``behavior powerbi``: where a figure comes from, and the project for another source."""

from __future__ import annotations

import textwrap
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from behavior_assets import terminal
from behavior_assets.models_cli import HomeOption, JsonOption
from resources.errors import UsageError
from resources.settings import existing_settings

_MOST_FILES = 5  # of a delivery that are told by name
_TWO, _MANY = 2, 1000


class SourceKind(StrEnum):
    """Where the Power BI project reads from."""

    parquet = "parquet"
    postgresql = "postgresql"
    sqlserver = "sqlserver"
    duckdb = "duckdb"


# By source: the options that it needs, and those that it can do without.
_OPTIONS: dict[SourceKind, tuple[tuple[str, ...], tuple[str, ...]]] = {
    SourceKind.parquet: ((), ()), SourceKind.postgresql: (("server", "database"), ("schema",)),
    SourceKind.sqlserver: (("server", "database"), ("schema",)), SourceKind.duckdb: (("dsn",), ("database", "schema")),
}  # fmt: skip


def explain(
    measure: Annotated[str, typer.Argument(help="A measure of the Power BI model, such as Revenue.")] = "",
    filters: Annotated[
        list[str] | None, typer.Option("--filter", help='Such as "Country=France" or "Date[Year]=2025,2026"; repeat.')
    ] = None,
    periods: Annotated[
        list[str] | None,
        typer.Option("--period", help="Twice, such as 2024-06-10:2024-06-16: why revenue changed between them."),
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Name every measure, by folder.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """From a figure to its SQL, snapshot, tables and delivered files."""
    from behavior_assets.explain import explain as explained
    from behavior_assets.explain import find_measure, parse_filter
    from exports.measures.catalog import measures

    if periods:
        _change(periods, filters or [], measure, home, as_json=as_json)
        return
    if list_ or not measure:
        told = [{"measure": m.name, "folder": m.folder, "description": m.told} for m in measures().values()]
        if as_json:
            terminal.tell_json({"measures": told})
            return
        for row in told:
            typer.echo(f"{row['folder'].replace(chr(92), ' / '):<28} {row['measure']:<34} {row['description']}")
        return
    name, wanted = find_measure(measure), [parse_filter(f) for f in filters or []]
    found = explained(existing_settings(home), name, wanted).told()
    if as_json:
        terminal.tell_json(found)
    else:
        _tell(found)


def _change(periods: list[str], filters: list[str], measure: str, home: Path | None, *, as_json: bool) -> None:
    from behavior_assets.explain import explain_change, find_measure, parse_filter, parse_period

    if len(periods) != _TWO or find_measure(measure or "Revenue") != "Revenue":
        msg = "--period: name two, the earlier one first; it is Revenue whose change is explained."
        raise UsageError(msg)
    before, after = (parse_period(p) for p in periods)
    told = explain_change(existing_settings(home), (before, after), [parse_filter(f) for f in filters])
    if as_json:
        terminal.tell_json(told)
        return
    only = "".join(f", {name} {value}" for name, value in told["only"].items())
    synthetic = ", SYNTHETIC" if told["synthetic"] else ""
    typer.echo(f"Why {told['measured']} changed{only}  (snapshot {told['snapshot']}{synthetic})")
    rows = [(" to ".join(told["periods"][0]), "", told["revenue_before"])]
    rows += [(s["cause"], f"{s['of'].replace('_', ' ')}: {_short(s['before'])} to {_short(s['after'])}", s["amount"])
             for s in told["steps"]]  # fmt: skip
    rows.append((" to ".join(told["periods"][1]), "", told["revenue_after"]))
    lengths = [(last - first).days + 1 for first, last in (before, after)]
    if lengths[0] != lengths[1]:
        typer.echo(f"  Note: the periods are of {lengths[0]} and {lengths[1]} days, so a part of it is their length.")
    for n, (what, of, amount) in enumerate(rows):
        sign = "" if n in {0, len(rows) - 1} else "+"
        typer.echo(f"  {what:<26} {of:<44} {Decimal(amount):>{sign}16,.2f}")


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= _MANY or value == int(value) else f"{value:,.4g}"


def _tell(found: dict[str, Any]) -> None:
    """The explanation, top down: the figure, what it means, how it is made, from what."""
    filters = f"  where {'; '.join(found['filters'])}" if found["filters"] else ""
    typer.echo(f"{found['measure']}: {shown(found['figure'], found['format'])}{filters}")
    typer.echo(textwrap.fill(found["description"], 100, initial_indent="  ", subsequent_indent="  "))
    if found["figure"] is None and found["blank"]:
        typer.echo(f"  Blank {found['blank']}.")
    for note in found["notes"]:
        typer.echo(f"  Note: {note}.")
    synthetic = ", SYNTHETIC data" if found["synthetic"] else ""
    typer.echo(f"\nSnapshot {found['snapshot']}, data through {found['data_through']}{synthetic}")
    for table in found["tables"]:
        count = f"{table['rows']:>12,} rows in {len(table['files'])} files"
        typer.echo(f"  {table['table']:<26} {count}  ({table['grain']})")
    if found["first_day"]:
        typer.echo(f"\nRows of {found['first_day']} to {found['last_day']}, from the deliveries:")
    for delivery in found["deliveries"]:
        names = [f["name"] for f in delivery["files"]]
        more = f" and {len(names) - _MOST_FILES:,} more" if len(names) > _MOST_FILES else ""
        sources = ", ".join(delivery["sources"])
        typer.echo(f"  {delivery['batch']} ({sources}): {delivery['events']:,} events; "
                   f"files: {', '.join(names[:_MOST_FILES])}{more}")  # fmt: skip
    typer.echo(f"\nDAX\n{textwrap.indent(found['dax'], '  ')}")
    typer.echo(f"\nSQL, for exports/behavior.duckdb\n{textwrap.indent(found['sql'], '  ')}")


def shown(figure: Any, form: str) -> str:
    """A figure as its format says, in the words of a terminal."""
    if figure is None:
        return "blank"
    if isinstance(figure, str):
        return figure
    digits = len(form.split(";", maxsplit=1)[0].rstrip("%").partition(".")[2])
    sign = "+" if form.startswith("+") else ""
    return f"{figure:{sign},.{digits}%}" if "%" in form else f"{figure:{sign},.{digits}f}"


def powerbi(
    out: Annotated[Path, typer.Option(help="Folder for the project.")],
    source: Annotated[SourceKind, typer.Option(help="What the project reads.")] = SourceKind.parquet,
    server: Annotated[str, typer.Option(help="Server of PostgreSQL or SQL Server, such as localhost:5432.")] = "",
    database: Annotated[str, typer.Option(help="Database; for duckdb the file's name without its end.")] = "",
    schema: Annotated[str, typer.Option(help="Schema that `behavior publish` fills.")] = "",
    dsn: Annotated[str, typer.Option(help="ODBC data source, for duckdb.")] = "",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the Power BI project for another source than the home's own Parquet files."""
    from exports.powerbi import sources
    from exports.powerbi.project import write_project

    given = {"server": server, "database": database, "schema": schema, "dsn": dsn}
    needed, optional = _OPTIONS[source]
    missing = [f"--{name}" for name in needed if not given[name]]
    if missing:
        msg = f"--source {source.value}: {' and '.join(missing)} missing."
        raise UsageError(msg)
    odd = [f"--{n}" for n, v in given.items() if any(c < " " for c in v)]
    if odd:
        msg = f"{odd[0]}: holds a line break or another control character."
        raise UsageError(msg)
    apart = [f"--{name}" for name, value in given.items() if value and name not in {*needed, *optional}]
    if apart:
        msg = f"{apart[0]}: has no meaning with --source {source.value}."
        raise UsageError(msg)
    made = {
        SourceKind.parquet: lambda: sources.parquet(str(existing_settings(home).home.exports)),
        SourceKind.postgresql: lambda: sources.postgresql(server, database, schema or "mart"),
        SourceKind.sqlserver: lambda: sources.sqlserver(server, database, schema or "mart"),
        SourceKind.duckdb: lambda: sources.duckdb(dsn, database or "behavior", schema or "main"),
    }[source]()
    if out.exists() and any(out.iterdir()) and not (out / "generated.txt").exists():
        msg = f"--out {out}: there is something else in it. Name an empty or a new folder."
        raise UsageError(msg)
    done = write_project(out.resolve(), made)
    if done.edited:
        names = ", ".join(done.edited[:3])
        msg = f"--out {out}: edited by hand ({names}), so it was left as it is. Name another folder."
        raise UsageError(msg)
    if as_json:
        terminal.tell_json({"project": str(done.path), "source": source.value, "written": done.written})
    else:
        typer.echo(f"{done.path} reads {source.value}" + ("" if done.written else " (nothing was new)"))
