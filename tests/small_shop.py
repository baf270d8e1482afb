"""A published snapshot made by hand, table by table as the contract declares them: who bought what is known exactly."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from behavior_assets.star.dimensions import dim_date, dim_hour
from exports.contract import UNKNOWN_KEY, gold, published
from resources.integrity import sha256_of
from resources.parts import Months

FIRST, LAST = date(2024, 1, 29), date(2024, 4, 2)  # a Monday; nine complete weeks and two days
HOSTILE = '=<img src=x onerror=alert(1)>"\'</title><script>alert(2)</script>'
_EMPTY = {"key": UNKNOWN_KEY, "int": 0, "money": Decimal(0), "number": 0.0, "text": "", "flag": "No", "date": FIRST,
          "timestamp": datetime(2024, 4, 2)}  # noqa: DTZ001 # fmt: skip
ALL = dict.fromkeys(("has_price", "has_sessions", "has_views", "has_cart", "has_checkout", "has_categories",
                     "has_channel", "has_device", "has_country", "has_refunds", "has_consent"), "Yes")  # fmt: skip


@dataclass
class SmallShop:
    """Rows by table; what a row does not say gets the emptiest value that its column may hold."""

    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    synthetic: bool = False

    def add(self, table: str, **values: Any) -> None:
        """One more row."""
        self.rows.setdefault(table, []).append(values)

    def write(self, exports: Path) -> dict[str, Any]:
        """The Parquet files, in place of any that are there, and the manifest that names them."""
        tables: dict[str, Any] = {}
        made = {"dim_date": dim_date(FIRST, LAST + timedelta(days=40)), "dim_hour": dim_hour()}
        for name, declared in published().items():
            table = made.get(name) or pa.Table.from_pylist(
                [{c.name: row.get(c.name, None if c.nullable else _EMPTY[c.kind]) for c in declared.columns}
                 for row in self.rows.get(name, [])], schema=gold(name).schema)  # fmt: skip
            parts = Months(LAST.isoformat()).split(table) if name in ("fact_session", "fact_sales") else {}
            files = []
            shutil.rmtree(exports / "tables" / name, ignore_errors=True)
            for part, rows in (parts or {"all": table}).items():
                path = exports / "tables" / name / f"{part}.parquet"
                path.parent.mkdir(parents=True, exist_ok=True)
                pq.write_table(rows, path)
                files.append({"path": str(path.relative_to(exports)), "part": part, "hash": sha256_of(path)})
            tables[name] = {"rows": table.num_rows, "files": files}
        return {"snapshot": "20240403T000000000000Z", "published_at": "2024-04-03T00:00:00+00:00",
                "data_through": LAST.isoformat(), "synthetic": self.synthetic, "tables": tables}  # fmt: skip


def key(day: date) -> int:
    """A day as the key of dim_date."""
    return day.year * 10000 + day.month * 100 + day.day


def number(*of: object) -> int:
    """A surrogate key."""
    return int(hashlib.sha256(repr(of).encode()).hexdigest()[:15], 16)


def shop(flags: Mapping[str, str] | None = None, customers: int = 60, *, synthetic: bool = False,
         last_days: int = (LAST - FIRST).days + 1) -> SmallShop:  # fmt: skip
    """Nine weeks of trade (or only the last days), with refunds, a forecast, and a bot that looks at everything.

    Of the customers 4 use tablets, 3 live in Tinyland, 9 buy the rare product and 1 the secret one.
    """
    made, draw = SmallShop(synthetic=synthetic), Random(7)  # noqa: S311 - no secret
    told = {**ALL, **(flags or {})}
    made.add("dim_source", source_key=-1, source_name="(unknown)")
    made.add("dim_source", source_key=1, source_name="handmade", is_synthetic="Yes" if synthetic else "No", **told)
    _members(made, "channel", ("search", HOSTILE))
    _members(made, "device", ("desktop", "mobile", "tablet"))
    _members(made, "country", ("Bigland", HOSTILE, "Tinyland"))
    _products(made)
    for customer in range(customers):
        made.add("dim_customer", customer_key=customer, customer_id=f"pseudonym-{customer}")
    days = (LAST - FIRST).days + 1
    for n in range(days - last_days, days):
        for customer in range(customers):
            if draw.random() < 0.5:
                _visit(made, draw, FIRST + timedelta(days=n), customer, told)
        for visit in range(5):
            made.add("fact_session", session_key=number("bot", n, visit), date_key=key(FIRST + timedelta(days=n)),
                     customer_key=-1, source_key=1, views=900, is_bot="Yes")  # fmt: skip
    _about(made, draw)
    return made


def _members(made: SmallShop, name: str, members: Iterable[str]) -> None:
    for at, member in enumerate(("(unknown)", *members), -1):
        made.add(f"dim_{name}", **{f"{name}_key": at if at < 0 else at + 1, f"{name}_name": member})


def _products(made: SmallShop) -> None:
    made.add("dim_category", category_key=-1, category_1="(unknown)", category_name="(unknown)")
    for at, name in enumerate(("toys", "books", "rarities"), 1):
        made.add("dim_category", category_key=at, category_name=name, category_1=name)
    for at, (name, category) in enumerate(((HOSTILE, 1), ("Bricks", 1), ("Atlas", 2), ("Rare", 2), ("Secret", 3)), 1):
        made.add("dim_product", product_key=at, product_durable_key=at, product_id=f"p{at}", product_name=name,
                 brand="(unknown)", category_key=category, category_1=("toys", "books", "rarities")[category - 1],
                 valid_from=date(1900, 1, 1), valid_to=date(9999, 12, 31), is_current="Yes")  # fmt: skip


def _visit(made: SmallShop, draw: Random, day: date, customer: int, told: Mapping[str, str]) -> None:
    where = {"channel_key": 1 + customer % 2, "device_key": 3 if customer < 4 else 1 + customer % 2,
             "country_key": 3 if customer < 3 else 1 + customer % 2}  # fmt: skip
    same = {"date_key": key(day), "customer_key": customer, "source_key": 1, **where}
    buys = draw.random() < 0.5
    session = number("session", day, customer)
    made.add("fact_session", session_key=session, views=3, has_cart="Yes" if buys else "No", events=4,
             has_checkout="Yes" if buys else "No", has_purchase="Yes" if buys else "No",
             is_new_customer="Yes" if day == FIRST else "No", **same)  # fmt: skip
    if not buys:
        return
    order = number("order", day, customer)
    wanted = [1, 2, 3] if customer % 2 else [1, 2]
    wanted += [4] if customer < 9 else []
    wanted += [5] if customer == 20 else []
    for line, product in enumerate(wanted, 1):
        price = Decimal(product * 5) + Decimal(draw.randrange(100)) / 100 if told["has_price"] == "Yes" else None
        units = draw.randrange(1, 4)
        gross = price * units if price is not None else None
        made.add("fact_sales", order_key=order, session_key=session, product_key=product, line_number=line,
                 category_key=(1, 1, 2, 2, 3)[product - 1], line_type="sale", quantity=units, unit_price=price,
                 revenue_gross=gross, revenue_net=gross, is_first_order="Yes" if day == FIRST else "No",
                 **same)  # fmt: skip
        made.add("fact_cart_item", cart_key=number(order, line), added_date_key=key(day), last_date_key=key(day),
                 customer_key=customer, product_key=product, quantity=units, value=gross or Decimal(0),
                 status="purchased" if line > 1 else "abandoned" if customer < 40 else "open")  # fmt: skip
    if told["has_refunds"] == "Yes" and draw.random() < 0.2:
        amount = Decimal("3.33")
        made.add("fact_sales", order_key=order, session_key=session, product_key=1, category_key=1, line_number=9,
                 line_type="refund", quantity=-1, refund_amount=amount, revenue_net=-amount, is_refund="Yes",
                 **same)  # fmt: skip


def _about(made: SmallShop, draw: Random) -> None:
    for end, day in enumerate((date(2024, 2, 29), date(2024, 3, 31))):
        for customer in range(50):
            segment = "Tiny" if customer < 4 else "Champions" if customer < 25 + end else "Lost"
            made.add("fact_customer_month", date_key=key(day), customer_key=customer, rfm_segment=segment,
                     lifecycle="Active" if customer % 2 else "Dormant", behaviour_type="Buyer",
                     monetary=Decimal(customer), expected_value=Decimal(1))  # fmt: skip
    made.add("dim_model", model_key=1, model="sales_forecast", version="v1", state="serving", is_champion="Yes",
             dataset="handmade")  # fmt: skip
    made.add("dim_model", model_key=2, model="session_purchase", version="none", state="not enough data",
             reason=HOSTILE, dataset="handmade")  # fmt: skip
    made.add("model_card", model_key=1, metric="wrmsse", slice="all", value=0.7, lower=0.6, upper=0.8,
             baseline="seasonal_naive", baseline_value=0.9)  # fmt: skip
    made.add("model_card", model_key=2, metric="not enough data", slice="all")
    for origin in (LAST - timedelta(days=28), LAST):
        for n in range(1, 29):
            day = origin + timedelta(days=n)
            made.add("fact_sales_forecast", origin_date_key=key(origin), date_key=key(day), level="total", model_key=1,
                     forecast=40.0, lower_80=30.0, upper_80=50.0, lower_95=20.0, upper_95=60.0, is_champion="Yes",
                     actual=float(30 + draw.randrange(20)) if day <= LAST else None)  # fmt: skip
    made.add("fact_data_quality", date_key=key(LAST), source_key=1, rows_in=1000, accepted=990, quarantined=7,
             duplicate=3)  # fmt: skip
    made.add("refresh_info", snapshot="20240403T000000000000Z", data_through=LAST)
