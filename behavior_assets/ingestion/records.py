"""Counting and finding the records of a text file without trusting the parser that reads it later.

The scan is the independent half of the conservation rule: what it counts must equal what the parser delivers
plus what it rejects, or the file is refused.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

BLOCK = 2**20  # small enough for a core's cache: a block is looked at several times
VECTOR = 2048  # rows that DuckDB works on at once
_NEWLINE, _RETURN, _QUOTE = 10, 13, 34
_LONGEST_UTF8 = 4  # bytes of one character


@dataclass(frozen=True)
class Scan:
    """What a pass over the bytes tells.

    ``records`` counts non-blank records, a header included. ``even``: each has the wanted number of delimiters.
    ``mixed_ends``: some with LF alone, others with CRLF; ``stray_return``: a CR that belongs to none of them.
    ``widest`` is about how many bytes so many records in a row hold as the parser takes at once, those beyond the
    limit aside.
    """

    records: int
    lines: int
    longest: int
    widest: int
    even: bool
    has_quotes: bool
    terminated: bool
    open_quote_record: int | None
    valid_utf8: bool
    has_nul: bool
    mixed_ends: bool
    stray_return: bool

    @property
    def multiline(self) -> bool:
        """Whether a quoted field holds a line break."""
        return self.lines > self.records


class Piece(NamedTuple):
    """Some whole records: where they begin in the file, their bytes, and the places of their line ends in these.

    A record beyond the limit comes alone and without its bytes.
    """

    start: int
    data: bytes
    ends: npt.NDArray[np.int64]


def _blocks(path: Path) -> Iterator[tuple[int, bytes, npt.NDArray[np.uint8]]]:
    offset = 0
    with path.open("rb") as file:
        while data := file.read(BLOCK):
            yield offset, data, np.frombuffer(data, dtype=np.uint8)
            offset += len(data)


def _record_ends(
    data: bytes, block: npt.NDArray[np.uint8], inside: int, *, quoting: bool
) -> tuple[npt.NDArray[np.int64], int]:
    """Positions of the newlines that end a record, and whether the block ends inside quotes (RFC 4180 parity)."""
    ends = np.flatnonzero(block == _NEWLINE)
    if not quoting:
        return ends, 0
    if b'"' not in data:
        return (ends if not inside else ends[:0]), inside
    quotes = np.flatnonzero(block == _QUOTE)
    parity = (np.searchsorted(quotes, ends) + inside) & 1
    return ends[parity == 0], (len(quotes) + inside) & 1


def scan(path: Path, delimiter: str, fields: int, limit: int, *, quoting: bool = True) -> Scan:
    """One pass over a file of so many fields a record. ``quoting`` False for formats without quotes.

    ``limit``: bytes beyond which a record will not be parsed.
    """
    records = lines = longest = inside = position = 0
    quotes_seen = has_nul = False
    utf8, evenness, windows = _Utf8(), _Evenness(ord(delimiter), fields - 1), _Windows(limit)
    returns = _Returns()
    open_quote: int | None = None
    last_end, last_byte = -1, _NEWLINE
    for offset, data, block in _blocks(path):
        was_inside = inside
        ends, inside = _record_ends(data, block, inside, quoting=quoting)
        absolute = np.concatenate(([last_end], ends + offset))
        lengths = np.diff(absolute) - 1
        is_blank = blank(block, ends, lengths)
        if len(ends) and not ends[0] and lengths[0] == 1:  # its only byte is in the block before
            is_blank[0] = last_byte == _RETURN
        blanks = int(np.count_nonzero(is_blank))
        records += len(ends) - blanks
        longest = max(longest, int(lengths.max(initial=0)))
        quoted = quoting and b'"' in data
        newlines = int(np.count_nonzero(block == _NEWLINE)) if quoted or was_inside else len(ends)
        lines += newlines - blanks
        evenness.feed(block, ends, is_blank)
        windows.feed(lengths)
        quotes_seen = quotes_seen or quoted
        has_nul = has_nul or b"\0" in data
        utf8.feed(data)
        returns.feed(data, block, ends, after_return=last_byte == _RETURN)
        if inside and (not was_inside or len(ends)):
            open_quote = records + 1
        last_end = int(absolute[-1])
        last_byte = int(block[-1])
        position = offset + len(block)
    terminated = last_byte == _NEWLINE and not inside
    tail = position - last_end - 1
    if tail > 0:
        records, lines, longest = records + 1, lines + (not inside and last_byte != _NEWLINE), max(longest, tail)
        windows.feed(np.array([tail]))
    return Scan(records, lines, longest, windows.widest(), evenness.finish(tail=tail > 0), quotes_seen, terminated,
                open_quote if inside else None, utf8.finish(), has_nul, returns.mixed, returns.stray)  # fmt: skip


class _Evenness:
    """Whether every record has so many delimiters, those inside quotes counted too."""

    def __init__(self, delimiter: int, wanted: int) -> None:
        self._delimiter, self._wanted = delimiter, wanted
        self._carried = 0  # delimiters of a record that began in an earlier block
        self._even = True

    def feed(self, block: npt.NDArray[np.uint8], ends: npt.NDArray[np.int64], is_blank: npt.NDArray[np.bool_]) -> None:
        if not self._even:
            return
        found = np.flatnonzero(block == self._delimiter)
        if not len(ends):
            self._carried += len(found)
            return
        until = np.searchsorted(found, ends)
        counts = np.diff(until, prepend=-self._carried)
        self._even = bool(((counts == self._wanted) | is_blank).all())
        self._carried = len(found) - int(until[-1])

    def finish(self, *, tail: bool) -> bool:
        return self._even and (not tail or self._carried == self._wanted)


class _Windows:
    """The most bytes that ``VECTOR`` records in a row hold, told from above."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._records = self._bytes = self._widest = 0

    def feed(self, lengths: npt.NDArray[np.int64]) -> None:
        kept = lengths[lengths <= self._limit]
        self._records += len(kept)
        self._bytes += int(kept.sum())
        # A block of so many records is wider than the widest window in it, but narrow enough.
        if self._records >= VECTOR:
            self._widest = max(self._widest, self._bytes)
            self._records = self._bytes = 0

    def widest(self) -> int:
        return max(self._widest, self._bytes)


