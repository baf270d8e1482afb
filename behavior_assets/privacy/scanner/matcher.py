"""Finding thousands of patterns in bytes at once, at the speed of a few passes of numpy.

Of every pattern that is long enough, whatever place it starts at, one word of four or eight bytes lies at a place
that a stride divides. So only every second, fourth or eighth word of the data is looked up in a table; the few that
are in it are compared in full. Time does not grow with the number of patterns, as that of an automaton does.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from behavior_assets.privacy.scanner.needles import Pattern

Bytes = npt.NDArray[np.uint8]
_WIDE, _NARROW = 8, 4
_LEAST_WIDE = 15  # shorter patterns are looked up by words of four bytes
_TABLE_BITS = 22
_FACTOR: dict[int, Any] = {_WIDE: np.uint64(0x9E3779B97F4A7C15), _NARROW: np.uint32(0x9E3779B1)}
_TYPE: dict[int, np.dtype[Any]] = {_WIDE: np.dtype("<u8"), _NARROW: np.dtype("<u4")}


class _Words:
    """The patterns that are looked up by words of one width; the shortest tells the stride."""

    def __init__(self, width: int, patterns: Collection[Pattern]) -> None:
        shortest = min(len(p.folded) for p in patterns)
        self.width, self.stride = width, min(width, 1 << (shortest - width + 1).bit_length() - 1)
        self._at: dict[int, list[tuple[int, Pattern]]] = defaultdict(list)
        for pattern in patterns:
            for offset in range(self.stride):
                word = int.from_bytes(pattern.folded[offset : offset + width], "little")
                self._at[word].append((offset, pattern))
        self._known = np.array(sorted(self._at), dtype=_TYPE[width])
        # Few entries among many, so that hardly any other word is in it; small enough for the processor's cache.
        self._bits = min(max(len(self._known).bit_length() + 6, 12), _TABLE_BITS)
        self._table = np.zeros(1 << self._bits, dtype=np.bool_)
        self._table[self._hashed(self._known)] = True

    def _hashed(self, words: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        hashed = (words * _FACTOR[self.width]) >> _TYPE[self.width].type(8 * self.width - self._bits)
        places: npt.NDArray[np.int64] = hashed.view(np.int64) if self.width == _WIDE else hashed.astype(np.int64)
        return places

    def candidates(self, folded: Bytes) -> Iterator[tuple[npt.NDArray[np.int64], Pattern]]:
        """Where patterns may start, each with one word of it in place."""
        places, words = [], []
        for first in range(0, self.width, self.stride):
            count = (len(folded) - first) // self.width
            if count <= 0:
                continue
            view = folded[first : first + count * self.width].view(_TYPE[self.width])
            likely = np.flatnonzero(self._table.take(self._hashed(view), mode="clip"))
            if likely.size:
                places.append(likely * self.width + first)
                words.append(view[likely])
        if not places:
            return
        place, word = np.concatenate(places), np.concatenate(words)
        sure = self._known[np.minimum(np.searchsorted(self._known, word), len(self._known) - 1)] == word
        place, word = place[sure], word[sure]
        order = np.argsort(word, kind="stable")
        place, word = place[order], word[order]
        for value, group in zip(*_groups(word, place), strict=True):
            for offset, pattern in self._at[int(value)]:
                starts = group - offset
                yield starts[(starts >= 0) & (starts + len(pattern.folded) <= len(folded))], pattern


def _groups(
    word: npt.NDArray[Any], place: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[Any], list[npt.NDArray[np.int64]]]:
    values, first = np.unique(word, return_index=True)
    return values, np.split(place, first[1:]) if len(values) else []


class Matcher:
    """All patterns, ready to be looked for."""

    def __init__(self, patterns: Iterable[Pattern]) -> None:
        groups: dict[int, list[Pattern]] = defaultdict(list)
        short: dict[bytes, list[Pattern]] = defaultdict(list)
        self.longest = 1
        for pattern in patterns:
            length = len(pattern.folded)
            self.longest = max(self.longest, length)
            if length < _NARROW:
                short[pattern.folded].append(pattern)
                continue
            groups[_WIDE if length >= _LEAST_WIDE else _NARROW].append(pattern)
        self._words = [_Words(width, of) for width, of in sorted(groups.items())]
        self._short = dict(short)
        alone = b"|".join(re.escape(s) for s in sorted(short, key=len, reverse=True))
        self._alone = re.compile(rb"(?<![0-9a-z])(?:" + alone + rb")(?![0-9a-z])") if short else None

    def hits(self, data: bytes) -> Iterator[tuple[int, int, Pattern]]:
        """(start, end, pattern) of all that is in the data, in no order."""
        folded = data.lower()
        array = np.frombuffer(folded, dtype=np.uint8)
        for words in self._words:
            for starts, pattern in words.candidates(array):
                for start in starts[_equal(array, starts, pattern.folded)].tolist():
                    end = start + len(pattern.folded)
                    if pattern.exact is None or data[start:end] == pattern.exact:
                        yield start, end, pattern
        if self._alone:
            for match in self._alone.finditer(folded):
                for pattern in self._short[match.group()]:
                    yield match.start(), match.end(), pattern


def _equal(data: Bytes, starts: npt.NDArray[np.int64], pattern: bytes) -> npt.NDArray[np.bool_]:
    """Which of the places the pattern is at, one byte of it after another."""
    same = np.ones(len(starts), dtype=np.bool_)
    for offset, byte in enumerate(pattern):
        same &= data[starts + offset] == byte
        if not same.any():
            break
    return same
