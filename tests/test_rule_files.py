"""What a rule file may say, and that every one of ours says it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
import yaml

from expectations import bridge
from expectations.rules import (
    Rule,
    RuleFileError,
    RuleSet,
    all_rule_sets,
    load_rules,
    parse_rules,
    relation_name,
)

FOLDER = Path(bridge.__file__).parent

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
