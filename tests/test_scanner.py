"""P2: whatever place of the home an id is planted in, the scanner finds it; and it finds nobody who is not there."""

from __future__ import annotations

import base64
import bz2
import gzip
import hashlib
import html
import io
import json
import lzma
import os
import pickle
import sqlite3
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import duckdb
import numpy as np
import openpyxl
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from behavior_assets.privacy.scanner import Find, Needles, scan
from behavior_assets.privacy.scanner.needles import Grade, grade
from behavior_assets.privacy.scanner.streams import CHUNK

EMAIL = "jane.doe+shop@example.com"
PSEUDONYM = "3f9a0c57d1e84b6289ab41c0de7753f1"
SESSION = "f0960363-f9eb-402a-aff6-d22749093f12"
CUSTOMER = "17850"  # a number of five digits, as a small shop gives them
MEMBER = "512100058"  # of nine digits
STRONG = {"email": EMAIL, "pseudonym": PSEUDONYM, "session": SESSION}
KEY = 0x0ABCDEF123456789
SEVERAL = 1000


def found(home: Path, *texts: str, keys: tuple[int, ...] = ()) -> list[Find]:
    """What a scan for these finds. What it says of it never holds an id."""
    finds = scan(home, Needles(frozenset(texts), frozenset(keys)))
    for text in (t for t in (*texts, *map(str, keys)) if len(t) > 1):  # a count may be 5 as well
        assert text.lower() not in "\n".join(map(str, finds)).lower()
    return finds


def noise(size: int) -> bytes:
    """Bytes that look like anything and hold nobody."""
    return np.random.default_rng(7).integers(0, 256, size, dtype=np.uint8).tobytes()


# Places: each is given a home and an id, and plants it once.
Plant = Callable[[Path, str], object]
PLACES: dict[str, Plant] = {}


def place(name: str) -> Callable[[Plant], Plant]:
    """Register a way to plant an id."""
    def register(plant: Plant) -> Plant:
        PLACES[name] = plant
        return plant

    return register


def in_bytes(name: str, write: Callable[[str], bytes]) -> None:
    """Register a spelling of the id, in the middle of bytes that mean nothing."""
    PLACES[name] = lambda home, who: (home / "blob").write_bytes(noise(3001) + b"\0" + write(who) + b"\0" + noise(99))


in_bytes("plain bytes", str.encode)
in_bytes("upper case", lambda who: who.upper().encode())
in_bytes("base64, first offset", lambda who: base64.b64encode(b"aaa" + who.encode() + b"bbb"))
in_bytes("base64, second offset", lambda who: base64.b64encode(b"a" + who.encode() + b"bbb"))
in_bytes("base64, third offset", lambda who: base64.b64encode(b"aa" + who.encode() + b"bbb"))
in_bytes("base64 for URLs", lambda who: base64.urlsafe_b64encode(b"???" + who.encode()))
in_bytes("URL-encoded, every sign", lambda who: b"".join(b"%%%02x" % b for b in who.encode()))
in_bytes("URL-encoded, one sign", lambda who: who.replace(who[4], f"%{ord(who[4]):02X}").encode())
in_bytes("URL-encoded twice", lambda who: quote("".join(f"%{ord(c):02X}" for c in who)).encode())
in_bytes("JSON-escaped", lambda who: "".join(f"\\u{ord(c):04x}" for c in who).encode())
in_bytes("JSON in JSON", lambda who: json.dumps(json.dumps(f"//x/?u={quote(who)}é")).replace("/", "\\/").encode())
in_bytes("HTML-escaped", lambda who: html.escape("".join(f"&#{ord(c)};" for c in who)).replace("&amp;", "&").encode())
in_bytes("UTF-16", lambda who: who.encode("utf-16-le"))
in_bytes("UTF-16 of the other end", lambda who: who.encode("utf-16-be"))
in_bytes("UTF-32", lambda who: who.encode("utf-32-le"))
in_bytes("hex", lambda who: who.encode().hex().encode())
in_bytes("hex in upper case", lambda who: who.encode().hex().upper().encode())


@place("a hidden folder")
def _(home: Path, who: str) -> None:
    (home / ".hidden" / "deep").mkdir(parents=True)
    (home / ".hidden" / "deep" / "a.txt").write_text(f"said {who}.")


