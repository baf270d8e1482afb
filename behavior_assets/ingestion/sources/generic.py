"""Any tabular event file, by a YAML mapping: which column is what, event names, time, delimiter."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from behavior_assets.ingestion.canonical import EVENT_NAMES, LINE_TYPES, PARSED_COLUMNS
from behavior_assets.ingestion.sources.base import TIME, Check, Source, blank, money_checks, no_sale, required
from behavior_assets.ingestion.sources.times import clock_checks, corrected, require_both, time_sql, unreadable
from resources.errors import UsageError

CONTRACT_DIGITS = 16
_KEYS = {"columns", "events", "time", "delimiter", "header", "file_columns", "ignore", "repeats", "line_types",
         "capabilities"}  # fmt: skip
# Columns that become others, or are not kept as they are.
_MADE_USE_OF = {"event_time", "event_name", "event_id", "line_type", "sent_time", "received_time", "consent_time"}
_MAPPABLE = (set(PARSED_COLUMNS) - {"event_ts_us", "sent_ts_us", "consent_ts_us"}) | _MADE_USE_OF
_CAPABILITIES = {f"has_{c}" for c in (
    "views", "cart", "checkout", "purchase", "price", "sessions", "categories", "channel", "device", "country",
    "refunds", "consent",
)}  # fmt: skip
_BELOW_ZERO = "('fee', 'adjustment', 'bad_debt')"  # types of lines whose price may be
_BOOLEANS = "lower({0}) IN ('true', 'yes', '1', 't', 'y')"


def _text(value: object) -> str:
    return "'" + str(value).replace("'", "''") + "'"


def _name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def load_mapping(path: Path) -> Source:
    """A Source from a mapping file. Raises UsageError naming the file and the key that is wrong."""
    try:
        text = path.read_text("utf-8")
        raw = yaml.safe_load(text)
    except FileNotFoundError as error:
        msg = f"--mapping {path}: there is no such file."
        raise UsageError(msg) from error
    except OSError as error:
        msg = f"--mapping {path}: cannot be read as a file ({error.strerror})."
        raise UsageError(msg) from error
    except (yaml.YAMLError, ValueError) as error:  # a wrong date in the YAML is a ValueError
        msg = f"{path}: not valid YAML."
        raise UsageError(msg) from error
    if not isinstance(raw, dict):
        msg = f"{path}: a mapping with the keys {', '.join(sorted(_KEYS))} is wanted; docs/formats.md shows one."
        raise UsageError(msg)
    return replace(source_from_mapping(raw, str(path)), mapping=text)


def source_from_mapping(raw: dict[str, Any], where: str) -> Source:
    """A Source from a parsed mapping; see docs/formats.md for its keys."""
    _refuse_unknown(raw, _KEYS, where)
    columns = _texts(raw, "columns", where)
    _refuse_unknown(columns, _MAPPABLE, f"{where}: columns")
    for needed in ("event_time", "event_name"):
        if needed not in columns:
            msg = f"{where}: columns.{needed} is missing; every event needs a time and a name."
            raise UsageError(msg)
    if not {"user_id", "client_id", "session_id", "transaction_id"} & set(columns):
        msg = f"{where}: columns names neither user_id, client_id, session_id nor transaction_id."
        raise UsageError(msg)
    require_both(columns, where)
    time = {"format": "iso", "zone": "UTC"} | _texts(raw, "time", where)
    _refuse_unknown(time, {"format", "zone"}, f"{where}: time")
    times, clocks = _times(columns, time, where)
    events = _texts(raw, "events", where)
    name_sql = _event_sql(events, _name(columns["event_name"]), where)
    line_types = _texts(raw, "line_types", where)
    for theirs, ours in line_types.items():
        if ours not in LINE_TYPES:
            msg = f"{where}: line_types.{theirs}: {ours} is not a line type. Known: {', '.join(LINE_TYPES)}."
            raise UsageError(msg)
    capabilities = _capabilities(raw, where)
    header, repeats, delimiter = _options(raw, where)
    ignored = _list(raw, "ignore", where)
    file_columns = _list(raw, "file_columns", where) or tuple(dict.fromkeys((*columns.values(), *ignored)))
    missing = [c for c in columns.values() if c not in file_columns]
    if missing:
        msg = f"{where}: file_columns lacks {', '.join(missing)}, which columns names."
        raise UsageError(msg)
    fields, checks = _fields(columns, name_sql, line_types)
    event_time, event_name = columns["event_time"], columns["event_name"]
    # The raw text is the identity, in an order that the mapping's own does not change. Which columns mean what and how
    # the time is read count too: rows of another such mapping are other events, or with ids of the source's own (which
    # are event ids as they are) another payload, thus a conflict. Nothing else of a mapping makes a row another one.
    identity = ", ".join(f"coalesce({_name(c)}, '')" for c in sorted(set(file_columns) - set(ignored)))
    reading = _digest({"columns": columns, "time": time})
    contract = _digest({
        "columns": columns, "time": time, "events": events or {n: n for n in EVENT_NAMES},
        "line_types": {n: n for n in LINE_TYPES} | line_types, "ignore": sorted(set(ignored)),
        "header": header, "delimiter": delimiter, "repeats": repeats,
        # Without a header nothing but their order says which column is which.
        "file_columns": sorted(file_columns) if header else file_columns,
    })  # fmt: skip
    return Source(
        name="generic",
        contract=contract,
        columns=file_columns,
        ignored=ignored,
        header=header,
        delimiter=delimiter,
        timezone=time["zone"],
        fields=times | fields,
        identity=f"concat_ws(chr(31), '{reading}', {identity})",
        own_id=f"nullif({_name(columns['event_id'])}, '')" if "event_id" in columns else "",
        repeats_are_lines=repeats == "lines",
        checks=(
            *(replace(required(_name(c))[0], column=c) for c in (event_time, event_name)),
            *clocks,
            Check("wrong_type", event_time, f"{TIME} IS NULL", "not a time of the mapping's format"),
            Check("unplanned_event", event_name, f"NOT {blank(_name(event_name))} AND ({name_sql}) IS NULL",
                  "not named under events in the mapping"),
            *checks,
        ),
        order_column=columns.get("transaction_id", ""),
        decimals=tuple(columns[c] for c in ("price",) if c in columns),
        flags=tuple(columns[c] for c in ("is_bot", "consent", "gpc") if c in columns),
        sparse=True,
        capabilities={
            "has_price": "price" in columns, "has_sessions": "session_id" in columns, "has_cart": True,
            "has_categories": "category_path" in columns or "category_id" in columns,
            "has_channel": "channel" in columns, "has_device": "device" in columns or "user_agent" in columns,
            "has_country": "country" in columns, "has_consent": "consent" in columns or "gpc" in columns,
            **capabilities,
        },
    )  # fmt: skip


def _wrong(where: str, key: str, wanted: str) -> UsageError:
    return UsageError(f"{where}: {key}: {wanted} is wanted.")


def _as_text(value: object, where: str, key: str) -> str:
    """A text; a whole number is taken as its digits, but of yes, no and dates YAML has lost what was written."""
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise _wrong(where, key, "a text that is not empty (in quotes)")
    return str(value)


def _texts(raw: dict[str, Any], key: str, where: str) -> dict[str, str]:
    value = {} if raw.get(key) is None else raw[key]
    if not isinstance(value, dict):
        raise _wrong(where, key, "a mapping of text to text")
    return {_as_text(k, where, f"{key}.{k}"): _as_text(v, where, f"{key}.{k}") for k, v in value.items()}


def _list(raw: dict[str, Any], key: str, where: str) -> tuple[str, ...]:
    value = [] if raw.get(key) is None else raw[key]
    if not isinstance(value, list | tuple):
        raise _wrong(where, key, "a list of column names")
    return tuple(_as_text(v, where, key) for v in value)


def _capabilities(raw: dict[str, Any], where: str) -> dict[str, bool]:
    value = {} if raw.get("capabilities") is None else raw["capabilities"]
    if not isinstance(value, dict):
        raise _wrong(where, "capabilities", "a mapping of names to true or false")
    _refuse_unknown(value, _CAPABILITIES, f"{where}: capabilities")
    for name, told in value.items():
        if not isinstance(told, bool):
            raise _wrong(where, f"capabilities.{name}", "true or false")
    return value


def _options(raw: dict[str, Any], where: str) -> tuple[bool, str, str]:
    """The header, what repeats are, and the delimiter."""
    header, repeats, delimiter = raw.get("header", True), raw.get("repeats", "event"), raw.get("delimiter", ",")
    if not isinstance(header, bool):
        raise _wrong(where, "header", "true or false")
    if repeats not in ("event", "lines"):
        raise _wrong(where, "repeats", "event or lines")
    if not isinstance(delimiter, str) or len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n\0':
        raise _wrong(where, "delimiter", "one ASCII character (no quote, no line end)")
    return header, repeats, delimiter


def _digest(said: dict[str, Any]) -> str:
    """A digest of what a mapping says, defaults filled in; comments, layout and the order of keys do not count."""
    return hashlib.sha256(_plain(said).encode()).hexdigest()[:CONTRACT_DIGITS]


def _plain(value: object) -> str:
    """A mapping's value as text, with keys of any kind in order."""
    if isinstance(value, dict):
        return "{" + ", ".join(sorted(f"{k!r}: {_plain(v)}" for k, v in value.items())) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_plain(v) for v in value) + "]"
    return repr(value)


