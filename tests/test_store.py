"""Objects in an S3 server, in Azure's emulator and in a folder: the same files, the same refusals."""

from __future__ import annotations

import errno
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from resources import store as stores
from resources.errors import StoreError, UsageError
from resources.failpoints import armed
from resources.store import Store, TakenError
from tests.conftest import REPOSITORY
from tests.servers import ACCOUNT, BUCKET, KEY, asked, azure_server, free_port, require, s3_server

PART = "silver/events/event_date=2019-10-01/2019-10-01_ab-cd~ef_0123.parquet"
SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIAWORDOFTHEKEY", "AWS_SECRET_ACCESS_KEY": "word/of+the=secret",
    "AWS_SESSION_TOKEN": "word//of+the=token", "AZURE_STORAGE_ACCOUNT_KEY": KEY,
}  # fmt: skip
CLOUDS = ("s3", "azure")


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours, and nothing else that this machine knows."""
    require(("module", "obstore"))
    for name in os.environ:
        if name.startswith(("AWS_", "AZURE_", "GOOGLE_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT)
    monkeypatch.setattr(stores, "_RETRIES", 1)


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The endpoint of an S3 server."""
    with s3_server() as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def azure() -> Iterator[str]:
    """The endpoint of Azure's emulator."""
    with azure_server() as endpoint:
        yield endpoint


@pytest.fixture
def at(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Store]:
    """A store of a kind, with nothing in it."""

    def made(kind: str) -> Store:
        if kind == "file":
            (tmp_path / "store").mkdir()
            return Store.at((tmp_path / "store").as_uri())
        scheme = {"s3": "s3", "azure": "az"}[kind]
        return Store.at(f"{scheme}://{BUCKET}/{tmp_path.name}/lake", request.getfixturevalue(kind))

    return made


@pytest.fixture(params=[*CLOUDS, "file"])
def store(request: pytest.FixtureRequest, at: Callable[[str], Store]) -> Store:
    """A store of each kind."""
    return at(request.param)


