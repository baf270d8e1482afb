"""What a measure is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exports.measures.shapes import NoSource

MONEY, WHOLE, NUMBER, SHARE, CHANGE = "#,0.00", "#,0", "#,0.00", "0.0%", "+0.0%;-0.0%;0.0%"


@dataclass(frozen=True)
class Measure:
    """A figure, said twice: ``dax`` is what Power BI computes, ``sql`` what it must equal (``exports.measures.sql``).

    ``table``: the published table that it is kept with; ``folder``: its display folder; ``blank``: when it tells
    nothing, and why.
    """

    name: str
    table: str
    folder: str
    format: str
    description: str
    dax: str
    sql: str
    blank: str | NoSource = ""

    @property
    def told(self) -> str:
        """The description with what a blank means."""
        return f"{self.description} Blank {self.blank}." if self.blank else self.description
