"""What is wrong with a delivery is named by file, row and reason; the rest of the delivery goes on; nothing is lost."""

from __future__ import annotations

import errno
import gzip
import json
import os
import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from behavior_assets.ingestion import landing, records, sift
from behavior_assets.ingestion.ahead import Delivery
from behavior_assets.ingestion.canonical import BRONZE_EVENTS
from behavior_assets.ingestion.ingest import Ingestion, IngestReport
from behavior_assets.ingestion.reader import FileReading
from behavior_assets.ingestion.sources import load_source
from resources import parquet
from resources.engine import engine
from resources.errors import InputRefusedError, StorageError, UsageError
from resources.lake import Lake
from resources.settings import create_home
from tests.conftest import REES46_HEADER, Chain, Result, rees46_row, run_cli

# In every row, so that a message which quotes the data is found out.
PERSON = "geheim4711"


def row(second: int, price: str = "9.99", brand: str = "acme") -> str:
    """A sound row, told apart by its second."""
    return rees46_row(f"2024-05-01 10:{second // 60:02d}:{second % 60:02d}", "view", "p1", PERSON, price, brand=brand)


def file_of(*rows: str, header: str = REES46_HEADER, end: str = "\n", last: str | None = None) -> bytes:
    """The bytes of a file of rows."""
    text = "".join(line + end for line in (header, *rows))
    return (text if last is None else text.removesuffix(end) + last).encode()


GOOD = file_of(row(1), row(2))
FIELDS = REES46_HEADER.split(",")
BIG = "x" * 20_000_000

# File name: its bytes, and what the reason says besides the name.
REFUSED: dict[str, tuple[bytes, str]] = {
    "empty.csv": (b"", "empty"),
    "missing_column.csv": (file_of(header=",".join(FIELDS[:-1])), "column user_session is missing"),
    "extra_column.csv": (file_of(header=REES46_HEADER + ",color"), "column 'color' is not part of the format"),
    "renamed_column.csv": (file_of(header=REES46_HEADER.replace("brand", "make")), "column brand is missing"),
    "other_format.csv": (file_of(header="user,item,time"), "column event_time is missing"),
    "cut.csv.gz": (gzip.compress(GOOD * 2000)[:-200], "damaged or cut short"),
    "not_gzip.csv.gz": (GOOD, "damaged or cut short"),
    "empty.csv.gz": (gzip.compress(b""), "holds nothing"),
    "quote_at_field_start.csv": (file_of(row(1), row(2, brand='"acme'), row(3)), "row 2"),
    "quote_in_last_row.csv": (file_of(row(1), row(2), row(3, brand='"acme')), "row 3"),
    "not_an_event_file.pdf": (b"%PDF-1.4", "its name must end in"),
    "cr_only.csv": (file_of(row(1), row(2), end="\r"), "a carriage return that ends no line"),
    "cr_in_header.csv": (file_of(row(1), header=REES46_HEADER.replace(",brand", "\r,brand")), "LF or CRLF line ends"),
    "cut.parquet": (b"PAR1 and then nothing", "not a whole Parquet file"),
}

# File name: its bytes, and the quarantined row's number and failure class; the other rows are accepted.
QUARANTINED: dict[str, tuple[bytes, int, int, str]] = {
    "cut_in_last_row.csv": (file_of(row(4), row(5), row(6), last="")[:-20], 3, 3, "unterminated_record"),
    "cut_after_last_row.csv": (file_of(row(7), row(8), row(9), last=""), 3, 3, "unterminated_record"),
    "not_utf8.csv": (file_of(row(11), row(12, brand="ac"), row(13)).replace(b",ac,", b",ac\xff\xfe,"), 3, 2,
                     "invalid_encoding"),
    "field_of_20_mb.csv": (file_of(row(14), row(15, brand=BIG), row(16)), 3, 2, "oversize"),
    "too_few_fields.csv": (file_of(row(17), "2024-05-01 10:00:18 UTC,view", row(19)), 3, 2, "malformed"),
    "too_many_fields.csv": (file_of(row(20), row(21) + ",more", row(22)), 3, 2, "malformed"),
    "no_time.csv": (file_of(row(23), row(24).replace("2024", "20x4"), row(25)), 3, 2, "wrong_type"),
    "no_price.csv": (file_of(row(26), row(27, price="9,99".replace(",", "#")), row(28)), 3, 2, "wrong_type"),
    "nul_byte.csv": (file_of(row(29), row(30, brand="a\0b"), row(31)), 3, 2, "malformed"),
    "cr_in_field.csv": (file_of(row(61), row(62, brand="ac\rme"), row(63)), 3, 2, "malformed"),
    "mixed_and_bad.csv": (file_of(row(64), end="\r\n") + f"{row(65, brand='b' + chr(13))}\n{row(66)}\r\n".encode(),
                          3, 2, "malformed"),
    "far_future.csv": (file_of(row(32), row(33).replace("2024", "2094"), row(34)), 3, 2, "rule_breach"),
}

