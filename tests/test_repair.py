"""Row 27 of the fault matrix, the other half: what ``behavior verify --repair`` gives back, and what it cannot."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import duckdb
import pytest

from behavior_assets.ingestion import landing
from behavior_assets.quality import QUALITY_DAYS
from behavior_assets.repair import Aside, repair_home
from behavior_assets.tables import all_tables
from resources.settings import read_settings
from resources.table import LakeTable
from tests.conftest import Chain, rees46_row, run_cli, write_rees46
from tests.damage import bring_up_to_date, broken, copied, flip, live, named, spoil

MORE = (rees46_row("2024-05-04 20:00:00", "cart", "p9", "v9"), rees46_row("2024-05-03 20:00:00", "view", "p9", "v9"))
Content = dict[str, list[str]]
Step = Callable[..., Any]


@pytest.fixture(scope="module")
def wanted(whole: Path) -> Content:
    """What it holds."""
    return content(whole)


@pytest.fixture
def home(whole: Path, tmp_path: Path) -> Path:
    """One to spoil."""
    return copied(whole, tmp_path / "home")


def content(home: Path) -> Content:
    """All rows of the lake's tables and of the published ones, but for when it was published.

    A verdict of ``quality/days`` names the bytes that were judged: those of a file that is made again may be others.
    """
    chain = Chain.at(home)
    found: Content = {}
    with duckdb.connect(":memory:") as con:
        for spec in all_tables():
            table = chain.lake.table(spec)
            if spec.name != "gold/refresh_info" and table.rows():
                told = "* EXCLUDE (content)" if spec is QUALITY_DAYS else "*"
                rows = con.read_parquet(table.absolute(table.files())).project(told).fetchall()
                found[spec.name] = sorted(map(repr, rows))
    with duckdb.connect(str(home / "exports" / "behavior.duckdb"), read_only=True) as con:
        for (name,) in con.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall():
            if name != "refresh_info":
                found[name] = sorted(map(repr, con.execute(f'SELECT * FROM "{name}"').fetchall()))
    return found


def repaired(home: Path) -> dict[str, Any]:
    """A repair, with the chain below Dagster to make the derived tables again."""
    return repair_home(read_settings(home), lambda: bring_up_to_date(Chain.at(home, archive=True)))


def every_byte(folder: Path) -> Counter[bytes]:
    """The bytes of all files below a folder that hold any."""
    return Counter(raw for path in folder.rglob("*") if path.is_file() and (raw := path.read_bytes()))


HOW = ("flip", "half", "empty", "gone")


def spoiled(paths: list[Path], *ways: str) -> Counter[bytes]:
    """Spoil files, in one way or in several in turn; the bytes that they have then, which nothing may delete."""
    for path, how in zip(paths, cycle(ways)):
        if how == "flip":
            flip(path, path.stat().st_size // 2, 3)
        else:
            spoil(how)(path)
    return Counter(raw for path in paths if path.exists() and (raw := path.read_bytes()))


def is_given_back(home: Path, wanted: Content, kept: Counter[bytes]) -> None:
    """A repair gives all rows back, leaves nothing to complain about, and deletes nothing that was damaged."""
    assert broken(home)
    told = repaired(home)
    assert (told["ok"], told["problems"], told["left"]) == (True, [], [])
    assert content(home) == wanted
    assert kept <= every_byte(home / "damaged")
    assert not broken(home)


@pytest.mark.parametrize("turn", range(2))
def test_row_27_data_files_are_given_back(home: Path, wanted: Content, turn: int) -> None:
    """Of every table, each in another way, and of what is published: from the archive, from bronze, from gold."""
    kinds = live(home)
    layers = ("bronze/", "quarantine/", "silver/", "quality/", "gold/")
    files = [paths[len(paths) // 2] for kind, paths in kinds.items()
             if paths and kind.startswith(layers) and not kind.endswith((" log", " journal"))]  # fmt: skip
    files += [kinds["bronze/events"][0], *kinds["views"]]
    files += [p for p in kinds["published"] if p.parent.name in {"dim_hour", "fact_session"}][:3]
    is_given_back(home, wanted, spoiled(files, *HOW[turn:], *HOW[:turn]))


@pytest.mark.parametrize("which", [0, -1])
def test_row_27_a_commit_of_every_log_is_given_back(home: Path, wanted: Content, which: int) -> None:
    """The first, and the last (``hurt`` has one between): in bronze, quarantine and all that is made from them."""
    logs = [paths for kind, paths in live(home).items() if kind.endswith(" log")]
    is_given_back(home, wanted, spoiled([paths[min(which, len(paths) - 1)] for paths in logs], *HOW))


def test_row_27_an_original_table_that_is_lost_as_a_whole_is_given_back(home: Path, wanted: Content) -> None:
    """Bronze is delivered again from the archive, and so is quarantine, each batch as it came."""
    for name in ("bronze", "quarantine"):
        shutil.rmtree(home / "lake" / name)
    is_given_back(home, wanted, Counter())


def test_row_27_what_a_log_can_do_without_is_made_anew(home: Path, wanted: Content) -> None:
    """Checkpoints, the hint that names one, journals."""
    kinds = live(home)
    journals = [paths[0] for kind, paths in kinds.items() if kind.endswith(" journal")]
    kept = spoiled([*kinds["checkpoint"][:1], *journals[2:5]], "flip")
    kept += spoiled([journals[0], kinds["hint"][1]], "half")
    spoiled([*kinds["checkpoint"][1:], *journals[5:8]], "gone")
    is_given_back(home, wanted, kept)


def test_row_27_a_tail_without_a_trace_is_delivered_again(home: Path, wanted: Content) -> None:
    """A disk that forgot the last commits together with their lines of the journal: the archive knows them."""
    for name in ("bronze/events", "quarantine/events"):
        commits = live(home)[f"{name} log"][-2:]
        journal = live(home)[f"{name} journal"][0]
        lines = journal.read_text("utf-8").splitlines(keepends=True)
        journal.write_text("".join(x for x in lines if not any(c.name in x for c in commits)), "utf-8")
        spoiled(commits, "gone")
    is_given_back(home, wanted, Counter())


def test_row_27_originals_without_any_account_are_delivered_again(home: Path, wanted: Content) -> None:
    """Bronze is gone and so are the archive's accounts: rows and rejects come back, under the time of the files."""
    shutil.rmtree(home / "lake")
    shutil.rmtree(home / "archive" / "ledger")
    for path in sorted((home / "archive" / "mappings").iterdir())[1:]:
        path.unlink()
    told = repaired(home)
    assert (told["problems"], told["left"]) == ([], [])
    facts = ("fact_session", "dim_product", "fact_cart_item")
    found = content(home)
    assert {name: len(found[name]) for name in facts} == {name: len(wanted[name]) for name in facts}


