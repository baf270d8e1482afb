"""The whole product on real event files: a shop's clickstream (REES46), a wholesaler's invoices (UCI), Taobao."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from behavior_assets.ingestion.canonical import BRONZE_EVENTS
from behavior_assets.ingestion.ledger import FileEntry, read_ledger
from tests.conftest import Chain, Result, ingest_and_build, published, require_shared, run_cli, same_key, shuffled

ALL_LINES = Decimal("5761931.382")
ROUND = 110


def told(result: Result) -> dict[str, Any]:
    """What ``--json`` says."""
    assert result.code == 0, result.err
    document: dict[str, Any] = json.loads(result.out)
    return document


def counts(rows_in: int, accepted: int, quarantined: int, duplicate: int) -> dict[str, int]:
    """The account of a source."""
    return {"rows_in": rows_in, "accepted": accepted, "quarantined": quarantined, "duplicate": duplicate,
            "suppressed": 0}  # fmt: skip


@pytest.fixture(scope="module")
def rees46(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Any]]:
    """The file, a home after one run, and what the run told."""
    file = require_shared("rees46/2019-Oct_first_2h50m.csv")
    home = tmp_path_factory.mktemp("rees46")
    return file, home, told(run_cli("run", "--home", home, "--format", "rees46", "--source", file, "--json"))


def test_rees46_every_row_is_accounted_for(rees46: tuple[Path, Path, dict[str, Any]]) -> None:
    """17,435 rows in are 17,429 accepted, 1 quarantined and 5 duplicates, in the tables as in the ledger."""
    _, _, run = rees46
    (source,) = run["sources"]
    expected = counts(17_435, 17_429, 1, 5)
    assert {k: source[k] for k in expected} == expected
    tables = run["tables"]
    assert tables["bronze/events"] == tables["silver/events"] == 17_429
    assert tables["quarantine/events"] == 1


def test_rees46_purchases_and_revenue(rees46: tuple[Path, Path, dict[str, Any]]) -> None:
    """214 purchases for 59,442.63, the same in lines, sessions and products."""
    _, home, _ = rees46
    expected = [(214, Decimal("59442.63"))]
    assert published(home, "SELECT count(*), sum(revenue_net) FROM fact_sales") == expected
    assert published(home, "SELECT sum(purchases), sum(revenue) FROM fact_session") == expected
    assert published(home, "SELECT sum(purchases), sum(revenue) FROM fact_product_day") == expected


def test_rees46_traps(rees46: tuple[Path, Path, dict[str, Any]]) -> None:
    """Prices of 0 are unknown, all sessions lie in one night, and every event is in exactly one session."""
    _, home, run = rees46
    counts = "SELECT count(*) FILTER (price <= 0), count(*) FILTER (price IS NULL) FROM t"
    zeros = Chain.at(home).rows("bronze/events", counts)
    assert zeros == [(0, 19)]
    events = published(home, "SELECT sum(events), min(date_key), max(date_key), max(hour_key) FROM fact_session")
    assert events == [(run["tables"]["silver/events"], 20191001, 20191001, 2)]


def test_rees46_the_cut_row_is_in_quarantine_with_its_bytes(rees46: tuple[Path, Path, dict[str, Any]]) -> None:
    """The last row was cut in the middle of a field."""
    file, home, _ = rees46
    last = file.read_bytes().rsplit(b"\n", 1)[1]
    (row,) = Chain.at(home).rows("quarantine/events", "SELECT failure_class, row_number, source_file, raw FROM t")
    assert row == ("unterminated_record", 17_435, file.name, last)


def test_rees46_a_second_run_changes_nothing(rees46: tuple[Path, Path, dict[str, Any]]) -> None:
    """The same file again: the same counts and the same snapshot; and the home is whole."""
    file, home, first = rees46
    second = told(run_cli("run", "--home", home, "--format", "rees46", "--source", file, "--json"))
    assert (second["snapshot"], second["snapshot_is_new"]) == (first["snapshot"], False)
    assert second["sources"] == first["sources"]
    assert second["tables"] == first["tables"]
    whole = told(run_cli("verify", "--home", home, "--json"))
    assert (whole["ok"], whole["problems"]) == (True, [])


@pytest.fixture(scope="module")
def invoices(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], Chain]:
    """The 219 files of Online Retail, and a home that got all of them in one delivery."""
    files = sorted(require_shared("online_retail").glob("*.csv"))
    return files, ingest_and_build(tmp_path_factory.mktemp("invoices"), [files], "online_retail")


def ledger(chain: Chain) -> list[FileEntry]:
    """Every committed file's account."""
    return read_ledger(chain.lake.table(BRONZE_EVENTS))


