"""Re-identification attacks on the two profiles, as pure functions over what is published.

On ``internal`` they are measured: whom does a little knowledge single out, and who is linked across two releases. On
``aggregate`` the question is whether anything can be told of fewer than ten persons. Every published figure is a sum
over a known set of rows, so whatever can be had by adding and subtracting figures is a combination of these sets.
``derived`` judges every figure, the difference of any two, and all that an exact elimination (Gauss) comes to.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction
from random import Random
from typing import TYPE_CHECKING, Any

from exports.aggregate import MINIMUM, Aggregate, Span
from exports.aggregate.goods import FURTHER
from exports.aggregate.guard import OTHER

if TYPE_CHECKING:
    import duckdb

Rows = list[dict[str, Any]]
Cells = dict[str, frozenset[int]]  # by the figure's name: the rows (numbers) that it counts or sums up

POINTS = 4


# --- singling out, on internal


@dataclass(frozen=True)
class Outcome:
    """How often an attack succeeded."""

    attack: str
    tried: int
    hits: int

    @property
    def rate(self) -> float:
        """Successes among those tried."""
        return self.hits / self.tried if self.tried else 0.0


_ORDER_VALUES = """(SELECT order_key, customer_key, date_key, sum(revenue_gross) AS value
                    FROM fact_sales WHERE line_type = 'sale' GROUP BY ALL)"""
KNOWLEDGE = {
    "a product bought on a day": ("fact_sales", "product_key, date_key", "line_type = 'sale'"),
    "day, hour, device and country of a visit": ("fact_session", "date_key, hour_key, device_key, country_key",
                                                 "is_bot = 'No'"),
    "day and value of an order": (_ORDER_VALUES, "date_key, value", "TRUE"),
}  # fmt: skip


def singled_out(con: duckdb.DuckDBPyConnection) -> list[Outcome]:
    """Of all persons, those whom one piece of knowledge (that the attacker has of them) leaves alone."""
    found = []
    for name, (table, known, which) in KNOWLEDGE.items():
        persons, alone = con.execute(f"""
            WITH seen AS (SELECT DISTINCT {known}, customer_key FROM {table} WHERE {which} AND customer_key <> -1),
                 sizes AS (SELECT *, count(*) OVER (PARTITION BY {known}) AS size FROM seen)
            SELECT count(DISTINCT customer_key), count(DISTINCT customer_key) FILTER (size = 1) FROM sizes
        """).fetchall()[0]
        found.append(Outcome(name, persons, alone))
    return found


def unique_by_points(con: duckdb.DuckDBPyConnection, seed: int = 1, persons: int = 1000) -> list[Outcome]:
    """Persons who are the only ones at 1..4 random points of theirs: day, part of the day (6 hours) and device.

    Of persons with four points or more (de Montjoye et al., "Unique in the Crowd", 2013).
    """
    places: dict[Any, set[int]] = defaultdict(set)
    visits: dict[int, set[Any]] = defaultdict(set)
    for customer, *point in con.execute("SELECT customer_key, date_key, hour_key // 6, device_key FROM fact_session "
                                        "WHERE is_bot = 'No' AND customer_key <> -1").fetchall():  # fmt: skip
        places[tuple(point)].add(customer)
        visits[customer].add(tuple(point))
    dice = Random(seed)  # noqa: S311 - no secret
    able = sorted(c for c, points in visits.items() if len(points) >= POINTS)
    chosen = dice.sample(able, min(persons, len(able)))
    hits = [0] * POINTS
    for customer in chosen:
        known = dice.sample(sorted(visits[customer]), POINTS)
        for count in range(1, POINTS + 1):
            hits[count - 1] += len(set.intersection(*(places[p] for p in known[:count]))) == 1
    return [Outcome(f"{n} points (day, quarter of the day, device)", len(chosen), hit) for n, hit in enumerate(hits, 1)]


# --- linkability, of two internal releases


def linked_by_id(before: Mapping[str, Any], after: Mapping[str, Any], truth: Mapping[str, str]) -> Outcome:
    """Persons (``truth``: former id to later one) who carry the same id in both releases."""
    same = sum(old in before and old in after and truth[old] == old for old in truth)
    return Outcome("the same customer_id", len(truth), same)


def linked_by_behaviour(before: Mapping[str, Any], after: Mapping[str, Any], truth: Mapping[str, str]) -> Outcome:
    """Persons whose fingerprint (``fingerprints``) is one person's in each release, and the right one's."""
    def alone(prints: Mapping[str, Any]) -> dict[Any, str]:
        whose: dict[Any, list[str]] = defaultdict(list)
        for customer, print_ in prints.items():
            whose[print_].append(customer)
        return {print_: ids[0] for print_, ids in whose.items() if len(ids) == 1}

    first, second = alone(before), alone(after)
    hits = sum(truth.get(old) == second.get(print_) for print_, old in first.items() if print_ in second)
    return Outcome("the same visits and orders", len(truth), hits)


def fingerprints(con: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """By customer_id: days, hours and events of all visits. No key is needed to compare them."""
    found: dict[str, Any] = defaultdict(list)
    for customer, *visit in con.execute(
        "SELECT customer_id, date_key, hour_key, events FROM fact_session JOIN dim_customer USING (customer_key) "
        "WHERE is_bot = 'No' AND customer_key <> -1 ORDER BY ALL"
    ).fetchall():
        found[customer].append(tuple(visit))
    return {customer: tuple(visits) for customer, visits in found.items()}


# --- what can be derived from aggregate


def derived(cells: Cells, persons: Mapping[int, Any], few: int = MINIMUM) -> list[tuple[str, int]]:
    """Combinations of figures that concern one to nine persons: (where the elimination met it, how many).

    ``persons``: by row, whose it is. Rows that all figures treat alike are one unknown. Both the figures themselves and
    the fully reduced system are judged; a reduced equation has the fewest unknowns that its pivot allows.
    """
    signature: dict[int, list[int]] = defaultdict(list)
    for at, rows in enumerate(cells.values()):
        for row in rows:
            signature[row].append(at)
    whose: dict[tuple[int, ...], set[Any]] = defaultdict(set)
    for row, member in signature.items():
        whose[tuple(member)].add(persons[row])
    unknowns = list(whose)
    names = list(cells)
    system = [{n: Fraction(1) for n, member in enumerate(unknowns) if at in member} for at in range(len(names))]
    found = []
    for stage, equations in (("", system), ("derived with ", _reduced(system))):
        for at, equation in enumerate(equations):
            concerned = set().union(*(whose[unknowns[n]] for n in equation)) if equation else set()
            if 0 < len(concerned) < few:
                found.append((stage + names[at], len(concerned)))
    return [*found, *_pairs(names, system, [whose[u] for u in unknowns], few)]


def _pairs(names: list[str], system: list[dict[int, Fraction]], whose: list[set[Any]], few: int,
           ) -> list[tuple[str, int]]:  # fmt: skip
    """Two figures, one less the other: what the elimination may have passed by."""
    found = []
    for at, one in enumerate(system):
        for name, other in zip(names[:at], system[:at], strict=True):
            apart: set[Any] = set()
            for n in one.keys() ^ other.keys():
                apart |= whose[n]
                if len(apart) >= few:
                    break
            if one and other and 0 < len(apart) < few:
                found.append((f"{names[at]} less {name}", len(apart)))
    return found


def _reduced(system: Iterable[Mapping[int, Fraction]]) -> list[dict[int, Fraction]]:
    rows = [dict(r) for r in system]
    for at, row in enumerate(rows):
        if not row:
            continue
        pivot = min(row)
        scale = row[pivot]
        rows[at] = row = {n: v / scale for n, v in row.items()}  # noqa: PLW2901
        for other, values in enumerate(rows):
            if other != at and (factor := values.get(pivot)):
                mixed = {n: values.get(n, Fraction(0)) - factor * row.get(n, Fraction(0)) for n in {*values, *row}}
                rows[other] = {n: v for n, v in mixed.items() if v}
    return rows


@dataclass(frozen=True)
class Family:
    """Figures that can be added and subtracted: the rows they are of, and which rows each figure takes."""

    rows: Rows
    cells: Cells

    @property
    def persons(self) -> dict[int, Any]:
        """Whose each row is; the orders and visits of customers without an id are each somebody's."""
        return {n: r["customer"] if r["customer"] != -1 else r["whole"] for n, r in enumerate(self.rows)}


