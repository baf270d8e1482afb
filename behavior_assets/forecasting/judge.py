"""How good the forecasts were that would have been served: at each origin, methods chosen from earlier ones only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from behavior_assets.forecasting import score
from behavior_assets.forecasting.backtest import NAIVE, PARTS, TOTAL, Champion, Origin, choose
from behavior_assets.forecasting.intervals import LEVELS
from behavior_assets.forecasting.neural import MEDIAN, QUANTILES
from behavior_assets.training import ALL, Figure

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Change = Callable[[Floats], Floats]

DRAWS = 1000
_ENDS = (0.025, 0.975)


@dataclass(frozen=True)
class Judged:
    """An origin with what would have been served there, by level: [1, H] and [S, H].

    ``taught_by`` are the origins (days of history) that its champion was chosen by.
    """

    origin: Origin
    champion: Champion
    forecast: dict[str, Floats]
    taught_by: tuple[int, ...]


def judge(origins: Sequence[Origin], horizon: int) -> list[Judged]:
    """Every origin that has earlier ones whose days were all known by then, as it would have been served."""
    found = []
    for origin in origins:
        past = [o for o in origins if o.days + horizon <= origin.days]
        if past:
            champion = choose(past)
            found.append(Judged(origin, champion, champion.forecast(origin), tuple(o.days for o in past)))
    return found


@dataclass(frozen=True)
class Ratio:
    """A measure as a ratio of sums over origins and series [O, S], so that either can be drawn again."""

    over: Floats
    under: Floats
    change: Change = np.positive

    @property
    def value(self) -> float:
        """The measure on everything there is; NaN on nothing."""
        return float(self._divided(self.over.sum(keepdims=True)[0], self.under.sum(keepdims=True)[0])[0])

    def again(self, origins: Floats, series: Floats) -> Floats:
        """The measure [DRAWS] with origins and series each as often as ``origins`` and ``series`` [DRAWS, n] say."""
        return self._divided(*(((origins @ sums) * series).sum(axis=1) for sums in (self.over, self.under)))

    def _divided(self, over: Floats, under: Floats) -> Floats:
        return self.change(np.divide(over, under, out=np.full(over.shape, np.nan), where=under > 0))


class Draws:
    """Origins and series drawn again. A total has but one series, and one origin alone tells nothing of others."""

    def __init__(self, origins: int, series: int, seed: int) -> None:
        dice = np.random.default_rng(seed)
        self.origins = dice.multinomial(origins, np.full(origins, 1 / origins), DRAWS).astype(float)
        parts = dice.multinomial(series, np.full(series, 1 / series), DRAWS).astype(float)
        self.series = {TOTAL: np.ones((DRAWS, 1)), PARTS: parts}

    def of(self, by_level: Mapping[str, Ratio]) -> Floats:
        """The mean over levels [DRAWS]."""
        found: Floats = np.mean([r.again(self.origins, self.series[level]) for level, r in by_level.items()], axis=0)
        return found

    def ends(self, drawn: Floats) -> tuple[float, float]:
        """The 95 % interval of a measure; NaN where nothing varies."""
        known = drawn[np.isfinite(drawn)]
        if not len(known) or np.ptp(known) == 0:
            return float("nan"), float("nan")
        lower, upper = np.quantile(known, _ENDS).tolist()
        return lower, upper


def figures(judged: Sequence[Judged], quantiles: Mapping[int, Floats], level: str, seed: int) -> tuple[Figure, ...]:
    """The figures of the card. ``quantiles`` are a network's [Q, S, H] by origin; ``level`` names the parts."""
    draws = Draws(len(judged), len(judged[0].forecast[PARTS]), seed)
    names = {TOTAL: TOTAL, PARTS: level}
    found: list[Figure] = []

    def add(metric: str, where: str, mine: Mapping[str, Ratio], other: Mapping[str, Ratio] | None = None,
            baseline: str = NAIVE) -> None:  # fmt: skip
        ends = draws.ends(draws.of(mine))
        value = float(np.mean([r.value for r in mine.values()]))
        if other is None:
            found.append(Figure(metric, value, where, *ends))
        else:
            worth = float(np.mean([r.value for r in other.values()]))
            found.append(Figure(metric, value, where, *ends, baseline, worth))

    served, naive = [j.forecast for j in judged], [_naive(j) for j in judged]
    mine, theirs = _wrmsse(judged, served), _wrmsse(judged, naive)
    add("wrmsse", ALL, mine, theirs)
    for part, where in names.items():
        add("wrmsse", where, {part: mine[part]}, {part: theirs[part]})
    ends = draws.ends(1 - draws.of(mine) / draws.of(theirs))
    found.append(Figure("better_than_seasonal_naive", 1 - found[0].value / found[0].baseline_value, ALL, *ends))
    for part, where in names.items():
        add("rmse", where, {part: _rmse(judged, served, part)}, {part: _rmse(judged, naive, part)})
    for share in LEVELS:
        inside = {part: _coverage(judged, part, share) for part in names}
        add(f"coverage_{share}", ALL, inside)
        for part, where in names.items():
            add(f"coverage_{share}", where, {part: inside[part]})
    network = all(j.origin.days in quantiles for j in judged)
    other = {PARTS: _pinball(judged, [_ends_of(quantiles[j.origin.days]) for j in judged], PARTS)} if network else None
    for part, where in names.items():
        conformal = {part: _pinball(judged, [_conformal(j, part) for j in judged], part)}
        add("pinball", where, conformal, other if part == PARTS else None, "network_quantiles")
    add("bias", TOTAL, {TOTAL: _bias(judged, served)}, {TOTAL: _bias(judged, naive)})
    apart = max(float(np.abs(f[TOTAL][0] - f[PARTS].sum(axis=0)).max()) for f in served)
    found.append(Figure("coherence_error", apart))
    return tuple(found)


