"""Dimensions of the star; each has the unknown member -1 (calendar dimensions aside)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

from pyspark.sql import Window
from pyspark.sql import functions as fn
from spark_events import SOURCE
from spark_expressions import UNKNOWN, UNKNOWN_KEY, case, date_key, surrogate, surrogate_of, yes_no
from spark_lake import DAY

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

FIRST_VERSION, LAST_DAY = "1900-01-01", "9999-12-31"
AHEAD_DAYS = 28  # that forecasts would speak of; the calendar reaches as far as the chain's
PRICE_BANDS = ((10, "below 10"), (25, "10 to 25"), (50, "25 to 50"), (100, "50 to 100"), (250, "100 to 250"),
               (500, "250 to 500"), (1000, "500 to 1,000"))  # fmt: skip
_HIGHEST_BAND = "1,000 and more"
_CAN = {"has_price", "has_sessions", "has_views", "has_cart", "has_categories"}
FLAGS = ("is_synthetic", "has_price", "has_sessions", "has_views", "has_cart", "has_checkout", "has_categories",
         "has_channel", "has_device", "has_country", "has_refunds", "has_consent")  # fmt: skip


@dataclass(frozen=True)
class Span:
    """What the sessions tell of time: their first and last day, and the end of the last one (UTC microseconds)."""

    first: date
    last: date
    end_us: int

    @property
    def month_ends(self) -> list[date]:
        """Last days of the months that are over by the last day."""
        ends: list[date] = []
        day = self.first.replace(day=1)
        while True:
            following = (day + timedelta(days=31)).replace(day=1)
            if following - timedelta(days=1) > self.last:
                return ends
            ends.append(following - timedelta(days=1))
            day = following


def dim_date(spark: SparkSession, span: Span, arrived: date) -> DataFrame:
    """Every day of the whole years around the events, what follows them, and the files' arrival."""
    first, last = min(span.first, arrived), max(span.last + timedelta(days=AHEAD_DAYS), arrived)
    bounds = (fn.lit(date(first.year, 1, 1)), fn.lit(date(last.year, 12, 31)))
    days = spark.range(1).select(fn.explode(fn.sequence(*bounds)).alias("date"))
    day = fn.col("date")
    weekday = fn.weekday(day) + 1
    return days.select(
        date_key(day).alias("date_key"), day, fn.year(day).cast("long").alias("year"),
        fn.quarter(day).cast("long").alias("quarter"), fn.month(day).cast("long").alias("month_number"),
        fn.date_format(day, "MMMM").alias("month_name"), fn.weekofyear(day).cast("long").alias("iso_week"),
        weekday.cast("long").alias("weekday_number"), fn.date_format(day, "EEEE").alias("weekday_name"),
        yes_no(weekday >= 6).alias("is_weekend"), fn.date_format(day, "yyyy-MM").alias("calendar_month"),  # noqa: PLR2004
        fn.trunc(day, "week").alias("week_start"),
    )  # fmt: skip


def dim_hour(spark: SparkSession) -> DataFrame:
    """Twenty-four hours."""
    part = fn.expr("id div 6")
    names = fn.array(*map(fn.lit, ("Night", "Morning", "Afternoon", "Evening")))
    return spark.range(24).select(
        fn.col("id").alias("hour_key"), fn.format_string("%02d:00", "id").alias("hour_label"),
        fn.element_at(names, (part + 1).cast("int")).alias("day_part"), (part + 1).alias("day_part_number"),
    )  # fmt: skip


def dim_source(spark: SparkSession, *, synthetic: bool) -> DataFrame:
    """The one source with what it can tell."""
    can = _CAN | ({"is_synthetic"} if synthetic else set())
    known = (surrogate_of("dim_source", SOURCE), SOURCE, *("Yes" if name in can else "No" for name in FLAGS))
    unknown = (UNKNOWN_KEY, UNKNOWN, *("No" for _ in FLAGS))
    columns = ", ".join(f"{name} string" for name in ("source_name", *FLAGS))
    return spark.createDataFrame([unknown, known], f"source_key bigint, {columns}")


def dim_nothing(spark: SparkSession, kind: str) -> DataFrame:
    """dim_channel, dim_device or dim_country: these files tell none, so only the unknown member is there."""
    return spark.createDataFrame([(UNKNOWN_KEY, UNKNOWN)], f"{kind}_key bigint, {kind}_name string")


