"""S1: what others wrote is parsed by one DuckDB that reaches the staging folder and nothing else, and stays so."""

from __future__ import annotations

import ast
import json
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from behavior_assets.ingestion import ahead, quarantine
from behavior_assets.ingestion.ingest import Ingestion
from behavior_assets.ingestion.sources import load_source, times
from resources.engine import engine, locked, parser, probe
from resources.errors import UsageError
from resources.settings import create_home
from tests.conftest import REES46_HEADER, REPOSITORY, Chain, rees46_row, write_rees46

HIDDEN = "what only the owner may read"
MIB = 2**20


class Place(NamedTuple):
    """A staging folder, a locked parser on it, and a folder beside it that it must not reach."""

    con: duckdb.DuckDBPyConnection
    inside: Path
    outside: Path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Something to read inside, and everything that must not be read outside, one of it linked to from inside."""
    base = tmp_path_factory.mktemp("locked")
    inside, outside = base / "staging", base / "staging-beside"
    for folder in (inside, outside):
        folder.mkdir()
        (folder / "a.csv").write_text(f"a\n{HIDDEN}\n")
        (folder / "a.jsonl").write_text(json.dumps({"a": HIDDEN}) + "\n")
        pq.write_table(pa.table({"a": [HIDDEN]}), folder / "a.parquet")
        duckdb.connect(str(folder / "a.duckdb")).close()
    (inside / "link.csv").symlink_to(outside / "a.csv")
    (inside / "folder").symlink_to(outside)
    with locked(inside, 256 * MIB, 2) as con:
        yield Place(con, inside, outside)


@pytest.mark.parametrize("name", ["csv('{}/a.csv')", "json('{}/a.jsonl')", "parquet('{}/a.parquet')"])
def test_it_reads_below_its_folder(place: Place, name: str) -> None:
    query = f"FROM read_{name.format(place.inside)}"
    assert place.con.cursor().execute(query).fetchall() == [(HIDDEN,)]


FORBIDDEN = {
    "a text file": "FROM read_csv('{out}/a.csv')",
    "a JSON file": "FROM read_json('{out}/a.jsonl')",
    "a Parquet file": "FROM read_parquet('{out}/a.parquet')",
    "a file as a table": "FROM '{out}/a.csv'",
    "bytes": "FROM read_blob('{out}/a.csv')",
    "text": "FROM read_text('/etc/passwd')",
    "names of files": "FROM glob('{out}/*')",
    "all files of the machine": "FROM glob('/etc/*')",
    "a way out by ..": "FROM read_csv('{in_}/../staging-beside/a.csv')",
    "a link to a file": "FROM read_csv('{in_}/link.csv')",
    "a link to a folder": "FROM read_csv('{in_}/folder/a.csv')",
    "a footer": "FROM parquet_metadata('{out}/a.parquet')",
    "a guess at a file": "FROM sniff_csv('{out}/a.csv')",
    "a variable of the program": "FROM hidden",
    "writing": "COPY (SELECT 1) TO '{out}/out.csv'",
    "exporting": "EXPORT DATABASE '{out}/all'",
    "importing": "IMPORT DATABASE '{out}'",
    "another database": "ATTACH '{out}/a.duckdb'",
    "another database to read": "ATTACH '{out}/a.duckdb' (READ_ONLY)",
    "installing": "INSTALL httpfs",
    "installing what others made": "INSTALL h3 FROM community",
    "loading": "LOAD httpfs",
    "loading a file": "LOAD '{out}/a.duckdb_extension'",
    "keeping a password": "CREATE PERSISTENT SECRET s (TYPE http, BEARER_TOKEN 'x')",
}
SETTINGS = ("memory_limit", "max_memory", "threads", "worker_threads", "enable_external_access", "lock_configuration",
            "allowed_directories", "allowed_paths", "temp_directory", "max_temp_directory_size", "home_directory",
            "extension_directory", "custom_extension_repository", "autoload_known_extensions",
            "autoinstall_known_extensions", "allow_unsigned_extensions", "allow_community_extensions",
            "allow_persistent_secrets", "secret_directory", "file_search_path", "log_query_path", "profiling_output",
            "enable_profiling", "TimeZone", "preserve_insertion_order", "python_enable_replacements",
            "disabled_filesystems", "http_proxy")  # fmt: skip


@pytest.mark.parametrize("what", FORBIDDEN)
def test_nothing_else_is_in_its_reach(place: Place, what: str) -> None:
    """Neither by itself nor by a cursor on it, and nothing is left behind by the attempt."""
    hidden = pa.table({"a": [HIDDEN]})
    before = sorted(place.outside.rglob("*"))
    for con in (place.con, place.con.cursor()):
        with pytest.raises(duckdb.Error) as refused:
            con.execute(FORBIDDEN[what].format(out=place.outside, in_=place.inside)).fetchall()
        if "hidden" not in FORBIDDEN[what]:
            assert isinstance(refused.value, duckdb.PermissionException | duckdb.InvalidInputException), refused.value
        assert HIDDEN not in str(refused.value)
    assert sorted(place.outside.rglob("*")) == before
    assert hidden.num_rows == 1


@pytest.mark.parametrize("name", SETTINGS)
def test_no_setting_can_be_changed(place: Place, name: str) -> None:
    """By SET, RESET or PRAGMA; for one connection or for all."""
    for words in (f"SET {name} = '1'", f"SET GLOBAL {name} = '1'", f"SET SESSION {name} = '1'", f"RESET {name}"):
        with pytest.raises(duckdb.Error, match="has been locked"):
            place.con.cursor().execute(words)
    with pytest.raises(duckdb.PermissionException):
        place.con.execute(f"FROM read_csv('{place.outside}/a.csv')").fetchall()


def test_it_connects_to_nobody(place: Place) -> None:
    """A server on this machine that would answer gets no visitor."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        port = server.getsockname()[1]
        for url in (f"http://127.0.0.1:{port}/a.csv", f"https://127.0.0.1:{port}/a.csv", f"s3://127.0.0.1:{port}/a"):
            with pytest.raises(duckdb.Error):
                place.con.execute(f"FROM read_csv('{url}')").fetchall()
        with pytest.raises(TimeoutError):
            server.accept()


