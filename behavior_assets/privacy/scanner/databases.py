"""Looking at the cells of files that hold tables: Parquet, Arrow, SQLite and DuckDB."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import feather

from behavior_assets.privacy.scanner.cells import Cells
from behavior_assets.privacy.scanner.report import Notes
from behavior_assets.privacy.scanner.text import Piece, Search

_ROWS, _FEW_ROWS = 65_536, 4_096  # at once; few of nested columns, whose dictionaries are copied out for each row
_RECORDS = {"header", "raw"}  # the quarantine's columns: records as delivered, and the header of their file
_SQLITE_ROWS = 4_096
_LOCKED: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false", "lock_configuration": "true",
}  # fmt: skip
_SQLITE_FILES, _DUCKDB_FILES = ("", "-wal", "-journal"), ("", ".wal")


class Tables:
    """Finds the needles in the tables of one file. The file may be opened by its path, and is not changed."""

    def __init__(self, search: Search, cells: Cells) -> None:
        self._search, self._cells = search, cells

    def parquet(self, path: Path, place: str, notes: Notes) -> None:
        """Every column in every row group, and what the footer says."""
        with pq.ParquetFile(path) as plain:
            told = plain.metadata
            chunks = [[told.row_group(g).column(c) for g in range(told.num_row_groups)]
                      for c in range(told.num_columns)]  # fmt: skip
        self._footer(told, chunks, place, notes)
        # A dictionary is looked at once, and a text that stands in it once is not copied out for a million rows.
        repeated = [told.schema.column(c).path for c, of in enumerate(chunks)
                    if any("DICTIONARY" in e for chunk in of for e in chunk.encodings)]  # fmt: skip
        with pq.ParquetFile(path, metadata=told, read_dictionary=repeated) as file:
            schema = file.schema_arrow
            nested = [f.name for f in schema if pa.types.is_nested(f.type)]
            records = {"raw"} if _RECORDS.issubset(schema.names) else set()  # a look of its own
            flat = [f.name for f in schema if f.name not in {*nested, *records}
                    and self._cells.concerns(f.type, f.name)]  # fmt: skip
            for names, rows in ((flat, _ROWS), (nested, _FEW_ROWS)):
                seen: dict[str, Any] = {}
                for batch in file.iter_batches(rows, columns=names) if names else ():
                    self._columns(batch, place, notes, seen)
            if records:
                for batch in file.iter_batches(_ROWS, columns=sorted(_RECORDS)):
                    self._cells.look_at_records(batch["header"], batch["raw"], place, notes)

    def _footer(self, told: Any, chunks: list[list[Any]], place: str, notes: Notes) -> None:
        for key, value in (told.metadata or {}).items():
            self._text(key + b"=" + value, f"{place}footer", notes)
        for column, of in enumerate(chunks):
            name = told.schema.column(column).path
            self._text(name.encode(), f"{place}name of a column", notes)
            for stats in (chunk.statistics for chunk in of):
                if stats is not None and stats.has_min_max:
                    limits = pa.array([stats.min, stats.max])
                    self._cells.look(limits, name, f"{place}statistics of ", notes)

    def arrow(self, path: Path, place: str, notes: Notes) -> None:
        """Every batch of an IPC file or stream."""
        with pa.OSFile(str(path)) as file:
            head = file.read(6)
            file.seek(0)
            if head.startswith(b"FEA1"):
                batches: Iterable[Any] = feather.read_table(file).to_batches()
            elif head == b"ARROW1":
                reader = pa.ipc.open_file(file)
                batches = (reader.get_batch(n) for n in range(reader.num_record_batches))
            else:
                batches = pa.ipc.open_stream(file)
            for batch in batches:
                self._batch(batch, place, notes)

    def sqlite(self, path: Path, place: str, notes: Notes) -> None:
        """Every table, with what a write-ahead log or a journal beside the file says."""
        beside = [path.with_name(path.name + end) for end in _SQLITE_FILES]
        if not any(p.exists() for p in beside[1:]):
            # Immutable: not even a lock is taken.
            self._sqlite(f"{path.absolute().as_uri()}?immutable=1", place, notes)
            return
        with _copied(path, _SQLITE_FILES) as copy:
            self._sqlite(copy.as_uri(), place, notes)

    def _sqlite(self, uri: str, place: str, notes: Notes) -> None:
        with closing(sqlite3.connect(uri, uri=True)) as con:
            con.text_factory = bytes
            for kind, name, sql in con.execute("SELECT type, name, sql FROM sqlite_master").fetchall():
                self._text((sql or b"").replace(b"\0", b" "), f"{place}sqlite schema", notes)
                if kind != b"table":
                    continue
                quoted = name.decode().replace('"', '""')
                try:
                    self._sqlite_table(con, quoted, f"{place}sqlite table {self._shown(name)} ", notes)
                except sqlite3.Error as error:
                    notes.unread(f"{place}sqlite table {self._shown(name)}", type(error).__name__)

    def _sqlite_table(self, con: sqlite3.Connection, quoted: str, place: str, notes: Notes) -> None:
        rows = con.execute(f'SELECT * FROM "{quoted}"')
        names = [d[0] for d in rows.description]
        while batch := rows.fetchmany(_SQLITE_ROWS):
            for name, values in zip(names, zip(*batch, strict=True), strict=True):
                for kinds, typed in ((int, pa.int64()), (float, pa.float64()), (bytes, pa.large_binary())):
                    column = [v for v in values if isinstance(v, kinds)]
                    self._cells.look(pa.array(column, typed), name, place, notes)

    def duckdb(self, path: Path, place: str, notes: Notes) -> None:
        """Every table of a copy, with its log replayed, and the text of its views. Nothing else is reached."""
        with _copied(path, _DUCKDB_FILES) as copy, duckdb.connect(str(copy), config=_LOCKED) as con:
            for (sql,) in con.execute("SELECT sql FROM duckdb_views() WHERE NOT internal").fetchall():
                self._text(str(sql).encode(), f"{place}duckdb view", notes)
            tables = con.execute("SELECT schema_name, table_name, sql FROM duckdb_tables() WHERE NOT internal")
            for schema, table, sql in tables.fetchall():
                self._text(str(sql).encode(), f"{place}duckdb schema", notes)
                quoted = ".".join('"' + n.replace('"', '""') + '"' for n in (schema, table))
                for batch in con.execute(f"SELECT * FROM {quoted}").to_arrow_reader(_ROWS):
                    self._batch(batch, f"{place}duckdb table {self._shown(table.encode())} ", notes)

    def _batch(self, batch: Any, place: str, notes: Notes) -> None:
        for key, value in (batch.schema.metadata or {}).items():
            self._text(key + b"=" + value, f"{place}schema", notes)
        self._columns(batch, place, notes)

    def _columns(self, batch: Any, place: str, notes: Notes, seen: dict[str, Any] | None = None) -> None:
        """``seen``: the dictionaries of the batch before, which are not looked at again."""
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if seen is not None and pa.types.is_dictionary(column.type):
                if name in seen and column.dictionary.equals(seen[name]):
                    continue
                seen[name] = column.dictionary
            self._cells.look(column, name, place, notes)

    def _shown(self, name: bytes) -> str:
        return self._search.masked(name.decode(errors="replace").replace("/", " "))[0]

    def _text(self, data: bytes, place: str, notes: Notes) -> None:
        for hit in self._search.hits(Piece(data)):
            notes.found(place, hit.needle, hit.how)


@contextmanager
def _copied(path: Path, endings: tuple[str, ...]) -> Iterator[Path]:
    """A copy of a database and what lies beside it, in a private folder: opening the original could change it."""
    with tempfile.TemporaryDirectory(prefix="behavior-scan-") as scratch:
        for ending in endings:
            part = path.with_name(path.name + ending)
            if part.exists():
                shutil.copyfile(part, Path(scratch) / f"database{ending}")
        yield Path(scratch) / "database"
