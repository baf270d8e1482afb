"""The pseudonym key of silver: which version each day carries, and that it is none but ours.

A key that nobody knows would count every person anew, so it is refused. A version that was rotated in is another
matter: days under the former one are stale, and the next run makes them again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from resources.errors import UsageError
from resources.keys import PSEUDONYM, KeyVersion, key_place, key_versions, load_key, was_destroyed
from resources.parquet import DataFile
from resources.settings import Settings
from resources.table import LakeTable

KEY_ID, KEY_VERSION = "behavior.key_id", "behavior.key_version"  # in the metadata of silver's commits


def key_mark(key: KeyVersion) -> str:
    """What stands at the end of the fingerprint of a silver day that was made with a key."""
    return f"-{key.id}"


def key_in_force(settings: Settings) -> KeyVersion | None:
    """The newest version of the pseudonym key; None before the first run."""
    return next(reversed(key_versions(settings)), None)


def keys_by_day(files: Iterable[DataFile], recorded: str | None) -> dict[str, str]:
    """The id of the key that each of some silver days was made with.

    ``recorded``: what the newest commit tells, for days of an older program, which did not mark them.
    """
    found = {file.part: file.fingerprint.partition("-")[2] or recorded for file in files}
    return {day: key for day, key in found.items() if key}


def silver_keys(silver: LakeTable) -> dict[str, str]:
    """The id of the key that each day of silver was made with."""
    return keys_by_day(silver.files(), silver.recorded(KEY_ID))


def carries_former_key(settings: Settings, silver: LakeTable) -> bool:
    """Whether a new key is in force that the next run has still to carry out."""
    key = None if was_destroyed(settings) else key_in_force(settings)
    return key is not None and bool({*silver_keys(silver).values()} - {key.id})


def require_key(settings: Settings, silver: LakeTable) -> dict[str, str]:
    """Metadata that names the key in force, for silver's commits; the key is made where silver was not made yet.

    Raises UsageError if silver was made with a key that is none of ours.
    """
    require_same_key(settings, silver)
    load_key(settings, PSEUDONYM)
    key = key_versions(settings)[-1]
    return {KEY_ID: key.id, KEY_VERSION: str(key.number)}


def require_same_key(settings: Settings, silver: LakeTable) -> None:
    """Raise UsageError if silver was made with another key: before anything is ingested. No key is made."""
    problem = key_problem(settings, silver_keys(silver).values())
    if problem:
        msg = f"{key_place(settings)}: {problem}"
        raise UsageError(msg)


def key_problem(settings: Settings, carried: Collection[str]) -> str:
    """What is wrong with the key, if silver was made with those that it carries; empty if nothing."""
    if not carried:
        return ""
    try:
        known = {version.id for version in key_versions(settings)}
    except UsageError as error:
        return str(error).removeprefix(f"{key_place(settings)}: ")
    if not known:
        return "the pseudonym key is gone, but silver was made with it. Restore it from your backup."
    if set(carried) <= known:
        return ""
    return "not the pseudonym key that silver was made with. Restore that one from your backup."
