"""What a scan found: where, and never what."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

UNREAD = "unread"


@dataclass(frozen=True)
class Find:
    """A needle at a place, named by its number only.

    ``path`` is relative to the home; ids in it are replaced. ``place`` says where inside ("column user_id",
    "zip member 2 > gzip"), ``how`` in which spelling, ``times`` how often it was seen there (repeats that a file keeps
    once count once). ``unread``: nothing was found, but the place could not be looked into, so nothing is proven.
    """

    path: Path
    place: str
    how: str
    needle: str = ""
    times: int = 1

    @property
    def unread(self) -> bool:
        """Whether this tells of a place that could not be looked into."""
        return self.how == UNREAD

    def __str__(self) -> str:
        what = f"{self.needle} ({self.how}, {self.times}x)" if self.needle else self.how
        return f"{self.path}: {self.place}: {what}"


class Notes:
    """Collects what one file gives: one entry for a place and needle, with the plainest spelling."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], tuple[str, int]] = {}

    def found(self, place: str, needle: str, how: str, times: int = 1) -> None:
        """A needle at a place."""
        first, before = self._seen.get((place, needle), (how, 0))
        self._seen[place, needle] = (first, before + times)

    def unread(self, place: str, why: str) -> None:
        """A place that could not be looked into. ``why`` must not hold anything of its content."""
        self._seen[f"{place}: {why}" if place else why, ""] = (UNREAD, 1)

    def finds(self, path: Path) -> list[Find]:
        """What was noted, under a name of the file."""
        return [Find(path, place, how, needle, times) for (place, needle), (how, times) in self._seen.items()]
