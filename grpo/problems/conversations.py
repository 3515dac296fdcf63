"""Conversations that a model is to learn from: token ids, and which of them are the assistant's.

An assistant's message is what the model should write after the prompt that it would be given there: the chat template's
rendering of the messages before it, with the generation prompt.  So the ids are those that the model sees when it
generates: prompt and message are tokenised apart, and the message ends with the token that ends a turn.

    prompt₁ message₁ | what the template puts between | message₂ …        learned: message₁ and message₂

A conversation is one example like this where the template *preserves prefixes*, that is, where prompt₂ begins with
prompt₁ and message₁, token for token.  Where it does not (Qwen3's drops earlier thoughts, Llama 3's strips what it is
given, R1's opens the thought of the next message only), each of the assistant's messages is an example of its own,
after its own prompt.  What follows the last of them is left out: nobody learns from it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from jinja2.exceptions import TemplateError
from numpy.typing import NDArray

from grpo.config import Data
from grpo.errors import DataError
from grpo.problems.columns import Row, is_message, is_unicode, row_ids, shorten, to_problems, where_is
from grpo.problems.prompts import render_prompts
from grpo.types import Message, Problem, Prompt

MESSAGES = "messages"  # the column of whole conversations
TARGET = "solution"  # … or the column with the whole text that the model should write, beside a problem's
AT_ONCE = 2048  # conversations that are tokenised together: what is between text and array is as large as this
UNBOUNDED = 2**62  # tokens: how long an example may be is for its reader to say

Ids = NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """What to write, and after which prompt.  `learned` says which of `tokens` are the assistant's; the last is."""

    id: str
    prompt: Ids
    tokens: Ids
    learned: NDArray[np.bool_]

    @classmethod
    def of(cls, id: str, prompt: Sequence[int], tokens: Sequence[int]) -> Example:
        """Of a prompt and one message."""
        return cls(id, np.array(prompt, np.int32), np.array(tokens, np.int32), np.ones(len(tokens), np.bool_))

    def __len__(self) -> int:
        return len(self.prompt) + len(self.tokens)


def to_conversations(rows: Sequence[Row], data: Data, *, stem: str) -> list[Problem]:
    """The whole conversation of each row: its `messages` as they are, or what asks its problem, and `solution`."""
    columns = dict.fromkeys(name for row in rows for name in row)
    if MESSAGES not in columns:
        problems = to_problems(rows, data, stem=stem, needs=(TARGET,))
        return [_answered(problem, data.source) for problem in problems]
    ids = row_ids(rows, list(columns), stem)
    where = partial(where_is, data.source, ids, stem)
    return [
        Problem(ids[index], _messages(row.get(MESSAGES), partial(where, index, f": column {MESSAGES!r}")), {})
        for index, row in enumerate(rows)
    ]


def _answered(problem: Problem, source: str) -> Problem:
    written = str(problem.facts[TARGET])
    if not is_unicode(written):
        raise DataError(f"{source}: {TARGET} of {problem.id} has half of a surrogate pair in it, no character; mend it")
    return Problem(problem.id, (*problem.messages, {"role": "assistant", "content": written}), {})


def _messages(given: Any, where: Callable[[], str]) -> tuple[Message, ...]:
    if not (isinstance(given, list) and all(map(is_message, given))):
        raise DataError(f"{where()} is no list of messages, each with a role and a content of text ({shorten(given)})")
    # What else a message has (a name, its thoughts in a field of their own) is the template's to know.
    messages = [{key: value for key, value in message.items() if value is not None} for message in given]
    assistants = _assistants(messages)
    if not assistants:
        roles = ", ".join(message["role"] for message in messages) or "none"
        raise DataError(f"{where()} has no message of the assistant's to learn from (roles: {roles}); remove this row")
    if assistants[0] == 0:
        raise DataError(f"{where()} begins with the assistant's message; put what it answers before it")
    if empty := next((turn for turn in assistants if not messages[turn]["content"].strip()), None):
        raise DataError(
            f"{where()} has an empty message of the assistant's (number {empty + 1}); complete or remove it"
        )
    if half := next((m["content"] for m in messages if not is_unicode(m["content"])), None):
        raise DataError(
            f"{where()} has half of a surrogate pair in it ({shorten(half)}), which is no character; mend it"
        )
    return tuple(messages[: assistants[-1] + 1])


def _assistants(messages: Sequence[Message]) -> list[int]:
    return [index for index, message in enumerate(messages) if message["role"] == "assistant"]


def to_examples(
    conversations: Sequence[Problem], tokenizer: Any, data: Data, *, ends: Collection[int], vocabulary: int
) -> list[Example]:
    """The examples of each conversation, in order; more than one where the template does not preserve prefixes.

    `ends` are the tokens that end what the model of `vocabulary` tokens writes.
    """
    end = end_of_turn(tokenizer, data, ends)
    examples = []
    for start in range(0, len(conversations), AT_ONCE):
        part = conversations[start : start + AT_ONCE]
        turns = [(conversation, turn) for conversation in part for turn in _assistants(conversation.messages)]
        asked = [Problem(conversation.id, conversation.messages[:turn], {}) for conversation, turn in turns]
        prompts = render_prompts(asked, tokenizer, data, context=UNBOUNDED, max_tokens=1, vocabulary=vocabulary)
        written = [
            to_write(conversation.messages[turn]["content"], prompt)
            for (conversation, turn), prompt in zip(turns, prompts, strict=True)
        ]
        tokens = tokenizer(written, add_special_tokens=False, verbose=False)["input_ids"]
        pairs = zip(prompts, tokens, strict=True)
        every = (Example.of(prompt.problem.id, prompt.token_ids, [*ids, end]) for prompt, ids in pairs)
        for conversation in part:
            examples += joined([next(every) for _ in _assistants(conversation.messages)])
    return examples


def to_write(content: str, prompt: Prompt) -> str:
    """What remains to be written of a message: a tag that the prompt has opened is not written twice."""
    tag = prompt.opened.rstrip()
    if not tag or not content.lstrip().startswith(tag):
        return content
    return content.lstrip().removeprefix(tag).removeprefix(prompt.opened[len(tag) :])


def joined(turns: Sequence[Example]) -> list[Example]:
    """One example of a conversation's turns, each after its own prompt, if every prompt begins with the turn before;
    else the turns as they are."""
    tokens, learned = [turns[0].tokens], [turns[0].learned]
    for before, turn in pairwise(turns):
        seen = np.concatenate([before.prompt, before.tokens])
        if not np.array_equal(turn.prompt[: len(seen)], seen):
            return list(turns)
        between = turn.prompt[len(seen) :]
        tokens += [between, turn.tokens]
        learned += [np.zeros(len(between), np.bool_), turn.learned]
    return [Example(turns[0].id, turns[0].prompt, np.concatenate(tokens), np.concatenate(learned))]


def end_of_turn(tokenizer: Any, data: Data, ends: Collection[int]) -> int:
    """The token that the chat template puts behind an assistant's message, if a model's sampler would stop at it; else
    the tokenizer's own end token."""
    own: int = tokenizer.eos_token_id
    if not data.chat or not tokenizer.chat_template:
        return own
    content = "7c1e"  # what no template has in it
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": content}]
    try:
        text: str = tokenizer.apply_chat_template(messages, tokenize=False, **data.chat_template_kwargs)
    except (TemplateError, TypeError):  # of which rendering the rows will say more
        return own
    after: list[int] = tokenizer(text.rpartition(content)[2], add_special_tokens=False)["input_ids"]
    return next((token for token in after if token in ends), own)
