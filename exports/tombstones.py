"""What is left of a snapshot from before somebody was erased: its name, and why nothing else.

A tombstone stands where the snapshot's manifest stood, counts among those that are kept, and is as old as that. Files
that only such snapshots named go with the next collection.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from resources.disk import disk_errors, draft_of
from resources.failpoints import reach

TOMBSTONE = "tombstone"


def is_tombstone(manifest: dict[str, Any]) -> bool:
    """Whether it names no tables any more."""
    return manifest.keys() == {"snapshot", TOMBSTONE}


def bury(exports: Path, current: str, why: str, case: str, now: datetime) -> list[str]:
    """Replace every snapshot but the current one by a tombstone, and return those that it was done with.

    ``why``: erased or expired; ``case``: what the receipt or the audit log calls it.
    """
    buried = []
    for path in sorted((exports / "snapshots").glob("*.json")):
        if path.stem == current:
            continue
        try:
            if is_tombstone(json.loads(path.read_text("utf-8"))):
                continue
        except ValueError:  # whatever it told, nothing is left of it
            pass
        told = {"snapshot": path.stem, TOMBSTONE: {"why": why, "case": case, "at": now.astimezone(UTC).isoformat()}}
        with disk_errors(exports), draft_of(path) as draft:
            draft.write_text(json.dumps(told, indent=1), "utf-8")
            reach("privacy.tombstone")
        buried.append(path.stem)
    return buried
