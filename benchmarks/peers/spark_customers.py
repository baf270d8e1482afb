"""What is known of each customer at the end of a day: orders, scores, lifecycle and behaviour; dim and month fact."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from pyspark.sql import Window
from pyspark.sql import functions as fn
from spark_expressions import MONEY, UNKNOWN, UNKNOWN_KEY, case, date_key, is_sale
from spark_lake import DAY

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from spark_dimensions import Span

NO_SEGMENT, NO_LIFECYCLE, CHURN_RISK = "None yet", "No order yet", "Churn risk"
_SCORES = 5
_NEW_DAYS, _ACTIVE_DAYS, _SLIPPING_DAYS = 30, 60, 120
_LOYAL_ORDERS, _EXPLORED, _QUICK_US, _BEHAVIOUR_DAYS = 3, 5, 10 * 60_000_000, 90
_KEY = ["month_end", "customer_key"]


def visits(sessions: DataFrame, commerce: DataFrame) -> DataFrame:
    """Visits with a cart or an order, and the time from a visit's first event to its first order."""
    bought = sessions.where((fn.col("purchases") > 0) & (fn.col("views") + fn.col("carts") > 0))
    bought = bought.select("session_key", "chain_key", "start_ts_us", "end_ts_us")
    inside = fn.col("event_ts_us").between(fn.col("start_ts_us"), fn.col("end_ts_us"))
    sales = commerce.where(is_sale()).select("chain_key", "event_ts_us")
    until = fn.min(fn.col("event_ts_us") - fn.col("start_ts_us"))
    ordered = bought.join(sales, "chain_key").where(inside).groupBy("session_key").agg(until.alias("order_us"))
    shopped = sessions.where((fn.col("carts") > 0) | (fn.col("purchases") > 0))
    return shopped.join(ordered, "session_key", "left").select(
        "customer_key", DAY, "order_us", fn.col("end_ts_us").alias("end_us"), (fn.col("carts") > 0).alias("has_cart"),
        (fn.col("purchases") > 0).alias("has_order"),
    )  # fmt: skip


def ends_of(days: DataFrame, ends: list[date]) -> DataFrame:
    """Days as the rules ask about them, with the moment at which each ends."""
    rows = [(end, round(datetime(end.year, end.month, end.day, tzinfo=UTC).timestamp() + 86400) * 10**6)
            for end in ends]  # fmt: skip
    return days.sparkSession.createDataFrame(rows, "month_end date, day_end_us bigint")


def orders_known(days: DataFrame, ends: DataFrame) -> DataFrame:
    """Customers with an order by each end: recency, frequency, monetary value, lifecycle."""
    ordered = fn.col("orders") > 0
    bought = days.where(ordered | fn.col("revenue_net").isNotNull())
    bought = bought.withColumn("ordered_day", fn.when(ordered, fn.col(DAY)))
    order = Window.partitionBy("customer_key").orderBy(DAY)
    earlier = order.rowsBetween(Window.unboundedPreceding, -1)
    bought = bought.withColumn("before", fn.when(ordered, fn.max("ordered_day").over(earlier)))
    known = bought.join(fn.broadcast(ends), fn.col(DAY) <= fn.col("month_end"))
    grouped = known.groupBy(*_KEY).agg(
        fn.min("ordered_day").alias("first_order"), fn.max("ordered_day").alias("last_order"),
        fn.max("before").alias("last_but_one"), fn.sum("orders").alias("frequency"),
        fn.coalesce(fn.sum("revenue_net"), fn.lit(0)).cast(MONEY).alias("monetary"),
    ).where(fn.col("frequency") > 0)  # fmt: skip
    recency = fn.date_diff("month_end", "last_order").cast("long")
    since_first = fn.date_diff("month_end", "first_order")
    pause = fn.coalesce(fn.date_diff("last_order", "last_but_one"), fn.lit(0))
    stands = case([
        (since_first <= _NEW_DAYS, "New"), ((recency <= _NEW_DAYS) & (pause > _SLIPPING_DAYS), "Returned"),
        (recency <= _ACTIVE_DAYS, "Active"), (recency <= _SLIPPING_DAYS, "Slipping"),
    ], "Dormant")  # fmt: skip
    return grouped.select(*_KEY, "frequency", "monetary", recency.alias("recency_days"), stands.alias("lifecycle"))


