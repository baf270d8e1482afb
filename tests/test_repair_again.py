"""Row 27 of the fault matrix once more: repairs that died or found other settings, and what they may not do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, NoReturn

import pytest

from behavior_assets import unfinished
from behavior_assets.ingestion import ledger, redeliver
from behavior_assets.ingestion.ingest import Ingestion
from behavior_assets.ingestion.quarantine import replays
from behavior_assets.relog import LogMender
from behavior_assets.repair import repair_home
from behavior_assets.status import status
from resources.engine import engine
from resources.errors import IntegrityError
from resources.settings import Settings
from tests.conftest import Chain, rees46_row, run_cli, write_rees46
from tests.damage import bring_up_to_date, broken, flip, live, spoil
from tests.test_repair import Crash, crash_at

TABLES = ("bronze/events", "quarantine/events")


def two_batches(base: Path, **changes: Any) -> Chain:
    """Two deliveries with a bad row each, which share a row."""
    chain = Chain.at(base / "home", archive=True, **changes)
    for number in (1, 2):
        rows = [rees46_row(f"2024-05-0{d} 1{n}:00:00", "view", f"p{n}", f"v{n}") for d in (number, 3) for n in range(5)]
        bad = rees46_row("2024-05-03 12:00:00", "view", "p1", f"w{number}", "none")
        chain.ingest([write_rees46(base / f"{number}.csv", [*rows, bad])], "rees46")
    return chain


def originals(chain: Chain) -> dict[str, list[str]]:
    """All rows of bronze and quarantine."""
    return {name: sorted(map(repr, chain.rows(name, "SELECT * FROM t"))) for name in TABLES}


def repaired(settings: Settings) -> dict[str, Any]:
    """A repair with the chain below Dagster."""
    return repair_home(settings, lambda: bring_up_to_date(Chain(settings)))


def is_given_back(chain: Chain, wanted: dict[str, list[str]]) -> None:
    """A repair gives every row back and has nothing to complain about."""
    told = repair_home(chain.settings, list)  # nothing was made from them yet
    assert (told["ok"], told["problems"], told["left"]) == (True, [], []), json.dumps(told)
    assert originals(chain) == wanted
    assert not broken(chain.settings.home.root)


def lose_bronze(home: Path) -> None:
    """Bronze is gone as a whole."""
    shutil.rmtree(home / "lake" / "bronze" / "events")


def lose_tail(home: Path) -> None:
    """Bronze lost its last commits and whatever told of them."""
    kinds = live(home)
    for path in (*kinds["bronze/events log"][-2:], *kinds["bronze/events journal"]):
        path.unlink()


@pytest.mark.parametrize("damage", [lose_bronze, lose_tail])
def test_row_27_bronze_is_given_back_beside_a_quarantine_that_is_whole(tmp_path: Path, damage: Any) -> None:
    """Quarantine is ahead of bronze then, and refuses batches that it had: it goes back first."""
    chain = two_batches(tmp_path)
    wanted = originals(chain)
    damage(chain.settings.home.root)
    is_given_back(chain, wanted)


@pytest.mark.parametrize("damage", [lose_bronze, lose_tail])
def test_row_27_an_earlier_repair_may_have_cut_bronze_alone(tmp_path: Path, damage: Any) -> None:
    """Whatever is ahead, and whoever left it so: the present state tells, not what this repair did before."""
    chain = two_batches(tmp_path)
    wanted = originals(chain)
    damage(chain.settings.home.root)
    first = live(chain.settings.home.root)["quarantine/events log"][1]
    spoil("half")(first)
    is_given_back(chain, wanted)


def test_row_27_rejects_stay_while_their_delivery_cannot_come(tmp_path: Path) -> None:
    """Bronze and one original are gone: the rejects of that delivery are put aside, not deleted."""
    chain = two_batches(tmp_path)
    home = chain.settings.home.root
    kept = [p.read_bytes() for p in live(home)["quarantine/events"]]
    lose_bronze(home)
    (original,) = (p for p in live(home)["archive/rees46"] if p.name.endswith("-1.csv"))
    raw = original.read_bytes()
    original.unlink()
    told = repair_home(chain.settings, list)
    assert not told["ok"]
    assert any("1.csv" in line for line in told["left"])
    there = {p.read_bytes() for p in (home / "damaged").rglob("*.parquet")}
    assert there >= set(kept)
    original.write_bytes(raw)
    assert repair_home(chain.settings, list)["ok"]
    assert chain.rows("quarantine/events", "SELECT count(*) FROM t") == [(2,)]
    assert chain.rows("bronze/events", "SELECT count(*) FROM t") == [(15,)]


def test_row_27_a_repair_may_die_at_every_step(tmp_path: Path) -> None:
    """Before and after each of them: between the two tables' cuts, between a batch's rejects and its rows, anywhere."""
    chain = two_batches(tmp_path / "whole")
    wanted, number, crashed = originals(chain), 0, True
    while crashed:
        number += 1
        home = tmp_path / str(number)
        shutil.copytree(chain.settings.home.root, home)
        spoil_commit(home)
        copy = Chain.at(home, archive=True)
        with pytest.MonkeyPatch.context() as patch:
            steps = crash_at(number, patch)
            try:
                repair_home(copy.settings, list)
                crashed = False
            except Crash:
                assert len(steps) == number
        if crashed:
            with suppress(IntegrityError):  # no command goes on beside less than there was
                status(copy.settings)
                assert originals(copy) == wanted
            is_given_back(copy, wanted)
    assert number > 20


@pytest.mark.parametrize("there", [True, False])
def test_row_27_the_rows_of_a_lost_commit_are_told_as_far_as_anything_tells(tmp_path: Path, *, there: bool) -> None:
    """The archive is gone, and the first batch's commit is empty: its data files tell how many rows it had."""
    chain = two_batches(tmp_path)
    home = chain.settings.home.root
    files = live(home)["bronze/events"]
    spoil("empty")(live(home)["bronze/events log"][1])
    shutil.rmtree(home / "archive")
    for path in () if there else [p for p in files if "_b00000001-" in p.name]:
        path.unlink()
    told = repair_home(chain.settings, crash)
    assert not told["ok"]
    said = "10 rows of batch b00000001" if there else "nothing tells which rows"
    assert any(said in line and "2.csv, 11 rows" in line for line in told["left"]), told


