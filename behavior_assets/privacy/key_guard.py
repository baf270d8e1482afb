"""The pseudonym key must stay the one that silver was made with: another would count every person anew."""

from __future__ import annotations

import hashlib

from resources.errors import UsageError
from resources.keys import load_or_create_key, purpose_key
from resources.lake import LakeTable
from resources.settings import Settings

KEY_ID = "behavior.key_id"


def require_key(settings: Settings, silver: LakeTable) -> dict[str, str]:
    """Metadata that names the key, for silver's commits. Raises UsageError if silver was made with another."""
    recorded = {str(c[KEY_ID]) for c in silver.history() if c.get(KEY_ID)}
    path = settings.key_path
    if recorded and not path.exists():
        msg = f"{path}: the pseudonym key is gone, but silver was made with it. Restore it from your backup."
        raise UsageError(msg)
    key = purpose_key(load_or_create_key(path), "key-id")
    key_id = hashlib.sha256(key).hexdigest()[:16]
    if recorded and key_id not in recorded:
        msg = f"{path}: not the pseudonym key that silver was made with. Restore that one from your backup."
        raise UsageError(msg)
    return {KEY_ID: key_id}
