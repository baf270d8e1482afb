"""What is known of a staged file while it is read, and how much memory that may take."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import duckdb

from behavior_assets.ingestion.landing import Staged
from behavior_assets.ingestion.records import VECTOR
from behavior_assets.ingestion.sources.base import Check, Source
from resources.errors import InputRefusedError
from resources.settings import Settings

REJECT_COST = 400  # bytes of memory that a bad row takes besides its own
_LEAST_WINDOW = 16 * 2**20
_MOST_ROWS = 131_072  # of a batch
_LONG_RECORD = 16 * 2**10  # bytes; a longer one may become many rows of the same length


@dataclass(frozen=True)
class Room:
    """Bytes that may be held at once. ``limit``: of one record; the rest are shares of the memory limit.

    ``window``: of ``VECTOR`` rows in a row, of which the engine makes several copies whatever its limit says, and of
    a batch of parsed rows; ``rejects``: of a file's bad rows; ``held``: of a file that is parsed ahead whole.
    """

    limit: int
    window: int
    rejects: int
    held: int
    total: int

    @classmethod
    def of(cls, settings: Settings) -> Room:
        """The room that a home's settings leave."""
        total = settings.memory_limit
        return cls(max(settings.max_field_bytes, 1024), max(total // 32, _LEAST_WINDOW), total // 8,
                   total // 8 // (settings.threads + 1), total)  # fmt: skip

    def require_window(self, name: str, widest: int) -> None:
        """Raise InputRefusedError where rows are so long that a handful would fill the memory."""
        if widest > self.window:
            msg = (
                f"{name}: {VECTOR:,} rows on end hold {widest // 2**20:,} MiB (unpacked), and only "
                f"{self.window // 2**20:,} can be worked on at once. Deliver shorter rows, or raise the setting "
                f"memory_limit (now {self.total // 2**20:,} MiB)."
            )
            raise InputRefusedError(msg)


@dataclass
class Reject:
    """A row that goes to quarantine; ``row`` counts from 1 after the header."""

    row: int
    failure_class: str
    column: str
    message: str
    raw: bytes = b""


@dataclass
class FileReading:
    """A staged file being read. ``rows_in`` counts logical records; ``rejects`` fills while it is read.

    ``con`` parses it; ``widest`` and ``longest`` are the bytes of the widest window of rows and of the longest one,
    ``size`` those of all. ``timezone`` is the zone that tells the rows' days.
    """

    staged: Staged
    source: Source
    rows_in: int
    con: duckdb.DuckDBPyConnection
    room: Room
    widest: int = 0
    longest: int = 0
    size: int = 0
    rejects: dict[int, Reject] = field(default_factory=dict)
    parser_rejects: list[int] = field(default_factory=list)
    relation: str = ""
    checks: tuple[Check, ...] = ()
    unterminated: bool = False
    header: str = ""
    timezone: str = "UTC"
    suppressed: set[int] = field(default_factory=set)  # records of erased persons, by number
    _weighed: tuple[int, int] = (0, 0)

    def check_first(self, *checks: Check) -> None:
        """Ask these before all other checks."""
        self.source = replace(self.source, checks=(*checks, *self.source.checks))

    def batch_rows(self) -> int:
        """Rows to be handed on at once."""
        if self.source.explode and self.longest > _LONG_RECORD:
            return VECTOR
        return max(VECTOR, min(_MOST_ROWS, self.room.window * VECTOR // max(self.widest, 1)))

    def is_small(self, most_rows: int) -> bool:
        """Whether all its rows can wait in memory."""
        repeated = bool(self.source.explode) and self.longest > _LONG_RECORD
        return self.rows_in <= most_rows and self.size + 256 * self.rows_in <= self.room.held and not repeated

    def reject_bytes(self) -> int:
        """The memory that its bad rows take."""
        if self._weighed[0] != len(self.rejects):
            self._weighed = len(self.rejects), sum(REJECT_COST + len(r.raw) for r in self.rejects.values())
        return self._weighed[1]

    def require_room(self, rows: int, size: int, row: int, message: str) -> None:
        """Raise InputRefusedError where so many bad rows of so many bytes are more than can be kept aside."""
        if rows * REJECT_COST + size > self.room.rejects:
            others = f", like {rows - 1:,} before it," if rows > 1 else ""
            msg = (
                f"{self.staged.name}: row {row:,}{others} cannot be read ({message}), and that is too much to be kept "
                "aside. Check the format name and the mapping, or raise the setting memory_limit."
            )
            raise InputRefusedError(msg)


def quoted(text: str) -> str:
    """SQL: a text."""
    return "'" + text.replace("'", "''") + "'"


def column(name: str) -> str:
    """SQL: a name."""
    return '"' + name.replace('"', '""') + '"'


def file_of(function: str, path: Path, *options: str) -> str:
    """SQL: a call that reads one file, as it is; folders like ``brand=acme`` on its way are no columns."""
    return f"{function}({', '.join((quoted(str(path)), 'hive_partitioning = false', *options))})"


def shown(name: str) -> str:
    """A column name fit for a message: data read as a header must not leak whole."""
    return repr(name[:24]) if name.replace("_", "").isalpha() else "(not a column name)"
