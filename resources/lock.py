"""One writer at a time: processes that work on the same lake wait for each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resources.settings import Home


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, waiting for it. The system frees it when a process dies."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # Windows: no advisory locks; the commit's own check still refuses a second writer
        yield
        return
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def alone(home: Home) -> Iterator[None]:
    """Nobody else runs the chain of a home or writes to its lake; whoever does is waited for."""
    with exclusive(home.dagster), exclusive(home.lake):
        yield
