"""Times of a generic source: the mapping's format as SQL, and device clocks set right by what the collector noted."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import duckdb

from behavior_assets.ingestion.sources.base import Check, blank
from resources.engine import probe
from resources.errors import UsageError

# Microseconds in a unit, and the digits that cannot overflow.
_EPOCHS = {"epoch_s": (1_000_000, 11), "epoch_ms": (1_000, 14), "epoch_us": (1, 17)}
_FARTHEST_US = 253_402_300_800_000_000  # the year 10,000: sums of times beyond it, and their days, may overflow
# Hours alone are an offset only after a time of day: a date ends in such digits too.
_OFFSET = "(Z|[+-][0-9]{2}:?[0-9]{2}|:[0-9.]+[+-][0-9]{2})$"


def time_sql(time: dict[str, str], column: str, where: str) -> str:
    """SQL: a text column, read by a mapping's ``time`` (format and zone), as UTC microseconds, else NULL.

    Raises UsageError naming the key of a format or zone that cannot be.
    """
    zone, pattern = time["zone"], time["format"]
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError) as error:
        msg = f"{where}: time.zone {zone!r} is not a time zone."
        raise UsageError(msg) from error
    if pattern in _EPOCHS:
        factor, digits = _EPOCHS[pattern]
        whole = f"CASE WHEN regexp_full_match({column}, '-?[0-9]{{1,{digits}}}') THEN try_cast({column} AS BIGINT) END"
        return f"({whole}) * {factor}"
    if pattern == "iso":
        # With an offset in the text the offset counts, without one the zone does.
        moment = (
            f"CASE WHEN regexp_matches({column}, '{_OFFSET}') THEN epoch_us(try_cast({column} AS TIMESTAMPTZ)) "
            f"ELSE epoch_us(timezone({_text(zone)}, try_cast({column} AS TIMESTAMP))) END"
        )
        return f"CASE WHEN abs({moment}) < {_FARTHEST_US} THEN {moment} END"
    try:
        with probe() as con:
            con.execute(f"SELECT try_strptime('', {_text(pattern)})").fetchall()
    except duckdb.Error as error:
        msg = f"{where}: time.format {pattern!r} is not a format that strptime knows."
        raise UsageError(msg) from error
    if "%" not in pattern:
        msg = f"{where}: time.format: iso, {', '.join(_EPOCHS)} or a strptime format, not {pattern!r}, is wanted."
        raise UsageError(msg)
    return f"epoch_us(timezone({_text(zone)}, try_strptime({column}, {_text(pattern)})))"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def require_both(columns: dict[str, str], where: str) -> None:
    """The time of sending says nothing without that of receiving, nor this without that."""
    for one, other in (("sent_time", "received_time"), ("received_time", "sent_time")):
        if one in columns and other not in columns:
            msg = (
                f"{where}: columns.{other} is missing; a device's clock is corrected by sent_time and received_time "
                f"together. Name it too, or leave columns.{one} away."
            )
            raise UsageError(msg)


def corrected(event: str, sent: str, received: str) -> str:
    """SQL: when an event happened by the collector's clock.

    What the device's clock tells rightly is how long the event waited there: so long before it was received. Where
    one of the two times is missing the event's own stays.
    """
    known = f"({sent}) IS NOT NULL AND ({received}) IS NOT NULL"
    return f"CASE WHEN {known} THEN ({received}) - (({sent}) - ({event})) ELSE {event} END"


def unreadable(column: str, name: str, time: str) -> Check:
    """A time that is there and cannot be read; by column, its quoted name, its time's SQL."""
    return Check("wrong_type", column, f"NOT {blank(name)} AND ({time}) IS NULL", "not a time of the mapping's format")


def clock_checks(event: str, sent: tuple[str, str, str], received: tuple[str, str, str]) -> tuple[Check, ...]:
    """What makes a correction impossible; ``sent`` and ``received`` are (column, its quoted name, its time's SQL)."""
    early = Check("rule_breach", sent[0], f"({sent[2]}) < ({event})", "sent before the event, by the same clock")
    return (unreadable(*sent), unreadable(*received), early)
