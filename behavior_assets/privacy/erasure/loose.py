"""Files of a home that are neither a delivery nor a table's: refused ones, and what the simulator made.

What the scan would find in them goes, a line or a row at a time, and only that: a number counts where a column, a field
or a word says that it is a person's. A file whose name tells of somebody, that has neither lines nor rows, or that
still tells of somebody then, goes as a whole, with the reason that lies beside it.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from behavior_assets.ingestion.landing import COMPRESSIONS, REASON, open_packed
from behavior_assets.ingestion.redaction import packed
from behavior_assets.privacy.erasure.lines import whole_lines
from behavior_assets.privacy.erasure.takeout import without
from behavior_assets.privacy.scanner import Needles, scan
from behavior_assets.privacy.scanner.labels import Columns, Labels
from behavior_assets.privacy.scanner.matcher import Matcher
from behavior_assets.privacy.scanner.needles import patterns
from behavior_assets.privacy.scanner.text import Piece, Search
from resources.disk import disk_errors, draft_of
from resources.failpoints import reach
from resources.settings import Home

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HEAD = 2**16  # bytes


def blank_loose(home: Home, needles: Needles) -> int:
    """Take out what names the needles' persons; how many lines, rows and whole files it were."""
    search = Search(Matcher(patterns(needles)), Labels(), needles.besides)
    gone = 0
    for folder in (home.refused, home.root / "simulated"):
        for path in [p for p in sorted(folder.rglob("*")) if p.is_file() and not p.name.endswith(REASON)]:
            if search.masked(path.name)[1]:
                gone += _remove(path)
            else:
                gone += _without_rows(path, needles) if path.suffix == ".parquet" else _without_lines(path, search)
        for name in sorted({find.path for find in scan(folder, needles)} if folder.is_dir() else ()):
            gone += _remove(folder / name) if (folder / name).is_file() else 0
    return gone


def _remove(path: Path) -> int:
    path = path.with_name(path.name.removesuffix(REASON))
    reach("privacy.redact")
    path.unlink(missing_ok=True)
    path.with_name(path.name + REASON).unlink(missing_ok=True)
    return 1


def _without_lines(path: Path, search: Search) -> int:
    compression = path.suffix if path.suffix in COMPRESSIONS else ""
    with disk_errors(path.parent):
        try:
            with open_packed(path, compression) as reader:
                head = bytes(reader.read(_HEAD))
            with open_packed(path, compression) as reader:
                gone = sum(named for _, named in _lines(reader, search, Columns.of(head)))
        except (OSError, EOFError, ValueError):
            return 0  # it has no lines
        if gone and b"\0" in head:  # a format of its own: without its lines it would be none
            return 0
        if gone:
            stamp = path.stat()
            with draft_of(path) as draft:
                with open_packed(path, compression) as reader, packed(draft, compression) as writer:
                    writer.writelines(line for line, named in _lines(reader, search, Columns.of(head)) if not named)
                    reach("privacy.redact")
                os.utime(draft, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    return gone


def _lines(reader: BinaryIO, search: Search, columns: Columns | None) -> Iterator[tuple[bytes, bool]]:
    """All of a stream in pieces, lines that name somebody each for itself, and marked."""
    for block in whole_lines(reader):
        starts = [hit.start for hit in search.hits(Piece(block, columns=columns))]
        if not starts:
            yield block, False
            continue
        lines = block.splitlines(keepends=True)
        ends = [*accumulate(map(len, lines))]
        marked = {bisect_right(ends, start) for start in starts if start >= 0}
        hidden = min(starts) < 0  # behind an escape, somewhere
        for number, line in enumerate(lines):
            yield line, number in marked or (hidden and any(search.hits(Piece(line, columns=columns))))


def _without_rows(path: Path, needles: Needles) -> int:
    """A table's rows of which a cell is one of the needles; what else names them is left to the look at the file."""
    texts = pa.array(sorted(needles.texts), pa.string())
    with disk_errors(path.parent):
        try:
            gone = _rows_that_name(path, texts)
        except (OSError, pa.ArrowException):
            return 0  # it has no rows
        if len(gone):
            with draft_of(path) as draft:
                with pq.ParquetWriter(draft, pq.read_schema(path)) as writer:  # noqa: TID251 - no table of the lake
                    for rows in without(path, gone):
                        writer.write_table(rows)
                reach("privacy.redact")
    return len(gone)


def _rows_that_name(path: Path, texts: pa.Array) -> NDArray[np.int64]:
    found, done = [np.zeros(0, np.int64)], 0
    file = pq.ParquetFile(path)
    for batch in file.iter_batches(columns=[f.name for f in file.schema_arrow if pa.types.is_string(f.type)]):
        hits = (pc.is_in(column, texts).to_numpy(zero_copy_only=False) for column in batch.columns)
        found += [done + np.flatnonzero(hit) for hit in hits]
        done += len(batch)
    return np.unique(np.concatenate(found))
