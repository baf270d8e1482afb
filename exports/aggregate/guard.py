"""Ten customers or nothing: figures of fewer are withheld or folded, and totals cannot give them away."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from exports.aggregate.declare import NOTES, Row, Value

if TYPE_CHECKING:
    import duckdb

MINIMUM = 10
OTHER = f"other (fewer than {MINIMUM} customers)"


@dataclass(frozen=True)
class Guard:
    """Which ``columns`` count or sum up the customers that the column ``persons`` counts.

    ``within`` names the columns that are alike in rows of which a total is published.
    """

    persons: str
    columns: tuple[str, ...]
    whose: str
    within: tuple[str, ...] = ()


def withhold(rows: Sequence[Row], guards: Iterable[Guard]) -> None:
    """Blank what fewer than ten customers stand behind, in place, with a note; counts of persons are taken out.

    Where a row is blanked, the smallest other one of its total is blanked with it: total less the rest would tell.
    """
    guards = tuple(guards)
    for guard in guards:
        groups: dict[tuple[Value, ...], list[Row]] = defaultdict(list)
        for row in rows:
            groups[tuple(row[c] for c in guard.within)].append(row)
        for group in groups.values():
            few = [r for r in group if 0 < _persons(r, guard) < MINIMUM]
            enough = [r for r in group if _persons(r, guard) >= MINIMUM]
            if few and enough:
                few.append(min(enough, key=lambda r: _persons(r, guard)))
            for row in few:
                for column in guard.columns:
                    row[column] = None
                note(row, f"fewer than {MINIMUM} {guard.whose}, here or in a row told by this one: "
                          + ", ".join(guard.columns))  # fmt: skip
    for row in rows:
        for guard in guards:
            row.pop(guard.persons, None)


def note(row: Row, text: str) -> None:
    """Add a remark to a row."""
    said = row.get(NOTES)
    row[NOTES] = f"{said}; {text}" if said else text


def _persons(row: Row, guard: Guard) -> int:
    value = row[guard.persons]
    if value is not None and not isinstance(value, int):
        raise TypeError(guard.persons)
    return value or 0


def keep_members(con: duckdb.DuckDBPyConnection, people: str, sizes: str = "customers") -> None:
    """Make the temporary table ``kept`` (member) of those with ten customers; the rest is to be folded into OTHER.

    ``people`` is SQL that gives (member, customer_key). If those folded are together fewer than ten customers, the
    smallest kept ones are folded too, until they are ten: else a total less the kept would tell of them.
    """
    con.execute(f"CREATE OR REPLACE TEMP TABLE people AS SELECT DISTINCT member, customer_key FROM ({people})")
    told = con.execute(
        f"SELECT member, count(*) AS customers FROM people GROUP BY member ORDER BY {sizes}, member"
    ).fetchall()
    kept = [member for member, customers in told if customers >= MINIMUM]
    folded = [member for member, customers in told if customers < MINIMUM]
    while folded and kept and _together(con, folded) < MINIMUM:
        folded.append(kept.pop(0))
    con.execute("CREATE OR REPLACE TEMP TABLE kept (member VARCHAR)")
    if kept:
        con.executemany("INSERT INTO kept VALUES (?)", [(m,) for m in kept])


def _together(con: duckdb.DuckDBPyConnection, members: Sequence[str]) -> int:
    found = con.execute(
        "SELECT count(DISTINCT customer_key) FROM people WHERE member IN (SELECT unnest($m))", {"m": list(members)}
    ).fetchall()
    return int(found[0][0])


LABEL = f"CASE WHEN member IN (SELECT member FROM kept) THEN member ELSE '{OTHER}' END"
