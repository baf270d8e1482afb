"""What Dagster sees and does by itself: definitions, sensors, conditions, import cost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import dagster as dg
import pytest

from behavior_assets import automation, quality, staleness
from behavior_assets.automation import GAP_DAYS, RANGE_END, RANGE_START, changed_days_sensor, landing_sensor
from behavior_assets.definitions import build_definitions
from behavior_assets.ingestion import arrivals
from behavior_assets.partitions import asset_key
from behavior_assets.sessions import assets as session_assets
from behavior_assets.star.order import GOLD_INPUTS, MODELS
from expectations.rules import parse_rules
from resources.home import HomeResource
from resources.settings import create_home
from tests.conftest import Chain

REPOSITORY = Path(__file__).resolve().parent.parent
HEADER = "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session\n"
ROWS = (
    "2024-03-01 10:00:00 UTC,view,11,7,a.b,acme,5.00,u1,s1\n"
    "2024-03-01 10:01:00 UTC,cart,11,7,a.b,acme,5.00,u1,s1\n"
    "2024-03-02 10:02:00 UTC,purchase,11,7,a.b,acme,5.00,u1,s2\n"
)
BY_DAY = ("bronze/events", "silver/events", "silver/sessions")
SUBSTRATE = ("silver/customer_day", "silver/product_day", "silver/commerce_events")


def land(home: Path, name: str, text: str, age: float = 60) -> Path:
    """A file that has lain in landing/rees46 for a while."""
    path = home / "landing" / "rees46" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    os.utime(path, (time.time() - age, time.time() - age))
    return path


@pytest.fixture
def definitions(tmp_path: Path) -> dg.Definitions:
    """The definitions of a fresh home."""
    return build_definitions(create_home(tmp_path))


def test_definitions_load_and_name_every_table(definitions: dg.Definitions) -> None:
    """Keys, groups and partitions as they are meant to be."""
    dg.Definitions.validate_loadable(definitions)
    graph = definitions.resolve_asset_graph()
    outlets = {f"exports/{n}" for n in ("snapshot", "powerbi", "report", "aggregate", "database")}
    expected = {"bronze/deliveries", "quarantine/events", *outlets, *BY_DAY, *SUBSTRATE, *MODELS,
                *(f"gold/{n}" for n in GOLD_INPUTS)}  # fmt: skip
    assert {"/".join(k.path) for k in graph.get_all_asset_keys()} == expected
    partitioned = {"/".join(k.path) for k in graph.get_all_asset_keys() if graph.get(k).is_partitioned}
    assert partitioned == set(BY_DAY)
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert node.owners, key
        assert node.description, key
        assert node.group_name in {"ingestion", "privacy", "sessions", "segmentation", "prediction", "forecasting",
                                   "star", "exports"}, key  # fmt: skip


def test_gold_checks_block_and_day_checks_do_not(definitions: dg.Definitions) -> None:
    """A day that breaks a rule is held back by itself; a gold table that does is not published."""
    graph = definitions.resolve_asset_graph()
    blocking = {k.asset_key.to_user_string(): graph.get_check_spec(k).blocking
                for k in graph.asset_check_keys if k.name == "blocking_rules"}  # fmt: skip
    assert {k for k, v in blocking.items() if not v} == set(BY_DAY)
    assert {k for k, v in blocking.items() if v} == {*SUBSTRATE, *(f"gold/{n}" for n in GOLD_INPUTS)}


def test_landing_sensor_requests_settled_files_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A settled file is requested with a key of its own; one that still grows is left alone."""
    monkeypatch.setattr(arrivals, "_SETTLED_SECONDS", 600.0)  # a busy machine takes more than two seconds for this
    settings = create_home(tmp_path)
    settled = land(tmp_path, "a.csv", HEADER + ROWS, age=3600)
    land(tmp_path, "growing.csv", HEADER, age=0)
    home = HomeResource(home=str(tmp_path))
    with dg.DagsterInstance.ephemeral() as instance:
        first, again = (
            list(landing_sensor(dg.build_sensor_context(instance=instance, resources={"home": home})))  # type: ignore[arg-type]
            for _ in range(2)
        )
    assert [r.run_key for r in first] == [r.run_key for r in again]
    config = first[0].run_config["ops"]["bronze__deliveries"]["config"]
    assert config == {"paths": [str(settled)], "format": "rees46"}
    assert settings.home.landing.exists()


