"""Six sound rows on two days, and rules to ask of them."""

from __future__ import annotations

import duckdb
import yaml

from expectations.rules import RuleSet, parse_rules

PERSON = "ada@example.org"

GOOD = """
    (1, DATE '2024-05-01', 'view',     2.50, 'EUR', 10, TIMESTAMP '2024-05-01 12:00:00'),
    (2, DATE '2024-05-01', 'cart',     2.50, 'EUR', 10, TIMESTAMP '2024-05-01 12:30:00'),
    (3, DATE '2024-05-01', 'purchase', 2.50, 'EUR', 10, TIMESTAMP '2024-05-01 13:00:00'),
    (4, DATE '2024-05-02', 'view',     9.00, 'USD', 20, TIMESTAMP '2024-05-02 08:00:00'),
    (5, DATE '2024-05-02', 'view',     0.00, NULL,  20, TIMESTAMP '2024-05-02 08:01:00'),
    (6, DATE '2024-05-02', 'view',     NULL, 'EUR', NULL, TIMESTAMP '2024-05-02 08:02:00')
"""
COLUMNS = ["id", "day", "name", "price", "currency", "customer", "seen"]


def make_shop() -> duckdb.DuckDBPyConnection:
    """The six events, and a dimension of their two customers."""
    connection = duckdb.connect()
    connection.execute(
        "CREATE TEMP TABLE gold_dim_customer AS SELECT unnest([10, 20]) customer_key"
    )
    connection.execute(
        "CREATE TEMP TABLE silver_events (id BIGINT, day DATE, name VARCHAR, price DECIMAL(18, 4),"
        " currency VARCHAR, customer BIGINT, seen TIMESTAMP)"
    )
    connection.execute(f"INSERT INTO silver_events VALUES {GOOD}")
    return connection


def rules_of(*entries: dict[str, object], day_column: str | None = "day") -> RuleSet:
    """Blocking rules of the six events, called rule_1, rule_2 and so on unless named."""
    rules = [
        {"name": f"rule_{n}", "blocking": True, "description": "A test.", **entry}
        for n, entry in enumerate(entries, start=1)
    ]
    file = {"table": "silver/events", "day_column": day_column, "rules": rules}
    content = {key: value for key, value in file.items() if value is not None}
    return parse_rules(yaml.safe_dump(content), "silver_events.yaml")
