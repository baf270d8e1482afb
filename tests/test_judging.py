"""A whole table that kept its rules is judged again when it, what it points at, or a rule changed, and not else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import ibis
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from behavior_assets import quality
from behavior_assets.quality import Verdict, held_days, judge_days, judge_table
from expectations import bridge
from expectations.rules import RuleSet, parse_rules
from resources.compute import DuckDB
from resources.lake import Lake
from resources.parquet import DataFile
from resources.table import LakeTable, TableSpec

VISITS = TableSpec("gold/fact_visit", pa.schema([("visit_key", pa.int64()), ("shop_key", pa.int64())]))
SHOPS = TableSpec("gold/dim_shop", pa.schema([("shop_key", pa.int64())]))
DOORS = TableSpec("gold/dim_door", pa.schema([("shop_key", pa.int64())]))
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
        self.others = [SHOPS]
        self.asked: list[str] = []
        evaluate = bridge.evaluate

        def counted(con: duckdb.DuckDBPyConnection, relation: str, rules: RuleSet) -> list[bridge.RuleResult]:
            self.asked += [rule.name for rule in rules.rules]
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
        before = len(self.asked)
        with duckdb.connect() as con:
            compute = DuckDB(ibis.duckdb.from_connection(con))
            verdict: Verdict = judge_table(compute, self.lake, self.lake.table(VISITS), self.others)
        return len(self.asked) > before, sorted(verdict.breaches)


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


def test_of_the_tables_that_a_table_points_at_only_those_that_changed_are_looked_into(judging: Judging) -> None:
    door = RULES.splitlines()[-2].replace("shop_exists", "door_exists").replace("dim_shop", "dim_door")
    judging.rules = parse_rules(f"{RULES}{door}\n     description: A shop has a door.}}\n", "gold_fact_visit.yaml")
    judging.others = [SHOPS, DOORS]
    judging.put(DOORS, shop_key=[10, 20])
    assert judging.judge() == (True, [])
    judging.asked.clear()
    judging.put(SHOPS, shop_key=[10, 20, 30])
    assert judging.judge() == (True, [])
    assert judging.asked == ["shop_exists"]
    judging.put(DOORS, shop_key=[10])
    assert judging.judge() == (True, ["door_exists"])


def test_a_rule_that_only_advises_is_told_as_long_as_it_is_broken(judging: Judging) -> None:
    judging.rules = parse_rules(RULES.replace("max: 3, blocking: true", "max: 1, blocking: false"),
                                "gold_fact_visit.yaml")  # fmt: skip
    assert judging.judge() == (True, ["few_visits"])
    assert judging.judge() == (False, ["few_visits"])
    judging.put(SHOPS, shop_key=[10, 20, 30])
    judging.asked.clear()
    assert judging.judge() == (True, ["few_visits"])
    assert judging.asked == ["shop_exists", "few_visits"]
    judging.put(VISITS, visit_key=[1], shop_key=[10])
    assert judging.judge() == (True, [])
    assert judging.judge() == (False, [])


# A table of days

STAYS = TableSpec("silver/stay", pa.schema([("event_date", pa.date32()), ("n", pa.int64())]), by_day=True)
STAY_RULES = """
table: silver/stay
day_column: event_date
rules:
  - {name: counted, kind: between, column: n, min: 0, blocking: true, description: Stays are numbered.}
"""


@pytest.mark.parametrize(("day", "held"), [(2, {"2024-05-02"}), (1, {"2024-05-01"})], ids=["another", "the same"])
def test_a_day_that_another_process_wrote_and_judged_meanwhile_stays_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, day: int, held: set[str]
) -> None:
    monkeypatch.setattr(quality, "load_rules", lambda _table: parse_rules(STAY_RULES, "silver_stay.yaml"))
    lake = Lake(tmp_path)

    def put(table: LakeTable, day: int, n: int) -> None:
        rows = pa.table({"event_date": [date(2024, 5, day)], "n": [n]}, schema=STAYS.schema)
        table.commit([table.write(f"2024-05-{day:02d}", "bad" if n < 0 else "good", [rows])])

    def judged(compute: DuckDB) -> None:
        judge_days(compute, lake, lake.table(STAYS))

    class Slow(DuckDB):
        """While it judges, the other process brings a bad day and judges that."""

        def judge(self, *asked: Any, **more: Any) -> list[bridge.RuleResult]:
            found = super().judge(*asked, **more)
            with duckdb.connect() as con:
                put(lake.table(STAYS), day, -1)
                judged(DuckDB(ibis.duckdb.from_connection(con)))
            return found

    put(lake.table(STAYS), 1, 1)
    with duckdb.connect() as con:
        judged(Slow(ibis.duckdb.from_connection(con)))
    assert held_days(lake, STAYS.name) == held


# A table of parts


PART_RULES = """
table: gold/fact_visit
rules:
  - {name: once, kind: unique, column: visit_key, blocking: true, description: A visit is there once.}
  - {name: shop_exists, kind: references, column: shop_key, to_table: gold/dim_shop, blocking: true,
     description: A visit happens in a shop that there is.}
  - {name: counted, kind: between, column: visit_key, min: 0, blocking: true, description: Visits are numbered.}
  - {name: not_all_in_one, kind: query, sql: "SELECT 1 AS n FROM {table} HAVING count(DISTINCT shop_key) = 1",
     blocking: true, description: Some visit another shop.}
  - {name: no_pair, kind: query, scope: part, blocking: true, description: Two that meet are never the same two.,
     sql: "SELECT * FROM {table} WHERE visit_key = 7 AND shop_key = 20"}
