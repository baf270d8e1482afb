"""What a home must hold by what it tells of itself: an original table that is gone as a whole leaves no trace in it."""

from __future__ import annotations

from collections.abc import Iterable

from behavior_assets import unfinished
from behavior_assets.ingestion.archive import LEDGER
from behavior_assets.ingestion.audit import in_quarantine
from behavior_assets.ingestion.canonical import BRONZE_EVENTS, QUARANTINE_EVENTS
from behavior_assets.ingestion.ledger import read_ledger
from resources.errors import IntegrityError
from resources.lake import Lake
from resources.settings import Home
from resources.table import TableSpec

_FIRST = f"_delta_log/{1:020d}.json"  # what follows the commit that makes an empty table


def has_published(home: Home) -> bool:
    """Whether a snapshot was ever published, or was about to be: then every table has been made."""
    if (home.exports / "current.json").exists() or (home.lake / "gold/refresh_info" / _FIRST).exists():
        return True
    return any((home.exports / "snapshots").glob("*.json"))


def has_ingested(home: Home) -> bool:
    """Whether anything was ever committed to bronze, by what lies outside of it.

    Quarantine tells nothing: it is written before bronze, and a first run may have died between the two.
    """
    if has_published(home) or (home.lake / "silver/events" / _FIRST).exists():
        return True
    return any((home.archive / LEDGER).glob("*.json"))


def require_originals(lake: Lake) -> None:
    """Raise IntegrityError where bronze or quarantine may lack rows that no run could miss.

    They do where the whole table is gone, as in a new home, and where a repair died that had taken rows away.
    """
    unfinished.require_originals(Home(lake.root.parent))
    bronze, quarantine = lake.table(BRONZE_EVENTS), lake.table(QUARANTINE_EVENTS)
    if bronze.handle() is None:
        if has_ingested(Home(lake.root.parent)):
            raise _missing(BRONZE_EVENTS, "though deliveries were taken in before")
    elif quarantine.handle() is None and (rows := sum(in_quarantine(read_ledger(bronze)).values())):
        raise _missing(QUARANTINE_EVENTS, f"though the ledger tells of {rows:,} rows in it")


def _missing(spec: TableSpec, why: str) -> IntegrityError:
    return IntegrityError(
        f"{spec.name}: the table is missing, {why}. `behavior verify` names everything that is "
        "broken, `behavior verify --repair` makes the table again from the archive; what the archive does not have can "
        f"only come from a backup: put the folder lake/{spec.name} back."
    )


def require_acknowledged(lake: Lake, specs: Iterable[TableSpec]) -> None:
    """Raise IntegrityError for a table whose log is damaged: numbers out of it could be short.

    Only small files are read; what is wrong elsewhere is what ``behavior verify`` finds out.
    """
    for spec in specs:
        lake.table(spec).require_log()
