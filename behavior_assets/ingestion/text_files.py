"""Staged CSV and JSON lines: the header against the contract, bad rows hidden, and how the parser reads the rest."""

from __future__ import annotations

import csv
import io
import json
import uuid
from pathlib import Path

import duckdb

from behavior_assets.ingestion import faults, records
from behavior_assets.ingestion.faults import Layout
from behavior_assets.ingestion.json_shapes import Shapes
from behavior_assets.ingestion.landing import Staged
from behavior_assets.ingestion.reading import FileReading, Reject, Room, column, file_of, quoted, shown
from behavior_assets.ingestion.sources.base import Check, Source
from resources.disk import disk_errors
from resources.errors import InputRefusedError
from resources.failpoints import reach

_SEPARATOR = "\x01"  # which no JSON holds: a line is one field
_REJECT_CLASSES = {
    "MISSING COLUMNS": faults.TOO_FEW,
    "TOO MANY COLUMNS": faults.TOO_MANY,
    "UNQUOTED VALUE": faults.QUOTE,
    "LINE SIZE OVER MAXIMUM": faults.OVERSIZE,
    "INVALID ENCODING": faults.ENCODING,
    "INVALID UNICODE": faults.ENCODING,
}


def open_csv(con: duckdb.DuckDBPyConnection, staged: Staged, source: Source, room: Room) -> FileReading:
    """A CSV file, its header checked and its rejects known."""
    names = _header(staged, source)
    layout = Layout(source.delimiter, len(names), source.header, quoting=True, limit=room.limit)
    scan = records.scan(staged.path, layout.delimiter, layout.fields, room.limit)
    if scan.open_quote_record is not None:
        row = scan.open_quote_record - source.header
        msg = (
            f"{staged.name}: the quote opened in row {row} is never closed, so the rows after it cannot be told "
            "apart. Close it and deliver the file again."
        )
        raise InputRefusedError(msg)
    reading = _reading(con, staged, source, scan, room)
    reading.rows_in -= int(source.header)
    reading.unterminated = not scan.terminated and reading.rows_in > 0
    reading.header = _header_line(names, source.delimiter) if source.header else ""
    path = staged.path
    if not (scan.even and scan.valid_utf8 and scan.longest <= room.limit) or scan.stray_return or scan.mixed_ends:
        path = _readable(reading, layout, None, column(names[0]), scan)
    columns = ", ".join(f"{quoted(n)}: 'VARCHAR'" for n in names)
    options = f"columns = {{{columns}}}, skip = {int(source.header)}, quote = '\"', escape = '\"'"
    table = f"rejects_{uuid.uuid4().hex}"
    reading.relation = _call(path, layout, options, table, _most_rejects(scan, room))
    if scan.has_quotes:
        _find_parser_rejects(con, reading, path, table)
    if scan.has_nul:
        nul = " OR ".join(f"contains({column(n)}, chr(0))" for n in names)
        reading.check_first(Check("malformed", "record", nul, "holds a NUL byte"))
    return reading


def _header_line(names: list[str], delimiter: str) -> str:
    """Column names as the first line of a file."""
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="").writerow(names)
    return text.getvalue()


def open_jsonl(con: duckdb.DuckDBPyConnection, staged: Staged, source: Source, room: Room) -> FileReading:
    """JSON lines; what the parser would take for good without telling (a key that stands twice) is hidden from it."""
    layout = Layout(_SEPARATOR, 1, header=False, quoting=False, limit=room.limit)
    scan = records.scan(staged.path, layout.delimiter, layout.fields, room.limit, quoting=False)
    reading = _reading(con, staged, source, scan, room)
    path = _readable(reading, layout, Shapes(_known(source)), "line", scan)
    options = "columns = {'line': 'VARCHAR'}, quote = '', escape = ''"
    call = _call(path, layout, options, f"rejects_{uuid.uuid4().hex}", _most_rejects(scan, room))
    # With a single column the parser takes a blank line for a row.
    lines = f"(SELECT line FROM {call} WHERE line IS NOT NULL AND line NOT IN ('', chr(13)))"
    reading.relation = json_relation(lines, source)
    return reading


def json_relation(lines: str, source: Source, more: str = "") -> str:
    """SQL: the records of ``lines``, nested ones as ``r``, others by column; ``more`` are further columns to keep."""
    structure = source.structure if source.nested else json.dumps(dict.fromkeys(source.columns, "VARCHAR"))
    valid = "json_valid(line) AND json_type(line) = 'OBJECT'"
    parsed = f"SELECT line{more}, CASE WHEN {valid} THEN from_json(line, {quoted(structure)}) END AS r FROM {lines}"
    if source.nested:
        return f"({parsed})"
    fields = ", ".join(f"r.{column(c)} AS {column(c)}" for c in source.columns)
    return f"(SELECT line{more}, {fields} FROM ({parsed}))"


