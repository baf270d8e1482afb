"""Rules that cannot be asked are errors and not breaches, no value of a row comes out, callers do not mix."""

from __future__ import annotations

import logging
import threading

import duckdb
import pytest

from expectations.bridge import RuleError, evaluate
from tests.six_events import PERSON, make_shop, rules_of


@pytest.fixture
def shop() -> duckdb.DuckDBPyConnection:
    return make_shop()


# What is in the data must not come out: neither in results nor in errors nor in logs.


def test_a_broken_rule_keeps_the_values_to_itself(
    shop: duckdb.DuckDBPyConnection,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    shop.execute(f"UPDATE silver_events SET name = '{PERSON}', currency = '{PERSON}'")
    with caplog.at_level(logging.DEBUG):
        results = evaluate(
            shop,
            "silver_events",
            rules_of(
                {"kind": "in_set", "column": "name", "values": ["view"]},
                {"kind": "matches", "column": "currency", "pattern": "[A-Z]{3}"},
                {"kind": "unique", "column": "name"},
                {"kind": "query", "sql": "SELECT name, currency, day FROM {table}"},
            ),
        )
    assert [r.passed for r in results] == [False] * 4
    out, err = capfd.readouterr()
    assert PERSON not in repr(results) + caplog.text + out + err
    assert out + err == ""


ERRORS: dict[str, tuple[dict[str, object], str]] = {
    "a conversion that quotes the row": (
        {"kind": "holds", "condition": "CAST(name AS INTEGER) > 0"},
        "ConversionException: details withheld",
    ),
    "values of another type": (
        {"kind": "in_set", "column": "name", "values": [1, 2]},
        "ConversionException: details withheld",
    ),
    "a column that is not there": ({"kind": "holds", "condition": "nmae = 'x'"}, "nmae"),
    "SQL that is none": ({"kind": "holds", "condition": "id >"}, "ParserException"),
    "a pattern that is none": (
        {"kind": "matches", "column": "name", "pattern": "("},
        "InvalidInputException",
    ),
    "a table that is not there": (
        {"kind": "references", "column": "id", "to_table": "gold/dim_none"},
        "gold_dim_none",
    ),
    "SQL that writes": (
        {
            "kind": "query",
            "sql": "FROM {table}); DROP TABLE silver_events; SELECT 1 FROM (SELECT 1",
        },
        "NotReadOnlyError: one SELECT",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_an_exception_is_an_error_and_not_a_broken_rule(
    case: str, shop: duckdb.DuckDBPyConnection, caplog: pytest.LogCaptureFixture
) -> None:
    entry, said = ERRORS[case]
    shop.execute(f"UPDATE silver_events SET name = '{PERSON}'")
    bystanders: tuple[dict[str, object], ...] = (
        {"kind": "not_null", "column": "id"},
        {"kind": "in_set", "column": "id", "values": [1]},
    )
    with caplog.at_level(logging.DEBUG), pytest.raises(RuleError, match=said) as caught:
        evaluate(shop, "silver_events", rules_of({**entry, "name": "culprit"}, *bystanders))
    assert "silver/events: rule culprit" in str(caught.value)
    assert PERSON not in str(caught.value) + caplog.text
    chain = (caught.value.__cause__, caught.value.__context__)
    assert PERSON not in repr(chain)
    assert shop.execute("SELECT count(*) FROM silver_events").fetchone() == (6,)


@pytest.mark.parametrize("relation", ["nowhere", "silver events", 'x"; DROP TABLE y'])
def test_a_relation_that_is_none_is_an_error(
    relation: str, shop: duckdb.DuckDBPyConnection
) -> None:
    with pytest.raises(RuleError, match="silver/events"):
        evaluate(shop, relation, rules_of({"kind": "row_count", "min": 0}))


@pytest.mark.parametrize("column", ["gone", "name"])
def test_a_day_column_that_is_none_is_an_error(
    column: str, shop: duckdb.DuckDBPyConnection
) -> None:
    with pytest.raises(RuleError, match=column):
        evaluate(
            shop, "silver_events", rules_of({"kind": "row_count", "min": 0}, day_column=column)
        )


def test_the_transaction_of_the_caller_stays_open(shop: duckdb.DuckDBPyConnection) -> None:
    shop.execute("BEGIN")
    shop.execute("DELETE FROM silver_events")
    evaluate(shop, "silver_events", rules_of({"kind": "row_count", "min": 1}))
    shop.execute("ROLLBACK")
    assert shop.execute("SELECT count(*) FROM silver_events").fetchone() == (6,)


def test_threads_do_not_read_through_each_others_connection() -> None:
    rules = rules_of({"kind": "row_count", "min": 3, "max": 3}, day_column=None)
    found: dict[int, bool] = {}

    def one(rows: int) -> None:
        connection = duckdb.connect()
        connection.execute(f"CREATE TEMP VIEW silver_events AS FROM range({rows})")
        found[rows] = evaluate(connection, "silver_events", rules)[0].passed

    threads = [threading.Thread(target=one, args=(rows,)) for rows in range(1, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {1: False, 2: False, 3: True, 4: False, 5: False}


def test_many_relations_do_not_pile_up(shop: duckdb.DuckDBPyConnection) -> None:
    from expectations import validation

    rules = rules_of({"kind": "row_count", "min": 6}, day_column=None)
    most = validation.MOST_ASSETS
    for n in range(most + 3):
        shop.execute(f"CREATE VIEW v{n} AS SELECT * FROM silver_events")
        assert evaluate(shop, f"v{n}", rules)[0].passed
    assert evaluate(shop, "v0", rules)[0].passed
