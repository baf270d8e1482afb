"""REES46's eCommerce behaviour files (Kaggle): views, carts and purchases, one row per product.

Exact repeats are one event. A price of 0 or less means unknown. A purchase has no number of its own: what a
session buys within one second is one transaction.
"""

from __future__ import annotations

from behavior_assets.ingestion.sources.base import TIME, Check, Source, blank, money_checks, required

COLUMNS = ("event_time", "event_type", "product_id", "category_id", "category_code", "brand", "price", "user_id",
           "user_session")  # fmt: skip
_TIME = "epoch_us(try_strptime(event_time, ['%Y-%m-%d %H:%M:%S UTC', '%Y-%m-%d %H:%M:%S']))"
_NAMES = {"view": "view_item", "cart": "add_to_cart", "remove_from_cart": "remove_from_cart", "purchase": "purchase"}
_NAME = "CASE event_type " + " ".join(f"WHEN '{k}' THEN '{v}'" for k, v in _NAMES.items()) + " END"

SOURCE = Source(
    name="rees46",
    columns=COLUMNS,
    fields={
        "event_ts_us": _TIME,
        "event_name": _NAME,
        "user_id": "user_id",
        "session_id": "nullif(user_session, '')",
        "product_id": "product_id",
        "category_id": "nullif(category_id, '')",
        "category_path": "nullif(category_code, '')",
        "brand": "nullif(brand, '')",
        "price": "CASE WHEN try_cast(price AS DECIMAL(18,4)) > 0 THEN try_cast(price AS DECIMAL(18,4)) END",
        "quantity": "1",
        "transaction_id": "CASE WHEN event_type = 'purchase' THEN concat_ws(':', coalesce(nullif(user_session, ''), "
        f"user_id), {TIME} // 1000000) END",
        "line_type": "CASE WHEN event_type = 'purchase' THEN 'sale' END",
    },
    identity="concat_ws(chr(31), " + ", ".join(f"coalesce({c}, '')" for c in COLUMNS) + ")",
    checks=(
        *required("event_time", "event_type", "product_id", "user_id"),
        Check("wrong_type", "event_time", f"{TIME} IS NULL", "not a time like 2019-10-01 00:00:00 UTC"),
        Check("unplanned_event", "event_type", f"NOT {blank('event_type')} AND {_NAME} IS NULL",
              f"not one of {', '.join(_NAMES)}"),
        *money_checks("price", negative="true"),
    ),
    decimals=("price",),
    capabilities={"has_price": True, "has_sessions": True, "has_cart": True, "has_categories": True},
)  # fmt: skip
