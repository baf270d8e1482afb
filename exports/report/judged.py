"""Models in plain words: what each tells, how good it is beside what; "better" only where the interval says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from exports.aggregate import Aggregate, Row
from exports.report.words import MINUS, percent

TELLS = {
    "session_purchase": ("Will this visit buy?", "After a visit's first events, the chance that it ends in an order."),
    "customer_purchase": ("Will this customer order?",
                          "The chance of an order within the next days, for all customers of the last 90 days."),
    "customer_value": ("Who stays, and what are they worth?",
                       "The chance that a customer stays away for 60 days, and what they will buy in 90."),
    "sales_forecast": ("What will be sold?", "Units on each of the next 28 days."),
}  # fmt: skip


@dataclass(frozen=True)
class Wanted:
    """A figure that is worth a line: where it stands, how to say it, and which way is good."""

    model: str
    metric: str
    slice: str
    says: str
    form: str  # times, percent or number
    good: str  # high, low, or the value that is right
    baselines: tuple[str, ...] = ()


_LIFT = "Buyers among the tenth with the highest chance, against the average"
_ORDER = "How often a buyer is ranked above a non-buyer (half is chance)"
_OFF = "How far told chances are from what came, on average"
WANTED = (
    Wanted("session_purchase", "lift_at_10", "prefix 3", f"{_LIFT}, after 3 events", "times", "high", ("rule",)),
    Wanted("session_purchase", "auc", "prefix 3", f"{_ORDER}, after 3 events", "percent", "high", ("rule",)),
    Wanted("session_purchase", "ece", "prefix 3", f"{_OFF}, after 3 events", "points", "low"),
    Wanted("customer_purchase", "lift_at_10", "7 days ahead", f"{_LIFT}, 7 days ahead", "times", "high",
           ("recency_of_visit", "frequency", "recency_of_order")),
    Wanted("customer_purchase", "auc", "30 days ahead", f"{_ORDER}, 30 days ahead", "percent", "high",
           ("recency_of_visit", "frequency", "recency_of_order")),
    Wanted("customer_purchase", "ece", "30 days ahead", f"{_OFF}, 30 days ahead", "points", "low"),
    Wanted("customer_value", "churn_auc", "all", "How often one who stays away is ranked above one who returns",
           "percent", "high", ("days since the visit", "days since the order")),
    Wanted("customer_value", "best_customers_captured", "all", "Best tenth of customers found in advance", "percent",
           "high", ("orders so far, none after 12 weeks' silence",)),
    Wanted("customer_value", "churn_ece", "all", _OFF, "points", "low"),
    Wanted("sales_forecast", "wrmsse", "all", "Error of a day's units (scaled; 0 is none)", "number", "low",
           ("seasonal_naive",)),
    Wanted("sales_forecast", "bias", "total", "Told too much (+) or too little (\u2212) in total", "signed", "0",
           ("seasonal_naive",)),
    Wanted("sales_forecast", "coverage_80", "total", "Days inside the interval that should hold 80\u202f%", "percent",
           "0.8"),
)  # fmt: skip
BASELINES = {
    "rule": "a simple rule", "recency_of_visit": "last visit", "frequency": "how often they came",
    "recency_of_order": "last order", "days since the visit": "days since the visit",
    "days since the order": "days since the order",
    "orders so far, none after 12 weeks' silence": "orders so far", "seasonal_naive": "the same weekday before",
}  # fmt: skip


def judged(told: Aggregate) -> list[dict[str, Any]]:
    """Each model with its lines, or with the reason why there are none."""
    rows = told.rows("model_quality")
    models = []
    for name, (title, tells) in TELLS.items():
        own = [r for r in rows if r["model"] == name]
        found: dict[str, Any] = {"name": name, "title": title, "tells": tells, "lines": [], "why": ""}
        if own and own[0]["state"] != "serving":
            why = str(own[0]["notes"] or "no reason is told").rstrip(".")
            found["why"] = f"{own[0]['state'].capitalize()}: {why}."
        elif not own:
            found["why"] = "Never trained."
        else:
            found["lines"] = [line for w in WANTED if w.model == name for line in [_line(w, own)] if line]
            found["version"] = own[0]["version"]
        models.append(found)
    return models


def _line(wanted: Wanted, rows: list[Row]) -> dict[str, Any] | None:
    own = [r for r in rows if r["metric"] == wanted.metric and r["slice"] == wanted.slice and r["value"] is not None]
    if not own:
        return None
    beside = [r for r in own if r["baseline"] in wanted.baselines and r["baseline_value"] is not None]
    sign = -1 if wanted.good == "low" else 1
    best = max(beside, key=lambda r: (sign * r["baseline_value"], r["baseline"]), default=None)
    row = best or own[0]
    return {
        "says": wanted.says, "row": row, "value": _form(row["value"], wanted.form),
        "interval": _interval(row, wanted.form), "baseline": _form(best["baseline_value"], wanted.form) if best else "",
        "beside": BASELINES.get(best["baseline"], best["baseline"]) if best else "",
        "verdict": _verdict(wanted, row, best),
    }  # fmt: skip


def _form(value: float, form: str) -> str:
    if form == "times":
        return f"{value:.1f}\u00d7"
    if form == "percent":
        return percent(value)
    if form == "points":
        return f"{100 * value:.1f}\u202fpp"
    if form == "signed":
        return f"{100 * value:+.1f}\u202f%".replace("-", MINUS)
    return f"{value:.2f}"


def _interval(row: Row, form: str) -> str:
    if row["lower"] is None or row["upper"] is None:
        return ""
    return f"{_form(row['lower'], form)} to {_form(row['upper'], form)}"


def _verdict(wanted: Wanted, row: Row, best: Row | None) -> str:
    """What may be said: only what lies outside of the interval makes a difference."""
    low, high = row["lower"], row["upper"]
    right = best["baseline_value"] if best else float(wanted.good) if wanted.good not in {"high", "low"} else None
    if low is None or high is None or right is None:
        return ""
    if wanted.good not in {"high", "low"}:
        held, names = low <= float(wanted.good) <= high, _RIGHT[wanted.good]
        return names[0] if held else names[1]
    if low <= right <= high:
        return "no clear difference"
    return "better" if (low > right) == (wanted.good == "high") else "worse"


_RIGHT = {"0": ("no bias seen", "biased"), "0.8": ("as promised", "not as promised")}