def told(con: duckdb.DuckDBPyConnection, *names: str) -> list[Any]:
    """Settings as a connection sees them."""
    return [con.execute("SELECT current_setting(?)", [name]).fetchall()[0][0] for name in names]


def within(staging: Path, folder: str) -> bool:
    """Whether an allowed folder is the staging folder or, for what does not fit into memory, one in it."""
    return Path(folder) == staging or (Path(folder).parent == staging and Path(folder).name.startswith("spill-"))


def test_its_limits_are_those_of_the_settings(tmp_path: Path) -> None:
    """Half of the memory, all the threads; the engine beside it makes room, and has it back afterwards."""
    settings = replace(create_home(tmp_path / "home"), memory_limit=1024 * MIB, threads=3)
    with engine(settings) as beside, parser(settings, beside.con) as con:
        assert told(con.cursor(), "memory_limit", "threads") == ["512.0 MiB", 3]
        assert told(con, "enable_external_access", "lock_configuration", "autoload_known_extensions",
                    "autoinstall_known_extensions") == [False, True, False, False]  # fmt: skip
        assert all(within(settings.home.staging, folder) for folder in told(con, "allowed_directories")[0])
        assert Path(told(con, "temp_directory")[0]).parent == settings.home.staging
        assert told(beside.con, "memory_limit") == ["256.0 MiB"]
    with engine(settings) as beside:
        with parser(settings, beside.con):
            pass
        assert told(beside.con, "memory_limit") == ["1.0 GiB"]
    assert not [p for p in settings.home.staging.iterdir() if p.name.startswith("parser")]


def test_a_folder_that_is_a_pattern_is_refused(tmp_path: Path) -> None:
    """It would open other folders; the home is named."""
    settings = create_home(tmp_path / "home")
    odd = replace(settings, home=replace(settings.home, root=tmp_path / "shop[12]"))
    with engine(settings) as beside, pytest.raises(UsageError, match="pattern to the engine"), \
            parser(odd, beside.con):  # fmt: skip
        pass


