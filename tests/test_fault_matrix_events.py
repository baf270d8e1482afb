"""Rows 16, 17, 18, 20 and 21 of the fault matrix: what is wrong with events themselves, not with their files.

Row 19 (late events) is in test_late_events.py.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from itertools import permutations
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from behavior_assets.ingestion import conflicts as conflicts_module
from behavior_assets.ingestion.ahead import Delivery
from behavior_assets.ingestion.canonical import BRONZE_EVENTS
from behavior_assets.ingestion.conflicts import conflicts
from behavior_assets.ingestion.ingest import Ingestion
from behavior_assets.ingestion.ledger import read_ledger
from behavior_assets.ingestion.sources import load_source
from behavior_assets.simulation.shop import ShopConfig, simulate
from behavior_assets.status import status
from behavior_assets.verification import verify_home
from resources.engine import engine
from tests.conftest import Chain, rees46_row, run_cli, same_key, shuffled, write_rees46

COUNTS = ("rows_in", "accepted", "quarantined", "duplicate", "conflicts")
HOUR_US = 3_600_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PERSON = "ada@example.org"


def counts(chain: Chain) -> tuple[int, ...]:
    """The account of all files: rows in, accepted, quarantined, duplicate, conflicts."""
    entries = read_ledger(chain.lake.table(BRONZE_EVENTS))
    return tuple(sum(getattr(e, n) for e in entries) for n in COUNTS)


def microseconds(moment: datetime) -> int:
    """UTC microseconds since 1970."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def text_file(path: Path, lines: Iterable[str]) -> Path:
    """A file of these lines."""
    path.write_text("".join(line + "\n" for line in lines), "utf-8")
    return path


# Row 16: exact duplicate -> one row, counted

A, B, C = (rees46_row(f"2024-05-01 10:00:0{n}", "view", "p1", "u1") for n in range(3))
DELIVERIES: dict[str, list[list[list[str]]]] = {  # batches of files of rows
    "within a file": [[[A, B, A, C, A, B]]],
    "across files": [[[A, B], [A, C], [B, A]]],
    "across batches": [[[A, B]], [[A, C]], [[B, A]]],
    "all of it": [[[A, A]], [[B, A], [B, C]]],
}


@pytest.mark.parametrize("chunk_rows", [1_000_000, 1], ids=["one chunk", "chunks of a row"])
@pytest.mark.parametrize("how", DELIVERIES)
def test_row_16_exact_duplicate(tmp_path: Path, how: str, chunk_rows: int) -> None:
    """Three events however often they come; the further rows are counted."""
    chain = Chain.at(tmp_path / "home", chunk_rows=chunk_rows)
    number = 0
    for batch in DELIVERIES[how]:
        files = []
        for rows in batch:
            number += 1
            files.append(write_rees46(tmp_path / f"{number}.csv", rows))
        chain.ingest(files, "rees46")
    delivered = sum(len(rows) for batch in DELIVERIES[how] for rows in batch)
    assert counts(chain) == (delivered, 3, 0, delivered - 3, 0)
    assert chain.rows("bronze/events", "SELECT count(*), count(DISTINCT event_id) FROM t") == [(3, 3)]


def test_row_16_exact_duplicate_of_lines_and_of_records(tmp_path: Path) -> None:
    """Equal lines of one invoice are lines, in another file duplicates; a record of several items is one record."""
    shop = Chain.at(tmp_path / "lines", "Europe/London")
    line = "1,85123A,LANTERN,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom"
    head = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
    other = line.replace("85123A", "71053")
    shop.ingest([text_file(tmp_path / "1.csv", [head, line, line])], "online_retail")
    shop.ingest([text_file(tmp_path / "2.csv", [head, line, line, other])], "online_retail")
    assert counts(shop) == (5, 3, 0, 2, 0)
    site = Chain.at(tmp_path / "records")
    site.ingest([text_file(tmp_path / "1.jsonl", [purchase("e1"), purchase("e1")])], "ga4")
    site.ingest([text_file(tmp_path / "2.jsonl", [purchase("e1"), purchase("e2")])], "ga4")
    assert counts(site) == (4, 2, 0, 2, 0)
    assert site.rows("bronze/events", "SELECT count(*) FROM t") == [(4,)]  # two items each


# Row 17: same id, other payload -> deterministic winner; the loser is shown and not served


def purchase(event_id: str, price: float = 5, second: int = 0) -> str:
    """A purchase of two items at noon, under an id of the collector's own."""
    return json.dumps({
        "event_timestamp": str(1_714_564_800_000_000 + second * 1_000_000), "event_name": "purchase",
        "event_id": event_id, "user_pseudo_id": PERSON, "ecommerce": {"transaction_id": "t1"},
        "items": [{"item_id": i, "price": price, "quantity": 1} for i in ("hat", "bag")],
    })  # fmt: skip


