"""A table's journal: which commits there were and what their bytes were, kept outside the Delta log.

A log cannot tell that its own last commit is gone, and delta-rs neither syncs a commit to disk nor notices an empty
one. So every commit is noted once it is on disk, in the format of ``sha256sum``; what is noted was acknowledged.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from resources.disk import sync_path
from resources.errors import IntegrityError
from resources.failpoints import reach
from resources.integrity import REMEDY, sha256_of

JOURNAL = "_commits.sha256"  # readers of Delta tables pass over names that begin with an underscore
ACTIONS_KEY = "behavior.actions"  # how many lines follow a commit's own account: files that come and go, markers
_LINE = re.compile(r"([0-9a-f]{64})  _delta_log/(\S+)")
_COMMIT = re.compile(r"\d{20}\.json|\d{20}\.checkpoint.*\.parquet")


def lines_of(text: str) -> dict[str, str]:
    """sha256 of commits and checkpoints by name, as a journal's text tells; a cut line was never acknowledged."""
    return {found[2]: found[1] for line in text.split("\n")[:-1] if (found := _LINE.fullmatch(line))}


def text_of(lines: Mapping[str, str]) -> str:
    """The text of a journal, or of its end; ``lines_of`` reads it."""
    return "".join(f"{sha256}  _delta_log/{name}\n" for name, sha256 in lines.items())


class Journal:
    """The journal of the table in a folder. Writing to it needs the table's lock."""

    def __init__(self, root: Path) -> None:
        self.table = f"{root.parent.name}/{root.name}"
        self.path = root / JOURNAL
        self.log = root / "_delta_log"

    def noted(self) -> dict[str, str]:
        """sha256 of every acknowledged commit and checkpoint by its name, in their order."""
        if not self.path.exists():
            return {}
        return lines_of(self.path.read_text("utf-8", "replace"))

    def present(self) -> list[str]:
        """Names of the commits and checkpoints that the log holds."""
        names = os.listdir(self.log) if self.log.is_dir() else []  # noqa: PTH208 - plain names, thousands of them
        return sorted(name for name in names if self.is_commit(name))

    @staticmethod
    def is_commit(name: str) -> bool:
        """Whether a name in the log is that of a commit or a checkpoint."""
        return _COMMIT.fullmatch(name) is not None

    def note(self) -> None:
        """Bring what the log holds to disk and acknowledge it."""
        noted = self.noted()
        fresh = [name for name in self.present() if name not in noted]
        if not fresh:
            return
        for name in fresh:
            sync_path(self.log / name)
        sync_path(self.log)
        reach("journal.note")
        whole = not self.path.exists() or self.path.read_bytes()[-1:] in {b"\n", b""}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(("" if whole else "\n") + text_of({n: self._sha256(n) for n in fresh}))
            file.flush()
            os.fsync(file.fileno())
        if len(fresh) == len(self.present()):  # the journal itself is new
            sync_path(self.path.parent)

    def recover(self) -> list[str]:
        """Make good what a crash left at the log's end, and return the names of the torn commits taken away.

        A commit that is not noted was never acknowledged: if it is whole it is noted now, else it goes, and whoever
        made it makes it again. Raises IntegrityError, with nothing changed, where the journal lacks more than a crash
        can leave out, or the last noted commit is damaged or gone.
        """
        present, noted = self.present(), self.noted()
        self.require_notes(present, noted)
        torn: list[str] = []
        tail = True
        for name in reversed([n for n in present if n not in noted]):
            whole = self.is_whole(name)
            if not name.endswith(".json"):
                if not whole or f"{name.split('.')[0]}.json" in torn:  # a checkpoint of what is gone
                    torn.append(name)
            elif tail and not whole:
                torn.append(name)
            else:
                tail = False
        for name in torn:
            reach("journal.mend")
            (self.log / name).unlink()
        if torn:
            (self.log / "_last_checkpoint").unlink(missing_ok=True)  # a hint that must not name what is gone
            sync_path(self.log)
        self._require_last(noted)
        self.note()
        return torn

    def require_whole(self, *, all_of_it: bool) -> None:
        """Raise IntegrityError for a noted commit that is damaged or gone, or a journal that does not tell enough.

        Of those that a checkpoint makes needless for reading the table only with ``all_of_it``. Needs no lock: nothing
        is changed.
        """
        present = self.present()  # before the journal: whoever commits meanwhile notes it
        noted = self.noted()
        self.require_notes(present, noted)
        checkpoint = max((n.split(".")[0] for n in noted if not n.endswith(".json")), default="")
        self._require(noted, [n for n in noted if all_of_it or n.split(".")[0] >= checkpoint])

    def require_notes(self, present: Iterable[str], noted: Mapping[str, str]) -> None:
        """Raise IntegrityError where two of the commits that are present are not noted.

        Each is noted before the next is made, so a crash leaves one without a line and never two.
        """
        unknown = [n for n in present if n.endswith(".json") and n not in noted]
        if len(unknown) > 1:
            state = f"does not tell of {unknown[0]} and {len(unknown) - 1} more" if noted else \
                "is empty" if self.path.exists() else "is missing"  # fmt: skip
            msg = (
                f"{self.table}/{JOURNAL}: the journal {state}, so nobody can tell whether the newest commits are all "
                "there and as they were. `behavior verify` names everything that is broken, `behavior verify --repair` "
                "writes the journal anew."
            )
            raise IntegrityError(msg)

    def _require_last(self, noted: Mapping[str, str]) -> None:
        self._require(noted, [n for n in noted if n.endswith(".json")][-1:])

    def _require(self, noted: Mapping[str, str], names: Iterable[str]) -> None:
        for name in names:
            if problem := self._problem(name, noted):
                msg = f"{self.table}/_delta_log/{name}: {problem}. {REMEDY}"
                raise IntegrityError(msg)

    def problems(self) -> dict[str, str]:
        """What is wrong by name: a noted commit or checkpoint that is gone or has other bytes, one that is torn."""
        noted = self.noted()
        found = {name: problem for name in noted if (problem := self._problem(name, noted))}
        return found | {name: "the commit is not whole" for name in self.present()
                        if name not in noted and not self.is_whole(name)}  # fmt: skip

    def _problem(self, name: str, noted: Mapping[str, str]) -> str:
        path = self.log / name
        if not path.exists():
            return "the commit is missing" if name.endswith(".json") else "the checkpoint is missing"
        if not path.stat().st_size:
            return "the commit is empty" if name.endswith(".json") else "the checkpoint is empty"
        return "" if self._sha256(name) == noted[name] else f"its bytes are not those that {JOURNAL} tells"

    def is_whole(self, name: str) -> bool:
        """Whether a commit that nobody vouches for has all its lines; a checkpoint can always be done without."""
        if not name.endswith(".json"):
            return (self.log / name).read_bytes()[-4:] == b"PAR1"
        try:
            actions = [json.loads(line) for line in (self.log / name).read_text("utf-8").splitlines()]
        except ValueError:
            return False
        if not all(isinstance(a, dict) for a in actions):
            return False
        kinds = {kind for a in actions for kind in a}
        if int(name.removesuffix(".json")) == 0:  # what makes a table
            return {"protocol", "metaData"} <= kinds
        told = [a["commitInfo"][ACTIONS_KEY] for a in actions if ACTIONS_KEY in a.get("commitInfo", {})]
        return "commitInfo" in kinds and all(int(count) == len(actions) - 1 for count in told)

    def _sha256(self, name: str) -> str:
        return sha256_of(self.log / name)
