"""Real servers for tests, on loopback and thrown away afterwards: databases from Debian's packages, and object stores.

Databases refuse to run as root: where the tests do, they run as the user that their package made.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from http.client import HTTPConnection
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.conftest import REPOSITORY, absent

PASSWORD = "correct horse/battery@staple"
BUCKET = "lake"  # what the object stores below are begun with: a bucket, a container
ACCOUNT, KEY = "shop", base64.b64encode(b"correct horse").decode()  # of Azure
# moto looks whether a name is free and then writes. A store does both at once, and so does moto if it is asked by one
# at a time.
MOTO = """
import sys
from threading import Lock
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple
app, alone = DomainDispatcherApplication(create_backend_app), Lock()
def one_by_one(environ, start_response):
    with alone:
        return app(environ, start_response)
run_simple("127.0.0.1", int(sys.argv[1]), one_by_one, threaded=True)
"""
PATIENCE = 60  # seconds for a server to answer


@dataclass(frozen=True)
class Server:
    """A server that runs, and its administrator."""

    port: int
    admin: str
    folder: Path


def require(*needed: tuple[str, str]) -> None:
    """Skip where a program or a Python package is absent, or fail where CI says that all is there: (kind, name)."""
    missing = [name for kind, name in needed if not (_program(name) if kind == "program" else find_spec(name))]
    missing = [name for name in missing if not Path(name).exists()]
    if missing:
        absent(f"not installed: {', '.join(missing)}")


def odbc_driver(name: str) -> str:
    """The name of an ODBC driver that is registered on this machine; else the test is skipped, or fails in CI."""
    require(("module", "pyodbc"))
    import pyodbc

    if name not in pyodbc.drivers():
        absent(f"no ODBC driver {name!r}")
    return name


def _program(name: str) -> str | None:
    """The path of a server's program: Debian keeps PostgreSQL's outside of PATH, by version, and others in sbin."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin")
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda p: int(p.parts[-3]))
    return found or (str(versions[-1]) if versions else None)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _folder(user: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A folder of the server's user, and what makes a process run as that user."""
    folder = Path(tempfile.mkdtemp(prefix="behavior-"))
    identity: dict[str, Any] = {}
    if os.geteuid() == 0:
        account = pwd.getpwnam(user)
        os.chown(folder, account.pw_uid, account.pw_gid)
        identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    try:
        yield folder, {"cwd": folder, "stdin": subprocess.DEVNULL, **identity}
    finally:
        shutil.rmtree(folder)


@contextmanager
def running(
    command: list[str], how: dict[str, Any], log: Path, answers: Callable[[], bool], stop: int
) -> Iterator[None]:
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, **how)
    try:
        end = time.monotonic() + PATIENCE
        while not answers():
            assert process.poll() is None, log.read_text("utf-8", "replace")[-2000:]
            assert time.monotonic() < end, log.read_text("utf-8", "replace")[-2000:]
            time.sleep(0.05)
        yield
    finally:
        process.send_signal(stop)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def postgres() -> Iterator[Server]:
    """A PostgreSQL server whose superuser ``boss`` has PASSWORD."""
    require(("program", "initdb"), ("program", "postgres"), ("module", "psycopg"))
    import psycopg

    with _folder("postgres") as (folder, how):
        data, secret, port = folder / "data", folder / "secret", free_port()
        secret.write_text(PASSWORD, "utf-8")
        secret.chmod(0o644)
        made = subprocess.run(
            [str(_program("initdb")), "-D", data, "-U", "boss", "--pwfile", secret, "-A", "scram-sha-256", "-E", "UTF8",
             "--locale", "C.UTF-8", "--no-sync"], check=False, capture_output=True, **how,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr.decode()
        server = Server(port, "boss", folder)

        def answers() -> bool:
            try:
                psycopg.connect(host="127.0.0.1", port=port, user="boss", password=PASSWORD, dbname="postgres").close()
            except psycopg.OperationalError:
                return False
            return True

        settings = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": folder, "fsync": "off",
                    "max_wal_size": "2GB"}  # fmt: skip
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command = [str(_program("postgres")), "-D", str(data), *options]
        with running(command, how, folder / "log", answers, signal.SIGINT):
            yield server


