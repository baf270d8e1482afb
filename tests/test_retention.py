"""Retention (P15): by a fake clock, what is older than it is to be kept leaves every layer, and nothing else does."""

from __future__ import annotations

import json
import os
from dataclasses import fields, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest

from behavior_assets import staleness
from behavior_assets.automation import daily_retention, retain_job
from behavior_assets.ingestion.ledger import read_ledger, read_removed, sums_of
from behavior_assets.privacy.audit_log import open_audit
from behavior_assets.privacy.due import LAYERS
from behavior_assets.privacy.marks import read_marks
from behavior_assets.privacy.registry import Layer, registry
from behavior_assets.privacy.retention import NotExpiredError, Retention
from behavior_assets.privacy.rotation import destroy_all
from behavior_assets.privacy.scanner import Needles, scan
from behavior_assets.tables import all_tables
from exports.snapshot import read_manifest, write_duckdb
from resources.errors import BehaviorError
from resources.failpoints import armed
from resources.home import HomeResource
from resources.lock import exclusive
from resources.models import ModelStore
from resources.settings import Settings
from resources.table import LakeTable
from tests.conftest import Chain, rees46_row, run_cli, write_rees46
from tests.persons import ANN, ANNS, BOB, DAYS, EVE, again, called, deliveries, problems, seen, visit

FIRST, SECOND, THIRD, LAST = DAYS
NOON = datetime(2024, 6, 3, 12, tzinfo=UTC)  # the day after the last


@pytest.fixture
def chain(chain: Chain) -> Chain:
    """Its views name the copied files."""
    manifest = read_manifest(chain.settings.home.exports)
    assert manifest is not None
    write_duckdb(chain.settings.home.exports, manifest)
    return chain


def round_of(chain: Chain, now: datetime, **keep: int) -> Retention:
    """A round at a moment by these settings, with a chain that asks no rules and trains nothing."""
    def run(_settings: Any, _tell: Any) -> list[str]:
        with exclusive(chain.settings.home.dagster), exclusive(chain.settings.home.lake):
            again(chain)
        return []

    return Retention(replace(chain.settings, **keep), run, now=lambda: now)


def retain(chain: Chain, now: datetime, **keep: int) -> dict[str, Any]:
    return round_of(chain, now, **keep).run()


def days(chain: Chain, table: str) -> list[str]:
    return list(tables(chain)[table].parts())


def tables(chain: Chain) -> dict[str, LakeTable]:
    return {spec.name: chain.lake.table(spec) for spec in all_tables()}


def state(chain: Chain) -> dict[str, list[str]]:
    """The files of every table, and all that lies in archive and exports."""
    told = {name: [f.path for f in table.files()] for name, table in tables(chain).items()}
    for folder in (chain.settings.home.archive, chain.settings.home.exports, chain.settings.home.refused):
        told[folder.name] = sorted(str(p) for p in folder.rglob("*") if p.is_file())
    return told


def arrivals(chain: Chain) -> list[datetime]:
    """When each file came."""
    found = [e.arrived_ts_us for e in read_ledger(chain.table("bronze/events"))]
    return [datetime.fromtimestamp(0, UTC) + timedelta(microseconds=us) for us in found]


# Layers


def test_every_layer_has_a_setting_and_by_default_nothing_expires(chain: Chain) -> None:
    names = {f.name: f.default for f in fields(Settings) if f.name.startswith("keep_")}
    assert names == {f"keep_{layer}_days": 0 for layer in LAYERS}
    assert {h.layer for h in registry().values() if h.personal} <= {*LAYERS, Layer.decisions}
    before = state(chain)
    assert retain(chain, NOON + timedelta(days=36_500)) == {"expired": {}, "overdue": [], "tombstones": []}
    assert state(chain) == before


def test_every_table_of_events_is_kept_by_day() -> None:
    """So a table that is declared expires by being declared."""
    specs = [s for s in all_tables() if registry()[s.name].layer in {Layer.bronze, Layer.silver}]
    assert specs
    assert all(s.by_day for s in specs)


