"""The over-long penalty, against DAPO eq. 13 computed by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.length import length


@pytest.mark.parametrize(
    ("tokens", "penalty"),
    [
        (0, 0.0),
        (80, 0.0),  # max - cache = 100 - 20
        (85, -0.25),  # (80 - 85) / 20
        (90, -0.5),
        (100, -1.0),
        (101, -1.0),
        (10_000, -1.0),
    ],
)
def test_penalty(tokens: int, penalty: float) -> None:
    assert length("", {"completion_tokens": tokens}, max_tokens=100, cache=20).value == penalty


@given(st.integers(0, 500), st.integers(1, 100))
def test_a_longer_completion_never_pays_less(tokens: int, cache: int) -> None:
    values = [length("", {"completion_tokens": n}, max_tokens=100, cache=cache).value for n in (tokens, tokens + 1)]
    assert values[0] is not None and values[1] is not None
    assert -1 <= values[1] <= values[0] <= 0


def test_a_completion_of_unknown_length_cannot_be_judged() -> None:
    score = length("", {}, max_tokens=100, cache=20)
    assert (score.value, score.why) == (None, 'the number of tokens is not known (problem["completion_tokens"])')


@pytest.mark.parametrize("tokens", [None, "7", 7.0])
def test_a_number_of_tokens_that_is_none_is_refused(tokens: object) -> None:
    with pytest.raises(ValueError, match=r'problem\["completion_tokens"\] must be the number of tokens \(given '):
        length("", {"completion_tokens": tokens}, max_tokens=100, cache=20)


@pytest.mark.parametrize("cache", [0, -1, 101])
def test_a_cache_outside_the_limit_is_refused(cache: int) -> None:
    with pytest.raises(ValueError, match="cache must be from 1 to max_tokens"):
        length("", {"completion_tokens": 1}, max_tokens=100, cache=cache)
