"""From a figure to where it comes from: its SQL, the snapshot, the tables and the files that were delivered."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from behavior_assets.days import day_of_key
from behavior_assets.ingestion.canonical import BRONZE_EVENTS
from behavior_assets.ingestion.ledger import FileEntry, read_ledger
from exports.bridge import FILTERS as BRIDGED
from exports.bridge import bridge, totals
from exports.contract import published
from exports.measures.catalog import measures
from exports.measures.shapes import CAPABILITIES, NOTHING, NoSource
from exports.measures.sql import Filter, query, relations, tables_of, unrelated
from exports.names import TABLES, Place, column_name, places
from exports.snapshot import Manifest, add_views, current_manifest, require_contract
from resources.errors import UsageError
from resources.lake import Lake

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb

    from resources.settings import Settings

_SHORT = {"aov": "Average Order Value", "cr": "Conversion Rate", "cvr": "Conversion Rate", "wape": "Forecast Error"}
# Tables of which a day's rows come from that day's events; the others look back at all events up to a day.
_OF_A_DAY = {"fact_session", "fact_sales", "fact_product_day"}


@dataclass(frozen=True)
class Explained:
    """A figure and where it comes from.

    ``tables``: of each published table that was read, its rows and files; ``deliveries``: how many events of each lie
    on the days that count (``first_day`` to ``last_day``), and its files; ``notes``: filters that change nothing.
    """

    measure: str
    figure: Any
    format: str
    description: str
    blank: str
    filters: list[str]
    notes: list[str]
    dax: str
    sql: str
    snapshot: str
    published_at: str
    data_through: str
    synthetic: bool
    first_day: str = ""
    last_day: str = ""
    tables: list[dict[str, Any]] = field(default_factory=list)
    deliveries: list[dict[str, Any]] = field(default_factory=list)

    def told(self) -> dict[str, Any]:
        """As JSON can hold it."""
        figure = self.figure
        if isinstance(figure, date | datetime):
            figure = figure.isoformat()
        elif figure is not None and not isinstance(figure, str | int):
            figure = float(figure)
        return asdict(self) | {"figure": figure}


def find_measure(name: str) -> str:
    """The measure's own spelling. Raises UsageError that names the nearest ones."""
    known = {m.lower(): m for m in measures()} | _SHORT
    if name.lower() in known:
        return known[name.lower()]
    msg = f"{name!r}: no such measure.{_near(name, known, 0.5, ' `behavior explain --list` has the names.')}"
    raise UsageError(msg)


def parse_filter(text: str) -> Filter:
    """A filter of the form ``Column=value`` or ``Table[Column]=value,value``. Raises UsageError."""
    name, equals, values = text.partition("=")
    place = places().get(name.strip().lower())
    if not equals or place is None:
        hint = _near(name.strip(), {n: _shown(p) for n, p in places().items()}, 0.5)
        msg = f'--filter {text!r}: write a column and its values, such as "Country=France" or "Date[Year]=2026".{hint}'
        raise UsageError(msg)
    return Filter(place, tuple(values.split(",")))


def _shown(place: Place) -> str:
    return f"{TABLES[place.table]}[{column_name(place.table, place.column)}]"


def explain(settings: Settings, name: str, filters: Iterable[Filter] = ()) -> Explained:
    """A measure of the current snapshot. Raises UsageError where nothing is published yet."""
    measure, exports, manifest = measures()[name], settings.home.exports, _manifest(settings.home.exports)
    with _published(manifest, exports) as con:
        filters = [settle(con, f) for f in filters]
        sql = _laid_out(query(name, filters))
        row = con.execute(sql).fetchone()
        days = _days(con, name, filters)
        blank = measure.blank
        if isinstance(blank, NoSource) and (row is None or row[0] is None):  # of two reasons the one that holds
            blank = NOTHING if _tells(con, blank.needs, filters) else blank.lacking
    tables = [
        {"table": t, "rows": manifest["tables"][t]["rows"], "grain": published()[t].grain,
         "files": [str(exports / f["path"]) for f in manifest["tables"][t]["files"]]}
        for t in sorted(tables_of(name) | {f.place.table for f in filters})
    ]  # fmt: skip
    return Explained(
        name, row[0] if row else None, measure.format, measure.description, str(blank),
        [f"{_shown(f.place)} = {', '.join(f.values)}" for f in filters],
        [f"{_shown(f.place)} changes nothing: {TABLES[measure.table]} has no key of {TABLES[f.place.table]}"
         for f in unrelated(name, filters)],
        measure.dax, sql, manifest["snapshot"], manifest["published_at"], manifest["data_through"],
        manifest["synthetic"], days[0] if days else "", days[-1] if days else "", tables,
        _delivered(settings, name, days),
    )  # fmt: skip


