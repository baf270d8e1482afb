"""Facts of the star; every key finds its member or is -1."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import Window
from pyspark.sql import functions as fn
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
    elapsed = fn.col("end_ts_us") - fn.col("start_ts_us")
    engaged = (elapsed > ENGAGED_US) | (fn.col("views") >= ENGAGED_VIEWS) | (fn.col("purchases") > 0)
    return s.select(
        "session_key", date_key(fn.col(DAY)).alias("date_key"), fn.col("start_hour").cast("long").alias("hour_key"),
        fn.coalesce("customer_key", fn.lit(UNKNOWN_KEY)).alias("customer_key"), *_constant_keys(),
        yes_no(fn.col("first_seen_date") == fn.col(DAY)).alias("is_new_customer"),
        fn.expr("(end_ts_us - start_ts_us) div 1000000").alias("duration_s"),
        "events", "views", "carts", "removes", "checkouts", "purchases", "revenue",
        yes_no(fn.col("events") == 1).alias("is_bounce"), yes_no(engaged).alias("is_engaged"),
        yes_no(fn.col("carts") > 0).alias("has_cart"), yes_no(fn.col("checkouts") > 0).alias("has_checkout"),
        yes_no(fn.col("purchases") > 0).alias("has_purchase"), yes_no(fn.col("is_bot")).alias("is_bot"), "split_reason",
    )  # fmt: skip


def _constant_keys() -> list[Column]:
    """Keys that are the same on every row: the files tell no channel, device and country, and are one source."""
    keys = {"channel": UNKNOWN_KEY, "device": UNKNOWN_KEY, "country": UNKNOWN_KEY,
            "source": surrogate_of("dim_source", SOURCE)}  # fmt: skip
    return [fn.lit(value).cast("long").alias(f"{kind}_key") for kind, value in keys.items()]


def with_product(fact: DataFrame, products: DataFrame, day: str) -> DataFrame:
    """Add the keys of the product version that is valid on a day, and of its category."""
    versions = products.select("product_id", "product_key", "category_key", "valid_from", "valid_to").alias("v")
    valid = fn.col(f"f.{day}").between(fn.col("v.valid_from"), fn.col("v.valid_to"))
    joined = fact.alias("f").join(versions, (fn.col("f.product_id") == fn.col("v.product_id")) & valid, "left")
    keys = (fn.coalesce(f"v.{name}", fn.lit(UNKNOWN_KEY)).alias(name) for name in ("product_key", "category_key"))
    return joined.select("f.*", *keys)


def fact_sales(commerce: DataFrame, sessions: DataFrame, days: DataFrame, products: DataFrame) -> DataFrame:
    """One row per order line, booked on the session that holds it."""
    lines = commerce.where(fn.col("line_type").isNotNull()).alias("l")
    # A session that holds a line has a purchase: the many others need not be joined.
    booked = sessions.where("purchases > 0").select("session_key", "chain_key", "start_ts_us", "end_ts_us").alias("s")
    inside = fn.col("l.event_ts_us").between(fn.col("s.start_ts_us"), fn.col("s.end_ts_us"))
    lines = lines.join(booked, (fn.col("l.chain_key") == fn.col("s.chain_key")) & inside, "left")
    lines = with_product(lines.select("l.*", "s.session_key"), products, DAY)
    firsts = days.where(fn.col("first_order_ts_us").isNotNull()).groupBy("customer_key")
    lines = lines.join(firsts.agg(fn.min("first_order_ts_us").alias("first_us")), "customer_key", "left")
    lines = lines.withColumns({"order_key": mixed(fn.col("transaction_id")), "revenue": line_value()})
    order = Window.partitionBy(DAY, "order_key")
    in_order = order.orderBy("product_id", "event_ts_us", "event_key")
    of_the_day = Window.partitionBy(DAY).orderBy("order_key")
    sale, refund = fn.col("line_type") == "sale", fn.col("line_type") == "refund"
    begun = fn.min(fn.when(sale, fn.col("event_ts_us"))).over(order)
    return lines.select(
        "order_key", fn.coalesce("session_key", fn.lit(UNKNOWN_KEY)).alias("session_key"),
        date_key(fn.col(DAY)).alias("date_key"), fn.col("event_hour").cast("long").alias("hour_key"),
        fn.coalesce("customer_key", fn.lit(UNKNOWN_KEY)).alias("customer_key"), "product_key", "category_key",
        *_constant_keys(), fn.row_number().over(in_order).cast("long").alias("line_number"), "line_type", "quantity",
        fn.col("price").alias("unit_price"), fn.when(sale, fn.col("revenue")).alias("revenue_gross"),
        fn.when(refund, -fn.col("revenue")).alias("refund_amount"), fn.col("revenue").alias("revenue_net"),
        yes_no(refund).alias("is_refund"), yes_no(sale & (begun == fn.col("first_us"))).alias("is_first_order"),
        fn.dense_rank().over(of_the_day).cast("long").alias("order_number"),
    )  # fmt: skip


def fact_product_day(days: DataFrame, products: DataFrame) -> DataFrame:
    """One row per product and day."""
    return with_product(days, products, DAY).select(
        date_key(fn.col(DAY)).alias("date_key"), "product_key", "category_key", "views", "carts", "removes",
        "purchases", "quantity", "revenue",
    )  # fmt: skip


def fact_cart_item(commerce: DataFrame, products: DataFrame, through_us: int) -> DataFrame:
    """What became of each product that was put into a cart.

    A life begins with an add and ends with a purchase or a removal; the next add begins another.
    """
    c = fn.col
    step = case([(c("event_name") == "add_to_cart", 0), (c("event_name") == "remove_from_cart", 1)], 2)
    touched = c("event_name").isin("add_to_cart", "remove_from_cart") | is_sale()
    touches = commerce.where(touched & c("product_id").isNotNull()).withColumns(
        {"owner": fn.coalesce("customer_key", "chain_key"), "step": step}  # at one instant an add comes before its sale
    )
    order = Window.partitionBy("owner", "product_id").orderBy("event_ts_us", "step", "event_key")
    ends = fn.when(c("step") > 0, 1).otherwise(0)
    ended = fn.coalesce(fn.sum(ends).over(order.rowsBetween(Window.unboundedPreceding, -1)), fn.lit(0))
    touches = touches.withColumns({"life": ended, "last_us": fn.lag("event_ts_us").over(order)})
    touches = touches.withColumn("last_life", fn.lag("life").over(order))
    silence = fn.when(c("life") == c("last_life"), c("event_ts_us") - c("last_us"))
    added = c("step") == 0
    lives = touches.groupBy("owner", "product_id", "life").agg(
        fn.min(fn.when(added, c("event_ts_us"))).alias("added_ts"), fn.min(fn.when(added, c(DAY))).alias("added_date"),
        fn.max("event_ts_us").alias("last_ts"), fn.max(DAY).alias("last_date"),
        fn.min(fn.when(c("step") == 2, c(DAY))).alias("purchased_date"), fn.max(c("step") == 1).alias("removed"),  # noqa: PLR2004
        fn.coalesce(fn.max(silence), fn.lit(0)).alias("silence"), fn.max("customer_key").alias("customer_key"),
        fn.coalesce(fn.sum(fn.when(added, c("quantity"))), fn.lit(0)).alias("quantity"), fn.max("price").alias("price"),
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
        fn.coalesce("customer_key", fn.lit(UNKNOWN_KEY)).alias("customer_key"), "product_key", "category_key",
        "quantity", (c("price") * c("quantity").cast("int")).cast(MONEY).alias("value"), status.alias("status"),
    )  # fmt: skip


def fact_data_quality(spark: SparkSession, arrived: date, counts: dict[str, int]) -> DataFrame:
    """The account of the rows delivered."""
    names = ("rows_in", "accepted", "quarantined", "duplicate", "suppressed", "late")
    columns = ", ".join(f"{name} bigint" for name in ("date_key", "source_key", *names))
    day = arrived.year * 10000 + arrived.month * 100 + arrived.day
    row = (day, surrogate_of("dim_source", SOURCE), *(counts.get(name, 0) for name in names))
    return spark.createDataFrame([row], columns)
