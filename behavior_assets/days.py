"""Days of the shop: ``yyyy-mm-dd`` where people or files name them, and their number since 1970 where one counts."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

_EPOCH = date(1970, 1, 1)


def number_of(day: str | date) -> int:
    """Days since 1970."""
    return ((date.fromisoformat(day) if isinstance(day, str) else day) - _EPOCH).days


def day_of(number: int) -> str:
    """The day so many days after 1970 began."""
    return (_EPOCH + timedelta(days=int(number))).isoformat()


def day_of_key(key: int) -> str:
    """The day of a ``date_key``, yyyymmdd."""
    return f"{key // 10_000:04d}-{key // 100 % 100:02d}-{key % 100:02d}"


def next_day(day: str, offset: int = 1) -> str:
    """The day so many days later (earlier if negative)."""
    return (date.fromisoformat(day) + timedelta(days=offset)).isoformat()


def day_end_us(day: str, timezone: str) -> int:
    """UTC microseconds at which a shop's day ends."""
    following = datetime.combine(date.fromisoformat(day) + timedelta(days=1), time(), ZoneInfo(timezone))
    return round(following.timestamp()) * 1_000_000
