"""A gathered future holds all results in order, or the first failure."""

from __future__ import annotations

from concurrent.futures import CancelledError, Future

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpo.scoring.pool import gather


@given(st.permutations(range(5)))
def test_results_keep_the_order_of_their_parts_however_they_arrive(order):
    parts: list[Future[int]] = [Future() for _ in order]
    whole = gather(parts, tuple)
    for n, part in enumerate(order):
        assert not whole.done()
        parts[part].set_result(part)
        assert whole.done() == (n == 4)
    assert whole.result() == (0, 1, 2, 3, 4)


def test_the_first_part_that_fails_fails_the_whole_at_once():
    parts: list[Future[int]] = [Future() for _ in range(3)]
    whole = gather(parts, tuple)
    parts[1].set_exception(ValueError("first"))
    with pytest.raises(ValueError, match="first"):
        whole.result(timeout=0)
    parts[0].set_exception(ValueError("second"))
    parts[2].set_result(1)
    with pytest.raises(ValueError, match="first"):
        whole.result(timeout=0)


def test_a_cancelled_part_cancels_the_whole():
    parts: list[Future[int]] = [Future() for _ in range(2)]
    whole = gather(parts, tuple)
    parts[0].cancel()
    with pytest.raises(CancelledError):
        whole.result(timeout=0)


def test_parts_that_were_done_before_they_are_gathered_count():
    part: Future[int] = Future()
    part.set_result(7)
    assert gather([part, part], sum).result(timeout=0) == 14
