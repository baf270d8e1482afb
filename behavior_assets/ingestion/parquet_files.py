"""Staged Parquet: what its footer must not claim, how long its rows really are, and how the parser reads them.

A footer tells little of what a file unpacks to: one long text and a count of a million rows are a few bytes. So the
dictionaries are looked at first (``parquet_pages``), then the lengths are asked of the engine, and only then is a row
parsed.
"""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from duckdb.sqltypes import DuckDBPyType

from behavior_assets.ingestion import parquet_pages
from behavior_assets.ingestion.faults import OVERSIZE
from behavior_assets.ingestion.landing import Staged
from behavior_assets.ingestion.reading import FileReading, Room, column, file_of, quoted, shown
from behavior_assets.ingestion.records import VECTOR
from behavior_assets.ingestion.sources.base import Check, Source
from behavior_assets.ingestion.text_files import json_relation
from resources.errors import InputRefusedError

_CODECS = {"UNCOMPRESSED", "SNAPPY", "GZIP", "ZSTD", "LZ4"}  # Brotli's decoder has an advisory (S3)
_MOST_COLUMNS = 10_000  # GA4's export has some hundreds
_MANY_ROWS = 1_000_000
_VALUE = 24  # bytes of a number or a time as text
_FOOTER_END = 8  # bytes: the length and a magic word
_BYTES = '"#bytes"'  # the length of a row, beside the file's own columns


def open_parquet(con: duckdb.DuckDBPyConnection, staged: Staged, source: Source, room: Room) -> FileReading:
    """A Parquet file whose footer fits the contract and whose rows fit into memory."""
    rows, names = _footer(staged, room)
    missing = [c for c in source.columns if c not in names]
    extra = [] if source.nested else [c for c in names if c not in source.columns]
    if missing or extra or len(set(names)) < len(names):
        problems = [f"column {c} is missing" for c in missing]
        problems += [f"column {shown(c)} is not part of the format" for c in extra[:5]]
        problems += ["a column name appears twice"] if len(set(names)) < len(names) else []
        msg = f"{staged.name}: does not fit the format {source.name}: {'; '.join(problems)}"
        raise InputRefusedError(msg)
    _require_unfolding(staged, room)
    file = _file(staged.path)
    row_bytes = _bytes_of_row(con, file)
    longest, widest, size = _measure(con, file, row_bytes, room)
    room.require_window(staged.name, widest)
    fits = f"{_BYTES} <= {room.limit}"
    sized = f"(SELECT t, {row_bytes} AS {_BYTES} FROM {file} t)"
    if source.nested:
        line = f"CASE WHEN {fits} THEN {_record(source)} END"
        relation = json_relation(f"(SELECT {line} AS line, {_BYTES} FROM {sized})", source, f", {_BYTES}")
    else:
        columns = ", ".join(f"CASE WHEN {fits} THEN {_text(c)} END AS {column(c)}" for c in source.columns)
        relation = f"(SELECT {columns}, {_BYTES} FROM {sized})"
    reading = FileReading(staged, source, rows, con, room, widest, min(longest, room.limit), size, relation=relation)
    if longest > room.limit:
        reading.check_first(Check(*OVERSIZE[:2], f"NOT ({fits})", OVERSIZE.message))
    return reading


def raw_rows(reading: FileReading, rows: set[int]) -> dict[int, bytes]:
    """Rows by their number: the texts that were read, as JSON.

    Raises InputRefusedError where they are too much to be kept aside.
    """
    found: dict[int, bytes] = {}
    size = 0
    reading.con.register("wanted_rows", pa.table({"place": pa.array([r - 1 for r in sorted(rows)], pa.int64())}))
    query = (
        f"SELECT file_row_number + 1 AS n, {_record(reading.source)} AS line FROM (SELECT t, file_row_number FROM "
        f"{_file(reading.staged.path)} t SEMI JOIN wanted_rows ON file_row_number = place)"
    )
    try:
        for batch in reading.con.execute(query).to_arrow_reader(VECTOR):
            for number, line in zip(batch["n"].to_pylist(), batch["line"].to_pylist(), strict=True):
                found[number] = line.encode()
                size += len(found[number])
                reading.require_room(len(found), size, number, "like the others")
    finally:
        reading.con.unregister("wanted_rows")
    return found


def _record(source: Source) -> str:
    """SQL: a row ``t`` as JSON. Of a nested source it is what was delivered, else the texts of the columns."""
    if source.nested:
        return "CAST(to_json(t) AS VARCHAR)"
    return "CAST(to_json({" + ", ".join(f"{quoted(c)}: {_text(c)}" for c in source.columns) + "}) AS VARCHAR)"


def _text(name: str) -> str:
    return f"CAST(t.{column(name)} AS VARCHAR)"


def _file(path: Path) -> str:
    return file_of("read_parquet", path)


