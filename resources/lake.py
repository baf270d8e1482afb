"""The lake: all Delta tables of a home."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from resources.disk import disk_errors
from resources.errors import IntegrityError
from resources.lease import Lease
from resources.lock import beside, exclusive
from resources.mirror import mirror_of
from resources.table import LakeTable, TableSpec

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from resources.settings import Home


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

    @contextmanager
    def alone(self, *, wait: bool = True) -> Iterator[None]:
        """Have the lake alone, as ``lock.exclusive``; one that is kept in a store also among machines."""
        with exclusive(self.root, wait=wait), self.leased():
            yield

    @contextmanager
    def beside(self) -> Iterator[None]:
        """Work in the lake while other processes of this machine do, as ``lock.beside``."""
        with beside(self.root), self.leased():
            yield

    def leased(self) -> AbstractContextManager[None]:
        """Keep other machines out of a lake that is kept in a store; who does so for long need not ask each time."""
        mirror = mirror_of(self.root)
        return nullcontext() if mirror is None else Lease(self.root, mirror.store).held()

    @property
    def machine(self) -> str:
        """This machine's name among those that share the lake in a store; empty where it lies here alone."""
        mirror = mirror_of(self.root)
        return "" if mirror is None else Lease(self.root, mirror.store).machine

    def recover(self) -> list[str]:
        """Make good what a crash left at the end of any table's log; others may be at work in the lake.

        Returns the torn commits taken away. Raises IntegrityError for an acknowledged commit that is damaged: any of
        an original, whose commits hold the ledger, and of other tables those that tell their files.
        """
        torn = []
        for table in self._tables():
            torn += [f"{table.spec.name}/{commit}" for commit in table.recover()]
            table.require_log()
        return torn

    def vacuum(self, grace_seconds: float) -> int:
        """Remove drafts, and data files that no version since then names; the lake must be held alone.

        A table whose log cannot be read is left as it is. Returns how many files went.
        """
        gone = 0
        for table in self._tables():
            with disk_errors(table.root), suppress(IntegrityError):
                gone += table.vacuum(grace_seconds)
        return gone

    def fetch(self) -> None:
        """Of a lake that is kept in a store have all data here."""
        for table in self._tables() if mirror_of(self.root) is not None else ():
            table.absolute(table.files())

    def strays(self) -> list[str]:
        """Data files in the store of a lake that no table names now."""
        mirror = mirror_of(self.root)
        if mirror is None:
            return []
        return mirror.strays({f"{t.spec.name}/{f.path}" for t in self._tables() for f in t.files()})

    def _tables(self) -> list[LakeTable]:
        """All tables; of those in a store a machine that has just joined has nothing yet.

        First those that are here and there: where they have different histories, none of the others may go either way.
        """
        mirror = mirror_of(self.root)
        here = {log.parent.relative_to(self.root).as_posix() for log in self.root.glob("*/*/_delta_log")}
        there = set() if mirror is None else mirror.tables()
        names = sorted(here | there, key=lambda name: (name not in here & there, name))
        return [self.table(TableSpec(name, pa.schema([]))) for name in names]

    def evict(self, most: int) -> None:
        """Of a lake that is kept in a store leave at most so many bytes of data here; it must be held alone."""
        mirror = mirror_of(self.root)
        if mirror is not None:
            mirror.evict(most)


@contextmanager
def alone(home: Home) -> Iterator[None]:
    """Nobody else runs the chain of a home or writes to its lake; whoever does is waited for."""
    with exclusive(home.dagster), Lake(home.lake).alone():
        yield
