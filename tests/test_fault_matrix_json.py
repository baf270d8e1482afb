"""Rows 13 and 14 of the fault matrix: JSON that is too long, too deep or ambiguous, and numbers beyond what holds them.

How much memory such files take is measured in test_resources.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from behavior_assets.ingestion import json_shapes
from behavior_assets.ingestion.json_shapes import DEPTH
from tests.conftest import REES46_HEADER, Chain, bad_rows, rees46_row

PERSON = "geheim4711"
BIG = 20_000_000
DEEP = 100_000
SAFE = 2**53 + 1  # the first whole number that a double cannot hold


def flat(second: int = 0, **changes: object) -> str:
    """A rees46 row as a JSON line."""
    row = rees46_row(f"2024-05-01 10:00:{second:02d}", "view", "p1", PERSON, "5", session="s")
    record = dict(zip(REES46_HEADER.split(","), row.split(","), strict=True)) | {"price": 5}
    return json.dumps(record | changes)


def nested(**changes: object) -> str:
    """A GA4 purchase as a JSON line."""
    return json.dumps({
        "event_timestamp": "1714557600000000", "event_name": "purchase", "user_pseudo_id": PERSON,
        "items": [{"item_id": "hat", "price": 5, "quantity": 1}], "ecommerce": {"transaction_id": "t1"},
    } | changes)  # fmt: skip


LINES = {"rees46": flat, "ga4": nested}


def told(chain: Chain, path: Path, form: str) -> list[tuple[int, str, str]]:
    """The quarantined rows of a file as (row, class, column); none may be missing, and none be told."""
    (entry,) = chain.ingest([path], form).entries
    return bad_rows(chain, entry, PERSON)


def among(path: Path, bad: str | list[str], form: str) -> Path:
    """A file with bad lines between two good ones."""
    first, last = (flat(n) if form == "rees46" else nested(user_pseudo_id=f"user{n}") for n in (1, 2))
    lines = [first, *([bad] if isinstance(bad, str) else bad), last]
    path.write_text("".join(line + "\n" for line in lines), "utf-8")
    return path


def kept(chain: Chain) -> list[bytes]:
    """The bytes of the quarantined rows."""
    return [raw for (raw,) in chain.rows("quarantine/events", "SELECT raw FROM t ORDER BY row_number")]


# Row 13: a field of 20 MB, JSON of depth 100,000 -> rejected


@pytest.mark.parametrize("form", LINES)
@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_row_13_a_field_of_20_mb(tmp_path: Path, form: str, kind: str) -> None:
    """One row too long, whose bytes are kept; the others are read."""
    if (form, kind) == ("ga4", "csv"):
        pytest.skip("GA4 exports no CSV")
    good, bad = (json.loads(LINES[form]()) | ({"brand": b} if form == "rees46" else {"user_agent": b})
                 for b in ("short", "x" * BIG))  # fmt: skip
    file = tmp_path / f"a.{kind}"
    if kind == "csv":
        file.write_text("".join(",".join(map(str, row)) + "\n" for row in (good, good.values(), bad.values())))
    elif kind == "jsonl":
        file.write_text(f"{json.dumps(good)}\n{json.dumps(bad)}\n")
    else:
        pq.write_table(pa.Table.from_pylist([good, bad]), file)
    chain = Chain.at(tmp_path / "home")
    assert told(chain, file, form) == [(2, "oversize", "record")]
    (raw,) = kept(chain)
    assert len(raw) > BIG
    assert raw.count(b"x") >= BIG
    assert kind == "parquet" or raw == file.read_bytes().splitlines()[-1]


def test_row_13_many_long_fields_are_refused_before_they_are_kept(tmp_path: Path) -> None:
    """What the quarantine has no room for in memory is refused with the setting to raise."""
    file = tmp_path / "a.jsonl"
    with file.open("w") as out:
        out.writelines(f"{line}\n" for line in [flat(1), *[flat(2, brand="x" * BIG)] * 4])
    report = Chain.at(tmp_path / "home", memory_limit=512 * 2**20).ingest([file], "rees46")
    ((_, reason),) = report.refused
    assert "a.jsonl: row " in reason
    assert "raise the setting memory_limit" in reason


DEEPLY: dict[str, str] = {
    "lists": "[" * DEEP + "]" * DEEP, "objects": '{"a":' * DEEP + "1" + "}" * DEEP,
    "both": '[{"a":' * (DEEP // 2) + "1" + "}]" * (DEEP // 2), "never closed": "[" * DEEP,
    "just too deep": "[" * DEPTH + "]" * DEPTH, "spaced": "[ " * DEEP + "] " * DEEP,
}  # fmt: skip


@pytest.mark.parametrize("form", LINES)
@pytest.mark.parametrize("case", DEEPLY)
def test_row_13_json_of_depth_100_000(tmp_path: Path, form: str, case: str) -> None:
    """Under a key that is known and under one that is not; no parser ever sees it."""
    line = LINES[form]()
    for number, place in enumerate(('"event_name":' if form == "ga4" else '"brand":', '"more":')):
        key = place if number else place[:-1] + ": "
        bad = line[:-1] + f", {place}{DEEPLY[case]}}}"
        if not number:  # in place of the value that is there
            bad = line.replace(key + ('"purchase"' if form == "ga4" else '"acme"'), place + DEEPLY[case])
        assert bad != line
        chain = Chain.at(tmp_path / str(number))
        assert told(chain, among(tmp_path / f"{number}.jsonl", bad, form), form) == [(2, "malformed", "record")]
        assert kept(chain) == [bad.encode()]


@pytest.mark.parametrize("form", LINES)
def test_row_13_brackets_in_a_text_are_no_depth(tmp_path: Path, form: str) -> None:
    """And what is as deep as is allowed is read."""
    text = '[{"' * DEEP
    changes = {"brand": text} if form == "rees46" else {"user_agent": text, "more": json.loads("[" * 150 + "]" * 150)}
    (tmp_path / "a.jsonl").write_text(LINES[form](**changes) + "\n")
    chain = Chain.at(tmp_path / "home")
    assert told(chain, tmp_path / "a.jsonl", form) == []
    (found,) = chain.rows("bronze/events", f"SELECT {'brand' if form == 'rees46' else 'user_agent'} FROM t")
    assert found == (text,)


# Row 14: keys that stand twice, 2^53 + 1, 1e400 -> ids stay strings; the rest is quarantined


def twice(line: str, key: str, value: str, *, written: str = "") -> str:
    """A line with a further value for a key that it has, at the place where that is."""
    assert f'"{key}": ' in line
    return line.replace(f'"{key}": ', f'"{written or key}": {value}, "{key}": ', 1)


DOUBLED: dict[str, tuple[str, str, str]] = {
    "an id": ("rees46", twice(flat(), "user_id", '"bob"'), "user_id"),
    "a price": ("rees46", twice(flat(), "price", "6"), "price"),
    "the same value": ("rees46", twice(flat(), "price", "5"), "price"),
    "written with an escape": ("rees46", twice(flat(), "price", "6", written="pric\\u0065"), "price"),
    "null first": ("rees46", twice(flat(), "price", "null"), "price"),
    "nested, first": ("ga4", twice(nested(), "event_name", '"view_item"'), "event_name"),
    "in an object": ("ga4", twice(nested(), "transaction_id", '"t2"'), "ecommerce.transaction_id"),
    "in an item": ("ga4", twice(nested(), "price", "6"), "items.price"),
    "an object itself": ("ga4", twice(nested(), "ecommerce", "{}"), "ecommerce"),
    "what nobody reads": ("ga4", twice(nested(more={"a": 1}), "a", "2"), "record"),
}


@pytest.mark.parametrize("case", DOUBLED)
def test_row_14_duplicate_json_keys(tmp_path: Path, case: str) -> None:
    """Of two values for one key no parser may choose; the column is named, a key of the data is not."""
    form, bad, column = DOUBLED[case]
    chain = Chain.at(tmp_path / "home")
    assert told(chain, among(tmp_path / "a.jsonl", bad, form), form) == [(2, "duplicate_key", column)]
    assert kept(chain) == [bad.encode()]


def test_row_14_a_key_twice_is_found_in_every_line_of_many(tmp_path: Path) -> None:
    """Lines of one shape are judged together: those that differ in nothing but that are found among them."""
    lines = [flat(n % 60, product_id=f"p{n}") for n in range(20_000)]
    bad = {7, 4095, 4096, 12_345, 19_999}
    for n in bad:
        lines[n] = twice(lines[n], "price", "6")
    (tmp_path / "a.jsonl").write_text("".join(line + "\n" for line in lines))
    chain = Chain.at(tmp_path / "home")
    assert told(chain, tmp_path / "a.jsonl", "rees46") == [(n + 1, "duplicate_key", "price") for n in sorted(bad)]


def test_row_14_the_same_key_in_two_objects_is_no_duplicate(tmp_path: Path) -> None:
    items = [{"item_id": i, "price": 1, "quantity": 1} for i in ("hat", "bag")]
    (tmp_path / "a.jsonl").write_text(nested(items=items, price=2) + "\n")
    chain = Chain.at(tmp_path / "home")
    assert told(chain, tmp_path / "a.jsonl", "ga4") == []
    assert chain.rows("bronze/events", "SELECT count(*) FROM t") == [(2,)]


NUMBERS = ("9007199254740993", "-9007199254740993", "18446744073709551615", "18446744073709551616",
           "123456789012345678901234567890", "9" * 400)  # fmt: skip


@pytest.mark.parametrize("number", NUMBERS, ids=lambda n: n[:24])
def test_row_14_a_whole_number_of_any_length_is_an_id(tmp_path: Path, number: str) -> None:
    """Digit by digit, as if it were a text; the same event whether it is one or the other."""
    plain = [flat(1).replace('"p1"', written) for written in (number, f'"{number}"')]
    (tmp_path / "a.jsonl").write_text("".join(line + "\n" for line in plain))
    chain = Chain.at(tmp_path / "home")
    assert told(chain, tmp_path / "a.jsonl", "rees46") == []
    assert chain.rows("bronze/events", "SELECT product_id FROM t") == [(number,)]
    for place, name in (('"hat"', "product_id"), ('"t1"', "transaction_id")):
        inner = Chain.at(tmp_path / name)
        (tmp_path / f"{name}.jsonl").write_text(nested().replace(place, number) + "\n")
        assert told(inner, tmp_path / f"{name}.jsonl", "ga4") == []
        assert inner.rows("bronze/events", f"SELECT {name} FROM t") == [(number,)]


# A number that a double cannot hold, or that is written so that it could be another text.
NO_ID = ("1e400", "-1e400", "1e3", f"{SAFE}.0", "1.5", "1E+2", "NaN", "Infinity", "-Infinity", "true")


@pytest.mark.parametrize(("form", "place"), [
    ("rees46", '"p1"'), ("rees46", f'"{PERSON}"'), ("ga4", f'"{PERSON}"'), ("ga4", '"hat"'), ("ga4", '"t1"'),
])  # fmt: skip
def test_row_14_1e400_and_others_are_no_ids(tmp_path: Path, form: str, place: str) -> None:
    """1e3, 1000.0 and 1000 are one number and three texts: which was meant is not for us to say."""
    bad = [LINES[form]().replace(place, number) for number in NO_ID]
    require_quarantined(Chain.at(tmp_path / "home"), among(tmp_path / "a.jsonl", bad, form), form, bad)


def require_quarantined(chain: Chain, path: Path, form: str, bad: list[str]) -> None:
    """Each of these lines, which begin with the second, for its values and with its bytes."""
    found = told(chain, path, form)
    assert [row for row, *_ in found] == list(range(2, len(bad) + 2))
    assert {failure for _, failure, _ in found} <= {"wrong_type", "malformed"}
    assert kept(chain) == [line.encode() for line in bad]


NO_PRICE = ("1e400", "-1e400", "1e2", "5e0", "0.00005", "5.00001", f"{SAFE}.5", "0.1000000000000000055",
            "99999999999999999", "NaN", "Infinity", "-Infinity", "nan", "+5", "05", ".5", "5.", "0x5",
            "true")  # fmt: skip


@pytest.mark.parametrize("form", LINES)
def test_row_14_1e400_and_others_are_no_prices(tmp_path: Path, form: str) -> None:
    """Nothing that a double may have rounded passes as exact."""
    bad = [LINES[form]().replace('"price": 5', f'"price": {number}') for number in NO_PRICE]
    require_quarantined(Chain.at(tmp_path / "home"), among(tmp_path / "a.jsonl", bad, form), form, bad)


@pytest.mark.parametrize("form", LINES)
def test_row_14_a_price_of_15_digits_is_exact(tmp_path: Path, form: str) -> None:
    prices = ("12345678901.2345", "0.0001", "99999999999.9999", "5", "5.0", "1234567890123")
    varied = "user_pseudo_id" if form == "ga4" else "brand"
    written = (LINES[form](**{varied: f"b{p}"}).replace('"price": 5', f'"price": {p}') for p in prices)
    (tmp_path / "a.jsonl").write_text("".join(f"{line}\n" for line in written))
    chain = Chain.at(tmp_path / "home")
    assert told(chain, tmp_path / "a.jsonl", form) == []
    assert chain.rows("bronze/events", "SELECT price FROM t ORDER BY row_number") == [(Decimal(p),) for p in prices]


def hostile() -> Iterator[str]:
    """Lines on which two views of JSON could differ."""
    yield from ('{"a":1,"a":2}', '{"a":1,"b":{"a":1}}', '{"a":{"b":1,"b":2}}', '[{"a":1},{"a":1}]')
    yield from ('{"\\u0061":1,"a":2}', '{"a":"\\"a\\":1","b":2}', '{"a" : 1 , "a" : 2}', '{"a":"{","a":"}"}')
    yield from ('{"":1,"":2}', '{"a":[{"b":1,"b":2}]}', '{"\\"":1,"\\"":2}', '{"\\\\":1,"\\\\":2}')
    yield from ('{"é":1,"\\u00e9":2}', '{"a\\\\":1,"a":2}', '{"a":1}{"a":2}')


def test_row_14_the_quick_look_and_the_careful_one_agree() -> None:
    """Whatever the quick look over a piece lets pass has nothing wrong when it is looked at alone."""
    lines = [line.encode() for line in hostile()]
    data = b"\n".join(lines) + b"\n"
    ends = np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == ord("\n"))
    starts = np.concatenate(([0], ends[:-1] + 1))
    shapes = json_shapes.Shapes(frozenset({"a"}))
    quick = {place for place, fault in shapes.faults(data, starts, ends) if fault.failure_class == "duplicate_key"}
    faults = {n: fault for n, line in enumerate(lines) if (fault := shapes.judge(line)) is not None}
    assert quick == {n for n, fault in faults.items() if fault.failure_class == "duplicate_key"}
    assert quick == {0, 2, 4, 6, 7, 8, 9, 10, 11, 12}
