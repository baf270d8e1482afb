"""Reading one staged file: what its contract demands before a row is read, and the stream of parsed rows.

The parser is DuckDB's, locked into the staging folder; what it delivers plus what it rejects must equal what the byte
scan counted.
"""

from __future__ import annotations

from datetime import date, datetime, time
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa

from behavior_assets.ingestion import parquet_files, records
from behavior_assets.ingestion.canonical import SQL_TYPES
from behavior_assets.ingestion.landing import Staged
from behavior_assets.ingestion.reading import FileReading, Reject, Room
from behavior_assets.ingestion.sources.base import TIME, Check, Source
from behavior_assets.ingestion.text_files import open_csv, open_jsonl
from resources.errors import InputRefusedError
from resources.settings import Settings

__all__ = ["FileReading", "Reject", "open_reading", "parse_sql", "raw_rows", "stream"]

FIRST_DAY = date(2000, 1, 1)  # no shop's click is older: what says so comes from a clock that was never set
FUTURE_US = 24 * 3600 * 1_000_000
_OPEN = {"csv": open_csv, "jsonl": open_jsonl, "parquet": parquet_files.open_parquet}


def open_reading(
    con: duckdb.DuckDBPyConnection, staged: Staged, source: Source, settings: Settings, arrived_us: int
) -> FileReading:
    """Check a file against its source's contract and prepare its stream. ``con``: a cursor of the locked parser.

    Raises InputRefusedError naming the file, the row or column, and what to do.
    """
    if staged.kind not in source.kinds:
        msg = f"{staged.name}: {source.name} is read from {', '.join(source.kinds)}, not from {staged.kind} files."
        raise InputRefusedError(msg)
    reading = _OPEN[staged.kind](con, staged, source, Room.of(settings))
    reading.timezone = settings.timezone
    day = max(settings.first_day, FIRST_DAY)
    first = round(datetime.combine(day, time(), ZoneInfo(settings.timezone)).timestamp()) * 1_000_000
    reading.checks = (*reading.source.checks, Check(
        "rule_breach", "event_time", f"{TIME} < {first} OR {TIME} > {arrived_us + FUTURE_US}",
        f"outside [{day}, arrival + 24 h]",
    ))  # fmt: skip
    return reading


def parse_sql(reading: FileReading) -> str:
    """The query that turns a file into typed rows, in the file's order.

    Columns: ``_item`` (0 for a record's first row), ``_failure`` (number of the breached check or NULL),
    ``event_id``, ``record_id`` (of a record's further rows), ``payload_hash``, the canonical columns that the source
    has, and ``_index`` (1-based among delivered records) where the query itself does not keep the order.
    """
    source = reading.source
    checks = " ".join(f"WHEN {c.breach.replace(TIME, '_ts')} THEN {i}" for i, c in enumerate(reading.checks))
    zone = reading.timezone
    day = "make_timestamp(_ts)" if zone == "UTC" else f"timezone('{zone}', make_timestamptz(_ts))"
    fields = ",\n".join(
        f"CAST({sql.replace(TIME, '_ts')} AS {SQL_TYPES.get(c, 'VARCHAR')}) AS {c}"
        for c, sql in source.fields.items() if c != "event_ts_us"
    )  # fmt: skip
    numbered, index = "", ""
    natural = source.identity
    if source.repeats_are_lines:
        # A window gives its rows back in an order of its own, so these rows carry their place.
        numbered, index = ", row_number() OVER () AS _index", "_index, "
        natural = f"concat_ws(chr(31), {natural}, row_number() OVER (PARTITION BY {natural}))"
    if source.own_id:
        own = source.own_id
        natural = f"CASE WHEN {own} IS NOT NULL THEN concat('id', chr(31), {own}) ELSE {natural} END"
    exploded = "SELECT *, 0 AS _item FROM checked"
    # A source's contract tells deliveries apart, not events: what of it makes a row another one is in the identity.
    kind = f"'{source.name}', chr(31)"
    identifier = f"substr(sha256(concat({kind}, {natural}{{suffix}})), 1, 32)"
    event, record = identifier.format(suffix=""), ""
    if source.explode:
        items = f"CASE WHEN _failure IS NULL THEN {source.explode} ELSE [NULL] END"
        exploded = (
            f"SELECT *, unnest({items}) AS item, (generate_subscripts({items}, 1) - 1)::INTEGER AS _item FROM checked"
        )
        # The first item has the record's own id.
        record = f"CASE WHEN _item > 0 THEN {event} END AS record_id, "
        event = identifier.format(suffix=", CASE WHEN _item > 0 THEN concat(chr(31), _item) ELSE '' END")
    payload = f"md5({source.identity})" if source.own_id else "NULL::VARCHAR"
    return f"""
    WITH raw AS (SELECT *, {source.fields["event_ts_us"]} AS _ts{numbered} FROM {reading.relation}),
    checked AS (SELECT *, CASE {checks} END AS _failure FROM raw),
    exploded AS ({exploded})
    SELECT {index}_item, _failure, CAST(_ts AS BIGINT) AS event_ts_us,
           {event} AS event_id, {record}{payload} AS payload_hash,
           CAST({day} AS DATE) AS event_date, CAST(hour({day}) AS INTEGER) AS event_hour,
           {fields}
    FROM exploded
    """


def stream(con: duckdb.DuckDBPyConnection, reading: FileReading) -> pa.RecordBatchReader:
    """The parsed rows of a file, in its order, in batches that memory has room for."""
    return con.execute(parse_sql(reading)).to_arrow_reader(reading.batch_rows())


def raw_rows(reading: FileReading, rows: set[int]) -> dict[int, bytes]:
    """The delivered bytes of rows by their number; a Parquet row is shown as JSON.

    Raises InputRefusedError where they are too much to be kept aside.
    """
    staged = reading.staged
    if staged.kind == "parquet":
        return parquet_files.raw_rows(reading, rows)
    is_csv = staged.kind == "csv"
    header, most = is_csv and reading.source.header, reading.room.rejects
    try:
        return records.locate(staged.path, rows, set(), header=header, quoting=is_csv, most=most)
    except records.NoRoomError as error:
        msg = (
            f"{staged.name}: {len(rows):,} rows cannot be read, and they are too much to be kept aside (up to row "
            f"{error.args[0]:,} alone). Check the format name and the mapping, or raise the setting memory_limit."
        )
        raise InputRefusedError(msg) from error
