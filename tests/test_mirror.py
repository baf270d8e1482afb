"""A lake that is kept in a store: two machines, other programs, crashes, damage, and what is taken away."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from resources import lease as leases
from resources import mirror as mirrors
from resources.errors import IntegrityError, StorageError, UsageError
from resources.failpoints import VARIABLE, armed
from resources.lake import Lake
from resources.lease import Lease
from resources.parquet import DataFile
from resources.settings import read_settings
from resources.store import Store
from resources.table import LakeTable, TableSpec
from tests.conftest import REPOSITORY, Chain, rees46_row, run_cli, same_key, write_rees46
from tests.servers import BUCKET, s3_server

SPEC = TableSpec("silver/days", pa.schema([("n", pa.int64())]))
DAYS = ("2024-05-01", "2024-05-02", "2024-05-03")


def machine(base: Path, name: str, url: str, more: str = "") -> Lake:
    """The lake of a machine whose home is kept in a store."""
    home = base / name
    home.mkdir(parents=True, exist_ok=True)
    (home / "behavior.toml").write_text(f'lake_store = "{url}"\ntrain_models = false\n{more}', "utf-8")
    return Lake(home / "lake")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store in a folder: to us it is like any other, and tests can look into it."""
    (tmp_path / "store").mkdir()
    return Store.at((tmp_path / "store").as_uri())


@pytest.fixture
def here(tmp_path: Path, store: Store) -> LakeTable:
    """A table on one machine."""
    return machine(tmp_path, "here", store.url).table(SPEC)


@pytest.fixture
def there(tmp_path: Path, store: Store) -> LakeTable:
    """The same table on another machine."""
    return machine(tmp_path, "there", store.url).table(SPEC)


def add(table: LakeTable, part: str, number: int) -> DataFile:
    """A part of one row, committed."""
    file = table.write(part, "made", [pa.table({"n": [number]})])
    table.commit([file])
    return file


def rows(table: LakeTable) -> list[int]:
    """What a new look at the table finds."""
    again = Lake(table.root.parent.parent).table(SPEC)
    found = DeltaTable(str(again.root)) if again.files() else None
    again.absolute(again.files())
    return sorted(found.to_pyarrow_table()["n"].to_pylist()) if found else []


def in_store(store: Store) -> list[int]:
    """What another program finds in the store."""
    return sorted(DeltaTable(f"{store.url}/{SPEC.name}").to_pyarrow_table()["n"].to_pylist())


def same_everywhere(store: Store, *tables: LakeTable) -> None:
    """Logs and journals here have the bytes that the store has."""
    for table in tables:
        names = [p for p in (*table.journal.log.iterdir(), table.journal.path) if p.name[0] != "."]
        for path in names:
            name = path.relative_to(table.root.parent.parent).as_posix()
            assert store.read(name) == path.read_bytes(), name
        assert not table.journal.problems()


@pytest.mark.parametrize("kind", ["_delta_log/*.json", "*.parquet"])
def test_what_the_store_lost_is_named(tmp_path: Path, here: LakeTable, kind: str) -> None:
    file = add(here, "a", 1)
    assert here.mirror is not None
    assert not here.mirror.problems(here.journal, [file])
    first = min((tmp_path / "store" / SPEC.name).glob(kind))
    first.write_bytes(b"short")
    [(where, what)] = here.mirror.problems(here.journal, [file]).items()
    assert where.endswith(first.name)
    assert what.startswith("has 5 bytes, not ")
    first.unlink()
    assert list(here.mirror.problems(here.journal, [file]).values()) == ["is missing"]


def test_what_one_machine_commits_the_other_reads_and_goes_on_from(
    store: Store, here: LakeTable, there: LakeTable
) -> None:
    add(here, "a", 1)
    assert rows(there) == [1]
    add(there, "b", 2)
    add(here, "a", 3)
    assert rows(there) == rows(here) == in_store(store) == [2, 3]
    there.recover()
    same_everywhere(store, here, there)


