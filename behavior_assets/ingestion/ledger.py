"""The ledger: what became of every file, kept in the commit that made its rows visible."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from typing import Any

from resources.errors import IntegrityError
from resources.integrity import REMEDY
from resources.settings import Settings
from resources.table import LakeTable

LEDGER_KEY = "behavior.ledger"
REMOVED_KEY = "behavior.removed"
KEY_DIGITS = 32


def delivery_key(sha256: str, source: str, contract: str, replay_of: str = "") -> str:
    """What the ledger knows a delivery by: its bytes, its format and, where a mapping tells the format, that.

    Replayed rows may make a file of the very bytes that were delivered: they are told by the delivery they came with.
    """
    said = [sha256, source, contract, *([replay_of] if replay_of else [])]
    return hashlib.sha256("\x1f".join(said).encode()).hexdigest()[:KEY_DIGITS]


@dataclass(frozen=True)
class FileEntry:
    """One file's account: ``rows_in = accepted + quarantined + duplicate + suppressed``.

    ``accepted`` counts logical records; ``events`` the bronze rows they became (a GA4 record with several items is
    several rows). A replay brings no rows in: it takes back from ``quarantined`` (a number below zero) what it accepts
    or finds to be a duplicate, so that sums over a ledger stay right.
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
    contract: str = ""  # of the source; empty in older ledgers, and where the format's name says it all
    replay_of: str = ""  # the key of the delivery whose quarantined rows these were
    replayed_rows: tuple[int, ...] = ()  # which of its rows left the quarantine
    read_by: dict[str, Any] = field(default_factory=dict)  # the settings of ``reading_of``; empty in older ledgers

    @property
    def key(self) -> str:
        """What the delivery is known by."""
        return delivery_key(self.file_sha256, self.source, self.contract, self.replay_of)

    @property
    def account(self) -> tuple[object, ...]:
        """What tells it from others when it is ingested again: of a replay its rows, as its file has fewer then."""
        return (self.replay_of, self.replayed_rows) if self.replay_of else (self.key,)

    def balanced(self) -> bool:
        """Whether the file's rows are all accounted for."""
        return self.rows_in == self.accepted + self.quarantined + self.duplicate + self.suppressed


def reading_of(settings: Settings) -> dict[str, Any]:
    """The settings that decide what becomes of a file's rows: a later change of them concerns new files only."""
    return {"first_day": settings.first_day.isoformat(), "max_field_bytes": settings.max_field_bytes,
            "ipv4_prefix": settings.ipv4_prefix}  # fmt: skip


def as_read(settings: Settings, entry: FileEntry) -> Settings:
    """The settings with those by which a delivery was read; today's where an older ledger does not tell."""
    told = {name: entry.read_by[name] for name in reading_of(settings) if name in entry.read_by}
    if "first_day" in told:
        told["first_day"] = date.fromisoformat(told["first_day"])
    return replace(settings, **told)


def encode(entries: Iterable[FileEntry]) -> str:
    """Entries as the text that travels with the commit."""
    return json.dumps([asdict(e) for e in entries], separators=(",", ":"))


def read_ledger(bronze: LakeTable) -> list[FileEntry]:
    """Every file ever committed, in commit order. Raises IntegrityError for a text that no run of ours wrote."""
    entries: list[FileEntry] = []
    for commit in bronze.history():
        text: Any = commit.get(LEDGER_KEY)
        try:
            entries += decode(text) if text else []
        except ValueError as error:
            msg = f"{bronze.spec.name}: the ledger in commit {commit.get('version')} cannot be read. {REMEDY}"
            raise IntegrityError(msg) from error
    return entries


def decode(text: str) -> list[FileEntry]:
    """Entries from the text of a commit. Raises ValueError where it is not one of ours."""
    try:
        return [entry_of(told) for told in json.loads(text)]
    except (TypeError, AttributeError) as error:
        msg = "not a ledger of ours"
        raise ValueError(msg) from error


def entry_of(told: dict[str, Any]) -> FileEntry:
    """An entry from its fields."""
    return FileEntry(**{**told, "replayed_rows": tuple(told.get("replayed_rows", ()))})


@dataclass(frozen=True)
class Removed:
    """What a commit took out of the rows that the ledger accounts for, and why: ``erased`` or ``expired``.

    ``events`` and ``records`` are counted by batch, ``quarantined`` by the key of the delivery.
    """

    why: str
    case: str = ""
    events: dict[str, int] = field(default_factory=dict)
    records: dict[str, int] = field(default_factory=dict)
    quarantined: dict[str, int] = field(default_factory=dict)

    def noted(self) -> dict[str, str]:
        """As the metadata of the commit that takes it out; ``removed_by`` reads it back."""
        return {REMOVED_KEY: json.dumps(asdict(self))}


def removed_by(info: Mapping[str, Any]) -> list[Removed]:
    """What a commit with this metadata took out. Raises ValueError where it is not as we wrote it."""
    return [Removed(**json.loads(info[REMOVED_KEY]))] if REMOVED_KEY in info else []


def read_removed(*tables: LakeTable) -> list[Removed]:
    """All that was ever taken out of bronze and quarantine."""
    return [r for table in tables for commit in table.history() for r in removed_by(commit)]


def sums_of(removed: Iterable[Removed], what: str, why: str = "") -> Counter[str]:
    """Counts of ``what`` (events, records, quarantined), for every reason or for one."""
    found: Counter[str] = Counter()
    for entry in removed:
        if not why or entry.why == why:
            found.update(getattr(entry, what))
    return found


def accounted(entries: Iterable[FileEntry]) -> list[tuple[FileEntry, int]]:
    """Entries with the arrival (microseconds) that they are booked on: a replay on that of the file it mends."""
    entries = list(entries)
    arrived = {e.key: e.arrived_ts_us for e in entries}
    return [(e, arrived.get(e.replay_of, e.arrived_ts_us)) for e in entries]


def renewed(earlier: Iterable[FileEntry], fresh: Iterable[FileEntry]) -> list[str]:
    """Names of fresh files under which the same source had brought other bytes, and never these."""
    before: dict[tuple[str, str], set[str]] = {}
    for entry in earlier:
        if not entry.replay_of:
            before.setdefault((entry.source, entry.file_name), set()).add(entry.file_sha256)
    return [
        e.file_name for e in fresh
        if not e.replay_of and e.file_sha256 not in before.get((e.source, e.file_name), {e.file_sha256})
    ]  # fmt: skip
