"""JSON lines seen by their shape: keys and brackets without the values, found in the bytes.

A file has millions of lines and a few dozen shapes. Whether a key stands twice in an object, or how deep a line is
nested, is asked once for each shape; only lines of a shape in doubt are looked at one by one.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from behavior_assets.ingestion.faults import Fault

DEPTH = 200  # of objects and lists in each other; far more than any export has, far less than a stack
_LONG = 2**18  # bytes of a line that is looked at alone
_MOST_TOKENS = 4096  # of a line whose shape is remembered
_MOST_SHAPES = 2**16
_MOST_BLANKS = 64  # between a key and its colon
_QUOTE, _COLON, _NEWLINE, _BACKSLASH = b'":\n\\'
_TOKENS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{}]', re.DOTALL)

_Places = npt.NDArray[np.int64]
_Codes = npt.NDArray[np.uint64]


class Shapes:
    """Looks for faults in the lines of one file. ``columns`` may be named to the user, dots leading into objects."""

    def __init__(self, columns: frozenset[str]) -> None:
        self._columns = columns
        self._sound: dict[int, bool] = {}
        # Odd numbers that nobody can guess: a file cannot be made so that two shapes are taken for one.
        dice = np.random.default_rng()
        self._of_byte, self._of_place = (
            dice.integers(1, 2**63, size, dtype=np.uint64) | np.uint64(1) for size in (256, _MOST_TOKENS)
        )
        self._first, self._last, self._length = (
            np.uint64(n | 1) for n in dice.integers(1, 2**63, 3, dtype=np.uint64).tolist()
        )

    def faults(self, data: bytes, starts: _Places, ends: _Places) -> Iterator[tuple[int, Fault]]:
        """Bad lines of a piece by their place in it. What is no JSON at all is left to the parser."""
        for place in self._doubtful(data, starts, ends):
            fault = self.judge(data[int(starts[place]) : int(ends[place])])
            if fault is not None:
                yield place, fault

    def judge(self, line: bytes) -> Fault | None:
        """What is wrong with one line, looked at with care."""
        try:
            if _depth(line) > DEPTH:
                return Fault("malformed", "record", f"nested deeper than {DEPTH} levels")
            record = json.loads(line, object_pairs_hook=_Object, parse_int=str, parse_float=str)
        except RecursionError:
            return Fault("malformed", "record", "nested too deep")
        except ValueError:
            return Fault("malformed", "record", "not a JSON object")
        path = _twice(record)
        if path is None:
            return None
        column = path if path in self._columns else "record"
        return Fault("duplicate_key", column, "a key stands twice in one object, so its value is in doubt")

    def _doubtful(self, data: bytes, starts: _Places, ends: _Places) -> list[int]:
        if len(data) > _LONG and int((ends - starts).max()) > _LONG:
            return list(range(len(starts)))
        data = data if data.endswith(b"\n") else data + b"\n"
        block = np.frombuffer(data, dtype=np.uint8)
        quotes = _quotes(data, block)
        quotes, odd = _paired(quotes, starts, ends)
        opens, closes = quotes[0::2], quotes[1::2]
        is_key, unclear = _keys(block, closes)
        keys, key_ends = opens[is_key], closes[is_key]
        places, codes = self._tokens(data, block, quotes, keys, key_ends)
        until = np.searchsorted(places, ends)
        first = np.searchsorted(places, starts)
        doubtful = (until - first > _MOST_TOKENS) | _touched(starts, ends, opens[unclear])
        if _BACKSLASH in data:
            escapes = np.flatnonzero(block == _BACKSLASH)
            escaped = np.searchsorted(escapes, key_ends) > np.searchsorted(escapes, keys)
            doubtful |= _touched(starts, ends, keys[escaped])
        index = np.arange(len(places)) - np.repeat(first, until - first)
        products = codes * self._of_place[np.minimum(index, _MOST_TOKENS - 1)]
        # A last zero, so that a line without tokens at the end has a place to begin.
        sums = np.add.reduceat(np.append(products, np.uint64(0)), first)
        sums[first == until] = 0
        shapes, examples = np.unique(sums, return_index=True)
        for shape, example in zip(shapes.tolist(), examples.tolist(), strict=True):
            if shape not in self._sound:
                if len(self._sound) >= _MOST_SHAPES:
                    self._sound.clear()
                span = slice(int(first[example]), int(until[example]))
                self._sound[shape] = _sound(block[places[span]], codes[span])
        bad = [shape for shape in shapes.tolist() if not self._sound[shape]]
        if bad:
            doubtful |= np.isin(sums, np.array(bad, dtype=np.uint64))
        # A quote too many: no JSON, as the parser will find out.
        return np.flatnonzero(doubtful & ~odd).tolist()

    def _tokens(
        self, data: bytes, block: npt.NDArray[np.uint8], quotes: _Places, keys: _Places, key_ends: _Places
    ) -> tuple[_Places, _Codes]:
        """Keys and brackets outside of texts in their order: places, and a number for each kind."""
        folded = block | np.uint8(0x20)  # [ and { differ by this bit, and so do ] and }
        brackets = np.flatnonzero((folded == ord("{")) | (folded == ord("}")))
        brackets = brackets[np.searchsorted(quotes, brackets) & 1 == 0]
        marked = np.zeros(len(block), dtype=bool)
        marked[brackets] = True
        marked[keys] = True
        places = np.flatnonzero(marked)
        kinds = block[places]
        codes = self._of_byte[kinds]
        codes[kinds == _QUOTE] = self._of_key(data, keys, key_ends)
        return places, codes

    def _of_key(self, data: bytes, keys: _Places, key_ends: _Places) -> _Codes:
        """A number for each key. Equal keys have equal ones; others nearly always have not."""
        words = np.ndarray((len(data) + 1,), dtype="<u8", buffer=data + b"\0" * 8, strides=(1,))
        length = key_ends - keys - 1
        first = words[keys + 1] & _MASKS[np.minimum(length, 8)]
        last = words[np.maximum(key_ends - 8, 0)] * (length > 8)  # noqa: PLR2004 - bytes of a word
        mixed: _Codes = first * self._first ^ last * self._last
        mixed = (mixed ^ mixed >> np.uint64(29)) * self._length + length.astype(np.uint64) * self._last
        return mixed ^ mixed >> np.uint64(31)


_MASKS = np.array([2 ** (8 * n) - 1 for n in range(9)], dtype=np.uint64)


def _quotes(data: bytes, block: npt.NDArray[np.uint8]) -> _Places:
    """Quotes that begin or end a text."""
    quotes = np.flatnonzero(block == _QUOTE)
    if b"\\" not in data:
        return quotes
    slashes = np.flatnonzero(block == _BACKSLASH)
    order = np.arange(len(slashes))
    run = np.maximum.accumulate(np.where(np.diff(slashes, prepend=-2) != 1, order, 0))
    # Of backslashes in a row the first stands before the second, the third before the fourth.
    after = slashes[(order - run) & 1 == 0] + 1
    return np.setdiff1d(quotes, after, assume_unique=True)


def _paired(quotes: _Places, starts: _Places, ends: _Places) -> tuple[_Places, npt.NDArray[np.bool_]]:
    """The quotes of those lines that have an even number of them, and which lines have not."""
    counts = np.searchsorted(quotes, ends) - np.searchsorted(quotes, starts)
    odd = counts & 1 == 1
    if odd.any():
        quotes = quotes[~np.repeat(odd, counts)]
    return quotes, odd


def _keys(
    block: npt.NDArray[np.uint8], closes: _Places
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which texts a colon follows, and of which that is not clear."""
    following = block[closes + 1]
    is_key = following == _COLON
    unclear = (following == ord(" ")) | (following == ord("\t")) | (following == ord("\r"))
    for distance in range(2, _MOST_BLANKS):
        if not unclear.any():
            break
        places = np.flatnonzero(unclear)
        following = block[np.minimum(closes[places] + distance, len(block) - 1)]
        is_key[places] = following == _COLON
        unclear[places] = (following == ord(" ")) | (following == ord("\t")) | (following == ord("\r"))
    return is_key, unclear


