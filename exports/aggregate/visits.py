"""What visits led to: how many reached each stage of a purchase, and what became of what was put into carts."""

from __future__ import annotations

from exports.aggregate.declare import Filled, Row, Table, declared
from exports.aggregate.former import carry
from exports.aggregate.guard import LABEL, MINIMUM, OTHER, Guard, keep_members, nearly_alike, withhold
from exports.aggregate.shop import Shop, Span
from exports.aggregate.trade import tells_of_few, told_of

# Stage: what a session must have, and the flag without which nobody can tell.
STAGES = {
    "visit": ("TRUE", "has_views"), "product or page view": ("views > 0", "has_views"),
    "cart": ("has_cart = 'Yes'", "has_cart"), "checkout": ("has_checkout = 'Yes'", "has_checkout"),
    "order": ("has_purchase = 'Yes'", "has_views"),
}  # fmt: skip

FUNNEL = declared("funnel", "From visit to order", "one stage of a purchase, for one group of visits in four weeks", """
    period text : last four weeks, or four weeks before
    first date : First day of the period
    last date : Its last day
    dimension text : all, device or channel
    member text : Name of the device or channel
    step int : Place of the stage
    stage text : Stage; a session is in it wherever it holds such an event, in any order
    sessions int [sessions] : Sessions of people in the stage (programs are left out)
    share_of_visits share [of sessions] : Its part of all sessions of the group
    share_of_stage_before share [of the stage before] : Its part of those in the last stage that is known
""")
CARTS = declared("cart_outcomes", "What became of carts", "one outcome of items put into a cart in four weeks", """
    period text : last four weeks, or four weeks before, by the day on which the item was added
    first date : First day of the period
    last date : Its last day
    outcome text : open, purchased, removed, abandoned (untouched for a day) or recovered (bought after that)
    items int [cart items] : Products in cart lives
    share share [of cart items] : Its part of the period's items
    value money [shop's currency] : Units times last known price
""", {"value": "has_price"})  # fmt: skip


_NAMES = ("last four weeks", "four weeks before")


def _periods(shop: Shop) -> list[tuple[str, Span]]:
    """The last four complete weeks and those before, as far as the data reach back."""
    found = [(_NAMES[0], shop.month, shop.has_month), (_NAMES[1], shop.month.before, shop.compares)]
    return [(name, span) for name, span, there in found if there]


def paths(shop: Shop, days: Filled, weeks: Filled) -> tuple[Filled, ...]:
    """Stages and carts: told of four weeks once; the four weeks before as they were told then."""
    few = shop.has_month and any(tells_of_few(shop, days, weeks, span, column)
                                 for _, span in _periods(shop) for column in ("sessions", "conversion"))  # fmt: skip
    return shop.former.once(shop.month.first if shop.has_month else None, [FUNNEL, CARTS],
                            lambda: (_few() if few else _funnel(shop, weeks), _carts(shop)))  # fmt: skip


def _few() -> Filled:
    return Filled(FUNNEL, (), {"": "the rest of a week that is not told would be of fewer than ten visitors"})


def _as_told(shop: Shop, table: Table, rows: list[Row]) -> list[Row]:
    """With the four weeks before as they were told then, if they were."""
    then = shop.former.period(table, shop.month.before.first)
    if then is None:
        return rows
    now, before = _NAMES
    return [*(r for r in rows if r["period"] == now), *(r | {"period": before} for r in then if r["period"] == now)]


def _funnel(shop: Shop, weeks: Filled) -> Filled:
    """Sessions by stage: of all, by device, by channel."""
    if not shop.has_any("has_views"):
        return Filled(FUNNEL, (), {"": shop.why_not("has_views")})
    blank = {f"the stage {stage}": shop.why_not(flag) for stage, (_, flag) in STAGES.items() if not shop.has_any(flag)}
    known = {stage: test for stage, (test, flag) in STAGES.items() if shop.has_any(flag)}
    rows: list[Row] = []
    for name, span in _periods(shop):
        for dimension in ("all", "device", "channel"):
            if dimension != "all" and not shop.has_any(f"has_{dimension}"):
                blank[f"by {dimension}"] = shop.why_not(f"has_{dimension}")
                continue
            found = _stages(shop, span, dimension, known)
            if dimension == "channel" and _near_devices(shop, rows, name, found, known):
                blank["by channel"] = f"beside the devices it would tell of fewer than {MINIMUM} visitors"
                continue
            rows += [{"period": name, "first": span.first, "last": span.last, "dimension": dimension, **r}
                     for r in found]  # fmt: skip
    alike = ("period", "dimension", "step")
    withhold(rows, [Guard("k", ("sessions",), "visitors", alike),
                    Guard("k_without", ("sessions",), "visitors without it", alike),
                    Guard("k_lost", ("sessions",), "visitors who were in the stage before", alike)])  # fmt: skip
    _carry(shop, weeks, rows)
    _shares(rows)
    rows = _as_told(shop, FUNNEL, rows)
    if not rows:
        blank = {"": "there are no four complete weeks yet"}
    return Filled(FUNNEL, tuple({c.name: r.get(c.name) for c in FUNNEL.columns} for r in rows), blank)


