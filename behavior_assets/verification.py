"""``behavior verify``: all checks of lake and exports, as one answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from behavior_assets.ingestion.canonical import BRONZE_EVENTS, QUARANTINE_EVENTS
from behavior_assets.ingestion.ledger import read_ledger
from behavior_assets.privacy.silver import SILVER_EVENTS
from behavior_assets.quality import QUALITY_DAYS
from behavior_assets.sessions.sessionise import SESSION_PARTS, SILVER_SESSIONS
from behavior_assets.star.aggregates import COMMERCE_EVENTS, CUSTOMER_DAY, PRODUCT_DAY
from exports.contract import gold, published
from exports.verify import Problem, verify_ledger, verify_snapshot, verify_table
from resources.errors import BehaviorError, UsageError
from resources.lake import Lake, TableSpec
from resources.settings import Settings

ALL_TABLES = (BRONZE_EVENTS, QUARANTINE_EVENTS, SILVER_EVENTS, SESSION_PARTS, SILVER_SESSIONS, CUSTOMER_DAY,
              PRODUCT_DAY, COMMERCE_EVENTS, QUALITY_DAYS)  # fmt: skip


def all_tables() -> tuple[TableSpec, ...]:
    """Every table of the lake that outlives a run."""
    return (*ALL_TABLES, *(gold(n) for n in published()))


def require_files(lake: Lake) -> None:
    """Raise IntegrityError naming the first data file that is gone or has another size than the log says.

    Nothing is read, so that every run can afford it; whether the bytes are right is what ``verify_home`` finds out.
    """
    for spec in all_tables():
        table = lake.table(spec)
        table.absolute(table.files())


def verify_home(settings: Settings, progress: Callable[[str], None] = lambda _what: None) -> dict[str, Any]:
    """Problems by file or table; ``ok`` is whether there are none."""
    if not settings.home.root.exists():
        msg = f"--home {settings.home.root}: there is no such home."
        raise UsageError(msg)
    lake = Lake(settings.home.lake)
    published_once = (settings.home.exports / "current.json").exists()
    problems: list[Problem] = []
    rows: dict[str, int] = {}
    files = 0
    for spec in all_tables():
        table = lake.table(spec)
        if not table.exists():
            # Quarantine is made with its first reject; everything else is there once something was published.
            if published_once and spec is not QUARANTINE_EVENTS:
                problems.append(Problem(spec.name, "the table is missing"))
            continue
        found, rows[spec.name] = verify_table(table, progress)
        problems += found
        files += 0 if found else len(table.files())
    if BRONZE_EVENTS.name in rows:
        try:
            entries = read_ledger(lake.table(BRONZE_EVENTS))
            problems += verify_ledger(entries, rows[BRONZE_EVENTS.name], rows.get(QUARANTINE_EVENTS.name, 0))
        except (BehaviorError, OSError, ValueError) as error:
            problems.append(Problem("bronze/events", f"the ledger cannot be read ({type(error).__name__})"))
    problems += verify_snapshot(settings.home.exports, lake, progress)
    return {
        "ok": not problems,
        "tables": len(rows),
        "files": files,
        "rows": sum(rows.values()),
        "problems": [asdict(p) for p in problems],
    }
