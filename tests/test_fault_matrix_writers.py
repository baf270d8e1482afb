"""Rows 22, 25, 29 and 31 of the fault matrix: writers beside writers, readers beside writers, Dagster's memory lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from itertools import count
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from behavior_assets.automation import changed_days_sensor, landing_sensor
from behavior_assets.ingestion.canonical import BRONZE_EVENTS
from behavior_assets.ingestion.ledger import read_ledger
from resources import lock
from resources import table as lake_table
from resources.errors import ConflictError
from resources.home import HomeResource
from resources.parquet import DataFile
from resources.table import COMMIT_ATTEMPTS, LakeTable, TableSpec
from tests.conftest import REPOSITORY, Chain, Result, rees46_row, run_cli, same_key, write_rees46
from tests.zygote import Zygote

DAYS = ("2024-05-01", "2024-05-02", "2024-05-03")


# Real processes on one home


def rows(day: str, users: range) -> list[str]:
    """Each of some users looks at a thing and an hour later buys it."""
    return [rees46_row(f"{day} {hour:02d}:00:{n:02d}", kind, f"p{n % 3}", f"user{n}")
            for n in users for hour, kind in ((10, "view"), (11, "purchase"))]  # fmt: skip


def start(*command: object) -> subprocess.Popen[str]:
    """A command of its own."""
    return subprocess.Popen([sys.executable, "-m", *(str(c) for c in command)], cwd=REPOSITORY, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip


def ended(process: subprocess.Popen[str]) -> Result:
    """Its end."""
    out, err = process.communicate(timeout=240)
    return Result(process.returncode, out, err)


@dataclass
class Busy:
    """A home on which processes worked at once; ``said`` is what each of them said."""

    base: Path
    said: dict[str, Result] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    serial: dict[str, dict[str, Any]] = field(default_factory=dict)
    found: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        """The home."""
        return self.base / "home"

    def run(self, *names: str) -> subprocess.Popen[str]:
        """``behavior run`` on some of the files."""
        sources = [x for name in names for x in ("--source", self.files[name])]
        return start("behavior_assets.cli", "run", "--home", self.home, "--format", "rees46", *sources, "--json")

    def look(self, when: str, *deliveries: tuple[str, ...]) -> None:
        """What there is, and what one after the other gives."""
        same_key(self.home, self.base / "serial")
        serial = Chain.at(self.base / "serial", "UTC")
        for names in deliveries:
            serial.ingest([self.files[n] for n in names], "rees46")
        serial.build()
        self.serial[when], self.found[when] = account(serial), account(Chain.at(self.home))


def account(chain: Chain) -> dict[str, Any]:
    """The content of gold, and the sums of the ledger."""
    entries = read_ledger(chain.lake.table(BRONZE_EVENTS))
    sums = {n: sum(getattr(e, n) for e in entries) for n in ("rows_in", "accepted", "quarantined", "duplicate")}
    return {"tables": chain.hashes(), "files": len(entries), "batches": len({e.batch_id for e in entries}), **sums}


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Busy:
    """Two runs at once on a home that is not there yet; then Dagster's jobs and a run, of the same days, at once."""
    made = Busy(tmp_path_factory.mktemp("busy"))
    contents = {
        "both": rows(DAYS[0], range(8)), "one": rows(DAYS[1], range(5)), "two": rows(DAYS[2], range(7)),
        "landed": [*rows(DAYS[1], range(3, 9)), "nonsense,view,p,20,,,1,u,"],
        "late": [*rows(DAYS[1], range(20, 24)), *rows(DAYS[0], range(6, 10))],
    }  # fmt: skip
    made.files = {name: write_rees46(made.base / f"{name}.csv", lines) for name, lines in contents.items()}
    running = {"first": made.run("both", "one"), "second": made.run("two", "both")}
    made.said |= {name: ended(process) for name, process in running.items()}
    made.look("runs", ("both", "one"), ("two", "both"))

    landed = made.home / "landing" / "rees46" / "landed.csv"
    landed.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(made.files["landed"], landed)
    os.utime(landed, (time.time() - 60,) * 2)
    daemon = start("tests.writers", made.home)
    assert daemon.stdout is not None
    if not daemon.stdout.readline():  # it says so once it is in the middle of its ingestion
        raise AssertionError(daemon.communicate()[1])
    manual = made.run("late")
    made.said |= {"manual": ended(manual), "daemon": ended(daemon)}
    made.look("jobs", ("landed",), ("late",))
    return made


