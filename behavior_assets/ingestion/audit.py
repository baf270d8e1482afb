"""Whether the ledger, the rows it speaks of and the originals in the archive tell the same story."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from behavior_assets.ingestion.archive import (
    DIGITS,
    LEDGER,
    MAPPINGS,
    Note,
    kept,
    mappings_of,
    noted,
    original_name,
    original_of,
    read_notes,
)
from behavior_assets.ingestion.ledger import FileEntry, Removed, sums_of
from behavior_assets.ingestion.redaction import redactions
from behavior_assets.ingestion.sources import FORMATS
from resources.integrity import Problem, Sums
from resources.parquet import DataFile
from resources.settings import Home

BRONZE, QUARANTINE = "bronze/events", "quarantine/events"
_GONE = (
    "it is gone: no table lost anything by that, but none could be mended from it. Put it there again, or deliver it "
    "again once bronze is whole"
)
_NOTE_GONE = "the account of the batch is gone: `behavior verify --repair` writes it anew from bronze's ledger"
_MAPPING_AGAIN = (
    "no table lost anything, but what was read by it could not be read again. `behavior verify --repair` takes it anew "
    "from landing/generic/mapping.yaml, if that is still the same mapping; else put the mapping there as {name}"
)
_DIGEST = "its bytes do not give the sha256 in its name"


def batch_of(file: DataFile) -> str:
    """The batch that a file of bronze or quarantine came with."""
    return file.fingerprint.split("-")[0]


def part_names(entries: Iterable[FileEntry]) -> dict[str, str]:
    """The key of a delivery by what its part of quarantine may be called; older ones have the file's sha256."""
    entries = list(entries)
    return {e.file_sha256: e.key for e in reversed(entries)} | {e.key: e.key for e in entries}


def in_quarantine(entries: Iterable[FileEntry], removed: Iterable[Removed] = ()) -> dict[str, int]:
    """How many rows of each delivery must lie in quarantine, by its key; deliveries without any are left away.

    ``removed``: what was erased and what expired.
    """
    entries = list(entries)
    names = part_names(entries)
    rows: Counter[str] = Counter()
    for entry in entries:
        rows[names.get(entry.replay_of, entry.replay_of) or entry.key] += entry.quarantined
    rows.subtract(sums_of(removed, "quarantined"))
    return {key: count for key, count in rows.items() if count}


def check_ledger(entries: Iterable[FileEntry]) -> list[Problem]:
    """Every delivery's rows add up, and none is in twice."""
    entries = list(entries)
    problems = [Problem(f"ledger/{e.file_name}", f"its rows do not add up (batch {e.batch_id})")
                for e in entries if not e.balanced()]  # fmt: skip
    seen: set[str] = set()
    for entry in entries:
        if entry.key in seen:
            problems.append(Problem(f"ledger/{entry.file_name}", "the same delivery was committed twice"))
        seen.add(entry.key)
    return problems


def check_bronze(
    entries: Iterable[FileEntry], files: Iterable[DataFile], removed: Iterable[Removed] = ()
) -> list[Problem]:
    """Every file belongs to a batch of the ledger, and a batch's files hold as many rows as the ledger says.

    ``removed``: what was erased and what expired, so ``accepted = present + erased + expired``.
    """
    events: Counter[str] = Counter()
    names: dict[str, list[str]] = defaultdict(list)
    for entry in entries:
        events[entry.batch_id] += entry.events
        names[entry.batch_id].append(entry.file_name)
    rows: Counter[str] = Counter()
    problems = []
    events.subtract(sums_of(removed, "events"))
    for file in files:
        rows[batch_of(file)] += file.rows
        if batch_of(file) not in events:
            problems.append(Problem(f"{BRONZE}/{file.path}", f"{file.rows:,} rows that no delivery of the ledger "
                                    "brought"))  # fmt: skip
    return problems + [
        Problem(BRONZE, f"batch {batch} ({', '.join(names[batch][:3])}): its files hold {rows[batch]:,} rows, the "
                f"ledger says {events[batch]:,}")
        for batch in sorted(events) if rows[batch] != events[batch]
    ]  # fmt: skip


def check_quarantine(
    entries: Iterable[FileEntry], files: Iterable[DataFile], removed: Iterable[Removed] = ()
) -> list[Problem]:
    """What was quarantined and not replayed is there, by delivery, and nothing else."""
    entries = list(entries)
    keys, names = part_names(entries), {e.key: e.file_name for e in entries}
    expected = in_quarantine(entries, removed)
    held: Counter[str] = Counter()
    problems = []
    for file in files:
        held[keys.get(file.part, "")] += file.rows
        if file.part not in keys:
            what = f"{file.rows:,} rows of a delivery that the ledger does not know (did a run not end? Run again)"
            problems.append(Problem(f"{QUARANTINE}/{file.path}", what))
    return problems + [
        Problem(QUARANTINE, f"of {names[key]} ({key}) {held[key]:,} rows are there, the ledger says "
                f"{expected.get(key, 0):,}")
        for key in sorted(names.keys() & (expected.keys() | held.keys())) if held[key] != expected.get(key, 0)
    ]  # fmt: skip


