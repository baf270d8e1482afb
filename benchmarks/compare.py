"""The chain against PySpark on the same machine: the same events, the same threads, the same tables at the end.

    python benchmarks/compare.py --events N [--data DIR] [--rounds 3] [--peer-python PYTHON] [--json FILE]

Events are simulated once (benchmarks/events.py). Then the chain and the peer (benchmarks/peers/pyspark_chain.py) take
turns, each in a fresh process and from nothing, with one key for the pseudonyms of both. What they made is compared:
how many rows each table has, the revenue, and the content of the published tables, row by row but for keys that each
makes in its own way. Where anything differs it is named, and the exit code is 1.

What only the chain does stays in its seconds (import of its modules, Dagster, a journal with fsync, the check of every
byte of a delivery, the report, Excel files, the Power BI project); the start of the JVM is not in the peer's.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import duckdb

from behavior_assets.ingestion.canonical import BRONZE_EVENTS
from behavior_assets.ingestion.ledger import read_ledger
from behavior_assets.privacy.silver import SILVER_EVENTS
from behavior_assets.sessions.sessionise import SILVER_SESSIONS
from behavior_assets.star.aggregates import COMMERCE_EVENTS, CUSTOMER_DAY, PRODUCT_DAY
from console import start, write_json
from events import Wanted, command, simulated
from exports.hashing import MODULUS, file_hashes
from exports.snapshot import current_manifest
from resources.lake import Lake

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PEER = Path(__file__).parent / "peers" / "pyspark_chain.py"
KEY_VARIABLE = "BEHAVIOR_PSEUDONYM_KEY"
# Surrogate keys of facts, which each side makes in its own way, and what is numbered in their order.
OWN_KEYS = frozenset({"session_key", "order_key", "cart_key", "line_number", "order_number"})
ARRIVALS = "fact_data_quality"  # holds the day of the run; its counts are compared as such
REQUIRED = ("bronze/events", "silver/events", "silver/sessions", "fact_session", "fact_sales", "revenue",
            "dim_customer", "dim_product")  # fmt: skip
OUTLETS = ("exports/powerbi", "exports/report", "exports/aggregate")  # of the chain; the peer makes none
_SHOWN = {"seconds": "seconds", "seconds_per_million": "seconds per million", "peak_memory_mb": "peak memory, MiB",
          "process_seconds": "whole process, seconds"}  # fmt: skip
_SILVER = (SILVER_EVENTS, SILVER_SESSIONS, CUSTOMER_DAY, PRODUCT_DAY, COMMERCE_EVENTS)


@dataclass(frozen=True)
class Run:
    """One run of one side: seconds, peak memory (MiB), what it told, and what it made, by name."""

    seconds: float
    process_seconds: float
    peak_memory_mb: int
    told: dict[str, Any]
    made: dict[str, str] = field(default_factory=dict)


def arguments() -> argparse.Namespace:
    """The command's options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, required=True, help="how many events")
    parser.add_argument("--days", type=int, default=30, help="at most so many days, a file each (default: 30)")
    parser.add_argument("--seed", type=int, default=7, help="the same seed gives the same events (default: 7)")
    parser.add_argument("--data", type=Path, help="keep the simulated files there, or use those that are there")
    parser.add_argument("--threads", type=int, default=2, help="threads of each side (default: 2)")
    parser.add_argument("--rounds", type=int, default=1, help="runs of each side; medians are told (default: 1)")
    parser.add_argument("--memory", default="8g", help="heap of the peer's JVM (default: 8g)")
    parser.add_argument("--format", choices=("delta", "parquet"), default="parquet", help="of the peer's tables")
    parser.add_argument("--jars", type=Path, help="folder with the jars of delta-spark, for --format delta")
    parser.add_argument("--peer-python", default=sys.executable, help="an interpreter that has pyspark")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    return parser.parse_args()