# File name: its bytes and its rows, all accepted.
ACCEPTED: dict[str, tuple[bytes, int]] = {
    "good.csv": (GOOD, 2),
    "header_only.csv": (file_of(), 0),
    "header_only_without_line_end.csv": (REES46_HEADER.encode(), 0),
    "crlf.csv": (file_of(row(35), row(36), end="\r\n"), 2),
    "bom.csv": (b"\xef\xbb\xbf" + file_of(row(37), row(38)), 2),
    "blank_line.csv": (file_of(row(39), "", row(40)), 2),
    "newline_in_field.csv": (file_of(row(41, brand='"ac\nme"'), row(42)), 2),
    "quoted_quote.csv": (file_of(row(43, brand='"ac""me"'), row(44)), 2),
    "other_column_order.csv": (file_of(",".join(reversed(row(45).split(","))), header=",".join(reversed(FIELDS))), 1),
    "packed.csv.zst": (pa.compress(file_of(row(46), row(47)), codec="zstd", asbytes=True), 2),
    "packed.csv.gz": (gzip.compress(file_of(row(48), row(49))), 2),
    "crlf_blank.csv": (file_of(row(50), "", row(51), end="\r\n"), 2),
    "crlf_then_lf.csv": (file_of(row(52), row(53), end="\r\n") + f"{row(54)}\n".encode(), 3),
    "lf_then_crlf.csv": (file_of(row(55), row(56)) + f"{row(57)}\r\n\r\n{row(58)}\n".encode(), 4),
    "cr_in_quotes.csv": (file_of(row(59, brand='"ac\rme"'), row(60), end="\r\n"), 2),
}


@dataclass
class Delivered:
    """One delivery of all those files, through the command line."""

    folder: Path
    chain: Chain
    result: Result
    told: dict[str, Any]


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Delivered:
    """Good, bad and half-bad files together in one folder and one run."""
    base = tmp_path_factory.mktemp("bad")
    folder = base / "files"
    folder.mkdir()
    everything = {n: c[0] for n, c in REFUSED.items()} | {n: c[0] for n, c in QUARANTINED.items()}
    for name, content in (everything | {n: c[0] for n, c in ACCEPTED.items()}).items():
        (folder / name).write_bytes(content)
    result = run_cli("run", "--home", base / "home", "--format", "rees46", "--source", folder, "--json")
    return Delivered(folder, Chain.at(base / "home"), result, json.loads(result.out))


def test_a_run_with_refused_files_ends_with_3_and_commits_the_others(delivered: Delivered) -> None:
    assert delivered.result.code == 3
    assert delivered.told["snapshot_is_new"]
    (source,) = delivered.told["sources"]
    accepted = sum(c[1] for c in ACCEPTED.values()) + sum(c[1] - 1 for c in QUARANTINED.values())
    assert source["files"] == len(ACCEPTED) + len(QUARANTINED)
    assert (source["accepted"], source["quarantined"]) == (accepted, len(QUARANTINED))
    assert source["rows_in"] == accepted + len(QUARANTINED)
    assert delivered.told["tables"]["silver/events"] == accepted


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_file_is_named_with_its_reason_and_kept(delivered: Delivered, name: str) -> None:
    content, reason = REFUSED[name]
    lines = [line for line in delivered.result.err.splitlines() if f"{name}: " in line]
    assert len(lines) == 1, delivered.result.err
    assert reason in lines[0]
    refused = delivered.chain.settings.home.refused
    assert (refused / name).read_bytes() == content
    assert reason in (refused / f"{name}.reason.txt").read_text()
    assert (delivered.folder / name).exists(), "a file outside of landing stays where it is"


