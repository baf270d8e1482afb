"""Mending the archive: accounts of batches come from bronze's ledger, mappings from where files are landed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from itertools import groupby
from pathlib import Path

from behavior_assets.ingestion.archive import (
    LEDGER,
    MAPPINGS,
    keep_mappings,
    keep_notes,
    mappings_of,
    noted,
    original_name,
    source_of,
)
from behavior_assets.ingestion.audit import ArchiveCheck
from behavior_assets.ingestion.ledger import FileEntry
from behavior_assets.ingestion.mend import Report
from behavior_assets.verification import batches_of
from resources.commits import Commit
from resources.errors import InputRefusedError
from resources.settings import ZONE_KEY, Home


def put_aside(home: Home, damaged: Iterable[Path], away: Callable[[Path], object], report: Report) -> list[Path]:
    """Take damaged files out of the archive. Returns those that may be had again without their delivery."""
    others = []
    for path in sorted(damaged):
        away(path)
        if path.parent.name in {LEDGER, MAPPINGS}:
            others.append(path)
        else:
            report.left.append(f"{path.relative_to(home.root)}: put aside. Put the file there again, or deliver it "
                               "again once bronze is whole")  # fmt: skip
    return others


def mend_archive(
    home: Home, commits: Iterable[Commit], check: ArchiveCheck, aside: Collection[Path], report: Report
) -> None:
    """Write again what is missing or was put ``aside``. ``commits``: those of bronze that are whole."""
    told = list(batches_of(commits))
    batches = {batch: (list(entries), str(commit.info.get(ZONE_KEY, ""))) for commit, both in told
               for batch, entries in groupby(both, key=lambda e: e.batch_id)}  # fmt: skip
    names = {original_name(path).rsplit(".", 1)[0]: path for path in aside}
    for batch in sorted(check.unnoted | {n for n, path in names.items() if path.parent.name == LEDGER}):
        _mend_note(home, batch, batches.get(batch), report)
    entries = {e.contract: e for found, _ in batches.values() for e in found}
    for contract in sorted(check.unmapped | {n for n, path in names.items() if path.parent.name == MAPPINGS}):
        _mend_mapping(home, contract, entries.get(contract), report)


def _mend_note(home: Home, batch: str, known: tuple[list[FileEntry], str] | None, report: Report) -> None:
    where = f"archive/{LEDGER}/*-{batch}.json"
    if batch in noted(home):  # the batch was delivered again
        return
    if known is None:
        report.left.append(f"{where}: put aside. The ledger of bronze does not know the batch, and nothing else does")
        return
    keep_notes(home, *known)
    report.done.append(f"{where}: the account of the batch, written anew from the ledger of bronze")


def _mend_mapping(home: Home, contract: str, entry: FileEntry | None, report: Report) -> None:
    where = f"archive/{MAPPINGS}/*-{contract}.yaml"
    if mappings_of(home, contract):
        return
    if entry is None:
        report.left.append(f"{where}: put aside. No delivery was read by it, so nothing needs it")
        return
    try:
        keep_mappings(home, [source_of(home, entry)])
    except InputRefusedError as error:
        report.left.append(f"{where}: {error}")
    else:
        report.done.append(f"{where}: the mapping, kept anew from landing/{entry.source}")
