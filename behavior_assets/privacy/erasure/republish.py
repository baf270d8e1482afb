"""Publishing after persons were taken out, without asking rules or models anew: rows only went, none came."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from behavior_assets.ingestion.canonical import BRONZE_EVENTS
from behavior_assets.ingestion.ledger import read_ledger
from behavior_assets.sessions.sessionise import SILVER_SESSIONS
from behavior_assets.staleness import stale_days
from behavior_assets.star.build import StarBuilder
from behavior_assets.star.order import GOLD_INPUTS, build_table
from exports import outlets
from exports.snapshot import alone, current_manifest, data_through, publish, read_manifest
from resources.compute import DuckDB
from resources.engine import engine
from resources.lake import Lake
from resources.settings import Settings, with_zone


def can_republish(settings: Settings) -> bool:
    """Whether nothing but sums waits to be made again; else the whole chain has to run."""
    lake = Lake(settings.home.lake)
    return read_manifest(settings.home.exports) is not None and not stale_days(lake, with_zone(settings))


def republish(settings: Settings, tell: Callable[[str, int], None]) -> None:
    """Bring gold up to date, publish it and make every outlet of it; the locks must be held."""
    settings = with_zone(settings)
    lake, exports = Lake(settings.home.lake), settings.home.exports
    with engine(settings) as backend:
        builder = StarBuilder(DuckDB(backend), lake, settings, tell)
        for name in GOLD_INPUTS:
            tell(f"gold/{name}", 0)
            build_table(builder, name)
        synthetic = any(e.capabilities.get("is_synthetic") for e in read_ledger(lake.table(BRONZE_EVENTS)))
        through = data_through(lake.table(SILVER_SESSIONS), exports, expired=True)  # nobody may be left
        publish(lake, settings, backend.con, through, datetime.now(UTC), synthetic=synthetic)
    tell("outlets", 0)
    with alone(exports):
        manifest = current_manifest(exports)
        outlets.powerbi(exports, manifest)
        outlets.report(exports, manifest, settings.memory_limit)
        outlets.aggregate(exports, manifest, settings.memory_limit)
