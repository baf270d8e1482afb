"""Silver events: the canonical event with keyed pseudonyms and without anything that identifies a person."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from behavior_assets.ingestion.canonical import MONEY
from behavior_assets.privacy.consent import may_deny, with_consent
from behavior_assets.privacy.normal import normal_ids
from behavior_assets.privacy.text import (
    browser_family,
    clean_label,
    clean_referrer,
    clean_search,
    clean_url,
    device_family,
    looks_like_bot,
)
from resources.engine import key_event, key_session, pseudonym_customer, pseudonym_transaction, surrogate_key
from resources.table import TableSpec

VERSION = "silver-3"

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
        ("consent", pa.string()), ("consent_reason", pa.string()), ("consent_version", pa.string()),
        ("consent_ts_us", pa.int64()), ("is_bot", pa.bool_()), ("sent_ts_us", pa.int64()), ("source", pa.string()),
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
    "consent_version": {"consent_version"}, "consent_ts_us": {"consent_ts_us"},
}  # fmt: skip


def silver_version(consent_when_absent: str, profile: str) -> str:
    """What a silver day is made by, for its fingerprint: the rule, and the settings that its rows show."""
    return f"{VERSION}/{consent_when_absent}/{profile}"


def filled_columns(bronze: ir.Table) -> set[str]:
    """Optional bronze columns that hold any value: a source without URLs need not have them cleaned."""
    names = sorted({"payload_hash", "consent", "gpc", "session_id", "user_id", "client_id"}.union(*MADE_FROM.values()))
    counts = bronze.agg(**{n: bronze[n].count() for n in names}, **{ALONE: _alone(bronze).count()})
    return {n for n, count in counts.to_pyarrow().to_pylist()[0].items() if count}


def _as_it_is(_name: str, expression: ir.Table) -> ir.Table:
    return expression


def silver_events(
    bronze: ir.Table,
    *,
    consent_when_absent: str,
    profile: str = "full",
    people: ir.Table | None = None,
    filled: set[str] | None = None,
    hold: Callable[[str, ir.Table], ir.Table] = _as_it_is,
) -> ir.Table:
    """Bronze events of some days as silver.

    Customers, visits and transactions become keyed pseudonyms, customers and visits once per distinct value. Of
    records that share an id but not a payload the smallest payload hash is kept. An event without consent has no
    customer, and its visit is told by the source's session id alone. ``people``: ``consents.governed``; ``filled``: the
    bronze columns that hold anything (``filled_columns``); ``hold`` may compute a small intermediate table once, under
    a name, so that the events themselves only stream by.
    """
    told_apart: Sequence[str] = _VISIT
    if may_deny(filled, people, consent_when_absent, profile):
        bronze = with_consent(bronze, people, consent_when_absent, profile)
    else:
        bronze = bronze.mutate(consent_reason=ibis.null("string"))
        # Comparing what is the same for all events costs as much as comparing what is not.
        told_apart = [n for n in _VISIT if n == "source" or n in (filled or ())]
    bronze = bronze.mutate(denied=bronze.consent_reason.notnull())
    events = bronze
    if filled is None or "payload_hash" in filled:
        losers = hold("losers", losing_payloads(bronze))
        events = bronze.mutate(record=record_of(bronze))
        events = events.anti_join(losers, ["source", "event_date", "record", "payload_hash"])
    events = events.mutate(alone=_alone(events))
    visits = hold("visits", visits_of(hold("visit_ids", visit_ids(bronze, told_apart))))
    joined = events.inner_join(visits, [events[n].identical_to(visits[n]) for n in told_apart])
    agent = joined.user_agent
    return joined.mutate(
        event_key=key_event(joined.event_id),
        is_user=joined.user_id.notnull(),
        transaction_id=pseudonym_transaction(joined.source + "|" + joined.transaction_id),
        device=ibis.coalesce(clean_label(joined.device.lower()), device_family(agent)),
        country=clean_label(joined.country),
        browser=browser_family(agent),
        url=clean_url(joined.url),
        referrer=clean_referrer(joined.referrer),
        search_query=clean_search(joined.search_query),
        campaign=clean_label(joined.campaign),
        channel=clean_label(joined.channel),
        consent=ibis.ifelse(joined.denied, "denied", "granted"),
        is_bot=ibis.coalesce(joined.is_bot, False)
        | (ibis.coalesce(looks_like_bot(agent), False) if filled is None or "user_agent" in filled else False),
        is_record=ibis.coalesce(joined.transaction_line, 1) == 1,
    ).select(*(
        n for n in SILVER_EVENTS.schema.names if filled is None or n not in MADE_FROM or MADE_FROM[n] & filled
    ))  # fmt: skip


# What tells visits apart; NULL is a value here like any other.
ALONE = "alone"
_VISIT = ("source", "session_id", "user_id", "client_id", ALONE, "denied")


def _alone(events: ir.Table) -> ir.StringValue:
    """What an event without session and person is told by: its transaction, else itself."""
    nameless = events.session_id.isnull() & events.user_id.isnull() & events.client_id.isnull()
    own = ibis.coalesce("t|" + events.transaction_id, "e|" + events.event_id)
    return ibis.ifelse(nameless, own, ibis.null("string"))


def visit_ids(events: ir.Table, told_apart: Sequence[str] = _VISIT) -> ir.Table:
    """The combinations of ``_VISIT`` that there are, told apart by some of them where the others do not differ."""
    ids = events.mutate(alone=_alone(events)).select(*told_apart).distinct()
    same = {"denied": ibis.literal(False)} | {n: ibis.null("string") for n in _VISIT if n != "denied"}  # noqa: FBT003
    return ids.mutate(**{n: value for n, value in same.items() if n not in told_apart}).select(*_VISIT)


def visits_of(ids: ir.Table) -> ir.Table:
    """The keys of visits and their persons, one row for each of ``visit_ids``."""
    visits = _named(ids)
    visits = visits.mutate(chain_key=key_session(_chain(visits)))
    people = visits.filter(visits.person.notnull()).select("person").distinct()
    people = people.mutate(customer_id=pseudonym_customer(people.person))
    people = people.mutate(customer_key=surrogate_key("dim_customer", people.customer_id))
    return visits.left_join(people, "person").select(*_VISIT, "chain_key", "customer_id", "customer_key")


def _named(events: ir.Table) -> ir.Table:
    """With ``user``, ``client`` and ``person``, the one of them that stands for the customer: ids in one spelling."""
    named = events.mutate(user=normal_ids(events.user_id), client=normal_ids(events.client_id))
    return named.mutate(person=ibis.coalesce(named.user, named.client))


def persons(bronze: ir.Table) -> ir.Table:
    """The persons of bronze, each once, as their pseudonyms are made of them."""
    named = _named(bronze.select("user_id", "client_id").distinct())
    return named.filter(named.person.notnull()).select("person").distinct()


def _chain(visits: ir.Table) -> ir.StringValue:
    """The natural key of a visit: source and session id with visitor, else user, client, transaction, event.

    A session id of a browser (GA4's) is unique per client, and a login in the middle of a visit must not cut it:
    so the client, where there is one, stands before the user.
    """
    visitor = ibis.coalesce(visits.client, visits.user, "")
    # A visit is wholly with consent or wholly without: else what is scored would show in what is only counted.
    return visits.source + ibis.ifelse(visits.denied, "|-|", "|") + ibis.coalesce(
        "s|" + visits.session_id + "|" + visitor,
        "u|" + visits.user,
        "c|" + visits.client,
        visits.alone,
        "?|" + ibis.coalesce(visits.user_id, visits.client_id),  # nothing but white space
    )


def record_of(events: ir.Table) -> ir.StringValue:
    """The id of the delivered record: a GA4 record with several items is several events."""
    return ibis.coalesce(events.record_id, events.event_id)


def losing_payloads(events: ir.Table) -> ir.Table:
    """Records that lose to another payload under their id; only sources with ids of their own have such."""
    key = ["source", "event_date", "record"]
    hashed = events.mutate(record=record_of(events)).filter(lambda t: t.payload_hash.notnull())
    hashed = hashed.select(*key, "payload_hash").distinct()
    least = hashed.group_by(key).agg(least=hashed.payload_hash.min(), payloads=hashed.count())
    contested = hashed.inner_join(least.filter(least.payloads > 1), key)
    return contested.filter(contested.payload_hash != contested.least).select(*key, "payload_hash")
