"""Which column asks, which answers, what names the row: the well-known layouts, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from grpo.config import Data
from grpo.errors import ConfigError, DataError
from grpo.problems.columns import gold_answers, marked_answer, to_problems


def problems_of(*rows, needs=("answer",), **settings):
    return to_problems(rows, Data(source="mine.jsonl", **settings), stem="mine", needs=needs)


LAYOUTS = {
    "gsm8k": ({"question": "1+1?", "answer": "1+1 = <<1+1=2>>2.\n#### 2"}, "2"),
    "MATH": ({"problem": "1+1?", "level": "Level 1", "type": "Algebra", "solution": "It is $\\boxed{2}$."}, "2"),
    "MATH-500": ({"problem": "1+1?", "solution": "so \\boxed{2}", "answer": "2", "unique_id": "test/1.json"}, "2"),
    "DeepMath-103K": ({"question": "1+1?", "final_answer": "2", "difficulty": 1.0, "r1_solution_1": "…"}, "2"),
    "DAPO-Math-17k": (
        {"prompt": [{"role": "user", "content": "1+1?"}], "reward_model": {"ground_truth": "2", "style": "rule"}},
        "2",
    ),
    "DAPO-Math-17k-Processed": ({"prompt": "1+1?", "solution": "2", "reward_model": {"ground_truth": "2"}}, "2"),
    "a bare solution": ({"prompt": "1+1?", "solution": "2"}, "2"),
    "AIME 2024": ({"ID": "2024-I-1", "Problem": "1+1?", "Solution": "two", "Answer": 2}, "2"),
    "NeMo-Skills": ({"id": "aime25-0", "problem": "1+1?", "expected_answer": "2", "reference_solution": "…"}, "2"),
    "OlympiadBench": ({"id": 1606, "question": "1+1?", "final_answer": ["2"], "solution": ["It is 2."]}, "2"),
    "amc23": ({"id": 0, "problem": "1+1?", "answer": 2.0, "question": "1+1?"}, "2.0"),
    "Minerva": ({"problem": "1+1?", "solution": "\\[x=\\boxed{2} \\mathrm{~cm}\\]", "type": "…", "idx": 0}, "2"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_well_known_layouts_need_no_settings(layout):
    row, gold = LAYOUTS[layout]
    [problem] = problems_of(row)
    assert problem.messages == ({"role": "user", "content": "1+1?"},)
    assert problem.facts["answer"] == gold


def test_every_column_goes_on_to_the_rewards():
    row = {"problem": "1+1?", "answer": 2, "budget": 7, "tests": ["assert True"]}
    [problem] = problems_of(row)
    assert problem.facts == row | {"answer": "2"}


def test_the_worked_solution_of_gsm8k_moves_to_solution():
    [problem] = problems_of({"question": "1+1?", "answer": "one and one\n#### 2"})
    assert problem.facts == {"question": "1+1?", "solution": "one and one\n#### 2", "answer": "2"}


def test_settings_overrule_the_guessed_columns():
    row = {"question": "not this", "answer": "not this", "ask": "1+1?", "gold": {"value": "2"}}
    [problem] = problems_of(row, problem="ask", answer="gold.value")
    assert (problem.messages[0]["content"], problem.facts["answer"]) == ("1+1?", "2")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("so\n#### 1,080", "1080"),
        ("so\n#### -1,234,567.5", "-1234567.5"),
        ("so\n#### 1,2", "1,2"),  # a pair, not a thousand
        ("so\n#### 10,00", "10,00"),
        ("#### 5 #### 6", "6"),
        (r"#### \boxed{5}", "5"),
        ("#### Step 1\nwe get 3", None),  # a Markdown heading
        (r"\boxed{42}", "42"),
        (r"first \boxed{1}, then \boxed{2}.", "2"),
        (r"\boxed{\frac{1}{2}} and \frac{3}{4}", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\left( 3, \frac{\pi}{2} \right)}", r"\left( 3, \frac{\pi}{2} \right)"),
        (r"\boxed {7}", "7"),
        (r"\boxed 7$.", "7"),
        (r"\fbox{C}", "C"),
        (r"\boxed{1} and \boxed{2", "1"),  # the last one never closes
        (r"\boxed{}", None),
        (r"\boxedness{5}", None),
        (r"\boxed", None),
        ("42", None),
        ("", None),
    ],
)
def test_the_answer_that_a_worked_solution_marks_is_found(text, answer):
    assert marked_answer(text) == answer


_nested = st.recursive(
    st.text(alphabet="ab 1+\\{", max_size=4).map(lambda text: text.replace("\\", "").replace("{", r"\{")),
    lambda inner: st.lists(inner, max_size=3).map(lambda parts: "{" + "".join(parts) + "}"),
)


@example("1", "####", "")
@given(_nested, st.text(max_size=20), st.text(alphabet="ab }{\\,.", max_size=20))
def test_whatever_is_balanced_in_a_box_comes_out_of_it(inside, before, after):
    if inside.strip():
        assert marked_answer(f"{before}\\boxed{{{inside}}}{after}") == inside.strip()


@given(st.text(alphabet="#\\boxed{} \n1,", max_size=200))
def test_no_text_breaks_the_search_for_a_marked_answer(text):
    answer = marked_answer(text)
    assert answer is None or (answer and answer == answer.strip())


def test_a_column_of_worked_solutions_has_no_answer_where_none_is_marked():
    assert gold_answers(["so \\boxed{1}", "so \\boxed{2}", "it cannot be said"]) == ["1", "2", ""]


def test_a_column_of_answers_may_have_a_box_here_and_there():
    assert gold_answers(["1", "\\boxed{2}", "x + 1"]) == ["1", "2", "x + 1"]


def test_several_answers_are_joined_and_numbers_keep_their_digits():
    assert gold_answers([["1", "2"], [3], 4, 5.50, 6.0, True, None, " x "]) == [
        "1, 2", "3", "4", "5.5", "6.0", "True", "", "x"
    ]  # fmt: skip


def test_ids_come_from_the_first_column_that_names_every_row_differently():
    assert [p.id for p in problems_of({"p": 1, "problem": "a", "answer": "1", "id": 5, "unique_id": "u"})] == ["u"]
    same = {"problem": "a", "answer": "1", "unique_id": "u"}
    assert [p.id for p in problems_of(same | {"ID": 0}, same | {"ID": 1})] == ["0", "1"]
    assert [p.id for p in problems_of(same | {"id": 3}, same | {"id": 3})] == ["mine/0", "mine/1"]
    assert [p.id for p in problems_of(same, same | {"unique_id": None})] == ["mine/0", "mine/1"]


@given(st.lists(st.fixed_dictionaries({"problem": st.just("a")}, optional={"id": st.integers(0, 3)}), min_size=1))
def test_ids_are_never_the_same_twice(rows):
    ids = [problem.id for problem in problems_of(*rows, needs=())]
    assert len(set(ids)) == len(rows)


def test_of_two_names_that_differ_in_case_the_first_counts():
    [problem] = problems_of({"Problem": "1+1?", "problem": "not this", "answer": "2", "ANSWER": "not this"})
    assert (problem.messages[0]["content"], problem.facts["answer"]) == ("1+1?", "2")


def test_the_template_and_the_system_message_go_around_the_problem():
    rows = {"problem": r"Find \{x\} in {y}", "answer": "1"}
    [problem] = problems_of(rows, template=r"{problem} Put it into \boxed{}.", system="Be brief.")
    assert problem.messages == (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": r"Find \{x\} in {y} Put it into \boxed{}."},
    )


def test_the_setting_replaces_the_rows_own_system_message():
    talk = [{"role": "system", "content": "old"}, {"role": "user", "content": "1+1?"}]
    [problem] = problems_of({"prompt": talk, "answer": "2"}, system="new")
    assert [message["content"] for message in problem.messages] == ["new", "1+1?"]
    assert talk[0]["content"] == "old"  # the row is left as it was


def test_rewards_that_need_no_answer_need_no_answer_column():
    [problem] = problems_of({"task_id": "HumanEval/0", "prompt": "def f():", "test": "…"}, needs=("test",))
    assert problem.id == "HumanEval/0"
    assert "answer" not in problem.facts


ok = {"problem": "1+1?", "answer": "2"}


@pytest.mark.parametrize(
    ("rows", "settings", "says"),
    [
        ([{"q": "1+1?", "answer": "2"}], {}, r"looks like the problem \(columns: q, answer\).*data.problem"),
        ([{"problem": "1+1?", "a": "2"}], {}, r"looks like the answer \(columns: problem, a\).*data.answer"),
        ([ok], {"answer": "gold"}, r'data.answer = "gold": mine.jsonl has columns problem, answer'),
        ([ok], {"problem": "ask"}, r'data.problem = "ask": mine.jsonl has columns problem, answer'),
        (
            [ok, ok | {"answer": ""}],
            {},
            r'problem mine/1: no answer in column "answer" \(the first of 1 such, of 2 problems\)',
        ),
        ([ok, {"problem": "1+1?"}], {}, r"mine/1: no answer in column"),
        ([ok], {"needs": ("solution",)}, r'no column "solution" \(columns: problem, answer\)'),
        ([ok, ok | {"problem": " "}], {}, r"problem mine/1: column 'problem' is empty; complete or remove this row"),
        ([ok, {"answer": "3"}], {}, r"column 'problem' is empty"),
        ([ok | {"problem": 7}], {}, r"neither text nor a list of chat messages \(7\)"),
        ([ok | {"problem": []}], {}, r"column 'problem' is empty"),
        ([ok | {"problem": [{"role": "user", "content": ""}]}], {}, r"column 'problem' is empty"),
        (
            [ok | {"problem": "\ud83d?"}],
            {},
            r"has half of a surrogate pair in it \('\\ud83d\?'\), which is no character",
        ),
        ([ok | {"problem": [{"role": "user", "content": [{"type": "image"}]}]}], {}, r"neither text"),
        ([ok | {"problem": [{"role": "assistant", "content": "hi"}]}], {}, r"ends with the assistant's message"),
    ],
)
def test_rows_that_cannot_be_used_are_refused_with_their_place(rows, settings, says):
    with pytest.raises(DataError, match=says):
        problems_of(*rows, **settings)


def test_a_template_without_a_place_for_the_problem_is_refused():
    with pytest.raises(ConfigError, match=r"data.template: has no \{problem\}"):
        problems_of(ok, template="Solve this.")


def test_a_gold_answer_of_nan_is_none_as_pandas_means_it():
    [one, other] = problems_of({"problem": "?", "answer": float("nan")}, {"problem": "?", "answer": 2.5}, needs=())
    assert (one.facts["answer"], other.facts["answer"]) == ("", "2.5")
