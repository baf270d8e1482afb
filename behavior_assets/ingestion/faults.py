"""Rows that their bytes alone tell to be bad: found before the parser runs, and hidden from it.

Some of them cost the parser far more than they are long (a row of 100,000 fields: gigabytes), some it takes silently
for good ones (a key that stands twice). In the copy of the file that it reads, each is a short row that says which
fault it stands for; number and place of all rows stay as they are.
"""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from behavior_assets.ingestion import records
from behavior_assets.ingestion.reading import FileReading
from behavior_assets.ingestion.records import Piece
from behavior_assets.ingestion.sources.base import Check
from resources.errors import InputRefusedError
from resources.failpoints import reach


class Fault(NamedTuple):
    """What is wrong with a row, for the quarantine."""

    failure_class: str
    column: str
    message: str


class Found(NamedTuple):
    """A bad row: its number (1: the first after the header) and its place in the file, line end aside."""

    row: int
    start: int
    end: int
    fault: Fault


OVERSIZE = Fault("oversize", "record", "longer than the setting max_field_bytes")
ENCODING = Fault("invalid_encoding", "record", "not UTF-8")
TOO_FEW = Fault("malformed", "record", "too few fields: the row is cut or a delimiter is missing")
TOO_MANY = Fault("malformed", "record", "too many fields: a delimiter or a quote too many")
QUOTE = Fault("malformed", "record", "a quote that does not close its field")
CUT = Fault("unterminated_record", "record", "the file ends inside this row (no line end)")
RETURN = Fault("malformed", "record", "holds a carriage return that ends no line")
CONTROL = Fault("malformed", "record", "holds a control character, which JSON does not allow")

_RETURN = 13

# What else is wrong with the records of a piece, by their place in it.
Inspect = Callable[[bytes, npt.NDArray[np.int64], npt.NDArray[np.int64]], Iterable[tuple[int, Fault]]]


@dataclass(frozen=True)
class Layout:
    """How a text file is cut into rows and fields; ``delimiter`` and ``fields`` are what the parser is told too."""

    delimiter: str
    fields: int
    header: bool
    quoting: bool
    limit: int


def find(path: Path, layout: Layout, inspect: Inspect | None = None) -> Iterator[Found]:
    """Bad rows of a file in its order."""
    row = 0 if layout.header else 1
    judge = _Judge(layout)
    for piece in records.pieces(path, layout.limit, quoting=layout.quoting):
        if not piece.data:
            if row:
                yield Found(row, piece.start, piece.start + int(piece.ends[0]), OVERSIZE)
            row += 1
            continue
        starts = np.concatenate(([0], piece.ends[:-1] + 1))
        block = np.frombuffer(piece.data, dtype=np.uint8)
        is_blank = records.blank(block, piece.ends, piece.ends - starts)
        bad = judge.faults(piece, starts, block)
        for place, fault in () if inspect is None else inspect(piece.data, starts, piece.ends):
            bad.setdefault(place, fault)
        numbers = row + np.cumsum(~is_blank) - 1
        for place in sorted(bad):
            if not is_blank[place] and numbers[place]:
                yield Found(int(numbers[place]), piece.start + int(starts[place]),
                            piece.start + int(piece.ends[place]), bad[place])  # fmt: skip
        row += int(np.count_nonzero(~is_blank))