def test_the_way_of_a_file_without_a_hand_on_it(tmp_path: Path) -> None:
    """Landing, ingestion, the days that changed (a late one too), then the star in one tick."""
    settings = create_home(tmp_path)
    defs = build_definitions(settings)
    home = HomeResource(home=str(tmp_path))
    with dg.DagsterInstance.ephemeral() as instance:
        defs_job = defs.resolve_job_def
        before = dg.evaluate_automation_conditions(defs=defs, instance=instance)
        assert before.total_requested == 0

        land(tmp_path, "a.csv", HEADER + ROWS)
        (request,) = list(landing_sensor(dg.build_sensor_context(instance=instance, resources={"home": home})))  # type: ignore[arg-type]
        assert defs_job("ingest").execute_in_process(instance=instance, run_config=request.run_config).success

        context = dg.build_sensor_context(instance=instance, resources={"home": home})
        (days,) = list(changed_days_sensor(context))  # type: ignore[arg-type]
        assert (days.tags[RANGE_START], days.tags[RANGE_END]) == ("2024-03-01", "2024-03-02")
        (again,) = list(changed_days_sensor(context))  # type: ignore[arg-type]
        assert again.run_key == days.run_key, "what was requested once is not started again"
        assert defs_job("days").execute_in_process(instance=instance, tags=days.tags).success
        for _ in range(2):  # the second time by the cursor
            assert isinstance(next(iter(changed_days_sensor(context))), dg.SkipReason)  # type: ignore[call-overload]

        tick = dg.evaluate_automation_conditions(defs=defs, instance=instance, cursor=before.cursor)
        star = {asset_key(t) for t in (*SUBSTRATE, *MODELS, *(f"gold/{n}" for n in GOLD_INPUTS), "exports/snapshot")}
        assert {k for k in star if tick.get_num_requested(k)} == star
        assert defs_job("star").execute_in_process(instance=instance).success
        after = dg.evaluate_automation_conditions(defs=defs, instance=instance, cursor=tick.cursor)
        assert after.total_requested == 0
        assert (settings.home.exports / "current.json").exists()

        land(tmp_path, "late.csv", HEADER + "2023-12-24 09:00:00 UTC,view,11,7,a.b,acme,5.00,u2,s9\n")
        (request,) = list(landing_sensor(dg.build_sensor_context(instance=instance, resources={"home": home})))  # type: ignore[arg-type]
        assert defs_job("ingest").execute_in_process(instance=instance, run_config=request.run_config).success
        late = dg.build_sensor_context(instance=instance, cursor=context.cursor, resources={"home": home})
        (days,) = list(changed_days_sensor(late))  # type: ignore[arg-type]
        assert (days.tags[RANGE_START], days.tags[RANGE_END]) == ("2023-12-24", "2023-12-24")


