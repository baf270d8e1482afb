"""Integrity of what is published: every manifest, every file that one names, and the DuckDB file's views.

Each field of a manifest can be told again from the files, so a damaged manifest is told from a damaged file.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from exports.contract import published
from exports.hashing import MODULUS, file_hashes
from exports.snapshot import SCHEMA_VERSION, Manifest
from exports.tombstones import is_tombstone
from resources.integrity import Problem, Sums
from resources.parquet import DataFile

CURRENT = "current.json"
VIEWS = "behavior.duckdb"
_MANIFEST = {"snapshot", "published_at", "schema_version", "data_through", "synthetic", "tables"}
_TABLE, _FILE = {"rows", "hash", "files"}, {"path", "part", "rows", "bytes", "sha256", "hash"}
_TEXT = re.compile(r"'((?:[^']|'')*)'")  # in SQL
Gold = Mapping[str, list[tuple[Path, DataFile]]]  # the files of gold's tables


@dataclass
class SnapshotCheck:
    """What is wrong below ``exports/``: the problems, and the damaged things by their paths there."""

    problems: list[Problem] = field(default_factory=list)
    files: set[str] = field(default_factory=set)
    manifests: set[str] = field(default_factory=set)
    views: bool = False
    current: Manifest | None = None  # if it is whole

    def add(self, where: str, what: str) -> None:
        """Note a problem."""
        self.problems.append(Problem(f"exports/{where}", what))


def check_snapshots(exports: Path, gold: Gold, sums: Sums, *, elsewhere: bool = False) -> SnapshotCheck:
    """All retained snapshots, the current one and its views. ``gold``: tables whose log is whole, by published name.

    ``elsewhere``: it was another machine that published last from the same lake, so what lies here is older than gold.
    """
    check = SnapshotCheck()
    kept = sorted((exports / "snapshots").glob("*.json"))
    if not kept and not (exports / CURRENT).exists():
        if gold.get("refresh_info") and not elsewhere:  # written with the first publication
            check.manifests.add(CURRENT)
            check.add(CURRENT, "no snapshot is there, though gold/refresh_info tells of one: publish again "
                      "(`behavior run`)")  # fmt: skip
        return check
    manifests = {f"snapshots/{path.name}": _read(check, path, f"snapshots/{path.name}") for path in kept}
    manifests[CURRENT] = _read(check, exports / CURRENT, CURRENT)
    whole = {where: m for where, m in manifests.items() if m is not None}
    with duckdb.connect(":memory:") as con:
        files = _Files(exports, whole.values(), sums, con)
        for where, manifest in whole.items():
            _check_manifest(check, where, manifest, files)
        for path, what in sorted(files.wrong.items()):
            check.files.add(path)
            check.add(path, what)
        _compare(check, exports, kept)
        if CURRENT not in check.manifests:
            check.current = manifests[CURRENT]
        if check.current is not None and not elsewhere:
            _agree_with_gold(check, gold, con)
        # Where current.json is damaged, the newest manifest tells what it told.
        newest = f"snapshots/{kept[-1].name}" if kept else ""
        shown = check.current or (manifests[newest] if newest and newest not in check.manifests else None)
        _check_views(check, exports, files, shown)
    return check


def _read(check: SnapshotCheck, path: Path, where: str) -> Manifest | None:
    """A manifest that has all its fields, else None and a problem."""
    try:
        text = path.read_text("utf-8")
        manifest: Manifest = json.loads(text)
        if is_tombstone(manifest):
            _require_own_name(check, where, manifest)
            return None
        shape = [(manifest, _MANIFEST), *((t, _TABLE) for t in manifest["tables"].values()),
                 *((f, _FILE) for t in manifest["tables"].values() for f in t["files"])]  # fmt: skip
        if all(keys <= fields.keys() for fields, keys in shape) and json.dumps(manifest, indent=1) == text:
            return manifest
        what = "not a manifest as it was written"
    except FileNotFoundError:
        what = "the manifest is missing"
    except (ValueError, KeyError, TypeError, AttributeError, OSError):
        what = "not a readable manifest"
    check.manifests.add(where)
    check.add(where, what)
    return None


def _require_own_name(check: SnapshotCheck, where: str, tombstone: Manifest) -> None:
    if where != f"snapshots/{tombstone['snapshot']}.json":
        check.manifests.add(where)
        check.add(where, "a tombstone of another snapshot")


class _Files:
    """The files that manifests name: those that are wrong, and what can be told of the others."""

    def __init__(
        self, exports: Path, manifests: Iterable[Manifest], sums: Sums, con: duckdb.DuckDBPyConnection
    ) -> None:
        tables = [(name, table) for m in manifests for name, table in m["tables"].items()]
        self.exports = exports
        self.named = {(name, str(f["path"])): f for name, table in tables for f in table["files"]
                      if f["path"] == _path(name, f)}  # fmt: skip
        self.wrong: dict[str, str] = {}
        self.rows: dict[str, int] = {}
        self.columns: dict[str, list[str]] = {}
        found = sums.of(exports / path for _, path in self.named)
        for (_, path), file in self.named.items():
            if exports / path not in found:
                self.wrong[path] = "the published file is missing"
            elif found[exports / path] != file["sha256"]:  # which is in its name, too
                self.wrong[path] = "its bytes do not give the sha256 in its name"
            else:
                self._count(path)
        self.hashes = self._content(con)

    def _count(self, path: str) -> None:
        try:
            footer = pq.ParquetFile(self.exports / path)
            self.rows[path], self.columns[path] = footer.metadata.num_rows, footer.schema_arrow.names
        except (pa.ArrowException, OSError):
            self.wrong[path] = "not a readable Parquet file"

    def _content(self, con: duckdb.DuckDBPyConnection) -> dict[str, str]:
        """Content hashes of the whole files of tables that the contract knows with these columns."""
        hashes: dict[str, str] = {}
        for name, table in published().items():
            paths = [str(self.exports / path) for of, path in self.named if of == name and path in self.rows]
            try:
                made = file_hashes(con, paths, table.spec.schema.names)
            except duckdb.Error:  # an older contract's columns: what it held is told by the sha256
                continue
            hashes |= {str(Path(p).relative_to(self.exports).as_posix()): f"{value:016x}" for p, value in made.items()}
        return hashes

    def have(self, columns: Any, files: Iterable[Mapping[str, Any]]) -> bool:
        """Whether every whole file has these columns in this order."""
        return all(self.columns.get(str(f["path"]), columns) == columns for f in files)

    def told(self, path: str, file: Mapping[str, Any]) -> dict[str, Any]:
        """What a manifest must say of a file, as far as it can be told; of a wrong one, what it says."""
        if path in self.wrong or path not in self.rows:
            return dict(file)
        return {**file, "rows": self.rows[path], "bytes": (self.exports / path).stat().st_size,
                "hash": self.hashes.get(path, file["hash"])}  # fmt: skip


def _path(table: str, file: Mapping[str, Any]) -> str:
    return f"tables/{table}/{file['part']}-{file['sha256']}.parquet"


def _check_manifest(check: SnapshotCheck, where: str, manifest: Manifest, files: _Files) -> None:
    """Every field against the files, the manifest's own name and what the snapshot says of itself."""
    named = [(name, f) for name, table in manifest["tables"].items() for f in table["files"]]
    wrong = [f"{f['path']} is not the name of such a file" for name, f in named if f["path"] != _path(name, f)]
    if not wrong:
        wrong = [f"what it says of {f['path']} is not what the file holds" for _, f in named
                 if f != files.told(f["path"], f)]  # fmt: skip
    wrong += [f"the columns of {name} are not those of its files" for name, table in manifest["tables"].items()
              if "columns" in table and not files.have(table["columns"], table["files"])]  # fmt: skip
    wrong += [f"the sums of {name} are not those of its files" for name, table in manifest["tables"].items()
              if not _adds_up(table)]  # fmt: skip
    if manifest["schema_version"] != SCHEMA_VERSION:
        wrong.append(f"its schema version {manifest['schema_version']} is not known")
    if where != CURRENT and where != f"snapshots/{manifest['snapshot']}.json":
        wrong.append("it tells of another snapshot")
    said = _refresh_info(manifest, files)
    wrong += [f"its {name} is not that of refresh_info" for name, value in said.items() if manifest[name] != value]
    if wrong:
        check.manifests.add(where)
        check.add(where, f"the manifest is damaged: {wrong[0]}")