class _Judge:
    """Tells the records that the parser cannot split into the wanted fields."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._delimiter = layout.delimiter.encode()
        # Possessive: nothing is tried twice, however long the record is.
        delimiter = re.escape(self._delimiter)
        quoted = rb'"[^"]*+(?:""[^"]*+)*+"'
        field = rb"(?:%b|[^\"%b]*+)" % (quoted, delimiter)
        self._quoted = re.compile(quoted)
        self._sound = re.compile(rb"%b(?:%b%b)*+" % (field, delimiter, field))

    def faults(self, piece: Piece, starts: npt.NDArray[np.int64], block: npt.NDArray[np.uint8]) -> dict[int, Fault]:
        layout, data, ends = self._layout, piece.data, piece.ends
        found = np.flatnonzero(block == ord(layout.delimiter))
        counts = np.searchsorted(found, ends) - np.searchsorted(found, starts)
        suspect = (counts != layout.fields - 1) | (ends - starts > layout.limit)
        if b"\r" in data:
            returns = np.setdiff1d(np.flatnonzero(block == _RETURN), records.closing_returns(block, ends))
            suspect |= np.searchsorted(returns, ends) > np.searchsorted(returns, starts)
        if not layout.quoting and b"\0" in data:
            nul = np.flatnonzero(block == 0)
            suspect |= np.searchsorted(nul, ends) > np.searchsorted(nul, starts)
        if not _is_utf8(data):
            suspect[:] = True
        told = {}
        for place in np.flatnonzero(suspect).tolist():
            fault = self._fault(data[int(starts[place]) : int(ends[place])].removesuffix(b"\r"))
            if fault is not None:
                told[place] = fault
        return told

    def _fault(self, record: bytes) -> Fault | None:
        layout = self._layout
        if len(record) > layout.limit:
            return OVERSIZE
        if not _is_utf8(record):
            return ENCODING
        if not layout.quoting:
            controls = self._delimiter in record or b"\0" in record
            return CONTROL if controls else RETURN if b"\r" in record else None
        return self._misfit(record) or (RETURN if b"\r" in self._quoted.sub(b"", record) else None)

    def _misfit(self, record: bytes) -> Fault | None:
        """What is wrong with the number of fields, as far as quotes leave no doubt."""
        wanted = self._layout.fields - 1
        delimiters = record.count(self._delimiter)
        if delimiters != wanted and b'"' in record:
            if not self._sound.fullmatch(record):
                return QUOTE
            delimiters = self._quoted.sub(b"", record).count(self._delimiter)
        if delimiters == wanted:
            return None  # or with quotes in odd places: the parser knows better what they mean
        return TOO_FEW if delimiters < wanted else TOO_MANY


def _is_utf8(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def hide(path: Path, target: Path, found: Iterable[Found], layout: Layout, record: str) -> tuple[Check, ...]:
    """Copy a file with its bad rows replaced; no copy where no row is bad.

    The checks returned tell the replaced rows by SQL ``record``, the first field.
    """
    mark = f"refused-{uuid.uuid4().hex}-"
    numbers: dict[Fault, int] = {}
    with path.open("rb") as reader, ExitStack() as stack:
        writer: BinaryIO | None = None
        for bad in found:
            if writer is None:
                reach("staging.hide")
                writer = stack.enter_context(target.open("wb"))
            _copy(reader, writer, bad.start - reader.tell())
            number = numbers.setdefault(bad.fault, len(numbers))
            writer.write(f"{mark}{number}{layout.delimiter * (layout.fields - 1)}".encode())
            reader.seek(bad.end)
        if writer is not None:
            shutil.copyfileobj(reader, writer, records.BLOCK)
    return tuple(Check(*f[:2], f"{record} = '{mark}{n}'", f.message) for f, n in numbers.items())


def even_ends(path: Path, target: Path, layout: Layout) -> None:
    """Copy a file whose records end in LF or CRLF so that all end in LF; it holds no record beyond the limit."""
    reach("staging.unpack")
    with target.open("wb") as writer:
        for piece in records.pieces(path, layout.limit, quoting=layout.quoting):
            block = np.frombuffer(piece.data, dtype=np.uint8)
            kept = np.ones(len(block), dtype=bool)
            kept[records.closing_returns(block, piece.ends)] = False
            writer.write(block[kept].tobytes())


def _copy(reader: BinaryIO, writer: BinaryIO, size: int) -> None:
    while size > 0:
        data = reader.read(min(size, records.BLOCK))
        writer.write(data)
        size -= len(data)


def within(reading: FileReading, found: Iterable[Found]) -> Iterator[Found]:
    """The same bad rows. Raises InputRefusedError at one of several lines, and once they take too much room."""
    held = 0
    for rows, bad in enumerate(found, 1):
        held += bad.end - bad.start
        reading.require_room(rows, held, bad.row, bad.fault.message)
        if _lines(reading.staged.path, bad) > 1:
            name = reading.staged.name
            msg = f"{name}: row {bad.row} spans several lines and is {bad.fault.message}. Mend it and deliver it again."
            raise InputRefusedError(msg)
        yield bad


def _lines(path: Path, bad: Found) -> int:
    with path.open("rb") as file:
        file.seek(bad.start)
        return file.read(bad.end - bad.start).count(b"\n") + 1
