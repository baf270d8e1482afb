"""A home's zone is decided once, by the user or the first file that stays; a file that its lake has lost is told."""

from __future__ import annotations

import json
import os
import shutil
import time
import tomllib
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from behavior_assets.definitions import build_definitions
from behavior_assets.ingestion.ahead import Delivery
from behavior_assets.ingestion.canonical import BRONZE_EVENTS
from behavior_assets.ingestion.ingest import Ingestion, IngestReport
from behavior_assets.ingestion.sources import load_source
from resources.engine import engine
from resources.errors import IntegrityError, UsageError
from resources.lake import Lake
from resources.settings import Settings, create_home, load_settings, resolve_home
from tests.conftest import Chain, published, rees46_row, run_cli, write_rees46

RETAIL_HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"


def invoices(path: Path, lines: int = 4) -> Path:
    """Invoice lines at half past midnight in London, on 2 June 2011: half past eleven of the day before in UTC."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [f"5000{n},22423,CAKESTAND,1,2011-06-02 00:30:00,12.75,17850,United Kingdom" for n in range(lines)]
    path.write_text("\n".join([RETAIL_HEADER, *rows, ""]), "utf-8")
    return path


def views(path: Path, moment: str = "2024-06-01 23:30:00", rows: int = 4) -> Path:
    """Views at half past eleven in the evening, UTC: the next day in London."""
    return write_rees46(path, [rees46_row(moment, "view", f"p{n}", "u1") for n in range(rows)])


def hopeless(path: Path) -> Path:
    """A file that is refused only after all its rows were read."""
    path.write_text("a,b,c,d,e\n" * 12, "utf-8")
    return path


def ingest(settings: Settings, *files: tuple[Path, str]) -> IngestReport:
    """Files of any formats, in one delivery, with the settings as they are."""
    with engine(settings) as backend:
        deliveries = [Delivery(path, load_source(name)) for path, name in files]
        return Ingestion(Lake(settings.home.lake), settings, backend.con).run(deliveries)


def days(home: Path) -> set[str]:
    """The days of bronze."""
    return set(Lake(create_home(home).home.lake).table(BRONZE_EVENTS).parts())


def test_a_new_home_sets_nothing(home: Path) -> None:
    create_home(home)
    text = (home / "behavior.toml").read_text("utf-8")
    assert tomllib.loads(text) == {}
    assert "# timezone" in text
    assert json.loads(run_cli("status", "--home", home, "--json").out)["timezone"] is None
    assert "not decided yet" in run_cli("status", "--home", home).out


def test_a_home_made_by_the_daemon_gets_the_zone_of_its_first_landed_file(home: Path) -> None:
    """The folders are made before anybody knows what will come."""
    definitions = build_definitions(create_home(home))
    file = invoices(home / "landing" / "online_retail" / "a.csv")
    os.utime(file, (time.time() - 60, time.time() - 60))
    with dg.DagsterInstance.ephemeral() as instance:
        assert definitions.resolve_job_def("ingest").execute_in_process(instance=instance).success
    assert load_settings(home).timezone == "Europe/London"
    assert days(home) == {"2011-06-02"}


@pytest.mark.parametrize("chunk_rows", [1_000_000, 8], ids=["held", "streamed"])
def test_a_refused_file_does_not_decide_and_the_first_that_stays_decides_for_all(
    tmp_path: Path, home: Path, chunk_rows: int
) -> None:
    settings = replace(create_home(home), chunk_rows=chunk_rows, threads=4)
    bad, good = (hopeless(tmp_path / "bad.csv"), "taobao"), (invoices(tmp_path / "a.csv"), "online_retail")
    assert ingest(settings, bad).refused
    assert load_settings(home).timezone == ""
    report = ingest(settings, bad, good, (views(tmp_path / "b.csv"), "rees46"))
    assert [e.file_name for e in report.entries] == ["a.csv", "b.csv"]
    assert load_settings(home).timezone == "Europe/London"
    assert days(home) == {"2011-06-02", "2024-06-02"}


def test_the_zone_of_the_first_file_holds_for_a_source_with_another(tmp_path: Path, home: Path) -> None:
    ingest(create_home(home), (views(tmp_path / "b.csv"), "rees46"), (invoices(tmp_path / "a.csv"), "online_retail"))
    assert load_settings(home).timezone == "UTC"
    assert days(home) == {"2011-06-01", "2024-06-01"}


def test_a_process_that_waited_for_the_first_file_takes_its_zone(tmp_path: Path, home: Path) -> None:
    """Both read their settings before either had the lock."""
    first, second = create_home(home), create_home(home)
    ingest(first, (invoices(tmp_path / "a.csv"), "online_retail"))
    ingest(second, (views(tmp_path / "b.csv"), "rees46"))
    assert days(home) == {"2011-06-02", "2024-06-02"}


def test_what_the_user_set_is_obeyed_and_then_fixed(tmp_path: Path, home: Path) -> None:
    settings_file = create_home(home).home.settings_file
    settings_file.write_text('timezone = "Asia/Tokyo"\n', "utf-8")
    command = ("run", "--home", home, "--format", "online_retail", "--source", invoices(tmp_path / "a.csv"))
    assert run_cli(*command).code == 0
    assert days(home) == {"2011-06-02"}  # 08:30 in Tokyo
    ingest(create_home(home), (views(tmp_path / "b.csv", "2024-06-01 15:30:00"), "rees46"))
    assert days(home) == {"2011-06-02", "2024-06-02"}
    settings_file.write_text('timezone = "Europe/London"\n', "utf-8")
    for words in (command, ("status", "--home", home)):
        done = run_cli(*words)
        assert (done.code, "Asia/Tokyo" in done.err, "Europe/London" in done.err) == (2, True, True)
    with pytest.raises(UsageError, match="fixed"):
        ingest(replace(Chain.at(tmp_path / "other").settings, home=resolve_home(home)), (tmp_path / "a.csv", "rees46"))
    settings_file.write_text("# nothing is set\n", "utf-8")
    assert run_cli(*command).code == 0
    assert json.loads(run_cli("status", "--home", home, "--json").out)["timezone"] == "Asia/Tokyo"


def test_sessions_follow_the_zone_that_a_file_decided(tmp_path: Path, home: Path) -> None:
    """Through the command: everything after bronze is told by the same zone."""
    file = invoices(tmp_path / "a.csv")
    done = run_cli("run", "--home", home, "--format", "online_retail", "--source", file, "--json")
    assert json.loads(done.out)["timezone"] == "Europe/London"
    assert Chain.at(home).rows("silver/sessions", "SELECT DISTINCT event_date::VARCHAR FROM t") == [("2011-06-02",)]


# Files of the lake that are gone


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home after one run."""
    base = tmp_path_factory.mktemp("whole")
    done = run_cli("run", "--home", base / "home", "--format", "rees46", "--source", views(base / "a.csv"))
    assert done.code == 0, done.err
    return base


