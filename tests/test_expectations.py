"""Quality rules: what a broken one reports, what it hides, and what a rule file may say."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from datetime import date, datetime
from pathlib import Path

import duckdb
import pytest
import yaml

from expectations import bridge
from expectations.bridge import UNKNOWN_DAY, RuleError, RuleResult, evaluate
from expectations.rules import (
    KINDS,
    Rule,
    RuleFileError,
    RuleSet,
    all_rule_sets,
    load_rules,
    parse_rules,
    relation_name,
)

FOLDER = Path(bridge.__file__).parent
SECRET = "ada@example.org"

# Six rows on two days, and all in order.
GOOD = """
    (1, DATE '2024-05-01', 'view',     2.50, 'EUR', 10, TIMESTAMP '2024-05-01 12:00:00'),
    (2, DATE '2024-05-01', 'cart',     2.50, 'EUR', 10, TIMESTAMP '2024-05-01 12:30:00'),
    (3, DATE '2024-05-01', 'purchase', 2.50, 'EUR', 10, TIMESTAMP '2024-05-01 13:00:00'),
    (4, DATE '2024-05-02', 'view',     9.00, 'USD', 20, TIMESTAMP '2024-05-02 08:00:00'),
    (5, DATE '2024-05-02', 'view',     0.00, NULL,  20, TIMESTAMP '2024-05-02 08:01:00'),
    (6, DATE '2024-05-02', 'view',     NULL, 'EUR', NULL, TIMESTAMP '2024-05-02 08:02:00')
