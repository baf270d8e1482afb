"""Finding thousands of patterns in bytes at once, at the speed of a few passes of numpy.

Of every pattern that is long enough, whatever place it starts at, one word of four or eight bytes lies at a place
that a stride divides. So only every second, fourth or eighth word of the data is looked up in a table; the few that
are in it are compared in full. Where many patterns share a word (customer numbers begin alike) they are looked up by a
hash of all their bytes. Time does not grow with the number of patterns, as that of an automaton does.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from behavior_assets.privacy.scanner.needles import Grade, Pattern

Bytes = npt.NDArray[np.uint8]
_WIDE, _NARROW = 8, 4
_LEAST_WIDE = 15  # shorter patterns are looked up by words of four bytes
_LEAST_BITS, _FREE_BITS, _MOST_BITS = 12, 22, 27  # of a table's size; up to _FREE_BITS it fits a processor's cache
_MANY = 32  # patterns with one word that are compared one by one
_BASE = np.uint64(0x100000001B3)
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
        self._alike: dict[int, list[_Alike]] = {}  # made when such a word is met
        self._known = np.array(sorted(self._at), dtype=_TYPE[width])
        # Few entries among many, so that hardly any other word is in it; small enough for the cache where that may be.
        bits = len(self._known).bit_length()
        self._bits = min(max(bits + 6, _LEAST_BITS), max(_FREE_BITS, min(bits + 4, _MOST_BITS)))
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
            told = self._at[int(value)]
            if len(told) > _MANY:
                if int(value) not in self._alike:
                    self._alike[int(value)] = _alike(told)
                for alike in self._alike[int(value)]:
                    yield from alike.candidates(folded, group)
                continue
            for offset, pattern in told:
                yield _within(group - offset, len(pattern.folded), folded), pattern


@dataclass(frozen=True)
class _Alike:
    """Patterns of one length that share a word at one offset, by the hash of their bytes."""

    offset: int
    length: int
    hashes: npt.NDArray[np.uint64]
    patterns: list[list[Pattern]]

    def candidates(
        self, folded: Bytes, places: npt.NDArray[np.int64]
    ) -> Iterator[tuple[npt.NDArray[np.int64], Pattern]]:
        """Of the places where the word lies, those of each pattern."""
        starts = _within(places - self.offset, self.length, folded)
        if not starts.size:
            return
        hashes = _hashes(folded, starts, self.length)
        at = np.minimum(np.searchsorted(self.hashes, hashes), len(self.hashes) - 1)
        same = self.hashes[at] == hashes
        order = np.argsort(at[same], kind="stable")
        for number, group in zip(*_groups(at[same][order], starts[same][order]), strict=True):
            for pattern in self.patterns[int(number)]:
                yield group, pattern


def _alike(told: Iterable[tuple[int, Pattern]]) -> list[_Alike]:
    groups: dict[tuple[int, int], dict[bytes, list[Pattern]]] = defaultdict(lambda: defaultdict(list))
    for offset, pattern in told:
        groups[offset, len(pattern.folded)][pattern.folded].append(pattern)
    made = []
    for (offset, length), by_bytes in groups.items():
        joined = np.frombuffer(b"".join(by_bytes), dtype=np.uint8)
        hashes = _hashes(joined, np.arange(len(by_bytes)) * length, length)
        by_hash: dict[int, list[Pattern]] = defaultdict(list)
        for value, same in zip(hashes.tolist(), by_bytes.values(), strict=True):
            by_hash[value] += same
        known = sorted(by_hash)
        made.append(_Alike(offset, length, np.array(known, dtype=np.uint64), [by_hash[value] for value in known]))
    return made


def _hashes(data: Bytes, starts: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.uint64]:
    """A number for the bytes of this length at each place; who finds one compares the bytes."""
    found = np.zeros(len(starts), dtype=np.uint64)
    for offset in range(length):
        found = found * _BASE + data[starts + offset]
    return found


def _within(starts: npt.NDArray[np.int64], length: int, data: Bytes) -> npt.NDArray[np.int64]:
    return starts[(starts >= 0) & (starts + length <= len(data))]


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


def holding(texts: Iterable[str], values: Sequence[str]) -> set[tuple[str, str]]:
    """Which of these values hold which texts, in any case of letters: (value, text)."""
    told: dict[bytes, list[str]] = defaultdict(list)
    for text in texts:
        told[text.lower().encode()].append(text)
    matcher = Matcher(Pattern("", "bytes", Grade.anywhere, folded) for folded in told)
    coded = [value.encode() for value in values]
    ends = [*accumulate(len(value) + 1 for value in coded)]
    return {
        (values[bisect_right(ends, start)], text)
        for start, _, pattern in matcher.hits(b"\0".join(coded)) for text in told[pattern.folded]
    }  # fmt: skip