def test_row_17_same_id_other_payload(tmp_path: Path) -> None:
    """Whatever comes first, and in whatever files: the same payload is served, and the others are told."""
    payloads = [purchase("e1", price) for price in (5, 6, 7)]
    served = []
    for number, order in enumerate(permutations(payloads)):
        chain = Chain.at(tmp_path / f"home{number}")
        alone, together = [order[0], purchase("e2")], [order[1], order[2], order[1]]
        chain.ingest([text_file(tmp_path / f"{number}-a.jsonl", alone)], "ga4")
        chain.ingest([text_file(tmp_path / f"{number}-b.jsonl", together)], "ga4")
        chain.build(star=False)
        assert counts(chain) == (5, 4, 0, 1, 2)
        assert chain.rows("bronze/events", "SELECT count(*) FROM t") == [(8,)]
        served.append(chain.rows("silver/events", "SELECT price, count(*) FROM t GROUP BY 1 ORDER BY 1"))
        (told,) = conflicts(chain.lake, chain.settings)
        assert (told["source"], told["failure_class"], told["rows"]) == ("ga4", "id_conflict", 2)
        places = {(e["file"], e["row"]) for e in told["examples"]}
        winner = ({(f"{number}-a.jsonl", 1), *((f"{number}-b.jsonl", n) for n in (1, 2))} - places).pop()
        assert all(f"({winner[0]}, row {winner[1]})" in e["message"] for e in told["examples"])
    assert served == served[:1] * 6
    assert verify_home(chain.settings)["ok"]


def test_row_17_losers_are_shown_and_replay_says_why_not(tmp_path: Path) -> None:
    """Counts by source in status and quarantine, examples by place, values only on request."""
    home = tmp_path / "home"
    files = [text_file(tmp_path / f"{n}.jsonl", [purchase("e1", n), purchase(f"o{n}", second=n)]) for n in (1, 2)]
    assert run_cli("run", "--home", home, "--format", "ga4", "--source", *files).code == 0
    told = json.loads(run_cli("quarantine", "--home", home, "--json").out)
    assert (told["rows"], told["conflicts"]) == (0, 1)
    assert [(c["failure_class"], c["rows"]) for c in told["classes"]] == [("id_conflict", 1)]
    assert told["classes"][0]["examples"][0]["batch"] == "b00000001"
    assert PERSON not in json.dumps(told)
    shown = run_cli("quarantine", "--home", home).out
    for piece in ("ga4  id_conflict  1 rows", "batch b00000001, row 1, event_id", "not served", "othing to replay"):
        assert piece in shown
    assert "behavior replay" not in shown
    assert PERSON in run_cli("quarantine", "--home", home, "--show-values").out
    assert json.loads(run_cli("status", "--home", home, "--json").out)["sources"][0]["conflicts"] == 1
    refused = run_cli("replay", "--home", home, "--class", "id_conflict")
    assert refused.code == 2
    assert len(refused.err.splitlines()) == 1
    assert "Mend the ids at the source" in refused.err


def test_row_17_costs_nothing_where_no_conflict_was_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only days into which a batch with conflicts wrote are looked at."""
    chain = Chain.at(tmp_path / "home")
    looked: list[list[str]] = []
    read = conflicts_module.read_parts
    monkeypatch.setattr(conflicts_module, "read_parts", lambda b, t, days: looked.append(days) or read(b, t, days))
    day = 24 * 3600
    chain.ingest([text_file(tmp_path / "1.jsonl", [purchase(f"e{n}", second=n * day) for n in range(3)])], "ga4")
    assert conflicts(chain.lake, chain.settings) == []
    assert looked == []
    chain.ingest([text_file(tmp_path / "2.jsonl", [purchase("e1", 9, second=day)])], "ga4")
    assert conflicts(chain.lake, chain.settings)[0]["rows"] == 1
    assert looked == [["2024-05-02"]]


def test_row_17_an_id_on_another_day_is_another_event(tmp_path: Path) -> None:
    """Ids are compared within a day, as docs/formats.md says."""
    chain = Chain.at(tmp_path / "home")
    chain.ingest([text_file(tmp_path / "1.jsonl", [purchase("e1"), purchase("e1", second=13 * 3600)])], "ga4")
    assert counts(chain) == (2, 2, 0, 0, 0)


# Row 18: shuffled order -> same result


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Five days of a small shop's records, some twice, some under one id with two payloads."""
    report = simulate(ShopConfig(days=5, customers=200, seed=3), tmp_path_factory.mktemp("shop"), "ga4")
    lines = [line for path in report.files for line in path.read_text("utf-8").splitlines()]
    assert len(lines) > 200
    more = []
    for number, line in enumerate(lines[::9]):
        record = {**json.loads(line), "event_id": f"own-{number}"}
        more += [json.dumps(record), json.dumps({**record, "user_pseudo_id": "another"})]
    return [*lines, *more, *lines[::5]]


