"""The chain against the floor: seconds per stage, peak memory, and what DuckDB alone needs for CSV to Parquet.

The events are simulated first (not timed) as one CSV file per day, cut to the number asked for, with one more day.
Floor, chain and the day after then each run in a fresh process. Models are left away, they have benchmarks of their
own; so is the archive, whose copy the chain parses all the same: its share is told and taken off.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from console import start
from events import Events, Wanted, command, simulated

_FLOOR = """
import sys, time
import duckdb
target, threads, *source = sys.argv[1:]
started = time.perf_counter()
con = duckdb.connect()
con.execute(f"SET threads = {int(threads)}")
con.execute("SET enable_progress_bar = false")
target, *source = ("'" + text.replace("'", "''") + "'" for text in (target, *source))
con.execute(f"COPY (FROM read_csv([{', '.join(source)}])) TO {target} (FORMAT parquet, COMPRESSION snappy)")
print(time.perf_counter() - started)
"""


def arguments() -> argparse.Namespace:
    """The command's options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, required=True, help="how many events")
    parser.add_argument("--days", type=int, default=30, help="at most so many days, a file each (default: 30)")
    parser.add_argument("--seed", type=int, default=7, help="the same seed gives the same events (default: 7)")
    parser.add_argument("--threads", type=int, default=2, help="threads of floor and chain (default: 2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--data", type=Path, help="keep the simulated files there, or use those that are there")
    parser.add_argument("--home", type=Path, help="keep the home there; otherwise it is removed at the end")
    return parser.parse_args()


def floor_seconds(files: tuple[Path, ...], scratch: Path, threads: int) -> float:
    """Seconds in which DuckDB reads the CSV files and writes them as one Parquet file (snappy)."""
    target = scratch / "floor.parquet"
    done = subprocess.run(
        [sys.executable, "-c", _FLOOR, str(target), str(threads), *map(str, files)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    target.unlink()
    return float(done.stdout)


def next_day(home: Path, events: Events, threads: int) -> dict[str, Any]:
    """What one more day takes in a process that has imported everything."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("warm_run.py")), str(home), "rees46", str(events.next_day)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    told = json.loads(done.stdout)
    return {
        "events": events.next_rows,
        "seconds": round(told["seconds"] - told["archive_seconds"] / threads, 3),
        "stages": told["stages"],
        "peak_memory_mb": told["peak_memory_mb"],
    }


def measure(options: argparse.Namespace, home: Path, events: Events) -> dict[str, Any]:
    """Time floor, chain and the day after."""
    if (home / "lake").exists():
        sys.exit(f"{home} already holds a lake; a benchmark starts from an empty home.")
    threads = options.threads
    (home / "behavior.toml").write_text(f"threads = {threads}\ntrain_models = false\narchive = false\n", "utf-8")
    floor = floor_seconds(events.history, home, threads)
    sources = [word for file in events.history for word in ("--source", str(file))]
    told = command("run", "--home", str(home), "--format", "rees46", *sources)
    # The copies' seconds are summed over the threads that read, which together have the whole machine.
    copies = told["archive_seconds"] / threads
    seconds = told["seconds"] - copies
    return {
        "events": events.rows,
        "seconds": round(seconds, 3),
        "seconds_per_million": round(seconds / events.rows * 1e6, 3),
        "floor_seconds": round(floor, 3),
        "ratio_to_floor": round(seconds / floor, 2),
        "events_per_second": round(events.rows / seconds),
        "peak_memory_mb": told["peak_memory_mb"],
        "stages": told["stages"],
        "wall_seconds": told["seconds"],
        "archive_seconds": round(copies, 3),
        "next_day": next_day(home, events, threads),
        "csv_bytes": events.size,
        "files": len(events.history),
        "threads": threads,
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
    more = figures["next_day"]
    print(f"  {'stage':<28} {'history':>10} {'next day':>10}")
    for stage, seconds in sorted(figures["stages"].items(), key=lambda item: -item[1]):
        print(f"  {stage:<28} {seconds:8.2f} s {more['stages'].get(stage, 0.0):8.2f} s")
    print(f"  {'chain':<28} {figures['seconds']:8.2f} s {more['seconds']:8.2f} s   "
          f"{figures['events']:,} and {more['events']:,} events, {figures['seconds_per_million']} s per million, "
          f"peak {figures['peak_memory_mb']:,} and {more['peak_memory_mb']:,} MiB")  # fmt: skip
    print(f"  {'floor':<28} {figures['floor_seconds']:8.2f} s   the chain takes {figures['ratio_to_floor']} times that")
    print(f"  {'archive copy':<28} {figures['archive_seconds']:8.2f} s   taken off the chain: seconds of the threads "
          "that copy, by their number")  # fmt: skip


def main() -> None:
    """Run the benchmark."""
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="behavior-bench-", ignore_cleanup_errors=True) as scratch:
        data, home = options.data or Path(scratch) / "data", options.home or Path(scratch) / "home"
        home.mkdir(parents=True, exist_ok=True)
        events = simulated(Wanted(options.events, options.days, options.seed), data.resolve())
        figures = measure(options, home.resolve(), events)
    show(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    start(main)
