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
    command = [sys.executable, "-m", "tests.soak", "--histories", "6", "--workers", "1", "--seed", "1"]
    done = subprocess.run(command, cwd=REPOSITORY, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    told = {line[:17].strip(): line[17:].split()[0] for line in done.stdout.splitlines()[1:]}
    assert (told["rows lost"], told["rows doubled"]) == ("0", "0")
    assert int(told["histories run"]) >= 6
    assert int(told["faults injected"]) >= 1
