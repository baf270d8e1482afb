"""DuckDB with explicit limits: the engine with the functions Ibis does not have, and the locked parser of deliveries.

Ibis expressions call ``pseudonym_*``, ``surrogate_key`` and friends by name; each engine supplies them (here as
DuckDB macros), so that the expressions themselves stay the same on every engine.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import duckdb
import ibis
from ibis.backends.duckdb import Backend

from resources.errors import UsageError
from resources.keys import KEY_BYTES, PSEUDONYM, PSEUDONYM_HEX_DIGITS, hmac_pads, load_key, purpose_key
from resources.settings import Settings

SURROGATE_HEX_DIGITS = 15  # 60 bits of a sha256

# How the memory limit is shared while files are parsed: the parser, the engine that looks for duplicates beside it;
# what is left is for parsed rows on their way to a file.
_PARSER_SHARE, _BESIDE_SHARE, _AHEAD_SHARE = 2, 4, 16
# How far a result that is read bit by bit is computed ahead: else one thread computes it, and only when asked.
_AHEAD = "streaming_buffer_size"
_PROBE_MEMORY = 64 * 2**20
_PATTERNS = "*?["  # what DuckDB takes for a pattern in the name of a file

_MACROS = f"""
CREATE MACRO surrogate_key(tab, business_id) AS
    ('0x' || substr(sha256(tab || chr(31) || business_id), 1, {SURROGATE_HEX_DIGITS}))::BIGINT;
"""


@ibis.udf.scalar.builtin
def surrogate_key(tab: str, business_id: str) -> int:
    """First 60 bits of sha256 over (table, business id): the ``*_key`` of DESIGN §7."""


@ibis.udf.scalar.builtin
def pseudonym_customer(value: str) -> str:
    """HMAC-SHA256 of a user or client id, 32 hex digits."""


@ibis.udf.scalar.builtin
def former_customer(value: str) -> str:
    """What ``pseudonym_customer`` gave under the former key."""


@ibis.udf.scalar.builtin
def pseudonym_transaction(value: str) -> str:
    """HMAC-SHA256 of a transaction id, 32 hex digits."""


@ibis.udf.scalar.builtin
def key_session(value: str) -> int:
    """60 bits of a keyed sha256 over a visit's natural key."""


@ibis.udf.scalar.builtin
def key_event(value: str) -> int:
    """60 bits of a keyed sha256 over an event id."""


