"""Facts of the star; every key finds its member or is -1."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import Window
from pyspark.sql import functions as F
from spark_events import SOURCE
from spark_expressions import MONEY, UNKNOWN_KEY, case, date_key, is_sale, line_value, mixed, surrogate_of, yes_no
from spark_lake import DAY

if TYPE_CHECKING:
    from datetime import date

    from pyspark.sql import Column, DataFrame, SparkSession

ENGAGED_US, ENGAGED_VIEWS = 10_000_000, 2
ABANDONED_US = 24 * 3_600_000_000


def fact_session(sessions: DataFrame, customers: DataFrame) -> DataFrame:
    """One row per session."""
    s = sessions.join(customers.select("customer_key", "first_seen_date"), "customer_key", "left")
    elapsed = F.col("end_ts_us") - F.col("start_ts_us")
    engaged = (elapsed > ENGAGED_US) | (F.col("views") >= ENGAGED_VIEWS) | (F.col("purchases") > 0)
    return s.select(
        "session_key", date_key(F.col(DAY)).alias("date_key"), F.col("start_hour").cast("long").alias("hour_key"),
        F.coalesce("customer_key", F.lit(UNKNOWN_KEY)).alias("customer_key"), *_constant_keys(),
        yes_no(F.col("first_seen_date") == F.col(DAY)).alias("is_new_customer"),
        F.expr("(end_ts_us - start_ts_us) div 1000000").alias("duration_s"),
        "events", "views", "carts", "removes", "checkouts", "purchases", "revenue",
        yes_no(F.col("events") == 1).alias("is_bounce"), yes_no(engaged).alias("is_engaged"),
        yes_no(F.col("carts") > 0).alias("has_cart"), yes_no(F.col("checkouts") > 0).alias("has_checkout"),
        yes_no(F.col("purchases") > 0).alias("has_purchase"), yes_no(F.col("is_bot")).alias("is_bot"), "split_reason",
    )  # fmt: skip


def _constant_keys() -> list[Column]:
    """Keys that are the same on every row: the files tell no channel, device and country, and are one source."""
    keys = {"channel": UNKNOWN_KEY, "device": UNKNOWN_KEY, "country": UNKNOWN_KEY,
            "source": surrogate_of("dim_source", SOURCE)}  # fmt: skip
    return [F.lit(value).cast("long").alias(f"{kind}_key") for kind, value in keys.items()]


def with_product(fact: DataFrame, products: DataFrame, day: str) -> DataFrame:
    """Add the keys of the product version that is valid on a day, and of its category."""
    versions = products.select("product_id", "product_key", "category_key", "valid_from", "valid_to").alias("v")
    valid = F.col(f"f.{day}").between(F.col("v.valid_from"), F.col("v.valid_to"))
    joined = fact.alias("f").join(versions, (F.col("f.product_id") == F.col("v.product_id")) & valid, "left")
    keys = (F.coalesce(f"v.{name}", F.lit(UNKNOWN_KEY)).alias(name) for name in ("product_key", "category_key"))
    return joined.select("f.*", *keys)


def fact_sales(commerce: DataFrame, sessions: DataFrame, days: DataFrame, products: DataFrame) -> DataFrame:
    """One row per order line, booked on the session that holds it."""
    lines = commerce.where(F.col("line_type").isNotNull()).alias("l")
    # A session that holds a line has a purchase: the many others need not be joined.
    booked = sessions.where("purchases > 0").select("session_key", "chain_key", "start_ts_us", "end_ts_us").alias("s")
    inside = F.col("l.event_ts_us").between(F.col("s.start_ts_us"), F.col("s.end_ts_us"))
    lines = lines.join(booked, (F.col("l.chain_key") == F.col("s.chain_key")) & inside, "left")
    lines = with_product(lines.select("l.*", "s.session_key"), products, DAY)
    firsts = days.where(F.col("first_order_ts_us").isNotNull()).groupBy("customer_key")
    lines = lines.join(firsts.agg(F.min("first_order_ts_us").alias("first_us")), "customer_key", "left")
    lines = lines.withColumns({"order_key": mixed(F.col("transaction_id")), "revenue": line_value()})
    order = Window.partitionBy(DAY, "order_key")
    in_order = order.orderBy("product_id", "event_ts_us", "event_key")
    of_the_day = Window.partitionBy(DAY).orderBy("order_key")
    sale, refund = F.col("line_type") == "sale", F.col("line_type") == "refund"
    begun = F.min(F.when(sale, F.col("event_ts_us"))).over(order)
    return lines.select(
        "order_key", F.coalesce("session_key", F.lit(UNKNOWN_KEY)).alias("session_key"),
        date_key(F.col(DAY)).alias("date_key"), F.col("event_hour").cast("long").alias("hour_key"),
        F.coalesce("customer_key", F.lit(UNKNOWN_KEY)).alias("customer_key"), "product_key", "category_key",
        *_constant_keys(), F.row_number().over(in_order).cast("long").alias("line_number"), "line_type", "quantity",
        F.col("price").alias("unit_price"), F.when(sale, F.col("revenue")).alias("revenue_gross"),
        F.when(refund, -F.col("revenue")).alias("refund_amount"), F.col("revenue").alias("revenue_net"),
        yes_no(refund).alias("is_refund"), yes_no(sale & (begun == F.col("first_us"))).alias("is_first_order"),
        F.dense_rank().over(of_the_day).cast("long").alias("order_number"),
    )  # fmt: skip


def fact_product_day(days: DataFrame, products: DataFrame) -> DataFrame:
    """One row per product and day."""
    return with_product(days, products, DAY).select(
        date_key(F.col(DAY)).alias("date_key"), "product_key", "category_key", "views", "carts", "removes", "purchases",
        "quantity", "revenue",
    )  # fmt: skip


def fact_cart_item(commerce: DataFrame, products: DataFrame, through_us: int) -> DataFrame:
    """What became of each product that was put into a cart.

    A life begins with an add and ends with a purchase or a removal; the next add begins another.
    """
    c = F.col
    step = case([(c("event_name") == "add_to_cart", 0), (c("event_name") == "remove_from_cart", 1)], 2)
    touched = c("event_name").isin("add_to_cart", "remove_from_cart") | is_sale()
    touches = commerce.where(touched & c("product_id").isNotNull()).withColumns(
        {"owner": F.coalesce("customer_key", "chain_key"), "step": step}  # at one instant an add comes before its sale
    )
    order = Window.partitionBy("owner", "product_id").orderBy("event_ts_us", "step", "event_key")
    ends = F.when(c("step") > 0, 1).otherwise(0)
    ended = F.coalesce(F.sum(ends).over(order.rowsBetween(Window.unboundedPreceding, -1)), F.lit(0))
    touches = touches.withColumns({"life": ended, "last_us": F.lag("event_ts_us").over(order)})
    touches = touches.withColumn("last_life", F.lag("life").over(order))
    silence = F.when(c("life") == c("last_life"), c("event_ts_us") - c("last_us"))
    added = c("step") == 0
    lives = touches.groupBy("owner", "product_id", "life").agg(
        F.min(F.when(added, c("event_ts_us"))).alias("added_ts"), F.min(F.when(added, c(DAY))).alias("added_date"),
        F.max("event_ts_us").alias("last_ts"), F.max(DAY).alias("last_date"),
        F.min(F.when(c("step") == 2, c(DAY))).alias("purchased_date"), F.max(c("step") == 1).alias("removed"),  # noqa: PLR2004
        F.coalesce(F.max(silence), F.lit(0)).alias("silence"), F.max("customer_key").alias("customer_key"),
        F.coalesce(F.sum(F.when(added, c("quantity"))), F.lit(0)).alias("quantity"), F.max("price").alias("price"),
    ).where(c("added_ts").isNotNull())  # fmt: skip
    status = case([
        (c("purchased_date").isNotNull() & (c("silence") >= ABANDONED_US), "recovered"),
        (c("purchased_date").isNotNull(), "purchased"), (c("removed"), "removed"),
        (c("last_ts") + ABANDONED_US <= through_us, "abandoned"),
    ], "open")  # fmt: skip
    return with_product(lives, products, "added_date").select(
        mixed(c("owner"), c("product_id"), c("added_ts"), c("life")).alias("cart_key"),
        date_key(c("added_date")).alias("added_date_key"), date_key(c("last_date")).alias("last_date_key"),
        date_key(c("purchased_date")).alias("purchased_date_key"),
        F.coalesce("customer_key", F.lit(UNKNOWN_KEY)).alias("customer_key"), "product_key", "category_key", "quantity",
        (c("price") * c("quantity").cast("int")).cast(MONEY).alias("value"), status.alias("status"),
    )  # fmt: skip


def fact_data_quality(spark: SparkSession, arrived: date, counts: dict[str, int]) -> DataFrame:
    """The account of the rows delivered."""
    names = ("rows_in", "accepted", "quarantined", "duplicate", "suppressed", "late")
    columns = ", ".join(f"{name} bigint" for name in ("date_key", "source_key", *names))
    day = arrived.year * 10000 + arrived.month * 100 + arrived.day
    row = (day, surrogate_of("dim_source", SOURCE), *(counts.get(name, 0) for name in names))
    return spark.createDataFrame([row], columns)
