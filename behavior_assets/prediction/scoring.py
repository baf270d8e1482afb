"""Scoring with stored models: numpy alone, nothing is trained, and the same rows whatever days are scored together."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from behavior_assets.prediction import customer_model
from behavior_assets.prediction.session_model import PREFIXES, deciles, logits, probabilities
from behavior_assets.star.dimensions import date_keys
from exports.contract import UNKNOWN_KEY, gold

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from behavior_assets.prediction.customer_model import Activity
    from behavior_assets.prediction.load import Sessions
    from resources.models import StoredModel

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]


def score_sessions(model: StoredModel, model_key: int, sessions: Sessions, over_us: int) -> pa.Table:
    """Rows of ``fact_session_prediction``: sessions that have bought nothing yet, at each of ``PREFIXES``.

    The outcome of a session that was not over at ``over_us`` is not known (NULL).
    """
    whole = sessions.steps
    label, counts = whole.bought()
    early = whole.step <= PREFIXES[-1]
    steps = whole.first(PREFIXES[-1])
    label, wanted = label[early], counts[early] & np.isin(steps.step, PREFIXES)
    features = replace(sessions, steps=steps).features()
    kind = str(model.told["served"])
    slope, intercept = model.told["calibration"][kind]
    chance = probabilities(logits(kind, model.arrays[kind], steps, features, wanted)[wanted], (slope, intercept))
    session, prefix = steps.session[wanted], steps.step[wanted]
    edges = {int(k): v for k, v in model.told["decile_edges"].items()}
    is_over = whole.time_us[whole.begin + whole.length - 1] < over_us if len(whole) else np.zeros(0, dtype=bool)
    rows = {
        "session_key": steps.key[session],
        "date_key": date_keys(steps.day[session]),
        "customer_key": np.where(steps.customer[session] < 0, UNKNOWN_KEY, steps.customer[session]),
        "model_key": np.full(len(session), model_key),
        "prefix": prefix,
        "probability": chance,
        "decile": _deciles(chance, prefix, edges),
        "outcome": pa.array(label[wanted].astype(np.int64), mask=~is_over[session]),
        "is_out_of_sample": _flags(steps.day[session] >= model.told["days"]["test"]),
    }
    return _sorted(rows, "fact_session_prediction", ("session_key", "prefix"))


def score_customers(model: StoredModel, model_key: int, activity: Activity, day: int, newest: int) -> pa.Table:
    """Rows of ``fact_customer_prediction`` at one score day (since 1970), from what was known at its end.

    The outcome is known once the horizon lies before the end of ``newest``, the last day of data.
    """
    scored = customer_model.features_at(activity, day)
    pieces = []
    for name, told in sorted(model.told["horizons"].items(), key=lambda item: int(item[0])):
        horizon, count = int(name), len(scored.customer)
        slope, intercept = told["calibration"]
        fitted = customer_model.CustomerModel(horizon, model.arrays[f"trees_{name}"], (slope, intercept))
        chance = fitted.chance(scored.features)
        came = customer_model.outcome(activity, scored, horizon).astype(np.int64)
        pieces.append({
            "date_key": np.repeat(date_keys(np.array([day])), count),
            "customer_key": scored.customer,
            "model_key": np.full(count, model_key),
            "horizon_days": np.full(count, horizon),
            "probability": chance,
            "decile": _deciles(chance, np.full(count, horizon), {horizon: told["decile_edges"]}),
            "outcome": pa.array(came, mask=np.full(count, newest < day + horizon)),
            "is_out_of_sample": _flags(np.full(count, day >= told["test_day"])),
        })  # fmt: skip
    tables = [_sorted(rows, "fact_customer_prediction", ("customer_key", "horizon_days")) for rows in pieces]
    return pa.concat_tables(tables)


def _deciles(chance: Floats, group: Integers, edges: dict[int, list[float]]) -> Integers:
    """1 to 10, ten being the chances as high as the highest tenth of the calibration's, by prefix or horizon."""
    found = np.zeros(len(chance), dtype=np.int64)
    for name, at in edges.items():
        mine = group == name
        found[mine] = deciles(chance[mine], at)
    return found


def _flags(values: NDArray[np.bool_]) -> NDArray[np.str_]:
    return np.where(values, "Yes", "No")


def _sorted(rows: dict[str, Any], name: str, by: tuple[str, ...]) -> pa.Table:
    schema = gold(name).schema
    table = pa.table({n: pa.array(rows[n], schema.field(n).type) for n in schema.names}, schema=schema)
    return table.sort_by([(n, "ascending") for n in by])