@pytest.mark.parametrize("which", ["first", "second", "daemon", "manual"])
def test_row_25_no_lock_error_reaches_the_user(busy: Busy, which: str) -> None:
    """Each ends well and has nothing to say; Dagster's own log tells of no error, nor of a database that is locked."""
    said = busy.said[which]
    assert said.code == 0, said.err
    if which == "daemon":
        assert not [word for word in ("locked", "Error", "ERROR", "Traceback") if word in said.err], said.err
    else:
        assert (said.err, json.loads(said.out)["failure"]) == ("", "")


def test_row_25_two_runs_at_once_give_what_one_after_the_other_gives(busy: Busy) -> None:
    """A file that both deliver is counted once; every gold table has the same content, the ledger the same sums."""
    assert busy.found["runs"] == busy.serial["runs"]
    assert (busy.found["runs"]["files"], busy.found["runs"]["accepted"]) == (3, 40)
    repeated = [json.loads(busy.said[which].out)["repeated"] for which in ("first", "second")]
    assert sorted(repeated) == [[], ["both.csv"]]


def test_row_25_a_run_beside_the_sensors_jobs_on_the_same_days_gives_a_serial_outcome(busy: Busy) -> None:
    """The landed file and the one named to the run touch the same days; 4 rows of each were in already."""
    assert busy.found["jobs"] == busy.serial["jobs"]
    told = busy.found["jobs"]
    assert (told["files"], told["duplicate"], told["quarantined"]) == (5, 8, 1)
    checked = run_cli("verify", "--home", busy.home)
    assert (checked.code, checked.err) == (0, "")


