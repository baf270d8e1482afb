"""The DuckDB engine: one connection factory with explicit limits, and the functions Ibis does not have.

Ibis expressions call ``pseudonym_*``, ``surrogate_key`` and friends by name; each engine supplies them (here as
DuckDB macros), so that the expressions themselves stay the same on every engine.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import ibis
from ibis.backends.duckdb import Backend

from resources.keys import KEY_BYTES, hmac_pads, load_or_create_key, purpose_key
from resources.settings import Settings

SURROGATE_HEX_DIGITS = 15  # 60 bits of a sha256
PSEUDONYM_HEX_DIGITS = 32  # 128 bits of an HMAC-SHA256

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
def pseudonym_transaction(value: str) -> str:
    """HMAC-SHA256 of a transaction id, 32 hex digits."""


@ibis.udf.scalar.builtin
def key_session(value: str) -> int:
    """60 bits of a keyed sha256 over a visit's natural key."""


@ibis.udf.scalar.builtin
def key_event(value: str) -> int:
    """60 bits of a keyed sha256 over an event id."""


def configure(connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """Limits, UTC and the shared macros on a fresh connection. The temporary folder lies in the home."""
    spill = settings.home.staging / "spill"
    options: dict[str, str | int] = {
        "memory_limit": f"{settings.memory_limit // 2**20}MiB",
        "threads": settings.threads,
        "temp_directory": str(spill),
        "TimeZone": "UTC",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "enable_progress_bar": "false",
        "preserve_insertion_order": "true",
    }
    for name, value in options.items():
        connection.execute(f"SET {name} = '{str(value).replace(chr(39), chr(39) * 2)}'")
    connection.execute(_MACROS)


def install_pseudonyms(connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """Keyed pseudonyms as macros. Keys travel as session variables, never as text of a query."""
    master = load_or_create_key(settings.key_path)
    for purpose in ("customer", "transaction"):
        inner, outer = hmac_pads(purpose_key(master, purpose))
        connection.execute(f"SET VARIABLE inner_{purpose} = ?::BLOB", [inner])
        connection.execute(f"SET VARIABLE outer_{purpose} = ?::BLOB", [outer])
        connection.execute(
            f"CREATE MACRO pseudonym_{purpose}(value) AS substr(sha256(getvariable('outer_{purpose}') || "
            f"unhex(sha256(getvariable('inner_{purpose}') || encode(value)))), 1, {PSEUDONYM_HEX_DIGITS})"
        )
    # Of these only 60 of the 256 bits are ever shown, and without the rest nobody can extend a hash: one pass over
    # key and value is then a pseudo-random function, at a quarter of the cost of an HMAC. They are computed for
    # every visit and every event, and half a key (128 bits) with an event id still fits one block.
    for purpose, length in (("session", KEY_BYTES), ("event", KEY_BYTES // 2)):
        connection.execute(f"SET VARIABLE key_{purpose} = ?::BLOB", [purpose_key(master, purpose)[:length]])
        connection.execute(
            f"CREATE MACRO key_{purpose}(value) AS ('0x' || substr(sha256(getvariable('key_{purpose}') || "
            f"encode(value)), 1, {SURROGATE_HEX_DIGITS}))::BIGINT"
        )


@contextmanager
def engine(settings: Settings, *, pseudonyms: bool = False) -> Iterator[Backend]:
    """An Ibis backend over a fresh in-memory DuckDB. ``backend.con`` is the native connection."""
    settings.home.staging.mkdir(parents=True, exist_ok=True)
    connection = duckdb.connect(":memory:")
    try:
        configure(connection, settings)
        if pseudonyms:
            install_pseudonyms(connection, settings)
        yield ibis.duckdb.from_connection(connection)
    finally:
        connection.close()


def clean_staging(path: Path) -> None:
    """Remove what an earlier run left behind."""
    shutil.rmtree(path, ignore_errors=True)
