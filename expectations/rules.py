"""The rules of a table as data: read from one YAML file per table and checked for mistakes."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import yaml

FOLDER = Path(__file__).parent

Scalar = str | int | float | bool | date | datetime

_FILE_KEYS = {"table", "day_column", "rules"}
_COMMON_KEYS = {"name", "kind", "blocking", "description"}
# kind -> (keys it must have, keys it may have)
_KINDS: dict[str, tuple[set[str], set[str]]] = {
    "columns": ({"columns"}, {"exact"}),
    "not_null": ({"column"}, set()),
    "unique": (set(), {"column", "columns"}),
    "in_set": ({"column", "values"}, set()),
    "between": ({"column"}, {"min", "max", "strict"}),
    "matches": ({"column", "pattern"}, set()),
    "references": ({"column", "to_table"}, {"to_column"}),
    "holds": ({"condition"}, set()),
    "query": ({"sql"}, {"scope"}),
    "row_count": (set(), {"min", "max"}),
}
KINDS = tuple(_KINDS)
SCOPES = ("table", "part")
ROW_KINDS = frozenset({"not_null", "in_set", "between", "matches", "holds"})  # that look at one row alone

_TABLE = re.compile(r"[a-z]+/[a-z][a-z0-9_]*")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_TEXT_KEYS = {"scope", "column", "pattern", "to_table", "to_column", "condition", "sql", "description"}
_FLAG_KEYS = {"blocking", "strict", "exact"}
# great-expectations turns bounds into doubles, which hold whole numbers up to here.
_EXACT_IN_A_DOUBLE = 2**53


class RuleFileError(ValueError):
    """A rule file holds a mistake; the text names the file, the rule and the key."""


@dataclass(frozen=True)
class Rule:
    """One rule of one table; which fields count follows from `kind`.

    A NULL breaks `not_null` and `holds`, and no other kind. A query's `scope` is "part" where no row of one part of the
    table (a day, a month) can make a row of another break it: only parts that changed are then asked again.
    """

    name: str
    kind: str
    blocking: bool
    description: str
    columns: tuple[str, ...] = ()
    exact: bool = True
    values: tuple[Scalar, ...] = ()
    minimum: Scalar | None = None
    maximum: Scalar | None = None
    strict: bool = False
    pattern: str = ""
    to_table: str = ""
    to_column: str = ""
    condition: str = ""
    sql: str = ""
    scope: str = "table"

    @property
    def of_rows(self) -> bool:
        """Whether rows of different parts of the table are never looked at together."""
        return self.kind in ROW_KINDS | {"columns"} or (self.kind == "query" and self.scope == "part")


@dataclass(frozen=True)
class RuleSet:
    """The rules of one table; `day_column` is what breaches are counted by, if it has days."""

    table: str
    day_column: str | None
    rules: tuple[Rule, ...] = field(default=())


def load_rules(table: str, folder: Path = FOLDER) -> RuleSet:
    """Return the rules of a table such as `silver/events`."""
    path = folder / f"{relation_name(table)}.yaml"
    if not path.is_file():
        message = f"{table}: there is no rule file {path.name}"
        raise RuleFileError(message)
    return _load(path)


def all_rule_sets(folder: Path = FOLDER) -> tuple[RuleSet, ...]:
    """Return the rules of every table that has a file, by table name."""
    sets = [_load(path) for path in folder.glob("*.yaml")]
    return tuple(sorted(sets, key=lambda rules: rules.table))


def relation_name(table: str) -> str:
    """Return the name of a table's view in the engine: `gold/dim_date` is `gold_dim_date`."""
    return table.replace("/", "_")


def parse_rules(text: str, source: str) -> RuleSet:
    """Return the rules in a YAML text; `source` is the file name that errors give."""
    try:
        content = yaml.load(text, Loader=_Loader)  # noqa: S506 (a safe loader, see below)
    except yaml.YAMLError as error:
        message = f"{source}: not readable as YAML: {error}"
        raise RuleFileError(message) from None
    file = _Mapping(content, source)
    file.check_keys(required={"table", "rules"}, optional=_FILE_KEYS)
    table = file.text("table")
    if not _TABLE.fullmatch(table):
        file.refuse("table", "is not of the form layer/name")
    expected = f"{relation_name(table)}.yaml"
    if source != expected:
        file.refuse("table", f"says {table!r}, so the file must be called {expected}")
    entries = file.content["rules"]
    if not isinstance(entries, list) or not entries:
        file.refuse("rules", "must be a list with at least one rule")
    rules = tuple(_rule(entry, source, position) for position, entry in enumerate(entries, start=1))
    names = [rule.name for rule in rules]
    for name in names:
        if names.count(name) > 1:
            file.refuse("name", f"{name!r} is given to more than one rule")
    day_column = file.text("day_column") if "day_column" in file.content else None
    return RuleSet(table=table, day_column=day_column, rules=rules)


@cache
def _load(path: Path) -> RuleSet:
    return parse_rules(path.read_text(encoding="utf-8"), path.name)


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, but "Yes" and "No" stay words and a repeated key is a mistake.

    YAML 1.1 reads Yes, No, On and Off as booleans; here they are values of columns.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012 (the name and shape are PyYAML's)
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> Any:  # noqa: FBT001, FBT002
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice", node.start_mark
                )
        return super().construct_mapping(node, deep=deep)


