"""Publishing: gold's files linked under content-addressed names, a manifest, and one atomic switch.

A snapshot is a manifest that names files; files are shared between snapshots and never change. Readers of an older
snapshot keep their files until it is collected.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from exports.contract import gold, published
from exports.hashing import MODULUS, file_hashes
from resources.disk import disk_errors, draft_of, make_folder, sync_path
from resources.errors import IntegrityError, QualityError, UsageError
from resources.failpoints import reach
from resources.lake import Lake
from resources.lock import exclusive
from resources.parquet import DataFile
from resources.settings import Settings
from resources.stamp import stamp
from resources.table import LakeTable

PUBLISHER = "behavior.publisher"  # in the metadata of refresh_info's commits: the machine, where several share the lake
SCHEMA_VERSION = 1
Manifest = dict[str, Any]


@dataclass(frozen=True)
class Published:
    """What publishing did. ``new`` is False when the content was already published."""

    snapshot: str
    published_at: str
    new: bool
    files_added: int
    tables: dict[str, int]


def read_manifest(exports: Path) -> Manifest | None:
    """The current manifest, None before the first. Raises IntegrityError when it cannot be read."""
    path = exports / "current.json"
    if not path.exists():
        return None
    try:
        manifest: Manifest = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        msg = f"{path}: not readable. `behavior verify --repair` mends it."
        raise IntegrityError(msg) from error
    return manifest


def current_manifest(exports: Path) -> Manifest:
    """The current manifest. Raises UsageError before the first, IntegrityError when it cannot be read."""
    manifest = read_manifest(exports)
    if manifest is None:
        msg = f"{exports}: nothing is published yet. `behavior run` publishes."
        raise UsageError(msg)
    return manifest


def data_through(sessions: LakeTable, exports: Path, *, expired: bool = False) -> date:
    """The newest day that holds sessions, or held any before all ``expired``. QualityError: all days are held back."""
    days = [d for d, files in sessions.parts().items() if sum(f.rows for f in files)]
    before = read_manifest(exports)
    if not days and before is not None and expired:
        return date.fromisoformat(before["data_through"])
    if not days:
        msg = "every day is held back, so nothing is published; `behavior status` tells which rules they break."
        raise QualityError(msg)
    return date.fromisoformat(max(days))


def publish(
    lake: Lake, settings: Settings, con: duckdb.DuckDBPyConnection, data_through: date, now: datetime, *,
    synthetic: bool,
) -> Published:  # fmt: skip
    """Publish gold as it is now; if nothing changed, the current snapshot stays."""
    exports = settings.home.exports
    current = read_manifest(exports)
    tables: dict[str, Any] = {}
    for name in published():
        if name != "refresh_info":
            tables[name] = _table_entry(lake.table(gold(name)), con, current)
    if current is not None and _content(tables) == _content(current["tables"]):
        info = lake.table(gold("refresh_info"))
        # What was lost is put back, and so is what a publication began that died and is not wanted any more.
        if {f.sha256 for f in info.files()} != {f["sha256"] for f in current["tables"]["refresh_info"]["files"]}:
            published_at = datetime.fromisoformat(current["published_at"])
            through = date.fromisoformat(current["data_through"])
            _write_refresh_info(lake, current["snapshot"], published_at, through, synthetic=current["synthetic"])
        tables["refresh_info"] = _table_entry(info, con, None)
        mended = _link_all(lake, exports, tables)
        if _shown(exports) != current["snapshot"]:
            write_duckdb(exports, current)
        collect(exports, settings.snapshots_kept, current["snapshot"])
        return Published(current["snapshot"], current["published_at"], new=False, files_added=mended,
                         tables={n: t["rows"] for n, t in current["tables"].items()})  # fmt: skip
    snapshot = stamp(now)
    info = _write_refresh_info(lake, snapshot, now, data_through, synthetic=synthetic)
    tables["refresh_info"] = _table_entry(info, con, None)
    added = _link_all(lake, exports, tables)
    manifest: Manifest = {
        "snapshot": snapshot,
        "published_at": now.astimezone(UTC).isoformat(),
        "schema_version": SCHEMA_VERSION,
        "data_through": data_through.isoformat(),
        "synthetic": synthetic,
        "tables": tables,
    }
    _switch(exports, manifest)
    collect(exports, settings.snapshots_kept, snapshot)
    return Published(snapshot, manifest["published_at"], new=True, files_added=added,
                     tables={n: t["rows"] for n, t in tables.items()})  # fmt: skip


def _content(tables: dict[str, Any]) -> dict[str, tuple[object, ...]]:
    """What a snapshot says, and in which columns: a new name of a column is news to every reader."""
    return {n: (t["rows"], t["hash"], t.get("columns")) for n, t in tables.items() if n != "refresh_info"}


def require_contract(manifest: Manifest, exports: Path) -> Manifest:
    """The manifest, if its tables are those of this version. Raises UsageError where they have other columns."""
    told = {name: entry.get("columns") for name, entry in manifest["tables"].items()}
    if told != {name: table.spec.schema.names for name, table in published().items()}:
        msg = f"{exports}: the snapshot was made by another version. `behavior run` publishes it anew."
        raise UsageError(msg)
    return manifest


def _table_entry(table: LakeTable, con: duckdb.DuckDBPyConnection, current: Manifest | None) -> dict[str, Any]:
    """A table's files with their hashes; files that are already published keep the hash known of them."""
    name = table.spec.name.removeprefix("gold/")
    known = {f["sha256"]: f["hash"] for f in (current or {"tables": {}})["tables"].get(name, {}).get("files", [])}
    live = table.files()
    unknown = [f for f in live if f.sha256 not in known]
    made = file_hashes(con, table.absolute(unknown), table.spec.schema.names)
    files = []
    for file in live:
        value = known.get(file.sha256) or f"{made[table.absolute([file])[0]]:016x}"
        files.append({"path": f"tables/{name}/{_export_name(file)}", "part": file.part, "rows": file.rows,
                      "bytes": file.size, "sha256": file.sha256, "hash": value, "lake": file.path})  # fmt: skip
    total = sum(int(str(f["hash"]), 16) for f in files) % MODULUS
    return {"rows": sum(f.rows for f in live), "hash": f"{total:016x}", "columns": table.spec.schema.names,
            "files": files}  # fmt: skip


