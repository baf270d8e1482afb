"""What each kind of rule says of sound rows and of broken ones: how many, and on which days."""

from __future__ import annotations

from datetime import date, datetime

import duckdb
import pytest

from expectations.bridge import UNKNOWN_DAY, RuleResult, evaluate
from expectations.rules import KINDS, RuleSet
from tests.six_events import COLUMNS, PERSON, make_shop, rules_of

# kind: (the rule, a statement that breaks it, rows that break it, on which days)
CASES: dict[str, tuple[dict[str, object], str, int, dict[str, int]]] = {
    "columns, exactly": (
        {"kind": "columns", "columns": COLUMNS},
        "ALTER TABLE silver_events ADD COLUMN email VARCHAR",
        1,
        {"2024-05-01": 3, "2024-05-02": 3},
    ),
    "columns, at least": (
        {"kind": "columns", "columns": ["price", "id"], "exact": False},
        "ALTER TABLE silver_events RENAME COLUMN price TO cost",
        1,
        {"2024-05-01": 3, "2024-05-02": 3},
    ),
    "not_null": (
        {"kind": "not_null", "column": "id"},
        "UPDATE silver_events SET id = NULL WHERE id IN (2, 5, 6)",
        3,
        {"2024-05-01": 1, "2024-05-02": 2},
    ),
    "unique, one column": (
        {"kind": "unique", "column": "id"},
        "UPDATE silver_events SET id = 3 WHERE id = 4",
        2,
        {"2024-05-01": 1, "2024-05-02": 1},
    ),
    "unique, two columns": (
        {"kind": "unique", "columns": ["id", "currency"]},
        "UPDATE silver_events SET id = 1, currency = 'EUR' WHERE id IN (2, 3)",
        3,
        {"2024-05-01": 3},
    ),
    "in_set, texts": (
        {"kind": "in_set", "column": "name", "values": ["view", "cart", "purchase"]},
        f"UPDATE silver_events SET name = '{PERSON}' WHERE id = 5",
        1,
        {"2024-05-02": 1},
    ),
    "in_set, numbers": (
        {"kind": "in_set", "column": "customer", "values": [10, 20]},
        "UPDATE silver_events SET customer = 30 WHERE id = 5",
        1,
        {"2024-05-02": 1},
    ),
    "in_set, dates": (
        {"kind": "in_set", "column": "day", "values": [date(2024, 5, 1), date(2024, 5, 2)]},
        "UPDATE silver_events SET day = DATE '2024-05-03' WHERE id = 1",
        1,
        {"2024-05-03": 1},
    ),
    "between, both bounds": (
        {"kind": "between", "column": "price", "min": 0, "max": 9},
        "UPDATE silver_events SET price = 9.01 WHERE id IN (1, 4)",
        2,
        {"2024-05-01": 1, "2024-05-02": 1},
    ),
    "between, strict": (
        {"kind": "between", "column": "price", "min": -0.01, "strict": True},
        "UPDATE silver_events SET price = -0.01 WHERE id = 1",
        1,
        {"2024-05-01": 1},
    ),
    "between, dates": (
        {"kind": "between", "column": "day", "min": date(2024, 5, 1), "max": date(2024, 5, 2)},
        "UPDATE silver_events SET day = DATE '2024-05-03' WHERE id = 1",
        1,
        {"2024-05-03": 1},
    ),
    "between, times": (
        {"kind": "between", "column": "seen", "min": datetime(2024, 5, 1, 12)},  # noqa: DTZ001
        "UPDATE silver_events SET seen = TIMESTAMP '2024-05-01 11:59:59' WHERE id = 1",
        1,
        {"2024-05-01": 1},
    ),
    "matches": (
        # Braces, colons and dollars mean something to the templating on the way.
        {"kind": "matches", "column": "currency", "pattern": r"^(?:[A-Z]{3}|a\:b:c::d|'--)$"},
        "UPDATE silver_events SET currency = 'EURO' WHERE id = 4",
        1,
        {"2024-05-02": 1},
    ),
    "references": (
        {
            "kind": "references",
            "column": "customer",
            "to_table": "gold/dim_customer",
            "to_column": "customer_key",
        },
        "DELETE FROM gold_dim_customer WHERE customer_key = 20",
        2,
        {"2024-05-02": 2},
    ),
    "holds, and NULL breaks it": (
        {"kind": "holds", "condition": "id > 0 AND name <> '{x}:y' -- ids count up"},
        "UPDATE silver_events SET id = CASE id WHEN 1 THEN NULL ELSE -1 END WHERE id IN (1, 6)",
        2,
        {"2024-05-01": 1, "2024-05-02": 1},
    ),
    "query": (
        {
            "kind": "query",
            "sql": "SELECT t.* FROM {table} t JOIN {table} u"
            " ON t.id = u.id + 1 AND t.seen < u.seen",
        },
        "UPDATE silver_events SET seen = TIMESTAMP '2024-05-01 11:00:00' WHERE id = 3",
        1,
        {"2024-05-01": 1},
    ),
    "query, of groups without days": (
        {"kind": "query", "sql": "SELECT name FROM {table} GROUP BY name HAVING sum(price) > 100"},
        "UPDATE silver_events SET price = 101",
        3,
        {},
    ),
    "row_count, too few": (
        {"kind": "row_count", "min": 6},
        "DELETE FROM silver_events WHERE id > 4",
        2,
        {},
    ),
    "row_count, too many": (
        {"kind": "row_count", "max": 6},
        "INSERT INTO silver_events SELECT * FROM silver_events WHERE id = 1",
        1,
        {},
    ),
}


