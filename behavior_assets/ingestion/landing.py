"""From a path a user names to a file that is safe to read: found, copied, hashed, unpacked."""

from __future__ import annotations

import errno
import filecmp
import gzip
import hashlib
import os
import shutil
import uuid
import zlib
from collections.abc import Container, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from behavior_assets.ingestion.ledger import delivery_key
from resources.disk import disk_errors, draft_of, sync_path, write_whole
from resources.errors import InputRefusedError, UsageError
from resources.failpoints import reach
from resources.settings import Home

KINDS = {".csv": "csv", ".txt": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl",
         ".parquet": "parquet"}  # fmt: skip
COMPRESSIONS = (".gz", ".zst")
SYNTHETIC_MARK = "SYNTHETIC.txt"  # what the simulator leaves beside its files
_COPY = 4 * 2**20
_SETTLED_SECONDS = 2.0


@dataclass(frozen=True)
class Staged:
    """A private copy of an input file.

    ``path`` holds the plain bytes to parse; ``original`` the bytes as delivered, which ``sha256`` names. ``contract``
    is the source's. The same bytes under another format or mapping are another delivery: ``key`` tells them apart.
    """

    name: str
    source: str
    kind: str
    path: Path
    original: Path
    sha256: str
    size: int
    contract: str = ""

    @property
    def key(self) -> str:
        """What the ledger knows the delivery by."""
        return delivery_key(self.sha256, self.source, self.contract)

    def delivered_before(self, known: Container[str]) -> bool:
        """Whether a ledger of these keys has the file. An entry of an older one, without a contract, is for any."""
        return self.key in known or delivery_key(self.sha256, self.source, "") in known


def kind_of(path: Path) -> tuple[str, str]:
    """File kind (csv, jsonl, parquet) and compression suffix ("" if none) by the name's ending."""
    suffixes = [s.lower() for s in path.suffixes]
    compression = suffixes.pop() if suffixes and suffixes[-1] in COMPRESSIONS else ""
    kind = KINDS.get(suffixes[-1] if suffixes else "")
    if kind is None:
        msg = f"{path.name}: not an event file; its name must end in {', '.join(KINDS)}, with or without .gz or .zst."
        raise InputRefusedError(msg)
    return kind, compression


def find_files(paths: Iterable[Path]) -> list[Path]:
    """Files named by a user: files as they are, folders with all they hold, in the order of their names.

    Raises UsageError for a path that is not there and InputRefusedError for a folder with nothing in it.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            msg = f"{path}: there is no such file or folder."
            raise InputRefusedError(msg)
        if path.is_dir():
            inside = [p for p in sorted(path.rglob("*")) if not p.is_dir() and not _hidden(p, path)]
            if not inside:
                msg = f"{path}: the folder holds no event files."
                raise InputRefusedError(msg)
            found += inside
        else:
            found.append(path)
    return found


def _hidden(path: Path, below: Path) -> bool:
    return path.name == SYNTHETIC_MARK or any(piece.startswith(".") for piece in path.relative_to(below).parts)


def is_synthetic(path: Path) -> bool:
    """Whether the simulator's mark lies beside a file or beside its folder."""
    return any((folder / SYNTHETIC_MARK).exists() for folder in list(path.resolve().parents)[:2])


def landed(home: Home, formats: Iterable[str], now: float) -> dict[str, list[Path]]:
    """Files dropped into ``landing/<format>/`` that have stopped growing, by format."""
    ready: dict[str, list[Path]] = {}
    for name in formats:
        folder = home.landing / name
        files = sorted(folder.rglob("*")) if folder.is_dir() else []
        ready[name] = [
            p for p in files
            if not p.is_dir() and not _hidden(p, folder) and now - p.lstat().st_mtime >= _SETTLED_SECONDS
        ]  # fmt: skip
    return {name: files for name, files in ready.items() if files}