def test_row_29_with_dagsters_database_lost_nothing_is_ingested_again(busy: Busy) -> None:
    """What was taken in stands in the lake: no row, no commit and no snapshot comes of the same files again."""
    before, version = account(Chain.at(busy.home)), Chain.at(busy.home).lake.table(BRONZE_EVENTS).version
    current = (busy.home / "exports" / "current.json").read_bytes()
    shutil.rmtree(busy.home / "dagster")
    home = HomeResource(home=str(busy.home))
    with dg.DagsterInstance.ephemeral() as instance:  # as empty as the one that is lost, cursors included
        for sensor in (landing_sensor, changed_days_sensor):
            context = dg.build_sensor_context(instance=instance, resources={"home": home})
            (answer,) = list(sensor(context))  # type: ignore[call-overload]
            assert isinstance(answer, dg.SkipReason), answer
    again = busy.home / "landing" / "rees46" / "again.csv"
    shutil.copyfile(busy.files["landed"], again)
    os.utime(again, (time.time() - 60,) * 2)
    done = run_cli("run", "--home", busy.home, "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert (told["repeated"], told["snapshot_is_new"]) == (["again.csv"], False)
    assert not again.exists()
    assert account(Chain.at(busy.home)) == before
    assert Chain.at(busy.home).lake.table(BRONZE_EVENTS).version == version
    assert (busy.home / "exports" / "current.json").read_bytes() == current


# Row 22: a writer that sleeps while another takes over. Where there are locks the other waits for it; here are none.


@pytest.fixture(scope="module")
def base(zygote: Zygote) -> Iterator[Path]:
    """Homes to work on, and what undisturbed runs make of them."""
    memory = Path("/dev/shm")  # noqa: S108 - a folder of its own is made there
    place = Path(tempfile.mkdtemp(prefix="writers-", dir=memory if os.access(memory, os.W_OK) else None))
    zygote.done("matrix:prepare", base=str(place))
    yield place
    shutil.rmtree(place)


def asleep(pid: int) -> None:
    """Wait until a process has stopped itself."""
    until = time.monotonic() + 60
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < until, "it never came by the place"
        time.sleep(0.01)


# What it had half written may be swept up by the other, which takes it for what a killed run left.
SWEPT = {"staging.copy", "parquet.name", "export.current"}


@pytest.mark.parametrize(
    ("place", "number"),
    [("staging.copy", 2), ("parquet.name", 1), ("ingest.quarantined", 1), ("lake.commit", 1), ("lake.commit", 2),
     ("lake.committed", 2), ("ingest.committed", 1), ("lake.commit", 5), ("export.link", 1), ("export.current", 1)],
)  # fmt: skip
def test_row_22_a_writer_that_wakes_after_another_took_over_doubles_nothing(
    zygote: Zygote, base: Path, place: str, number: int
) -> None:
    """It finds the batch or the days done, or fails; a rerun gives what an undisturbed one gives."""
    home = base / f"home-{place}-{number}"
    pid = zygote.start("writers:sleeps", base=str(base), home=str(home), place=place, number=number)
    asleep(pid)
    zygote.done("writers:takes_over", home=str(home))
    zygote.done("writers:originals_are_right", base=str(base), home=str(home))
    os.kill(pid, signal.SIGCONT)
    woken = zygote.end(pid)
    assert woken.code == 0 or (place in SWEPT and "FileNotFoundError" in woken.err), woken.err
    zygote.done("writers:originals_are_right", base=str(base), home=str(home))
    zygote.done("matrix:recovers", base=str(base), kind="second", home=str(home))


# Row 25 at one table, which two hold in hand


SPEC = TableSpec("silver/things", pa.schema([("event_date", pa.date32()), ("n", pa.int64())]), by_day=True)


def day_of(table: LakeTable, day: str, *numbers: int) -> DataFile:
    """A file of a day."""
    dates = pa.array([date.fromisoformat(day)] * len(numbers), pa.date32())
    rows = pa.table({"event_date": dates, "n": pa.array(numbers, pa.int64())})
    return table.write(day, "-".join(map(str, numbers)), [rows])


def held(chain: Chain) -> list[tuple[str, int]]:
    """What a reader finds, by day."""
    table = DeltaTable(str(chain.lake.root / SPEC.name)).to_pyarrow_table()
    return sorted(zip((str(d) for d in table["event_date"].to_pylist()), table["n"].to_pylist(), strict=True))


def between(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object], times: int = 1) -> list[str]:
    """Without locks, something happens right before the next commits; the places that were reached."""
    reached: list[str] = []

    def reach(place: str) -> None:
        if place == "lake.commit":
            reached.append(place)
            if len(reached) <= times:
                with monkeypatch.context() as inner:
                    inner.setattr(lake_table, "reach", lambda _place: None)
                    act()

    monkeypatch.setattr(lock, "fcntl", None)
    monkeypatch.setattr(lake_table, "reach", reach)
    return reached


def two_writers(tmp_path: Path) -> tuple[Chain, LakeTable, LakeTable]:
    """A home whose table has its first day, and two that are about to write to it."""
    chain = Chain.at(tmp_path / "home")
    backfill, schedule = chain.lake.table(SPEC), chain.lake.table(SPEC)
    schedule.commit([day_of(schedule, DAYS[0], 1)])
    return chain, backfill, schedule


