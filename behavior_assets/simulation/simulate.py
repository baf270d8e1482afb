"""Run the shop day by day and write what happened, with bounded memory, as files that depend on the seed only."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np

from behavior_assets.simulation.ga4 import Ga4Format
from behavior_assets.simulation.intent import PURCHASE, REFUND, RETURNING, covariate, make_model, purchase_later
from behavior_assets.simulation.shop import SimulationReport, make_calendar, make_catalogue, unit_cents
from behavior_assets.simulation.trade import Events, Sessions, Shop
from behavior_assets.simulation.traffic import DAY_US, make_population
from behavior_assets.simulation.writers import SYNTHETIC, EventFormat, Rees46Format, TruthFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from behavior_assets.simulation.intent import IntentModel
    from behavior_assets.simulation.shop import Format, ShopConfig

MARKER = "SYNTHETIC.txt"
# Events held before they are filtered and written: enough to fill vectors, little enough for memory.
BATCH = {"rees46": 250_000, "ga4": 60_000}
REFUND_SHARE, PARTIAL_REFUNDS = 0.06, 0.3
REFUND_DAYS = (3, 14)


class _Ledger:
    """Keeps events until their day is complete, then writes them and counts."""

    def __init__(
        self, shop: Shop, files: EventFormat, folder: Path, truth: TruthFile, rng: np.random.Generator
    ) -> None:
        self.shop, self.files, self.folder, self.truth, self.rng = shop, files, folder, truth, rng
        self.config = truth.config
        self.fresh: list[tuple[Sessions, Events]] = []
        self.waiting: tuple[Sessions, Events] | None = None
        self.held = 0
        self.orders = 0
        self.sessions = 0
        self.customers = np.zeros(len(shop.population.rate), dtype=bool)
        self.counts: Counter[int] = Counter()
        self.cents = {PURCHASE: 0, REFUND: 0}
        self.paths: list[Path] = []

    def trade(self, day: int) -> None:
        """Play one day and keep its events."""
        sessions, events = self.shop.trade(day, self.orders + 1)
        self.orders = max(self.orders, int(events.order.max(initial=-1)))
        self.sessions += len(sessions)
        self.customers[sessions.customer] = True
        self.held += len(events)
        self.fresh.append((sessions, events))

    def write(self, through: int) -> None:
        """Write every day up to `through`; what lies beyond waits."""
        if not self.fresh:
            return
        sessions, events = _together(self.fresh)
        length = np.bincount(events.session, minlength=len(sessions))
        events.chance[:] = purchase_later(self.shop.model, sessions.sets, length, events.kind)
        parts = [(sessions, events)]
        if self.shop.fmt == "ga4":
            events = Events.concat([events, self._refunds(events)])
            parts = [(sessions, events)]
        if self.waiting is not None:
            parts.insert(0, self.waiting)
        sessions, events = _together(parts)
        events = events.take(np.lexsort((events.index, events.session, events.time_us)))
        ready = int(np.searchsorted(events.time_us, (through + 1) * DAY_US))
        self.waiting = _only(sessions, events.take(slice(ready, None)))
        self.fresh, self.held = [], 0
        sessions, events = _only(sessions, events.take(slice(0, ready)))
        if len(events):
            self._write_days(sessions, events)

    def _write_days(self, sessions: Sessions, events: Events) -> None:
        encoded = self.files.encode(sessions, events)
        day = events.time_us // DAY_US
        present, first = np.unique(day, return_index=True)
        ends = np.append(first[1:], len(events))
        for number, begin, end in zip(present.tolist(), first.tolist(), ends.tolist(), strict=True):
            name = f"{np.datetime64(self.config.start) + number}.{self.files.suffix}"
            encoded.write(self.folder / name, begin, end)
            self.paths.append(self.folder / name)
        self.truth.append(sessions, events, encoded, day, np.arange(len(events)) - np.repeat(first, ends - first))
        self.counts.update(dict(enumerate(np.bincount(events.kind).tolist())))
        for kind in self.cents:
            self.cents[kind] += self._value(events.take(events.kind == kind))

    def _value(self, events: Events) -> int:
        held = events.product >= 0
        day = np.broadcast_to(events.price_day[:, None], held.shape)
        cents = unit_cents(self.shop.catalogue, self.shop.calendar, events.product[held].astype(np.int64), day[held])
        return int((cents * events.quantity[held]).sum())

    def _refunds(self, events: Events) -> Events:
        """Return some orders days later, whole or their first item; nothing happens on a closed day."""
        paid = np.flatnonzero(events.kind == PURCHASE)
        back = events.take(paid[self.rng.random(len(paid)) < REFUND_SHARE])
        count = len(back)
        low, high = (days * DAY_US for days in REFUND_DAYS)
        time = back.time_us + self.rng.integers(low, high, count)
        day = np.minimum(time // DAY_US, self.config.days - 1)
        time += np.where(self.shop.calendar.open[day], 0, DAY_US)
        product, quantity = back.product.copy(), back.quantity.copy()
        partial = self.rng.random(count) < PARTIAL_REFUNDS
        product[partial, 1:], quantity[partial, 1:] = -1, 0
        return Events(
            session=back.session,
            index=np.full(count, np.iinfo(np.int32).max, dtype=np.int32),
            kind=np.full(count, REFUND, dtype=np.int8),
            state=np.zeros(count, dtype=np.int8),
            time_us=time,
            price_day=back.price_day,
            product=product,
            quantity=quantity,
            order=back.order,
            chance=np.full(count, np.nan),
            later=np.zeros(count, dtype=bool),
        )


def simulate_shop(
    config: ShopConfig, out_dir: Path, fmt: Format, progress: Callable[[int, int], None] | None = None
) -> SimulationReport:
    """Write one event file per open day to `out_dir/fmt` and the truth to `out_dir/truth`.

    Files of an earlier simulation in the same place are replaced; a folder that holds anything else is
    refused. `progress` gets (days done, days) after each day.
    """
    if fmt not in BATCH:
        msg = f"format must be one of {', '.join(BATCH)}, got {fmt!r}"
        raise ValueError(msg)
    folder, truth_path = _prepare(config, out_dir, fmt)
    # One stream per purpose; appending to this list leaves the earlier streams as they are.
    streams = np.random.SeedSequence(config.seed).spawn(6)
    goods, dates, people, trading, profiles, returns = (np.random.Generator(np.random.PCG64(s)) for s in streams)
    catalogue, calendar, model = make_catalogue(config, goods), make_calendar(config, dates), make_model(fmt)
    length, rate = _typical(model)
    population = make_population(config, calendar, people, length, rate, bots=fmt == "ga4")
    files: EventFormat = (
        Rees46Format(config, catalogue, calendar)
        if fmt == "rees46"
        else Ga4Format(config, catalogue, calendar, population, profiles)
    )
    truth = TruthFile(truth_path, config, files.names)
    ledger = _Ledger(Shop(fmt, model, catalogue, calendar, population, trading), files, folder, truth, returns)
    try:
        for day in range(config.days):
            if calendar.open[day]:
                ledger.trade(day)
            if ledger.held >= BATCH[fmt] or day == config.days - 1:
                ledger.write(day)
            if progress is not None:
                progress(day + 1, config.days)
    finally:
        truth.close()
    return SimulationReport(
        format=fmt,
        files=tuple(ledger.paths),
        rows=truth.rows,
        sessions=ledger.sessions,
        customers=int(ledger.customers[: config.customers].sum()),
        counts={name: ledger.counts[kind] for kind, name in files.names.items()},
        revenue=Decimal(ledger.cents[PURCHASE]).scaleb(-2),
        refunded=Decimal(ledger.cents[REFUND]).scaleb(-2),
        currency=config.currency,
        truth=truth_path,
    )


def _typical(model: IntentModel) -> tuple[float, float]:
    """Events per session and purchases per session of an ordinary visit."""
    usual = covariate(np.array([RETURNING]), np.array([False]), np.array([False]), np.array([False]))
    return float(model.expected_length()[usual][0]), float(model.purchase_rate()[usual][0])


def _prepare(config: ShopConfig, out_dir: Path, fmt: Format) -> tuple[Path, Path]:
    """Make the folders, label them, and clear what an earlier simulation left."""
    folder, truth = out_dir / fmt, out_dir / "truth"
    marker = out_dir / MARKER
    old = sorted(folder.iterdir()) if folder.is_dir() else []
    if old and not marker.exists():
        msg = f"{folder} holds files that no simulation wrote ({MARKER} is missing in {out_dir}); choose another folder"
        raise FileExistsError(msg)
    for path in old:
        path.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    truth.mkdir(exist_ok=True)
    marker.write_text(
        f"{SYNTHETIC}.\nSeed {config.seed}, {config.days} days from {config.start}, {config.customers} customers.\n"
        "The folder `truth` holds the known truth and is no input.\n",
        encoding="utf-8",
    )
    return folder, truth / f"truth-{fmt}.parquet"


def _together(parts: list[tuple[Sessions, Events]]) -> tuple[Sessions, Events]:
    """Lay sessions end to end and point the events at their new places."""
    begins = np.cumsum([0, *(len(sessions) for sessions, _ in parts)])
    events = Events.concat([events for _, events in parts])
    moved: NDArray[np.int64] = np.concatenate(
        [part.session + begin for (_, part), begin in zip(parts, begins[:-1], strict=True)]
    )
    events.session[:] = moved
    return Sessions.concat([sessions for sessions, _ in parts]), events


def _only(sessions: Sessions, events: Events) -> tuple[Sessions, Events]:
    """Keep only the sessions that the events refer to."""
    used, place = np.unique(events.session, return_inverse=True)
    kept = events.take(slice(None))
    return sessions.take(used), type(kept)(**{**vars(kept), "session": place})
