"""Keeping silver events up to date with bronze."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import ibis
import ibis.expr.types as ir
from ibis.backends.duckdb import Backend

from behavior_assets.incremental import Progress, content, derive_days, made_from, quiet
from behavior_assets.ingestion.canonical import BRONZE_EVENTS
from behavior_assets.privacy.consents import day_marks, governed
from behavior_assets.privacy.key_guard import KEY_ID, key_mark, require_key
from behavior_assets.privacy.marks import read_marks
from behavior_assets.privacy.rekey import carry_out
from behavior_assets.privacy.silver import SILVER_EVENTS, filled_columns, silver_events, silver_version
from resources.compute import DuckDB, hold
from resources.keys import KeyVersion
from resources.lake import Lake
from resources.settings import Home, Settings


def build_silver(
    backend: Backend,
    lake: Lake,
    settings: Settings,
    days: Iterable[str] | None = None,
    held: Iterable[str] = (),
    progress: Progress = quiet,
) -> list[str]:
    """Bring ``silver/events`` up to date and return the days rewritten; ``held`` days of bronze take no part.

    Nor do days that expired: what comes of them later is not all of them, so silver keeps what it has.
    ``backend`` needs the pseudonyms. Raises UsageError where the key is not the one that silver was made with.
    """
    bronze, silver = lake.table(BRONZE_EVENTS), lake.table(SILVER_EVENTS)
    absent, profile = settings.consent_when_absent, settings.profile
    key = require_key(settings, silver)
    first = read_marks(settings.home).first_of_silver
    held = {*held, *(d for d in (*bronze.parts(), *silver.parts()) if d < first)}
    carry_out(backend, lake, settings, held, key)
    wanted = set(bronze.parts() if days is None else days) - held
    people = governed(backend, lake, absent)
    marks = day_marks(backend, bronze, people, wanted)
    told = None if people is None else ibis.memtable(people)

    def build(events: ir.Table) -> ir.Table:
        return silver_events(
            events, consent_when_absent=absent, profile=profile, people=told, filled=filled_columns(events),
            hold=partial(hold, backend),
        )  # fmt: skip

    version = silver_version(absent, profile)
    return derive_days(
        DuckDB(backend), bronze, silver, build, version, settings.chunk_rows, wanted, progress, key, marks=marks,
        mark=f"-{key[KEY_ID]}",
    )


def expected_days(lake: Lake, consent_when_absent: str, profile: str, key: KeyVersion | None) -> dict[str, str]:
    """The fingerprint of each day's silver as it would be made now, with a key; of days that expired none."""
    bronze = lake.since(read_marks(Home(lake.root.parent)).first_of_silver).table(BRONZE_EVENTS)
    backend = ibis.duckdb.connect()
    try:
        marks = day_marks(backend, bronze, governed(backend, lake, consent_when_absent), bronze.parts())
    finally:
        backend.disconnect()
    version, end = silver_version(consent_when_absent, profile), key_mark(key) if key else ""
    return {day: made_from(version, content(files), marks.get(day, "")) + end for day, files in bronze.parts().items()}