def test_online_retail_no_line_is_lost(invoices: tuple[list[Path], Chain]) -> None:
    """320,705 lines in 219 files, every one of them in fact_sales with a line type."""
    files, chain = invoices
    entries = ledger(chain)
    assert len(files) == len(entries) == 219
    assert sum(e.rows_in for e in entries) == 320_705
    assert sum(e.accepted for e in entries) == 320_705
    lines = chain.rows("gold/fact_sales", "SELECT count(*), count(line_type) FROM t")
    assert lines == [(320_705, 320_705)]


def test_online_retail_amounts_by_line_type_add_up(invoices: tuple[list[Path], Chain]) -> None:
    """All lines together are worth what the files say; sales and refunds are columns of their own."""
    _, chain = invoices
    by_type = dict(chain.rows("gold/fact_sales", "SELECT line_type, sum(revenue_net) FROM t GROUP BY 1"))
    assert set(by_type) == {"sale", "refund", "shipping", "fee", "adjustment", "bad_debt"} - (
        set() if "bad_debt" in by_type else {"bad_debt"}
    )
    assert sum(by_type.values()) == ALL_LINES
    totals = chain.rows("gold/fact_sales", "SELECT sum(revenue_gross), -sum(refund_amount) FROM t")
    assert totals == [(by_type["sale"], by_type["refund"])]


def test_online_retail_an_anonymous_buyer_is_no_error(invoices: tuple[list[Path], Chain]) -> None:
    """A quarter of the lines names no customer; they are sold to the unknown one."""
    _, chain = invoices
    raw = chain.rows("bronze/events", "SELECT count(*) FROM t WHERE user_id IS NULL")
    assert raw == chain.rows("gold/fact_sales", "SELECT count(*) FROM t WHERE customer_key = -1")
    assert raw[0][0] > 50_000


def test_online_retail_in_shuffled_rounds_gives_the_same_tables(
    invoices: tuple[list[Path], Chain], tmp_path: Path
) -> None:
    """Files in any order, some one by one, with the chain after every 110: the same content, keys included."""
    files, whole = invoices
    order = shuffled(files, seed=2)
    rounds = [order[i : i + ROUND] for i in range(0, len(order), ROUND)]
    same_key(whole.settings.home.root, tmp_path / "home")
    chain = Chain.at(tmp_path / "home", "Europe/London")
    for group in rounds:
        for piece in ([file] for file in group[:4]):
            chain.ingest(piece, "online_retail")
        chain.ingest(group[4:], "online_retail")
        chain.build()
    assert chain.hashes() == whole.hashes()


def test_taobao_rows_parse(tmp_path: Path) -> None:
    """4,000 rows without a header and without a last line end: the last one cannot be trusted."""
    file = require_shared("taobao/UserBehavior_slice.csv")
    chain = Chain.at(tmp_path / "home")
    (entry,) = chain.ingest([file], "taobao").entries
    assert (entry.rows_in, entry.accepted, entry.quarantined) == (4_000, 3_999, 1)
    rejected = chain.rows("quarantine/events", "SELECT failure_class, row_number FROM t")
    assert rejected == [("unterminated_record", 4_000)]