@pytest.mark.parametrize("name", QUARANTINED)
def test_a_bad_row_is_quarantined_with_its_number_and_bytes(delivered: Delivered, name: str) -> None:
    content, _, number, failure = QUARANTINED[name]
    found = delivered.chain.rows(
        "quarantine/events", f"SELECT row_number, failure_class, raw FROM t WHERE source_file = '{name}'"
    )
    assert [(n, f) for n, f, _ in found] == [(number, failure)]
    assert found[0][2] == content.split(b"\n")[number]


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_good_file_is_accepted_whole(delivered: Delivered, name: str, tmp_path: Path) -> None:
    content, rows = ACCEPTED[name]
    (tmp_path / name).write_bytes(content)
    chain = Chain.at(tmp_path / "home")
    (entry,) = chain.ingest([tmp_path / name], "rees46").entries
    assert (entry.rows_in, entry.accepted, entry.quarantined, entry.duplicate) == (rows, rows, 0, 0)
    assert name not in delivered.result.err


def test_no_message_quotes_the_data(delivered: Delivered) -> None:
    """Messages, the log and Dagster's storage tell of files, rows and columns, never of values."""
    assert PERSON not in delivered.result.err + delivered.result.out
    messages = delivered.chain.rows("quarantine/events", "SELECT DISTINCT message FROM t")
    assert not [m for (m,) in messages if PERSON in m]
    home = delivered.chain.settings.home
    for folder in (home.dagster, home.root / "logs", home.exports):
        for file in folder.rglob("*"):
            assert file.is_dir() or PERSON.encode() not in file.read_bytes(), file


def test_values_with_quotes_and_line_breaks_arrive_as_they_are(delivered: Delivered) -> None:
    brands = delivered.chain.rows("bronze/events", "SELECT brand FROM t WHERE brand NOT IN ('acme', 'ac') ORDER BY 1")
    assert brands == [("ac\nme",), ("ac\rme",), ('ac"me',)]


def test_verify_finds_the_home_whole(delivered: Delivered) -> None:
    result = run_cli("verify", "--home", delivered.chain.settings.home.root)
    assert (result.code, result.err) == (0, "")


# What concerns the whole command


def test_a_wrong_format_name_is_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(GOOD)
    result = run_cli("run", "--home", tmp_path / "h", "--format", "reese46", "--source", tmp_path / "a.csv")
    assert result.code == 2
    assert "reese46" in result.err
    assert "rees46" in result.err.replace("reese46", "")


def test_sources_without_a_format_are_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(GOOD)
    result = run_cli("run", "--home", tmp_path / "h", "--source", tmp_path / "a.csv")
    assert (result.code, "--format" in result.err) == (2, True)


@pytest.mark.parametrize("make", [True, False], ids=["an empty folder", "a path that is not there"])
def test_nothing_to_read_is_refused(tmp_path: Path, make: bool) -> None:
    place = tmp_path / "nothing"
    if make:
        place.mkdir()
    result = run_cli("run", "--home", tmp_path / "h", "--format", "rees46", "--source", place)
    assert (result.code, str(place) in result.err) == (3, True)
    assert not (tmp_path / "h").exists()


# One file at a time, without Dagster


def ingest(tmp_path: Path, name: str, content: bytes, format_name: str = "rees46") -> tuple[Chain, IngestReport]:
    """Ingest one file into a home of its own."""
    (tmp_path / name).write_bytes(content)
    chain = Chain.at(tmp_path / "home")
    return chain, chain.ingest([tmp_path / name], format_name)


