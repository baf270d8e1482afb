"""File names that anybody may have chosen: as they are shown, as they fit on a disk, and as a run's configuration."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote_to_bytes

MOST_BYTES = 255  # of a file's name, nearly everywhere
_TAIL = 40  # bytes of a cut name's end: it tells the kind
_URI = "file://"


def shown(text: object) -> str:
    """A name or a message in one line of a log or a terminal: what cannot be printed is spelled out.

    Line breaks, escape sequences, marks that turn the writing round, and bytes that are no UTF-8.
    """
    raw = str(text)
    return raw if raw.isprintable() else "".join(c if c.isprintable() else _spelled(c) for c in raw)


def _spelled(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # how Python carries a byte that is no text
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def fitting(name: str, room: int = 0) -> str:
    """A shown name, cut in its middle where no file system would take one so long; ``room`` bytes are left free."""
    raw, most = name.encode(), MOST_BYTES - room
    if len(raw) <= most:
        return name
    return raw[: most - _TAIL - 3].decode(errors="ignore") + "..." + raw[-_TAIL:].decode(errors="ignore")


def placed(path: Path) -> Path:
    """An absolute path without links on the way; whether the file itself is one is left to be seen."""
    return path.parent.resolve() / path.name


def to_config(path: Path) -> str:
    """A path as Dagster can note it: a name that is no UTF-8 goes as a URI."""
    text = str(path)
    try:
        text.encode()
    except UnicodeEncodeError:
        return path.absolute().as_uri()
    return text


def from_config(text: str) -> Path:
    """What ``to_config`` was given."""
    return Path(os.fsdecode(unquote_to_bytes(text.removeprefix(_URI)))) if text.startswith(_URI) else Path(text)
