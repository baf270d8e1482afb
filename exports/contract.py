"""The published star schema, declared once: every table's grain, columns, types and meaning.

Lake schemas, quality rules, column metadata in Dagster, exports and the Power BI model derive from this module.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import pyarrow as pa

from resources.table import TableSpec

UNKNOWN_KEY = -1
UNKNOWN = "(unknown)"

TYPES = {
    "key": pa.int64(),
    "int": pa.int64(),
    "money": pa.decimal128(18, 4),
    "number": pa.float64(),  # chances, and what models expect
    "text": pa.string(),
    "flag": pa.string(),  # "Yes" or "No"
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
}


@dataclass(frozen=True)
class Column:
    """A published column; ``references`` names the dimension whose key it holds."""

    name: str
    kind: str
    description: str
    references: str = ""
    nullable: bool = False


@dataclass(frozen=True)
class PublishedTable:
    """A published table: ``grain`` says what one row is, ``key`` which columns tell rows apart."""

    name: str
    grain: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]

    @property
    def spec(self) -> TableSpec:
        """The lake table behind it. Surrogate keys of facts are nearly distinct, so no dictionary is tried."""
        schema = pa.schema([pa.field(c.name, TYPES[c.kind]) for c in self.columns])
        own = [c.name for c in self.columns if c.kind == "key" and not c.references]
        wide = {name for name in own if not name.endswith("date_key")}
        return TableSpec(f"gold/{self.name}", schema, undictionaried=frozenset(wide))

    @property
    def is_fact(self) -> bool:
        """Whether rows are events or measurements rather than members."""
        return self.name.startswith("fact_")


def _columns(text: str) -> tuple[Column, ...]:
    """Columns from lines ``name kind[?] [-> dimension] : description``; ``?`` allows NULL."""
    found = []
    for line in text.strip().splitlines():
        head, description = line.strip().split(" : ", 1)
        declared, _, references = head.partition(" -> ")
        name, kind = declared.split()
        found.append(Column(name, kind.rstrip("?"), description, references.strip(), kind.endswith("?")))
    return tuple(found)


_SOURCES = """
    source_key key : Surrogate key
    source_name text : Name of the input format
    is_synthetic flag : Yes where a simulator made the data
    has_price flag : Whether the source tells prices; where No, revenue is blank
    has_sessions flag : Whether the source has session ids of its own
    has_views flag : Whether the source has browsing events
    has_cart flag : Whether the source has cart events
    has_checkout flag : Whether the source has checkout events
    has_categories flag : Whether the source has product categories
    has_channel flag : Whether the source tells the marketing channel
    has_device flag : Whether the source tells the device
    has_country flag : Whether the source tells the country
    has_refunds flag : Whether the source has refunds
    has_consent flag : Whether the source tells consent
