"""Finding the lines of a file that name any of thousands of persons, without taking every line apart."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator
from typing import BinaryIO
from urllib.parse import quote, unquote

from behavior_assets.ingestion.sources.base import Source
from behavior_assets.privacy.normal import is_within
from behavior_assets.privacy.scanner.matcher import Matcher
from behavior_assets.privacy.scanner.needles import Grade, Pattern, grade
from behavior_assets.privacy.suppression import Suppression, record_ids

_BLOCK = 4 * 2**20
_LONGEST = 64 * 2**20  # bytes of a line
_ESCAPED = re.compile(rb"%25|\\u")  # what hides an id from a plain look


class Finder:
    """Looks for texts, raw ids, in lines. ``longest``: bytes that one of them may take."""

    def __init__(self, texts: Collection[str]) -> None:
        low = {t.lower() for t in texts}
        spelt = {way.encode() for t in low for way in (t, t.replace('"', '""'), quote(t, safe="").lower())}
        self.texts = set(texts)
        self.longest = max(map(len, spelt), default=1)
        self.sure = all(t.isascii() and t.isprintable() for t in texts)  # else bytes may spell them otherwise
        self._told: dict[bytes, list[str]] = defaultdict(list)
        for text in self.texts:
            self._told[text.lower().encode()].append(text)
        self._matcher = Matcher(Pattern("", "bytes", Grade.anywhere, text) for text in spelt)

    def places(self, data: bytes) -> list[int]:
        """Where something starts that may be one of the texts, or hide one."""
        named = [start for start, _, _ in self._matcher.hits(data)]
        return [*named, *(m.start() for m in _ESCAPED.finditer(data))]

    def names(self, data: bytes) -> bool:
        """Whether a text stands in a line, in any spelling, with nothing beside it that makes another id of it."""
        text = data.decode("utf-8", "replace")
        ways = {text, unquote(text), unquote(unquote(text)), text.replace('""', '"')}
        if "\\u" in text:
            ways.add(text.encode().decode("unicode_escape", "replace"))
        return any(
            is_within(told, way)
            for way in ways
            for _, _, pattern in self._matcher.hits(way.encode("utf-8", "replace"))
            for told in self._told.get(pattern.folded, ())
        )


class Theirs:
    """Whether bad records are of suppressed persons: by tokens, as ingestion tells, and by what ``texts`` call them.

    A number counts where ids stand, or where nobody can tell where they do; what else an id may be, wherever it stands.
    """

    def __init__(self, suppression: Suppression, texts: Collection[str] = ()) -> None:
        telling = {t for t in texts if grade(t) is not Grade.weak}
        self.suppression = suppression
        self._numbers = Finder({t for t in telling if t.isdigit()})
        self._others = Finder({t for t in telling if not t.isdigit()})

    def record(self, source: Source, header: str, raw: bytes) -> bool:
        """Whether a record that could not be accepted is theirs."""
        if self.suppression.record(source, header, raw) or self._others.names(raw):
            return True
        if not self._numbers.texts:
            return False
        ids = record_ids(source, header, raw.decode("utf-8", "replace"))
        return self._numbers.names(raw if ids is None else "\n".join(ids.values()).encode())


def whole_lines(reader: BinaryIO) -> Iterator[bytes]:
    """Blocks that end where a line does. Raises ValueError where a line is too long to be looked at in memory."""
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
