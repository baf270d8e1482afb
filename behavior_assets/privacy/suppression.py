"""The suppression list: whose events are not taken in any more, as tokens that tell nobody who that is.

A token is HMAC-SHA256, by a key of its own, over an id in its normal form. It is the only thing that stays of an erased
person, and what it takes to keep later deliveries, and the archive's originals, from bringing that person back.

A row is of the person that its user id names; else of the client; else, where it has neither, of whom its visit or
its order is: a refund often has nothing but the number of the order.
"""

from __future__ import annotations

import csv
import hashlib
import hmac
import json
import re
import urllib.parse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from behavior_assets.ingestion.sources.base import Source
from behavior_assets.privacy.normal import IdOf, normal_id
from behavior_assets.privacy.scanner.needles import Grade, grade
from resources.disk import disk_errors, make_folder, write_whole
from resources.errors import IntegrityError
from resources.failpoints import reach
from resources.keys import SUPPRESSION, load_key
from resources.lock import exclusive
from resources.settings import Home, Settings

TOKEN_BYTES = 16
_FOLDER = "suppressed"  # below <home>/privacy: a file per erasure, a token per line
_TOKEN = re.compile(rf"[0-9a-f]{{{2 * TOKEN_BYTES}}}")
_IDS = {"user_id": IdOf.person, "client_id": IdOf.person, "session_id": IdOf.visit, "transaction_id": IdOf.order}
_ORDER = "transaction_id"
_FRACTION = re.compile(r"(?<=[0-9])\.0+$")
_PLAIN = re.compile(r"[0-9.,:\-]*")
_WORDS = re.compile(r"[^\s,;|\t\"'{}\[\]()<>=&?/#]+")


def token(key: bytes, kind: str, value: str, source: str = "") -> bytes:
    """What stands for an id: of a person whatever the source, of a visit or order within its source."""
    return hmac.digest(key, "\x1f".join((kind, source, normal_id(value) or "")).encode(), "sha256")[:TOKEN_BYTES]


def folder(home: Home) -> Path:
    """Where the lists lie."""
    return home.root / "privacy" / _FOLDER


def suppress(settings: Settings, case: str, tokens: Iterable[bytes]) -> None:
    """From now on keep out what these tokens name, besides what a case has named before."""
    place = folder(settings.home)
    with disk_errors(place):
        make_folder(place.parent, 0o700)
        make_folder(place, 0o700)
    path = place / f"{case}.txt"
    with exclusive(place):  # two commands may be at the same case
        known = set(path.read_text("ascii").splitlines()) if path.exists() else set()
        lines = known | {t.hex() for t in tokens}
        if lines != known or not path.exists():
            write_whole(path, "".join(f"{line}\n" for line in sorted(lines)), "privacy.suppress")


def lift(home: Home, case: str) -> None:
    """From now on take in again whom a case has kept out, unless another case keeps them out, too."""
    reach("privacy.suppress")
    (folder(home) / f"{case}.txt").unlink(missing_ok=True)


def is_lifted(home: Home, case: str) -> bool:
    """Whether nobody is kept out by a case any more."""
    return not (folder(home) / f"{case}.txt").exists()


def read_suppression(settings: Settings) -> Suppression:
    """All that is suppressed now. Raises IntegrityError for a list that cannot be read: nobody must slip through."""
    found: set[bytes] = set()
    for path in sorted(folder(settings.home).glob("*.txt")):
        for number, line in enumerate(path.read_text("ascii", "replace").splitlines(), 1):
            if not _TOKEN.fullmatch(line):
                msg = (
                    f"{path}: line {number} is not a token. Nothing is taken in while the list of erased persons "
                    "cannot be read: restore the file from your backup."
                )
                raise IntegrityError(msg)
            found.add(bytes.fromhex(line))
    return Suppression(found, load_key(settings, SUPPRESSION) if found else b"")


