"""Reading one staged file: what its contract demands before a row is read, and the stream of parsed rows.

The parser is DuckDB's; what it delivers plus what it rejects must equal what the byte scan counted.
"""

from __future__ import annotations

import csv
import io
import uuid
from dataclasses import dataclass, field
from datetime import date, datetime, time
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from behavior_assets.ingestion import records
from behavior_assets.ingestion.canonical import SQL_TYPES
from behavior_assets.ingestion.landing import Staged
from behavior_assets.ingestion.sources.base import TIME, Check, Source
from resources.errors import InputRefusedError
from resources.settings import Settings

FIRST_DAY = date(2000, 1, 1)  # no shop's click is older: what says so comes from a clock that was never set
FUTURE_US = 24 * 3600 * 1_000_000
_BATCH = 131_072
_REJECT_CLASSES = {
    "MISSING COLUMNS": ("malformed", "too few fields: the row is cut or a delimiter is missing"),
    "TOO MANY COLUMNS": ("malformed", "too many fields: a delimiter or a quote too many"),
    "UNQUOTED VALUE": ("malformed", "a quote that does not close its field"),
    "LINE SIZE OVER MAXIMUM": ("oversize", "longer than the setting max_field_bytes"),
    "INVALID ENCODING": ("invalid_encoding", "not UTF-8"),
    "INVALID UNICODE": ("invalid_encoding", "not UTF-8"),
}


@dataclass
class Reject:
    """A row that goes to quarantine; ``row`` counts from 1 after the header."""

    row: int
    failure_class: str
    column: str
    message: str
    raw: bytes = b""


@dataclass
class FileReading:
    """A staged file being read. ``rows_in`` counts logical records; ``rejects`` fills while it is read.

    ``timezone`` is the zone that tells the rows' days.
    """

    staged: Staged
    source: Source
    rows_in: int
    rejects: dict[int, Reject] = field(default_factory=dict)
    parser_rejects: list[int] = field(default_factory=list)
    relation: str = ""
    checks: tuple[Check, ...] = ()
    unterminated: bool = False
    rejects_table: str = ""
    header: str = ""
    timezone: str = "UTC"


def open_reading(
    con: duckdb.DuckDBPyConnection, staged: Staged, source: Source, settings: Settings, arrived_us: int
) -> FileReading:
    """Check a file against its source's contract and prepare its stream.

    Raises InputRefusedError naming the file, the row or column, and what to do.
    """
    if staged.kind not in source.kinds:
        msg = f"{staged.name}: {source.name} is read from {', '.join(source.kinds)}, not from {staged.kind} files."
        raise InputRefusedError(msg)
    reading = {"csv": _open_csv, "jsonl": _open_jsonl, "parquet": _open_parquet}[staged.kind](
        con, staged, source, settings
    )
    reading.timezone = settings.timezone
    day = max(settings.first_day, FIRST_DAY)
    first = round(datetime.combine(day, time(), ZoneInfo(settings.timezone)).timestamp()) * 1_000_000
    reading.checks = (*reading.source.checks, Check(
        "rule_breach", "event_time", f"{TIME} < {first} OR {TIME} > {arrived_us + FUTURE_US}",
        f"outside [{day}, arrival + 24 h]",
    ))  # fmt: skip
    return reading


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _header(staged: Staged, source: Source) -> list[str]:
    """The file's own column names, checked against the contract. The order may differ, the names may not."""
    if not source.header:
        return list(source.columns)
    with staged.path.open("rb") as file:
        first = file.readline(1_000_000)
    try:
        text = first.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as error:
        msg = f"{staged.name}: the header is not UTF-8. Save the file as UTF-8."
        raise InputRefusedError(msg) from error
    try:
        names = next(csv.reader([text], delimiter=source.delimiter), [])
    except csv.Error as error:
        reason = "the header cannot be split into columns. Check its quotes and delimiters."
        if "\r" in text:
            reason = "the header holds a carriage return that ends no line; save the file with LF or CRLF line ends."
        msg = f"{staged.name}: {reason}"
        raise InputRefusedError(msg) from error
    missing = [c for c in source.columns if c not in names]
    extra = [c for c in names if c not in source.columns]
    if missing or extra or len(set(names)) != len(names):
        problems = [f"column {c} is missing" for c in missing]
        problems += [f"column {_shown(c)} is not part of the format" for c in extra[:5]]
        problems += [f"{len(extra) - 5} more unknown columns"] if len(extra) > 5 else []  # noqa: PLR2004
        problems += ["a column name appears twice"] if len(set(names)) != len(names) else []
        msg = (
            f"{staged.name}: the header (row 0) does not fit the format {source.name}: {'; '.join(problems)}. "
            f"Wanted: {source.delimiter.join(source.columns)}"
        )
        raise InputRefusedError(msg)
    return names


