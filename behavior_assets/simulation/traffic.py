"""Who visits when: customers who join, come at their own rate, and may leave for good after a purchase.

Rates are gamma distributed and each customer drops out with a chance of their own after a purchase, as
in BG/NBD (Fader, Hardie & Lee 2005); calendar, promotions and an open cart modulate the rate. Times are
drawn on each customer's local day curve and stated in UTC; the offsets are fixed, without summer time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from behavior_assets.simulation.intent import BOT, BUYER, NEW, RETURNING, covariate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from behavior_assets.simulation.shop import Calendar, ShopConfig

DAY_US = 86_400_000_000
SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
HOURS = 24
EVENING_FROM = 18

# (country, share, hours ahead of UTC)
COUNTRIES: tuple[tuple[str, float, int], ...] = (
    ("Germany", 0.30, 1),
    ("France", 0.16, 1),
    ("Netherlands", 0.12, 1),
    ("Poland", 0.10, 1),
    ("Austria", 0.08, 1),
    ("Spain", 0.08, 1),
    ("United Kingdom", 0.08, 0),
    ("Finland", 0.04, 2),
    ("United States", 0.04, -5),
)
LOCAL_HOURS = (9, 5, 3, 2, 2, 4, 10, 20, 31, 40, 46, 48, 50, 49, 47, 46, 48, 54, 62, 72, 80, 76, 52, 24)

KNOWN_AT_START = 0.5
OPEN_CART_DAYS = 7
OPEN_CART_RETURNS = 4.0
SECOND_VISIT = 0.10
SECOND_VISIT_AFTER_US = 120 * MINUTE_US
SECOND_VISIT_MEAN_US = 180 * MINUTE_US
# Two sessions of one customer stay further apart than the 30 minutes that split a session.
REST_US = 31 * MINUTE_US
BOTS_PER_CUSTOMER = 1 / 500
BOT_RATE = 4.0
"""Visits of a bot relative to the average customer."""
# What open carts add to the visits that the plain expectation counts (measured).
UNCOUNTED = 1.04
SCALING_SAMPLE = 2_000
SCALING_ROUNDS = 12


@dataclass(frozen=True)
class Visits:
    """The day's n sessions in the order first visits, then second ones; `start_us` since config.start."""

    customer: NDArray[np.int64]
    start_us: NDArray[np.int64]
    sets: NDArray[np.int64]
    open_product: NDArray[np.int64]
    """The product waiting in the visitor's open cart, or -1."""
    second: NDArray[np.bool_]


@dataclass
class Population:
    """N customers, then B bots; arrays over all N + B.

    What a day's sessions depend on is the state at the day's beginning, so an observer can rebuild it:
    a buyer bought in a session begun on an earlier day, an open cart was left on an earlier day at most
    seven days ago and not bought since, and it counts for the first session of the day only.
    """

    customers: int
    rate: NDArray[np.float64]
    joined: NDArray[np.int64]
    drop: NDArray[np.float64]
    country: NDArray[np.int64]
    alive: NDArray[np.bool_]
    visited: NDArray[np.bool_]
    bought: NDArray[np.bool_]
    open_product: NDArray[np.int64]
    open_until: NDArray[np.int64]
    free_from_us: NDArray[np.int64]

    def visits(self, calendar: Calendar, day: int, rng: np.random.Generator) -> Visits:
        """Draw the sessions that begin on `day`."""
        self.open_product[self.open_until < day] = -1
        waiting = self.open_product >= 0
        rate = self.rate * calendar.traffic[day] * np.where(waiting, OPEN_CART_RETURNS, 1.0)
        comes = (rng.random(len(rate)) < -np.expm1(-rate)) & self.alive & (self.joined <= day)
        customer = np.flatnonzero(comes)
        start = day * DAY_US + _clock(self.country[customer], rng)
        rested = start >= self.free_from_us[customer]
        customer, start = customer[rested], start[rested]
        again = rng.random(len(customer)) < SECOND_VISIT
        pause = SECOND_VISIT_AFTER_US + rng.exponential(SECOND_VISIT_MEAN_US, len(customer)).astype(np.int64)
        # The evening before a closed day sessions move forward to fit; a second one could then collide.
        again &= (start + pause < (day + 1) * DAY_US) & (not calendar.closes_after(day))
        second = np.concatenate([np.zeros(len(customer), dtype=bool), np.ones(int(again.sum()), dtype=bool)])
        start = np.concatenate([start, (start + pause)[again]])
        customer = np.concatenate([customer, customer[again]])
        open_product = np.where(second, -1, self.open_product[customer])
        visitor = np.where(self.bought[customer], BUYER, np.where(self.visited[customer], RETURNING, NEW))
        evening = start % DAY_US >= EVENING_FROM * 60 * MINUTE_US
        promotion = np.full(len(customer), calendar.promotion[day])
        sets = covariate(visitor, promotion, open_product >= 0, evening)
        sets = np.where(customer < self.customers, sets, BOT)
        return Visits(customer, start, sets, open_product, second)

    def remember(
        self,
        day: int,
        *,
        customer: NDArray[np.int64],
        end_us: NDArray[np.int64],
        bought: NDArray[np.bool_],
        left_product: NDArray[np.int64],
        rng: np.random.Generator,
    ) -> None:
        """Take in what the day's sessions did. `left_product` is -1 where nothing was left in the cart."""
        self.visited[customer] = True
        np.maximum.at(self.free_from_us, customer, end_us + REST_US)
        left = left_product >= 0
        self.open_product[customer[left]] = left_product[left]
        self.open_until[customer[left]] = day + OPEN_CART_DAYS
        buyers = customer[bought]
        self.bought[buyers] = True
        self.open_product[buyers] = -1
        self.alive[buyers[rng.random(len(buyers)) < self.drop[buyers]]] = False


