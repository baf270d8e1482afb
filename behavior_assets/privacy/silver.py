"""Silver events: the canonical event with keyed pseudonyms and without anything that identifies a person."""

from __future__ import annotations

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from behavior_assets.ingestion.canonical import MONEY
from behavior_assets.privacy.text import (
    browser_family,
    clean_label,
    clean_referrer,
    clean_search,
    clean_url,
    device_family,
    looks_like_bot,
)
from resources.engine import key_event, pseudonym_customer, pseudonym_session, pseudonym_transaction, surrogate_key
from resources.lake import TableSpec

VERSION = "silver-1"

SILVER_EVENTS = TableSpec(
    "silver/events",
    pa.schema([
        ("event_key", pa.int64()), ("event_ts_us", pa.int64()), ("event_date", pa.date32()),
        ("event_hour", pa.int32()), ("event_name", pa.string()),
        ("chain_key", pa.int64()), ("customer_key", pa.int64()), ("customer_id", pa.string()),
        ("is_user", pa.bool_()),
        ("product_id", pa.string()), ("product_name", pa.string()),
        ("category_id", pa.string()), ("category_path", pa.string()), ("brand", pa.string()),
        ("price", MONEY), ("quantity", pa.int64()), ("currency", pa.string()),
        ("transaction_id", pa.string()), ("transaction_line", pa.int64()), ("line_type", pa.string()),
        ("is_record", pa.bool_()),
        ("channel", pa.string()), ("campaign", pa.string()), ("device", pa.string()), ("browser", pa.string()),
        ("country", pa.string()), ("url", pa.string()), ("referrer", pa.string()), ("search_query", pa.string()),
        ("consent", pa.string()), ("is_bot", pa.bool_()), ("sent_ts_us", pa.int64()), ("source", pa.string()),
    ]),
    by_day=True,
    undictionaried=frozenset({"event_key", "event_ts_us"}),
)  # fmt: skip


# Silver columns that exist only where bronze has a column they are made from.
MADE_FROM = {
    "url": {"url"}, "referrer": {"referrer"}, "search_query": {"search_query"}, "campaign": {"campaign"},
    "channel": {"channel"}, "country": {"country"}, "browser": {"user_agent"}, "device": {"device", "user_agent"},
    "sent_ts_us": {"sent_ts_us"}, "product_name": {"product_name"}, "currency": {"currency"},
    "transaction_line": {"transaction_line"}, "category_path": {"category_path"},
}  # fmt: skip


def silver_version(consent_when_absent: str) -> str:
    """What a silver day is made by, for its fingerprint: the rule, and the setting that its rows show."""
    return f"{VERSION}/{consent_when_absent}"


def filled_columns(bronze: ir.Table) -> set[str]:
    """Optional bronze columns that hold any value: a source without URLs need not have them cleaned."""
    names = sorted({n for needed in MADE_FROM.values() for n in needed})
    counts = bronze.agg(**{n: bronze[n].count() for n in names}).to_pyarrow().to_pylist()[0]
    return {n for n in names if counts[n]}


def silver_events(bronze: ir.Table, *, consent_when_absent: str, filled: set[str] | None = None) -> ir.Table:
    """Bronze events of some days as silver.

    Customers, sessions and transactions become HMAC-SHA256 pseudonyms, computed once per distinct value. Of rows
    that share an id but not a payload the smallest payload hash is kept (``has_conflicts`` False skips the search).
    """
    events = _without_conflicts(bronze)
    events = events.mutate(
        raw_customer=ibis.coalesce(events.user_id, events.client_id),
        raw_chain=_chain(events),
        raw_transaction=events.source + "|" + events.transaction_id,
    )
    customers = events.filter(events.raw_customer.notnull()).select("raw_customer").distinct()
    customers = customers.mutate(customer_id=pseudonym_customer(customers.raw_customer))
    customers = customers.mutate(customer_key=surrogate_key("dim_customer", customers.customer_id))
    chains = events.select("raw_chain").distinct()
    chains = chains.mutate(chain_key=surrogate_key("chain", pseudonym_session(chains.raw_chain)))
    joined = events.left_join(customers, "raw_customer").drop("raw_customer_right")
    joined = joined.inner_join(chains, "raw_chain")
    agent = joined.user_agent
    absent = ibis.literal(consent_when_absent)
    return joined.mutate(
        event_key=key_event(joined.event_id),
        is_user=joined.user_id.notnull(),
        transaction_id=pseudonym_transaction(joined.raw_transaction),
        device=ibis.coalesce(joined.device.lower(), device_family(agent)),
        browser=browser_family(agent),
        url=clean_url(joined.url),
        referrer=clean_referrer(joined.referrer),
        search_query=clean_search(joined.search_query),
        campaign=clean_label(joined.campaign),
        channel=clean_label(joined.channel),
        consent=ibis.coalesce(joined.consent, absent),
        is_bot=ibis.coalesce(joined.is_bot, False)
        | (ibis.coalesce(looks_like_bot(agent), False) if filled is None or "user_agent" in filled else False),
        is_record=ibis.coalesce(joined.transaction_line, 1) == 1,
    ).select(*(
        n for n in SILVER_EVENTS.schema.names if filled is None or n not in MADE_FROM or MADE_FROM[n] & filled
    ))  # fmt: skip


def _chain(events: ir.Table) -> ir.StringValue:
    """The natural key of a visit: source and session id with visitor, else user, client, transaction, event.

    A session id of a browser (GA4's) is unique per client, and a login in the middle of a visit must not cut it:
    so the client, where there is one, stands before the user.
    """
    visitor = ibis.coalesce(events.client_id, events.user_id, "")
    return events.source + "|" + ibis.coalesce(
        "s|" + events.session_id + "|" + visitor,
        "u|" + events.user_id,
        "c|" + events.client_id,
        "t|" + events.transaction_id,
        "e|" + events.event_id,
    )


def _without_conflicts(events: ir.Table) -> ir.Table:
    """Only rows with a payload hash (sources with ids of their own) can conflict; the others pass by."""
    hashed = events.filter(events.payload_hash.notnull()).select("source", "event_date", "event_id", "payload_hash")
    key = ["source", "event_date", "event_id"]
    least = hashed.group_by(key).agg(least=hashed.payload_hash.min(), most=hashed.payload_hash.max())
    least = least.filter(least.least != least.most)
    losers = hashed.inner_join(least, key).filter(lambda t: t.payload_hash != t.least)
    return events.anti_join(losers, [*key, "payload_hash"])
