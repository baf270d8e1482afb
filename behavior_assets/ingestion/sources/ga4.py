"""The GA4 BigQuery export's event rows, as JSON lines or Parquet.

A record with items becomes one event row per item for the events that are about products. The export has no event
id: the whole record is its natural key, unless a collector adds ``event_id``. ``ip``, ``user_agent`` and ``gpc`` at
the top level are what a collector adds; Google's export has none of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from behavior_assets.ingestion.canonical import EVENT_NAMES
from behavior_assets.ingestion.sources.base import TIME, Check, Source, no_sale

STRUCTURE = """{
 "event_timestamp":"VARCHAR","event_name":"VARCHAR","event_id":"VARCHAR","user_id":"VARCHAR",
 "user_pseudo_id":"VARCHAR","ip":"VARCHAR","user_agent":"VARCHAR","gpc":"VARCHAR",
 "event_params":[{"key":"VARCHAR","value":{"string_value":"VARCHAR","int_value":"VARCHAR","double_value":"VARCHAR"}}],
 "privacy_info":{"analytics_storage":"VARCHAR","ads_storage":"VARCHAR","uses_transient_token":"VARCHAR"},
 "device":{"category":"VARCHAR"},
 "geo":{"country":"VARCHAR"},
 "traffic_source":{"name":"VARCHAR","medium":"VARCHAR","source":"VARCHAR"},
 "collected_traffic_source":{"manual_campaign_name":"VARCHAR","manual_medium":"VARCHAR","manual_source":"VARCHAR",
  "gclid":"VARCHAR"},
 "ecommerce":{"transaction_id":"VARCHAR"},
 "items":[{"item_id":"VARCHAR","item_name":"VARCHAR","item_brand":"VARCHAR","item_category":"VARCHAR",
  "item_category2":"VARCHAR","item_category3":"VARCHAR","price":"VARCHAR","quantity":"VARCHAR"}]
}"""

_PRODUCT_EVENTS = ("view_item", "add_to_cart", "remove_from_cart", "add_to_wishlist", "purchase", "refund")
_ABOUT_PRODUCTS = "r.event_name IN (" + ", ".join(f"'{n}'" for n in _PRODUCT_EVENTS) + ")"
_MEDIUM = "lower(coalesce(r.collected_traffic_source.manual_medium, r.traffic_source.medium))"
_TIME = ("CASE WHEN regexp_full_match(r.event_timestamp, '[0-9]{1,17}') "
         "THEN try_cast(r.event_timestamp AS BIGINT) END")  # fmt: skip
_KNOWN = ", ".join(f"'{n}'" for n in EVENT_NAMES)
_PRICE = "try_cast(item.price AS DECIMAL(18,4))"
_QUANTITY = "coalesce(try_cast(item.quantity AS BIGINT), 1)"


# What from_json takes for missing where it is of another type: it is told instead. Every look into ``line`` parses it
# again, so a record is first judged by what was read of it, and looked into where that leaves a doubt.
_LISTS, _STRUCTURES = ("event_params", "items"), ("privacy_info", "device", "geo", "traffic_source",
                                                   "collected_traffic_source", "ecommerce")  # fmt: skip
_MOST_COPIED = 2 * 2**20  # bytes: every item becomes a row with all that the record says besides
_COPIED = "len(r.items) * (strlen(line) - strlen(coalesce(line ->> '$.items', '')))"
_VALUES = ("event_timestamp", "event_name", "event_id", "user_id", "user_pseudo_id", "ip", "user_agent")
_UNLIKE_TEXT = "^([\\[{]|true$|false$|-?([0-9]+(\\.[0-9]+([eE].*)?|[eE].*)$|[0-9]{19}|NaN|Inf|nan|inf))"


def _of(keys: Iterable[str], doubt: Callable[[str], str], *wanted: str) -> str:
    """SQL: one of a record's keys has a value of another type than is wanted."""
    keys = list(keys)
    paths = ", ".join(f"'$.{key}'" for key in keys)
    doubts = " OR ".join(f"({doubt(key)})" for key in keys)
    return _others(doubts, f"json_type(line, [{paths}])", wanted)


