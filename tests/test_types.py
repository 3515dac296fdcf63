from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpo.types import Completion, Span

tokens = st.lists(st.tuples(st.integers(0, 2**31 - 1), st.floats(-100, 0, width=32)), min_size=1, max_size=20)


def completion(of: list[tuple[int, float]], text: str = "42") -> Completion:
    return Completion(tuple(token for token, _ in of), [logprob for _, logprob in of], text, "stop")


@given(tokens)
def test_any_sequences_become_arrays_and_single_precision_loses_nothing(of: list[tuple[int, float]]) -> None:
    made = completion(of)
    assert (made.token_ids.dtype, made.logprobs.dtype) == (np.int32, np.float32)
    assert list(zip(made.token_ids.tolist(), made.logprobs.tolist(), strict=True)) == of


@given(tokens, tokens)
def test_completions_are_equal_where_all_of_them_is(
    one: list[tuple[int, float]], other: list[tuple[int, float]]
) -> None:
    assert completion(one) == completion(one)
    assert (completion(one) == completion(other)) == ([*map(repr, one)] == [*map(repr, other)])  # -0.0 is not 0.0
    assert len({completion(one), completion(one), completion(one, "43")}) == 2


def test_a_log_probability_that_is_no_number_is_equal_to_itself() -> None:
    assert completion([(1, float("nan"))]) == completion([(1, float("nan"))])


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_completion_travels_whole_at_eight_bytes_a_token(protocol: int) -> None:
    made = Completion(range(10_000), [-0.5] * 10_000, "", "length", (Span(3, 10_000),))
    message = pickle.dumps(made, protocol)
    assert pickle.loads(message) == made
    if protocol >= 3:  # which have bytes of their own
        assert len(message) < 8.1 * 10_000


def test_a_completion_cannot_be_written_to_and_keeps_nothing_of_what_it_was_given() -> None:
    ids, logprobs = np.array([1, 2], np.int32), np.array([-1.0, -2.0], np.float32)
    made = Completion(ids, logprobs, "", "stop")
    ids[:], logprobs[:] = 7, -7
    assert made == Completion((1, 2), (-1.0, -2.0), "", "stop")
    for array in (made.token_ids, made.logprobs):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


@pytest.mark.parametrize(
    ("ids", "logprobs", "spans", "wrong"),
    [
        ((), (), (), "must not be empty"),
        ((1, 2), (-1.0,), (), "2 tokens but 1 log-probabilities"),
        ((1, 2), (-1.0, -1.0), (Span(0, 3),), "for 2 tokens"),
    ],
)
def test_a_completion_whose_parts_do_not_agree_is_refused(
    ids: tuple[int, ...], logprobs: tuple[float, ...], spans: tuple[Span, ...], wrong: str
) -> None:
    with pytest.raises(ValueError, match=wrong):
        Completion(ids, logprobs, "", "stop", spans)
