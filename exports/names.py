"""The published star in plain words: what its tables and columns are called in Power BI and by ``behavior explain``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from exports.contract import Column, PublishedTable, published

TABLES = {
    "dim_date": "Date", "dim_hour": "Hour", "dim_customer": "Customer", "dim_product": "Product",
    "dim_category": "Category", "dim_channel": "Channel", "dim_device": "Device", "dim_country": "Country",
    "dim_source": "Source", "dim_model": "Prediction Model", "fact_session": "Sessions", "fact_sales": "Sales",
    "fact_product_day": "Product Activity", "fact_cart_item": "Cart Items", "fact_customer_month": "Customer Months",
    "fact_session_prediction": "Session Predictions", "fact_customer_prediction": "Customer Predictions",
    "fact_sales_forecast": "Sales Forecasts", "model_card": "Model Card", "fact_data_quality": "Data Quality",
    "refresh_info": "Refresh Info",
}  # fmt: skip

# What a column is called where its own name, word by word, would not do.
_COLUMNS = {
    "dim_date.month_name": "Month", "dim_date.calendar_month": "Year Month", "dim_date.iso_week": "ISO Week",
    "dim_date.weekday_name": "Weekday", "dim_date.week_start": "Week Beginning", "dim_date.is_weekend": "Weekend",
    "dim_hour.hour_label": "Hour", "dim_hour.day_part": "Part of Day", "dim_hour.day_part_number": "Part of Day Number",
    "dim_customer.customer_id": "Customer", "dim_product.product_id": "Product Number",
    "dim_product.product_name": "Product", "dim_product.is_current": "Current Version",
    "dim_product.category_1": "Product Category 1", "dim_product.category_2": "Product Category 2",
    "dim_product.category_3": "Product Category 3", "dim_category.category_name": "Category",
    "dim_category.category_1": "Category Level 1", "dim_category.category_2": "Category Level 2",
    "dim_category.category_3": "Category Level 3", "dim_channel.channel_name": "Channel",
    "dim_device.device_name": "Device", "dim_country.country_name": "Country", "dim_source.source_name": "Source",
    "dim_model.model": "Model", "dim_model.is_champion": "Serving", "fact_session.is_new_customer": "New Visitor",
    "fact_session.is_bot": "Bot", "fact_session.is_bounce": "Bounce", "fact_session.is_engaged": "Engaged",
    "fact_sales.is_refund": "Refund", "fact_sales.is_first_order": "First Order",
    "fact_session_prediction.prefix": "Events Seen", "fact_sales_forecast.is_champion": "Serving",
    "fact_session_prediction.is_out_of_sample": "Out of Sample",
    "fact_customer_prediction.is_out_of_sample": "Out of Sample", "model_card.slice": "Of Which Rows",
    "fact_session.views": "Views of Session", "refresh_info.data_through": "Data Through Date",
    "refresh_info.published_at": "Published at UTC",
}  # fmt: skip
_CAPITALS = {"rfm": "RFM", "id": "ID", "r": "R", "f": "F", "m": "M"}

# What tells events apart: for SQL, and too many different values for a model in memory.
LEFT_OUT = frozenset({"session_key", "order_key", "line_number", "cart_key"})


@dataclass(frozen=True)
class Place:
    """A column: its published table and name."""

    table: str
    column: str

    @property
    def dax(self) -> str:
        """The column as DAX writes it."""
        return f"'{TABLES[self.table]}'[{column_name(self.table, self.column)}]"


def column_name(table: str, column: str) -> str:
    """The plain-word name of a published column: ``'Revenue Net'`` of ``revenue_net``."""
    return _COLUMNS.get(f"{table}.{column}") or " ".join(_CAPITALS.get(w, w.capitalize()) for w in column.split("_"))


def modelled(table: PublishedTable) -> list[Column]:
    """The columns of a published table that the Power BI model holds."""
    return [c for c in table.columns if c.name not in LEFT_OUT]


@cache
def places() -> dict[str, Place]:
    """Every column of the model by its written forms, in lower case: ``table[column]``, ``table.column``.

    A column's name alone is a form where it is the only one of that name, or that of its table (``country``).
    """
    found: dict[str, Place] = {}
    alone: dict[str, list[Place]] = {}
    for table in published().values():
        for column in modelled(table):
            place, name = Place(table.name, column.name), column_name(table.name, column.name)
            shown = TABLES[table.name]
            found[f"{shown}[{name}]".lower()] = found[f"{shown}.{name}".lower()] = place
            found[f"{table.name}.{column.name}"] = place
            alone.setdefault(name.lower(), []).append(place)
    for name, of_that_name in alone.items():
        own = [p for p in of_that_name if TABLES[p.table].lower() == name]
        if len(of_that_name) == 1 or own:
            found[name] = (own or of_that_name)[0]
    return found