def families(con: duckdb.DuckDBPyConnection, told: Aggregate) -> dict[str, Family]:
    """Every figure of the aggregate profile that counts or sums up rows of persons, with these rows."""
    lines = _rows(con, """SELECT customer_key AS customer, order_key AS whole, date_key, line_type, is_first_order,
        product_id, p.category_1, channel_name, device_name, country_name FROM fact_sales f
        JOIN dim_product p USING (product_key) JOIN dim_channel USING (channel_key)
        JOIN dim_device USING (device_key) JOIN dim_country USING (country_key)""")
    visits = _rows(con, """SELECT customer_key AS customer, session_key AS whole, date_key, is_new_customer, views > 0
        AS viewed, s.has_cart, s.has_checkout, has_purchase, channel_name, device_name FROM fact_session s
        JOIN dim_channel USING (channel_key) JOIN dim_device USING (device_key) JOIN dim_source USING (source_key)
        WHERE is_bot = 'No' AND has_views = 'Yes'""")
    items = _rows(con, "SELECT customer_key AS customer, cart_key AS whole, added_date_key AS date_key, status "
                       "FROM fact_cart_item")  # fmt: skip
    sales = [r for r in lines if r["line_type"] == "sale"]
    refunds = [r for r in lines if r["line_type"] == "refund"]
    others = [r for r in lines if r["line_type"] not in {"sale", "refund"}]
    known: list[tuple[str, Rows, Cells]] = [
        ("units", sales, {}), ("revenue_gross", sales, {}), ("refunds", refunds, {}), ("other_lines", others, {}),
        ("orders", _orders(sales), {}), ("sessions", visits, {}), ("items", items, {}), ("value", items, {}),
    ]  # fmt: skip
    for column, rows, cells in known:
        _by_time(told, column, rows, cells)
        if column in {"units", "revenue_gross", "orders"}:
            _by_goods(told, column, rows, cells)
    split = {"first_orders": lambda r: r["is_first_order"] == "Yes",
             "returning_orders": lambda r: r["is_first_order"] == "No" and r["customer"] != -1}  # fmt: skip
    for column, test in split.items():
        _by_time(told, column, known[4][1], known[4][2], test)
    stays = {"new_sessions": lambda r: r["is_new_customer"] == "Yes",
             "returning_sessions": lambda r: r["is_new_customer"] == "No",
             "conversion": lambda r: r["has_purchase"] == "Yes"}  # fmt: skip
    for column, test in stays.items():
        _by_time(told, column, visits, known[5][2], test)
    _stages(told, visits, known[5][2])
    for column in ("items", "value"):
        _outcomes(told, column, items, known[6 if column == "items" else 7][2])
    return {column: Family(rows, cells) for column, rows, cells in known}


