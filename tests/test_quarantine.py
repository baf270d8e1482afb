"""Quarantined rows are shown without their values, and come back with every count conserved."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from behavior_assets.ingestion import quarantine
from behavior_assets.ingestion.ahead import Delivery
from behavior_assets.ingestion.ingest import Ingestion
from behavior_assets.status import status
from behavior_assets.verification import verify_home
from resources.engine import engine
from resources.errors import UsageError
from tests.conftest import REES46_HEADER, Chain, published, rees46_row, run_cli, write_rees46

HEAD = "visitor;at;what;cost\n"  # not in the mapping's order
GOOD = "ada@example.org;2024-05-01T10:00:00Z;look;1.50\n"
LATE = "bob@example.org;2024-05-01T11:00:00Z;grab;2.50\n"  # a name that the first mapping does not know
WORSE = "eve@example.org;2024-05-01T12:00:00Z;grab;cheap\n"
MAPPING = """columns: {{event_time: at, event_name: what, user_id: visitor, price: cost}}
events: {{{events}}}
delimiter: ";"
"""


def mapping(folder: Path, events: str) -> Path:
    """A mapping file that knows some event names."""
    path = folder / "mapping.yaml"
    path.write_text(MAPPING.format(events=events), "utf-8")
    return path


def delivered(folder: Path) -> tuple[Path, dict[str, Any]]:
    """A home with one good row, one with an unknown event name, and one that is wrong in two ways."""
    file = folder / "shop.csv"
    file.write_text(HEAD + GOOD + LATE + WORSE, "utf-8")
    home = folder / "home"
    rules = mapping(folder, "look: view_item")
    done = run_cli("run", "--home", home, "--format", "generic", "--mapping", rules, "--source", file, "--json")
    assert done.code == 0, done.err
    return home, json.loads(done.out)


def counts(told: dict[str, Any]) -> tuple[int, ...]:
    """The account of the one source."""
    (source,) = told["sources"]
    return tuple(source[n] for n in ("rows_in", "accepted", "quarantined", "duplicate", "files"))


def test_a_mended_mapping_brings_rows_back(tmp_path: Path) -> None:
    """Two rows have an unknown name. With it known one is good; the other stays, for its price."""
    home, told = delivered(tmp_path)
    assert counts(told) == (3, 1, 2, 0, 1)
    rules = mapping(tmp_path, "look: view_item, grab: add_to_cart")
    again = ("replay", "--home", home, "--class", "unplanned_event", "--mapping", rules, "--json")
    for _ in range(2):  # the second finds nothing more to accept
        done = run_cli(*again)
        assert counts(json.loads(done.out)) == (3, 2, 1, 0, 1), done.err
    assert published(home, "SELECT rows_in, accepted, quarantined FROM fact_data_quality") == [(3, 2, 1)]
    assert published(home, "SELECT sum(carts), sum(views) FROM fact_session") == [(1, 1)]
    chain = Chain.at(home)
    assert chain.rows("bronze/events", "SELECT list(row_number ORDER BY row_number) FROM t") == [([1, 2],)]
    assert chain.rows("quarantine/events", "SELECT row_number FROM t") == [(3,)]
    assert run_cli("verify", "--home", home).code == 0


def test_a_replay_that_dies_after_its_commit_is_made_good(tmp_path: Path, monkeypatch: Any) -> None:
    """Rows are in bronze and still in quarantine: the next ingestion takes them out, and counts nothing twice."""
    home, _ = delivered(tmp_path)
    rules = mapping(tmp_path, "look: view_item, grab: add_to_cart")
    again = ("replay", "--home", home, "--class", "unplanned_event", "--mapping", rules, "--json")
    with monkeypatch.context() as patched:
        patched.setattr(quarantine, "take_out", lambda *_: None)
        run_cli(*again)
    assert run_cli("verify", "--home", home).code == 5
    assert counts(json.loads(run_cli(*again).out)) == (3, 2, 1, 0, 1)
    assert run_cli("verify", "--home", home).code == 0


def test_rows_are_listed_without_their_values(tmp_path: Path) -> None:
    """Only on request: a raw row may name a person."""
    home, _ = delivered(tmp_path)
    shown = run_cli("quarantine", "--home", home).out
    for piece in ("generic", "unplanned_event", "2 rows", "shop.csv, row 2, what"):
        assert piece in shown
    assert "example.org" not in shown
    assert LATE.strip() in run_cli("quarantine", "--home", home, "--show-values").out
    told = json.loads(run_cli("quarantine", "--home", home, "--json").out)
    assert told["rows"] == 2
    assert "example.org" not in json.dumps(told)


def test_what_cannot_be_replayed_is_told(tmp_path: Path) -> None:
    home, _ = delivered(tmp_path)
    unknown = run_cli("replay", "--home", home, "--class", "spoilt")
    assert unknown.code == 2
    for piece in ("spoilt", "unplanned_event"):
        assert piece in unknown.err
    unmapped = run_cli("replay", "--home", home, "--class", "unplanned_event")
    assert unmapped.code == 2
    assert "--mapping" in unmapped.err


# After a rule was mended: built-in formats, below Dagster


def rees46_rows() -> list[str]:
    """A good row of May, one of January whose brand holds a quote, and one of May with a long brand."""
    return [rees46_row(f"2024-0{month}-01 10:00:00", "view", str(number), "7", brand=brand)
            for number, (month, brand) in enumerate([(5, "acme"), (1, '"a""c"'), (5, "x" * 5000)])]  # fmt: skip


def rees46_objects() -> list[dict[str, str]]:
    """The same as JSON objects."""
    return list(csv.DictReader([REES46_HEADER, *rees46_rows()]))


def ga4_records() -> list[dict[str, Any]]:
    """A purchase of two items in May and one in January."""
    return [{
        "event_timestamp": f"{second}000000", "event_name": "purchase", "user_pseudo_id": "c1",
        "ecommerce": {"transaction_id": f"t{second}"},
        "items": [{"item_id": "hat", "price": "9.99"}, {"item_id": "bag", "price": "1"}],
    } for second in (1_714_564_800, 1_704_564_800)]  # fmt: skip


def lines(path: Path, *rows: str, end: str = "\n") -> Path:
    """A text file, packed where its name says so."""
    content = "".join(row + end for row in rows).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    """A Parquet file of objects."""
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def typed(rows: list[dict[str, str]]) -> list[dict[str, Any]]:
    """REES46 objects with numbers where a Parquet file has such."""
    return [{**r, "product_id": int(r["product_id"]), "price": float(r["price"]), "category_id": None} for r in rows]


RETAIL = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
LINE = '5,85123A,"LANTERN, ""RED""",6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom'
YOUNG, OLD = "first_day = 2024-03-01\n", "first_day = 2024-01-01\n"
NARROW, WIDE = "max_field_bytes = 2000\n", "max_field_bytes = 100000\n"


