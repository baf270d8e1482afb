"""The chain against the floor: seconds per stage, peak memory, and what DuckDB alone needs for CSV to Parquet.

The events are simulated first (not timed) as one CSV file per day, a few more than asked for, and cut to the number
asked for. Floor and chain then each run in a fresh process.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

SPARE = 1.02  # the simulator meets a number of events only roughly
EVENTS_PER_CUSTOMER_DAY = 0.45  # as in REES46's October 2019: about 42 million events of 3 million visitors

_FLOOR = """
import sys, time
import duckdb
source, target, threads = sys.argv[1:]
started = time.perf_counter()
con = duckdb.connect()
con.execute(f"SET threads = {int(threads)}")
con.execute("SET enable_progress_bar = false")
source, target = (text.replace("'", "''") for text in (source, target))
con.execute(f"COPY (FROM read_csv('{source}/*.csv')) TO '{target}' (FORMAT parquet, COMPRESSION snappy)")
print(time.perf_counter() - started)
"""


def arguments() -> argparse.Namespace:
    """The command's options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, required=True, help="how many events")
    parser.add_argument("--days", type=int, default=30, help="days, and so files (default: 30)")
    parser.add_argument("--seed", type=int, default=7, help="the same seed gives the same events (default: 7)")
    parser.add_argument("--threads", type=int, default=2, help="threads of floor and chain (default: 2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--home", type=Path, help="keep the data there; otherwise it is removed at the end")
    return parser.parse_args()


def command(*arguments: str) -> dict[str, Any]:
    """Run `behavior … --json` in a process of its own and return what it told."""
    done = subprocess.run(
        [sys.executable, "-m", "behavior_assets.cli", *arguments, "--json"], check=False, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"behavior {arguments[0]} ended with {done.returncode}:\n{done.stderr[-4000:]}")
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def cut(files: list[Path], events: int) -> int:
    """Drop the newest rows beyond ``events``, and files that then hold none; returns how many rows are left."""
    kept = 0
    for path in sorted(files):
        with path.open("rb") as file:
            lines = file.readlines()
        rows = min(len(lines) - 1, events - kept)
        if rows <= 0:
            path.unlink()
        elif rows < len(lines) - 1:
            path.write_bytes(b"".join(lines[: rows + 1]))
        kept += max(rows, 0)
    return kept


def floor_seconds(folder: Path, scratch: Path, threads: int) -> float:
    """Seconds in which DuckDB reads the CSV files and writes them as one Parquet file (snappy)."""
    target = scratch / "floor.parquet"
    done = subprocess.run(
        [sys.executable, "-c", _FLOOR, str(folder), str(target), str(threads)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    target.unlink()
    return float(done.stdout)


def measure(options: argparse.Namespace, home: Path) -> dict[str, Any]:
    """Simulate, then time floor and chain."""
    if (home / "lake").exists():
        sys.exit(f"{home} already holds a lake; a benchmark starts from an empty home.")
    customers = max(100, round(options.events / (options.days * EVENTS_PER_CUSTOMER_DAY)))
    made = command(
        "simulate", "--home", str(home), "--days", str(options.days), "--events", str(round(options.events * SPARE)),
        "--customers", str(customers), "--seed", str(options.seed),
    )  # fmt: skip
    folder = Path(made["folder"])
    events = cut(list(folder.glob("*.csv")), options.events)
    files = list(folder.glob("*.csv"))
    size = sum(f.stat().st_size for f in files)
    (home / "behavior.toml").write_text(f"threads = {options.threads}\n", "utf-8")
    floor = floor_seconds(folder, home, options.threads)
    told = command("run", "--home", str(home), "--format", "rees46", "--source", str(folder))
    seconds = told["seconds"] - told["archive_seconds"]
    return {
        "events": events,
        "seconds": round(seconds, 3),
        "floor_seconds": round(floor, 3),
        "ratio_to_floor": round(seconds / floor, 2),
        "events_per_second": round(events / seconds),
        "peak_memory_mb": told["peak_memory_mb"],
        "stages": told["stages"],
        "wall_seconds": told["seconds"],
        "archive_seconds": told["archive_seconds"],
        "csv_bytes": size,
        "files": len(files),
        "threads": options.threads,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "date": datetime.now(UTC).date().isoformat(),
        "synthetic": True,
    }


def show(figures: dict[str, Any]) -> None:
    """Print the figures as a table."""
    print(f"{figures['events']:,} SYNTHETIC events, {figures['files']} files, {figures['csv_bytes'] / 2**20:,.0f} MiB, "
          f"{figures['threads']} threads on {figures['cores']} cores, {figures['date']}")  # fmt: skip
    for stage, seconds in sorted(figures["stages"].items(), key=lambda item: -item[1]):
        print(f"  {stage:<28} {seconds:8.2f} s")
    print(f"  {'chain':<28} {figures['seconds']:8.2f} s   {figures['events_per_second']:,} events per second, "
          f"peak {figures['peak_memory_mb']:,} MiB")  # fmt: skip
    print(f"  {'floor':<28} {figures['floor_seconds']:8.2f} s   the chain takes {figures['ratio_to_floor']} times that")
    print(f"  {'archive copy':<28} {figures['archive_seconds']:8.2f} s   taken off the chain; summed over reader "
          "threads, so it can exceed the time on the clock")  # fmt: skip


def main() -> None:
    """Run the benchmark."""
    options = arguments()
    home = options.home or Path(tempfile.mkdtemp(prefix="behavior-bench-"))
    home.mkdir(parents=True, exist_ok=True)
    try:
        figures = measure(options, home.resolve())
    finally:
        if options.home is None:
            shutil.rmtree(home, ignore_errors=True)
    show(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
