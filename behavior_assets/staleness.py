"""Which days of silver and sessions are not made from what there is now: nothing else decides what is to be done."""

from __future__ import annotations

from itertools import pairwise

from behavior_assets.days import next_day
from behavior_assets.incremental import fingerprint
from behavior_assets.ingestion.canonical import BRONZE_EVENTS
from behavior_assets.privacy.build import expected_days
from behavior_assets.privacy.consents import CONSENTS
from behavior_assets.privacy.key_guard import key_in_force, silver_keys
from behavior_assets.privacy.silver import SILVER_EVENTS
from behavior_assets.quality import QUALITY_DAYS, held_days, held_now
from behavior_assets.sessions import build
from behavior_assets.sessions.sessionise import SESSION_PARTS, SILVER_SESSIONS
from resources.lake import Lake
from resources.settings import Settings


def stale_days(lake: Lake, settings: Settings) -> list[str]:
    """Stale days in order; a day whose rules hold it back as it is cannot be made, and so is not among them.

    Of a day under a former key that does not matter, nor that bronze may not have it any more: it is re-keyed.
    """
    done = lake.table(SILVER_EVENTS).fingerprints()
    key = key_in_force(settings)
    expected = expected_days(lake, settings.consent_when_absent, settings.profile, key)
    stale = {day for day, made_from in expected.items() if done.get(day) != made_from}
    stale -= held_now(lake, lake.table(BRONZE_EVENTS))
    stale |= {day for day, made in silver_keys(lake.table(SILVER_EVENTS)).items() if key and made != key.id}
    if stale or done:
        stale |= set(build.stale_days(lake, settings, held_days(lake, SILVER_EVENTS.name)))
    return sorted(stale)


def day_ranges(days: list[str], gap: int) -> list[tuple[str, str]]:
    """Sorted days as ranges; holes of up to ``gap`` days (a closed weekday, a holiday) do not split a range."""
    if not days:
        return []
    cuts = [(a, b) for a, b in pairwise(days) if b > next_day(a, gap)]
    return list(zip([days[0], *(b for _, b in cuts)], [*(a for a, _ in cuts), days[-1]], strict=True))


def state(lake: Lake, settings: Settings) -> str:
    """A text that changes with everything that ``stale_days`` looks at; it costs less than to look."""
    key = key_in_force(settings)
    tables = (BRONZE_EVENTS, CONSENTS, SILVER_EVENTS, SESSION_PARTS, SILVER_SESSIONS, QUALITY_DAYS)
    return fingerprint(*(lake.table(spec).version for spec in tables), repr(settings), key and key.id)
