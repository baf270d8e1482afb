"""From a file that lies somewhere to one that is safe to read (copied, hashed, unpacked), and where it stays."""

from __future__ import annotations

import codecs
import errno
import filecmp
import gzip
import hashlib
import os
import shutil
import stat
import uuid
import zlib
from collections.abc import Container, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import pyarrow as pa

from behavior_assets.ingestion.arrivals import SYNTHETIC_MARK, irregular
from behavior_assets.ingestion.ledger import delivery_key
from behavior_assets.ingestion.names import fitting, shown
from resources.disk import disk_errors, draft_of, make_folder, sync_path, write_whole
from resources.errors import InputRefusedError, UsageError
from resources.failpoints import reach
from resources.settings import Home

KINDS = {".csv": "csv", ".txt": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl",
         ".parquet": "parquet"}  # fmt: skip
COMPRESSIONS = (".gz", ".zst")
_COPY = 4 * 2**20
_CAREFULLY = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_WIDE = ((codecs.BOM_UTF32_LE, "UTF-32"), (codecs.BOM_UTF32_BE, "UTF-32"), (codecs.BOM_UTF16_LE, "UTF-16"),
         (codecs.BOM_UTF16_BE, "UTF-16"))  # fmt: skip
REASON = ".reason.txt"


class LeftAloneError(InputRefusedError):
    """A file that is not taken and not moved either: it is being written, or gone."""


class Stamp(NamedTuple):
    """What tells whether a file is still the one that was read."""

    inode: int
    size: int
    modified_ns: int


@dataclass(frozen=True)
class Staged:
    """A private copy of an input file.

    ``path`` holds the plain bytes to parse; ``original`` the bytes as delivered, which ``sha256`` names. ``contract``
    is the source's. The same bytes under another format or mapping are another delivery: ``key`` tells them apart.
    ``name`` is fit to be shown. ``stamp`` is of the file as it was when it was copied. ``replay_of`` is the key of the
    delivery that replayed rows came with.
    """

    name: str
    source: str
    kind: str
    path: Path
    original: Path
    sha256: str
    size: int
    contract: str = ""
    stamp: Stamp | None = None
    replay_of: str = ""

    @property
    def key(self) -> str:
        """What the ledger knows the delivery by."""
        return delivery_key(self.sha256, self.source, self.contract, self.replay_of)

    def delivered_before(self, known: Container[str]) -> bool:
        """Whether a ledger of these keys has the file. An entry of an older one, without a contract, is for any."""
        return self.key in known or (not self.replay_of and delivery_key(self.sha256, self.source, "") in known)


def kind_of(path: Path) -> tuple[str, str]:
    """File kind (csv, jsonl, parquet) and compression suffix ("" if none) by the name's ending."""
    suffixes = [s.lower() for s in path.suffixes]
    compression = suffixes.pop() if suffixes and suffixes[-1] in COMPRESSIONS else ""
    kind = KINDS.get(suffixes[-1] if suffixes else "")
    if kind is None:
        endings = f"{', '.join(KINDS)}, with or without .gz or .zst"
        dot = " and must not begin with a dot" if path.name.startswith(".") else ""
        msg = f"{shown(path.name)}: not an event file; its name must end in {endings}{dot}."
        raise InputRefusedError(msg)
    return kind, compression


def is_synthetic(path: Path) -> bool:
    """Whether the simulator's mark lies beside a file or beside its folder."""
    return any((folder / SYNTHETIC_MARK).exists() for folder in list(path.resolve().parents)[:2])


def stage(path: Path, source: str, staging: Path, max_bytes: int, contract: str = "") -> Staged:
    """Copy a file under our control, hash it and unpack it. Raises InputRefusedError naming file and reason."""
    folder = staging / uuid.uuid4().hex
    original = plain = folder / "original"
    try:
        with disk_errors(staging):
            with _opened(path) as reader:
                kind, compression = kind_of(path)
                folder.mkdir(parents=True)
                reach("staging.copy")
                digest, stamp = _copy(path, reader, original)
            if compression:
                plain = folder / "plain"
                reach("staging.unpack")
                _unpack(path, original, plain, compression, max_bytes)
            if kind != "parquet":
                _require_utf8(path, plain)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Staged(shown(path.name), source, kind, plain, original, digest, stamp.size, contract, stamp)


def _opened(path: Path) -> BinaryIO:
    """A regular file, open: nothing else is opened, as a pipe would wait and a link may lead anywhere."""
    try:
        reason = irregular(path)
        if not reason:
            file = os.fdopen(os.open(path, os.O_RDONLY | _CAREFULLY), "rb")
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return file
            file.close()
            reason = "something else has taken its place."
    except FileNotFoundError as error:
        msg = f"{shown(path)}: the file is not there any more."
        raise LeftAloneError(msg) from error
    except PermissionError as error:
        msg = f"{shown(path)}: the file cannot be read (permission denied)."
        raise InputRefusedError(msg) from error
    except OSError as error:
        msg = f"{shown(path)}: the file cannot be opened ({error.strerror})."
        raise LeftAloneError(msg) from error
    msg = f"{shown(path)}: {reason}"
    raise InputRefusedError(msg)


