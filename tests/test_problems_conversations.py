"""A conversation becomes the tokens that the model sees when it generates, and the assistant's alone are learned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from grpo.config import Data
from grpo.errors import DataError, ModelError
from grpo.learning.tiny_model import _tokenizer
from grpo.problems import Example, load_conversations, to_examples
from grpo.problems.conversations import end_of_turn, to_write
from grpo.types import Problem, Prompt

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA = (  # which strips what it is given
    "<bos>{% for m in messages %}<|im_start|>{{ m['role'] }}<|im_start|>\n\n{{ m['content'] | trim }}<|im_end|>"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant<|im_start|>\n\n{% endif %}"
)
QWEN3 = (  # of earlier messages only what comes after the thought
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['role'] == 'assistant' and not loop.last %}"
    "{{ m['content'].split('</think>')[-1].lstrip() }}{% else %}{{ m['content'] }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
R1 = (  # opens the thought for the model
    "{% for m in messages %}{% if m['role'] == 'assistant' %}{{ m['content'].split('</think>')[-1] }}<eos>"
    "{% else %}<|im_start|>{{ m['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant<think>\n{% endif %}"
)
STRICT = "{% if messages | length > 2 %}{{ raise_exception('one question only') }}{% endif %}" + CHATML
WITHOUT_END = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant: "


def tokenizer(template: str | None) -> Any:
    """One token per character, and a pair for two line breaks, so that what is tokenised together may differ."""
    vocabulary = ["<eos>", "<bos>", "<unk>", *map(chr, range(32, 127)), "\n"]
    backend = Tokenizer(
        models.BPE({c: i for i, c in enumerate([*vocabulary, "\n\n"])}, [("\n", "\n")], unk_token="<unk>")
    )
    backend.decoder = decoders.Fuse()
    made = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>", bos_token="<bos>", unk_token="<unk>")
    made.add_tokens([AddedToken(token, special=True) for token in ("<|im_start|>", "<|im_end|>")])
    made.chat_template = template
    return made


def spoken(*contents: str, system: str = "") -> Problem:
    messages = [{"role": ("user", "assistant")[i % 2], "content": content} for i, content in enumerate(contents)]
    return Problem("row", ([{"role": "system", "content": system}] if system else []) + messages, {})


def examples(template: str | None, *conversations: Problem, **data: Any) -> tuple[Any, list[Example]]:
    made = tokenizer(template)
    ends = {made.eos_token_id, made.convert_tokens_to_ids("<|im_end|>")}
    settings = Data(source="x.jsonl", **data)
    return made, to_examples(conversations, made, settings, ends=ends, vocabulary=len(made))


def learned(made: Any, example: Example) -> str:
    return str(made.decode(example.tokens[example.learned].tolist()))


# --- Whole conversations ------------------------------------------------------------------------------------------

texts = st.text(st.sampled_from("ab \n<>"), min_size=1, max_size=8).filter(str.strip)


@pytest.mark.parametrize("template", [CHATML, QWEN3, _tokenizer().chat_template], ids=["chatml", "qwen3", "tiny"])
def test_the_tokens_of_several_turns_are_those_of_the_templates_own_rendering(template: str) -> None:
    conversation = spoken("1+1", "is 2", "and 1+2", "is 3", system="be brief")
    made, (example,) = examples(template, conversation)
    text = made.apply_chat_template(list(conversation.messages), tokenize=False)
    whole = made(text.removesuffix("\n"), add_special_tokens=False)["input_ids"]
    assert [*example.prompt, *example.tokens] == whole
    assert learned(made, example) == "is 2<|im_end|>is 3<|im_end|>"
    assert made.decode(example.prompt.tolist()).count("1+1") == 1


@given(st.lists(texts, min_size=2, max_size=6).filter(lambda found: len(found) % 2 == 0))
def test_what_is_learned_is_what_the_model_would_write_after_the_prompt_that_it_would_see(contents: list[str]) -> None:
    conversation = spoken(*contents)
    made, found = examples(CHATML, conversation)
    written = iter(contents[1::2])
    turn = 0
    for example in found:
        ids = np.concatenate([example.prompt, example.tokens])
        mask = np.concatenate([np.zeros(len(example.prompt), bool), example.learned])
        starts = np.flatnonzero(mask & ~np.roll(mask, 1))
        for start in starts:
            asked = made.apply_chat_template(
                list(conversation.messages[: 2 * turn + 1]), add_generation_prompt=True, tokenize=False
            )
            assert ids[:start].tolist() == made(asked, add_special_tokens=False)["input_ids"]
            own = made(next(written), add_special_tokens=False)["input_ids"]
            end = made.convert_tokens_to_ids("<|im_end|>")
            assert ids[start : start + len(own) + 1].tolist() == [*own, end]
            turn += 1
        assert example.learned[-1]
    assert turn == len(contents) // 2


def test_tokens_that_would_merge_across_the_prompts_end_are_not_what_the_model_sees() -> None:
    made, found = examples(CHATML, spoken("a", "\nb", "c", "d"))
    assert [learned(made, example) for example in found] == ["\nb<|im_end|>", "d<|im_end|>"]
    two_breaks = made.convert_tokens_to_ids("\n\n")
    assert two_breaks not in [*found[0].prompt, *found[0].tokens] and two_breaks in found[1].prompt


def test_arrays_of_an_example_take_four_bytes_a_token() -> None:
    _, (example,) = examples(CHATML, spoken("1", "2"))
    assert (example.prompt.dtype, example.tokens.dtype, example.learned.dtype) == (np.int32, np.int32, np.bool_)


# --- Templates that do not preserve prefixes ----------------------------------------------------------------------


def test_a_template_that_drops_earlier_thoughts_gives_an_example_for_each_turn() -> None:
    made, found = examples(QWEN3, spoken("a", "<think>x</think>b", "c", "<think>y</think>d"))
    assert [learned(made, example) for example in found] == [
        "<think>x</think>b<|im_end|>",
        "<think>y</think>d<|im_end|>",
    ]
    assert "<think>" not in made.decode(found[1].prompt.tolist())  # as the model will see it


def test_a_template_that_strips_gives_an_example_for_each_turn_where_there_was_something_to_strip() -> None:
    made, found = examples(LLAMA, spoken("a", "b", "c", "d"), spoken("a", "b\n", "c", "d"))
    assert [learned(made, example) for example in found] == ["b<|im_end|>d<|im_end|>", "b\n<|im_end|>", "d<|im_end|>"]


def test_a_turn_whose_end_no_sampler_would_stop_at_ends_with_the_tokenizers_own_token() -> None:
    made = tokenizer(CHATML)
    conversation = spoken("a", "b", "c", "d")
    found = to_examples([conversation], made, Data(source="x"), ends={made.eos_token_id}, vocabulary=len(made))
    assert [learned(made, example) for example in found] == ["b<eos>", "d<eos>"]


def test_a_template_that_does_not_end_a_turn_gets_the_end_token_behind_each() -> None:
    made, found = examples(WITHOUT_END, spoken("a", "b", "c", "d"))
    assert [learned(made, example) for example in found] == ["b<eos>", "d<eos>"]
    assert made.decode(found[1].prompt.tolist()) == "user: a\nassistant: b\nuser: c\nassistant: "


def test_a_template_that_refuses_the_messages_is_a_sentence() -> None:
    with pytest.raises(ModelError, match=r"its chat template refuses problem row with messages from user, .* question"):
        examples(STRICT, spoken("a", "b", "c", "d"))


# --- A thought that the prompt has opened -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "rest"),
    [
        ("<think>\nx</think>b", "x</think>b"),
        ("<think>x</think>b", "x</think>b"),
        ("\n<think>\n\nx</think>b", "\nx</think>b"),
        ("x</think>b", "x</think>b"),
    ],
)
def test_a_tag_that_the_prompt_has_opened_is_not_written_twice(content: str, rest: str) -> None:
    made, (example,) = examples(R1, spoken("a", content))
    assert made.decode(example.prompt.tolist()).endswith("assistant<think>\n")
    assert learned(made, example) == f"{rest}<eos>"


def test_where_nothing_was_opened_everything_is_written() -> None:
    assert to_write("<think>a", Prompt(spoken("a"), (1,))) == "<think>a"


def test_chat_template_kwargs_reach_the_prompts() -> None:
    made, (example,) = examples(QWEN3, spoken("a", "b"), chat_template_kwargs={"enable_thinking": False})
    assert made.decode(example.prompt.tolist()).endswith("<think>\n\n</think>\n\n")
    assert learned(made, example) == "b<|im_end|>"


# --- Plain text ---------------------------------------------------------------------------------------------------


def test_plain_text_is_the_question_the_answer_and_the_end_token() -> None:
    made, (example,) = examples(None, spoken("Q: 1+1 A:", " 2"), chat=False)
    assert made.decode([*example.prompt, *example.tokens]) == "Q: 1+1 A: 2<eos>"
    assert learned(made, example) == " 2<eos>"


def test_plain_text_cannot_show_several_turns() -> None:
    with pytest.raises(DataError, match=r"problem row is a conversation of 3 messages, which data.chat = false cannot"):
        examples(None, spoken("a", "b", "c", "d"), chat=False)


def test_the_end_of_a_turn_is_what_the_template_puts_there() -> None:
    made = tokenizer(CHATML)
    end = made.convert_tokens_to_ids("<|im_end|>")
    assert end_of_turn(made, Data(source="x"), {end}) == end
    assert end_of_turn(made, Data(source="x", chat=False), {end}) == made.eos_token_id


# --- Rows ---------------------------------------------------------------------------------------------------------


def conversations(tmp_path: Path, *rows: Any) -> list[Problem]:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_conversations(Data(source=str(path), system="unused", template="unused {problem}"))


ASKED, ANSWERED = {"role": "user", "content": "1+1"}, {"role": "assistant", "content": "2"}


def test_messages_are_taken_as_they_are_and_end_with_the_assistants(tmp_path: Path) -> None:
    (found,) = conversations(tmp_path, {"id": "a", "messages": [ASKED, {**ANSWERED, "name": None}, ASKED], "reward": 1})
    assert (found.id, found.messages) == ("a", (ASKED, ANSWERED))


def test_rows_of_problem_and_solution_are_asked_as_the_settings_say(tmp_path: Path) -> None:
    (found,) = conversations(tmp_path, {"problem": "1+1", "answer": "2", "solution": "so 2"})
    assert [message["content"] for message in found.messages] == ["unused", "unused 1+1", "so 2"]


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([ASKED], "has no message of the assistant's to learn from (roles: user)"),
        ([], "has no message of the assistant's to learn from (roles: none)"),
        (None, "is no list of messages, each with a role and a content of text (None)"),
        ([ASKED, {"role": "assistant", "content": None}], "is no list of messages"),
        ([ASKED, {"role": "assistant", "content": " \n"}], "has an empty message of the assistant's (number 2)"),
        ([ANSWERED], "begins with the assistant's message"),
        ([ASKED, {"role": "assistant", "content": "\ud83d"}], "has half of a surrogate pair in it"),
    ],
)
def test_a_row_without_an_answer_is_a_sentence_that_names_it(tmp_path: Path, messages: Any, said: str) -> None:
    with pytest.raises(DataError) as refused:
        conversations(tmp_path, {"messages": [ASKED, ANSWERED]}, {"messages": messages})
    assert str(refused.value).startswith(f"{tmp_path}/rows.jsonl line 2: column 'messages' {said}")
