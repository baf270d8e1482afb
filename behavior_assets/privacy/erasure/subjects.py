"""Whose rows are whose: from the ids that somebody asks by to every id, key and row of that person.

A person is known by a user id, or, where an event has none, by a client id (DESIGN §7). Clients that only this user was
ever seen with are the user's, and so are events of theirs from before a login; events with neither are the user's where
their visit, or their order, is nobody else's. A client that several users share is nobody's.

All of it is sets in temporary tables of one connection, so a thousand persons cost little more than one:
``person``, ``client`` (id), ``visit`` and ``purchase`` (source, id of a visit or order that is theirs alone),
``gone_row`` (where a row lies and its ids), ``gone_key`` (kind, key).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

import duckdb
import ibis
import pyarrow as pa
from ibis.backends.duckdb import Backend

from behavior_assets.ingestion.canonical import BRONZE_EVENTS
from behavior_assets.ingestion.sources import FORMATS
from behavior_assets.privacy.normal import IdOf, is_within, normal_id, normal_ids
from behavior_assets.privacy.scanner.matcher import holding
from behavior_assets.privacy.scanner.needles import Grade, grade
from behavior_assets.privacy.silver import visit_ids, visits_of
from behavior_assets.privacy.suppression import token
from resources.engine import engine, key_event, surrogate_key
from resources.errors import UsageError
from resources.keys import key_versions, pseudonym, was_destroyed
from resources.lake import Lake
from resources.settings import Settings, with_zone
from resources.table import shared_views

_EVENTS = ("source", "user_id", "client_id", "session_id", "transaction_id", "event_id", "record_id", "batch_id")


_TELLING = 8  # characters; a shorter id stands in others by chance
_SOME = 100_000  # spellings that are looked at together


class IdKind(StrEnum):
    """What an id is of. ``user``: as the shop knows its customers, be it a user or a client id."""

    user = "user"
    email = "email"
    session = "session"


@dataclass(frozen=True)
class Asked:
    """An id by which a person is asked for."""

    id: str
    kind: IdKind = IdKind.user


@dataclass
class Subjects:
    """The persons of a case, as sets in the connection's temporary tables. ``backend`` needs the pseudonyms.

    Where their key was destroyed they have raw ids only: nothing else leads to them.
    """

    backend: Backend
    lake: Lake
    settings: Settings

    @property
    def con(self) -> duckdb.DuckDBPyConnection:
        """The connection that holds the sets."""
        con: duckdb.DuckDBPyConnection = self.backend.con
        return con

    def resolve(self, asked: Iterable[Asked], *, whole: bool = True) -> None:
        """Fill the sets; not ``whole``: only look who is meant.

        Raises UsageError, without the id, for a visit or a browser that several persons share.
        """
        asked = list(asked)
        wanted = {(str(a.kind), normal_id(a.id)) for a in asked}
        wanted |= {(str(a.kind), a.id) for a in asked if a.kind is IdKind.session}  # as bronze may have it
        self._table("asked", [("kind", pa.string()), ("id", pa.string())], sorted(wanted))
        bronze = self.lake.table(BRONZE_EVENTS)
        self._events(bronze.absolute(bronze.files()))
        self._persons()
        if whole:
            self._rows()
            self._keys()

    def _table(self, name: str, columns: list[tuple[str, pa.DataType]], rows: Sequence[tuple[object, ...]]) -> None:
        schema = pa.schema(columns)
        values = list(zip(*rows, strict=True)) or [()] * len(columns)
        made = pa.table([pa.array(v, t) for v, (_, t) in zip(values, columns, strict=True)], schema=schema)
        self.con.register("incoming", made)
        self.con.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS FROM incoming")
        self.con.unregister("incoming")

    def _events(self, paths: list[str]) -> None:
        """Bronze's ids, in their normal form, with where each row lies."""
        if paths:
            rows = self.backend.con.read_parquet(paths, filename=True, file_row_number=True, union_by_name=True)
            rows.create_view("bronze_rows", replace=True)
        else:
            names = ", ".join(f"NULL::VARCHAR AS {n}" for n in (*_EVENTS, "filename"))
            self.con.execute(f"CREATE OR REPLACE TEMP VIEW bronze_rows AS SELECT {names}, 0::BIGINT AS file_row_number "
                             "LIMIT 0")  # fmt: skip
        self.con.execute("""CREATE OR REPLACE TEMP TABLE spelling AS SELECT user_id AS raw FROM bronze_rows UNION
            SELECT client_id FROM bronze_rows""")
        ids = self.backend.table("spelling")
        normal = ibis.to_sql(ids.mutate(normal=normal_ids(ids.raw)), dialect="duckdb")
        # An id is nearly always spelled as it is kept: each spelling is looked at once, and few events are.
        self.con.execute(f"CREATE OR REPLACE TEMP TABLE odd AS FROM ({normal}) WHERE normal IS DISTINCT FROM raw")
        user, client = (
            f"CASE WHEN {odd}.raw IS NULL THEN b.{name} ELSE {odd}.normal END"
            for odd, name in (("u", "user_id"), ("c", "client_id"))
        )
        joined = "LEFT JOIN odd u ON b.user_id = u.raw LEFT JOIN odd c ON b.client_id = c.raw"
        if not self.con.execute("SELECT count(*) FROM odd").fetchall()[0][0]:
            user, client, joined = "b.user_id", "b.client_id", ""
        self.con.execute(f"""CREATE OR REPLACE TEMP VIEW event AS SELECT b.*, {user} AS "user", {client} AS client
            FROM bronze_rows b {joined}""")

    def _persons(self) -> None:
        run = self.con.execute
        run("""CREATE OR REPLACE TEMP TABLE named AS SELECT DISTINCT a.id, e.source, e.user, e.client FROM event e
               JOIN asked a ON a.kind = 'session' AND (e.session_id = a.id OR trim(e.session_id) = a.id)""")
        run("""CREATE OR REPLACE TEMP TABLE told AS SELECT DISTINCT id FROM asked WHERE kind <> 'session'""")
        # Whose browsers they are, that are asked for or were part of the visits.
        run("""CREATE OR REPLACE TEMP TABLE owner AS
               SELECT client, min("user") AS "user", count(DISTINCT "user") AS users FROM event
               WHERE "user" IS NOT NULL AND client IN (SELECT id FROM told UNION SELECT client FROM named)
               GROUP BY client""")
        self._require_one("session", """SELECT count(DISTINCT coalesce(n."user", o."user", n.client)) FROM named n
            LEFT JOIN owner o ON n.client = o.client AND o.users = 1 GROUP BY n.id, n.source""")
        self._require_one("user", """SELECT users FROM owner WHERE client IN (SELECT id FROM told)
            AND client NOT IN (SELECT "user" FROM event WHERE "user" IN (SELECT id FROM told))""")
        run("""CREATE OR REPLACE TEMP TABLE person AS FROM told UNION
               SELECT "user" FROM named WHERE "user" IS NOT NULL UNION SELECT "user" FROM owner WHERE users = 1""")
        self._spoilt()
        run("""CREATE OR REPLACE TEMP TABLE met AS SELECT DISTINCT client AS id FROM event
               WHERE client IS NOT NULL AND "user" IN (SELECT id FROM person)""")
        run("""DELETE FROM met WHERE id IN (SELECT client FROM event WHERE "user" IS NOT NULL
               AND client IN (SELECT id FROM met) AND "user" NOT IN (SELECT id FROM person))""")
        run("""CREATE OR REPLACE TEMP TABLE client AS SELECT id FROM met UNION SELECT id FROM person UNION
               SELECT client FROM named WHERE "user" IS NULL AND client IS NOT NULL""")

    def _require_one(self, kind: str, sql: str) -> None:
        """Raise UsageError where one of the counts of persons is more than one."""
        many = [n for (n,) in self.con.execute(sql).fetchall() if n > 1]
        if many:
            what = "session" if kind == "session" else "browser"
            msg = (
                f"--id-kind {kind}: {len(many)} of the ids is a {what}'s that {max(many)} persons share. Ask by the "
                "login (--id-kind user) of the one that is meant."
            )
            raise UsageError(msg)

    def _spoilt(self) -> None:
        """Add ids that hold an id of theirs between other characters: what a broken page made of it is still theirs."""
        told = [i for (i,) in self.con.execute(f"SELECT id FROM person WHERE length(id) >= {_TELLING}").fetchall()]
        spelt = self.con.execute("SELECT raw FROM spelling WHERE raw IS NOT NULL ORDER BY raw")
        theirs = set()
        while told and (some := [raw for (raw,) in spelt.fetchmany(_SOME)]):
            theirs |= {(normal_id(raw),) for raw, i in holding(told, some) if i in raw != i and is_within(i, raw)}
        self._table("spoilt", [("id", pa.string())], sorted(theirs))
        self.con.execute("INSERT INTO person FROM spoilt EXCEPT FROM person")

    def _rows(self) -> None:
        """Passes over the events: by the persons' own ids, by the visits that these were part of, by the orders."""
        run = self.con.execute
        columns = ", ".join(("filename", "file_row_number", *_EVENTS, '"user"', "client"))
        mine = """("user" IN (SELECT id FROM person)
                   OR ("user" IS NULL AND client IN (SELECT id FROM client)))"""
        run(f"CREATE OR REPLACE TEMP TABLE gone_row AS SELECT {columns} FROM event WHERE {mine}")
        run("""CREATE OR REPLACE TEMP TABLE visit AS SELECT DISTINCT source, session_id AS id FROM gone_row
               WHERE session_id IS NOT NULL UNION
               SELECT source, id FROM named WHERE "user" IS NULL AND client IS NULL""")
        run(f"""CREATE OR REPLACE TEMP TABLE beside AS
                SELECT {columns}, coalesce("user", client) IS NULL AS nobody FROM event
                WHERE session_id IN (SELECT id FROM visit) AND NOT coalesce({mine}, false)""")
        run("""DELETE FROM visit WHERE (source, id) IN (SELECT (source, session_id) FROM beside WHERE NOT nobody)""")
        run(f"""INSERT INTO gone_row SELECT {columns} FROM beside
                WHERE nobody AND (source, session_id) IN (SELECT (source, id) FROM visit)""")
        run("""CREATE OR REPLACE TEMP TABLE purchase AS SELECT DISTINCT source, transaction_id AS id FROM gone_row
               WHERE transaction_id IS NOT NULL""")
        run(f"""CREATE OR REPLACE TEMP TABLE beside AS
                SELECT {columns}, coalesce("user", client) IS NULL AS nobody FROM event
                WHERE transaction_id IN (SELECT id FROM purchase) AND NOT coalesce({mine}, false)""")
        run("""DELETE FROM purchase WHERE (source, id) IN
               (SELECT (source, transaction_id) FROM beside WHERE NOT nobody)""")
        run(f"""INSERT INTO gone_row SELECT {columns} FROM beside ANTI JOIN gone_row USING (filename, file_row_number)
                WHERE nobody AND (source, transaction_id) IN (SELECT (source, id) FROM purchase)""")

    def _keys(self) -> None:
        """The keys under which silver and gold know them."""
        self._table("gone_key", [("kind", pa.string()), ("key", pa.int64())], [])
        ids = [i for (i,) in self.con.execute("SELECT id FROM client").fetchall()]
        orders = [f"{s}|{i}" for s, i in self.con.execute("SELECT source, id FROM purchase").fetchall()]
        for table, purpose, said in (("pseudonym", "customer", ids), ("order_pseudonym", "transaction", orders)):
            known = sorted(self._pseudonyms(purpose, said))
            self._table(table, [("pseudonym", pa.string())], [(p,) for p in known])
        if was_destroyed(self.settings):
            return
        people, rows = self.backend.table("pseudonym"), self.backend.table("gone_row")
        # With and without consent, as an event may have been before its person decided otherwise.
        nobody = {n: ibis.null("string") for n in ("user_id", "client_id")}
        as_told = (rows.mutate(denied=False), rows.mutate(denied=True, **nobody))
        found = [
            people.select(key=surrogate_key("dim_customer", people.pseudonym)).mutate(kind=ibis.literal("customer")),
            rows.select(key=key_event(rows.event_id)).mutate(kind=ibis.literal("event")),
            *(visits_of(visit_ids(r)).select(key="chain_key").mutate(kind=ibis.literal("chain")) for r in as_told),
        ]
        sql = " UNION ".join(f"({ibis.to_sql(f.select('kind', 'key'), dialect='duckdb')})" for f in found)
        self.con.execute(f"INSERT INTO gone_key {sql}")

    def _pseudonyms(self, purpose: str, ids: Sequence[str]) -> set[str]:
        """Under every version of the key."""
        versions = [] if was_destroyed(self.settings) else key_versions(self.settings)
        known = set()
        for number, version in enumerate(versions):
            made = {pseudonym(version.secret, purpose, i) for i in ids}
            known |= made
            for later in versions[number + 1 :]:  # a day that bronze had lost was re-keyed: of the former pseudonym
                made |= {pseudonym(later.secret, purpose, p) for p in made}
            known |= made
        return known

    def add_keys(self, known: Sequence[tuple[str, int]]) -> None:
        """Add keys that an earlier attempt had found, when bronze still told them."""
        self._table("known_key", [("kind", pa.string()), ("key", pa.int64())], known)
        self.con.execute("INSERT INTO gone_key FROM known_key EXCEPT FROM gone_key")

    def has_rows(self) -> bool:
        """Whether bronze holds anything of them."""
        return bool(self.con.execute("SELECT count(*) FROM gone_row").fetchall()[0][0])

    def share(self, chains: Iterable[int]) -> None:
        """Note visits that others were part of: their keys are no keys of the persons."""
        self._table("more_shared", [("key", pa.int64())], [(c,) for c in chains])
        self.con.execute("INSERT INTO shared_chain FROM more_shared EXCEPT FROM shared_chain")
        self.con.execute("DELETE FROM gone_key WHERE kind = 'chain' AND key IN (FROM shared_chain)")

    def shared_chains(self) -> set[int]:
        """Visits that others were part of."""
        return {int(k) for (k,) in self.con.execute("FROM shared_chain").fetchall()}

    def tokens(self, key: bytes) -> set[bytes]:
        """What keeps them out from now on."""
        never = self.con.execute("""SELECT id FROM asked WHERE kind = 'session'
            AND id NOT IN (SELECT id FROM named)""").fetchall()  # it may still come, from any source
        known = (
            *((IdOf.person, "", i) for (i,) in self.con.execute("SELECT id FROM client").fetchall()),
            *((IdOf.visit, s, i) for s, i in self.con.execute("SELECT source, id FROM visit").fetchall()),
            *((IdOf.order, s, i) for s, i in self.con.execute("SELECT source, id FROM purchase").fetchall()),
            *((IdOf.visit, s, i) for s in FORMATS for (i,) in never),
        )
        return {token(key, kind, i, source) for kind, source, i in known}

    def pseudonyms(self) -> set[str]:
        """Theirs, under every version of the key."""
        return {str(p) for (p,) in self.con.execute("FROM pseudonym").fetchall()}

    def texts(self) -> dict[IdOf, set[str]]:
        """Everything that they alone are called, as it was delivered, in its normal form, and as pseudonyms."""
        told = {
            IdOf.person: """SELECT id FROM client UNION SELECT user_id FROM gone_row UNION SELECT client_id
                FROM gone_row WHERE client IN (SELECT id FROM client) UNION SELECT pseudonym FROM pseudonym""",
            IdOf.visit: "SELECT id FROM visit",
            IdOf.order: "SELECT id FROM purchase UNION SELECT pseudonym FROM order_pseudonym",
        }
        found = {kind: {str(i) for (i,) in self.con.execute(sql).fetchall() if i} for kind, sql in told.items()}
        for kind, table, column in ((IdOf.visit, "visit", "session_id"), (IdOf.order, "purchase", "transaction_id")):
            found[kind] -= {i for i in self._elsewhere(table, column) if grade(i) is not Grade.anywhere}
        return found

    def _elsewhere(self, table: str, column: str) -> set[str]:
        """Numbers that another source gave to a visit or order of its own: they tell nothing of the persons."""
        if len(self.con.execute("SELECT DISTINCT source FROM event").fetchall()) == 1:
            return set()
        found = self.con.execute(f"""SELECT DISTINCT o.id FROM {table} o JOIN event e
            ON e.{column} = o.id AND e.source <> o.source""").fetchall()
        return {str(i) for (i,) in found}

    def keys(self) -> set[int]:
        """Every surrogate key of theirs."""
        return {int(k) for (k,) in self.con.execute("SELECT DISTINCT key FROM gone_key").fetchall()}


@contextmanager
def open_subjects(settings: Settings, asked: Iterable[Asked], *, whole: bool = True) -> Iterator[Subjects]:
    """The persons that are asked for, as ``resolve`` finds them; if ``whole``, the locks of the home must be held."""
    settings = with_zone(settings)
    lake = Lake(settings.home.lake)
    if whole:
        lake.recover()
    with engine(settings, pseudonyms=not was_destroyed(settings)) as backend, shared_views():
        subjects = Subjects(backend, lake, settings)
        subjects.resolve(asked, whole=whole)
        yield subjects