def _footer(staged: Staged, room: Room) -> tuple[int, list[str]]:
    """Rows and column names. Raises InputRefusedError where reading on is no use or not safe."""
    name = staged.name
    try:
        with staged.path.open("rb") as file:
            file.seek(-_FOOTER_END, 2)
            length = int.from_bytes(file.read(4), "little")
        if room.window < length < staged.path.stat().st_size:
            msg = f"{name}: its footer has {length:,} bytes. Write the file with larger row groups or fewer columns."
            raise InputRefusedError(msg)
        meta = pq.ParquetFile(staged.path)
        names, told = meta.schema_arrow.names, meta.metadata
    except (pa.ArrowInvalid, OSError) as error:
        msg = f"{name}: not a whole Parquet file (damaged or cut short). Deliver it again."
        if "too deeply nested" in str(error):
            msg = f"{name}: its columns are nested too deep. Deliver it with fewer levels."
        raise InputRefusedError(msg) from error
    if told.num_columns > _MOST_COLUMNS:
        msg = f"{name}: it has {told.num_columns:,} columns, more than {_MOST_COLUMNS:,}. Deliver only those needed."
        raise InputRefusedError(msg)
    groups = [told.row_group(g) for g in range(told.num_row_groups)]
    codecs = {group.column(c).compression for group in groups for c in range(group.num_columns)}
    if codecs - _CODECS:
        msg = (
            f"{name}: compressed with {', '.join(sorted(codecs - _CODECS))}, which is not read because its decoder is "
            "not safe. Write it with zstd or snappy."
        )
        raise InputRefusedError(msg)
    if told.num_rows > max(_MANY_ROWS, 8 * staged.path.stat().st_size):
        msg = f"{name}: it claims {told.num_rows:,} rows in less than a bit each; these can be no events."
        raise InputRefusedError(msg)
    return told.num_rows, names


def _require_unfolding(staged: Staged, room: Room) -> None:
    """Raise InputRefusedError where texts of a dictionary, copied for each row, would fill the memory."""
    meta = pq.read_metadata(staged.path)
    looked: set[str] = set()
    try:
        for name, size, longest in parquet_pages.dictionaries(staged.path, meta, room.rejects):
            if size > room.rejects:
                msg = (
                    f"{staged.name}: a dictionary of {size // 2**20:,} MiB (unpacked), and only "
                    f"{room.rejects // 2**20:,} can be worked on. Write the column without a dictionary, or raise the "
                    f"setting memory_limit (now {room.total // 2**20:,} MiB)."
                )
                raise InputRefusedError(msg)
            if longest * VECTOR > room.window and name not in looked:
                looked.add(name)
                widest = parquet_pages.widest_window(staged.path, name)
                # A single long text in it is a long row, which goes to quarantine.
                room.require_window(staged.name, widest if widest > 2 * longest else 0)
    except (ValueError, OSError) as error:
        msg = f"{staged.name}: its pages are not what its footer says (damaged or cut short). Deliver it again."
        raise InputRefusedError(msg) from error


def _measure(con: duckdb.DuckDBPyConnection, file: str, row_bytes: str, room: Room) -> tuple[int, int, int]:
    """Bytes of the longest row, of the widest window of rows and of all rows, those beyond the limit aside."""
    found = con.execute(f"""
        SELECT coalesce(max(longest), 0), coalesce(max(total), 0), coalesce(sum(total), 0) FROM (
            SELECT max(bytes) AS longest, sum(CASE WHEN bytes <= {room.limit} THEN bytes ELSE 0 END) AS total
            FROM (SELECT {row_bytes} AS bytes, file_row_number // {VECTOR} AS place FROM {file} t) GROUP BY place)
    """).fetchall()
    longest, widest, size = found[0]
    return int(longest), int(widest), int(size)


def _bytes_of_row(con: duckdb.DuckDBPyConnection, file: str) -> str:
    told = con.execute(f"SELECT * FROM {file} LIMIT 0").description or []
    return " + ".join(_bytes(kind, f"t.{column(name)}", 0) for name, kind, *_ in told)


def _bytes(kind: DuckDBPyType, value: str, depth: int) -> str:
    """SQL: about the bytes of a value as text, without making that text."""
    if kind.id == "varchar":
        return f"coalesce(strlen({value}), 0)"
    if kind.id == "blob":
        return f"coalesce(octet_length({value}), 0)"
    if kind.id in {"list", "array"}:
        inner = _inner(kind)[0][1]
        each = f"lambda v{depth}: {_bytes(inner, f'v{depth}', depth + 1)}"
        return f"coalesce(list_sum(list_transform({value}, {each})), 0) + 2 * coalesce(len({value}), 0)"
    if kind.id == "struct":
        return " + ".join(
            f"{len(name) + 4} + {_bytes(inner, f'{value}.{column(name)}', depth)}" for name, inner in _inner(kind)
        )
    if kind.id == "map":
        return " + ".join(
            _bytes(duckdb.list_type(inner), f"map_{name}s({value})", depth) for name, inner in _inner(kind)
        )
    return str(_VALUE)


def _inner(kind: DuckDBPyType) -> list[tuple[str, DuckDBPyType]]:
    """The types inside a type: fields of a structure, a list's ``child``, a map's ``key`` and ``value``."""
    return [(name, inner) for name, inner in kind.children if isinstance(inner, DuckDBPyType)]
