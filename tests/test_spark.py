"""Spark computes what DuckDB computes: the same rows in every table, on Sail and on Spark itself."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from behavior_assets.simulation.shop import ShopConfig, simulate
from behavior_assets.star import build, dimensions
from behavior_assets.tables import all_tables
from expectations.spark import of_spark
from resources import spark_session
from resources.compute import DuckDB
from resources.engine import engine
from resources.parquet import DataFile
from resources.part_writer import BUCKET, PART, PartWriter
from tests.conftest import (
    REPOSITORY,
    Chain,
    published,
    rees46_row,
    require_packages,
    require_shared,
    run_cli,
    same_key,
    write_rees46,
)
from tests.servers import free_port
from tests.sparks import JARS, break_a_session, require_spark, sail, spark, verdicts

ONLINE_RETAIL_DAYS = 12


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Sail server."""
    with sail(tmp_path_factory.mktemp("sail") / "log") as address:
        yield address


def real_rees46(chain: Chain, _folder: Path) -> None:
    """Real events of under three hours."""
    chain.ingest([require_shared("rees46") / "2019-Oct_first_2h50m.csv"], "rees46")


def real_invoices(chain: Chain, _folder: Path) -> None:
    """Real invoices of some days: refunds, bad debt, customers without a number, a zone that is not UTC."""
    files = sorted(require_shared("online_retail").glob("*.csv"))
    chain.ingest(files[:ONLINE_RETAIL_DAYS], "online_retail")


def made_up(chain: Chain, folder: Path) -> None:
    """A simulated shop over the end of a month, with visits over midnight."""
    simulate(ShopConfig(days=40, customers=150, seed=5), folder, "rees46")
    chain.ingest(sorted((folder / "rees46").glob("*.csv")), "rees46")


def ga4(chain: Chain, folder: Path) -> None:
    """A simulated shop whose events tell channel, device and country, and whose orders have several lines."""
    simulate(ShopConfig(days=8, customers=60, seed=6), folder, "ga4")
    chain.ingest(sorted((folder / "ga4").glob("*.json*")), "ga4")


# Compiling a query takes Spark longer than running it on so few rows.
SMALL = "spark.sql.codegen.wholeStage false\nspark.sql.codegen.factoryMode NO_CODEGEN\n"
DELIVERIES = (real_rees46, real_invoices, made_up, ga4)


@pytest.mark.parametrize("deliver", DELIVERIES)
def test_sail_makes_the_same_tables(deliver: Callable[[Chain, Path], None], server: str, tmp_path: Path) -> None:
    chain = Chain.at(tmp_path / "home", timezone="Europe/London")
    deliver(chain, tmp_path / "in")
    chain.build()
    other = unmade_twin(chain, tmp_path / "other")
    other.build(by=spark(other.settings, server))
    assert (other.silver_hashes(), other.hashes()) == (chain.silver_hashes(), chain.hashes())
    assert chain.table("gold/fact_session").rows() > 1


@pytest.mark.timeout(1200)
def test_spark_itself_makes_the_same_tables(tmp_path: Path) -> None:
    """In a process of its own: one that has a session of a server can have none of its own."""
    require_spark()
    chains, others = [], []
    for deliver in (real_rees46, ga4):  # a minute or two each, of which the rows are the least part
        chain = Chain.at(tmp_path / deliver.__name__, timezone="Europe/London")
        deliver(chain, tmp_path / f"{deliver.__name__}-in")
        chain.build()
        chains.append(chain)
        others.append(unmade_twin(chain, tmp_path / f"{deliver.__name__}-other"))
    homes = [str(other.settings.home.root) for other in others]
    by_spark_itself(tmp_path, "-m", "tests.sparks", "build", *homes)
    for chain, other in zip(chains, others, strict=True):
        assert (other.silver_hashes(), other.hashes()) == (chain.silver_hashes(), chain.hashes())


