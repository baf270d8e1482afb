"""How much of what can be known of a simulated shop's sessions the serving model tells.

    python benchmarks/recovery.py --home D [--truth FILE] [--seeds N] [--json FILE]

The simulator knows the exact P(purchase later | events so far) of every event, and writes it beside the files that it
delivers, where the chain never looks. No model can rank better than that chance does; the gap to it is all that may be
said of a model on made-up data. With ``--seeds`` both models are trained anew with so many seeds, and their difference
is told with its interval. What is found is remarked in the home's models, from where the next run publishes it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from behavior_assets.prediction import metrics
from behavior_assets.prediction.recipes import SESSIONS
from behavior_assets.prediction.session_model import (
    BOOSTING,
    GRU,
    PREFIXES,
    Data,
    logits,
    split,
    train_network,
    train_trees,
)
from behavior_assets.trainer import plain
from behavior_assets.training import Figure
from console import refuse, start, write_json
from resources.models import ModelStore
from resources.settings import existing_settings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from behavior_assets.prediction.load import Sessions
    from resources.settings import Settings

DRAWS = 400
_T4 = 2.776  # Student's t, 97.5 %, by degrees of freedom
STUDENT = {1: 12.706, 2: 4.303, 3: 3.182, 4: _T4, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}

# Sessions by the id that the files know them by; what a gap has cut in two cannot be told by its number of events.
_ROWS = """
WITH visits AS (
    SELECT DISTINCT session_id, key_session(source || '|s|' || session_id || '|' || coalesce(client_id, user_id, ''))
        AS chain_key
    FROM read_parquet($bronze) WHERE session_id IS NOT NULL
), whole AS (
    SELECT chain_key, any_value(session_key) AS session_key FROM read_parquet($sessions)
    GROUP BY chain_key HAVING count(*) = 1
), exact AS (
    SELECT session_id, row_number() OVER (PARTITION BY session_id ORDER BY event_index) AS prefix, p_purchase_later
    FROM read_parquet($truth)
)
SELECT p.prefix, p.probability, e.p_purchase_later AS exact, p.outcome, p.customer_key
FROM read_parquet($scores) p JOIN whole USING (session_key) JOIN visits USING (chain_key)
    JOIN exact e ON e.session_id = visits.session_id AND e.prefix = p.prefix