@pytest.mark.parametrize("position", range(0, 60, 3))
def test_one_stray_quote_anywhere_loses_nothing(tmp_path: Path, position: int) -> None:
    """A quote too many is put at any place of the second row: refused whole, or every row accounted for."""
    rows = [row(s) for s in range(1, 7)]
    rows[1] = rows[1][:position] + '"' + rows[1][position:]
    chain, report = ingest(tmp_path, "stray.csv", file_of(*rows))
    if report.refused:
        assert "stray.csv" in report.refused[0][1]
        assert "row" in report.refused[0][1]
        bronze = chain.settings.home.lake / "bronze/events"
        assert not bronze.exists() or chain.rows("bronze/events", "FROM t") == []
    else:
        (entry,) = report.entries
        assert (entry.rows_in, entry.accepted, entry.quarantined) == (6, 5, 1)
        assert chain.rows("quarantine/events", "SELECT row_number, raw FROM t") == [(2, rows[1].encode())]


@pytest.mark.parametrize("size", [1, 3, 7, 2**20])
def test_line_ends_may_change_from_row_to_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Files glued together: every row counts, and one with a line break of its own keeps it; wherever blocks end."""
    monkeypatch.setattr(records, "BLOCK", size)
    brands = ["plain", '"a\r\nb"', '"c\nd"', '"e\rf"', "last"]
    rows = [row(n, brand=b) + ("\r\n" if n % 2 else "\n") for n, b in enumerate(brands)]
    chain, report = ingest(tmp_path, "glued.csv", f"{REES46_HEADER}\r\n{''.join(rows)}\r\n\n".encode())
    (entry,) = report.entries
    assert (entry.rows_in, entry.accepted) == (5, 5)
    assert {b for (b,) in chain.rows("bronze/events", "SELECT brand FROM t")} == {b.strip('"') for b in brands}


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl"])
def test_a_file_without_line_ends_of_ours_is_refused(tmp_path: Path, name: str) -> None:
    """CR alone, of a format without a header, where it would all be one row."""
    (tmp_path / name).write_bytes(b"1,10,100,pv,1511544070\r2,10,100,pv,1511544080\r")
    report = Chain.at(tmp_path / "home").ingest([tmp_path / name], "taobao" if name.endswith("csv") else "ga4")
    assert [reason.split(": ")[1].split(".")[0] for _, reason in report.refused] == ["its lines end in CR alone"]


def test_random_damage_never_loses_a_row(tmp_path: Path) -> None:
    """Bytes flipped at random: every file is refused or balances, and what is accepted was there."""
    dice = random.Random(5)  # noqa: S311 - no secret
    chain = Chain.at(tmp_path / "home")
    files = []
    for number in range(120):
        data = bytearray(file_of(*(row(s, brand=f"b{number}") for s in range(20))))
        for _ in range(dice.randint(1, 3)):
            data[dice.randrange(len(REES46_HEADER) + 1, len(data))] = dice.choice(b'",\n\r\0\xff1a ')
        file = tmp_path / f"damaged{number:03d}.csv"
        file.write_bytes(data)
        files.append(file)
    report = chain.ingest(files, "rees46")
    assert len(report.entries) + len(report.refused) == len(files)
    assert all(e.balanced() for e in report.entries)
    assert all(Path(f).name in reason and PERSON not in reason for f, reason in report.refused)
    assert sum(e.quarantined for e in report.entries) == chain.rows("quarantine/events", "SELECT count(*) FROM t")[0][0]
    assert sum(e.events for e in report.entries) == chain.rows("bronze/events", "SELECT count(*) FROM t")[0][0]
    for entry in report.entries:
        lines = (tmp_path / entry.file_name).read_bytes().split(b"\n")
        kept = chain.rows("quarantine/events", f"SELECT row_number, raw FROM t WHERE source_file = '{entry.file_name}'")
        records = [line.removesuffix(b"\r") for line in lines[1:] if line.strip(b"\r")]
        if b'"' not in b"".join(lines):  # with quotes a record may have several lines
            assert entry.rows_in == len(records)
            assert all(raw == records[number - 1] for number, raw in kept)


def test_the_same_content_under_a_new_name_is_a_repeated_file(tmp_path: Path) -> None:
    chain, first = ingest(tmp_path, "monday.csv", GOOD)
    (tmp_path / "again.csv").write_bytes(GOOD)
    second = chain.ingest([tmp_path / "again.csv"], "rees46")
    assert (len(first.entries), second.entries, second.repeated) == (1, [], ["again.csv"])


def test_the_same_rows_in_another_file_are_duplicates(tmp_path: Path) -> None:
    chain, _ = ingest(tmp_path, "monday.csv", GOOD)
    (tmp_path / "more.csv").write_bytes(file_of(row(1), row(2), row(3), row(3)))
    (entry,) = chain.ingest([tmp_path / "more.csv"], "rees46").entries
    assert (entry.rows_in, entry.accepted, entry.duplicate) == (4, 1, 3)


def test_a_broken_json_line_is_quarantined(tmp_path: Path) -> None:
    names = REES46_HEADER.split(",")
    good = [json.dumps(dict(zip(names, row(s).split(","), strict=True))) for s in (1, 2)]
    lines = [good[0], '{"event_time": "2024', "[1, 2]", "", good[1]]
    chain, report = ingest(tmp_path, "lines.jsonl", ("\n".join(lines)).encode())
    (entry,) = report.entries
    assert (entry.rows_in, entry.accepted, entry.quarantined) == (4, 2, 2)
    found = chain.rows("quarantine/events", "SELECT row_number, raw FROM t ORDER BY 1")
    assert found == [(2, lines[1].encode()), (3, lines[2].encode())]


def test_refused_files_of_one_name_are_all_kept(tmp_path: Path) -> None:
    """Two deliveries called events.csv, both bad: neither takes the other's place."""
    chain = Chain.at(tmp_path / "home")
    inbox = chain.settings.home.landing / "rees46"
    inbox.mkdir()
    for content in (b"a,b\n1,2\n", b"c,d\n3,4\n"):
        (inbox / "events.csv").write_bytes(content)
        chain.ingest([inbox / "events.csv"], "rees46")
    kept = {p.read_bytes() for p in chain.settings.home.refused.iterdir() if not p.name.endswith(".reason.txt")}
    assert kept == {b"a,b\n1,2\n", b"c,d\n3,4\n"}
    assert not list(inbox.iterdir())


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "real.csv").write_bytes(GOOD)
    (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
    report = Chain.at(tmp_path / "home").ingest([tmp_path / "link.csv"], "rees46")
    assert "regular files" in report.refused[0][1]


def test_a_generic_format_needs_a_mapping() -> None:
    from behavior_assets.ingestion.sources import load_source

    with pytest.raises(UsageError, match="--mapping"):
        load_source("generic")


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    (tmp_path / "bomb.csv.gz").write_bytes(gzip.compress(b"0" * 10_000_000))
    with pytest.raises(InputRefusedError, match="unpacks to more than"):
        landing.stage(tmp_path / "bomb.csv.gz", "rees46", tmp_path / "staging", 1_000_000)


# A full disk


@pytest.mark.parametrize("writes", [0, 30])
def test_after_a_full_disk_the_same_command_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    """The disk refuses at the n-th write of a data file; what was committed stays, and a rerun completes it."""
    (tmp_path / "a.csv").write_bytes(GOOD)
    chain, left = Chain.at(tmp_path / "home"), [writes]
    write = parquet._HashingFile.write

    def refuse_later(file: parquet._HashingFile, data: bytes) -> int:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, data)

    with monkeypatch.context() as patch:
        patch.setattr(parquet._HashingFile, "write", refuse_later)
        with pytest.raises(StorageError, match="free some space"):
            _whole_chain(chain, tmp_path / "a.csv")
    _whole_chain(chain, tmp_path / "a.csv")
    untouched = Chain.at(tmp_path / "other")
    key = tmp_path / "other" / "keys" / "pseudonym.key"
    key.parent.mkdir(mode=0o700)
    key.write_text(chain.settings.key_path.read_text())
    key.chmod(0o600)
    _whole_chain(untouched, tmp_path / "a.csv")
    assert chain.hashes() == untouched.hashes()


