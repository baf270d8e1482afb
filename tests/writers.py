"""What the processes of ``tests/test_fault_matrix_writers.py`` do beside each other.

``python -m tests.writers HOME`` does what Dagster's daemon does: it asks the sensors, and runs what they request.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from behavior_assets.ingestion.canonical import BRONZE_EVENTS
from behavior_assets.ingestion.ledger import read_ledger
from resources import failpoints, lock
from resources.lake import Lake
from resources.lock import exclusive
from tests import matrix
from tests.conftest import Chain

HELD_SECONDS = 2.0  # so long the ingestion holds the lake once it has said so


def as_the_daemon(home: str) -> None:
    """Files that have landed, days that changed by it, the star; between two commits the first says so and waits."""
    import dagster as dg

    from behavior_assets.automation import changed_days_sensor, landing_sensor
    from behavior_assets.chain import prepare_instance
    from behavior_assets.definitions import build_definitions
    from behavior_assets.ingestion import ingest
    from resources.home import HomeResource
    from resources.settings import create_home

    def reach(place: str) -> None:
        if place == "ingest.quarantined":
            sys.stdout.write("holding the lake\n")
            sys.stdout.flush()
            time.sleep(HELD_SECONDS)

    ingest.reach = reach  # type: ignore[attr-defined]
    settings = create_home(home)
    prepare_instance(settings)
    definitions = build_definitions(settings)
    with dg.DagsterInstance.get() as instance:
        for sensor, job in ((landing_sensor, "ingest"), (changed_days_sensor, "days")):
            context = dg.build_sensor_context(instance=instance, resources={"home": HomeResource(home=home)})
            for request in list(sensor(context)):  # type: ignore[call-overload]
                if isinstance(request, dg.RunRequest):
                    definitions.resolve_job_def(job).execute_in_process(
                        instance=instance, run_config=request.run_config, tags=dict(request.tags)
                    )
        definitions.resolve_job_def("star").execute_in_process(instance=instance)


# Children of tests.zygote


def without_locks() -> None:
    """As on a system that has none: whoever writes meanwhile is not waited for."""
    lock.fcntl = None  # type: ignore[assignment]


def sleeps(base: str, home: str, place: str, number: int) -> None:
    """A run that stops at a place until somebody wakes it; meanwhile others may have done its work."""
    shutil.copytree(Path(base) / "second", home)
    without_locks()
    _stop_at(place, number)
    matrix.advance(home, attempt=1)


def _stop_at(place: str, number: int = 1) -> None:
    hits: Counter[str] = Counter()

    def fire(name: str) -> None:
        hits[name] += 1
        if name == place and hits[name] == number:
            os.kill(os.getpid(), signal.SIGSTOP)

    failpoints._fire = fire


def delivers(home: str, file: str, place: str, wait: float, *, whole: bool) -> int:
    """A file is taken in, and built and published if ``whole``, after a while and with a sleep at a place."""
    from tests.persons import again

    time.sleep(wait)
    if place:
        failpoints.arm(f"{place}:kill")  # else no place is looked at
        _stop_at(place)
    made = Chain.at(Path(home), archive=True)
    with exclusive(made.settings.home.dagster), exclusive(made.settings.home.lake):  # as the assets do
        suppressed = made.ingest([Path(file)], "rees46").entries[0].suppressed
        if whole:
            again(made)
    return suppressed


def takes_over(home: str) -> None:
    """A run beside one that sleeps."""
    without_locks()
    matrix.advance(home, attempt=2)


def originals_are_right(base: str, home: str) -> None:
    """Every delivered row is in bronze or in quarantine, once, and the ledger speaks of no more."""
    told = json.loads((Path(base) / "second.json").read_text("utf-8"))["states"]
    found = matrix.contents(Path(home))
    for table in ("bronze/events", "quarantine/events"):
        assert found[table] == told[table][-1], table
    before = [e.key for e in read_ledger(Lake(Path(base) / "second-done" / "lake").table(BRONZE_EVENTS))]
    assert [e.key for e in read_ledger(Lake(Path(home) / "lake").table(BRONZE_EVENTS))] == before


def publishes(home: str, days: int) -> list[str]:
    """A file of views a day lands, and is published: the ids of the snapshots."""
    from exports.snapshot import read_manifest
    from tests.conftest import rees46_row, write_rees46

    found = []
    for day in range(1, days + 1):
        rows = [rees46_row(f"2024-05-{day:02d} 10:00:{n:02d}", "view", f"p{n}", f"u{n}") for n in range(day)]
        file = write_rees46(Path(home) / "landing" / "rees46" / f"{day}.csv", rows)
        os.utime(file, (time.time() - 60,) * 2)
        matrix.advance(home, attempt=day, whole=True)
        manifest: Any = read_manifest(Path(home) / "exports")
        found.append(manifest["snapshot"])
    return found


def builds_a_day(home: str, day: str, meeting: str, many: int) -> bool:
    """One partition of the days' job. In the middle of its silver it waits until so many processes are there as well.

    Where they had to wait for each other none would go on: it fails after a while.
    """
    import dagster as dg

    from behavior_assets.chain import prepare_instance
    from behavior_assets.definitions import build_definitions
    from resources.settings import create_home

    def meet(place: str) -> None:
        here = Path(meeting) / day
        silver = Path(home) / "lake/silver/events" / f"event_date={day}"
        if place != "parquet.sync" or here.exists() or not silver.exists():
            return
        here.touch()
        for _ in range(6000):
            if len(list(Path(meeting).iterdir())) >= many:
                return
            time.sleep(0.1)
        raise TimeoutError(day)

    settings = create_home(home)
    prepare_instance(settings)
    failpoints.arm("parquet.write:kill@1000000")
    failpoints._fire = meet
    definitions = build_definitions(settings)
    with dg.DagsterInstance.get() as instance:
        return bool(definitions.resolve_job_def("days").execute_in_process(
            instance=instance, partition_key=day, raise_on_error=True).success)  # fmt: skip


if __name__ == "__main__":
    as_the_daemon(sys.argv[1])