@dataclass
class Suppression:
    """Who is suppressed. False where nobody is."""

    tokens: set[bytes]
    key: bytes = field(repr=False)
    among: set[str] | None = field(default=None, repr=False)  # only these, in normal form, are looked for

    def __bool__(self) -> bool:
        """Whether anybody is."""
        return bool(self.tokens)

    def names(self, kind: IdOf, value: str, source: str) -> bool:
        """Whether an id of a source is one of a person, visit or order that is suppressed."""
        if self.among is not None and normal_id(value) not in self.among:
            return False
        return token(self.key, kind, value, "" if kind is IdOf.person else source) in self.tokens

    def mask(self, rows: pa.Table, source: str) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which rows [n] of a parsed file are of somebody who is suppressed."""
        found = np.zeros(rows.num_rows, dtype=bool)
        open_ = np.ones(rows.num_rows, dtype=bool)  # rows that no id before has told the person of
        for name, kind in _IDS.items():
            if name not in rows.column_names:
                continue
            column = rows[name]
            there = pc.fill_null(pc.not_equal(column, ""), fill_value=False).to_numpy(zero_copy_only=False) & open_
            if there.any():
                found[there] |= self._hits(column.filter(pa.array(there)), kind, source)
            if kind is IdOf.person:
                open_ &= ~there
        return found

    def _hits(self, column: pa.ChunkedArray, kind: IdOf, source: str) -> np.ndarray[Any, np.dtype[np.bool_]]:
        values = pc.unique(column)
        mine = [v for v in values.to_pylist() if v and self.names(kind, v, source)]
        if not mine:
            return np.zeros(len(column), dtype=bool)
        hit: np.ndarray[Any, np.dtype[np.bool_]] = pc.is_in(column, pa.array(mine, column.type)).to_numpy(
            zero_copy_only=False
        )
        return hit

    def record(self, source: Source, header: str, raw: bytes) -> bool:
        """Whether a record that could not be accepted is of somebody who is suppressed: any of its ids, wherever.

        A word of digits alone may be a price as well: it counts only where ids stand, or where nobody can tell where
        they do. The visit and the order tell, as of a good row, only where no person is named; where nobody can tell
        that, only if they are hardly anything else.
        """
        text = raw.decode("utf-8", "replace")
        ids = record_ids(source, header, text)
        said = {w for w in words(text) if ids is None or not _PLAIN.fullmatch(w)}
        told = {(IdOf.person, w) for w in said}
        if ids is None:
            told |= {(kind, w) for kind in (IdOf.visit, IdOf.order) for w in said if grade(w) is Grade.anywhere}
        else:
            named = {(kind, ids[name]) for name, kind in _IDS.items() if name in ids}
            persons = {(kind, i) for kind, i in named if kind is IdOf.person}
            told |= persons or named
        return any(self.names(kind, value, source.name) for kind, value in told)


def words(text: str) -> set[str]:
    """What in a text may be an id: its words, also as they are behind percent signs."""
    found = set(_WORDS.findall(text))
    plain = urllib.parse.unquote(urllib.parse.unquote(text)) if "%" in text else text
    return found | set(_WORDS.findall(plain))


def record_ids(source: Source, header: str, text: str) -> dict[str, str] | None:
    """The ids that a delivered record has, by canonical name; None where it cannot be taken apart as the source says.

    The number of an order only where the source has one, not what it makes of other ids.
    """
    try:
        fields = _json_fields(text) if text.lstrip().startswith("{") else _csv_fields(source, header, text)
    except (ValueError, csv.Error):
        return None
    if fields is None:
        return None
    found: dict[str, str] = {}
    named = False
    for name in _IDS:
        sql = source.fields.get(name, "") if name != _ORDER else source.order_column
        columns = [(key, v) for key, v in fields if re.search(rf"\b{re.escape(key)}\b", sql)]
        named |= bool(columns)
        values = [str(v) for _, v in columns if v not in (None, "")]
        if len(values) > 1:
            return None
        if values:
            found[name] = _FRACTION.sub("", values[0])  # what spreadsheets make of a number
    return found if named else None


def _csv_fields(source: Source, header: str, text: str) -> list[tuple[str, Any]] | None:
    names: Sequence[str] = source.columns
    if header:
        (names,) = csv.reader([header], delimiter=source.delimiter, strict=True)
    rows = list(csv.reader([text], delimiter=source.delimiter, strict=True))
    return list(zip(names, rows[0], strict=True)) if len(rows) == 1 and len(rows[0]) == len(names) else None


def _json_fields(text: str) -> list[tuple[str, Any]]:
    return list(_leaves(json.loads(text)))


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Names and values in a JSON record. GA4's parameters are named by their ``key``."""
    if isinstance(value, dict):
        if "key" in value and isinstance(value.get("value"), dict):
            yield from ((str(value["key"]), v) for _, v in _leaves(value["value"]))
            return
        for key, inner in value.items():
            yield from _leaves(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner, name)
    elif value is not None:
        yield name, value


def case_id(tokens: Iterable[bytes], at: str) -> str:
    """A name for an erasure that tells nobody of whom it is."""
    return hashlib.sha256(b"".join(sorted(tokens)) + at.encode()).hexdigest()[:12]