def product_versions(days: DataFrame) -> DataFrame:
    """Versions of products: a new one where category or brand changes (SCD type 2).

    A day without a value changes nothing; days before the first known value belong to it. The first version reaches
    back to 1900.
    """
    order = Window.partitionBy("product_id").orderBy(DAY)
    whole = order.rowsBetween(Window.unboundedPreceding, Window.unboundedFollowing)
    look = fn.concat_ws("\x1f", *(fn.coalesce(name, fn.lit("")) for name in ("category", "brand")))

    def known(name: str) -> Column:
        """The last value up to a day, before it the first one."""
        last, first = fn.last(name, ignorenulls=True).over(order), fn.first(name, ignorenulls=True).over(whole)
        return fn.coalesce(last, first).alias(name)

    filled = days.select("product_id", DAY, known("category"), known("brand")).withColumn("look", look)
    before = fn.lag("look").over(order)
    changed = fn.col("before").isNull() | (fn.col("before") != fn.col("look"))
    changes = filled.withColumn("before", before).where(changed)
    following = fn.lead(DAY).over(order)
    versions = changes.select(
        "product_id", "category", "brand",
        case([(fn.col("before").isNull(), fn.lit(FIRST_VERSION).cast("date"))], fn.col(DAY)).alias("valid_from"),
        fn.coalesce(fn.date_sub(following, 1), fn.lit(LAST_DAY).cast("date")).alias("valid_to"),
        following.isNull().alias("is_current"),
    )  # fmt: skip
    business_id = fn.concat("product_id", fn.lit("|"), fn.col("valid_from").cast("string"))
    return versions.withColumn("product_key", surrogate("dim_product", business_id))


def dim_category(versions: DataFrame) -> DataFrame:
    """Categories of all product versions, in three levels; deeper ones stay in the third."""
    unknown = versions.sparkSession.createDataFrame([(UNKNOWN,)], "category_name string")
    named = versions.where(fn.col("category").isNotNull()).select(fn.col("category").alias("category_name"))
    members = named.distinct().union(unknown)
    name = fn.col("category_name")
    pieces, unnamed = fn.split(name, r"\."), name.startswith("#")
    third = fn.regexp_extract(name, r"^[^.]*\.[^.]*\.(.*)$", 1)
    few = unnamed | (fn.size(pieces) < 2)  # noqa: PLR2004
    return members.select(
        fn.when(name == UNKNOWN, UNKNOWN_KEY).otherwise(surrogate("dim_category", name)).alias("category_key"), name,
        fn.when(unnamed, "(unnamed)").otherwise(fn.get(pieces, 0)).alias("category_1"),
        fn.when(few, "(none)").otherwise(fn.get(pieces, 1)).alias("category_2"),
        fn.when(few | (fn.size(pieces) < 3), "(none)").otherwise(third).alias("category_3"),  # noqa: PLR2004
    )  # fmt: skip


def dim_product(days: DataFrame, versions: DataFrame, categories: DataFrame) -> DataFrame:
    """Product versions with the current price band, which is overwritten (SCD type 1)."""
    day_of_price = fn.when(fn.col("price").isNotNull(), fn.col(DAY))
    current = days.groupBy("product_id").agg(fn.max_by("price", day_of_price).alias("last_price"))
    price = fn.col("last_price")
    below = [(price < limit, name, n) for n, (limit, name) in enumerate(PRICE_BANDS, 1)]
    band = case([(price.isNull(), UNKNOWN), *((c, name) for c, name, _ in below)], _HIGHEST_BAND)
    number = case([(price.isNull(), 0), *((c, n) for c, _, n in below)], len(PRICE_BANDS) + 1)
    joined = versions.join(current, "product_id")
    joined = joined.withColumn("category_name", fn.coalesce("category", fn.lit(UNKNOWN)))
    products = joined.join(fn.broadcast(categories), "category_name").select(
        "product_key", surrogate("dim_product_durable", fn.col("product_id")).alias("product_durable_key"),
        "product_id", fn.lit("(no name)").alias("product_name"), fn.coalesce("brand", fn.lit(UNKNOWN)).alias("brand"),
        "category_key", "category_1", "category_2", "category_3", band.alias("price_band"), "valid_from", "valid_to",
        yes_no(fn.col("is_current")).alias("is_current"), number.cast("long").alias("price_band_number"),
    )  # fmt: skip
    unknown = (UNKNOWN_KEY, UNKNOWN_KEY, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN_KEY, UNKNOWN, "(none)", "(none)", UNKNOWN,
               date.fromisoformat(FIRST_VERSION), date.fromisoformat(LAST_DAY), "Yes", 0)  # fmt: skip
    return products.union(days.sparkSession.createDataFrame([unknown], products.schema))