def _naive(judged: Judged) -> dict[str, Floats]:
    return {level: told[NAIVE] for level, told in judged.origin.forecasts.items()}


def _weights(origin: Origin, part: str, counted: NDArray[np.bool_]) -> Floats:
    """Weights [S] of a level's series by their money, 1 in all, of those that are counted."""
    found = np.where(counted, origin.weights[part], 0.0)
    return found / found.sum() if found.sum() > 0 else found


def _wrmsse(judged: Sequence[Judged], told: Sequence[Mapping[str, Floats]]) -> dict[str, Ratio]:
    found = {}
    for part in (TOTAL, PARTS):
        over, under = [], []
        for one, forecast in zip(judged, told, strict=True):
            origin = one.origin
            error = score.rmsse(origin.actual[part], forecast[part], origin.scales[part])
            under.append(_weights(origin, part, np.isfinite(error)))
            over.append(under[-1] * np.nan_to_num(error))
        found[part] = Ratio(np.stack(over), np.stack(under))
    return found


def _rmse(judged: Sequence[Judged], told: Sequence[Mapping[str, Floats]], part: str) -> Ratio:
    square = [((j.origin.actual[part] - f[part]) ** 2).mean(axis=1) for j, f in zip(judged, told, strict=True)]
    return Ratio(np.stack(square), np.ones((len(judged), len(square[0]))), np.sqrt)


def _coverage(judged: Sequence[Judged], part: str, share: int) -> Ratio:
    """Shares of open days inside the intervals, series weighed by their money."""
    over, under = [], []
    for one in judged:
        lower, upper = one.champion.intervals[part].around(one.forecast[part], share)
        actual, was_open = one.origin.actual[part], one.origin.was_open
        inside = ((actual >= lower - 1e-9) & (actual <= upper + 1e-9))[:, was_open].sum(axis=1)
        weights = _weights(one.origin, part, np.ones(len(actual), dtype=bool))
        over.append(weights * inside)
        under.append(weights * was_open.sum())
    return Ratio(np.stack(over), np.stack(under))


def _conformal(judged: Judged, part: str) -> dict[float, Floats]:
    ends = {}
    for share in LEVELS:
        below = (100 - share) / 200
        ends[below], ends[1 - below] = judged.champion.intervals[part].around(judged.forecast[part], share)
    return ends


def _ends_of(quantiles: Floats) -> dict[float, Floats]:
    return {q: found for n, (q, found) in enumerate(zip(QUANTILES, quantiles, strict=True)) if n != MEDIAN}


def _pinball(judged: Sequence[Judged], told: Sequence[Mapping[float, Floats]], part: str) -> Ratio:
    """Mean loss of the ends of both intervals, over open days and the series that sold before the origin, in units."""
    over, under = [], []
    for one, ends in zip(judged, told, strict=True):
        counted, was_open = one.origin.weights[part] > 0, one.origin.was_open
        actual = one.origin.actual[part]
        losses = np.mean([score.pinball(actual, end, q) for q, end in ends.items()], axis=0)[:, was_open]
        over.append(np.where(counted, losses.sum(axis=1), 0.0))
        under.append(np.where(counted, float(was_open.sum()), 0.0))
    return Ratio(np.stack(over), np.stack(under))


def _bias(judged: Sequence[Judged], told: Sequence[Mapping[str, Floats]]) -> Ratio:
    """What was forecast too much in all, as a share of what was sold."""
    actual = np.stack([j.origin.actual[TOTAL].sum(axis=1) for j in judged])
    return Ratio(np.stack([f[TOTAL].sum(axis=1) for f in told]) - actual, actual)
