"""Sales forecasts on any source: a shop's demand, 28 days ahead, told from rolling origins.

    python benchmarks/forecast.py --source DIR --format online_retail [--holdout-days 28] [--origins 6] [--json FILE]

Levels: the total and every product, weighted equally; inside a level series weigh by their revenue of the 28 days
before the origin (WRMSSE, as in M5). At each origin the methods are chosen, and the intervals learnt, from earlier
origins only, whose days were all known by then.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from behavior_assets.forecasting import methods as ways
from behavior_assets.forecasting import neural, score
from behavior_assets.forecasting.backtest import NAIVE, PARTS, TOTAL, WEIGHT_DAYS, Champion, Origin, choose, run
from behavior_assets.forecasting.intervals import LEVELS
from behavior_assets.forecasting.series import Demand, learn_calendar, make_demand
from console import refuse, start, write_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

SPACING = 14
MEDIAN = 0.5
WARM_UP = 4  # origins before the first that is judged, whose days are known by then
BOOTSTRAPS = 1000


# Units that a customer takes back on the day of the order were never demand: 80,995 of one product in one order, and
# 12 minutes later none. What comes back on a later day is a refund, and stays demand.
_DEMAND = """
WITH told AS (SELECT * REPLACE (coalesce(quantity, 1) AS quantity) FROM read_parquet($1) WHERE product_id IS NOT NULL),
lines AS (
    SELECT product_id, (event_date - DATE '1970-01-01')::BIGINT AS day, user_id,
        sum(quantity) FILTER (WHERE line_type = 'sale' AND quantity > 0) AS units,
        sum(quantity * price) FILTER (WHERE line_type = 'sale' AND quantity > 0) AS worth,
        coalesce(sum(abs(quantity)) FILTER (WHERE line_type = 'refund' AND user_id IS NOT NULL), 0) AS undone
    FROM told GROUP BY ALL
)
SELECT product_id, day, sum(greatest(units - undone, 0))::DOUBLE AS units,
    coalesce(sum(worth * greatest(units - undone, 0) / units), 0)::DOUBLE AS worth