def _others(doubt: str, kinds: str, wanted: tuple[str, ...]) -> str:
    known = ", ".join(f"'{w}'" for w in (*wanted, "NULL"))
    others = f"len(list_filter({kinds}, lambda k: k IS NOT NULL AND k NOT IN ({known}))) > 0"
    return f"CASE WHEN {doubt} THEN {others} ELSE false END"


def _no_list(key: str) -> str:
    """SQL: the key is there (its name may be written with escapes), and no list."""
    return f"r.{key} IS NULL AND (contains(line, '\"{key}\"') OR contains(line, '\\u00'))"


def _no_object(key: str) -> str:
    """SQL: nothing that is wanted of an object is in it, as where it is none."""
    return _nothing(f"r.{key}", json.loads(STRUCTURE)[key])


def _nothing(value: str, kind: dict[str, Any]) -> str:
    read = " OR ".join(f"{leaf} IS NOT NULL" for leaf in _leaves(value, kind))
    return f"{value} IS NOT NULL AND NOT ({read})"


def _leaves(value: str, kind: dict[str, Any]) -> Iterator[str]:
    for name, inner in kind.items():
        if isinstance(inner, dict):
            yield from _leaves(f"{value}.{name}", inner)
        else:
            yield f"{value}.{name}"


def _no_objects(key: str) -> str:
    """SQL: the same of an object in a list."""
    return f"len(list_filter(r.{key}, lambda o: {_nothing('o', json.loads(STRUCTURE)[key][0])})) > 0"


def _no_text(key: str) -> str:
    """SQL: a value that may be neither a text nor a whole number, and no text follows the key."""
    quoted, spaced = (f"contains(line, '\"{key}\":{blank}\"')" for blank in ("", " "))
    unquoted = f"CASE WHEN {quoted} THEN false ELSE NOT {spaced} END"
    return f"CASE WHEN regexp_matches(r.{key}, '{_UNLIKE_TEXT}') THEN {unquoted} ELSE false END"


_ONE_UNLIKE = "(^|\\x1F)([\\[{]|(true|false)(\\x1F|$)|-?([0-9]+[.eE]|NaN|Inf|nan|inf))"  # of several in a row
_PLAIN = ("VARCHAR", "UBIGINT", "BIGINT")


def _unlike(values: Iterable[str]) -> str:
    """SQL: one of these may be neither a text nor a whole number."""
    return f"regexp_matches(concat_ws(chr(31), {', '.join(values)}), '{_ONE_UNLIKE}')"


def _in_structures() -> str:
    """SQL: a value in an object is neither a text nor a whole number. What consent says may be true or false."""
    leaves = [leaf for key in _STRUCTURES for leaf in _leaves(key, json.loads(STRUCTURE)[key])]
    flags = [leaf for leaf in leaves if leaf.startswith("privacy_info.")]
    breaches = [
        _others(_unlike(f"r.{leaf}" for leaf in some), _kinds(some), wanted)
        for some, wanted in (([n for n in leaves if n not in flags], _PLAIN), (flags, (*_PLAIN, "BOOLEAN")))
    ]
    return " OR ".join(breaches)


def _in_items() -> str:
    """SQL: the same of an item; its price and its quantity are judged by what they say."""
    names = [n for n in json.loads(STRUCTURE)["items"][0] if n not in {"price", "quantity"}]
    doubt = f"len(list_filter(r.items, lambda i: {_unlike(f'i.{n}' for n in names)})) > 0"
    return _others(doubt, _kinds(f"items[*].{n}" for n in names), _PLAIN)


def _in_params() -> str:
    """SQL: the same of a parameter, or its value is no object. A ``double_value`` is not made use of."""
    inside = ("string_value", "int_value")
    none = _others("len(list_filter(r.event_params, lambda p: p.value IS NULL OR (p.value.string_value IS NULL AND "
                   "p.value.int_value IS NULL AND p.value.double_value IS NULL))) > 0",
                   _kinds(["event_params[*].value"]), ("OBJECT",))  # fmt: skip
    doubt = f"len(list_filter(r.event_params, lambda p: {_unlike(f'p.value.{n}' for n in inside)})) > 0"
    return f"{none} OR {_others(doubt, _kinds(f'event_params[*].value.{n}' for n in inside), _PLAIN)}"


