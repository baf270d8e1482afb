"""How fast the serving model scores sessions, from the lake to rows of ``fact_session_prediction``.

    python benchmarks/scoring.py --home D [--days 60] [--json FILE]

Nothing is written. Loading is one query over silver; scoring is features, the stored weights and calibration, in numpy.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from behavior_assets.prediction.load import days_of, load_sessions, load_visitors
from behavior_assets.prediction.recipes import SESSIONS
from behavior_assets.prediction.scoring import score_sessions
from behavior_assets.star.registry import model_key
from console import start, write_json
from resources.home import HomeResource
from resources.models import ModelStore
from resources.settings import existing_settings

FAR_US = 2**62  # every session is over by then


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path("data"))
    parser.add_argument("--days", type=int, default=60, help="newest days that are scored")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    settings = existing_settings(options.home)
    home = HomeResource(home=str(settings.home.root))
    model = ModelStore(settings.home.models).load(SESSIONS.name)
    days = days_of(home.lake())[-options.days :]
    with home.engine() as backend:
        began = time.perf_counter()
        sessions = load_sessions(backend, home.lake(), days, load_visitors(backend, home.lake(), days[-1]))
        loaded = time.perf_counter()
    rows = score_sessions(model, model_key(model.name, model.version), sessions, FAR_US)
    scored = time.perf_counter()
    count = len(sessions.steps)
    told = {
        "model": model.version, "kind": model.told["served"], "sessions": count, "rows": len(rows),
        "load_seconds": round(loaded - began, 2), "score_seconds": round(scored - loaded, 2),
        "sessions_per_second": round(count / (scored - loaded)),
        "sessions_per_second_with_loading": round(count / (scored - began)),
    }  # fmt: skip
    for name, value in told.items():
        print(f"{name:34} {value:,}" if isinstance(value, int) else f"{name:34} {value}")
    if options.json:
        write_json(options.json, told)


if __name__ == "__main__":
    start(main)