# A repair that ends before everything is made again


def crash() -> NoReturn:
    """A rebuild that dies at once."""
    raise Crash


def damaged_silver(base: Path) -> tuple[Chain, list[str]]:
    """A home with a damaged day of silver, and the rows that it had."""
    chain = two_batches(base)
    bring_up_to_date(chain)
    rows = silver(chain)
    path = live(chain.settings.home.root)["silver/events"][0]
    flip(path, path.stat().st_size // 2, 3)
    return chain, rows


def silver(chain: Chain) -> list[str]:
    """All rows of silver."""
    return sorted(map(repr, chain.rows("silver/events", "SELECT * FROM t")))


@pytest.mark.parametrize("how", ["dies", "fails"])
def test_row_27_a_repair_that_does_not_end_is_no_all_clear(tmp_path: Path, how: str) -> None:
    """It took a day of silver out; until that is there again, every look finds the home broken."""
    chain, rows = damaged_silver(tmp_path)
    home = chain.settings.home.root
    if how == "dies":
        with pytest.raises(Crash):
            repair_home(chain.settings, crash)
    else:
        assert not repair_home(chain.settings, lambda: ["the disk is full"])["ok"]
    done = run_cli("verify", "--home", home)
    assert (done.code, "a repair was begun and has not ended" in done.err) == (5, True), done
    assert repaired(chain.settings)["ok"]
    assert silver(chain) == rows
    assert not broken(home)
    assert not (home / "lake" / unfinished.MARK).exists()


def test_row_27_a_damaged_mark_is_a_mark(tmp_path: Path) -> None:
    chain = two_batches(tmp_path)
    home = chain.settings.home
    unfinished.begin(home, "silver/events")
    spoil("half")(home.lake / unfinished.MARK)
    assert broken(home.root) == {unfinished.MARK}
    unfinished.begin(home, "silver/sessions")
    assert unfinished.taken(home) == [*TABLES, "silver/sessions"]  # it may have told of any
    assert repair_home(chain.settings, list)["ok"]
    assert not broken(home.root)


def test_row_27_a_run_ends_what_a_repair_began(tmp_path: Path) -> None:
    """It makes again whatever is missing, as it would in a home that never had it."""
    home = tmp_path / "home"
    rows = [rees46_row(f"2024-05-0{d} 1{n}:00:00", "view", f"p{n}", f"v{n}") for d in (3, 4) for n in range(6)]
    shop = write_rees46(tmp_path / "shop.csv", rows)
    assert run_cli("run", "--home", home, "--format", "rees46", "--source", shop).code == 0
    chain = Chain.at(home)
    before = silver(chain)
    spoil("half")(live(home)["silver/events"][0])
    with pytest.raises(Crash):
        repair_home(chain.settings, crash)
    assert silver(chain) != before
    assert broken(home)
    assert run_cli("run", "--home", home).code == 0
    assert silver(chain) == before
    assert not broken(home)


# Settings that were changed since

LATER: dict[str, Any] = {"first_day": date(2024, 5, 2), "ipv4_prefix": 16, "max_field_bytes": 1024}
Damage = Callable[[Path], object]


def spoil_commit(home: Path) -> None:
    """Cut the commit of the first batch in half."""
    spoil("half")(live(home)["bronze/events log"][1])


def spoil_file(home: Path) -> None:
    """Spoil a file of the first batch."""
    spoil("half")(next(p for p in live(home)["bronze/events"] if "_b00000001-" in p.name))


@pytest.mark.parametrize("damage", [spoil_commit, spoil_file, lose_bronze])
def test_row_27_a_batch_is_read_again_by_its_own_settings(tmp_path: Path, damage: Damage) -> None:
    chain = two_batches(tmp_path)
    wanted = originals(chain)
    damage(chain.settings.home.root)
    is_given_back(Chain(replace(chain.settings, **LATER)), wanted)


@pytest.mark.parametrize("damage", [spoil_commit, lose_bronze])
def test_row_27_what_would_not_be_what_it_was_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Damage
) -> None:
    """An older ledger does not tell the settings: by today's, rows of the first batch are bad that were good."""
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "reading_of", lambda _settings: {})
        chain = two_batches(tmp_path)
    wanted, home = originals(chain), chain.settings.home.root
    damage(home)
    before = {p: p.read_bytes() for p in (home / "lake").rglob("*") if p.is_file() and not p.name.startswith(".lock")}
    told = repair_home(replace(chain.settings, **LATER), crash)  # nothing is made again from thinned originals
    assert not told["ok"]
    assert any("1.csv" in x and "11 rows, 6 of them bad" in x and "11 and 1" in x for x in told["left"]), told
    after = {p: p.read_bytes() for p in (home / "lake").rglob("*") if p.is_file() and not p.name.startswith(".lock")}
    assert before == after
    assert not list(chain.settings.home.refused.glob("*"))
    is_given_back(chain, wanted)  # with the settings of then


