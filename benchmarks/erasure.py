"""How long erasures take, step by step: one person after the other, or all of them in one pass.

    python benchmarks/erasure.py --home D [--persons 5] [--days 4] [--at-once] [--seed 1] [--json FILE]

It erases customers who came on so many days, drawn by ``--seed``, and so changes the home: it asks for one whose data
are made up. A first home: ``behavior simulate`` and ``behavior run`` (docs/privacy.md).
"""

from __future__ import annotations

import argparse
import random
import resource
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from behavior_assets.ingestion.canonical import BRONZE_EVENTS
from behavior_assets.privacy.erasure.case import open_case
from behavior_assets.privacy.erasure.erase import Erasure
from behavior_assets.privacy.erasure.subjects import Asked, IdKind
from behavior_assets.repair import by_the_chain
from console import refuse, start, write_json
from exports.snapshot import current_manifest
from resources.lake import Lake
from resources.settings import Settings, existing_settings

STEPS = ("suppress", "delete", "publish", "purge", "database", "scan")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path("data"))
    parser.add_argument("--persons", type=int, default=5)
    parser.add_argument("--days", type=int, default=4, help="on how many days they came")
    parser.add_argument("--at-once", action="store_true", help="all of them in one case")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    settings = existing_settings(options.home)
    if not current_manifest(settings.home.exports)["synthetic"]:
        refuse(f"{settings.home.root}: holds a real shop's data, of which this would erase customers.")
    persons = draw(settings, options.persons, options.days, options.seed)
    groups = [persons] if options.at_once else [[p] for p in persons]
    told = [erase(settings, group) for group in groups]
    print("persons   events  days " + "".join(f"{step:>10}" for step in STEPS) + "  until published")
    for one in told:
        steps = "".join(f"{one['seconds'][step]:>10.1f}" for step in STEPS)
        print(f"{one['persons']:>7,} {one['events']:>8,} {one['days']:>5,} {steps} {one['published']:>16.1f}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"peak memory {peak:,} MiB")
    if options.json:
        write_json(options.json, {"erasures": told, "peak_mib": peak})


def draw(settings: Settings, count: int, days: int, seed: int) -> list[str]:
    """User ids of so many customers who came on so many days."""
    bronze = Lake(settings.home.lake).table(BRONZE_EVENTS)
    with duckdb.connect() as con:
        con.read_parquet(bronze.absolute(bronze.files()), union_by_name=True).create_view("event")
        found = con.execute("""SELECT user_id FROM event WHERE user_id IS NOT NULL
            GROUP BY 1 HAVING count(DISTINCT event_date) = ? ORDER BY 1""", [days]).fetchall()
    if len(found) < count:
        refuse(f"only {len(found):,} customers came on {days} days.")
    return [str(user) for (user,) in random.Random(seed).sample(found, count)]  # noqa: S311 - no secret


def erase(settings: Settings, users: list[str]) -> dict[str, Any]:
    """Erase some customers; what the receipt says of it."""
    case = open_case(settings, [Asked(user, IdKind.user) for user in users], datetime.now(UTC))
    receipt = Erasure(settings, case, by_the_chain).run()
    seconds = receipt["seconds"]
    return {
        "persons": receipt["persons"], "events": receipt["rows"]["bronze/events"], "days": len(receipt["days"]),
        "seconds": seconds, "published": sum(seconds[step] for step in STEPS[:3]),
    }  # fmt: skip


if __name__ == "__main__":
    start(main)