def _whole_chain(chain: Chain, file: Path) -> None:
    chain.ingest([file], "rees46")
    chain.build()


def test_a_full_disk_is_told_by_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv").write_bytes(GOOD)

    def refuse(_file: parquet._HashingFile, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    command = ("run", "--home", tmp_path / "h", "--format", "rees46", "--source", tmp_path / "a.csv")
    with monkeypatch.context() as patch:
        patch.setattr(parquet._HashingFile, "write", refuse)
        broken = run_cli(*command)
    assert (broken.code, "free some space" in broken.err) == (1, True)
    assert run_cli(*command).code == 0


@pytest.mark.parametrize("bad_rows", [2, 30])
def test_a_file_refused_half_way_takes_no_other_rows_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad_rows: int
) -> None:
    """Rows of the files before it stay, its own go, whether it was held (2 rows) or streamed in chunks (30)."""
    (tmp_path / "good.csv").write_bytes(GOOD)
    (tmp_path / "bad.csv").write_bytes(file_of(*(row(10 + n) for n in range(bad_rows))))
    (tmp_path / "late.csv").write_bytes(file_of(row(50)))
    settings = replace(create_home(tmp_path / "home"), chunk_rows=8)
    lake, source = Lake(settings.home.lake), load_source("rees46")
    whole = sift.balance

    def refuse(reading: FileReading, *found: Any) -> None:
        if reading.staged.name == "bad.csv":
            message = "bad.csv: refused at its end"
            raise InputRefusedError(message)
        whole(reading, *found)

    monkeypatch.setattr(sift, "balance", refuse)
    with engine(settings) as backend:
        deliveries = [Delivery(tmp_path / n, source) for n in ("good.csv", "bad.csv", "late.csv")]
        report = Ingestion(lake, settings, backend.con).run(deliveries)
    assert [name for name, _ in report.refused] == [str(tmp_path / "bad.csv")]
    assert [(e.file_name, e.accepted) for e in report.entries] == [("good.csv", 2), ("late.csv", 1)]
    assert lake.table(BRONZE_EVENTS).rows() == 3