def make_population(
    config: ShopConfig,
    calendar: Calendar,
    rng: np.random.Generator,
    events_per_session: float,
    purchase_rate: float,
    *,
    bots: bool,
) -> Population:
    """Draw the customers and scale their rates so that about `config.target_events` events are expected."""
    robots = max(1, round(config.customers * BOTS_PER_CUSTOMER)) if bots else 0
    people, total = config.customers, config.customers + robots
    joined = np.where(rng.random(total) < KNOWN_AT_START, 0, rng.integers(0, config.days, total))
    joined[people:] = 0
    shares = np.array([share for _, share, _ in COUNTRIES])
    population = Population(
        customers=people,
        rate=np.minimum(rng.gamma(0.7, 1.0, total), 8.0),
        joined=joined,
        drop=rng.beta(1.2, 4.0, total),
        country=rng.choice(len(COUNTRIES), total, p=shares / shares.sum()),
        alive=np.ones(total, dtype=bool),
        visited=np.zeros(total, dtype=bool),
        bought=np.zeros(total, dtype=bool),
        open_product=np.full(total, -1),
        open_until=np.full(total, -1),
        free_from_us=np.zeros(total, dtype=np.int64),
    )
    sessions = config.target_events / (events_per_session * (1 + SECOND_VISIT) * UNCOUNTED)
    population.rate *= _scale(population, people, calendar, sessions, purchase_rate)
    population.rate[people:] = BOT_RATE * population.rate[:people].mean()
    return population


def _scale(population: Population, people: int, calendar: Calendar, sessions: float, purchase_rate: float) -> float:
    """Factor on all rates that makes the expected first visits equal `sessions` (fixed point, sampled)."""
    # Every k-th by rate: the few heavy visitors weigh as much in the sample as among all.
    step = max(1, people // SCALING_SAMPLE)
    sample = np.argsort(population.rate[:people], kind="stable")[step // 2 :: step]
    weight, drop, joined = (a[sample, None] for a in (population.rate, population.drop, population.joined))
    days = np.arange(len(calendar.traffic))
    traffic = calendar.traffic[None, :]
    so_far = np.concatenate([[0.0], np.cumsum(calendar.traffic)])
    exposed = np.maximum(so_far[days][None, :] - so_far[joined[:, 0]][:, None], 0.0)
    here = (joined <= days) * (people / len(sample))
    scale = sessions / max(float((weight * traffic * here).sum()), 1e-12)
    for _ in range(SCALING_ROUNDS):
        survives = np.exp(-drop * purchase_rate * weight * scale * exposed)
        expected = float((-np.expm1(-weight * scale * traffic) * survives * here).sum())
        scale *= sessions / max(expected, 1e-12)
    return scale


def _clock(country: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Microseconds into the UTC day, in whole seconds, along each country's local day curve."""
    curve = np.cumsum(np.array(LOCAL_HOURS) / sum(LOCAL_HOURS))
    local = np.minimum(np.searchsorted(curve, rng.random(len(country)), side="right"), HOURS - 1)
    ahead = np.array([hours for _, _, hours in COUNTRIES])[country]
    seconds = (local - ahead) % HOURS * 3600 + rng.integers(0, 3600, len(country))
    start: NDArray[np.int64] = seconds.astype(np.int64) * SECOND_US
    return start
