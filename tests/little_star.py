"""A small published star made of dice: every table of the contract, with everything that a measure must not trip over.

Two versions of products, bots, unknown members, refunds and fees, sources that tell little, two versions of a model,
three prefixes, two levels of forecasts, days that are still to come. The same seed gives the same star.
"""

from __future__ import annotations

import random
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa

from behavior_assets.star.dimensions import dim_date, dim_hour
from exports.contract import UNKNOWN, published

FIRST, THROUGH = date(2024, 11, 20), date(2026, 1, 12)  # two ends of years, within a month
SOURCES = {  # key: name and what it tells
    1: ("ga4", {"has_price", "has_views", "has_cart", "has_checkout", "has_channel", "has_country", "has_refunds"}),
    2: ("rees46", {"has_price", "has_views", "has_cart"}),
    3: ("taobao", {"has_views", "has_cart"}),
    4: ("online_retail", {"has_price", "has_country", "has_refunds"}),
}
MODELS = {5: ("session_purchase", "Yes"), 6: ("session_purchase", "No"), 7: ("customer_purchase", "Yes"),
          8: ("sales_forecast", "Yes"), 9: ("sales_forecast", "No")}  # fmt: skip
Row = dict[str, Any]


def _key(day: date) -> int:
    return day.year * 10000 + day.month * 100 + day.day


def _flag(value: object) -> str:
    return "Yes" if value else "No"


