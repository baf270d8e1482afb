"""Rows 11, 12 and 15 of the fault matrix: other columns and types, bytes that are no text, prices that are no money.

In each case the contract decides: a file is refused, a row quarantined with its bytes, or all is read as it was meant.
"""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from behavior_assets.ingestion.canonical import BRONZE_EVENTS
from behavior_assets.verification import verify_home
from tests.conftest import REES46_HEADER, Chain, bad_rows, rees46_row, run_cli

PERSON = "geheim4711"  # in every row, so that a message which quotes the data is found out
FIELDS = REES46_HEADER.split(",")
Rows = list[dict[str, Any]]
Write = Callable[[Path, Rows], None]


def event(second: int = 0, **changes: Any) -> dict[str, Any]:
    """A row as an object."""
    row = rees46_row(f"2024-05-01 10:00:{second:02d}", "view", "p1", PERSON, session="s")
    return dict(zip(FIELDS, row.split(","), strict=True)) | changes


def as_csv(path: Path, rows: Rows) -> None:
    lines = [",".join(rows[0]), *(",".join(str(v) for v in row.values()) for row in rows)]
    path.write_text("".join(line + "\n" for line in lines), "utf-8")


def as_jsonl(path: Path, rows: Rows) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def as_parquet(path: Path, rows: Rows) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path)


KINDS: dict[str, Write] = {"csv": as_csv, "jsonl": as_jsonl, "parquet": as_parquet}


def outcome(chain: Chain, path: Path, format_name: str = "rees46", mapping: Path | None = None) -> Any:
    """What became of one file: the reason of its refusal, or its quarantined rows as (row, class, column)."""
    report = chain.ingest([path], format_name, mapping)
    if report.refused:
        ((_, reason),) = report.refused
        assert path.name in reason
        assert PERSON not in reason
        assert not chain.table("bronze/events").exists() or not chain.table("bronze/events").rows()
        return reason
    (entry,) = report.entries
    return bad_rows(chain, entry, PERSON)


def quarantined_bytes(chain: Chain) -> list[bytes]:
    """The bytes that were kept, by row."""
    return [raw for (raw,) in chain.rows("quarantine/events", "SELECT raw FROM t ORDER BY row_number")]


# Row 11: added, renamed, reordered, retyped column -> the contract decides; no silent null, no silent merge


