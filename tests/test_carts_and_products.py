"""Cart lives, product versions, first orders and refunds on tables small enough to follow by eye."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from exports.contract import gold
from tests.conftest import Chain, rees46_row, write_rees46

CARTS = [
    # user u1: put in and bought the same day
    ("05-01 10:00", "cart", "bought", "u1"), ("05-01 10:05", "purchase", "bought", "u1"),
    # u1: put in and taken out, then put in again: two lives
    ("05-01 11:00", "cart", "again", "u1"), ("05-01 11:01", "remove_from_cart", "again", "u1"),
    ("05-01 11:02", "cart", "again", "u1"),
    # u2: put in twice, bought three days later
    ("05-01 12:00", "cart", "late", "u2"), ("05-01 12:30", "cart", "late", "u2"),
    ("05-04 12:00", "purchase", "late", "u2"),
    # u3: put in on the last day; the newest event of all is at 18:00
    ("05-04 17:00", "cart", "fresh", "u3"), ("05-04 18:00", "view", "fresh", "u3"),
    # u3: bought without a cart, no life
    ("05-04 17:30", "purchase", "direct", "u3"),
    # u4: exactly the window before the newest event
    ("05-03 18:00", "cart", "window", "u4"),
]  # fmt: skip


def built(tmp_path: Path, rows: list[str]) -> Chain:
    """A home with these rows."""
    chain = Chain.at(tmp_path / "home")
    chain.ingest([write_rees46(tmp_path / "rows.csv", rows)], "rees46")
    chain.build()
    return chain


def query(chain: Chain, sql: str) -> list[tuple[Any, ...]]:
    """A query over gold tables by their names."""
    with duckdb.connect(":memory:") as con:
        for name in ("fact_cart_item", "fact_sales", "fact_product_day", "fact_session", "dim_product", "dim_customer"):
            table = chain.lake.table(gold(name))
            con.read_parquet(table.absolute(table.files())).create_view(name)
        return con.execute(sql).fetchall()


def test_what_became_of_each_cart(tmp_path: Path) -> None:
    chain = built(tmp_path, [rees46_row(f"2024-{t}:00", k, p, u, "10.00") for t, k, p, u in CARTS])
    found = query(chain, """
        SELECT product_id, added_date_key % 100, last_date_key % 100, purchased_date_key % 100, quantity, value, status
        FROM fact_cart_item JOIN dim_product USING (product_key) ORDER BY product_id, status
    """)
    assert [(*r[:5], int(r[5]), r[6]) for r in found] == [
        ("again", 1, 1, None, 1, 10, "abandoned"),
        ("again", 1, 1, None, 1, 10, "removed"),
        ("bought", 1, 1, 1, 1, 10, "purchased"),
        ("fresh", 4, 4, None, 1, 10, "open"),
        ("late", 1, 4, 4, 2, 20, "recovered"),
        ("window", 3, 3, None, 1, 10, "abandoned"),
    ]


def test_a_product_version_for_every_change_of_category_or_brand(tmp_path: Path) -> None:
    """A day without a value changes nothing; the price band is the newest one in every version."""
    looks = [("05-01", "toys.bricks", "acme", "5.00"), ("05-02", "toys.bricks", "", "5.00"),
             ("05-03", "toys.bricks", "bolt", "30.00"), ("05-05", "home.decor", "bolt", "30.00")]  # fmt: skip
    chain = built(tmp_path, [
        rees46_row(f"2024-{day} 10:00:00", "view", "p", "u", price, category=category, brand=brand)
        for day, category, brand, price in looks
    ])  # fmt: skip
    found = query(chain, """
        SELECT category_1, brand, price_band, valid_from, valid_to, is_current,
               count(DISTINCT product_durable_key) OVER ()
        FROM dim_product WHERE product_id = 'p' ORDER BY valid_from
    """)
    assert found == [
        ("toys", "acme", "25 to 50", date(1900, 1, 1), date(2024, 5, 2), "No", 1),
        ("toys", "bolt", "25 to 50", date(2024, 5, 3), date(2024, 5, 4), "No", 1),
        ("home", "bolt", "25 to 50", date(2024, 5, 5), date(9999, 12, 31), "Yes", 1),
    ]
    points_at = query(chain, """
        SELECT date_key % 100, brand, category_1 FROM fact_product_day JOIN dim_product USING (product_key) ORDER BY 1
    """)
    assert points_at == [(1, "acme", "toys"), (2, "acme", "toys"), (3, "bolt", "toys"), (5, "bolt", "home")]


def test_only_the_lines_of_the_first_order_are_marked(tmp_path: Path) -> None:
    """An order that arrives late and lies earlier takes the mark from the one that had it."""
    chain = built(tmp_path, [
        rees46_row("2024-05-02 10:00:00", "purchase", "a", "u", "1.00", session="s2"),
        rees46_row("2024-05-02 10:00:00", "purchase", "b", "u", "2.00", session="s2"),
        rees46_row("2024-05-03 10:00:00", "purchase", "c", "u", "4.00", session="s3"),
    ])  # fmt: skip
    marks = "SELECT revenue_net::INT, is_first_order, line_number FROM fact_sales ORDER BY revenue_net"
    assert query(chain, marks) == [(1, "Yes", 1), (2, "Yes", 2), (4, "No", 1)]
    early = rees46_row("2024-05-01 10:00:00", "purchase", "d", "u", "8.00", session="s1")
    chain.ingest([write_rees46(tmp_path / "early.csv", [early])], "rees46")
    chain.build()
    assert query(chain, marks) == [(1, "No", 1), (2, "No", 2), (4, "No", 1), (8, "Yes", 1)]
    assert query(chain, "SELECT first_order_date FROM dim_customer WHERE customer_key <> -1") == [(date(2024, 5, 1),)]


INVOICES = """InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
1,85123A,LAMP,3,2011-01-04 10:00:00,2.50,17850.0,France
1,85123A,LAMP,3,2011-01-04 10:00:00,2.50,17850.0,France
1,POST,POSTAGE,1,2011-01-04 10:00:00,18.00,17850.0,France
C2,85123A,LAMP,-1,2011-01-06 09:00:00,2.50,17850.0,France
A3,B,Adjust bad debt,1,2011-01-06 09:30:00,-11.00,,France
4,22421,,-7,2011-01-06 10:00:00,0.0,,France
"""


@pytest.fixture
def invoices(tmp_path: Path) -> Chain:
    """A sale of two identical lines with postage, a return, a bad debt and a stock correction."""
    file = tmp_path / "invoices.csv"
    file.write_text(INVOICES)
    chain = Chain.at(tmp_path / "home", "Europe/London")
    chain.ingest([file], "online_retail")
    chain.build()
    return chain


def test_amounts_by_line_type(invoices: Chain) -> None:
    """A refund is dated on its own day and below 0 in revenue_net; every line counts there."""
    found = query(invoices, """
        SELECT date_key % 100, line_type, line_number, revenue_gross, refund_amount, revenue_net, is_refund
        FROM fact_sales ORDER BY ALL
    """)
    amount = Decimal
    assert found == [
        (4, "sale", 1, amount("7.5"), None, amount("7.5"), "No"),
        (4, "sale", 2, amount("7.5"), None, amount("7.5"), "No"),
        (4, "shipping", 3, None, None, amount(18), "No"),
        (6, "adjustment", 1, None, None, amount(0), "No"),
        (6, "bad_debt", 1, None, None, amount(-11), "No"),
        (6, "refund", 1, None, amount("2.5"), amount("-2.5"), "Yes"),
    ]


def test_the_same_lines_in_another_file_are_duplicates(invoices: Chain, tmp_path: Path) -> None:
    """Identical lines of one file are lines; delivered again with one more, only that one is new."""
    again = tmp_path / "again.csv"
    lines = INVOICES.splitlines(keepends=True)
    again.write_text(lines[0] + lines[1] * 3)
    (entry,) = invoices.ingest([again], "online_retail").entries
    assert (entry.rows_in, entry.accepted, entry.duplicate) == (3, 1, 2)
