"""What every check of integrity needs: a problem's form, and the sha256 of many files, each read once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

REMEDY = (  # what to say of any damage to the lake
    "`behavior verify` names everything that is broken, "
    "`behavior verify --repair` mends what the archive can give back."
)
_BLOCK = 4 * 2**20
_THREADS = 4  # hashing lets other threads run; more only wait for the disk


@dataclass(frozen=True)
class Problem:
    """Something broken: ``where`` names the file or table, ``what`` says what is wrong with it.

    ``repair``: whether ``behavior verify --repair`` can do anything about it.
    """

    where: str
    what: str
    repair: bool = True


def sha256_of(path: Path) -> str:
    """sha256 of a file's bytes, hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(_BLOCK):
            digest.update(data)
    return digest.hexdigest()


class Sums:
    """sha256 by file. A file that has several names is read once, and not again while it stays as it is."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, ...], str] = {}

    def of(self, paths: Iterable[Path]) -> dict[Path, str]:
        """sha256 of those files that there are; empty where the disk does not give the bytes."""
        stamps = {path: stamp for path in paths if (stamp := _stamp(path)) is not None}
        fresh = {stamp: path for path, stamp in stamps.items() if stamp not in self._known}
        with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1), thread_name_prefix="sha256") as pool:
            self._known.update(zip(fresh, pool.map(sha256_or_nothing, fresh.values()), strict=True))
        return {path: self._known[stamp] for path, stamp in stamps.items()}


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        told = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return told.st_dev, told.st_ino, told.st_size, told.st_mtime_ns


def sha256_or_nothing(path: Path) -> str:
    """sha256 of a file's bytes; empty where it cannot be read."""
    try:
        return sha256_of(path)
    except OSError:
        return ""