def _rows(con: duckdb.DuckDBPyConnection, sql: str) -> Rows:
    found = con.execute(sql)
    names = [d[0] for d in found.description or ()]
    rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    for row in rows:
        key = row.pop("date_key")
        row["date"] = date(key // 10000, key // 100 % 100, key % 100)
        row["week"] = row["date"] - timedelta(days=row["date"].weekday())
    return rows


def _orders(sales: Rows) -> Rows:
    """A row for each order of a day; products and categories as sets."""
    found: dict[Any, dict[str, Any]] = {}
    for line in sales:
        order = found.setdefault((line["whole"], line["date"]), line | {"product_id": set(), "category_1": set()})
        for column in ("product_id", "category_1"):
            order[column].add(line[column])
        if line["is_first_order"] == "Yes":
            order["is_first_order"] = "Yes"
    return list(found.values())


Test = Callable[[Mapping[str, Any]], bool]


def _take(rows: Rows, test: Test) -> frozenset[int]:
    return frozenset(n for n, row in enumerate(rows) if test(row))


def _by_time(told: Aggregate, column: str, rows: Rows, cells: Cells, test: Test = lambda _: True) -> None:
    for table, of in (("day", "date"), ("week", "week")):
        for row in told.rows(table):
            if row.get(column) is not None:
                cells[f"{table} {row[of]} {column}"] = _take(rows, lambda r, k=row[of], o=of: r[o] == k and test(r))  # type: ignore[misc]
    if column == "units":
        for row in told.rows("forecast"):
            if row["actual"] is not None:
                cells[f"forecast {row['date']}"] = _take(rows, lambda r, k=row["date"]: r["date"] == k)  # type: ignore[misc]
    if column in {"units", "revenue_gross", "orders"} and told.rows("bridge"):
        for period, last in (("week", told.week), ("four weeks", told.month)):
            for span in (last.before, last) if any(r["period"] == period for r in told.rows("bridge")) else ():
                cells[f"bridge {span} {column}"] = _take(rows, lambda r, s=span: _within(r, s))  # type: ignore[misc]


def _within(row: Mapping[str, Any], span: Span) -> bool:
    return bool(span.first <= row["date"] <= span.last)


def _by_goods(told: Aggregate, column: str, rows: Rows, cells: Cells) -> None:
    before = {"units": "units_before", "orders": "orders_before", "revenue_gross": "revenue_before"}[column]
    for table, label, of in (("products", "product", "product_id"), ("categories", "category", "category_1"),
                             ("origins", "member", "")):  # fmt: skip
        for row in told.rows(table):
            if row[label] == FURTHER or (column == "orders" and of):  # in tens: no equation
                continue
            key = of or f"{row['dimension']}_name"
            name = row[of if of in row else label]
            alike = [r[of if of in row else label] for r in told.rows(table)
                     if r[label] != OTHER and r.get("dimension") == row.get("dimension")]  # fmt: skip
            for span, figure in ((told.month, column), (told.month.before, before)):
                if row[figure] is not None:
                    cells[f"{table} {row[label]} {figure}"] = _take(rows, lambda r, s=span, k=key, n=name, a=alike,  # type: ignore[misc]
                        other=row[label] == OTHER: _within(r, s) and _is(r[k], n, a, other=other))  # fmt: skip


def _is(value: Any, name: Any, listed: list[Any], *, other: bool) -> bool:
    values = value if isinstance(value, set) else {value}
    return bool(values - set(listed)) if other else name in values


def _stages(told: Aggregate, visits: Rows, cells: Cells) -> None:
    tests: dict[str, Test] = {
        "visit": lambda _: True, "product or page view": lambda r: r["viewed"],
        "cart": lambda r: r["has_cart"] == "Yes",
        "checkout": lambda r: r["has_checkout"] == "Yes", "order": lambda r: r["has_purchase"] == "Yes",
    }  # fmt: skip
    for row in told.rows("funnel"):
        if row["sessions"] is None:
            continue
        group, span = row["dimension"], Span(row["first"], row["last"])
        listed = [r["member"] for r in told.rows("funnel") if r["dimension"] == group and r["period"] == row["period"]]
        cells[f"funnel {row['period']} {group} {row['member']} {row['stage']}"] = _take(
            visits, lambda r, s=span, g=group, m=row["member"], a=listed, t=tests[row["stage"]]:  # type: ignore[misc]
            _within(r, s) and t(r) and (g == "all" or _is(r[f"{g}_name"], m, a, other=m == OTHER)))  # fmt: skip


def _outcomes(told: Aggregate, column: str, items: Rows, cells: Cells) -> None:
    for row in told.rows("cart_outcomes"):
        listed = [r["outcome"] for r in told.rows("cart_outcomes") if r["period"] == row["period"]]
        span = Span(row["first"], row["last"])
        if row[column] is not None:
            cells[f"cart_outcomes {row['period']} {row['outcome']} {column}"] = _take(
                items, lambda r, s=span, m=row["outcome"], a=listed:  # type: ignore[misc]
                _within(r, s) and _is(r["status"], m, a, other=m == OTHER))  # fmt: skip