def require_peer(python: str) -> None:
    """End where the peer cannot run, with what to install."""
    if subprocess.run([python, "-c", "import pyspark"], check=False, capture_output=True).returncode:
        sys.exit(
            f"{python} has no pyspark. Install the project's extra, pip install '.[spark]', in an environment of its "
            "own, and name its interpreter with --peer-python."
        )
    if not (shutil.which("java") or os.environ.get("JAVA_HOME")):
        sys.exit("Spark needs Java, 17 or 21: install a JRE (Debian: openjdk-17-jre-headless), or set JAVA_HOME.")


def run_ours(files: Sequence[Path], home: Path, threads: int) -> Run:
    """The chain on a fresh home."""
    home.mkdir(parents=True)
    (home / "behavior.toml").write_text(f"threads = {threads}\ntrain_models = false\narchive = false\n", "utf-8")
    started = time.perf_counter()
    told = command("run", "--home", str(home), "--format", "rees46", *(w for f in files for w in ("--source", str(f))))
    elapsed = time.perf_counter() - started
    lake, manifest = Lake(home / "lake"), current_manifest(home / "exports")
    made = {spec.name: str(lake.table(spec).rows()) for spec in (BRONZE_EVENTS, *_SILVER)}
    entries = read_ledger(lake.table(BRONZE_EVENTS))
    for name in ("rows_in", "accepted", "quarantined", "duplicate"):
        made[name] = str(sum(getattr(e, name) for e in entries))
    return Run(told["seconds"], round(elapsed, 3), told["peak_memory_mb"], told,
               made | contents(home / "exports", manifest["tables"]))  # fmt: skip


def run_peer(files: Sequence[Path], out: Path, options: argparse.Namespace) -> Run:
    """The peer into a fresh folder."""
    words = [options.peer_python, str(PEER), *map(str, files), "--out", str(out), "--threads", str(options.threads),
             "--memory", options.memory, "--format", options.format]  # fmt: skip
    if options.jars:
        words += ["--jars", str(options.jars)]
    started = time.perf_counter()
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    elapsed = time.perf_counter() - started
    if done.returncode:
        sys.exit(f"the peer ended with {done.returncode}:\n{done.stderr[-4000:]}")
    told = json.loads(done.stdout)
    manifest = json.loads((out / "published" / "current.json").read_text("utf-8"))
    made = {name: str(rows) for name, rows in told["rows"].items() if "/" in name}
    made |= {name: str(rows) for name, rows in told["account"].items()}
    return Run(told["seconds"], round(elapsed, 3), told["peak_memory_mb"], told,
               made | contents(out / "published", manifest["tables"]))  # fmt: skip


def contents(folder: Path, tables: Mapping[str, Any]) -> dict[str, str]:
    """Rows and content of published tables, and the revenue; both sides' are read by DuckDB here."""
    found: dict[str, str] = {}
    with duckdb.connect() as con:
        con.execute("SET enable_progress_bar = false")
        for name, entry in tables.items():
            paths = [str(folder / f["path"]) for f in entry["files"]]
            columns = sorted(set(entry["columns"]) - OWN_KEYS)
            rows, total = con.execute("SELECT count(*), 0 FROM read_parquet($1)", [paths]).fetchall()[0]
            found[name] = str(rows)
            if name != ARRIVALS:
                total = sum(file_hashes(con, paths, columns).values()) % MODULUS
                found[f"{name} (content)"] = f"{total:016x}"
            if name == "fact_sales":
                (revenue,) = con.execute("SELECT sum(revenue_net) FROM read_parquet($1)", [paths]).fetchall()[0]
                found["revenue"] = str(revenue or 0)
    return found


def differences(ours: Run, peer: Run) -> list[str]:
    """What both made and is not the same, what the peer made and the chain did not, and what must not be missing."""
    asked = dict.fromkeys((*REQUIRED, *peer.made))
    return [n for n in asked if ours.made.get(n) is None or ours.made[n] != peer.made.get(n)]