FROM lines WHERE units > 0 GROUP BY ALL ORDER BY ALL"""


def demand_of(source: Path, format_name: str, mapping: Path | None) -> Demand:
    """Daily units sold by product, from files that the project ingests as it ingests any others."""
    from behavior_assets.ingestion.ahead import Delivery
    from behavior_assets.ingestion.arrivals import find_files
    from behavior_assets.ingestion.canonical import BRONZE_EVENTS
    from behavior_assets.ingestion.ingest import Ingestion
    from behavior_assets.ingestion.sources import load_source
    from resources.engine import engine
    from resources.lake import Lake
    from resources.settings import create_home

    if not source.exists():
        refuse(f"--source {source}: there is no such folder or file.")

    with tempfile.TemporaryDirectory(prefix="forecast-") as folder:
        settings = create_home(folder)
        lake = Lake(settings.home.lake)
        with engine(settings) as backend:
            deliveries = [Delivery(p, load_source(format_name, mapping)) for p in find_files([source])]
            report = Ingestion(lake, settings, backend.con).run(deliveries)
            if not report.entries:
                refuse("\n".join([f"--source {source}: no file was taken.", *(r for _, r in report.refused)]))
            bronze = lake.table(BRONZE_EVENTS)
            files = bronze.absolute(bronze.files())
            sold = backend.con.execute(_DEMAND, [files]).fetchnumpy()
            days = backend.con.execute("SELECT max(event_date - DATE '1970-01-01') FROM read_parquet($1)", [files])
            last = int(days.fetchall()[0][0])
    # Where no prices are told, series weigh by their units.
    worth = sold["worth"] if sold["worth"].any() else sold["units"]
    return make_demand(sold["product_id"].astype(str), sold["day"], sold["units"], worth, last)


def evaluate(demand: Demand, horizon: int, count: int) -> dict[str, Any]:
    """Judge ``count`` origins, ``SPACING`` days apart, the last ``horizon`` days before the end."""
    newest = demand.days - horizon
    judged = [newest - SPACING * n for n in range(count)][::-1]
    before = [judged[0] - horizon - SPACING * n for n in range(WARM_UP)][::-1]
    between = list(range(before[-1] + SPACING, judged[0], SPACING))
    if before[0] < 3 * horizon:
        need = 3 * horizon + SPACING * (WARM_UP - 1 + count - 1) + 2 * horizon
        refuse(f"Not enough data: {demand.days} days of sales, and {count} origins of {horizon} days need {need}.")
    quiet = [d for d in judged if not (demand.worth[:, d - WEIGHT_DAYS : d].any() and demand.values[:, d:].any())]
    if quiet:
        refuse(f"Nothing was sold in the four weeks before, or at all after, day {quiet[0]}: it cannot be judged.")
    served = {
        NAIVE: ways.seasonal_naive, "smoothed": ways.smoothed, "croston": ways.by_class, "boosting": ways.boosting,
    }  # fmt: skip
    levels = {TOTAL: {**served, "ets": ways.auto_ets}, PARTS: served}
    started = time.perf_counter()
    origins = {o.days: o for o in run(demand, sorted({*before, *between, *judged}), horizon, levels, _tell)}
    told: list[dict[str, Any]] = []
    for days in judged:
        past = [o for o in origins.values() if o.days + horizon <= days]
        champion = choose(past)
        told.append(_judge(origins[days], champion) | {"pinball": _pinballs(origins[days], champion, demand, horizon)})
    seconds = time.perf_counter() - started
    ets = {o.days: o for o in run(demand, judged, horizon, {PARTS: {"ets": ways.plain_ets}}, _tell)}
    for one in told:
        parts = ets[one["days"]].forecasts[PARTS]["ets"]
        one["ets"] = _wrmsse(origins[one["days"]], {TOTAL: parts.sum(axis=0)[None, :], PARTS: parts})
    found = _together(told)
    found |= {"series": len(demand.names), "days": demand.days, "seconds_without_ets_bottom_up": seconds}
    return found | {"seconds": time.perf_counter() - started}


def _tell(days: int) -> None:
    print(f"  origin after {days} days", flush=True)


def _wrmsse(origin: Origin, forecast: dict[str, NDArray[np.float64]]) -> float:
    errors = [score.weighted(score.rmsse(origin.actual[level], forecast[level], origin.scales[level]),
                             origin.weights[level]) for level in (TOTAL, PARTS)]  # fmt: skip
    return float(np.mean(errors))


def _judge(origin: Origin, champion: Champion) -> dict[str, Any]:
    forecast = champion.forecast(origin)
    naive = {level: origin.forecasts[level][NAIVE] for level in (TOTAL, PARTS)}
    told: dict[str, Any] = {
        "days": origin.days, "methods": champion.methods, "wrmsse": _wrmsse(origin, forecast),
        "naive": _wrmsse(origin, naive),
        "coherence": float(np.abs(forecast[TOTAL][0] - forecast[PARTS].sum(axis=0)).max()),
        "bias": float((forecast[TOTAL] - origin.actual[TOTAL]).sum() / origin.actual[TOTAL].sum()),
        "errors": {level: {n: origin.error(level, n) for n in origin.forecasts[level]} for level in (TOTAL, PARTS)},
    }  # fmt: skip
    for level in LEVELS:
        shares = {}
        for part in (TOTAL, PARTS):
            lower, upper = champion.intervals[part].around(forecast[part], level)
            inside = (origin.actual[part] >= lower - 1e-9) & (origin.actual[part] <= upper + 1e-9)
            shares[part] = inside[:, origin.was_open].mean(axis=1)
        weights = origin.weights[PARTS]
        told[f"inside_{level}"] = {TOTAL: float(shares[TOTAL][0]),
                                   PARTS: float(np.average(shares[PARTS], weights=weights)),
                                   "unweighted": float(shares[PARTS][weights > 0].mean())}  # fmt: skip
    return told


def _pinballs(origin: Origin, champion: Champion, demand: Demand, horizon: int) -> dict[str, float]:
    """Mean pinball loss of the ends of both intervals, over products and open days in units: ours, and a network's."""
    at = np.ix_(origin.weights[PARTS] > 0, origin.was_open)
    actual, forecast = origin.actual[PARTS][at], champion.forecast(origin)[PARTS][at]
    ends = {}
    for level in LEVELS:
        below = (100 - level) / 200
        ends[below], ends[1 - below] = champion.intervals[PARTS].around(forecast, level)
    found = {"conformal": float(np.mean([score.pinball(actual, end, q).mean() for q, end in ends.items()]))}
    known = demand.until(origin.days)
    try:
        told = neural.quantiles(known, learn_calendar(known), horizon)
    except ImportError:  # the extra "models" is not installed
        told = None
    if told is not None:
        by_quantile = zip(neural.QUANTILES, told, strict=True)
        losses = [score.pinball(actual, t[at], q).mean() for q, t in by_quantile if q != MEDIAN]
        found["neural"] = float(np.mean(losses))
    return found


