"""Reading bytes piece by piece, unpacked on the way, however long they are."""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, Protocol

import pyarrow as pa

from behavior_assets.privacy.scanner.labels import Columns
from behavior_assets.privacy.scanner.report import Notes
from behavior_assets.privacy.scanner.text import Piece, Search

CHUNK = 2**20
HEAD = 512  # bytes that tell what a file is
_BEHIND = 2**14  # bytes before a chunk that are looked at again: the line of a delimited text begins there
DAMAGED = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, pa.ArrowException, RuntimeError)


class Reading(Protocol):
    """Whatever gives bytes."""

    def read(self, size: int, /) -> bytes:
        """At most so many bytes, none at the end."""


class TooMuchError(Exception):
    """More was unpacked than is looked at."""


class Budget:
    """How many bytes may still be unpacked out of one file."""

    def __init__(self, most: int) -> None:
        self.left = most

    def take(self, size: int) -> None:
        """Raise TooMuchError where so many are not left."""
        self.left -= size
        if self.left < 0:
            raise TooMuchError


class Unpacked:
    """Bytes that come out of something, counted. ``head`` can be looked at before they are read."""

    def __init__(self, source: Reading, budget: Budget) -> None:
        self._source, self._budget = source, budget
        self.head = b""
        while len(self.head) < HEAD and (more := source.read(HEAD - len(self.head))):
            self.head += more
        self._held = self.head

    def read(self, size: int = CHUNK, /) -> bytes:
        """As a file's."""
        data = self._held or self._source.read(size)
        self._held = b""
        self._budget.take(len(data))
        return data


class Joined:
    """Pieces of bytes as something to read from; the size asked for is not kept to."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    def read(self, _size: int = CHUNK, /) -> bytes:
        """The next piece that is not empty."""
        return next((p for p in self._pieces if p), b"")


def _zlib(file: BinaryIO) -> Iterator[bytes]:
    engine = zlib.decompressobj()
    while not engine.eof and (data := engine.unconsumed_tail or file.read(CHUNK)):
        yield engine.decompress(data, CHUNK)
    if not engine.eof:
        raise EOFError


def _utf16(file: BinaryIO) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder("utf-16")(errors="replace")
    while data := file.read(CHUNK):
        yield decoder.decode(data).encode(errors="replace")


# Kinds by how they begin, and how each is unpacked.
STREAMS: dict[str, tuple[tuple[bytes, ...], Callable[[BinaryIO], Reading]]] = {
    "gzip": ((b"\x1f\x8b\x08",), lambda f: gzip.GzipFile(fileobj=f)),
    "bzip2": ((b"BZh",), bz2.BZ2File),
    "xz": ((b"\xfd7zXZ\0", b"\x5d\0\0"), lzma.LZMAFile),
    "zstd": ((b"\x28\xb5\x2f\xfd",), lambda f: pa.CompressedInputStream(pa.PythonFile(f, mode="r"), "zstd")),
    "lz4": ((b"\x04\x22\x4d\x18",), lambda f: pa.CompressedInputStream(pa.PythonFile(f, mode="r"), "lz4")),
    "zlib": ((b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda"), lambda f: Joined(_zlib(f))),
    "utf-16 text": ((b"\xff\xfe", b"\xfe\xff"), lambda f: Joined(_utf16(f))),
}


def look_at_bytes(
    search: Search, source: Reading, place: str, notes: Notes, *, columns: Columns | None = None, packed: bool = False,
    escapes: bool = True,
) -> None:  # fmt: skip
    """Note every needle in a stream of bytes; a needle may lie across the border of two chunks."""
    data, low = source.read(CHUNK), 0
    columns = columns or (None if packed else Columns.of(data[: CHUNK // 8]))
    while data:
        more = source.read(CHUNK)
        high = max(low, len(data) - search.reach) if more else len(data)
        for hit in search.hits(Piece(data, low, high, columns, packed=packed, escapes=escapes)):
            notes.found(place or "content", hit.needle, hit.how)
        if not more:
            return
        kept = max(0, high - max(_BEHIND, search.reach))
        data, low = data[kept:] + more, high - kept
