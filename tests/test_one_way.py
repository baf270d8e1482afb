"""One way into the lake: what it writes and commits holds what readers rely on, and nothing else writes there.

``pyproject.toml`` bans the writers of Delta and Parquet (TID251); here the code is looked through for what that cannot
see, and the bytes of a small home's lake for what the writer promises.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from behavior_assets.ingestion.canonical import BRONZE_EVENTS
from behavior_assets.ingestion.ledger import decode
from resources.parquet import write_part
from resources.table import Batch, TableSpec
from tests.conftest import REPOSITORY, Chain, rees46_row, write_rees46

PACKAGES = ("behavior_assets", "exports", "expectations", "resources")

# What writes a Delta table, or a file that could be part of one, and who may.
COMMITS = {"create_write_transaction", "write_deltalake", "DeltaTable.create", "convert_to_deltalake", "to_delta",
           "create_checkpoint", "optimize", "compact", "z_order", "vacuum", "restore", "merge", "delete", "repair",
           "add_feature", "set_table_properties", "cleanup_metadata"}  # fmt: skip
FILES = {"ParquetWriter", "write_table", "write_dataset", "write_to_dataset", "to_parquet", "write_parquet"}
MAY = {
    "resources/table.py: DeltaTable.create": "the one way: the table's first commit",
    "resources/table.py: create_write_transaction": "the one way: every further commit",
    "resources/parquet.py: ParquetWriter": "the one way: every data file",
    "resources/parquet.py: write_table": "the same writer",
    "behavior_assets/privacy/vault.py: write_table": "the map between two keys, which must not be in the lake",
    "behavior_assets/privacy/erasure/erase.py: vacuum": "our own: through Lake",
    "behavior_assets/privacy/erasure/erase.py: delete": "a step of a case",
    "behavior_assets/privacy/retention.py: vacuum": "our own: through Lake",
    "behavior_assets/ingestion/redaction.py: ParquetWriter": "originals in the archive, outside of the lake",
    "behavior_assets/ingestion/redaction.py: write_table": "originals in the archive, outside of the lake",
    "behavior_assets/privacy/erasure/loose.py: ParquetWriter": "refused files and the simulator's, outside of the lake",
    "behavior_assets/privacy/erasure/loose.py: write_table": "refused files and the simulator's, outside of the lake",
    "behavior_assets/sessions/build.py: write_table": "into memory, for a fingerprint",
    "behavior_assets/simulation/writers.py: ParquetWriter": "made-up deliveries, outside of the lake",
    "behavior_assets/simulation/writers.py: write_table": "made-up deliveries, outside of the lake",
    "behavior_assets/chain.py: vacuum": "calls that of resources/lake.py",
    "exports/assets.py: vacuum": "calls that of resources/lake.py",
    "resources/store.py: delete": "objects that no version names, when mirror.sweep says so",
    "resources/lake.py: vacuum": "of our own: removes files that no version names",
}
PERSONAL = ("user_id", "client_id", "session_id", "ip", "user_agent", "url", "referrer", "search_query",
            "transaction_id", "raw")  # fmt: skip
DAY = "2024-05-01"
PEOPLE = ("ada@example.org", "bob@example.org")


def writers(source: str) -> set[str]:
    """Ways of writing to a Delta table or a Parquet file that a module makes use of."""
    found = set()
    tree = ast.parse(source)
    plain = {a.asname or a.name for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module in
             {"deltalake", "pyarrow.parquet", "pyarrow.dataset", "deltalake.writer"} for a in n.names}  # fmt: skip
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            whole = ast.unparse(node.func)
            if name in COMMITS | FILES and (isinstance(node.func, ast.Attribute) or name in plain):
                found.add(name)
            elif whole.endswith("DeltaTable.create"):
                found.add("DeltaTable.create")
        elif isinstance(node, ast.Constant | ast.JoinedStr) and re.search(r"\bCOPY\b.*\bTO\b", ast.unparse(node)):
            found.add("COPY TO")
    return found


def modules() -> Iterator[tuple[str, str]]:
    """Every module of the program: its path and its text."""
    for package in PACKAGES:
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            yield path.relative_to(REPOSITORY).as_posix(), path.read_text("utf-8")


def test_only_the_lake_commits_and_only_its_writer_writes() -> None:
    """Whoever else writes has a reason above."""
    found = {f"{name}: {what}" for name, source in modules() for what in writers(source)}
    assert found == set(MAY)


def test_only_the_lake_knows_delta() -> None:
    importing = {name for name, source in modules() for n in ast.walk(ast.parse(source))
                 if (isinstance(n, ast.ImportFrom) and (n.module or "").partition(".")[0] == "deltalake")
                 or (isinstance(n, ast.Import) and any(a.name.startswith("deltalake") for a in n.names))}  # fmt: skip
    assert importing == {"resources/table.py"}


@pytest.mark.parametrize("line", [
    "deltalake.write_deltalake(uri, rows)", "from deltalake import write_deltalake\nwrite_deltalake(uri, rows)",
    "DeltaTable(uri).delete()", "table.handle().merge(rows, predicate)",
    "DeltaTable.create(uri)", "pq.write_table(rows, path)", "pq.ParquetWriter(path, schema)",
    "from pyarrow.parquet import ParquetWriter\nParquetWriter(path, schema)", "ds.write_dataset(rows, path)",
    "backend.to_parquet(rows, path)", "con.execute(f\"COPY ({query}) TO '{path}'\")", "handle.optimize.compact()",
])  # fmt: skip
def test_a_second_way_is_found(line: str) -> None:
    """So that the tests above are known to see what they look for."""
    assert writers(line)


def test_ruff_bans_the_writers(tmp_path: Path) -> None:
    """In any file but those named in pyproject.toml with their reason, also under another name."""
    file = tmp_path / "second_way.py"
    file.write_text(
        "import pyarrow.dataset\nimport pyarrow.parquet as pq\nfrom deltalake import DeltaTable, write_deltalake as w\n"
        "w('a', 1)\npq.write_table(1, 'a')\npq.ParquetWriter('a', 1)\npyarrow.dataset.write_dataset(1, 'a')\n"
        "import polars\nDeltaTable('a')\n"
    )
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--config", str(REPOSITORY / "pyproject.toml"),
               "--select", "TID251", "--output-format", "json", str(file)]  # fmt: skip
    told = json.loads(subprocess.run(command, capture_output=True, text=True, check=False).stdout)
    banned = {re.sub(r"^`|` is banned.*$", "", problem["message"]) for problem in told}
    assert banned == {"deltalake", "polars", "pyarrow.parquet.write_table", "pyarrow.parquet.ParquetWriter",
                      "pyarrow.dataset.write_dataset"}  # fmt: skip


# What the writer promises, seen in the bytes of a lake


class Commit(NamedTuple):
    """One file of a Delta log: its table, its number and its actions by kind."""

    table: str
    number: int
    actions: dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """A home after two deliveries with a bad row each, the second of which amends the first's day."""
    base = tmp_path_factory.mktemp("lake")
    chain = Chain.at(base / "home")
    for number, user in enumerate(PEOPLE):
        rows = [rees46_row(f"{DAY} 10:0{number}:{s:02d}", "purchase", "p1", user, session=f"visit{user}")
                for s in range(20)]  # fmt: skip
        chain.ingest([write_rees46(base / f"{number}.csv", [*rows, rees46_row(f"{DAY}", "view", "p", user, "much")])],
                     "rees46")  # fmt: skip
        chain.build()
    return chain


