"""A few random histories in every test run; `make soak` plays them for twenty minutes."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.histories import Shop, Tally


def test_random_histories() -> None:
    """Nothing lost, nothing doubled, the oracle's sessions; see tests/histories.py."""
    Shop.tally = Tally()
    run_state_machine_as_test(
        Shop,
        settings=settings(
            max_examples=12, stateful_step_count=6, deadline=None, derandomize=True, database=None,
            phases=(Phase.generate,),  # making a failing history smaller takes minutes: `make soak` does
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip
    assert Shop.tally.histories >= 12
    assert (Shop.tally.lost, Shop.tally.doubled) == (0, 0)
