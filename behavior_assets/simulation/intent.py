"""The hidden Markov process of a session's intent, and the exact filter for an observer of its events.

A session walks over hidden states; every visible state emits one event, then the session moves on or
ends. Transition rows sum to less than one: the rest is the chance that the session ends, so "ended" is
an absorbing state that needs no column. Parameters depend on the session's covariates, which are all
observable: is the visitor new, returning or a buyer, is it a promotion day, does the visitor have an
open cart, is it evening, is it a bot. Everything else in an event (product, price, pauses) is drawn from
the event names alone, so it tells an observer nothing more about intent.

P(purchase later | events so far) is exact: the forward algorithm (Rabiner 1989) gives the state's
distribution, and the hitting probabilities of a purchase solve one linear system (Norris 1997, th. 1.3.2).
A format that does not show some events is handled exactly as well: a state that shows nothing is
removed by the censored chain T_vv + T_vs (I - T_ss)^-1 T_sv (Kemeny & Snell 1960, 6.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from behavior_assets.simulation.shop import Format

EVENTS = (
    "session_start", "page_view", "search", "view_item", "add_to_cart",
    "remove_from_cart", "begin_checkout", "purchase", "refund",
)  # fmt: skip
SESSION_START, PAGE_VIEW, SEARCH, VIEW, CART, REMOVE, CHECKOUT, PURCHASE, REFUND = range(len(EVENTS))
STATES = ("arrive", "browse", "compare", "intend", "park", "basket", "doubt", "checkout", "buy")
ARRIVE, BROWSE, COMPARE, INTEND, PARK, BASKET, DOUBT, PAY, BUY = range(len(STATES))

VISIBLE: dict[str, tuple[int, ...]] = {
    "rees46": (VIEW, CART, PURCHASE),
    "ga4": (SESSION_START, PAGE_VIEW, SEARCH, VIEW, CART, REMOVE, CHECKOUT, PURCHASE),
}
VISITORS = ("new", "returning", "buyer")
NEW, RETURNING, BUYER = range(len(VISITORS))
BOT = len(VISITORS) * 8
COVARIATES = BOT + 1
BOT_STAYS = 0.93

VISITOR_DRIVE = (0.85, 1.0, 1.2)
PROMOTION_DRIVE, OPEN_CART_DRIVE, EVENING_DRIVE = 1.2, 1.3, 1.08

# Weights before covariates; the rest up to one is the end of the session.
MOVES: dict[int, dict[int, float]] = {
    ARRIVE: {BROWSE: 0.70, COMPARE: 0.235, INTEND: 0.065},
    BROWSE: {BROWSE: 0.59, COMPARE: 0.09, INTEND: 0.010, PARK: 0.008},
    COMPARE: {COMPARE: 0.71, BROWSE: 0.07, INTEND: 0.045, PARK: 0.028},
    INTEND: {INTEND: 0.40, COMPARE: 0.10, BASKET: 0.22, PAY: 0.070},
    PARK: {COMPARE: 0.40, BROWSE: 0.18, DOUBT: 0.10, BASKET: 0.02},
    BASKET: {BASKET: 0.13, INTEND: 0.16, DOUBT: 0.05, PAY: 0.42},
    DOUBT: {COMPARE: 0.50, BROWSE: 0.20},
    PAY: {BUY: 0.61, INTEND: 0.05, BASKET: 0.03},
    BUY: {BUY: 0.16, BROWSE: 0.10},
}
DRIVEN = (INTEND, BASKET, PAY)
OPEN_CART_ARRIVES = {INTEND: 0.14, BASKET: 0.04, PAY: 0.05}

SHOWS: dict[int, dict[int, float]] = {
    ARRIVE: {SESSION_START: 1.0},
    BROWSE: {VIEW: 0.66, PAGE_VIEW: 0.20, SEARCH: 0.14},
    COMPARE: {VIEW: 0.86, PAGE_VIEW: 0.04, SEARCH: 0.10},
    INTEND: {VIEW: 0.92, PAGE_VIEW: 0.06, SEARCH: 0.02},
    PARK: {CART: 1.0},
    BASKET: {CART: 1.0},
    DOUBT: {REMOVE: 1.0},
    PAY: {CHECKOUT: 1.0},
    BUY: {PURCHASE: 1.0},
}


@dataclass(frozen=True)
class IntentModel:
    """Z parameter sets over S states and E events.

    `initial` [Z, S] is the first visible state, `transition` [Z, S, S] has rows that sum to at most one,
    `emission` [S, E] has rows that sum to one (a removed state has a zero row and is never reached).
    """

    initial: NDArray[np.float64]
    transition: NDArray[np.float64]
    emission: NDArray[np.float64]
    target: int = PURCHASE

    def bought_later(self) -> NDArray[np.float64]:
        """Hitting probability [Z, S]: at least one target event strictly after one emitted in this state.

        g = b + (1 - b) T g, where b is the chance that the state itself emits the target; the answer is T g.
        """
        shows = self.emission[:, self.target]
        eye = np.eye(len(shows))
        reached = np.stack([np.linalg.solve(eye - (1 - shows)[:, None] * t, shows) for t in self.transition])
        later: NDArray[np.float64] = np.einsum("zst,zt->zs", self.transition, reached)
        return later

    def expected_length(self) -> NDArray[np.float64]:
        """Mean number of events of a session [Z]."""
        eye = np.eye(self.transition.shape[1])
        visits = np.linalg.solve(eye - self.transition, np.ones((len(self.initial), len(eye), 1)))[:, :, 0]
        length: NDArray[np.float64] = (self.initial * visits).sum(axis=1)
        return length

    def purchase_rate(self) -> NDArray[np.float64]:
        """Chance [Z] that a session holds at least one target event."""
        shows = self.emission[:, self.target]
        rate: NDArray[np.float64] = (self.initial * (shows + (1 - shows) * self.bought_later())).sum(axis=1)
        return rate


@dataclass(frozen=True)
class Walks:
    """n sessions laid end to end: `length` [n]; `state` and `event` [sum of length]."""

    length: NDArray[np.int64]
    state: NDArray[np.int8]
    event: NDArray[np.int8]


def covariate(
    visitor: NDArray[np.int64],
    promotion: NDArray[np.bool_],
    open_cart: NDArray[np.bool_],
    evening: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Index of the parameter set; `read_covariate` undoes it."""
    return ((visitor * 2 + promotion) * 2 + open_cart) * 2 + evening