def test_the_probe_reaches_no_file_at_all(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a\n1\n")
    with probe() as con:
        assert told(con, "enable_external_access", "lock_configuration", "threads") == [False, True, 1]
        with pytest.raises(duckdb.PermissionException):
            con.execute(f"FROM read_csv('{tmp_path}/a.csv')").fetchall()
        with pytest.raises(duckdb.OutOfMemoryException):
            con.execute("CREATE TABLE t AS SELECT random() FROM range(20_000_000)")


# Every delivery goes through it


def rees46_objects() -> list[dict[str, Any]]:
    """Two rows as objects, the second without a price that can be read."""
    rows = [rees46_row(f"2024-05-01 10:00:0{n}", "view", "p", "u", price) for n, price in enumerate(("1.5", "much"))]
    return [dict(zip(REES46_HEADER.split(","), row.split(","), strict=True)) for row in rows]


def as_csv(path: Path) -> None:
    write_rees46(path, [",".join(r.values()) for r in rees46_objects()])


def as_jsonl(path: Path) -> None:
    path.write_text("".join(json.dumps(r) + "\n" for r in rees46_objects()))


def as_parquet(path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(rees46_objects()), path)


@contextmanager
def watched(patch: pytest.MonkeyPatch) -> Iterator[list[list[Any]]]:
    """Notes, of each connection that a delivery is opened and streamed with, whether it is locked."""
    seen: list[list[Any]] = []

    def noting(work: Callable[..., Any]) -> Callable[..., Any]:
        def noted(con: duckdb.DuckDBPyConnection, *arguments: Any) -> Any:
            seen.append(told(con, "enable_external_access", "lock_configuration", "allowed_directories"))
            return work(con, *arguments)

        return noted

    with patch.context() as patched:
        for name in ("open_reading", "stream"):
            patched.setattr(ahead, name, noting(getattr(ahead, name)))
        yield seen


@pytest.mark.parametrize("write", [as_csv, as_jsonl, as_parquet])
def test_every_kind_of_file_and_what_is_replayed_is_parsed_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], None]
) -> None:
    chain = Chain.at(tmp_path / "home")
    path = tmp_path / f"a.{write.__name__.removeprefix('as_')}"
    write(path)
    with watched(monkeypatch) as seen:
        (entry,) = chain.ingest([path], "rees46").entries
        with engine(chain.settings) as backend:
            ingestion = Ingestion(chain.lake, chain.settings, backend.con)
            ingestion.run(quarantine.replays(chain.lake, chain.settings, "wrong_type"))
    assert (entry.accepted, entry.quarantined) == (1, 1)
    assert [noted[:2] for noted in seen] == [[False, True]] * 4
    assert all(within(chain.settings.home.staging, folder) for noted in seen for folder in noted[2])


def test_a_time_format_is_tried_without_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mapping's text goes to a DuckDB that reaches nothing, whatever it says."""
    mapping = tmp_path / "m.yaml"
    mapping.write_text("columns: {event_time: t, event_name: n, user_id: u}\n"
                       "time: {format: \"%Y') FROM read_text('/etc/hostname') --\"}\n")  # fmt: skip
    tried: list[list[Any]] = []

    @contextmanager
    def noting() -> Iterator[duckdb.DuckDBPyConnection]:
        with probe() as con:
            tried.append(told(con, "enable_external_access", "lock_configuration"))
            yield con

    monkeypatch.setattr(times, "probe", noting)
    assert "read_text(''/etc/hostname'')" in load_source("generic", mapping).fields["event_ts_us"]
    assert tried == [[False, True]]


# Nobody else parses

