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
from behavior_assets.verification import require_files, verify_home
from resources.errors import IntegrityError
from resources.keys import load_or_create_key
from resources.settings import read_settings
from tests.conftest import Chain, rees46_row, run_cli, write_rees46
from tests.damage import EVENTS, MAPPING, bring_up_to_date, broken, copied, flip, live, named, spoil


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
    assert repaired(home)["ok"]
    require_files(Chain.at(home).lake)


@pytest.mark.parametrize("trace", ["archive/ledger", "exports", "lake/gold/refresh_info", "lake/silver/events"])
def test_row_27_any_trace_of_earlier_deliveries_tells(home: Path, tmp_path: Path, trace: str) -> None:
    """Each by itself: of a home all of which but one folder was lost."""
    rest = tmp_path / "rest"
    shutil.copytree(home / trace, rest / trace)
    assert "bronze/events: the table is missing" in refusal(rest)
    assert "bronze/events" in broken(rest)


def test_row_27_the_command_ingests_nothing_beside_a_lost_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the whole command: a fresh home takes its first file, and a lost bronze is not begun anew by another.

    Nor by a run of the daemon or of Dagster's UI, which the command's own look does not go before.
    """
    one, two = (write_rees46(tmp_path / f"{n}.csv", [rees46_row(f"2024-05-0{n} 10:00:00", "view", "p1", "v1")])
                for n in (1, 2))  # fmt: skip
    home = tmp_path / "home"
    assert run_cli("run", "--home", home, "--format", "rees46", "--source", one).code == 0
    shutil.rmtree(home / "lake" / "bronze" / "events")
    before = (home / "exports" / "current.json").read_bytes()
    for look in (require_files, lambda _lake: None):
        monkeypatch.setattr("behavior_assets.chain.require_files", look)
        done = run_cli("run", "--home", home, "--format", "rees46", "--source", two)
        assert (done.code, "bronze/events: the table is missing" in done.err) == (5, True)
        assert (home / "exports" / "current.json").read_bytes() == before
        assert not (home / "lake" / "bronze" / "events").exists()
    monkeypatch.undo()
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


def problems(home: Path) -> dict[str, str]:
    """What ``behavior verify`` says, by what it names."""
    return {p["where"]: p["what"] for p in verify_home(read_settings(home))["problems"]}


def deliveries(home: Path) -> set[str]:
    """How verify names what the archive should have of the module's home, after all of it was lost."""
    kept = {kind: paths for kind, paths in live(home).items() if kind.startswith("archive/")}
    originals = {named(home, p) for kind in ("generic", "rees46") for p in kept[f"archive/{kind}"]}
    return originals | {f"{p.parent.relative_to(home)}/*-{p.name.split('-', 1)[1]}"
                        for kind in ("ledger", "mappings") for p in kept[f"archive/{kind}"]}  # fmt: skip


def test_row_27_an_archive_that_is_gone_is_told(home: Path) -> None:
    """Every original, account and mapping; not where no archive is wanted, or was when the files came."""
    wanted = deliveries(home)
    assert len(wanted) == 3 + 3 + 2
    shutil.rmtree(home / "archive")
    assert broken(home) == wanted
    (home / "behavior.toml").write_text("archive = false\n", "utf-8")
    assert not broken(home)


def test_no_archive_is_missed_that_was_not_wanted(tmp_path: Path) -> None:
    """Files that came while the setting was off; then one for which it was on."""
    one, two = (write_rees46(tmp_path / f"{n}.csv", [rees46_row(f"2024-05-0{n} 10:00:00", "view", "p1", "v1")])
                for n in (1, 2))  # fmt: skip
    home = tmp_path / "home"
    Chain.at(home, archive=False).ingest([one], "rees46")
    assert not broken(home)
    Chain.at(home, archive=True).ingest([two], "rees46")
    assert not broken(home)
    shutil.rmtree(home / "archive")
    assert {w.rsplit("-", 1)[1] for w in broken(home)} == {"2.csv", "b00000002.json"}


@pytest.mark.parametrize("how", ["gone", "flip"])
def test_row_27_accounts_are_written_anew_from_the_ledger(home: Path, how: str) -> None:
    before = {p.name: p.read_bytes() for p in live(home)["archive/ledger"]}
    for path in live(home)["archive/ledger"]:
        if how == "gone":
            path.unlink()
        else:
            flip(path, path.stat().st_size // 2, 2)
    told = problems(home)
    assert len(told) == len(before)
    assert all("writes it anew from bronze's ledger" in what and "eliver" not in what for what in told.values())
    done = repaired(home)
    assert (done["ok"], done["problems"], done["left"]) == (True, [], [])
    assert {p.name: p.read_bytes() for p in live(home)["archive/ledger"]} == before


@pytest.mark.parametrize("how", ["gone", "flip"])
def test_row_27_a_mapping_comes_from_the_landing_folder_or_the_user(home: Path, how: str) -> None:
    """The advice is followed both ways: one mapping still lies where files are landed, the other is put there."""
    raw = {p: p.read_bytes() for p in live(home)["archive/mappings"]}
    for path in raw:
        if how == "gone":
            path.unlink()
        else:
            flip(path, 20, 2)
    told = problems(home)
    contracts = {p.name.split("-", 1)[1].removesuffix(".yaml"): p for p in raw}
    assert len(told) == len(contracts)
    for what in told.values():
        assert any(f"archive/mappings/mapping-{c}.yaml" in what for c in contracts)
        assert "Deliver" not in what
    landing = home / "landing" / "generic"
    landing.mkdir(parents=True, exist_ok=True)
    (landing / "mapping.yaml").write_text(MAPPING.format(events=EVENTS), "utf-8")
    done = repaired(home)
    ((where, what),) = problems(home).items()
    (lost,) = [c for c in contracts if c in where]
    assert f"archive/mappings/mapping-{lost}.yaml" in what
    assert [f"mapping-{lost}.yaml" in line for line in done["left"]] == [True]
    (home / "archive" / "mappings" / f"mapping-{lost}.yaml").write_bytes(raw[contracts[lost]])
    assert not broken(home)
    assert repaired(home)["ok"]


def test_row_27_a_key_that_is_not_the_one_is_named(home: Path, tmp_path: Path) -> None:
    """Another digit, another key, no hex, none at all: no run ingests with it, and no repair makes anything with it."""
    key = home / "keys" / "pseudonym.key"
    right = key.read_text("ascii")
    assert not broken(home)
    load_or_create_key(tmp_path / "other.key")
    more = write_rees46(tmp_path / "more.csv", [rees46_row("2024-05-06 10:00:00", "view", "p1", "v1")])
    before = Chain.at(home).table("bronze/events").version
    other = ("0" if right[0] != "0" else "1") + right[1:]
    for text in (other, (tmp_path / "other.key").read_text("ascii"), "no key\n", ""):
        key.write_text(text, "ascii")
        if not text:
            key.unlink()
        (what,) = problems(home).values()
        assert broken(home) == {"keys/pseudonym.key"}
        assert "backup" in what
        assert right.strip() not in what
        with pytest.raises(IntegrityError, match="Nothing is repaired"):
            repaired(home)
        assert key.exists() == bool(text)
        key.touch(mode=0o600) if text else None
    key.write_text(other, "ascii")
    key.chmod(0o600)
    done = run_cli("run", "--home", home, "--format", "rees46", "--source", more)
    assert (done.code != 0, "not the pseudonym key that silver was made with" in done.err) == (True, True)
    assert Chain.at(home).table("bronze/events").version == before
    key.write_text(right, "ascii")
    assert not broken(home)