@pytest.mark.parametrize(("keep", "left"), [(4, DAYS), (3, DAYS[1:]), (1, DAYS[3:])])
def test_bronze_keeps_so_many_days(chain: Chain, keep: int, left: tuple[str, ...]) -> None:
    """A day is kept at the limit and leaves the day after; silver and gold stay as they are."""
    before, home = state(chain), chain.settings.home
    retain(chain, NOON, keep_bronze_days=keep)
    assert days(chain, "bronze/events") == list(left)
    assert {n: f for n, f in state(chain).items() if n != "bronze/events"} == {
        n: f for n, f in before.items() if n != "bronze/events"}  # fmt: skip
    assert problems(chain) == []
    on_disk = sorted(p.parent.name for p in (home.lake / "bronze" / "events").rglob("*.parquet"))
    assert on_disk == [f"event_date={day}" for day in left]


def test_what_was_accepted_is_present_or_expired(chain: Chain) -> None:
    retain(chain, NOON, keep_bronze_days=1)
    bronze = chain.table("bronze/events")
    accepted = sum(e.accepted for e in read_ledger(bronze))
    expired = sum(sums_of(read_removed(bronze), "records", "expired").values())
    assert (accepted, expired, bronze.rows()) == (30, 24, 6)


@pytest.mark.parametrize(("keep", "left"), [(4, DAYS), (3, DAYS[1:])])
def test_silver_and_gold_keep_so_many_days(chain: Chain, keep: int, left: tuple[str, ...]) -> None:
    """What expired in silver is gone from gold, while bronze keeps it; what is left adds up to what it did."""
    sales = chain.rows("gold/fact_sales", f"SELECT date_key, sum(revenue_net) FROM t WHERE date_key >= "
                       f"{left[0].replace('-', '')} GROUP BY 1 ORDER BY 1")  # fmt: skip
    retain(chain, NOON, keep_silver_days=keep)
    for name in ("silver/events", "silver/sessions", "silver/customer_day", "silver/commerce_events"):
        assert days(chain, name) == list(left)
    assert days(chain, "bronze/events") == list(DAYS)
    assert chain.rows("gold/fact_sales", "SELECT date_key, sum(revenue_net) FROM t GROUP BY 1 ORDER BY 1") == sales
    assert problems(chain) == []


@pytest.mark.parametrize(("keep", "left"), [(4, DAYS), (1, DAYS[3:])])
def test_gold_keeps_so_many_days(chain: Chain, keep: int, left: tuple[str, ...]) -> None:
    """Silver keeps what gold does not show; who has no day left is no customer of gold."""
    retain(chain, NOON, keep_gold_days=keep)
    shown = [int(day.replace("-", "")) for day in left]
    for name in ("fact_session", "fact_sales", "fact_product_day"):
        assert chain.rows(f"gold/{name}", "SELECT DISTINCT date_key FROM t ORDER BY 1") == [(day,) for day in shown]
    assert chain.rows("gold/fact_cart_item", "SELECT count(*), min(added_date_key) FROM t")[0][1] == shown[0]
    persons = 3 if left == DAYS else 2  # Ann was last there on the third day
    assert chain.rows("gold/dim_customer", "SELECT count(*) FROM t WHERE customer_key <> -1") == [(persons,)]
    assert days(chain, "silver/events") == list(DAYS)
    assert problems(chain) == []


def test_older_snapshots_do_not_show_what_expired(chain: Chain) -> None:
    before = called(chain)
    told = retain(chain, NOON, keep_gold_days=1)
    assert len(told["tombstones"]) == 2
    assert seen(chain.settings.home.exports, before - set(ANNS)) == []


@pytest.mark.parametrize(("late", "rows"), [(0, 3), (1, 0)])
def test_quarantine_is_kept_from_the_arrival(chain: Chain, late: int, rows: int) -> None:
    arrived = arrivals(chain)[1]
    retain(chain, arrived + timedelta(days=7, microseconds=late), keep_quarantine_days=7)
    assert chain.table("quarantine/events").rows() == rows
    assert sum(e.quarantined for e in read_ledger(chain.table("bronze/events"))) == 3
    assert problems(chain) == []


