"""Counting and finding the records of a text file without trusting the parser that reads it later.

The scan is the independent half of the conservation rule: what it counts must equal what the parser delivers
plus what it rejects, or the file is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

BLOCK = 2**20  # small enough for a core's cache: a block is looked at several times
_NEWLINE, _RETURN, _QUOTE = 10, 13, 34
_LONGEST_UTF8 = 4  # bytes of one character


@dataclass(frozen=True)
class Scan:
    """What a pass over the bytes tells.

    ``records`` counts non-blank records, a header included; ``delimiters`` counts the delimiter byte in them.
    """

    records: int
    lines: int
    longest: int
    delimiters: int
    has_quotes: bool
    terminated: bool
    open_quote_record: int | None
    valid_utf8: bool
    has_nul: bool

    @property
    def multiline(self) -> bool:
        """Whether a quoted field holds a line break."""
        return self.lines > self.records


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


def scan(path: Path, delimiter: str | None, *, quoting: bool = True) -> Scan:
    """One pass over a file. ``delimiter`` None counts none; ``quoting`` False for formats without quotes."""
    records = lines = longest = delimiters = inside = position = 0
    quotes_seen = False
    utf8 = _Utf8()
    has_nul = False
    open_quote: int | None = None
    last_end, last_byte = -1, _NEWLINE
    for offset, data, block in _blocks(path):
        was_inside = inside
        ends, inside = _record_ends(data, block, inside, quoting=quoting)
        absolute = np.concatenate(([last_end], ends + offset))
        lengths = np.diff(absolute) - 1
        blank = int(np.count_nonzero(_blank(block, ends, lengths)))
        records += len(ends) - blank
        longest = max(longest, int(lengths.max(initial=0)))
        quoted = quoting and b'"' in data
        newlines = int(np.count_nonzero(block == _NEWLINE)) if quoted or was_inside else len(ends)
        lines += newlines - blank
        if delimiter:
            delimiters += int(np.count_nonzero(block == ord(delimiter)))
        quotes_seen = quotes_seen or quoted
        has_nul = has_nul or b"\0" in data
        utf8.feed(data)
        if inside and (not was_inside or len(ends)):
            open_quote = records + 1
        last_end = int(absolute[-1])
        last_byte = int(block[-1])
        position = offset + len(block)
    terminated = last_byte == _NEWLINE and not inside
    tail = position - last_end - 1
    if tail > 0:
        records, lines, longest = records + 1, lines + (not inside and last_byte != _NEWLINE), max(longest, tail)
    return Scan(records, lines, longest, delimiters, quotes_seen, terminated, open_quote if inside else None,
                utf8.finish(), has_nul)  # fmt: skip


def _blank(
    block: npt.NDArray[np.uint8], ends: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """Records that are empty or only a carriage return."""
    only_return = (lengths == 1) & (block[np.maximum(ends - 1, 0)] == _RETURN)
    blank: npt.NDArray[np.bool_] = (lengths == 0) | only_return
    return blank


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


def locate(
    path: Path, rows: set[int], offsets: set[int], *, header: bool, quoting: bool = True
) -> dict[int, bytes]:
    """Raw bytes of the wanted records by row number (1 = first record after the header).

    ``rows`` are wanted by number, ``offsets`` by a byte position inside them.
    """
    found: dict[int, bytes] = {}
    row = -1 if header else 0
    held: list[bytes] = []  # joined when a record ends, so that a long one is not copied block by block
    base = inside = 0
    wanted_offsets = np.array(sorted(offsets), dtype=np.int64)
    for offset, read, block in _blocks(path):
        ends, inside = _record_ends(read, block, inside, quoting=quoting)
        held.append(read)
        if not len(ends):
            continue
        data = b"".join(held)
        start = 0
        for end in (ends + (offset - base)).tolist():
            record = data[start:end]
            if record.strip(b"\r"):
                row += 1
                _keep(found, row, record, base + start, base + end, rows, wanted_offsets)
            start = end + 1
        held = [data[start:]]
        base += start
    rest = b"".join(held)
    if rest.strip(b"\r\n"):
        _keep(found, row + 1, rest, base, base + len(rest), rows, wanted_offsets)
    return found


def _keep(
    found: dict[int, bytes],
    row: int,
    record: bytes,
    start: int,
    end: int,
    rows: set[int],
    offsets: npt.NDArray[np.int64],
) -> None:
    hit = np.searchsorted(offsets, start)
    if row in rows or (hit < len(offsets) and offsets[hit] <= end):
        found[row] = record.removesuffix(b"\r")
