"""Finding the lines of a file that name any of thousands of persons, without taking every line apart."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Collection, Iterator
from itertools import accumulate
from typing import BinaryIO
from urllib.parse import quote

from behavior_assets.privacy.normal import normal_id
from behavior_assets.privacy.scanner.matcher import Matcher
from behavior_assets.privacy.scanner.needles import Grade, Pattern
from behavior_assets.privacy.suppression import words

_BLOCK = 4 * 2**20
_LONGEST = 64 * 2**20  # bytes of a line
_ESCAPED = re.compile(rb"%25|\\u")  # what hides an id from a plain look


class Finder:
    """Looks for texts, raw ids, in lines. ``longest``: bytes that one of them may take."""

    def __init__(self, texts: Collection[str]) -> None:
        low = {t.lower() for t in texts}
        spelt = {t.encode() for t in low} | {quote(t, safe="").lower().encode() for t in low}
        self.texts = set(texts)
        self.longest = max(map(len, spelt), default=1)
        self.sure = all(t.isascii() and t.isprintable() for t in texts)  # else bytes may spell them otherwise
        self._matcher = Matcher(Pattern("", "bytes", Grade.anywhere, text) for text in spelt)

    def places(self, data: bytes) -> list[int]:
        """Where something starts that may be one of the texts, or hide one."""
        found = [start for start, _, _ in self._matcher.hits(data)]
        return sorted(found + [m.start() for m in _ESCAPED.finditer(data)])

    def lines(self, reader: BinaryIO) -> Iterator[tuple[bytes, bool]]:
        """All of a stream in pieces, a line of which some text is a word alone, and marked.

        Raises ValueError where a line is too long to be looked at in memory.
        """
        for block in _whole_lines(reader):
            places = self.places(block) if self.sure else None
            if places == []:
                yield block, False
                continue
            lines = block.splitlines(keepends=True)
            ends = [*accumulate(map(len, lines))]
            marked = {bisect_right(ends, place) for place in places} if places is not None else range(len(lines))
            for number, line in enumerate(lines):
                yield line, number in marked and self._names(line)

    def _names(self, line: bytes) -> bool:
        """Whether a line holds one of the texts as a word, in any spelling that is the same id."""
        text = line.decode("utf-8", "replace")
        found = words(text)
        if "\\u" in text:
            found |= words(text.encode().decode("unicode_escape", "replace"))
        return not self.texts.isdisjoint(found) or not self.texts.isdisjoint({normal_id(w) or "" for w in found})


def _whole_lines(reader: BinaryIO) -> Iterator[bytes]:
    """Blocks that end where a line does."""
    rest = b""
    while data := reader.read(_BLOCK):
        lines = (rest + data).splitlines(keepends=True)
        rest = lines.pop()  # a line end may be cut in two
        if lines:
            yield b"".join(lines)
        if len(rest) > _LONGEST:
            raise ValueError
    if rest:
        yield rest
