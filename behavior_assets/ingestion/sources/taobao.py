"""Tianchi's UserBehavior: no header, epoch seconds, no price, no session id. Exact repeats are one event."""

from __future__ import annotations

from behavior_assets.ingestion.sources.base import TIME, Check, Source, blank, required

COLUMNS = ("user_id", "item_id", "category_id", "behavior_type", "timestamp")
_NAMES = {"pv": "view_item", "cart": "add_to_cart", "fav": "add_to_wishlist", "buy": "purchase"}
_NAME = "CASE behavior_type " + " ".join(f"WHEN '{k}' THEN '{v}'" for k, v in _NAMES.items()) + " END"
_SECONDS = "CASE WHEN regexp_full_match(timestamp, '-?[0-9]{1,11}') THEN try_cast(timestamp AS BIGINT) END"

SOURCE = Source(
    name="taobao",
    columns=COLUMNS,
    header=False,
    fields={
        "event_ts_us": f"({_SECONDS}) * 1000000",
        "event_name": _NAME,
        "user_id": "user_id",
        "product_id": "item_id",
        "category_id": "category_id",
        "quantity": "1",
        "transaction_id": "CASE WHEN behavior_type = 'buy' THEN concat_ws(':', user_id, timestamp) END",
        "line_type": "CASE WHEN behavior_type = 'buy' THEN 'sale' END",
    },
    identity="concat_ws(chr(31), " + ", ".join(f"coalesce({c}, '')" for c in COLUMNS) + ")",
    checks=(
        *required("user_id", "item_id", "behavior_type", "timestamp"),
        Check("wrong_type", "timestamp", f"NOT {blank('timestamp')} AND {TIME} IS NULL", "not epoch seconds"),
        Check("unplanned_event", "behavior_type", f"NOT {blank('behavior_type')} AND {_NAME} IS NULL",
              f"not one of {', '.join(_NAMES)}"),
    ),
    capabilities={"has_price": False, "has_sessions": False, "has_cart": True, "has_categories": True},
)  # fmt: skip
