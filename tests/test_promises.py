"""Promises that a run keeps whatever happens beside it: a lost key, a lost file, a wrong format."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import REES46_HEADER, ingest_and_build, published, rees46_row, run_cli

DAY = "2024-05-01"


def events(path: Path, day: str, users: range) -> Path:
    """A file of one view per user."""
    rows = [rees46_row(f"{day} 10:00:{n:02d}", "view", "p1", f"user{n}", session=f"s{n}") for n in users]
    path.write_text("\n".join([REES46_HEADER, *rows, ""]), "utf-8")
    return path


def run(home: Path, *files: Path) -> tuple[int, str]:
    """Exit code and stderr of a run."""
    done = run_cli("run", "--home", home, "--format", "rees46", *(x for f in files for x in ("--source", f)))
    return done.code, done.err


def test_a_lost_key_stops_the_run_instead_of_counting_everybody_anew(tmp_path: Path) -> None:
    """Missing or another key: exit 2, the file is named; with the right one the run goes on."""
    home = tmp_path / "home"
    first, second = events(tmp_path / "a.csv", DAY, range(3)), events(tmp_path / "b.csv", "2024-05-02", range(3))
    assert run(home, first)[0] == 0
    key = home / "keys" / "pseudonym.key"
    kept = key.rename(tmp_path / "kept.key")
    code, words = run(home, second)
    assert (code, "pseudonym.key" in words, "backup" in words) == (2, True, True)
    assert not key.exists()
    shutil.copyfile(kept, key)
    key.chmod(0o600)
    assert run(home, second)[0] == 0
    assert published(home, "SELECT count(*) FROM dim_customer WHERE customer_key <> -1") == [(3,)]


def test_verify_misses_a_table_and_a_run_puts_back_a_lost_export(tmp_path: Path) -> None:
    """Exit 5 names what is gone; published files come back from gold; an unknown home is a usage error."""
    home = tmp_path / "home"
    file = events(tmp_path / "a.csv", DAY, range(3))
    assert run(home, file)[0] == 0
    (lost,) = (home / "exports" / "tables" / "fact_session").glob("*.parquet")
    lost.unlink()
    (home / "exports" / "behavior.duckdb").unlink()
    broken = run_cli("verify", "--home", home)
    assert broken.code == 5
    assert "behavior.duckdb" in broken.err
    assert lost.name in broken.err
    assert run(home, file)[0] == 0
    assert run_cli("verify", "--home", home).code == 0
    shutil.rmtree(home / "lake" / "silver" / "events")
    broken = run_cli("verify", "--home", home)
    assert (broken.code, "silver/events: the table is missing" in broken.err) == (5, True)
    assert run_cli("verify", "--home", tmp_path / "nowhere").code == 2


def test_a_file_of_another_format_is_refused_and_can_be_delivered_rightly(tmp_path: Path) -> None:
    """Not one row fits: exit 3, nothing in the ledger; the right format name then takes it."""
    file = events(tmp_path / "a.csv", DAY, range(12))
    headless = tmp_path / "b.csv"
    headless.write_text("\n".join(["a,b,c,d,e"] * 12) + "\n", "utf-8")
    home = tmp_path / "home"
    done = run_cli("run", "--home", home, "--format", "taobao", "--source", headless)
    assert (done.code, "b.csv: not one of its 12 rows" in done.err) == (3, True)
    assert run(home, file)[0] == 0


def test_a_number_beyond_its_range_is_quarantined_and_not_told(tmp_path: Path) -> None:
    """No value of the row reaches an error, and the other rows go on."""
    mapping = tmp_path / "map.yaml"
    mapping.write_text("columns: {event_time: t, event_name: n, user_id: u}\ntime: {format: epoch_s}\n", "utf-8")
    (tmp_path / "a.csv").write_text("t,n,u\n9999999999999999,view_item,secret\n1714550400,view_item,v\n", "utf-8")
    home = tmp_path / "home"
    done = run_cli("run", "--home", home, "--format", "generic", "--mapping", mapping, "--source", tmp_path / "a.csv",
                   "--json")  # fmt: skip
    assert done.code == 0, done.err
    (source,) = json.loads(done.out)["sources"]
    assert (source["accepted"], source["quarantined"]) == (1, 1)
    assert "9999999999999999" not in done.out + done.err


@pytest.mark.parametrize(("second", "sessions"), [("2024-05-02 00:00:00", 1), ("2024-05-02 00:00:01", 2)])
def test_exactly_the_gap_over_midnight(tmp_path: Path, second: str, sessions: int) -> None:
    """Thirty minutes are not above thirty minutes, also when the days are delivered apart."""
    files = []
    for name, moment in (("a.csv", "2024-05-01 23:30:00"), ("b.csv", second)):
        file = tmp_path / name
        file.write_text(f"{REES46_HEADER}\n{rees46_row(moment, 'view', 'p1', 'u1', session='s1')}\n", "utf-8")
        files.append([file])
    chain = ingest_and_build(tmp_path / "home", files, "rees46")
    assert chain.rows("silver/sessions", "SELECT count(*), sum(events) FROM t") == [(sessions, 2)]
