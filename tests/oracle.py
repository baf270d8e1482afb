"""What must come out, told the simplest way: plain Python over the delivered lines, and no code of the project."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

GAP = timedelta(minutes=30)
CAP = timedelta(hours=24)
NAMES = {"view": "view_item", "cart": "add_to_cart", "remove_from_cart": "remove_from_cart", "purchase": "purchase"}
_COLUMNS = 9


class Event(NamedTuple):
    """A good row of a rees46 file."""

    moment: datetime
    kind: str
    product: str
    price: Decimal | None
    user: str
    session: str


class Session(NamedTuple):
    """What is compared of a session."""

    start: datetime
    end: datetime
    reason: str
    events: int
    views: int
    carts: int
    purchases: int


def parse(line: str) -> Event | None:
    """A rees46 row as an event; None where it must go to quarantine."""
    fields = line.split(",")
    if len(fields) != _COLUMNS or not all(fields[i] for i in (0, 1, 2, 7)) or fields[1] not in NAMES:
        return None
    try:
        moment = datetime.strptime(fields[0], "%Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC)
        price = Decimal(fields[6]) if fields[6] else None
    except (ValueError, InvalidOperation):
        return None
    if price is not None and (not price.is_finite() or price != price.quantize(Decimal("0.0001"))):
        return None
    return Event(moment, fields[1], fields[2], price if price and price > 0 else None, fields[7], fields[8])


def events_of(lines: Iterable[str]) -> dict[str, Event]:
    """Each distinct good line once."""
    return {line: event for line in lines if (event := parse(line)) is not None}


def rejected(files: Iterable[Iterable[str]]) -> int:
    """Bad rows, counted once for each distinct file."""
    return sum(parse(line) is None for lines in {tuple(lines) for lines in files} for line in lines)


def sessions_of(events: Iterable[Event]) -> list[Session]:
    """A silence above 30 minutes or a full day from the start ends a session."""
    found: dict[tuple[str, str, datetime, int], list[Event]] = {}
    last: dict[tuple[str, str], tuple[datetime, datetime]] = {}
    for event in sorted(events, key=lambda e: e.moment):
        visit = (event.session, event.user)
        before, start = last.get(visit, (datetime.min.replace(tzinfo=UTC), event.moment))
        start = event.moment if event.moment - before > GAP else start
        last[visit] = (event.moment, start)
        found.setdefault((*visit, start, (event.moment - start) // CAP), []).append(event)
    return sorted(
        Session(rows[0].moment, rows[-1].moment, "24 h cap" if block else "none", len(rows),
                *(sum(e.kind == kind for e in rows) for kind in ("view", "cart", "purchase")))
        for (*_, block), rows in found.items()
    )  # fmt: skip


def revenue_of(events: Iterable[Event]) -> Decimal:
    """Prices of what was bought; a price that is not known adds nothing."""
    return sum((e.price or Decimal(0) for e in events if e.kind == "purchase"), Decimal(0))
