"""What was sold, to where, by which way: products, categories, origins; four weeks beside the four before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from exports.aggregate.declare import Filled, Row, Table, declared
from exports.aggregate.former import carry
from exports.aggregate.guard import LABEL, MINIMUM, OTHER, Guard, in_tens, keep_members, nearly_alike, note, withhold
from exports.aggregate.shop import Shop
from exports.aggregate.trade import change, tells_of_few, told_of

LISTED = 200  # products
MOVERS = 5  # in each direction

_SOLD = """
    first date : First day of the four weeks
    last date : Their last day
    orders int [orders] : Orders with it; of products and categories in tens
    units int [units] : Units sold
    revenue_gross money [shop's currency] : Value of sale lines, before refunds
    share share [of gross revenue] : Its part of all gross revenue of the four weeks
    orders_before int [orders] : The same of the four weeks before
    units_before int [units] : Units sold in the four weeks before
    revenue_before money [shop's currency] : Gross revenue of the four weeks before
    revenue_change money [shop's currency] : Gross revenue less that of the four weeks before
    revenue_change_share share [of the four weeks before] : The same as a share
"""
_NEEDS = dict.fromkeys(
    ("revenue_gross", "share", "revenue_before", "revenue_change", "revenue_change_share"), "has_price"
)
_BEFORE = ("orders_before", "units_before", "revenue_before", "revenue_change", "revenue_change_share")
_ORIGINS = ("channel", "device", "country")
_FEW = "the rest of a week that is not told would be of fewer than ten buyers"
_ALONE = "there are no eight complete weeks yet: four, and the four before"
_NEEDS_CATEGORY = {**_NEEDS, "category": "has_categories"}
_WHAT = """
    product_id text : The shop's product number
    product text : Its name; without one, its brand and number
    brand text : Its brand in the newest version
    category text : Its first category level in the newest version
"""

PRODUCTS = declared("products", "Products", f"one product with ten buyers in four weeks (at most {LISTED}, by revenue, "
                    "then units), all further ones, and all others",
                    "rank int : Place by gross revenue, then units" + _WHAT + _SOLD, _NEEDS_CATEGORY)  # fmt: skip
FURTHER = "further products"
_SUMMED = ("units", "revenue_gross", "share")
MOVERS_TABLE = declared("product_movers", "Products that moved most", "one of the products whose gross revenue grew or "
                        "shrank most, with ten buyers in both periods",
                        "direction text : up or down\nrank int : Place by the change of gross revenue" + _WHAT + _SOLD,
                        _NEEDS_CATEGORY)  # fmt: skip
CATEGORIES = declared("categories", "Categories", "one category of the first level",
                      "category text : First category level" + _SOLD, _NEEDS)  # fmt: skip
ORIGINS = declared("origins", "Where orders come from", "one channel, device or country",
                   "dimension text : channel, device or country\nmember text : Its name" + _SOLD, _NEEDS)  # fmt: skip

_GUARDS = (
    Guard("k", ("orders", "units", "revenue_gross", "share", "revenue_change", "revenue_change_share"), "buyers",
          ("by",)),
    Guard("k_before", ("orders_before", "units_before", "revenue_before", "revenue_change", "revenue_change_share"),
          "buyers in the four weeks before", ("by",)),
)  # fmt: skip


def _sold(shop: Shop, weeks: Filled, member: str, joins: str, part: str = "''",
          sums: Sequence[str] = ("units", "revenue_gross")) -> list[Row]:  # fmt: skip
    """What was sold by ``member`` (SQL), those of fewer than ten buyers folded; biggest first.

    ``part``: what else is published of these lines (SQL of the category), so that it cannot tell of those folded.
    ``sums``: figures that add up to those of the weeks.
    """
    bounds = shop.month.keys if shop.compares else shop.month.keys | {"earlier": shop.month.keys["first"]}
    lines = f"""SELECT {member} AS member, customer_key, order_key, quantity, revenue_gross, date_key >= $first AS now,
                       {part} AS part
                FROM fact_sales {joins} WHERE line_type = 'sale' AND date_key BETWEEN $earlier AND $last"""
    shop.con.execute(f"CREATE OR REPLACE TEMP TABLE lines AS {lines}", bounds)
    # Both periods' totals are published, of all and of each part.
    keep_members(shop.con, """SELECT member, customer_key, unnest([now || '', now || part]) AS part, now AS counts
                              FROM lines""")
    rows = shop.rows(f"""
        FROM (SELECT {LABEL} AS member, 'all' AS by, min(part) FILTER (member IN (FROM kept)) AS part,
               count(DISTINCT order_key) FILTER (now) AS orders,
               CAST(coalesce(sum(quantity) FILTER (now), 0) AS BIGINT) AS units,
               coalesce(sum(revenue_gross) FILTER (now), 0) AS revenue_gross,
               count(DISTINCT order_key) FILTER (NOT now) AS orders_before,
               CAST(coalesce(sum(quantity) FILTER (NOT now), 0) AS BIGINT) AS units_before,
               coalesce(sum(revenue_gross) FILTER (NOT now), 0) AS revenue_before,
               count(DISTINCT customer_key) FILTER (now) AS k,
               count(DISTINCT customer_key) FILTER (NOT now) AS k_before
        FROM lines GROUP BY 1) ORDER BY member = '{OTHER}', revenue_gross DESC, units DESC, member""")
    for column in sums:
        carry(rows, column, told_of(weeks, shop.month, column))
    total = sum(float(r["revenue_gross"]) for r in rows)
    for row in rows:
        row["first"], row["last"] = shop.month.first, shop.month.last
        row["share"] = round(float(row["revenue_gross"]) / total, 6) if total else None
        row["revenue_change"] = row["revenue_gross"] - row["revenue_before"]
        row["revenue_change_share"] = change(row["revenue_before"], row["revenue_gross"])
    withhold(rows, [*_GUARDS, *(replace(g, within=("part",)) for g in _GUARDS)])
    for row in rows:
        row.pop("by")
        row.pop("part")
        if "orders" not in sums:  # an order holds several: the orders of all less those of one are not in the table
            row["orders"], row["orders_before"] = in_tens(row["orders"]), in_tens(row["orders_before"])
        if not shop.compares:
            row.update(dict.fromkeys(_BEFORE))
    return rows


def _filled(shop: Shop, table: Table, rows: list[Row]) -> Filled:
    blank = shop.blank(table, rows)
    if not rows:
        blank = {"": "there are no four complete weeks with sales yet"}
    elif not shop.compares:
        blank = dict.fromkeys(_BEFORE, _ALONE) | blank
    return Filled(table, tuple({c.name: r.get(c.name) for c in table.columns} for r in rows), blank)


def goods(shop: Shop, days: Filled, weeks: Filled) -> tuple[Filled, ...]:
    """Products, those that moved most, categories and origins: told of four weeks once."""
    few = shop.has_month and any(tells_of_few(shop, days, weeks, span, "orders")
                                 for span in (shop.month, *([shop.month.before] if shop.compares else [])))  # fmt: skip
    there = shop.has_month and not few
    made = shop.former.once(
        shop.month.first if shop.has_month else None, [PRODUCTS, MOVERS_TABLE, CATEGORIES, ORIGINS],
        lambda: (*_products_and_movers(shop, weeks, there=there), _categories(shop, weeks, there=there),
                 _origins(shop, weeks, there=there)),
    )  # fmt: skip
    if few:
        made = tuple(f if f.rows else Filled(f.table, (), {"": _FEW}) for f in made)
    return made


def _as_told(shop: Shop, table: Table, rows: list[Row], *key: str) -> None:
    """The four weeks before as they were told then, if they were: anew, a few persons could make the difference."""
    then = shop.former.period(table, shop.month.before.first)
    if then is None:
        return
    known = {tuple(r[k] for k in key): r for r in then if OTHER not in r.values()}
    for row in rows:
        old = known.get(tuple(row[k] for k in key), {}) if OTHER not in row.values() else {}
        for now, before in (("orders", "orders_before"), ("units", "units_before"),
                            ("revenue_gross", "revenue_before")):  # fmt: skip
            row[before] = old.get(now)
        known_both = None not in (row["revenue_before"], row["revenue_gross"])
        row["revenue_change"] = row["revenue_gross"] - row["revenue_before"] if known_both else None
        row["revenue_change_share"] = change(row["revenue_before"], row["revenue_gross"])


def _products_and_movers(shop: Shop, weeks: Filled, *, there: bool) -> tuple[Filled, Filled]:
    rows = _products(shop, weeks) if there else []
    listed = _fold_tail(rows)
    for rank, row in enumerate(listed, 1):
        row["rank"] = rank if row.get("product_id") else None  # several together have no number
    moved = [r for r in rows if r["product"] != OTHER and r["revenue_change"] is not None]
    moved.sort(key=lambda r: (-r["revenue_change"], r["product_id"]))
    movers: list[Row] = []
    for direction, some in (("up", moved[:MOVERS]), ("down", moved[::-1][:MOVERS])):
        chosen = [r for r in some if r["revenue_change"] and (r["revenue_change"] > 0) == (direction == "up")]
        movers += [{**r, "direction": direction, "rank": n} for n, r in enumerate(chosen, 1)]
    told = _filled(shop, MOVERS_TABLE, movers if shop.has_any("has_price") else [])
    if not told.rows:
        few = "no product has ten buyers in both periods" if shop.compares else _ALONE
        why = few if shop.has_any("has_price") else shop.why_not("has_price")
        told = Filled(MOVERS_TABLE, (), {"": why})
    return _filled(shop, PRODUCTS, listed), told


def _products(shop: Shop, weeks: Filled) -> list[Row]:
    rows = _sold(shop, weeks, "CAST(product_durable_key AS VARCHAR)", "JOIN dim_product USING (product_key)",
                 "category_1")  # fmt: skip
    known = shop.rows("""
        SELECT CAST(product_durable_key AS VARCHAR) AS member, product_id, brand, category_1 AS category,
               CASE WHEN product_key = -1 THEN '(unknown product)'
                    WHEN product_name NOT IN ('(no name)', '(unknown)') THEN product_name
                    WHEN brand <> '(unknown)' THEN brand || ' ' || product_id
                    ELSE 'Product ' || product_id END AS product
        FROM dim_product WHERE is_current = 'Yes'""")
    told = {r.pop("member"): r for r in known}
    for row in rows:
        member = row.pop("member")
        row.update(dict.fromkeys(("product_id", "brand", "category")) | told.get(member, {"product": member}))
    _as_told(shop, PRODUCTS, rows, "product_id")
    return rows


def _fold_tail(rows: list[Row]) -> list[Row]:
    """At most LISTED products, what all further ones sold, and what those sold that are folded."""
    products = [r for r in rows if r["product"] != OTHER]
    further = products[LISTED:]
    summed: list[Row] = []
    if further:
        row: Row = {c.name: None for c in PRODUCTS.columns} | {"product": FURTHER, "first": further[0]["first"],
                                                               "last": further[0]["last"]}  # fmt: skip
        for name in _SUMMED:
            values = [r[name] for r in further]
            row[name] = None if None in values else _sum(values)
        note(row, f"{len(further):,} products with ten buyers; an order may hold several of them, so none are counted")
        summed = [row]
    return [*products[:LISTED], *summed, *(r for r in rows if r["product"] == OTHER)]


def _sum(values: list[Any]) -> Any:
    total = sum(values)
    return round(total, 6) if isinstance(total, float) else total


def _categories(shop: Shop, weeks: Filled, *, there: bool) -> Filled:
    """Categories of the first level."""
    if not shop.has_any("has_categories"):
        return Filled(CATEGORIES, (), {"": shop.why_not("has_categories")})
    rows = _sold(shop, weeks, "category_1", "JOIN dim_category USING (category_key)") if there else []
    for row in rows:
        row["category"] = row.pop("member")
    _as_told(shop, CATEGORIES, rows, "category")
    return _filled(shop, CATEGORIES, rows)


def _origins(shop: Shop, weeks: Filled, *, there: bool) -> Filled:
    """Orders by channel, device and country, as far as a source tells them."""
    rows: list[Row] = []
    lacking = {f"by {n}": shop.why_not(f"has_{n}") for n in _ORIGINS if not shop.has_any(f"has_{n}")}
    for name in _ORIGINS:
        if f"by {name}" in lacking or not there:
            continue
        found = _sold(shop, weeks, f"{name}_name", f"JOIN dim_{name} USING ({name}_key)",
                      sums=("orders", "units", "revenue_gross"))  # fmt: skip
        if _near_others(shop, rows, name, [r["member"] for r in found if r["member"] != OTHER]):
            lacking[f"by {name}"] = f"beside the rows before it would tell of fewer than {MINIMUM} buyers"
            continue
        rows += [{**r, "dimension": name} for r in found]
    _as_told(shop, ORIGINS, rows, "dimension", "member")
    told = _filled(shop, ORIGINS, rows)
    return Filled(ORIGINS, told.rows, {**told.blank, **lacking} if told.rows or not lacking else lacking)


def _near_others(shop: Shop, rows: list[Row], name: str, members: list[str]) -> bool:
    """Whether a dimension's members are, but for a few persons, those of one that is told already."""
    spans = (shop.month, shop.month.before) if shop.compares else (shop.month,)
    return any(
        nearly_alike(
            shop.con, f"(FROM fact_sales {' '.join(f'JOIN dim_{n} USING ({n}_key)' for n in _ORIGINS)} WHERE "
            f"line_type = 'sale' AND date_key BETWEEN {s.keys['first']} AND {s.keys['last']})", (f"{other}_name",
            [r["member"] for r in rows if r["dimension"] == other and r["member"] != OTHER]), (f"{name}_name", members))
        for other in dict.fromkeys(r["dimension"] for r in rows) for s in spans
    )  # fmt: skip
