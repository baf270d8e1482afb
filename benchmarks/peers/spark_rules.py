"""The quality rules in essence, in one pass per table: rows, ranges, references and uniqueness together.

Conditions are those of the blocking rules in ``expectations/*.yaml``, as Spark SQL; rules about columns that these
files do not fill are left away.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce
from typing import TYPE_CHECKING

from pyspark.sql import Column
from pyspark.sql import functions as fn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyspark.sql import DataFrame

_NAMES = "'view_item', 'add_to_cart', 'remove_from_cart', 'purchase'"
_LINES = "'sale', 'refund', 'shipping', 'fee', 'adjustment', 'bad_debt'"
_NEAR = "unix_date(event_date) BETWEEN {0} div 86400000000 - 1 AND {0} div 86400000000 + 1"
_SEGMENTS = ("'Champions', 'New', 'Loyal', 'Promising', 'Cannot lose', 'At risk', 'Needs attention', 'Hibernating', "
             "'Lost'")  # fmt: skip
_BEHAVIOURS = "'Loyal', 'Quick buyer', 'Cart abandoner', 'Explorer', 'Buyer', 'Browser', 'Churn risk'"
_LIFECYCLES = "'New', 'Returned', 'Active', 'Slipping', 'Dormant'"
_BANDS = ("'(unknown)', 'below 10', '10 to 25', '25 to 50', '50 to 100', '100 to 250', '250 to 500', '500 to 1,000', "
          "'1,000 and more'")  # fmt: skip
_DATE, _HOUR, _CUSTOMER = ("dim_date", "date_key"), ("dim_hour", "hour_key"), ("dim_customer", "customer_key")
_PRODUCT, _CATEGORY = ("dim_product", "product_key"), ("dim_category", "category_key")
_SMALL = {f"{kind}_key": (f"dim_{kind}", f"{kind}_key") for kind in ("channel", "device", "country", "source")}


@dataclass(frozen=True)
class Rules:
    """What must hold of a table: ``key`` is unique, every condition is true of every row, references are found."""

    key: tuple[str, ...] = ()
    holds: Mapping[str, str] = field(default_factory=dict)
    references: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    filled: tuple[str, ...] = ()
    unknown: str = ""  # the name column of a dimension whose member -1 is called (unknown)


@dataclass(frozen=True)
class Verdict:
    """A table's rows, a number that changes with its content, and how many rows break which rule."""

    rows: int
    content: str
    broken: dict[str, int]


def _dimension(kind: str, *filled: str, **holds: str) -> Rules:
    key, name = f"{kind}_key", f"{kind}_name"
    called = f"{key} >= -1 AND ({key} = -1) = ({name} = '(unknown)')"
    return Rules((key,), {"unknown_is_called_so": called, **holds}, filled=(key, name, *filled), unknown=key)


