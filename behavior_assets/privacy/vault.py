"""The vault: which pseudonym became which when the key was rotated. It lies beside the keys, never in the lake.

Extracts made before a rotation can be joined to tables made after it as long as the map is there. Whoever reads it
could as well read the keys, so it has their permissions and is not encrypted.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from resources.disk import disk_errors, draft_of, make_folder
from resources.errors import UsageError
from resources.failpoints import reach
from resources.keys import open_private, wipe
from resources.settings import Settings

SCHEMA = pa.schema([("former", pa.string()), ("customer_id", pa.string())])
_NAME = re.compile(r"customers-([0-9]+)-([0-9]+)\.parquet")


def map_path(settings: Settings, former: int, version: int) -> Path:
    """Where the map from one version of the key to another lies."""
    return settings.key_path.parent / "vault" / f"customers-{former}-{version}.parquet"


def maps(settings: Settings) -> dict[tuple[int, int], Path]:
    """Every map there is, by its two versions, the oldest first."""
    found = {p: _NAME.fullmatch(p.name) for p in (settings.key_path.parent / "vault").glob("*.parquet")}
    return dict(sorted(((int(m[1]), int(m[2])), p) for p, m in found.items() if m))


def write_map(path: Path, rows: pa.Table) -> None:
    """Keep a map, whole or not at all."""
    with disk_errors(path):
        for folder in (path.parent.parent, path.parent):  # a mode is for the last folder that is made
            make_folder(folder, 0o700)
        with draft_of(path) as draft:
            with open_private(draft) as file:
                pq.write_table(rows.cast(SCHEMA), file)
            reach("keys.map")


def forget(settings: Settings, pseudonyms: Collection[str]) -> int:
    """Take persons out of every map, by any pseudonym that they have there; how many rows went."""
    gone = 0
    for path in maps(settings).values():
        rows = pq.read_table(path)
        wanted = pa.array(sorted(pseudonyms), pa.string())
        found = pc.or_(*(pc.is_in(rows[name], value_set=wanted) for name in SCHEMA.names))
        if count := pc.sum(found).as_py():
            with path.open("r+b") as former:  # what a file system keeps of the old bytes is written over
                write_map(path, rows.filter(pc.invert(found)))
                wipe(former)
            gone += count
    return gone


def successors(settings: Settings) -> dict[str, str]:
    """The newest pseudonym of every former one that any map knows."""
    steps: dict[str, str] = {}
    for path in maps(settings).values():
        rows = pq.read_table(path)
        steps |= zip(rows["former"].to_pylist(), rows["customer_id"].to_pylist(), strict=True)
    return {former: _last(steps, former) for former in steps}


def _last(steps: dict[str, str], pseudonym: str) -> str:
    while pseudonym in steps:
        pseudonym = steps[pseudonym]
    return pseudonym


def translate(settings: Settings, source: Path, column: str, out: Path) -> dict[str, int]:
    """Copy a CSV file with the former pseudonyms of a column as those in force, and count.

    One that no map knows becomes empty, so that nothing under a destroyed key is carried on; those in force stay.
    Raises UsageError where file or column are not there.
    """
    known = successors(settings)
    newest = set(known.values())
    counts = dict.fromkeys(("rows", "translated", "unchanged", "unknown"), 0)

    def renewed(row: dict[str, str]) -> dict[str, str]:
        value = row[column]
        what = "translated" if value in known else "unchanged" if value in newest or not value else "unknown"
        counts["rows"] += 1
        counts[what] += 1
        return row | {column: known.get(value, value if what == "unchanged" else "")}

    with disk_errors(out), draft_of(out) as draft, open_private(draft) as raw:
        with _readable(source), source.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            names = list(reader.fieldnames or ())
            if column not in names:
                msg = f"{source}: has no column {column}. Name the one that holds pseudonyms with --column."
                raise UsageError(msg)
            with io.TextIOWrapper(raw, "utf-8", newline="") as text:
                writer = csv.DictWriter(text, names, lineterminator="\n")
                writer.writeheader()
                writer.writerows(map(renewed, reader))
        reach("keys.translate")
    return counts


@contextmanager
def _readable(source: Path) -> Iterator[None]:
    try:
        yield
    except (UnicodeDecodeError, csv.Error, ValueError, FileNotFoundError, PermissionError, IsADirectoryError) as error:
        msg = f"{source}: cannot be read as a CSV file with a header, in UTF-8 ({type(error).__name__})."
        raise UsageError(msg) from error