"""

_TABLES = (
    PublishedTable("dim_date", "one calendar day", ("date_key",), _columns("""
        date_key key : Day as yyyymmdd
        date date : Calendar day in the shop's time zone
        year int : Year
        quarter int : Quarter of the year, 1 to 4
        month_number int : Month of the year, 1 to 12
        month_name text : Month's English name
        iso_week int : ISO 8601 week number
        weekday_number int : 1 is Monday, 7 is Sunday
        weekday_name text : Weekday's English name
        is_weekend flag : Yes on Saturday and Sunday
        calendar_month text : Year and month such as 2026-03
        week_start date : Monday of the day's week
    """)),
    PublishedTable("dim_hour", "one hour of the day", ("hour_key",), _columns("""
        hour_key key : Hour, 0 to 23
        hour_label text : Label such as 08:00
        day_part text : Night, Morning, Afternoon or Evening
        day_part_number int : 1 is Night, 4 is Evening
    """)),
    PublishedTable("dim_customer", "one customer (user, else client)", ("customer_key",), _columns("""
        customer_key key : Surrogate key
        customer_id text : Keyed pseudonym of the customer
        first_seen_date date? : Day of the first event
        last_seen_date date? : Day of the last event
        first_order_date date? : Day of the first order, empty before it
        rfm_segment text : Segment at the end of the newest closed month, "None yet" without an order by then
        behaviour_type text : What the customer does, by the 90 days up to the newest day of data
        lifecycle text : Where the customer stands on the newest day of data, "No order yet" without an order
    """)),
    PublishedTable("dim_product", "one version of a product", ("product_key",), _columns("""
        product_key key : Surrogate key of the version
        product_durable_key key : Surrogate key of the product over all versions
        product_id text : The shop's product number
        product_name text : Current name
        brand text : Brand in this version
        category_key key -> dim_category : Category in this version
        category_1 text : First category level in this version
        category_2 text : Second category level in this version
        category_3 text : Third category level in this version
        price_band text : Band of the last known price
        valid_from date : First day of the version
        valid_to date : Last day of the version
        is_current flag : Yes for the newest version
        price_band_number int : Order of the band, 1 for the cheapest, 0 where unknown
    """)),
    PublishedTable("dim_category", "one category", ("category_key",), _columns("""
        category_key key : Surrogate key
        category_name text : Full path, or the shop's number where it has no name
        category_1 text : First level
        category_2 text : Second level
        category_3 text : Third level
    """)),
    PublishedTable("dim_channel", "one marketing channel", ("channel_key",), _columns("""
        channel_key key : Surrogate key
        channel_name text : Channel by which a session came
    """)),
    PublishedTable("dim_device", "one device family", ("device_key",), _columns("""
        device_key key : Surrogate key
        device_name text : desktop, mobile, tablet or other
    """)),
    PublishedTable("dim_country", "one country", ("country_key",), _columns("""
        country_key key : Surrogate key
        country_name text : Country as the source names it
    """)),
    PublishedTable("dim_source", "one input format", ("source_key",), _columns(_SOURCES)),
    PublishedTable("dim_model", "one version of a model", ("model_key",), _columns("""
        model_key key : Surrogate key of the version
        model text : Name of the model
        version text : Last day of its data and the beginning of its hash; "none" where there was not enough data
        trained_at timestamp? : When it was trained, UTC
        dataset text : Sources and days that it was trained on
        state text : serving, served before, kept, refused or not enough data
        reason text : Why it was refused or could not be trained, else empty
        is_champion flag : Yes for the version that serves
    """)),
    PublishedTable("fact_session", "one session", ("session_key",), _columns("""
        session_key key : Surrogate key
        date_key key -> dim_date : Day on which the session began
        hour_key key -> dim_hour : Hour in which the session began
        customer_key key -> dim_customer : Customer
        channel_key key -> dim_channel : Channel by which the session came
        device_key key -> dim_device : Device at the session's start
        country_key key -> dim_country : Country at the session's start
        source_key key -> dim_source : Source
        is_new_customer flag : Yes on the customer's first day
        duration_s int : Seconds from the first to the last event
        events int : Events
        views int : Product and page views
        carts int : Items added to the cart
        removes int : Items removed from the cart
        checkouts int : Checkouts begun
        purchases int : Order lines bought
        revenue money? : Value of the order lines bought, empty where none has a price
        is_bounce flag : Yes with a single event
        is_engaged flag : Yes above 10 seconds, with two views or with a purchase
        has_cart flag : Yes with an item added to the cart
        has_checkout flag : Yes with a checkout begun
        has_purchase flag : Yes with an order line bought
        is_bot flag : Yes where the visitor says that it is a program
        split_reason text : "24 h cap" where a longer visit was cut, else "none"
    """)),
    PublishedTable("fact_sales", "one order line", ("order_key", "date_key", "line_number"), _columns("""
        order_key key : Surrogate key of the order
        session_key key : Session in which the line was booked
        date_key key -> dim_date : Day of the line; of a refund, the refund's day
        hour_key key -> dim_hour : Hour of the line
        customer_key key -> dim_customer : Customer
        product_key key -> dim_product : Product version valid on the day
        category_key key -> dim_category : Category of that version
        channel_key key -> dim_channel : Channel of the session
        device_key key -> dim_device : Device of the session
        country_key key -> dim_country : Country of the line, else of the session
        source_key key -> dim_source : Source
        line_number int : Number of the line inside the order and day
        line_type text : sale, refund, shipping, fee, adjustment or bad_debt
        quantity int? : Units, below 0 for returned goods
        unit_price money? : Price of a unit, empty where unknown
        revenue_gross money? : Value of sale lines
        refund_amount money? : Value of refund lines, as a positive amount
        revenue_net money? : Value of every line, refunds below 0
        is_refund flag : Yes for refund lines
        is_first_order flag : Yes for lines of the customer's first order
        order_number int : Number of the order among the day's, so that orders are counted without their keys
    """)),
    PublishedTable("fact_product_day", "one product on one day", ("date_key", "product_key"), _columns("""
        date_key key -> dim_date : Day
        product_key key -> dim_product : Product version valid on the day
        category_key key -> dim_category : Category of that version
        views int : Views of the product
        carts int : Times added to a cart
        removes int : Times removed from a cart
        purchases int : Order lines bought
        quantity int : Units bought
        revenue money? : Value of the order lines bought, empty where none has a price
    """)),
    PublishedTable("fact_cart_item", "one product in one cart life", ("cart_key",), _columns("""
        cart_key key : Surrogate key
        added_date_key key -> dim_date : Day on which the product was first added
        last_date_key key -> dim_date : Day on which the item was last touched
        purchased_date_key key? -> dim_date : Day of the purchase, empty without one
        customer_key key -> dim_customer : Customer
        product_key key -> dim_product : Product version valid when it was added
        category_key key -> dim_category : Category of that version
        quantity int : Units added
        value money? : Units times the last known price
        status text : open, purchased, removed, abandoned or recovered
    """)),
    PublishedTable("fact_customer_month", "one customer at one month's end", ("date_key", "customer_key"), _columns("""
        date_key key -> dim_date : Last day of the month
        customer_key key -> dim_customer : Customer with at least one order by then
        recency_days int : Days since the last order
        frequency int : Orders so far
        monetary money : Net revenue so far
        r_score int : Recency from 1 to 5, 5 for the fifth of the month's customers who ordered last
        f_score int : Frequency from 1 to 5, 5 for the fifth with the most orders
        m_score int : Monetary value from 1 to 5, 5 for the fifth with the most revenue
        rfm_segment text : Segment by the three scores
        cluster text? : Group that the data fall into, by value, empty without a model
        behaviour_type text : What the customer did in the 90 days before
        lifecycle text : Where the customer stood
        churn_risk number? : Chance that no order follows within 60 days, empty without a model
        p_alive number? : Chance that the customer still buys here at all, empty without a model
        expected_purchases number? : Days with an order that are expected within 90 days, empty without a model
        expected_value money? : Revenue that is expected of them, empty without a model
    """)),
    PublishedTable("fact_session_prediction", "one session after so many events, by one version of a model",
                   ("session_key", "prefix", "model_key"), _columns("""
        session_key key : Session
        date_key key -> dim_date : Day on which the session began
        customer_key key -> dim_customer : Customer
        model_key key -> dim_model : Version of the model that told it
        prefix int : Events of the session that the model had seen: 1, 3, 5 or 10
        probability number : Chance of a purchase in the rest of the session
        decile int : 1 to 10, ten for chances as high as the highest tenth
        outcome int? : 1 if a purchase followed, 0 if not, empty while the session may go on
        is_out_of_sample flag : Yes where nothing of the day was used to make the model
    """)),
    PublishedTable("fact_customer_prediction", "one customer on one score day, for one horizon, by one version",
                   ("date_key", "customer_key", "horizon_days", "model_key"), _columns("""
        date_key key -> dim_date : Score day; what was known at its end counts
        customer_key key -> dim_customer : Customer who came within 90 days
        model_key key -> dim_model : Version of the model that told it
        horizon_days int : Days ahead: 7 or 30
        probability number : Chance of an order within the horizon
        decile int : 1 to 10, ten for chances as high as the highest tenth
        outcome int? : 1 if an order came, 0 if not, empty until the horizon is over
        is_out_of_sample flag : Yes where nothing after the score day was used to make the model
    """)),
    PublishedTable("fact_sales_forecast", "one category (or all, or a product) on one day ahead, as told at one origin",
                   ("origin_date_key", "date_key", "level", "category_key", "product_durable_key", "model_key"),
                   _columns("""
        origin_date_key key -> dim_date : Last day that was known
        date_key key -> dim_date : Day that is forecast
        level text : total, category, or product where a source has no categories
        category_key key -> dim_category : Category, -1 for the total and for products
        product_durable_key key : Product over all versions, -1 for the total and for categories
        model_key key -> dim_model : Version of the model that told it
        forecast number : Units
        lower_80 number : Lower end of the interval that holds 80 % of days
        upper_80 number : Upper end of it
        lower_95 number : Lower end of the interval that holds 95 % of days
        upper_95 number : Upper end of it
        actual number? : Units sold, empty until the day is over
        is_champion flag : Yes for the version that serves
        horizon_days int : Days from the origin to the day that is forecast
    """)),
    PublishedTable("model_card", "one figure of one version of a model",
                   ("model_key", "metric", "slice", "baseline"), _columns("""
        model_key key -> dim_model : Version of the model
        metric text : What is told, such as ap, auc, ece or wrmsse
        slice text : Of which rows; all where of all
        value number? : Its value
        lower number? : Lower end of its 95 % interval
        upper number? : Upper end of it
        baseline text : What it is compared with, or empty
        baseline_value number? : The same metric of that
    """)),
    PublishedTable("fact_data_quality", "one source on one arrival day", ("date_key", "source_key"), _columns("""
        date_key key -> dim_date : Day on which the files arrived
        source_key key -> dim_source : Source
        rows_in int : Records delivered
        accepted int : Records accepted
        quarantined int : Records in quarantine, each with its reason
        duplicate int : Records delivered before
        suppressed int : Records of erased persons
        late int : Accepted records older than the newest day already known
    """)),
    PublishedTable("refresh_info", "one row: the published snapshot", ("snapshot",), _columns("""
        snapshot text : Snapshot id
        published_at timestamp : Time of publication, UTC
        data_through date : Newest event day
        is_synthetic flag : Yes where any of the data was simulated
    """)),
)  # fmt: skip


@cache
def published() -> dict[str, PublishedTable]:
    """Every published table by name, dimensions first."""
    return {t.name: t for t in _TABLES}


def gold(name: str) -> TableSpec:
    """The lake table of a published one."""
    return published()[name].spec
