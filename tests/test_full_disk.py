"""A disk that is full: one line that says where and what to do, and with room made the same command completes.

The disks are real: small tmpfs file systems, mounted over a whole home or over one folder of it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from exports import snapshot
from resources.errors import StorageError
from resources.keys import load_or_create_key
from tests.conftest import ABOUT_DELIVERIES, REES46_HEADER, Result, published, rees46_row, run_cli, same_key

ROOM = "64m"


@dataclass
class SmallDisks:
    """Mounts tmpfs file systems of a size; all are unmounted in the end."""

    mounted: list[Path] = field(default_factory=list)

    def put(self, place: Path, size: str) -> Path:
        """A disk of a size at a place. The test is skipped where mounting is refused (failed if required)."""
        place.mkdir(parents=True, exist_ok=True)
        done = self._call("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place)
        if done:
            if os.environ.get("BEHAVIOR_REQUIRE_SHARED") == "1" and os.geteuid() == 0:
                pytest.fail(done)
            pytest.skip(done)
        self.mounted.append(place)
        return place

    def enlarge(self, place: Path, size: str = ROOM) -> None:
        """Room for everything, or for a bit more."""
        assert not self._call("mount", "-o", f"remount,size={size}", place)

    def fill(self, place: Path, spare: int = 0) -> Path:
        """Take all the space there is but some spare bytes; the file that holds it may be removed."""
        filler = place / "filler"
        filler.unlink(missing_ok=True)
        free = os.statvfs(place)
        filler.write_bytes(bytes(free.f_bavail * free.f_frsize - spare))
        return filler

    def remove_all(self) -> None:
        """Unmount, the last first."""
        failed = [why for place in reversed(self.mounted) if (why := self._call("umount", place))]
        assert failed == []

    def _call(self, command: str, *arguments: object) -> str:
        """Why a command failed; empty where it did not."""
        program = shutil.which(command)
        if program is None:
            return f"there is no {command} here, so no small disk can be made"
        done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)
        return done.stderr.strip() if done.returncode else ""


@pytest.fixture
def disks() -> Iterator[SmallDisks]:
    small = SmallDisks()
    yield small
    small.remove_all()


def day_of_events(day: int) -> str:
    """400 visitors who each view two products, cart one and, every tenth, buy it: 1,240 events."""
    rows = [REES46_HEADER]
    for visitor in range(400):
        moment = f"2024-05-{day:02d} {visitor % 24:02d}:{visitor % 60:02d}"
        user, product = f"user{(visitor * 7 + day) % 300}", f"p{visitor % 50}"
        session = f"s{day}-{visitor}"
        rows.append(rees46_row(f"{moment}:01", "view", f"p{(visitor + 1) % 50}", user, session=session))
        rows.append(rees46_row(f"{moment}:02", "view", product, user, session=session))
        rows.append(rees46_row(f"{moment}:03", "cart", product, user, session=session))
        if visitor % 10 == 0:
            rows.append(rees46_row(f"{moment}:04", "purchase", product, user, session=session))
    return "\n".join([*rows, ""])


@dataclass(frozen=True)
class Undisturbed:
    """The files, and what a run of them gives with all the room in the world."""

    home: Path
    files: Path
    gold: dict[str, Any]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    folder = tmp_path_factory.mktemp("undisturbed")
    files = folder / "files"
    files.mkdir()
    for day in (1, 2, 3):
        (files / f"day{day}.csv").write_text(day_of_events(day), "utf-8")
    assert run(folder / "home", files).code == 0
    return Undisturbed(folder / "home", files, gold_of(folder / "home"))


def run(home: Path, source: Path) -> Result:
    return run_cli("run", "--home", home, "--format", "rees46", "--source", source)


def gold_of(home: Path) -> dict[str, Any]:
    """Rows and content hash of every published table that is made from events."""
    manifest = json.loads((home / "exports" / "current.json").read_text("utf-8"))
    return {n: (t["rows"], t["hash"]) for n, t in manifest["tables"].items() if n not in ABOUT_DELIVERIES}


def assert_told(refused: Result, place: Path) -> None:
    """Exit code of a StorageError, and on stderr one line: which path, why, and what to do."""
    assert refused.code == StorageError.exit_code
    (line,) = refused.err.splitlines()
    assert line.startswith(f"behavior: {place}")
    assert "the disk refused a write" in line
    assert line.endswith("free some space and run the same command again.")


def assert_complete(home: Path, undisturbed: Undisturbed) -> None:
    """Everything is there as if nothing had happened, and nothing half-written is left."""
    assert gold_of(home) == undisturbed.gold
    sales = "SELECT count(*), sum(revenue_net) FROM fact_sales"
    assert published(home, sales) == published(undisturbed.home, sales) == [(120, 120 * Decimal("9.99"))]
    told = json.loads(run_cli("status", "--home", home, "--json").out)
    assert [(s["files"], s["rows_in"], s["accepted"]) for s in told["sources"]] == [(3, 3720, 3720)]
    archived = [p.name for p in sorted((home / "archive" / "rees46").iterdir())]
    assert archived == [p.name for p in sorted((undisturbed.home / "archive" / "rees46").iterdir())]
    assert list(home.rglob("*.tmp*")) == []
    checked = run_cli("verify", "--home", home)
    assert (checked.code, checked.err) == (0, "")


@pytest.mark.timeout(600)
def test_a_home_on_a_disk_that_is_enlarged_too_little_four_times(
    tmp_path: Path, disks: SmallDisks, undisturbed: Undisturbed
) -> None:
    """The larger the disk, the further the run gets: not even the settings, then Dagster, staging, bronze, silver."""
    home = disks.put(tmp_path / "disk", "4k") / "home"
    same_key(undisturbed.home, home)
    reached = [0]
    for size in ("700k", "1200k", "2500k", ROOM):
        assert_told(run(home, undisturbed.files), home)
        reached.append(sum(1 for _ in home.rglob("*")))
        assert reached[-1] > reached[-2], "it got further"
        disks.enlarge(tmp_path / "disk", size)
    assert run(home, undisturbed.files).code == 0
    assert_complete(home, undisturbed)


# Every folder that is written to, in the order in which runs come to lack room there.
SMALL = {
    "dagster": "800k", "lake/.staging": "100k", "lake/bronze": "40k", "archive": "120k", "lake/quality": "4k",
    "lake/silver": "200k", "lake/gold": "100k", "exports": "150k",
}  # fmt: skip


@pytest.mark.timeout(600)
def test_folders_on_small_disks(tmp_path: Path, disks: SmallDisks, undisturbed: Undisturbed) -> None:
    """Every folder has too little room at first, and gets it once a run has named it: the next run gets further."""
    home = tmp_path / "home"
    same_key(undisturbed.home, home)
    for folder, size in SMALL.items():
        disks.put(home / folder, size)
    for folder in SMALL:
        assert_told(run(home, undisturbed.files), home / folder)
        disks.enlarge(home / folder)
    assert run(home, undisturbed.files).code == 0
    assert_complete(home, undisturbed)


def test_the_last_snapshot_stays_while_the_next_does_not_fit(
    tmp_path: Path, disks: SmallDisks, undisturbed: Undisturbed
) -> None:
    """Two days are published; the third fills the disk: readers go on with two days, then get three."""
    home = tmp_path / "home"
    same_key(undisturbed.home, home)
    exports = disks.put(home / "exports", ROOM)
    two = tmp_path / "two"
    two.mkdir()
    for day in (1, 2):
        shutil.copyfile(undisturbed.files / f"day{day}.csv", two / f"day{day}.csv")
    assert run(home, two).code == 0
    before = gold_of(home)
    days = "SELECT count(DISTINCT date_key) FROM fact_session"

    filler = disks.fill(exports)
    assert_told(run(home, undisturbed.files), exports)
    assert gold_of(home) == before
    assert published(home, days) == [(2,)]

    filler.unlink()
    assert run(home, undisturbed.files).code == 0
    assert published(home, days) == [(3,)]
    assert_complete(home, undisturbed)


def test_a_snapshot_is_named_whole_or_not_at_all(disks: SmallDisks, tmp_path: Path, undisturbed: Undisturbed) -> None:
    """One page of space more at a time, until manifest and database fit: before that, nothing has changed."""
    exports = disks.put(tmp_path / "exports", "2m")
    (exports / "tables").symlink_to(undisturbed.home / "exports" / "tables")
    manifest = snapshot.read_manifest(undisturbed.home / "exports")
    assert manifest is not None
    snapshot._switch(exports, {**manifest, "snapshot": "old"})

    def files() -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in exports.rglob("*") if p.is_file() and p.name != "filler"}

    before = files()
    assert set(before) == {"current.json", "old.json", "behavior.duckdb"}
    refused = 0
    while True:
        disks.fill(exports, spare=refused * 4096)
        try:
            snapshot._switch(exports, {**manifest, "snapshot": "new"})
        except StorageError:
            assert files() == before
            refused += 1
        else:
            break
    assert refused > 10
    assert set(files()) == {"current.json", "old.json", "new.json", "behavior.duckdb"}
    assert json.loads(files()["current.json"])["snapshot"] == "new"
    with duckdb.connect(str(exports / "behavior.duckdb"), read_only=True) as con:
        assert con.execute("SELECT count(*) FROM fact_sales").fetchone() == (120,)


def test_drafts_of_a_killed_publication_are_swept_up(tmp_path: Path) -> None:
    (tmp_path / "snapshots").mkdir()
    for name in (".0a1b.tmp", ".0a1b.tmp.wal", "snapshots/.2c3d.tmp", "current.json"):
        (tmp_path / name).write_text("{", "utf-8")
    snapshot.collect(tmp_path, keep=3)
    assert {p.name for p in tmp_path.rglob("*") if p.is_file()} == {"current.json", ".lock", ".lock-turn"}


def test_no_half_key_is_left(tmp_path: Path, disks: SmallDisks) -> None:
    """A key that is cut short would be refused for ever after, as not being one."""
    disk = disks.put(tmp_path / "disk", "64k")
    filler = disks.fill(disk)
    with pytest.raises(StorageError, match=r"pseudonym\.key: the disk refused a write"):
        load_or_create_key(disk / "keys" / "pseudonym.key")
    assert list((disk / "keys").iterdir()) == []
    filler.unlink()
    key = load_or_create_key(disk / "keys" / "pseudonym.key")
    assert load_or_create_key(disk / "keys" / "pseudonym.key") == key
