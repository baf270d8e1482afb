"""The whole project: model, report and opener, written beside its place and put there in one step."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from exports.powerbi import report, tmdl
from exports.powerbi.lint import findings
from exports.powerbi.model import build_model
from exports.powerbi.sources import Source
from resources.disk import disk_errors, make_folder, sync_path
from resources.failpoints import reach

NAME = "Behavior"
_MARKS = "generated.txt"  # what was generated, by hash: what differs from it a person has edited
_GENERATED = "# DataFolder "  # the one that was generated: another one was set later
_EXPRESSIONS = f"{NAME}.SemanticModel/definition/expressions.tmdl"
_FOLDER_SET = re.compile(r'(?m)^(expression DataFolder = )"((?:[^"]|"")*)"')
_FABRIC = "https://developer.microsoft.com/json-schemas/fabric"
_OPENER = """\
@echo off
rem Sets the parameter DataFolder to the folder that holds this project's folder, then opens the project.
set "HERE=%~dp0"
powershell -NoProfile -ExecutionPolicy Bypass -Command "$f = Join-Path $env:HERE '{name}.SemanticModel\\definition\\expressions.tmdl'; $d = (Get-Item -LiteralPath $env:HERE).Parent.FullName; $t = [IO.File]::ReadAllText($f); $t = [regex]::Replace($t, '(?m)^(expression DataFolder = )\\x22[^\\x22]*\\x22', {{ param($m) $m.Groups[1].Value + [char]34 + $d + [char]34 }}); [IO.File]::WriteAllText($f, $t, (New-Object Text.UTF8Encoding $false))"
start "" "%~dp0{name}.pbip"
"""


def files(source: Source) -> dict[str, str]:
    """Every file of the project: path below its folder, and text."""
    found = {
        f"{NAME}.pbip": _json({
            "$schema": f"{_FABRIC}/pbip/pbipProperties/1.0.0/schema.json", "version": "1.0",
            "artifacts": [{"report": {"path": f"{NAME}.Report"}}], "settings": {"enableAutoRecovery": True},
        }),
        f"{NAME}.SemanticModel/.platform": _platform("SemanticModel"),
        f"{NAME}.SemanticModel/definition.pbism": _json({
            "$schema": f"{_FABRIC}/item/semanticModel/definitionProperties/1.0.0/schema.json", "version": "4.2",
            "settings": {},
        }),
        f"{NAME}.Report/.platform": _platform("Report"),
        f"{NAME}.Report/definition.pbir": _json({
            "$schema": f"{_FABRIC}/item/report/definitionProperties/2.0.0/schema.json", "version": "4.0",
            "datasetReference": {"byPath": {"path": f"../{NAME}.SemanticModel"}},
        }),
    }  # fmt: skip
    model = tmdl.files(build_model(), source)
    found |= {f"{NAME}.SemanticModel/definition/{path}": text for path, text in model.items()}
    found |= {f"{NAME}.Report/definition/{path}": text for path, text in report.files().items()}
    if source.kind == "parquet":
        found[f"open-{NAME}.cmd"] = _OPENER.format(name=NAME).replace("\n", "\r\n")
    return found


@dataclass(frozen=True)
class Written:
    """What writing the project did: nothing where it was there already, or where a person has ``edited`` files."""

    path: Path
    written: bool
    files: int
    edited: list[str] = field(default_factory=list)


def write_project(folder: Path, source: Source) -> Written:
    """Write the project to a folder, all of it or nothing; Power BI's own cache in it is kept.

    A project that a person has edited is left as it is: deleting the folder brings the generated one back. A data folder
    that the opener or a person has set stays set. Raises ValueError where our own lint finds anything: a broken project
    is never published.
    """
    made = _as_set(folder, files(source))
    path = folder / f"{NAME}.pbip"
    edited = _edited(folder)
    marks = f"{_GENERATED}{source.parameters.get('DataFolder', ('',))[0]}\n" + "".join(
        f"{_digest(text)}  {name}\n" for name, text in sorted(made.items())
    )
    if edited:
        return Written(path, written=False, files=len(made), edited=edited)
    if all(_text(folder / name) == text for name, text in made.items()) and _text(folder / _MARKS) == marks:
        return Written(path, written=False, files=len(made))
    wrong = findings(made)
    if wrong:
        msg = f"the Power BI project would not open: {'; '.join(wrong[:5])}"
        raise ValueError(msg)
    _replace(folder, {**made, _MARKS: marks})
    return Written(path, written=True, files=len(made))


def _as_set(folder: Path, made: dict[str, str]) -> dict[str, str]:
    """The files, with the data folder that was set after they were last generated."""
    there = _FOLDER_SET.search(_text(folder / _EXPRESSIONS) or "")
    before = next((line for line in (_text(folder / _MARKS) or "").splitlines() if line.startswith(_GENERATED)), None)
    if there is None or before is None or there[2] == before.removeprefix(_GENERATED).replace('"', '""'):
        return made
    kept = there[0]
    return made | {_EXPRESSIONS: _FOLDER_SET.sub(lambda _: kept, made[_EXPRESSIONS])}


def _digest(text: str) -> str:
    """Of a file's text, whatever folder the opener has set as the one of the data."""
    return hashlib.sha256(_FOLDER_SET.sub(r'\1""', text).encode()).hexdigest()


def _text(path: Path) -> str | None:
    try:
        return path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _edited(folder: Path) -> list[str]:
    """Files that differ from what was last generated; one that is missing was lost, not edited."""
    lines = (_text(folder / _MARKS) or "").splitlines()
    marks = [line.split("  ", 1) for line in lines if not line.startswith(_GENERATED)]
    found = [(name, digest, _text(folder / name)) for digest, name in marks]
    return [name for name, digest, text in found if text is not None and _digest(text) != digest]


def _replace(folder: Path, made: dict[str, str]) -> None:
    """Write beside, then swap; what dies in between is written anew by the next publication."""
    draft, old = folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")
    with disk_errors(folder):
        for leftover in (draft, old):
            shutil.rmtree(leftover, ignore_errors=True)
        for name, text in made.items():
            target = draft / name
            make_folder(target.parent)
            reach("outlet.file")
            target.write_bytes(text.encode())
        for cache in folder.glob("*/.pbi"):
            shutil.copytree(cache, draft / cache.relative_to(folder), dirs_exist_ok=True)
        if folder.exists():
            folder.rename(old)
        draft.rename(folder)
        sync_path(folder.parent)
        shutil.rmtree(old, ignore_errors=True)


def _json(told: dict[str, Any]) -> str:
    return json.dumps(told, indent=2) + "\n"


def _platform(kind: str) -> str:
    return _json({
        "$schema": f"{_FABRIC}/gitIntegration/platformProperties/2.0.0/schema.json",
        "metadata": {"type": kind, "displayName": NAME},
        "config": {"version": "2.0", "logicalId": tmdl.lineage("platform", kind)},
    })  # fmt: skip
