"""Sessions as pure Ibis expressions: parts of a session per day, and sessions from their parts.

A *chain* is one visitor's run of events under one natural key (see ``privacy.silver``) in which no silence is longer
than the gap; it is cut again at every cap counted from its start. Day boundaries never cut. A *part* is what one day
contributes to a session; adding up parts gives the session, whatever days were worked on together.
"""

from __future__ import annotations

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from behavior_assets.expressions import DIGITS, count, is_sale, money_where
from behavior_assets.ingestion.canonical import MONEY
from resources.engine import surrogate_key
from resources.table import TableSpec

VERSION = "sessions-3"
HOUR_SLOTS = 32  # a start is kept as microseconds * 32 + hour, so that one minimum finds both

_MEASURES = [("events", pa.int64()), ("views", pa.int64()), ("carts", pa.int64()), ("removes", pa.int64()),
             ("checkouts", pa.int64()), ("purchases", pa.int64()), ("revenue", MONEY)]  # fmt: skip

SESSION_PARTS = TableSpec(
    "silver/session_parts",
    pa.schema([
        ("event_date", pa.date32()), ("chain_key", pa.int64()), ("chain_start_us", pa.int64()), ("block", pa.int64()),
        ("is_open", pa.bool_()), ("first_code", pa.int64()), ("last_ts_us", pa.int64()),
        ("user_key", pa.int64()), ("any_key", pa.int64()), ("source", pa.string()),
        ("entry_channel", pa.string()), ("entry_device", pa.string()), ("entry_country", pa.string()),
        ("is_bot", pa.bool_()), *_MEASURES,
    ]),
    by_day=True,
)  # fmt: skip

SILVER_SESSIONS = TableSpec(
    "silver/sessions",
    pa.schema([
        ("session_key", pa.int64()), ("event_date", pa.date32()), ("start_hour", pa.int32()),
        ("start_ts_us", pa.int64()), ("end_ts_us", pa.int64()), ("chain_key", pa.int64()),
        ("customer_key", pa.int64()), ("source", pa.string()), ("channel", pa.string()), ("device", pa.string()),
        ("country", pa.string()), ("is_bot", pa.bool_()), ("split_reason", pa.string()), *_MEASURES,
    ]),
    by_day=True,
    undictionaried=frozenset({"session_key", "start_ts_us", "end_ts_us", "chain_key"}),
)  # fmt: skip

_KEY = ["chain_key", "chain_start_us", "block"]


def coarse_parts(events: ir.Table) -> ir.Table:
    """What each chain key did on each day, before any cut. ``events``: silver rows of whole days."""
    return _aggregate_events(events, ["chain_key", "event_date"])


