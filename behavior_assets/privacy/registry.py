"""The registry of personal data: what every asset holds of persons, whose it is, how long it stays, how it goes.

Erasure, export, retention, the scanner and the data map of ``docs/privacy.md`` walk over it, and the asset graph does
not load while an asset is missing here: a new table is covered by being declared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from behavior_assets.incremental import content, content_now
from resources.parquet import DataFile


class Kind(StrEnum):
    """What a column tells of a person."""

    identifier = "raw identifier"
    text = "text that may name a person"
    raw = "record as delivered"
    circumstance = "circumstance (place, device, time of one event)"
    pseudonym = "keyed pseudonym"
    surrogate = "key made from a pseudonym"
    derived = "figure about one person"


class Subject(StrEnum):
    """By which ids a table tells whose a row is."""

    raw = "raw ids"  # user_id, client_id, session_id
    record = "ids inside the delivered record"
    customer = "customer_key"
    visit = "chain_key"
    session = "session_key"
    nobody = "-"  # aggregates and things of the shop


class Purge(StrEnum):
    """How rows of a person leave a table or folder."""

    filter = "rows are taken out of their files; no other row changes"
    rebuild = "made again from the tables before it"
    retrain = "marked stale, trained again or retired by a deadline"
    publish = "published again; every older copy becomes a tombstone"
    none = "holds nothing of a person"


class Layer(StrEnum):
    """Whose retention holds: the settings ``keep_<layer>_days``, of all but the last two."""

    landing = "landing"
    archive = "archive"
    bronze = "bronze"
    quarantine = "quarantine"
    silver = "silver"
    gold = "gold"
    models = "models"
    exports = "exports"
    decisions = "decisions"  # of persons: they hold for events that are still to come, and go with the person
    forever = "forever"  # nothing of a person


@dataclass(frozen=True)
class Holding:
    """What an asset holds of persons. ``columns``: personal columns and what each tells."""

    asset: str
    layer: Layer
    purge: Purge
    subject: Subject = Subject.nobody
    columns: Mapping[str, Kind] = field(default_factory=dict)
    note: str = ""

    @property
    def personal(self) -> bool:
        """Whether a person's erasure takes anything out of it."""
        return self.subject is not Subject.nobody


def _columns(**kinds: str) -> dict[str, Kind]:
    return {name: kind for kind in Kind for name in kinds.get(kind.name, "").split()}


def _of_persons(asset: str, layer: Layer, subject: Subject, **kinds: str) -> Holding:
    return Holding(asset, layer, Purge.filter, subject, _columns(**kinds))


def _rebuilt(layer: Layer, *assets: str, note: str = "") -> list[Holding]:
    return [Holding(asset, layer, Purge.rebuild, note=note) for asset in assets]


_SUMS = "sums over persons"
_SESSION_FIGURES = "events views carts removes checkouts purchases revenue"

