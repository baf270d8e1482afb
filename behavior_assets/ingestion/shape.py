"""What JSON lines and Parquet can deliver and CSV cannot: other columns in one row, values of other types, NUL escaped.

A CSV file's header is checked once and its values are texts. Here the same contract is held row by row, so that no
value is dropped, rounded or written together with others only because it came in another type.
"""

from __future__ import annotations

import re
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq

from behavior_assets.ingestion.ahead import Delivery
from behavior_assets.ingestion.landing import kind_of
from behavior_assets.ingestion.reader import FileReading
from behavior_assets.ingestion.sources.base import Check, Source
from resources.errors import InputRefusedError

_EXACT = 16  # characters of a number of 15 digits and a point: what a double gives back as it was written
_NUL = Check("malformed", "record", "", "holds a NUL character")


def fitted(delivery: Delivery) -> Delivery:
    """A delivery whose source also checks what can be wrong in a file of its kind."""
    try:
        kind, _ = kind_of(delivery.path)
    except InputRefusedError:  # told when the file is staged
        return delivery
    source = delivery.source
    if kind == "csv" or kind not in source.kinds:
        return delivery
    more = _nested_checks() if source.nested else _json_checks(source) if kind == "jsonl" else ()
    checks = (*more, *source.checks, *(() if source.nested else (_nul_check(source),)))
    return replace(delivery, source=replace(source, checks=checks))


def require_types(reading: FileReading) -> None:
    """Refuse a Parquet file with a column of a type that cannot be what the contract wants of it."""
    staged, source = reading.staged, reading.source
    if staged.kind != "parquet" or source.nested:
        return
    schema = pq.read_schema(staged.path)
    problems = [
        f"column {column} is {wrong}" for column in source.columns if column not in source.ignored
        for wrong in [_wrong_type(schema.field(column).type, column, source)] if wrong
    ]  # fmt: skip
    if problems:
        msg = f"{staged.name}: does not fit the format {source.name}: {'; '.join(problems)}. Deliver it as text."
        raise InputRefusedError(msg)


def _wrong_type(kind: pa.DataType, column: str, source: Source) -> str:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if pa.types.is_nested(kind):
        return "a list or a structure where one value is wanted"
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return "bytes, not text"
    if pa.types.is_boolean(kind) and column not in source.flags:
        return "yes or no where a text or a number is wanted"
    with_fraction = pa.types.is_floating(kind) or (pa.types.is_decimal(kind) and kind.scale > 0)
    if with_fraction and column not in source.decimals:
        return f"a number with a fraction ({kind}) where a text or a whole number is wanted"
    return ""


def _path(column: str) -> str:
    return _text('$."' + column.replace('"', '\\"') + '"')


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def _nul_check(source: Source) -> Check:
    columns = [c for c in source.columns if c not in source.ignored]
    return replace(_NUL, breach=" OR ".join(f"contains({_name(c)}, chr(0))" for c in columns))


def _nested_checks() -> tuple[Check, ...]:
    escaped = "regexp_matches(line, '(^|[^\\\\])(\\\\\\\\)*\\\\u0000')"
    return (replace(_NUL, breach=_unless("contains(line, '\\u0000')", "false", escaped)),)


def _json_checks(source: Source) -> tuple[Check, ...]:
    """An object has the format's keys, each with one value of a type that says what was meant.

    Every look into ``line`` parses it again, so a row is first judged by its texts, and looked into where these leave
    a doubt.
    """
    known = ", ".join(_text(c) for c in source.columns)
    checks = [
        Check("malformed", "record", _unless("regexp_matches(line, '^\\s*\\{')", "true", "NOT json_valid(line)"),
              "not a JSON object"),
        Check("unplanned_column", "record", f"NOT list_has_all([{known}], json_keys(line))",
              "has a key that is not part of the format"),
    ]  # fmt: skip
    if not source.sparse:
        checks += [
            Check("missing_column", c, _unless(f"{_name(c)} IS NULL", "false",
                                               f"NOT list_contains(json_keys(line), {_text(c)})"),
                  "the key is missing; null would say that the value is not known")
            for c in source.columns
        ]  # fmt: skip
    for column in source.columns:
        if column not in source.ignored:
            checks += _value_checks(column, source)
    return tuple(checks)


def _unless(doubt: str, otherwise: str, then: str) -> str:
    return f"CASE WHEN {doubt} THEN {then} ELSE {otherwise} END"


def _value_checks(column: str, source: Source) -> list[Check]:
    kind, doubt, wrong = f"json_type(line, {_path(column)})", "\\[|\\{", ["ARRAY", "OBJECT"]
    if column not in source.flags:
        doubt, wrong = f"{doubt}|true$|false$", [*wrong, "BOOLEAN"]
    if column in source.decimals:
        # The parser reads a number with a fraction as a double: what that rounds must not pass as exact.
        exact = f"-?[0-9][0-9.]{{0,{_EXACT - 1}}}\\s*[,}}]"
        plain = _text(f'"{re.escape(column)}"\\s*:\\s*({exact}|"|null)')
        rounded = _unless(f"NOT regexp_matches(line, {plain})", "false", f"{kind} = 'DOUBLE'")
        more = [Check("wrong_type", column, rounded,
                      "a number with an exponent or of more than 15 digits; write it as a text")]  # fmt: skip
        message = "neither a text nor a number"
    else:
        doubt, wrong = f"{doubt}|-?([0-9]+[.eE]|NaN|Inf|nan|inf)", [*wrong, "DOUBLE"]
        more, message = [], "neither a text nor a whole number"
    types = ", ".join(_text(w) for w in wrong)
    breach = _unless(f"regexp_matches({_name(column)}, '^({doubt})')", "false", f"{kind} IN ({types})")
    return [Check("wrong_type", column, breach, message), *more]
