"""The canonical event (DESIGN §6): the columns of bronze, of quarantine and of the ledger."""

from __future__ import annotations

import pyarrow as pa

from resources.table import TableSpec

CONTRACT_VERSION = "1"

MONEY = pa.decimal128(18, 4)

# GA4's e-commerce and site events, and the two of ours that online shops' ledgers need.
EVENT_NAMES = (
    "view_item", "view_item_list", "select_item", "view_cart", "add_to_cart", "remove_from_cart", "add_to_wishlist",
    "begin_checkout", "add_shipping_info", "add_payment_info", "purchase", "refund", "search",
    "view_search_results", "page_view", "session_start", "first_visit", "user_engagement", "scroll", "click",
    "view_promotion", "select_promotion", "login", "sign_up", "adjustment", "other",
)  # fmt: skip
LINE_TYPES = ("sale", "refund", "shipping", "fee", "adjustment", "bad_debt")

BRONZE_EVENTS = TableSpec(
    "bronze/events",
    pa.schema([
        ("event_id", pa.string()), ("record_id", pa.string()), ("payload_hash", pa.string()),
        ("event_ts_us", pa.int64()), ("event_date", pa.date32()), ("event_hour", pa.int32()),
        ("event_name", pa.string()),
        ("user_id", pa.string()), ("client_id", pa.string()), ("session_id", pa.string()),
        ("product_id", pa.string()), ("product_name", pa.string()),
        ("category_id", pa.string()), ("category_path", pa.string()), ("brand", pa.string()),
        ("price", MONEY), ("quantity", pa.int64()), ("currency", pa.string()),
        ("transaction_id", pa.string()), ("transaction_line", pa.int64()), ("line_type", pa.string()),
        ("channel", pa.string()), ("campaign", pa.string()), ("device", pa.string()), ("country", pa.string()),
        ("url", pa.string()), ("referrer", pa.string()), ("search_query", pa.string()),
        ("ip", pa.string()), ("user_agent", pa.string()), ("consent", pa.string()), ("is_bot", pa.bool_()),
        ("gpc", pa.bool_()), ("consent_version", pa.string()), ("consent_ts_us", pa.int64()),
        ("sent_ts_us", pa.int64()),
        ("source", pa.string()), ("batch_id", pa.string()), ("row_number", pa.int64()),
        ("arrived_ts_us", pa.int64()),
    ]),
    by_day=True,
    undictionaried=frozenset({"event_id", "record_id", "event_ts_us", "row_number", "payload_hash"}),
    widened=True,
)  # fmt: skip

QUARANTINE_EVENTS = TableSpec(
    "quarantine/events",
    pa.schema([
        ("source", pa.string()), ("source_file", pa.string()), ("file_sha256", pa.string()),
        ("row_number", pa.int64()), ("failure_class", pa.string()), ("column_name", pa.string()),
        ("message", pa.string()), ("raw", pa.binary()), ("arrived_ts_us", pa.int64()),
        ("kind", pa.string()), ("header", pa.string()),
    ]),
)  # fmt: skip

# What a source supplies per row; the rest of bronze is added by the ingestion itself.
PARSED_COLUMNS = tuple(
    name for name in BRONZE_EVENTS.schema.names
    if name not in {"event_id", "record_id", "payload_hash", "event_date", "event_hour", "source", "batch_id",
                    "row_number", "arrived_ts_us"}
)  # fmt: skip

SQL_TYPES = {"event_ts_us": "BIGINT", "sent_ts_us": "BIGINT", "price": "DECIMAL(18,4)", "quantity": "BIGINT",
             "transaction_line": "BIGINT", "is_bot": "BOOLEAN", "gpc": "BOOLEAN",
             "consent_ts_us": "BIGINT"}  # fmt: skip