def _touched(starts: _Places, ends: _Places, places: _Places) -> npt.NDArray[np.bool_]:
    """Lines in which at least one of the places lies."""
    touched: npt.NDArray[np.bool_] = np.searchsorted(places, ends) > np.searchsorted(places, starts)
    return touched


def _sound(kinds: npt.NDArray[np.uint8], codes: _Codes) -> bool:
    """Whether no object of a shape has a key twice and no bracket lies too deep."""
    inside: list[set[int] | None] = []
    for kind, code in zip(kinds.tolist(), codes.tolist(), strict=True):
        if kind == _QUOTE:
            keys = inside[-1] if inside else None
            if keys is not None:
                if code in keys:
                    return False
                keys.add(code)
        elif kind in b"{[":
            inside.append(set() if kind == ord("{") else None)
            if len(inside) > DEPTH:
                return False
        elif inside:
            inside.pop()
    return True


class _Object(dict[str, Any]):
    """A JSON object that remembers a key that stands twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.twice: str | None = None
        if len(self) < len(pairs):
            self.twice = Counter(k for k, _ in pairs).most_common(1)[0][0]


def _twice(record: object) -> str | None:
    """The path of a key that stands twice somewhere in a record."""
    waiting: list[tuple[object, str]] = [(record, "")]
    while waiting:
        value, path = waiting.pop()
        if isinstance(value, _Object):
            if value.twice is not None:
                return path + value.twice
            waiting += [(v, f"{path}{k}.") for k, v in value.items()]
        elif isinstance(value, list):
            waiting += [(v, path) for v in value]
    return None


def _depth(line: bytes) -> int:
    """How many objects and lists lie in each other; without recursion."""
    deepest = depth = 0
    for token in _TOKENS.finditer(line):
        sign = line[token.start()]
        if sign in b"{[":
            depth += 1
            deepest = max(deepest, depth)
        elif sign != _QUOTE:
            depth -= 1
    return deepest