def _together(told: list[dict[str, Any]]) -> dict[str, Any]:
    """Pooled over origins, with intervals from drawing origins again (they are what varies together)."""
    dice = np.random.default_rng(7)
    drawn = dice.integers(0, len(told), (BOOTSTRAPS, len(told)))
    found: dict[str, Any] = {
        "wrmsse": float(np.mean([t["wrmsse"] for t in told])),
        "wrmsse_seasonal_naive": float(np.mean([t["naive"] for t in told])),
        "wrmsse_ets_bottom_up": float(np.mean([t["ets"] for t in told])),
    }
    ratio = np.array([t["wrmsse"] for t in told]), np.array([t["naive"] for t in told])
    found["better_than_ets_bottom_up"] = 1 - found["wrmsse"] / found["wrmsse_ets_bottom_up"]
    found["better_than_seasonal_naive"] = float(1 - ratio[0].mean() / ratio[1].mean())
    ends = np.quantile(1 - ratio[0][drawn].mean(axis=1) / ratio[1][drawn].mean(axis=1), [0.025, 0.975])
    found["better_than_seasonal_naive_interval"] = ends.tolist()
    for level in LEVELS:
        shares = np.array([[t[f"inside_{level}"][TOTAL], t[f"inside_{level}"][PARTS]] for t in told])
        found[f"coverage_{level}"] = float(shares.mean())
        pooled = shares.mean(axis=1)[drawn].mean(axis=1)
        found[f"coverage_{level}_interval"] = np.quantile(pooled, [0.025, 0.975]).tolist()
        found[f"coverage_{level}_total"], found[f"coverage_{level}_products"] = shares.mean(axis=0).tolist()
        even = [t[f"inside_{level}"]["unweighted"] for t in told]
        found[f"coverage_{level}_products_unweighted"] = float(np.mean(even))
    found["bias"] = float(np.mean([t["bias"] for t in told]))
    for name in told[0]["pinball"]:
        found[f"pinball_products_{name}"] = float(np.mean([t["pinball"][name] for t in told]))
    found["coherence_error"] = max(t["coherence"] for t in told)
    found["origins"] = told
    return found


def main() -> None:
    """Print a table, and write JSON where asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--format", default="online_retail")
    parser.add_argument("--mapping", type=Path)
    parser.add_argument("--holdout-days", type=int, default=28)
    parser.add_argument("--origins", type=int, default=6)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    demand = demand_of(options.source, options.format, options.mapping)
    told = evaluate(demand, options.holdout_days, options.origins)
    for name, value in told.items():
        if name != "origins":
            print(f"{name:40} {value:,.4f}" if isinstance(value, float) else f"{name:40} {value}")
    for one in told["origins"]:
        errors = f"{one['wrmsse']:.4f}, naive {one['naive']:.4f}, ETS {one['ets']:.4f}"
        print(f"  after {one['days']} days: {errors}, {one['methods']}")
    if options.json:
        write_json(options.json, told)


if __name__ == "__main__":
    start(main)
