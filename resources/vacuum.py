"""What nobody needs any more in a table's folder: drafts of killed runs, and data files that no version names.

A reader that opened an older version goes on reading it for a grace period. Hard links to a removed file (published
snapshots) keep what it held.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

from resources.disk import is_draft
from resources.failpoints import reach

_LOG = "_delta_log"
_OURS = re.compile(r".+_[0-9a-f]{64}\.parquet")  # whatever else lies there is not ours to remove
_COMMIT_DRAFT = re.compile(r"_commit_.+\.json\.tmp")  # what delta-rs writes before a commit has its number


def is_ours(name: str) -> bool:
    """Whether a name is one that this lake's writer gives to data files."""
    return _OURS.fullmatch(name) is not None


def sweep(root: Path, live: Collection[str], since: float) -> int:
    """Remove what is not needed from a table's folder, of which nobody may be writing a file now; how much it was.

    ``live`` are the data files of the newest version. Another stays while it is younger than ``since`` (seconds) or
    a commit younger than that took it out of the table. Only where there is one, the log is read.
    """
    found = dict(_found(root))
    gone = [p for p, place in found.items() if is_draft(place.name) or _COMMIT_DRAFT.fullmatch(place.name)]
    gone += spare(root, found, live, since, lambda path: found[path].stat().st_mtime)
    for path in gone:
        reach("lake.vacuum")
        os.unlink(found[path])  # noqa: PTH108 - a name that is listed already
    return len(gone)


def spare(
    root: Path, paths: Iterable[str], live: Collection[str], since: float, written: Callable[[str], float]
) -> list[str]:
    """Those of a table's data files, wherever they lie, that ``sweep`` may remove; ``written``: when one was made."""
    old = [p for p in paths if p not in live and is_ours(p.rsplit("/", 1)[-1]) and written(p) < since]
    needed = _removed(root, since) if old else set()
    return [p for p in old if p not in needed]


def remove_drafts(folders: Iterable[Path], since: float) -> None:
    """Remove drafts right in some folders that are older than a moment (seconds): whoever wrote them was killed."""
    for folder in folders:
        for entry in os.scandir(folder) if folder.is_dir() else ():
            if is_draft(entry.name) and entry.stat().st_mtime < since:
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry)
                else:
                    os.unlink(entry)  # noqa: PTH108 - a name that is listed already


def _found(root: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Files of a table with their paths in it: in its folder, the days' folders, and the log's."""
    for entry in os.scandir(root):
        if not entry.is_dir(follow_symlinks=False):
            yield entry.name, entry
        elif entry.name == _LOG or not entry.name.startswith(("_", ".")):
            yield from ((f"{entry.name}/{inside.name}", inside) for inside in os.scandir(entry.path))


def _removed(root: Path, since: float) -> set[str]:
    """Data files that commits younger than a moment took out of the table."""
    found: set[str] = set()
    for commit in sorted((root / _LOG).glob("*.json"), reverse=True):
        if commit.stat().st_mtime < since:
            break
        actions = (json.loads(line) for line in commit.read_text("utf-8").splitlines())
        found |= {action["remove"]["path"] for action in actions if "remove" in action}
    return found