def parse_period(text: str) -> tuple[date, date]:
    """Two days of the form ``2024-06-10:2024-06-16``, both included. Raises UsageError."""
    first, _, last = text.partition(":")
    try:
        days = date.fromisoformat(first.strip()), date.fromisoformat((last or first).strip())
    except ValueError as error:
        msg = f"--period {text!r}: write two days, such as 2024-06-10:2024-06-16."
        raise UsageError(msg) from error
    if days[0] > days[1]:
        msg = f"--period {text!r}: it ends before it begins."
        raise UsageError(msg)
    return days


def settle(con: duckdb.DuckDBPyConnection, wanted: Filter) -> Filter:
    """The filter with the members' own spelling; a text with commas may be one member.

    Raises UsageError for a value that no row has, naming the nearest ones.
    """
    place = wanted.place
    rows = con.execute(f"SELECT DISTINCT CAST({place.column} AS VARCHAR) FROM {place.table}").fetchall()
    known = {str(v).lower(): str(v) for (v,) in rows if v is not None}
    whole = ",".join(wanted.values)
    values = (whole,) if whole.lower() in known else tuple(v.strip() for v in wanted.values)
    for value in values:
        if value.lower() not in known:
            msg = f"--filter: {_shown(place)} has no member {value!r}.{_near(value, known, 0.6)}"
            raise UsageError(msg)
    return Filter(place, tuple(known[v.lower()] for v in values))


def explain_change(
    settings: Settings, periods: tuple[tuple[date, date], tuple[date, date]], filters: Iterable[Filter] = ()
) -> dict[str, Any]:
    """Why revenue differs between two periods: the bridge of ``exports.bridge``, as JSON can hold it.

    Raises UsageError for a filter that is not one value of a channel, device, country or source.
    """
    manifest = _manifest(settings.home.exports)
    _require_data(manifest, periods)
    with _published(manifest, settings.home.exports) as con:
        filters = [settle(con, f) for f in filters]
        only = {_bridged(f): f.values[0] for f in filters}
        if not _tells(con, ("prices",), filters):
            msg = "--period: no source tells prices, so there is no revenue whose change could be explained."
            raise UsageError(msg)
        net = _tells(con, ("refunds",), filters)
        ends = [totals(con, *p, only) for p in periods]
        told = bridge(*(ends if net else [t.sales() for t in ends]))
    steps = [{"cause": s.name, "of": s.of, "before": float(s.before), "after": float(s.after),
              "amount": str(s.amount)} for s in told.steps]  # fmt: skip
    return {"measured": f"{'net' if net else 'gross'} revenue", "snapshot": manifest["snapshot"],
            "synthetic": manifest["synthetic"], "only": only,
            "periods": [[d.isoformat() for d in p] for p in periods], "revenue_before": str(told.before),
            "steps": steps, "revenue_after": str(told.after)}  # fmt: skip


def _tells(con: duckdb.DuckDBPyConnection, capabilities: Iterable[str], filters: Iterable[Filter]) -> bool:
    """Whether some source of those chosen tells all of these."""
    wanted = [f"{CAPABILITIES[c][0]} = 'Yes'" for c in capabilities]
    wanted += [f.condition for f in filters if f.place.table == "dim_source"]
    found = con.execute(f"SELECT 1 FROM dim_source WHERE source_key <> -1 AND {' AND '.join(wanted)} LIMIT 1")
    return bool(found.fetchall())


