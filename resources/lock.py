"""Who waits for whom: processes that work on one lake, on one table, on the same days.

Locks are the system's: it frees them when a process dies. They hold between processes of one machine, and between
machines where they share the folder by a file system that has locks (NFS 4).
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from datetime import date
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows: no advisory locks; the commit's own check still refuses a second writer
    fcntl = None  # type: ignore[assignment]

_LOCK, _TURN, _DAYS = ".lock", ".lock-turn", ".lock-days"
TABLES = ".locks"  # below the lake: a folder per table


class BusyError(Exception):
    """Somebody else is at work, and the caller does not wait."""


@contextmanager
def exclusive(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold a folder alone: whoever works in it is waited for, and whoever comes later waits.

    Raises BusyError instead of waiting where ``wait`` is false.
    """
    with _taken(folder, alone=True, wait=wait):
        yield


@contextmanager
def beside(folder: Path) -> Iterator[None]:
    """Work in a folder while others do, and nobody has it alone. Not to be asked for again by who has it."""
    with _taken(folder, alone=False, wait=True):
        yield


@contextmanager
def days_alone(folder: Path, days: Collection[str], reach: int = 0) -> Iterator[None]:
    """Hold the range of some days, and ``reach`` days before and after it, of what a folder stands for.

    Ranges that meet wait for each other.
    """
    if not days:
        yield
        return
    place = folder / _DAYS
    begin = getattr(fcntl, "F_OFD_SETLKW", None)
    if begin is None or sys.platform != "linux":  # no locks of ranges, or told in another way: all days are one
        with held(place, alone=True):
            yield
        return
    with _opened(place) as file:
        # A day is a byte of a file that stays empty.
        start = date.fromisoformat(min(days)).toordinal() - reach
        length = date.fromisoformat(max(days)).toordinal() + reach - start + 1
        fcntl.fcntl(file, begin, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, start, length, 0))
        yield


@contextmanager
def _taken(folder: Path, *, alone: bool, wait: bool) -> Iterator[None]:
    with ExitStack() as stack:
        # Whoever waits has the turn meanwhile: nobody overtakes one who wants the folder alone.
        with held(folder / _TURN, alone=True, wait=wait):
            stack.enter_context(held(folder / _LOCK, alone=alone, wait=wait))
        yield


@contextmanager
def held(path: Path, *, alone: bool, wait: bool = True) -> Iterator[None]:
    """Hold the lock of a file, alone or with others. Raises BusyError instead of waiting where ``wait`` is false."""
    with _opened(path) as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError as error:
                raise BusyError(path.parent) from error
        yield


def _opened(path: Path) -> IO[str]:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("w")
