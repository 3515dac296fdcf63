"""Three signatures in, one out; and nothing but a finite number or a Score comes back."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpo.errors import RewardError
from grpo.scoring.adapters import LONGEST_TEXT, Misuse, adapt
from rewards import Score
from tests import rewards_for_tests as some

PROBLEM = {"answer": "4", "prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2+2?"}]}


def judge(function, completion="4", problem=PROBLEM, *, chat=True, **options):
    return adapt(function, use="my.py:f", options=options, chat=chat)(completion, problem)


def returning(value):
    return judge(lambda completion, problem: value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_finite_number_is_its_own_score(value):
    assert returning(value) == Score(value)


@pytest.mark.parametrize(
    "value", [1, True, np.float32(1), np.bool_(True), np.int64(1), np.array(1.0), Decimal(1), Fraction(1)]
)
def test_every_kind_of_number_is_a_plain_float_afterwards(value):
    score = returning(value)
    assert score == Score(1.0)
    assert type(score.value) is float


def test_a_score_passes_with_all_that_it_says():
    assert returning(Score(0.5, answer="4", why="near", parsed=True)) == Score(0.5, "4", "near", True)


def test_texts_of_a_score_are_clipped_and_not_refused():
    score = some.long_reason("", {})
    assert [len(text) for text in (returning(score).why, returning(score).answer)] == [LONGEST_TEXT] * 2


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float64("nan"), 10**400])
def test_a_number_that_is_not_finite_is_refused(value):
    with pytest.raises(Misuse, match=r"^my.py:f returned .*; return a finite number or a Score"):
        returning(value)


@pytest.mark.parametrize(
    "value", ["1.0", None, [1.0], {"score": 1.0}, 1j, b"1", object(), np.array([1.0, 2.0]), np.str_("1")]
)
def test_what_is_no_number_is_refused(value):
    with pytest.raises(Misuse, match=r"^my.py:f returned "):
        returning(value)


@pytest.mark.parametrize("score", [Score(1.0, why=3), Score(1.0, answer=4), Score(1.0, why=None)])
def test_a_score_whose_texts_are_no_texts_is_refused(score):
    with pytest.raises(Misuse, match=r"Score.answer and Score.why are texts"):
        returning(score)


@pytest.mark.parametrize("failure", ["timeout", "fault", "anything", 0])
def test_a_score_that_claims_a_failure_is_refused(failure):
    with pytest.raises(Misuse, match=r"^my.py:f returned a Score with failure = .*; Score.failure is set by who runs"):
        returning(Score(0.0, failure=failure))


def test_parameters_are_known_by_name_whatever_their_order():
    assert judge(lambda problem, completion: completion == problem["answer"]) == Score(1.0)


@pytest.mark.parametrize("chat", [True, False])
def test_trl_functions_run_unchanged(chat):
    assert judge(some.trl_style, "4", chat=chat) == Score(1.0)
    assert judge(some.trl_style, "5", chat=chat) == Score(0.0)


def test_trl_functions_are_called_with_lists_of_one_message_list_for_chats(tmp_path):
    file = tmp_path / "got"
    judge(some.trl_shows_what_it_got, problem={**PROBLEM, "file": str(file)})
    answer = [[{"role": "assistant", "content": "4"}]]
    assert file.read_text() == repr(([PROBLEM["prompt"]], answer, ["answer", "file"]))


def test_trl_functions_are_called_with_lists_of_one_text_without_a_chat(tmp_path):
    file = tmp_path / "got"
    judge(some.trl_shows_what_it_got, problem={**PROBLEM, "file": str(file)}, chat=False)
    assert file.read_text() == repr((["Be brief.\n\n2+2?"], ["4"], ["answer", "file"]))


def test_none_from_a_trl_function_is_unscored_and_not_wrong():
    assert judge(some.trl_style, "maybe").value is None


@pytest.mark.parametrize(("function", "what"), [(some.trl_wrong_length, "a list of 2"), (some.trl_number, "1.0")])
def test_a_trl_function_must_return_one_number_for_each_completion(function, what):
    with pytest.raises(Misuse, match=f"returned {what}.*; return a list with one number, or None, for each completion"):
        judge(function)


def test_a_trl_function_that_wants_what_is_no_column_is_told_what_there_is():
    with pytest.raises(Misuse, match="needs completion_ids; it can have answer, completions, prompts"):
        judge(some.trl_wants_ids)


def test_verl_functions_run_unchanged_with_a_number_or_a_dict():
    assert judge(some.compute_score) == Score(1.0)
    assert judge(some.compute_score, "5") == Score(0.0)
    assert judge(some.verl_dict, "4", {"answer": "4", "extra_info": {"index": 7}}) == Score(1.0, answer="4")
    assert judge(some.verl_dict, "4", {"answer": "4", "index": 7}) == Score(1.0, answer="4")


def test_a_verl_dict_without_a_score_is_refused():
    with pytest.raises(Misuse, match='a dict with one at "score"'):
        judge(lambda solution_str: {"acc": 1.0})


def test_options_are_keyword_arguments():
    assert judge(some.brief, "a b c d").value == 0.0
    assert judge(some.brief, "a b c d", most=4, bonus=0.5).value == 1.5


@pytest.mark.parametrize(
    ("function", "options", "sentence"),
    [
        (some.brief, {"mots": 4}, r"^my.py:f: options.mots is not an option of it; did you mean most\?$"),
        (some.brief, {"zzz": 4}, "its options are bonus, most$"),
        (some.exact, {"most": 4}, "its options are none$"),
        (some.brief, {"completion": "x"}, "options.completion is not an option"),
        (some.needs_budget, {}, "^my.py:f: needs budget, which no one supplies; give it under `options`$"),
        (some.asynchronous, {}, "^my.py:f: is async; write it with a plain `def`"),
        (
            some.other_names,
            {},
            r"^my.py:f: has the parameters \(text: .*row: .*\); allowed are \(completion, problem\)",
        ),
        (len, {}, "has the parameters"),
        (lambda completion: 1.0, {}, r"has the parameters \(completion\)"),
    ],
)
def test_a_reward_that_cannot_be_called_is_refused_at_start_up(function, options, sentence):
    with pytest.raises(RewardError, match=sentence) as refusal:
        adapt(function, use="my.py:f", options=options, chat=True)
    assert refusal.value.exit_code == 2


def test_a_function_of_any_options_gets_them_all():
    assert judge(lambda completion, problem, **options: options["weight"], weight=0.25) == Score(0.25)