def _shown(name: str) -> str:
    """A column name fit for a message: data read as a header must not leak whole."""
    return repr(name[:24]) if name.replace("_", "").isalpha() else "(not a column name)"


def _open_csv(
    con: duckdb.DuckDBPyConnection, staged: Staged, source: Source, settings: Settings
) -> FileReading:
    names = _header(staged, source)
    scan = records.scan(staged.path, source.delimiter)
    if scan.open_quote_record is not None:
        row = scan.open_quote_record - source.header
        msg = (
            f"{staged.name}: the quote opened in row {row} is never closed, so the rows after it cannot be told "
            "apart. Close it and deliver the file again."
        )
        raise InputRefusedError(msg)
    columns = ", ".join(f"{_quoted(n)}: 'VARCHAR'" for n in names)
    options = (
        f"columns = {{{columns}}}, auto_detect = false, "
        f"header = false, skip = {int(source.header)}, delim = {_quoted(source.delimiter)}, quote = '\"', "
        "escape = '\"', strict_mode = true, null_padding = false"
    )
    clean = (
        scan.terminated and scan.valid_utf8 and not scan.has_quotes and not scan.has_nul
        and scan.longest <= settings.max_field_bytes and scan.delimiters == (len(names) - 1) * scan.records
    )  # fmt: skip
    reading = _csv_reading(con, staged, source, scan, options, settings, clean=clean)
    reading.header = _header_line(names, source.delimiter) if source.header else ""
    if scan.has_nul:
        nul = " OR ".join(f"contains({_column(n)}, chr(0))" for n in names)
        reading.source = _with_check(source, Check("malformed", "record", nul, "holds a NUL byte"))
    return reading


def _header_line(names: list[str], delimiter: str) -> str:
    """Column names as the first line of a file."""
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="").writerow(names)
    return text.getvalue()