def _refuse_unknown(given: dict[Any, Any], known: set[str], where: str) -> None:
    for key in given:
        if key not in known:
            msg = f"{where}: {key} is not known. Known: {', '.join(sorted(known))}."
            raise UsageError(msg)


def _times(columns: dict[str, str], time: dict[str, str], where: str) -> tuple[dict[str, str], tuple[Check, ...]]:
    """The fields that are times, and what can be wrong with the times of sending and receiving."""
    event, sent, received, asked = (
        (columns[n], _name(columns[n]), time_sql(time, _name(columns[n]), where)) if n in columns else ("", "", "")
        for n in ("event_time", "sent_time", "received_time", "consent_time")
    )
    fields = {"event_ts_us": event[2]}
    checks: tuple[Check, ...] = ()
    if sent[0]:
        fields = {"event_ts_us": corrected(event[2], sent[2], received[2]), "sent_ts_us": sent[2]}
        checks = clock_checks(event[2], sent, received)
    if asked[0]:
        fields["consent_ts_us"] = asked[2]
        checks = (*checks, unreadable(*asked))
    return fields, checks


def _event_sql(events: dict[str, str], column: str, where: str) -> str:
    for theirs, ours in events.items():
        if ours not in EVENT_NAMES:
            msg = f"{where}: events.{theirs}: {ours} is not an event name. Known: {', '.join(EVENT_NAMES)}."
            raise UsageError(msg)
    named = events or {n: n for n in EVENT_NAMES}
    return f"CASE {column} " + " ".join(f"WHEN {_text(k)} THEN {_text(v)}" for k, v in named.items()) + " END"