def _reading(
    con: duckdb.DuckDBPyConnection, staged: Staged, source: Source, scan: records.Scan, room: Room
) -> FileReading:
    if scan.stray_return and scan.records == 1 and not scan.terminated:
        msg = f"{staged.name}: its lines end in CR alone. Save it with LF or CRLF line ends, and deliver it again."
        raise InputRefusedError(msg)
    room.require_window(staged.name, scan.widest)
    size = staged.path.stat().st_size
    return FileReading(staged, source, scan.records, con, room, scan.widest, min(scan.longest, room.limit), size)


def _known(source: Source) -> frozenset[str]:
    """Columns that a message may name, dots leading into objects."""
    if not source.nested:
        return frozenset(source.columns)
    names: set[str] = set()
    waiting = [("", json.loads(source.structure))]
    while waiting:
        path, kind = waiting.pop()
        kind = kind[0] if isinstance(kind, list) else kind
        for name, inner in kind.items() if isinstance(kind, dict) else ():
            names.add(path + name)
            waiting.append((f"{path}{name}.", inner))
    return frozenset(names)


def _readable(reading: FileReading, layout: Layout, shapes: Shapes | None, first: str, scan: records.Scan) -> Path:
    """The file that the parser reads: as it was delivered, or a copy without bad rows that has LF line ends."""
    staged = reading.staged
    found = faults.within(reading, faults.find(staged.path, layout, shapes.faults if shapes else None))
    copy = staged.path.with_name("readable")
    with disk_errors(staged.path.parent):
        reach("staging.unpack")
        checks = faults.hide(staged.path, copy, found, layout, first)
        path = copy if checks else staged.path
        if scan.mixed_ends:
            even = staged.path.with_name("even")
            faults.even_ends(path, even, layout)
            path = even
    reading.check_first(*checks)
    return path


def _call(path: Path, layout: Layout, options: str, table: str, most_rejects: int) -> str:
    return file_of("read_csv", path, (
        f"{options}, auto_detect = false, header = false, delim = {quoted(layout.delimiter)}, strict_mode = true, "
        f"null_padding = false, max_line_size = {layout.limit + 2}, store_rejects = true, rejects_table = '{table}', "
        f"rejects_scan = '{table}_scan', rejects_limit = {most_rejects}"
    ))  # fmt: skip


def _most_rejects(scan: records.Scan, room: Room) -> int:
    """The parser keeps a copy of the line with each of them. Rows beyond are missed, and so the file is refused."""
    return max(1, room.rejects // max(min(scan.longest, room.limit), 100))


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
        problems += [f"column {shown(c)} is not part of the format" for c in extra[:5]]
        problems += [f"{len(extra) - 5} more unknown columns"] if len(extra) > 5 else []  # noqa: PLR2004
        problems += ["a column name appears twice"] if len(set(names)) != len(names) else []
        msg = (
            f"{staged.name}: the header (row 0) does not fit the format {source.name}: {'; '.join(problems)}. "
            f"Wanted: {source.delimiter.join(source.columns)}"
        )
        raise InputRefusedError(msg)
    return names


def _find_parser_rejects(con: duckdb.DuckDBPyConnection, reading: FileReading, path: Path, table: str) -> None:
    """A first pass that forces every column, so that row numbers are known before rows are handed on."""
    name, header = reading.staged.name, reading.source.header
    try:
        delivered = con.execute(f"SELECT count(*), count(COLUMNS(*)) FROM {reading.relation}").fetchall()
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        msg = f"{name}: the file cannot be split into rows ({type(error).__name__}). Check quotes and delimiters."
        raise InputRefusedError(msg) from error
    found = con.execute(
        f"SELECT min(line_byte_position) AS byte_position, min(error_type::VARCHAR) FROM {table} "
        "GROUP BY line ORDER BY byte_position"
    ).fetchall()
    con.execute(f"DELETE FROM {table}")
    # DuckDB counts positions from 1 and, with CRLF, from the line feed before the row: inside the row either way.
    offsets = {int(position): kind for position, kind in found if position is not None}
    raw = records.locate(path, set(), set(offsets), header=header, most=reading.room.rejects)
    rejected = sorted(raw)
    for row, kind in zip(rejected, offsets.values(), strict=False):
        fault = _REJECT_CLASSES.get(kind, faults.Fault("malformed", "record", f"cannot be split into fields ({kind})"))
        if b"\n" in raw[row]:
            msg = f"{name}: row {row} spans several lines and is {fault.message}. Mend it and deliver the file again."
            raise InputRefusedError(msg)
        fault = faults.CUT if reading.unterminated and row == reading.rows_in else fault
        reading.rejects[row] = Reject(row, *fault, raw[row])
    reading.parser_rejects = rejected
    count = int(delivered[0][0])
    if count + len(rejected) != reading.rows_in or len(rejected) != len(offsets):
        msg = (
            f"{name}: the bytes hold {reading.rows_in:,} rows, but only {count:,} can be read and {len(offsets):,} be "
            "rejected one by one. Check quotes and line ends, and deliver the file again."
        )
        raise InputRefusedError(msg)