@pytest.mark.parametrize(("late", "files"), [(0, 4), (1, 1)])
def test_originals_are_kept_from_their_arrival(chain: Chain, late: int, files: int) -> None:
    """Three came together, and the last later."""
    archive, arrived = chain.settings.home.archive / "rees46", arrivals(chain)[0]
    retain(chain, arrived + timedelta(days=7, microseconds=late), keep_archive_days=7)
    assert len(list(archive.iterdir())) == files
    assert problems(chain) == []


def test_an_original_that_comes_again_is_repeated_and_not_kept(chain: Chain, tmp_path: Path) -> None:
    retain(chain, arrivals(chain)[-1] + timedelta(days=8), keep_archive_days=7, keep_bronze_days=1)
    before = state(chain)
    report = chain.ingest(deliveries(tmp_path / "again"), "rees46")
    assert (len(report.repeated), report.entries) == (4, [])
    assert state(chain) == before


def test_a_repair_says_that_an_original_has_expired(chain: Chain) -> None:
    from behavior_assets.repair import repair_home

    retain(chain, arrivals(chain)[-1] + timedelta(days=8), keep_archive_days=7)
    bronze = chain.table("bronze/events")
    (bronze.root / bronze.files()[0].path).unlink()
    told = repair_home(chain.settings, list)
    assert not told["ok"]
    assert any("2024-05-30.csv has expired (keep_archive_days)" in reason for reason in told["left"])


@pytest.mark.parametrize(("late", "left"), [(0, {"bad.csv", "bad.csv.reason.txt"}), (1, set())])
def test_refused_files_are_kept_from_their_refusal(chain: Chain, late: int, left: set[str]) -> None:
    """A file keeps the time that it came with; its reason was written when it was refused."""
    refused = chain.settings.home.refused
    refused.mkdir(parents=True)
    for name in ("bad.csv", "bad.csv.reason.txt"):
        (refused / name).write_text(ANN)
    os.utime(refused / "bad.csv", (0, 0))
    os.utime(refused / "bad.csv.reason.txt", (NOON.timestamp(), NOON.timestamp()))
    retain(chain, NOON + timedelta(days=7, seconds=late), keep_landing_days=7)
    assert {p.name for p in refused.iterdir()} == left


@pytest.mark.parametrize(("late", "left"), [(0, 2), (1, 1)])
def test_what_a_repair_put_aside_is_kept_like_refused_files(chain: Chain, late: int, left: int) -> None:
    damaged = chain.settings.home.root / "damaged"
    for moment in (NOON, NOON + timedelta(days=1)):
        folder = damaged / f"{moment:%Y%m%dT%H%M%S%fZ}" / "lake"
        folder.mkdir(parents=True)
        (folder / "part.parquet").write_text(ANN)
    told = retain(chain, NOON + timedelta(days=7, seconds=late), keep_landing_days=7)
    assert len(list(damaged.iterdir())) == left
    assert told["expired"].get("damaged", 0) == 2 - left


def test_versions_that_do_not_serve_are_kept_from_the_last_day_of_their_data(chain: Chain) -> None:
    store = ModelStore(chain.settings.home.models)
    name = "sales_forecast"
    made = [store.save(name, date(2024, 6, day), {"recipe": -1, "number": day}, {"a": {"x": np.arange(2)}})
            for day in (1, 2, 3)]  # fmt: skip
    for version in made[:2]:
        store.promote(name, version)
    store.remark(name, made[0], [{"metric": "mae", "value": 1.0}])
    assert retain(chain, datetime(2024, 6, 8, tzinfo=UTC), keep_models_days=7)["expired"] == {}
    later = round_of(chain, datetime(2024, 6, 10, tzinfo=UTC), keep_models_days=7)
    later.chain = lambda _settings, _tell: []  # these versions cannot score
    told = later.run()
    assert (told["expired"], told["overdue"]) == ({"models": 1}, [f"models/{name}/{made[1]}"])
    assert store.versions(name) == made[1:]
    assert (store.served(name), store.remarks(name)) == ([made[1]], {})
    assert store.problems() == []


