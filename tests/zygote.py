"""A warm process that forks: children that can be killed or stopped, each for a fraction of what a new one costs.

It imports everything and never opens a database or a table itself (delta-rs does not survive a fork from a process
that used it). Tests talk to it in lines of JSON; a child runs one function of a module in ``tests``.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from tests.histories import Child

_IMPORTED = (
    "pandas", "pyarrow.dataset", "pyarrow.pandas_compat", "behavior_assets.chain", "behavior_assets.definitions",
    "behavior_assets.verification", "exports.assets", "exports.verify", "tests.matrix",
)  # fmt: skip
REPOSITORY = Path(__file__).resolve().parent.parent


class Ended(NamedTuple):
    """How a child ended: its exit status (negative: the signal that killed it), its answer, its stderr."""

    code: int
    answer: Any
    err: str


class Zygote:
    """The warm process, from the side of a test."""

    def __init__(self) -> None:
        """Start it; it answers once everything is imported."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.zygote"], cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip

    def start(self, function: str, **arguments: Any) -> int:
        """Start a child that runs ``module:function`` of ``tests``; its process id."""
        return int(self._ask("start", function, arguments))

    def end(self, pid: int) -> Ended:
        """Wait for a child."""
        return Ended(*self._ask("end", pid))

    def run(self, function: str, **arguments: Any) -> Ended:
        """A child from its start to its end."""
        return self.end(self.start(function, **arguments))

    def done(self, function: str, **arguments: Any) -> Any:
        """The answer of a child that must not fail."""
        ended = self.run(function, **arguments)
        assert ended.code == 0, ended.err
        return ended.answer

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)

    def _ask(self, *request: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the warm process died"
        return json.loads(line)


def _child(function: str, arguments: dict[str, Any], log: str) -> Child:
    module, name = function.split(":")

    def work() -> Any:
        with open(log, "w") as err, open(os.devnull) as nothing:  # noqa: PTH123 - descriptors are what is wanted
            os.dup2(err.fileno(), 2)
            os.dup2(err.fileno(), 1)
            os.dup2(nothing.fileno(), 0)
        return getattr(importlib.import_module(f"tests.{module}"), name)(**arguments)

    return Child(work)


def main() -> None:
    """Answer until the pipe is closed."""
    for module in _IMPORTED:  # here, so that no child has to
        importlib.import_module(module)
    children: dict[int, tuple[Child, str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for line in sys.stdin:
            what, *rest = json.loads(line)
            answer: Any
            if what == "start":
                log = f"{folder}/{len(os.listdir(folder))}.err"  # noqa: PTH208 - a count
                child = _child(rest[0], rest[1], log)
                children[child.pid] = (child, log)
                answer = child.pid
            else:
                child, log = children.pop(rest[0])
                answer = [*child.end(), Path(log).read_text("utf-8", "replace")]
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
