"""One `behavior run` in a process that has imported everything before: what a daemon or a code server needs."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import dagster  # noqa: F401 - imported before anything is timed, like the rest

import behavior_assets.definitions  # noqa: F401
from behavior_assets.chain import run_chain
from expectations.bridge import prepare
from resources.settings import create_home


def main() -> None:
    """`warm_run.py HOME FORMAT FILE…` prints the run's report as JSON."""
    home, format_name, *files = sys.argv[1:]
    prepare()
    report = run_chain(create_home(home), [Path(f) for f in files], format_name)
    print(json.dumps(asdict(report)))


if __name__ == "__main__":
    main()
