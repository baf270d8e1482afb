"""A mapping: harmless edits count nothing twice, wrong ones are refused by file and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from behavior_assets.ingestion.sources import load_source
from resources.errors import UsageError
from tests.conftest import Chain

BASE = "columns: {event_time: at, event_name: what, user_id: who}\n"
IDS = BASE.replace("}", ", event_id: nr}")
TYPED = IDS.replace("}", ", line_type: kind}")


def write(path: Path, text: str) -> Path:
    """A file of this text."""
    path.write_text(text, "utf-8")
    return path


def sales(ids: range) -> str:
    """Sales with these ids."""
    return "at,what,who,nr\n" + "".join(f"2024-05-01 10:0{n}:00,purchase,u1,{n}\n" for n in ids)


@pytest.mark.parametrize("own_ids", [True, False])
@pytest.mark.parametrize("edit", [
    "header: true", 'delimiter: ","', "repeats: event", "time: {zone: UTC}", "time: {format: iso}",
    "events: {purchase: purchase, look: view_item}",
])  # fmt: skip
def test_an_overlapping_file_under_an_edited_mapping(tmp_path: Path, edit: str, *, own_ids: bool) -> None:
    base = IDS if own_ids else BASE + "file_columns: [at, what, who, nr]\n"
    chain = Chain.at(tmp_path / "home")
    first, second = write(tmp_path / "w1.csv", sales(range(1, 3))), write(tmp_path / "w2.csv", sales(range(1, 4)))
    chain.ingest([first], "generic", write(tmp_path / "a.yaml", base))
    chain.ingest([second], "generic", write(tmp_path / "b.yaml", base + edit + "\n"))
    assert chain.rows("bronze/events", "SELECT count(*) FROM t") == [(3,)]


def test_defaults_and_order_are_not_part_of_the_contract(tmp_path: Path) -> None:
    spelled = "header: true\ndelimiter: ','\nrepeats: event\ntime: {zone: UTC, format: iso}\nignore: [b, a]\n"
    texts = (BASE + "ignore: [a, b]\n", BASE + spelled, BASE + "ignore: [a, b]\ndelimiter: ';'\n")
    one, same, other = (load_source("generic", write(tmp_path / "m.yaml", t)) for t in texts)
    assert (one.contract, one.identity) == (same.contract, same.identity)
    assert (one.contract != other.contract, one.identity) == (True, other.identity)


def test_line_types(tmp_path: Path) -> None:
    """A value that nobody named is quarantined, an empty one is what the event says."""
    rows = [("purchase", "porto"), ("purchase", ""), ("refund", ""), ("purchase", "odd"), ("purchase", "fee")]
    lines = "".join(f"2024-05-01 10:0{n}:00,{what},u1,{n},{kind}\n" for n, (what, kind) in enumerate(rows))
    file = write(tmp_path / "a.csv", "at,what,who,nr,kind\n" + lines)
    chain = Chain.at(tmp_path / "home")
    chain.ingest([file], "generic", write(tmp_path / "m.yaml", TYPED + "line_types: {porto: shipping}\n"))
    found = chain.rows("bronze/events", "SELECT line_type FROM t ORDER BY event_ts_us")
    assert found == [("shipping",), ("sale",), ("refund",), ("fee",)]
    assert chain.rows("quarantine/events", "SELECT row_number, failure_class FROM t") == [(4, "wrong_type")]


CLOCKED = IDS.replace("}", ", sent_time: sent, received_time: got}")
AT, SENT, GOT = "2019-05-01 10:00:00", "2019-05-01 10:00:07", "2024-05-01 12:00:07"  # a clock five years behind


def test_a_device_clock_is_set_right(tmp_path: Path) -> None:
    """Rows that lack one of the two times keep their own; what cannot be corrected is told by class and column."""
    rows = [(AT, SENT, GOT), (AT, SENT, ""), (AT, "", GOT), (AT, "", ""), (AT, AT, GOT),
            (AT, "soon", GOT), (AT, SENT, "now"), (SENT, AT, GOT), (AT, "soon", "now"), ("once", SENT, GOT)]
    lines = "".join(f"{at},purchase,u1,{n},{sent},{got}\n" for n, (at, sent, got) in enumerate(rows))
    chain = Chain.at(tmp_path / "home")
    file = write(tmp_path / "a.csv", "at,what,who,nr,sent,got\n" + lines)
    chain.ingest([file], "generic", write(tmp_path / "m.yaml", CLOCKED))
    found = chain.rows("bronze/events", "SELECT strftime(make_timestamp(event_ts_us), '%Y %H:%M:%S'), "
                       "strftime(make_timestamp(sent_ts_us), '%Y %H:%M:%S') FROM t ORDER BY row_number")  # fmt: skip
    assert found == [
        ("2024 12:00:00", "2019 10:00:07"), ("2019 10:00:00", "2019 10:00:07"), ("2019 10:00:00", None),
        ("2019 10:00:00", None), ("2024 12:00:07", "2019 10:00:00"),
    ]  # fmt: skip
    bad = chain.rows("quarantine/events", "SELECT row_number, failure_class, column_name FROM t ORDER BY 1")
    assert bad == [(6, "wrong_type", "sent"), (7, "wrong_type", "got"), (8, "rule_breach", "sent"),
                   (9, "wrong_type", "sent"), (10, "wrong_type", "at")]  # fmt: skip


@pytest.mark.parametrize("form", ["{format: epoch_s}", "{format: '%d.%m.%Y %H:%M', zone: Europe/Berlin}"])
def test_all_three_times_are_of_the_mappings_format(tmp_path: Path, form: str) -> None:
    epoch = "epoch" in form
    at, sent, got = ("1556704800", "1556704860", "1714557660") if epoch else (
        "01.05.2019 12:00", "01.05.2019 12:01", "01.05.2024 12:01")  # fmt: skip
    chain = Chain.at(tmp_path / "home")
    file = write(tmp_path / "a.csv", f"at,what,who,nr,sent,got\n{at},purchase,u1,1,{sent},{got}\n")
    chain.ingest([file], "generic", write(tmp_path / "m.yaml", CLOCKED + f"time: {form}\n"))
    found = chain.rows("bronze/events", "SELECT event_ts_us, sent_ts_us FROM t")
    assert found == [(1_714_557_600_000_000, 1_556_704_860_000_000)]


@pytest.mark.parametrize("own_ids", [True, False])
def test_a_row_that_is_sent_twice(tmp_path: Path, *, own_ids: bool) -> None:
    """With an id of its own it is one event in either order; without, nothing says that it is the same."""
    base = CLOCKED if own_ids else CLOCKED.replace(", event_id: nr", "") + "ignore: [nr]\n"
    rows = [f"{AT},purchase,u1,1,{SENT},{GOT}\n", f"{AT},purchase,u1,1,2019-05-01 11:00:00,2024-05-01 13:00:09\n"]
    served = []
    for number, order in enumerate((rows, rows[::-1])):
        chain = Chain.at(tmp_path / f"home{number}")
        for place, row in enumerate(order):
            file = write(tmp_path / f"{number}{place}.csv", "at,what,who,nr,sent,got\n" + row)
            chain.ingest([file], "generic", write(tmp_path / "m.yaml", base))
        chain.build(star=False)
        served.append(chain.rows("silver/events", "SELECT event_ts_us, sent_ts_us FROM t ORDER BY 1"))
    assert served[0] == served[1]
    assert len(served[0]) == (1 if own_ids else 2)


@pytest.mark.parametrize(("text", "key"), [
    ("columns: [at]", "columns"), ("columns: text", "columns"),
    ("columns: {event_time: at, event_name: '', user_id: who}", "columns.event_name"),
    ("columns: {event_time: at, event_name: what, user_id: }", "columns.user_id"),
    ("columns: {event_time: at, event_name: what, user_id: [a]}", "columns.user_id"),
    (BASE + "events: [look]", "events"), (BASE + "events: {look: [a]}", "events.look"),
    (BASE + "events: {yes: purchase}", "events.True"), (BASE + "events: {look: stare}", "events.look"),
    (TYPED + "line_types: sale", "line_types"), (TYPED + "line_types: {a: gift}", "line_types.a"),
    (BASE + "capabilities: [has_cart]", "capabilities"), (BASE + "capabilities: {has_wings: true}", "capabilities"),
    (BASE + "capabilities: {has_cart: maybe}", "capabilities.has_cart"),
    (BASE + "time: iso", "time"), (BASE + "time: {format: [a]}", "time.format"),
    (BASE + "time: {format: '%Q'}", "time.format"), (BASE + "time: {format: isoo}", "time.format"),
    (BASE + "time: {zone: Mars}", "time.zone"), (BASE + "time: {offset: 1}", "offset"),
    (BASE.replace("}", ", sent_time: sent}"), "columns.received_time"),
    (BASE.replace("}", ", received_time: got}"), "columns.sent_time"),
    (BASE + "ignore: sku", "ignore"), (BASE + "ignore: [[a]]", "ignore"),
    (BASE + "file_columns: at", "file_columns"), (BASE + "file_columns: {a: b}", "file_columns"),
    (BASE + "delimiter: ';;'", "delimiter"), (BASE + "delimiter: ''", "delimiter"),
    (BASE + "delimiter: 1", "delimiter"),
    (BASE + "header: 'no'", "header"), (BASE + "repeats: line", "repeats"), (BASE + "repeats: [lines]", "repeats"),
    (None, "cannot be read"),
])  # fmt: skip
def test_a_wrong_mapping_is_refused_by_file_and_key(tmp_path: Path, text: str | None, key: str) -> None:
    path = tmp_path / "shop.yaml"
    if text is None:
        path.mkdir()
    else:
        write(path, text)
    with pytest.raises(UsageError) as refused:
        load_source("generic", path)
    assert str(path) in str(refused.value)
    assert key in str(refused.value)
    assert refused.value.exit_code == 2
