"""Sessions, and what one day says of customers, products and orders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import Window
from pyspark.sql import functions as F
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
    silence = F.col("event_ts_us") - F.lag("event_ts_us").over(order)
    moments = moments.withColumn("begins", F.when(F.coalesce(silence > GAP_US, F.lit(col=True)), F.col("event_ts_us")))
    running = order.rowsBetween(Window.unboundedPreceding, Window.currentRow)
    moments = moments.withColumn("chain_start_us", F.max("begins").over(running))
    moments = moments.withColumn("block", F.expr(f"(event_ts_us - chain_start_us) div {CAP_US}"))
    # The rows lie together by chain_key already, so that this needs no further shuffle.
    sessions = moments.groupBy("chain_key", "chain_start_us", "block", "source").agg(
        F.min("event_ts_us").alias("start_ts_us"),
        F.max("event_ts_us").alias("end_ts_us"),
        F.max("customer_key").alias("customer_key"),
        F.max("is_bot").alias("is_bot"),
        F.count(F.lit(1)).alias("events"),
        F.count_if("viewed").alias("views"),
        F.count_if("added").alias("carts"),
        F.count_if("removed").alias("removes"),
        F.lit(0).cast("long").alias("checkouts"),
        F.count_if("sold").alias("purchases"),
        F.sum("value").cast(MONEY).alias("revenue"),
    )
    none = F.lit(None).cast("string")
    made = sessions.select(
        mixed(F.col("chain_key"), F.col("start_ts_us")).alias("session_key"),
        F.date_from_unix_date(F.expr(f"cast(start_ts_us div {_DAY_US} as int)")).alias(DAY),
        F.expr(f"cast(start_ts_us % {_DAY_US} div {_HOUR_US} as int)").alias("start_hour"),
        "start_ts_us", "end_ts_us", "chain_key", "customer_key", "source",
        none.alias("channel"), none.alias("device"), none.alias("country"), "is_bot",
        F.when(F.col("block") > 0, "24 h cap").otherwise("none").alias("split_reason"),
        "events", "views", "carts", "removes", "checkouts", "purchases", "revenue",
    )  # fmt: skip
    return lake.write("silver/sessions", made.repartition(DAY), by_day=True)


def build_customer_day(lake: Lake, events: DataFrame) -> DataFrame:
    """One row per customer and day; orders and looked-at categories are counted once each.

    In two steps instead of two distinct counts, for which Spark would triple the rows: an event is of one order, of
    one category, or of neither.
    """
    key = [DAY, "customer_key", "customer_id"]
    category = F.coalesce("category_path", "category_id")
    one = F.when(F.col("sold"), F.col("transaction_id")).when(F.col("viewed"), category)
    sale_us = F.when(F.col("sold"), F.col("event_ts_us"))
    net = F.when(F.col("line_type").isNotNull(), line_value())
    parts = events.select("*", *_marks()).groupBy(*key, one.alias("one")).agg(
        F.min("event_ts_us").alias("first_ts_us"), F.max("event_ts_us").alias("last_ts_us"),
        F.min(sale_us).alias("first_order_ts_us"), F.count(F.lit(1)).alias("events"),
        F.count_if("sold").alias("sold"), F.sum(net).alias("revenue_net"),
        F.count_if("viewed").alias("views"), F.count_if("added").alias("carts"),
    )  # fmt: skip
    known = F.col("one").isNotNull()
    days = parts.groupBy(*key).agg(
        F.min("first_ts_us").alias("first_ts_us"), F.max("last_ts_us").alias("last_ts_us"),
        F.min("first_order_ts_us").alias("first_order_ts_us"), F.sum("events").alias("events"),
        F.count_if(known & (F.col("sold") > 0)).alias("orders"), F.sum("revenue_net").cast(MONEY).alias("revenue_net"),
        F.sum("views").alias("views"), F.sum("carts").alias("carts"),
        F.count_if(known & (F.col("views") > 0)).alias("categories"),
    )  # fmt: skip
    return lake.write("silver/customer_day", days.repartition(DAY), by_day=True)


def build_product_day(lake: Lake, events: DataFrame) -> DataFrame:
    """One row per product and day; attributes are the day's last non-null ones by (time, value)."""
    category = F.coalesce("category_path", F.concat(F.lit("#"), "category_id"))
    looks = ["category", "brand", "price"]
    # First by combination of attributes: what follows then sees thousands of rows, not millions.
    combined = events.select("*", category.alias("category"), *_marks()).groupBy(DAY, "product_id", *looks).agg(
        F.max("event_ts_us").alias("seen"),
        F.count_if("viewed").alias("views"),
        F.count_if("added").alias("carts"),
        F.count_if("removed").alias("removes"),
        F.count_if("sold").alias("purchases"),
        F.sum(F.when(F.col("sold"), F.col("quantity"))).alias("quantity"),
        F.sum("value").alias("revenue"),
    )

    def last(name: str) -> Column:
        """Prices are compared as text, as in the chain: it matters where two are of one microsecond."""
        stamped = F.struct("seen", F.col(name).cast("string").alias("what"))
        return F.max(F.when(F.col(name).isNotNull(), stamped))["what"]

    days = combined.groupBy(DAY, "product_id").agg(
        last("category").alias("category"), last("brand").alias("brand"), last("price").cast(MONEY).alias("price"),
        *(F.sum(name).alias(name) for name in ("views", "carts", "removes", "purchases")),
        F.coalesce(F.sum("quantity"), F.lit(0)).alias("quantity"),
        F.sum("revenue").cast(MONEY).alias("revenue"),
    )  # fmt: skip
    return lake.write("silver/product_day", days.repartition(DAY), by_day=True)


def build_commerce(lake: Lake, events: DataFrame) -> DataFrame:
    """The few events that carts and orders are made of."""
    kept = events.where(F.col("event_name").isin(*COMMERCE) | F.col("line_type").isNotNull()).select(
        DAY, "event_key", "event_ts_us", "event_hour", "event_name", "chain_key", "customer_key", "product_id", "price",
        "quantity", "transaction_id", "line_type", "source",
    )  # fmt: skip
    return lake.write("silver/commerce_events", kept.repartition(DAY), by_day=True)


def _marks() -> list[Column]:
    """What an event is, as flags, and its amount where it is a sale."""
    name = F.col("event_name")
    return [
        (name == "view_item").alias("viewed"), (name == "add_to_cart").alias("added"),
        (name == "remove_from_cart").alias("removed"), is_sale().alias("sold"),
        F.when(is_sale(), line_value()).alias("value"),
    ]  # fmt: skip
