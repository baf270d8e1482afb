"""Rows 1, 2 and 3 of the fault matrix: runs that are killed, lose power, or whose disk refuses, at every write."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from resources.failpoints import OUTLET_PLACES, PLACES, PRIVACY_PLACES, armed
from tests.conftest import REPOSITORY, published, run_cli
from tests.zygote import Zygote

# The kind of home whose run comes by a place; see tests/matrix.py.
KINDS = {
    "home.settings": "first", "home.dagster": "first", "home.key": "first", "lake.create": "first",
    "journal.mend": "torn", "archive.copy": "second-elsewhere", "export.copy": "second-unlinked",
}  # fmt: skip
ONCE = {"models.save", "models.promote", "models.note", "home.settings", "home.dagster", "home.key", "staging.replay",
        "export.manifest", "export.views", "export.name", "export.current", "export.clean"}  # fmt: skip
# Killed in the middle of many too: there one table, day or file is done and the next is not.
MANY = {"parquet.name", "lake.commit", "lake.committed", "journal.note", "ingest.committed", "export.link"}
KILLS = [(place, when) for place in PLACES for when in ("first", "later") if when == "first" or place in MANY]
# Every place is refused once: in turn by a full disk and by a failing one, the first time and (if it can) a later one.
REFUSALS = [(place, "later" if n % 4 > 1 and place not in ONCE else "first", ("enospc", "eio")[n % 2])
            for n, place in enumerate(PLACES)]  # fmt: skip


@dataclass
class Homes:
    """Homes to disturb, how often an undisturbed run of each comes by a place, and a warm process for the runs."""

    base: Path
    zygote: Zygote
    reached: dict[str, dict[str, int]]
    numbers: Iterator[int]

    def place(self) -> str:
        """Where the next home may be made."""
        return str(self.base / f"home{next(self.numbers)}")

    def times(self, place: str) -> int:
        """How often an undisturbed run comes by a place."""
        kind = KINDS.get(place, "second").partition("-")[0]
        return 2 if place in {"journal.mend", "archive.copy", "export.copy"} else self.reached[kind].get(place, 0)

    def number(self, place: str, when: str) -> int:
        """The first time, or one in the middle."""
        return 1 if when == "first" else self.times(place) // 2 + 1


@pytest.fixture(scope="module")
def homes() -> Iterator[Homes]:
    """On a disk of memory where there is one: nothing here is about how fast a disk syncs."""
    memory = Path("/dev/shm")  # noqa: S108 - a folder of its own is made there
    base = Path(tempfile.mkdtemp(prefix="matrix-", dir=memory if os.access(memory, os.W_OK) else None))
    zygote = Zygote()
    try:
        yield Homes(base, zygote, zygote.done("matrix:prepare", base=str(base)), count())
    finally:
        zygote.close()
        shutil.rmtree(base)


@pytest.mark.parametrize(("place", "when"), KILLS)
def test_row_01_killed_at(homes: Homes, place: str, when: str) -> None:
    """By SIGKILL: readers see the old state or the new one, and the next run gives what an undisturbed one gives."""
    kind, home = KINDS.get(place, "second"), homes.place()
    fault = f"{place}:kill@{homes.number(place, when)}"
    died = homes.zygote.run("matrix:disturb", base=str(homes.base), kind=kind, home=home, fault=fault)
    assert died.code == -9, f"{fault} was not reached: {died.err}"
    homes.zygote.done("matrix:recovers", base=str(homes.base), kind=kind, home=home)
    shutil.rmtree(home)


@pytest.mark.parametrize(("place", "when", "action"), REFUSALS)
def test_row_03_refused_at(homes: Homes, place: str, when: str, action: str) -> None:
    """A full disk, a failing one: an error that says where and what to do, all as whole as before, a retry works."""
    homes.zygote.done(
        "matrix:refuses", base=str(homes.base), kind=KINDS.get(place, "second"), home=homes.place(), place=place,
        number=homes.number(place, when), action=action,
    )  # fmt: skip


def test_every_place_is_come_by(homes: Homes) -> None:
    """And more than once, unless it is known to be reached once: else a later time could not be tested."""
    assert {place for place in PLACES if homes.times(place) == 1} == ONCE
    assert [place for place in PLACES if not homes.times(place)] == []


# The whole chain: sessions, the star, and all that is published


@pytest.fixture(scope="module")
def whole(homes: Homes) -> dict[str, int]:
    """How often an undisturbed run comes by each place."""
    reached: dict[str, int] = homes.zygote.done("matrix:prepare_whole", base=str(homes.base))
    return reached


@pytest.mark.parametrize(
    ("place", "share"),
    [("lake.committed", 0.7), ("export.link", 0.5)],
)
def test_row_01_killed_in_the_whole_chain(homes: Homes, whole: dict[str, int], place: str, share: float) -> None:
    home = homes.place()
    fault = f"{place}:kill@{int(whole[place] * share) + 1}"
    died = homes.zygote.run("matrix:disturb", base=str(homes.base), kind="whole", home=home, fault=fault)
    assert died.code == -9, died.err
    homes.zygote.done("matrix:recovers", base=str(homes.base), kind="whole", home=home)


def test_row_03_refused_in_the_whole_chain(homes: Homes, whole: dict[str, int]) -> None:
    place = "parquet.write"
    homes.zygote.done(
        "matrix:refuses", base=str(homes.base), kind="whole", home=homes.place(), place=place,
        number=int(whole[place] * 0.9) + 1, action="enospc",
    )  # fmt: skip


def command(home: Path, failpoint: str) -> subprocess.CompletedProcess[str]:
    """``behavior run`` in a process of its own, with a failpoint."""
    return subprocess.run(
        [sys.executable, "-m", "behavior_assets.cli", "run", "--home", str(home)], capture_output=True, text=True,
        check=False, cwd=REPOSITORY, env={**os.environ, "BEHAVIOR_FAILPOINT": failpoint},
    )  # fmt: skip


def test_rows_01_and_03_through_the_command(homes: Homes, whole: dict[str, int]) -> None:
    """Killed at a commit of the days, then refused when the new snapshot is about to be named, then let alone."""
    assert whole
    home = Path(homes.place())
    shutil.copytree(homes.base / "whole", home)
    views = "SELECT count(*), sum(views), sum(purchases) FROM fact_session"
    before = published(home, views)
    current = (home / "exports" / "current.json").read_text("utf-8")
    assert command(home, "lake.commit:kill@6").returncode == -9
    assert published(home, views) == before
    with armed("export.current:eio"):
        refused = run_cli("run", "--home", home)
    assert refused.code == 1
    (line,) = refused.err.splitlines()
    assert line.startswith(f"behavior: {home / 'exports'}: the disk refused a write (it fails to read or write")
    assert (home / "exports" / "current.json").read_text("utf-8") == current
    done = run_cli("run", "--home", home, "--json")
    assert (done.code, json.loads(done.out)["snapshot_is_new"]) == (0, True), done.err
    # Before: 4 visitors on 2 days, 3 sessions each (an hour apart), and one of the shop's. Then, 2 sessions each, 4
    # new visitors of the first day (a fifth's events fall into sessions that were there) and 5 of the third.
    assert (before, published(home, views)) == ([(25, 9, 8)], [(25 + 8 + 10, 9 + 10, 8 + 10)])
    checked = run_cli("verify", "--home", home)
    assert (checked.code, checked.err) == (0, "")


# Row 2: power


@pytest.mark.parametrize("kind", ["first", "second"])
def test_row_02_what_was_acknowledged_outlives_a_power_cut(homes: Homes, kind: str) -> None:
    """Once a landed file is gone all that was made of it is on the disk, names included; so is what was published."""
    home = homes.place()
    cuts = homes.zygote.done("matrix:loses_power", base=str(homes.base), kind=kind, home=home)
    assert len(cuts) == {"first": 2, "second": 4}[kind]
    for cut in cuts:
        shutil.rmtree(home)
        Path(cut).rename(home)
        homes.zygote.done("matrix:recovers", base=str(homes.base), kind=kind, home=home)


@pytest.mark.parametrize("damage", ["empty", "zeros", "first line", "last line gone", "cut in a line"])
def test_row_02_a_torn_commit_that_nobody_was_told_of_is_made_again(homes: Homes, damage: str) -> None:
    home = homes.place()
    died = homes.zygote.run(
        "matrix:disturb", base=str(homes.base), kind="second", home=home, fault="lake.committed:kill@2"
    )
    assert died.code == -9, died.err
    homes.zygote.done("matrix:tears", base=str(homes.base), home=home, damage=damage)


@pytest.mark.parametrize(
    ("damage", "told"),
    [("empty", "the commit is empty"), ("gone", "the commit is missing"), ("last line gone", "its bytes are not those"),
     ("one bit", "its bytes are not those")],
)  # fmt: skip
def test_row_02_a_damaged_commit_that_was_acknowledged_stops_the_run(homes: Homes, damage: str, told: str) -> None:
    """Going on would lose what it held: the run takes nothing in and names it, and so does ``behavior verify``."""
    found = homes.zygote.done("matrix:finds_damage", base=str(homes.base), home=homes.place(), damage=damage)
    where = f"bronze/events/_delta_log/{found['commit']}"
    assert found["run"].startswith(f"{where}: {told}")
    assert "behavior verify" in found["run"]
    assert where in [p["where"] for p in found["verify"]], found["verify"]


# The list of places is complete

PACKAGES = ("behavior_assets", "resources", "expectations", "exports")
CALLS = {"write_text", "write_bytes", "copyfile", "copy2", "copytree", "rename", "link", "symlink", "truncate", "touch",
         "create_write_transaction", "ParquetWriter", "write_dataset", "write_deltalake", "unlink", "rmtree", "rmdir",
         "remove", "draft_of"}  # fmt: skip
EXEMPT = {
    "behavior_assets/chain.py: _tidy": "removes the staging folder, and a refusal there is of no consequence",
    "resources/executor.py: _unpack": "the code of this project, in the temporary folder of an executor",
    "resources/spark.py: of_spark": "replaces parts of an expression, not files",
    "behavior_assets/privacy/vault.py: forget": "write_map, which it calls, comes by keys.map",
    "behavior_assets/privacy/erasure/case.py: _write": "its callers come by places of privacy",
    "behavior_assets/privacy/access/export.py: _export": "outside of the home; the command is given again",
    "behavior_assets/privacy/access/export.py: export_subject": "outside of the home; the command is given again",
    "behavior_assets/privacy/consent.py: with_consent": "names of columns",
    "behavior_assets/privacy/erasure/takeout.py: rows_of": "a view in memory",
    "behavior_assets/privacy/erasure/originals.py: blank_again": "removes from the staging folder",
    "behavior_assets/privacy/scanner/containers.py: _unpacked": "a temporary copy, outside of the home",
    "behavior_assets/privacy/scanner/databases.py: _copied": "a temporary copy, outside of the home",
    "behavior_assets/ingestion/redaction.py: unpacked": "a draft that goes again",
    "behavior_assets/ingestion/redaction.py: packed": "its callers come by privacy.redact",
    "behavior_assets/ingestion/redaction.py: _redact_parquet": "redact, its caller, comes by privacy.redact",
    "behavior_assets/repair.py: _mend_originals": "removes the staging folder",
    "behavior_assets/ingestion/mend.py: _place": "names a file that is whole; a repair that died is run again",
    "behavior_assets/ingestion/reload.py: linked": "a second name in the staging folder",
    "behavior_assets/ingestion/ingest.py: _unlink": "removes files that no commit names; what stays is swept up later",
    "behavior_assets/ingestion/landing.py: _copy": "stage, its caller, comes by staging.copy",
    "behavior_assets/ingestion/landing.py: _unpack": "stage, its caller, comes by staging.unpack",
    "behavior_assets/ingestion/landing.py: discard": "removes from the staging folder",
    "behavior_assets/unexpected.py: _keep": "a note about an error, which a refusal must not replace",
    "behavior_assets/unfinished.py: _write": "before a repair takes anything away; repair is run again",
    "behavior_assets/unfinished.py: end": "after a repair; it is run again",
    "exports/mend.py: _copy": "what verify missed is whole under its name or missed again; repair is run again",
    "exports/mend.py: _link": "a second name for a file that is whole; repair is run again",
    "resources/audit.py: _acknowledged": "append, its caller, comes by audit.append",
    "resources/audit.py: _write_heads": "append, its caller, comes by audit.head",
    "resources/commits.py: _note_anew": "a journal that took no name is made anew by the next repair",
    "exports/snapshot.py: _fill": "its callers come by export.views and export.name",
    "resources/disk.py: draft_of": "its callers come by places of their own",
    "resources/engine.py: _spill": "removes what a query spilled",
    "resources/keys.py: open_private": "its callers come by places of their own",
    "resources/lock.py: _opened": "an empty file",
    "resources/mirror.py: evict": "a copy of what the store has",
    "resources/mirror.py: sweep": "the store's own remove comes by store.remove",
    "resources/store.py: fetch": "into a draft of its caller's, who comes by mirror.fetch",
    "resources/networks.py: _unheard": "the null device",
    "resources/parquet.py: __init__": "write_part, its caller, comes by parquet.write",
    "resources/parquet.py: _write": "write_part, its caller, comes by parquet.write",
    "resources/vacuum.py: remove_drafts": "removes drafts; what stays is removed by the next run",
}
SIMULATION = "behavior_assets/simulation/"  # made-up files, which the same command makes again


def writes(source: str) -> list[str]:
    """Functions of a module that change something on the disk and come by no failpoint."""
    found = []
    functions = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef)]
    for function in functions:
        inner = {id(n) for f in ast.walk(function) if isinstance(f, ast.FunctionDef) and f is not function
                 for n in ast.walk(f)}  # fmt: skip
        calls = [n for n in ast.walk(function) if isinstance(n, ast.Call) and id(n) not in inner]
        names = {_name(c) for c in calls}
        if any(_changes(c) for c in calls) and not names & {"reach", "write_whole"}:
            found.append(function.name)
    return found


def _name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _changes(call: ast.Call) -> bool:
    name = _name(call)
    if name in {"open", "fdopen"}:
        texts = [a.value for a in (*call.args, *(k.value for k in call.keywords)) if isinstance(a, ast.Constant)]
        flags = ast.unparse(call)
        return any(str(t) in {"w", "wb", "a", "ab", "x", "xb", "r+", "r+b", "w+b"} for t in texts) or "O_CREAT" in flags
    if name == "replace":  # of a path; texts, dates and dataclasses are told apart by their arguments
        return len(call.args) == 1 and not call.keywords
    if name == "create":
        return "DeltaTable" in ast.unparse(call.func)
    return name in CALLS


def test_every_write_comes_by_a_place_or_is_known_not_to() -> None:
    found = set()
    for package in PACKAGES:
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            name = path.relative_to(REPOSITORY).as_posix()
            if not name.startswith(SIMULATION):
                found |= {f"{name}: {function}" for function in writes(path.read_text("utf-8"))}
    assert found == set(EXEMPT)


def test_a_write_without_a_place_is_found() -> None:
    """So that the test above is known to see what it looks for."""
    for line in ("path.write_text(text)", "draft.replace(target)", "path.open('ab')", "os.link(a, b)",
                 "os.open(path, os.O_WRONLY | os.O_CREAT)", "DeltaTable.create(uri)", "draft_of(path)"):  # fmt: skip
        assert writes(f"def planted():\n    {line}\n") == ["planted"], line
        assert writes(f"def planted():\n    reach('a.b')\n    {line}\n") == [], line
    for line in ("text.replace('a', 'b')", "day.replace(day=1)", "path.open('rb')", "replace(settings, threads=2)"):
        assert writes(f"def planted():\n    {line}\n") == [], line


def test_every_place_has_a_name_in_the_code_and_no_other() -> None:
    used = set()
    for package in PACKAGES:
        for path in (REPOSITORY / package).rglob("*.py"):
            calls = [n for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.Call)]
            used |= {a.value for c in calls if _name(c) in {"reach", "write_whole"} for a in c.args
                     if isinstance(a, ast.Constant) and "." in str(a.value) and " " not in str(a.value)}  # fmt: skip
    assert used == {*PLACES, *OUTLET_PLACES, *PRIVACY_PLACES}