HOLDINGS = (
    Holding("bronze/deliveries", Layer.archive, Purge.filter, Subject.record, {"original": Kind.raw},
            "the files below landing/ and archive/"),
    _of_persons(
        "bronze/events", Layer.bronze, Subject.raw, identifier="user_id client_id session_id transaction_id event_id "
        "record_id", text="url referrer search_query campaign channel", circumstance="ip user_agent country device "
        "event_ts_us", derived="consent consent_version consent_ts_us gpc "
        "payload_hash"),
    _of_persons("bronze/consents", Layer.decisions, Subject.raw, identifier="subject",
                derived="record_id state version at_us recorded_us"),
    _of_persons("quarantine/events", Layer.quarantine, Subject.record, raw="raw", text="header message column_name"),
    _of_persons(
        "silver/events", Layer.silver, Subject.customer, pseudonym="customer_id transaction_id",
        surrogate="customer_key chain_key event_key", text="url referrer search_query campaign channel",
        circumstance="country device browser event_ts_us", derived="consent "
        "consent_reason consent_version consent_ts_us"),
    _of_persons("silver/session_parts", Layer.silver, Subject.visit, surrogate="chain_key user_key any_key",
                circumstance="entry_channel entry_device entry_country last_ts_us", derived=_SESSION_FIGURES),
    _of_persons("silver/sessions", Layer.silver, Subject.visit, surrogate="session_key chain_key customer_key",
                circumstance="channel device country start_ts_us end_ts_us", derived=_SESSION_FIGURES),
    _of_persons("silver/customer_day", Layer.silver, Subject.customer, pseudonym="customer_id",
                surrogate="customer_key", circumstance="first_ts_us last_ts_us first_order_ts_us",
                derived="events orders revenue_net views carts categories"),
    _of_persons("silver/commerce_events", Layer.silver, Subject.customer, pseudonym="transaction_id",
                surrogate="event_key chain_key customer_key", circumstance="event_ts_us country",
                derived="price quantity"),
    *_rebuilt(Layer.silver, "silver/product_day", note=_SUMS),
    _of_persons("gold/dim_customer", Layer.gold, Subject.customer, pseudonym="customer_id", surrogate="customer_key",
                derived="first_seen_date last_seen_date first_order_date rfm_segment behaviour_type lifecycle"),
    _of_persons("gold/fact_session", Layer.gold, Subject.customer, surrogate="session_key customer_key",
                derived="is_new_customer duration_s " + _SESSION_FIGURES),
    _of_persons("gold/fact_sales", Layer.gold, Subject.customer, surrogate="order_key session_key customer_key",
                derived="quantity unit_price revenue_gross refund_amount revenue_net is_first_order"),
    _of_persons("gold/fact_cart_item", Layer.gold, Subject.customer, surrogate="cart_key customer_key",
                derived="quantity value status"),
    _of_persons("gold/fact_customer_month", Layer.gold, Subject.customer, surrogate="customer_key",
                derived="recency_days frequency monetary rfm_segment cluster behaviour_type lifecycle churn_risk "
                "p_alive expected_purchases expected_value"),
    _of_persons("gold/fact_session_prediction", Layer.gold, Subject.customer, surrogate="session_key customer_key",
                derived="probability decile outcome"),
    _of_persons("gold/fact_customer_prediction", Layer.gold, Subject.customer, surrogate="customer_key",
                derived="probability decile outcome"),
    *_rebuilt(Layer.gold, "gold/fact_product_day", "gold/fact_sales_forecast", note=_SUMS),
    *_rebuilt(Layer.gold, "gold/dim_product", "gold/dim_category", "gold/dim_channel", "gold/dim_device",
              "gold/dim_country", note="names that events brought"),
    *(Holding(f"gold/{name}", Layer.forever, Purge.none) for name in
      ("dim_date", "dim_hour", "dim_source", "dim_model", "model_card", "fact_data_quality", "refresh_info")),
    Holding("quality/days", Layer.forever, Purge.none, note="names of rules and days"),
    *(Holding(f"models/{name}", Layer.models, Purge.retrain, note="weights and figures, no row of a person") for name in
      ("session_purchase", "customer_purchase", "customer_value", "sales_forecast")),
    Holding("exports/snapshot", Layer.exports, Purge.publish, Subject.customer,
            {"customer_id": Kind.pseudonym, "customer_key": Kind.surrogate, "session_key": Kind.surrogate},
            "profile internal: the tables of gold, in every snapshot that is kept"),
    Holding("exports/database", Layer.exports, Purge.publish, Subject.customer,
            {"customer_id": Kind.pseudonym, "customer_key": Kind.surrogate, "session_key": Kind.surrogate},
            "the database that publish_to names, and its schemas"),
    Holding("exports/powerbi", Layer.forever, Purge.none, note="a model without rows"),
    *(Holding(f"exports/{name}", Layer.exports, Purge.rebuild, note="profile aggregate: ten persons or more")
      for name in ("report", "aggregate")),
)  # fmt: skip

def told_by(asset: str) -> Callable[[Iterable[DataFile]], str]:
    """How an asset looks at the files that it is made of: with rows of persons as they were made, with sums as is."""
    return content if registry()[asset].personal else content_now


# A column of one of these names tells of a person wherever it stands.
ALWAYS_PERSONAL = frozenset({
    "user_id", "client_id", "session_id", "customer_id", "customer_key", "session_key", "chain_key", "order_key",
    "cart_key", "event_key", "transaction_id", "ip", "user_agent", "raw", "subject",
})  # fmt: skip


class UndeclaredError(Exception):
    """An asset of which nobody has said what it holds of persons."""


def registry() -> dict[str, Holding]:
    """Every holding by its asset."""
    return {h.asset: h for h in HOLDINGS}


def require_declared(assets: Iterable[str], tables: Mapping[str, Iterable[str]]) -> None:
    """Raise UndeclaredError for an asset or table that is not declared (or not there), or a personal column of one.

    ``tables``: the columns of every table of the lake; some belong to the asset of another table.
    """
    declared, there = registry(), {*assets, *tables}
    for name in sorted(there ^ declared.keys()):
        what = "say in behavior_assets/privacy/registry.py what it holds of persons" if name in there else (
            "the registry of personal data declares it, but there is no such asset or table")  # fmt: skip
        msg = f"{name}: {what}."
        raise UndeclaredError(msg)
    for name, columns in sorted(tables.items()):
        known, told = set(columns), declared[name].columns.keys()
        if missing := sorted((known & ALWAYS_PERSONAL) - told):
            msg = f"{name}: declare {', '.join(missing)} as personal in behavior_assets/privacy/registry.py."
            raise UndeclaredError(msg)
        if unknown := sorted(told - known):
            msg = f"{name}: the registry of personal data declares {', '.join(unknown)}, but it has no such column."
            raise UndeclaredError(msg)
