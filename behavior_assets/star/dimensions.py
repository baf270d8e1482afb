"""Dimensions as pure Ibis expressions; each has the unknown member -1 (calendar dimensions aside)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, timedelta

import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from behavior_assets.expressions import DIGITS, money
from behavior_assets.segmentation.months import orders_known
from behavior_assets.segmentation.rules import CHURN_RISK, NO_LIFECYCLE, NO_SEGMENT, with_scores
from exports.contract import UNKNOWN, UNKNOWN_KEY, gold
from resources.engine import surrogate_key

FIRST_VERSION = date(1900, 1, 1)
LAST_DAY = date(9999, 12, 31)
AHEAD_DAYS = 28  # that sales are forecast
PRICE_BANDS = ((10, "below 10"), (25, "10 to 25"), (50, "25 to 50"), (100, "50 to 100"), (250, "100 to 250"),
               (500, "250 to 500"), (1000, "500 to 1,000"))  # fmt: skip
_HIGHEST_BAND = "1,000 and more"
_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
           "November", "December")  # fmt: skip
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_DAY_PARTS = ("Night", "Morning", "Afternoon", "Evening")
_SATURDAY = 6


def flag(value: bool) -> str:  # noqa: FBT001
    """Flags are published as words."""
    return "Yes" if value else "No"


def yes_no(condition: ir.BooleanValue) -> ir.StringValue:
    """An expression's flag; unknown is No."""
    return ibis.ifelse(ibis.coalesce(condition, False), "Yes", "No")


def date_key(day: ir.DateValue) -> ir.IntegerValue:
    """Yyyymmdd."""
    return day.year().cast("int64") * 10000 + day.month().cast("int64") * 100 + day.day().cast("int64")