def with_scores(known: DataFrame) -> DataFrame:
    """Scores from 1 to 5 among the customers of a month, and the segment that they give."""
    def fifth(order: Column) -> Column:
        worse = fn.percent_rank().over(Window.partitionBy("month_end").orderBy(order))
        return fn.least(fn.floor(worse * _SCORES) + 1, fn.lit(_SCORES)).cast("long")

    scored = known.withColumns({
        "r_score": fifth(fn.desc("recency_days")), "f_score": fifth(fn.asc("frequency")),
        "m_score": fifth(fn.asc("monetary")),
    })  # fmt: skip
    r, f, m = fn.col("r_score"), fn.col("f_score"), fn.col("m_score")
    lately, often, much, once = r >= 4, f >= 4, m >= 4, fn.col("frequency") == 1  # noqa: PLR2004
    segment = case([
        (lately & often & much & ~once, "Champions"), (lately & once, "New"),
        ((r >= 3) & often & ~once, "Loyal"),  # noqa: PLR2004
        (lately, "Promising"), ((r == 1) & often & much & ~once, "Cannot lose"),
        ((r <= 2) & (f >= 3) & ~once, "At risk"), (r == 3, "Needs attention"), (r == 2, "Hibernating"),  # noqa: PLR2004
    ], "Lost")  # fmt: skip
    return scored.withColumn("rfm_segment", segment)


def behaviours(days: DataFrame, came: DataFrame, ends: DataFrame) -> DataFrame:
    """What customers do who came within ninety days before each end."""
    ends = fn.broadcast(ends)
    lately = (fn.col(DAY) > fn.date_sub("month_end", _BEHAVIOUR_DAYS)) & (fn.col(DAY) <= fn.col("month_end"))
    did = fn.col("orders") + fn.col("views") + fn.col("carts")
    seen = days.where((did > 0) | fn.col("revenue_net").isNull()).join(ends, lately).groupBy(*_KEY).agg(
        fn.sum("orders").alias("orders"), fn.max("categories").alias("categories")
    )  # fmt: skip
    shopped = came.join(ends, lately & (fn.col("end_us") < fn.col("day_end_us"))).groupBy(*_KEY).agg(
        fn.count_if(fn.col("has_cart") & ~fn.col("has_order")).alias("abandoned"),
        fn.count_if("has_order").alias("bought"), fn.median("order_us").alias("order_us"),
    )  # fmt: skip
    both = seen.join(shopped, _KEY, "left")
    bought, abandoned = (fn.coalesce(name, fn.lit(0)) for name in ("bought", "abandoned"))
    named = case([
        (fn.col("orders") >= _LOYAL_ORDERS, "Loyal"), ((bought > 0) & (fn.col("order_us") <= _QUICK_US), "Quick buyer"),
        ((abandoned > 0) & (abandoned > bought), "Cart abandoner"), (fn.col("categories") >= _EXPLORED, "Explorer"),
        (bought > 0, "Buyer"),
    ], "Browser")  # fmt: skip
    return both.select(*_KEY, named.alias("behaviour_type"))


def dim_customer(days: DataFrame, came: DataFrame, span: Span) -> DataFrame:
    """Customers with what rules say of them now: segments at the newest month's end, all else on the newest day."""
    newest, closed = ends_of(days, [span.last]), ends_of(days, span.month_ends[-1:])
    customers = days.groupBy("customer_key", "customer_id").agg(
        fn.min(DAY).alias("first_seen_date"), fn.max(DAY).alias("last_seen_date"),
        fn.min(fn.when(fn.col("first_order_ts_us").isNotNull(), fn.col(DAY))).alias("first_order_date"),
    )  # fmt: skip
    said = (
        (with_scores(orders_known(days, closed)), "rfm_segment", NO_SEGMENT),
        (behaviours(days, came, newest), "behaviour_type", CHURN_RISK),
        (orders_known(days, newest), "lifecycle", NO_LIFECYCLE),
    )
    for table, column, otherwise in said:
        customers = customers.join(table.select("customer_key", column), "customer_key", "left")
        customers = customers.withColumn(column, fn.coalesce(column, fn.lit(otherwise)))
    customers = customers.select(
        "customer_key", "customer_id", "first_seen_date", "last_seen_date", "first_order_date", "rfm_segment",
        "behaviour_type", "lifecycle",
    )  # fmt: skip
    unknown = (UNKNOWN_KEY, UNKNOWN, None, None, None, UNKNOWN, UNKNOWN, UNKNOWN)
    return customers.union(days.sparkSession.createDataFrame([unknown], customers.schema))


def fact_customer_month(days: DataFrame, came: DataFrame, ends: list[date]) -> DataFrame:
    """Customers with an order by each month's end, only from what was known then; models are left away."""
    asked = ends_of(days, ends)
    found = with_scores(orders_known(days, asked)).join(behaviours(days, came, asked), _KEY, "left")
    nothing = fn.lit(None)
    return found.select(
        date_key(fn.col("month_end")).alias("date_key"), "customer_key", "recency_days", "frequency", "monetary",
        "r_score", "f_score", "m_score", "rfm_segment", nothing.cast("string").alias("cluster"),
        fn.coalesce("behaviour_type", fn.lit(CHURN_RISK)).alias("behaviour_type"), "lifecycle",
        *(nothing.cast("double").alias(name) for name in ("churn_risk", "p_alive", "expected_purchases")),
        nothing.cast(MONEY).alias("expected_value"),
    )  # fmt: skip