def test_row_25_a_conflict_on_one_day_is_retried_on_what_the_other_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The back-fill commits a day and one more while the schedule is about to commit that day."""
    chain, backfill, schedule = two_writers(tmp_path)
    mine = day_of(schedule, DAYS[0], 2)
    theirs = [day_of(backfill, DAYS[0], 3, 4), day_of(backfill, DAYS[1], 5)]
    reached = between(monkeypatch, lambda: backfill.commit(theirs))
    schedule.commit([mine])
    assert len(reached) == 2, "the first attempt was refused"
    assert held(chain) == [(DAYS[0], 2), (DAYS[1], 5)], "as if the schedule had come after the back-fill"
    assert backfill.version == 3


def test_row_25_a_day_that_neither_found_there_is_there_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that only add files are no conflict to Delta: each commit has a number that the next must follow."""
    chain, backfill, schedule = two_writers(tmp_path)
    between(monkeypatch, lambda: backfill.commit([day_of(backfill, DAYS[1], 2)]))
    schedule.commit([day_of(schedule, DAYS[1], 3)])
    assert held(chain) == [(DAYS[0], 1), (DAYS[1], 3)]


def test_row_25_where_both_made_the_same_nothing_is_committed_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain, backfill, schedule = two_writers(tmp_path)
    between(monkeypatch, lambda: backfill.commit([day_of(backfill, DAYS[0], 2)]))
    schedule.commit([day_of(schedule, DAYS[0], 2)])
    assert held(chain) == [(DAYS[0], 2)]
    assert schedule.version == 2


def test_row_25_who_never_gets_through_is_told_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain, numbers = Chain.at(tmp_path / "home"), count(10)
    other, mine = chain.lake.table(SPEC), chain.lake.table(SPEC)
    mine.commit([day_of(mine, DAYS[0], 1)])
    file = day_of(mine, DAYS[0], 2)
    between(monkeypatch, lambda: other.commit([day_of(other, DAYS[1], next(numbers))]), times=COMMIT_ATTEMPTS)
    with pytest.raises(ConflictError, match=r"silver/things: other processes .* Run the same command again"):
        mine.commit([file])
    assert held(chain) == [(DAYS[0], 1), (DAYS[1], 9 + COMMIT_ATTEMPTS)]


# Row 31


@dataclass
class Watched:
    """A home that was published again and again, and the snapshots that readers met meanwhile."""

    exports: Path
    told: list[str]
    seen: dict[str, list[str]]