class Mended(NamedTuple):
    """A delivery, the setting that was wrong and then right, the class, and the rows in, bad before and after."""

    source: str
    write: Callable[[Path], Path]
    before: str
    after: str
    failure_class: str
    rows: tuple[int, int, int]


MENDED = {
    "rees46.csv": Mended("rees46", lambda d: write_rees46(d / "a.csv", rees46_rows()), NARROW, WIDE, "oversize",
                         (3, 1, 0)),
    "rees46.csv, that row alone": Mended(  # the replay is a file of the very bytes that were delivered
        "rees46", lambda d: write_rees46(d / "a.csv", rees46_rows()[2:]), NARROW, WIDE, "oversize", (1, 1, 0)),
    "rees46.csv.gz, lines with CRLF": Mended(
        "rees46", lambda d: lines(d / "a.b.csv.gz", REES46_HEADER, rees46_rows()[0], rees46_rows()[2], end="\r\n"),
        NARROW, WIDE, "oversize", (2, 1, 0)),
    "rees46.jsonl": Mended("rees46", lambda d: lines(d / "a.jsonl", *map(json.dumps, rees46_objects())), YOUNG, OLD,
                           "rule_breach", (3, 1, 0)),
    "rees46.jsonl, too long": Mended("rees46", lambda d: lines(d / "a.jsonl", *map(json.dumps, rees46_objects())),
                                     NARROW, WIDE, "oversize", (3, 1, 0)),
    "rees46.parquet": Mended("rees46", lambda d: parquet(d / "a.parquet", typed(rees46_objects())), YOUNG, OLD,
                             "rule_breach", (3, 1, 0)),
    "rees46.parquet, not far enough": Mended("rees46", lambda d: parquet(d / "a.parquet", typed(rees46_objects())),
                                             YOUNG, "first_day = 2024-02-01\n", "rule_breach", (3, 1, 1)),
    "ga4.jsonl": Mended("ga4", lambda d: lines(d / "a.jsonl", *map(json.dumps, ga4_records())), YOUNG, OLD,
                        "rule_breach", (2, 1, 0)),
    "ga4.parquet": Mended("ga4", lambda d: parquet(d / "a.parquet", ga4_records()), YOUNG, OLD, "rule_breach",
                          (2, 1, 0)),
    "taobao.csv": Mended("taobao", lambda d: lines(d / "a.csv", *(f"1,2,3,pv,{r['event_timestamp'][:10]}"
                                                                  for r in ga4_records())),
                         YOUNG, OLD, "rule_breach", (2, 1, 0)),
    "online_retail.csv": Mended(  # equal lines are lines, also when they come back together
        "online_retail", lambda d: lines(d / "a.csv", RETAIL, LINE, LINE, LINE.replace("2010", "2011")),
        "first_day = 2011-01-01\n", "", "rule_breach", (3, 2, 0)),
}  # fmt: skip


