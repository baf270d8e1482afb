"""What every kind of database does for a publication; one subclass each says how."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from exports.contract import PublishedTable
from exports.sql.plan import Marker, Plan
from exports.sql.session import Session
from resources.errors import PublishError

if TYPE_CHECKING:
    import pyarrow as pa

Tell = Callable[[str, int], None]


class Outlet(ABC):
    """A database that is published to: tables are loaded aside, checked, and swapped in."""

    def __init__(self, session: Session, plan: Plan) -> None:
        self.session, self.plan = session, plan
        self.live, self.next, self.old = plan.schema, f"{plan.schema}_next", f"{plan.schema}_old"

    @abstractmethod
    def alone(self) -> AbstractContextManager[None]:
        """Hold the target against a second publication. Raises PublishError where another is at work."""

    @abstractmethod
    def check(self, readers: Sequence[str]) -> None:
        """Raise PublishError before anything is loaded: no right to publish, unknown readers, foreign objects."""

    @abstractmethod
    def served(self) -> Marker | None:
        """The marker of what readers see now; None where nothing is published."""

    @abstractmethod
    def counts(self, schema: str) -> dict[str, int]:
        """Rows by table."""

    @abstractmethod
    def prepare(self) -> None:
        """Empty tables aside; what a publication that died left there is removed."""

    @abstractmethod
    def load(self, table: PublishedTable, batches: Iterator[pa.RecordBatch], tell: Callable[[int], None]) -> None:
        """A table's rows, aside."""

    @abstractmethod
    def complete(self) -> None:
        """Keys, comments and the marker, aside."""

    @abstractmethod
    def grant(self, readers: Sequence[str]) -> None:
        """Let readers see what is published; those who could before keep that."""

    @abstractmethod
    def swap(self, readers: Sequence[str]) -> None:
        """Let readers see what lies aside, from one moment to the next; what they saw is put away."""

    @abstractmethod
    def sweep(self) -> list[str]:
        """Remove what was put away. Returns what could not be removed yet, with the reason."""

    def up_to_date(self) -> bool:
        """Whether readers see this very content already, in this very shape and number of rows."""
        return self.served() == self.plan.marker and self.counts(self.live) == dict(self.plan.rows)

    def refuse_foreign(self, schema: str, objects: set[str], marker: Marker | None) -> None:
        """Raise PublishError where a schema holds what no publication made."""
        foreign = sorted(objects if marker is None else objects - set(marker.tables))
        if not foreign:
            return
        shown = ", ".join(foreign[:5]) + (f" and {len(foreign) - 5} more" if len(foreign) > 5 else "")  # noqa: PLR2004
        msg = (f"schema {schema} holds what `behavior publish` did not make ({shown}), so it is not replaced. "
               "Name another --schema, or move these away.")  # fmt: skip
        raise PublishError(msg)