class LittleStar:
    """The tables by name, as Arrow tables of the contract's schemas."""

    def __init__(self, seed: int = 7, sessions: int = 260) -> None:
        self.dice = random.Random(seed)  # noqa: S311 - no secret
        self.days = [FIRST + timedelta(days=n) for n in range((THROUGH - FIRST).days + 1)]
        self.rows: dict[str, list[Row]] = {name: [] for name in published()}
        self._members()
        self._events(sessions)
        self._months()
        self._told_by_models()
        self._forecasts()
        self._deliveries()
        made = {name: pa.Table.from_pylist([_whole(name, r) for r in rows], schema=published()[name].spec.schema)
                for name, rows in self.rows.items()}  # fmt: skip
        self.tables = made | {"dim_date": dim_date(FIRST, THROUGH + timedelta(days=28)), "dim_hour": dim_hour()}

    def _day(self) -> date:
        """Most days are of the last weeks, where weeks and months are compared."""
        return self.dice.choice(self.days if self.dice.random() < 0.4 else self.days[-45:])

    def _members(self) -> None:
        for kind, names in (("channel", ["direct", "email"]), ("device", ["desktop", "mobile"]),
                            ("country", ["France", "United Kingdom", "Peru"])):  # fmt: skip
            for key, name in enumerate([UNKNOWN, *names]):
                self.rows[f"dim_{kind}"].append({f"{kind}_key": key or -1, f"{kind}_name": name})
        for key, (name, tells) in {-1: (UNKNOWN, set()), **SOURCES}.items():
            flags = [c.name for c in published()["dim_source"].columns if c.kind == "flag"]
            told = {f: _flag(f in tells) for f in flags}
            self.rows["dim_source"].append({"source_key": key, "source_name": name, **told})
        for key, path in enumerate([UNKNOWN, "toys.bricks", "toys.dolls", "food.tea"]):
            first, _, second = path.partition(".")
            self.rows["dim_category"].append({"category_key": key or -1, "category_name": path, "category_1": first,
                                              "category_2": second or "(none)", "category_3": "(none)"})  # fmt: skip
        for key in range(1, 13):  # products 1 to 6, each with a version before and one since 2025-12-01
            number = (key + 1) // 2
            self.rows["dim_product"].append({
                "product_key": key, "product_durable_key": 100 + number, "product_id": f"p{number}",
                "product_name": f"Product {number}", "brand": "acme" if key % 2 else "zen",
                "category_key": 1 + (number + key) % 3,
                "valid_from": date(1900, 1, 1) if key % 2 else date(2025, 12, 1),
                "valid_to": date(2025, 11, 30) if key % 2 else date(9999, 12, 31), "is_current": _flag(key % 2 == 0),
            })  # fmt: skip
        self.rows["dim_product"].append({"product_key": -1, "product_durable_key": -1, "category_key": -1,
                                         "valid_from": date(1900, 1, 1), "valid_to": date(9999, 12, 31)})  # fmt: skip
        for key in [-1, *range(1, 31)]:
            self.rows["dim_customer"].append({"customer_key": key, "customer_id": f"c{key}",
                                              "rfm_segment": self.dice.choice(["Champions", "Lost"])})  # fmt: skip
        for key, (model, champion) in {-1: (UNKNOWN, "No"), **MODELS}.items():
            self.rows["dim_model"].append({"model_key": key, "model": model, "version": f"v{key}",
                                           "is_champion": champion})  # fmt: skip

    def _events(self, sessions: int) -> None:
        dice, numbers = self.dice, dict[date, int]()
        for number in range(sessions):
            day, source = self._day(), dice.choice(list(SOURCES))
            tells = SOURCES[source][1]
            cart, bought = "has_cart" in tells and dice.random() < 0.4, dice.random() < 0.35
            common = {"date_key": _key(day), "hour_key": dice.randrange(24), "source_key": source,
                      "customer_key": dice.choice([-1, *range(1, 31)]), "channel_key": dice.choice([-1, 1, 2]),
                      "device_key": dice.choice([-1, 1, 2]),
                      "country_key": dice.choice([1, 2, 3]) if "has_country" in tells else -1}  # fmt: skip
            self.rows["fact_session"].append({
                **common, "session_key": number, "duration_s": dice.randrange(900), "events": 1,
                "views": dice.randrange(9),
                "carts": int(cart), "removes": 0, "checkouts": 0, "purchases": int(bought),
                "is_bounce": _flag(dice.random() < 0.3), "is_engaged": _flag(dice.random() < 0.6),
                "is_new_customer": _flag(dice.random() < 0.3), "has_cart": _flag(cart), "has_purchase": _flag(bought),
                "has_checkout": _flag("has_checkout" in tells and dice.random() < 0.5),
                "is_bot": _flag(dice.random() < 0.1), "split_reason": "none",
            })  # fmt: skip
            if bought:
                numbers[day] = numbers.get(day, 0) + 1
                self._order(day, number, numbers[day], common, priced="has_price" in tells,
                            refunds="has_refunds" in tells)  # fmt: skip
            self._product(day, common["customer_key"], cart=cart)

    def _order(self, day: date, session: int, number: int, common: Row, *, priced: bool, refunds: bool) -> None:
        dice = self.dice
        kinds = ["sale"] * dice.randrange(1, 4) + ["shipping"] * (dice.random() < 0.3)
        kinds += ["refund"] * (refunds and dice.random() < 0.5)
        if dice.random() < 0.1:
            kinds = ["refund"]  # of an order of another day
        for line, kind in enumerate(kinds, 1):
            quantity = -1 if kind == "refund" else dice.randrange(1, 4)
            price = Decimal(dice.randrange(100, 9999)) / 100 if priced else None
            net = None if price is None else price * quantity
            version = self._version(day)
            self.rows["fact_sales"].append({
                **common, **version, "order_key": session, "session_key": session, "line_number": line,
                "line_type": kind, "quantity": quantity, "unit_price": price, "revenue_net": net,
                "revenue_gross": net if kind == "sale" else None, "refund_amount":
                    -net if kind == "refund" and net is not None else None,
                "is_refund": _flag(kind == "refund"), "order_number": number,
                "is_first_order": _flag(kind == "sale" and common["customer_key"] > 0 and session % 3 == 0),
            })  # fmt: skip

    def _version(self, day: date) -> Row:
        product = self.dice.choice([r for r in self.rows["dim_product"] if r["valid_from"] <= day <= r["valid_to"]])
        return {"product_key": product["product_key"], "category_key": product["category_key"]}

    def _product(self, day: date, customer: int, *, cart: bool) -> None:
        dice, version = self.dice, self._version(day)
        self.rows["fact_product_day"].append({
            **version, "date_key": _key(day), "views": dice.randrange(5), "carts": int(cart), "removes": 0,
            "purchases": dice.randrange(2), "quantity": 1, "revenue": Decimal("1.5"),
        })  # fmt: skip
        if cart:
            status = dice.choice(["open", "purchased", "removed", "abandoned", "recovered"])
            later = min(day + timedelta(days=dice.randrange(9)), THROUGH)
            bought = _key(later) if status in {"purchased", "recovered"} else None
            self.rows["fact_cart_item"].append({
                **version, "cart_key": len(self.rows["fact_cart_item"]), "added_date_key": _key(day),
                "last_date_key": _key(later), "purchased_date_key": bought, "customer_key": customer,
                "quantity": 1, "value": Decimal(dice.randrange(999)) / 10, "status": status,
            })  # fmt: skip

    def _months(self) -> None:
        dice = self.dice
        for end in (date(2025, 10, 31), date(2025, 11, 30), date(2025, 12, 31)):
            for customer in range(1, 31 if end.month != 12 else 25):
                known = dice.random() < 0.8
                self.rows["fact_customer_month"].append({
                    "date_key": _key(end), "customer_key": customer, "recency_days": dice.randrange(200),
                    "frequency": dice.randrange(1, 9), "monetary": Decimal(dice.randrange(9999)) / 10,
                    "r_score": dice.randrange(1, 6), "f_score": 1, "m_score": 1, "behaviour_type": "Buyer",
                    "rfm_segment": dice.choice(["Champions", "Lost"] if end.month != 12 else ["Champions"]),
                    "lifecycle": dice.choice(["Active", "Dormant"]), "churn_risk": dice.random() if known else None,
                    "p_alive": dice.random() if known else None, "expected_purchases": dice.random() if known else None,
                    "expected_value": Decimal(dice.randrange(9999)) / 100 if known else None,
                })  # fmt: skip

    def _told_by_models(self) -> None:
        dice = self.dice
        for session in self.rows["fact_session"][:120]:
            for prefix in (1, 3, 5):
                for model in (5, 6):
                    self.rows["fact_session_prediction"].append({
                        **{c: session[c] for c in ("session_key", "date_key", "customer_key")}, "model_key": model,
                        "prefix": prefix, **self._chance(dice.random() < 0.9),
                    })  # fmt: skip
        for day in self.days[-30:-1:7]:
            for customer in range(1, 26):
                for horizon in (7, 30):
                    self.rows["fact_customer_prediction"].append({
                        "date_key": _key(day), "customer_key": customer, "model_key": 7, "horizon_days": horizon,
                        **self._chance((THROUGH - day).days >= horizon),
                    })  # fmt: skip
        for metric, of in (("auc", "all"), ("auc", "after 3 events"), ("wape", "total")):
            self.rows["model_card"].append({"model_key": 5 if metric == "auc" else 8, "metric": metric, "slice": of,
                                            "value": dice.random(), "baseline": "b",
                                            "baseline_value": 0.5})  # fmt: skip

    def _forecasts(self) -> None:
        dice = self.dice
        for origin in self.days[-15::7]:
            for ahead in range(1, 15):
                day = origin + timedelta(days=ahead)
                for level, category in (("total", -1), ("category", 1), ("category", 2)):
                    for model in (8, 9):
                        units = dice.random() * 20
                        self.rows["fact_sales_forecast"].append({
                            "origin_date_key": _key(origin), "date_key": _key(day), "level": level,
                            "category_key": category, "product_durable_key": -1, "model_key": model, "forecast": units,
                            "lower_80": units * 0.6, "upper_80": units * 1.4, "lower_95": units * 0.4,
                            "upper_95": units * 1.6, "actual": dice.randrange(20) * 1.0 if day <= THROUGH else None,
                            "is_champion": MODELS[model][1], "horizon_days": ahead,
                        })  # fmt: skip

    def _chance(self, over: bool) -> Row:
        chance = self.dice.random()
        return {"probability": chance, "decile": min(int(chance * 10) + 1, 10),
                "outcome": int(self.dice.random() < chance) if over else None,
                "is_out_of_sample": _flag(self.dice.random() < 0.7)}  # fmt: skip

    def _deliveries(self) -> None:
        for day in self.days[-3:]:
            counts = {"accepted": 90, "quarantined": self.dice.randrange(5), "duplicate": 3, "suppressed": 0}
            self.rows["fact_data_quality"].append({"date_key": _key(day), "source_key": 1 + day.day % 2, **counts,
                                                   "rows_in": sum(counts.values()), "late": 1})  # fmt: skip
        self.rows["refresh_info"].append({"snapshot": "s1", "published_at": datetime(2026, 1, 13, 4, 5, 6),  # noqa: DTZ001
                                          "data_through": THROUGH, "is_synthetic": "Yes"})  # fmt: skip


def _whole(table: str, row: Row) -> Row:
    """The row with something in every column that may not be empty."""
    usual = {"text": UNKNOWN, "flag": "No", "int": 0, "number": 0.0, "money": Decimal(0), "key": -1,
             "date": FIRST, "timestamp": datetime(2026, 1, 1)}  # fmt: skip # noqa: DTZ001
    return {c.name: None if c.nullable else usual[c.kind] for c in published()[table].columns} | row
