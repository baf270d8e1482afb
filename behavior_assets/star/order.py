"""The order in which gold tables are built, and what each is built from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_SESSIONS, _CUSTOMERS, _PRODUCTS, _COMMERCE = (
    "silver/sessions", "silver/customer_day", "silver/product_day", "silver/commerce_events",
)  # fmt: skip
_LOOKUPS = ("gold/dim_channel", "gold/dim_device", "gold/dim_country", "gold/dim_source")

MODELS = ("models/session_purchase", "models/customer_purchase", "models/customer_value", "models/sales_forecast")

# Table: the tables it reads.
GOLD_INPUTS: dict[str, tuple[str, ...]] = {
    "dim_date": ("bronze/events", _SESSIONS),
    "dim_hour": (),
    "dim_source": ("bronze/events",),
    "dim_channel": (_SESSIONS,),
    "dim_device": (_SESSIONS,),
    "dim_country": (_SESSIONS, _COMMERCE),
    "dim_customer": (_CUSTOMERS, _SESSIONS, _COMMERCE),
    "dim_category": (_PRODUCTS,),
    "dim_product": (_PRODUCTS, "gold/dim_category"),
    "fact_session": (_SESSIONS, "gold/dim_customer", *_LOOKUPS),
    "fact_sales": (_COMMERCE, _SESSIONS, _CUSTOMERS, "gold/dim_product", "gold/dim_customer", *_LOOKUPS),
    "fact_product_day": (_PRODUCTS, "gold/dim_product"),
    "fact_cart_item": (_COMMERCE, _SESSIONS, "gold/dim_product"),
    "fact_customer_month": ("models/customer_value", _CUSTOMERS, _SESSIONS, _COMMERCE, "gold/dim_customer"),
    "fact_data_quality": ("bronze/events", "gold/dim_source"),
    "dim_model": (*MODELS,),
    "fact_session_prediction": (
        "models/session_purchase", _SESSIONS, "silver/events", _COMMERCE, _PRODUCTS, "gold/dim_model",
    ),
    "fact_customer_prediction": ("models/customer_purchase", _CUSTOMERS, "gold/dim_model"),
    "fact_sales_forecast": ("models/sales_forecast", _COMMERCE, _PRODUCTS, "gold/dim_model"),
    "model_card": (
        *MODELS, "gold/dim_model", "gold/fact_session_prediction", "gold/fact_customer_prediction",
        "gold/fact_sales_forecast",
    ),
}  # fmt: skip


# Tables that are computed whole from tables of the lake alone: while those stay as they are, so does the table.
STANDING = frozenset({"dim_channel", "dim_device", "dim_country", "dim_customer", "dim_category", "dim_product",
                      "fact_cart_item"})  # fmt: skip


# Those of them to which new days are added, with what must be as it was in all days before: the first tells the days.
GROWING = {"dim_customer": (_CUSTOMERS,), "fact_cart_item": (_COMMERCE, _PRODUCTS)}


# Tables that this process computes, whatever engine the others have: they tell of the calendar, of files and of models.
OF_THIS_PROCESS = frozenset({"dim_date", "dim_hour", "dim_source", "fact_data_quality", "dim_model", "model_card",
                             "fact_session_prediction", "fact_customer_prediction", "fact_sales_forecast"})  # fmt: skip


def build_table(builder: Any, name: str) -> list[str]:
    """Bring one gold table up to date with a StarBuilder; returns the parts written."""
    if name in STANDING and builder.stands(name):
        return []
    if name in {"dim_model", "model_card"}:
        builder = builder.cards
    elif name in {"fact_session_prediction", "fact_customer_prediction", "fact_sales_forecast"}:
        builder = builder.scores
    if name in {"dim_channel", "dim_device", "dim_country"}:
        parts: list[str] = builder.simple(name.removeprefix("dim_"))
        return parts
    method: Callable[[], list[str]] = getattr(builder, name)
    return method()
