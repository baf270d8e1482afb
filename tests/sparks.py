"""Spark for tests: Sail (a Spark Connect server without Java: make sail), and Spark itself (Java 17; make spark)."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from resources.settings import Settings
from resources.spark_session import spark_session, stop_sessions
from tests.conftest import REPOSITORY, Chain, absent, require_packages
from tests.servers import free_port, require, running

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

    from resources.compute import Compute

SAIL = REPOSITORY / ".sail" / "bin" / "sail"
JARS = REPOSITORY / ".spark" / "jars"


@contextmanager
def sail(log: Path) -> Iterator[str]:
    """A Sail server; yields its address."""
    require_packages("pyspark")
    if not SAIL.exists():
        absent("Sail is not installed: make sail")
    port = free_port()
    command = [str(SAIL), "spark", "server", "--ip", "127.0.0.1", "--port", str(port)]
    with running(command, {"stdin": subprocess.DEVNULL}, log, lambda: _answers(port), signal.SIGTERM):
        try:
            yield f"sc://127.0.0.1:{port}"
        finally:
            stop_sessions()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def require_spark() -> None:
    """Skip, or fail in CI, where Spark itself cannot run."""
    require_packages("pyspark")
    require(("program", "java"))
    if not list(JARS.glob("delta-spark_*.jar")):
        absent("Delta Lake's jars are not there: make spark")


def spark(settings: Settings, remote: str = "") -> Callable[[Backend], Compute]:
    """What computes by Spark: a server's, or this machine's own."""
    from resources.spark import Spark

    session = spark_session(replace(settings, engine="spark", spark_remote=remote, spark_jars=str(JARS)))
    return lambda backend: Spark(session, backend)


if __name__ == "__main__":  # by Spark itself, for homes that are told
    for root in sys.argv[1:]:
        chain = Chain.at(Path(root))
        chain.build(by=spark(chain.settings))
