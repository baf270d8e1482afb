"""Any tabular event file, by a YAML mapping: which column is what, event names, time, delimiter."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import yaml

from behavior_assets.ingestion.canonical import EVENT_NAMES, LINE_TYPES, PARSED_COLUMNS
from behavior_assets.ingestion.sources.base import TIME, Check, Source, blank, money_checks, required
from resources.errors import UsageError

CONTRACT_DIGITS = 16
_KEYS = {"columns", "events", "time", "delimiter", "header", "file_columns", "ignore", "repeats", "line_types",
         "capabilities"}  # fmt: skip
_MAPPABLE = (set(PARSED_COLUMNS) - {"event_ts_us", "sent_ts_us"}) | {"event_time", "event_id"}
# Microseconds in a unit, and the digits that cannot overflow.
_EPOCHS = {"epoch_s": (1_000_000, 11), "epoch_ms": (1_000, 14), "epoch_us": (1, 17)}
_BOOLEANS = "lower({0}) IN ('true', 'yes', '1', 't', 'y')"


def _text(value: object) -> str:
    return "'" + str(value).replace("'", "''") + "'"


def _name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def load_mapping(path: Path) -> Source:
    """A Source from a mapping file. Raises UsageError naming the file and the key that is wrong."""
    try:
        raw = yaml.safe_load(path.read_text("utf-8"))
    except FileNotFoundError as error:
        msg = f"--mapping {path}: there is no such file."
        raise UsageError(msg) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        msg = f"{path}: not valid YAML."
        raise UsageError(msg) from error
    if not isinstance(raw, dict):
        msg = f"{path}: a mapping with the keys {', '.join(sorted(_KEYS))} is wanted; docs/formats.md shows one."
        raise UsageError(msg)
    return source_from_mapping(raw, str(path))


def source_from_mapping(raw: dict[str, Any], where: str) -> Source:
    """A Source from a parsed mapping; see docs/formats.md for its keys."""
    _refuse_unknown(raw, _KEYS, where)
    columns: dict[str, str] = {k: str(v) for k, v in (raw.get("columns") or {}).items()}
    _refuse_unknown(columns, _MAPPABLE, f"{where}: columns")
    for needed in ("event_time", "event_name"):
        if needed not in columns:
            msg = f"{where}: columns.{needed} is missing; every event needs a time and a name."
            raise UsageError(msg)
    if not {"user_id", "client_id", "session_id", "transaction_id"} & set(columns):
        msg = f"{where}: columns names neither user_id, client_id, session_id nor transaction_id."
        raise UsageError(msg)
    time_sql, zone = _time_sql(raw.get("time") or {}, _name(columns["event_time"]), where)
    name_sql = _event_sql(raw.get("events") or {}, _name(columns["event_name"]), where)
    ignored = tuple(str(c) for c in raw.get("ignore") or ())
    file_columns = tuple(str(c) for c in raw.get("file_columns") or (*dict.fromkeys(columns.values()), *ignored))
    missing = [c for c in columns.values() if c not in file_columns]
    if missing:
        msg = f"{where}: file_columns lacks {', '.join(missing)}, which columns names."
        raise UsageError(msg)
    fields, checks = _fields(columns, time_sql, name_sql, raw.get("line_types") or {})
    event_time, event_name = columns["event_time"], columns["event_name"]
    identity = ", ".join(f"coalesce({_name(c)}, '')" for c in file_columns if c not in ignored)
    return Source(
        name="generic",
        contract=_contract(raw, file_columns),
        columns=file_columns,
        ignored=ignored,
        header=bool(raw.get("header", True)),
        delimiter=str(raw.get("delimiter", ",")),
        timezone=zone,
        fields=fields,
        identity=f"concat_ws(chr(31), {identity})",
        own_id=f"nullif({_name(columns['event_id'])}, '')" if "event_id" in columns else "",
        repeats_are_lines=raw.get("repeats", "event") == "lines",
        checks=(
            *required(_name(event_time), _name(event_name)),
            Check("wrong_type", event_time, f"{TIME} IS NULL", "not a time of the mapping's format"),
            Check("unplanned_event", event_name, f"NOT {blank(_name(event_name))} AND ({name_sql}) IS NULL",
                  "not named under events in the mapping"),
            *checks,
        ),
        capabilities={
            "has_price": "price" in columns, "has_sessions": "session_id" in columns, "has_cart": True,
            "has_categories": "category_path" in columns or "category_id" in columns,
            "has_channel": "channel" in columns, "has_device": "device" in columns or "user_agent" in columns,
            "has_country": "country" in columns, "has_consent": "consent" in columns,
            **(raw.get("capabilities") or {}),
        },
    )  # fmt: skip


def _contract(raw: dict[str, Any], file_columns: tuple[str, ...]) -> str:
    """A digest of all that tells how rows are read; comments, layout and the order of keys do not count."""
    said: dict[str, Any] = {k: v for k, v in raw.items() if k != "capabilities"}
    if not raw.get("header", True):
        said["file_columns"] = file_columns  # nothing but their order says which column is which
    return hashlib.sha256(_plain(said).encode()).hexdigest()[:CONTRACT_DIGITS]


def _plain(value: object) -> str:
    """A mapping's value as text, with keys of any kind in order."""
    if isinstance(value, dict):
        return "{" + ", ".join(sorted(f"{k!r}: {_plain(v)}" for k, v in value.items())) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_plain(v) for v in value) + "]"
    return repr(value)


