"""Which weights drew which tokens, counted at each change."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from grpo.sampling.spans import Spans


def test_without_a_change_all_tokens_are_of_the_weights_at_the_beginning() -> None:
    spans = Spans()
    spans.begin("a", 3)
    assert spans.end("a", [5, 1]) == [((3, 5),), ((3, 1),)]


def test_a_completion_that_ended_before_the_others_of_its_request_has_no_tokens_of_later_weights() -> None:
    spans = Spans()
    spans.begin("a", 0)
    spans.change(1, [("a", 0, 4), ("a", 1, 6)])
    spans.change(2, [("a", 0, 9)])  # 1 has ended with the weights of step 1, with or without a token of theirs
    assert spans.end("a", [12, 8]) == [((0, 4), (1, 5), (2, 3)), ((0, 6), (1, 2))]


def test_weights_that_drew_nothing_have_no_span() -> None:
    spans = Spans()
    spans.begin("a", 0)
    spans.change(1, [("a", 0, 0)])  # still waiting for its turn
    spans.change(2, [("a", 0, 0)])
    spans.begin("b", 2)
    assert spans.end("a", [7]) == [((2, 7),)]
    assert spans.end("b", [1]) == [((2, 1),)]


def test_what_nobody_waits_for_is_forgotten() -> None:
    spans = Spans()
    spans.begin("a", 0)
    spans.forget("a")
    spans.forget("never heard of")
    spans.change(1, [])
    assert not spans._requests


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.integers(1, 30))
def test_every_token_belongs_to_the_weights_in_force_when_it_was_drawn(updates: list[int], length: int) -> None:
    """`updates[t]` changes come before token t is drawn."""
    spans, step, drawn_with = Spans(), 0, []
    spans.begin("a", step)
    for token in range(length):
        for _ in range(updates[token % len(updates)]):
            step += 1
            spans.change(step, [("a", 0, token)])
        drawn_with.append(step)
    (one,) = spans.end("a", [length])
    assert [span.step for span in one for _ in range(span.tokens)] == drawn_with
    assert all(span.tokens for span in one)
