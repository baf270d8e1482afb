"""Looking for needles in a piece of text or bytes: as it is, and with its escapes undone where it has some."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

import numpy as np
import numpy.typing as npt

from behavior_assets.privacy.scanner.labels import Columns, Labels, label_before, stands_alone
from behavior_assets.privacy.scanner.matcher import Matcher
from behavior_assets.privacy.scanner.needles import Grade, Pattern

_DEPTH = 3  # escapes of escapes
_ESCAPED = 12  # bytes that one sign may take: \ud83d\ude00
CELL = b"\0"  # stands between the cells of a column


class Hit(NamedTuple):
    """A needle that counts, and in which spelling. ``start`` is its place in the text that was searched."""

    needle: str
    how: str
    start: int


@dataclass(frozen=True)
class Piece:
    """A piece of a text. Only what starts from ``low`` to before ``high`` is reported; the rest is its context.

    ``columns``: of a delimited text. ``column``: the text holds the cells of this column, with a zero byte between.
    ``packed``: the bytes of a file whose cells are looked at too; they alone tell what a number is.
    ``escapes``: whether these are looked for; in compressed bytes there are none.
    """

    data: bytes
    low: int = 0
    high: int = -1
    columns: Columns | None = None
    column: str | None = None
    packed: bool = False
    escapes: bool = True


class Search:
    """Finds the needles in texts."""

    def __init__(self, matcher: Matcher, labels: Labels, besides: Iterable[str] = ()) -> None:
        self._matcher, self.labels = matcher, labels
        self._besides = [(text.encode(), text.lower().encode()) for text in besides]
        self.reach = max(1024, _ESCAPED * matcher.longest)  # context that a needle's spelling and name may need

    def hits(self, piece: Piece) -> Iterator[Hit]:
        """Every needle that counts, first where it stands plainly."""
        high = len(piece.data) if piece.high < 0 else piece.high
        for start, end, pattern in self._matcher.hits(piece.data):
            if piece.low <= start < high and self._counts(piece, start, end, pattern) and not self._other(
                piece.data, start, pattern
            ):
                how = pattern.how
                if how == "bytes" and pattern.folded != piece.data[start:end] == piece.data[start:end].upper():
                    how = "upper case"
                yield Hit(pattern.needle, how, start)
        if piece.escapes:
            yield from self._in_escapes(piece.data, "", _DEPTH)

    def _counts(self, piece: Piece, start: int, end: int, pattern: Pattern) -> bool:
        if pattern.grade is Grade.anywhere:
            return True
        if piece.packed or not stands_alone(piece.data, start, end):
            return False
        since, label = 0, None
        if piece.column is not None:
            since = piece.data.rfind(CELL, 0, start) + 1
            tail = piece.data[end : end + 3]
            if since == start and (tail[:1] in {b"", CELL} or tail in {b".0", b".0\0"}):
                label = piece.column
        elif piece.columns:
            label = piece.columns.label(piece.data, start, end)
        if label is None:
            label = label_before(piece.data, start, since)
        return self.labels.counts(pattern.grade, label, pattern.of)

    def _other(self, data: bytes, start: int, pattern: Pattern) -> bool:
        """Whether it is but a part of somebody else's id, which stands there: ann@ of joann@."""
        if pattern.how != "bytes":
            return False
        for other, folded in self._besides:
            at = folded.find(pattern.folded)
            if at < 0 or start < at:
                continue
            here = data[start - at : start - at + len(other)]
            if here == other or (len(other) > len(pattern.folded) and here.lower() == folded):
                return True
        return False

    def masked(self, path: str) -> tuple[str, list[Hit]]:
        """The last part of a path, without ids, and the needles in it; what stands before tells what it is."""
        folder, _, name = path.rpartition("/")
        before = len(folder.encode()) + bool(folder)
        hits = [h for h in self.hits(Piece(path.encode(errors="surrogateescape"), before)) if h.start >= 0]
        hits += [h for h in self.hits(Piece(name.encode(errors="surrogateescape"))) if h.start < 0]
        return (f"<{hits[0].needle}>" if hits else name), hits

    def _in_escapes(self, data: bytes, how: str, depth: int) -> Iterator[Hit]:
        """What appears when escapes are undone. A number counts there only if a name beside it says whose it is."""
        for name, undone in _undone(data, self.reach):
            spelling = f"{how}, {name}" if how else name
            for start, end, pattern in self._matcher.hits(undone):
                if (pattern.grade is Grade.anywhere and not self._other(undone, start, pattern)) or (
                    stands_alone(undone, start, end)
                    and self.labels.counts(Grade.weak, label_before(undone, start), pattern.of)
                ):
                    plain = "" if pattern.how == "bytes" else f", {pattern.how}"
                    yield Hit(pattern.needle, spelling + plain, -1)
            if depth > 1:
                yield from self._in_escapes(undone, spelling, depth - 1)


def _json(data: bytes) -> bytes:
    def sign(match: re.Match[bytes]) -> bytes:
        if match.group(1):
            text = "".join(chr(int(h, 16)) for h in match.group(1).decode().replace("\\U", "\\u").split("\\u")[1:])
            return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
        return bytes.fromhex(match.group(2).decode()) if match.group(2) else match.group(3)

    return re.sub(rb"((?:\\u[0-9a-fA-F]{4})+)|\\x([0-9a-fA-F]{2})|\\([\"'/\\@.])", sign, data)


def _html(data: bytes) -> bytes:
    def sign(match: re.Match[bytes]) -> bytes:
        return html.unescape(match.group().decode()).encode(errors="replace")

    return re.sub(rb"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z]{2,10});", sign, data)



def _among(signs: bytes) -> npt.NDArray[np.bool_]:
    table = np.zeros(256, dtype=np.bool_)
    table[list(signs)] = True
    return table


_HEX = _among(b"0123456789abcdefABCDEF")
# A kind of escape, its first byte, which bytes may be the second and the third, and what undoes it.
_KINDS = (
    ("url-encoded", ord("%"), _HEX, _HEX, unquote_to_bytes),
    ("json-escaped", ord("\\"), _among(b"ux\"'/\\@."), _among(bytes(range(256))), _json),
    ("html-escaped", ord("&"), _among(b"#acglnpq"), _among(bytes(range(256))), _html),
)


def _undone(data: bytes, reach: int) -> Iterator[tuple[str, bytes]]:
    """The surroundings of all escapes of a kind with these undone; where escapes are few, so is this."""
    array = np.frombuffer(data, dtype=np.uint8)
    for name, first, second, third, undo in _KINDS:
        if first not in data:
            continue
        at = np.flatnonzero(array[:-2] == first)
        at = at[second[array[at + 1]] & third[array[at + 2]]]
        if at.size:
            yield name, undo(_around(data, at.tolist(), reach))


def _around(data: bytes, places: list[int], reach: int) -> bytes:
    """The bytes about these places, with a zero byte between pieces that do not touch."""
    pieces, low, high = [], max(0, places[0] - reach), places[0] + reach
    for place in places[1:]:
        if place - reach > high:
            pieces.append(data[low:high])
            low = place - reach
        high = place + reach
    pieces.append(data[low:high])
    return CELL.join(pieces)