def replayed(chain: Chain, failure_class: str) -> None:
    """What ``behavior replay`` does, up to bronze."""
    take(chain, quarantine.replays(chain.lake, chain.settings, failure_class))


def take(chain: Chain, deliveries: list[Delivery]) -> None:
    """Ingest deliveries, none of which may be refused."""
    with engine(chain.settings) as backend:
        report = Ingestion(chain.lake, chain.settings, backend.con).run(deliveries)
    assert not report.refused
    assert not report.repeated


def opened(folder: Path, setting: str) -> Chain:
    """The home with this setting."""
    (folder / "home").mkdir(exist_ok=True)
    (folder / "home" / "behavior.toml").write_text(setting)
    return Chain.at(folder / "home")


@pytest.mark.parametrize("name", MENDED)
def test_a_mended_rule_brings_rows_back(tmp_path: Path, name: str) -> None:
    """An attempt before the rule is mended changes nothing and stands in no way; nor does one too many afterwards."""
    case = MENDED[name]
    rows_in, bad, left = case.rows
    before = opened(tmp_path, case.before)
    before.ingest([case.write(tmp_path)], case.source)
    version = before.table("bronze/events").version
    replayed(before, case.failure_class)
    assert before.table("bronze/events").version == version
    assert counts(status(before.settings)) == (rows_in, rows_in - bad, bad, 0, 1)

    after = opened(tmp_path, case.after)
    for _ in range(2):
        if quarantine.classes(after.lake):
            replayed(after, case.failure_class)
        assert counts(status(after.settings)) == (rows_in, rows_in - left, left, 0, 1)
    assert verify_home(after.settings)["problems"] == []
    numbers = after.rows("bronze/events", "SELECT list(DISTINCT row_number ORDER BY row_number) FROM t")[0][0]
    assert len(numbers) == rows_in - left
    if left:
        return
    # What came back is what the file would have given had the rule been right from the start.
    (tmp_path / "more").mkdir()
    other = opened(tmp_path / "more", case.after)
    other.ingest([case.write(tmp_path / "more")], case.source)
    query = "SELECT event_id, event_ts_us, row_number FROM t ORDER BY ALL"
    assert after.rows("bronze/events", query) == other.rows("bronze/events", query)