def _export_name(file: DataFile) -> str:
    return f"{file.part}-{file.sha256}.parquet"


def _write_refresh_info(lake: Lake, snapshot: str, now: datetime, through: date, *, synthetic: bool) -> LakeTable:
    table = lake.table(gold("refresh_info"))
    row = {"snapshot": snapshot, "published_at": now.astimezone(UTC).replace(tzinfo=None), "data_through": through,
           "is_synthetic": "Yes" if synthetic else "No"}  # fmt: skip
    written = table.write("all", "refresh", [pa.Table.from_pylist([row], schema=table.spec.schema)])
    table.commit([written], metadata={PUBLISHER: lake.machine})
    return table


def _link_all(lake: Lake, exports: Path, tables: dict[str, Any]) -> int:
    """Hard-link (or copy, where links are not to be had) every file that is not there yet."""
    added = 0
    with disk_errors(exports):
        for name, entry in tables.items():
            folder = exports / "tables" / name
            make_folder(folder)
            root = lake.table(gold(name)).root
            for file in entry["files"]:
                target = exports / file["path"]
                origin = root / file.pop("lake")
                if not target.exists():
                    reach("export.link")
                    _link(origin, target)
                    added += 1
            sync_path(folder)
    return added


def _link(origin: Path, target: Path) -> None:
    """Give a file a second name; where that is not to be had, copy it."""
    try:
        os.link(origin, target)
    except OSError:
        with draft_of(target) as draft:
            shutil.copyfile(origin, draft)
            reach("export.copy")


def _switch(exports: Path, manifest: Manifest) -> None:
    """Write the manifest and the DuckDB file beside their names, then name them, ``current.json`` last.

    What needs space is written before anything gets its name: a full disk leaves the last snapshot as it was.
    """
    text = json.dumps(manifest, indent=1)
    snapshots = exports / "snapshots"
    with disk_errors(exports):
        make_folder(snapshots)
        with draft_of(exports / "current.json") as current:
            reach("export.manifest")
            current.write_text(text, "utf-8")
            with draft_of(exports / "behavior.duckdb") as views:
                with draft_of(snapshots / f"{manifest['snapshot']}.json") as kept:
                    kept.write_text(text, "utf-8")
                    reach("export.views")
                    _fill(views, exports, manifest, "VIEW")
                reach("export.name")
            reach("export.current")


