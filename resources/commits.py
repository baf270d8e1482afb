"""A table's log read commit by commit: a damaged one hides no other, and can be taken away with what follows it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from resources.disk import disk_errors, draft_of
from resources.integrity import sha256_of
from resources.journal import JOURNAL, Journal, text_of
from resources.parquet import DataFile

HINT = "_delta_log/_last_checkpoint"
_DIGITS = 64
_LINE = re.compile(r"[0-9a-f]{64}  _delta_log/\S+")
_BEFORE_NAME = "  _delta_log/"
_HINT_KEYS = {"version", "size", "sizeInBytes", "numOfAddFiles"}
_WIDE = 100  # missing commits that are told one by one
_SLIPS = 2  # digits in which a damaged digest differs from the right one; digests of other bytes differ in most


@dataclass(frozen=True)
class Commit:
    """What one commit says: data files that come (bytes and rows by path) and go, its account, its markers."""

    number: int
    added: Mapping[str, tuple[int, int]]
    removed: Collection[str]
    info: Mapping[str, Any]
    markers: Mapping[str, int]


def read_commit(path: Path) -> Commit:
    """Read a commit. Raises ValueError where it is not whole."""
    added: dict[str, tuple[int, int]] = {}
    removed: set[str] = set()
    info: dict[str, Any] = {}
    markers: dict[str, int] = {}
    try:
        for line in path.read_text("utf-8").splitlines():
            action = json.loads(line)
            if add := action.get("add"):
                added[add["path"]] = int(add["size"]), int(json.loads(add["stats"])["numRecords"])
            elif "remove" in action:
                removed.add(action["remove"]["path"])
            elif "commitInfo" in action:
                info = action["commitInfo"]
            elif "txn" in action:
                markers[action["txn"]["appId"]] = int(action["txn"]["version"])
    except (KeyError, TypeError, AttributeError) as error:
        msg = f"{path.name}: not a commit of ours"
        raise ValueError(msg) from error
    return Commit(number_of(path.name), added, removed, info, markers)


def live_files(commits: Iterable[Commit]) -> list[DataFile]:
    """The data files that commits, one after the other, leave; sorted by path."""
    live: dict[str, tuple[int, int]] = {}
    for commit in commits:
        live = {p: told for p, told in live.items() if p not in commit.removed} | dict(commit.added)
    return [DataFile.parse(path, rows, size) for path, (size, rows) in sorted(live.items())]


def number_of(name: str) -> int:
    """The version that a commit or a checkpoint makes, by its name."""
    return int(name.split(".", 1)[0])


class Log:
    """The log of the table in a folder, with its journal. Nothing here needs delta-rs to make sense of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.journal = Journal(root)
        self.folder = root / "_delta_log"

    def damage(self) -> dict[str, str]:
        """What is wrong, by path in the table's folder: commits, checkpoints, the hint that names one, the journal."""
        noted, present = self.journal.noted(), self.journal.present()
        found = self.journal.problems()
        wrong = [name for name in found if self._line_is_wrong(name, noted, present)]
        found |= {name: "the commit is missing" for name in _gaps(present) if name not in noted}
        told = {f"_delta_log/{name}": found[name] for name in sorted(found.keys() - set(wrong))}
        journal = self._journal_damage(noted, present, wrong)
        if journal:
            told[JOURNAL] = journal
        hint = self._hint_damage(told)
        if hint:
            told[HINT] = hint
        return told

    def commits(self, damage: Collection[str] = ()) -> list[Commit]:
        """The commits that are whole, in order. ``damage``: names that are known not to be."""
        found = []
        for name in self.journal.present():
            if name.endswith(".json") and f"_delta_log/{name}" not in damage:
                try:
                    found.append(read_commit(self.folder / name))
                except ValueError:
                    continue
        return found

    def _line_is_wrong(self, name: str, noted: Mapping[str, str], present: Collection[str]) -> bool:
        """Whether it is the journal's line and not the commit that is damaged: the digest slips, or is another's."""
        if name not in noted:
            return False
        slip = name in present and _differing(noted[name], sha256_of(self.folder / name)) <= _SLIPS
        return slip or any(sha256_of(self.folder / other) == noted[name] for other in present if other != name)

    def _journal_damage(self, noted: Mapping[str, str], present: Collection[str], wrong: Collection[str]) -> str:
        commits = [name for name in present if name.endswith(".json")]
        if not self.journal.path.exists() or not self.journal.path.stat().st_size:
            # A table that was just made has its journal next.
            state = "is empty" if self.journal.path.exists() else "is missing"
            lost = f"the journal {state}, so nobody can tell whether the newest commits are all there"
            return lost if len(commits) > 1 else ""
        *lines, rest = self.journal.path.read_text("utf-8", "replace").split("\n")
        for number, line in enumerate(lines, 1):
            if not _LINE.fullmatch(line) and not _is_cut(line):
                return f"line {number} of the journal is damaged"
        if rest:
            how = "cut short" if _is_cut(rest) or _LINE.fullmatch(rest) else "damaged"
            return f"the last line of the journal is {how}"
        if wrong:
            return f"the journal's line about {min(wrong)} is damaged"
        # A run that was killed leaves its last commit without a line.
        unknown = [name for name in commits[:-1] if name not in noted]
        return f"the journal does not tell of {unknown[0]}" if unknown else ""

    def _hint_damage(self, damage: Collection[str]) -> str:
        path = self.root / HINT
        if not path.exists():
            return ""
        try:
            text = path.read_text("utf-8")
            told = json.loads(text)
            checkpoint = self.folder / f"{told['version']:020d}.checkpoint.parquet"
            if f"_delta_log/{checkpoint.name}" in damage:
                return ""
            table = pq.read_table(checkpoint, columns=["add"])
            right = told | {"size": table.num_rows, "sizeInBytes": checkpoint.stat().st_size,
                            "numOfAddFiles": table.num_rows - table["add"].null_count}  # fmt: skip
        except (ValueError, KeyError, TypeError, OSError, pa.ArrowException):
            return "it does not name a checkpoint that is there"
        if not text.endswith("}\n"):
            return "it is cut short"
        return "" if told == right and told.keys() == _HINT_KEYS else "it tells of another checkpoint"

    def mend(self, away: Callable[[Path], object]) -> None:
        """Put aside what the log can do without: damaged checkpoints, the hint, a damaged journal, which is made anew.

        ``away`` is called with each path. Beside a damaged commit nothing is done: a new journal would vouch for it.
        """
        damage = self.damage()
        if any(name.endswith(".json") for name in damage):
            return
        gone = [name for name in damage if name != JOURNAL]
        if JOURNAL in damage:  # nobody vouches for a checkpoint any more
            gone += [f"_delta_log/{name}" for name in self.journal.present() if not name.endswith(".json")]
        for name in dict.fromkeys(gone):
            if (self.root / name).exists():
                away(self.root / name)
        if any(name != HINT for name in gone) and (self.root / HINT).exists():
            away(self.root / HINT)
        if JOURNAL in damage or any(name != HINT for name in gone):
            self._note_anew(away)

    def cut(self, first: int, away: Callable[[Path], object]) -> None:
        """Put a commit and all after it aside, with the checkpoints that hold them. The table is then an older one.

        Newest first: who dies between leaves a log that ends earlier, and a journal that tells so.
        """
        damage = self.damage()
        for name in reversed(self.journal.present()):
            # A checkpoint can be done without, and a new journal would vouch for a damaged one.
            if number_of(name) >= first or f"_delta_log/{name}" in damage:
                away(self.folder / name)
        if (self.root / HINT).exists():
            away(self.root / HINT)
        self._note_anew(away)

    def _note_anew(self, away: Callable[[Path], object]) -> None:
        """A journal of what the log holds now, in place of the one there was."""
        told = text_of({name: sha256_of(self.folder / name) for name in self.journal.present()})
        with disk_errors(self.root), draft_of(self.journal.path) as draft:
            draft.write_text(told, "utf-8")
            if self.journal.path.exists():
                away(self.journal.path)


def _gaps(present: Iterable[str]) -> list[str]:
    """Commits that are not there though later ones are, or a checkpoint of them; of a wide gap the first ones."""
    commits = {number_of(name) for name in present if name.endswith(".json")}
    known = sorted({number_of(name) for name in present} | commits)
    missing = [n for n in known if n not in commits]
    for before, after in pairwise(known):
        missing += range(before + 1, min(after, before + 1 + _WIDE))
    return [f"{n:020d}.json" for n in sorted(missing)]


def _is_cut(line: str) -> bool:
    """Whether this is the beginning of a line without its name, as a power loss may leave it."""
    digest, rest = line[:_DIGITS], line[_DIGITS:]
    if digest.strip("0123456789abcdef"):
        return False
    return _BEFORE_NAME.startswith(rest) if len(digest) == _DIGITS else not rest


def _differing(one: str, other: str) -> int:
    return sum(a != b for a, b in zip(one, other, strict=True))