def _refuse_unknown(given: dict[str, Any], known: set[str], where: str) -> None:
    for key in given:
        if key not in known:
            msg = f"{where}: {key} is not known. Known: {', '.join(sorted(known))}."
            raise UsageError(msg)


def _time_sql(raw: dict[str, Any], column: str, where: str) -> tuple[str, str]:
    _refuse_unknown(raw, {"format", "zone"}, f"{where}: time")
    zone, pattern = str(raw.get("zone", "UTC")), str(raw.get("format", "iso"))
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError) as error:
        msg = f"{where}: time.zone {zone!r} is not a time zone."
        raise UsageError(msg) from error
    if pattern in _EPOCHS:
        factor, digits = _EPOCHS[pattern]
        whole = f"CASE WHEN regexp_full_match({column}, '-?[0-9]{{1,{digits}}}') THEN try_cast({column} AS BIGINT) END"
        return f"({whole}) * {factor}", zone
    if pattern == "iso":
        # With an offset in the text the offset counts, without one the zone does.
        offset = f"regexp_matches({column}, '(Z|[+-][0-9]{{2}}:?[0-9]{{2}})$')"
        return (
            (f"CASE WHEN {offset} THEN epoch_us(try_cast({column} AS TIMESTAMPTZ)) "
             f"ELSE epoch_us(timezone({_text(zone)}, try_cast({column} AS TIMESTAMP))) END"),
            zone,
        )
    return f"epoch_us(timezone({_text(zone)}, try_strptime({column}, {_text(pattern)})))", zone


def _event_sql(events: dict[str, str], column: str, where: str) -> str:
    for theirs, ours in events.items():
        if ours not in EVENT_NAMES:
            msg = f"{where}: events.{theirs}: {ours} is not an event name. Known: {', '.join(EVENT_NAMES)}."
            raise UsageError(msg)
    named = events or {n: n for n in EVENT_NAMES}
    return f"CASE {column} " + " ".join(f"WHEN {_text(k)} THEN {_text(v)}" for k, v in named.items()) + " END"


def _fields(
    columns: dict[str, str], time_sql: str, name_sql: str, line_types: dict[str, str]
) -> tuple[dict[str, str], tuple[Check, ...]]:
    fields = {"event_ts_us": time_sql, "event_name": name_sql}
    checks: list[Check] = []
    for ours, theirs in columns.items():
        column = _name(theirs)
        if ours == "price":
            fields[ours] = f"try_cast(nullif({column}, '') AS DECIMAL(18,4))"
            checks += money_checks(column)
        elif ours in {"quantity", "transaction_line"}:
            number = f"try_cast(nullif({column}, '') AS BIGINT)"
            # A refund takes away, whether a shop writes 2 or -2.
            fields[ours] = f"CASE WHEN ({name_sql}) = 'refund' THEN -abs({number}) ELSE {number} END" \
                if ours == "quantity" else number
            checks.append(Check("wrong_type", theirs, f"NOT {blank(column)} AND NOT regexp_full_match({column}, "
                                "'-?[0-9]{1,12}')", "not a whole number"))  # fmt: skip
        elif ours == "is_bot":
            fields[ours] = f"CASE WHEN NOT {blank(column)} THEN {_BOOLEANS.format(column)} END"
        elif ours == "consent":
            yes = f"{_BOOLEANS.format(column)} OR lower({column}) = 'granted'"
            fields[ours] = f"CASE WHEN NOT {blank(column)} THEN CASE WHEN {yes} THEN 'granted' ELSE 'denied' END END"
        elif ours == "ip":
            fields[ours] = f"truncated_ip({column})"
        elif ours not in {"event_time", "event_name", "event_id"}:
            fields[ours] = f"nullif({column}, '')"
    fields.setdefault("quantity", f"CASE WHEN ({name_sql}) IN ('purchase', 'add_to_cart') THEN 1 "
                      f"WHEN ({name_sql}) = 'refund' THEN -1 END")
    if "line_type" in columns:
        known = {n: n for n in LINE_TYPES} | line_types
        cases = " ".join(f"WHEN {_text(k)} THEN {_text(v)}" for k, v in known.items())
        fields["line_type"] = f"CASE {_name(columns['line_type'])} {cases} END"
    else:
        fields["line_type"] = f"CASE ({name_sql}) WHEN 'purchase' THEN 'sale' WHEN 'refund' THEN 'refund' END"
    return fields, tuple(checks)
