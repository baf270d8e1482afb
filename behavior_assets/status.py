"""What a home holds: rows by source and day, tables, the last snapshot, what is held back."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from behavior_assets.incremental import read_parts
from behavior_assets.ingestion.canonical import BRONZE_EVENTS, QUARANTINE_EVENTS
from behavior_assets.ingestion.ledger import accounted, read_ledger, read_removed, sums_of
from behavior_assets.presence import require_acknowledged, require_originals
from behavior_assets.privacy.erasure.case import open_cases
from behavior_assets.privacy.key_guard import KEY_VERSION
from behavior_assets.privacy.silver import SILVER_EVENTS
from behavior_assets.quality import QUALITY_DAYS, all_held
from behavior_assets.sessions.sessionise import SILVER_SESSIONS
from exports.contract import gold, published
from exports.snapshot import read_manifest
from resources.lake import Lake
from resources.models import ModelStore
from resources.settings import Settings

_COUNTS = ("rows_in", "accepted", "quarantined", "duplicate", "suppressed")


def status(settings: Settings) -> dict[str, Any]:
    """The content of ``behavior status --json`` (DESIGN §5). Raises IntegrityError where it would be short."""
    lake = Lake(settings.home.lake)
    shown = (BRONZE_EVENTS, QUARANTINE_EVENTS, SILVER_EVENTS, SILVER_SESSIONS, *(gold(n) for n in published()))
    require_acknowledged(lake, (*shown, QUALITY_DAYS))
    require_originals(lake)
    entries, removed = read_ledger(lake.table(BRONZE_EVENTS)), read_removed(lake.table(BRONZE_EVENTS))
    sources: dict[str, dict[str, Any]] = {}
    arrivals: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: dict.fromkeys(_COUNTS, 0))
    for entry, arrived_us in accounted(entries):
        row = sources.setdefault(entry.source, {"source": entry.source, **dict.fromkeys(_COUNTS, 0), "files": 0,
                                                "late": 0, "conflicts": 0, "synthetic": False})  # fmt: skip
        day = datetime.fromtimestamp(arrived_us / 1e6, UTC).date().isoformat()
        for name in _COUNTS:
            row[name] += getattr(entry, name)
            arrivals[entry.source, day][name] += getattr(entry, name)
        row["files"] += not entry.replay_of
        row["late"] += entry.late
        row["conflicts"] += entry.conflicts
        row["synthetic"] = row["synthetic"] or bool(entry.capabilities.get("is_synthetic"))
    tables = {}
    for spec in shown:
        table = lake.table(spec)
        if table.exists():
            tables[spec.name] = table.rows()
    manifest, store = read_manifest(settings.home.exports), ModelStore(settings.home.models)
    return {
        "home": str(settings.home.root),
        "timezone": settings.timezone or None,
        "consent_when_absent": settings.consent_when_absent,
        "key_version": lake.table(SILVER_EVENTS).recorded(KEY_VERSION),
        "profile": settings.profile,
        "without_consent": _without_consent(lake),
        "erasures": _erasures(settings),
        "stale_models": [n for n in store.names() if store.stale(n)],
        "removed": {why: sum(sums_of(removed, "records", why).values()) for why in ("erased", "expired")},
        "sources": [sources[s] for s in sorted(sources)],
        "arrivals": [{"source": s, "day": d, **counts} for (s, d), counts in sorted(arrivals.items())],
        "tables": tables,
        "held_days": all_held(lake),
        "snapshot": manifest["snapshot"] if manifest else None,
        "published_at": manifest["published_at"] if manifest else None,
        "data_through": manifest["data_through"] if manifest else None,
        "synthetic": bool(manifest and manifest["synthetic"]),
    }


def _without_consent(lake: Lake) -> dict[str, int]:
    """Events that show nobody, by the reason; those of a held day as an older version of the program told them."""
    import ibis

    table = lake.table(replace(SILVER_EVENTS, widened=True))
    backend = ibis.duckdb.connect()
    try:
        events = read_parts(backend, table, table.parts())
        counted = backend.to_pyarrow(events.group_by("consent_reason").agg(events=events.count())).to_pylist()
    finally:
        backend.disconnect()
    return {r["consent_reason"]: r["events"] for r in sorted(counted, key=str) if r["consent_reason"] is not None}


def _erasures(settings: Settings) -> dict[str, int]:
    """Erasures that are not verified yet, and how many of them should be."""
    cases, now = open_cases(settings.home), datetime.now(UTC)
    return {"open": len(cases), "overdue": sum(c.overdue(now, settings.erase_within_days) for c in cases)}
