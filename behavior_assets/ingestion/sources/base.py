"""What every input format declares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# In checks and fields: the event's time as UTC microseconds, computed once per row.
TIME = "{event_ts_us}"


@dataclass(frozen=True)
class Check:
    """A row condition that sends the row to quarantine. ``breach`` is SQL over the raw columns; true is bad."""

    failure_class: str
    column: str
    breach: str
    message: str


@dataclass(frozen=True)
class Source:
    """An input format.

    ``fields`` maps canonical columns to SQL over the raw text columns (``event_ts_us`` must be there).
    ``identity`` is SQL for the natural key of a row, as text; ``own_id`` SQL for an id that the source gives, where
    it is not null it wins. ``repeats_are_lines``: identical rows inside one file are separate lines (numbered by
    occurrence) instead of one event. ``explode`` is SQL for the list of a record's items, or empty. ``contract``
    stands for what the user said about reading the rows (a mapping), and is empty where the name says it all.

    ``order_column`` is the delivered column, or parameter, that holds the number of an order, where one does.
    Of typed files: ``decimals`` are the columns that may be numbers with a fraction, ``flags`` those that may be true
    or false; a JSON object of a ``sparse`` source may leave away what it has no value for.
    """

    name: str
    columns: tuple[str, ...]
    fields: Mapping[str, str]
    identity: str
    checks: tuple[Check, ...] = ()
    own_id: str = ""
    header: bool = True
    delimiter: str = ","
    kinds: tuple[str, ...] = ("csv", "jsonl", "parquet")
    timezone: str = "UTC"
    repeats_are_lines: bool = False
    nested: bool = False  # records are JSON objects read through ``structure``
    structure: str = ""
    explode: str = ""
    ignored: tuple[str, ...] = ()
    contract: str = ""
    mapping: str = ""  # the text that ``contract`` stands for
    order_column: str = ""
    decimals: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    sparse: bool = False
    capabilities: Mapping[str, bool] = field(default_factory=dict)


def local_microseconds(text: str, pattern: str, zone: str) -> str:
    """SQL: a local time text as UTC microseconds."""
    return f"epoch_us(timezone('{zone}', try_strptime({text}, '{pattern}')))"


def blank(column: str) -> str:
    """SQL: the column is missing or empty."""
    return f"({column} IS NULL OR {column} = '')"


def no_sale(column: str) -> str:
    """SQL: what a source says of Global Privacy Control; any text but a clear no is the signal."""
    return f"CASE WHEN NOT {blank(column)} THEN lower(trim({column})) NOT IN ('0', 'false', 'no', 'f', 'n', 'null') END"


def money_checks(column: str, *, named: str = "", negative: str = "false") -> tuple[Check, ...]:
    """A price is a plain decimal of at most four places; ``negative`` says when below zero is known.

    ``named`` is the column's name where ``column`` is SQL for it.
    """
    plain = f"regexp_full_match({column}, '[+-]?[0-9]{{1,14}}(\\.[0-9]{{1,4}}0*)?')"
    value = f"try_cast({column} AS DECIMAL(18,4))"
    return (
        Check("wrong_type", named or column, f"NOT {blank(column)} AND NOT {plain}",
              "not a decimal number of at most 14 digits and 4 places"),
        Check("rule_breach", named or column, f"{plain} AND {value} < 0 AND NOT ({negative})", "below zero"),
    )  # fmt: skip


def required(*columns: str) -> tuple[Check, ...]:
    """Columns without which a row says nothing."""
    return tuple(Check("missing_required", c, blank(c), "required and empty") for c in columns)
