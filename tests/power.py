"""A disk that keeps only what it was told to keep: what is left of a home when the power goes.

The strictest reading of POSIX: the bytes of a file are there once the file was synced, as they were then; a name is
there once its folder was synced; what is removed is gone at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Disk:
    """What a power cut would leave of a folder. ``watch`` makes it see what this process does from then on."""

    root: Path
    names: dict[int, dict[str, tuple[int, bool]]] = field(default_factory=dict)  # by folder; whether it is one
    data: dict[int, bytes] = field(default_factory=dict)
    held: list[int] = field(default_factory=list)  # descriptors, so that no number is given to another file
    removed: Callable[[Path], None] = lambda _path: None

    def __post_init__(self) -> None:
        """What is there before is safe."""
        for folder, _, files in os.walk(self.root):
            self._sync_folder(folder)
            for name in files:
                self._sync_file(os.path.join(folder, name))  # noqa: PTH118 - as os.walk tells them

    def watch(self) -> None:
        """Replace the calls that this process syncs and removes with, for good: in a child of its own."""
        fsync, unlink = os.fsync, os.unlink

        def synced(descriptor: int) -> None:
            fsync(descriptor)
            path = os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115 - a descriptor's path
            (self._sync_folder if os.path.isdir(path) else self._sync_file)(path)  # noqa: PTH112

        def unlinked(path: Any, *, dir_fd: int | None = None) -> None:
            base = "" if dir_fd is None else os.readlink(f"/proc/self/fd/{dir_fd}")  # noqa: PTH115
            place = Path(base, path)
            unlink(path, dir_fd=dir_fd)
            self.names.get(place.parent.stat().st_ino, {}).pop(place.name, None)
            self.removed(place)

        os.fsync, os.unlink = synced, unlinked

    def _sync_folder(self, path: str) -> None:
        self.held.append(os.open(path, os.O_RDONLY))
        self.names[os.stat(path).st_ino] = {e.name: (e.inode(), e.is_dir()) for e in os.scandir(path)}  # noqa: PTH116

    def _sync_file(self, path: str) -> None:
        self.held.append(os.open(path, os.O_RDONLY))
        self.data[os.fstat(self.held[-1]).st_ino] = Path(path).read_bytes()

    def leave(self, target: Path) -> None:
        """What is left, in another place."""
        self._leave(self.root.stat().st_ino, target)

    def _leave(self, folder: int, target: Path) -> None:
        target.mkdir(mode=0o700)  # as the keys folder must be
        for name, (inode, is_folder) in self.names.get(folder, {}).items():
            if is_folder:
                self._leave(inode, target / name)
            else:
                (target / name).write_bytes(self.data.get(inode, b""))  # perhaps a name, and none of its bytes
                (target / name).chmod(0o600)
                os.utime(target / name, (0, 0))