def _adds_up(table: Mapping[str, Any]) -> bool:
    try:
        total = sum(int(f["hash"], 16) for f in table["files"]) % MODULUS
        return bool(table["rows"] == sum(f["rows"] for f in table["files"]) and table["hash"] == f"{total:016x}")
    except (ValueError, TypeError):
        return False


def _refresh_info(manifest: Manifest, files: _Files) -> dict[str, Any]:
    """What the snapshot's own table says of it; nothing where its file is not whole."""
    paths = [f["path"] for f in manifest["tables"].get("refresh_info", {"files": []})["files"]]
    if len(paths) != 1 or paths[0] not in files.rows:
        return {}
    (row,) = pq.read_table(files.exports / paths[0]).to_pylist()
    told = {"snapshot": row["snapshot"], "published_at": row["published_at"].replace(tzinfo=UTC).isoformat(),
            "data_through": row["data_through"].isoformat(), "synthetic": row["is_synthetic"] == "Yes"}  # fmt: skip
    return {name: value for name, value in told.items() if name in manifest}


def _compare(check: SnapshotCheck, exports: Path, kept: list[Path]) -> None:
    """``current.json`` and the manifest of the same snapshot are the same bytes."""
    if CURRENT in check.manifests:
        return
    raw = (exports / CURRENT).read_bytes()
    where = f"snapshots/{json.loads(raw)['snapshot']}.json"
    if where in check.manifests:
        return
    if exports / where not in kept:
        check.manifests.add(where)
        check.add(where, "the manifest is missing, which current.json tells of")
    elif (exports / where).read_bytes() != raw:
        check.manifests.update((CURRENT, where))
        check.add(CURRENT, f"it is not what {where} holds, and both look whole")