def renamed(row: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    """The same with another name for a column, at its place."""
    return {new if k == old else k: v for k, v in row.items()}


# How every row of a file is changed, and what the reason says of the file. JSON has no header: its rows go one by one.
OTHER_COLUMNS: dict[str, tuple[Callable[[dict[str, Any]], dict[str, Any]], str]] = {
    "added": (lambda r: {**r, "color": "red"}, "column 'color' is not part of the format"),
    "added before": (lambda r: {"color": "red", **r}, "column 'color' is not part of the format"),
    "missing": (lambda r: {k: v for k, v in r.items() if k != "brand"}, "column brand is missing"),
    "renamed": (lambda r: renamed(r, "brand", "make"), "column brand is missing; column 'make' is not part"),
    "written otherwise": (lambda r: renamed(r, "price", "Price"), "column price is missing; column 'Price' is not"),
    "twice, written otherwise": (lambda r: {**r, "Price": "1.00"}, "column 'Price' is not part of the format"),
    "of another format": (lambda r: {"user": r["user_id"], "at": r["event_time"]}, "column event_time is missing"),
    "named like data": (lambda r: renamed(r, "brand", f"{PERSON}@example.org"), "(not a column name)"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("change", OTHER_COLUMNS)
def test_row_11_added_renamed_or_missing_column(tmp_path: Path, kind: str, change: str) -> None:
    """Refused whole by name; of JSON lines those that differ are quarantined, and the others are read."""
    alter, reason = OTHER_COLUMNS[change]
    file = tmp_path / f"a.{kind}"
    chain = Chain.at(tmp_path / "home")
    if kind == "jsonl":
        as_jsonl(file, [event(1), alter(event(2)), event(3)])
        ((row, failure, _),) = outcome(chain, file)
        assert (row, failure) in {(2, "unplanned_column"), (2, "missing_column"), (2, "missing_required")}
        assert quarantined_bytes(chain) == [json.dumps(alter(event(2))).encode()]
    else:
        KINDS[kind](file, [alter(event(n)) for n in range(3)])
        assert reason in outcome(chain, file)
        assert (chain.settings.home.refused / file.name).read_bytes() == file.read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_row_11_reordered_column(tmp_path: Path, kind: str) -> None:
    """Names count, places do not: the same events, and nothing new where both orders come."""
    chain = Chain.at(tmp_path / "home")
    KINDS[kind](tmp_path / f"a.{kind}", [event(n) for n in range(3)])
    KINDS[kind](tmp_path / f"b.{kind}", [dict(reversed(event(n).items())) for n in range(4)])
    first, second = (chain.ingest([tmp_path / f"{n}.{kind}"], "rees46").entries[0] for n in "ab")
    assert (first.accepted, second.accepted, second.duplicate) == (3, 1, 3)
    query = "SELECT DISTINCT product_id, category_path, brand, price, user_id, session_id FROM t"
    assert chain.rows("bronze/events", query) == [("p1", "toys.bricks", "acme", Decimal("9.9900"), PERSON, "s")]


def test_row_11_a_file_without_a_header_has_its_places(tmp_path: Path) -> None:
    """One field more or less, or two that changed places, are told by their number and by their kind."""
    good = ["1,2,3,pv,1714557600", "1,2,3,cart,1714557601"]
    for name, row in (("more", "1,2,3,pv,1714557602,9"), ("less", "1,2,3,pv"), ("moved", "1,2,1714557602,3,pv")):
        chain = Chain.at(tmp_path / name)
        (tmp_path / "a.csv").write_text("\n".join([*good, row, ""]))
        ((number, failure, _),) = outcome(chain, tmp_path / "a.csv", "taobao")
        assert (number, failure in {"malformed", "wrong_type"}) == (3, True)
        assert quarantined_bytes(chain) == [row.encode()]


def test_row_11_a_column_twice_in_a_header(tmp_path: Path) -> None:
    """Which of the two counts is not for us to say."""
    line = ",".join(event().values())
    (tmp_path / "a.csv").write_text(f"{REES46_HEADER},brand\n{line},other\n")
    assert "a column name appears twice" in outcome(Chain.at(tmp_path / "home"), tmp_path / "a.csv")
    table = pa.Table.from_pylist([event()]).append_column("brand", pa.array(["other"]))
    pq.write_table(table, tmp_path / "a.parquet")
    assert "a column name appears twice" in outcome(Chain.at(tmp_path / "home"), tmp_path / "a.parquet")


MAPPING = "columns: {event_time: at, event_name: what, user_id: who, price: cost}\n"


def test_row_11_a_mapping_is_a_contract(tmp_path: Path) -> None:
    """What it neither names nor ignores is no part of it; what it ignores never reaches bronze."""
    rows = [{"at": "2024-05-01T10:00:00Z", "what": "page_view", "who": PERSON, "cost": "1.50", "clerk": "bob"}]
    mapping = tmp_path / "m.yaml"
    for kind, write in KINDS.items():
        write(tmp_path / f"a.{kind}", rows * 2)
        mapping.write_text(MAPPING)
        told = outcome(Chain.at(tmp_path / f"{kind}1"), tmp_path / f"a.{kind}", "generic", mapping)
        assert told == [(n, "unplanned_column", "record") for n in (1, 2)] if kind == "jsonl" else "'clerk'" in told
        mapping.write_text(MAPPING + "ignore: [clerk]\n")
        chain = Chain.at(tmp_path / f"{kind}2")
        assert outcome(chain, tmp_path / f"a.{kind}", "generic", mapping) == []
        assert "bob" not in str(chain.rows("bronze/events", "FROM t"))


def test_row_11_an_empty_column_is_named_as_the_file_names_it(tmp_path: Path) -> None:
    """Without the quotes that SQL wants."""
    rows = [{"at": "2024-05-01T10:00:00Z", "what": "page_view", "who": "u", "cost": "1"}] * 2
    as_csv(tmp_path / "a.csv", [rows[0], {**rows[1], "what": ""}])
    (tmp_path / "m.yaml").write_text(MAPPING)
    told = outcome(Chain.at(tmp_path / "home"), tmp_path / "a.csv", "generic", tmp_path / "m.yaml")
    assert told == [(2, "missing_required", "what")]


# Of a row of JSON: a value of another type, and the column that is named; None where it says what it meant.
RETYPED_JSON: dict[str, tuple[dict[str, Any], str | None]] = {
    "a number for an id": ({"user_id": 7}, None), "a number for a price": ({"price": 5.25}, None),
    "a text for a number": ({"price": "5.25"}, None), "null": ({"category_code": None}, None),
    "a fraction for an id": ({"user_id": 1.5}, "user_id"), "true for an id": ({"product_id": True}, "product_id"),
    "a list": ({"brand": ["acme"]}, "brand"), "an object": ({"brand": {"name": "acme"}}, "brand"),
    "an empty list": ({"category_id": []}, "category_id"), "true for a price": ({"price": True}, "price"),
    "a list for a price": ({"price": [1]}, "price"), "a number for a time": ({"event_time": 1714557600}, "event_time"),
    "null for what must be there": ({"user_id": None}, "user_id"),
}  # fmt: skip


@pytest.mark.parametrize("case", RETYPED_JSON)
def test_row_11_retyped_value_in_json(tmp_path: Path, case: str) -> None:
    changes, column = RETYPED_JSON[case]
    chain = Chain.at(tmp_path / "home")
    as_jsonl(tmp_path / "a.jsonl", [event(1), event(2, **changes)])
    told = outcome(chain, tmp_path / "a.jsonl")
    if column is None:
        assert told == []
        return
    ((row, failure, named),) = told
    assert (row, named) == (2, column)
    assert failure in {"wrong_type", "missing_required"}
    assert quarantined_bytes(chain) == [json.dumps(event(2, **changes)).encode()]


def column(values: list[Any], kind: pa.DataType) -> pa.Array:
    """A column of a Parquet file."""
    return pa.array(values, kind)


# A column of another type, and why the file is refused, or what is read of its two rows.
RETYPED_PARQUET: dict[str, tuple[str, pa.Array, str | list[Any]]] = {
    "whole numbers for ids": ("user_id", column([1, 2**53 + 1], pa.int64()), ["1", "9007199254740993"]),
    "large ones": ("user_id", column([1, 2**64 - 1], pa.uint64()), ["1", "18446744073709551615"]),
    "decimals without places": ("user_id", column([1, 10**30], pa.decimal128(38, 0)), ["1", str(10**30)]),
    "large texts": ("brand", column(["a", "b"], pa.large_string()), ["a", "b"]),
    "numbered texts": ("brand", column(["a", "b"], pa.string()).dictionary_encode(), ["a", "b"]),
    "nothing": ("brand", pa.nulls(2), [None, None]),
    "doubles for prices": ("price", column([9.99, 5.1], pa.float64()), [Decimal("9.9900"), Decimal("5.1000")]),
    "doubles for ids": ("user_id", column([1.0, 2.0], pa.float64()), "a number with a fraction (double)"),
    "decimals with places for ids": ("user_id", column([Decimal("1.0")] * 2, pa.decimal128(9, 1)), "with a fraction"),
    "bytes": ("user_id", column([b"a", b"b"], pa.binary()), "column user_id is bytes, not text"),
    "yes or no": ("brand", column([True, False], pa.bool_()), "column brand is yes or no"),
    "lists": ("brand", column([["a"], ["b"]], pa.list_(pa.string())), "a list or a structure"),
    "structures": ("price", column([{"a": 1}, {"a": 2}], pa.struct([("a", pa.int64())])), "a list or a structure"),
}  # fmt: skip


@pytest.mark.parametrize("case", RETYPED_PARQUET)
def test_row_11_retyped_column_of_a_parquet_file(tmp_path: Path, case: str) -> None:
    """Refused where a value could be rounded, or be anything; read exactly where it could not."""
    name, values, wanted = RETYPED_PARQUET[case]
    table = pa.Table.from_pylist([event(1), event(2)])
    pq.write_table(table.set_column(table.column_names.index(name), name, values), tmp_path / "a.parquet")
    chain = Chain.at(tmp_path / "home")
    told = outcome(chain, tmp_path / "a.parquet")
    if isinstance(wanted, str):
        assert wanted in told
    else:
        assert told == []
        assert [v for (v,) in chain.rows("bronze/events", f"SELECT {name} FROM t ORDER BY row_number")] == wanted


def ga4(**changes: Any) -> dict[str, Any]:
    """A purchase of one item."""
    return {
        "event_timestamp": "1714557600000000", "event_name": "purchase", "user_pseudo_id": PERSON,
        "items": [{"item_id": "hat", "price": 5, "quantity": 1}], "ecommerce": {"transaction_id": "t1"},
    } | changes  # fmt: skip


def parameter(**value: Any) -> dict[str, Any]:
    """A record with a session id of this value."""
    return {"event_params": [{"key": "ga_session_id", "value": value}]}


# What a GA4 record says otherwise than Google writes it, in JSON and (where it can be) in Parquet.
RETYPED_GA4: dict[str, tuple[dict[str, Any], str]] = {
    "parameters in an object": ({"event_params": {"ga_session_id": 1}}, "record"),
    "parameters that are numbers": ({"event_params": [1]}, "event_params"),
    "a parameter's value is a text": ({"event_params": [{"key": "ga_session_id", "value": "77"}]}, "event_params"),
    "a session that is a fraction": (parameter(int_value=1.5), "event_params"),
    "a session that is an object": (parameter(int_value={"n": 1}), "event_params"),
    "a text that is a list": (parameter(string_value=["a"]), "event_params"),
    "items in a text": ({"items": "hat"}, "record"), "items that are texts": ({"items": ["hat"]}, "items"),
    "an item's id is a fraction": ({"items": [{"item_id": 1.5, "price": 1}]}, "items"),
    "an item's id is true": ({"items": [{"item_id": True, "price": 1}]}, "items"),
    "an item's name is a list": ({"items": [{"item_id": "a", "item_name": ["n"]}]}, "items"),
    "an order that is a fraction": ({"ecommerce": {"transaction_id": 0.5}}, "record"),
    "an order that is a list": ({"ecommerce": {"transaction_id": [1]}}, "record"),
    "a country that is a list": ({"geo": {"country": ["DE"]}}, "record"),
    "a place in a text": ({"geo": "DE"}, "record"),
    "consent that is a number": ({"privacy_info": {"analytics_storage": 1.5}}, "record"),
    "a user who is a fraction": ({"user_id": 1.5}, "record"), "a user who is a list": ({"user_id": ["a"]}, "record"),
    "a price that is an object": ({"items": [{"item_id": "a", "price": {"eur": 1}}]}, "items.price"),
    "half a piece": ({"items": [{"item_id": "a", "price": 1, "quantity": 0.5}]}, "items.quantity"),
    "an event without its name": ({"event_name": None, "name": "purchase"}, "event_name"),
}  # fmt: skip


@pytest.mark.parametrize("case", RETYPED_GA4)
def test_row_11_retyped_value_in_a_nested_record(tmp_path: Path, case: str) -> None:
    """However deep it is: nothing is read as missing, and nothing as a text that it was not."""
    changes, named = RETYPED_GA4[case]
    for kind, write in (("jsonl", as_jsonl), ("parquet", as_parquet)):
        chain = Chain.at(tmp_path / kind)
        rows = [ga4(user_pseudo_id="other"), ga4(**changes)] if kind == "jsonl" else [ga4(**changes)]
        write(tmp_path / f"a.{kind}", rows)
        ((row, failure, told),) = outcome(chain, tmp_path / f"a.{kind}", "ga4")
        assert (row, told) == (len(rows), named)
        assert failure in {"wrong_type", "missing_required"}
        if kind == "jsonl":
            assert quarantined_bytes(chain) == [json.dumps(ga4(**changes)).encode()]


def test_row_11_a_nested_record_may_say_more_and_write_numbers_as_numbers(tmp_path: Path) -> None:
    """GA4's export has hundreds of fields; ids are texts or whole numbers there, both are exact."""
    big = 2**53 + 1
    changes = {"user_id": big, "color": "red", "USER_ID": "x", "geo": {"country": "DE", "city": ["a"]},
               "items": [{"item_id": big, "price": 1, "ITEM_ID": "b"}], "ecommerce": {"transaction_id": big},
               "privacy_info": {"analytics_storage": True}, **parameter(int_value=big)}  # fmt: skip
    for kind, write in (("jsonl", as_jsonl), ("parquet", as_parquet)):
        chain = Chain.at(tmp_path / kind)
        write(tmp_path / f"a.{kind}", [ga4(**changes)])
        assert outcome(chain, tmp_path / f"a.{kind}", "ga4") == []
        query = "SELECT user_id, product_id, transaction_id, session_id, country, consent FROM t"
        assert chain.rows("bronze/events", query) == [(*[str(big)] * 4, "DE", "granted")]


# Row 12: invalid UTF-8, BOM, NUL -> the bytes stay in quarantine; NUL reaches no table

BROKEN_TEXT: dict[str, bytes] = {
    "latin-1": b"caf\xe9", "cut short": b"caf\xc3", "overlong": b"caf\xc0\xaf", "half of a pair": b"caf\xed\xa0\x80",
    "beyond all planes": b"\xf4\x90\x80\x80", "bytes": bytes(range(128, 256)),
}  # fmt: skip


def replaced(path: Path, wanted: bytes) -> bytes:
    """Put bytes in place of the second row's brand; the row as it is then."""
    lines = path.read_bytes().split(b"\n")
    place = next(n for n, line in enumerate(lines) if b":02" in line)
    lines[place] = lines[place].replace(b"acme", wanted)
    path.write_bytes(b"\n".join(lines))
    return lines[place]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@pytest.mark.parametrize("case", BROKEN_TEXT)
def test_row_12_invalid_utf8_stays_as_it_is_in_quarantine(tmp_path: Path, kind: str, case: str) -> None:
    """In any row, also quoted; the rows beside it are read."""
    for number, around in enumerate((b"%s", b'"%s, x"' if kind == "csv" else b"%s \\u00e9")):
        file = tmp_path / f"{number}.{kind}"
        KINDS[kind](file, [event(n) for n in range(1, 4)])
        raw = replaced(file, around % BROKEN_TEXT[case])
        chain = Chain.at(tmp_path / f"home{number}")
        assert outcome(chain, file) == [(2, "invalid_encoding", "record")]
        assert quarantined_bytes(chain) == [raw]
        assert chain.rows("bronze/events", "SELECT list(row_number ORDER BY row_number) FROM t") == [([1, 3],)]


def test_row_12_invalid_utf8_in_a_header_or_in_parquet(tmp_path: Path) -> None:
    """There are no rows to tell apart, so the file is refused, and kept."""
    as_csv(tmp_path / "a.csv", [event()])
    (tmp_path / "a.csv").write_bytes((tmp_path / "a.csv").read_bytes().replace(b"brand", b"br\xe9nd"))
    assert "the header is not UTF-8" in outcome(Chain.at(tmp_path / "home"), tmp_path / "a.csv")
    buffers = [None, pa.py_buffer(struct.pack("<2i", 0, 4)), pa.py_buffer(b"caf\xe9")]
    broken = pa.Array.from_buffers(pa.string(), 1, buffers)
    table = pa.Table.from_pylist([event()])
    pq.write_table(table.set_column(5, "brand", broken), tmp_path / "a.parquet")
    chain = Chain.at(tmp_path / "home")
    assert "cannot be read as rees46" in outcome(chain, tmp_path / "a.parquet")
    assert (chain.settings.home.refused / "a.parquet").read_bytes() == (tmp_path / "a.parquet").read_bytes()


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_row_12_a_byte_order_mark_is_no_part_of_the_first_value(tmp_path: Path, kind: str) -> None:
    """Nor does it make another file's rows new ones; packed too."""
    KINDS[kind](tmp_path / f"a.{kind}", [event(1), event(2)])
    content = b"\xef\xbb\xbf" + (tmp_path / f"a.{kind}").read_bytes()
    (tmp_path / f"b.{kind}").write_bytes(content)
    (tmp_path / f"c.{kind}.gz").write_bytes(gzip.compress(content))
    chain = Chain.at(tmp_path / "home")
    told = [chain.ingest([tmp_path / name], "rees46").entries[0] for name in (f"a.{kind}", f"b.{kind}", f"c.{kind}.gz")]
    assert [(e.accepted, e.quarantined, e.duplicate) for e in told] == [(2, 0, 0), (0, 0, 2), (0, 0, 2)]
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbf1,2,3,pv,1714557600\n1,2,3,pv,1714557601\n")
    first = Chain.at(tmp_path / "taobao")
    assert outcome(first, tmp_path / "t.csv", "taobao") == []
    assert first.rows("bronze/events", "SELECT DISTINCT user_id FROM t") == [("1",)]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_row_12_files_put_together(tmp_path: Path, kind: str) -> None:
    """The second file's mark (and header) in the middle is a bad row, whose bytes are kept; a row is not lost."""
    KINDS[kind](tmp_path / f"a.{kind}", [event(1), event(2)])
    content = b"\xef\xbb\xbf" + (tmp_path / f"a.{kind}").read_bytes()
    (tmp_path / f"b.{kind}").write_bytes(content + content)
    chain = Chain.at(tmp_path / "home")
    ((row, *_),) = outcome(chain, tmp_path / f"b.{kind}")
    assert row == 3
    assert quarantined_bytes(chain) == [content.split(b"\n")[0]]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32"])
def test_row_12_other_encodings_are_refused_by_name(tmp_path: Path, encoding: str) -> None:
    as_csv(tmp_path / "a.csv", [event(1), event(2)])
    mark = "" if encoding in {"utf-16", "utf-32"} else "\ufeff"  # these put one themselves
    (tmp_path / "a.csv").write_bytes((mark + (tmp_path / "a.csv").read_text()).encode(encoding))
    told = outcome(Chain.at(tmp_path / "home"), tmp_path / "a.csv")
    assert f"the text is {encoding[:6].upper()}. Save it as UTF-8" in told


@pytest.mark.parametrize("kind", ["csv", "quoted csv", "jsonl", "jsonl, a bare byte", "parquet", "ga4", "ga4 parquet"])
def test_row_12_nul_is_in_no_table_and_stays_in_quarantine(tmp_path: Path, kind: str) -> None:
    """Written plain or escaped; what only looks like an escaped one is read."""
    chain, suffix = Chain.at(tmp_path / "home"), next((k for k in ("csv", "parquet") if k in kind), "jsonl")
    file, form = tmp_path / f"a.{suffix}", "ga4" if "ga4" in kind else "rees46"
    if form == "ga4":
        KINDS[suffix](file, [ga4(), ga4(items=[{"item_id": "h\0t", "price": 1, "quantity": 1}])])
    elif kind == "jsonl, a bare byte":
        as_jsonl(file, [event(1), event(2)])
        replaced(file, b"a\0c")
    else:
        brand = '"a\0c"' if kind == "quoted csv" else "a\0c"
        KINDS[suffix](file, [event(1), event(2, brand=brand)])
    ((row, failure, _),) = outcome(chain, file, form)
    assert (row, failure) == (2, "malformed")
    (raw,) = quarantined_bytes(chain)
    assert (raw in file.read_bytes()) or suffix == "parquet"
    assert b"\0" in raw or b"\\u0000" in raw
    texts = [f.name for f in BRONZE_EVENTS.schema if f.type == pa.string()]
    assert chain.rows("bronze/events", "SELECT count(*) FROM t WHERE " +
                      " OR ".join(f"contains({n}, chr(0))" for n in texts)) == [(0,)]  # fmt: skip
    if form == "rees46" and suffix == "jsonl":
        as_jsonl(tmp_path / "b.jsonl", [event(3, brand="a\\u0000c")])
        chain.ingest([tmp_path / "b.jsonl"], "rees46")
        assert ("a\\u0000c",) in chain.rows("bronze/events", "SELECT brand FROM t")


def test_row_12_nul_in_a_header_is_refused(tmp_path: Path) -> None:
    as_csv(tmp_path / "a.csv", [event()])
    (tmp_path / "a.csv").write_bytes((tmp_path / "a.csv").read_bytes().replace(b"brand", b"br\0nd"))
    assert "column brand is missing" in outcome(Chain.at(tmp_path / "home"), tmp_path / "a.csv")


# Row 15: NaN, infinity, five decimal places -> quarantined, never rounded; below zero only where the source knows it

NO_MONEY = ("NaN", "nan", "inf", "-inf", "Infinity", "1e400", "1e2", "0.00005", "9.99001", "123456789012345", "0x10",
            "1_000", ".5", "5.", " 2.5", "\uff12.5", "9,99", "€5", "5 EUR", "--5", "1.2.3")  # fmt: skip
MONEY = {"9.99": "9.9900", "0.0001": "0.0001", "9.99000000": "9.9900", "+2.5": "2.5000", "007": "7.0000",
         "99999999999999.9999": "99999999999999.9999"}  # fmt: skip


def priced(form: str, prices: tuple[str, ...]) -> Iterator[str]:
    """The lines of a file whose rows differ in their price (quoted, as one may hold a comma) and their time."""
    invoices = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
    yield {"rees46": REES46_HEADER, "generic": "at,what,who,cost", "online_retail": invoices}[form]
    for n, price in enumerate(prices):
        if form == "rees46":
            yield rees46_row(f"2024-05-01 10:00:{n:02d}", "purchase", "p1", PERSON, f'"{price}"')
        elif form == "generic":
            yield f'2024-05-01T10:00:{n:02d}Z,purchase,{PERSON},"{price}"'
        else:
            yield f'{n},85123A,LANTERN,6,2010-12-01 08:26:00,"{price}",17850.0,United Kingdom'


@pytest.mark.parametrize("form", ["rees46", "generic", "online_retail"])
def test_row_15_a_price_that_is_no_money_is_quarantined(tmp_path: Path, form: str) -> None:
    """Each by its own row and bytes; those that are money are exact to the last of four places."""
    lines = list(priced(form, (*NO_MONEY, *MONEY)))
    (tmp_path / "a.csv").write_text("\n".join([*lines, ""]), "utf-8")
    (tmp_path / "m.yaml").write_text(MAPPING)
    chain = Chain.at(tmp_path / "home", "UTC")
    told = outcome(chain, tmp_path / "a.csv", form, tmp_path / "m.yaml" if form == "generic" else None)
    name = {"rees46": "price", "generic": "cost", "online_retail": "UnitPrice"}[form]
    assert told == [(n, "wrong_type", name) for n in range(1, len(NO_MONEY) + 1)]
    assert quarantined_bytes(chain) == [line.encode() for line in lines[1 : len(NO_MONEY) + 1]]
    found = [p for (p,) in chain.rows("bronze/events", "SELECT price FROM t ORDER BY row_number")]
    assert found == [Decimal(exact) for exact in MONEY.values()]


def test_row_15_numbers_of_a_parquet_file(tmp_path: Path) -> None:
    """A double is read by its shortest text: what has no more than four places there was meant so."""
    prices = [9.99, float("nan"), float("inf"), -float("inf"), 0.00005, 1e300, 0.1 + 0.2, 1.5, 123456.7891]
    as_parquet(tmp_path / "a.parquet", [event(n, price=p) for n, p in enumerate(prices)])
    chain = Chain.at(tmp_path / "home")
    assert outcome(chain, tmp_path / "a.parquet") == [(n, "wrong_type", "price") for n in range(2, 8)]
    found = [p for (p,) in chain.rows("bronze/events", "SELECT price FROM t ORDER BY row_number")]
    assert found == [Decimal("9.9900"), Decimal("1.5000"), Decimal("123456.7891")]
    five = pa.array([Decimal("1.23450"), Decimal("1.23456")])
    table = pa.Table.from_pylist([event(1), event(2)])
    pq.write_table(table.set_column(6, "price", five), tmp_path / "b.parquet")
    other = Chain.at(tmp_path / "other")
    assert outcome(other, tmp_path / "b.parquet") == [(2, "wrong_type", "price")]


@pytest.mark.parametrize("price", [float("nan"), float("inf"), 0.00005, 1.23456, -1, "NaN", "1e2", "0.00005", "-1"])
def test_row_15_the_price_of_an_item(tmp_path: Path, price: float | str) -> None:
    """One bad item costs its record, as half an order would be another order; in Parquet too."""
    items = [{"item_id": "hat", "price": p, "quantity": 1} for p in ("5" if isinstance(price, str) else 5.0, price)]
    for kind, write in (("jsonl", as_jsonl), ("parquet", as_parquet)):
        chain = Chain.at(tmp_path / kind)
        write(tmp_path / f"a.{kind}", [ga4(items=items[:1]), ga4(items=items)])
        assert outcome(chain, tmp_path / f"a.{kind}", "ga4") == [(2, "wrong_type", "items.price")]
        assert chain.rows("bronze/events", "SELECT price FROM t") == [(Decimal("5.0000"),)]


# An invoice, a code and a price below zero, and the line type it then has; empty where such a line knows none.
BELOW_ZERO = {
    ("A1", "B"): "bad_debt", ("1", "M"): "adjustment", ("1", "AMAZONFEE"): "fee", ("1", "CRUK"): "fee",
    ("1", "85123A"): "", ("C1", "85123A"): "", ("1", "POST"): "",
}  # fmt: skip


@pytest.mark.parametrize("line", BELOW_ZERO)
def test_row_15_below_zero_where_the_sources_contract_knows_it(tmp_path: Path, line: tuple[str, str]) -> None:
    invoice, code = line
    head, row = priced("online_retail", ("1.50",))
    bad = f"{invoice},{code},x,1,2010-12-01 08:26:00,-2.5,17850.0,United Kingdom"
    (tmp_path / "a.csv").write_text(f"{head}\n{row}\n{bad}\n")
    chain = Chain.at(tmp_path / "home", "Europe/London")
    told = outcome(chain, tmp_path / "a.csv", "online_retail")
    if BELOW_ZERO[line]:
        assert told == []
        found = chain.rows("bronze/events", "SELECT price, line_type FROM t WHERE row_number = 2")
        assert found == [(Decimal("-2.5000"), BELOW_ZERO[line])]
    else:
        assert told == [(2, "rule_breach", "UnitPrice")]


def test_row_15_a_mapping_that_knows_refunds(tmp_path: Path) -> None:
    """Of a refund the minus is taken off, whoever put it there; of a sale it is no price. REES46: unknown."""
    rows = [{"at": f"2024-05-01T10:00:0{n}Z", "what": what, "who": "u", "cost": "-2.5"}
            for n, what in enumerate(("refund", "purchase"))]  # fmt: skip
    as_csv(tmp_path / "a.csv", rows)
    (tmp_path / "m.yaml").write_text(MAPPING)
    chain = Chain.at(tmp_path / "home")
    assert outcome(chain, tmp_path / "a.csv", "generic", tmp_path / "m.yaml") == [(2, "rule_breach", "cost")]
    assert chain.rows("bronze/events", "SELECT price, quantity FROM t") == [(Decimal("2.5000"), -1)]
    other = Chain.at(tmp_path / "other")
    as_csv(tmp_path / "b.csv", [event(1, price="-2.5"), event(2, price="0")])
    assert outcome(other, tmp_path / "b.csv") == []
    assert other.rows("bronze/events", "SELECT DISTINCT price FROM t") == [(None,)]


def test_rows_11_12_and_15_through_the_command(tmp_path: Path) -> None:
    """A refused file is told with 3 and its reason, the quarantined rows are counted, the tables are whole."""
    as_csv(tmp_path / "renamed.csv", [renamed(event(), "brand", "make")])
    as_csv(tmp_path / "good.csv", [event(1), event(2, price="NaN"), event(3, brand="a\0c"), event(4)])
    home = tmp_path / "home"
    files = [tmp_path / n for n in ("renamed.csv", "good.csv")]
    done = run_cli("run", "--home", home, "--format", "rees46", "--source", *files, "--json")
    assert (done.code, "column brand is missing" in done.err, PERSON in done.err + done.out) == (3, True, False)
    (source,) = json.loads(done.out)["sources"]
    assert (source["rows_in"], source["accepted"], source["quarantined"]) == (4, 2, 2)
    assert verify_home(Chain.at(home).settings)["ok"]
