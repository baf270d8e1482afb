"""A process that forks a child for each delivery and tells how much memory that took at most.

``python -m tests.capped`` reads one JSON object a line ({"home", "path", "form", "memory_limit"}) and answers each with
one. It imports what an ingestion needs and starts neither engine itself, so a child begins with the imports alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.conftest import REPOSITORY, Chain

KIB = 1024


def ingest(wanted: dict[str, Any]) -> dict[str, Any]:
    """Take one file in, below Dagster; what became of it."""
    chain = Chain.at(Path(wanted["home"]), memory_limit=wanted["memory_limit"])
    report = chain.ingest([Path(wanted["path"])], wanted["form"])
    entries = [(e.rows_in, e.accepted, e.quarantined, e.duplicate) for e in report.entries]
    return {"entries": entries, "refused": [reason for _, reason in report.refused]}


def naive(wanted: dict[str, Any]) -> dict[str, Any]:
    """Read the same file as a program does that does not care."""
    import pyarrow.csv
    import pyarrow.parquet

    read = pyarrow.parquet.read_table if wanted["path"].endswith(".parquet") else pyarrow.csv.read_csv
    return {"rows": read(wanted["path"]).num_rows}


def measured(work: Callable[[dict[str, Any]], dict[str, Any]], wanted: dict[str, Any]) -> dict[str, Any]:
    """Do it in a child: its answer, ``peak`` (its resident memory at most, in bytes), ``seconds`` and ``code``."""
    reading, writing = os.pipe()
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.write(writing, json.dumps(work(wanted)).encode())
            code = 0
        except BaseException:  # noqa: BLE001 - whatever it is, the test is told
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    _, status, used = os.wait4(pid, 0)
    told: dict[str, Any] = json.loads(answer) if answer else {}
    return told | {"peak": used.ru_maxrss * KIB, "seconds": round(time.monotonic() - started, 1),
                   "code": os.waitstatus_to_exitcode(status)}  # fmt: skip


class Capped:
    """That process, and its answers."""

    def __init__(self) -> None:
        """Start it."""
        command = [sys.executable, "-m", "tests.capped"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=REPOSITORY)
        self.base = self._answer()["peak"]

    def ask(self, **wanted: Any) -> dict[str, Any]:
        """Have something measured."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(wanted, default=str).encode() + b"\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        told: dict[str, Any] = json.loads(self._process.stdout.readline())
        return told

    def end(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)


def main() -> None:
    """First the memory of the imports, then an answer for every line."""
    # Asked of a child too: of itself a process is told what the one held that started it.
    sys.stdout.write(json.dumps(measured(lambda _: {}, {})) + "\n")
    sys.stdout.flush()
    for line in sys.stdin:
        wanted = json.loads(line)
        told = measured(naive if wanted["form"] == "naive" else ingest, wanted)
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