def make_model(fmt: Format) -> IntentModel:
    """Build the shop's parameter sets as one format shows them (`COVARIATES` of them, the bot last)."""
    states = len(STATES)
    initial = np.zeros((COVARIATES, states))
    initial[:, ARRIVE] = 1.0
    transition = np.zeros((COVARIATES, states, states))
    for index in range(BOT):
        transition[index] = _moves(index, one_row_per_item=fmt == "rees46")
    transition[BOT, [ARRIVE, BROWSE], BROWSE] = [1.0, BOT_STAYS]
    emission = np.zeros((states, len(EVENTS)))
    for state, shown in SHOWS.items():
        for event in VISIBLE[fmt]:
            emission[state, event] = shown.get(event, 0.0)
    silent = emission.sum(axis=1) == 0.0
    emission[~silent] /= emission[~silent].sum(axis=1, keepdims=True)
    initial, transition = censor(initial, transition, silent)
    return IntentModel(initial, transition, emission)


def _moves(index: int, *, one_row_per_item: bool) -> NDArray[np.float64]:
    """Transition matrix [S, S] of one human parameter set."""
    evening, open_cart, promotion, visitor = index & 1, index >> 1 & 1, index >> 2 & 1, index >> 3
    drive = VISITOR_DRIVE[visitor] * PROMOTION_DRIVE**promotion * OPEN_CART_DRIVE**open_cart * EVENING_DRIVE**evening
    moves = np.zeros((len(STATES), len(STATES)))
    ends = np.zeros(len(STATES))
    for state, targets in MOVES.items():
        ends[state] = max(1.0 - sum(targets.values()), 0.0)
        for target, weight in targets.items():
            moves[state, target] = weight * (drive if target in DRIVEN and state != PAY else 1.0)
    if open_cart:
        for target, weight in OPEN_CART_ARRIVES.items():
            moves[ARRIVE, target] += weight * drive
    if not one_row_per_item:
        # GA4 sends one purchase with all its items; only one row per item needs the state to repeat.
        ends[BUY] += moves[BUY, BUY]
        moves[BUY, BUY] = 0.0
    matrix: NDArray[np.float64] = moves / (moves.sum(axis=1) + ends)[:, None]
    return matrix


