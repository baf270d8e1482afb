"""A day that breaks a blocking rule is held back and passes when mended; a gold table that does is not published."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet as pq
import pytest

from behavior_assets import quality
from behavior_assets.automation import DAY_TABLES
from behavior_assets.chain import stale_ranges
from behavior_assets.ingestion.canonical import BRONZE_EVENTS
from behavior_assets.partitions import asset_key
from behavior_assets.sessions import assets as session_assets
from expectations.rules import RuleSet, load_rules, parse_rules
from resources.settings import load_settings
from tests.conftest import Chain, published, run_cli

HEADER = "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session\n"
THREE_DAYS = HEADER + "".join(
    f"2024-03-0{day} 10:00:00 UTC,view,11,7,a.b,acme,{price},u{day},s{day}\n"
    for day, price in ((1, 5), (2, 500), (3, 7))
)


def with_rule(monkeypatch: pytest.MonkeyPatch, table: str, rule: dict[str, Any]) -> None:
    """Add a blocking rule to a table's own."""
    text = json.dumps({"table": table, "rules": [{"blocking": True, "description": "test", **rule}]})
    added = parse_rules(text, f"{table.replace('/', '_')}.yaml")

    def load(name: str) -> RuleSet:
        own = load_rules(name)
        return replace(own, rules=(*own.rules, *added.rules)) if name == table else own

    monkeypatch.setattr(quality, "load_rules", load)


def run(home: Path, *more: object) -> tuple[int, dict[str, Any], str]:
    """Exit code, what --json told, and the words on stderr."""
    done = run_cli("run", "--home", home, *more, "--json")
    return done.code, json.loads(done.out), done.err


def test_a_broken_day_is_held_back_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 4 names table, rule and day; bronze keeps the day; silver and gold get it once the rule holds."""
    file = tmp_path / "events.csv"
    file.write_text(THREE_DAYS, "utf-8")
    home = tmp_path / "home"
    cheap = {"name": "price_is_believable", "kind": "between", "column": "price", "max": 100}
    with monkeypatch.context() as patched:
        with_rule(patched, "bronze/events", cheap)
        code, told, words = run(home, "--format", "rees46", "--source", file)
        assert code == 4
        for piece in ("bronze/events", "price_is_believable", "2024-03-02"):
            assert piece in words
        assert told["tables"]["bronze/events"] == 3
        assert told["tables"]["silver/events"] == 2
        assert published(home, "SELECT date_key FROM fact_session ORDER BY 1") == [(20240301,), (20240303,)]
        (held,) = told["held_days"]
        assert (held["table"], held["day"]) == ("bronze/events", "2024-03-02")
        assert "2024-03-02" in run_cli("status", "--home", home).out
    code, told, _ = run(home)
    assert (code, told["held_days"]) == (0, [])
    assert published(home, "SELECT date_key FROM fact_session ORDER BY 1") == [(20240301,), (20240302,), (20240303,)]


def test_a_day_with_a_doubled_order_is_held_back_alone(tmp_path: Path) -> None:
    """Three days with an order each; on the second, deduplication is made to fail: its order is in bronze twice."""
    file = tmp_path / "events.csv"
    file.write_text(THREE_DAYS.replace(",view,", ",purchase,"), "utf-8")
    home = tmp_path / "home"
    chain = Chain.at(home)
    chain.ingest([file], "rees46")
    bronze = chain.lake.table(BRONZE_EVENTS)
    (once,) = bronze.parts()["2024-03-02"]
    again = bronze.write("2024-03-02", "again", [pq.read_table(bronze.root / once.path)] * 2)
    bronze.commit([again])
    sales = "SELECT date_key, revenue_net FROM fact_sales ORDER BY 1"

    code, told, words = run(home)
    assert code == 4
    assert "silver/events: rule commerce_event_is_unique failed for 1 rows (held back: 2024-03-02)" in words
    held = [(h["table"], h["day"], h["rules"]) for h in told["held_days"]]
    assert held == [("silver/events", "2024-03-02", "commerce_event_is_unique")]
    assert published(home, sales) == [(20240301, 5), (20240303, 7)]

    bronze.commit([once])
    code, told, _ = run(home)
    assert (code, told["held_days"]) == (0, [])
    assert published(home, sales) == [(20240301, 5), (20240302, 500), (20240303, 7)]


def test_a_broken_gold_table_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last good snapshot stays until the table passes."""
    home = tmp_path / "home"
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    first.write_text(THREE_DAYS, "utf-8")
    second.write_text(HEADER + "2024-03-04 10:00:00 UTC,view,12,7,a.b,acme,9,u4,s4\n", "utf-8")
    _, good, _ = run(home, "--format", "rees46", "--source", first)
    with monkeypatch.context() as patched:
        with_rule(patched, "gold/dim_customer", {"name": "few_customers", "kind": "row_count", "max": 4})
        code, told, words = run(home, "--format", "rees46", "--source", second)
        assert code == 4
        assert "gold/dim_customer: rule few_customers failed for 1 rows; nothing new is published" in words
        assert "held back" not in words
        assert told["snapshot"] == good["snapshot"]
        assert published(home, "SELECT count(*) FROM fact_session") == [(3,)]
    code, told, _ = run(home)
    assert code == 0
    assert told["snapshot"] != good["snapshot"]
    assert published(home, "SELECT count(*) FROM fact_session") == [(4,)]