def test_snapshots_are_kept_from_their_publication(chain: Chain) -> None:
    """The current one serves, so it is only told as overdue."""
    names = sorted(p.stem for p in (chain.settings.home.exports / "snapshots").glob("*.json"))
    assert len(names) == 2
    first = datetime.strptime(names[0], "%Y%m%dT%H%M%S%fZ").replace(tzinfo=UTC)
    assert retain(chain, first + timedelta(days=7), keep_exports_days=7)["expired"] == {}
    told = retain(chain, first + timedelta(days=7, microseconds=1), keep_exports_days=7)
    assert (told["tombstones"], told["overdue"]) == ([names[0]], [])
    assert retain(chain, first + timedelta(days=8), keep_exports_days=7)["overdue"] == [f"exports/{names[1]}"]
    assert problems(chain) == []


# All together


def all_layers() -> tuple[datetime, dict[str, int]]:
    """A moment, and settings by which only the last event day is kept, and nothing that arrived."""
    now = datetime.now(UTC) + timedelta(days=8)
    since = (now.date() - date.fromisoformat(LAST)).days
    by_day = dict.fromkeys(("keep_bronze_days", "keep_silver_days", "keep_gold_days", "keep_models_days"), since)
    return now, {**by_day, "keep_archive_days": 7, "keep_quarantine_days": 7, "keep_landing_days": 7,
                 "keep_exports_days": 7}  # fmt: skip


def test_nothing_of_whom_all_has_expired_is_left(chain: Chain) -> None:
    """P15 with P1: by the scanner and by the test's own look; before, Ann is in every layer. Bob is there still."""
    home, hers = chain.settings.home, called(chain)
    layers = {"archive", "exports/tables", "lake/bronze", "lake/silver", "lake/gold", "lake/quarantine"}
    there = seen(home.root, hers)
    assert {layer for layer in layers if any(p.startswith(layer) for p in there)} == layers
    now, keep = all_layers()
    retain(chain, now, **keep)
    assert seen(home.root, hers) == []
    keys = home.root / "keys"
    texts = frozenset(h for h in hers if not h.lstrip("-").isdigit())
    numbers = frozenset(int(h) for h in hers if h.lstrip("-").isdigit())
    assert not scan(home.root, Needles(texts, numbers), leave=lambda path: keys in (home.root / path).parents)
    assert seen(home.root, [BOB])
    assert problems(chain) == []


def test_a_second_round_and_a_run_change_nothing(chain: Chain) -> None:
    now, keep = all_layers()
    retain(chain, now, **keep)
    after = state(chain)
    assert staleness.stale_days(chain.lake, chain.settings) == []
    again(chain)
    assert state(chain) == after
    assert retain(chain, now, **keep)["expired"] == {}
    assert state(chain) == after


def test_rows_of_expired_days_in_a_new_file_reach_nobody_and_leave_with_the_next_round(
    chain: Chain, tmp_path: Path
) -> None:
    """Silver has all of the day and bronze only what came late, so silver keeps what it has."""
    retain(chain, NOON, keep_bronze_days=2)
    silver = [f.path for f in chain.table("silver/events").files()]
    rows = [*visit("newcomer@example.org", FIRST, "11111111-9"), *visit(EVE, LAST, "e5e5e5e5-9")]
    assert chain.ingest([write_rees46(tmp_path / "in" / "late.csv", rows)], "rees46").entries[0].accepted == 6
    again(chain)
    assert set(silver) - {f.path for f in chain.table("silver/events").files() if f.part < LAST} == {
        path for path in silver if LAST in path}  # fmt: skip
    assert (days(chain, "bronze/events"), problems(chain)) == ([FIRST, THIRD, LAST], [])
    retain(chain, NOON, keep_bronze_days=2)
    assert (days(chain, "bronze/events"), problems(chain)) == ([THIRD, LAST], [])