def test_row_27_rows_that_a_commit_took_are_given_back(home: Path, wanted: Content) -> None:
    """A sound commit, but by no batch: the ledger tells how many rows of which delivery there must be."""
    for name in ("bronze/events", "quarantine/events"):
        table = Chain.at(home).table(name)
        table.commit([], remove=table.files()[:2])
    is_given_back(home, wanted, Counter())


def test_row_27_files_that_share_a_batch_and_a_day_are_told_apart(tmp_path: Path) -> None:
    """Rows of one day that a batch wrote one after the other, where the second file repeats rows of the first."""
    rows = [rees46_row(f"2024-05-0{d} 1{n}:00:00", "view", f"p{n}", f"v{n}") for d in (3, 4) for n in range(6)]
    shop, more = write_rees46(tmp_path / "1.csv", rows), write_rees46(tmp_path / "2.csv", [*rows[::2], *MORE])
    chain = Chain.at(tmp_path / "home", archive=True, chunk_rows=4)
    chain.ingest([shop, more], "rees46")
    before = chain.rows("bronze/events", "SELECT * FROM t ORDER BY ALL")
    files = live(tmp_path / "home")["bronze/events"]
    assert len(files) == 4
    kept = spoiled(files, "gone", "half", "flip")
    told = repair_home(chain.settings, list)
    assert (told["ok"], told["left"]) == (True, [])
    assert chain.rows("bronze/events", "SELECT * FROM t ORDER BY ALL") == before
    assert kept <= every_byte(tmp_path / "home" / "damaged")


