"""The lake: all Delta tables of a home."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pyarrow as pa

from resources.disk import disk_errors
from resources.errors import IntegrityError
from resources.table import LakeTable, TableSpec


class Lake:
    """All tables below ``<home>/lake``; of those that are kept by day only what is of ``first_day`` and later."""

    def __init__(self, root: Path, first_day: str = "") -> None:
        self.root = root
        self.first_day = first_day

    def since(self, first_day: str) -> Lake:
        """The same lake, in which nobody sees earlier days."""
        return Lake(self.root, first_day)

    def table(self, spec: TableSpec) -> LakeTable:
        """The table of a spec; it need not exist yet."""
        return LakeTable(self.root / spec.name, spec, self.first_day if spec.by_day else "")

    def recover(self) -> list[str]:
        """Make good what a crash left at the end of any table's log; others may be at work in the lake.

        Returns the torn commits taken away. Raises IntegrityError for an acknowledged commit that is damaged: any of
        an original, whose commits hold the ledger, and of other tables those that tell their files.
        """
        torn = []
        for log in sorted(self.root.glob("*/*/_delta_log")):
            name = log.parent.relative_to(self.root).as_posix()
            table = LakeTable(log.parent, TableSpec(name, pa.schema([])))
            with table.alone():
                torn += [f"{name}/{commit}" for commit in table.journal.recover()]
            table.require_log()
        return torn

    def vacuum(self, grace_seconds: float) -> int:
        """Remove drafts, and data files that no version since then names; the lake must be held alone.

        A table whose log cannot be read is left as it is. Returns how many files went.
        """
        gone = 0
        for log in sorted(self.root.glob("*/*/_delta_log")):
            name = str(log.parent.relative_to(self.root))
            with disk_errors(log.parent), suppress(IntegrityError):
                gone += LakeTable(log.parent, TableSpec(name, pa.schema([]))).vacuum(grace_seconds)
        return gone