def _fields(
    columns: dict[str, str], name_sql: str, line_types: dict[str, str]
) -> tuple[dict[str, str], tuple[Check, ...]]:
    fields = {"event_name": name_sql}
    checks: list[Check] = []
    line_type = f"CASE ({name_sql}) WHEN 'purchase' THEN 'sale' WHEN 'refund' THEN 'refund' END"
    if "line_type" in columns:
        column = _name(columns["line_type"])
        known = {n: n for n in LINE_TYPES} | line_types
        cases = " ".join(f"WHEN {_text(k)} THEN {_text(v)}" for k, v in known.items())
        named = f"CASE {column} {cases} END"
        checks.append(Check("wrong_type", columns["line_type"], f"NOT {blank(column)} AND ({named}) IS NULL",
                            "neither a line type nor named under line_types in the mapping"))  # fmt: skip
        line_type = f"CASE WHEN {blank(column)} THEN {line_type} ELSE {named} END"
    fields["line_type"] = line_type
    # It takes away by its quantity, whether a shop puts the minus there, on the price, or nowhere.
    refund = f"(({name_sql}) = 'refund' OR coalesce(({line_type}) = 'refund', false))"
    for ours, theirs in columns.items():
        column = _name(theirs)
        if ours == "price":
            amount = f"try_cast(nullif({column}, '') AS DECIMAL(18,4))"
            fields[ours] = f"CASE WHEN {refund} THEN abs({amount}) ELSE {amount} END"
            known_below = f"{refund} OR coalesce(({line_type}) IN {_BELOW_ZERO}, false)"
            checks += money_checks(column, named=theirs, negative=known_below)
        elif ours in {"quantity", "transaction_line"}:
            number = f"try_cast(nullif({column}, '') AS BIGINT)"
            fields[ours] = f"CASE WHEN {refund} THEN -abs({number}) ELSE {number} END" \
                if ours == "quantity" else number
            checks.append(Check("wrong_type", theirs, f"NOT {blank(column)} AND NOT regexp_full_match({column}, "
                                "'-?[0-9]{1,12}')", "not a whole number"))  # fmt: skip
        elif ours == "is_bot":
            fields[ours] = f"CASE WHEN NOT {blank(column)} THEN {_BOOLEANS.format(column)} END"
        elif ours == "consent":
            yes = f"{_BOOLEANS.format(column)} OR lower({column}) = 'granted'"
            fields[ours] = f"CASE WHEN NOT {blank(column)} THEN CASE WHEN {yes} THEN 'granted' ELSE 'denied' END END"
        elif ours == "gpc":
            fields[ours] = no_sale(column)
        elif ours == "ip":
            fields[ours] = f"truncated_ip({column})"
        elif ours not in _MADE_USE_OF:
            fields[ours] = f"nullif({column}, '')"
    fields.setdefault("quantity", f"CASE WHEN {refund} THEN -1 WHEN ({name_sql}) IN ('purchase', 'add_to_cart') "
                      "THEN 1 END")
    return fields, tuple(checks)
