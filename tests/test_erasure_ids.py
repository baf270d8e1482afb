"""Erasure of ids that are hard to tell: alike but for case, within ids of others, quoted, escaped, of two sources."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from behavior_assets.ingestion.ingest import Ingestion
from behavior_assets.privacy.erasure import case as cases
from behavior_assets.privacy.erasure.erase import NotErasedError
from behavior_assets.privacy.erasure.subjects import IdKind
from resources.errors import ConflictError, StorageError
from resources.failpoints import armed
from tests.conftest import Chain, rees46_row, write_rees46
from tests.persons import ANN, BOB, DAYS, again, erasure, seen, visit
from tests.test_erasure_orders import bought, deliver, kept

pytestmark = pytest.mark.usefixtures("no_outlets")


def shop_of(folder: Path, *users: str) -> Chain:
    chain = Chain.at(folder / "home", archive=True)
    rows = [row for n, user in enumerate(users) for row in visit(user, DAYS[0], f"{n}e5510{n}-0")]
    chain.ingest([write_rees46(folder / "in" / "shop.csv", rows)], "rees46")
    again(chain)
    return chain


def test_an_id_that_only_case_tells_from_another_is_still_found(tmp_path: Path) -> None:
    chain = shop_of(tmp_path, "Kunde-ABC-1984", "kunde-abc-1984")
    note = chain.settings.home.root / "logs" / "note.txt"
    note.parent.mkdir(exist_ok=True)
    note.write_text("called Kunde-ABC-1984 back\n")
    with pytest.raises(NotErasedError, match=r"logs/note\.txt"):
        erasure(chain, "Kunde-ABC-1984").run()
    note.write_text("called kunde-abc-1984 back\n")
    erasure(chain, "Kunde-ABC-1984").run()
    assert chain.rows("bronze/events", "SELECT DISTINCT user_id FROM t") == [("kunde-abc-1984",)]


def test_a_mention_in_an_id_of_another_leaves_the_case_open(tmp_path: Path) -> None:
    chain = Chain.at(tmp_path / "home", archive=True)
    rows = [*visit(ANN, DAYS[0], "a11a11a1-0"), *visit(BOB, DAYS[0], f"v/{ANN}")]
    chain.ingest([write_rees46(tmp_path / "in" / "shop.csv", rows)], "rees46")
    again(chain)
    with pytest.raises(NotErasedError, match="bronze"):
        erasure(chain, ANN).run()


def test_spoilt_ids_of_many_persons_are_theirs(tmp_path: Path) -> None:
    users = [f"user{n}@example.org" for n in range(201)]
    rows = [rees46_row(f"{DAYS[0]} 10:00:00", "view", "p1", user, session=f"s{n:04d}") for n, user in enumerate(users)]
    rows += [rees46_row(f"{DAYS[0]} 11:00:00", "view", "p1", f"=HYPERLINK({users[7]})", session="x0001")]
    chain = Chain.at(tmp_path / "home", archive=True)
    chain.ingest([write_rees46(tmp_path / "in" / "shop.csv", [*rows, *visit(BOB, DAYS[0], "b0b0b0b0-0")])], "rees46")
    again(chain)
    assert erasure(chain, *users).run()["rows"]["bronze/events"] == 202
    assert chain.rows("bronze/events", "SELECT DISTINCT user_id FROM t") == [(BOB,)]


def test_an_id_with_a_quote_leaves_archive_and_refused_files(tmp_path: Path) -> None:
    who = 'o"brien-1984'
    chain = shop_of(tmp_path, who.replace('"', '""').join('""'), BOB)
    assert {u for (u,) in chain.rows("bronze/events", "SELECT user_id FROM t")} == {who, BOB}
    refused = chain.settings.home.refused
    refused.mkdir(parents=True, exist_ok=True)
    (refused / "bad.csv").write_text('a,b\n"o""brien-1984",x\nother,y\n')
    receipt = erasure(chain, who).run()
    assert (receipt["original_records"], receipt["refused_lines"]) == (3, 1)
    assert seen(chain.settings.home.root, [who, 'o""brien-1984'], ("keys",)) == []
    assert (refused / "bad.csv").read_text() == "a,b\nother,y\n"


@pytest.mark.parametrize("text", [
    "=HYPERLINK(541312999)", "%22541312999%22", "<b>541312999</b>", "\x01\x02541312999",
])  # fmt: skip
def test_a_bad_row_with_a_spoilt_number_is_theirs(tmp_path: Path, text: str) -> None:
    chain = shop_of(tmp_path, "541312999", BOB)
    bad = [rees46_row(f"{DAYS[1]} 11:00:00", "view", "p1", text, price="cheap", session=""),
           rees46_row(f"{DAYS[1]} 11:00:00", "view", "p1", BOB, price="cheap", session="")]  # fmt: skip
    chain.ingest([write_rees46(tmp_path / "in" / "bad.csv", bad)], "rees46")
    erasure(chain, "541312999").run()
    left = [raw.decode() for (raw,) in chain.rows("quarantine/events", "SELECT raw FROM t")]
    assert len(left) == 1
    assert BOB in left[0]


def test_bad_rows_of_others_that_hold_a_visit_or_an_order_stay(tmp_path: Path) -> None:
    chain = Chain.at(tmp_path / "home", archive=True)
    deliver(
        chain, tmp_path / "in", "sold.csv", bought("01", "ann", "v-1111", "INV-17"),
        bought("02", "bob", "v-2", "INV-17", "dear"), bought("02", "eve", "v-1111", "x", "dear"),
        bought("02", "zoe", "v-3", "INV-18", "dear").replace(",p1,", ",INV-17,"),
        bought("02", "", "v-1111", "", "dear"),
    )  # fmt: skip
    again(chain)
    erasure(chain, "ann").run()
    bad = chain.rows("quarantine/events", "SELECT raw FROM t")
    assert sorted(raw.decode().split(",")[2] for (raw,) in bad) == ["bob", "eve", "zoe"]
    assert kept(chain) == []


def test_a_number_of_another_source_holds_nothing_up(tmp_path: Path) -> None:
    """Order 536365 of the web shop is Ann's; invoice 536365 of the till is a stranger's."""
    chain = Chain.at(tmp_path / "home", archive=True)
    web = bought("01", "ann", "v-1", "536365"), bought("01", "bob", "v-2", "536366")
    deliver(chain, tmp_path / "in", "web.csv", *web)
    till = tmp_path / "in" / "till.csv"
    till.write_text(
        "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
        "536365,85123A,LANTERN,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom\n"
    )
    assert not chain.ingest([till], "online_retail").refused
    again(chain)
    erasure(chain, "ann").run()
    assert sorted(t for *_, t in kept(chain)) == ["536365", "536366"]


def test_a_session_that_comes_later_is_suppressed(chain: Chain, tmp_path: Path) -> None:
    erasure(chain, "5e551011-aa", kind=IdKind.session).run()
    deliver(chain, tmp_path / "in", "map.csv", bought("01", "bob", "v-2", "1"))
    assert deliver(chain, tmp_path / "in", "late.csv", bought("02", "", "5e551011-aa", "")) == 1


@pytest.mark.parametrize("number", [1, 2])
def test_a_case_that_died_while_it_forgot_is_forgotten_by_the_next_command(chain: Chain, number: int) -> None:
    with armed(f"privacy.forget:eio@{number}"), pytest.raises((OSError, StorageError)):
        erasure(chain, ANN).run()
    home = chain.settings.home
    assert list(cases.folder(home).iterdir())
    assert cases.open_cases(home) == []
    assert list(cases.folder(home).iterdir()) == []
    assert len(list(cases.receipts(home).iterdir())) == 1


def test_who_is_suppressed_between_two_attempts_is_kept_out(
    chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """A batch that met another one is read again, by whoever is suppressed then."""
    commit, tries = Ingestion._commit, list[None]()

    def meets_another(self: Ingestion, batch: Any, known: Any, report: Any) -> None:
        if not tries:
            tries.append(erasure(chain, "late@example.org").suppress())
            batch.finish()
            msg = "another"
            raise ConflictError(msg)
        commit(self, batch, known, report)

    monkeypatch.setattr(Ingestion, "_commit", meets_another)
    late = write_rees46(tmp_path / "in" / "late.csv", visit("late@example.org", DAYS[1], "l-1"))
    (entry,) = chain.ingest([late], "rees46").entries
    assert (entry.accepted, entry.suppressed) == (0, 3)