@pytest.mark.parametrize("which", [(0, 1), (0, 2)])
def test_row_27_manifests_are_given_back(home: Path, wanted: Content, which: tuple[int, int]) -> None:
    """From each other; where both of the current snapshot are damaged, it is published again."""
    manifests = live(home)["manifest"]  # the current one, an older one, the current one again
    snapshot = json.loads(manifests[0].read_bytes())["snapshot"]
    is_given_back(home, wanted, spoiled([manifests[n] for n in which], "flip"))
    same = json.loads(manifests[0].read_bytes())["snapshot"] == snapshot
    assert same == (which == (0, 1))


# What cannot be had again


def test_row_27_what_cannot_be_had_again_is_named(home: Path) -> None:
    """The archive has lost it as well: the command says what and what to do, fails, and takes nothing away."""
    kinds = live(home)
    one = next(p for p in kinds["archive/generic"] if p.name.endswith("one.csv"))
    original = one.read_bytes()
    one.unlink()
    lost = next(p for p in kinds["bronze/events"] if "_b00000001-" in p.name)
    other = next(p for p in kinds["bronze/events"] if "_b00000002-" in p.name)
    kept = spoiled([lost, other], "flip")
    done = run_cli("verify", "--home", home, "--repair")
    assert done.code == 5
    told = [line for line in done.out.splitlines() if line.startswith("NOT repaired")]
    assert any(lost.name in line and "rows are lost" in line and one.name in line for line in told), told
    assert not any(other.name in line for line in told)
    for piece in (lost.name, f"archive/generic/{one.name}"):
        assert piece in done.err
    assert lost.exists()  # the only copy of its rows, damaged or not
    assert kept <= every_byte(home)
    one.write_bytes(original)
    assert repair_home(read_settings(home), list)["ok"]


def test_row_27_a_commit_that_cannot_be_had_again_is_left(home: Path, wanted: Content) -> None:
    """To cut it off would lose what the archive does not have; so nothing is moved, and a backup still fits."""
    kinds = live(home)
    (one,) = (p for p in kinds["archive/generic"] if p.name.endswith("one.csv"))
    original = one.read_bytes()
    one.unlink()
    commit = kinds["bronze/events log"][1]
    raw = commit.read_bytes()
    flip(commit, 200, 1)
    told = repaired(home)
    assert not told["ok"]
    assert any(named(home, commit) in line and one.name in line for line in told["left"])
    commit.write_bytes(raw)
    one.write_bytes(original)
    assert not broken(home)
    assert content(home) == wanted


def test_row_27_a_damaged_original_is_put_aside_until_it_comes_again(home: Path, tmp_path: Path) -> None:
    """No table lost anything, but the archive did: the exit code stays 5 until the file is delivered again."""
    (shop,) = live(home)["archive/rees46"]
    again = tmp_path / "again.csv"
    again.write_bytes(shop.read_bytes())
    kept = spoiled([shop], "flip")
    told = repaired(home)
    assert (told["ok"], [p["where"] for p in told["problems"]]) == (False, [named(home, shop)])
    assert any(named(home, shop) in line and "deliver it again" in line for line in told["left"])
    assert kept <= every_byte(home / "damaged")
    chain = Chain.at(home, archive=True)
    assert chain.ingest([again], "rees46").repeated == ["again.csv"]
    assert {named(home, p) for p in live(home)["archive/rees46"]} != {named(home, shop)}
    assert not broken(home)


def test_row_27_a_mapping_that_is_lost_is_asked_for(home: Path) -> None:
    mapping = next(p for p in live(home)["archive/mappings"])
    text = mapping.read_text("utf-8")
    contract = mapping.name.split("-", 1)[1].removesuffix(".yaml")
    mapping.unlink()
    spoiled(live(home)["bronze/events"], "gone")
    told = repaired(home)
    assert any(contract in line and "archive/mappings" in line for line in told["left"])
    mapping.with_name(f"mapping-{contract}.yaml").write_text(text, "utf-8")
    assert repair_home(read_settings(home), list)["ok"]


