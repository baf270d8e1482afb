"""Who waits for whom: a folder alone or beside others, ranges of days, verdicts of two processes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pyarrow as pa
import pytest

from behavior_assets import quality
from behavior_assets.quality import held_days
from resources.errors import ConflictError
from resources.lake import Lake
from resources.lock import BusyError, beside, days_alone, exclusive
from resources.parquet import DataFile
from resources.table import LakeTable, TableSpec

MOMENT = 0.3  # so long somebody is watched who must be waiting; who is not would have gone on long before
LONG = 60.0


class Other(threading.Thread):
    """Somebody else who wants a lock, and has it until told to let go."""

    def __init__(self, lock: Callable[[], AbstractContextManager[None]]) -> None:
        """Begin to want it."""
        super().__init__(daemon=True)
        self.lock, self.has, self.go = lock, threading.Event(), threading.Event()
        self.start()

    def run(self) -> None:
        """Wait for it, and have it for a while."""
        with self.lock():
            self.has.set()
            self.go.wait(LONG)

    def waits(self) -> bool:
        """Whether it does not have it yet."""
        return not self.has.wait(MOMENT)

    def got_it(self) -> bool:
        """Whether it has it now, or soon."""
        return self.has.wait(LONG)

    def lets_go(self) -> None:
        """Give it up."""
        self.go.set()
        self.join(LONG)


@contextmanager
def another(lock: Callable[[], AbstractContextManager[None]]) -> Iterator[Other]:
    """Somebody else for a while."""
    other = Other(lock)
    try:
        yield other
    finally:
        other.lets_go()


def test_many_work_beside_each_other_and_none_has_the_folder_alone(tmp_path: Path) -> None:
    with another(lambda: beside(tmp_path)) as first, another(lambda: beside(tmp_path)) as second:
        assert first.got_it()
        assert second.got_it()
        with pytest.raises(BusyError), exclusive(tmp_path, wait=False):
            pass
        with another(lambda: exclusive(tmp_path)) as third:
            assert third.waits()
            first.lets_go()
            assert third.waits()
            second.lets_go()
            assert third.got_it()
    with exclusive(tmp_path, wait=False):
        pass


def test_who_wants_the_folder_alone_is_not_overtaken(tmp_path: Path) -> None:
    with another(lambda: beside(tmp_path)) as working:
        assert working.got_it()
        with another(lambda: exclusive(tmp_path)) as waiting:
            assert waiting.waits()
            with another(lambda: beside(tmp_path)) as late:
                assert late.waits()
                working.lets_go()
                assert waiting.got_it()
                assert late.waits()
                waiting.lets_go()
                assert late.got_it()


@pytest.mark.parametrize(
    ("first", "second", "reach", "meet"),
    [
        (["2019-10-01"], ["2019-10-01"], 0, True),
        (["2019-10-01"], ["2019-10-02"], 0, False),
        (["2019-10-01", "2019-10-31"], ["2019-10-17"], 0, True),
        (["2019-10-01"], ["2019-10-05"], 2, True),  # each reaches two days towards the other: both want the third
        (["2019-10-01"], ["2019-10-06"], 2, False),
        (["2019-09-30", "2019-10-01"], ["2019-09-01"], 2, False),
    ],
)
def test_only_ranges_of_days_that_meet_wait(
    tmp_path: Path, first: list[str], second: list[str], reach: int, meet: bool
) -> None:
    with another(lambda: days_alone(tmp_path, first, reach)) as one:
        assert one.got_it()
        with another(lambda: days_alone(tmp_path, second, reach)) as other:
            assert other.waits() if meet else other.got_it()
            one.lets_go()
            assert other.got_it()


def test_no_days_no_lock(tmp_path: Path) -> None:
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(days_alone(tmp_path, []))
    assert not list(tmp_path.iterdir())


EVENTS = TableSpec("silver/events", pa.schema([("event_date", pa.date32())]))


def held(*days: str) -> Callable[[object], dict[str, dict[str, object]]]:
    """A verdict that holds days."""
    return lambda _: {day: {"table_name": EVENTS.name, "day": day, "content": "x", "held": True, "breaches": "{}"}
                      for day in days}  # fmt: skip


def test_a_verdict_that_another_process_wrote_meanwhile_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = Lake(tmp_path / "lake")
    memory, other = lake.table(quality.QUALITY_DAYS), lake.table(quality.QUALITY_DAYS)
    quality._remember(memory, EVENTS, held("2019-10-01"))
    true_commit = LakeTable.commit

    def slow(table: LakeTable, added: list[DataFile], **more: object) -> int:
        """Between what is read and what is written, the other process judges a day of its own."""
        monkeypatch.setattr(LakeTable, "commit", true_commit)
        quality._remember(other, EVENTS, lambda rows: {r["day"]: r for r in rows} | held("2019-10-02")(rows))
        return true_commit(table, added, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(LakeTable, "commit", slow)
    quality._remember(memory, EVENTS, lambda rows: {r["day"]: r for r in rows} | held("2019-10-03")(rows))
    assert held_days(lake, EVENTS.name) == {"2019-10-01", "2019-10-02", "2019-10-03"}


def test_a_commit_is_refused_where_a_part_is_not_what_was_seen(tmp_path: Path) -> None:
    table = Lake(tmp_path / "lake").table(TableSpec("silver/days", pa.schema([("n", pa.int64())])))
    first = table.write("all", "a", [pa.table({"n": [1]})])
    table.commit([first], seen={"all": []})
    second = table.write("all", "b", [pa.table({"n": [2]})])
    with pytest.raises(ConflictError, match="silver/days: another process has changed all"):
        table.commit([second], seen={"all": []})
    assert table.files() == [first]
    table.commit([second], seen={"all": [first]})
    assert table.files() == [second]
