"""What the simulated shop is: its settings, its catalogue and its calendar.

Nothing here knows about visits or formats. Every array is drawn from a generator that the caller
spawns for this purpose alone, so that a change in one part never shifts the draws of another.
All names are invented and say so (`synth-...`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal

    from numpy.typing import NDArray

Format = Literal["rees46", "ga4"]

EVENTS_PER_CUSTOMER_DAY = 1_000_000 / (20_000 * 180)
MOST_EVENTS_PER_CUSTOMER_DAY = 1.5
MOST_DAYS, MOST_CUSTOMERS = 20_000, 50_000_000
WEEKDAYS = 7

WEEKDAY_TRAFFIC = (1.00, 0.98, 0.97, 0.99, 1.05, 1.16, 1.12)
GROWTH_PER_YEAR = 0.35
PROMOTION_TRAFFIC = 1.6
PROMOTION_EVERY = 28
PROMOTION_DAYS = 3

NO_CATEGORY_SHARE = 0.22
NO_BRAND_SHARE = 0.14
DAYS_PER_PRICE = 30
PRICE_CHANGES = 0.3
FIRST_PRODUCT_ID, PRODUCT_IDS = 1_000_000, 9_000_000

# (category code, median price in currency units, weight of its traffic)
CATEGORIES: tuple[tuple[str, float, float], ...] = (
    ("electronics.smartphone.android", 260, 18),
    ("electronics.smartphone.classic", 60, 4),
    ("electronics.audio.headphone", 55, 8),
    ("electronics.audio.subwoofer", 120, 2),
    ("electronics.video.tv", 420, 6),
    ("electronics.clocks.smart", 140, 6),
    ("electronics.tablet.standard", 230, 3),
    ("computers.notebook.standard", 640, 7),
    ("computers.desktop.tower", 580, 2),
    ("computers.components.videocards", 330, 2),
    ("computers.components.hdd", 75, 1),
    ("computers.peripherals.monitor", 180, 2),
    ("computers.peripherals.mouse", 22, 2),
    ("computers.peripherals.printer", 130, 1),
    ("appliances.kitchen.refrigerators", 430, 5),
    ("appliances.kitchen.washer", 340, 5),
    ("appliances.kitchen.blender", 48, 2),
    ("appliances.kitchen.kettle", 28, 2),
    ("appliances.kitchen.oven", 270, 2),
    ("appliances.environment.vacuum", 125, 4),
    ("appliances.environment.air_heater", 65, 3),
    ("appliances.personal.scales", 24, 1),
    ("auto.accessories.player", 110, 3),
    ("auto.accessories.alarm", 95, 2),
    ("apparel.shoes.keds", 58, 4),
    ("apparel.shoes.sandals", 45, 2),
    ("apparel.shirt.casual", 26, 2),
    ("furniture.living_room.sofa", 390, 2),
    ("furniture.living_room.cabinet", 150, 2),
    ("furniture.bedroom.bed", 310, 2),
    ("furniture.kitchen.chair", 62, 1),
    ("construction.tools.drill", 85, 2),
    ("construction.tools.saw", 105, 1),
    ("sport.bicycle.city", 290, 2),
    ("kids.carriage.standard", 210, 1),
    ("kids.toys.building", 25, 2),
)
BRAND_STEMS = ("alb", "bor", "cor", "dal", "fen", "gar", "hol", "jul", "kel", "lum", "mir", "nor", "pel", "ros", "tam")
BRANDS = tuple(f"synth-{stem}{ending}" for ending in ("a", "on", "ix") for stem in BRAND_STEMS)


@dataclass(frozen=True)
class ShopConfig:
    """One shop. `events` is the total aimed at (about; default in proportion to customers x days)."""

    days: int = 180
    customers: int = 20_000
    seed: int = 7
    start: date = date(2024, 1, 1)
    events: int | None = None
    closed_weekday: int | None = None
    """0 is Monday, as in `date.weekday()`; no event carries such a day."""
    currency: str = "EUR"
    products: int = 5_000

    def __post_init__(self) -> None:
        """Refuse what cannot be simulated, naming the field and the value."""
        for name, most in (("days", MOST_DAYS), ("customers", MOST_CUSTOMERS), ("products", PRODUCT_IDS)):
            if not 1 <= getattr(self, name) <= most:
                msg = f"{name} must be between 1 and {most}, got {getattr(self, name)}"
                raise ValueError(msg)
        if self.closed_weekday is not None and self.closed_weekday not in range(WEEKDAYS):
            msg = f"closed_weekday must be 0 (Monday) to 6 (Sunday), got {self.closed_weekday}"
            raise ValueError(msg)
        if self.seed < 0:
            msg = f"seed must not be negative, got {self.seed}"
            raise ValueError(msg)
        most = int(self.customers * self.days * MOST_EVENTS_PER_CUSTOMER_DAY)
        if self.events is not None and not 1 <= self.events <= most:
            scope = f"{self.customers} customers over {self.days} days"
            msg = f"events must be between 1 and {most} for {scope}, got {self.events}"
            raise ValueError(msg)
        if len(self.currency) != 3 or not self.currency.isascii() or not self.currency.isupper():  # noqa: PLR2004
            msg = f"currency must be a three-letter ISO 4217 code, got {self.currency!r}"
            raise ValueError(msg)

    @property
    def target_events(self) -> float:
        """The number of events aimed at."""
        return float(self.events or self.customers * self.days * EVENTS_PER_CUSTOMER_DAY)


@dataclass(frozen=True)
class SimulationReport:
    """What a simulation wrote. Counts go by the event names used in the files, in a fixed order."""

    format: Format
    files: tuple[Path, ...]
    rows: int
    sessions: int
    customers: int
    counts: dict[str, int]
    revenue: Decimal
    refunded: Decimal
    currency: str
    truth: Path


@dataclass(frozen=True)
class Catalogue:
    """P products sorted by category, so that a category is one interval of `reach`.

    `reach` [P + 1] is the running sum of popularity; `bounds` [C + 1] are the categories' ends in it.
    `cents` [periods, P] holds each product's price by period of `DAYS_PER_PRICE` days.
    """

    product_id: NDArray[np.int64]
    category: NDArray[np.int64]
    category_id: NDArray[np.int64]
    category_code: tuple[str, ...]
    """By category; empty where the shop never filled it in."""
    brand: tuple[str, ...]
    """By product; empty where unknown."""
    name: tuple[str, ...]
    cents: NDArray[np.int64]
    reach: NDArray[np.float64]
    bounds: NDArray[np.float64]

    def anywhere(self, uniform: NDArray[np.float64]) -> NDArray[np.int64]:
        """Products by popularity from uniforms in [0, 1)."""
        return self._at(uniform * self.reach[-1])

    def within(self, category: NDArray[np.int64], uniform: NDArray[np.float64]) -> NDArray[np.int64]:
        """Products by popularity inside the given categories."""
        low, high = self.bounds[category], self.bounds[category + 1]
        return np.clip(
            self._at(low + uniform * (high - low)),
            np.searchsorted(self.category, category),
            np.searchsorted(self.category, category, side="right") - 1,
        )

    def _at(self, point: NDArray[np.float64]) -> NDArray[np.int64]:
        return np.clip(np.searchsorted(self.reach, point, side="right") - 1, 0, len(self.product_id) - 1)


@dataclass(frozen=True)
class Calendar:
    """By day: is the shop open, traffic relative to an average day, promotion, percent off [D, C]."""

    open: NDArray[np.bool_]
    traffic: NDArray[np.float64]
    promotion: NDArray[np.bool_]
    percent_off: NDArray[np.int64]

    def closes_after(self, day: int) -> bool:
        """Whether no event may fall on the day after `day`: the shop is shut or the simulation over."""
        return day + 1 >= len(self.open) or not self.open[day + 1]


def make_catalogue(config: ShopConfig, rng: np.random.Generator) -> Catalogue:
    """Draw the products: a log-normal long tail of popularity, log-normal prices, slow price changes."""
    count = config.products
    weights = np.array([weight for _, _, weight in CATEGORIES])
    category = np.sort(rng.choice(len(CATEGORIES), size=count, p=weights / weights.sum()))
    popularity = rng.lognormal(0.0, 1.7, count)
    # Each category keeps its weight whatever products it drew.
    popularity *= (weights / np.maximum(np.bincount(category, popularity, len(CATEGORIES)), 1e-12))[category]
    reach = np.concatenate([[0.0], np.cumsum(popularity)])
    bounds = reach[np.searchsorted(category, np.arange(len(CATEGORIES) + 1))]
    median = np.array([price for _, price, _ in CATEGORIES])[category]
    periods = -(-config.days // DAYS_PER_PRICE)
    changes = rng.random((periods, count)) < PRICE_CHANGES
    drift = np.cumsum(rng.normal(0.0, 0.03, (periods, count)) * changes, axis=0)
    cents = np.maximum(np.rint(100 * median * rng.lognormal(0.0, 0.5, count) * np.exp(drift)), 99).astype(np.int64)
    brand = rng.integers(0, len(BRANDS), count)
    brandless = rng.random(count) < NO_BRAND_SHARE
    coded = _coded_categories(weights, rng)
    return Catalogue(
        product_id=FIRST_PRODUCT_ID + rng.choice(PRODUCT_IDS, count, replace=False),
        category=category.astype(np.int64),
        category_id=2_053_013_550_000_000_000 + rng.permutation(len(CATEGORIES)).astype(np.int64) * 1_000_003,
        category_code=tuple(code if known else "" for (code, _, _), known in zip(CATEGORIES, coded, strict=True)),
        brand=tuple("" if none else BRANDS[b] for none, b in zip(brandless, brand, strict=True)),
        name=tuple(f"Synthetic {CATEGORIES[c][0].rsplit('.', 1)[1]} {i}" for i, c in enumerate(category)),
        cents=cents,
        reach=reach,
        bounds=bounds,
    )


def _coded_categories(weights: NDArray[np.float64], rng: np.random.Generator) -> list[bool]:
    """Leave whole categories without a code, as REES46 does, until their traffic reaches the share."""
    coded = [True] * len(weights)
    uncoded = 0.0
    for index in rng.permutation(len(weights)):
        if uncoded + weights[index] <= NO_CATEGORY_SHARE * weights.sum():
            coded[index] = False
            uncoded += weights[index]
    return coded


def make_calendar(config: ShopConfig, rng: np.random.Generator) -> Calendar:
    """Lay out rhythm, growth, promotions (three days about every four weeks) and closed days."""
    days = np.arange(config.days)
    weekday = (config.start.weekday() + days) % WEEKDAYS
    is_open = np.ones(config.days, dtype=bool) if config.closed_weekday is None else weekday != config.closed_weekday
    promotion = np.zeros(config.days, dtype=bool)
    percent_off = np.zeros((config.days, len(CATEGORIES)), dtype=np.int64)
    for first in range(0, config.days, PROMOTION_EVERY):
        begin = first + int(rng.integers(7, PROMOTION_EVERY - PROMOTION_DAYS))
        percent = rng.choice([0, 10, 15, 20, 25], size=len(CATEGORIES), p=[0.3, 0.25, 0.2, 0.15, 0.1])
        promotion[begin : begin + PROMOTION_DAYS] = True
        percent_off[begin : begin + PROMOTION_DAYS] = percent
    traffic = np.array(WEEKDAY_TRAFFIC)[weekday] * (1.0 + GROWTH_PER_YEAR * days / 365.0)
    traffic = traffic * np.where(promotion, PROMOTION_TRAFFIC, 1.0) * rng.lognormal(0.0, 0.05, config.days) * is_open
    return Calendar(open=is_open, traffic=traffic, promotion=promotion, percent_off=percent_off)


def unit_cents(
    catalogue: Catalogue, calendar: Calendar, product: NDArray[np.int64], day: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Price in cents (at least 1) of each product on each day, after the day's promotion."""
    full = catalogue.cents[day // DAYS_PER_PRICE, product]
    off = calendar.percent_off[day, catalogue.category[product]]
    cents: NDArray[np.int64] = np.maximum((full * (100 - off) + 50) // 100, 1)
    return cents


def simulate(
    config: ShopConfig, out_dir: Path, fmt: Format, progress: Callable[[int, int], None] | None = None
) -> SimulationReport:
    """Write the shop's events; see `behavior_assets.simulation.simulate`, which does the work."""
    from behavior_assets.simulation.simulate import simulate_shop

    return simulate_shop(config, Path(out_dir), fmt, progress)