RULES: Mapping[str, Rules] = {
    "bronze/events": Rules(holds={
        "event_is_identified": "length(event_id) = 32 AND event_name IS NOT NULL AND source IS NOT NULL "
                               f"AND batch_id IS NOT NULL AND coalesce(line_type IN ({_LINES}), TRUE)",
        "event_time_is_in_range": "event_ts_us BETWEEN 946598400000000 AND arrived_ts_us + 86400000000 "
                                  f"AND {_NEAR.format('event_ts_us')} AND event_hour BETWEEN 0 AND 23",
        "event_name_is_known": f"event_name IN ({_NAMES})",
    }),
    "silver/events": Rules(holds={
        "customer_is_a_pseudonym": "coalesce(customer_id RLIKE '^[0-9a-f]{32}$', TRUE) "
                                   "AND (customer_id IS NULL) = (customer_key IS NULL)",
        "event_is_complete": "event_key >= 0 AND chain_key >= 0 AND event_ts_us >= 0 AND event_hour BETWEEN 0 AND 23 "
                             "AND event_date IS NOT NULL AND event_name IS NOT NULL AND source IS NOT NULL "
                             "AND is_bot IS NOT NULL AND is_user IS NOT NULL AND is_record IS NOT NULL "
                             "AND consent IN ('granted', 'denied')",
        "money_is_possible": "coalesce(price >= 0, TRUE)",
    }),
    "silver/sessions": Rules(("session_key",), {
        "session_is_complete": "session_key >= 0 AND chain_key >= 0 AND event_date IS NOT NULL "
                               "AND start_hour BETWEEN 0 AND 23 AND source IS NOT NULL AND is_bot IS NOT NULL "
                               "AND split_reason IN ('none', '24 h cap')",
        "session_lasts_at_most_a_day": "end_ts_us >= start_ts_us AND end_ts_us - start_ts_us <= 86400000000 "
                                       f"AND {_NEAR.format('start_ts_us')}",
        "counts_are_possible": "events >= 1 AND views >= 0 AND carts >= 0 AND removes >= 0 "
                               "AND checkouts BETWEEN 0 AND events AND purchases >= 0 "
                               "AND (purchases > 0 OR revenue IS NULL)",
    }),
    "silver/customer_day": Rules(("event_date", "customer_key"), {
        "customer_is_a_pseudonym": "customer_id RLIKE '^[0-9a-f]{32}$' AND customer_key >= 0",
        "day_is_possible": "event_date IS NOT NULL AND first_ts_us <= last_ts_us AND events >= 1 AND orders >= 0 "
                           "AND coalesce(first_order_ts_us BETWEEN first_ts_us AND last_ts_us, orders = 0)",
        "counts_are_possible": "views BETWEEN 0 AND events AND carts BETWEEN 0 AND events "
                               "AND categories BETWEEN 0 AND views",
    }),
    "silver/product_day": Rules(("event_date", "product_id"), {
        "day_is_possible": "event_date IS NOT NULL AND product_id IS NOT NULL AND views >= 0 AND carts >= 0 "
                           "AND removes >= 0 AND purchases >= 0 AND quantity IS NOT NULL "
                           "AND (purchases > 0 OR (quantity = 0 AND revenue IS NULL))",
    }),
    "silver/commerce_events": Rules(("event_date", "source", "event_key"), {
        "event_is_complete": "event_key >= 0 AND chain_key >= 0 AND event_ts_us >= 0 AND event_hour BETWEEN 0 AND 23 "
                             "AND event_date IS NOT NULL AND source IS NOT NULL "
                             f"AND (line_type IS NOT NULL OR event_name IN ({_NAMES}))",
        "transaction_is_a_pseudonym": "coalesce(transaction_id RLIKE '^[0-9a-f]{32}$', TRUE)",
        "line_type_is_known": f"coalesce(line_type IN ({_LINES}), TRUE)",
    }),
    "dim_date": Rules(("date_key",), {
        "parts_fit_the_day": "date_key = year(date) * 10000 + month(date) * 100 + day(date) AND year = year(date) "
                             "AND quarter = quarter(date) AND month_number = month(date) "
                             "AND iso_week = weekofyear(date) AND weekday_number = weekday(date) + 1 "
                             "AND is_weekend = CASE WHEN weekday(date) >= 5 THEN 'Yes' ELSE 'No' END "
                             "AND week_start = trunc(date, 'week')",
    }, filled=("month_name", "weekday_name", "calendar_month")),
    "dim_hour": Rules(("hour_key",), {
        "label_fits_the_hour": "hour_key BETWEEN 0 AND 23 AND hour_label = concat(lpad(hour_key, 2, '0'), ':00')",
        "day_parts_are_in_order": "day_part_number = hour_key div 6 + 1 "
                                  "AND day_part IN ('Night', 'Morning', 'Afternoon', 'Evening')",
    }),
    "dim_customer": Rules(("customer_key",), {
        "customer_is_a_pseudonym": "customer_key >= -1 AND CASE customer_key WHEN -1 THEN customer_id = '(unknown)' "
                                   "ELSE customer_id RLIKE '^[0-9a-f]{32}$' END",
        "days_are_in_order": "coalesce(first_seen_date <= last_seen_date, customer_key = -1) AND coalesce("
                             "first_order_date BETWEEN first_seen_date AND last_seen_date, first_order_date IS NULL)",
        "segment_is_known": f"rfm_segment IN ('(unknown)', 'None yet', {_SEGMENTS})",
        "behaviour_is_known": f"behaviour_type IN ('(unknown)', {_BEHAVIOURS})",
        "lifecycle_is_known": f"lifecycle IN ('(unknown)', 'No order yet', {_LIFECYCLES})",
    }, filled=("customer_key", "customer_id"), unknown="customer_key"),
    "dim_category": _dimension("category", "category_1", "category_2", "category_3"),
    "dim_channel": _dimension("channel"),
    "dim_device": _dimension("device"),
    "dim_country": _dimension("country"),
    "dim_source": _dimension("source", "is_synthetic", "has_price", "has_views"),
    "dim_product": Rules(("product_key",), {
        "flags_and_bands_are_known": "is_current IN ('Yes', 'No') "
                                     f"AND price_band_number = array_position(array({_BANDS}), price_band) - 1",
        "keys_are_possible": "product_key >= -1 AND product_durable_key >= -1 "
                             "AND (product_key = -1) = (product_durable_key = -1)",
    }, {"category_key": _CATEGORY}, ("product_id", "product_name", "brand", "category_1", "category_2", "category_3",
                                     "valid_from", "valid_to"), "product_key"),
    "fact_session": Rules(("session_key",), {
        "flags_fit_the_counts": "is_bounce = IF(events = 1, 'Yes', 'No') AND has_cart = IF(carts > 0, 'Yes', 'No') "
                                "AND has_checkout = IF(checkouts > 0, 'Yes', 'No') AND is_bot IN ('Yes', 'No') "
                                "AND has_purchase = IF(purchases > 0, 'Yes', 'No') "
                                "AND is_new_customer IN ('Yes', 'No') "
                                "AND (customer_key <> -1 OR is_new_customer = 'No')",
        "engagement_fits_the_counts": "CASE WHEN duration_s > 10 OR views >= 2 OR purchases > 0 "
                                      "THEN is_engaged = 'Yes' WHEN duration_s = 10 THEN is_engaged IN ('Yes', 'No') "
                                      "ELSE is_engaged = 'No' END",
        "counts_are_possible": "session_key >= 0 AND duration_s BETWEEN 0 AND 86400 AND events >= 0 AND views >= 0 "
                               "AND carts >= 0 AND removes >= 0 AND checkouts BETWEEN 0 AND events AND purchases >= 0 "
                               "AND (purchases > 0 OR revenue IS NULL)",
        "split_reason_is_known": "split_reason IN ('none', '24 h cap')",
    }, {"date_key": _DATE, "hour_key": _HOUR, "customer_key": _CUSTOMER, **_SMALL},
       ("date_key", "hour_key", "customer_key", *_SMALL)),
    "fact_sales": Rules(("order_key", "date_key", "line_number"), {
        "line_type_is_known": f"line_type IN ({_LINES})",
        "revenue_adds_up": "revenue_net <=> unit_price * cast(quantity AS int) "
                           "AND revenue_gross <=> CASE WHEN line_type = 'sale' THEN revenue_net END "
                           "AND refund_amount <=> CASE WHEN line_type = 'refund' THEN -revenue_net END",
        "flags_fit_the_line": "is_refund = IF(line_type = 'refund', 'Yes', 'No') AND is_first_order IN ('Yes', 'No') "
                              "AND (is_first_order = 'No' OR (line_type = 'sale' AND customer_key <> -1))",
        "line_is_possible": "order_key >= 0 AND session_key >= -1 AND line_number >= 1 AND order_number >= 1 "
                            "AND coalesce(unit_price >= 0, TRUE)",
    }, {"date_key": _DATE, "hour_key": _HOUR, "customer_key": _CUSTOMER, "product_key": _PRODUCT,
        "category_key": _CATEGORY, **_SMALL},
       ("session_key", "date_key", "hour_key", "customer_key", "product_key", "category_key", *_SMALL)),
    "fact_product_day": Rules(("date_key", "product_key"), {
        "counts_are_possible": "product_key >= 0 AND views >= 0 AND carts >= 0 AND removes >= 0 AND purchases >= 0 "
                               "AND (purchases > 0 OR (quantity = 0 AND revenue IS NULL))",
    }, {"date_key": _DATE, "product_key": _PRODUCT, "category_key": _CATEGORY}, ("date_key", "category_key")),
    "fact_cart_item": Rules(("cart_key",), {
        "status_is_known": "cart_key >= 0 AND status IN ('open', 'purchased', 'removed', 'abandoned', 'recovered')",
        "status_fits_the_purchase": "(purchased_date_key IS NOT NULL) = (status IN ('purchased', 'recovered'))",
        "days_are_in_order": "added_date_key <= last_date_key AND coalesce("
                             "purchased_date_key BETWEEN added_date_key AND last_date_key, purchased_date_key IS NULL)",
    }, {"added_date_key": _DATE, "last_date_key": _DATE, "purchased_date_key": _DATE, "customer_key": _CUSTOMER,
        "product_key": _PRODUCT, "category_key": _CATEGORY},
       ("added_date_key", "last_date_key", "customer_key", "product_key", "category_key", "quantity")),
    "fact_customer_month": Rules(("date_key", "customer_key"), {
        "customer_has_ordered": "customer_key >= 0 AND recency_days >= 0 AND frequency >= 1",
        "scores_are_fifths": "r_score BETWEEN 1 AND 5 AND f_score BETWEEN 1 AND 5 AND m_score BETWEEN 1 AND 5",
        "names_are_known": f"rfm_segment IN ({_SEGMENTS}) AND behaviour_type IN ({_BEHAVIOURS}) "
                           f"AND lifecycle IN ({_LIFECYCLES})",
    }, {"date_key": _DATE, "customer_key": _CUSTOMER}, ("monetary",)),
    "fact_data_quality": Rules(("date_key", "source_key"), {
        "rows_add_up": "rows_in = accepted + quarantined + duplicate + suppressed AND accepted >= 0 "
                       "AND quarantined >= 0 AND duplicate >= 0 AND late BETWEEN 0 AND accepted",
    }, {"date_key": _DATE, "source_key": _SMALL["source_key"]}),
}  # fmt: skip

