"""The pseudonym key must stay the one that silver was made with: another would count every person anew."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

from resources.errors import UsageError
from resources.keys import load_or_create_key, purpose_key
from resources.lake import LakeTable
from resources.settings import Settings

KEY_ID = "behavior.key_id"


def require_key(settings: Settings, silver: LakeTable) -> dict[str, str]:
    """Metadata that names the key, for silver's commits. Raises UsageError if silver was made with another."""
    _require(settings, {str(c[KEY_ID]) for c in silver.history() if c.get(KEY_ID)})
    return {KEY_ID: _key_id(settings)}


def require_same_key(settings: Settings, silver: LakeTable) -> None:
    """Raise UsageError if silver was made with another key: before anything is ingested. No key is made."""
    recorded = silver.recorded(KEY_ID)
    _require(settings, {recorded} if recorded else set())


def key_problem(settings: Settings, recorded: Collection[str]) -> str:
    """What is wrong with the key, if silver was made with those that are ``recorded``; empty if nothing."""
    path = settings.key_path
    if not recorded:
        return ""
    if not path.exists():
        return "the pseudonym key is gone, but silver was made with it. Restore it from your backup."
    try:
        same = _key_id(settings) in recorded
    except UsageError as error:
        return str(error).removeprefix(f"{path}: ")
    return "" if same else "not the pseudonym key that silver was made with. Restore that one from your backup."


def _require(settings: Settings, recorded: Collection[str]) -> None:
    problem = key_problem(settings, recorded)
    if problem:
        msg = f"{settings.key_path}: {problem}"
        raise UsageError(msg)


def _key_id(settings: Settings) -> str:
    key = purpose_key(load_or_create_key(settings.key_path), "key-id")
    return hashlib.sha256(key).hexdigest()[:16]
