"""Rotating and destroying versions of the pseudonym key. Each act stands in the audit log before it is done."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from behavior_assets.privacy.audit_log import open_audit
from behavior_assets.privacy.key_guard import require_same_key, silver_keys
from behavior_assets.privacy.silver import SILVER_EVENTS
from behavior_assets.privacy.vault import maps
from behavior_assets.staleness import stale_days
from resources.errors import UsageError
from resources.keys import (
    PSEUDONYM,
    WHEN,
    KeyVersion,
    key_path,
    key_place,
    key_versions,
    next_version,
    shred,
    variable,
    write_versions,
)
from resources.lake import Lake, alone
from resources.settings import Settings


@dataclass(frozen=True)
class Held:
    """A version of the pseudonym key. ``days``: of silver that carry it; ``due``: when it should be destroyed."""

    version: int
    id: str
    made: str
    in_force: bool
    days: int
    maps: tuple[str, ...]  # such as ``1-2``: what can still be translated with them
    due: str  # ISO time; empty for the version in force, and where nobody knows when it was followed
    overdue: bool


def held_versions(settings: Settings, now: datetime | None = None) -> list[Held]:
    """Every version of the pseudonym key, oldest first."""
    moment = now or datetime.now(UTC)
    versions = key_versions(settings)
    days = Counter(silver_keys(Lake(settings.home.lake).table(SILVER_EVENTS)).values())
    told = []
    for version, follower in zip(versions, [*versions[1:], None], strict=True):
        due = _due(settings, follower) if follower else None
        names = tuple(f"{a}-{b}" for a, b in maps(settings) if a == version.number)
        told.append(Held(
            version.number, version.id, version.made, follower is None, days[version.id], names,
            due.isoformat() if due else "", bool(due and due <= moment),
        ))  # fmt: skip
    return told


def _due(settings: Settings, follower: KeyVersion) -> datetime | None:
    """The end of the window that began when the next version was made."""
    if not follower.made:
        return None
    return datetime.strptime(follower.made, WHEN).replace(tzinfo=UTC) + timedelta(days=settings.key_window_days)


def rotate(settings: Settings) -> KeyVersion:
    """Put a fresh version of the pseudonym key in force; the next run makes silver and all after it with it.

    Raises UsageError where an earlier rotation, or anything else, is not carried out yet: the map from the old key to
    the new is made of silver, which must be under one key and up to date.
    """
    with alone(settings.home):  # a run must see one key from its beginning to its end
        versions = _own(settings, f"add a version to it, such as {_next(settings)}:<64 hex digits>, beside the others")
        if not versions:
            msg = f"{key_place(settings)}: there is no key to rotate yet. The first `behavior run` makes it."
            raise UsageError(msg)
        lake = Lake(settings.home.lake)
        require_same_key(settings, lake.table(SILVER_EVENTS))
        if stale := stale_days(lake, settings):
            msg = (
                f"{key_place(settings)}: {len(stale):,} days of silver are not up to date ({stale[0]} to {stale[-1]}). "
                "`behavior run` first, then rotate."
            )
            raise UsageError(msg)
        fresh = next_version(versions)
        open_audit(settings).append("keys.rotate", version=fresh.number, key=fresh.id)
        write_versions(key_path(settings, PSEUDONYM), [*versions, fresh])
    return fresh


def destroy(settings: Settings, number: int) -> list[str]:
    """Drop an old version of the pseudonym key and its maps; afterwards nothing joins across it. What went.

    Raises UsageError for the version in force, for one that silver still carries, and while an older one is there.
    """
    with alone(settings.home):  # a run must see one key from its beginning to its end
        versions = key_versions(settings)
        going = next((v for v in versions if v.number == number), None)
        where = key_place(settings)
        lost = [pair for pair in maps(settings) if number in pair]
        if going is None and not lost:
            msg = f"{where}: there is no version {number}. `behavior keys list` names those there are."
            raise UsageError(msg)
        if going:
            _require_spent(settings, versions, going)
            _own(settings, f"take version {number} out of it, then give this command again: it drops the map")
        told = [f"map {a}-{b}" for a, b in lost] + ([f"version {number}"] if going else [])
        open_audit(settings).append("keys.destroy", version=number, maps=[f"{a}-{b}" for a, b in lost])
        for pair in lost:
            shred(maps(settings)[pair])
        if going:
            write_versions(key_path(settings, PSEUDONYM), [v for v in versions if v is not going])
    return told


def _require_spent(settings: Settings, versions: list[KeyVersion], going: KeyVersion) -> None:
    where = key_place(settings)
    if going is versions[-1]:
        msg = f"{where}: version {going.number} is in force. Rotate first; `--all` ends the pseudonyms of the home."
        raise UsageError(msg)
    if going is not versions[0]:
        msg = f"{where}: version {versions[0].number} is older, and its map leads here. Destroy that one first."
        raise UsageError(msg)
    carried = [d for d, key in silver_keys(Lake(settings.home.lake).table(SILVER_EVENTS)).items() if key == going.id]
    if carried:
        msg = f"{where}: {len(carried):,} days of silver still carry version {going.number}. `behavior run` first."
        raise UsageError(msg)


def destroy_all(settings: Settings) -> list[str]:
    """Crypto-shredding: every version and every map. No run can add to the home any more, and none can begin anew.

    The keys of suppression and audit stay: who was suppressed stays suppressed, and the log can be verified.
    """
    with alone(settings.home):  # a run must see one key from its beginning to its end
        versions = _own(settings, "take it out of the environment and of where that is kept")
        if not versions:
            msg = f"{key_place(settings)}: there is no key to destroy."
            raise UsageError(msg)
        found = maps(settings)
        open_audit(settings).append("keys.destroy", version="all", maps=[f"{a}-{b}" for a, b in found])
        for path in found.values():
            shred(path)
        write_versions(key_path(settings, PSEUDONYM), [])
    return [*(f"map {a}-{b}" for a, b in found), *(f"version {v.number}" for v in versions)]


def _next(settings: Settings) -> int:
    versions = key_versions(settings)
    return versions[-1].number + 1 if versions else 1


def _own(settings: Settings, instead: str) -> list[KeyVersion]:
    """The versions, where they lie in a file that we may write. Raises UsageError where the environment holds them."""
    if key_place(settings) == variable(PSEUDONYM):
        msg = f"{variable(PSEUDONYM)}: the key is in the environment, which no command can change: {instead}."
        raise UsageError(msg)
    return key_versions(settings)