@pytest.fixture(scope="module")
def watched(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Watched:
    """Day after day is published while somebody looks all the time; every look is at one snapshot, or fails."""
    home = tmp_path_factory.mktemp("watched") / "home"
    pid = zygote.start("writers:publishes", home=str(home), days=4)
    seen: dict[str, list[str]] = {"manifest": [], "database": []}
    while alive(pid):
        if (home / "exports" / "current.json").exists():
            seen["manifest"].append(by_manifest(home / "exports"))
            seen["database"].append(by_database(home / "exports"))
    told = zygote.end(pid)
    assert told.code == 0, told.err
    return Watched(home / "exports", told.answer, seen)


@pytest.mark.parametrize("reader", ["manifest", "database"])
def test_row_31_a_reader_beside_publications_always_sees_one_snapshot(watched: Watched, reader: str) -> None:
    """By ``current.json`` and by ``behavior.duckdb``: all tables of one snapshot, and never an older one afterwards."""
    met = list(dict.fromkeys(watched.seen[reader]))
    assert met == [snapshot for snapshot in watched.told if snapshot in met]
    assert watched.seen[reader] == sorted(watched.seen[reader])
    assert len(met) > 1, "more than one snapshot was met"


def alive(pid: int) -> bool:
    """Whether a process has not ended."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def by_manifest(exports: Path) -> str:
    """All tables that ``current.json`` names, as a reader of Parquet files sees them; which snapshot it was."""
    return at(exports, json.loads((exports / "current.json").read_text("utf-8")))


def at(exports: Path, manifest: dict[str, Any]) -> str:
    """The files that a manifest names."""
    with duckdb.connect(":memory:", config={"threads": 1}) as con:
        for name, entry in manifest["tables"].items():
            files = ", ".join(f"'{exports / f['path']}'" for f in entry["files"])
            con.execute(f'CREATE VIEW "{name}" AS FROM read_parquet([{files}])')
        return one_snapshot(con, manifest)


def by_database(exports: Path) -> str:
    """The same by ``behavior.duckdb``."""
    with duckdb.connect(str(exports / "behavior.duckdb"), read_only=True) as con:
        (snapshot,) = con.sql("SELECT snapshot FROM refresh_info").fetchall()[0]
        return one_snapshot(con, json.loads((exports / "snapshots" / f"{snapshot}.json").read_text("utf-8")))


def one_snapshot(con: duckdb.DuckDBPyConnection, manifest: dict[str, Any]) -> str:
    """Every table has the rows that the manifest tells, and all tell of the same events; which snapshot it is."""
    assert con.sql("SELECT snapshot FROM refresh_info").fetchall() == [(manifest["snapshot"],)]
    for name, entry in manifest["tables"].items():
        assert con.sql(f'SELECT count(*) FROM "{name}"').fetchall() == [(entry["rows"],)], name
    told = con.sql(
        "SELECT (SELECT sum(views) FROM fact_session), (SELECT sum(views) FROM fact_product_day), "
        "(SELECT sum(rows_in) FROM fact_data_quality)"
    ).fetchall()[0]
    assert len(set(told)) == 1, told
    return str(manifest["snapshot"])


def test_row_31_an_opened_snapshot_stays_readable_while_others_follow(watched: Watched) -> None:
    """Of the last three every file is there; those before are gone as a whole, manifest first."""
    exports, named = watched.exports, set()
    assert sorted(p.stem for p in (exports / "snapshots").glob("*.json")) == watched.told[1:]
    for snapshot in watched.told[1:]:
        manifest = json.loads((exports / "snapshots" / f"{snapshot}.json").read_text("utf-8"))
        assert at(exports, manifest) == snapshot
        named |= {f["path"] for entry in manifest["tables"].values() for f in entry["files"]}
    assert {p.relative_to(exports).as_posix() for p in exports.glob("tables/*/*")} == named


def test_row_31_a_reader_of_the_lake_keeps_its_version_through_commits_and_vacuum(tmp_path: Path) -> None:
    """Within the grace period; after it the files go, and the newest version is as readable as before."""
    chain = Chain.at(tmp_path / "home")
    table = chain.lake.table(SPEC)
    table.commit([day_of(table, DAYS[0], 1), day_of(table, DAYS[1], 2)])
    reader = DeltaTable(str(table.root))
    files = reader.file_uris()
    table.commit([day_of(table, DAYS[0], 3)])
    orphan = day_of(table, DAYS[2], 4)  # what a killed run left
    draft = table.root / f".{'0' * 32}.tmp"
    draft.write_bytes(b"PAR1")
    assert chain.lake.vacuum(3600) == 1
    assert not draft.exists()
    with duckdb.connect(":memory:") as con:
        assert sorted(con.sql(f"SELECT n FROM read_parquet({files})").fetchall()) == [(1,), (2,)]
    assert sorted(reader.to_pyarrow_table()["n"].to_pylist()) == [1, 2]
    assert chain.lake.vacuum(-1) == 2
    assert not (table.root / orphan.path).exists()
    assert [Path(f).exists() for f in sorted(files)] == [False, True]
    assert held(chain) == [(DAYS[0], 3), (DAYS[1], 2)]


def test_row_31_a_run_leaves_what_replaced_days_left_to_their_readers(busy: Busy) -> None:
    """The runs above tidied up after themselves: the first versions of sessions can be read whole all the same."""
    root = busy.home / "lake" / "silver" / "sessions"
    newest = DeltaTable(str(root)).version()
    read = [DeltaTable(str(root), version=n).to_pyarrow_table().num_rows for n in range(newest + 1)]
    assert read[-1] == busy_sessions(busy)
    assert len(set(read)) > 2


def busy_sessions(busy: Busy) -> int:
    """Sessions that one after the other gives."""
    return Chain.at(busy.base / "serial").table("silver/sessions").rows()
