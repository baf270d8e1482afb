"""A few random histories in every test run; `make soak` plays them for twenty minutes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


def test_random_histories() -> None:
    """Nothing lost, nothing doubled, the oracle's sessions; see tests/histories.py.

    In a process of its own: children can be forked only where no database was ever opened.
    """
    command = [sys.executable, "-m", "tests.soak", "--histories", "6", "--workers", "1", "--seed", "3"]
    done = subprocess.run(command, cwd=REPOSITORY, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    told = dict(line.rsplit(None, 1) for line in done.stdout.splitlines() if line.startswith("rows "))
    assert told == {"rows lost": "0", "rows doubled": "0"}
    assert "histories run    6 (1 of them through Dagster)" in done.stdout