def test_of_two_machines_that_commit_at_once_the_second_commits_again(
    store: Store, here: LakeTable, there: LakeTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(here, "a", 1)

    def reach(place: str) -> None:
        if place == "mirror.commit":  # the commit is made here, and the store does not know of it yet
            monkeypatch.setattr(mirrors, "reach", lambda _place: None)
            add(there, "b", 2)

    monkeypatch.setattr(mirrors, "reach", reach)
    add(here, "c", 3)
    assert rows(here) == rows(there) == in_store(store) == [1, 2, 3]
    same_everywhere(store, here)


def test_two_machines_make_a_table_at_once(
    store: Store, here: LakeTable, there: LakeTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reach(place: str) -> None:
        if place == "mirror.commit":
            monkeypatch.setattr(mirrors, "reach", lambda _place: None)
            add(there, "b", 2)

    monkeypatch.setattr(mirrors, "reach", reach)
    add(here, "a", 1)
    assert rows(here) == rows(there) == in_store(store) == [1, 2]


@pytest.mark.parametrize("place", ["store.put", "mirror.commit", "lake.commit", "lake.committed", "mirror.journal"])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_commit_that_is_killed_is_made_good(
    store: Store, here: LakeTable, there: LakeTable, place: str, number: int
) -> None:
    """At any moment: then the next who looks finds what was there, or all of it, the same here and elsewhere."""
    add(here, "a", 1)
    program = ("import sys; from tests.test_mirror import *; "
               "table = Lake(Path(sys.argv[1])).table(SPEC); add(table, 'b', 2); add(table, 'c', 3)")  # fmt: skip
    environment = os.environ | {VARIABLE: f"{place}:kill@{number}"}
    lake = here.root.parent.parent
    ended = subprocess.run([sys.executable, "-c", program, str(lake)], cwd=REPOSITORY, env=environment, check=False)
    assert ended.returncode == -9 or (place != "store.put" and number > 2), "it was not killed"
    Lake(lake).recover()
    assert rows(here) in ([1], [1, 2], [1, 2, 3])
    assert rows(here) == in_store(store)
    same_everywhere(store, here)
    add(there, "d", 4)
    assert rows(here) == rows(there) == in_store(store)


def test_a_commit_that_another_machine_forestalled_while_this_one_was_dead_is_withdrawn(
    store: Store, here: LakeTable, there: LakeTable
) -> None:
    add(here, "a", 1)
    with armed("mirror.commit:eio"), pytest.raises(StorageError):  # made here, and the store does not know of it
        add(here, "b", 2)
    add(there, "c", 3)
    Lake(here.root.parent.parent).recover()
    assert rows(here) == rows(there) == in_store(store) == [1, 3]
    same_everywhere(store, here)


def dead_run(table: LakeTable) -> DataFile:
    """A commit that the store has not heard of, with its data, which has been removed there meanwhile."""
    add(table, "a", 1)
    with armed("mirror.commit:eio"), pytest.raises(StorageError):
        add(table, "b", 2)
    file = next(table.root.glob("b_*.parquet"))
    assert table.mirror is not None
    assert table.mirror.sweep(table.root, {p.name for p in table.root.glob("a_*")}, 2e10) == 1
    return DataFile.parse(file.name, 1, file.stat().st_size)


def test_data_of_a_commit_that_a_dead_run_left_is_sent_again(store: Store, here: LakeTable, there: LakeTable) -> None:
    dead_run(here)
    Lake(here.root.parent.parent).recover()
    assert rows(there) == in_store(store) == [1, 2]


@pytest.mark.parametrize("taken", [False, True])
def test_a_commit_of_a_dead_run_whose_data_is_gone_is_told(
    store: Store, here: LakeTable, there: LakeTable, taken: bool
) -> None:
    """It goes, unless the store had heard of it: then others go on from it."""
    file = dead_run(here)
    (here.root / file.path).unlink()
    last = max(here.journal.log.glob("*.json"))
    if taken:
        store.put(f"{SPEC.name}/_delta_log/{last.name}", last.read_bytes())
    lake = Lake(here.root.parent.parent)
    with pytest.raises(IntegrityError, match=rf"{file.path}: {'is missing' if taken else 'a run that died .* again'}"):
        lake.recover()
    assert last.exists() is taken
    if not taken:
        lake.recover()
        assert rows(here) == rows(there) == in_store(store) == [1]
        same_everywhere(store, here)


@pytest.mark.parametrize("place", ["mirror.fetch", "mirror.log"])
def test_a_log_that_is_fetched_in_part_is_fetched_again(
    store: Store, here: LakeTable, there: LakeTable, place: str
) -> None:
    for number in range(5):
        add(here, f"p{number}", number)
    with armed(f"{place}:eio@1"), pytest.raises(Exception, match=r"silver/days|there"):
        there.exists()
    assert rows(there) == [0, 1, 2, 3, 4]
    same_everywhere(store, there)


def test_a_lake_that_was_made_without_a_store_is_put_there(tmp_path: Path, store: Store) -> None:
    lake = Lake(tmp_path / "here" / "lake")
    for number in range(3):
        add(lake.table(SPEC), "a", number)
    lake = machine(tmp_path, "here", store.url)
    add(lake.table(SPEC), "b", 9)
    assert in_store(store) == [2, 9]
    shutil.rmtree(lake.root)
    assert rows(lake.table(SPEC)) == [2, 9]


def local(base: Path, commits: int = 4) -> list[DataFile]:
    """A table of a home that has no store yet."""
    table = Lake(base / "here" / "lake").table(SPEC)
    return [add(table, f"p{number}", number) for number in range(commits)]


@pytest.mark.parametrize("commits", [4, 12])  # with a checkpoint
@pytest.mark.parametrize("place", ["store.put", "store.put@3", "mirror.commit", "mirror.commit@4", "mirror.journal"])
def test_a_lake_that_was_put_there_in_part_is_put_there(
    tmp_path: Path, store: Store, there: LakeTable, place: str, commits: int
) -> None:
    local(tmp_path, commits)
    lake = machine(tmp_path, "here", store.url)
    name, _, number = place.partition("@")
    with armed(f"{name}:eio@{number or 1}"), pytest.raises(OSError, match="Input/output"):
        lake.recover()
    lake.recover()
    assert rows(lake.table(SPEC)) == rows(there) == in_store(store) == list(range(commits))
    add(lake.table(SPEC), "p0", 100)
    assert rows(there) == in_store(store) == [*range(1, commits), 100]
    same_everywhere(store, lake.table(SPEC), there)


@pytest.mark.parametrize("torn", [False, True])
def test_a_lake_is_put_there_with_what_a_crash_left_at_its_end(tmp_path: Path, store: Store, torn: bool) -> None:
    local(tmp_path)
    lake = Lake(tmp_path / "here" / "lake")
    with armed("journal.note:eio"), pytest.raises(StorageError):
        add(lake.table(SPEC), "p9", 9)
    if torn:
        last = max(lake.table(SPEC).journal.log.glob("*.json"))
        last.write_bytes(last.read_bytes()[:-20])
    machine(tmp_path, "here", store.url).recover()
    assert rows(lake.table(SPEC)) == in_store(store) == [0, 1, 2, 3] + [9] * (not torn)
    same_everywhere(store, lake.table(SPEC))


@pytest.mark.parametrize("what", ["is missing", "has 5 bytes", "the commit is empty"])
def test_a_damaged_lake_is_not_put_there(tmp_path: Path, store: Store, what: str) -> None:
    files = local(tmp_path)
    lake = machine(tmp_path, "here", store.url)
    path = lake.root / SPEC.name / files[1].path
    if what == "is missing":
        path.unlink()
    elif what == "has 5 bytes":
        path.write_bytes(b"short")
    else:
        (lake.root / SPEC.name / "_delta_log" / f"{1:020d}.json").write_bytes(b"")
    with pytest.raises(IntegrityError, match=rf"^silver/days/.*: {what}.*lake_store.*behavior verify --repair"):
        lake.recover()
    assert not store.listed()


def test_data_that_went_there_before_a_first_upload_died_need_not_be_here(tmp_path: Path, store: Store) -> None:
    files = local(tmp_path)
    lake = machine(tmp_path, "here", store.url)
    with armed("mirror.commit:eio"), pytest.raises(OSError, match="Input/output"):
        lake.recover()
    (lake.root / SPEC.name / files[1].path).unlink()
    lake.recover()
    assert rows(lake.table(SPEC)) == in_store(store) == [0, 1, 2, 3]


def test_of_two_homes_that_are_put_into_one_place_the_second_is_told(tmp_path: Path, store: Store) -> None:
    """Also where the first has died in it, or is at it now."""
    local(tmp_path)
    other = Lake(tmp_path / "other" / "lake")
    add(other.table(SPEC), "x", 1)
    lake = machine(tmp_path, "here", store.url)
    with armed("mirror.commit:eio@2"), pytest.raises(OSError, match="Input/output"):
        lake.recover()
    machine(tmp_path, "other", store.url)
    before = store.listed()
    with pytest.raises(IntegrityError, match="silver/days: from commit 0 on"):
        other.recover()
    assert store.listed() == before
    lake.recover()
    assert in_store(store) == [0, 1, 2, 3]


def test_of_two_homes_that_are_put_into_one_place_at_once_the_second_is_told(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    local(tmp_path)
    other = Lake(tmp_path / "other" / "lake")
    add(other.table(SPEC), "x", 1)
    lake, _ = machine(tmp_path, "here", store.url), machine(tmp_path, "other", store.url)

    def reach(place: str) -> None:
        if place == "mirror.commit":
            monkeypatch.setattr(mirrors, "reach", lambda _place: None)
            other.recover()

    monkeypatch.setattr(mirrors, "reach", reach)
    with pytest.raises(IntegrityError, match="silver/days: from commit 0 on"):
        lake.recover()
    assert in_store(store) == [1]


# Another history


def state(base: Path, store: Store, home: str) -> dict[str, object]:
    """All bytes of a home's lake and of the store."""
    lake = base / home / "lake"
    here = {p.relative_to(lake).as_posix(): p.read_bytes() for p in lake.rglob("*") if p.is_file()}
    there = {f"there/{name}": store.read(name) for name in store.listed()}
    return {name: what for name, what in (here | there).items() if "lock" not in name}


@pytest.mark.parametrize("commits", [1, 2, 5])
def test_a_lake_is_not_mixed_with_that_of_another_home(
    tmp_path: Path, store: Store, here: LakeTable, commits: int
) -> None:
    for number in range(2):
        add(here, "a", number)
    lake = Lake(tmp_path / "other" / "lake")
    for number in range(commits):
        add(lake.table(SPEC), "b", number)
    machine(tmp_path, "other", store.url)
    before = state(tmp_path, store, "other")
    for look in (lake.recover, lambda: rows(lake.table(SPEC)), lambda: add(lake.table(SPEC), "b", 9)):
        with pytest.raises(IntegrityError, match=f"silver/days: from commit 0 on, .*{store.url}.*lake_store"):
            look()
        assert {n: b for n, b in state(tmp_path, store, "other").items() if n in before} == before
    assert in_store(store) == [1]


def test_nor_do_tables_go_to_it_that_only_one_of_them_has(tmp_path: Path, store: Store, here: LakeTable) -> None:
    for lake, name in ((Lake(here.root.parent.parent), "bronze/a"), (Lake(tmp_path / "other" / "lake"), "bronze/b")):
        add(lake.table(SPEC), "a", 1)
        add(lake.table(replace(SPEC, name=name)), "a", 1)
    lake, before = machine(tmp_path, "other", store.url), store.listed()
    with pytest.raises(IntegrityError, match="silver/days: from commit 0 on"):
        lake.recover()
    assert store.listed() == before
    assert not (lake.root / "bronze" / "a").exists()


@pytest.mark.parametrize("theirs", ["nothing", "one", "three", "one that its journal does not tell of"])
def test_a_lake_is_not_mixed_with_what_it_was_without_its_store(
    tmp_path: Path, store: Store, here: LakeTable, there: LakeTable, theirs: str
) -> None:
    add(here, "a", 1)
    (tmp_path / "here" / "behavior.toml").write_text("", "utf-8")
    add(Lake(tmp_path / "here" / "lake").table(SPEC), "b", 2)
    if theirs in {"one", "three"}:
        for number in range({"one": 1, "three": 3}[theirs]):
            add(there, "c", number)
    elif theirs != "nothing":
        with armed("mirror.journal:eio"), pytest.raises(StorageError):
            add(there, "c", 1)
    lake, before = machine(tmp_path, "here", store.url), store.listed(SPEC.name)
    with pytest.raises(IntegrityError, match="silver/days: from commit 2 on, "):
        add(lake.table(SPEC), "d", 3)
    assert store.listed(f"{SPEC.name}/_delta_log") == {n: s for n, s in before.items() if "_delta_log" in n}
    shutil.move(lake.root, tmp_path / "aside")
    assert rows(lake.table(SPEC)) == in_store(store)


def test_a_damaged_line_of_the_journal_is_not_another_history(store: Store, here: LakeTable) -> None:
    for number in range(3):
        add(here, "a", number)
    lines = here.journal.path.read_text("utf-8").splitlines(keepends=True)
    lines[1] = ("0" if lines[1][0] != "0" else "1") + lines[1][1:]
    here.journal.path.write_text("".join(lines), "utf-8")
    assert rows(here) == in_store(store) == [2]


def test_damage_in_the_store_is_told(tmp_path: Path, here: LakeTable, there: LakeTable) -> None:
    file = add(here, "a", 1)
    add(here, "b", 2)
    target = tmp_path / "store" / SPEC.name
    (target / file.path).write_bytes(b"PAR1" + b"x" * 40 + b"PAR1")
    with pytest.raises(IntegrityError, match=r"silver/days/a_made_.*has other bytes than its name says"):
        rows(there)
    (target / file.path).unlink()
    with pytest.raises(IntegrityError, match=r"store/silver/days/a_made_.*is missing"):
        rows(there)
    last = max((target / "_delta_log").glob("*.json"))
    last.unlink()
    with pytest.raises(IntegrityError, match=rf"{last.name}: is missing, though it was acknowledged"):
        add(here, "c", 3)


def test_a_damaged_commit_in_the_store_is_not_taken(tmp_path: Path, here: LakeTable, there: LakeTable) -> None:
    add(here, "a", 1)
    commit = tmp_path / "store" / SPEC.name / "_delta_log" / f"{1:020d}.json"
    commit.write_bytes(commit.read_bytes().replace(b'"numRecords', b'"numRecordz'))
    with pytest.raises(IntegrityError, match=r"has other bytes than _commits\.sha256 tells"):
        there.files()


def test_what_no_version_needs_goes_from_the_store_as_well(store: Store, here: LakeTable) -> None:
    old, new = add(here, "a", 1), add(here, "a", 2)
    unborn = f"{SPEC.name}/d_made_{'0' * 64}.parquet"  # another machine is about to commit it
    store.put(unborn, b"PAR1")
    Lake(here.root.parent.parent).vacuum(3600.0)
    assert store.size(unborn) is not None
    assert store.size(f"{SPEC.name}/{old.path}") is not None, "younger than an hour"
    Lake(here.root.parent.parent).vacuum(-1.0)
    assert store.size(f"{SPEC.name}/{old.path}") is None
    assert store.size(f"{SPEC.name}/{new.path}") == new.size


def test_data_that_is_not_kept_here_comes_back_when_it_is_read(here: LakeTable) -> None:
    files = [add(here, part, n) for n, part in enumerate("abc")]
    os.utime(here.root / files[1].path, (1, 1))
    lake = Lake(here.root.parent.parent)
    lake.evict(sum(f.size for f in files) - 1)
    assert [(here.root / f.path).exists() for f in files] == [True, False, True], "what was not read for longest goes"
    lake.evict(0)
    assert not list(here.root.glob("*.parquet"))
    assert rows(here) == [0, 1, 2]
    assert len(list(here.root.glob("*.parquet"))) == len(files)


def test_a_machine_that_has_just_joined_knows_all_tables(tmp_path: Path, store: Store, here: LakeTable) -> None:
    old, new = add(here, "a", 1), add(here, "a", 2)
    lake = machine(tmp_path, "new", store.url)
    lake.fetch()
    assert [p.name for p in lake.root.glob("*/*/*.parquet")] == [new.path]
    assert machine(tmp_path, "newer", store.url).strays() == [f"{SPEC.name}/{old.path}"]
    machine(tmp_path, "newest", store.url).vacuum(-1.0)
    assert store.size(f"{SPEC.name}/{old.path}") is None


@pytest.mark.parametrize("how", ["a loop", "a folder"])
def test_settings_that_cannot_be_read_are_told(tmp_path: Path, store: Store, how: str) -> None:
    """Who took the lake for one of this machine alone would go on beside that of the store."""
    lake = machine(tmp_path, "home", store.url)
    file = tmp_path / "home" / "behavior.toml"
    file.unlink()
    if how == "a loop":
        file.symlink_to(file)
    else:
        file.mkdir()
    for look in (lambda: lake.table(SPEC), lambda: read_settings(tmp_path / "home")):
        with pytest.raises(UsageError, match=r"behavior\.toml: cannot be read \("):
            look()


def test_what_the_store_lacks_stays_here(store: Store, here: LakeTable) -> None:
    file = add(here, "a", 1)
    store.remove([f"{SPEC.name}/{file.path}"])
    Lake(here.root.parent.parent).evict(0)
    assert (here.root / file.path).exists()


def test_whether_files_are_there_is_told_without_fetching_them(
    tmp_path: Path, here: LakeTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [add(here, part, n) for n, part in enumerate("abc")]
    lake = Lake(here.root.parent.parent)
    lake.evict(0)
    monkeypatch.setattr(Store, "fetch", lambda *_: pytest.fail("fetched"))
    here.require_files()
    (tmp_path / "store" / SPEC.name / files[0].path).write_bytes(b"short")
    with pytest.raises(IntegrityError, match=rf"store/{SPEC.name}/{files[0].path}: has 5 bytes, not "):
        here.require_files()
    (tmp_path / "store" / SPEC.name / files[0].path).unlink()
    with pytest.raises(IntegrityError, match=rf"store/{SPEC.name}/{files[0].path}: is missing"):
        here.require_files()
    (here.root / files[0].path).write_bytes(b"short")
    with pytest.raises(IntegrityError, match="has 5 bytes, the log says "):
        here.require_files()


# One machine at a time


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Machines are impatient."""
    for name, seconds in (("SILENCE", 2.0), ("_BEAT", 0.2), ("_LOOK", 0.05)):
        monkeypatch.setattr(leases, name, seconds)


@pytest.mark.usefixtures("brief")
def test_a_machine_waits_for_another_until_it_lets_go(tmp_path: Path, store: Store) -> None:
    one, other = (machine(tmp_path, name, store.url) for name in ("here", "there"))
    entered, leave = threading.Event(), threading.Event()

    def works() -> None:
        with other.beside():
            entered.set()
            leave.wait(60)

    with one.beside(), one.beside():  # two processes of one machine do not wait
        thread = threading.Thread(target=works, daemon=True)
        thread.start()
        assert not entered.wait(4.0), "longer than a machine may be silent: this one is not"
    assert entered.wait(60)
    leave.set()
    thread.join(60)


def test_who_has_the_lake_asks_once(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    lake, taken = machine(tmp_path, "here", store.url), []
    take = Lease._take
    monkeypatch.setattr(Lease, "_take", lambda lease: taken.append(lease) or take(lease))
    with lake.leased():
        for _ in range(3):
            with lake.beside():
                pass
        assert not json.loads(store.read(max(store.listed("_leases")))).get("done"), "not let go before the end"
    assert len(taken) == 1
    assert json.loads(store.read(max(store.listed("_leases"))))["done"]


def test_nothing_is_fetched_for_a_lake_without_a_store(tmp_path: Path) -> None:
    """What looks through a home for a person must do so in a damaged one as well."""
    lake = Lake(tmp_path / "home" / "lake")
    file = add(lake.table(SPEC), "a", 1)
    (lake.root / SPEC.name / file.path).unlink()
    lake.fetch()


@pytest.mark.usefixtures("brief")
def test_a_machine_that_falls_silent_is_followed(tmp_path: Path, store: Store) -> None:
    gone = Lease(tmp_path / "gone" / "lake", store)
    gone._take()
    with machine(tmp_path, "here", store.url).alone():
        held = store.listed("_leases")
        assert json.loads(store.read(max(held)))["machine"] != gone.machine
    assert json.loads(store.read(max(store.listed("_leases"))))["done"]


@pytest.mark.usefixtures("brief")
def test_whom_a_machine_waits_for_is_told_once(
    tmp_path: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    Lease(tmp_path / "gone" / "lake", store)._take()
    with machine(tmp_path, "here", store.url).leased():
        told = capsys.readouterr().err
    whom = f"the machine {socket.gethostname()} has worked on this lake since 20"
    assert told.startswith(f"behavior: {store.url}: {whom}")
    assert told.count("\n") == 1, "once, although it was looked at again and again"
    with machine(tmp_path, "here", store.url).leased():
        assert not capsys.readouterr().err, "nobody was waited for"


def test_a_damaged_file_is_fetched_anew_from_the_store(tmp_path: Path, store: Store) -> None:
    """What the store has damaged as well is made again as in any home, and put there."""
    lake, home = machine(tmp_path, "home", store.url), tmp_path / "home"
    lines = [rees46_row(f"2024-05-01 10:00:{n:02d}", "purchase", "p1", f"user{n}") for n in range(4)]
    done = run_cli("run", "--home", home, "--format", "rees46", "--source", write_rees46(tmp_path / "a.csv", lines))
    assert done.code == 0, done.err
    names = ("gold/dim_customer", "silver/events", "bronze/events")
    paths = [next((lake.root / name).rglob("*_*.parquet")) for name in names]
    whole = [path.read_bytes() for path in paths]
    for path, raw in zip(paths, whole, strict=True):
        path.unlink()  # what is published has the same bytes by another name
        path.write_bytes(raw[:-9] + b"?" + raw[-8:])
    worse = tmp_path / "store" / paths[2].relative_to(lake.root)
    worse.write_bytes(paths[2].read_bytes())
    done = run_cli("verify", "--home", home, "--repair", "--json")
    assert done.code == 0, done.out
    told = json.loads(done.out)
    fetched = [p.relative_to(lake.root).as_posix() for p in paths[:2]]
    assert {line for line in told["repaired"] if "fetched" in line} == {
        f"{path}: fetched anew from the store" for path in fetched}  # fmt: skip
    assert [path.read_bytes() for path in paths] == whole
    assert worse.read_bytes() == whole[2], "what was read again from the archive goes there as well"
    aside = {p.name: p.read_bytes() for p in Path(told["put_aside"]).rglob("*.parquet")}
    assert all(aside[path.name] == raw[:-9] + b"?" + raw[-8:] for path, raw in zip(paths, whole, strict=True))
    assert run_cli("verify", "--home", home).code == 0


# The whole chain on an S3 server


@dataclass
class Machines:
    """Two homes whose lake is one, in a bucket."""

    base: Path
    endpoint: str

    @property
    def store(self) -> Store:
        """The bucket."""
        return Store.at(f"s3://{BUCKET}/shop", self.endpoint)

    def home(self, name: str) -> Path:
        """A machine's home, with the key that all of them need."""
        home = self.base / name
        if not home.exists():
            machine(self.base, name, f"s3://{BUCKET}/shop", f'store_endpoint = "{self.endpoint}"\n')
            if name != "one":
                same_key(self.base / "one", home)
        return home

    def file(self, day: str) -> Path:
        """A day's clicks."""
        lines = [rees46_row(f"{day} {hour}:00:{n:02d}", kind, f"p{n % 3}", f"user{n}")
                 for n in range(8) for hour, kind in ((10, "view"), (11, "purchase"))]  # fmt: skip
        return write_rees46(self.base / f"{day}.csv", lines)


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """One machine takes in a day, the other the next one."""
    with pytest.MonkeyPatch.context() as patch, s3_server() as endpoint:
        for name in [n for n in os.environ if n.startswith("AWS_")]:
            patch.delenv(name)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "anything")
        made = Machines(tmp_path_factory.mktemp("machines"), endpoint)
        for name, day in (("one", DAYS[0]), ("two", DAYS[1])):
            done = run_cli("run", "--home", made.home(name), "--format", "rees46", "--source", made.file(day))
            assert done.code == 0, done.err
        yield made


def test_two_machines_make_what_one_makes(machines: Machines, tmp_path: Path) -> None:
    alone = Chain.at(tmp_path / "alone")
    same_key(machines.home("one"), tmp_path / "alone")
    for day in DAYS[:2]:
        alone.ingest([machines.file(day)], "rees46")
        alone.build()
    assert Chain.at(machines.home("two")).hashes() == alone.hashes()
    assert Chain.at(machines.home("one")).hashes() == alone.hashes(), "the first machine sees what the second did"


def test_what_another_machine_keeps_is_no_damage(machines: Machines) -> None:
    """Its originals are told and not missed, nor is what it published since; one's own are missed."""
    told = {}
    for name in ("one", "two"):
        done = run_cli("verify", "--home", machines.home(name), "--json")
        assert done.code == 0, done.out
        told[name] = json.loads(done.out)["elsewhere"]
    theirs = "archive: the originals of 1 batches are kept by other machines"
    assert told["two"] == [theirs]
    assert told["one"][0] == theirs
    assert "another machine has published since" in told["one"][1]
    (original,) = (machines.home("two") / "archive" / "rees46").iterdir()
    moved = original.rename(machines.base / "moved")
    try:
        done = run_cli("verify", "--home", machines.home("two"), "--json")
    finally:
        moved.rename(original)
    assert done.code == 5
    assert original.name in json.dumps(json.loads(done.out)["problems"])
    exports = machines.home("two") / "exports"
    moved = exports.rename(machines.base / "moved")
    try:
        done = run_cli("verify", "--home", machines.home("two"), "--json")
    finally:
        shutil.rmtree(exports, ignore_errors=True)
        moved.rename(exports)
    assert done.code == 5, "it was this machine that published last"


def test_a_run_with_nothing_to_do_fetches_little(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    home = machines.home("two")
    Lake(home / "lake").evict(0)
    fetch, fetched = Store.fetch, []

    def counted(store: Store, name: str, target: Path) -> None:
        fetched.append(name)
        fetch(store, name, target)

    monkeypatch.setattr(Store, "fetch", counted)
    done = run_cli("run", "--home", home)
    assert done.code == 0, done.err
    data = [n for n in machines.store.listed() if n.endswith(".parquet") and "_delta_log" not in n]
    assert len(fetched) < len(data) / 2, fetched


def test_a_new_machine_starts_from_the_store(machines: Machines) -> None:
    done = run_cli("status", "--home", machines.home("three"), "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["tables"]["silver/events"] == 32


def test_a_person_is_found_from_a_machine_that_has_just_joined(machines: Machines) -> None:
    """In every table, and files that no table names any more are told: nobody has looked into them."""
    home = machines.home("four")
    done = run_cli("scan", "--home", home, "--subject", "user3", "--expect-none", "--json")
    assert done.code == 5, done.err
    told = json.loads(done.out)
    assert {"lake/bronze", "lake/silver", "lake/gold"} <= set(told["places"])
    strays = [f"lake/{name}" for name in Lake(home / "lake").strays()]
    assert strays
    assert [(u["path"], u["why"]) for u in told["unread"]] == [(path, "the store") for path in strays]


def test_another_program_reads_the_bucket(machines: Machines) -> None:
    table = DeltaTable(f"s3://{BUCKET}/shop/gold/fact_session", storage_options=machines.store.options())
    assert table.to_pyarrow_table().num_rows == 32
    assert not [n for n in machines.store.listed() if n.endswith(".tmp") or "/.lock" in n]


def test_who_is_erased_is_gone_from_the_bucket(machines: Machines) -> None:
    home = machines.home("two")
    done = run_cli("erase", "--home", home, "--subject", "user3")
    assert done.code == 0, done.out + done.err
    lake = Lake(home / "lake")
    stored = machines.store.listed()
    assert not lake.strays()
    for log in sorted(lake.root.glob("*/*/_delta_log")):
        name = log.parent.relative_to(lake.root).as_posix()
        live = {f"{name}/{f.path}" for f in lake.table(TableSpec(name, pa.schema([]))).files()}
        data = {n for n in stored if n.startswith(f"{name}/") and n.endswith(".parquet")}
        assert {n for n in data if "_delta_log" not in n} == live
    options = machines.store.options()
    left = DeltaTable(f"s3://{BUCKET}/shop/bronze/events", storage_options=options).to_pyarrow_table()
    assert "user3" not in left["user_id"].to_pylist()
    assert "user4" in left["user_id"].to_pylist()

    done = run_cli("run", "--home", machines.home("one"), "--format", "rees46", "--source", machines.file(DAYS[2]))
    assert done.code == 5, "the other machine has no list of who is to be kept out"
    assert "privacy: the lake tells of 1 erasures that another machine carried out" in done.err
    shutil.copytree(home / "privacy", machines.home("one") / "privacy", dirs_exist_ok=True)
    shutil.copytree(home / "keys", machines.home("one") / "keys", dirs_exist_ok=True)
    done = run_cli("run", "--home", machines.home("one"), "--format", "rees46", "--source", machines.file(DAYS[2]))
    assert done.code == 0, done.err
    left = DeltaTable(f"s3://{BUCKET}/shop/bronze/events", storage_options=options).to_pyarrow_table()
    assert left.num_rows == 3 * 16 - 3 * 2


def test_a_place_that_is_not_there_is_told(tmp_path: Path) -> None:
    machine(tmp_path, "home", "s3://nobody/shop", 'store_endpoint = "http://127.0.0.1:9"\n')
    done = run_cli("status", "--home", tmp_path / "home")
    assert done.code == 1
    assert "s3://nobody/shop: the server does not answer" in done.err
    machine(tmp_path, "home", "ftp://nobody/shop")
    done = run_cli("status", "--home", tmp_path / "home")
    assert done.code == 2
    assert "behavior.toml: lake_store: A store's URL is" in done.err