def _require_data(manifest: dict[str, Any], periods: tuple[tuple[date, date], tuple[date, date]]) -> None:
    """Raise UsageError for periods in the wrong order, or of days that have no data yet."""
    (_, end), (later, last) = periods
    through = date.fromisoformat(manifest["data_through"])
    if end >= later:
        msg = f"--period: {later} is not after {end}; name the earlier period first, and none that reaches into it."
        raise UsageError(msg)
    if last > through:
        msg = f"--period: there are data through {through} only; {last} is later."
        raise UsageError(msg)


def _bridged(only: Filter) -> str:
    name = only.place.table.removeprefix("dim_")
    if name not in BRIDGED or only.place.column != f"{name}_name" or len(only.values) != 1:
        msg = f"{_shown(only.place)}: a change can be explained for one {', '.join(BRIDGED[:-1])} or {BRIDGED[-1]}."
        raise UsageError(msg)
    return name


def _manifest(exports: Path) -> Manifest:
    """The current manifest, of this version's tables."""
    return require_contract(current_manifest(exports), exports)


def _near(word: str, known: Mapping[str, str], likeness: float, otherwise: str = "") -> str:
    """A hint at what is written nearly like a word; ``known``: by lower case, how it is shown."""
    found = dict.fromkeys(known[n] for n in difflib.get_close_matches(word.lower(), known, 3, likeness))
    return f" Did you mean {', '.join(found)}?" if found else otherwise


def _laid_out(sql: str) -> str:
    """The query on lines that a person can follow."""
    import sqlglot

    return sqlglot.transpile(sql, read="duckdb", write="duckdb", pretty=True)[0]


def _published(manifest: Manifest, exports: Path) -> duckdb.DuckDBPyConnection:
    """The manifest's own files as views: ``behavior.duckdb`` may show the next snapshot already."""
    import duckdb

    con = duckdb.connect(":memory:")
    add_views(con, exports, manifest)
    return con


def _days(con: duckdb.DuckDBPyConnection, name: str, filters: list[Filter]) -> list[str]:
    """The days that the rows behind the figure are of, in order."""
    found: set[int] = set()
    for role, relation in relations(name, filters):
        rows = con.execute(f"SELECT DISTINCT {role} FROM {relation} WHERE {role} IS NOT NULL").fetchall()
        found |= {key for (key,) in rows}
    return [day_of_key(key) for key in sorted(found)]


def _delivered(settings: Settings, name: str, days: list[str]) -> list[dict[str, Any]]:
    """Deliveries by the events that they brought on the days that count, most first; rows tell no file."""
    if not days:
        return []
    bronze = Lake(settings.home.lake).table(BRONZE_EVENTS)
    exact = {t for t in tables_of(name) if published()[t].is_fact} <= _OF_A_DAY
    wanted = set(days)
    parts = [f for day, files in bronze.parts().items() for f in files
             if (day in wanted if exact else day <= days[-1])]  # fmt: skip
    if not parts:
        return []
    import duckdb

    with duckdb.connect(":memory:") as con:
        rows = con.execute(
            "SELECT batch_id, count(*) FROM read_parquet($1) GROUP BY 1", [bronze.absolute(parts)]
        ).fetchall()
    files: dict[str, list[FileEntry]] = {}
    for entry in read_ledger(bronze):
        files.setdefault(entry.batch_id, []).append(entry)
    told = [
        {"batch": batch, "events": events, "sources": sorted({e.source for e in files[batch]}),
         "files": [{"name": e.file_name, "sha256": e.file_sha256, "rows_in": e.rows_in} for e in files[batch]]}
        for batch, events in rows if batch in files
    ]  # fmt: skip
    return sorted(told, key=lambda d: (-int(d["events"]), d["batch"]))
