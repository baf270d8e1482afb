"""Orders of an erased person, and numbers that are one person's id and another's order or visit."""

from __future__ import annotations

from pathlib import Path

import pytest

from behavior_assets.verification import verify_home
from tests.conftest import Chain
from tests.persons import again, erasure, seen

MAPPING = """
columns: {event_time: at, event_name: event, user_id: user, session_id: visit, transaction_id: order,
          product_id: product, price: price, quantity: pieces, line_type: line}
events: {put: add_to_cart, buy: purchase, back: refund}
line_types: {sold: sale, back: refund}
time: {format: "%Y-%m-%d %H:%M:%S", zone: UTC}
"""
ORDER, OTHERS = "88001756231", "88001756232"


pytestmark = pytest.mark.usefixtures("no_outlets")


def bought(day: str, user: str, visit: str, order: str, price: str = "10.00") -> str:
    return f"2024-05-{day} 10:00:00,buy,{user},{visit},{order},p1,{price},1,sold"


def sent_back(day: str, order: str, user: str = "", visit: str = "") -> str:
    return f"2024-05-{day} 11:00:00,back,{user},{visit},{order},p1,10.00,-1,back"


def deliver(chain: Chain, folder: Path, name: str, *rows: str) -> int:
    """Take rows in; how many of them were suppressed."""
    folder.mkdir(exist_ok=True)
    (folder / "mapping.yaml").write_text(MAPPING)
    head = "at,event,user,visit,order,product,price,pieces,line"
    (folder / name).write_text("\n".join([head, *rows, ""]))
    (entry,) = chain.ingest([folder / name], "generic", folder / "mapping.yaml").entries
    return entry.suppressed


def kept(chain: Chain) -> list[tuple[str, ...]]:
    return chain.rows("bronze/events", "SELECT event_name, user_id, session_id, transaction_id FROM t "
                      "ORDER BY event_ts_us, transaction_id")  # fmt: skip


def test_a_refund_that_has_only_the_order_goes_with_the_person(tmp_path: Path) -> None:
    chain = Chain.at(tmp_path / "home", archive=True)
    deliver(chain, tmp_path / "in", "sold.csv", bought("01", "ann", "v-1", ORDER), bought("01", "bob", "v-2", OTHERS))
    deliver(chain, tmp_path / "in", "back.csv", sent_back("03", ORDER), sent_back("03", OTHERS))
    again(chain)
    sales = set(chain.rows("gold/fact_sales", "FROM t"))
    keys = {k for (k,) in chain.rows("gold/fact_sales", "SELECT order_key FROM t")}
    assert (len(sales), len(keys)) == (4, 2)
    receipt = erasure(chain, "ann").run()
    assert receipt["rows"]["bronze/events"] == 2
    assert kept(chain) == [("purchase", "bob", "v-2", OTHERS), ("refund", None, None, OTHERS)]
    left = {k for (k,) in chain.rows("gold/fact_sales", "SELECT order_key FROM t")}
    assert len(left) == 1
    assert left < keys
    assert set(chain.rows("gold/fact_sales", "FROM t")) < sales  # Bob's as they were, their order numbers too
    (gone,) = keys - left
    assert seen(chain.settings.home.root, [ORDER, str(gone)]) == []
    assert [p for p in verify_home(chain.settings)["problems"] if p["where"] != "quality/days"] == []
    # and what comes later
    assert deliver(chain, tmp_path / "in", "late.csv", sent_back("04", ORDER), sent_back("04", OTHERS)) == 1


def test_a_cart_from_before_a_login_goes_with_the_visit(tmp_path: Path) -> None:
    chain = Chain.at(tmp_path / "home", archive=True)
    rows = [f"2024-05-01 09:0{n}:00,put,{user},{visit},,p{n},10.00,1,"
            for n, (user, visit) in enumerate([("", "v-1"), ("ann", "v-1"), ("", "v-3"), ("bob", "v-2")])]  # fmt: skip
    deliver(chain, tmp_path / "in", "put.csv", *rows)
    again(chain)
    assert chain.rows("gold/fact_cart_item", "SELECT count(*) FROM t") == [(4,)]
    erasure(chain, "ann").run()
    assert chain.rows("bronze/events", "SELECT product_id FROM t ORDER BY 1") == [("p2",), ("p3",)]
    assert chain.rows("gold/fact_cart_item", "SELECT count(*) FROM t") == [(2,)]


def test_an_order_of_two_persons_stays_with_the_other(tmp_path: Path) -> None:
    chain = Chain.at(tmp_path / "home", archive=True)
    rows = (bought("01", "ann", "v-1", ORDER), bought("02", "bob", "v-2", ORDER), sent_back("03", ORDER))
    deliver(chain, tmp_path / "in", "sold.csv", *rows)
    again(chain)
    erasure(chain, "ann").run()
    assert kept(chain) == [("purchase", "bob", "v-2", ORDER), ("refund", None, None, ORDER)]


def test_a_number_of_several_meanings_is_erased_where_it_is_the_persons(tmp_path: Path) -> None:
    """Customer 4711 goes; the order 4711 of another, their visit 4711, and bad rows of these stay."""
    chain = Chain.at(tmp_path / "home", archive=True)
    deliver(
        chain, tmp_path / "in", "sold.csv", bought("01", "4711", "v-1", "100"), bought("01", "52", "v-2", "4711"),
        bought("02", "53", "4711", "101"), bought("02", "4711", "v-3", "", "dear"),
        bought("02", "52", "v-4", "4711", "dear"),
    )  # fmt: skip
    again(chain)
    erasure(chain, "4711").run()
    assert kept(chain) == [("purchase", "52", "v-2", "4711"), ("purchase", "53", "4711", "101")]
    bad = chain.rows("quarantine/events", "SELECT raw FROM t")
    assert [raw.decode().split(",")[2:5] for (raw,) in bad] == [["52", "v-4", "4711"]]
    # and a visit and an order of a person who goes are no customers
    erasure(chain, "52").run()
    erasure(chain, "53").run()
    assert deliver(chain, tmp_path / "in", "late.csv", bought("03", "101", "v-9", "102")) == 0