@pytest.mark.parametrize("size", [0, 5, 40_000_000])
def test_what_is_put_is_read_and_fetched(store: Store, tmp_path: Path, size: int) -> None:
    content = bytes(range(256)) * (size // 256) + bytes(size % 256)
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(content)
    store.put("a/file", source)
    store.put("a/bytes", content)
    assert store.size("a/file") == size
    for name in ("a/file", "a/bytes"):
        assert store.read(name) == content
        store.fetch(name, target)
        assert target.read_bytes() == content
    store.put("a/file", b"another")
    assert store.read("a/file") == b"another"


def test_what_is_absent(store: Store, tmp_path: Path) -> None:
    store.put("a/b", b"1")
    for name in ("a", "b", "a/bb", "a/c"):
        assert store.size(name) is None
        with pytest.raises(FileNotFoundError, match=f"{re.escape(store.url)}/{name}'"):
            store.read(name)
        with pytest.raises(FileNotFoundError, match=f"{re.escape(store.url)}/{name}'"):
            store.fetch(name, tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_files_of_this_machine_that_are_absent_are_named_as_such(store: Store, tmp_path: Path) -> None:
    store.put("a", b"1")
    with pytest.raises(FileNotFoundError, match="no-source"):
        store.put("b", tmp_path / "no-source")
    with pytest.raises(FileNotFoundError, match="no-folder"):
        store.fetch("a", tmp_path / "no-folder" / "target")


def test_names_are_kept_as_they_are(store: Store, s3: str, tmp_path: Path) -> None:
    names = {PART, "gold/dim_día/a b.parquet", "a+b%20c/~d=e"}
    for name in names:
        store.put(name, name.encode())
    assert set(store.listed()) == names
    assert {store.read(name).decode() for name in names} == names
    if store.url.startswith("s3"):
        with urlopen(f"{s3}/{BUCKET}?list-type=2&prefix={tmp_path.name}/") as answer:  # noqa: S310 - our own server
            keys = set(re.findall(r"<Key>(.*?)</Key>", answer.read().decode()))
        assert keys == {f"{tmp_path.name}/lake/{name}" for name in names}


def test_what_is_listed(store: Store) -> None:
    both = [] if store.url.startswith("file") else ["a/b"]  # an object and a folder
    names = [*both, "a/b/c", "a/b/d/e", "a/bc/d", "a/b~", "b"]
    for name in reversed(names):
        store.put(name, name.encode())
    found = store.listed()
    assert list(found) == names
    assert {name: stored.size for name, stored in found.items()} == {name: len(name) for name in names}
    assert {stored.modified > 1.7e9 for stored in found.values()} == {True}
    assert list(store.listed("a/b")) == list(store.listed("a/b/")) == ["a/b/c", "a/b/d/e"]
    assert list(store.listed(after="a/b/d")) == ["a/b/d/e", *names[-3:]]
    assert list(store.listed(after="a/b/d/e")) == names[-3:]
    assert list(store.listed("a", after="a/bc")) == ["a/bc/d", "a/b~"]
    assert store.listed("a/b/c") == store.listed("none") == store.listed(after="b") == {}


def test_folders(store: Store) -> None:
    for name in ("a/b/c", "a/d", "e/f/g", "h"):
        store.put(name, b"1")
    assert store.folders() == ["a", "e"]
    assert store.folders("a/") == ["a/b"]
    assert store.folders("a/b") == store.folders("none") == []


def test_more_is_listed_than_a_page_holds(at: Callable[[str], Store]) -> None:
    store = at("s3")
    names = [f"{number:04d}" for number in range(1003)]
    for name in names:
        store.put(name, b"")
    assert list(store.listed()) == names
    assert list(store.listed(after="0001")) == names[2:]


def test_a_folder_that_a_console_made_is_no_object(at: Callable[[str], Store], s3: str, tmp_path: Path) -> None:
    store = at("s3")
    assert asked(int(s3.rpartition(":")[2]), "PUT", f"/{BUCKET}/{tmp_path.name}/lake/") == 200
    store.put("a", b"1")
    assert list(store.listed()) == ["a"]


@pytest.mark.parametrize("size", [1, 9_000_000])
def test_what_is_to_be_new_is_put_once(store: Store, tmp_path: Path, size: int) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"1" * size)
    store.put("a/b", source, new=True)
    for again in (b"2", source):
        with pytest.raises(TakenError, match=f"^{re.escape(store.url)}/a/b: "):
            store.put("a/b", again, new=True)
    assert store.read("a/b") == b"1" * size


@pytest.mark.parametrize("size", [10, 3_000_000])
def test_of_many_who_put_something_new_one_wins(store: Store, size: int) -> None:
    for name in ("0.json", "1.json", "2.json"):
        won: list[int] = []
        start = threading.Barrier(8)

        def put(number: int, name: str = name, start: threading.Barrier = start, won: list[int] = won) -> None:
            start.wait()
            try:
                store.put(name, bytes([number]) * size, new=True)
            except TakenError:
                return
            won.append(number)

        threads = [threading.Thread(target=put, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        assert store.read(name) == bytes(won) * size


def test_what_is_removed(store: Store) -> None:
    for name in ("a/b", "a/c", "d", "e"):
        store.put(name, b"1")
    absent = [f"a/{number}" for number in range(260)]  # more than go in one request
    store.remove(iter([*absent[:100], "a/b", *absent[100:], "d", "a/b"]))
    assert list(store.listed()) == ["a/c", "e"]
    store.remove([])
    store.remove(["e", "a/c"])
    assert store.listed() == {}


def test_a_table_is_read_where_its_files_were_put(store: Store, tmp_path: Path) -> None:
    rows = pa.table({"day": ["2019-10-01", "2019-10-02"], "n": [1, 2]})
    write_deltalake(tmp_path / "table", rows, partition_by=["day"])
    write_deltalake(tmp_path / "table", rows, partition_by=["day"], mode="append")
    for path in (tmp_path / "table").rglob("*.*"):
        store.put(f"silver/table/{path.relative_to(tmp_path / 'table').as_posix()}", path)
    table = DeltaTable(f"{store.url}/silver/table", storage_options=store.options())
    assert table.version() == 1
    assert sorted(table.to_pyarrow_table().column("n").to_pylist()) == [1, 1, 2, 2]


def test_a_table_of_another_endpoint_than_the_environments(
    at: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    store = at("s3")
    write_deltalake(f"{store.url}/table", pa.table({"n": [1, 2]}), storage_options=store.options())
    assert len(store.listed("table/_delta_log")) == 1
    assert DeltaTable(f"{store.url}/table", storage_options=store.options()).to_pyarrow_table().num_rows == 2
    assert store.options()["aws_region"] == "eu-central-1"
    assert Store.at("s3://b", region="eu-west-3").options()["aws_region"] == "eu-west-3"
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    assert Store.at("s3://b").options()["aws_region"] == "us-east-1"


# What goes wrong


def unheard(error: BaseException, *more: str) -> str:
    """The text of an error, in which no secret stands, nor in what it came from."""
    seen: list[str] = []
    cause: BaseException | None = error
    while cause is not None:
        seen += [str(cause), repr(cause)]
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    for secret in (*SECRETS.values(), *more):
        assert not any(secret in text for text in seen), secret
    return str(error)


def refused(store: Store, target: Path) -> list[str]:
    """What each operation says where none can work."""
    said = []
    for operation in (
        store.listed, lambda: store.size("a"), lambda: store.read("a"), lambda: store.fetch("a", target),
        lambda: store.put("a", b"1"), lambda: store.put("a", b"1", new=True), lambda: store.put("a", bytes(9_000_000)),
        lambda: store.remove(["a", "b"]),
    ):  # fmt: skip
        with pytest.raises(StoreError, match=f"^{re.escape(store.url)}: ") as caught:
            operation()
        said.append(unheard(caught.value))
    assert not target.exists()
    return said


@pytest.mark.parametrize("scheme", ["s3", "az"])
def test_a_server_that_is_not_there(tmp_path: Path, scheme: str) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    for said in refused(Store.at(f"{scheme}://{BUCKET}/lake", endpoint), tmp_path / "target"):
        assert f": the server does not answer (at {endpoint}). " in said
        assert "store_endpoint" in said
        assert {"s3": "AWS_SECRET_ACCESS_KEY", "az": "AZURE_STORAGE_ACCOUNT_KEY"}[scheme] in said


def test_a_server_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"_ANSWER": 1, "_ANSWER_TO_PART": 1, "_REQUEST": 1, "_RETRY": 0}.items():
        monkeypatch.setattr(stores, name, seconds)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.listen(100)
        store = Store.at(f"s3://{BUCKET}/lake", f"http://127.0.0.1:{silent.getsockname()[1]}")
        large = bytes(9_000_000)
        for operation in (lambda: store.read("a"), lambda: store.put("a", large), lambda: store.remove(["a"])):
            with pytest.raises(StoreError, match=": the server does not answer "):
                operation()
        with pytest.raises(OSError, match="error sending request"):
            DeltaTable(f"{store.url}/table", storage_options=store.options())


@pytest.mark.parametrize("kind", CLOUDS)
def test_a_bucket_that_is_not_there(
    kind: str, at: Callable[[str], Store], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = at(kind).url.replace(BUCKET, "nowhere", 1)
    for said in refused(Store.at(url, request.getfixturevalue(kind)), tmp_path / "target"):
        assert ": it is not there (404" in said


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=f"^{tmp_path.as_uri()}/none: .*none"):
        Store.at(f"{tmp_path.as_uri()}/none")


def test_a_folder_that_refuses(at: Callable[[str], Store]) -> None:
    store = at("file")
    store.put("a/b", b"1")
    with pytest.raises(StoreError, match=f"^{store.url}: .*Is a directory"):
        store.put("a", b"1")


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """The endpoint of a server that has one answer to everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else body)

        do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815 - http.server's names

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (403, "SignatureDoesNotMatch", "access is denied (403, SignatureDoesNotMatch, at "),
        (401, "", "access is denied (401, at "),
        (301, "PermanentRedirect", "wrong region: see the setting store_region ("),
        (400, "AuthorizationHeaderMalformed", "wrong region: see the setting store_region (400, Auth"),
        (400, "EntityTooLarge", "the server answers with an error (400, EntityTooLarge, at "),
        (503, "SlowDown", "the server answers with an error (503, SlowDown, at "),
    ],
)
def test_a_server_that_refuses(status: int, code: str, said: str) -> None:
    text = f"<Error><Code>{code}</Code><Message>{SECRETS['AWS_ACCESS_KEY_ID']}</Message></Error>" if code else ""
    with answering(status, text.encode()) as endpoint:
        store = Store.at(f"s3://{BUCKET}/lake", endpoint)
        for operation in (store.listed, lambda: store.read("a"), lambda: store.put("a", b"1")):
            with pytest.raises(StoreError) as caught:
                operation()
            assert f"s3://{BUCKET}/lake: {said}" in unheard(caught.value)


def test_a_wrong_key_of_azure(at: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "d3Jvbmcgc2VjcmV0")
    with pytest.raises(StoreError, match=": access is denied ") as caught:
        at("azure").listed()
    unheard(caught.value, "d3Jvbmcgc2VjcmV0")


def test_half_a_credential(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(StoreError, match=r"no credentials are found.*AWS_ACCESS_KEY_ID") as caught:
        Store.at("s3://bucket").listed()
    unheard(caught.value)
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME")
    with pytest.raises(StoreError, match=r"no credentials are found.*AZURE_STORAGE_ACCOUNT_NAME"):
        Store.at("az://bucket").listed()


def test_a_signed_address_stays_unheard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_KEY")
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", "sv=2021-08-06&sp=rw&sig=d29yZA%3D%3D")
    with pytest.raises(StoreError) as caught:
        Store.at("az://bucket", f"http://127.0.0.1:{free_port()}").listed()
    unheard(caught.value, "d29yZA")


def test_http_is_for_the_setting_alone(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    store = Store.at(f"s3://{BUCKET}")
    with pytest.raises(StoreError, match="only the setting store_endpoint allows http://"):
        store.listed()
    assert store.options()["allow_http"] == "false"


def test_an_object_that_no_store_can_name(at: Callable[[str], Store], s3: str, tmp_path: Path) -> None:
    store = at("s3")
    assert asked(int(s3.rpartition(":")[2]), "PUT", f"/{BUCKET}/{tmp_path.name}/lake/a//b") == 200
    with pytest.raises(StoreError, match=r"invalid path: .*a//b"):
        store.listed()
    with pytest.raises(ValueError, match="empty path segment"):
        store.put("a//b", b"1")


@pytest.mark.parametrize(
    "url",
    ["", "lake", "/lake", "s3:bucket", "s3://", "s3:///lake", "ftp://word/lake", "https://word/lake", "file://word/lake",
     "s3://word:word@bucket/lake", "s3://word@bucket", "s3://word:wo/rd@bucket", "az://word@account.dfs.core.windows.net",
     "s3://bucket/lake?sig=word", "s3://bucket/lake#word", "s3://bucket/a//word", "s3://bucket/a/../word",
     "s3://bucket/word%20", "s3://bucket:9000/word", "abfss://box:word@account.dfs.core.windows.net/lake",
     "abfss://box@elsewhere/word", "file:///lake?word", "s3://bucket/word\n"],
)  # fmt: skip
def test_urls_that_are_not_understood(url: str) -> None:
    with pytest.raises(UsageError, match="s3://bucket/folder") as caught:
        Store.at(url)
    unheard(caught.value, "word,", "word@", "word/", "=word", "wo/rd")


@pytest.mark.parametrize(
    ("url", "endpoint", "region"),
    [("s3://b", "127.0.0.1:9000", ""), ("s3://b", "http://me:word@host", ""), ("s3://b", "https://host/?word", ""),
     ("gs://b", "http://127.0.0.1", ""), ("file:///tmp", "http://127.0.0.1", ""), ("az://b", "", "eu-west-3"),
     ("file:///tmp", "", "eu-west-3"), ("s3://b", "ftp://host", "")],
)  # fmt: skip
def test_servers_that_are_not_understood(url: str, endpoint: str, region: str) -> None:
    with pytest.raises(UsageError, match="store_region" if region else "store_endpoint") as caught:
        Store.at(url, endpoint, region)
    unheard(caught.value, "word@", "?word")


@pytest.mark.parametrize("url", ["abfss://box@account.dfs.core.windows.net/a/b", "abfs://box/a", "s3://a.b-c/d/",
                                 "gs://bucket/a", "az://box", "s3://bucket"])  # fmt: skip
def test_urls_that_are_understood(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_SKIP_SIGNATURE", "true")
    store = Store.at(url)
    assert repr(store) == f"Store('{url.rstrip('/')}')"
    told = f"{store.options()} {store!r} {vars(store)}"
    assert not any(secret in told for secret in SECRETS.values())


def test_a_store_that_fails_at_a_place(store: Store) -> None:
    store.put("a", b"1")
    with armed("store.put:enospc"), pytest.raises(OSError, match="No space") as caught:
        store.put("b", b"1")
    assert caught.value.errno == errno.ENOSPC
    with armed("store.remove:eio"), pytest.raises(OSError, match="Input/output"):
        store.remove(["a"])
    assert list(store.listed()) == ["a"]


def test_a_forked_process_is_told_instead_of_left_waiting(at: Callable[[str], Store]) -> None:
    store = at("file")
    store.put("a", b"1")
    child = os.fork()
    if not child:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(20)  # what waits inside of the library hears no exception
        try:
            store.read("a")
        except RuntimeError as error:
            os._exit(7 if "spawned" in str(error) else 1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(StoreError, match=r"^s3://bucket: .*pip install '\.\[cloud\]'"):
        Store.at("s3://bucket")


def test_importing_costs_nothing() -> None:
    code = "import sys, resources.store; print(sorted({'obstore', 'pyarrow', 'deltalake'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], cwd=REPOSITORY, text=True) == "[]\n"