def figures(options: argparse.Namespace, pairs: Sequence[tuple[Run, Run]], rows: int) -> dict[str, Any]:
    """Medians of both sides, their ratio, and what was compared."""
    sides = {}
    for name, runs in zip(("ours", "peer"), zip(*pairs, strict=True), strict=True):
        seconds = median(r.seconds for r in runs)
        sides[name] = {
            "seconds": round(seconds, 3),
            "seconds_per_million": round(seconds / rows * 1e6, 3),
            "process_seconds": round(median(r.process_seconds for r in runs), 3),
            "peak_memory_mb": round(median(r.peak_memory_mb for r in runs)),
            "rounds": [r.seconds for r in runs],
            "stages": runs[-1].told["stages"],
        }
    ours, peer = (runs[-1] for runs in zip(*pairs, strict=True))
    sides["ours"]["outlets_seconds"] = round(sum(ours.told["stages"].get(s, 0.0) for s in OUTLETS), 3)
    # Of several threads, as chain.py tells them.
    sides["ours"]["copy_seconds"] = round(ours.told["archive_seconds"] / options.threads, 3)
    sides["peer"] |= {n: peer.told[n] for n in ("versions", "format", "memory", "jvm_start_seconds", "peak_memory_of")}
    return {
        "events": rows,
        "ratio": round(sides["peer"]["seconds"] / sides["ours"]["seconds"], 2),
        "ratio_of_memory": round(sides["peer"]["peak_memory_mb"] / sides["ours"]["peak_memory_mb"], 2),
        **sides,
        "compared": {n: [ours.made.get(n), value] for n, value in peer.made.items()},
        "different": sorted({name for pair in pairs for name in differences(*pair)}),
        "threads": options.threads,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "date": datetime.now(UTC).date().isoformat(),
        "synthetic": True,
    }


def show(told: Mapping[str, Any]) -> None:
    """Print the figures as a table."""
    ours, peer = told["ours"], told["peer"]
    versions = peer["versions"]
    print(f"{told['events']:,} SYNTHETIC events, {told['threads']} threads on {told['cores']} cores, "
          f"{len(ours['rounds'])} round(s), {told['date']}")  # fmt: skip
    print(f"peer: Spark {versions['spark']} on Java {versions['java']}, heap {peer['memory']}, {peer['format']}")
    print(f"  {'':<26} {'chain':>12} {'PySpark':>12} {'ratio':>7}")
    for key, name in _SHOWN.items():
        print(f"  {name:<26} {ours[key]:>12,} {peer[key]:>12,} {peer[key] / ours[key]:>7.2f}")
    print(f"  of the chain's seconds {ours['outlets_seconds']} are for Power BI, report and Excel, which the peer does "
          f"not make; the JVM took {peer['jvm_start_seconds']} s to start, which are not in the peer's")  # fmt: skip
    print(f"  {'made':<40} {'chain':>20} {'PySpark':>20}")
    for name, (mine, theirs) in told["compared"].items():
        print(f"  {name:<40} {mine or 'nothing':>20} {theirs:>20} {'' if mine == theirs else ' DIFFERENT'}")


def main() -> None:
    """Run the comparison."""
    options = arguments()
    require_peer(options.peer_python)
    os.environ[KEY_VARIABLE] = secrets.token_hex(32)  # inherited by both, so that their pseudonyms are the same
    with tempfile.TemporaryDirectory(prefix="behavior-compare-", ignore_cleanup_errors=True) as scratch:
        data = (options.data or Path(scratch) / "data").resolve()
        events = simulated(Wanted(options.events, options.days, options.seed), data)
        pairs = []
        for number in range(options.rounds):
            home, out = Path(scratch) / f"ours-{number}", Path(scratch) / f"peer-{number}"
            pairs.append((run_ours(events.history, home, options.threads), run_peer(events.history, out, options)))
            shutil.rmtree(home)
            shutil.rmtree(out)
    told = figures(options, pairs, events.rows)
    if options.json:
        write_json(options.json, told)
    show(told)
    if told["different"]:
        sys.exit(f"not the same: {', '.join(told['different'])}")


if __name__ == "__main__":
    start(main)