@dataclass
class ArchiveCheck:
    """What is wrong below ``archive/``. ``lost``: keys of deliveries that only the archive knows.

    ``unnoted`` are batches whose account is gone, ``unmapped`` contracts whose mapping is.
    """

    problems: list[Problem] = field(default_factory=list)
    damaged: set[Path] = field(default_factory=set)
    unknown: list[Path] = field(default_factory=list)
    lost: set[str] = field(default_factory=set)
    unnoted: set[str] = field(default_factory=set)
    unmapped: set[str] = field(default_factory=set)


def check_archive(
    home: Home, entries: Iterable[FileEntry] | None, archived: Container[str], sums: Sums
) -> ArchiveCheck:
    """Every file is what its name says, and known to the ledger (unless that is damaged, ``entries`` None).

    Of the batches that are ``archived``, and of those whose account is there, nothing is missing.
    """
    check = ArchiveCheck()
    files = dict(kept(home))
    found = sums.of(files)
    blanked = {home.archive / r.source / r.original[:DIGITS]: r for r in redactions(home).values()}
    for path, digits in files.items():
        blank = blanked.get(path.with_name(digits))
        if blank is not None and blank.now and found.get(path) == blank.now:
            found[path] = blank.original  # what the ledger knows it by
        if not found.get(path, "").startswith(digits):
            check.damaged.add(path)
            check.problems.append(Problem(_where(home, path), f"{_DIGEST}: {_remedy(path)}"))
    if entries is not None:
        known = {e.key: e for e in entries}
        _check_originals(home, check, {p: found[p] for p in files if p not in check.damaged}, known)
        notes = read_notes(home)
        _check_notes(home, check, notes, known.values())
        vouched = {e.key: e for note in notes for e in note.entries}
        vouched |= {e.key: e for e in known.values() if e.batch_id in archived}
        _check_kept(home, check, vouched.values())
        # A damaged one is told by itself.
        check.unnoted = {e.batch_id for e in known.values() if e.batch_id in archived} - noted(home)
        check.problems += [Problem(f"archive/{LEDGER}/*-{batch}.json", _NOTE_GONE) for batch in sorted(check.unnoted)]
    return check


def _remedy(path: Path) -> str:
    """What helps where a file of the archive is damaged."""
    if path.parent.name == LEDGER:
        return "`behavior verify --repair` puts the account aside and writes it anew from bronze's ledger"
    if path.parent.name == MAPPINGS:
        return _MAPPING_AGAIN.format(name=_free_name(original_name(path)))
    return "put the file there again, or deliver it again once bronze is whole"


def _free_name(name: str) -> str:
    """How a user may call a mapping: with any word where the archive has digits."""
    return f"archive/{MAPPINGS}/mapping-{name}"


def _check_originals(home: Home, check: ArchiveCheck, sums: Mapping[Path, str], known: Mapping[str, FileEntry]) -> None:
    """What was archived was committed before."""
    delivered = {(e.source, e.file_sha256) for e in known.values()}
    for path, sha256 in sums.items():
        if path.parent.name in FORMATS and (path.parent.name, sha256) not in delivered:
            check.unknown.append(path)
            check.problems.append(Problem(_where(home, path), "the ledger does not know it, though files are kept here "
                                          "only after their commit"))  # fmt: skip


def _check_notes(home: Home, check: ArchiveCheck, notes: Iterable[Note], entries: Iterable[FileEntry]) -> None:
    """What is noted of a delivery is what the ledger says; a delivery that came again was noted again."""
    ledger = {e.account: e for e in entries}
    agreed = {e.account for note in notes for e in note.entries if ledger.get(e.account) == e}
    for note in notes:
        for entry in note.entries:
            now = ledger.get(entry.account)
            if now is None:
                check.lost.add(entry.key)
                what = f"the ledger does not know {entry.file_name} of batch {entry.batch_id}, which was committed"
                check.problems.append(Problem(_where(home, note.path), what))
            elif entry.account not in agreed:
                check.problems.append(Problem(_where(home, note.path), f"the ledger gives another account of "
                                              f"{entry.file_name} (batch {now.batch_id})"))  # fmt: skip


def _check_kept(home: Home, check: ArchiveCheck, entries: Iterable[FileEntry]) -> None:
    """The archive has what it takes to ingest deliveries again, unless their time was over."""
    expired = {known for known, note in redactions(home).items() if not note.now}
    for entry in entries:
        if (entry.source, entry.file_sha256) in expired:
            continue
        if not entry.replay_of and original_of(home, entry.source, entry.file_sha256) is None:
            lost = home.archive / entry.source / f"{entry.file_sha256[:DIGITS]}-{entry.file_name}"
            check.problems.append(Problem(_where(home, lost), _GONE))
        if entry.contract and not mappings_of(home, entry.contract):
            check.unmapped.add(entry.contract)
    for contract in sorted(check.unmapped):
        told = f"the mapping is gone: {_MAPPING_AGAIN.format(name=_free_name(f'{contract}.yaml'))}"
        check.problems.append(Problem(f"archive/{MAPPINGS}/*-{contract}.yaml", told))


def _where(home: Home, path: Path) -> str:
    return path.relative_to(home.root).as_posix()