@pytest.fixture
def shop() -> duckdb.DuckDBPyConnection:
    return make_shop()


def outcome(connection: duckdb.DuckDBPyConnection, rules: RuleSet) -> dict[str, RuleResult]:
    return {r.rule.name: r for r in evaluate(connection, "silver_events", rules)}


@pytest.mark.parametrize("case", CASES)
def test_a_rule_holds_and_then_breaks(case: str, shop: duckdb.DuckDBPyConnection) -> None:
    entry, breaking, unexpected, days = CASES[case]
    rules = rules_of(entry)
    (good,) = evaluate(shop, "silver_events", rules)
    assert (good.passed, good.unexpected, good.failed_days) == (True, 0, {})

    shop.execute(breaking)
    (bad,) = evaluate(shop, "silver_events", rules)

    assert (bad.passed, bad.unexpected, bad.failed_days) == (False, unexpected, days)
    assert bad.rule is rules.rules[0]


def test_every_kind_has_a_case() -> None:
    assert {entry["kind"] for entry, *_ in CASES.values()} == set(KINDS)


def test_all_rules_of_a_table_are_evaluated_together(shop: duckdb.DuckDBPyConnection) -> None:
    rules = rules_of(*(entry for entry, *_ in CASES.values()))
    shop.execute("UPDATE silver_events SET name = 'gift' WHERE id = 4")
    results = evaluate(shop, "silver_events", rules)
    assert [r.rule for r in results] == list(rules.rules)
    assert [r.rule.kind for r in results if not r.passed] == ["in_set"]
    assert {r.total for r in results if r.rule.kind != "columns"} == {6}


def test_an_empty_table_breaks_no_rule_of_rows(shop: duckdb.DuckDBPyConnection) -> None:
    shop.execute("DELETE FROM silver_events")
    rules = rules_of(*(e for e, *_ in CASES.values() if e["kind"] != "row_count"))
    assert all(r.passed and r.unexpected == 0 for r in evaluate(shop, "silver_events", rules))


def test_a_view_of_another_connection_is_not_mistaken_for_this_one() -> None:
    rules = rules_of({"kind": "not_null", "column": "id"}, day_column=None)
    for column, passed in (("1 AS id", True), ("NULL AS id", False), ("2 AS other", False)):
        connection = duckdb.connect()
        connection.execute(f"CREATE TEMP VIEW silver_events AS SELECT {column}")
        assert evaluate(connection, "silver_events", rules)[0].passed is passed


def test_days_come_from_numbers_and_a_missing_day_has_a_name(
    shop: duckdb.DuckDBPyConnection,
) -> None:
    shop.execute(
        "CREATE VIEW v AS SELECT NULL AS x,"
        " unnest([20240501, 20240501, 20240502, NULL]) AS date_key"
    )
    rules = rules_of({"kind": "not_null", "column": "x"}, day_column="date_key")
    (result,) = evaluate(shop, "v", rules)
    assert result.failed_days == {"2024-05-01": 2, "2024-05-02": 1, UNKNOWN_DAY: 1}


def test_without_a_day_column_a_rule_breaks_for_the_whole_table(
    shop: duckdb.DuckDBPyConnection,
) -> None:
    shop.execute("UPDATE silver_events SET id = NULL")
    (result,) = evaluate(
        shop, "silver_events", rules_of({"kind": "not_null", "column": "id"}, day_column=None)
    )
    assert (result.unexpected, result.total, result.failed_days) == (6, 6, {})


def test_a_missing_column_breaks_what_needs_it_and_nothing_else(
    shop: duckdb.DuckDBPyConnection,
) -> None:
    shop.execute("ALTER TABLE silver_events DROP COLUMN price")
    results = outcome(
        shop,
        rules_of(
            {"kind": "columns", "columns": COLUMNS, "name": "columns"},
            {"kind": "between", "column": "price", "min": 0, "name": "price"},
            {"kind": "holds", "condition": "price >= 0", "name": "price_sql"},
            {"kind": "holds", "condition": "id > 0", "name": "id_sql"},
            {"kind": "not_null", "column": "id", "name": "id"},
        ),
    )
    assert [name for name, r in results.items() if r.passed] == ["id_sql", "id"]
    assert all(
        "missing columns: price" in results[n].reason for n in ("columns", "price", "price_sql")
    )
    assert results["price"].failed_days == {"2024-05-01": 3, "2024-05-02": 3}


def test_columns_out_of_order_are_named(shop: duckdb.DuckDBPyConnection) -> None:
    rules = rules_of({"kind": "columns", "columns": ["day", "id", *COLUMNS[2:]]})
    (result,) = evaluate(shop, "silver_events", rules)
    assert (result.unexpected, result.reason) == (2, "columns out of order: id, day")
