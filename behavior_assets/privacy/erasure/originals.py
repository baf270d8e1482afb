"""Originals in the archive without the records of suppressed persons."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import duckdb

from behavior_assets.ingestion.archive import original_of
from behavior_assets.ingestion.canonical import BRONZE_EVENTS
from behavior_assets.ingestion.landing import kind_of, open_packed
from behavior_assets.ingestion.ledger import FileEntry, read_ledger
from behavior_assets.ingestion.redaction import redact, redaction_of
from behavior_assets.ingestion.reload import UNREADABLE, Originals
from behavior_assets.ingestion.sift import sift
from behavior_assets.ingestion.sources.base import Source
from behavior_assets.privacy.erasure.lines import Finder, Theirs
from behavior_assets.privacy.normal import normal_id
from behavior_assets.privacy.suppression import read_suppression
from resources.errors import InputRefusedError, IntegrityError
from resources.integrity import sha256_of
from resources.lake import Lake
from resources.settings import Settings, with_zone

_BLOCK = 4 * 2**20


@dataclass
class Blanked:
    """What was blanked in the archive."""

    files: int = 0
    records: int = 0


def blank_originals(
    settings: Settings, con: duckdb.DuckDBPyConnection, texts: Collection[str], persons: Collection[str],
    tell: Callable[[str, int], None],
) -> Blanked:  # fmt: skip
    """Blank every record of a suppressed person in the archive.

    ``texts``: what those of this case are called, of which ``persons`` are no numbers of visits and orders.
    A file is read as it was when it came, so that whose a record is is told as it was for bronze. Raises
    IntegrityError for a file that may hold such records and cannot be read.
    """
    suppression = read_suppression(settings)
    suppression.among = {n for t in texts if (n := normal_id(t))}
    return _blank(settings, con, Theirs(suppression, persons), None, Finder(texts), tell)


def _blank(
    settings: Settings, con: duckdb.DuckDBPyConnection, theirs: Theirs, keys: set[str] | None,
    finder: Finder | None, tell: Callable[[str, int], None],
) -> Blanked:  # fmt: skip
    """``keys``: of these deliveries only; ``finder``: only files in which it finds something."""
    settings = with_zone(settings)
    home, done = settings.home, Blanked()
    entries = read_ledger(Lake(home.lake).table(BRONZE_EVENTS))
    originals = Originals(settings, con, {e.key: e for e in entries})
    by_path: dict[Path, list[FileEntry]] = defaultdict(list)
    for entry in entries:
        path = None if entry.replay_of else original_of(home, entry.source, entry.file_sha256)
        if path is not None and (keys is None or entry.key in keys):
            by_path[path].append(entry)
    for path, told in by_path.items():
        if finder is not None and not _may_name(path, finder):
            continue
        rows, source = set[int](), None
        before: set[int] = set()
        for entry in told:  # the same bytes may have come with two mappings
            found, known, source = _records_of(originals, entry, theirs)
            rows |= found
            before |= known
        note = redaction_of(home, told[0].source, told[0].file_sha256)
        if source is not None and (rows - before or (note is not None and sha256_of(path) != note.now)):
            redact(home, path, path.name, source, told[0].file_sha256, rows | before)
            done.files += 1
            done.records += len(rows - before)
            tell("archive", len(rows - before))
    return done


def blank_again(settings: Settings, con: duckdb.DuckDBPyConnection, keys: Collection[str]) -> None:
    """Blank the records of all suppressed persons in originals that were delivered once more."""
    _blank(settings, con, Theirs(read_suppression(settings)), set(keys), None, lambda _what, _rows: None)
    shutil.rmtree(settings.home.staging / "reload", ignore_errors=True)  # second names of what they were


def _records_of(
    originals: Originals, entry: FileEntry, theirs: Theirs
) -> tuple[set[int], set[int], Source]:
    """Numbers of the records of suppressed persons in a delivery, and of those that are blank already."""
    found: set[int] = set()
    try:
        with originals.read(entry) as prepared:
            reading = prepared.reading
            assert reading is not None  # noqa: S101 - it was read without an error
            before = set(reading.suppressed)
            for rows in sift(prepared, reading):
                hit = theirs.suppression.mask(rows, reading.source.name)
                found.update(rows["row_number"].to_numpy()[hit].tolist())
            found |= {n for n, r in reading.rejects.items()
                      if theirs.record(reading.source, reading.header, r.raw)}  # fmt: skip
            return found, before, reading.source
    except UNREADABLE as error:
        told = str(error) if isinstance(error, InputRefusedError) else type(error).__name__
        msg = f"{entry.file_name}: may hold records of persons to erase and cannot be read again ({told})."
        raise IntegrityError(msg) from error


def _may_name(path: Path, finder: Finder) -> bool:
    """Whether a text file's bytes hold any of the texts; others must be read to know."""
    kind, compression = kind_of(path)
    if kind == "parquet" or not finder.sure:
        return True
    rest = b""
    with open_packed(path, compression) as reader:
        while data := reader.read(_BLOCK):
            block = rest + data
            if finder.places(block) or (kind == "jsonl" and b"\\" in block):  # escapes may hide one
                return True
            rest = block[-finder.longest :]
    return False
