"""How moments name what a home keeps by them: snapshots, what a repair put aside, notes of unexpected errors."""

from __future__ import annotations

from datetime import UTC, datetime


def stamp(moment: datetime) -> str:
    """A moment in UTC to the microsecond; such names sort by time."""
    return f"{moment.astimezone(UTC):%Y%m%dT%H%M%S%fZ}"