def test_what_expired_earlier_stays_away_whatever_the_settings_say_later(chain: Chain) -> None:
    retain(chain, NOON, keep_silver_days=1)
    retain(chain, NOON)
    again(chain)
    assert days(chain, "silver/events") == [LAST]
    assert read_marks(chain.settings.home).silver == LAST


def test_a_shop_whose_days_have_all_expired_shows_none(chain: Chain) -> None:
    now, keep = all_layers()
    retain(chain, now + timedelta(days=1), **keep)
    home = chain.settings.home
    assert seen(home.root, [BOB, EVE, *ANNS]) == []
    manifest = read_manifest(home.exports)
    assert manifest is not None
    assert {n: manifest["tables"][n]["rows"] for n in ("fact_sales", "fact_session", "dim_customer")} == {
        "fact_sales": 0, "fact_session": 0, "dim_customer": 1}  # fmt: skip
    assert problems(chain) == []


def test_a_look_changes_nothing(chain: Chain) -> None:
    now, keep = all_layers()
    before, hers = state(chain), round_of(chain, now, **keep)
    told = hers.look()
    assert (told["expired"]["bronze/events"], told["expired"]["quarantine/events"]) == (24, 3)
    assert (told["expired"]["archive"], told["expired"]["exports"]) == (4, 1)
    assert state(chain) == before
    assert not (chain.settings.home.root / "logs" / "audit.jsonl").exists()
    assert hers.run()["expired"] == told["expired"]


def test_every_round_is_noted_with_its_counts_and_no_id(chain: Chain) -> None:
    now, keep = all_layers()
    retain(chain, now, **keep)
    retain(chain, now, **keep)
    first, second = (e for e in open_audit(chain.settings).entries() if e.action == "retain")
    assert (first.action, first.told["bronze/events"], first.told["archive"]) == ("retain", 24.0, 4.0)
    manifest = read_manifest(chain.settings.home.exports)
    assert manifest is not None
    assert (second.action, second.told) == ("retain", {"overdue": [f"exports/{manifest['snapshot']}"],
                                                       "tombstones": []})  # fmt: skip


@pytest.mark.parametrize(("place", "number"), [
    *(("privacy.expire", n) for n in (1, 2, 9, 12, 14)), ("lake.committed", 3), ("privacy.redact", 1),
    ("privacy.tombstone", 1), ("export.current", 1), ("lake.vacuum", 1), ("audit.append", 1),
])  # fmt: skip
def test_a_round_that_died_is_finished_by_the_next(chain: Chain, place: str, number: int) -> None:
    now, keep = all_layers()
    hers = called(chain)
    with armed(f"{place}:eio@{number}"), pytest.raises((OSError, BehaviorError)):
        retain(chain, now, **keep)
    retain(chain, now, **keep)
    assert seen(chain.settings.home.root, hers) == []
    assert read_marks(chain.settings.home).begun == ""
    assert problems(chain) == []
    bronze = chain.table("bronze/events")
    assert sum(sums_of(read_removed(bronze), "records", "expired").values()) == 24


def test_a_star_that_cannot_be_made_is_told_and_made_by_the_next_round(chain: Chain) -> None:
    now, keep = all_layers()
    failed = round_of(chain, now, **keep)
    failed.chain = lambda _settings, _tell: ["gold/fact_sales: rule r failed."]
    with pytest.raises(NotExpiredError, match="rule r failed"):
        failed.run()
    retain(chain, now, **keep)
    assert seen(chain.settings.home.root, ANNS) == []