def test_row_18_shuffled_order(tmp_path: Path, simulated: list[str]) -> None:
    """Rows mixed over files, files over runs, in chunks of any size: every gold table has the same content."""
    base = Chain.at(tmp_path / "base")
    base.ingest([text_file(tmp_path / "all.jsonl", simulated)], "ga4")
    base.build()
    for seed, (files, rounds, chunk_rows) in enumerate([(3, 1, 1_000_000), (4, 2, 300), (3, 2, 200)]):
        folder = tmp_path / str(seed)
        same_key(tmp_path / "base", folder)
        chain = Chain.at(folder, chunk_rows=chunk_rows)
        rows = shuffled(simulated, seed)
        paths = [text_file(tmp_path / f"{seed}-{n}.jsonl", rows[n::files]) for n in range(files)]
        for number in range(rounds):
            chain.ingest(paths[number::rounds], "ga4")
            chain.build(star=number == rounds - 1 or seed == 2)
        assert chain.hashes() == base.hashes()
        assert counts(chain) == counts(base)


# Row 20: clock five years off


ARRIVAL = datetime(2024, 6, 1, 12, tzinfo=UTC)
EXACT = "columns: {event_time: at, event_name: what, user_id: who}\ntime: {format: epoch_us}\n"
CLOCKED = EXACT.replace("}\ntime", ", sent_time: sent, received_time: received}\ntime")


def ingest_on_arrival(chain: Chain, path: Path, format_name: str, mapping: Path | None = None) -> None:
    """Take a file in at ARRIVAL, whatever the time is now."""
    with engine(chain.settings) as backend:
        ingestion = Ingestion(chain.lake, chain.settings, backend.con, lambda: microseconds(ARRIVAL))
        report = ingestion.run([Delivery(path, load_source(format_name, mapping))])
    assert not report.refused


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Pacific/Auckland"])
def test_row_20_clock_five_years_off(tmp_path: Path, zone: str) -> None:
    """A historical file keeps its times; the first moment is the shop's midnight, the last a day after arrival."""
    first = datetime(2000, 1, 1, tzinfo=ZoneInfo(zone)).astimezone(UTC)
    instant = timedelta(microseconds=1)
    good = [ARRIVAL - timedelta(days=5 * 365), first, ARRIVAL + timedelta(hours=24), ARRIVAL]
    bad = [ARRIVAL + timedelta(days=5 * 365), first - instant, ARRIVAL + timedelta(hours=24) + instant,
           datetime(1999, 6, 1, tzinfo=UTC), EPOCH]  # fmt: skip
    rows = [f"{microseconds(m)},page_view,{PERSON}" for m in (*good, *bad)]
    chain = Chain.at(tmp_path / "home", zone)
    file = text_file(tmp_path / "a.csv", ["at,what,who", *rows])
    ingest_on_arrival(chain, file, "generic", text_file(tmp_path / "m.yaml", [EXACT]))
    assert counts(chain) == (9, 4, 5, 0, 0)
    found = chain.rows("bronze/events", "SELECT event_ts_us, event_date::VARCHAR FROM t ORDER BY row_number")
    assert found == [(microseconds(m), str(m.astimezone(ZoneInfo(zone)).date())) for m in good]
    told = chain.rows("quarantine/events", "SELECT row_number, failure_class, column_name, message FROM t ORDER BY 1")
    reason = ("rule_breach", "event_time", "outside [2000-01-01, arrival + 24 h]")
    assert told == [(n, *reason) for n in range(5, 10)]