# Rules about rows in relation to others: each query has a row where the rule is broken.
QUERIES: Mapping[str, Mapping[str, str]] = {
    "silver/customer_day": {
        "key_stands_for_one_customer": "SELECT customer_key FROM {t} GROUP BY customer_key "
                                       "HAVING min(customer_id) <> max(customer_id)",
    },
    "dim_date": {
        "calendar_is_whole": "SELECT 1 FROM (SELECT min(date) AS first, max(date) AS last, count(*) AS days FROM {t}) "
                             "WHERE first <> trunc(first, 'year') OR date_add(last, 1) <> trunc(date_add(last, 1), "
                             "'year') OR days <> date_diff(last, first) + 1",
    },
    "dim_product": {
        "versions_follow_each_other": "SELECT 1 FROM (SELECT *, lag(valid_to) OVER (PARTITION BY product_durable_key "
                                      "ORDER BY valid_from, valid_to) AS ended FROM {t}) WHERE valid_to < valid_from "
                                      "OR valid_from <> date_add(ended, 1)",
        "one_version_is_current": "SELECT 1 FROM {t} GROUP BY product_durable_key "
                                  "HAVING min(valid_from) <> DATE '1900-01-01' OR max(valid_to) <> DATE '9999-12-31' "
                                  "OR count_if(is_current = 'Yes') <> 1 "
                                  "OR max(valid_to) FILTER (WHERE is_current = 'Yes') <> max(valid_to) "
                                  "OR min(product_id) <> max(product_id)",
    },
    "fact_sales": {
        "orders_are_numbered": "SELECT date_key FROM {t} GROUP BY date_key "
                               "HAVING count(DISTINCT order_number) <> count(DISTINCT order_key)",
    },
}  # fmt: skip