def _agree_with_gold(check: SnapshotCheck, gold: Gold, con: duckdb.DuckDBPyConnection) -> None:
    """The published tables are those of the contract, with gold's rows."""
    tables = (check.current or {"tables": {}})["tables"]
    for name in sorted(tables.keys() ^ published().keys()):
        check.add(name, "not a table of the contract: publish again (`behavior run`)" if name in tables
                  else "the table is not published: publish again (`behavior run`)")  # fmt: skip
    for name in sorted(tables.keys() & published().keys() & gold.keys()):
        table, live = tables[name], gold[name]
        if table.get("columns") != published()[name].spec.schema.names:
            check.add(name, "published with the columns of another version: publish again (`behavior run`)")
            continue
        if sorted(file.sha256 for _, file in live) == sorted(f["sha256"] for f in table["files"]):
            continue
        rows = sum(file.rows for _, file in live)
        if rows != table["rows"]:
            check.add(name, f"{table['rows']:,} rows are published, gold has {rows:,}: publish again (`behavior run`)")
        elif _content_of(con, name, [path for path, _ in live]) not in {table["hash"], ""}:
            check.add(name, "other rows are published than gold has: publish again (`behavior run`)")


def _content_of(con: duckdb.DuckDBPyConnection, name: str, paths: list[Path]) -> str:
    try:
        made = file_hashes(con, [str(p) for p in paths], published()[name].spec.schema.names)
    except duckdb.Error:  # a file that cannot be read is told by itself
        return ""
    return f"{sum(made.values()) % MODULUS:016x}"


def _check_views(check: SnapshotCheck, exports: Path, files: _Files, shown: Manifest | None) -> None:
    """``behavior.duckdb`` has the manifest's tables, over its files, with its rows; without one it can be read."""
    path = exports / VIEWS
    if not path.exists():
        what = "the file is missing: `behavior run` writes it again"
    else:
        try:
            what = _wrong_views(path, exports, shown, files)
        except (duckdb.Error, RuntimeError) as error:
            what = f"DuckDB cannot read it ({type(error).__name__})"
    if what:
        check.views = True
        check.add(VIEWS, what)


def _wrong_views(path: Path, exports: Path, shown: Manifest | None, files: _Files) -> str:
    with duckdb.connect(str(path), read_only=True) as con:
        views = dict(con.execute("SELECT view_name, sql FROM duckdb_views() WHERE NOT internal").fetchall())
        copies = {name for (name,) in con.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
        if shown is None:
            return ""
        tables = shown["tables"]
        if views.keys() | copies != tables.keys():
            return "it has other tables than current.json: `behavior verify --repair` writes it again"
        for name, table in tables.items():
            wanted = sorted(os.path.realpath(exports / f["path"]) for f in table["files"])
            found = [text.replace("''", "'") for text in _TEXT.findall(views.get(name, ""))]
            if name in views and sorted(map(os.path.realpath, found)) != wanted:
                why = "was the home moved or copied? `behavior run` and `behavior verify --repair` write it again"
                return f"{name} reads other files than current.json tells ({why})"
            if all(f["path"] in files.rows for f in table["files"]):
                rows = con.execute(f'SELECT count(*) FROM "{name}"').fetchall()[0][0]
                if rows != table["rows"]:
                    return f"{name} gives {rows:,} rows, current.json tells {table['rows']:,}"
    return ""