def copied(whole: Path, tmp_path: Path) -> Path:
    """A home to break."""
    shutil.copytree(whole / "home", tmp_path / "home")
    return tmp_path / "home"


def data_file(home: Path, table: str) -> Path:
    """Some data file of a table."""
    return next((home / "lake" / table).rglob("*.parquet"))


@pytest.mark.parametrize(
    "tables", [("bronze/events",), ("silver/events", "quality/days"), ("silver/sessions", "gold/dim_product")]
)
def test_a_run_tells_of_a_lost_file_and_what_it_says_to_do_helps(
    whole: Path, tmp_path: Path, tables: tuple[str, ...]
) -> None:
    """Each file is missed by itself; then, all of them lost, a repair gives them back at once."""
    home = copied(whole, tmp_path)
    more = views(tmp_path / "b.csv", "2024-06-05 10:00:00")
    command = ("run", "--home", home, "--format", "rees46", "--source", more)
    files = [data_file(home, table) for table in tables]
    for table, lost in zip(tables, files, strict=True):
        aside = lost.rename(tmp_path / "aside")
        done = run_cli(*command)
        assert (done.code, lost.name in done.err, f"{table}: " in done.err) == (5, True, True)
        assert "`behavior verify --repair`" in done.err
        assert days(home) == {"2024-06-01"}  # nothing was taken in
        aside.rename(lost)
    for lost in files:
        lost.unlink()
    told = json.loads(run_cli("verify", "--home", home, "--json").out)
    assert {Path(p["where"]).name for p in told["problems"]} >= {lost.name for lost in files}
    repaired = run_cli("verify", "--home", home, "--repair")
    assert repaired.code == 0, repaired.err
    assert run_cli(*command).code == 0
    assert run_cli("verify", "--home", home).code == 0