@pytest.mark.parametrize(("form", "names"), [("ga4", ("a.jsonl", "b.txt")), ("rees46", ("a.csv", "b.parquet"))])
def test_the_same_bytes_under_a_name_of_another_kind_are_a_repeated_file(
    tmp_path: Path, form: str, names: tuple[str, str]
) -> None:
    """The second cannot be read as its name says; the first keeps its rows."""
    event = {"event_timestamp": "1714557600000000", "event_name": "view_item", "user_pseudo_id": "u1"}
    content = GOOD if form == "rees46" else json.dumps(event).encode() + b"\n"
    for name in names:
        (tmp_path / name).write_bytes(content)
    report = Chain.at(tmp_path / "home").ingest([tmp_path / n for n in names], form)
    assert (report.repeated, report.refused) == ([names[1]], [])
    assert [(e.file_name, e.quarantined, e.balanced()) for e in report.entries] == [(names[0], 0, True)]


def test_landed_generic_files_without_a_mapping_wait_and_hold_no_others_up(tmp_path: Path) -> None:
    chain = Chain.at(tmp_path / "home")
    landed = {f: chain.settings.home.landing / f / "a.csv" for f in ("generic", "rees46")}
    for file in landed.values():
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(GOOD)
        os.utime(file, (1, 1))
    result = run_cli("run", "--home", tmp_path / "home")
    assert (result.code, "mapping.yaml" in result.err) == (3, True), result.err
    assert [f for f, p in landed.items() if p.exists()] == ["generic"]
    assert chain.rows("bronze/events", "SELECT count(*) FROM t") == [(2,)]
    (landed["generic"].parent / "mapping.yaml").write_text("no: mapping\n")
    assert run_cli("run", "--home", tmp_path / "home").code == 3
    assert landed["generic"].exists()


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_record_of_many_blocks_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: bytes) -> None:
    """By its number and by a place in it, wherever the blocks are cut."""
    wanted = [b"first", b'"many\nlines' + b"x" * 100 + b'"', b"third", b"last" * 10]
    (tmp_path / "a.csv").write_bytes(end.join([b"header", *wanted]))
    places = [len(end.join([b"header", *wanted[:n]])) + len(end) for n in range(4)]
    for block in (1, 2, 7, 64, 1000):
        monkeypatch.setattr(records, "BLOCK", block)
        found = records.locate(tmp_path / "a.csv", {1, 2, 3, 4}, set(), header=True)
        assert found == dict(enumerate(wanted, 1))
        for number, place in enumerate(places, 1):
            by_place = records.locate(tmp_path / "a.csv", set(), {place}, header=True)
            assert by_place == {number: wanted[number - 1]}