def pieces(path: Path, limit: int, *, quoting: bool) -> Iterator[Piece]:
    """All bytes of a file, cut between records; no more of them is held than a block and a record of the limit."""
    held: list[bytes] = []
    size = start = inside = 0
    skipping = False
    for offset, data, block in _blocks(path):
        ends, inside = _record_ends(data, block, inside, quoting=quoting)
        if not len(ends):
            held.append(data)
            size += len(data)
            if skipping or size > limit:
                held, skipping = [], True
            continue
        first, last = 0, int(ends[-1]) + 1  # what lies between is of whole records, or the rest of one
        if skipping:
            first = int(ends[0]) + 1
            yield Piece(start, b"", np.array([offset + first - 1 - start]))
            start, held, skipping, ends = offset + first, [], False, ends[1:]
        if len(ends):
            before = b"".join(held)
            yield Piece(start, before + data[first:last], ends - first + len(before))
            start = offset + last
        held, size = [data[last:]], len(data) - last
    size = path.stat().st_size - start
    if size:
        yield Piece(start, b"".join(held), np.array([size]))


def blank(
    block: npt.NDArray[np.uint8], ends: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """Records that are empty or only a carriage return."""
    only_return = (lengths == 1) & (block[np.maximum(ends - 1, 0)] == _RETURN)
    nothing: npt.NDArray[np.bool_] = (lengths == 0) | only_return
    return nothing


class _Utf8:
    """Whether a byte stream is UTF-8, block by block; pure ASCII blocks cost one comparison."""

    def __init__(self) -> None:
        self._pending = b""
        self._valid = True

    def feed(self, block: bytes) -> None:
        if not self._valid or (not self._pending and block.isascii()):
            return
        data = self._pending + block
        try:
            data.decode("utf-8")
            self._pending = b""
        except UnicodeDecodeError as error:
            cut_at_end = error.reason == "unexpected end of data" and len(data) - error.start < _LONGEST_UTF8
            self._valid, self._pending = cut_at_end, data[error.start :] if cut_at_end else b""

    def finish(self) -> bool:
        return self._valid and not self._pending


class _Returns:
    """Carriage returns, before a record's end and elsewhere; a file without any costs one comparison a block."""

    def __init__(self) -> None:
        self._ends = self._closing = self._all = 0

    def feed(
        self, data: bytes, block: npt.NDArray[np.uint8], ends: npt.NDArray[np.int64], *, after_return: bool
    ) -> None:
        self._ends += len(ends)
        if b"\r" not in data and not after_return:
            return
        self._all += int(np.count_nonzero(block == _RETURN))
        self._closing += len(closing_returns(block, ends)) + bool(after_return and len(ends) and not ends[0])

    @property
    def mixed(self) -> bool:
        return 0 < self._closing < self._ends

    @property
    def stray(self) -> bool:
        return self._all > self._closing


def closing_returns(block: npt.NDArray[np.uint8], ends: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Places of the carriage returns that stand right before these line ends."""
    before = ends[ends > 0] - 1
    found: npt.NDArray[np.int64] = before[block[before] == _RETURN]
    return found


class NoRoomError(Exception):
    """The wanted records are more than may be held; the argument is the number of the one that was too much."""


def locate(
    path: Path, rows: set[int], offsets: set[int], *, header: bool, quoting: bool = True, most: int = sys.maxsize
) -> dict[int, bytes]:
    """Raw bytes of the wanted records by row number (1 = first record after the header).

    ``rows`` are wanted by number, ``offsets`` by a byte position inside them. Raises NoRoomError beyond ``most`` bytes.
    """
    found: dict[int, bytes] = {}
    size = 0
    next_row = 0 if header else 1
    wanted_rows = np.array(sorted(rows), dtype=np.int64)
    wanted_offsets = np.array(sorted(offsets), dtype=np.int64)
    for piece in pieces(path, most, quoting=quoting):
        starts = np.concatenate(([0], piece.ends[:-1] + 1))
        is_blank = np.zeros(1, dtype=bool)
        if piece.data:
            is_blank = blank(np.frombuffer(piece.data, dtype=np.uint8), piece.ends, piece.ends - starts)
        numbers = next_row + np.cumsum(~is_blank) - 1
        next_row += int(np.count_nonzero(~is_blank))
        hit = np.isin(numbers, wanted_rows)
        hit |= np.searchsorted(wanted_offsets, starts + piece.start) < np.searchsorted(
            wanted_offsets, piece.ends + piece.start, side="right"
        )
        for place in np.flatnonzero(hit & ~is_blank).tolist():
            size += int(piece.ends[place] - starts[place])
            if size > most:
                raise NoRoomError(int(numbers[place]))
            record = piece.data[int(starts[place]) : int(piece.ends[place])]
            found[int(numbers[place])] = record.removesuffix(b"\r")
    return found
