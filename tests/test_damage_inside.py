"""Row 27 of the fault matrix: damage that is not at a log's end stops every command, and no run makes it the truth."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from behavior_assets.chain import run_chain
from behavior_assets.ingestion.ledger import decode, read_ledger
from behavior_assets.ingestion.quarantine import classes
from behavior_assets.repair import repair_home
from behavior_assets.status import status
from behavior_assets.verification import verify_home
from resources.commits import Log
from resources.errors import IntegrityError
from resources.journal import JOURNAL
from resources.settings import read_settings
from tests.conftest import Chain, rees46_row, run_cli, write_rees46
from tests.damage import HEAD, MAPPING, bring_up_to_date, broken, copied, flip, line, live, named, spoil
from tests.test_repair import Crash, crash_at
from tests.test_repair_again import originals, repaired, two_batches


@pytest.fixture
def home(whole: Path, tmp_path: Path) -> Path:
    """One to spoil."""
    return copied(whole, tmp_path / "home")


def refusal(home: Path) -> str:
    """What a run, ``status`` and ``quarantine`` say, all the same, with nothing changed."""
    before = content(home)
    lake = Chain.at(home).lake
    looks: list[Callable[[], Any]] = [
        lambda: run_chain(read_settings(home), [], ""), lambda: status(read_settings(home)), lambda: classes(lake)
    ]  # fmt: skip
    told = set()
    for look in looks:
        with pytest.raises(IntegrityError) as error:
            look()
        told.add(str(error.value))
    assert content(home) == before
    (words,) = told
    return words


def content(home: Path) -> dict[str, bytes]:
    """Every file of lake and exports, but for what is staged and locked there for a while."""
    files = [p for part in ("lake", "exports") for p in (home / part).rglob("*") if p.is_file()]
    files = [p for p in files if not p.name.startswith(".lock")]
    return {named(home, p): p.read_bytes() for p in files if ".staging" not in p.parts}


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("table", ["bronze/events", "quarantine/events"])
def test_row_27_any_damaged_commit_of_an_original_stops_every_command(home: Path, table: str, number: int) -> None:
    """The ledger is read from all of them: one digit of another count would be a wrong number in gold."""
    path = live(home)[f"{table} log"][number]
    text = path.read_bytes()
    digit = next(n for n in range(len(text) // 2, len(text)) if text[n : n + 1].isdigit())
    flip(path, digit, 0)
    words = refusal(home)
    assert words.startswith(f"{table}/_delta_log/{path.name}: its bytes are not those")
    assert "behavior verify --repair" in words


def test_row_27_of_other_tables_what_tells_their_files_is_looked_at(home: Path) -> None:
    """Gold has a checkpoint: the commits before it are never read, so no command fails for them; verify tells them."""
    first, *_, last = (p for p in live(home)["gold/fact_session log"] if p.suffix == ".json")
    flip(first, 100, 2)
    assert status(read_settings(home))["tables"]["gold/fact_session"]
    assert broken(home) == {named(home, first)}
    flip(last, 100, 2)
    assert refusal_of_status(home).startswith(f"gold/fact_session/_delta_log/{last.name}")


def refusal_of_status(home: Path) -> str:
    """What ``status`` says."""
    with pytest.raises(IntegrityError) as told:
        status(read_settings(home))
    return str(told.value)


@pytest.mark.parametrize("how", ["empty", "gone", "first line"])
def test_row_27_no_run_vouches_for_what_a_lost_journal_told(tmp_path: Path, how: str) -> None:
    """Beside it the last commit is cut in half: it was acknowledged, so it is neither taken away nor made again."""
    chain = two_batches(tmp_path)
    bring_up_to_date(chain)
    wanted, home = originals(chain), chain.settings.home.root
    journal = home / "lake" / "bronze/events" / JOURNAL
    if how == "first line":
        journal.write_bytes(journal.read_bytes().splitlines(keepends=True)[0])
    else:
        spoil(how)(journal)
    spoil("half")(live(home)["bronze/events log"][-1])
    words = refusal(home)
    assert words.startswith(f"bronze/events/{JOURNAL}: the journal ")
    assert "--repair` writes the journal anew" in words
    assert repaired(chain.settings)["ok"]
    assert originals(chain) == wanted
    assert not broken(home)


def test_row_27_a_ledger_that_is_none_is_named(tmp_path: Path) -> None:
    """In a last commit that nobody has vouched for yet, where it looks like a whole one."""
    chain = two_batches(tmp_path)
    wanted, home = originals(chain), chain.settings.home.root
    journal = home / "lake" / "bronze/events" / JOURNAL
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:-1]))
    last = live(home)["bronze/events log"][-1]
    last.write_bytes(last.read_bytes().replace(rb"\"accepted\":", rb"\"accepted\";", 1))
    with pytest.raises(IntegrityError, match="bronze/events: the ledger in commit 2 cannot be read"):
        read_ledger(chain.table("bronze/events"))
    assert named(home, last) in broken(home)
    assert repaired(chain.settings)["ok"]
    assert originals(chain) == wanted


@pytest.mark.parametrize("text", ["[{", "{}", "[1]", '[{"batch_id": "b00000001"}]', '[{"colour": 1}]', "null"])
def test_a_ledger_is_ours_or_a_value_error(text: str) -> None:
    """One kind of error for whatever is wrong with it, except for an account of nothing."""
    if text == "{}":
        assert decode(text) == []
    else:
        with pytest.raises(ValueError):  # noqa: PT011 - the JSON parser's or ours
            decode(text)


def test_row_27_nothing_goes_on_beside_a_repair_that_took_originals_away(tmp_path: Path) -> None:
    """It died between the cut and the delivery: only it knows what comes next, whatever number that batch had."""
    chain = two_batches(tmp_path)
    bring_up_to_date(chain)
    wanted, home = originals(chain), chain.settings.home.root
    spoil("half")(live(home)["bronze/events log"][-1])
    log, rows = chain.table("bronze/events").root / "_delta_log", chain.table("bronze/events").rows
    whole, number, words = len(list(log.glob("*.json"))), 0, ""
    while "a repair was begun and has not ended" not in words:  # before that, the journal tells of what is gone
        number += 1
        with pytest.MonkeyPatch.context() as patch:
            crash_at(number, patch)
            with pytest.raises(Crash):
                repair_home(chain.settings, list)
        if len(list(log.glob("*.json"))) < whole:
            words = refusal(home)
    assert "bronze/events" in words
    assert rows() < len(wanted["bronze/events"])
    assert repaired(chain.settings)["ok"]
    assert originals(chain) == wanted
    assert not broken(home)
    status(chain.settings)


def test_row_27_a_batch_that_came_later_does_not_hide_a_lost_one_of_its_number(tmp_path: Path) -> None:
    """A repair that could not bring a delivery back has ended, and the next one took its number."""
    chain = two_batches(tmp_path)
    home = chain.settings.home.root
    (kept,) = (home / "archive" / "rees46").glob("*-2.csv")
    away = kept.rename(tmp_path / kept.name)
    for table in ("bronze/events", "quarantine/events"):  # as if neither had ever been
        Log(home / "lake" / table).cut(2, lambda path: path.unlink())
    third = write_rees46(tmp_path / "3.csv", [rees46_row("2024-05-09 10:00:00", "view", "p1", "v1")])
    assert [e.batch_id for e in chain.ingest([third], "rees46").entries] == ["b00000002"]
    found = [p["what"] for p in verify_home(chain.settings)["problems"]]
    assert any("the ledger does not know 2.csv of batch b00000002" in what for what in found), found
    away.rename(kept)
    assert repaired(chain.settings)["ok"]
    assert not broken(home)
    assert {e.file_name for e in read_ledger(chain.table("bronze/events"))} == {"1.csv", "2.csv", "3.csv"}
    assert chain.table("bronze/events").rows() == 16


@pytest.mark.parametrize("place", ["lake.committed", "ingest.committed"])
def test_row_1_a_replay_that_was_killed_is_completed_by_the_same_command(tmp_path: Path, place: str) -> None:
    """Its rows are in bronze, and still in quarantine: there is nothing to ingest and all the rest to do."""
    first, mended, shop = tmp_path / "first.yaml", tmp_path / "mended.yaml", tmp_path / "shop.csv"
    first.write_text(MAPPING.format(events="look: view_item"), "utf-8")
    mended.write_text(MAPPING.format(events="look: view_item, grab: add_to_cart"), "utf-8")
    shop.write_text(HEAD + line(1, 10, "x") + line(1, 11, "x", "grab") + line(2, 11, "y"), "utf-8")
    home = tmp_path / "home"
    run = ("run", "--home", home, "--format", "generic", "--mapping", first, "--source", shop)
    assert run_cli(*run).code == 0
    replay = ("replay", "--home", home, "--class", "unplanned_event", "--mapping", mended)
    killed = subprocess.run(
        [sys.executable, "-m", "behavior_assets.cli", *map(str, replay)], check=False, capture_output=True,
        env={**os.environ, "BEHAVIOR_FAILPOINT": f"{place}:kill"},
    )  # fmt: skip
    assert killed.returncode == -9
    assert Chain.at(home).table("quarantine/events").rows() == 1
    done = run_cli(*replay)
    assert (done.code, "Of 1 rows of the class unplanned_event 1 were accepted" in done.out) == (0, True), done.err
    assert Chain.at(home).table("quarantine/events").rows() == 0
    assert Chain.at(home).table("silver/events").rows() == 3
    assert not broken(home)
    again = run_cli(*replay)
    assert (again.code, "no such rows in quarantine" in again.err) == (2, True)
