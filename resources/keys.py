"""The pseudonym key: made at the first run with mode 0600, kept apart from the lake, never logged."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from resources.disk import disk_errors, draft_in, make_folder, sync_path
from resources.errors import UsageError
from resources.failpoints import reach

KEY_BYTES = 32
KEY_VERSION = 1
_BLOCK = 64  # bytes of a SHA-256 block, RFC 2104


def load_or_create_key(path: Path) -> bytes:
    """The 32 secret bytes of ``path`` (hex on disk). Raises UsageError where the file is not a key."""
    if not path.exists():
        _create_key(path)
    if os.name == "posix" and path.stat().st_mode & 0o077:
        msg = f"{path}: the pseudonym key can be read by others. Run: chmod 600 {path}"
        raise UsageError(msg)
    try:
        key = bytes.fromhex(path.read_text("ascii").strip())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        msg = f"{path}: not a pseudonym key ({KEY_BYTES} bytes in hex). Restore it from your backup."
        raise UsageError(msg)
    return key


def _create_key(path: Path) -> None:
    """Write a fresh key whole, or, where another process was faster, leave its key alone."""
    with disk_errors(path):
        make_folder(path.parent, 0o700)
        draft = draft_in(path.parent)
        try:
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_hex(KEY_BYTES) + "\n")
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


def purpose_key(master: bytes, purpose: str) -> bytes:
    """One key per purpose, so that a session's pseudonym says nothing about a customer's."""
    return hmac.new(master, f"behavior-lakehouse/{KEY_VERSION}/{purpose}".encode(), hashlib.sha256).digest()


def hmac_pads(key: bytes) -> tuple[bytes, bytes]:
    """Inner and outer padded key of HMAC-SHA256 (RFC 2104), for engines that only know sha256."""
    block = key.ljust(_BLOCK, b"\0")
    return bytes(b ^ 0x36 for b in block), bytes(b ^ 0x5C for b in block)
