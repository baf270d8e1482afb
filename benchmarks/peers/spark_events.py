"""CSV files to bronze and silver events: every row accounted for, then without anything that identifies a person."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyspark.sql import Observation, Window
from pyspark.sql import functions as fn
from spark_expressions import MONEY, Keys, case, surrogate
from spark_lake import DAY, Lake

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import Column, DataFrame

SOURCE = "rees46"
COLUMNS = ("event_time", "event_type", "product_id", "category_id", "category_code", "brand", "price", "user_id",
           "user_session")  # fmt: skip
NAMES = {"view": "view_item", "cart": "add_to_cart", "remove_from_cart": "remove_from_cart", "purchase": "purchase"}
_SCHEMA = ", ".join(f"{name} STRING" for name in (*COLUMNS, "_corrupt"))
_SEPARATOR = "\x1f"
_FIRST_US = 946_684_800_000_000  # 2000-01-01
_PIECE_BYTES = 2 * 2**30  # of CSV, of a month or so
_DAY_US = 86_400_000_000
_WITH_ZONE, _WITHOUT = len("2019-10-01 00:00:00 UTC"), len("2019-10-01 00:00:00")


@dataclass(frozen=True)
class Delivered:
    """How many rows the files hold, and how many of them are bad."""

    rows_in: int
    rejected: int
    arrived_us: int


def build_bronze(lake: Lake, files: list[Path]) -> tuple[DataFrame, Delivered]:
    """Bronze by day, and the quarantine where any row is bad. The files are parsed once, and counted meanwhile."""
    arrived_us = time.time_ns() // 1000
    read = _checked(lake, files, arrived_us)
    seen = Observation("delivered")
    counted = read.observe(seen, fn.count(fn.lit(1)).alias("rows_in"), fn.count("failure").alias("rejected"))
    events = _typed(counted.where(fn.col("failure").isNull()))
    # An exact repeat has the same time, and so lies in the same day: one shuffle serves duplicates and the writing.
    # Long days go through it in several pieces, so that no task has to sort a whole one.
    pieces = 1 + sum(f.stat().st_size for f in files) // _PIECE_BYTES
    events = events.withColumn("piece", fn.pmod(fn.xxhash64("event_id"), fn.lit(pieces))).repartition(DAY, "piece")
    same = Window.partitionBy(DAY, "piece", "event_id").orderBy(fn.lit(1))
    events = events.withColumn("occurrence", fn.row_number().over(same))
    bronze = events.where("occurrence = 1").drop("occurrence", "piece").withColumns(
        {"source": fn.lit(SOURCE), "batch_id": fn.lit("b00000001"), "arrived_ts_us": fn.lit(arrived_us)}
    )
    table = lake.write("bronze/events", bronze, by_day=True)
    told = seen.get
    if told["rejected"]:  # few are bad: reading the files again is cheaper than keeping all rows for them
        lake.write("quarantine/events", _rejected(read, arrived_us))
    return table, Delivered(told["rows_in"], told["rejected"], arrived_us)


def _checked(lake: Lake, files: list[Path], arrived_us: int) -> DataFrame:
    """The rows as text, with ``ts_us`` and ``failure``, the number of the first check that is breached."""
    raw = lake.spark.read.csv(
        [str(f) for f in files], schema=_SCHEMA, header=True, enforceSchema=False, escape='"', mode="PERMISSIVE",
        columnNameOfCorruptRecord="_corrupt",
    )  # fmt: skip
    stamp = fn.col("event_time")
    # Spark's own parser takes more than these two forms, and is many times faster than one told a pattern.
    formed = (fn.length(stamp) == _WITHOUT) | ((fn.length(stamp) == _WITH_ZONE) & stamp.endswith(" UTC"))
    formed &= fn.substring(stamp, 11, 1) == " "
    moment = fn.when(formed, fn.substring(stamp, 1, _WITHOUT)).try_cast("timestamp")
    raw = raw.withColumn("ts_us", fn.unix_micros(moment))
    breaches = ((check[-1], number) for number, check in enumerate(_checks(arrived_us)))
    return raw.withColumn("failure", case(breaches))


def _checks(arrived_us: int) -> list[tuple[str, str, str, Column]]:
    """Class, column, message and condition of what makes a row unacceptable."""
    c = fn.col
    required = [("missing_required", name, "required and empty", c(name).isNull())
                for name in ("event_time", "event_type", "product_id", "user_id")]  # fmt: skip
    return [
        ("malformed", "record", "not a row of nine fields", c("_corrupt").isNotNull()),
        *required,
        ("wrong_type", "event_time", "not a time like 2019-10-01 00:00:00 UTC", c("ts_us").isNull()),
        ("unplanned_event", "event_type", f"not one of {', '.join(NAMES)}", ~c("event_type").isin(*NAMES)),
        ("wrong_type", "price", "not a decimal number of at most 14 digits and 4 places",
         ~c("price").rlike(r"^[+-]?[0-9]{1,14}(\.[0-9]{1,4}0*)?$")),
        ("rule_breach", "event_time", "outside [2000-01-01, arrival + 24 h]",
         ~c("ts_us").between(_FIRST_US, arrived_us + _DAY_US)),
    ]  # fmt: skip


def _typed(rows: DataFrame) -> DataFrame:
    """Good rows as canonical events."""
    c = fn.col
    second = fn.expr("ts_us div 1000000").cast("string")
    bought = c("event_type") == "purchase"
    price = c("price").cast(MONEY)
    identity = fn.concat_ws(_SEPARATOR, fn.lit(SOURCE), *(fn.coalesce(c(name), fn.lit("")) for name in COLUMNS))
    name = case((c("event_type") == raw, canonical) for raw, canonical in NAMES.items())
    return rows.select(
        fn.substring(fn.sha2(identity.cast("binary"), 256), 1, 32).alias("event_id"),
        c("ts_us").alias("event_ts_us"),
        fn.timestamp_micros("ts_us").cast("date").alias(DAY),
        fn.hour(fn.timestamp_micros("ts_us")).alias("event_hour"),
        name.alias("event_name"),
        "user_id",
        c("user_session").alias("session_id"),
        "product_id",
        "category_id",
        c("category_code").alias("category_path"),
        "brand",
        fn.when(price > 0, price).alias("price"),
        fn.lit(1).cast("long").alias("quantity"),
        fn.when(bought, fn.concat(fn.coalesce("user_session", "user_id"), fn.lit(":"), second)).alias("transaction_id"),
        fn.when(bought, fn.lit("sale")).alias("line_type"),
    )


def _rejected(read: DataFrame, arrived_us: int) -> DataFrame:
    """The bad rows with their reasons."""
    checks = _checks(arrived_us)
    told = {}
    for place, column in enumerate(("failure_class", "column_name", "message")):
        told[column] = fn.element_at(fn.array(*(fn.lit(check[place]) for check in checks)), fn.col("failure") + 1)
    raw = fn.coalesce("_corrupt", fn.to_csv(fn.struct(*COLUMNS)))
    return read.where(fn.col("failure").isNotNull()).select(
        fn.lit(SOURCE).alias("source"), fn.col("_metadata.file_name").alias("source_file"),
        *(value.alias(column) for column, value in told.items()), raw.alias("raw"),
        fn.lit(arrived_us).alias("arrived_ts_us"),
    )  # fmt: skip


def build_silver(lake: Lake, bronze: DataFrame, keys: Keys) -> DataFrame:
    """Silver by day. Each customer is hashed once, and its pseudonym broadcast: so many there are not."""
    user = fn.btrim("user_id")
    customers = bronze.select("user_id").distinct().withColumn("customer_id", keys.hmac("customer", user))
    customers = customers.withColumn("customer_key", surrogate("dim_customer", fn.col("customer_id")))
    visit = fn.coalesce(fn.concat(fn.lit("s|"), "session_id", fn.lit("|"), user), fn.concat(fn.lit("u|"), user))
    order = fn.concat(fn.lit(f"{SOURCE}|"), "transaction_id")
    silver = bronze.join(fn.broadcast(customers), "user_id").select(
        keys.number("event", fn.col("event_id")).alias("event_key"),
        "event_ts_us", DAY, "event_hour", "event_name",
        keys.number("session", fn.concat(fn.lit(f"{SOURCE}|"), visit)).alias("chain_key"),
        "customer_key", "customer_id", fn.lit(col=True).alias("is_user"),
        "product_id", "category_id", "category_path", "brand", "price", "quantity",
        keys.hmac("transaction", order).alias("transaction_id"), "line_type",
        fn.lit(col=True).alias("is_record"), fn.lit("granted").alias("consent"), fn.lit(col=False).alias("is_bot"),
        "source",
    )  # fmt: skip
    return lake.write("silver/events", silver, by_day=True)
