"""Files staged and parsed ahead of their turn, each by a thread and a cursor of its own."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Container, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import pyarrow as pa

from behavior_assets.ingestion import landing
from behavior_assets.ingestion.names import shown
from behavior_assets.ingestion.reader import FileReading, open_reading, stream
from behavior_assets.ingestion.redaction import Redaction
from behavior_assets.ingestion.sources.base import Source
from resources.disk import refusal
from resources.engine import parser_cursor
from resources.errors import InputRefusedError
from resources.settings import Settings

MAX_UNPACKED = 64 * 2**30  # bytes


@dataclass(frozen=True)
class Replay:
    """Which quarantined rows a file was made of: the key of their delivery, and their numbers in its order."""

    part: str
    rows: tuple[int, ...]


@dataclass(frozen=True)
class Delivery:
    """A file to ingest, how to read it, and whether it lies in ``landing/`` (and leaves it after the commit).

    ``redaction``: what is blank in it, where it comes from the archive.
    """

    path: Path
    source: Source
    from_landing: bool = False
    replay: Replay | None = None
    redaction: Redaction | None = None


@dataclass
class Prepared:
    """A delivery that was staged and opened, with its rows when it is small, or with what went wrong."""

    delivery: Delivery
    staged: landing.Staged | None = None
    reading: FileReading | None = None
    rows: pa.Table | None = None
    cursor: duckdb.DuckDBPyConnection | None = None
    error: Exception | None = None
    staging_seconds: float = 0.0

    def tables(self) -> Iterator[pa.Table]:
        """The parsed rows: as one table, or as a stream."""
        if self.rows is not None:
            yield self.rows
        elif self.cursor is not None and self.reading is not None:
            with _out_of_memory(self.delivery), ThreadPoolExecutor(1, thread_name_prefix="parser") as pool:
                batches = iter(stream(self.cursor, self.reading))
                coming = pool.submit(next, batches, None)
                while (record_batch := coming.result()) is not None:
                    coming = pool.submit(next, batches, None)  # is parsed while this one is worked on
                    yield pa.Table.from_batches([record_batch])


@dataclass(frozen=True)
class Reader:
    """Reads deliveries by the locked parser, a cursor for each.

    ``known`` are the keys of those that are in the ledger, which are staged but not parsed.
    """

    connection: duckdb.DuckDBPyConnection
    settings: Settings
    known: Container[str]
    arrived_us: int

    def read(self, deliveries: Iterable[Delivery]) -> Iterator[Prepared]:
        """Deliveries in their order; at most one more than there are threads is held ready."""
        self.connection.execute(_ip_macro(self.settings.ipv4_prefix))
        ahead: deque[Future[Prepared]] = deque()
        with ThreadPoolExecutor(self.settings.threads, thread_name_prefix="reader") as pool:
            for delivery in deliveries:
                ahead.append(pool.submit(self._prepare, delivery))
                if len(ahead) > self.settings.threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()

    def _prepare(self, delivery: Delivery) -> Prepared:
        """Stage and open a file, and parse it when it is small enough to be held; errors are kept for later."""
        prepared = Prepared(delivery)
        started = time.perf_counter()
        try:
            prepared.staged = landing.stage(
                delivery.path, delivery.source.name, self.settings.home.staging, MAX_UNPACKED,
                delivery.source.contract,
            )  # fmt: skip
            if delivery.replay is not None:
                prepared.staged = replace(prepared.staged, replay_of=delivery.replay.part)
            if delivery.redaction is not None:
                prepared.staged = replace(prepared.staged, sha256=delivery.redaction.original)
            prepared.staging_seconds = time.perf_counter() - started
            if not prepared.staged.delivered_before(self.known):
                cursor = prepared.cursor = parser_cursor(self.connection, self.settings)
                with _out_of_memory(delivery):
                    prepared.reading = open_reading(
                        cursor, prepared.staged, delivery.source, self.settings, self.arrived_us
                    )
                    if delivery.redaction is not None:
                        prepared.reading.suppressed |= set(delivery.redaction.rows)
                    if prepared.reading.is_small(self.settings.chunk_rows // 4):
                        prepared.rows = stream(cursor, prepared.reading).read_all()
        except (InputRefusedError, duckdb.Error, pa.ArrowException) as error:
            prepared.error = error
        return prepared


@contextmanager
def _out_of_memory(delivery: Delivery) -> Iterator[None]:
    """What does not fit into memory is refused as a whole, as what the parser cannot read."""
    try:
        yield
    except (duckdb.OutOfMemoryException, MemoryError) as error:
        if refusal(error):  # the disk, where it makes room, is full
            raise
        msg = (
            f"{shown(delivery.path.name)}: reading it takes more than the parser's half of the setting memory_limit. "
            "Deliver it in smaller files or with shorter rows, or raise the setting."
        )
        raise InputRefusedError(msg) from error


# An address as logs and proxies write it: in brackets, with a zone or a port, or as the first of a list of hops.
_OCTET = "(?:25[0-5]|2[0-4][0-9]|[01]?[0-9]?[0-9])"
_V4 = rf"{_OCTET}(?:\.{_OCTET}){{3}}"
_GROUP = "[0-9A-Fa-f]{1,4}"
_PORT, _HOPS = "(?::[0-9]{1,5})?", r"\s*(?:,.*)?$"
_FIRST_V4 = rf"^\s*\[?(?:(?:::|(?:0{{1,4}}:){{5}})ffff:)?({_V4})\]?{_PORT}{_HOPS}"
_ZONED = "([0-9A-Fa-f:.]{2,45})(?:%[0-9A-Za-z]+)?"
_FIRST_V6 = rf"^\s*(?:\[{_ZONED}\]{_PORT}|{_ZONED}){_HOPS}"
_WHOLE_V6 = rf"(?:{_GROUP}:){{7}}{_GROUP}|(?:{_GROUP}:){{6}}{_V4}"
_SHORT_V6 = rf"(?:{_GROUP}(?::{_GROUP}){{0,6}})?::(?:{_GROUP}(?::{_GROUP}){{0,6}}|(?:{_GROUP}:){{0,5}}{_V4})?"


def _ip_macro(bits: int) -> str:
    """SQL macros that truncate an address: IPv4 to /24 or /16, IPv6 to /48; anything else becomes NULL."""
    kept, zeros = bits // 8, ".0" * (4 - bits // 8)
    plain = f"([0-9]{{1,3}}(?:\\.[0-9]{{1,3}}){{{kept - 1}}}).*"
    return f"""
    CREATE OR REPLACE MACRO truncated_v4(address) AS (
        CASE WHEN address <> '' THEN regexp_replace(address, '^{plain}$', '\\1{zeros}') END);
    CREATE OR REPLACE MACRO truncated_v6(address) AS (
        CASE WHEN regexp_full_match(address, '{_WHOLE_V6}') OR (regexp_full_match(address, '{_SHORT_V6}')
                AND len(string_split(address, ':')) <= 9) THEN
            concat(array_to_string(list_slice(list_concat(
                list_filter(string_split(string_split(address, '::')[1], ':'), lambda g: g <> ''),
                ['0', '0', '0']), 1, 3), ':'), '::') END);
    CREATE OR REPLACE MACRO truncated_ip(address) AS (coalesce(
        truncated_v4(regexp_extract(address, '{_FIRST_V4}', 1, 'i')),
        truncated_v6(concat(regexp_extract(address, '{_FIRST_V6}', 1), regexp_extract(address, '{_FIRST_V6}', 2)))))"""
