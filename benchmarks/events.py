"""The events that benchmarks run on: simulated once, one CSV file per day, cut to the number asked for, and kept."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SPARE = 1.04  # the simulator meets a number of events only roughly
EVENTS_PER_CUSTOMER_DAY = 0.45  # as in REES46's October 2019: about 42 million events of 3 million visitors
_ABOUT = "events.json"


@dataclass(frozen=True)
class Wanted:
    """So many events on so many days, and one more day like them; the same gives the same bytes."""

    events: int
    days: int
    seed: int


@dataclass(frozen=True)
class Events:
    """CSV files in the format ``rees46``, one per day, the oldest first: the history, and the day after it."""

    history: tuple[Path, ...]
    rows: int
    next_day: Path
    next_rows: int

    @property
    def size(self) -> int:
        """Bytes of the history."""
        return sum(f.stat().st_size for f in self.history)


def command(*arguments: str) -> dict[str, Any]:
    """Run `behavior … --json` in a process of its own and return what it told."""
    done = subprocess.run(
        [sys.executable, "-m", "behavior_assets.cli", *arguments, "--json"], check=False, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"behavior {arguments[0]} ended with {done.returncode}:\n{done.stderr[-4000:]}")
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def simulated(wanted: Wanted, data: Path) -> Events:
    """The events below ``data``; made there, unless a benchmark before has made the same."""
    about = data / _ABOUT
    if not about.exists():
        _simulate(wanted, data, about)
    told = json.loads(about.read_text("utf-8"))
    if told["wanted"] != asdict(wanted):
        sys.exit(f"{data} holds other events ({told['wanted']}). Name another folder with --data.")
    *history, last = sorted((data / "rees46").glob("*.csv"))
    return Events(tuple(history), told["rows"], last, told["next_rows"])


def _simulate(wanted: Wanted, data: Path, about: Path) -> None:
    if min(wanted.events, wanted.days) < 1:
        sys.exit("--events and --days are at least 1.")
    days = wanted.days + 1
    customers = max(100, round(wanted.events / (wanted.days * EVENTS_PER_CUSTOMER_DAY)))
    command(
        "simulate", "--out", str(data), "--days", str(days), "--customers", str(customers), "--seed", str(wanted.seed),
        "--events", str(round(wanted.events / wanted.days * days * SPARE)),
    )  # fmt: skip
    shutil.rmtree(data / "truth")
    files = sorted((data / "rees46").glob("*.csv"))
    rows, days = _cut(files, wanted.events)
    if rows < wanted.events or days == len(files):
        shutil.rmtree(data / "rees46")
        sys.exit(f"The simulated shop has too few events for {wanted.events:,} and a day after them: more --days.")
    for path in files[days + 1 :]:
        path.unlink()
    next_rows, _ = _cut([files[days]], wanted.events // wanted.days)  # the day right after the history
    about.write_text(json.dumps({"wanted": asdict(wanted), "rows": rows, "next_rows": next_rows}) + "\n", "utf-8")


def _cut(files: list[Path], events: int) -> tuple[int, int]:
    """Keep the oldest rows, so many; returns how many there are, and how many of the files hold them."""
    kept = 0
    for number, path in enumerate(files, 1):
        with path.open("rb") as file:
            rows = sum(block.count(b"\n") for block in iter(lambda: file.read(2**20), b"")) - 1
        if kept + rows >= events:
            rows = events - kept
            with path.open("rb") as file:
                head = [file.readline() for _ in range(rows + 1)]
            path.write_bytes(b"".join(head))
            return events, number
        kept += rows
    return kept, len(files)
