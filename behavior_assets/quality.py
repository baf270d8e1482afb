"""Rules applied to tables: which days are held back, and whether a whole table may reach a reader.

Day-wise tables are judged day by day: a day that breaks a blocking rule is held back, the others go on. What was
judged is remembered with the content it was judged on, so an unchanged day is not judged twice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from behavior_assets.incremental import content, fingerprint
from expectations.rules import Rule, RuleSet, load_rules
from resources.compute import Compute
from resources.errors import ConflictError
from resources.lake import Lake
from resources.parquet import DataFile
from resources.table import COMMIT_ATTEMPTS, LakeTable, TableSpec

QUALITY_DAYS = TableSpec(
    "quality/days",
    pa.schema([
        ("table_name", pa.string()), ("day", pa.string()), ("content", pa.string()), ("held", pa.bool_()),
        ("breaches", pa.string()),
    ]),
)  # fmt: skip
THE_RULES = ""  # stands among a table's parts for the rules, and has what of them was broken and let pass
POINTED_AT = "-> "  # with its name stands among a table's parts for another that its rules compare it with


@dataclass
class Verdict:
    """What the rules said of a table. ``breaches``: rule name to (blocking, unexpected rows, days)."""

    table: str
    rules: int
    judged: list[str] = field(default_factory=list)
    held: dict[str, list[str]] = field(default_factory=dict)
    breaches: dict[str, tuple[bool, int, list[str]]] = field(default_factory=dict)

    @property
    def blocking(self) -> dict[str, tuple[bool, int, list[str]]]:
        """Breaches of blocking rules."""
        return {n: b for n, b in self.breaches.items() if b[0]}

    @property
    def advisory(self) -> dict[str, tuple[bool, int, list[str]]]:
        """Breaches of advisory rules."""
        return {n: b for n, b in self.breaches.items() if not b[0]}


def judge_days(compute: Compute, lake: Lake, table: LakeTable) -> Verdict:
    """Judge the days whose content is new, remember the verdict, and return all that is held."""
    rules = load_rules(table.spec.name)
    memory = lake.table(QUALITY_DAYS)
    known = {r["day"]: r for r in _remembered(memory, table.spec.name)}
    now = _content_of_parts(table, rules)
    fresh = [d for d in now if d not in known or known[d]["content"] != now[d]]
    verdict = Verdict(table.spec.name, len(rules.rules), judged=fresh)
    state = {d: r for d, r in known.items() if d in now}
    if fresh:
        told = _judged(compute, table, rules, {d: now[d] for d in fresh}, verdict)
        state |= told

        def heard(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
            """Others may have written and judged days meanwhile: a verdict counts while its day is as it was judged."""
            live = _content_of_parts(table, rules)
            ours = {day: row for day, row in told.items() if live.get(day) == row["content"]}
            return {r["day"]: r for r in rows if r["day"] in live} | ours

        _remember(memory, table.spec, heard)
    blocking = {r.name for r in rules.rules if r.blocking}
    for day, row in sorted(state.items()):
        if row["held"]:
            names = [n for n in json.loads(row["breaches"]) if n in blocking]
            verdict.held[day] = names
            for name, rows in json.loads(row["breaches"]).items():
                old = verdict.breaches.get(name, (name in blocking, 0, []))
                if day not in old[2]:
                    verdict.breaches[name] = (old[0], old[1] + rows, [*old[2], day])
    return verdict


def _content_of_parts(table: LakeTable, rules: RuleSet) -> dict[str, str]:
    """By part, what tells whether it, or a rule, is another than before."""
    version = _version(rules)
    return {part: fingerprint(version, content(files)) for part, files in table.parts().items()}


def _judged(
    compute: Compute, table: LakeTable, rules: RuleSet, fresh: Mapping[str, str], verdict: Verdict
) -> dict[str, dict[str, Any]]:
    """What is to be remembered of days, given with their content; breaches are added to the verdict."""
    from expectations.bridge import UNKNOWN_DAY

    breaches: dict[str, dict[str, int]] = {d: {} for d in fresh}
    blocked: set[str] = set()
    for result in compute.judge(table, [f for f in table.files() if f.part in fresh], [], rules):
        if result.passed:
            continue
        # Without days, or with rows that have none, nothing can be told apart: every judged day is concerned.
        days = set(result.failed_days) if result.failed_days else set(fresh)
        days = set(fresh) if UNKNOWN_DAY in days else days & set(fresh)
        for day in days:
            breaches[day][result.rule.name] = result.failed_days.get(day, result.unexpected)
        blocked |= days if result.rule.blocking else set()
        verdict.breaches[result.rule.name] = (result.rule.blocking, result.unexpected, sorted(days))
    return {day: {"table_name": table.spec.name, "day": day, "content": told, "held": day in blocked,
                  "breaches": json.dumps(breaches[day])} for day, told in fresh.items()}  # fmt: skip


def judge_table(compute: Compute, lake: Lake, table: LakeTable, related: Iterable[TableSpec]) -> Verdict:
    """Judge a whole table. What broke no blocking rule is not judged again while it and what it points at stay as is.

    Where only some parts changed they alone are asked, and with the others what compares rows of several parts. A
    broken rule is told of the whole table: an advisory one is asked of all of it as long as it is broken, and after a
    blocking one the table is judged as if nothing were known of it.
    """
    rules = load_rules(table.spec.name)
    others = [lake.table(s) for s in related]
    verdict = Verdict(table.spec.name, len(rules.rules))
    version = _version(rules)
    now = _content_of_parts(table, rules)
    now |= {POINTED_AT + t.spec.name: fingerprint(version, content(t.files())) for t in others} | {THE_RULES: version}
    memory = lake.table(QUALITY_DAYS)
    rows = {r["day"]: r for r in _remembered(memory, table.spec.name)}
    known = {part: row["content"] for part, row in rows.items()}
    broken = json.loads(rows[THE_RULES]["breaches"]) if THE_RULES in rows else {}
    if known == now:
        verdict.breaches = {name: (False, count, days) for name, (count, days) in broken.items()}
        return verdict
    changed = {part for part in known.keys() | now.keys() if known.get(part) != now.get(part)}
    asked = rules
    if THE_RULES not in changed:
        sound = replace(rules, rules=tuple(r for r in rules.rules if r.name not in broken))
        if _keeps(compute, table, others, sound, changed):
            asked = replace(rules, rules=tuple(r for r in rules.rules if r.name in broken))
    for result in compute.judge(table, table.files(), others, asked) if asked.rules else ():
        if not result.passed:
            told = result.rule.blocking, result.unexpected, sorted(result.failed_days)
            verdict.breaches[result.rule.name] = told
    let_pass = {name: (count, days) for name, (_, count, days) in verdict.advisory.items()}
    row = {"table_name": table.spec.name, "held": False, "breaches": "{}"}
    clean = {part: row | {"day": part, "content": told} for part, told in now.items()}
    clean[THE_RULES]["breaches"] = json.dumps(let_pass)
    memory.commit([_written(memory, table.spec, {} if verdict.blocking else clean)])
    return verdict


def _keeps(
    compute: Compute, table: LakeTable, others: list[LakeTable], rules: RuleSet, changed: set[str]
) -> bool:
    """Whether a table that kept its rules keeps them still.

    ``changed`` are parts that are new, other or gone, and tables that it points at.
    """
    files = table.files()
    fresh = [f for f in files if f.part in changed]
    if 2 * sum(f.rows for f in fresh) > sum(f.rows for f in files):  # nothing is saved
        return False

    def kept(of: list[DataFile], asked: Iterable[Rule], sharing: Sequence[str] = ()) -> bool:
        chosen = replace(rules, rules=tuple(asked))
        told = (fresh, sharing) if sharing else None
        return not chosen.rules or all(r.passed for r in compute.judge(table, of, others, chosen, told))

    # A day's rows are compared with no other day's.
    def alone(rule: Rule) -> bool:
        return rule.of_rows or (rule.kind == "unique" and table.spec.by_day and "event_date" in rule.columns)

    points = [r for r in rules.rules if r.kind == "references"]
    moved = [r for r in points if POINTED_AT + r.to_table in changed]
    across = [r for r in rules.rules if r.kind == "unique" and not alone(r)]
    whole = [r for r in rules.rules if not alone(r) and r not in (*points, *across)]
    return (
        (not fresh or kept(fresh, [r for r in rules.rules if alone(r) or (r in points and r not in moved)]))
        and kept(files, moved)
        # Rows that are older do not repeat each other: only what is in a changed part can be there twice.
        and (not fresh or all(kept(files, [r], r.columns) for r in across))
        and (all(part.startswith(POINTED_AT) for part in changed) or kept(files, whole))
    )


def held_days(lake: Lake, table: str) -> set[str]:
    """Days of a table that are held back."""
    return {r["day"] for r in _remembered(lake.table(QUALITY_DAYS), table) if r["held"]}


def held_now(lake: Lake, table: LakeTable) -> set[str]:
    """Days that are held back by a verdict on what they hold now; one that changed since is to be judged again."""
    live = _content_of_parts(table, load_rules(table.spec.name))
    rows = _remembered(lake.table(QUALITY_DAYS), table.spec.name)
    return {r["day"] for r in rows if r["held"] and live.get(r["day"]) == r["content"]}


def all_held(lake: Lake) -> list[dict[str, str]]:
    """Every held day with the rules it breaks, for ``status``."""
    rows = _remembered(lake.table(QUALITY_DAYS), None)
    return [{"table": r["table_name"], "day": r["day"], "rules": ", ".join(json.loads(r["breaches"]))}
            for r in rows if r["held"]]  # fmt: skip


def _version(rules: RuleSet) -> str:
    return fingerprint(*(repr(r) for r in rules.rules))


def _remembered(memory: LakeTable, table: str | None) -> list[dict[str, Any]]:
    return _rows(memory, [f for f in memory.files() if table is None or f.part == _part(table)])


def _rows(memory: LakeTable, files: list[DataFile]) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    return [row for path in memory.absolute(files) for row in pq.read_table(path).to_pylist()]


def _remember(
    memory: LakeTable, spec: TableSpec, change: Callable[[list[dict[str, Any]]], dict[str, dict[str, Any]]]
) -> None:
    """Replace what is known of a table by what ``change`` makes of it, rows by day; if another was faster, of that."""
    part = _part(spec.name)
    for attempt in range(1, COMMIT_ATTEMPTS + 1):
        seen = memory.parts().get(part, [])
        try:
            memory.commit([_written(memory, spec, change(_rows(memory, seen)))], seen={part: seen})
        except ConflictError:
            if attempt == COMMIT_ATTEMPTS:
                raise
        else:
            return


def _written(memory: LakeTable, spec: TableSpec, rows: dict[str, dict[str, Any]]) -> DataFile:
    """A file of what is known of a table, rows by day."""
    table = pa.Table.from_pylist([rows[day] for day in sorted(rows)], schema=QUALITY_DAYS.schema)
    return memory.write(_part(spec.name), "days", [table])


def _part(table: str) -> str:
    return table.replace("/", "-")