_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"true|false"), list("tf"))


class _Mapping:
    """A mapping of a rule file together with the place that its errors name."""

    def __init__(self, content: object, place: str) -> None:
        self.place = place
        if not isinstance(content, dict):
            message = f"{place}: a mapping of keys is expected"
            raise RuleFileError(message)
        self.content: dict[str, Any] = content

    def refuse(self, key: str, why: str) -> NoReturn:
        message = f"{self.place}: key {key!r} {why}"
        raise RuleFileError(message)

    def check_keys(self, required: set[str], optional: set[str]) -> None:
        for key in self.content:
            if key not in required | optional:
                self.refuse(str(key), f"is not known here; known are {sorted(required | optional)}")
        for key in sorted(required - set(self.content)):
            self.refuse(key, "is missing")

    def text(self, key: str) -> str:
        value = self.content[key]
        if not isinstance(value, str) or not value.strip():
            self.refuse(key, "must be a text")
        return str(value).strip()

    def flag(self, key: str) -> bool:
        value = self.content[key]
        if not isinstance(value, bool):
            self.refuse(key, "must be true or false")
        return bool(value)

    def texts(self, key: str) -> tuple[str, ...]:
        value = self.content[key]
        if not isinstance(value, list) or not value or not all(isinstance(v, str) for v in value):
            self.refuse(key, "must be a list of texts")
        if len(set(value)) < len(value):
            self.refuse(key, "names a column twice")
        return tuple(value)

    def bound(self, key: str) -> Any:
        if key not in self.content:
            return None
        value = self.content[key]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (number and math.isfinite(value)) and not isinstance(value, date):
            self.refuse(key, "must be a number, a date or a time")
        if number and abs(value) > _EXACT_IN_A_DOUBLE:
            self.refuse(key, "is beyond 2**53, where bounds are not exact; use the kind 'holds'")
        return value


def _rule(entry: object, source: str, position: int) -> Rule:
    """Check one entry of `rules` and return it."""
    rule = _Mapping(entry, f"{source}: rule {position}")
    for key in ("name", "kind"):
        if key not in rule.content:
            rule.refuse(key, "is missing")
    name = rule.text("name")
    rule.place = f"{source}: rule {name!r}"
    if not _NAME.fullmatch(name):
        rule.refuse("name", "must be lower-case letters, digits and underscores")
    kind = rule.text("kind")
    if kind not in _KINDS:
        rule.refuse("kind", f"{kind!r} is not known; known are {list(KINDS)}")
    required, optional = _KINDS[kind]
    rule.check_keys(_COMMON_KEYS | required, optional)
    given: dict[str, Any] = {"name": name, "kind": kind}
    given |= {key: rule.text(key) for key in _TEXT_KEYS & set(rule.content)}
    given |= {key: rule.flag(key) for key in _FLAG_KEYS & set(rule.content)}
    if "columns" in rule.content:
        given["columns"] = rule.texts("columns")
    _check_kind(kind, rule, given)
    column = given.pop("column", None)
    if column is not None:
        given["columns"] = (column,)
    return Rule(**given)


def _check_kind(kind: str, rule: _Mapping, given: dict[str, Any]) -> None:
    """Check what only one kind asks for, and add it to the fields that are given."""
    if kind == "unique" and ("column" in given) == ("columns" in given):
        rule.refuse("columns", "or 'column' must be given, and not both")
    if kind == "in_set":
        given["values"] = _values(rule)
    if kind in {"between", "row_count"}:
        _bounds(kind, rule, given)
    if kind == "references":
        given.setdefault("to_column", given["column"])
        if not _TABLE.fullmatch(given["to_table"]):
            rule.refuse("to_table", "is not of the form layer/name")
    if kind == "query" and "{table}" not in given["sql"]:
        rule.refuse("sql", "must read from {table}")
    if given.get("scope", "table") not in SCOPES:
        rule.refuse("scope", f"must be one of {list(SCOPES)}")


def _values(rule: _Mapping) -> tuple[Scalar, ...]:
    values = rule.content["values"]
    if not isinstance(values, list) or not values:
        rule.refuse("values", "must be a list with at least one value")
    if not all(isinstance(value, str | int | float | date) for value in values):
        rule.refuse("values", "may hold texts, numbers, booleans and dates only")
    if len({type(value) for value in values}) > 1:
        rule.refuse("values", "must all be of one type")
    return tuple(values)


def _bounds(kind: str, rule: _Mapping, given: dict[str, Any]) -> None:
    low, high = rule.bound("min"), rule.bound("max")
    if low is None and high is None:
        rule.refuse("min", "or 'max' must be given")
    if kind == "row_count":
        for key, value in (("min", low), ("max", high)):
            if value is not None and (not isinstance(value, int) or value < 0):
                rule.refuse(key, "must be a whole number of rows")
    if low is not None and high is not None:
        if (isinstance(low, date) or isinstance(high, date)) and type(low) is not type(high):
            rule.refuse("max", "must be of the same type as 'min'")
        if low > high:
            rule.refuse("max", "is below 'min'")
    given["minimum"], given["maximum"] = low, high
