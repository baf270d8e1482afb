"""A whole table that kept its rules is judged again when it, what it points at, or a rule changed, and not else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import duckdb
import ibis
import pyarrow as pa
import pytest

from behavior_assets import quality
from behavior_assets.quality import Verdict, judge_table
from expectations import bridge
from expectations.rules import RuleSet, parse_rules
from resources.compute import DuckDB
from resources.lake import Lake
from resources.table import TableSpec

VISITS = TableSpec("gold/fact_visit", pa.schema([("visit_key", pa.int64()), ("shop_key", pa.int64())]))
SHOPS = TableSpec("gold/dim_shop", pa.schema([("shop_key", pa.int64())]))
RULES = """
table: gold/fact_visit
rules:
  - {name: few_visits, kind: row_count, max: 3, blocking: true, description: Three visits at most.}
  - {name: shop_exists, kind: references, column: shop_key, to_table: gold/dim_shop, blocking: true,
     description: A visit happens in a shop that there is.}
"""


class Judging:
    """A lake of visits in shops; ``judge`` tells the verdict and whether the rules were asked."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lake = Lake(folder)
        self.rules = parse_rules(RULES, "gold_fact_visit.yaml")
        self.asked = 0
        evaluate = bridge.evaluate

        def counted(con: duckdb.DuckDBPyConnection, relation: str, rules: RuleSet) -> list[bridge.RuleResult]:
            self.asked += 1
            return evaluate(con, relation, rules)

        monkeypatch.setattr(bridge, "evaluate", counted)
        monkeypatch.setattr(quality, "load_rules", lambda _table: self.rules)
        self.put(SHOPS, shop_key=[10, 20])
        self.put(VISITS, visit_key=[1, 2], shop_key=[10, 20])

    def put(self, spec: TableSpec, **columns: list[int]) -> None:
        """Replace a table."""
        table = self.lake.table(spec)
        table.commit([table.write("all", "test", [pa.table(columns, schema=spec.schema)])])

    def judge(self) -> tuple[bool, list[str]]:
        """Whether the rules were asked, and which were broken."""
        before = self.asked
        with duckdb.connect() as con:
            compute = DuckDB(ibis.duckdb.from_connection(con))
            verdict: Verdict = judge_table(compute, self.lake, self.lake.table(VISITS), [SHOPS])
        return self.asked > before, sorted(verdict.breaches)


@pytest.fixture
def judging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Judging:
    return Judging(tmp_path, monkeypatch)


def test_a_sound_table_that_nothing_changed_is_not_judged_again(judging: Judging) -> None:
    assert judging.judge() == (True, [])
    assert judging.judge() == (False, [])
    judging.put(VISITS, visit_key=[1, 2], shop_key=[10, 20])  # the same rows
    assert judging.judge() == (False, [])


def test_a_changed_table_is_judged_again(judging: Judging) -> None:
    assert judging.judge() == (True, [])
    judging.put(VISITS, visit_key=[1, 2, 3, 4], shop_key=[10, 10, 10, 10])
    assert judging.judge() == (True, ["few_visits"])


def test_a_changed_rule_is_asked_again(judging: Judging) -> None:
    assert judging.judge() == (True, [])
    few, exists = judging.rules.rules
    judging.rules = replace(judging.rules, rules=(replace(few, maximum=1), exists))
    assert judging.judge() == (True, ["few_visits"])


def test_a_broken_table_is_judged_every_time_until_it_is_sound(judging: Judging) -> None:
    judging.put(VISITS, visit_key=[1], shop_key=[30])
    assert judging.judge() == (True, ["shop_exists"])
    assert judging.judge() == (True, ["shop_exists"])
    judging.put(VISITS, visit_key=[1], shop_key=[20])
    assert judging.judge() == (True, [])
    assert judging.judge() == (False, [])


def test_a_sound_table_that_broke_later_is_not_remembered_as_sound(judging: Judging) -> None:
    """The content comes back to what was judged before it broke: better asked once too often."""
    assert judging.judge() == (True, [])
    judging.put(VISITS, visit_key=[1], shop_key=[30])
    assert judging.judge() == (True, ["shop_exists"])
    judging.put(VISITS, visit_key=[1, 2], shop_key=[10, 20])
    assert judging.judge() == (True, [])


def test_a_changed_dimension_has_the_facts_judged_again(judging: Judging) -> None:
    assert judging.judge() == (True, [])
    judging.put(SHOPS, shop_key=[10])
    assert judging.judge() == (True, ["shop_exists"])