class Days:
    """A home with two days in bronze, and the sensor that asks for them, with a clock that can be set."""

    def __init__(self, root: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.instance, self.monkeypatch = root, instance, monkeypatch
        self.definitions = build_definitions(create_home(root))
        self.bring("a.csv", ROWS)

    def bring(self, name: str, rows: str) -> None:
        """One more file in bronze."""
        Chain.at(self.root).ingest([land(self.root, name, HEADER + rows)], "rees46")

    def ask(self, later: float = 0) -> dg.RunRequest | dg.SkipReason:
        """What the sensor says so many seconds from now; its cursor begins empty, as after the loss of a database."""
        context = dg.build_sensor_context(instance=self.instance, resources={"home": HomeResource(home=str(self.root))})
        with self.monkeypatch.context() as patched:
            now = time.time() + later
            patched.setattr(automation.time, "time", lambda: now)
            (answer,) = list(changed_days_sensor(context))  # type: ignore[arg-type]
        return cast("dg.RunRequest | dg.SkipReason", answer)

    def wanted(self, later: float = 0) -> dg.RunRequest:
        """A run that the sensor asks for."""
        answer = self.ask(later)
        assert isinstance(answer, dg.RunRequest), answer
        return answer

    def run(self, request: dg.RunRequest) -> bool:
        """Run it."""
        job = self.definitions.resolve_job_def("days")
        done = job.execute_in_process(instance=self.instance, tags=dict(request.tags), raise_on_error=False)
        return bool(done.success)


@pytest.fixture
def days(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Days]:
    """Two days that silver does not have yet."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield Days(tmp_path, instance, monkeypatch)


def test_a_failed_run_of_days_is_requested_again(days: Days, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once where it got somewhere, else after a pause that grows, until it succeeds."""

    def die(*_: object) -> list[str]:
        message = "the machine went down"
        raise RuntimeError(message)

    first = days.wanted()
    with monkeypatch.context() as patched:
        patched.setattr(session_assets, "build_sessions", die)
        assert not days.run(first)
        second = days.wanted()  # silver is made by now, sessions are not
        assert second.run_key != first.run_key
        assert not days.run(second)
        waiting = days.ask()
        assert isinstance(waiting, dg.SkipReason)
        assert "a run has failed" in str(waiting.skip_message)
        third = days.wanted(later=31)
        assert third.run_key not in {first.run_key, second.run_key}
        assert third.tags[automation.REQUEST] == second.tags[automation.REQUEST]
        assert not days.run(third)
        assert isinstance(days.ask(later=31), dg.SkipReason), "the pause has doubled"
    assert days.run(days.wanted(later=61))
    assert isinstance(days.ask(), dg.SkipReason)


def test_a_range_of_days_is_not_requested_while_a_run_of_it_is_under_way(days: Days) -> None:
    """Nor one after the other; a run that has not stirred for hours was killed, and holds nothing up."""
    request = days.wanted()
    job = days.definitions.resolve_job_def("days")
    days.instance.create_run_for_job(job, tags=dict(request.tags), status=dg.DagsterRunStatus.STARTED)
    busy = days.ask()
    assert isinstance(busy, dg.SkipReason)
    assert "under way" in str(busy.skip_message)
    assert days.wanted(later=7 * 3600).run_key != request.run_key
    days.bring("b.csv", "2024-03-03 10:00:00 UTC,view,11,7,a.b,acme,5.00,u1,s1\n")
    assert days.wanted().tags[RANGE_END] == "2024-03-03", "what that run does not cover is requested"


def test_a_held_day_is_requested_once_and_again_when_it_changes(days: Days, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rules hold it back as it is: no run can make it."""
    rule = {"name": "cheap", "kind": "between", "column": "price", "max": 1, "blocking": True, "description": "test"}
    added = parse_rules(json.dumps({"table": "bronze/events", "rules": [rule]}), "bronze_events.yaml")
    with monkeypatch.context() as patched:
        patched.setattr(quality, "load_rules", lambda _name: added)
        assert days.run(days.wanted())
        assert isinstance(days.ask(), dg.SkipReason)
        days.bring("b.csv", "2024-03-02 10:00:00 UTC,view,11,7,a.b,acme,5.00,u1,s1\n")
        assert days.wanted().tags[RANGE_START] == "2024-03-02"
    # The rule is mended.
    assert days.wanted().tags[RANGE_START] == "2024-03-01"


def test_the_landing_sensor_says_what_it_leaves_and_requests_the_rest(tmp_path: Path) -> None:
    """A generic file without a mapping, an unknown folder, a file in none, a pipe: told, and no run fails for them."""
    create_home(tmp_path)
    inbox = tmp_path / "landing"
    for place in ("generic/a.csv", "rees47/b.csv", "c.csv", "rees46/.hidden.csv", "rees46/d.csv.part"):
        land(tmp_path, f"../{place}", HEADER)
    os.mkfifo(inbox / "rees46" / "pipe\n.csv")

    def ask() -> list[dg.RunRequest | dg.SkipReason]:
        context = dg.build_sensor_context(instance=instance, resources={"home": HomeResource(home=str(tmp_path))})
        return list(landing_sensor(context))  # type: ignore[arg-type]

    with dg.DagsterInstance.ephemeral() as instance:
        (skipped,) = ask()
        assert isinstance(skipped, dg.SkipReason)
        for piece in ("mapping.yaml", "rees47", "c.csv", "pipe\\n.csv", "a pipe"):
            assert piece in str(skipped.skip_message)
        for piece in ("hidden", "part", "\n"):
            assert piece not in str(skipped.skip_message)
        file = land(tmp_path, "sound.csv", HEADER + ROWS)
        (request,) = ask()
        assert isinstance(request, dg.RunRequest)
        assert request.run_config["ops"]["bronze__deliveries"]["config"]["paths"] == [str(file)]
        (inbox / "generic" / "mapping.yaml").write_text("no: mapping\n")
        assert [r.run_key for r in ask() if isinstance(r, dg.RunRequest)] == [request.run_key]


@pytest.mark.parametrize(
    ("days", "ranges"),
    [
        ([], []),
        (["2024-01-01"], [("2024-01-01", "2024-01-01")]),
        (["2024-01-01", "2024-01-02", "2024-01-06"], [("2024-01-01", "2024-01-06")]),
        (["2024-01-01", "2024-03-01"], [("2024-01-01", "2024-01-01"), ("2024-03-01", "2024-03-01")]),
    ],
)
def test_day_ranges(days: list[str], ranges: list[tuple[str, str]]) -> None:
    """Days close together make one run, days far apart several."""
    assert staleness.day_ranges(days, GAP_DAYS) == ranges


def test_the_code_location_loads_without_heavy_libraries() -> None:
    """TensorFlow, scikit-learn and Great Expectations are imported when needed, not when Dagster loads."""
    code = (
        "import sys; import behavior_assets.definitions as d; d.defs(); "
        "print([m for m in ('great_expectations', 'tensorflow', 'sklearn', 'statsforecast') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=True
    )
    assert done.stdout.strip() == "[]"
