"""Browsers and visits that lead to a person, that several persons share, and files of persons that are no table's."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from behavior_assets.privacy.erasure.erase import require_persons
from behavior_assets.privacy.erasure.subjects import Asked, IdKind
from resources.errors import UsageError
from tests.conftest import REES46_HEADER, Chain, rees46_row
from tests.persons import ANN, BOB, again, erasure, problems
from tests.test_erasure_ids import shop_of

pytestmark = pytest.mark.usefixtures("no_outlets")

MAPPING = """
columns: {event_time: at, event_name: event, user_id: user, client_id: client, session_id: session, product_id: product}
events: {view: view_item}
time: {format: "%Y-%m-%d %H:%M:%S", zone: UTC}
"""
HERS, CAFE = "c-ann-7f3a91", "c-cafe-11d0e7"


def browsing(folder: Path, *rows: tuple[str, str, str, str]) -> Chain:
    """A home with views at these times, by user, client and session."""
    folder.mkdir(exist_ok=True)
    (folder / "mapping.yaml").write_text(MAPPING)
    lines = [f"2024-05-30 {at}:00,view,{user},{client},{session},p1" for at, user, client, session in rows]
    (folder / "events.csv").write_text("\n".join(["at,event,user,client,session,product", *lines, ""]))
    chain = Chain.at(folder / "home", archive=True)
    chain.ingest([folder / "events.csv"], "generic", folder / "mapping.yaml")
    again(chain)
    return chain


def left(chain: Chain) -> list[tuple[str, ...]]:
    return chain.rows("bronze/events", "SELECT user_id, client_id, session_id FROM t ORDER BY event_ts_us")


def test_the_browser_of_one_user_names_that_user(tmp_path: Path) -> None:
    chain = browsing(tmp_path, ("10:00", "", HERS, "s-1"), ("10:01", "ann", HERS, "s-1"), ("11:00", "ann", "c2", "s-2"),
                     ("12:00", "bob", "c-bob", "s-3"))  # fmt: skip
    receipt = erasure(chain, HERS).run()
    assert (receipt["rows"]["bronze/events"], left(chain)) == (3, [("bob", "c-bob", "s-3")])
    assert problems(chain) == []


def test_a_browser_that_several_share_names_nobody(tmp_path: Path) -> None:
    chain = browsing(tmp_path, ("10:00", "ann", CAFE, "s-1"), ("11:00", "bob", CAFE, "s-2"), ("12:00", "", CAFE, "s-3"))
    with pytest.raises(UsageError, match=r"a browser's that 2 persons share\. Ask by the login") as told:
        require_persons(chain.settings, [Asked(CAFE)])
    assert CAFE not in str(told.value)
    require_persons(chain.settings, [Asked("ann")])


def test_a_visit_with_a_login_in_the_middle_names_one_person(tmp_path: Path) -> None:
    chain = browsing(tmp_path, ("10:00", "", HERS, "s-1"), ("10:01", "ann", HERS, "s-1"), ("11:00", "", HERS, "s-2"),
                     ("12:00", "bob", "c-bob", "s-3"))  # fmt: skip
    assert erasure(chain, "s-2", kind=IdKind.session).run()["rows"]["bronze/events"] == 3
    assert left(chain) == [("bob", "c-bob", "s-3")]


def test_only_her_lines_of_a_refused_file_go(tmp_path: Path) -> None:
    """A number, and a name that a product has, too, count where the columns say that a person's stands."""
    chain = shop_of(tmp_path, "p12", BOB)
    refused = chain.settings.home.refused
    refused.mkdir(parents=True)
    rows = [rees46_row("2024-06-01 10:00:00", "view", product, user) for user, product in
            (("p12", "p1"), (BOB, "p12"), (BOB, "p2"), ("p12", "p2"))]  # fmt: skip
    path = refused / "bad.csv"
    path.write_text("\n".join([REES46_HEADER, *rows, ""]))
    receipt = erasure(chain, "p12").run()
    assert path.read_text().splitlines() == [REES46_HEADER, rows[1], rows[2]]
    assert receipt["refused_lines"] == 2


def test_a_refused_file_that_is_named_after_her_goes_with_its_reason(chain: Chain) -> None:
    refused = chain.settings.home.refused
    refused.mkdir(parents=True, exist_ok=True)
    for name in (f"{ANN}.csv", f"{ANN}.csv.reason.txt", "other.csv", "other.csv.reason.txt"):
        (refused / name).write_text("nothing of anybody\n")
    erasure(chain, ANN).run()
    assert sorted(p.name for p in refused.iterdir()) == ["other.csv", "other.csv.reason.txt"]


def test_what_the_simulator_made_loses_her_rows(chain: Chain) -> None:
    truth = chain.settings.home.root / "simulated" / "truth" / "truth-rees46.parquet"
    truth.parent.mkdir(parents=True)
    made = pa.table({"row": range(4), "session_id": ["b0b0b0b0-0", "a11a11a1-0", "a11a11a1-2", "e5e5e5e5-1"]},
                    metadata={"seed": "7"})  # fmt: skip
    pq.write_table(made, truth, row_group_size=2)
    erasure(chain, ANN).run()
    rows = pq.read_table(truth)
    assert rows.to_pydict() == {"row": [0, 3], "session_id": ["b0b0b0b0-0", "e5e5e5e5-1"]}
    assert rows.schema.metadata[b"seed"] == b"7"


def test_a_command_that_comes_second_gets_the_receipt(chain: Chain) -> None:
    first, second = erasure(chain, ANN), erasure(chain, ANN)
    receipt = first.run()
    assert second.run() == receipt
