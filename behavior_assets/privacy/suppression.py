"""The suppression list: whose events are not taken in any more, as tokens that tell nobody who that is.

A token is HMAC-SHA256, by a key of its own, over an id in its normal form. It is the only thing that stays of an erased
person, and what it takes to keep later deliveries, and the archive's originals, from bringing that person back.

A row is of the person that its user id names; else of the client; else, where it has neither, of its visit.
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
from behavior_assets.privacy.normal import normal_id
from resources.disk import disk_errors, make_folder, write_whole
from resources.errors import IntegrityError
from resources.keys import SUPPRESSION, load_key
from resources.settings import Home, Settings

TOKEN_BYTES = 16
PERSON, VISIT = "person", "visit"
_FOLDER = "suppressed"  # below <home>/privacy: a file per erasure, a token per line
_TOKEN = re.compile(rf"[0-9a-f]{{{2 * TOKEN_BYTES}}}")
_IDS = ("user_id", "client_id", "session_id")
_FRACTION = re.compile(r"(?<=[0-9])\.0+$")
_PLAIN = re.compile(r"[0-9.,:\-]*")
_WORDS = re.compile(r"[^\s,;|\t\"'{}\[\]()<>=&?/#]+")


def token(key: bytes, kind: str, value: str, source: str = "") -> bytes:
    """What stands for an id: of a person whatever the source, of a visit within its source."""
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
    known = path.read_text("ascii").splitlines() if path.exists() else []
    lines = {*known, *(t.hex() for t in tokens)}
    write_whole(path, "".join(f"{line}\n" for line in sorted(lines)), "privacy.suppress")


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

    def names(self, kind: str, value: str, source: str = "") -> bool:
        """Whether an id is one of a person (or visit) that is suppressed."""
        if self.among is not None and normal_id(value) not in self.among:
            return False
        return token(self.key, kind, value, source) in self.tokens

    def of(self, source: str, user: str | None, client: str | None, session: str | None) -> bool:
        """Whether a row with these ids is of somebody who is suppressed."""
        if user:
            return self.names(PERSON, user)
        if client:
            return self.names(PERSON, client)
        return bool(session) and self.names(VISIT, str(session), source)

    def mask(self, rows: pa.Table, source: str) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which rows [n] of a parsed file are of somebody who is suppressed."""
        user, client, session = (rows[n] if n in rows.column_names else None for n in _IDS)
        found = np.zeros(rows.num_rows, dtype=bool)
        open_ = np.ones(rows.num_rows, dtype=bool)  # rows that no id before has told the person of
        for kind, column in ((PERSON, user), (PERSON, client), (VISIT, session)):
            if column is None:
                continue
            there = pc.fill_null(pc.not_equal(column, ""), fill_value=False).to_numpy(zero_copy_only=False) & open_
            if there.any():
                found[there] = self._hits(column.filter(pa.array(there)), kind, source if kind == VISIT else "")
            open_ &= ~there
        return found

    def _hits(self, column: pa.ChunkedArray, kind: str, source: str) -> np.ndarray[Any, np.dtype[np.bool_]]:
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
        they do.
        """
        text = raw.decode("utf-8", "replace")
        ids = record_ids(source, header, text)
        told = {i for i in ids or () if i}
        told |= {w for w in words(text) if ids is None or not _PLAIN.fullmatch(w)}
        return any(self.names(PERSON, i) or self.names(VISIT, i, source.name) for i in told)


def words(text: str) -> set[str]:
    """What in a text may be an id: its words, also as they are behind percent signs."""
    found = set(_WORDS.findall(text))
    plain = urllib.parse.unquote(urllib.parse.unquote(text)) if "%" in text else text
    return found | set(_WORDS.findall(plain))


def record_ids(source: Source, header: str, text: str) -> tuple[str | None, str | None, str | None] | None:
    """User, client and session of a delivered record; None where it cannot be taken apart as the source says."""
    try:
        fields = _json_fields(text) if text.lstrip().startswith("{") else _csv_fields(source, header, text)
    except (ValueError, csv.Error):
        return None
    if fields is None:
        return None
    found: list[str | None] = []
    named = False
    for name in _IDS:
        sql = source.fields.get(name, "")
        columns = [(key, v) for key, v in fields if re.search(rf"\b{re.escape(key)}\b", sql)]
        named |= bool(columns)
        values = [str(v) for _, v in columns if v not in (None, "")]
        if len(values) > 1:
            return None
        found.append(_FRACTION.sub("", values[0]) if values else None)  # what spreadsheets make of a number
    return (found[0], found[1], found[2]) if named else None


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
