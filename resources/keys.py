"""The secret keys: one per purpose, each a file with mode 0600 in the keys folder or an environment variable.

A key is made when it is first asked for. The pseudonym key may have several versions, a line each:
``<version>:<64 hex digits>``, then ``:<when it was made>`` where that is known; the highest version is in force. Hex
digits alone are version 1. No text of an error or a log holds any of it.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from resources.disk import disk_errors, draft_in, draft_of, make_folder, sync_path
from resources.errors import UsageError
from resources.failpoints import reach
from resources.settings import Settings

KEY_BYTES = 32
PSEUDONYM_HEX_DIGITS = 32  # 128 bits of an HMAC-SHA256
PSEUDONYM, SUPPRESSION, AUDIT = PURPOSES = ("pseudonym", "suppression", "audit")
DESTROYED = "destroyed:"  # all that stands in a key file whose every version was destroyed, and when
WHEN = "%Y%m%dT%H%M%SZ"
_SCHEME = 1  # of deriving one key from another; not the version of a key
_BLOCK = 64  # bytes of a SHA-256 block, RFC 2104
_VERSION = re.compile(r"(?:([1-9][0-9]{0,5}):)?([0-9a-fA-F]{64})(?::([0-9]{8}T[0-9]{6}Z))?")


@dataclass(frozen=True)
class KeyVersion:
    """One version of a key. ``made``: when, as ``WHEN`` writes it; empty where that is not known."""

    number: int
    secret: bytes = field(repr=False)
    made: str = ""

    @property
    def id(self) -> str:
        """What tells this key from others and gives nothing of it away."""
        return hashlib.sha256(purpose_key(self.secret, "key-id")).hexdigest()[:16]


def variable(purpose: str) -> str:
    """The environment variable that may hold a key; then no file is read or made."""
    return f"BEHAVIOR_{purpose.upper()}_KEY"


def key_path(settings: Settings, purpose: str) -> Path:
    """Where the file of a key lies."""
    return settings.key_path if purpose == PSEUDONYM else settings.key_path.parent / f"{purpose}.key"


def key_place(settings: Settings, purpose: str = PSEUDONYM) -> str:
    """Where a key is looked for, in words for a user."""
    return variable(purpose) if os.environ.get(variable(purpose)) else str(key_path(settings, purpose))


def key_versions(settings: Settings, purpose: str = PSEUDONYM) -> list[KeyVersion]:
    """The versions of a key, oldest first; none where it was not made yet, and none is made.

    Raises UsageError for what is not a key or could be read by others.
    """
    if text := os.environ.get(variable(purpose)):
        return _parsed(text, variable(purpose))
    path = key_path(settings, purpose)
    return _read(path) if path.exists() else []


def was_destroyed(settings: Settings) -> bool:
    """Whether every version of the pseudonym key was destroyed: nobody can be found under a pseudonym any more."""
    return bool(when_destroyed(settings))


def when_destroyed(settings: Settings) -> str:
    """When every version of the pseudonym key was destroyed; empty where it was not."""
    path = key_path(settings, PSEUDONYM)
    text = path.read_bytes() if path.exists() and not os.environ.get(variable(PSEUDONYM)) else b""
    said = text.decode("ascii", "replace").strip()
    return said.removeprefix(DESTROYED) if said.startswith(DESTROYED) else ""


def load_key(settings: Settings, purpose: str) -> bytes:
    """The 32 secret bytes in force for a purpose, made at the first use. Raises UsageError as ``key_versions`` does."""
    if os.environ.get(variable(purpose)):
        return key_versions(settings, purpose)[-1].secret
    return load_or_create_key(key_path(settings, purpose))


def load_or_create_key(path: Path) -> bytes:
    """The secret bytes in force of a key file."""
    if not path.exists():
        _create_key(path)
    return _read(path)[-1].secret


def _read(path: Path) -> list[KeyVersion]:
    for place, mode in ((path, "600"), (path.parent, "700")):
        if os.name == "posix" and place.stat().st_mode & 0o077:
            msg = f"{path}: the {path.stem} key can be read by others. Run: chmod {mode} {place}"
            raise UsageError(msg)
    return _parsed(path.read_bytes().decode("ascii", "replace"), str(path))


def _parsed(text: str, where: str) -> list[KeyVersion]:
    words = text.replace(",", " ").split()
    if len(words) == 1 and words[0].startswith(DESTROYED):
        msg = (
            f"{where}: every version of the key was destroyed ({words[0].removeprefix(DESTROYED)}). What was made with "
            "it leads to nobody any more and nothing can be added to it: begin a new home."
        )
        raise UsageError(msg)
    found = [_VERSION.fullmatch(word) for word in words]
    versions = [KeyVersion(int(m[1] or 1), bytes.fromhex(m[2]), m[3] or "") for m in found if m]
    if not versions or len({v.number for v in versions}) < len(words):
        what = f"{KEY_BYTES} bytes in hex, or versions of such, 2:<hex>"
        msg = f"{where}: not a key ({what}). Restore it from your backup."
        raise UsageError(msg)
    return sorted(versions, key=lambda v: v.number)


def _create_key(path: Path) -> None:
    """Write a fresh key whole, or, where another process was faster, leave its key alone."""
    with disk_errors(path):
        make_folder(path.parent, 0o700)
        draft = draft_in(path.parent)
        try:
            with open_private(draft) as file:
                file.write(secrets.token_hex(KEY_BYTES).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            reach("home.key")
            try:
                os.link(draft, path)
            except FileExistsError:
                pass
            except OSError:  # a disk without hard links
                if not path.exists():
                    draft.replace(path)
            sync_path(path.parent)
        finally:
            draft.unlink(missing_ok=True)


def next_version(versions: list[KeyVersion]) -> KeyVersion:
    """A fresh key, one version above the last."""
    return KeyVersion(versions[-1].number + 1, secrets.token_bytes(KEY_BYTES), now())


def write_versions(path: Path, versions: Iterable[KeyVersion]) -> None:
    """Put versions in place of what a key file holds; none: a note that all were destroyed.

    The file is replaced whole, and the bytes that it had are written over.
    """
    lines = [":".join(filter(None, (str(v.number), v.secret.hex(), v.made))) for v in versions]
    path = path.resolve()
    with disk_errors(path), path.open("r+b") as former:
        with draft_of(path) as draft:
            with open_private(draft) as file:
                file.write("".join(f"{line}\n" for line in lines or [DESTROYED + now()]).encode())
            reach("keys.write")
        reach("keys.wipe")
        wipe(former)


def shred(path: Path) -> None:
    """Write over a file and remove it; what a file system keeps of it elsewhere is out of reach."""
    with disk_errors(path):
        reach("keys.shred")
        with path.open("r+b") as file:
            wipe(file)
        path.unlink()
        sync_path(path.parent)


def wipe(file: BinaryIO) -> None:
    """Write over all that an open file holds."""
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    file.writelines(bytes(min(2**20, size - start)) for start in range(0, size, 2**20))
    file.flush()
    os.fsync(file.fileno())


def open_private(path: Path) -> BinaryIO:
    """A new file that only its owner may ever read."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def now() -> str:
    """This moment, as keys are marked with it."""
    return datetime.now(UTC).strftime(WHEN)


def purpose_key(master: bytes, purpose: str) -> bytes:
    """One key per purpose, so that a session's pseudonym says nothing about a customer's."""
    return hmac.new(master, f"behavior-lakehouse/{_SCHEME}/{purpose}".encode(), hashlib.sha256).digest()


def pseudonym(master: bytes, purpose: str, value: str) -> str:
    """What the engine's ``pseudonym_customer`` and ``pseudonym_transaction`` give of a text (``normal_id``'s)."""
    return hmac.digest(purpose_key(master, purpose), value.encode(), "sha256").hex()[:PSEUDONYM_HEX_DIGITS]


def hmac_pads(key: bytes) -> tuple[bytes, bytes]:
    """Inner and outer padded key of HMAC-SHA256 (RFC 2104), for engines that only know sha256."""
    block = key.ljust(_BLOCK, b"\0")
    return bytes(b ^ 0x36 for b in block), bytes(b ^ 0x5C for b in block)
