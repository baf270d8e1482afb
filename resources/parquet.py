"""Writing one Parquet file so that it can be trusted: content-addressed, page checksums, fsync before its name."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from resources.disk import disk_errors, draft_in
from resources.failpoints import reach

ROW_GROUP = 262_144
_WAS = "~"  # between a fingerprint and an origin


@dataclass(frozen=True)
class DataFile:
    """A data file of a lake table.

    ``path`` is relative to the table; ``part`` is its day, month or other unit of replacement; ``fingerprint``
    names the recorded inputs it was made from (empty where it only appends). A file that persons were taken out of
    keeps the ``origin``, the sha256 of the file that it was before; empty where nobody was.
    """

    path: str
    part: str
    fingerprint: str
    sha256: str
    rows: int
    size: int
    origin: str = ""

    @classmethod
    def parse(cls, path: str, rows: int, size: int) -> DataFile:
        """Read part, fingerprint, origin and hash back from a file's name."""
        part, made_from, digest = Path(path).stem.rsplit("_", 2)
        fingerprint, _, origin = made_from.partition(_WAS)
        return cls(path, part, fingerprint, digest, rows, size, origin)

    @property
    def as_made(self) -> str:
        """The sha256 of the file as it was made: the same whoever was taken out of it since."""
        return self.origin or self.sha256


class _HashingFile:
    """A file object that hashes what pyarrow writes through it."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._sha = hashlib.sha256()
        self.size = 0
        self.closed = False

    def write(self, data: bytes) -> int:
        view = memoryview(data)
        self._sha.update(view)
        self.size += view.nbytes
        return self._file.write(view)

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()

    def abandon(self) -> None:
        """Close without caring for what is not written yet: the disk may refuse that again."""
        self.closed = True
        with suppress(OSError):
            self._file.close()

    def hexdigest(self) -> str:
        return self._sha.hexdigest()

    def seekable(self) -> bool:
        return False

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True


def write_part(
    table_root: Path,
    folder: str,
    part: str,
    fingerprint: str,
    batches: Iterable[pa.RecordBatch | pa.Table],
    schema: pa.Schema,
    undictionaried: frozenset[str] = frozenset(),
    origin: str = "",
) -> DataFile:
    """Write batches as one file ``<part>_<fingerprint>[~<origin>]_<sha256>.parquet`` below ``table_root/folder``.

    The name appears only after the bytes are on disk. ``undictionaried`` columns hold nearly distinct values, for
    which trying a dictionary costs time and saves nothing. Raises StorageError when the disk refuses.
    """
    target = table_root / folder
    with disk_errors(table_root):
        target.mkdir(parents=True, exist_ok=True)
        draft = draft_in(target)
        sink = _HashingFile(draft)
        try:
            reach("parquet.write")
            rows = _write(sink, batches, schema, undictionaried)
            reach("parquet.sync")
            sink.close()
            digest = sink.hexdigest()
            name = f"{part}_{fingerprint}{_WAS if origin else ''}{origin}_{digest}.parquet"
            reach("parquet.name")
            draft.replace(target / name)
        except BaseException:
            sink.abandon()
            draft.unlink(missing_ok=True)
            raise
    path = f"{folder}/{name}" if folder else name
    return DataFile(path, part, fingerprint, digest, rows, sink.size, origin)


def _write(
    sink: _HashingFile,
    batches: Iterable[pa.RecordBatch | pa.Table],
    schema: pa.Schema,
    undictionaried: frozenset[str],
) -> int:
    rows = 0
    held: list[pa.Table] = []
    held_rows = 0
    with pq.ParquetWriter(
        pa.PythonFile(sink, mode="w"),
        schema,
        compression="snappy",
        write_page_checksum=True,
        write_statistics=False,
        store_schema=False,
        version="2.6",
        coerce_timestamps="us",
        store_decimal_as_integer=True,
        use_dictionary=[name for name in schema.names if name not in undictionaried],
    ) as writer:
        for batch in batches:
            table = pa.Table.from_batches([batch]) if isinstance(batch, pa.RecordBatch) else batch
            held.append(_complete(table, schema))
            held_rows += table.num_rows
            rows += table.num_rows
            if held_rows >= ROW_GROUP:
                writer.write_table(pa.concat_tables(held), row_group_size=ROW_GROUP)
                held, held_rows = [], 0
        if held_rows or rows == 0:
            writer.write_table(pa.concat_tables(held) if held else schema.empty_table(), row_group_size=ROW_GROUP)
    return rows


def _complete(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Columns in the schema's order and types; those that the rows do not have are NULL."""
    columns = [
        table[f.name].cast(f.type) if f.name in table.column_names else pa.nulls(table.num_rows, f.type)
        for f in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)
