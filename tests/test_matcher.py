"""Thousands of patterns at once: all that are there and nothing else, however alike they are."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from behavior_assets.privacy.scanner.matcher import Matcher
from behavior_assets.privacy.scanner.needles import Grade, Pattern


def found(patterns: set[bytes], data: bytes) -> set[tuple[int, bytes]]:
    matcher = Matcher(Pattern("", "bytes", Grade.anywhere, p) for p in patterns)
    hits = [(start, pattern.folded) for start, end, pattern in matcher.hits(data) if data[start:end] == pattern.folded]
    assert len(hits) == len(set(hits))
    return set(hits)


def expected(patterns: set[bytes], data: bytes) -> set[tuple[int, bytes]]:
    return {(m.start(), p) for p in patterns for m in re.finditer(b"(?=" + re.escape(p) + b")", data)}


ALIKE = st.text("01", min_size=4, max_size=20).map(lambda digits: b"5122" + digits.encode())
OTHER = st.text("01ab-", min_size=4, max_size=20).map(str.encode)


@settings(max_examples=200, deadline=None)
@given(st.sets(ALIKE, min_size=1, max_size=200), st.sets(OTHER, max_size=20), st.lists(ALIKE | OTHER, max_size=60))
def test_all_that_is_there_and_nothing_else(alike: set[bytes], other: set[bytes], pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    assert found(alike | other, data) == expected(alike | other, data)


@pytest.mark.parametrize("number", [9, 1000])
def test_customer_numbers_of_one_shop(number: int) -> None:
    """Nine digits that begin alike, as of real shops; every other one is in the data."""
    patterns = {f"5122{n:05d}".encode() for n in range(number)}
    data = b",".join(f"5122{n:05d}".encode() for n in range(0, 2 * number, 2))
    assert found(patterns, data) == expected(patterns, data)
    assert len(found(patterns, data)) == (number + 1) // 2