def _shown(exports: Path) -> str:
    """Which snapshot ``behavior.duckdb`` shows; empty where it cannot be read or reads another place's files."""
    try:
        with duckdb.connect(str(exports / "behavior.duckdb"), read_only=True) as con:
            views = con.execute("SELECT sql FROM duckdb_views() WHERE NOT internal").fetchall()
            # A home that was moved or copied: the paths in views are absolute.
            if any(f"'{_text(exports)}/" not in sql for (sql,) in views):
                return ""
            told = con.execute("SELECT snapshot FROM refresh_info").fetchone()
    except duckdb.Error:
        return ""
    return str(told[0]) if told else ""


def write_duckdb(exports: Path, manifest: Manifest, *, full_copy: bool = False) -> Path:
    """``behavior.duckdb``: views over the snapshot's files (tables with ``full_copy``), replaced in one step.

    Written in the storage format of DuckDB 1.0, which every later client reads.
    """
    target = exports / "behavior.duckdb"
    with disk_errors(exports), draft_of(target) as draft:
        reach("export.name")
        _fill(draft, exports, manifest, "TABLE" if full_copy else "VIEW")
    return target


def _fill(draft: Path, exports: Path, manifest: Manifest, kind: str) -> None:
    """Write the database file."""
    log = draft.with_name(draft.name + ".wal")
    try:
        with duckdb.connect(":memory:") as con:
            con.execute(f"ATTACH '{_text(draft)}' AS out (STORAGE_VERSION 'v1.0.0')")
            for name, entry in manifest["tables"].items():
                con.execute(f'CREATE {kind} out."{name}" AS {_rows(exports, entry)}')
                comment = published()[name].grain.replace("'", "''")
                con.execute(f"COMMENT ON {kind} out.\"{name}\" IS 'One row is {comment}.'")
            con.execute("DETACH out")
    finally:
        log.unlink(missing_ok=True)


def _rows(exports: Path, entry: Mapping[str, Any]) -> str:
    """The query that reads a table of a manifest."""
    files = ", ".join(f"'{_text(exports / f['path'])}'" for f in entry["files"])
    return f"SELECT * FROM read_parquet([{files}])"


def _text(path: Path) -> str:
    return str(path).replace("'", "''")


def add_views(con: duckdb.DuckDBPyConnection, exports: Path, manifest: Mapping[str, Any]) -> None:
    """The tables of a snapshot as views over its files, which stay while newer ones are published."""
    for name, entry in manifest["tables"].items():
        con.execute(f'CREATE VIEW "{name}" AS {_rows(exports, entry)}')


@contextmanager
def alone(exports: Path) -> Iterator[None]:
    """Make or remove what lies below ``exports/`` while nobody else does: outlets do not hold the lake meanwhile.

    Who has the lake may ask for this, and not the other way round.
    """
    with disk_errors(exports), exclusive(exports):
        yield


def collect(exports: Path, keep: int, current: str = "") -> int:
    """Forget all but the newest snapshots and remove files that none of these names. Returns files removed.

    The ``current`` one is the newest, also where the clock was set back.
    Drafts go as well: only who was killed leaves any, one publication runs at a time, and outlets are waited for.
    """
    with alone(exports):
        reach("export.clean")
        for draft in exports.rglob(".*.tmp*"):
            draft.unlink()
        manifests = sorted((exports / "snapshots").glob("*.json"), key=lambda p: (p.stem == current, p.stem))
        for old in manifests[:-keep]:
            old.unlink()
        named: set[str] = set()
        for path in manifests[-keep:]:
            try:
                manifest = json.loads(path.read_text("utf-8"))
            except ValueError:  # what it names is not known, so nothing goes until it is the oldest
                return 0
            named |= {f["path"] for t in manifest.get("tables", {}).values() for f in t["files"]}
        removed = 0
        for file in (exports / "tables").glob("*/*.parquet"):
            if file.relative_to(exports).as_posix() not in named:
                file.unlink()
                removed += 1
    return removed
