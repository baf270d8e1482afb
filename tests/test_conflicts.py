"""One id of a source's own with different payloads: bronze keeps both, silver one, whole, whatever came first."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path

import pytest

from behavior_assets.ingestion.canonical import BRONZE_EVENTS
from behavior_assets.ingestion.ledger import read_ledger
from tests.conftest import Chain, same_key

NOON_US = 1_714_564_800_000_000  # 2024-05-01 12:00 UTC
ONE, TWO, THREE = ("hat",), ("hat", "bag"), ("cap", "sock", "belt")


def record(items: tuple[str, ...], event_id: str = "e-1", price: float = 5) -> str:
    """A GA4 purchase of some items under an id of the collector's own."""
    return json.dumps({
        "event_timestamp": str(NOON_US), "event_name": "purchase", "event_id": event_id, "user_pseudo_id": "c1",
        "ecommerce": {"transaction_id": "t1"},
        "items": [{"item_id": i, "price": price, "quantity": 1} for i in items],
    })  # fmt: skip


def delivered(home: Path, *files: list[str]) -> Chain:
    """One file after another, each with the chain up to silver."""
    chain = Chain.at(home)
    for number, lines in enumerate(files):
        path = home.parent / f"{home.name}-{number}.jsonl"
        path.write_text("".join(line + "\n" for line in lines), "utf-8")
        report = chain.ingest([path], "ga4")
        assert not report.refused
        chain.build(star=False)
    return chain


def silver_items(chain: Chain) -> list[str]:
    """The products that silver says were bought."""
    return [row[0] for row in chain.rows("silver/events", "SELECT product_id FROM t ORDER BY 1")]


@pytest.mark.parametrize("payloads", [(ONE, TWO), (TWO, THREE), (ONE, TWO, THREE)], ids=str)
def test_one_payload_wins_whole_and_the_order_of_files_does_not_matter(
    payloads: tuple[tuple[str, ...], ...], tmp_path: Path
) -> None:
    """A mixture of two deliveries' items would be an order that nobody placed."""
    found = []
    for number, order in enumerate(permutations(payloads)):
        chain = delivered(tmp_path / f"home{number}", *([record(p)] for p in order))
        found.append(silver_items(chain))
        assert chain.rows("bronze/events", "SELECT count(*) FROM t") == [(sum(len(p) for p in payloads),)]
    assert found[0] in [sorted(p) for p in payloads]
    assert found == found[:1] * len(found)


def test_in_one_file_as_in_several(tmp_path: Path) -> None:
    apart = delivered(tmp_path / "apart", [record(TWO)], [record(THREE)])
    together = delivered(tmp_path / "together", [record(TWO), record(THREE)])
    assert silver_items(apart) == silver_items(together)


def test_a_conflict_is_counted_and_a_repetition_is_a_duplicate(tmp_path: Path) -> None:
    """Three records of one id: the first, the same again, another. Records are counted, not their items."""
    lines = [record(TWO), record(TWO), record(THREE)]
    for name, files in {"together": [lines], "apart": [[line] for line in lines]}.items():
        entries = read_ledger(delivered(tmp_path / name, *files).lake.table(BRONZE_EVENTS))
        counts = [sum(getattr(e, n) for e in entries) for n in ("rows_in", "accepted", "duplicate", "conflicts")]
        # The same bytes twice are one file to the ledger.
        assert counts == ([3, 2, 1, 1] if name == "together" else [2, 2, 0, 1])


def test_the_same_payload_under_another_id_is_another_purchase(tmp_path: Path) -> None:
    chain = delivered(tmp_path / "home", [record(TWO), record(TWO, "e-2")])
    assert silver_items(chain) == sorted(TWO * 2)


def test_customers_keys_stay_the_same_beside_a_conflict(tmp_path: Path) -> None:
    """The conflict changes nothing for the events around it."""
    calm = delivered(tmp_path / "calm", [record(ONE, "e-9")])
    same_key(tmp_path / "calm", tmp_path / "home")
    chain = delivered(tmp_path / "home", [record(ONE, "e-9"), record(TWO), record(THREE)])
    query = "SELECT event_key, chain_key, customer_key, transaction_id FROM t"
    assert set(calm.rows("silver/events", query)) <= set(chain.rows("silver/events", query))