"""
COLUMNS = ["id", "day", "name", "price", "currency", "customer", "seen"]

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
        f"UPDATE silver_events SET name = '{SECRET}' WHERE id = 5",
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
    rules = [
        {"name": f"rule_{n}", "blocking": True, "description": "A test.", **entry}
        for n, entry in enumerate(entries, start=1)
    ]
    file = {"table": "silver/events", "day_column": day_column, "rules": rules}
    content = {key: value for key, value in file.items() if value is not None}
    return parse_rules(yaml.safe_dump(content), "silver_events.yaml")


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


# What is in the data must not come out: neither in results nor in errors nor in logs.


def test_a_broken_rule_keeps_the_values_to_itself(
    shop: duckdb.DuckDBPyConnection,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    shop.execute(f"UPDATE silver_events SET name = '{SECRET}', currency = '{SECRET}'")
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
    assert SECRET not in repr(results) + caplog.text + out + err
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
    shop.execute(f"UPDATE silver_events SET name = '{SECRET}'")
    bystanders: tuple[dict[str, object], ...] = (
        {"kind": "not_null", "column": "id"},
        {"kind": "in_set", "column": "id", "values": [1]},
    )
    with caplog.at_level(logging.DEBUG), pytest.raises(RuleError, match=said) as caught:
        evaluate(shop, "silver_events", rules_of({**entry, "name": "culprit"}, *bystanders))
    assert (caught.value.table, caught.value.rules) == ("silver/events", ("culprit",))
    assert "silver/events: rule culprit" in str(caught.value)
    assert SECRET not in str(caught.value) + caplog.text
    chain = (caught.value.__cause__, caught.value.__context__)
    assert SECRET not in repr(chain)
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


# Rule files.

VALID = {
    "name": "a_rule",
    "kind": "not_null",
    "column": "id",
    "blocking": True,
    "description": "A test.",
}

MISTAKES: dict[str, tuple[dict[str, object], str]] = {
    "unknown kind": ({"kind": "not_nul"}, "kind"),
    "unknown key": ({"colum": "id"}, "colum"),
    "key of another kind": ({"values": [1]}, "values"),
    "no name": ({"name": None}, "name"),
    "name with spaces": ({"name": "A rule"}, "name"),
    "no kind": ({"kind": None}, "kind"),
    "no column": ({"column": None}, "column"),
    "no word on blocking": ({"blocking": None}, "blocking"),
    "blocking is a text": ({"blocking": "yes"}, "blocking"),
    "no description": ({"description": None}, "description"),
    "empty description": ({"description": " "}, "description"),
    "column is a number": ({"column": 1}, "column"),
    "unique without columns": ({"kind": "unique", "column": None}, "columns"),
    "unique with both": ({"kind": "unique", "columns": ["id"]}, "columns"),
    "a column twice": ({"kind": "unique", "column": None, "columns": ["a", "a"]}, "columns"),
    "columns as a text": ({"kind": "columns", "column": None, "columns": "id"}, "columns"),
    "no values": ({"kind": "in_set", "values": []}, "values"),
    "values of two types": ({"kind": "in_set", "values": [1, "1"]}, "values"),
    "a NULL among values": ({"kind": "in_set", "values": ["a", None]}, "values"),
    "no bound": ({"kind": "between"}, "min"),
    "bounds the wrong way": ({"kind": "between", "min": 2, "max": 1}, "max"),
    "bound as a text": ({"kind": "between", "min": "low"}, "min"),
    "bound beyond doubles": ({"kind": "between", "max": 2**60}, "max"),
    "infinite bound": ({"kind": "between", "max": float("inf")}, "max"),
    "half a row": ({"kind": "row_count", "column": None, "min": 0.5}, "min"),
    "reference to no table": ({"kind": "references", "to_table": "dim_customer"}, "to_table"),
    "query of no table": ({"kind": "query", "column": None, "sql": "SELECT 1"}, "sql"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_refused_with_file_rule_and_key(case: str) -> None:
    change, key = MISTAKES[case]
    rule = {k: v for k, v in {**VALID, **change}.items() if v is not None}
    text = yaml.safe_dump({"table": "silver/events", "rules": [rule]})
    with pytest.raises(RuleFileError) as caught:
        parse_rules(text, "silver_events.yaml")
    place, _, rest = str(caught.value).partition(": key ")
    assert place.startswith("silver_events.yaml: rule ")
    assert rest.startswith(repr(key))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "mapping"),
        ("table: silver/events\nrules: []", "'rules'"),
        ("table: silver/events", "'rules'"),
        ("table: events\nrules: []", "'table'"),
        ("table: gold/events\nrules: []", "gold_events.yaml"),
        ("table: silver/events\nday: d\nrules: []", "'day'"),
        ("table: silver/events\ntable: silver/events\nrules: []", "twice"),
        ("table: [", "YAML"),
    ],
)
def test_a_file_that_is_none_is_refused(text: str, said: str) -> None:
    with pytest.raises(RuleFileError, match=said) as caught:
        parse_rules(text, "silver_events.yaml")
    assert str(caught.value).startswith("silver_events.yaml")


def test_two_rules_of_one_name_are_refused() -> None:
    text = yaml.safe_dump({"table": "silver/events", "rules": [VALID, VALID]})
    with pytest.raises(RuleFileError, match="a_rule"):
        parse_rules(text, "silver_events.yaml")


def test_yes_and_no_are_words() -> None:
    """They are the flags of gold, and YAML 1.1 would make booleans of them."""
    rule = "{name: a, kind: in_set, column: c, values: [Yes, No], blocking: true, description: d}"
    rules = parse_rules(f"table: gold/fact_session\nrules: [{rule}]", "gold_fact_session.yaml")
    assert rules.rules[0].values == ("Yes", "No")


def test_every_rule_file_loads() -> None:
    sets = all_rule_sets()
    assert {f"{relation_name(s.table)}.yaml" for s in sets} == {
        p.name for p in FOLDER.glob("*.yaml")
    }
    for rules in sets:
        assert load_rules(rules.table) == rules
        assert all(isinstance(rule, Rule) and rule.description for rule in rules.rules)


@pytest.mark.parametrize("rules", all_rule_sets(), ids=lambda rules: rules.table)
def test_every_rule_file_can_be_asked(rules: RuleSet) -> None:
    """The SQL of every rule is SQL, on a table with the columns that the rules name."""
    from expectations import sql

    for rule in rules.rules:
        if rule.kind not in {"columns", "row_count"}:
            asked = duckdb.extract_statements(sql.over('"relation"', sql.any_breach(rule)))
            assert len(asked) == 1


def test_a_table_without_a_file_is_refused() -> None:
    with pytest.raises(RuleFileError, match=r"gold_nothing\.yaml"):
        load_rules("gold/nothing")


def test_importing_the_package_imports_no_great_expectations() -> None:
    code = (
        "import sys, expectations.rules, expectations.sql, expectations.bridge,"
        " expectations.reading, expectations.validation, expectations.duckdb_dialect;"
        "sys.exit('great_expectations' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=FOLDER.parent)
