"""Walking over the home: every file, its names, links and attributes."""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

from behavior_assets.ingestion.sources import FORMATS, load_source
from behavior_assets.privacy.scanner.containers import Containers
from behavior_assets.privacy.scanner.labels import Columns, Labels
from behavior_assets.privacy.scanner.matcher import Matcher
from behavior_assets.privacy.scanner.needles import Needles, patterns
from behavior_assets.privacy.scanner.report import Find, Notes
from behavior_assets.privacy.scanner.text import Piece, Search


def _nothing(_path: Path) -> bool:
    return False


def scan(
    root: Path,
    needles: Needles,
    *,
    leave: Callable[[Path], bool] = _nothing,
    personal: frozenset[str] = frozenset(),
) -> list[Find]:
    """Where the home still holds one of the needles, and what could not be looked into; empty: it holds none.

    ``leave`` is given paths relative to ``root``: what it says yes to is left out, with all below it. ``personal`` are
    further names of columns that tell of persons (a mapping's); the registry's and the input formats' are known.
    """
    search = Search(Matcher(patterns(needles)), Labels(personal), needles.besides)
    containers = Containers(needles, search, _headerless())
    finds: list[Find] = []
    same: dict[tuple[int, int], list[tuple[Path, Path]]] = defaultdict(list)
    for path, shown, unread in _walk(root, leave, search):
        notes = Notes()
        if unread:
            notes.unread("", unread)
        else:
            _entry(root, path, search, notes)
            told = path.lstat()
            if stat.S_ISREG(told.st_mode):
                same[told.st_dev, told.st_ino].append((path, shown))
        finds += notes.finds(shown)
    for names in same.values():
        notes = Notes()
        try:
            containers.look(names[0][0], notes)
        except FileNotFoundError:  # gone meanwhile
            continue
        except OSError as error:
            notes.unread("", f"cannot be read ({type(error).__name__})")
        for _, shown in names:
            finds += notes.finds(shown)
    return finds


def _headerless() -> dict[str, Columns]:
    """The columns of formats whose files have no header, by the folder that they are archived in."""
    known = [load_source(name) for name in FORMATS if name != "generic"]
    return {s.name: Columns(s.columns, s.delimiter) for s in known if not s.header}


def _walk(root: Path, leave: Callable[[Path], bool], search: Search) -> Iterator[tuple[Path, Path, str]]:
    """(path, its name relative to the root without ids, why it cannot be read) of everything, folders first."""
    folders = [(root, Path())]
    while folders:
        folder, above = folders.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda e: e.name)
        except OSError as error:
            yield folder, above, f"folder cannot be read ({type(error).__name__})"
            continue
        for entry in entries:
            path = Path(entry.path)
            relative = path.relative_to(root)
            if leave(relative):
                continue
            shown = above / search.masked(relative.as_posix())[0]
            yield path, shown, ""
            if entry.is_dir(follow_symlinks=False):
                folders.append((path, shown))


def _entry(root: Path, path: Path, search: Search, notes: Notes) -> None:
    """What the directory says of a file: its name, the target of a link, its attributes."""
    for hit in search.masked(path.relative_to(root).as_posix())[1]:
        notes.found("name", hit.needle, hit.how)
    if path.is_symlink():
        for hit in search.hits(Piece(os.fsencode(path.readlink()))):
            notes.found("target of a link", hit.needle, hit.how)
        if path.exists() and not path.resolve().is_relative_to(root.resolve()):
            notes.unread("", "a link that leads out of the home")
    if hasattr(os, "listxattr"):
        try:
            for name in os.listxattr(path, follow_symlinks=False):
                value = os.getxattr(path, name, follow_symlinks=False)
                for hit in search.hits(Piece(os.fsencode(name) + b"=" + value)):
                    notes.found("extended attribute", hit.needle, hit.how)
        except OSError:  # a file system without them, or gone meanwhile
            return