def test_a_lost_list_of_expired_days_is_found_and_written_again(chain: Chain) -> None:
    """Bronze's commits tell it, too; days of silver that bronze had are not taken for damage."""
    retain(chain, NOON, keep_bronze_days=1)
    (chain.settings.home.root / "privacy" / "expired.json").unlink()
    assert [p["where"] for p in problems(chain)] == ["privacy/expired.json"]
    retain(chain, NOON)
    assert (problems(chain), read_marks(chain.settings.home).bronze) == ([], LAST)


def test_visits_over_the_midnight_of_the_limit(chain: Chain, tmp_path: Path) -> None:
    """What is left of one is a visit of its own day: every event is in a session, every order line finds one."""
    rows = [rees46_row(moment, kind, "p1", EVE, session="e5e5e5e5-7") for moment, kind in (
        (f"{THIRD} 23:50:00", "view"), (f"{LAST} 00:05:00", "cart"), (f"{LAST} 00:10:00", "purchase"))]  # fmt: skip
    chain.ingest([write_rees46(tmp_path / "in" / "night.csv", rows)], "rees46")
    again(chain)
    retain(chain, NOON, keep_silver_days=1)
    assert chain.rows("silver/sessions", "SELECT sum(events) FROM t") == chain.rows("silver/events",
                                                                                   "SELECT count(*) FROM t")
    sessions = {key for (key,) in chain.rows("gold/fact_session", "SELECT session_key FROM t")}
    assert {key for (key,) in chain.rows("gold/fact_sales", "SELECT session_key FROM t")} <= sessions
    assert problems(chain) == []


# By itself


def test_the_schedule_asks_for_a_round_where_any_layer_has_a_limit(chain: Chain) -> None:
    home = HomeResource(home=str(chain.settings.home.root))
    with dg.build_schedule_context(resources={"home": home}) as context:
        assert isinstance(daily_retention(context), dg.SkipReason)
        chain.settings.home.settings_file.write_text("keep_landing_days = 30\n")
        assert isinstance(daily_retention(context), dg.RunRequest)


def test_the_job_runs_a_round(chain: Chain) -> None:
    """In a process of its own; nothing is due but a refused file."""
    refused = chain.settings.home.refused / "bad.csv"
    refused.parent.mkdir(parents=True)
    refused.write_text(ANN)
    os.utime(refused, (0, 0))
    chain.settings.home.settings_file.write_text("keep_landing_days = 30\n")
    home = HomeResource(home=str(chain.settings.home.root))
    assert retain_job.execute_in_process(resources={"home": home}).success
    assert not refused.exists()
    assert [e.told.get("landing") for e in open_audit(chain.settings).entries() if e.action == "retain"] == [1.0]


def test_the_command_tells_what_would_leave(chain: Chain) -> None:
    home = chain.settings.home
    home.settings_file.write_text('timezone = "UTC"\nkeep_quarantine_days = 1\nkeep_bronze_days = 1\n')
    told = json.loads(run_cli("retain", "--home", home.root, "--dry-run", "--json").out)
    assert told == {"dry_run": True, "expired": {"bronze/events": 30}, "overdue": [], "tombstones": []}
    assert ANN not in run_cli("retain", "--home", home.root).out
    assert days(chain, "bronze/events") == []


def test_an_interrupted_round_stands_in_the_log_with_all_it_was_to_take_out(chain: Chain) -> None:
    now, keep = all_layers()
    with armed("privacy.expire:eio@5"), pytest.raises((OSError, BehaviorError)):
        retain(chain, now, **keep)
    retain(chain, now, **keep)
    began = [e.told for e in open_audit(chain.settings).entries() if e.action == "retain.begun"]
    assert began[0]["bronze/events"] == 24.0
    assert began[0]["archive"] == 4.0


def test_a_round_after_the_key_was_destroyed_publishes_without_the_expired(chain: Chain) -> None:
    before = called(chain)
    destroy_all(chain.settings)
    told = retain(chain, NOON, keep_silver_days=1, keep_gold_days=1)
    assert (days(chain, "silver/events"), len(told["tombstones"])) == ([LAST], 2)
    assert seen(chain.settings.home.exports, before - set(ANNS)) == []
    assert problems(chain) == []
