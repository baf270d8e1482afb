"""From silver to sessions with their features, for training and scoring alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from behavior_assets.days import next_day
from behavior_assets.incremental import read_parts
from behavior_assets.prediction.customer_model import MEASURES, Activity
from behavior_assets.prediction.features import prefix_features, shop_discounts
from behavior_assets.prediction.past import DAY_US, Moments, Past, past_of
from behavior_assets.prediction.steps import USUAL_DAYS, Steps, from_arrow, session_events, shop_hours
from behavior_assets.privacy.silver import SILVER_EVENTS
from behavior_assets.quality import held_days
from behavior_assets.sessions.sessionise import SILVER_SESSIONS
from behavior_assets.star.aggregates import COMMERCE_EVENTS, PRODUCT_DAY, read_customer_days
from resources.compute import DuckDB

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ibis.backends.duckdb import Backend
    from numpy.typing import NDArray

    from resources.lake import Lake
    from resources.table import TableSpec

    Floats = NDArray[np.float64]


_MINUTE_US, _NEVER_US = 60_000_000, 2**62


@dataclass(frozen=True)
class Visitors:
    """What all visitors did, as far as it tells of them when a session begins: held once, for all days that are read.

    ``visits`` are first moments of sessions with their days (since 1970), ``orders`` and ``carts`` events.
    """

    visits: Moments
    visit_day: NDArray[np.int64]
    orders: Moments
    carts: Moments

    def before(self, steps: Steps) -> Past:
        """What was known of the visitor of each session of ``steps``."""
        asked = Moments(steps.customer, steps.time_us[steps.begin])
        return past_of(asked, steps.day, self.visits, self.visit_day, self.orders, self.carts)


    def cut(self, begun: Mapping[int, int]) -> Visitors:
        """Without what some visitors (by key) did from a moment on (microseconds)."""
        kept = _before(self.visits, begun)
        orders, carts = (m.only(_before(m, begun)) for m in (self.orders, self.carts))
        return Visitors(self.visits.only(kept), self.visit_day[kept], orders, carts)

    def more(self, begun: Mapping[int, int]) -> Visitors:
        """With a visit, an order and a cart more of each of some visitors (by key), a minute after a moment."""
        who = np.array(list(begun), dtype=np.int64)
        more = Moments(who, np.array(list(begun.values()), dtype=np.int64) + _MINUTE_US)
        return Visitors(self.visits.and_(more), np.append(self.visit_day, more.time_us // DAY_US),
                        self.orders.and_(more), self.carts.and_(more))  # fmt: skip


def _before(moments: Moments, begun: Mapping[int, int]) -> NDArray[np.bool_]:
    edge = np.array([begun.get(who, _NEVER_US) for who in moments.customer.tolist()], dtype=np.int64)
    return moments.time_us < edge


@dataclass(frozen=True)
class Sessions:
    """Sessions and what is needed to make their features again (the guard of prefix invariance does)."""

    steps: Steps
    visitors: Visitors
    discount: Floats

    def features(self) -> Floats:
        """Features [E, F]."""
        return prefix_features(self.steps, self.visitors.before(self.steps), self.discount)


def load_visitors(backend: Backend, lake: Lake, until: str) -> Visitors:
    """Visitors from all days up to one."""
    sessions = read_parts(backend, lake.table(SILVER_SESSIONS), _between(lake, SILVER_SESSIONS, "", until))
    visits = backend.to_pyarrow(sessions.select("customer_key", "start_ts_us", "event_date"))
    events = read_parts(backend, lake.table(COMMERCE_EVENTS), _between(lake, COMMERCE_EVENTS, "", until))
    names = ["purchase", "add_to_cart"]
    happened = backend.to_pyarrow(
        events.filter(events.event_name.isin(names)).select("customer_key", "event_ts_us", "event_name")
    )

    def moments(table: pa.Table, time: str) -> Moments:
        return Moments(table["customer_key"].fill_null(-1).to_numpy().astype(np.int64), table[time].to_numpy())

    orders, carts = (moments(happened.filter(pc.equal(happened["event_name"], n)), "event_ts_us") for n in names)
    days = visits["event_date"].cast(pa.int32()).to_numpy().astype(np.int64)
    return Visitors(moments(visits, "start_ts_us"), days, orders, carts)


def load_sessions(backend: Backend, lake: Lake, days: Sequence[str], visitors: Visitors) -> Sessions:
    """Sessions that begin on some days, with all their events.

    A session may go on after midnight, so events of two more days are read; those of the day before tell what the
    shop's prices were like; usual prices are of ``USUAL_DAYS`` before.
    """
    first, last = days[0], days[-1]
    wanted = set(days)
    sessions = [d for d in lake.table(SILVER_SESSIONS).parts() if d in wanted]
    before, after = next_day(first, -2), next_day(last, 2)  # a shop's day may begin before that of UTC
    products = read_parts(
        backend, lake.table(PRODUCT_DAY), _between(lake, PRODUCT_DAY, next_day(before, -USUAL_DAYS), after)
    )
    events = read_parts(backend, lake.table(SILVER_EVENTS), _between(lake, SILVER_EVENTS, first, after))
    around = read_parts(backend, lake.table(SILVER_EVENTS), _between(lake, SILVER_EVENTS, before, last))
    booked = read_parts(backend, lake.table(SILVER_SESSIONS), sessions)
    steps = from_arrow(backend.to_pyarrow(session_events(events, booked, products)))
    hours = backend.to_pyarrow(shop_hours(around, products).order_by("hour"))
    hour, total, count = (hours[n].to_numpy() for n in ("hour", "total", "count"))
    return Sessions(steps, visitors, shop_discounts(hour, total, count, steps.time_us[steps.begin]))


def load_activity(backend: Backend, lake: Lake, days: Sequence[str]) -> Activity:
    """What customers did on some days, from ``silver/customer_day``. A day with events is a visit."""
    rows = read_customer_days(DuckDB(backend), lake, days)
    wanted = rows.select("customer_key", "event_date", "views", "carts", "orders", revenue=rows.revenue_net)
    found = backend.to_pyarrow(wanted.order_by("customer_key", "event_date"))
    values = np.ones((len(found), len(MEASURES)))
    for column, name in enumerate(MEASURES[1:], 1):
        values[:, column] = found[name].cast(pa.float64()).fill_null(0).to_numpy()
    day = found["event_date"].cast(pa.int32()).to_numpy().astype(np.int64)
    return Activity(found["customer_key"].to_numpy().astype(np.int64), day, values)


def days_of(lake: Lake) -> list[str]:
    """Days with sessions that are not held back, in order."""
    live = lake.table(SILVER_SESSIONS).parts()
    return [d for d in _between(lake, SILVER_SESSIONS, "", "9999") if sum(f.rows for f in live[d])]


def _between(lake: Lake, spec: TableSpec, first: str, last: str) -> list[str]:
    """Days of a table from the first to the last that are not held back."""
    held = held_days(lake, SILVER_SESSIONS.name) if spec.name in {SILVER_SESSIONS.name, SILVER_EVENTS.name} else set()
    return [d for d in lake.table(spec).parts() if first <= d <= last and d not in held]
