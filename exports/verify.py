"""Integrity: every file is what its name says, and ledger, tables and snapshot tell the same story."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from exports.contract import published
from exports.hashing import MODULUS, file_hashes
from resources.errors import BehaviorError
from resources.lake import Lake, LakeTable, TableSpec

_BLOCK = 4 * 2**20


@dataclass(frozen=True)
class Problem:
    """Something broken: ``where`` names the file or table."""

    where: str
    what: str


def sha256_of(path: Path) -> str:
    """sha256 of a file's bytes, hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(_BLOCK):
            digest.update(data)
    return digest.hexdigest()


def verify_table(table: LakeTable, progress: Callable[[str], None]) -> tuple[list[Problem], int]:
    """Problems of one lake table, and its rows by the log."""
    name = table.spec.name
    progress(name)
    try:
        live = table.files()
    except BehaviorError as error:
        return [Problem(name, str(error))], 0
    problems = []
    for file in live:
        path = table.root / file.path
        where = f"{name}/{file.path}"
        if not path.exists():
            problems.append(Problem(where, "the data file is missing"))
        elif path.stat().st_size != file.size:
            problems.append(Problem(where, f"has {path.stat().st_size} bytes, the log says {file.size}"))
        elif sha256_of(path) != file.sha256:
            problems.append(Problem(where, "its bytes do not give the sha256 in its name"))
        else:
            problems += _verify_rows(path, where, file.rows)
    problems += _missing_commits(table)
    return problems, sum(f.rows for f in live)


def _verify_rows(path: Path, where: str, rows: int) -> list[Problem]:
    try:
        found = pq.ParquetFile(path).metadata.num_rows
    except (pa.ArrowInvalid, OSError):
        return [Problem(where, "not a readable Parquet file")]
    return [] if found == rows else [Problem(where, f"holds {found} rows, the log says {rows}")]


def _missing_commits(table: LakeTable) -> list[Problem]:
    log = table.root / "_delta_log"
    commits = sorted(log.glob("*.json"))
    problems = [Problem(f"{table.spec.name}/_delta_log/{c.name}", "the commit is empty")
                for c in commits if c.stat().st_size == 0]  # fmt: skip
    numbers = [int(c.stem) for c in commits if c.stem.isdigit()]
    gaps = sorted(set(range(numbers[0], numbers[-1] + 1)) - set(numbers)) if numbers else []
    return problems + [Problem(f"{table.spec.name}/_delta_log/{n:020d}.json", "the commit is missing") for n in gaps]


def verify_ledger(entries: Iterable[Any], bronze_rows: int, quarantine_rows: int) -> list[Problem]:
    """Every file's rows add up, and all files' rows are the tables' rows."""
    entries = list(entries)
    problems = [Problem(f"ledger/{e.file_name}", "its rows do not add up") for e in entries if not e.balanced()]
    events = sum(e.events for e in entries)
    if events != bronze_rows:
        problems.append(Problem("bronze/events", f"holds {bronze_rows} rows, the ledger says {events}"))
    seen: set[str] = set()
    for entry in entries:
        if entry.key in seen:
            problems.append(Problem(f"ledger/{entry.file_name}", "the same delivery was committed twice"))
        seen.add(entry.key)
    quarantined = sum(e.quarantined for e in entries)
    if quarantined != quarantine_rows:
        problems.append(Problem("quarantine/events", f"holds {quarantine_rows} rows, the ledger says {quarantined}"))
    return problems


def verify_snapshot(exports: Path, lake: Lake, progress: Callable[[str], None]) -> list[Problem]:
    """The current snapshot: files whole, rows and hashes as the manifest says, and as gold says."""
    path = exports / "current.json"
    if not path.exists():
        return []
    progress("exports")
    try:
        manifest = json.loads(path.read_text("utf-8"))
        tables = manifest["tables"]
    except (ValueError, KeyError):
        return [Problem("exports/current.json", "not a readable manifest")]
    problems: list[Problem] = []
    for name, entry in tables.items():
        problems += _verify_entry(exports, name, entry)
        spec = published()[name].spec if name in published() else None
        if spec is None:
            problems.append(Problem(f"exports/{name}", "not a table of the contract"))
        elif not problems:
            problems += _agree_with_gold(lake, spec, entry)
    if not (exports / "behavior.duckdb").exists():
        problems.append(Problem("exports/behavior.duckdb", "the file is missing: `behavior run` writes it again"))
    if not (exports / "snapshots" / f"{manifest['snapshot']}.json").exists():
        problems.append(Problem(f"exports/snapshots/{manifest['snapshot']}.json", "the manifest is missing"))
    return problems


def _verify_entry(exports: Path, name: str, entry: dict[str, Any]) -> list[Problem]:
    problems = []
    for file in entry["files"]:
        path = exports / file["path"]
        where = f"exports/{file['path']}"
        if not path.exists():
            problems.append(Problem(where, "the published file is missing"))
        elif path.stat().st_size != file["bytes"] or sha256_of(path) != file["sha256"]:
            problems.append(Problem(where, "its bytes are not the published ones"))
    if problems:
        return problems
    with duckdb.connect(":memory:") as con:
        columns = published()[name].spec.schema.names
        hashes = file_hashes(con, [str(exports / f["path"]) for f in entry["files"]], columns)
    if f"{sum(hashes.values()) % MODULUS:016x}" != entry["hash"]:
        problems.append(Problem(f"exports/{name}", "its rows do not give the hash in the manifest"))
    if sum(f["rows"] for f in entry["files"]) != entry["rows"]:
        problems.append(Problem(f"exports/{name}", "its files' rows do not add up"))
    return problems


def _agree_with_gold(lake: Lake, spec: TableSpec, entry: dict[str, Any]) -> list[Problem]:
    rows = lake.table(spec).rows()
    if rows != entry["rows"]:
        return [Problem(f"exports/{spec.name}", f"{entry['rows']} rows are published, gold has {rows}: publish again")]
    return []