def lookups(tables: Mapping[str, DataFrame]) -> dict[str, DataFrame]:
    """The keys of all dimensions that facts refer to, kept in memory: each is looked up by several facts."""
    wanted = {target for rules in RULES.values() for target in rules.references.values()}
    return {target: tables[target].select(key).persist() for target, key in wanted}


def judge(name: str, table: DataFrame, members: Mapping[str, DataFrame]) -> Verdict:
    """Ask all rules of a table; ``members``: the ``lookups`` of the dimensions that it refers to.

    What a row breaks is kept as a bit each, so that rows, references, uniqueness and the content's hash are told by one
    aggregation over the key.
    """
    rules = RULES[name]
    rows, breaches = _with_breaches(name, table, members)
    if rules.key:
        together = fn.bit_or("broken").alias("broken"), fn.bit_xor("content").alias("content")
        rows = rows.groupBy(*rules.key).agg(*together, fn.sum("copies").alias("copies"))
    counts = {rule: fn.count_if(fn.col("broken").bitwiseAND(1 << bit) != 0) for bit, rule in enumerate(breaches)}
    if rules.key:
        counts["key_is_unique"] = fn.count_if(fn.col("copies") > 1)
    if rules.unknown:
        counts["unknown_member_is_there"] = fn.when(fn.count_if(fn.col(rules.unknown) == -1) != 1, 1).otherwise(0)
    named = [count.alias(rule) for rule, count in counts.items()]
    totals = rows.agg(fn.sum("copies").alias("rows"), fn.bit_xor("content").alias("content"), *named)
    told = totals.collect()[0].asDict()
    total, content = told.pop("rows") or 0, told.pop("content") or 0
    for rule, query in QUERIES.get(name, {}).items():
        told[rule] = table.sparkSession.sql(query, t=table).count()
    return Verdict(total, f"{content % 2**64:016x}", {rule: n for rule, n in told.items() if n})