def test_a_cut_file_is_told_too(whole: Path, tmp_path: Path) -> None:
    home = copied(whole, tmp_path)
    file = data_file(home, "bronze/events")
    file.write_bytes(file.read_bytes()[:-10])
    done = run_cli("run", "--home", home, "--json")
    assert (done.code, json.loads(done.out)["exit_code"]) == (5, 5)
    assert f"{file.name} has {file.stat().st_size:,} bytes" in done.err


def test_an_asset_that_needs_a_lost_file_says_so(whole: Path, tmp_path: Path) -> None:
    """Without the command's own look at the start: a file of the same day is compared with what bronze holds."""
    home = copied(whole, tmp_path)
    lost = data_file(home, "bronze/events")
    lost.unlink()
    with pytest.raises(IntegrityError, match=f"bronze/events: the data file .*{lost.name} is missing"):
        ingest(create_home(home), (views(tmp_path / "b.csv", "2024-06-01 23:31:00"), "rees46"))


def test_a_file_is_no_home(tmp_path: Path) -> None:
    place = tmp_path / "events.csv"
    place.write_text("x", "utf-8")
    done = run_cli("run", "--home", place, "--json")
    assert (done.code, json.loads(done.out)["exit_code"]) == (2, 2)
    assert f"--home {place}" in done.err


def test_a_moved_home_is_whole_after_the_next_run(tmp_path: Path) -> None:
    """The views of ``behavior.duckdb`` hold absolute paths; a run writes them anew, though nothing else changed."""
    file = views(tmp_path / "a.csv")
    assert run_cli("run", "--home", tmp_path / "here", "--format", "rees46", "--source", file).code == 0
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    assert run_cli("verify", "--home", tmp_path / "there").code == 5
    assert run_cli("run", "--home", tmp_path / "there").code == 0
    shutil.rmtree(tmp_path / "here")
    assert run_cli("verify", "--home", tmp_path / "there").code == 0
    assert published(tmp_path / "there", "SELECT sum(views)::INT FROM fact_session") == [(4,)]


def test_a_garbled_dagster_database_is_named_with_what_to_do(tmp_path: Path) -> None:
    home, file = tmp_path / "home", views(tmp_path / "a.csv")
    assert run_cli("run", "--home", home, "--format", "rees46", "--source", file).code == 0
    databases = list((home / "dagster").rglob("*.db"))
    assert databases
    for path in databases:
        path.write_bytes(b"no database" * 1000)
    broken = run_cli("run", "--home", home, "--format", "rees46", "--source", views(tmp_path / "b.csv", rows=5))
    assert (broken.code, broken.err.count("\n")) == (1, 1), broken.err
    assert broken.err.startswith(f"behavior: {home / 'dagster'}: Dagster's database there is damaged.")
    (home / "dagster").rename(tmp_path / "away")
    done = run_cli("run", "--home", home, "--format", "rees46", "--source", tmp_path / "b.csv")
    assert done.code == 0, done.err
    assert published(home, "SELECT sum(views)::INT FROM fact_session") == [(5,)]


def test_a_setting_below_its_least_is_refused(tmp_path: Path) -> None:
    (tmp_path / "behavior.toml").write_text("max_field_bytes = 1023\n")
    with pytest.raises(UsageError, match="max_field_bytes = 1023: a number of at least 1024"):
        load_settings(tmp_path)