def commits(chain: Chain) -> list[Commit]:
    """All commits of a lake."""
    found = []
    for path in sorted(chain.settings.home.lake.glob("*/*/_delta_log/*.json")):
        actions: dict[str, list[dict[str, Any]]] = {}
        for line in path.read_text("utf-8").splitlines():
            ((kind, said),) = json.loads(line).items()
            actions.setdefault(kind, []).append(said)
        found.append(Commit("/".join(path.parts[-4:-2]), int(path.stem), actions))
    return found


def data_files(chain: Chain) -> list[Path]:
    """Every Parquet file in the lake, checkpoints aside."""
    found = [p for p in chain.settings.home.lake.rglob("*.parquet") if p.parent.name != "_delta_log"]
    assert len(found) > 15
    return found


def test_a_file_is_named_after_its_bytes(made: Chain) -> None:
    for file in data_files(made):
        assert file.stem.rsplit("_", 1)[1] == hashlib.sha256(file.read_bytes()).hexdigest()


def test_every_commit_raises_the_sequence_by_one(made: Chain) -> None:
    """Two writers that saw the same version want the same number, so one of them fails."""
    by_table: dict[str, list[int]] = {}
    for commit in commits(made):
        told = [t["version"] for t in commit.actions.get("txn", []) if t["appId"] == "behavior"]
        if "add" in commit.actions or "remove" in commit.actions:
            by_table.setdefault(commit.table, []).extend(told or [-1])
    assert len(by_table) > 15
    for table, numbers in by_table.items():
        assert numbers == list(range(1, len(numbers) + 1)), table


def test_a_commit_of_deliveries_carries_its_batch_and_its_ledger(made: Chain) -> None:
    """In bronze the ledger is in the very commit that makes the rows visible; quarantine has the same batch number."""
    for table in ("bronze/events", "quarantine/events"):
        written = [c for c in commits(made) if c.table == table and "add" in c.actions]
        assert len(written) == 2
        for number, commit in enumerate(written, 1):
            assert {t["appId"]: t["version"] for t in commit.actions["txn"]} == {"behavior": number, "ingest": number}
            (info,) = commit.actions["commitInfo"]
            assert re.fullmatch("[0-9a-f]{64}", info["behavior.batch"])
            if table == "bronze/events":
                (entry,) = decode(info["behavior.ledger"])
                assert (entry.file_name, entry.rows_in) == (f"{number - 1}.csv", 21)
                assert entry.accepted == sum(json.loads(a["stats"])["numRecords"] for a in commit.actions["add"]) == 20


