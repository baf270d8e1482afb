"""The audit log of a home: ``<home>/logs/audit.jsonl``, signed with the audit key, a second head beside the keys."""

from __future__ import annotations

from resources.audit import AuditLog
from resources.disk import make_folder
from resources.errors import IntegrityError
from resources.keys import AUDIT, key_place, key_versions, load_key
from resources.settings import Settings

HEAD_BESIDE_KEYS = "audit-head.json"


def open_audit(settings: Settings) -> AuditLog:
    """The home's audit log, for appending and for reading; its key is made at the first use.

    Raises IntegrityError where a log or a head is there without the key: with a new one nobody could tell whether it
    was changed.
    """
    beside = settings.key_path.parent / HEAD_BESIDE_KEYS
    folder = settings.home.root / "logs"
    if not key_versions(settings, AUDIT) and (beside.exists() or AuditLog(folder, b"").path.exists()):
        msg = (
            f"{key_place(settings, AUDIT)}: the key of the audit log is gone. Restore it from your backup; nothing "
            "that must be noted is done before."
        )
        raise IntegrityError(msg)
    make_folder(beside.parent, 0o700)
    return AuditLog(folder, load_key(settings, AUDIT), beside)