def _kinds(paths: Iterable[str]) -> str:
    """SQL: the types of the values at these paths, as one list."""
    told = (f"json_type(line, '$.{p}')" if "*" in p else f"[json_type(line, '$.{p}')]" for p in paths)
    return f"flatten([{', '.join(told)}])"


def _param(key: str, kind: str = "string_value") -> str:
    return f"list_filter(r.event_params, lambda p: p.key = '{key}')[1].value.{kind}"


def _set(value: str) -> str:
    """SQL: GA4 writes "(not set)" where it does not know."""
    return f"CASE WHEN {value} NOT IN ('', '(not set)') THEN {value} END"


# Google's default channel grouping, reduced to what source and medium tell.
_CHANNEL = f"""CASE
    WHEN r.collected_traffic_source.gclid IS NOT NULL OR {_MEDIUM} IN ('cpc', 'ppc', 'paid') THEN 'Paid Search'
    WHEN {_MEDIUM} IN ('organic') THEN 'Organic Search'
    WHEN {_MEDIUM} IN ('email', 'e-mail', 'newsletter') THEN 'Email'
    WHEN {_MEDIUM} IN ('social', 'paid_social', 'paidsocial') THEN 'Social'
    WHEN {_MEDIUM} IN ('display', 'banner', 'cpm') THEN 'Display'
    WHEN {_MEDIUM} = 'affiliate' THEN 'Affiliates'
    WHEN {_MEDIUM} = 'referral' THEN 'Referral'
    WHEN {_MEDIUM} IS NULL OR {_MEDIUM} IN ('(none)', '(not set)', '', 'none') THEN 'Direct'
    ELSE 'Other' END"""