WHERE p.is_out_of_sample = 'Yes' AND p.outcome IS NOT NULL ORDER BY p.session_key, p.prefix"""


def compared(settings: Settings, truth: Path) -> tuple[str, list[Figure]]:
    """The serving version, and by prefix how far it is from the exact chances on the days that did not make it."""
    from behavior_assets.ingestion.canonical import BRONZE_EVENTS
    from behavior_assets.sessions.sessionise import SILVER_SESSIONS
    from exports.contract import gold
    from resources.engine import engine
    from resources.lake import Lake

    lake, store = Lake(settings.home.lake), ModelStore(settings.home.models)
    version = store.load(SESSIONS.name).version
    scores = lake.table(gold("fact_session_prediction"))
    files = {
        "bronze": lake.table(BRONZE_EVENTS).absolute(lake.table(BRONZE_EVENTS).files()),
        "sessions": lake.table(SILVER_SESSIONS).absolute(lake.table(SILVER_SESSIONS).files()),
        "scores": scores.absolute([f for f in scores.files() if f.part.endswith(version[-8:])]),
        "truth": [str(truth)],
    }
    with engine(settings, pseudonyms=True) as backend:
        found = backend.con.execute(_ROWS, files).fetchnumpy()
    rows: list[Figure] = []
    for prefix in PREFIXES:
        mine = found["prefix"] == prefix
        label = found["outcome"][mine] > 0
        told, exact = found["probability"][mine], found["exact"][mine]
        if label.any():
            rows += _gaps(label, told, exact, found["customer_key"][mine], f"prefix {prefix}")
    return version, rows


def _gaps(
    label: NDArray[np.bool_], told: NDArray[np.float64], exact: NDArray[np.float64], group: NDArray[np.int64], name: str
) -> list[Figure]:
    gap = metrics.difference(label, exact, told, group, "auc", draws=DRAWS)
    mine = metrics.estimates(label, told, group, ("brier_skill", "ece"), draws=DRAWS)
    best = metrics.Ranked.of(label, exact).weighed()
    return [
        Figure("auc_below_optimum", gap.value, name, gap.lower, gap.upper, "optimum", 0.0),
        Figure("brier_skill_on_truth", mine["brier_skill"].value, name, mine["brier_skill"].lower,
               mine["brier_skill"].upper, "optimum", best.brier_skill()),
        Figure("ece_on_truth", mine["ece"].value, name, mine["ece"].lower, mine["ece"].upper, "optimum", best.ece()),
        Figure("mean_distance_to_exact_chance", float(np.abs(told - exact).mean()), name),
        Figure("rows_on_truth", float(len(label)), name),
    ]  # fmt: skip


def seed_study(settings: Settings, seeds: int) -> list[Figure]:
    """AP of the network minus that of boosted trees on the test, by prefix: mean and t-interval over seeds."""
    from behavior_assets.prediction.load import days_of
    from resources.home import HomeResource

    home = HomeResource(home=str(settings.home.root))
    with home.engine() as backend:
        sessions: Sessions = SESSIONS.load(backend, home.lake(), days_of(home.lake())[-1])
    data = Data(sessions.steps, sessions.features(), split(sessions.steps.day))
    test = data.rows("test")
    apart: dict[int, list[float]] = {k: [] for k in PREFIXES}
    for seed in range(seeds):
        arrays = {GRU: train_network(data, seed), BOOSTING: train_trees(data, seed)}
        told = {kind: logits(kind, arrays[kind], data.steps, data.features, test) for kind in arrays}
        for prefix, found in apart.items():
            rows = test & (data.steps.step == prefix)
            one, other = (metrics.average_precision(data.label[rows], told[kind][rows]) for kind in (GRU, BOOSTING))
            found.append(one - other)
        print(f"  seed {seed}: " + ", ".join(f"prefix {k} {v[-1]:+.4f}" for k, v in apart.items()), flush=True)
    rows_: list[Figure] = []
    for prefix, found in apart.items():
        middle = float(np.mean(found))
        half = STUDENT[seeds - 1] * float(np.std(found, ddof=1)) / np.sqrt(seeds) if seeds > 1 else float("nan")
        rows_.append(Figure(f"ap_gru_minus_boosting_over_{seeds}_seeds", middle, f"prefix {prefix}",
                            middle - half, middle + half))  # fmt: skip
    return rows_


def main() -> None:
    """Measure, print, and remark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path("data"))
    parser.add_argument("--truth", type=Path, help="default: <home>/simulated/truth/truth-rees46.parquet")
    parser.add_argument("--seeds", type=int, default=0, choices=range(10))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    settings = existing_settings(options.home)
    truth = options.truth or settings.home.root / "simulated" / "truth" / "truth-rees46.parquet"
    if not truth.is_file():
        refuse(f"{truth}: there is no such file. Only a simulated shop has one, beside its files: give --truth FILE")
    version, found = compared(settings, truth)
    if options.seeds:
        found += seed_study(settings, options.seeds)
    ModelStore(settings.home.models).remark(SESSIONS.name, version, [plain(f) for f in found])
    print(f"SYNTHETIC data; {SESSIONS.name} {version}. Measured against the chance to buy that the simulator gave each "
          "session,\nafter so many of its events: value, [95 % interval], and what that chance itself would reach.")
    for f in found:
        ends = "" if np.isnan(f.lower) else f"[{f.lower:+.4f}, {f.upper:+.4f}]"
        beside = "" if np.isnan(f.baseline_value) else f"{f.baseline} {f.baseline_value:+.4f}"
        print(f"{f.metric:38} {f.slice:10} {f.value:+12.4f}  {ends:20} {beside}")
    if options.json:
        told: dict[str, Any] = {"version": version, "figures": [plain(f) for f in found]}
        write_json(options.json, told)


if __name__ == "__main__":
    start(main)