def _with_breaches(name: str, table: DataFrame, members: Mapping[str, DataFrame]) -> tuple[DataFrame, list[str]]:
    """The keys of a table's rows, with a hash of each and a bit for every rule that it breaks; the rules in order."""
    rules = RULES[name]
    breaches = {rule: ~fn.coalesce(fn.expr(condition), fn.lit(col=False)) for rule, condition in rules.holds.items()}
    if rules.filled:
        breaches["nothing_is_missing"] = fn.expr(" OR ".join(f"{column} IS NULL" for column in rules.filled))
    # The layers below are not published, and a hash would read their every column.
    content = fn.lit(0).cast("long") if "/" in name else fn.xxhash64(*sorted(table.columns))
    for column, (target, key) in rules.references.items():
        found = f"found_{column}"
        table = table.join(members[target].select(fn.col(key).alias(found)), fn.col(column) == fn.col(found), "left")
        breaches[f"{column}_exists"] = fn.col(column).isNotNull() & fn.col(found).isNull()
    bits = [fn.when(breach, 1 << bit).otherwise(0) for bit, breach in enumerate(breaches.values())]
    broken = reduce(Column.bitwiseOR, bits)
    rows = table.select(*rules.key, broken.alias("broken"), content.alias("content"), fn.lit(1).alias("copies"))
    return rows, list(breaches)