def test_row_27_an_older_snapshot_whose_files_are_lost_is_told(home: Path, wanted: Content) -> None:
    """Gold has moved on: nobody can make its files again."""
    manifests = live(home)["manifest"]
    now = {f["path"] for t in json.loads(manifests[0].read_bytes())["tables"].values() for f in t["files"]}
    lost = next(p for p in live(home)["published"] if p.relative_to(home / "exports").as_posix() not in now)
    sha = lost.name.rsplit("-", 1)[1]
    spoiled([lost, *(p for p in (home / "lake" / "gold" / lost.parent.name).glob(f"*_{sha}"))], "gone")
    told = repaired(home)
    assert (told["ok"], told["problems"]) == (False, [])
    assert any(manifests[1].name in line for line in told["left"])
    assert (content(home) == wanted, broken(home)) == (True, set())


# A repair that dies


class Crash(BaseException):
    """The power is gone."""


def crash_at(number: int, patch: pytest.MonkeyPatch) -> list[str]:
    """Die before or after the ``number``-th of a repair's steps that change anything; returns those that were done."""
    steps: list[str] = []

    def dying(step: Step) -> Step:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            steps.append(step.__qualname__)
            if len(steps) == number:
                raise Crash
            answer = step(*args, **kwargs)
            steps.append(f"after {step.__qualname__}")
            if len(steps) == number:
                raise Crash
            return answer

        return wrapper

    patch.setattr(Aside, "__call__", dying(Aside.__call__))
    patch.setattr(LakeTable, "commit", dying(LakeTable.commit))
    patch.setattr(landing, "archive", dying(landing.archive))
    return steps


def hurt(home: Path) -> Counter[bytes]:
    """A bit of everything."""
    kinds = live(home)
    return spoiled([
        kinds["bronze/events"][0], kinds["bronze/events log"][2], kinds["quarantine/events"][0],
        kinds["quarantine/events log"][1], kinds["silver/sessions"][1], kinds["silver/events log"][1],
        kinds["gold/fact_session"][0], kinds["checkpoint"][1], *kinds["views"], kinds["manifest"][0],
    ], "half")  # fmt: skip


@pytest.mark.parametrize("part", range(2))
def test_row_27_a_second_repair_mends_what_one_that_died_left(home: Path, wanted: Content, part: int) -> None:
    """Somewhere in each half of its first forty steps, which mend originals and drop what is made from them."""
    kept = hurt(home)
    number = random.Random(part).randrange(part * 20, part * 20 + 20) + 1  # noqa: S311 - no secret
    with pytest.MonkeyPatch.context() as patch:
        steps = crash_at(number, patch)
        with pytest.raises(Crash):
            repaired(home)
    assert len(steps) == number
    is_given_back(home, wanted, kept)


def test_row_27_the_command_repairs_by_the_whole_chain(tmp_path: Path) -> None:
    """As a user would: run, see the damage, repair, and nothing has changed; what waits in landing/ waits on."""
    home = tmp_path / "home"
    shop = write_rees46(tmp_path / "shop.csv", [rees46_row(f"2024-05-0{d} 1{n}:00:00", "view", f"p{n}", f"v{n}")
                                                for d in (3, 4) for n in range(6)])  # fmt: skip
    assert run_cli("run", "--home", home, "--format", "rees46", "--source", shop).code == 0
    before = content(home)
    waiting = write_rees46(home / "landing" / "rees46" / "later.csv", MORE)
    kinds = live(home)
    for kind in ("bronze/events", "silver/sessions", "quality/days", "gold/fact_session", "gold/dim_customer"):
        with kinds[kind][0].open("r+b") as file:  # in its place: a published file is the same one by another name
            file.seek(100)
            file.write(b"damaged")
    assert run_cli("verify", "--home", home).code == 5
    done = run_cli("verify", "--home", home, "--repair")
    assert (done.code, "Everything is whole" in done.out) == (0, True), done
    assert "damaged" in done.out
    assert content(home) == before
    assert waiting.exists()
    done = run_cli("verify", "--home", home, "--repair", "--json")  # with nothing to do
    assert (done.code, json.loads(done.out)["repaired"], json.loads(done.out)["put_aside"]) == (0, [], None)
