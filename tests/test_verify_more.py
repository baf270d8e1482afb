"""Row 27 of the fault matrix: what is gone as a whole, folder by folder, and a key that is not the right one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from behavior_assets.ingestion.quarantine import classes
from behavior_assets.repair import repair_home
from behavior_assets.status import status
from behavior_assets.verification import require_files
from resources.errors import IntegrityError
from resources.settings import read_settings
from tests.conftest import Chain, rees46_row, run_cli, write_rees46
from tests.damage import bring_up_to_date, broken, copied, flip, live, make_home, spoil


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that nothing is wrong with."""
    base = tmp_path_factory.mktemp("whole")
    return copied(make_home(base), base / "copy")


@pytest.fixture
def home(whole: Path, tmp_path: Path) -> Path:
    """One to spoil."""
    return copied(whole, tmp_path / "home")


def repaired(home: Path) -> dict[str, Any]:
    """A repair, with the chain below Dagster to make the derived tables again."""
    return repair_home(read_settings(home), lambda: bring_up_to_date(Chain.at(home, archive=True)))


def refusal(home: Path) -> str:
    """What a run, ``status`` and ``quarantine`` say, all the same, before anything is changed."""
    lake = Chain.at(home).lake
    with pytest.raises(IntegrityError) as told:
        require_files(lake)
    for look in (lambda: status(read_settings(home)), lambda: classes(lake)):
        with pytest.raises(IntegrityError) as also:
            look()
        assert str(also.value) == str(told.value)
    return str(told.value)


@pytest.mark.parametrize("table", ["bronze/events", "quarantine/events"])
@pytest.mark.parametrize("what", ["the folder", "the log"])
def test_row_27_nothing_goes_on_beside_an_original_table_that_is_gone(home: Path, table: str, what: str) -> None:
    folder = home / "lake" / table
    shutil.rmtree(folder if what == "the folder" else folder / "_delta_log")
    if what == "the log":
        (folder / "_commits.sha256").unlink()
    told = refusal(home)
    assert told.startswith(f"{table}: the table is missing")
    assert "behavior verify --repair" in told
    assert table in broken(home)
    if table == "quarantine/events":
        assert repaired(home)["ok"]
        require_files(Chain.at(home).lake)


@pytest.mark.parametrize("trace", ["archive/ledger", "exports", "lake/gold/refresh_info", "lake/silver/events"])
def test_row_27_any_trace_of_earlier_deliveries_tells(home: Path, tmp_path: Path, trace: str) -> None:
    """Each by itself: of a home all of which but one folder was lost."""
    rest = tmp_path / "rest"
    shutil.copytree(home / trace, rest / trace)
    assert "bronze/events: the table is missing" in refusal(rest)
    assert "bronze/events" in broken(rest)


def test_row_27_the_command_ingests_nothing_beside_a_lost_table(tmp_path: Path) -> None:
    """By the whole command: a fresh home takes its first file, and a lost bronze is not begun anew by another."""
    one, two = (write_rees46(tmp_path / f"{n}.csv", [rees46_row(f"2024-05-0{n} 10:00:00", "view", "p1", "v1")])
                for n in (1, 2))  # fmt: skip
    home = tmp_path / "home"
    assert run_cli("run", "--home", home, "--format", "rees46", "--source", one).code == 0
    shutil.rmtree(home / "lake" / "bronze" / "events")
    before = (home / "exports" / "current.json").read_bytes()
    done = run_cli("run", "--home", home, "--format", "rees46", "--source", two)
    assert (done.code, "bronze/events: the table is missing" in done.err) == (5, True)
    assert (home / "exports" / "current.json").read_bytes() == before
    assert not (home / "lake" / "bronze" / "events").exists()
    done = run_cli("verify", "--home", home, "--repair")
    assert done.code == 0, done.err
    shutil.rmtree(home / "exports")  # and what is published can always be published again
    assert run_cli("verify", "--home", home).code == 5
    assert run_cli("verify", "--home", home, "--repair").code == 0
    assert json.loads((home / "exports" / "current.json").read_text("utf-8"))["data_through"] == "2024-05-01"
    assert run_cli("run", "--home", home, "--format", "rees46", "--source", two).code == 0


def test_a_home_where_nothing_was_published_yet_goes_on(tmp_path: Path) -> None:
    """A fresh one, one whose first run died before bronze's commit, and one that has only ingested."""
    chain = Chain.at(tmp_path / "home", archive=True)
    require_files(chain.lake)
    bad = write_rees46(tmp_path / "bad.csv", [rees46_row("2024-05-01 10:00:00", "view", "p1", "v1", price="cheap")])
    assert chain.ingest([bad], "rees46").entries[0].quarantined == 1
    require_files(chain.lake)
    assert not broken(tmp_path / "home")
    shutil.rmtree(tmp_path / "home" / "lake" / "bronze")
    shutil.rmtree(tmp_path / "home" / "archive")
    require_files(chain.lake)


def test_row_27_exports_that_are_gone_are_told_and_published_again(home: Path) -> None:
    shutil.rmtree(home / "exports")
    assert broken(home) == {"exports/current.json"}
    told = repaired(home)
    assert (told["ok"], told["problems"]) == (True, [])
    assert (home / "exports" / "current.json").exists()
    assert (home / "exports" / "behavior.duckdb").exists()


@pytest.mark.parametrize("how", ["empty", "gone", "half", "flip"])
@pytest.mark.parametrize("table", ["bronze/events", "quarantine/events", "gold/fact_session"])
def test_row_27_no_short_numbers_beside_a_lost_commit(home: Path, table: str, how: str) -> None:
    """What was acknowledged and is not there any more is missing in the counts, so there are none."""
    last = live(home)[f"{table} log"][-1]
    if how == "flip":
        flip(last, 200, 1)
    else:
        spoil(how)(last)
    looks = [lambda: status(read_settings(home)), *([] if table == "gold/fact_session" else
                                                   [lambda: classes(Chain.at(home).lake)])]  # fmt: skip
    for look in looks:
        with pytest.raises(IntegrityError, match="behavior verify --repair") as told:
            look()
        assert f"{table}/_delta_log/{last.name}" in str(told.value)