def test_row_20_only_sources_with_a_sent_time_are_corrected(tmp_path: Path) -> None:
    """A device whose clock is five years off, either way: the event lies as long before receipt as it waited."""
    received, waited = ARRIVAL - timedelta(hours=1), timedelta(minutes=7)
    rows = []
    for skew in (timedelta(days=-5 * 365), timedelta(0), timedelta(days=5 * 365)):
        sent = received + skew
        rows.append(f"{microseconds(sent - waited)},page_view,{PERSON},{microseconds(sent)},{microseconds(received)}")
    file = text_file(tmp_path / "a.csv", ["at,what,who,sent,received", *rows])
    clocked, plain = Chain.at(tmp_path / "clocked"), Chain.at(tmp_path / "plain")
    ingest_on_arrival(clocked, file, "generic", text_file(tmp_path / "c.yaml", [CLOCKED]))
    ingest_on_arrival(plain, file, "generic", text_file(tmp_path / "p.yaml", [EXACT + "ignore: [sent, received]"]))
    query = "SELECT event_ts_us, sent_ts_us FROM t ORDER BY row_number"
    sent_us = [int(row.split(",")[3]) for row in rows]
    assert clocked.rows("bronze/events", query) == [(microseconds(received - waited), s) for s in sent_us]
    assert plain.rows("bronze/events", query) == [(s - 7 * 60 * 1_000_000, None) for s in sent_us[:2]]
    assert counts(plain) == (3, 2, 1, 0, 0)
    clocked.build(star=False)
    assert clocked.rows("silver/sessions", "SELECT count(*), sum(events)::INT FROM t") == [(1, 3)]


@pytest.mark.parametrize("zone", ["UTC", "Europe/London"])
def test_row_20_a_time_beyond_every_calendar_costs_one_row(tmp_path: Path, zone: str) -> None:
    """What no clock can mean goes to quarantine; it neither overflows nor refuses its file."""
    times = ["290308-12-22 (BC) 00:00:00", "294247-01-10T04:00:54", "9999-12-31T23:59:59Z", "infinity", "-infinity",
             "0001-01-01", "2024-05-01T10:00:00Z"]  # fmt: skip
    rows = [f"{at},page_view,u,{sent},{received}" for at in times for sent in times for received in times]
    chain = Chain.at(tmp_path / "home", zone)
    file = text_file(tmp_path / "a.csv", ["at,what,who,sent,received", *rows])
    mapping = text_file(tmp_path / "m.yaml", [CLOCKED.replace("epoch_us", f"iso, zone: {zone}")])
    ingest_on_arrival(chain, file, "generic", mapping)
    rows_in, accepted, quarantined, *_ = counts(chain)
    assert (rows_in, quarantined) == (len(rows), len(rows) - accepted)
    # Sent and happened at one moment of whatever clock, received in 2024.
    assert chain.rows("bronze/events", "SELECT DISTINCT event_ts_us FROM t") == [(1_714_557_600_000_000,)]


# Row 21: clocks that go forward and back


@pytest.mark.parametrize(("zone", "short", "long"), [
    ("Europe/London", date(2024, 3, 31), date(2024, 10, 27)),
    ("America/New_York", date(2024, 3, 10), date(2024, 11, 3)),
])  # fmt: skip
def test_row_21_days_of_23_and_25_hours(tmp_path: Path, zone: str, short: date, long: date) -> None:
    """UTC is stored; each event, session and key lies on the shop's own day and hour."""
    shop, rows, wanted = ZoneInfo(zone), [], []
    for day, hours in ((short, 23), (long, 25)):
        begin = datetime(day.year, day.month, day.day, tzinfo=shop).astimezone(UTC)
        for n in range(-1, hours + 1):  # with the last hour of the day before and the first of the one after
            moment = begin + timedelta(hours=n, minutes=30)
            rows.append(rees46_row(f"{moment:%Y-%m-%d %H:%M:%S}", "view", "p", f"u{n}"))
            local = moment.astimezone(shop)
            wanted.append((microseconds(moment), local.date(), local.hour))
    chain = Chain.at(tmp_path / "home", zone)
    chain.ingest([write_rees46(tmp_path / "a.csv", rows)], "rees46")
    chain.build()
    query = "SELECT event_ts_us, event_date, event_hour FROM t ORDER BY 1"
    assert chain.rows("bronze/events", query) == sorted(wanted)
    query = "SELECT start_ts_us, event_date, start_hour FROM t ORDER BY 1"
    assert chain.rows("silver/sessions", query) == sorted(wanted)
    keys = chain.rows("gold/fact_session", "SELECT date_key, hour_key FROM t ORDER BY ALL")
    assert keys == sorted((int(f"{day:%Y%m%d}"), hour) for _, day, hour in wanted)
    sessions = Counter(day for day, _ in keys)
    assert (sessions[int(f"{short:%Y%m%d}")], sessions[int(f"{long:%Y%m%d}")]) == (23, 25)


