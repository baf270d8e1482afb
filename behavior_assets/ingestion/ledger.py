"""The ledger: what became of every file, kept in the commit that made its rows visible."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from resources.errors import UsageError
from resources.lake import LakeTable

LEDGER_KEY = "behavior.ledger"
ZONE_KEY = "behavior.timezone"


@dataclass(frozen=True)
class FileEntry:
    """One file's account: ``rows_in = accepted + quarantined + duplicate + suppressed``.

    ``accepted`` counts logical records; ``events`` the bronze rows they became (a GA4 record with several items is
    several rows).
    """

    batch_id: str
    source: str
    file_name: str
    file_sha256: str
    size: int
    arrived_ts_us: int
    contract_version: str
    rows_in: int
    accepted: int
    quarantined: int
    duplicate: int
    suppressed: int
    events: int
    late: int
    conflicts: int = 0
    capabilities: dict[str, bool] = field(default_factory=dict)

    def balanced(self) -> bool:
        """Whether the file's rows are all accounted for."""
        return self.rows_in == self.accepted + self.quarantined + self.duplicate + self.suppressed


def encode(entries: Iterable[FileEntry]) -> str:
    """Entries as the text that travels with the commit."""
    return json.dumps([asdict(e) for e in entries], separators=(",", ":"))


def read_ledger(bronze: LakeTable) -> list[FileEntry]:
    """Every file ever committed, in commit order."""
    entries: list[FileEntry] = []
    for commit in bronze.history():
        text: Any = commit.get(LEDGER_KEY)
        if text:
            entries += [FileEntry(**e) for e in json.loads(text)]
    return entries


def require_zone(bronze: LakeTable, timezone: str) -> None:
    """Days were told by the zone of the first commit: raise UsageError when the setting has changed since."""
    for commit in bronze.history():
        recorded = commit.get(ZONE_KEY)
        if recorded is not None and recorded != timezone:
            msg = (
                f"behavior.toml: timezone = {timezone!r}, but the days of this home were told by {recorded!r}. The "
                "zone of a home is fixed: set it back, or load the archive into a new home."
            )
            raise UsageError(msg)
