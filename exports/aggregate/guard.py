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
OTHER = "other (small groups)"  # each of fewer than ten customers, or folded with such


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


def in_tens(count: int | None) -> int | None:
    """A count that cannot be subtracted from another to tell of a few."""
    return None if count is None else (count + MINIMUM // 2) // MINIMUM * MINIMUM


def note(row: Row, text: str) -> None:
    """Add a remark to a row."""
    said = row.get(NOTES)
    if text not in (said or ""):
        row[NOTES] = f"{said}; {text}" if said else text


def _persons(row: Row, guard: Guard) -> int:
    value = row[guard.persons]
    if value is not None and not isinstance(value, int):
        raise TypeError(guard.persons)
    return value or 0


def keep_members(con: duckdb.DuckDBPyConnection, people: str) -> None:
    """Make the temporary table ``kept`` (member) of those with ten customers; the rest is to be folded into OTHER.

    ``people`` is SQL that gives (member, customer_key, part, counts): a part is whatever has a published total (a
    period, a category), ``counts`` whether its customers make a member big enough. Where those folded are fewer than
    ten customers of a part, its smallest kept member is folded too: else the total less the kept would tell of them.
    """
    con.execute(f"CREATE OR REPLACE TEMP TABLE people AS SELECT DISTINCT * FROM ({people})")
    told = con.execute(
        "SELECT member, count(DISTINCT customer_key) FILTER (counts) AS customers FROM people GROUP BY 1 ORDER BY 2, 1"
    ).fetchall()
    con.execute("CREATE OR REPLACE TEMP TABLE kept (member VARCHAR)")
    if enough := [(member,) for member, customers in told if customers >= MINIMUM]:
        con.executemany("INSERT INTO kept VALUES (?)", enough)
    while more := con.execute(_TOO_FEW_FOLDED).fetchall():
        con.execute("DELETE FROM kept WHERE member IN (SELECT unnest($more))", {"more": sorted({m for (m,) in more})})


# Of each part whose folded members are together too few customers: the smallest member that is still kept.
_TOO_FEW_FOLDED = f"""
    WITH folded AS (
        SELECT part FROM people WHERE member NOT IN (FROM kept)
        GROUP BY part HAVING count(DISTINCT customer_key) < {MINIMUM}
    ), sizes AS (
        SELECT part, member, count(*) AS customers FROM people
        WHERE member IN (FROM kept) AND part IN (FROM folded) GROUP BY ALL
    )
    SELECT arg_min(member, (customers, member)) FROM sizes GROUP BY part ORDER BY 1
"""
LABEL = f"CASE WHEN member IN (SELECT member FROM kept) THEN member ELSE '{OTHER}' END"


def nearly_alike(con: duckdb.DuckDBPyConnection, table: str, one: tuple[str, Sequence[str]],
                 other: tuple[str, Sequence[str]]) -> bool:  # fmt: skip
    """Whether a member of one column and one of another are the same rows but for those of one to nine customers.

    The app is a channel, and nearly all of the device "mobile": one less the other would tell of the rest. Each column
    comes with its members that are told apart; ``table`` has ``customer_key``.
    """
    names = [f"CASE WHEN {column} IN (SELECT unnest(${n})) THEN {column} END" for n, (column, _) in
             zip(("one", "other"), (one, other), strict=True)]  # fmt: skip
    found = con.execute(f"SELECT {names[0]}, {names[1]}, list(DISTINCT customer_key) FROM {table} GROUP BY 1, 2",
                        {"one": list(one[1]), "other": list(other[1])}).fetchall()  # fmt: skip
    for a in {row[0] for row in found}:
        for b in {row[1] for row in found}:
            apart: set[int] = set()
            for of_one, of_other, customers in found:
                if (of_one == a) != (of_other == b):
                    apart.update(customers)
            if 0 < len(apart) < MINIMUM:
                return True
    return False
