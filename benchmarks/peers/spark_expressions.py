"""Small Spark expressions that the tables share, and keys: pseudonyms of persons, surrogate keys of all else."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

from pyspark.sql import functions as fn

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyspark.sql import Column

UNKNOWN, UNKNOWN_KEY = "(unknown)", -1
MONEY = "decimal(18,4)"
_DIGITS = 15  # 60 bits
_PSEUDONYM_DIGITS = 32
_BLOCK = 64  # bytes of a SHA-256 block


def case(branches: Iterable[tuple[Column, object]], otherwise: object = None) -> Column:
    """The value of the first condition that holds."""
    (condition, value), *others = branches
    found = reduce(lambda made, branch: made.when(*branch), others, fn.when(condition, value))
    return found.otherwise(otherwise)


def yes_no(condition: Column) -> Column:
    """Flags are published as words; unknown is No."""
    return fn.when(condition, "Yes").otherwise("No")


def date_key(day: Column) -> Column:
    """Yyyymmdd."""
    return (fn.year(day) * 10000 + fn.month(day) * 100 + fn.day(day)).cast("long")


def is_sale() -> Column:
    """Order lines of type sale."""
    return (fn.col("event_name") == "purchase") & (fn.col("line_type") == "sale")


def line_value() -> Column:
    """Price times quantity."""
    return (fn.col("price") * fn.col("quantity").cast("int")).cast(MONEY)


def surrogate(table: str, business_id: Column) -> Column:
    """First 60 bits of sha256 over (table, business id). The way from hex to a number is slow: for few rows."""
    digest = fn.sha2(fn.concat(fn.lit(f"{table}\x1f"), business_id).cast("binary"), 256)
    return fn.conv(fn.substring(digest, 1, _DIGITS), 16, 10).cast("long")


def surrogate_of(table: str, business_id: str) -> int:
    """The same of one value."""
    return int(hashlib.sha256(f"{table}\x1f{business_id}".encode()).hexdigest()[:_DIGITS], 16)


def mixed(*columns: Column) -> Column:
    """60 bits of a fast hash, never below zero."""
    return fn.shiftrightunsigned(fn.xxhash64(*columns), 4)


@dataclass(frozen=True)
class Keys:
    """Keyed pseudonyms, each purpose with a key of its own."""

    master: bytes

    def hmac(self, purpose: str, value: Column) -> Column:
        """HMAC-SHA256 (RFC 2104) as 32 hex digits."""
        block = self._of(purpose).ljust(_BLOCK, b"\0")
        inner, outer = (fn.lit(bytes(b ^ pad for b in block)) for pad in (0x36, 0x5C))
        within = fn.unhex(fn.sha2(fn.concat(inner, value.cast("binary")), 256))
        return fn.substring(fn.sha2(fn.concat(outer, within), 256), 1, _PSEUDONYM_DIGITS)

    def number(self, purpose: str, value: Column) -> Column:
        """60 bits of a keyed sha256; a fast hash of the digest is all that is shown, so one pass is enough."""
        return mixed(fn.sha2(fn.concat(fn.lit(self._of(purpose)[:16]), value.cast("binary")), 256))

    def _of(self, purpose: str) -> bytes:
        return hmac.digest(self.master, f"behavior-lakehouse/1/{purpose}".encode(), "sha256")
