"""The export of a person: who they are is resolved as for an erasure, and their rows are written down."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from behavior_assets.privacy.access.about import about, describe, readme
from behavior_assets.privacy.access.files import require_place, write_rows, write_text
from behavior_assets.privacy.access.held import Held, held
from behavior_assets.privacy.access.others import Others
from behavior_assets.privacy.audit_log import open_audit
from behavior_assets.privacy.erasure.subjects import Asked, open_subjects
from behavior_assets.privacy.key_guard import carries_former_key
from behavior_assets.privacy.silver import SILVER_EVENTS
from resources.disk import disk_errors
from resources.errors import UsageError
from resources.lake import Lake, alone
from resources.settings import Settings, with_zone


def export_subject(settings: Settings, asked: Sequence[Asked], out: Path, now: datetime) -> dict[str, Any]:
    """Write everything that is held of a person into a folder, and return what ``about.json`` says.

    Raises UsageError for a folder that will not do, or while silver knows persons under a former key.
    """
    folder = require_place(out, settings.home.root)
    try:
        with alone(settings.home), disk_errors(folder):
            return _export(with_zone(settings), asked, folder, now)
    except BaseException:  # half an export would be taken for a whole one
        for path in folder.iterdir():
            path.unlink()
        with suppress(OSError):
            folder.rmdir()
        raise


def require_key_carried_out(settings: Settings, lake: Lake) -> None:
    """Raise UsageError while a new key is in force that silver does not carry yet."""
    if carries_former_key(settings, lake.table(SILVER_EVENTS)):
        msg = "the pseudonym key was rotated, and silver still carries the former one: `behavior run` first."
        raise UsageError(msg)


def _export(settings: Settings, asked: Sequence[Asked], folder: Path, now: datetime) -> dict[str, Any]:
    with open_subjects(settings, asked) as subjects:
        require_key_carried_out(settings, subjects.lake)
        others = Others(subjects)
        found = held(subjects, others)
        told = [h for h in found if h.count()]
        open_audit(settings).append("export-subject", tables=[h.holding.asset for h in told],
                                    rows=sum(h.count() for h in told))  # fmt: skip
        files = [_write(folder, h, others) for h in found]
        document = about(settings, others, found, files, now)
    write_text(folder, "about.json", json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    write_text(folder, "README.txt", readme(document))
    return document


def _write(folder: Path, held_: Held, others: Others) -> dict[str, Any]:
    name, count = held_.holding.asset, held_.count()
    files = write_rows(folder, name.replace("/", "_"), held_.columns, held_.rows(others)) if count else []
    return {"table": name, "files": files, "rows": count, "left_out": held_.left_out, "texts_left_out": held_.cells,
            **describe(held_)}  # fmt: skip