def test_what_comes_back_is_in_the_published_account(tmp_path: Path) -> None:
    """Through the command line: the setting is raised, the row returns, the star and the account have it."""
    home = opened(tmp_path, NARROW).settings.home.root
    file = write_rees46(tmp_path / "a.csv", rees46_rows())
    told = json.loads(run_cli("run", "--home", home, "--format", "rees46", "--source", file, "--json").out)
    assert counts(told) == (3, 2, 1, 0, 1)
    assert published(home, "SELECT rows_in, accepted, quarantined FROM fact_data_quality") == [(3, 2, 1)]
    too_early = run_cli("replay", "--home", home, "--class", "oversize")
    assert "Of 1 rows of the class oversize 0 were accepted. 1 are bad still" in too_early.out
    opened(tmp_path, WIDE)
    done = run_cli("replay", "--home", home, "--class", "oversize", "--json")
    assert json.loads(done.out)["replayed"] == {"class": "oversize", "rows": 1, "left": 0}
    assert counts(json.loads(done.out)) == (3, 3, 0, 0, 1), done.err
    assert published(home, "SELECT rows_in, accepted, quarantined FROM fact_data_quality") == [(3, 3, 0)]
    assert published(home, "SELECT sum(events)::INT FROM fact_session") == [(3,)]
    assert run_cli("verify", "--home", home).code == 0


def test_many_rows_that_stay_bad_are_not_a_refused_file(tmp_path: Path) -> None:
    """A file without a good row is of another format; rows in quarantine are bad by their nature."""
    chain = opened(tmp_path, NARROW)
    rows = [rees46_row(f"2024-05-01 10:00:{n:02d}", "view", "p", "u", brand="x" * 5000) for n in range(12)]
    chain.ingest([write_rees46(tmp_path / "a.csv", [rees46_rows()[0], *rows])], "rees46")
    replayed(chain, "oversize")
    assert counts(status(chain.settings)) == (13, 1, 12, 0, 1)


def test_two_replays_that_began_together_count_once(tmp_path: Path) -> None:
    """The second read the quarantine before the first took the rows out, and has another mapping."""
    file = tmp_path / "shop.csv"
    file.write_text(HEAD + GOOD + LATE, "utf-8")
    chain = Chain.at(tmp_path / "home")
    chain.ingest([file], "generic", mapping(tmp_path, "look: view_item"))
    both = []
    for number, events in enumerate(("look: view_item, grab: add_to_cart", "grab: add_to_wishlist")):
        (tmp_path / str(number)).mkdir()
        rules = mapping(tmp_path / str(number), events)
        both.append(quarantine.replays(chain.lake, chain.settings, "unplanned_event", "", rules))
    for deliveries in both:
        take(chain, deliveries)
    assert counts(status(chain.settings)) == (2, 2, 0, 0, 1)
    names = chain.rows("bronze/events", "SELECT event_name FROM t ORDER BY row_number")
    assert names == [("view_item",), ("add_to_cart",)]
    assert verify_home(chain.settings)["ok"]


def test_a_header_that_needs_quotes_comes_back_as_it_was(tmp_path: Path) -> None:
    """Column names may hold the delimiter."""
    head = 'visitor,at,what,"cost, ""net"""\n'
    file = tmp_path / "shop.csv"
    file.write_text(head + 'ada,2024-05-01,look,1\nbob,2024-05-02,grab,"2.5"\n', "utf-8")
    columns = "columns: {event_time: at, event_name: what, user_id: visitor, price: 'cost, \"net\"'}\n"
    rules = tmp_path / "m.yaml"
    chain = Chain.at(tmp_path / "home")
    rules.write_text(columns + "events: {look: view_item}\n")
    chain.ingest([file], "generic", rules)
    rules.write_text(columns + "events: {look: view_item, grab: add_to_cart}\n")
    take(chain, quarantine.replays(chain.lake, chain.settings, "unplanned_event", "", rules))
    assert chain.rows("bronze/events", "SELECT price::DOUBLE FROM t ORDER BY row_number") == [(1.0,), (2.5,)]


def test_a_row_that_was_cut_off_is_not_replayed(tmp_path: Path) -> None:
    """With a line end put after it, half a price would be a price."""
    file = tmp_path / "a.csv"
    file.write_text("\n".join((REES46_HEADER, *rees46_rows()[:2]))[:-1])
    chain = Chain.at(tmp_path / "home")
    chain.ingest([file], "rees46")
    with pytest.raises(UsageError, match="line end after the last row"):
        quarantine.replays(chain.lake, chain.settings, "unterminated_record")
    assert quarantine.classes(chain.lake)[0]["instead"]
    file.write_text("\n".join((REES46_HEADER, *rees46_rows()[:2], "")))
    chain.ingest([file], "rees46")
    assert counts(status(chain.settings)) == (4, 2, 1, 1, 2)