CONNECTS = re.compile(r"\bduckdb\.connect\b|\bibis\.connect\b|\bduckdb\.(sql|query|execute|read_csv|from_csv_auto)\b")
READS = re.compile(
    r"\bread_(csv|json|ndjson|parquet|text|blob|table|schema|metadata|delta)\w*|\b(parquet|csv|json|delta|sqlite)_scan\b|"
    r"\bParquetFile\b|\bParquetDataset\b|\bpyarrow\.(csv|json|dataset|orc)\b|\bpandas\b|\bpickle\b|\bsniff_csv\b"
)
OWN = "the program's own files"
MAY = {
    "resources/engine.py": "the factory",
    "behavior_assets/ingestion/text_files.py: read_csv": "by the locked parser, which its caller hands over",
    "behavior_assets/ingestion/parquet_files.py: read_parquet": "by the locked parser, which its caller hands over",
    "behavior_assets/ingestion/parquet_files.py: read_metadata": "the footer only, after it was checked",
    "behavior_assets/ingestion/parquet_pages.py: ParquetFile": "numbers of dictionaries, whose size was checked",
    "behavior_assets/ingestion/parquet_files.py: ParquetFile": "the footer only, its length checked before",
    "behavior_assets/ingestion/shape.py: read_schema": "the footer only, after parquet_files has checked it",
    "behavior_assets/ingestion/deduplicate.py: read_parquet": OWN,
    "behavior_assets/ingestion/quarantine.py: read_table": OWN,
    "resources/models.py: pickle": "an error's words: nothing is kept that would need it",
    "behavior_assets/simulation/writers.py: pyarrow.csv": "writes made-up deliveries",
    "resources/compute.py: read_parquet": OWN,
    "resources/spark.py: pandas": "the names of types, by a module of Spark that is called so",
    "behavior_assets/quality.py: read_table": OWN,
    "behavior_assets/sessions/build.py: duckdb.connect": "compares fingerprints, reads no file",
    "behavior_assets/relog.py: read_metadata": OWN,
    "behavior_assets/verification.py: ParquetFile": OWN,
    "resources/commits.py: read_table": OWN,
    "behavior_assets/explain.py: duckdb.connect": OWN,
    "behavior_assets/explain.py: read_parquet": OWN,
    "behavior_assets/privacy/scanner/containers.py: pickle": "a kind of file, whose texts are read and never unpickled",
    "behavior_assets/privacy/scanner/databases.py: read_table": "a file of Arrow's first format, looked at for ids",
    "behavior_assets/privacy/scanner/databases.py: duckdb.connect": "a copy of a database, locked to it",
    "behavior_assets/privacy/scanner/databases.py: ParquetFile": "looks for ids in whatever lies in the home",
    "behavior_assets/consent_cli.py: duckdb.connect": OWN,
    "behavior_assets/ingestion/redaction.py: ParquetFile": "an original that was read before",
    "behavior_assets/privacy/access/about.py: read_table": OWN,
    "behavior_assets/privacy/access/held.py: read_parquet": OWN,
    "behavior_assets/privacy/build.py: duckdb.connect": OWN,
    "behavior_assets/privacy/consents.py: read_table": OWN,
    "behavior_assets/privacy/due.py: read_table": OWN,
    "behavior_assets/privacy/erasure/deliveries.py: read_table": OWN,
    "behavior_assets/privacy/erasure/loose.py: ParquetFile": "takes ids out of what was refused, after the scanner",
    "behavior_assets/privacy/erasure/loose.py: read_schema": "the same",
    "behavior_assets/privacy/erasure/naming.py: read_parquet": OWN,
    "behavior_assets/privacy/erasure/proof.py: read_table": OWN,
    "behavior_assets/privacy/erasure/subjects.py: read_parquet": OWN,
    "behavior_assets/privacy/erasure/takeout.py: ParquetFile": OWN,
    "behavior_assets/privacy/erasure/takeout.py: read_parquet": OWN,
    "behavior_assets/privacy/rekey.py: read_parquet": OWN,
    "behavior_assets/privacy/retention.py: duckdb.connect": OWN,
    "behavior_assets/privacy/retention.py: read_parquet": OWN,
    "behavior_assets/privacy/vault.py: read_table": OWN,
    "behavior_assets/star/writing.py: ParquetFile": OWN,
    "behavior_assets/status.py: duckdb.connect": OWN,
    "exports/aggregate/shop.py: duckdb.connect": OWN,
    "exports/sql/bulk.py: pyarrow.csv": "writes rows for COPY",
    "exports/sql/source.py: duckdb.connect": OWN,
    "exports/sql/source.py: read_parquet": OWN,
    "exports/hashing.py: read_parquet": OWN,
    "exports/snapshot.py: duckdb.connect": OWN,
    "exports/snapshot.py: read_parquet": OWN,
    "exports/verify.py: duckdb.connect": OWN,
    "exports/verify.py: ParquetFile": OWN,
    "exports/verify.py: read_table": OWN,
}


def readers(source: str) -> set[str]:
    """Ways in which a module opens an engine or reads files of rows: calls, imports, and SQL in texts."""
    found = set()
    tree = ast.parse(source)
    documentation = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}
    for node in ast.walk(tree):
        text = ""
        if isinstance(node, ast.Attribute | ast.Name):
            text = re.sub(r"\.read_text\b", "", ast.unparse(node))  # a path's, which is not the engine's
        elif isinstance(node, ast.Import | ast.ImportFrom):
            text = "\n".join(f"{getattr(node, 'module', '') or ''}.{a.name}".strip(".") for a in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            text = node.value
        for pattern in (CONNECTS, READS):
            found |= {m[0] for m in pattern.finditer(text)}
    return found


def test_only_the_factory_opens_an_engine_for_what_others_wrote() -> None:
    found = set()
    for package in ("behavior_assets", "exports", "expectations", "resources"):
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            name = path.relative_to(REPOSITORY).as_posix()
            ways = readers(path.read_text("utf-8"))
            found |= {name} if name == "resources/engine.py" else {f"{name}: {way}" for way in ways}
    assert found == set(MAY)


@pytest.mark.parametrize("line", [
    "duckdb.connect(':memory:')", "import pyarrow.csv", "from pyarrow import csv, dataset\ndataset.dataset(p)",
    "con.execute(f\"FROM read_csv('{path}')\")", "con.read_json(path)", "pq.ParquetFile(path)", "pq.read_table(path)",
    "import pandas as pd", "import pickle", "from duckdb import connect\nconnect()", "duckdb.sql('FROM a')",
])  # fmt: skip
def test_another_reader_is_found(line: str) -> None:
    """So that the test above is known to see what it looks for."""
    assert readers(line)