def session_parts(
    events: ir.Table, coarse: ir.Table, open_parts: ir.Table, day_ends: ir.Table, gap_us: int, cap_us: int
) -> ir.Table:
    """Parts of the sessions that the events belong to, one row per session and day.

    ``coarse``: the events' ``coarse_parts``; ``open_parts``: parts still open at the end of the day before;
    ``day_ends``: (event_date, end_us), when each shop's day ends in UTC. Most visits are shorter than the gap, so
    nothing can cut them and their coarse part is their part; only the others are looked at event by event.
    """
    spans = coarse.group_by("chain_key").agg(
        chain_start_us=(coarse.first_code // HOUR_SLOTS).min(), chain_end_us=coarse.last_ts_us.max()
    )
    long = spans.filter(spans.chain_end_us - spans.chain_start_us > min(gap_us, cap_us - 1)).select("chain_key")
    cuttable = long.union(open_parts.select("chain_key")).distinct()
    short = coarse.anti_join(cuttable, "chain_key").inner_join(spans, "chain_key")
    short = short.mutate(block=ibis.literal(0, "int64"))
    followed = _cut(events.semi_join(cuttable, "chain_key"), open_parts, gap_us, cap_us)
    columns = [*_KEY, *(c for c in coarse.columns if c not in _KEY)]
    parts = short.select(*columns).union(followed.select(*columns)).inner_join(day_ends, "event_date")
    return parts.mutate(is_open=parts.last_ts_us >= parts.end_us - gap_us).select(*SESSION_PARTS.schema.names)


def _cut(events: ir.Table, open_parts: ir.Table, gap_us: int, cap_us: int) -> ir.Table:
    """Parts by following each chain from event to event."""
    moments = events.select(
        "chain_key", "event_ts_us", "event_date", "event_hour", "event_name", "line_type", "price", "quantity",
        "customer_key", "is_user", "is_record", "source", "channel", "device", "country", "is_bot",
        known_start=ibis.null("int64"),
    )  # fmt: skip
    known = open_parts.select("chain_key", event_ts_us=open_parts.last_ts_us, known_start=open_parts.chain_start_us)
    missing = {n: ibis.null(t) for n, t in moments.schema().items() if n not in known.columns}
    moments = moments.union(known.mutate(**missing).select(*moments.columns))
    order = ibis.window(group_by="chain_key", order_by="event_ts_us")
    moments = moments.mutate(previous=moments.event_ts_us.lag().over(order))
    starts = moments.previous.isnull() | (moments.event_ts_us - moments.previous > gap_us)
    moments = moments.mutate(
        chain_start=ibis.ifelse(starts, ibis.coalesce(moments.known_start, moments.event_ts_us), ibis.null("int64"))
    )
    # A range, not rows: events of one microsecond see the same chain start whatever order an engine gives them.
    running = ibis.range_window(preceding=None, following=0, group_by="chain_key", order_by="event_ts_us")
    moments = moments.mutate(chain_start_us=moments.chain_start.max().over(running))
    moments = moments.filter(moments.known_start.isnull())  # the carried rows have done their work
    moments = moments.mutate(block=(moments.event_ts_us - moments.chain_start_us) // cap_us)
    return _aggregate_events(moments, [*_KEY, "event_date"])


def _aggregate_events(e: ir.Table, key: list[str]) -> ir.Table:
    record = e.is_record
    sale = is_sale(e)
    return e.group_by(key).agg(
        first_code=(e.event_ts_us * HOUR_SLOTS + e.event_hour).min(),
        last_ts_us=e.event_ts_us.max(),
        user_key=e.customer_key.max(where=e.is_user),
        any_key=e.customer_key.max(),
        source=e.source.min(),
        entry_channel=_entry(e.event_ts_us, e.channel),
        entry_device=_entry(e.event_ts_us, e.device),
        entry_country=_entry(e.event_ts_us, e.country),
        is_bot=e.is_bot.max(),
        events=count(record),
        views=count(e.event_name.isin(["view_item", "page_view"])),
        carts=count(e.event_name == "add_to_cart"),
        removes=count(e.event_name == "remove_from_cart"),
        checkouts=count((e.event_name == "begin_checkout") & record),
        purchases=count(sale),
        revenue=money_where(sale, e.price, e.quantity),
    )


def _entry(moment: ir.IntegerValue, value: ir.StringValue) -> ir.StringScalar:
    """The earliest known value: a minimum over (time, value), so that ties have one answer on every engine."""
    # The condition spares sources without the value the making of a text per row.
    stamped = ibis.ifelse(value.notnull(), moment.cast("string").lpad(DIGITS, "0") + value, ibis.null("string"))
    return stamped.min()


def sessions(parts: ir.Table) -> ir.Table:
    """Sessions from all of their parts; each belongs to the day of its first event."""
    several = parts.group_by(_KEY).agg(pieces=parts.count())
    several = several.filter(several.pieces > 1)
    # Few sessions see midnight: the others are their only part.
    grouped = parts.anti_join(several, _KEY).drop("is_open").union(_merged(parts.semi_join(several, _KEY)))
    start = grouped.first_code // HOUR_SLOTS
    named = grouped.mutate(
        start_ts_us=start,
        end_ts_us=grouped.last_ts_us,
        start_hour=(grouped.first_code % HOUR_SLOTS).cast("int32"),
        session_key=surrogate_key("fact_session", grouped.chain_key.cast("string") + ":" + start.cast("string")),
        customer_key=ibis.coalesce(grouped.user_key, grouped.any_key),
        channel=grouped.entry_channel.substr(DIGITS),
        device=grouped.entry_device.substr(DIGITS),
        country=grouped.entry_country.substr(DIGITS),
        split_reason=ibis.ifelse(grouped.block > 0, "24 h cap", "none"),
    )
    return named.select(*SILVER_SESSIONS.schema.names)


def _merged(parts: ir.Table) -> ir.Table:
    merged = parts.group_by(_KEY).agg(
        event_date=parts.event_date.min(),
        first_code=parts.first_code.min(),
        last_ts_us=parts.last_ts_us.max(),
        user_key=parts.user_key.max(),
        any_key=parts.any_key.max(),
        source=parts.source.min(),
        entry_channel=parts.entry_channel.min(),
        entry_device=parts.entry_device.min(),
        entry_country=parts.entry_country.min(),
        is_bot=parts.is_bot.max(),
        **{name: parts[name].sum().cast(str(parts[name].type())) for name, _ in _MEASURES},
    )
    return merged.select(*(c for c in parts.columns if c != "is_open"))