SOURCE = Source(
    name="ga4",
    columns=("event_timestamp", "event_name", "user_pseudo_id"),
    kinds=("jsonl", "parquet"),
    nested=True,
    structure=STRUCTURE,
    explode=f"CASE WHEN {_ABOUT_PRODUCTS} AND len(r.items) > 0 THEN r.items ELSE [NULL] END",
    fields={
        "event_ts_us": _TIME,
        "event_name": "r.event_name",
        "user_id": "nullif(r.user_id, '')",
        "client_id": "nullif(r.user_pseudo_id, '')",
        "session_id": f"coalesce({_param('ga_session_id', 'int_value')}, {_param('ga_session_id')})",
        "product_id": _set("item.item_id"),
        "product_name": _set("item.item_name"),
        "category_path": "nullif(concat_ws('.', " + _set("item.item_category") + ", "
        + _set("item.item_category2") + ", " + _set("item.item_category3") + "), '')",
        "brand": _set("item.item_brand"),
        "price": _PRICE,
        "quantity": f"CASE WHEN item IS NULL THEN NULL WHEN r.event_name = 'refund' THEN -abs({_QUANTITY}) "
        f"ELSE {_QUANTITY} END",
        "currency": f"nullif({_param('currency')}, '')",
        "transaction_id": "CASE WHEN r.event_name IN ('purchase', 'refund') THEN "
        f"coalesce(nullif(r.ecommerce.transaction_id, ''), {_param('transaction_id')}) END",
        "transaction_line": "CASE WHEN r.event_name IN ('purchase', 'refund') THEN _item + 1 END",
        "line_type": "CASE r.event_name WHEN 'purchase' THEN 'sale' WHEN 'refund' THEN 'refund' END",
        "channel": _CHANNEL,
        "campaign": "coalesce(nullif(r.collected_traffic_source.manual_campaign_name, ''), "
        "nullif(r.traffic_source.name, ''))",
        "device": _set("r.device.category"),
        "country": _set("r.geo.country"),
        "url": _param("page_location"),
        "referrer": _param("page_referrer"),
        "search_query": _param("search_term"),
        "ip": "truncated_ip(r.ip)",
        "user_agent": "nullif(r.user_agent, '')",
        # Google's "Unset" says nothing. A transient token is what a browser gets that may not keep a cookie.
        "consent": "CASE WHEN lower(r.privacy_info.uses_transient_token) IN ('yes', 'true') THEN 'denied' "
        "WHEN coalesce(lower(r.privacy_info.analytics_storage), '') NOT IN ('', 'unset') THEN CASE WHEN "
        "lower(r.privacy_info.analytics_storage) IN ('yes', 'true', 'granted') THEN 'granted' ELSE 'denied' END END",
        "gpc": no_sale("r.gpc"),
    },
    identity="line",
    own_id="nullif(r.event_id, '')",
    order_column="transaction_id",
    checks=(
        Check("malformed", "record", "r IS NULL", "not a JSON object"),
        Check("wrong_type", "record", _of(_LISTS, _no_list, "ARRAY"), "event_params or items is not a list"),
        *(Check("wrong_type", key, _others(_no_objects(key), f"json_type(line, '$.{key}[*]')", ("OBJECT",)),
                "not a list of objects") for key in _LISTS),
        Check("wrong_type", "record", _of(_STRUCTURES, _no_object, "OBJECT"),
              f"one of {', '.join(_STRUCTURES)} is not an object"),
        Check("wrong_type", "record", _of(_VALUES, _no_text, "VARCHAR", "UBIGINT", "BIGINT"),
              f"one of {', '.join(_VALUES)} is neither a text nor a whole number"),
        Check("wrong_type", "record", _in_structures(),
              f"in one of {', '.join(_STRUCTURES)}: neither a text nor a whole number"),
        Check("wrong_type", "items", _in_items(), "an item says what is neither a text nor a whole number"),
        Check("wrong_type", "event_params", _in_params(), "a value is no object, or holds no text or whole number"),
        Check("oversize", "items", f"CASE WHEN len(r.items) * strlen(line) > {_MOST_COPIED} THEN "
              f"{_COPIED} > {_MOST_COPIED} ELSE false END", "too many items for a record of this length"),
        Check("missing_required", "event_name", "coalesce(r.event_name, '') = ''", "required and empty"),
        Check("missing_required", "event_timestamp", "coalesce(r.event_timestamp, '') = ''", "required and empty"),
        Check("missing_required", "user_pseudo_id",
              "coalesce(r.user_pseudo_id, '') = '' AND coalesce(r.user_id, '') = ''", "and user_id: both are empty"),
        Check("wrong_type", "event_timestamp", f"{TIME} IS NULL", "not microseconds since 1970"),
        Check("unplanned_event", "event_name", "NOT regexp_full_match(r.event_name, '[A-Za-z][A-Za-z0-9_]{0,63}')",
              "not an event name"),
        Check("wrong_type", "items.price", "len(list_filter(r.items, lambda i: i.price IS NOT NULL AND NOT "
              "regexp_full_match(i.price, '[0-9]{1,14}(\\.[0-9]{1,4}0*)?'))) > 0",
              "not a decimal number of at most 14 digits and 4 places, or below zero"),
        # The parser reads a number as a double: what that may round must not pass as exact.
        Check("wrong_type", "items.price", "regexp_matches(line, '\"price\"\\s*:\\s*-?([0-9.]*[eE]|[0-9.]{17,})')",
              "a number with an exponent or of more than 15 digits; write it as a text"),
        Check("wrong_type", "items.quantity", "len(list_filter(r.items, lambda i: i.quantity IS NOT NULL AND NOT "
              "regexp_full_match(i.quantity, '-?[0-9]{1,12}'))) > 0", "not a whole number"),
    ),
    capabilities={"has_price": True, "has_sessions": True, "has_cart": True, "has_categories": True,
                  "has_checkout": True, "has_channel": True, "has_device": True, "has_country": True,
                  "has_refunds": True, "has_consent": True},
)  # fmt: skip
