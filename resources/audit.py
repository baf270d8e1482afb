"""The audit log: who did what to personal data, and when, so written that a later change of it is seen.

``audit.jsonl`` holds an entry a line. Each carries the hash of the line before it and a signature (HMAC-SHA256 by a
key of its own); a signed head says how many entries there are. The head lies beside the log and beside the key: a log
that is cut short together with its own head is still told by the other one.
"""

from __future__ import annotations

import getpass
import hashlib
import hmac
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from resources.disk import disk_errors, draft_of, make_folder, sync_path
from resources.errors import IntegrityError
from resources.failpoints import reach
from resources.lock import exclusive

LOG, HEAD = "audit.jsonl", "audit-head.json"
_FIRST = "0" * 64  # what stands for the line before the first
_FIELDS = ("seq", "at", "actor", "action", "told", "previous")
# What an entry may tell in words: names of ours, digests, times, places in the home. Nothing that people are called.
_WORD = re.compile(r"[A-Za-z0-9_.:/+\-]{0,80}")


@dataclass(frozen=True)
class Entry:
    """A line of the log, as it stands there."""

    seq: int
    at: str
    actor: str
    action: str
    told: dict[str, Any]
    previous: str
    digest: str  # of the line


@dataclass(frozen=True)
class Verdict:
    """What became of the log. ``problems``: in words, by line; ``entries``: those that are right up to the first."""

    entries: int
    problems: tuple[str, ...]


class AuditLog:
    """The audit log of a home. ``beside``: where a second head lies, apart from the log."""

    def __init__(self, folder: Path, key: bytes, beside: Path | None = None) -> None:
        self.path = folder / LOG
        self._key = key
        self._heads = [folder / HEAD, *([beside] if beside else [])]

    def append(self, action: str, **told: float | str | list[str]) -> Entry:
        """Note an act; on disk when this returns, so that what is not noted is not done.

        Raises IntegrityError where the log is not what was written to it, ValueError for what might be personal data.
        """
        _require_plain(told)
        folder = self.path.parent
        with disk_errors(folder):
            make_folder(folder, 0o700)
            with exclusive(folder):
                lines, count = self._acknowledged()
                last = hashlib.sha256(lines[-1]).hexdigest() if lines else _FIRST
                if not lines:  # a head before the first line: else one that a crash left alone would look beheaded
                    self._write_heads(0, _FIRST)
                at = datetime.now(UTC).isoformat(timespec="milliseconds")
                fields = dict(zip(_FIELDS, (count + 1, at, _actor(), action, told, last), strict=True))
                line = _text({**fields, "mac": self._mac(fields)}).encode()
                reach("audit.append")
                with self.path.open("ab") as file:
                    file.write(line + b"\n")
                    file.flush()
                    os.fsync(file.fileno())
                sync_path(folder)
                reach("audit.head")
                self._write_heads(count + 1, hashlib.sha256(line).hexdigest())
        return _entry(line)

    def entries(self) -> Iterator[Entry]:
        """Every entry in order. Raises IntegrityError where the log is not what was written to it."""
        verdict = self.verify()
        if verdict.problems:
            raise IntegrityError(self._refusal(verdict.problems[0]))
        yield from map(_entry, self._lines())

    def verify(self) -> Verdict:
        """Whether every line is as it was written, none is missing, and none has changed its place."""
        lines, problems = self._lines(), []
        right, previous = 0, _FIRST
        for number, line in enumerate(lines, 1):
            wrong = self._wrong(number, line, previous)
            if wrong:
                problems.append(f"line {number}: {wrong}")
            elif not problems:
                right = number
            previous = hashlib.sha256(line).hexdigest()
        heads = [self._head(path) for path in self._heads if path.exists()]
        if lines and len(heads) < len(self._heads):
            problems.append("a head is gone: nobody can tell whether entries are missing at the end")
        for path, head in zip([p for p in self._heads if p.exists()], heads, strict=True):
            problems += self._against_head(path, head, lines)
        return Verdict(right, tuple(dict.fromkeys(problems)))

    def _wrong(self, number: int, line: bytes, previous: str) -> str:
        try:
            told = json.loads(line)
            entry, mac = {n: told[n] for n in _FIELDS}, told["mac"]
        except (ValueError, KeyError, TypeError):
            return "not an entry"
        if line != _text({**entry, "mac": mac}).encode() or not hmac.compare_digest(self._mac(entry), str(mac)):
            return "it was edited, or signed by another key"
        if entry["seq"] != number or entry["previous"] != previous:
            return f"entry {entry['seq']} does not follow the line before it: entries were taken out, put in or moved"
        return ""

    def _against_head(self, path: Path, head: tuple[int, str] | None, lines: list[bytes]) -> list[str]:
        if head is None:
            return [f"{path.name} beside {path.parent.name}/ was edited, or signed by another key"]
        count, digest = head
        if count > len(lines):
            return [f"{count - len(lines)} entries are missing at the end"]
        if count and hashlib.sha256(lines[count - 1]).hexdigest() != digest:
            return [f"line {count}: not the entry that the head names"]
        return []

    def _acknowledged(self) -> tuple[list[bytes], int]:
        """The lines, and how many; what a crash left half written is taken away."""
        verdict = self.verify()
        if verdict.problems:
            raise IntegrityError(self._refusal(verdict.problems[0]))
        lines = self._lines()
        whole = sum(len(line) + 1 for line in lines)
        if self.path.exists() and self.path.stat().st_size > whole:
            with self.path.open("r+b") as file:
                file.truncate(whole)
        return lines, len(lines)

    def _refusal(self, problem: str) -> str:
        return (
            f"{self.path}: the audit log is not what was written to it ({problem}). `behavior audit verify` names "
            "everything; nothing that must be noted is done before it is restored from a backup or put aside."
        )

    def _lines(self) -> list[bytes]:
        """Lines that end: what does not was never acknowledged."""
        return self.path.read_bytes().split(b"\n")[:-1] if self.path.exists() else []

    def _head(self, path: Path) -> tuple[int, str] | None:
        try:
            told = json.loads(path.read_text("utf-8"))
            head = {"count": told["count"], "last": told["last"]}
            signed = hmac.compare_digest(self._mac(head), str(told["mac"]))
        except (ValueError, KeyError, TypeError):
            return None
        return (int(head["count"]), str(head["last"])) if signed else None

    def _write_heads(self, count: int, last: str) -> None:
        head = {"count": count, "last": last}
        for path in self._heads:
            with draft_of(path) as draft:
                draft.write_text(_text({**head, "mac": self._mac(head)}), "utf-8")

    def _mac(self, told: dict[str, Any]) -> str:
        return hmac.new(self._key, _text(told).encode(), hashlib.sha256).hexdigest()


def _entry(line: bytes) -> Entry:
    told = json.loads(line)
    return Entry(**{n: told[n] for n in _FIELDS}, digest=hashlib.sha256(line).hexdigest())


def _text(told: dict[str, Any]) -> str:
    return json.dumps(told, sort_keys=True, separators=(",", ":"))


def _actor() -> str:
    """Who runs the program, as the system calls them."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid-{os.getuid()}" if hasattr(os, "getuid") else "unknown"


def _require_plain(told: dict[str, Any]) -> None:
    for name, value in told.items():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and not _WORD.fullmatch(text):
                msg = f"{name}: the audit log takes names of ours, digests and numbers only"
                raise ValueError(msg)
