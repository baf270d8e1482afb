"""What erasure, a person's export and the scan of a home share: every name that persons have there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import duckdb
import ibis

from behavior_assets.privacy.erasure import takeout
from behavior_assets.privacy.erasure.subjects import Subjects
from behavior_assets.privacy.normal import IdOf, is_within
from behavior_assets.privacy.registry import registry
from behavior_assets.privacy.scanner import Needles
from behavior_assets.privacy.scanner.matcher import holding
from behavior_assets.privacy.scanner.needles import Grade, grade
from behavior_assets.star.facts import order_key
from behavior_assets.tables import all_tables
from resources.lake import Lake
from resources.table import LakeTable

_SOME = 100_000  # ids that are looked at together


def tables_of(lake: Lake) -> dict[str, LakeTable]:
    """The tables of the lake that are there, by name, in the order of the data's way."""
    return {spec.name: lake.table(spec) for spec in all_tables() if lake.table(spec).exists()}


def name_keys(subjects: Subjects, tables: Mapping[str, LakeTable], shared: Iterable[int] = ()) -> list[str]:
    """Add the keys of sessions, orders and carts to the persons' keys.

    Returns the days of silver that hold visits which are not theirs alone.

    ``shared``: keys of such visits that are known already.
    """
    con = subjects.con
    events, sessions = tables.get("silver/events"), tables.get("silver/sessions")
    con.execute("CREATE OR REPLACE TEMP TABLE shared_chain (key BIGINT)")
    days = []
    if events is not None:
        days = takeout.shared_days(con, events, takeout.rows_of(con, events, registry()["silver/events"]))
    subjects.share(shared)
    _name_orders(subjects, tables)
    if sessions is not None and sessions.files():
        paths = sessions.absolute(sessions.files())
        con.read_parquet(paths, union_by_name=True).create_view("session", replace=True)
        con.execute("""INSERT INTO gone_key SELECT 'session', session_key FROM session
            WHERE chain_key IN (SELECT key FROM gone_key WHERE kind = 'chain')
               OR (customer_key IN (SELECT key FROM gone_key WHERE kind = 'customer')
                   AND chain_key NOT IN (FROM shared_chain))""")
    return days


def _name_orders(subjects: Subjects, tables: Mapping[str, LakeTable]) -> None:
    """Orders whose every line is theirs, and carts of theirs."""
    con = subjects.con
    commerce, carts = tables.get("silver/commerce_events"), tables.get("gold/fact_cart_item")
    if commerce is not None and commerce.files():
        lines = subjects.backend.read_parquet(commerce.absolute(commerce.files()), table_name="order_line")
        keyed = lines.filter(lines.line_type.notnull()).select("event_key", order_key=order_key(lines))
        mine = "event_key IN (SELECT key FROM gone_key WHERE kind = 'event')"
        con.execute(f"""CREATE OR REPLACE TEMP TABLE their_order AS SELECT order_key AS key
            FROM ({ibis.to_sql(keyed, dialect="duckdb")}) GROUP BY order_key HAVING bool_and({mine})""")
        con.execute("INSERT INTO gone_key SELECT 'order', key FROM their_order")
    if carts is not None and carts.files():
        con.read_parquet(carts.absolute(carts.files()), union_by_name=True).create_view("cart", replace=True)
        con.execute("""INSERT INTO gone_key SELECT DISTINCT 'cart', cart_key FROM cart
            WHERE customer_key IN (SELECT key FROM gone_key WHERE kind = 'customer')""")


def needles_of(
    con: duckdb.DuckDBPyConnection, texts: Mapping[IdOf, Iterable[str]], keys: Iterable[int], bronze: LakeTable
) -> Needles:
    """What to look for in a home, with what looks like it and is others'."""
    needles = Needles.by_kind(texts, keys)
    return Needles.by_kind(texts, keys, _alike(con, needles.texts, bronze))


def _alike(con: duckdb.DuckDBPyConnection, texts: frozenset[str], bronze: LakeTable) -> set[str]:
    """Ids of others in bronze that a text is but a part of (joann@ of ann@), or that only the case tells apart.

    One that names a text, like v/ann@, is a find.
    """
    if not bronze.files() or not texts:
        return set()
    con.read_parquet(bronze.absolute(bronze.files()), union_by_name=True).create_view("every_event", replace=True)
    names = ("user_id", "client_id", "session_id", "transaction_id")
    ids = con.execute(" UNION ".join(f"SELECT {n} AS id FROM every_event WHERE {n} IS NOT NULL" for n in names))
    told = [text for text in texts if grade(text) is not Grade.weak]  # those must be named anyway
    found = set()
    while some := [str(i) for (i,) in ids.fetchmany(_SOME)]:
        pairs = holding(told, some)
        found |= {i for i, text in pairs if i.lower() == text.lower() or not is_within(text, i)}
    return found - texts
