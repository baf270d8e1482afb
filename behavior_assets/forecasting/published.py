"""Forecasts as they are published: rows of ``fact_sales_forecast``, and how good they turned out to be."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from behavior_assets.days import number_of
from behavior_assets.forecasting.backtest import TOTAL
from behavior_assets.forecasting.intervals import LEVELS
from behavior_assets.forecasting.serve import BOUNDS, forecast
from behavior_assets.star.dimensions import date_keys
from behavior_assets.training import Figure
from exports.contract import UNKNOWN_KEY, gold

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from behavior_assets.forecasting.load import Loaded
    from behavior_assets.forecasting.series import Demand
    from behavior_assets.forecasting.serve import Rows
    from resources.models import StoredModel

NAME = "fact_sales_forecast"
_KEYS = {"category": "category_key", "product": "product_durable_key"}


def digest(demand: Demand, day: int) -> str:
    """What a forecast and its outcome depend on: demand up to a day (since 1970), of series that have sold by then."""
    known = demand.until(max(min(day - demand.first + 1, demand.days), 0))
    sold = np.flatnonzero(known.values.sum(axis=1))
    found = hashlib.sha256(np.ascontiguousarray(known.values[sold]).tobytes())
    found.update(np.ascontiguousarray(known.worth[sold]).tobytes())
    found.update("\n".join(known.names[n] for n in sold.tolist()).encode())
    return found.hexdigest()


def origins(model: StoredModel) -> set[int]:
    """Days (since 1970) after which the model's training forecast as it would have then: its backtest, and its end."""
    end = number_of(model.told["last_day"])
    return {*np.unique(model.arrays["backtest"]["origin"]).tolist(), end}


def table(model: StoredModel, model_key: int, loaded: Loaded, origin: int, *, serving: bool) -> pa.Table:
    """Rows of one origin. The backtest's are those of the training; later ones are made from the stored weights."""
    demand = loaded.demand
    told = model.arrays["backtest"]
    mine = told["origin"] == origin
    rows: Rows = {n: v[mine] for n, v in told.items()}
    if not mine.any():
        rows = forecast(model, demand, origin - demand.first + 1)
    place = {name: row for row, name in enumerate(demand.names)}
    is_total = rows["series"] == TOTAL
    series = np.array([place.get(name, -1) for name in rows["series"].tolist()])
    ahead = rows["day"] - demand.first
    is_over = ahead < demand.days
    at = np.where(is_over, ahead, 0)
    sold = np.where(series >= 0, demand.values[series, at], 0.0)
    actual = np.where(is_total, demand.values.sum(axis=0)[at], sold)
    key = np.array([UNKNOWN_KEY if name == TOTAL else int(name) for name in rows["series"].tolist()], dtype=np.int64)
    unknown = np.full(len(key), UNKNOWN_KEY)
    columns = {
        "origin_date_key": date_keys(rows["origin"].astype(np.int64)),
        "date_key": date_keys(rows["day"].astype(np.int64)),
        "level": np.where(is_total, TOTAL, loaded.level),
        **{column: key if level == loaded.level else unknown for level, column in _KEYS.items()},
        "model_key": np.full(len(key), model_key),
        "forecast": rows["forecast"],
        **{name: rows[name] for name in BOUNDS},
        "actual": pa.array(actual, mask=~is_over),
        "is_champion": np.full(len(key), "Yes" if serving else "No"),
        "horizon_days": (rows["day"] - rows["origin"]).astype(np.int64),
    }
    schema = gold(NAME).schema
    made = pa.table({n: pa.array(columns[n], schema.field(n).type) for n in schema.names}, schema=schema)
    return made.sort_by([(n, "ascending") for n in ("level", *_KEYS.values(), "date_key")])


def live_figures(
    level: NDArray[np.str_], forecast_: NDArray[np.float64], actual: NDArray[np.float64],
    bounds: dict[str, NDArray[np.float64]],
) -> list[Figure]:
    """How good the forecasts [n] made since the training turned out to be, by level."""
    found = []
    for name in np.unique(level).tolist():
        mine = level == name
        at, came, told = f"served, {name}", actual[mine], forecast_[mine]
        found.append(Figure("rows", float(mine.sum()), at))
        if came.sum() > 0:
            found.append(Figure("wape", float(np.abs(told - came).sum() / came.sum()), at))
            found.append(Figure("bias", float((told - came).sum() / came.sum()), at))
        for share in LEVELS:
            inside = (bounds[f"lower_{share}"][mine] <= came) & (came <= bounds[f"upper_{share}"][mine])
            found.append(Figure(f"coverage_{share}", float(inside.mean()), at))
    return found