def stage(path: Path, source: str, staging: Path, max_bytes: int, contract: str = "") -> Staged:
    """Copy a file under our control, hash it and unpack it. Raises InputRefusedError naming file and reason."""
    if path.is_symlink() or not path.is_file():
        msg = f"{path}: only regular files are read (this is a link, a pipe or a device)."
        raise InputRefusedError(msg)
    kind, compression = kind_of(path)
    folder = staging / uuid.uuid4().hex
    with disk_errors(staging):
        folder.mkdir(parents=True)
        original = folder / "original"
        reach("staging.copy")
        digest = hashlib.sha256()
        try:
            with path.open("rb") as reader, original.open("wb") as writer:
                while data := reader.read(_COPY):
                    digest.update(data)
                    writer.write(data)
        except PermissionError as error:
            msg = f"{path}: the file cannot be read (permission denied)."
            raise InputRefusedError(msg) from error
        size = original.stat().st_size
        if size == 0:
            msg = f"{path}: the file is empty, it has not even a header. Deliver it again."
            raise InputRefusedError(msg)
        plain = original
        if compression:
            plain = folder / "plain"
            reach("staging.unpack")
            _unpack(path, original, plain, compression, max_bytes)
    return Staged(path.name, source, kind, plain, original, digest.hexdigest(), size, contract)


def _unpack(path: Path, packed: Path, plain: Path, compression: str, max_bytes: int) -> None:
    written = 0
    try:
        with _open_packed(packed, compression) as reader, plain.open("wb") as writer:
            while data := reader.read(_COPY):
                written += len(data)
                if written > max_bytes:
                    msg = f"{path}: unpacks to more than {max_bytes:,} bytes. Split it into smaller files."
                    raise InputRefusedError(msg)
                writer.write(data)
    except (EOFError, zlib.error, gzip.BadGzipFile, pa.ArrowInvalid) as error:
        msg = f"{path}: the compressed file is damaged or cut short ({type(error).__name__}). Deliver it again."
        raise InputRefusedError(msg) from error
    except OSError as error:
        if error.errno is None:  # pyarrow's way to report a broken stream
            msg = f"{path}: the compressed file is damaged or cut short. Deliver it again."
            raise InputRefusedError(msg) from error
        raise
    if written == 0:
        msg = f"{path}: the compressed file holds nothing or is cut short. Deliver it again."
        raise InputRefusedError(msg)


def _open_packed(packed: Path, compression: str) -> BinaryIO:
    if compression == ".gz":
        return gzip.open(packed, "rb")  # type: ignore[return-value]
    return pa.input_stream(str(packed), compression="zstd")  # type: ignore[no-any-return]


def archive(staged: Staged, landed_path: Path | None, home: Home, *, keep: bool) -> None:
    """After the commit: keep the original below ``archive/``, unless it is there, and take the landed file away."""
    with disk_errors(home.archive):
        folder = home.archive / staged.source
        if keep and not any(folder.glob(f"{staged.sha256[:16]}-*")):
            folder.mkdir(parents=True, exist_ok=True)
            reach("archive.keep")
            _move(staged.original, folder / f"{staged.sha256[:16]}-{staged.name}")
        if landed_path is not None:
            reach("landing.remove")
            landed_path.unlink(missing_ok=True)
    discard(staged)


def _move(file: Path, target: Path) -> None:
    """Give a file another name, also one on another disk."""
    sync_path(file)
    try:
        file.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with draft_of(target) as draft:
            shutil.copyfile(file, draft)


def discard(staged: Staged) -> None:
    """Remove a staged copy."""
    shutil.rmtree(staged.original.parent, ignore_errors=True)


def refuse(path: Path, home: Home, reason: str) -> None:
    """Keep a refused file below ``landing/.refused/`` with its reason beside it; one we cannot read stays away."""
    if not path.is_file() or path.is_symlink() or not os.access(path, os.R_OK):
        return
    with disk_errors(home.refused):
        home.refused.mkdir(parents=True, exist_ok=True)
        target = _refused_place(path, home.refused)
        write_whole(target.with_name(target.name + ".reason.txt"), reason + "\n")
        if path.is_relative_to(home.landing):
            path.replace(target)
        elif not target.exists():
            with draft_of(target) as draft:
                shutil.copyfile(path, draft)


def _refused_place(path: Path, folder: Path) -> Path:
    """A name that is free or holds the same bytes: no refused file takes the place of another."""
    target, number = folder / path.name, 1
    while target.exists() and not filecmp.cmp(path, target, shallow=False):
        number += 1
        target = folder / f"{number}-{path.name}"
    return target


def require_format(name: str, known: Iterable[str]) -> None:
    """Raise UsageError naming the formats there are."""
    known = sorted(known)
    if name not in known:
        msg = f"--format {name}: there is no such format. Known: {', '.join(known)}."
        raise UsageError(msg)
