"""What a place says of a number that stands in it: that it is a person's, that it is a thing, or nothing."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, field

from behavior_assets.privacy.normal import IdOf
from behavior_assets.privacy.registry import ALWAYS_PERSONAL, HOLDINGS, Kind
from behavior_assets.privacy.scanner.needles import ANYTHING, Grade

_KINDS = {Kind.identifier, Kind.pseudonym, Kind.surrogate}
# What the lake, the input formats and the people who write log lines call them.
_OF = {
    IdOf.person: "user uid client customer visitor subject person account member user_id client_id customer_id "
    "customer_key user_key any_key user_pseudo_id visitor_id account_id member_id e_mail mail",
    IdOf.visit: "session visit session_id session_key chain_key user_session ga_session_id",
    IdOf.order: "order invoice transaction order_id order_key invoice_no transaction_id cart_key",
}
_THINGS = frozenset({
    "product", "item", "article", "stock", "sku", "ean", "gtin", "category", "brand", "price", "amount", "revenue",
    "value", "money", "quantity", "qty", "count", "rows", "row", "events", "size", "bytes", "length", "len", "time",
    "timestamp", "ts", "date", "day", "hour", "us", "ms", "version", "offset", "position", "line", "number", "seed",
    "port", "pid", "duration", "seconds", "score", "total", "sum", "limit", "zip", "postal",
})  # fmt: skip
_OF_EVENTS = {"event_id", "record_id", "event_key"}  # numbers of events: of Dagster's, too
_NAME = rb"([A-Za-z][\w.\- ]*?)"
_MARKS = rb"\\*[\"']?\s*"
# name=…  "name": "…  name%3D…  name/…  name …  and a name before a list that is still open
_BEFORE = re.compile(_NAME + _MARKS + rb"(?:[=:]|%3[aAdD]|[ /#_-])\s*\[?" + _MARKS + rb"$")
_LISTED = re.compile(rb"[\"']" + _NAME + rb"\\*[\"']\s*:\s*\[[^\[\]{}]*$")
_ESCAPE_BEFORE = re.compile(rb"(?:%[0-9a-fA-F]{2}|\\[ntr]|\\u[0-9a-fA-F]{4})$")
_BESIDE = 256  # bytes before a number in which its name is looked for
_DELIMITERS = b",;\t|"
_HEADER_FIELD = re.compile(r"[^\W\d][\w .\-/:]*")


def _simple(name: str) -> str:
    return re.sub(r"[\W_]", "", name.lower())


@dataclass(frozen=True)
class Labels:
    """The names that tell of persons: the registry's, the input formats', and those a shop adds (``more``)."""

    more: frozenset[str] = frozenset()
    _names: dict[str, frozenset[IdOf]] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        declared = {name for h in HOLDINGS for name, kind in h.columns.items() if kind in _KINDS}
        names = {_simple(n): ANYTHING for n in {*ALWAYS_PERSONAL, *declared, *self.more} - _OF_EVENTS}
        names |= {_simple(n): frozenset({kind}) for kind, told in _OF.items() for n in told.split()}
        object.__setattr__(self, "_names", {name: kinds for name, kinds in names.items() if name})

    def tells(self, label: str) -> frozenset[IdOf]:
        """Of what the ids under a name are: by it, its last part (``minValues.user_id``) or its last word."""
        parts = {_simple(part) for part in (label, label.rpartition(".")[2], label.rpartition(" ")[2])}
        found = (self._names.get(name, frozenset()) for name in parts | {part.removesuffix("s") for part in parts})
        return frozenset[IdOf]().union(*found)

    def counts(self, grade: Grade, label: str, of: frozenset[IdOf] = ANYTHING) -> bool:
        """Whether a needle that stands alone under this name is a find; ``of``: what it is an id of."""
        if grade is Grade.anywhere:
            return True
        if told := self.tells(label):  # an order's number is no find for the customer of the same number
            return not told.isdisjoint(of)
        last = re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", " ".join(label.split()[-2:])).lower())
        return grade is Grade.whole and _THINGS.isdisjoint({*last, *(word.removesuffix("s") for word in last)})


def stands_alone(data: bytes, start: int, end: int) -> bool:
    """Whether nothing beside it makes it a part of a word, a number or a longer id."""
    before, after = data[max(0, start - 6) : start], data[end : end + 4]
    if before[-1:].isalnum() and not _ESCAPE_BEFORE.search(before):
        return False
    if before[-1:] in {b".", b"-"} and before[-2:-1].isdigit():
        return False
    if after.startswith(b".0") and not after[2:3].isdigit():  # a number that pandas took for a float
        after = after[2:]
    follows = after[1:2]
    return not (after[:1].isalnum() or (after[:1] == b"-" and follows.isalnum()) or
                (after[:1] == b"." and follows.isdigit()))  # fmt: skip


def label_before(data: bytes, start: int, since: int = 0) -> str:
    """The name that stands before a value in a text; empty where there is none."""
    near = data[max(since, start - _BESIDE) : start]
    found = _BEFORE.search(near) or _LISTED.search(data[max(since, start - 16 * _BESIDE) : start])
    return found.group(1).decode(errors="replace") if found else ""


@dataclass(frozen=True)
class Columns:
    """The columns of a delimited text, by its first line or by what is known of its format."""

    names: tuple[str, ...]
    delimiter: str = ","

    @classmethod
    def of(cls, head: bytes) -> Columns | None:
        """The columns that a first line names; None where it is no header."""
        line = head.removeprefix(b"\xef\xbb\xbf").split(b"\n", 1)[0].rstrip(b"\r")
        delimiter = max(_DELIMITERS, key=line.count)
        try:
            names = next(csv.reader([line.decode()], delimiter=chr(delimiter)), [])
        except (UnicodeDecodeError, csv.Error):
            return None
        fits = len(names) > 1 and all(_HEADER_FIELD.fullmatch(n.strip()) for n in names)
        return cls(tuple(n.strip() for n in names), chr(delimiter)) if fits else None

    def label(self, data: bytes, start: int, end: int, since: int = 0) -> str | None:
        """The name of the column whose value this is; None where it is only a part of a value, or no column's."""
        prefix = data[max(data.rfind(b"\n", since, start) + 1, since) : start]
        try:
            before = next(csv.reader([prefix.decode("latin-1")], delimiter=self.delimiter), []) or [""]
        except csv.Error:
            return None
        ends = data[end : end + 2] == b".0" or data[end : end + 1] in {b"", b'"', b"\r", b"\n", self.delimiter.encode()}
        if before[-1] or not ends or len(before) > len(self.names):
            return None
        return self.names[len(before) - 1]

