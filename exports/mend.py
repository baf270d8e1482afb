"""Mending what is published: from gold, and manifests from each other."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from exports.contract import gold
from exports.snapshot import write_duckdb
from exports.tombstones import is_tombstone
from exports.verify import CURRENT, VIEWS, SnapshotCheck
from resources.disk import disk_errors, draft_of, sync_path
from resources.integrity import sha256_of
from resources.lake import Lake

Away = Callable[[Path], object]


def mend_snapshots(exports: Path, lake: Lake, check: SnapshotCheck, away: Away) -> list[str]:
    """Put damaged things aside and make again what gold and the other manifests give. Returns what was done."""
    done = []
    for where in sorted(check.manifests):
        if (exports / where).exists():
            away(exports / where)
            done.append(f"exports/{where}: put aside")
    done += _restore_manifests(exports, check)
    for where in sorted(check.files):
        if (exports / where).exists():
            away(exports / where)
    done += link_lost(exports, lake)
    if check.views and (exports / VIEWS).exists():
        away(exports / VIEWS)
    return done


def _restore_manifests(exports: Path, check: SnapshotCheck) -> list[str]:
    """``current.json`` and the newest manifest are the same bytes, so each can be had from the other."""
    kept = [p for p in sorted((exports / "snapshots").glob("*.json")) if not is_tombstone(json.loads(p.read_bytes()))]
    if CURRENT in check.manifests and kept and not (exports / CURRENT).exists():
        _copy(kept[-1], exports / CURRENT)
        return [f"exports/{CURRENT}: written again from snapshots/{kept[-1].name}"]
    if (exports / CURRENT).exists() and CURRENT not in check.manifests:
        target = exports / "snapshots" / f"{json.loads((exports / CURRENT).read_bytes())['snapshot']}.json"
        if not target.exists():
            _copy(exports / CURRENT, target)
            return [f"exports/snapshots/{target.name}: written again from {CURRENT}"]
    return []


def _copy(origin: Path, target: Path) -> None:
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with draft_of(target) as draft:
            shutil.copyfile(origin, draft)


def lost_files(exports: Path) -> dict[str, list[str]]:
    """By manifest, the files that it names and that are not there."""
    lost = {}
    for path in (exports / CURRENT, *sorted((exports / "snapshots").glob("*.json"))):
        if path.exists():
            named = [f["path"] for t in json.loads(path.read_bytes()).get("tables", {}).values() for f in t["files"]]
            lost[path.relative_to(exports).as_posix()] = [p for p in named if not (exports / p).exists()]
    return {where: paths for where, paths in lost.items() if paths}


def link_lost(exports: Path, lake: Lake) -> list[str]:
    """Link lost files again from gold, where a file with the same bytes still lies."""
    done = []
    for path in sorted({p for paths in lost_files(exports).values() for p in paths}):
        _, table, name = path.split("/")
        part, sha256 = name.removesuffix(".parquet").rsplit("-", 1)
        for origin in sorted(lake.table(gold(table)).root.glob(f"{part}_*_{sha256}.parquet")):
            if sha256_of(origin) == sha256:
                _link(origin, exports / path)
                done.append(f"exports/{path}: linked again from gold")
                break
    return done


def _link(origin: Path, target: Path) -> None:
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(origin, target)
        except OSError:
            _copy(origin, target)
        sync_path(target.parent)


def forget_lost(exports: Path, away: Away) -> tuple[list[str], list[str]]:
    """Put manifests aside whose files cannot be had any more. Returns the current ones and the older ones."""
    current: list[str] = []
    older: list[str] = []
    told = json.loads((exports / CURRENT).read_bytes())["snapshot"] if (exports / CURRENT).exists() else ""
    for where in lost_files(exports):
        away(exports / where)
        (current if where in {CURRENT, f"snapshots/{told}.json"} else older).append(where)
    return current, older


def write_views(exports: Path) -> list[str]:
    """``behavior.duckdb`` for the current snapshot, if it is not there."""
    if (exports / VIEWS).exists() or not (exports / CURRENT).exists():
        return []
    write_duckdb(exports, json.loads((exports / CURRENT).read_bytes()))
    return [f"exports/{VIEWS}: written again"]