def _column(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _with_check(source: Source, check: Check) -> Source:
    from dataclasses import replace

    return replace(source, checks=(check, *source.checks))


def _open_jsonl(
    con: duckdb.DuckDBPyConnection, staged: Staged, source: Source, settings: Settings
) -> FileReading:
    scan = records.scan(staged.path, None, quoting=False)
    options = (
        "columns = {'line': 'VARCHAR'}, auto_detect = false, header = false, delim = chr(1), quote = '', escape = '', "
        "strict_mode = true"
    ).replace("chr(1)", "'\x01'")
    clean = scan.valid_utf8 and not scan.has_nul and scan.longest <= settings.max_field_bytes
    reading = _csv_reading(con, staged, source, scan, options, settings, clean=clean, header=False)
    reading.unterminated = False  # a JSON record says itself whether it is whole
    reading.relation = _json_relation(reading.relation, source)
    return reading


def _json_relation(lines: str, source: Source) -> str:
    if source.nested:
        valid = "json_valid(line) AND json_type(line) = 'OBJECT'"
        parsed = f"CASE WHEN {valid} THEN from_json(line, '{source.structure}') END"
        return f"(SELECT line, {parsed} AS r FROM {lines})"
    paths = {c: _quoted(f"$.{_column(c)}") for c in source.columns}
    fields = ", ".join(
        f"CASE WHEN json_valid(line) THEN line ->> {path} END AS {_column(c)}" for c, path in paths.items()
    )
    return f"(SELECT line, {fields} FROM {lines})"


def _open_parquet(
    con: duckdb.DuckDBPyConnection, staged: Staged, source: Source, settings: Settings
) -> FileReading:
    del con, settings
    try:
        meta = pq.ParquetFile(staged.path)
        names, rows = meta.schema_arrow.names, meta.metadata.num_rows
    except (pa.ArrowInvalid, OSError) as error:
        msg = f"{staged.name}: not a whole Parquet file (damaged or cut short). Deliver it again."
        raise InputRefusedError(msg) from error
    missing = [c for c in source.columns if c not in names]
    extra = [] if source.nested else [c for c in names if c not in source.columns]
    if missing or extra:
        msg = (
            f"{staged.name}: does not fit the format {source.name}: "
            + "; ".join([f"column {c} is missing" for c in missing]
                        + [f"column {_shown(c)} is not part of the format" for c in extra[:5]])
        )  # fmt: skip
        raise InputRefusedError(msg)
    path = f"read_parquet({_quoted(str(staged.path))})"
    if source.nested:
        relation = _json_relation(f"(SELECT CAST(to_json(t) AS VARCHAR) AS line FROM {path} t)", source)
    else:
        columns = ", ".join(f"CAST({_column(c)} AS VARCHAR) AS {_column(c)}" for c in source.columns)
        relation = f"(SELECT {columns} FROM {path})"
    return FileReading(staged, source, rows, relation=relation)


def _csv_reading(
    con: duckdb.DuckDBPyConnection,
    staged: Staged,
    source: Source,
    scan: records.Scan,
    options: str,
    settings: Settings,
    *,
    clean: bool,
    header: bool | None = None,
) -> FileReading:
    with_header = source.header if header is None else header
    rows_in = scan.records - int(with_header)
    table = f"rejects_{uuid.uuid4().hex}"
    limit = f"max_line_size = {max(settings.max_field_bytes, 1024)}"
    call = (
        f"read_csv({_quoted(str(staged.path))}, {options}, {limit}, store_rejects = true, "
        f"rejects_table = '{table}', rejects_scan = '{table}_scan', rejects_limit = 0)"
    )
    if staged.kind == "jsonl":  # with a single column the parser takes a blank line for a row
        call = f"(SELECT line FROM {call} WHERE line IS NOT NULL AND line NOT IN ('', chr(13)))"
    reading = FileReading(staged, source, rows_in, relation=call, rejects_table=table)
    reading.unterminated = not scan.terminated and rows_in > 0
    if not clean:
        _find_parser_rejects(con, reading, with_header=with_header)
    return reading


def _find_parser_rejects(
    con: duckdb.DuckDBPyConnection, reading: FileReading, *, with_header: bool
) -> None:
    """A first pass that forces every column, so that row numbers are known before rows are handed on."""
    name = reading.staged.name
    try:
        delivered = con.execute(f"SELECT count(*), count(COLUMNS(*)) FROM {reading.relation}").fetchall()
    except duckdb.Error as error:
        msg = f"{name}: the file cannot be split into rows ({type(error).__name__}). Check quotes and delimiters."
        raise InputRefusedError(msg) from error
    found = con.execute(
        f"SELECT min(line_byte_position) AS byte_position, min(error_type::VARCHAR) FROM {reading.rejects_table} "
        "GROUP BY line ORDER BY byte_position"
    ).fetchall()
    _forget(con, reading)
    # DuckDB counts positions from 1 and, with CRLF, from the line feed before the row: inside the row either way.
    offsets = {int(position): kind for position, kind in found if position is not None}
    quoting = reading.staged.kind == "csv"
    raw = records.locate(
        reading.staged.path, {reading.rows_in} if reading.unterminated else set(), set(offsets),
        header=with_header, quoting=quoting,
    )  # fmt: skip
    kinds = list(offsets.values())
    rejected = sorted(raw)
    if reading.unterminated and reading.rows_in in raw:
        reading.rejects[reading.rows_in] = Reject(
            reading.rows_in, "unterminated_record", "record", "the file ends inside this row (no line end)",
            raw[reading.rows_in],
        )  # fmt: skip
        if len(rejected) > len(offsets):
            rejected.remove(reading.rows_in)
    for row, kind in zip(rejected, kinds, strict=False):
        failure_class, message = _REJECT_CLASSES.get(kind, ("malformed", f"cannot be split into fields ({kind})"))
        if b"\n" in raw[row]:
            msg = f"{name}: row {row} spans several lines and {message}. Mend it and deliver the file again."
            raise InputRefusedError(msg)
        reading.rejects.setdefault(row, Reject(row, failure_class, "record", message, raw[row]))
    reading.parser_rejects = rejected
    count = int(delivered[0][0])
    if count + len(rejected) != reading.rows_in or len(rejected) != len(offsets):
        msg = (
            f"{name}: the bytes hold {reading.rows_in:,} rows, but only {count:,} can be read and {len(offsets):,} be "
            "rejected one by one. Check quotes and line ends, and deliver the file again."
        )
        raise InputRefusedError(msg)


def _forget(con: duckdb.DuckDBPyConnection, reading: FileReading) -> None:
    con.execute(f"DELETE FROM {reading.rejects_table}")


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
        exploded = (
            f"SELECT *, unnest({source.explode}) AS item, "
            f"(generate_subscripts({source.explode}, 1) - 1)::INTEGER AS _item FROM checked"
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
    """The parsed rows of a file, in its order, without holding it in memory."""
    return con.execute(parse_sql(reading)).to_arrow_reader(_BATCH)


def raw_rows(reading: FileReading, rows: set[int]) -> dict[int, bytes]:
    """The delivered bytes of rows by their number; of a Parquet row the texts that were read, as JSON."""
    staged = reading.staged
    if staged.kind == "parquet":
        line = "line" if reading.source.nested else "CAST(to_json(t) AS VARCHAR)"
        with duckdb.connect(":memory:") as con:
            con.execute("SET TimeZone = 'UTC'")
            found = con.execute(
                f"SELECT n, line FROM (SELECT row_number() OVER () AS n, {line} AS line FROM {reading.relation} t) "
                "WHERE n IN (SELECT unnest(?))",
                [sorted(rows)],
            ).fetchall()
        return {int(n): line.encode() for n, line in found}
    is_csv = staged.kind == "csv"
    return records.locate(staged.path, rows, set(), header=is_csv and reading.source.header, quoting=is_csv)