@pytest.mark.parametrize(("day", "cut_day"), [
    ("2024-03-31", "2024-04-01"),  # 24 hours after midnight it is one o'clock of the next day
    ("2024-10-27", "2024-10-27"),  # and eleven in the evening of the same
])
def test_row_21_a_session_lasts_24_hours_and_not_a_day(tmp_path: Path, day: str, cut_day: str) -> None:
    """The cap is counted in hours that pass, not on the clock on the wall."""
    begin = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo("Europe/London")).astimezone(UTC)
    moments = [begin + timedelta(minutes=n) for n in range(0, 26 * 60, 20)]
    chain = Chain.at(tmp_path / "home", "Europe/London")
    rows = [rees46_row(f"{m:%Y-%m-%d %H:%M:%S}", "view", "p", "u") for m in moments]
    chain.ingest([write_rees46(tmp_path / "a.csv", rows)], "rees46")
    chain.build(star=False)
    query = "SELECT event_date::VARCHAR, events, start_ts_us, split_reason FROM t ORDER BY 3"
    found = chain.rows("silver/sessions", query)
    later = begin + timedelta(hours=24)
    assert found == [(day, 72, microseconds(begin), "none"), (cut_day, 6, microseconds(later), "24 h cap")]


@pytest.mark.parametrize(("local", "utc", "hour"), [
    ("2024-03-31 00:59:59", "2024-03-31 00:59:59", 0),
    ("2024-03-31 01:30:00", "2024-03-31 01:30:00", 2),  # no clock showed it: read as if it had not been put forward
    ("2024-03-31 02:00:00", "2024-03-31 01:00:00", 2),
    ("2024-10-27 00:59:59", "2024-10-26 23:59:59", 0),
    ("2024-10-27 01:30:00", "2024-10-27 01:30:00", 1),  # the clocks showed it twice: the second time is taken
    ("2024-10-27 02:00:00", "2024-10-27 02:00:00", 2),
])  # fmt: skip
def test_row_21_local_times_in_the_gap_and_in_the_overlap(tmp_path: Path, local: str, utc: str, hour: int) -> None:
    """Where only the wall clock's time is known, one answer is taken, the same for every source, and no row is lost."""
    chain = Chain.at(tmp_path / "home", "Europe/London")
    head = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
    invoice = text_file(tmp_path / "r.csv", [head, f"1,85123A,LANTERN,6,{local},2.55,17850.0,United Kingdom"])
    chain.ingest([invoice], "online_retail")
    base = "columns: {event_time: at, event_name: what, user_id: who}\ntime: {zone: Europe/London"
    for number, form in enumerate(("}", ", format: '%Y-%m-%d %H:%M:%S'}")):
        file = text_file(tmp_path / f"{number}.csv", ["at,what,who", f"{local},page_view,u"])
        chain.ingest([file], "generic", text_file(tmp_path / f"{number}.yaml", [base + form]))
    moment = microseconds(datetime.fromisoformat(utc).replace(tzinfo=UTC))
    assert counts(chain) == (3, 3, 0, 0, 0)
    assert chain.rows("bronze/events", "SELECT DISTINCT event_ts_us, event_hour FROM t") == [(moment, hour)]


def test_row_21_an_offset_in_the_text_tells_the_two_hours_apart(tmp_path: Path) -> None:
    """Which is what a source should write."""
    chain = Chain.at(tmp_path / "home", "Europe/London")
    times = ["2024-10-27 01:30:00+01:00", "2024-10-27 01:30:00+00:00"]
    mapping = "columns: {event_time: at, event_name: what, user_id: who}\ntime: {zone: Europe/London}"
    file = text_file(tmp_path / "a.csv", ["at,what,who", *(f"{t},page_view,u" for t in times)])
    chain.ingest([file], "generic", text_file(tmp_path / "m.yaml", [mapping]))
    first, second = (r[0] for r in chain.rows("bronze/events", "SELECT event_ts_us FROM t ORDER BY row_number"))
    assert second - first == HOUR_US


def test_status_tells_conflicts_and_late_events_by_source(tmp_path: Path) -> None:
    """Both stand beside the account, and change none of its sums."""
    chain = Chain.at(tmp_path / "home")
    chain.ingest([text_file(tmp_path / "1.jsonl", [purchase("e1"), purchase("e9", second=24 * 3600)])], "ga4")
    chain.ingest([text_file(tmp_path / "2.jsonl", [purchase("e1", 6)])], "ga4")
    (told,) = status(chain.settings)["sources"]
    account: dict[str, Any] = {n: told[n] for n in ("rows_in", "accepted", "quarantined", "duplicate")}
    assert (account, told["conflicts"], told["late"]) == (
        {"rows_in": 3, "accepted": 3, "quarantined": 0, "duplicate": 0}, 1, 1,
    )  # fmt: skip