def censor(
    initial: NDArray[np.float64], transition: NDArray[np.float64], silent: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Remove silent states exactly; `initial` becomes conditional on at least one visible event."""
    if not silent.any():
        return initial, transition
    inside = np.linalg.inv(np.eye(int(silent.sum())) - transition[:, silent][:, :, silent])
    through = inside @ transition[:, silent]
    moved = transition + transition[:, :, silent] @ through
    begun = initial + np.einsum("zs,zst->zt", initial[:, silent], through)
    moved[:, :, silent] = 0.0
    moved[:, silent] = 0.0
    begun[:, silent] = 0.0
    return begun / begun.sum(axis=1, keepdims=True), moved


def walk(model: IntentModel, sets: NDArray[np.int64], rng: np.random.Generator) -> Walks:
    """Draw one session for each parameter set in `sets` [n], all sessions one step at a time."""
    onward = np.cumsum(model.transition, axis=2)
    shows = np.cumsum(model.emission, axis=1)
    begins = np.cumsum(model.initial, axis=1)
    # The last cut is lifted so that rounding in a sum can never point behind the table.
    begins[:, -1] = 2.0
    shows[:, -1] = 2.0
    states = model.initial.shape[1]
    who = np.arange(len(sets))
    state = (rng.random(len(sets))[:, None] >= begins[sets]).sum(axis=1)
    length = np.zeros(len(sets), dtype=np.int64)
    steps: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]] = []
    while len(who):
        event = (rng.random(len(who))[:, None] >= shows[state]).sum(axis=1)
        steps.append((who, state, event))
        length[who] += 1
        onto = (rng.random(len(who))[:, None] >= onward[sets[who], state]).sum(axis=1)
        goes_on = onto < states
        who, state = who[goes_on], onto[goes_on]
    begin = np.cumsum(length) - length
    all_states, all_events = np.empty(length.sum(), dtype=np.int8), np.empty(length.sum(), dtype=np.int8)
    for step, (index, visited, shown) in enumerate(steps):
        all_states[begin[index] + step] = visited
        all_events[begin[index] + step] = shown
    return Walks(length, all_states, all_events)


def purchase_later(
    model: IntentModel, sets: NDArray[np.int64], length: NDArray[np.int64], event: NDArray[np.int8]
) -> NDArray[np.float64]:
    """Exact P(a purchase later in this session | its events up to and including this one), per event.

    `sets` and `length` are [n]; `event` is [sum of length], session after session. Sessions of one
    parameter set go forward together, longest first, so the active ones are always a prefix.
    """
    later = model.bought_later()
    begin = np.cumsum(length) - length
    answer = np.empty(len(event))
    order = np.lexsort((-length, sets))
    for index in np.unique(sets):
        group = order[np.searchsorted(sets[order], index) : np.searchsorted(sets[order], index, side="right")]
        at, left = begin[group], length[group]
        belief = model.initial[index] * model.emission[:, event[at]].T
        step = 0
        while True:
            belief /= belief.sum(axis=1, keepdims=True)
            answer[at + step] = belief @ later[index]
            step += 1
            active = int(np.searchsorted(-left, -step, side="left"))
            if not active:
                break
            at, left = at[:active], left[:active]
            belief = (belief[:active] @ model.transition[index]) * model.emission[:, event[at + step]].T
    # Rounding hides the last bits, in which processors differ; bounds undo rounding beyond [0, 1].
    return np.clip(np.round(answer, 12), 0.0, 1.0)