def date_keys(days: NDArray[np.int64]) -> NDArray[np.int64]:
    """Yyyymmdd of days [n] since 1970."""
    dates = days.astype("datetime64[D]")
    month = dates.astype("datetime64[M]").astype(np.int64)
    of_month = (dates - dates.astype("datetime64[M]")).astype(np.int64) + 1
    found: NDArray[np.int64] = (1970 + month // 12) * 10000 + (month % 12 + 1) * 100 + of_month
    return found


def dim_date(first: date, last: date) -> pa.Table:
    """Every day of the whole years from the first to the last day."""
    start, end = date(first.year, 1, 1), date(last.year, 12, 31)
    days = [start + timedelta(days=n) for n in range((end - start).days + 1)]
    columns = {
        "date_key": [d.year * 10000 + d.month * 100 + d.day for d in days],
        "date": days,
        "year": [d.year for d in days],
        "quarter": [(d.month + 2) // 3 for d in days],
        "month_number": [d.month for d in days],
        "month_name": [_MONTHS[d.month - 1] for d in days],
        "iso_week": [d.isocalendar().week for d in days],
        "weekday_number": [d.isoweekday() for d in days],
        "weekday_name": [_WEEKDAYS[d.weekday()] for d in days],
        "is_weekend": [flag(d.isoweekday() >= _SATURDAY) for d in days],
        "calendar_month": [f"{d.year}-{d.month:02d}" for d in days],
        "week_start": [d - timedelta(days=d.weekday()) for d in days],
    }
    return pa.table(columns, schema=gold("dim_date").schema)


def dim_hour() -> pa.Table:
    """Twenty-four hours."""
    hours = range(24)
    columns = {
        "hour_key": list(hours),
        "hour_label": [f"{h:02d}:00" for h in hours],
        "day_part": [_DAY_PARTS[h // 6] for h in hours],
        "day_part_number": [h // 6 + 1 for h in hours],
    }
    return pa.table(columns, schema=gold("dim_hour").schema)


def dim_source(capabilities: Mapping[str, Mapping[str, bool]]) -> pa.Table:
    """Sources with what each can tell; ``capabilities`` by source name. The key is added by ``with_keys``."""
    names = sorted(capabilities)
    flags = [c for c in gold("dim_source").schema.names if c.startswith(("has_", "is_"))]
    columns: dict[str, list[str]] = {"source_name": [UNKNOWN, *names]}
    for column in flags:
        default = column == "has_views"
        columns[column] = ["No", *(flag(capabilities[n].get(column, default)) for n in names)]
    return pa.table(columns)


def with_keys(members: ir.Table, table: str, name: str, key: str) -> ir.Table:
    """Surrogate keys for members told apart by ``name``; the unknown member keeps -1."""
    hashed = surrogate_key(table, members[name])
    keyed = members.mutate(**{key: ibis.ifelse(members[name] == UNKNOWN, UNKNOWN_KEY, hashed)})
    return keyed.select(*gold(table).schema.names)


def simple_dimension(values: ir.StringColumn, table: str, name: str, key: str) -> ir.Table:
    """A dimension of distinct values with the unknown member."""
    members = values.name(name).as_table().distinct()
    members = members.filter(members[name].notnull() & (members[name] != UNKNOWN))
    return with_keys(members.union(_one_row({name: UNKNOWN})), table, name, key)


def _one_row(values: dict[str, object], schema: ibis.Schema | None = None) -> ir.Table:
    return ibis.memtable([values], schema=schema) if schema else ibis.memtable([values])


def customers_seen(days: ir.Table) -> ir.Table:
    """Customers from ``silver/customer_day``: their id, and when they were first and last seen and first ordered."""
    order_day = ibis.ifelse(days.first_order_ts_us.notnull(), days.event_date, ibis.null("date"))
    # A key that stands for two customers has none, which a rule of the table does not let pass.
    least, most = days.customer_id.min(), days.customer_id.max()
    return days.mutate(order_day=order_day).group_by("customer_key").agg(
        customer_id=ibis.ifelse(least == most, most, ibis.null("string")),
        first_seen_date=days.event_date.min(),
        last_seen_date=days.event_date.max(),
        first_order_date=order_day.min(),
    )


def customers_seen_since(before: ir.Table, later: ir.Table) -> ir.Table:
    """``customers_seen`` of all days. ``before``: ``dim_customer`` of earlier days; ``later``: of those after them."""
    both = before.filter(before.customer_key != UNKNOWN_KEY).outer_join(later, "customer_key")
    is_new, stayed = both.customer_key.isnull(), both.customer_key_right.isnull()
    return both.select(
        customer_key=ibis.coalesce(both.customer_key, both.customer_key_right),
        customer_id=ibis.cases(
            (is_new, both.customer_id_right),
            (stayed | (both.customer_id == both.customer_id_right), both.customer_id),
            else_=ibis.null("string"),
        ),
        first_seen_date=ibis.coalesce(both.first_seen_date, both.first_seen_date_right),
        last_seen_date=ibis.coalesce(both.last_seen_date_right, both.last_seen_date),
        first_order_date=ibis.coalesce(both.first_order_date, both.first_order_date_right),
    )


def dim_customer(
    customers: ir.Table, behaviour: ir.Table, days: ir.Table, newest: ir.Table, month_end: ir.Table
) -> ir.Table:
    """Customers with what rules say of them now.

    ``customers``: ``customers_seen``; ``behaviour``: (customer_key, behaviour_type) at the newest day; ``days``:
    ``silver/customer_day``; ``newest`` and ``month_end``: the newest day of data and the end of the newest closed
    month, each no row or one (month_end, day_end_us).
    """
    said = (
        (with_scores(orders_known(days, month_end)), "rfm_segment", NO_SEGMENT),
        (behaviour, "behaviour_type", CHURN_RISK),
        (orders_known(days, newest), "lifecycle", NO_LIFECYCLE),
    )
    for table, column, otherwise in said:
        customers = customers.left_join(table.select("customer_key", column), "customer_key")
        customers = customers.mutate(**{column: ibis.coalesce(customers[column], otherwise)})
        customers = customers.drop("customer_key_right")
    names = gold("dim_customer").schema.names
    dates = {"first_seen_date": None, "last_seen_date": None, "first_order_date": None}
    unknown = _one_row({**dict.fromkeys(names, UNKNOWN), **dates, "customer_key": UNKNOWN_KEY}, customers.schema())
    return customers.union(unknown).select(*names)


def product_versions(days: ir.Table) -> ir.Table:
    """Versions of products from ``silver/product_day``: a new one where category or brand changes (SCD type 2).

    Columns: product_id, category, brand, valid_from, valid_to, is_current, product_key. A day without a value
    changes nothing; days before the first known value belong to it. The first version reaches back to 1900, so that
    a late event before it finds it and no key changes.
    """
    ordered = ibis.window(group_by="product_id", order_by="event_date")
    running = ibis.cumulative_window(group_by="product_id", order_by="event_date")
    filled = days.select("product_id", "event_date", "category", "brand")
    for name in ("category", "brand"):
        run = filled[name].notnull().cast("int64").sum().over(running)
        # Days before the first known value share its run, so they are filled backwards by the same maximum.
        filled = filled.mutate(**{f"{name}_run": ibis.greatest(run, 1)})
        same = ibis.window(group_by=["product_id", f"{name}_run"])
        filled = filled.mutate(**{name: filled[name].max().over(same)})
    look = ibis.coalesce(filled.category, "") + "\x1f" + ibis.coalesce(filled.brand, "")
    filled = filled.mutate(look=look)
    filled = filled.mutate(before=filled.look.lag().over(ordered))
    changes = filled.filter(filled.before.isnull() | (filled.before != filled.look))
    in_order = ibis.window(group_by="product_id", order_by="event_date")
    changes = changes.mutate(
        number=ibis.row_number().over(in_order), following=changes.event_date.lead().over(in_order)
    )
    versions = changes.mutate(
        valid_from=ibis.ifelse(changes.number == 0, ibis.literal(FIRST_VERSION), changes.event_date),
        valid_to=ibis.ifelse(
            changes.following.isnull(), ibis.literal(LAST_DAY), changes.following - ibis.interval(days=1)
        ).cast("date"),
        is_current=changes.following.isnull(),
    )
    business_id = versions.product_id + "|" + versions.valid_from.cast("string")
    return versions.mutate(product_key=surrogate_key("dim_product", business_id)).select(
        "product_key", "product_id", "category", "brand", "valid_from", "valid_to", "is_current"
    )


def dim_category(versions: ir.Table) -> ir.Table:
    """Categories of all product versions; a category without a name is told by the shop's number."""
    members = versions.filter(versions.category.notnull()).select(category_name="category").distinct()
    members = members.union(_one_row({"category_name": UNKNOWN}))
    return with_keys(_levels(members), "dim_category", "category_name", "category_key")


def _levels(members: ir.Table) -> ir.Table:
    """Three levels of a dotted path; deeper levels stay in the third, missing ones repeat nothing."""
    name = members.category_name
    pieces = name.re_split(r"\.")
    unnamed = name.startswith("#")
    second, third = pieces[1], name.re_extract(r"^[^.]*\.[^.]*\.(.*)$", 1)
    return members.mutate(
        category_1=ibis.ifelse(unnamed, "(unnamed)", pieces[0]),
        category_2=ibis.ifelse(unnamed | (pieces.length() < 2), "(none)", second),  # noqa: PLR2004
        category_3=ibis.ifelse(unnamed | (pieces.length() < 3), "(none)", third),  # noqa: PLR2004
    )


def dim_product(days: ir.Table, versions: ir.Table, categories: ir.Table) -> ir.Table:
    """Product versions with the current name and price band, which are overwritten (SCD type 1)."""
    stamp = days.event_date.cast("string").rpad(DIGITS, " ")
    current = days.group_by("product_id").agg(
        product_name=(stamp + days.product_name).max().substr(DIGITS),
        last_price=money((stamp + days.price.cast("string")).max().substr(DIGITS)),
    )
    band = ibis.cases(
        (current.last_price.isnull(), UNKNOWN),
        *((current.last_price < limit, name) for limit, name in PRICE_BANDS),
        else_=_HIGHEST_BAND,
    )
    number = ibis.cases(
        (current.last_price.isnull(), 0),
        *((current.last_price < limit, n) for n, (limit, _) in enumerate(PRICE_BANDS, 1)),
        else_=len(PRICE_BANDS) + 1,
    )
    current = current.mutate(price_band=band, price_band_number=number.cast("int64"))
    joined = versions.left_join(current, "product_id").drop("product_id_right")
    joined = joined.mutate(category_name=ibis.coalesce(joined.category, UNKNOWN))
    joined = joined.inner_join(categories, "category_name")
    products = joined.mutate(
        product_durable_key=surrogate_key("dim_product_durable", joined.product_id),
        product_name=ibis.coalesce(joined.product_name, "(no name)"),
        brand=ibis.coalesce(joined.brand, UNKNOWN),
        price_band=ibis.coalesce(joined.price_band, UNKNOWN),
        price_band_number=ibis.coalesce(joined.price_band_number, 0),
        is_current=yes_no(joined.is_current),
    ).select(*gold("dim_product").schema.names)
    unknown = _one_row(
        {"product_key": UNKNOWN_KEY, "product_durable_key": UNKNOWN_KEY, "product_id": UNKNOWN,
         "product_name": UNKNOWN, "brand": UNKNOWN, "category_key": UNKNOWN_KEY, "category_1": UNKNOWN,
         "category_2": "(none)", "category_3": "(none)", "price_band": UNKNOWN, "valid_from": FIRST_VERSION,
         "valid_to": LAST_DAY, "is_current": "Yes", "price_band_number": 0},
        products.schema(),
    )  # fmt: skip
    return products.union(unknown)


def day_range(days: Iterable[str], arrivals: Iterable[date]) -> tuple[date, date]:
    """The first and last day that any fact speaks of; forecasts speak of days that are still to come."""
    events = [date.fromisoformat(d) for d in days]
    known = [*events, *arrivals, *(d + timedelta(days=AHEAD_DAYS) for d in events)]
    return min(known), max(known)
