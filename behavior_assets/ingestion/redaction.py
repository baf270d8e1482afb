"""Originals in the archive without what is of erased persons: their records are blank, all others keep their place.

A redacted file keeps the name that the ledger knows it by. A note beside it tells the sha256 of the bytes that it has
now and the numbers of the records that are blank, so that it can be verified, and read again as what it was without
them.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from behavior_assets.ingestion import records
from behavior_assets.ingestion.landing import kind_of, open_packed
from behavior_assets.ingestion.reading import FileReading
from behavior_assets.ingestion.sources.base import Source
from resources.disk import disk_errors, draft_in, draft_of, make_folder, sync_path
from resources.failpoints import reach
from resources.integrity import sha256_of
from resources.settings import Home

REDACTED = "redacted"  # the folder of the notes below archive/
_DIGITS = 16
_BLOCK = 4 * 2**20
_LEVEL = 6  # of gzip: a third of the time of the best one, for hardly larger files


@dataclass(frozen=True)
class Redaction:
    """What became of an original. ``rows`` count from 1 after the header; ``now`` is empty where it has expired."""

    source: str
    original: str
    now: str
    rows: tuple[int, ...]


def redactions(home: Home) -> dict[tuple[str, str], Redaction]:
    """What is blank in the archive, by format and sha256 of the original. A damaged note is left away."""
    found: dict[tuple[str, str], Redaction] = {}
    for path in sorted((home.archive / REDACTED).glob("*.json")):
        raw = path.read_bytes()
        if not path.name.startswith(hashlib.sha256(raw).hexdigest()[:_DIGITS]):
            continue
        told = json.loads(raw)
        note = Redaction(told["source"], told["original"], told["now"], tuple(told["rows"]))
        known = found.get((note.source, note.original))
        if known is None or (not note.now, len(note.rows)) > (not known.now, len(known.rows)):  # of two after a crash
            found[note.source, note.original] = note
    return found


def redaction_of(home: Home, source: str, sha256: str) -> Redaction | None:
    """What is blank in one original."""
    if not any((home.archive / REDACTED).glob(f"*-{source}-{sha256}.json")):
        return None
    return redactions(home).get((source, sha256))


def has_expired(home: Home, source: str, sha256: str) -> bool:
    """Whether an original is not kept any more because its time was over."""
    note = redaction_of(home, source, sha256)
    return note is not None and not note.now


def keep_redaction(home: Home, note: Redaction) -> None:
    """Write a note in place of older ones of the same original."""
    folder = home.archive / REDACTED
    text = json.dumps(asdict(note))
    name = f"-{note.source}-{note.original}.json"
    target = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]}{name}"
    with disk_errors(folder):
        make_folder(folder)
        with draft_of(target) as draft:
            draft.write_text(text, "utf-8")
            reach("privacy.redact")
        for older in folder.glob(f"*{name}"):
            if older != target:
                older.unlink()


def redact(home: Home, path: Path, delivered: str, source: Source, original: str, rows: Collection[int]) -> None:
    """Blank records of an original in place, by their numbers. ``delivered``: the name that tells how it is packed.

    The note is written before the file takes its new bytes: who dies between them blanks it again.
    """
    kind, compression = kind_of(Path(delivered))
    gone = np.array(sorted(rows), dtype=np.int64)
    with disk_errors(path.parent), draft_of(path) as draft:
        if kind == "parquet":
            _redact_parquet(path, draft, gone)
        else:
            blank = b"{}" if kind == "jsonl" else source.delimiter.encode() * (len(source.columns) - 1)
            with unpacked(path, compression) as plain, packed(draft, compression) as writer:
                for data in _blanked(plain, gone, blank, is_csv=kind == "csv", header=source.header):
                    writer.write(data)
        keep_redaction(home, Redaction(source.name, original, sha256_of(draft), tuple(sorted(rows))))
        reach("privacy.redact")
    sync_path(path.parent)


def blank_suppressed(home: Home, delivered: Path, reading: FileReading) -> None:
    """Before an original is archived: blank what was suppressed in it, with the note that tells so."""
    if not reading.suppressed:
        return
    staged = reading.staged
    redact(home, staged.original, delivered.name, reading.source, staged.sha256, reading.suppressed)


def _blanked(plain: Path, gone: np.ndarray[Any, Any], blank: bytes, *, is_csv: bool, header: bool) -> Iterator[bytes]:
    next_row = 0 if is_csv and header else 1
    for piece in records.pieces(plain, plain.stat().st_size + 1, quoting=is_csv):
        starts = np.concatenate(([0], piece.ends[:-1] + 1))
        is_blank = records.blank(np.frombuffer(piece.data, dtype=np.uint8), piece.ends, piece.ends - starts)
        numbers = next_row + np.cumsum(~is_blank) - 1
        next_row += int(np.count_nonzero(~is_blank))
        done = 0
        for place in np.flatnonzero(np.isin(numbers, gone) & ~is_blank).tolist():
            start, end = int(starts[place]), int(piece.ends[place])
            if piece.data[end - 1 : end] == b"\r":
                end -= 1
            yield piece.data[done:start] + blank
            done = end
        yield piece.data[done:]


def _redact_parquet(path: Path, draft: Path, gone: np.ndarray[Any, Any]) -> None:
    file = pq.ParquetFile(path)
    schema = pa.schema([f.with_nullable(True) for f in file.schema_arrow])  # noqa: FBT003 - without older metadata
    codec = file.metadata.row_group(0).column(0).compression if file.num_row_groups else "SNAPPY"
    done = 0
    with pq.ParquetWriter(draft, schema, compression=codec.replace("UNCOMPRESSED", "NONE")) as writer:  # noqa: TID251
        for group in range(file.num_row_groups):
            table = file.read_row_group(group)
            places = np.arange(table.num_rows)
            keep = ~np.isin(places + done + 1, gone)
            done += table.num_rows
            nulls = table.take(pa.array(places, mask=~keep))
            writer.write_table(pa.Table.from_arrays(nulls.columns, schema=schema))


@contextmanager
def unpacked(path: Path, compression: str) -> Iterator[Path]:
    """A file's plain bytes as a file."""
    if not compression:
        yield path
        return
    plain = draft_in(path.parent)
    try:
        with open_packed(path, compression) as reader, plain.open("wb") as writer:
            shutil.copyfileobj(reader, writer, _BLOCK)
        yield plain
    finally:
        plain.unlink(missing_ok=True)


@contextmanager
def packed(path: Path, compression: str) -> Iterator[IO[bytes] | Any]:
    """A stream that packs as a file of that ending is packed; the same bytes give the same file."""
    with path.open("wb") as file:
        if compression == ".gz":
            with gzip.GzipFile("", "wb", _LEVEL, file, 0) as writer:
                yield writer
        elif compression:
            with pa.CompressedOutputStream(pa.PythonFile(file, mode="w"), "zstd") as stream:
                yield stream
        else:
            yield file
