"""A table's rows as two files that say the same: CSV for people and spreadsheets, JSON lines for programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from exports.spreadsheets import harmless
from resources.disk import make_folder
from resources.errors import UsageError
from resources.keys import open_private

_EXACT = 2**53  # beyond it programs that know floating numbers only would change an integer


def require_place(out: Path, home: Path) -> Path:
    """A folder that only its owner may read, empty. Raises UsageError where it is not, or lies in the home."""
    place = out.expanduser().resolve()
    if place.is_relative_to(home.resolve()):
        msg = f"--out {out}: lies in the home. Name a folder outside: what is told to a person is not kept there."
        raise UsageError(msg)
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        msg = f"--out {out}: is not empty. Name a folder that is empty or not there yet, so that nothing is mixed."
        raise UsageError(msg)
    make_folder(place, 0o700)
    place.chmod(0o700)
    return place


def write_rows(folder: Path, name: str, columns: list[str], batches: Iterable[list[dict[str, Any]]]) -> list[str]:
    """Write ``<name>.csv`` and ``<name>.jsonl``; their names."""
    with open_private(folder / f"{name}.csv") as table, open_private(folder / f"{name}.jsonl") as lines:
        text = io.TextIOWrapper(table, "utf-8", newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        for rows in batches:
            for row in rows:
                values = {c: plain(row.get(c)) for c in columns}
                writer.writerow([cell(v) for v in values.values()])
                lines.write(json.dumps(values, ensure_ascii=False).encode() + b"\n")
        text.flush()
    return [f"{name}.csv", f"{name}.jsonl"]


def write_text(folder: Path, name: str, text: str) -> None:
    """A file that only its owner may read."""
    with open_private(folder / name) as file:
        file.write(text.encode())


def plain(value: Any) -> Any:
    """A value as JSON has it: money and long keys as text, which keeps every digit; times as ISO 8601."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, Decimal) or (isinstance(value, int) and abs(value) > _EXACT):
        return str(value)
    return value.isoformat() if isinstance(value, date) else value


def cell(value: Any) -> str:
    """A JSON value as a cell that no spreadsheet takes for a formula; empty where nothing is known."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return harmless(value) if isinstance(value, str) and not _is_number(value) else str(value)


def _is_number(text: str) -> bool:
    """Digits, perhaps below zero: money and keys are not to get an apostrophe."""
    digits = text.removeprefix("-").replace(".", "", 1)
    return digits.isascii() and digits.isdigit()
