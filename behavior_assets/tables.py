"""Every table of the lake, in the order of the data's way."""

from __future__ import annotations

from behavior_assets.ingestion.canonical import BRONZE_EVENTS, QUARANTINE_EVENTS
from behavior_assets.privacy.consents import CONSENTS
from behavior_assets.privacy.silver import SILVER_EVENTS
from behavior_assets.quality import QUALITY_DAYS
from behavior_assets.sessions.sessionise import SESSION_PARTS, SILVER_SESSIONS
from behavior_assets.star.aggregates import COMMERCE_EVENTS, CUSTOMER_DAY, PRODUCT_DAY
from exports.contract import gold, published
from resources.table import TableSpec

DAY_TABLES = (SILVER_EVENTS, SESSION_PARTS, SILVER_SESSIONS, CUSTOMER_DAY, PRODUCT_DAY, COMMERCE_EVENTS)
ORIGINALS = (BRONZE_EVENTS, QUARANTINE_EVENTS)
KEPT = (*ORIGINALS, CONSENTS)  # what no other table can give back
ALL_TABLES = (*KEPT, *DAY_TABLES, QUALITY_DAYS)


def all_tables() -> tuple[TableSpec, ...]:
    """Every table of the lake that outlives a run."""
    return (*ALL_TABLES, *(gold(n) for n in published()))
