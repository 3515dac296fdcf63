"""The layout reward: a share, that nothing but the layout itself can raise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.layout import TAGS, layout

PIECES = st.lists(st.sampled_from([*TAGS, "x", " ", "\n"]), max_size=12).map("".join)


@pytest.mark.parametrize(
    ("completion", "value"),
    [
        ("<think>a</think><answer>b</answer>", 1.0),
        ("  <think>a</think>\n<answer>b</answer>\n", 1.0),
        ("<think></think><answer></answer>", 1.0),
        ("<think>a</think>b", 0.5),
        ("<answer>b</answer>", 0.5),
        ("<answer>b</answer><think>a</think>", 0.25),  # the answer tags come too early, and before <think> is text
        ("first <think>a</think><answer>b</answer>", 0.75),
        ("<think>a</think><answer>b</answer> last", 0.75),
        ("<think>a</think><answer>b</answer><answer>c</answer>", 0.5),
        ("", 0.0),
        ("b", 0.0),
    ],
)
def test_each_tag_in_its_place_is_worth_a_quarter(completion: str, value: float) -> None:
    assert layout(completion, {}).value == value


def test_a_prompt_that_opens_the_think_tag_is_taken_into_account() -> None:
    assert layout("a</think><answer>b</answer>", {}, opened=True).value == 1.0
    assert layout("a</think><answer>b</answer>", {}).value == 0.75


@given(PIECES)
def test_it_is_a_share_and_full_marks_mean_the_layout(completion: str) -> None:
    value = layout(completion, {}).value
    assert value in (0, 0.25, 0.5, 0.75, 1)
    counts = [completion.count(tag) for tag in TAGS]
    order = [completion.find(tag) for tag in TAGS]
    kept = counts == [1, 1, 1, 1] and order == sorted(order)
    kept = kept and completion.strip().startswith(TAGS[0]) and completion.strip().endswith(TAGS[-1])
    assert (value == 1) is kept


@given(PIECES, st.sampled_from(TAGS))
def test_repeating_a_tag_never_pays(completion: str, tag: str) -> None:
    if tag in completion:
        more, less = layout(completion + tag, {}).value, layout(completion, {}).value
        assert more is not None and less is not None and more <= less
