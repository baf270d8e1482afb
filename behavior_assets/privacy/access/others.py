"""Who else there is, a person is not to be told: texts in their rows, and records as delivered, may name others."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from behavior_assets.privacy.erasure.deliveries import Deliveries
from behavior_assets.privacy.erasure.subjects import Subjects
from behavior_assets.privacy.normal import normal_id
from behavior_assets.privacy.scanner.needles import Grade, grade
from behavior_assets.privacy.suppression import Suppression, record_ids, words

_SHORTEST = 6  # of an id that is looked for inside of other texts
LEFT_OUT = "(left out: it names another person)"


@dataclass
class Others:
    """Tells ids of other persons from those of the ``subjects``, which must be resolved."""

    subjects: Subjects

    def __post_init__(self) -> None:
        """An id that the persons' own rows carry (a browser that several share) is known to them."""
        self.subjects.con.execute("""CREATE OR REPLACE TEMP TABLE own AS SELECT id FROM client UNION FROM person UNION
            SELECT unnest([user_id, client_id, session_id, transaction_id]) FROM gone_row""")
        self.own = {normal_id(str(i)) for (i,) in self.subjects.con.execute("FROM own").fetchall() if i is not None}

    def among(self, said: Collection[str]) -> set[str]:
        """Which of these words are ids of others in bronze."""
        told = sorted({w for w in said if normal_id(w) not in self.own})
        if not told:
            return set()
        con = self.subjects.con
        con.register("said", pa.table({"word": told, "normal": [normal_id(w) or w for w in told]}))
        found = con.execute("""SELECT word FROM said WHERE
            normal IN (SELECT "user" FROM event WHERE "user" IS NOT NULL) OR
            normal IN (SELECT client FROM event WHERE client IS NOT NULL) OR
            word IN (SELECT session_id FROM event WHERE session_id IS NOT NULL) OR
            word IN (SELECT transaction_id FROM event WHERE transaction_id IS NOT NULL)""").fetchall()
        con.unregister("said")
        return {str(word) for (word,) in found}

    def inside(self, names: Collection[str]) -> set[str]:
        """Which of these names of files hold an id of others anywhere: nobody can tell where an id begins there."""
        con = self.subjects.con
        con.register("said", pa.table({"name": sorted(names)}, schema=pa.schema([("name", pa.string())])))
        found = con.execute("""SELECT DISTINCT name FROM said JOIN (
            SELECT DISTINCT unnest(["user", client, session_id]) AS id FROM event
            ) ON length(id) >= ? AND contains(lower(name), lower(id))
            WHERE id NOT IN (SELECT id FROM own WHERE id IS NOT NULL)""", [_SHORTEST]).fetchall()
        con.unregister("said")
        return {str(name) for (name,) in found}

    def without(self, rows: list[dict[str, Any]], texts: Collection[str]) -> int:
        """Take cells that name others out of the columns ``texts``; how many there were."""
        cells = [(row, name, row[name]) for row in rows for name in texts if row.get(name)]
        named = self.among({w for _, _, text in cells for w in telling(str(text))})
        count = 0
        for row, name, text in cells:
            if named and not named.isdisjoint(telling(str(text))):
                row[name] = LEFT_OUT
                count += 1
        return count


def named_in(text: str) -> set[str]:
    """What in a text may be an id: its words, also without the marks and labels at their ends."""
    return {part.strip(".") for word in words(text) for part in (word, *word.split(":"))} - {""}


def telling(text: str) -> set[str]:
    """Of these what is hardly anything else: a number of few digits may be a product's, a word of letters a word."""
    return {w for w in named_in(text) if "@" in w or grade(w) is not Grade.weak}


@dataclass(frozen=True)
class Record:
    """A record in quarantine that names a person: as a row, and what it may name others by."""

    row: dict[str, Any]
    text: str
    ids: dict[str, str] | None

    @property
    def said(self) -> set[str]:
        """Words that would be ids: of a record that cannot be taken apart all, else those that hardly are else."""
        return {*self.ids.values()} | telling(self.text) if self.ids is not None else named_in(self.text)

    def is_of_another(self, own: Collection[str | None]) -> bool:
        """Whether it is of somebody else, or perhaps also of somebody whom no event tells of."""
        if self.ids is None:
            addresses = {w for w in named_in(self.text) if "@" in w}
            return "\n" in self.text.strip() or any(normal_id(a) not in own for a in addresses)
        person = self.ids.get("user_id") or self.ids.get("client_id")
        return person is not None and normal_id(person) not in own


def records_of(others: Others, deliveries: Deliveries) -> tuple[list[dict[str, Any]], int]:
    """The persons' rows of quarantine, and how many more there are that name others, too.

    Whose a record is is decided as erasure does, by tokens; no key of the home is needed for that.
    """
    key = secrets.token_bytes(32)
    mine, found = Suppression(others.subjects.tokens(key), key), []
    for file in deliveries.quarantine.files():
        for bad in deliveries.rows(file):
            if mine.record(bad.source, bad.header, bad.raw):
                text = bad.raw.decode("utf-8", "replace")
                found.append(Record(bad.row, text, record_ids(bad.source, bad.header, text)))
    named = others.among({w for record in found for w in record.said})
    kept = [r for r in found if named.isdisjoint(r.said) and not r.is_of_another(others.own)]
    return [r.row for r in kept], len(found) - len(kept)
