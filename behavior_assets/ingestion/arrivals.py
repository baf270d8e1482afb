"""Which files there are to read: those that a user names, and those that lie settled in ``landing/``."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from behavior_assets.ingestion.names import shown
from resources.errors import InputRefusedError
from resources.settings import Home

SYNTHETIC_MARK = "SYNTHETIC.txt"  # what the simulator leaves beside its files
MAPPING = "mapping.yaml"  # how the files of landing/generic are read
# Names that copying programs give to what they have not finished; names that begin with a dot are left alone too.
UNFINISHED = (".part", ".partial", ".filepart", ".crdownload", ".tmp")
_SETTLED_SECONDS = 2.0
_LONG_SECONDS = 3600.0  # so long after the last write nobody is waited for
_SET_SIGNAL = 10  # fcntl's F_SETSIG, which Python does not name
_KINDS = (
    (stat.S_ISLNK, "a link"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"), (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"), (stat.S_ISDIR, "a folder that cannot be read"),
)  # fmt: skip


@dataclass
class Landing:
    """What lies in ``landing/``: by format what can be read, and with its reason what has to stay.

    ``refused`` needs somebody's hand, ``waiting`` only time.
    """

    ready: dict[str, list[Path]] = field(default_factory=dict)
    refused: list[tuple[Path, str]] = field(default_factory=list)
    waiting: list[tuple[Path, str]] = field(default_factory=list)


def find_files(paths: Iterable[Path]) -> list[Path]:
    """What a user names: files as they are, folders with all they hold, in the order of their names.

    Links are not followed but told, so that they are refused by name. Raises InputRefusedError for a path that is not
    there and for a folder with nothing in it.
    """
    found: list[Path] = []
    for path in paths:
        if not os.path.lexists(path):
            msg = f"{shown(path)}: there is no such file or folder."
            raise InputRefusedError(msg)
        if path.is_symlink() or not path.is_dir():
            found.append(path)
            continue
        inside = list(_walk(path))
        if not inside:
            msg = f"{shown(path)}: the folder holds no event files."
            raise InputRefusedError(msg)
        found += inside
    return found


def look(home: Home, formats: Iterable[str], now: float) -> Landing:
    """What lies in ``landing/``, whoever put it there, at a time in seconds."""
    formats, found = list(formats), Landing()
    for place in _entries(home.landing):
        if not _is_folder(place):
            reason = irregular(place) or f"it lies in no format's folder. Move it into one: {', '.join(formats)}."
            found.refused.append((place, f"{shown(place)}: {reason}"))
        elif place.name not in formats:
            files = list(_walk(place))
            if files:
                reason = f"there is no such format, so its files ({len(files):,}) wait. Known: {', '.join(formats)}."
                found.refused.append((place, f"{shown(place)}: {reason}"))
        else:
            for path in _walk(place):
                if path != home.landing / "generic" / MAPPING:
                    _sort(path, place.name, found, now)
    return found


def landed(home: Home, formats: Iterable[str], now: float) -> dict[str, list[Path]]:
    """Files dropped into ``landing/<format>/`` that have stopped growing, by format."""
    return look(home, formats, now).ready


def _sort(path: Path, name: str, found: Landing, now: float) -> None:
    try:
        told = path.lstat()
    except FileNotFoundError:  # another run has taken it
        return
    reason = irregular(path)
    if reason:
        found.refused.append((path, f"{shown(path)}: {reason}"))
    elif abs(now - told.st_mtime) < _SETTLED_SECONDS:
        found.waiting.append((path, f"{shown(path)}: it was written to just now. The next run takes it."))
    elif abs(now - told.st_mtime) < _LONG_SECONDS and _being_written(path):
        found.waiting.append((path, f"{shown(path)}: a program is still writing it. A run takes it afterwards."))
    else:
        found.ready.setdefault(name, []).append(path)


def irregular(path: Path) -> str:
    """Why something is not read that is no file: a link, a pipe, a device; empty for a regular file."""
    mode = path.lstat().st_mode
    if stat.S_ISREG(mode):
        return ""
    what = next((name for test, name in _KINDS if test(mode)), "something else")
    return f"only regular files are read, and this is {what}. Deliver the file itself."


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _entries(folder: Path) -> list[Path]:
    """What a folder holds, in the order of names, without what is hidden or not finished."""
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208 - Path.iterdir gives the same in more steps
    except FileNotFoundError:
        return []
    return [folder / n for n in names if not (n == SYNTHETIC_MARK or n.startswith(".") or n.endswith(UNFINISHED))]


def _walk(folder: Path) -> Iterator[Path]:
    """All that lies below a folder, in the order of names: links are told and not followed.

    A folder that cannot be read is told in place of what it holds.
    """
    open_folders = [iter([folder])]
    while open_folders:
        path = next(open_folders[-1], None)
        if path is None:
            open_folders.pop()
        elif _is_folder(path):
            try:
                open_folders.append(iter(_entries(path)))
            except OSError:
                yield path
        else:
            yield path


def _being_written(path: Path) -> bool:
    """Whether some process has a file open for writing, where the system tells: Linux gives no read lease then."""
    try:
        import fcntl

        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except (OSError, ImportError):
        return False
    try:
        # Who opens the file for writing meanwhile makes the kernel signal us: not with SIGIO, which would end us.
        fcntl.fcntl(number, _SET_SIGNAL, signal.SIGURG)
        fcntl.fcntl(number, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(number, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:
        return True
    except (OSError, AttributeError):  # a file system or a system without leases
        return False
    finally:
        os.close(number)
    return False
