"""P4: deliveries of a person's rows, by processes of their own, meet that person's erasure a hundred times."""

from __future__ import annotations

import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from behavior_assets.privacy.erasure.erase import Erasure
from behavior_assets.privacy.suppression import folder
from behavior_assets.verification import verify_home
from resources.keys import load_key, pseudonym
from tests.conftest import Chain, write_rees46
from tests.persons import DAYS, again, erasure, seen, visit
from tests.test_fault_matrix_writers import asleep
from tests.zygote import Zygote


class Race(NamedTuple):
    """How a race begins. ``suppressed``: how many of the three rows are; None where either may come first.

    A delivery that sleeps at ``place`` has read whom it must keep out before the erasure began, and is waited for.
    """

    suppressed: int | None
    place: str = ""
    whole: bool = False  # the delivery goes on to a snapshot, and the erasure to its receipt


SLEEPING = ("parquet.write", "lake.commit", "lake.committed", "ingest.committed")
RACES = [
    *(Race(0, place) for place in SLEEPING), Race(3), Race(3), Race(None), Race(None), Race(None), Race(None),
]  # fmt: skip
WHOLE = [Race(0, "export.manifest", whole=True), Race(None, whole=True)]  # take longer: in three of ten homes


pytestmark = pytest.mark.usefixtures("no_outlets")


def erase(racing: Erasure, *, whole: bool) -> dict[str, Any] | None:
    if whole:
        return racing.run()
    racing.suppress()
    racing.delete()
    racing.purge()
    return None


@pytest.mark.parametrize("seed", range(10))
def test_nobody_races_past_an_erasure(zygote: Zygote, tmp_path: Path, seed: int) -> None:
    """Ten of a hundred: nothing of the persons survives, nothing of others is lost, what was kept out is counted."""
    chain, draw = Chain.at(tmp_path / "home", archive=True), random.Random(seed)  # noqa: S311 - no secret
    home, persons = chain.settings.home, [f"racer-{n:03d}@example.org" for n in range(10)]
    first = [row for n, person in enumerate(persons) for row in visit(person, DAYS[0], f"race-{n:03d}-a")]
    chain.ingest([write_rees46(tmp_path / "in" / "first.csv", first)], "rees46")
    races = [*RACES[:-2], *(WHOLE if seed in {0, 3, 7} else RACES[-2:])]
    for n, (person, race) in enumerate(zip(persons, races, strict=True)):
        rows = [*visit(person, DAYS[1], f"race-{n:03d}-b"), *visit(f"other-{n:03d}", DAYS[1], f"o{n:03d}")]
        late = write_rees46(tmp_path / "in" / f"{n}.csv", rows)
        racing, known = erasure(chain, person), len(list(folder(home).glob("*.txt")))
        with ThreadPoolExecutor(1) as pool:
            if race.suppressed == 3:
                racing.suppress()
            wait = 0.0 if race.suppressed is not None else draw.uniform(0, 0.1)
            pid = zygote.start("writers:delivers", home=str(home.root), file=str(late), place=race.place, wait=wait,
                               whole=race.whole)  # fmt: skip
            if race.place:
                asleep(pid)
            erased = pool.submit(erase, racing, whole=race.whole)
            if race.place:
                until = time.monotonic() + 60
                while len(list(folder(home).glob("*.txt"))) == known:
                    assert time.monotonic() < until, "nobody was suppressed"
                    time.sleep(0.01)
                lock = f":{(home.dagster / '.lock').stat().st_ino} "
                while not any("->" in held and lock in held for held in Path("/proc/locks").read_text().splitlines()):
                    assert time.monotonic() < until, "the erasure does not wait"
                    time.sleep(0.01)
                assert not erased.done()
                os.kill(pid, signal.SIGCONT)
            delivered = zygote.end(pid)
            receipt = erased.result(120)
        assert delivered.code == 0, delivered.err
        assert delivered.answer in ({0, 3} if race.suppressed is None else {race.suppressed})
        assert (receipt is not None) == race.whole
    again(chain)
    visits = [f"race-{n:03d}-{which}" for n in range(10) for which in "ab"]
    names = [pseudonym(load_key(chain.settings, "pseudonym"), "customer", person) for person in persons]
    assert seen(home.root, [*persons, *visits, *names], ("keys", "privacy/cases")) == []
    assert chain.rows("bronze/events", "SELECT user_id, count(*) FROM t GROUP BY 1 ORDER BY 1") == [
        (f"other-{n:03d}", 3) for n in range(10)]  # fmt: skip
    problems = verify_home(chain.settings)["problems"]
    assert [p for p in problems if p["where"] != "quality/days"] == []  # the chain of tests asks no rules