"""
OLD = {"visit_key": list(range(100, 140)), "shop_key": [10, 20] * 20}  # most of the rows, which nothing changes


class Parts(Judging):
    """The same of a table in parts, of which one is large and old."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(folder, monkeypatch)
        self.rules = parse_rules(PART_RULES, "gold_fact_visit.yaml")
        self.read: list[set[str]] = []
        register = DuckDB._register

        def noted(compute: DuckDB, table: LakeTable, files: Sequence[DataFile], view: str) -> None:
            if view == VISITS.view:
                self.read.append({f.part for f in files})
            register(compute, table, files, view)

        monkeypatch.setattr(DuckDB, "_register", noted)
        self.set({"old": OLD})

    def set(self, parts: dict[str, dict[str, list[int]]]) -> None:
        """The parts that there are."""
        table = self.lake.table(VISITS)
        files = [table.write(part, "test", [pa.table(rows, schema=VISITS.schema)]) for part, rows in parts.items()]
        table.commit(files, drop=set(table.parts()) - set(parts))

    def at_first_sight(self) -> list[str]:
        """Which rules somebody finds broken who knows nothing of before."""
        with duckdb.connect() as con:
            compute = DuckDB(ibis.duckdb.from_connection(con))
            visits, shops = self.lake.table(VISITS), self.lake.table(SHOPS)
            told = compute.judge(visits, visits.files(), [shops], self.rules)
        return sorted(r.rule.name for r in told if not r.passed)


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Parts:
    return Parts(tmp_path, monkeypatch)


def test_only_a_part_that_changed_is_read_for_rules_of_rows(parts: Parts) -> None:
    assert parts.judge() == (True, [])
    parts.set({"old": OLD, "new": {"visit_key": [1], "shop_key": [10]}})
    parts.read.clear()
    assert parts.judge() == (True, [])
    assert parts.read == [{"new"}, {"old", "new"}], "rows of the new part; then what compares all of them"
    assert parts.judge() == (False, [])


@pytest.mark.parametrize(
    ("new", "broken"),
    [
        ({"visit_key": [139], "shop_key": [10]}, "once"),  # is in the old part
        ({"visit_key": [1, 1], "shop_key": [10, 10]}, "once"),
        ({"visit_key": [1], "shop_key": [30]}, "shop_exists"),
        ({"visit_key": [-1], "shop_key": [10]}, "counted"),
        ({"visit_key": [7], "shop_key": [20]}, "no_pair"),
    ],
)
def test_a_part_that_breaks_a_rule_is_found(parts: Parts, new: dict[str, list[int]], broken: str) -> None:
    assert parts.judge() == (True, [])
    parts.set({"old": OLD, "new": new})
    assert parts.judge() == (True, [broken])
    assert parts.judge() == (True, [broken])


def test_a_rule_that_only_advises_does_not_have_the_others_asked_of_all_parts(parts: Parts) -> None:
    parts.rules = parse_rules(PART_RULES.replace("min: 0, blocking: true", "min: 101, blocking: false"),
                              "gold_fact_visit.yaml")  # fmt: skip
    assert parts.judge() == (True, ["counted"])
    parts.set({"old": OLD, "new": {"visit_key": [50], "shop_key": [10]}})
    parts.asked.clear()
    assert parts.judge() == (True, ["counted"])
    assert sorted(parts.asked) == ["counted", "no_pair", "not_all_in_one", "once", "shop_exists"]


def test_an_old_part_that_lost_its_shop_is_found(parts: Parts) -> None:
    assert parts.judge() == (True, [])
    parts.put(SHOPS, shop_key=[10])
    parts.set({"old": OLD, "new": {"visit_key": [1], "shop_key": [10]}})
    assert parts.judge() == (True, ["shop_exists"])


def test_a_part_that_goes_has_the_whole_asked(parts: Parts) -> None:
    one = {"visit_key": [1], "shop_key": [20]}
    old = {"visit_key": OLD["visit_key"], "shop_key": [10] * 40}
    parts.set({"old": old, "new": one})
    assert parts.judge() == (True, [])
    parts.set({"old": old})
    assert parts.judge() == (True, ["not_all_in_one"])


ROWS = st.lists(st.tuples(st.sampled_from([-1, 1, 2, 7, 100, 139]), st.sampled_from([10, 20, 30])), max_size=3)
STATES = st.tuples(st.dictionaries(st.sampled_from("abc"), ROWS, max_size=3), st.sampled_from([(10,), (10, 20)]))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(states=st.lists(STATES, min_size=2, max_size=4))
def test_whatever_changes_the_verdict_is_that_of_a_first_sight(
    parts: Parts, states: list[tuple[dict[str, list[tuple[int, int]]], tuple[int, ...]]]
) -> None:
    for made, shops in states:
        few = {p: {"visit_key": [v for v, _ in rows], "shop_key": [s for _, s in rows]} for p, rows in made.items()}
        parts.set({"old": OLD, **few})
        parts.put(SHOPS, shop_key=list(shops))
        assert parts.judge()[1] == parts.at_first_sight()
