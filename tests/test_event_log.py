"""The event log that keeps its connections: Dagster's own storage in every other respect."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage

from resources import event_log
from resources.event_log import PooledEventLog

REPOSITORY = Path(__file__).resolve().parent.parent


@dg.asset
def thing() -> dg.MaterializeResult:  # type: ignore[type-arg]
    """An asset that says how many rows it has."""
    return dg.MaterializeResult(metadata={"dagster/row_count": 3})


@dg.asset_check(asset=thing)
def counts() -> dg.AssetCheckResult:
    """A check of it."""
    return dg.AssetCheckResult(passed=True)


@pytest.fixture
def dagster_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DAGSTER_HOME with the repository's dagster.yaml."""
    shutil.copy(REPOSITORY / "dagster.yaml", tmp_path / "dagster.yaml")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    return tmp_path


def counted(instance: dg.DagsterInstance) -> int:
    """Materialisations of the asset that the instance knows of."""
    return len(instance.fetch_materializations(dg.AssetKey("thing"), limit=100).records)


def test_dagster_yaml_names_it_and_a_plain_dagster_reads_what_it_wrote(dagster_home: Path) -> None:
    """More runs than connections are kept; then the files are read by Dagster's own class."""
    with dg.DagsterInstance.get() as instance:
        assert isinstance(instance.event_log_storage, PooledEventLog)
        runs = [dg.materialize([thing], instance=instance).run_id for _ in range(event_log._MOST_OPEN + 3)]
        assert counted(instance) == len(runs)
        assert {r: len(instance.all_logs(r)) > 5 for r in runs} == dict.fromkeys(runs, True)
        assert len(instance.event_log_storage._engines) <= event_log._MOST_OPEN
    plain = SqliteEventLogStorage(str(dagster_home / "history" / "runs"))
    assert {r for r in runs if plain.get_logs_for_run(r)} == set(runs)


def test_what_never_changes_is_looked_up_once(dagster_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables and columns, not for every event; the disk is waited for at checkpoints, and the file stays whole."""
    looks: list[str] = []
    for name in ("has_table", "_has_asset_key_col_on_connection"):
        plain = getattr(SqliteEventLogStorage, name)
        monkeypatch.setattr(
            SqliteEventLogStorage, name, lambda *given, plain=plain: looks.append(given[-1]) or plain(*given)
        )
    assert dagster_home.is_dir()
    with dg.DagsterInstance.get() as instance:
        runs = [dg.materialize([thing, counts], instance=instance).run_id for _ in range(2)]
        assert sorted(looks) == sorted(set(looks))
        assert {"asset_check_executions", "last_materialization_timestamp"} <= set(looks)
        checks = instance.event_log_storage.get_asset_check_execution_history(counts.check_key, limit=9)
        assert {c.run_id: c.status.value for c in checks} == dict.fromkeys(runs, "SUCCEEDED")
        with instance.event_log_storage.index_connection() as connection:
            told = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("synchronous", "journal_mode")]
    assert told == [1, "wal"]


def test_one_looks_on_while_another_writes(dagster_home: Path) -> None:
    """As a web server does: in other threads, through connections of its own and of the writer."""
    assert dagster_home.is_dir()
    with dg.DagsterInstance.get() as writer, dg.DagsterInstance.get() as looker, ThreadPoolExecutor(2) as pool:
        seen = []
        for _ in range(5):
            looks = [pool.submit(counted, instance) for instance in (writer, looker)]
            assert dg.materialize([thing], instance=writer).success
            seen.append([look.result() for look in looks])
        assert counted(writer) == counted(looker) == 5
    assert all(n <= number <= n + 1 for n, both in enumerate(seen) for number in both)


def test_a_run_can_be_deleted(dagster_home: Path) -> None:
    assert dagster_home.is_dir()
    with dg.DagsterInstance.get() as instance:
        run = dg.materialize([thing], instance=instance).run_id
        instance.delete_run(run)
        assert not instance.all_logs(run)
        assert dg.materialize([thing], instance=instance).success


def test_wiped_events_are_gone(dagster_home: Path) -> None:
    """Also from a storage that had the run's database open."""
    assert dagster_home.is_dir()
    with dg.DagsterInstance.get() as instance:
        run = dg.materialize([thing], instance=instance).run_id
        instance.event_log_storage.wipe()
        assert not instance.event_log_storage.get_logs_for_run(run)