@place("a file whose name begins with a dot")
def _(home: Path, who: str) -> None:
    (home / ".draft").write_text(who)


@place("the name of a file")
def _(home: Path, who: str) -> None:
    (home / f"export-{who}.csv").touch()


@place("the name of a folder, URL-encoded")
def _(home: Path, who: str) -> None:
    (home / f"user_id={quote(who, safe='').replace('-', '%2D')}").mkdir()


@place("the target of a link")
def _(home: Path, who: str) -> None:
    (home / "link").symlink_to(f"nowhere/{who}")


@place("an extended attribute")
def _(home: Path, who: str) -> None:
    (home / "a.txt").touch()
    try:
        os.setxattr(home / "a.txt", "user.origin", who.encode())
    except (AttributeError, OSError):
        pytest.skip("no extended attributes here")


@place("the border of two chunks")
def _(home: Path, who: str) -> None:
    (home / "long.txt").write_bytes(b"." * (CHUNK - len(who) // 2) + who.encode() + b"." * CHUNK)


@place("the first and the last bytes of a long file")
def _(home: Path, who: str) -> None:
    (home / "long.txt").write_bytes(b"." * (2 * CHUNK) + who.encode())


@place("a URL in a log")
def _(home: Path, who: str) -> None:
    (home / "logs").mkdir()
    (home / "logs" / "run.log").write_text(f"12:00 ERROR GET https://shop.example/?user_id={quote(who)}&a=1 failed\n")


@place("the statistics of a Delta commit")
def _(home: Path, who: str) -> None:
    (home / "t" / "_delta_log").mkdir(parents=True)
    stats = json.dumps({"numRecords": 1, "minValues": {"user_id": who}, "maxValues": {"user_id": who}})
    (home / "t" / "_delta_log" / f"{0:020}.json").write_text(json.dumps({"add": {"path": "a", "stats": stats}}))


@place("the predicate in a Delta commit")
def _(home: Path, who: str) -> None:
    (home / "c.json").write_text(json.dumps({"commitInfo": {"predicate": f"[\"user_id = '{who}'\"]"}}))


def people(who: str) -> pa.Table:
    """A thousand customers, one of them the subject."""
    return pa.table({"n": range(SEVERAL), "user_id": [f"someone-{n}" for n in range(SEVERAL - 1)] + [who]})


@place("a Parquet page in dictionary encoding")
def _(home: Path, who: str) -> None:
    pq.write_table(people(who), home / "a.parquet", compression="zstd", write_statistics=False)


@place("a Parquet page in plain encoding")
def _(home: Path, who: str) -> None:
    pq.write_table(people(who), home / "a.parquet", compression="gzip", use_dictionary=False, write_statistics=False)


@place("a Parquet page in delta encoding, compressed with brotli")
def _(home: Path, who: str) -> None:
    pq.write_table(people(who), home / "a.parquet", compression="brotli", use_dictionary=False, write_statistics=False,
                   column_encoding={"n": "DELTA_BINARY_PACKED", "user_id": "DELTA_BYTE_ARRAY"})  # fmt: skip


@place("the last of many row groups of Parquet")
def _(home: Path, who: str) -> None:
    pq.write_table(people(who), home / "a.parquet", row_group_size=100, write_statistics=False)


@place("the footer of a Parquet file")
def _(home: Path, who: str) -> None:
    pq.write_table(pa.table({"a": [1]}).replace_schema_metadata({"predicate": f"user_id={who}"}), home / "a.parquet")


@place("a column of bytes")
def _(home: Path, who: str) -> None:
    pq.write_table(pa.table({"user_id": pa.array([None, who.encode()])}), home / "a.parquet", compression="zstd",
                   write_statistics=False)  # fmt: skip


@place("a nested column of a checkpoint")
def _(home: Path, who: str) -> None:
    add = {"path": "a", "partitionValues": [("day", "1")], "stats_parsed": {"minValues": {"user_id": who}}}
    kind = pa.struct({"path": pa.string(), "partitionValues": pa.map_(pa.string(), pa.string()),
                      "stats_parsed": pa.struct({"minValues": pa.struct({"user_id": pa.string()})})})  # fmt: skip
    pq.write_table(pa.table({"add": pa.array([None, add], kind)}), home / "1.checkpoint.parquet", compression="zstd",
                   write_statistics=False)  # fmt: skip


@place("a list of structures")
def _(home: Path, who: str) -> None:
    rows = pa.array([[], [{"user_id": "x" * 99}, {"user_id": who}]], pa.list_(pa.struct({"user_id": pa.string()})))
    pq.write_table(pa.table({"items": rows}), home / "a.parquet", compression="zstd", write_statistics=False)


@place("a value of a map")
def _(home: Path, who: str) -> None:
    rows = pa.array([[("user", who)]], pa.map_(pa.string(), pa.string()))
    pq.write_table(pa.table({"customer": rows}), home / "a.parquet", compression="zstd", write_statistics=False)


@place("a URL in a cell")
def _(home: Path, who: str) -> None:
    url = f"https://shop.example/a?b=1&user_id={quote(who).replace('-', '%2d')}#x"
    pq.write_table(pa.table({"url": [url]}), home / "a.parquet", compression="zstd", write_statistics=False)


@place("a file of Arrow")
def _(home: Path, who: str) -> None:
    pa.feather.write_feather(people(who), home / "a.feather", compression="zstd")


@place("a stream of Arrow")
def _(home: Path, who: str) -> None:
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.ipc.new_stream(home / "a.arrows", people(who).schema, options=options) as stream:
        stream.write_table(people(who))


@place("a row of SQLite")
def _(home: Path, who: str) -> None:
    with sqlite3.connect(home / "a.db") as con:
        con.execute("CREATE TABLE t (user_id TEXT)")
        con.execute("INSERT INTO t VALUES (?)", [who])
    con.close()


@place("an event of Dagster's log, packed")
def _(home: Path, who: str) -> None:
    with sqlite3.connect(home / "runs.db") as con:
        con.execute("CREATE TABLE event_logs (id INTEGER PRIMARY KEY, event TEXT)")
        message = json.dumps({"event": {"message": json.dumps({"user_id": who})}})
        con.executemany("INSERT INTO event_logs (event) VALUES (?)", [["{}"]] * SEVERAL + [[message]])
    con.close()


@place("a row of SQLite that is only in its log")
def _(home: Path, who: str) -> None:
    con = sqlite3.connect(home / "live.db")
    con.execute("PRAGMA journal_mode = wal")
    con.execute("CREATE TABLE t (user_id TEXT)")
    con.execute("INSERT INTO t VALUES (?)", [who])
    con.commit()
    for name in ("live.db", "live.db-wal"):  # as a process leaves it that is killed
        (home / f"killed{name[4:]}").write_bytes((home / name).read_bytes())
    con.close()
    (home / "live.db").unlink()
    assert (home / "killed.db-wal").stat().st_size


@place("a table of DuckDB")
def _(home: Path, who: str) -> None:
    with duckdb.connect(str(home / "a.duckdb")) as con:
        con.execute("CREATE SCHEMA s")
        con.execute("CREATE TABLE s.t AS SELECT i, 'someone ' || i AS user_id FROM range(10_000) r(i)")
        con.execute("INSERT INTO s.t VALUES (1, ?)", [who])


@place("a table of DuckDB that is only in its log")
def _(home: Path, who: str) -> None:
    con = duckdb.connect(str(home / "live.duckdb"))
    con.execute("SET checkpoint_threshold = '1GB'")
    con.execute("CREATE TABLE t (user_id VARCHAR)")
    con.execute("INSERT INTO t VALUES (?)", [who])
    for name in ("live.duckdb", "live.duckdb.wal"):
        (home / f"killed{name[4:]}").write_bytes((home / name).read_bytes())
    con.close()
    (home / "live.duckdb").unlink()


@place("the text of a view of DuckDB")
def _(home: Path, who: str) -> None:
    with duckdb.connect(str(home / "a.duckdb")) as con:
        con.execute(f"CREATE VIEW v AS SELECT '{who}' AS user_id")


@place("a pickle")
def _(home: Path, who: str) -> None:
    (home / "a.pkl").write_bytes(pickle.dumps({"n": 1, "user_id": who}))


@place("a pickle of the oldest kind")
def _(home: Path, who: str) -> None:
    (home / "a.pkl").write_bytes(pickle.dumps({"user_id": who}, protocol=0))


@place("a packed pickle, as joblib writes it")
def _(home: Path, who: str) -> None:
    (home / "a.joblib").write_bytes(zlib.compress(pickle.dumps({"user_id": who})))


@place("an array of texts")
def _(home: Path, who: str) -> None:
    np.save(home / "a.npy", np.array(["user_id", f"user_id={who}"]))


@place("a packed array of numpy")
def _(home: Path, who: str) -> None:
    np.savez_compressed(home / "a.npz", ids=np.array([f"user_id={who}".encode()]))


@place("a cell of a workbook")
def _(home: Path, who: str) -> None:
    book = openpyxl.Workbook()
    book.active.append(["a", f"user_id={who}"])  # type: ignore[union-attr]
    book.save(home / "a.xlsx")


CSV = "time,product_id,user_id,price\n2024-01-01 00:00:00,1,{},9.99\n"
PACKED = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress, "zlib": zlib.compress,
          "zstd": lambda data: pa.compress(data, codec="zstd", asbytes=True),
          "gzip twice": lambda data: gzip.compress(gzip.compress(data)),
          "two gzips, one after the other": lambda data: gzip.compress(b"time,product_id,user_id,price\n" * 9) +
          gzip.compress(data)}  # fmt: skip
for kind, pack in PACKED.items():
    PLACES[f"a delivery packed by {kind}"] = lambda home, who, pack=pack: (  # type: ignore[misc]
        home / "a.csv.packed").write_bytes(pack(CSV.format(who).encode()))


@place("a delivery as it came")
def _(home: Path, who: str) -> None:
    (home / "a.csv").write_text(CSV.format(who))


@place("a delivery in UTF-16")
def _(home: Path, who: str) -> None:
    (home / "a.csv").write_bytes(CSV.format(who).encode("utf-16"))


@place("a line of JSON")
def _(home: Path, who: str) -> None:
    (home / "a.jsonl").write_text('{"user_id": "a"}\n{"event": {"user_id": "' + who + '"}}\n')


@place("gzip in zip")
def _(home: Path, who: str) -> None:
    with zipfile.ZipFile(home / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("b/a.csv.gz", gzip.compress(CSV.format(who).encode()))


@place("Parquet in tar in gzip")
def _(home: Path, who: str) -> None:
    pq.write_table(people(who), inner := io.BytesIO(), compression="zstd", write_statistics=False)
    with tarfile.open(home / "a.tar.gz", "w:gz") as archive:
        archive.addfile(member := tarfile.TarInfo("a.parquet"))
        member.size = len(inner.getvalue())
        archive.addfile(member, io.BytesIO(inner.getvalue()))


@place("SQLite in zip")
def _(home: Path, who: str) -> None:
    PLACES["a row of SQLite"](home, who)
    with zipfile.ZipFile(home / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(home / "a.db")
    (home / "a.db").unlink()


@place("the name of a member of zip")
def _(home: Path, who: str) -> None:
    with zipfile.ZipFile(home / "a.zip", "w") as archive:
        archive.writestr(f"users/{who}.txt", "")


@place("the quarantine: a record beside the header of its file")
def _(home: Path, who: str) -> None:
    header, row = CSV.format(who).encode().splitlines()
    pq.write_table(pa.table({"header": [b"a,b", header], "raw": [b"1,2", row]}), home / "a.parquet", compression="zstd",
                   write_statistics=False)  # fmt: skip


@pytest.fixture
def at(tmp_path: Path) -> Path:
    """A home to plant in."""
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.mark.parametrize("who", STRONG.values(), ids=STRONG)
@pytest.mark.parametrize("where", PLACES)
def test_an_id_is_found_wherever_it_is_planted(at: Path, where: str, who: str) -> None:
    PLACES[where](at, who)
    finds = found(at, who, "nobody@shop.example")
    assert {f.needle for f in finds} == {f"id {sorted((who, 'nobody@shop.example')).index(who) + 1}"}, finds
    assert not [f for f in finds if f.unread]


# A number says nothing by itself: of these places none tells a name, or the spelling hides it.
NOT_WEAK = {
    "a file whose name begins with a dot", "the first and the last bytes of a long file", "the border of two chunks",
    "a hidden folder", "the name of a file", "the target of a link", "an extended attribute", "JSON in JSON",
    "URL-encoded, one sign", "an array of texts", "a pickle of the oldest kind", "a value of a map",
    "the text of a view of DuckDB",
}  # fmt: skip
BLOBS = {"plain bytes", "upper case", "UTF-16", "UTF-32", "hex", "JSON-escaped", "HTML-escaped"}
WEAK = [p for p in PLACES if p not in NOT_WEAK | BLOBS and not p.startswith(("base64", "URL-", "hex", "UTF-"))]


@pytest.mark.parametrize("who", [CUSTOMER, MEMBER])
@pytest.mark.parametrize("where", WEAK)
def test_a_number_is_found_where_a_name_tells_whose_it_is(at: Path, where: str, who: str) -> None:
    PLACES[where](at, who)
    assert {f.needle for f in found(at, who)} == {"id 1"}


def test_a_row_that_was_deleted_from_sqlite_is_found_in_its_free_pages(at: Path) -> None:
    con = sqlite3.connect(at / "a.db", isolation_level=None)
    con.execute("PRAGMA secure_delete = off")
    con.execute("CREATE TABLE t (a TEXT)")
    con.executemany("INSERT INTO t VALUES (?)", [[EMAIL], ["x" * 9000]])
    con.execute("DELETE FROM t")
    assert con.execute("SELECT count(*) FROM t").fetchone() == (0,)
    con.close()
    (find,) = found(at, EMAIL)
    assert (find.place, find.how) == ("content", "bytes")


KEYS: dict[str, Plant] = {
    "a Parquet column": lambda home, _: pq.write_table(
        pa.table({"k": [1, KEY, KEY]}), home / "a.parquet", write_statistics=False, use_dictionary=False,
        column_encoding={"k": "DELTA_BINARY_PACKED"}),
    "a dictionary": lambda home, _: pq.write_table(
        pa.table({"k": [1, KEY, KEY]}), home / "a.parquet", write_statistics=False, compression="zstd"),
    "a nested column": lambda home, _: pq.write_table(pa.table({"k": [[1, KEY]]}), home / "a.parquet"),
    "a column of fractions, as pandas makes of one with gaps": lambda home, _: pq.write_table(
        pa.table({"k": [1.5, float(KEY), None]}), home / "a.parquet", write_statistics=False, use_dictionary=False,
        column_encoding="BYTE_STREAM_SPLIT"),
    "a column of texts": lambda home, _: pq.write_table(pa.table({"k": [str(KEY)]}), home / "a.parquet"),
    "statistics of Parquet": lambda home, _: pq.write_table(pa.table({"k": [KEY]}), home / "a.parquet"),
    "a CSV": lambda home, _: (home / "a.csv").write_text(f"a,b\n1,{KEY}\n"),
    "hex": lambda home, _: (home / "a.txt").write_text(f"<{KEY:X}>"),
    "bytes": lambda home, _: (home / "a.bin").write_bytes(noise(77) + struct.pack("<q", KEY) + noise(5)),
    "bytes of the other end": lambda home, _: (home / "a.bin").write_bytes(noise(6) + struct.pack(">q", KEY)),
    "numpy": lambda home, _: np.save(home / "a.npy", np.array([1, KEY])),
    "numpy, packed": lambda home, _: np.savez_compressed(home / "a.npz", k=np.array([1, KEY])),
    "a pickle": lambda home, _: (home / "a.pkl").write_bytes(pickle.dumps([KEY])),
    "a row of DuckDB": lambda home, _: duckdb.connect(str(home / "a.duckdb")).execute(
        f"CREATE TABLE t AS SELECT CASE i WHEN 7 THEN {KEY} ELSE i END AS k FROM range(99) r(i)").close(),
    "Arrow": lambda home, _: pa.feather.write_feather(pa.table({"k": [KEY]}), str(home / "a.feather")),
}  # fmt: skip


@pytest.mark.parametrize("where", KEYS)
def test_a_key_is_found_as_a_number_too(at: Path, where: str) -> None:
    KEYS[where](at, "")
    assert {f.needle for f in found(at, EMAIL, keys=(KEY, 5))} == {"key 2"}
    assert not found(at, EMAIL, keys=(KEY + 2**20,))


# The other direction


OTHERS: dict[str, Plant] = {
    "a product": lambda home, who: (home / "a.csv").write_text(CSV.format("x").replace(",1,", f",{who},")),
    "a price": lambda home, who: (home / "a.csv").write_text(CSV.format("x").replace("9.99", f"{who}.99")),
    "a product in JSON": lambda home, who: (home / "a.json").write_text(
        json.dumps({"user_id": "1", "items": [{"product_id": who, "quantity": int(who)}], "size": int(who)})),
    "a product in Parquet": lambda home, who: pq.write_table(
        pa.table({"product_id": [who], "quantity": [int(who)], "user_id": ["1"]}), home / "a.parquet"),
    "short numbers beside a key": lambda home, _: pq.write_table(
        pa.table({"user_id": pa.array(range(-128, 128), pa.int8()), "k": range(256)}), home / "a.parquet"),
    "a product in SQLite": lambda home, who: sqlite3.connect(home / "a.db").executescript(
        f"CREATE TABLE t (product_id, price); INSERT INTO t VALUES ('{who}', {who})").close(),
    "a part of a longer number": lambda home, who: (home / "a.csv").write_text(CSV.format(f"1{who}")),
    "a part of a fraction": lambda home, who: (home / "a.csv").write_text(CSV.format(f"0.{who}")),
    "a part of a word": lambda home, who: (home / "a.txt").write_text(f"user a{who} user {who}b user_id=0x{who}"),
    "a part of a UUID": lambda home, who: (home / "a.txt").write_text(f"user {who:0>8}-f9eb-402a-aff6-d22749093f12"),
    "a count in a log": lambda home, who: (home / "a.log").write_text(f"rows: {who}, size={who}, {who} in {who} s\n"),
    "the name of a data file": lambda home, who: (home / f"2024-01-01-{who}ab.parquet").touch(),
}  # fmt: skip


@pytest.mark.parametrize("where", OTHERS)
def test_a_number_of_a_thing_is_nobody(at: Path, where: str) -> None:
    OTHERS[where](at, CUSTOMER)
    assert not found(at, CUSTOMER, keys=(KEY,))


@pytest.mark.parametrize("where", [name for name in OTHERS if name.startswith(("a part", "a product", "a price"))])
def test_a_longer_number_of_a_thing_is_nobody(at: Path, where: str) -> None:
    """It may stand without a name, but not within another number or word, nor under the name of a thing."""
    OTHERS[where](at, MEMBER)
    assert not found(at, MEMBER)


def test_by_chance_nothing_is_found(at: Path) -> None:
    """Sixteen megabytes of random bytes, digits and hex digits; ids of every shape."""
    (at / "a.bin").write_bytes(noise(8 * 2**20))
    (at / "a.txt").write_text(noise(2 * 2**20).hex())
    (at / "a.num").write_text("\n".join(str(b) for b in np.frombuffer(noise(4 * 2**20), dtype=np.uint64)))
    assert not found(at, *STRONG.values(), CUSTOMER, MEMBER, "C536379", "margaret", keys=(KEY, KEY + 1, 17))


@pytest.mark.parametrize(("text", "level"), [
    (EMAIL, Grade.anywhere), (PSEUDONYM, Grade.anywhere), (SESSION, Grade.anywhere), (str(KEY), Grade.anywhere),
    (MEMBER, Grade.whole), ("C536379", Grade.whole), (CUSTOMER, Grade.weak), ("margaret", Grade.weak),
    ("20240131", Grade.weak), ("1704067200", Grade.weak), ("7", Grade.weak),
])  # fmt: skip
def test_how_much_an_id_says_by_itself(text: str, level: Grade) -> None:
    assert grade(text) is level


# What a Find says, and what a scan leaves behind


def state(home: Path) -> dict[str, tuple[str, int]]:
    """Names, bytes and times of everything."""
    return {str(p): (hashlib.sha256(p.read_bytes()).hexdigest() if p.is_file() else "", p.lstat().st_mtime_ns)
            for p in sorted(home.rglob("*"))}  # fmt: skip


def test_a_scan_changes_nothing(at: Path) -> None:
    for number, plant in enumerate(PLACES.values()):
        (at / str(number)).mkdir()
        plant(at / str(number), SESSION)
    before = state(at)
    assert {f.path.parts[0] for f in found(at, SESSION)} == {str(n) for n in range(len(PLACES))}
    assert state(at) == before


def test_a_find_tells_the_place_and_never_the_id(at: Path) -> None:
    PLACES["a Parquet page in plain encoding"](at, EMAIL)
    os.link(at / "a.parquet", at / f"{EMAIL}.parquet")
    assert sorted(map(str, found(at, EMAIL))) == [
        "<id 1>: column user_id: id 1 (cell, 1x)",
        "<id 1>: name: id 1 (bytes, 1x)",
        "a.parquet: column user_id: id 1 (cell, 1x)",
    ]


def test_what_is_left_out_is_not_looked_at(at: Path) -> None:
    PLACES["a hidden folder"](at, EMAIL)
    (at / "a.txt").write_text(EMAIL)
    finds = scan(at, Needles(frozenset({EMAIL})), leave=lambda path: path == Path(".hidden"))
    assert [f.path for f in finds] == [Path("a.txt")]


def test_the_columns_of_a_shop_of_its_own(at: Path) -> None:
    (at / "a.csv").write_text(f"zeit;artikel;kunde_nr\n1;{MEMBER[:5]};{CUSTOMER}\n")
    needles = Needles(frozenset({CUSTOMER}))
    assert scan(at, needles, personal=frozenset({"kunde_nr"}))
    assert not scan(at, needles)


def test_a_delivery_without_a_header_is_read_by_its_format(at: Path) -> None:
    (at / "taobao").mkdir()
    (at / "taobao" / "a.csv").write_text(f"1,{CUSTOMER},3,pv,1511544070\n")
    assert not found(at, CUSTOMER)
    (at / "taobao" / "b.csv").write_text(f"{CUSTOMER},2,3,pv,1511544070\n")
    assert [f.path.name for f in found(at, CUSTOMER)] == ["b.csv"]


UNREAD: dict[str, Callable[[Path], object]] = {
    "gzip, cut short": lambda home: (home / "a.gz").write_bytes(gzip.compress(noise(9999))[:-900]),
    "Parquet, cut short": lambda home: (home / "a.parquet").write_bytes(b"PAR1" + noise(999)),
    "SQLite, damaged": lambda home: (home / "a.db").write_bytes(b"SQLite format 3\0" + noise(9999)),
    "DuckDB, damaged": lambda home: (home / "a.db").write_bytes(noise(8) + b"DUCK" + noise(9999)),
    "zip, damaged": lambda home: (home / "a.zip").write_bytes(b"PK\3\4" + noise(999)),
    "a link out of the home": lambda home: (home / "a").symlink_to(home.parent),
}


@pytest.mark.parametrize("what", UNREAD)
def test_what_cannot_be_looked_into_is_said(at: Path, what: str) -> None:
    UNREAD[what](at)
    assert [f.unread for f in found(at, EMAIL)] == [True]


def test_a_bomb_is_not_unpacked_without_end(at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from behavior_assets.privacy.scanner import containers

    monkeypatch.setattr(containers, "MOST_UNPACKED", 2**22)
    (at / "a.gz").write_bytes(gzip.compress(gzip.compress(bytes(2**25))))
    (find,) = found(at, EMAIL)
    assert find.unread
    assert "4 MiB" in find.place


@pytest.mark.parametrize("spelt", [
    lambda who: who.encode(), lambda who: who.upper().encode(), lambda who: quote(who, safe="").encode(),
    lambda who: base64.b64encode(b"a" + who.encode() + b"bbb"),
])  # fmt: skip
def test_of_thousands_of_persons_each_is_found(
    home: Path, monkeypatch: pytest.MonkeyPatch, spelt: Callable[[str], bytes]
) -> None:
    """In the spellings that programs write; keys where cells are decoded, and as digits."""
    monkeypatch.setattr("behavior_assets.privacy.scanner.needles.WIDELY", 500)  # fewer are thousands here
    many = frozenset(f"customer.{n:05d}@example.org" for n in range(4500, 5000))
    (home / "logs").mkdir(parents=True, exist_ok=True)
    (home / "logs" / "a.log").write_bytes(noise(5000) + b" " + spelt("customer.04711@example.org") + b" " + noise(5000))
    (home / "logs" / "b.log").write_text(f"key {KEY}\n")
    pq.write_table(pa.table({"n": pa.array([1, KEY], pa.int64())}), home / "logs" / "c.parquet")
    finds = scan(home, Needles(many, frozenset({KEY})))
    assert {f.path.name for f in finds} == {"a.log", "b.log", "c.parquet"}
