"""What is looked for: ids and keys, how much a place must say before they count, and every spelling of them."""

from __future__ import annotations

import base64
import math
import re
import struct
import unicodedata
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from behavior_assets.privacy.normal import IdOf

ANYWHERE_BITS, WHOLE_BITS = 48, 26
_SIGNS = {"digits": math.log2(10), "hex": 4.0, "letters": 2.0, "mixed": 5.0}  # bits of a sign; words say little
_DATE = re.compile(r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])")
_EPOCH = re.compile(r"(?:1\d{9}|20\d{8}|1\d{12}|1\d{15})")  # seconds, milliseconds and microseconds since 1970
_HEX = re.compile(r"[0-9a-f-]+")
_BINARY_KEY = 2**40  # a smaller number is mostly zeros in eight bytes
_UUID_DIGITS = 32
ANYTHING = frozenset(IdOf)
WIDELY = 20_000  # needles; of more, only the spellings that programs really write are looked for


@dataclass(frozen=True)
class Needles:
    """A person's ids: ``texts`` are raw ids and pseudonyms, ``keys`` are int64 surrogates.

    ``besides`` are ids of others that hold one of the texts: where one of these stands, its part is no find.
    ``of``: what a text is an id of; a text that is not in it may be of anything.
    """

    texts: frozenset[str]
    keys: frozenset[int] = frozenset()
    besides: frozenset[str] = frozenset()
    of: Mapping[str, frozenset[IdOf]] = field(default_factory=dict)

    @classmethod
    def by_kind(cls, texts: Mapping[IdOf, Iterable[str]], keys: Iterable[int], besides: Iterable[str] = ()) -> Needles:
        """Of texts of which it is known what they are ids of."""
        told: dict[str, frozenset[IdOf]] = {}
        for kind, found in texts.items():
            told |= {text: told.get(text, frozenset()) | {kind} for text in found}
        return cls(frozenset(told), frozenset(keys), frozenset(besides), told)

    def named(self) -> dict[str, str]:
        """Every needle as text, by the name that a Find gives it: the place in the sorted list and never the id."""
        told = {f"id {n}": text for n, text in enumerate(sorted(self.texts), 1)}
        return told | {f"key {n}": str(key) for n, key in enumerate(sorted(self.keys), 1)}


class Grade(IntEnum):
    """How much a place must say before a needle counts there."""

    weak = 0  # it stands alone, and a name says that it is a person's
    whole = 1  # it stands alone, and no name says that it is a thing
    anywhere = 2


@dataclass(frozen=True)
class Pattern:
    """One spelling of a needle. ``folded`` is compared with bytes in lower case, ``exact`` with them as they are."""

    needle: str
    how: str
    grade: Grade
    folded: bytes
    exact: bytes | None = None
    of: frozenset[IdOf] = ANYTHING


def grade(text: str) -> Grade:
    """By the bits that an id of this shape carries; what may be a date or a time is weak."""
    low = text.lower()
    if text.isdigit():
        if _DATE.fullmatch(text) or _EPOCH.fullmatch(text):
            return Grade.weak
        kind = "digits"
    elif text.isalpha():
        kind = "letters"
    else:
        kind = "hex" if _HEX.fullmatch(low) else "mixed"
    bits = len(text) * _SIGNS[kind]
    return Grade.anywhere if bits >= ANYWHERE_BITS else Grade.whole if bits >= WHOLE_BITS else Grade.weak


def patterns(needles: Needles) -> list[Pattern]:
    """Every spelling of every needle. Escapes (URL, JSON, HTML) are undone where they stand and need none.

    Of more than ``WIDELY`` needles: as they are, in any case of letters, and in Base64; keys as digits, and as numbers
    where cells are decoded. Else millions of patterns would be looked for.
    """
    widely = len(needles.texts) + len(needles.keys) <= WIDELY
    made: dict[tuple[str, bytes, bytes | None], Pattern] = {}
    for name, text in needles.named().items():
        level = grade(text)
        spelt = [*_plain(text)]
        if level is Grade.anywhere:
            spelt += [s for s in _spelt(text) if widely or (s[0] == "base64" and not name.startswith("key"))]
        if name.startswith("key") and widely:
            spelt += _numbers(int(text))
        for how, data, cased in spelt:
            kinds = needles.of.get(text, ANYTHING)
            pattern = Pattern(name, how, level, data.lower(), data if cased else None, kinds)
            made.setdefault((name, pattern.folded, pattern.exact), pattern)
    return list(made.values())


def _plain(text: str) -> Iterator[tuple[str, bytes, bool]]:
    """The text as it is, in upper and lower case, with its accents apart, and as CSV quotes it."""
    yield "bytes", text.encode(), False
    if '"' in text:
        yield "CSV", text.replace('"', '""').encode(), False
    for form in ("NFC", "NFD"):
        for cased in (text, text.lower(), text.upper()):
            yield "bytes", unicodedata.normalize(form, cased).encode(), False


def _spelt(text: str) -> Iterator[tuple[str, bytes, bool]]:
    """(how, bytes, whether upper and lower case differ) of an id that cannot occur by chance."""
    for coding in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
        yield coding[:6], text.encode(coding), False
    yield "hex", text.encode().hex().encode(), False
    for cased in {text, text.lower(), text.upper()}:
        for urlsafe in (base64.b64encode, base64.urlsafe_b64encode):
            for before in range(3):
                # Signs that also depend on the bytes beside the id are cut off.
                coded = urlsafe(b"\0" * before + cased.encode() + b"\0" * (-(before + len(cased.encode())) % 3))
                tail = -(before + len(cased.encode())) % 3
                yield "base64", coded[(0, 2, 3)[before] : len(coded) - (0, 2, 3)[tail]], True
    if len(digits := text.replace("-", "")) == _UUID_DIGITS and _HEX.fullmatch(digits.lower()):
        value = uuid.UUID(digits)
        yield "without dashes", digits.encode(), False
        yield "with dashes", str(value).encode(), False
        yield "16 bytes", value.bytes, True
        yield "16 bytes", value.bytes_le, True


def _numbers(key: int) -> Iterator[tuple[str, bytes, bool]]:
    if not _BINARY_KEY <= abs(key) < 2**63:
        return
    yield "int64 bytes", struct.pack("<q", key), True
    yield "int64 bytes", struct.pack(">q", key), True
    yield "float64 bytes", struct.pack("<d", key), True
    yield "float64 bytes", struct.pack(">d", key), True
    if key > 0:
        yield "hex number", f"{key:x}".encode(), False
