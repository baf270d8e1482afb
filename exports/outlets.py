"""What is made of a snapshot for people: which files, of which snapshot, and whether they are still those.

``outlets.json`` notes it, so that an outlet is made once for a snapshot, again after damage, and never half. Whoever
makes any has the exports alone (``snapshot.alone``) from before it asks which snapshot is the current one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resources.disk import disk_errors, draft_of
from resources.failpoints import reach
from resources.integrity import Problem, sha256_or_nothing

if TYPE_CHECKING:
    from exports.aggregate import Aggregate

NOTES = "outlets.json"
VERSIONS = {"report": "report-3", "aggregate": "aggregate-3"}  # a change makes them anew
_SHOWN = 3  # files that are told by name


@dataclass(frozen=True)
class Made:
    """What bringing an outlet up to date did. ``edited``: files that a person has changed, so nothing was replaced."""

    name: str
    snapshot: str
    new: bool
    files: int
    edited: list[str] = field(default_factory=list)


def report(exports: Path, manifest: Mapping[str, Any], memory_limit: int | None = None) -> Made:
    """``report/index.html``; ``memory_limit`` in bytes, None for DuckDB's own."""
    from exports.report import write_report

    return _made(exports, "report", manifest,
                 lambda: [write_report(exports, manifest, _profile(exports, manifest, memory_limit))])  # fmt: skip


def aggregate(exports: Path, manifest: Mapping[str, Any], memory_limit: int | None = None) -> Made:
    """``aggregate/csv/*.csv`` and ``aggregate/behavior-aggregate.xlsx``."""
    from exports.spreadsheets import write_spreadsheets

    return _made(exports, "aggregate", manifest,
                 lambda: write_spreadsheets(exports, manifest, _profile(exports, manifest, memory_limit)))  # fmt: skip


def powerbi(exports: Path, manifest: Mapping[str, Any]) -> Made:
    """``powerbi/Behavior.pbip`` over the published Parquet files; the project says itself what of it is edited."""
    from exports.powerbi.project import write_project
    from exports.powerbi.sources import parquet

    done = write_project(exports / "powerbi", parquet(str(exports)))
    return Made("powerbi", str(manifest["snapshot"]), done.written, done.files, done.edited)


_profiles: dict[tuple[Path, str], Aggregate] = {}


def _profile(exports: Path, manifest: Mapping[str, Any], memory_limit: int | None) -> Aggregate:
    """The aggregate profile of a snapshot; the last one is kept, since two outlets are made of it in one run."""
    from exports.aggregate import aggregate as profile
    from exports.aggregate import remember

    said = {name: manifest[name] for name in ("tables", "data_through", "synthetic")}
    key = (exports, json.dumps(said, sort_keys=True))
    if key not in _profiles:
        _profiles.clear()
        _profiles[key] = profile(exports, manifest, memory_limit)
    remember(exports, _profiles[key].memory)  # before anything is told
    return replace(_profiles[key], snapshot=str(manifest["snapshot"]))


def _made(
    exports: Path, name: str, manifest: Mapping[str, Any], write: Callable[[], Iterable[Path]]
) -> Made:
    """Write an outlet unless it is there, whole and of this snapshot."""
    notes = read_notes(exports)
    told, snapshot = notes.get(name, {}), str(manifest["snapshot"])
    if told.get("snapshot") == snapshot and told.get("version") == VERSIONS[name] and not _changed(exports, told):
        return Made(name, snapshot, new=False, files=len(told["files"]))
    written = {p.relative_to(exports).as_posix(): sha256_or_nothing(p) for p in write()}
    notes[name] = {"snapshot": snapshot, "version": VERSIONS[name], "files": dict(sorted(written.items()))}
    with disk_errors(exports), draft_of(exports / NOTES) as draft:
        reach("outlet.note")
        draft.write_text(json.dumps(notes, indent=1), "utf-8")
    return Made(name, snapshot, new=True, files=len(written))


def read_notes(exports: Path) -> dict[str, Any]:
    """What was made, by outlet; nothing where the notes are lost or damaged: then all is made again."""
    try:
        told = json.loads((exports / NOTES).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    whole = isinstance(told, dict) and all(isinstance(t, dict) and isinstance(t.get("files"), dict)
                                           for t in told.values())  # fmt: skip
    return told if whole else {}


def problems(exports: Path) -> list[Problem]:
    """Files of outlets that are no longer what was written."""
    found = []
    for name, told in sorted(read_notes(exports).items()):
        changed = _changed(exports, told)
        if changed:
            more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
            what = f"changed or lost since it was written: {', '.join(changed[:_SHOWN])}{more}; `behavior run` mends it"
            found.append(Problem(f"exports/{name}", what))
    return found


def _changed(exports: Path, told: Mapping[str, Any]) -> list[str]:
    return [path for path, digest in told["files"].items() if sha256_or_nothing(exports / path) != digest]