@contextmanager
def mariadb() -> Iterator[Server]:
    """A MariaDB server whose administrator ``boss`` has PASSWORD."""
    require(("program", "mariadbd"), ("program", "mariadb-install-db"), ("module", "pymysql"))
    import pymysql

    with _folder("mysql") as (folder, how):
        data, port = folder / "data", free_port()
        made = subprocess.run(
            [str(_program("mariadb-install-db")), "--no-defaults", f"--datadir={data}", "--skip-test-db",
             "--auth-root-authentication-method=normal", "--innodb-log-file-size=16M"],
            check=False, capture_output=True, **how,
        )  # fmt: skip
        assert made.returncode == 0, made.stdout.decode() + made.stderr.decode()
        begin = folder / "begin.sql"
        begin.write_text(f"CREATE USER 'boss'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';\n"
                         "GRANT ALL ON *.* TO 'boss'@'127.0.0.1' WITH GRANT OPTION;\n", "utf-8")  # fmt: skip
        begin.chmod(0o644)
        server = Server(port, "boss", folder)

        def answers() -> bool:
            try:
                pymysql.connect(host="127.0.0.1", port=port, user="boss", password=PASSWORD).close()
            except pymysql.err.OperationalError:
                return False
            return True

        command = [str(_program("mariadbd")), "--no-defaults", f"--datadir={data}", f"--port={port}",
                   "--bind-address=127.0.0.1", f"--socket={folder}/s", f"--init-file={begin}", "--skip-name-resolve",
                   "--innodb-flush-log-at-trx-commit=0", "--innodb-log-file-size=256M", "--innodb-doublewrite=0",
                   "--debug-no-sync", "--innodb-file-per-table=0", f"--pid-file={folder}/pid"]  # fmt: skip
        with running(command, how, folder / "log", answers, signal.SIGTERM):
            yield server


@contextmanager
def s3_server() -> Iterator[str]:
    """The endpoint of an S3 server with the bucket BUCKET. It asks nobody for credentials."""
    require(("module", "moto"), ("module", "flask"))
    port = free_port()

    def answers() -> bool:
        try:
            return asked(port, "PUT", f"/{BUCKET}") == 200
        except ConnectionError:
            return False

    with tempfile.TemporaryDirectory(prefix="behavior-") as folder:
        how = {"cwd": folder, "stdin": subprocess.DEVNULL}
        command = [sys.executable, "-c", MOTO, str(port)]
        with running(command, how, Path(folder) / "log", answers, signal.SIGTERM):
            yield f"http://127.0.0.1:{port}"


@contextmanager
def azure_server() -> Iterator[str]:
    """The endpoint of ACCOUNT, whose key is KEY, on Azure's emulator, with the container BUCKET."""
    program = shutil.which("azurite-blob") or shutil.which(
        "azurite-blob", path=str(REPOSITORY / ".checkers" / "node_modules" / ".bin")
    )
    if program is None:
        absent("not installed: azurite (make checkers)")
    port, path = free_port(), f"/{ACCOUNT}/{BUCKET}"

    def answers() -> bool:
        headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-12-02"}
        told = "".join(f"{name}:{value}\n" for name, value in headers.items())
        text = f"PUT{12 * chr(10)}{told}/{ACCOUNT}{path}\nrestype:container"
        signed = base64.b64encode(hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()).decode()
        headers["Authorization"] = f"SharedKey {ACCOUNT}:{signed}"
        try:
            return asked(port, "PUT", f"{path}?restype=container", headers) == 201
        except ConnectionError:
            return False

    with tempfile.TemporaryDirectory(prefix="behavior-") as folder:
        how = {"cwd": folder, "stdin": subprocess.DEVNULL, "env": os.environ | {"AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"}}
        command = [program, "--blobHost", "127.0.0.1", "--blobPort", str(port), "--inMemoryPersistence",
                   "--disableTelemetry", "--skipApiVersionCheck"]  # fmt: skip
        with running(command, how, Path(folder) / "log", answers, signal.SIGTERM):
            yield f"http://127.0.0.1:{port}/{ACCOUNT}"


def asked(port: int, method: str, path: str, headers: dict[str, str] | None = None) -> int:
    """The status that a server on this machine answers with."""
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request(method, path, headers=headers or {})
        return connection.getresponse().status
    finally:
        connection.close()