def test_a_rule_that_cannot_be_asked_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its table, in a sentence, and without what it would have compared."""
    file = tmp_path / "first.csv"
    file.write_text(THREE_DAYS, "utf-8")
    rule = {"name": "numbers", "kind": "holds", "condition": "CAST(source AS INTEGER) > 0"}
    with_rule(monkeypatch, "silver/sessions", rule)
    code, told, words = run(tmp_path / "home", "--format", "rees46", "--source", file)
    assert code == 1
    assert "silver/sessions: rule numbers: could not be evaluated: ConversionException: details withheld" in words
    assert told["failure"] in words
    assert "unexpected" not in words


def test_a_run_that_died_between_silver_and_sessions_is_made_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was not reached is stale, also on days before the newest; a changed setting makes every day stale."""
    file = tmp_path / "events.csv"
    file.write_text(THREE_DAYS, "utf-8")
    home = tmp_path / "home"

    def die(*_: object) -> list[str]:
        message = "the machine went down"
        raise RuntimeError(message)

    with monkeypatch.context() as patched:
        patched.setattr(session_assets, "build_sessions", die)
        assert run(home, "--format", "rees46", "--source", file)[0] == 1
    assert run(home)[0] == 0
    assert published(home, "SELECT count(*) FROM fact_session") == [(3,)]
    settings = load_settings(home)
    assert stale_ranges(settings, ["2024-03-01", "2024-03-02", "2024-03-03"]) == [("2024-03-03", "2024-03-03")]
    shorter = replace(settings, session_gap_minutes=1)
    assert stale_ranges(shorter, ["2024-03-01", "2024-03-02", "2024-03-03"]) == [("2024-03-01", "2024-03-03")]


def test_years_without_events_cost_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One event of long ago and one of now: Dagster is told of these two days, and not of the thousands between."""
    file, home = tmp_path / "events.csv", tmp_path / "home"
    file.write_text("1,10,100,pv,1400000000\n1,10,100,cart,1700000000\n", "utf-8")
    assert run(home, "--format", "taobao", "--source", file)[0] == 0
    assert published(home, "SELECT count(*) FROM fact_session") == [(2,)]
    monkeypatch.setenv("DAGSTER_HOME", str(home / "dagster"))
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        for table in DAY_TABLES:
            assert instance.get_materialized_partitions(asset_key(table)) == {"2014-05-13", "2023-11-14"}


def test_where_every_day_is_held_nothing_crashes_and_all_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rule, and beside it a file that was refused; no snapshot, no failed step."""
    good, bad = tmp_path / "events.csv", tmp_path / "bad.csv"
    good.write_text(THREE_DAYS, "utf-8")
    bad.write_text("a,b\n1,2\n", "utf-8")
    home = tmp_path / "home"
    dear = {"name": "nothing_is_cheap", "kind": "between", "column": "price", "min": 900}
    with_rule(monkeypatch, "bronze/events", dear)
    code, told, words = run(home, "--format", "rees46", "--source", good, "--source", bad)
    assert (code, told["failure"], told["snapshot"]) == (4, "", None)
    for piece in ("nothing_is_cheap", "2024-03-03", "bad.csv", "column event_time is missing"):
        assert piece in words