def test_row_27_a_batch_that_would_not_be_what_it_was_is_not_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last guard, where counts differ that only the commit can tell: here as nobody has looked before."""
    chain = two_batches(tmp_path)
    lose_bronze(chain.settings.home.root)
    monkeypatch.setattr(LogMender, "_differing", lambda *_: [])
    monkeypatch.setattr(redeliver, "as_read", lambda settings, _entry: settings)
    told = repair_home(replace(chain.settings, **LATER), crash)
    assert any("1.csv (batch b00000001): read again, of 11 rows 5 are accepted" in line for line in told["left"]), told
    assert not told["ok"]
    assert chain.table("bronze/events").rows() == 0
    assert chain.table("quarantine/events").rows() == 0


@pytest.mark.parametrize("looked", [True, False])
def test_row_27_what_cannot_be_read_any_more_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, looked: bool
) -> None:
    """No row of the first file is good by today's settings, so it would be refused, whoever notices."""
    if not looked:
        monkeypatch.setattr(LogMender, "_differing", lambda *_: [])
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "reading_of", lambda _settings: {})
        chain = two_batches(tmp_path)
    lose_bronze(chain.settings.home.root)
    told = repair_home(replace(chain.settings, first_day=date(2025, 1, 1)), crash)
    assert (told["ok"], any("1.csv" in line for line in told["left"])) == (False, True)
    assert not list(chain.settings.home.refused.glob("*"))
    assert len(live(chain.settings.home.root)["archive/rees46"]) == 2


@pytest.mark.parametrize("damage", [spoil_commit, spoil_file, lose_bronze])
def test_row_27_rows_that_were_too_long_once_are_given_back(tmp_path: Path, damage: Damage) -> None:
    """The limit was raised and they were replayed: their batch has them not, and the replay's has."""
    long = "x" * 1100
    chain = Chain.at(tmp_path / "home", archive=True, max_field_bytes=1024)
    rows = [rees46_row(f"2024-05-0{d} 1{n}:00:00", "view", f"p{n}", f"v{n}", brand=long if n == 2 else "acme")
            for d in (1, 2, 3, 4) for n in range(5)]  # fmt: skip
    chain.ingest([write_rees46(tmp_path / "1.csv", rows)], "rees46")
    raised = Chain(replace(chain.settings, max_field_bytes=2_000_000))
    with engine(raised.settings) as backend:
        report = Ingestion(raised.lake, raised.settings, backend.con).run(
            replays(raised.lake, raised.settings, "oversize"))  # fmt: skip
    assert sum(e.accepted for e in report.entries) == 4
    wanted = everything(chain)
    damage(chain.settings.home.root)
    told = repair_home(raised.settings, list)
    assert (told["ok"], told["problems"], told["left"]) == (True, [], [])
    assert everything(chain) == wanted


def everything(chain: Chain) -> list[str]:
    """All rows of bronze, where quarantine is empty."""
    assert chain.table("quarantine/events").rows() == 0
    return sorted(map(repr, chain.rows("bronze/events", "SELECT * FROM t")))
