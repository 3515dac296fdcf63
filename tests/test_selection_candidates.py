"""Candidates from both kinds of source, and the sentence for a row that is none."""

from __future__ import annotations

import pytest

from grpo.config import Source
from grpo.errors import ConfigError, DataError
from grpo.selection.candidates import conversation, is_collected, open_sources
from tests.selections import chat, collect, one, write_jsonl


def read(*sources, count_tokens=None):
    opened = open_sources([Source(use=str(use)) for use in sources], count_tokens)
    return [[list(group) for group in source.groups()] for source in opened]


def test_a_collected_problem_is_a_group_with_what_its_judges_said(tmp_path):
    rows = [one(0, "a b", 1.0), one(1, "c", 0.0, finish="length"), one(2, "d", None), one(3, "e f g", 1.0, reward=1.5)]
    [[[right, wrong, unjudged, more]]] = read(collect(tmp_path / "run", {"1 + 0?": rows}))
    assert (right.id, right.problem, right.source, right.tokens, right.reward) == ("1 + 0?#0", "1 + 0?", "run", 3, 1.0)
    assert right.messages == ({"role": "user", "content": "1 + 0?"}, {"role": "assistant", "content": "a b"})
    assert [row.right for row in (right, wrong, unjudged, more)] == [True, False, None, True]
    assert {row.solved for row in (right, wrong, unjudged, more)} == {2 / 3}  # of those judged
    assert (wrong.finish, more.reward) == ("length", 1.5)
    assert right.asked == ("1 + 0?",)  # its column "problem"; the answer is not asked


def test_a_trusted_row_is_never_called_right(tmp_path):
    file = write_jsonl(tmp_path / "general.jsonl", [chat("Hi", "Hello there."), chat("Bye", "So long.")])
    [[[first], [second]]] = read(file)
    assert (first.id, second.id, first.source) == ("general/0", "general/1", "general")
    assert (first.right, first.reward, first.solved, first.tokens) == (None, None, None, None)
    assert first.row() == {
        "id": "general/0",
        "source": "general",
        "tokens": None,
        "reward": None,
        **chat("Hi", "Hello there."),
    }


def test_tokens_of_trusted_rows_are_those_of_all_that_the_assistant_says(tmp_path):
    row = {"messages": [*chat("One", "two three")["messages"], *chat("Four", "five")["messages"]]}
    [[[only]]] = read(write_jsonl(tmp_path / "g.jsonl", [row]), count_tokens=lambda text: len(text.split()) + 1)
    assert only.tokens == 3 + 2


@pytest.mark.parametrize(
    "row",
    [
        chat("1+1?", "It is 2."),
        {"problem": "1+1?", "solution": "It is 2.", "answer": "2"},
        {"Question": "1+1?", "Solution": "It is 2."},
        {"prompt": [{"role": "user", "content": "1+1?"}], "solution": "It is 2."},
        {"problem": "1+1?", "solution": "It is 2.", "messages": None},
    ],
)
def test_rows_of_messages_and_of_problem_and_solution_say_the_same(row):
    assert list(conversation(row, lambda: "here")) == chat("1+1?", "It is 2.")["messages"]


def test_the_worked_solutions_of_gsm8k_stand_in_its_answers():
    [_, said] = conversation({"question": "1+1?", "answer": "1+1=2\n#### 2"}, lambda: "here")
    assert said["content"] == "1+1=2\n#### 2"


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (
            {"question": "1+1?", "answer": "2"},
            "has neither `messages` nor a problem and its `solution` (columns: question",
        ),
        ({"text": 3}, "has neither"),
        ({"messages": []}, "messages must be a list of {role, content}, both text"),
        ({"messages": [{"role": "user"}]}, "messages must be a list of"),
        ({"problem": 3, "solution": "x"}, "messages must be a list of"),
        ({"messages": [{"role": "user", "content": "hi"}]}, "must end with what the assistant says"),
        (chat("hi", " "), "must end with what the assistant says"),
        (chat("hi", "\ud83d"), "has half of a surrogate pair"),
        ({"messages": [{"role": "assistant", "content": "x", "tool_calls": [1]}]}, "messages must be a list of"),
    ],
)
def test_a_row_that_cannot_be_learned_from_is_refused_with_its_place(row, sentence):
    with pytest.raises(DataError) as error:
        conversation(row, lambda: "general.jsonl line 3")
    assert str(error.value).startswith(f"general.jsonl line 3: {sentence}")


def test_the_place_of_a_bad_row_is_its_line(tmp_path):
    file = write_jsonl(tmp_path / "g.jsonl", [chat("Hi", "Hello."), {"x": 1}])
    with pytest.raises(DataError, match=r"g\.jsonl line 2: has neither"):
        read(file)


def test_empty_extra_columns_of_messages_are_no_loss():
    row = {"messages": [{"role": "assistant", "content": "x", "name": None, "tool_calls": None}]}
    assert conversation(row, lambda: "here") == ({"role": "assistant", "content": "x"},)


def test_a_folder_of_completions_is_told_from_data(tmp_path):
    folder = collect(tmp_path / "run", {"p": [one(0, "a")]})
    assert is_collected(str(folder)) and is_collected(str(folder / "completions.parquet"))
    assert not is_collected(str(tmp_path)) and not is_collected("openai/gsm8k")


def test_a_collection_that_is_not_finished_is_refused(tmp_path):
    (tmp_path / "run" / "parts").mkdir(parents=True)
    with pytest.raises(DataError, match="the collection is not finished; go on with grpo collect --resume"):
        open_sources([Source(use=str(tmp_path / "run"))], None)


def test_sources_of_one_name_go_by_their_whole_place_and_none_comes_twice(tmp_path):
    places = [str(collect(tmp_path / run / "collect", {"p": [one(0, "a")]})) for run in ("a", "b")]
    opened = open_sources([Source(use=place) for place in places], None)
    assert [source.name for source in opened] == places
    with pytest.raises(ConfigError, match=r"is named twice; name it once"):
        open_sources([Source(use=places[0]), Source(use=places[0])], None)
    with pytest.raises(ConfigError, match=r"^grpo select: no source; name folders"):
        open_sources([], None)
