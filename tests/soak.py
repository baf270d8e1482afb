"""Random histories for a number of minutes, on every core: ``python -m tests.soak --minutes 20``."""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from collections import Counter
from functools import partial

from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.histories import Child, Shop, Tally

_ROUND = 5  # histories between two looks at the clock
_ROUNDS = 4  # one history in so many rounds goes through Dagster, the way a user's does, and makes a round of its own


def play(until: float, most: int, first_seed: int) -> dict[str, object]:
    """Histories until a moment (``time.time()``) or a number; what was found, and the first failure's words."""
    Shop.tally = Tally()
    rounds, failure = 0, ""
    while time.time() < until and Shop.tally.histories < most and not failure:
        Shop.through_dagster = rounds % _ROUNDS == 1
        count = 1 if Shop.through_dagster else min(_ROUND, most)
        options = settings(max_examples=count, stateful_step_count=8, deadline=None, database=None,
                           suppress_health_check=list(HealthCheck))  # fmt: skip
        machine = seed(first_seed + rounds)(type("Shop", (Shop,), {}))
        try:
            run_state_machine_as_test(machine, settings=options)
        except Exception as error:  # noqa: BLE001 - told at the end, with the seed that gives it again
            failure = f"seed {first_seed + rounds}: {type(error).__name__}: {error}"
        rounds += 1
    tally = Shop.tally
    return {"histories": tally.histories, "through_dagster": tally.through_dagster, "faults": dict(tally.faults),
            "lost": tally.lost, "doubled": tally.doubled, "failure": failure}  # fmt: skip


def main() -> None:
    """Play on every core and print what was found; exit 1 after a failure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--histories", type=int, default=10**9, help="at most so many on each core")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**9))
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 2)
    options = parser.parse_args()
    import behavior_assets.definitions
    from expectations.bridge import prepare

    assert behavior_assets.definitions  # imported here, so that no child has to
    prepare()
    until = time.time() + options.minutes * 60
    seeds = [options.seed + n * 10**9 for n in range(options.workers)]
    workers = [Child(partial(play, until, options.histories, first)) for first in seeds]
    found = [worker.end()[1] or {"failure": "a worker died"} for worker in workers]
    names = ("histories", "through_dagster", "lost", "doubled")
    total = {name: sum(int(f.get(name, 0)) for f in found) for name in names}
    faults: Counter[str] = sum((Counter(f.get("faults", {})) for f in found), Counter())
    failures = [str(f["failure"]) for f in found if f["failure"]]
    lines = [
        f"seed {options.seed}",
        f"histories run    {total['histories']:,} ({total['through_dagster']:,} of them through Dagster)",
        f"faults injected  {faults.total():,}  {json.dumps(dict(sorted(faults.items())))}",
        f"rows lost        {total['lost']:,}",
        f"rows doubled     {total['doubled']:,}",
        *failures,
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
