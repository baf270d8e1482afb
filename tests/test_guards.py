"""Each guard finds the leak that it is there for, and nothing where there is none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from behavior_assets.prediction import guards, past, session_model
from behavior_assets.prediction.features import FEATURES, prefix_features
from behavior_assets.prediction.load import Visitors
from behavior_assets.prediction.past import Moments, past_of
from behavior_assets.prediction.session_model import Data
from behavior_assets.prediction.steps import BY_EVENT, BY_SESSION, CART, PURCHASE, VIEW, Steps
from tests.test_prediction import DAY, shop


def features(steps: Steps) -> np.ndarray:
    """As the chain makes them, of sessions that have no past."""
    starts = Moments(steps.customer, steps.time_us[steps.begin])
    nothing = Moments(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
    known = past_of(starts, steps.day, nothing, np.zeros(0, dtype=np.int64), nothing, nothing)
    return prefix_features(steps, known, np.zeros(len(steps)))


def data(sessions: int = 20_000) -> Data:
    """Sessions in which a cart makes a purchase somewhat more likely."""
    steps = shop(sessions, 3)
    carts = np.repeat(np.add.reduceat((steps.kind == CART).astype(int), steps.begin), steps.length)
    unlucky = np.random.default_rng(1).random(len(steps.kind)) < 0.5
    kind = np.where((steps.kind == PURCHASE) & (carts == 0) & unlucky, VIEW, steps.kind)
    steps = replace(steps, kind=kind)
    return Data(steps, features(steps), session_model.split(steps.day))


@pytest.fixture(scope="module")
def sound() -> Data:
    """Without any leak."""
    return data()


def test_nothing_is_found_where_nothing_leaks(sound: Data) -> None:
    pytest.importorskip("sklearn")
    verdicts = [
        guards.prefix_invariance(sound.steps, features, FEATURES), guards.single_feature(sound, FEATURES),
        guards.label_shuffle(sound), guards.boundary(sound), guards.no_copies(sound.steps.key, sound.part),
    ]  # fmt: skip
    assert [v.name for v in verdicts if not v.passed] == [], verdicts
    assert verdicts[0].told["steps_looked_at"] > 1000
    assert verdicts[1].told["canary_is_found"]
    assert 0.25 < guards.adversarial(sound) < 0.65  # few days: what one of them has is not what the next has


def test_a_past_that_knows_the_future_is_named(sound: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """The session's own purchase is counted among the orders before it, as if it had been known a day ahead."""
    steps = sound.steps
    event = np.repeat(steps.customer, steps.length)

    def moments(kind: int) -> Moments:
        return Moments(event[steps.kind == kind], steps.time_us[steps.kind == kind])

    starts = Moments(steps.customer, steps.time_us[steps.begin])
    visitors = Visitors(starts, steps.day, moments(PURCHASE), moments(CART))

    def whoever(some: Steps, known: Visitors) -> np.ndarray:
        return prefix_features(some, known.before(some), np.zeros(len(some)))

    verdict = guards.past_invariance(steps, visitors, whoever, FEATURES)
    assert verdict.passed, verdict
    assert verdict.told["sessions"] > 50
    before = past.before

    def ahead(asked: Moments, happened: Moments) -> tuple[np.ndarray, np.ndarray]:
        return before(Moments(asked.customer, asked.time_us + DAY), happened)

    monkeypatch.setattr(past, "before", ahead)
    verdict = guards.past_invariance(steps, visitors, whoever, FEATURES)
    assert not verdict.passed
    assert "log_orders_before" in verdict.told["changed_features"]


def test_a_feature_that_knows_the_future_is_named(sound: Data) -> None:
    def leaking(steps: Steps) -> np.ndarray:
        whole = np.repeat(np.add.reduceat((steps.kind == PURCHASE).astype(float), steps.begin), steps.length)
        return np.column_stack([features(steps), whole, np.repeat(steps.length, steps.length)])

    found = guards.prefix_invariance(sound.steps, leaking, [*FEATURES, "purchases", "length"])
    assert (found.passed, found.told["changed_features"]) == (False, ["length", "purchases"])


def test_a_time_that_is_yet_to_come_is_named(sound: Data) -> None:
    def leaking(steps: Steps) -> np.ndarray:
        until_next = np.append(np.diff(steps.time_us), 0.0)
        return np.column_stack([features(steps), until_next])

    assert guards.prefix_invariance(sound.steps, leaking, [*FEATURES, "gap_to_next"]).told["changed_features"] == \
        ["gap_to_next"]  # fmt: skip


def test_a_purchase_count_among_the_features_is_named(sound: Data) -> None:
    whole = np.repeat(np.add.reduceat((sound.steps.kind == PURCHASE).astype(float), sound.steps.begin),
                      sound.steps.length)  # fmt: skip
    leaking = Data(sound.steps, np.column_stack([sound.features, whole]), sound.days)
    found = guards.single_feature(leaking, [*FEATURES, "purchases"])
    assert (found.passed, found.told["suspects"], found.told["best_feature"]) == (False, ["purchases"], "purchases")
    assert guards.single_feature(leaking, [*FEATURES, "purchases"], waived=["purchases"]).passed


def test_a_difference_of_two_features_that_is_the_label_is_too_good(sound: Data) -> None:
    """Neither tells anything by itself: only what a model makes of both."""
    rows = sound.rows("test")
    assert not guards.too_good(sound.label[rows], sound.label[rows] + 0.0).passed
    assert guards.too_good(sound.label[rows], sound.features[rows, FEATURES.index("carts")]).passed


def test_a_fold_that_was_oversampled_before_the_cut_is_found(sound: Data) -> None:
    """Sessions drawn again and again, and only then cut into parts: copies are in both."""
    pytest.importorskip("sklearn")
    dice = np.random.default_rng(2)
    drawn = np.sort(dice.integers(0, 3000, 20_000))
    made = gathered(sound, drawn)
    made.part = dice.integers(0, 4, len(drawn))
    found = guards.no_copies(made.steps.key, made.part)
    assert (found.passed, found.told["sessions_more_than_once"] > 2500) == (False, True)
    assert not guards.label_shuffle(made).passed
    assert guards.no_copies(sound.steps.key, sound.part).passed


def gathered(known: Data, sessions: np.ndarray) -> Data:
    """These sessions of another, in this order, as often as they are named."""
    steps = known.steps
    length = steps.length[sessions]
    events = np.concatenate([np.arange(b, b + n) for b, n in zip(steps.begin[sessions], length, strict=True)])
    by_event = {n: getattr(steps, n)[events] for n in BY_EVENT}
    by_session = {n: getattr(steps, n)[sessions] for n in BY_SESSION}
    return Data(replace(steps, **by_event, **by_session, length=length), known.features[events], known.days)


def test_a_boundary_that_was_not_trimmed_is_found(sound: Data) -> None:
    steps = sound.steps
    last = int(np.flatnonzero(steps.day < sound.days.validation)[-1])
    time = steps.time_us.copy()
    time[steps.begin[last] + steps.length[last] - 1] += 3 * DAY
    moved = Data(replace(steps, time_us=time), sound.features, sound.days)
    assert guards.boundary(moved).passed  # Data trims
    moved.part = sound.days.part(steps.day)
    found = guards.boundary(moved)
    assert (found.passed, found.told["sessions_over_the_boundary"]["training"]) == (False, 1)
