"""Two processes work on two partitions of one lake at the same time, and leave what one would have left."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from behavior_assets.chain import prepare_instance
from behavior_assets.quality import QUALITY_DAYS
from tests.conftest import Chain, rees46_row, same_key, write_rees46
from tests.zygote import Zygote

DAYS = [f"2024-05-{n:02d}" for n in range(1, 6)]


def clicks(path: Path) -> Path:
    """Five days of visits of eight persons, one of which reaches over each midnight."""
    rows = []
    for day in DAYS:
        rows += [rees46_row(f"{day} {hour}:00:{n:02d}", kind, f"p{n % 3}", f"user{n}")
                 for n in range(8) for hour, kind in ((10, "view"), (11, "purchase"))]  # fmt: skip
        rows += [rees46_row(f"{day} {moment}", "view", "p1", "owl") for moment in ("00:05:00", "23:55:00")]
    return write_rees46(path, rows)


@pytest.mark.parametrize("days", [(DAYS[0], DAYS[4]), (DAYS[1], DAYS[2])], ids=["far apart", "neighbours"])
def test_partitions_are_built_at_once(
    tmp_path: Path, zygote: Zygote, days: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, meeting = clicks(tmp_path / "clicks.csv"), tmp_path / "meeting"
    meeting.mkdir()
    both = Chain.at(tmp_path / "both")
    both.ingest([file], "rees46")
    for name in ("DAGSTER_HOME", "BEHAVIOR_HOME"):
        monkeypatch.setenv(name, "")  # put back at the end
    prepare_instance(both.settings)
    with dg.DagsterInstance.get():  # two processes that make Dagster's database at once disturb each other
        pass

    ids = [zygote.start("writers:builds_a_day", home=str(tmp_path / "both"), day=day, meeting=str(meeting), many=2)
           for day in days]  # fmt: skip
    ended = [zygote.end(pid) for pid in ids]

    assert [(e.code, e.answer) for e in ended] == [(0, True)] * 2, "\n".join(e.err for e in ended)
    assert sorted(both.table("silver/events").parts()) == sorted(days)
    judged = both.lake.table(QUALITY_DAYS)
    [told] = [f for f in judged.files() if f.part == "silver-events"]
    assert told.rows == len(days), "a verdict of one was lost to the other"

    one = Chain.at(tmp_path / "one")
    same_key(tmp_path / "both", tmp_path / "one")
    one.ingest([file], "rees46")
    one.build()
    both.build()
    assert both.hashes() == one.hashes()
    assert both.silver_hashes() == one.silver_hashes()
