"""What the disk refuses, in the user's words, and files that are there whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TextIO, cast

from resources.errors import BehaviorError, FileInTheWayError, StorageError
from resources.failpoints import reach

# How libraries tell of a refused write that reaches them (DuckDB, SQLite, delta-rs and Arrow have errors of their own).
_READ_ONLY = "it can only be read"
_REFUSALS = {
    errno.ENOSPC: ("no space left", ("no space left on device", "os error 28", "database or disk is full",
                                     "max_temp_directory_size")),
    errno.EDQUOT: ("the quota is used up", ("quota exceeded", "os error 122")),
    errno.EROFS: (_READ_ONLY, ("read-only file system", "readonly database", "os error 30")),
    errno.EIO: ("it fails to read or write, or is full", ("disk i/o error", "input/output error", "os error 5)")),
}  # fmt: skip

_DRAFT = re.compile(r"\.[0-9a-f]{32}\.tmp(\.wal)?")

# What was refused so far inside the outermost place that is being written to.
_REFUSED: ContextVar[list[str] | None] = ContextVar("refused", default=None)


def refusal(error: BaseException) -> str:
    """Why the disk refused, if an error or what it came from tells of that; else an empty text."""
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in seen:
        seen.append(cause)
        text = str(cause).lower()
        for number, (why, marks) in _REFUSALS.items():
            if (isinstance(cause, OSError) and cause.errno == number) or any(mark in text for mark in marks):
                return why
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return ""


@contextmanager
def disk_errors(where: Path) -> Iterator[None]:
    """Turn a refused write, whoever reports it, into an error that says where and what to do.

    A full disk refuses one write after another, Dagster's notes among them: of nested places the innermost of the
    first refusal is what the user hears of.
    """
    outer = _REFUSED.get()
    refused = [] if outer is None else outer
    token = _REFUSED.set(refused)
    try:
        yield
    except StorageError as error:
        refused.append(str(error))
        raise StorageError(refused[0]) from error
    except BehaviorError:
        raise
    except Exception as error:
        why = refusal(error)
        if not why:
            raise
        remedy = "make it writable" if why == _READ_ONLY else "free some space"
        refused.append(
            f"{where}: the disk refused a write ({why}). What was committed before is whole; {remedy} and run "
            "the same command again."
        )
        raise StorageError(refused[0]) from error
    finally:
        _REFUSED.reset(token)


@contextmanager
def dagster_unheard() -> Iterator[None]:
    """Keep to ourselves what Dagster writes to stderr when its event log is refused: the error that follows tells."""
    terminal = sys.stderr

    class Rest:
        def write(self, text: str) -> int:
            heard = not text.startswith("Exception while writing logger call to event log")
            return terminal.write(text) if heard else len(text)

        def __getattr__(self, name: str) -> Any:
            return getattr(terminal, name)

    sys.stderr = cast("TextIO", Rest())
    try:
        yield
    finally:
        sys.stderr = terminal


def sync_path(path: Path) -> None:
    """Force a file, or the names in a folder, to disk."""
    if os.name != "posix" and path.is_dir():  # Windows cannot open a folder
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path, mode: int = 0o777) -> None:
    """Make a folder, and those above it, so that their names outlive a power cut.

    Raises FileInTheWayError.
    """
    places = (folder, *folder.parents)
    new = [path for path in places if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=mode)
    except (FileExistsError, NotADirectoryError) as error:
        wrong = next(path for path in places if path.exists() and not path.is_dir())
        msg = f"{wrong}: a file is in the way, where a folder is wanted. Move it away and run the same command again."
        raise FileInTheWayError(msg) from error
    for path in new:
        sync_path(path.parent)


def draft_in(folder: Path) -> Path:
    """A name for a file that is not whole yet. Only a process that was killed leaves one behind."""
    return folder / f".{uuid.uuid4().hex}.tmp"


def is_draft(name: str) -> bool:
    """Whether a name is one of ``draft_in`` (or of the log that DuckDB keeps beside a file)."""
    return _DRAFT.fullmatch(name) is not None


@contextmanager
def draft_of(target: Path) -> Iterator[Path]:
    """A place to write a file that takes its name when all of it is on disk; on an error nothing is left."""
    draft = draft_in(target.parent)
    try:
        yield draft
        sync_path(draft)
        draft.replace(target)
        sync_path(target.parent)
    finally:
        draft.unlink(missing_ok=True)


def write_whole(path: Path, text: str, place: str) -> None:
    """Write a small text so that a reader finds all of it or nothing. Raises StorageError when the disk refuses.

    ``place`` is the failpoint that stands between the text and its name.
    """
    with disk_errors(path), draft_of(path) as draft:
        draft.write_text(text, "utf-8")
        reach(place)
