"""The chain of filters: each drops what it says, in its order, and their counts add up."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpo.config import Select
from grpo.selection.filters import FILTERS, OF_TRUSTED, Asked, Funnel, chain
from tests.selections import candidate

FINE = "<think>one two three</think> four"
LOOP = "<think>" + "we try it all once more. " * 50 + "</think> 4"


def drops(row, **settings):
    """The name under which `row` is dropped; "" where it is kept."""
    contaminated = settings.pop("contaminated", None)
    funnel = Funnel()
    kept = list(funnel.through(chain(Asked(Select(**settings), 0, contaminated), judged=True), [[row]]))
    return "" if kept else next(name for name, count in funnel.dropped.items() if count)


@pytest.mark.parametrize(
    ("name", "known", "settings"),
    [
        ("not judged", {"right": None, "reward": None}, {}),
        ("wrong", {"right": False}, {}),
        ("wrong", {"reward": 0.7}, {"min_reward": 0.8}),
        ("", {"reward": 0.7, "right": False}, {"min_reward": 0.7}),
        ("solved too often or too rarely", {"solved": 1.0}, {"solved": (0.0, 1.0)}),
        ("solved too often or too rarely", {"solved": 0.1}, {"solved": (0.1, 0.9)}),  # the bounds are strict
        ("", {"solved": 0.125}, {"solved": (0.1, 0.9)}),
        ("truncated", {"finish": "length"}, {}),
        ("looping", {"text": LOOP}, {}),
        ("", {"text": LOOP}, {"drop_looping": False}),
        ("mixed language", {"text": "We add them, 然后我们把它们相加得到答案."}, {"language": "en"}),
        ("", {"text": "We add them, so it is $x = 4$."}, {"language": "en"}),
        ("", {"text": "$x = 4$"}, {"language": "en"}),  # nothing to judge
        ("too long", {"tokens": 101}, {"max_tokens": 100}),
        ("", {"tokens": 100}, {"max_tokens": 100}),
        ("contaminated", {}, {"contaminated": lambda row: True}),
        ("", {}, {"contaminated": lambda row: False}),
    ],
)
def test_a_completion_is_dropped_for_what_is_wrong_with_it(name, known, settings):
    assert drops(candidate(**{"text": FINE, **known}), **settings) == name


@pytest.mark.parametrize(
    ("text", "think", "think_answer"),
    [
        (FINE, True, False),
        ("<think>a</think><answer>4</answer>", True, True),
        ("<think>a</think>", False, False),  # no answer
        ("<think>a <think> b</think> 4", False, False),
        ("Well, <think>a</think> 4", False, False),
        ("<think>a</think> 4 </think>", False, False),
        ("4", False, False),
    ],
)
def test_the_layout_that_is_asked_for_is_kept(text, think, think_answer):
    row = candidate(text)
    assert drops(row) == ""
    assert drops(row, layout="think") == ("" if think else "no layout")
    assert drops(row, layout="think_answer") == ("" if think_answer else "no layout")


def test_filters_come_in_the_order_of_the_table_and_those_not_asked_for_are_not_there():
    most = {"solved": (0, 1), "layout": "think", "language": "en", "max_tokens": 9}
    asked = Asked(Select(**most), 0, lambda row: False)
    assert list(chain(asked, judged=True)) == list(FILTERS)
    plain = Asked(Select(drop_looping=False, max_similarity=1.0, max_per_problem=0), 0)
    assert list(chain(plain, judged=True)) == ["not judged", "wrong", "truncated", "duplicate"]


def test_trusted_rows_are_asked_nothing_that_takes_a_judge():
    asked = Asked(Select(max_tokens=9, layout="think"), 0, lambda row: False)
    assert tuple(chain(asked, judged=False)) == OF_TRUSTED
    unjudged = candidate("plain text", right=None, reward=None, solved=None, tokens=None)
    assert list(Funnel().through(chain(asked, judged=False), [[unjudged]])) == [[unjudged]]


def test_what_was_said_before_is_dropped_whatever_source_it_comes_from():
    asked = Asked(Select(), 0)
    first, second = Funnel(), Funnel()
    assert list(first.through(chain(asked, judged=True), [[candidate(FINE, 0), candidate(FINE + " \n", 1)]]))
    again = [[candidate(FINE, source="other")], [candidate(FINE, asked="Another question?")]]
    assert [
        row.messages[0]["content"] for group in second.through(chain(asked, judged=False), again) for row in group
    ] == ["Another question?"]
    assert (first.dropped["duplicate"], second.dropped["duplicate"]) == (1, 1)


def test_at_most_k_of_a_problem_stay():
    rows = [candidate(f"way {number} of {number * 7} things, said {number} times", number) for number in range(6)]
    for k, left in ((1, 1), (4, 4), (0, 6), (9, 6)):
        funnel = Funnel()
        kept = list(funnel.through(chain(Asked(Select(max_per_problem=k), 0), judged=True), [rows]))
        assert [len(group) for group in kept] == [left]
        assert funnel.passed == 6


rows = st.builds(
    partial(candidate, asked="Why?"),
    st.sampled_from([FINE, LOOP, "4", "一二三四五", "<think>a</think><answer>4</answer>", "a b c d", "a b c"]),
    st.integers(0, 9),
    right=st.sampled_from([True, True, True, False, None]),
    reward=st.sampled_from([None, 0.0, 0.5, 1.0]),
    finish=st.sampled_from(["stop", "stop", "length"]),
    solved=st.sampled_from([0.0, 0.5, 1.0]),
)
settings = st.fixed_dictionaries(
    {
        "min_reward": st.sampled_from([None, 0.5]),
        "solved": st.sampled_from([None, (0.0, 1.0)]),
        "layout": st.sampled_from(["any", "think", "think_answer"]),
        "drop_looping": st.booleans(),
        "language": st.sampled_from([None, "en"]),
        "max_tokens": st.sampled_from([None, 4]),
        "max_similarity": st.sampled_from([0.5, 1.0]),
        "max_per_problem": st.integers(0, 3),
        "choose": st.sampled_from(["different", "shortest", "random"]),
    }
)


@given(st.lists(st.lists(rows, min_size=4, max_size=4), max_size=5), settings)
def test_the_counts_add_up_to_all_completions_of_all_problems(groups, settings):
    funnel = Funnel()
    dirty = None if settings["layout"] == "any" else lambda row: row.text == "4"
    kept = list(funnel.through(chain(Asked(Select(**settings), 0, dirty), judged=True), groups))
    assert funnel.seen == 4 * len(groups) and funnel.problems == len(groups)
    assert sum(funnel.dropped.values()) + funnel.kept == funnel.seen
    assert (sum(map(len, kept)), len(kept)) == (funnel.kept, funnel.kept_problems)


def test_the_biggest_loss_is_none_that_was_wanted():
    funnel = Funnel(dropped={"wrong": 3, "truncated": 5, "over the cap": 90})
    assert funnel.biggest_loss == "truncated"
