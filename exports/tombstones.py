"""What is left of a snapshot from before somebody was erased, or whose time was over: its name, and why nothing else.

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


def read_tombstone(path: Path) -> dict[str, Any]:
    """What stands in a manifest's place; nothing where it cannot be read."""
    try:
        told: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except ValueError:
        return {}
    return told


def bury(exports: Path, current: str, why: str, case: str, now: datetime, before: str = "") -> list[str]:
    """Replace every snapshot but the current one by a tombstone, and return those that it was done with.

    ``why``: erased or expired; ``case``: what the receipt or the audit log calls it. ``before``: only snapshots whose
    name comes before it.
    """
    buried = []
    for path in sorted((exports / "snapshots").glob("*.json")):
        if path.stem == current or (before and path.stem >= before):
            continue
        if is_tombstone(read_tombstone(path)):  # of one that cannot be read nothing is left, whatever it told
            continue
        told = {"snapshot": path.stem, TOMBSTONE: {"why": why, "case": case, "at": now.astimezone(UTC).isoformat()}}
        with disk_errors(exports), draft_of(path) as draft:
            draft.write_text(json.dumps(told, indent=1), "utf-8")
            reach("privacy.tombstone")
        buried.append(path.stem)
    return buried