def test_the_log_and_the_files_hold_no_statistics_of_values(made: Chain) -> None:
    """Not of personal columns and of no others: min and max of an e-mail address are e-mail addresses."""
    for commit in commits(made):
        for add in commit.actions.get("add", []):
            assert json.loads(add["stats"]).keys() == {"numRecords"}
    for file in data_files(made):
        meta = pq.ParquetFile(file).metadata
        for group in range(meta.num_row_groups):
            for place in range(meta.num_columns):
                chunk = meta.row_group(group).column(place)
                assert not chunk.is_stats_set, (file, chunk.path_in_schema)


def test_no_person_is_in_any_log_or_footer(made: Chain) -> None:
    """The bytes themselves, checkpoints and journals too; bronze and quarantine hold people, in their rows only."""
    lake = made.settings.home.lake
    logs = [p for p in lake.rglob("*") if p.is_file() and (p.parent.name == "_delta_log" or p.name[0] == "_")]
    assert len(logs) > 30
    texts = [p.read_bytes() for p in logs]
    for file in data_files(made):
        content = file.read_bytes()
        texts.append(content[-8 - int.from_bytes(content[-8:-4], "little") :])
    for person in PEOPLE:
        assert not [t for t in texts if person.encode() in t]
    names = set(BRONZE_EVENTS.schema.names) | {"raw"}
    assert names >= set(PERSONAL)
    (rows,) = made.rows("bronze/events", "SELECT list(DISTINCT user_id ORDER BY user_id) FROM t")
    assert tuple(rows[0]) == PEOPLE  # or else nothing was tested


@pytest.mark.parametrize("table", ["bronze/events", "quarantine/events", "silver/events", "gold/fact_session"])
def test_a_bit_that_flips_in_a_page_is_noticed_by_a_reader(made: Chain, tmp_path: Path, table: str) -> None:
    """Wherever in the pages it is: their checksums are written."""
    (file, *_) = sorted((made.settings.home.lake / table).rglob("*.parquet"))
    whole = file.read_bytes()
    assert pq.ParquetFile(file, page_checksum_verification=True).read().num_rows > 0
    meta = pq.ParquetFile(file).metadata
    spans = [page_span(meta.row_group(0).column(n)) for n in range(meta.num_columns)]
    for begin, end in spans:
        damaged = bytearray(whole)
        damaged[end - 1] ^= 1  # the last byte of its last page: data, whatever the page's header is
        copy = tmp_path / "damaged.parquet"
        copy.write_bytes(damaged)
        assert begin < end
        with pytest.raises((OSError, pa.ArrowException)):
            pq.ParquetFile(copy, page_checksum_verification=True).read()


def page_span(chunk: Any) -> tuple[int, int]:
    """Where the pages of a column lie."""
    begin = chunk.dictionary_page_offset or chunk.data_page_offset
    return begin, begin + chunk.total_compressed_size


def test_a_file_without_checksums_would_not_be_noticed(tmp_path: Path) -> None:
    """What the test above finds is owed to the checksums."""
    rows = pa.table({"n": list(range(1000))})
    told = {}
    for summed in (True, False):
        path = tmp_path / f"{summed}.parquet"
        pq.write_table(rows, path, compression="none", use_dictionary=False, write_page_checksum=summed)
        content = bytearray(path.read_bytes())
        content[page_span(pq.ParquetFile(path).metadata.row_group(0).column(0))[1] - 1] ^= 1
        path.write_bytes(content)
        try:
            pq.ParquetFile(path, page_checksum_verification=True).read()
            told[summed] = "read"
        except OSError:
            told[summed] = "noticed"
    assert told == {True: "noticed", False: "read"}


def test_a_batch_is_applied_once_and_an_older_one_refused(tmp_path: Path) -> None:
    """The same batch again: nothing is done, whatever files come with it; another under its number is refused."""
    from resources.errors import ConflictError

    spec = TableSpec("bronze/things", pa.schema([("n", pa.int64())]))
    table = Chain.at(tmp_path / "home").lake.table(spec)
    rows = [table.write(f"part{n}", "made", [pa.table({"n": [n]})]) for n in range(4)]
    table.commit(rows[:1], replace=False, batch=Batch(1, "first"))
    version = table.commit(rows[1:2], replace=False, batch=Batch(2, "second"))
    assert table.commit(rows[2:3], replace=False, batch=Batch(2, "second")) == version
    for late in (Batch(1, "first"), Batch(2, "another")):
        with pytest.raises(ConflictError, match="refused"):
            table.commit(rows[3:], replace=False, batch=late)
    assert (table.version, table.rows(), table.last_batch()) == (version, 2, 2)


def test_a_file_has_its_name_only_once_it_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Synced before it is named, and its folder before the commit that speaks of it."""
    import os

    told: list[str] = []
    replace, sync = Path.replace, os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (told.append("sync"), sync(fd))[1])
    monkeypatch.setattr(Path, "replace", lambda a, b: (told.append("name"), replace(a, b))[1])
    file = write_part(tmp_path, "", "part", "made", [pa.table({"n": [1]})], pa.schema([("n", pa.int64())]))
    assert told == ["sync", "name"]
    assert [p.name for p in tmp_path.iterdir()] == [file.path]