def _copy(path: Path, reader: BinaryIO, target: Path) -> tuple[str, Stamp]:
    """Copy an open file; its sha256, and what it was. Raises where it changes under our hands or holds nothing."""
    digest, copied = hashlib.sha256(), 0
    before = _stamp(os.fstat(reader.fileno()))
    with target.open("wb") as writer:
        while data := reader.read(_COPY):
            digest.update(data)
            copied += writer.write(data)
    if _stamp(os.fstat(reader.fileno())) != before or copied != before.size:
        msg = f"{shown(path)}: it changed while it was being read, so it stays as it is. Run again when it is whole."
        raise LeftAloneError(msg)
    if copied == 0:
        msg = f"{shown(path)}: the file is empty, it has not even a header. Deliver it again."
        raise InputRefusedError(msg)
    return digest.hexdigest(), before


def _stamp(told: os.stat_result) -> Stamp:
    return Stamp(told.st_ino, told.st_size, told.st_mtime_ns)


def _require_utf8(path: Path, plain: Path) -> None:
    """Refuse a text that says of itself that it is UTF-16 or UTF-32: no row of it could be read."""
    with plain.open("rb") as file:
        first = file.read(4)
    wide = next((name for mark, name in _WIDE if first.startswith(mark)), "")
    if wide:
        msg = f"{shown(path)}: the text is {wide}. Save it as UTF-8 and deliver it again."
        raise InputRefusedError(msg)


def _unpack(path: Path, packed: Path, plain: Path, compression: str, max_bytes: int) -> None:
    written = 0
    try:
        with open_packed(packed, compression) as reader, plain.open("wb") as writer:
            while data := reader.read(_COPY):
                written += len(data)
                if written > max_bytes:
                    msg = f"{shown(path)}: unpacks to more than {max_bytes:,} bytes. Split it into smaller files."
                    raise InputRefusedError(msg)
                writer.write(data)
    except (EOFError, zlib.error, gzip.BadGzipFile, pa.ArrowInvalid) as error:
        msg = f"{shown(path)}: the compressed file is damaged or cut short ({type(error).__name__}). Deliver it again."
        raise InputRefusedError(msg) from error
    except OSError as error:
        if error.errno is None:  # pyarrow's way to report a broken stream
            msg = f"{shown(path)}: the compressed file is damaged or cut short. Deliver it again."
            raise InputRefusedError(msg) from error
        raise
    if written == 0:
        msg = f"{shown(path)}: the compressed file holds nothing or is cut short. Deliver it again."
        raise InputRefusedError(msg)


def open_packed(packed: Path, compression: str) -> BinaryIO:
    """The plain bytes of a file as a stream; ``compression`` as ``kind_of`` tells it."""
    if compression == ".gz":
        return gzip.open(packed, "rb")  # type: ignore[return-value]
    return pa.input_stream(str(packed), compression="zstd" if compression else None)  # type: ignore[no-any-return]


def archive(staged: Staged, landed_path: Path | None, home: Home, *, keep: bool) -> None:
    """After the commit: keep the original below ``archive/``, unless it is there, and take the landed file away.

    A landed file that is not what was read (it grew, or another took its name meanwhile) stays for the next run.
    """
    with disk_errors(home.archive):
        folder, prefix = home.archive / staged.source, f"{staged.sha256[:16]}-"
        if keep and not any(folder.glob(f"{prefix}*")):
            make_folder(folder)
            reach("archive.keep")
            _move(staged.original, folder / (prefix + fitting(staged.name, len(prefix))))
            sync_path(folder)  # before the landed file goes
        if landed_path is not None:
            reach("landing.remove")
            try:
                if _stamp(landed_path.lstat()) == staged.stamp:
                    landed_path.unlink()
            except FileNotFoundError:
                pass
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
            reach("archive.copy")
        file.unlink()


def discard(staged: Staged) -> None:
    """Remove a staged copy."""
    shutil.rmtree(staged.original.parent, ignore_errors=True)


def refuse(path: Path, home: Home, reason: str) -> None:
    """Keep a refused file below ``landing/.refused/`` with its reason beside it; one we cannot read stays away."""
    if not os.path.lexists(path) or irregular(path) or not os.access(path, os.R_OK):
        return
    with disk_errors(home.refused):
        make_folder(home.refused)
        target = _refused_place(path, home.refused)
        write_whole(target.with_name(target.name + REASON), shown(reason) + "\n", "landing.refuse")
        reach("landing.refused")
        if path.is_relative_to(home.landing):
            _move(path, target)
            sync_path(home.refused)
        elif not target.exists():
            with draft_of(target) as draft:
                shutil.copyfile(path, draft)


def _refused_place(path: Path, folder: Path) -> Path:
    """A name that is free or holds the same bytes: no refused file takes the place of another, or of its reason."""
    name = fitting(shown(path.name), len(REASON) + 8)
    target, number = folder / name, 1
    while _taken(target, path):
        number += 1
        target = folder / f"{number}-{name}"
    return target


def _taken(target: Path, path: Path) -> bool:
    if target.exists():
        return not filecmp.cmp(path, target, shallow=False)
    # A reason alone is what a run left that died; a refused file of that name has a reason of its own.
    reason = target.name + REASON
    return all(target.with_name(name).exists() for name in (reason, reason + REASON))


def require_format(name: str, known: Iterable[str]) -> None:
    """Raise UsageError naming the formats there are."""
    known = sorted(known)
    if name not in known:
        msg = f"--format {name}: there is no such format. Known: {', '.join(known)}."
        raise UsageError(msg)