def test_a_late_event_changes_the_same_days(server: str, tmp_path: Path) -> None:
    """A visit over midnight whose beginning comes last: the day that it was counted on loses it."""
    chain = Chain.at(tmp_path / "home")
    evening = rees46_row("2024-05-01 23:50:00", "view", "1", "7", session="a")
    night = [rees46_row(f"2024-05-02 00:{m:02}:00", "cart", "1", "7", session="a") for m in (5, 15)]
    chain.ingest([write_rees46(tmp_path / "night.csv", [*night, rees46_row("2024-05-03 10:00:00", "view", "2", "8")])],
                 "rees46")  # fmt: skip
    chain.build()
    other = twin(chain, tmp_path / "other")
    for one in (chain, other):
        one.ingest([write_rees46(tmp_path / "evening.csv", [evening])], "rees46")
    chain.build()
    other.build(by=spark(other.settings, server))
    assert chain.rows("silver/sessions", "SELECT event_date::VARCHAR, events FROM t ORDER BY ALL") == [
        ("2024-05-01", 3), ("2024-05-03", 1),
    ]  # fmt: skip
    assert (other.silver_hashes(), other.hashes()) == (chain.silver_hashes(), chain.hashes())


def test_a_new_day_is_added_to_customers_and_carts(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One cart goes on, one is abandoned meanwhile, a customer is new."""
    added: list[str] = []
    for place, name in ((dimensions, "customers_seen_since"), (build, "fact_cart_item_since")):
        made = getattr(place, name)
        monkeypatch.setattr(place, name, lambda *a, made=made, name=name: added.append(name) or made(*a))
    chain = Chain.at(tmp_path / "home")
    before = [rees46_row(f"2024-05-0{d} 10:0{n}:00", "cart", f"{n}", f"{n}") for d in (1, 2) for n in range(8)]
    chain.ingest([write_rees46(tmp_path / "before.csv", before)], "rees46")
    chain.build()
    other = twin(chain, tmp_path / "other")
    later = [rees46_row(f"2024-05-04 09:00:0{n}", kind, f"{n}", f"{n}") for n, kind in ((1, "purchase"), (9, "cart"))]
    for one in (chain, other):
        one.ingest([write_rees46(tmp_path / "later.csv", later)], "rees46")
    chain.build()
    other.build(by=spark(other.settings, server))
    assert added == ["customers_seen_since", "fact_cart_item_since"] * 2
    assert (other.silver_hashes(), other.hashes()) == (chain.silver_hashes(), chain.hashes())
    assert chain.rows("gold/fact_cart_item", "SELECT status, count(*) FROM t GROUP BY 1 ORDER BY 1") == [
        ("abandoned", 7), ("open", 1), ("recovered", 1),
    ]  # fmt: skip


def test_what_one_engine_made_is_fresh_to_the_other(server: str, tmp_path: Path) -> None:
    chain = Chain.at(tmp_path / "home")
    made_up(chain, tmp_path / "in")
    chain.build(by=spark(chain.settings, server))
    versions = {spec.name: chain.lake.table(spec).version for spec in all_tables()}
    chain.build()
    assert {spec.name: chain.lake.table(spec).version for spec in all_tables()} == versions


def test_rules_say_the_same(server: str, tmp_path: Path) -> None:
    """Of tables that keep all their rules, and of one with a row that breaks many."""
    chain = Chain.at(tmp_path / "home")
    made_up(chain, tmp_path / "in")
    chain.build()
    break_a_session(chain)
    with engine(chain.settings) as backend:
        here, there = verdicts(chain, DuckDB(backend)), verdicts(chain, spark(chain.settings, server)(backend))
    assert there == here
    assert sum(not passed for _, passed, *_ in there["silver/sessions"]) > 1


@pytest.mark.timeout(1200)
def test_rules_say_the_same_on_spark_itself(tmp_path: Path) -> None:
    """Whose dates and intervals are not Sail's."""
    require_spark()
    chain = Chain.at(tmp_path / "home")
    ga4(chain, tmp_path / "in")
    chain.build()
    break_a_session(chain)
    with engine(chain.settings) as backend:
        here = verdicts(chain, DuckDB(backend))
    there = json.loads(by_spark_itself(tmp_path, "-m", "tests.sparks", "judge", str(chain.settings.home.root)))
    assert there == here
    assert sum(not passed for _, passed, *_ in there["silver/sessions"]) > 1


@pytest.mark.timeout(1200)
def test_a_run_of_the_command_on_spark_itself(tmp_path: Path) -> None:
    """A session of this machine, as the documentation shows it."""
    require_spark()
    home = tmp_path / "home"
    home.mkdir()
    (home / "behavior.toml").write_text(f'spark_jars = "{JARS}"\n')
    by_spark_itself(tmp_path, "-m", "behavior_assets.cli", "run", "--home", str(home), "--format", "rees46",
                    "--source", str(two_events(tmp_path)), "--engine", "spark")  # fmt: skip
    assert published(home, "SELECT count(*), sum(revenue_net) FROM fact_sales") == [(1, Decimal("9.9900"))]


def test_a_run_of_the_command(server: str, tmp_path: Path) -> None:
    """The star is published as by DuckDB, and a second run changes nothing."""
    file, home = two_events(tmp_path), tmp_path / "home"
    arguments = ("run", "--home", home, "--format", "rees46", "--source", file, "--json")
    told = [run_cli(*arguments, "--engine", "spark", "--spark-remote", server) for _ in range(2)]
    assert [t.code for t in told] == [0, 0], told[0].err
    assert published(home, "SELECT count(*), sum(revenue_net) FROM fact_sales") == [(1, Decimal("9.9900"))]
    assert len({json.loads(t.out)["snapshot"] for t in told}) == 1


def test_a_machine_that_joins_a_lake_in_a_store_may_use_spark(server: str, tmp_path: Path) -> None:
    """What it has not fetched yet is there when Spark reads it, and what Spark writes goes to the store."""
    (tmp_path / "store").mkdir()
    homes = [tmp_path / "one", tmp_path / "two"]
    for home in homes:
        home.mkdir()
        (home / "behavior.toml").write_text(f'lake_store = "file://{tmp_path}/store"\n')
    for day, home, engine_of in zip((1, 2), homes, ((), ("--engine", "spark", "--spark-remote", server)), strict=True):
        file = write_rees46(tmp_path / f"{day}.csv", [
            rees46_row(f"2024-05-0{day} 10:00:00", "purchase", "1", "7", session=f"s{day}"),
        ])  # fmt: skip
        told = run_cli("run", "--home", home, "--format", "rees46", "--source", file, *engine_of)
        assert told.code == 0, told.err
        if home == homes[0]:
            same_key(home, homes[1])
    for home in homes[::-1]:
        assert run_cli("run", "--home", home).code == 0
        assert published(home, "SELECT count(*), sum(revenue_net) FROM fact_sales") == [(2, Decimal("19.9800"))]


def test_no_spark_is_told_before_anything_is_taken_in(tmp_path: Path) -> None:
    require_packages("pyspark")
    file = write_rees46(tmp_path / "a.csv", [rees46_row("2024-05-01 10:00:00", "view", "1", "7")])
    remote = f"sc://127.0.0.1:{free_port()}"
    told = run_cli("run", "--home", tmp_path / "home", "--format", "rees46", "--source", file,
                   "--engine", "spark", "--spark-remote", remote)  # fmt: skip
    assert told.code == 2
    assert remote in told.err
    assert not (tmp_path / "home" / "lake" / "bronze").exists()


def test_a_remote_is_for_spark(tmp_path: Path) -> None:
    told = run_cli("run", "--home", tmp_path / "home", "--engine", "duckdb", "--spark-remote", "sc://x")
    assert told.code == 2
    assert "--spark-remote: is for --engine spark" in told.err


def test_a_remote_of_the_shell_waits_for_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEHAVIOR_SPARK_REMOTE", "sc://x")
    told = run_cli("run", "--home", tmp_path / "home", "--engine", "duckdb")
    assert "--spark-remote" not in told.err


def test_of_several_masters_one_must_listen() -> None:
    dead = f"127.0.0.1:{free_port()}"
    with socket.create_server(("127.0.0.1", 0)) as standby:
        spark_session._require_listener(f"spark://{dead},127.0.0.1:{standby.getsockname()[1]}")
    with pytest.raises(ConnectionRefusedError):
        spark_session._require_listener(f"spark://{dead},{dead}")


@pytest.mark.parametrize("remote", ["127.0.0.1:15002", "sc://", "http://x"])
def test_what_is_no_address_is_told_at_once(tmp_path: Path, remote: str) -> None:
    told = run_cli("run", "--home", tmp_path / "home", "--engine", "spark", "--spark-remote", f"{remote};token=secret")
    assert told.code == 2
    assert "secret" not in told.err
    assert f"--spark-remote {remote!r}: not an address of Spark" in told.err


def test_who_listens_and_does_not_answer_is_told(tmp_path: Path) -> None:
    """And the command ends, though Spark's client goes on waiting."""
    require_packages("pyspark")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        remote = f"sc://127.0.0.1:{silent.getsockname()[1]}"
        code = "from resources import spark_session as s; s._ANSWERS = 1; import behavior_assets.cli as c; c.main()"
        command = [sys.executable, "-c", code, "run", "--home", str(tmp_path / "home"), "--engine", "spark"]
        done = subprocess.run(
            [*command, "--spark-remote", remote], check=False, capture_output=True, text=True, cwd=REPOSITORY,
        )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert f"no session of {remote} (TimeoutError: no answer within 1 s)" in done.stderr


def test_jars_that_are_not_there_are_told(tmp_path: Path) -> None:
    require_spark()
    home = tmp_path / "home"
    home.mkdir()
    (home / "behavior.toml").write_text(f'spark_jars = "{tmp_path}"\n')
    told = run_cli("run", "--home", home, "--engine", "spark")
    assert told.code == 2
    assert "there are no jars of Delta Lake in" in told.err


@pytest.mark.parametrize("token", ["/;token=secret", "/?token=secret", "/token=secret", "?token=secret"])
def test_no_token_is_told(tmp_path: Path, token: str) -> None:
    remote = f"sc://127.0.0.1:{free_port()}"
    told = run_cli("run", "--home", tmp_path / "home", "--engine", "spark", "--spark-remote", remote + token)
    assert told.code == 2
    assert remote in told.err
    assert "secret" not in told.err + told.out


def test_parts_are_cut_where_they_end(tmp_path: Path) -> None:
    """Rows of a part come in several batches and batches hold several parts; a part of two buckets is two files."""
    schema = pa.schema([("event_date", pa.date32()), ("n", pa.int64())])
    first, second = date(2024, 5, 1), date(2024, 5, 2)
    batches = [
        pa.RecordBatch.from_pydict({"event_date": d, "n": n, PART: [str(x) for x in d], BUCKET: b})
        for d, n, b in [([first], [1], [0]), ([first, second], [2, 3], [0, 0]), ([], [], []), ([second], [4], [1])]
    ]  # fmt: skip
    writer = PartWriter(str(tmp_path), by_day=True, schema=schema, undictionaried=frozenset(),
                        marks={"2024-05-01": "x", "2024-05-02": "y"}, origins={"2024-05-02": "before"})  # fmt: skip
    found = [DataFile(**b.to_pylist()[0]) for b in writer(b for b in batches)]
    assert [(f.part, f.fingerprint, f.origin, f.rows) for f in found] == [
        ("2024-05-01", "x", "", 2), ("2024-05-02", "y", "before", 1), ("2024-05-02", "y", "before", 1),
    ]  # fmt: skip
    assert [pq.read_table(tmp_path / f.path, partitioning=None)["n"].to_pylist() for f in found] == [[1, 2], [3], [4]]
    assert all(DataFile.parse(f.path, f.rows, f.size) == f for f in found)


def test_rules_in_the_words_of_spark() -> None:
    assert of_spark("WITH a AS NOT MATERIALIZED (SELECT * FROM b) SELECT regexp_full_match(c, 'x|y') FROM a") == (
        "WITH a AS (SELECT * FROM b) SELECT c RLIKE '\\\\A(?:x|y)\\\\z' FROM a"
    )


def two_events(folder: Path) -> Path:
    """A file of a view and a purchase."""
    return write_rees46(folder / "a.csv", [
        rees46_row("2024-05-01 10:00:00", "view", "1", "7", session="a"),
        rees46_row("2024-05-01 10:01:00", "purchase", "1", "7", session="a"),
    ])  # fmt: skip


def by_spark_itself(folder: Path, *command: str) -> str:
    """What Python says in a process of its own, and whose Spark compiles nothing."""
    (folder / "spark-defaults.conf").write_text(SMALL)
    done = subprocess.run(
        [sys.executable, *command], check=False, capture_output=True, text=True, cwd=REPOSITORY,
        env=os.environ | {"SPARK_CONF_DIR": str(folder)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def twin(chain: Chain, home: Path) -> Chain:
    """A copy of a home: the same keys, so the same pseudonyms."""
    shutil.copytree(chain.settings.home.root, home, symlinks=True)
    return Chain.at(home, timezone=chain.settings.timezone)


def unmade_twin(chain: Chain, home: Path) -> Chain:
    """A copy of a home that has silver events and nothing that is made of them."""
    made = twin(chain, home)
    for path in made.settings.home.lake.glob("*/*"):
        if path.parent.name in {"silver", "gold"} and path.name != "events":
            shutil.rmtree(path)
    return made
