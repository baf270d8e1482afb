"""Spark for tests: Sail (a Spark Connect server without Java: make sail), and Spark itself (Java 17; make spark)."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from behavior_assets.star.order import OF_THIS_PROCESS
from behavior_assets.tables import all_tables
from expectations.rules import load_rules
from resources.engine import engine
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


def verdicts(chain: Chain, compute: Compute) -> dict[str, list[Any]]:
    """What the rules say of each table that Spark may judge: name, whether it is kept, rows that break it, and days."""
    found = {}
    for spec in all_tables():
        if not spec.name.startswith(("silver/sessions", "silver/c", "silver/p", "gold/dim_", "gold/f")):
            continue
        if spec.name.removeprefix("gold/") in OF_THIS_PROCESS:
            continue
        table, rules = chain.lake.table(spec), load_rules(spec.name)
        others = [chain.table(n) for n in sorted({r.to_table for r in rules.rules if r.kind == "references"})]
        told = compute.judge(table, table.files(), others, rules)
        # As where only some parts changed: one file's rows, and what shares their keys with the others.
        some = table.files()[:1]
        asked: list[Any] = [(some, rules.rules, None)]
        asked += [(table.files(), (r,), (some, r.columns)) for r in rules.rules if r.kind == "unique"]
        for files, chosen, sharing in asked:
            told = [*told, *compute.judge(table, files, others, replace(rules, rules=chosen), sharing)]
        found[spec.name] = [[r.rule.name, r.passed, r.unexpected, r.failed_days] for r in told]
    return found


def break_a_session(chain: Chain) -> None:
    """Put a row among the sessions that breaks many rules."""
    sessions = chain.table("silver/sessions")
    day, *_ = sessions.parts()
    rows = pq.read_table(sessions.absolute(sessions.parts()[day])[0], partitioning=None)
    bad = {"events": -1, "revenue": None, "split_reason": "boredom", "session_key": rows["session_key"][1].as_py()}
    broken = pa.Table.from_pylist([rows.slice(0, 1).to_pylist()[0] | bad], schema=sessions.spec.schema)
    sessions.commit([sessions.write(day, "broken", [broken, rows.slice(1)])])


if __name__ == "__main__":  # by Spark itself: `build HOME…` makes the star of homes, `judge HOME` tells verdicts
    for root in sys.argv[2:]:
        chain = Chain.at(Path(root))
        if sys.argv[1] == "build":
            chain.build(by=spark(chain.settings))
        else:
            with engine(chain.settings) as backend:
                sys.stdout.write(json.dumps(verdicts(chain, spark(chain.settings)(backend))))
