"""Keeping silver events up to date with bronze."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import ibis.expr.types as ir
from ibis.backends.duckdb import Backend

from behavior_assets.incremental import Progress, derive_days, hold, quiet
from behavior_assets.ingestion.canonical import BRONZE_EVENTS
from behavior_assets.privacy.key_guard import KEY_ID, require_key
from behavior_assets.privacy.rekey import carry_out
from behavior_assets.privacy.silver import SILVER_EVENTS, filled_columns, silver_events, silver_version
from resources.lake import Lake
from resources.settings import Settings


def build_silver(
    backend: Backend,
    lake: Lake,
    settings: Settings,
    days: Iterable[str] | None = None,
    held: Iterable[str] = (),
    progress: Progress = quiet,
) -> list[str]:
    """Bring ``silver/events`` up to date and return the days rewritten; ``held`` days of bronze take no part.

    ``backend`` needs the pseudonyms. Raises UsageError where the key is not the one that silver was made with.
    """
    bronze, silver = lake.table(BRONZE_EVENTS), lake.table(SILVER_EVENTS)
    absent = settings.consent_when_absent
    key, held = require_key(settings, silver), set(held)
    carry_out(backend, lake, settings, held, key)

    def build(events: ir.Table) -> ir.Table:
        return silver_events(
            events, consent_when_absent=absent, filled=filled_columns(events), hold=partial(hold, backend)
        )

    wanted = set(bronze.parts() if days is None else days) - set(held)
    return derive_days(
        backend, bronze, silver, build, silver_version(absent), settings.chunk_rows, wanted, progress, key,
        f"-{key[KEY_ID]}",
    )
