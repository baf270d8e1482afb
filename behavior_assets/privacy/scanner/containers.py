"""Looking into one file: its bytes, and what they hold once they are unpacked and decoded, however deep."""

from __future__ import annotations

import pickletools
import sqlite3
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import duckdb

from behavior_assets.privacy.scanner.cells import Cells
from behavior_assets.privacy.scanner.databases import Tables
from behavior_assets.privacy.scanner.labels import Columns
from behavior_assets.privacy.scanner.needles import Needles
from behavior_assets.privacy.scanner.report import Notes
from behavior_assets.privacy.scanner.streams import (
    CHUNK,
    DAMAGED,
    HEAD,
    STREAMS,
    Budget,
    Reading,
    TooMuchError,
    Unpacked,
    look_at_bytes,
)
from behavior_assets.privacy.scanner.text import Piece, Search

_DEEPEST = 8  # a gzip in a zip in a tar … in a file
MOST_UNPACKED = 64 * 2**30  # bytes out of one file
_LONGEST_PICKLE = 2**26
_PICKLE = tuple(bytes([0x80, version]) for version in range(2, 6))
_ENCRYPTED = 1  # a bit of a zip member's flags
_FAILED = (*DAMAGED, sqlite3.Error, duckdb.Error, tarfile.TarError, zipfile.BadZipFile, NotImplementedError)
_Look = Callable[[Path, str, Notes], None]


class Containers:
    """Finds the needles in files of every kind it knows, and in the bytes of all."""

    def __init__(self, needles: Needles, search: Search, headers: dict[str, Columns]) -> None:
        self._search = search
        self._headers = headers  # of delimited files without one, by the name of the folder that they lie in
        tables = Tables(search, Cells(needles, search))
        self._tables: dict[str, _Look] = {
            "parquet": tables.parquet, "arrow": tables.arrow, "sqlite": tables.sqlite, "duckdb": tables.duckdb,
        }  # fmt: skip

    def look(self, path: Path, notes: Notes) -> None:
        """Note what a file holds."""
        try:
            self._file(path, "", self._headers.get(path.parent.name), notes, Budget(MOST_UNPACKED), 0)
        except TooMuchError:
            notes.unread("", f"unpacks to more than {MOST_UNPACKED // 2**20:,} MiB")

    def _file(
        self, path: Path, place: str, columns: Columns | None, notes: Notes, budget: Budget, depth: int
    ) -> None:  # fmt: skip
        with path.open("rb") as file:
            kind = kind_of(file.read(HEAD))
            file.seek(0)
            look_at_bytes(self._search, file, place, notes, columns=columns, packed=kind in self._tables,
                          escapes=kind != "parquet")  # fmt: skip
            if not kind:
                return
            if depth >= _DEEPEST:
                notes.unread(place, "packed too deep")
                return
            file.seek(0)
            inside = f"{place}{kind} > "
            try:
                if kind in self._tables:
                    self._tables[kind](path, place, notes)
                elif kind in STREAMS:
                    self._unpacked(STREAMS[kind][1](file), inside, columns, notes, budget, depth)
                else:
                    getattr(self, f"_{kind}")(file, inside, columns, notes, budget, depth)
            except _FAILED as error:
                if kind != "pickle":  # joblib puts arrays between, which the bytes have told
                    notes.unread(place, f"{kind} cannot be read ({type(error).__name__})")

    def _unpacked(
        self, source: Reading, place: str, columns: Columns | None, notes: Notes, budget: Budget, depth: int
    ) -> None:  # fmt: skip
        """What comes out of a container: a container again is put aside to be opened, anything else flows by."""
        inner = Unpacked(source, budget)
        if not kind_of(inner.head):
            look_at_bytes(self._search, inner, place, notes, columns=columns)
            return
        with tempfile.TemporaryDirectory(prefix="behavior-scan-") as scratch:
            copy = Path(scratch) / "inner"
            with copy.open("wb") as file:
                while data := inner.read(CHUNK):
                    file.write(data)
            self._file(copy, place, columns, notes, budget, depth + 1)

    def _zip(
        self, file: BinaryIO, place: str, columns: Columns | None, notes: Notes, budget: Budget, depth: int
    ) -> None:  # fmt: skip
        with zipfile.ZipFile(file) as archive:
            for number, member in enumerate(archive.infolist(), 1):
                inside = self._member(member.filename, number, place, notes)
                if member.flag_bits & _ENCRYPTED:
                    notes.unread(inside, "encrypted")
                elif not member.is_dir():
                    with archive.open(member) as inner:
                        self._unpacked(inner, f"{inside} > ", columns, notes, budget, depth)

    def _tar(
        self, file: BinaryIO, place: str, columns: Columns | None, notes: Notes, budget: Budget, depth: int
    ) -> None:  # fmt: skip
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for number, member in enumerate(archive, 1):
                inside = self._member(member.name, number, place, notes)
                inner = archive.extractfile(member) if member.isreg() else None
                if inner:
                    with inner:
                        self._unpacked(inner, f"{inside} > ", columns, notes, budget, depth)

    def _pickle(
        self, file: BinaryIO, place: str, _columns: Columns | None, notes: Notes, _budget: Budget, _depth: int
    ) -> None:  # fmt: skip
        """Texts that follow the name of a person's id, as in a dict; nothing is unpickled."""
        label = ""
        for _, argument, _ in pickletools.genops(file.read(_LONGEST_PICKLE)):
            if isinstance(argument, str | int) and label:
                text = f"{label}={argument}".encode(errors="replace")
                for hit in self._search.hits(Piece(text, len(label) + 1)):
                    notes.found(f"{place}text", hit.needle, hit.how)
            if isinstance(argument, str):
                label = argument if self._search.labels.tells(argument) else ""

    def _member(self, name: str, number: int, place: str, notes: Notes) -> str:
        shown, hits = self._search.masked(name)
        for hit in hits:
            notes.found(f"{place}name of member {number}", hit.needle, hit.how)
        return f"{place}member {number} ({shown})"


def kind_of(head: bytes) -> str:
    """What a file is, told by how it begins; empty where it is none of those that are unpacked or decoded."""
    starts: dict[str, tuple[bytes, ...]] = {
        "parquet": (b"PAR1",), "arrow": (b"ARROW1", b"FEA1", b"\xff\xff\xff\xff"), "sqlite": (b"SQLite format 3\0",),
        "zip": (b"PK\x03\x04", b"PK\x05\x06"), "pickle": _PICKLE, **{k: s for k, (s, _) in STREAMS.items()},
    }  # fmt: skip
    if head[8:12] == b"DUCK":
        return "duckdb"
    if head[257:262] == b"ustar":
        return "tar"
    return next((kind for kind, of in starts.items() if head.startswith(of)), "")
