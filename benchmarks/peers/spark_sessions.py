"""Sessions, and what one day says of customers, products and orders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import Window
from pyspark.sql import functions as fn
from spark_expressions import MONEY, is_sale, line_value, mixed
from spark_lake import DAY, Lake

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

GAP_US = 30 * 60_000_000
CAP_US = 24 * 3_600_000_000
_DAY_US = 86_400_000_000
_HOUR_US = 3_600_000_000
COMMERCE = ("add_to_cart", "remove_from_cart", "purchase")


def build_sessions(lake: Lake, events: DataFrame) -> DataFrame:
    """Sessions by the day of their first event: cut after a silence, and at every cap from a chain's start."""
    # Only what the measures need goes through the shuffle, as flags and amounts instead of texts.
    moments = events.select("chain_key", "event_ts_us", "customer_key", "source", "is_bot", *_marks())
    order = Window.partitionBy("chain_key").orderBy("event_ts_us")
    silence = fn.col("event_ts_us") - fn.lag("event_ts_us").over(order)
    begins = fn.coalesce(silence > GAP_US, fn.lit(col=True))
    moments = moments.withColumn("begins", fn.when(begins, fn.col("event_ts_us")))
    running = order.rowsBetween(Window.unboundedPreceding, Window.currentRow)
    moments = moments.withColumn("chain_start_us", fn.max("begins").over(running))
    moments = moments.withColumn("block", fn.expr(f"(event_ts_us - chain_start_us) div {CAP_US}"))
    # The rows lie together by chain_key already, so that this needs no further shuffle.
    sessions = moments.groupBy("chain_key", "chain_start_us", "block", "source").agg(
        fn.min("event_ts_us").alias("start_ts_us"),
        fn.max("event_ts_us").alias("end_ts_us"),
        fn.max("customer_key").alias("customer_key"),
        fn.max("is_bot").alias("is_bot"),
        fn.count(fn.lit(1)).alias("events"),
        fn.count_if("viewed").alias("views"),
        fn.count_if("added").alias("carts"),
        fn.count_if("removed").alias("removes"),
        fn.lit(0).cast("long").alias("checkouts"),
        fn.count_if("sold").alias("purchases"),
        fn.sum("value").cast(MONEY).alias("revenue"),
    )
    none = fn.lit(None).cast("string")
    made = sessions.select(
        mixed(fn.col("chain_key"), fn.col("start_ts_us")).alias("session_key"),
        fn.date_from_unix_date(fn.expr(f"cast(start_ts_us div {_DAY_US} as int)")).alias(DAY),
        fn.expr(f"cast(start_ts_us % {_DAY_US} div {_HOUR_US} as int)").alias("start_hour"),
        "start_ts_us", "end_ts_us", "chain_key", "customer_key", "source",
        none.alias("channel"), none.alias("device"), none.alias("country"), "is_bot",
        fn.when(fn.col("block") > 0, "24 h cap").otherwise("none").alias("split_reason"),
        "events", "views", "carts", "removes", "checkouts", "purchases", "revenue",
    )  # fmt: skip
    return lake.write("silver/sessions", made.repartition(DAY), by_day=True)


def build_customer_day(lake: Lake, events: DataFrame) -> DataFrame:
    """One row per customer and day; orders and looked-at categories are counted once each.

    In two steps instead of two distinct counts, for which Spark would triple the rows: an event is of one order, of
    one category, or of neither.
    """
    key = [DAY, "customer_key", "customer_id"]
    category = fn.coalesce("category_path", "category_id")
    one = fn.when(fn.col("sold"), fn.col("transaction_id")).when(fn.col("viewed"), category)
    sale_us = fn.when(fn.col("sold"), fn.col("event_ts_us"))
    net = fn.when(fn.col("line_type").isNotNull(), line_value())
    parts = events.select("*", *_marks()).groupBy(*key, one.alias("one")).agg(
        fn.min("event_ts_us").alias("first_ts_us"), fn.max("event_ts_us").alias("last_ts_us"),
        fn.min(sale_us).alias("first_order_ts_us"), fn.count(fn.lit(1)).alias("events"),
        fn.count_if("sold").alias("sold"), fn.sum(net).alias("revenue_net"),
        fn.count_if("viewed").alias("views"), fn.count_if("added").alias("carts"),
    )  # fmt: skip
    known = fn.col("one").isNotNull()
    days = parts.groupBy(*key).agg(
        fn.min("first_ts_us").alias("first_ts_us"), fn.max("last_ts_us").alias("last_ts_us"),
        fn.min("first_order_ts_us").alias("first_order_ts_us"), fn.sum("events").alias("events"),
        fn.count_if(known & (fn.col("sold") > 0)).alias("orders"),
        fn.sum("revenue_net").cast(MONEY).alias("revenue_net"), fn.sum("views").alias("views"),
        fn.sum("carts").alias("carts"), fn.count_if(known & (fn.col("views") > 0)).alias("categories"),
    )  # fmt: skip
    return lake.write("silver/customer_day", days.repartition(DAY), by_day=True)


def build_product_day(lake: Lake, events: DataFrame) -> DataFrame:
    """One row per product and day; attributes are the day's last non-null ones by (time, value)."""
    category = fn.coalesce("category_path", fn.concat(fn.lit("#"), "category_id"))
    looks = ["category", "brand", "price"]
    # First by combination of attributes: what follows then sees thousands of rows, not millions.
    combined = events.select("*", category.alias("category"), *_marks()).groupBy(DAY, "product_id", *looks).agg(
        fn.max("event_ts_us").alias("seen"),
        fn.count_if("viewed").alias("views"),
        fn.count_if("added").alias("carts"),
        fn.count_if("removed").alias("removes"),
        fn.count_if("sold").alias("purchases"),
        fn.sum(fn.when(fn.col("sold"), fn.col("quantity"))).alias("quantity"),
        fn.sum("value").alias("revenue"),
    )

    def last(name: str) -> Column:
        """Prices are compared as text, as in the chain: it matters where two are of one microsecond."""
        stamped = fn.struct("seen", fn.col(name).cast("string").alias("what"))
        return fn.max(fn.when(fn.col(name).isNotNull(), stamped))["what"]

    days = combined.groupBy(DAY, "product_id").agg(
        last("category").alias("category"), last("brand").alias("brand"), last("price").cast(MONEY).alias("price"),
        *(fn.sum(name).alias(name) for name in ("views", "carts", "removes", "purchases")),
        fn.coalesce(fn.sum("quantity"), fn.lit(0)).alias("quantity"),
        fn.sum("revenue").cast(MONEY).alias("revenue"),
    )  # fmt: skip
    return lake.write("silver/product_day", days.repartition(DAY), by_day=True)


def build_commerce(lake: Lake, events: DataFrame) -> DataFrame:
    """The few events that carts and orders are made of."""
    kept = events.where(fn.col("event_name").isin(*COMMERCE) | fn.col("line_type").isNotNull()).select(
        DAY, "event_key", "event_ts_us", "event_hour", "event_name", "chain_key", "customer_key", "product_id", "price",
        "quantity", "transaction_id", "line_type", "source",
    )  # fmt: skip
    return lake.write("silver/commerce_events", kept.repartition(DAY), by_day=True)


def _marks() -> list[Column]:
    """What an event is, as flags, and its amount where it is a sale."""
    name = fn.col("event_name")
    return [
        (name == "view_item").alias("viewed"), (name == "add_to_cart").alias("added"),
        (name == "remove_from_cart").alias("removed"), is_sale().alias("sold"),
        fn.when(is_sale(), line_value()).alias("value"),
    ]  # fmt: skip