def _limit(connection: duckdb.DuckDBPyConnection, memory: int, threads: int, spill: Path | None) -> None:
    """Set the limits for a database and all cursors on it."""
    options: dict[str, str | int] = {
        "memory_limit": _mebibytes(memory),
        "threads": threads,
        "temp_directory": str(spill or ""),
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "allow_persistent_secrets": "false",
        "enable_progress_bar": "false",
        "preserve_insertion_order": "true",
        _AHEAD: _mebibytes(memory // _AHEAD_SHARE),
    }
    for name, value in options.items():
        connection.execute(f"SET {name} = {_quoted(str(value))}")
    connection.execute("SET GLOBAL TimeZone = 'UTC'")


def _mebibytes(size: int) -> str:
    return f"{max(size // 2**20, 1)}MiB"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def install_pseudonyms(connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """Keyed pseudonyms as macros. Keys travel as session variables, never as text of a query."""
    master = load_key(settings, PSEUDONYM)
    for purpose in ("customer", "transaction"):
        _install_hmac(connection, f"pseudonym_{purpose}", purpose_key(master, purpose))
    # Of these only 60 of the 256 bits are ever shown, and without the rest nobody can extend a hash: one pass over
    # key and value is then a pseudo-random function, at a quarter of the cost of an HMAC. They are computed for
    # every visit and every event, and half a key (128 bits) with an event id still fits one block.
    for purpose, length in (("session", KEY_BYTES), ("event", KEY_BYTES // 2)):
        connection.execute(f"SET VARIABLE key_{purpose} = ?::BLOB", [purpose_key(master, purpose)[:length]])
        connection.execute(
            f"CREATE MACRO key_{purpose}(value) AS ('0x' || substr(sha256(getvariable('key_{purpose}') || "
            f"encode(value)), 1, {SURROGATE_HEX_DIGITS}))::BIGINT"
        )


def install_former_pseudonym(connection: duckdb.DuckDBPyConnection, master: bytes) -> None:
    """``former_customer``: the pseudonym that a person had under an older version of the key."""
    _install_hmac(connection, "former_customer", purpose_key(master, "customer"))


def _install_hmac(connection: duckdb.DuckDBPyConnection, name: str, key: bytes) -> None:
    inner, outer = hmac_pads(key)
    connection.execute(f"SET VARIABLE inner_{name} = ?::BLOB", [inner])
    connection.execute(f"SET VARIABLE outer_{name} = ?::BLOB", [outer])
    connection.execute(
        f"CREATE OR REPLACE MACRO {name}(value) AS substr(sha256(getvariable('outer_{name}') || "
        f"unhex(sha256(getvariable('inner_{name}') || encode(value)))), 1, {PSEUDONYM_HEX_DIGITS})"
    )


@contextmanager
def engine(settings: Settings, *, pseudonyms: bool = False) -> Iterator[Backend]:
    """An Ibis backend over a fresh in-memory DuckDB. ``backend.con`` is the native connection."""
    settings.home.staging.mkdir(parents=True, exist_ok=True)
    connection = duckdb.connect(":memory:")
    with _spill(settings.home.staging) as spill:
        try:
            _limit(connection, settings.memory_limit, settings.threads, spill)
            connection.execute(_MACROS)
            if pseudonyms:
                install_pseudonyms(connection, settings)
            yield ibis.duckdb.from_connection(connection)
        finally:
            connection.close()


@contextmanager
def _spill(folder: Path | None) -> Iterator[Path | None]:
    """A place below a folder for what a database cannot hold in memory: two databases must not share one."""
    place = None if folder is None else folder / f"spill-{uuid.uuid4().hex}"
    try:
        yield place
    finally:
        if place is not None:
            shutil.rmtree(place, ignore_errors=True)


@contextmanager
def locked(folder: Path | None, memory: int, threads: int) -> Iterator[duckdb.DuckDBPyConnection]:
    """A fresh in-memory DuckDB that reads and writes below one folder (None: nowhere) and that no query can unlock.

    Files elsewhere, other databases, extensions, the network and every setting but how far results
    are computed ahead are out of reach.
    """
    connection = duckdb.connect(":memory:")
    with _spill(folder) as spill:
        try:
            _limit(connection, memory, threads, spill)
            if folder is not None:
                connection.execute(f"SET allowed_directories = [{_quoted(str(folder))}]")
            connection.execute("SET enable_external_access = false")
            connection.execute(f"SET allowed_configs = ['{_AHEAD}']")
            connection.execute("SET lock_configuration = true")
            yield connection
        finally:
            connection.close()


@contextmanager
def parser(settings: Settings, beside: duckdb.DuckDBPyConnection) -> Iterator[duckdb.DuckDBPyConnection]:
    """The only DuckDB that parses what others wrote: it sees the staging folder of the home and nothing else.

    It has half of the memory limit. The engine ``beside`` it gives way to a quarter meanwhile, and the last quarter
    is for rows that wait in memory. Each thread takes a ``parser_cursor`` of its own.
    """
    staging = settings.home.staging
    if any(sign in str(staging) for sign in _PATTERNS):
        msg = (
            f"--home {settings.home.root}: a folder's name with {', '.join(_PATTERNS)} is a pattern to the engine. "
            "Give the home another place."
        )
        raise UsageError(msg)
    staging.mkdir(parents=True, exist_ok=True)
    beside.execute(f"SET memory_limit = '{_mebibytes(settings.memory_limit // _BESIDE_SHARE)}'")
    try:
        with locked(staging, settings.memory_limit // _PARSER_SHARE, settings.threads) as connection:
            yield connection
    finally:
        with suppress(duckdb.ConnectionException):  # after an error the engine may have been closed before us
            beside.execute(f"SET memory_limit = '{_mebibytes(settings.memory_limit)}'")


def parser_cursor(locked_parser: duckdb.DuckDBPyConnection, settings: Settings) -> duckdb.DuckDBPyConnection:
    """A cursor of the ``parser``, whose results all threads compute ahead: of that setting each session has its own."""
    cursor = locked_parser.cursor()
    cursor.execute(f"SET {_AHEAD} = '{_mebibytes(settings.memory_limit // _PARSER_SHARE // _AHEAD_SHARE)}'")
    return cursor


@contextmanager
def probe() -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB that reaches no file at all, for asking whether it understands a text."""
    with locked(None, _PROBE_MEMORY, 1) as connection:
        yield connection