def _near_devices(shop: Shop, rows: list[Row], period: str, found: list[Row], known: dict[str, str]) -> bool:
    """Whether at some stage the visits of a channel are, but for a few visitors, those of a device."""
    devices = {r["member"] for r in rows if (r["period"], r["dimension"]) == (period, "device")} - {OTHER}
    channels = {r["member"] for r in found} - {OTHER}
    return bool(devices) and any(
        nearly_alike(shop.con, f"(FROM visits JOIN dim_device USING (device_key) WHERE {test})",
                     ("device_name", sorted(devices)), ("member", sorted(channels)))
        for test in known.values()
    )  # fmt: skip


def _carry(shop: Shop, weeks: Filled, rows: list[Row]) -> None:
    """Make visits, and visits with an order, those of the weeks as told: in all, by device, by channel."""
    for name, span in _periods(shop):
        own = [w for w in weeks.rows if span.first <= w["week"] <= span.last]
        bought = [w["sessions"] and w["conversion"] and round(w["sessions"] * w["conversion"]) for w in own]
        totals = {"visit": told_of(weeks, span, "sessions"), "order": None if None in bought else sum(bought)}
        for stage, total in totals.items():
            for dimension in ("all", "device", "channel"):
                carry([r for r in rows if (r["period"], r["stage"], r["dimension"]) == (name, stage, dimension)],
                      "sessions", total)  # fmt: skip


def _stages(shop: Shop, span: Span, dimension: str, known: dict[str, str]) -> list[Row]:
    member, join = "'all'", ""
    if dimension != "all":
        member, join = f"{dimension}_name", f"JOIN dim_{dimension} USING ({dimension}_key)"
    shop.con.execute(
        f"""CREATE OR REPLACE TEMP TABLE visits AS SELECT {member} AS member, s.* FROM fact_session s {join}
            JOIN dim_source USING (source_key)
            WHERE is_bot = 'No' AND has_views = 'Yes' AND date_key BETWEEN $first AND $last""",
        {k: v for k, v in span.keys.items() if k != "earlier"},
    )
    keep_members(shop.con, "SELECT member, customer_key, '' AS part, TRUE AS counts FROM visits")
    steps = [
        f"""SELECT {LABEL} AS member, {number} AS step, '{stage}' AS stage, count(*) FILTER ({test}) AS sessions,
                   count(DISTINCT customer_key) FILTER ({test}) AS k,
                   count(DISTINCT customer_key) FILTER (NOT ({test})) AS k_without,
                   count(DISTINCT customer_key) FILTER (({test}) <> ({before})) AS k_lost FROM visits GROUP BY 1"""
        for number, ((stage, test), before) in enumerate(zip(known.items(), ["TRUE", *known.values()], strict=False), 1)
    ]
    return shop.rows(" UNION ALL ".join(steps) + " ORDER BY member, step")


def _shares(rows: list[Row]) -> None:
    """Each stage's part of all visits and of the stage before, of what is not withheld."""
    visits: Row = {}
    for before, row in zip([{}, *rows], rows, strict=False):
        if row["step"] == 1:
            visits = row
        row["share_of_visits"] = _part(row, visits)
        row["share_of_stage_before"] = None if row["step"] == 1 else _part(row, before)


def _part(row: Row, whole: Row) -> float | None:
    part, of = row["sessions"], whole.get("sessions")
    return round(part / of, 6) if isinstance(part, int) and isinstance(of, int) and of else None


def _carts(shop: Shop) -> Filled:
    """Cart items by outcome."""
    if not shop.has_any("has_cart"):
        return Filled(CARTS, (), {"": shop.why_not("has_cart")})
    rows: list[Row] = []
    for name, span in _periods(shop):
        shop.con.execute(
            "CREATE OR REPLACE TEMP TABLE items AS SELECT status AS member, customer_key, value FROM fact_cart_item "
            "WHERE added_date_key BETWEEN $first AND $last", {k: v for k, v in span.keys.items() if k != "earlier"},
        )  # fmt: skip
        keep_members(shop.con, "SELECT member, customer_key, '' AS part, TRUE AS counts FROM items")
        found = shop.rows(f"""SELECT {LABEL} AS outcome, count(*) AS items, coalesce(sum(value), 0) AS value,
                                     count(DISTINCT customer_key) AS k FROM items GROUP BY 1 ORDER BY 2 DESC, 1""")
        total = sum(r["items"] for r in found)
        rows += [{"period": name, "first": span.first, "last": span.last, **r,
                  "share": round(r["items"] / total, 6)} for r in found]  # fmt: skip
    withhold(rows, [Guard("k", ("items", "share", "value"), "customers", ("period",))])
    rows = _as_told(shop, CARTS, rows)
    blank = shop.blank(CARTS, rows) if rows else {"": "there are no four complete weeks with cart items yet"}
    return Filled(CARTS, tuple({c.name: r.get(c.name) for c in CARTS.columns} for r in rows), blank)
