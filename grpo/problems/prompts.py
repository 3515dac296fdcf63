"""How a model reads a problem: through its chat template, or as plain text (base models, R1-Zero).

Two steps, for both: a text, then its tokens *without* special tokens added, because a chat template has written its
own.  Plain text gets the begin-of-text token if the tokenizer puts one there and the text has none.
"""

from __future__ import annotations

import inspect
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from grpo.config import Data
from grpo.errors import ConfigError, DataError, ModelError
from grpo.types import Problem, Prompt

CHECKED = 200  # prompts that are read back

# A prompt that ends in it begins the model's thought for it: DeepSeek-R1's templates, and prompts of R1-Zero's kind.
_OPENED = re.compile(r"(?:<(?:think|thinking|thought|reasoning)>|◁think▷|<\|begin_of_thought\|>|\[THINK\])\s*\Z")


def render_prompts(
    problems: Sequence[Problem], tokenizer: Any, data: Data, *, context: int, max_tokens: int, vocabulary: int
) -> list[Prompt]:
    """One prompt per problem, each with room for `max_tokens` more in a model that sees `context` tokens and has
    `vocabulary` of them.  A tokenizer that is not the model's is refused where it shows."""
    if not problems:
        return []
    to_text = _chat_text if data.chat else _plain_text
    if data.chat and not tokenizer.chat_template:
        raise ModelError(
            f"{tokenizer.name_or_path}: its tokenizer has no chat template; take an instruction-tuned model, or set "
            'data.chat = false and data.template = "… {problem} …", the whole text that the model should continue'
        )
    if data.chat_template_kwargs:
        _check_arguments(tokenizer, data.chat_template_kwargs)
    texts = [to_text(problem, tokenizer, data) for problem in problems]
    begin = [] if data.chat else _begin(tokenizer)
    prompts = []
    tokens = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
    for problem, text, ids in zip(problems, texts, tokens, strict=True):
        written = ids[: len(begin)] == begin  # by the template
        opened = _OPENED.search(text)
        prompts.append(Prompt(problem, tuple(ids if written else [*begin, *ids]), opened[0] if opened else ""))
    _check_round_trip(prompts[:CHECKED], tokenizer, vocabulary)
    _check_room(prompts, context, max_tokens)
    return prompts


def _chat_text(problem: Problem, tokenizer: Any, data: Data) -> str:
    from jinja2.exceptions import TemplateError

    try:
        text: str = tokenizer.apply_chat_template(
            list(problem.messages), add_generation_prompt=True, tokenize=False, **data.chat_template_kwargs
        )
    except (TemplateError, TypeError) as error:  # Gemma's, for one, knows no system message
        roles = ", ".join(message["role"] for message in problem.messages)
        raise ModelError(
            f"{tokenizer.name_or_path}: its chat template refuses problem {problem.id} with messages from {roles} "
            f"({error}); change data.system, data.chat_template_kwargs or the rows' messages to what the template knows"
        ) from error
    return text


def _check_arguments(tokenizer: Any, given: Mapping[str, Any]) -> None:
    """A template passes over what it does not know without a word, and the model would think, or not, as before."""
    from jinja2 import TemplateError, meta
    from transformers.utils.chat_template_utils import _compile_jinja_template  # with the tags that templates may use

    ours = {"messages", *inspect.signature(tokenizer.apply_chat_template).parameters}
    template = tokenizer.get_chat_template()
    try:
        environment = _compile_jinja_template(template).environment
    except TemplateError as error:
        raise ModelError(f"{tokenizer.name_or_path}: its chat template cannot be read ({error}); mend it") from error
    read = meta.find_undeclared_variables(environment.parse(template)) - environment.globals.keys()
    known = sorted(read - ours - set(tokenizer.special_tokens_map))
    for key in given:
        if key not in known:
            there = f"it reads {', '.join(known)}" if known else "it reads none"
            raise ConfigError(
                f"data.chat_template_kwargs: the chat template of {tokenizer.name_or_path} does not read {key} "
                f"({there}); correct the name, or leave it out"
            )


def _plain_text(problem: Problem, tokenizer: Any, data: Data) -> str:
    if data.system is not None:
        raise ConfigError("data.system: there is no system message with data.chat = false; put it into data.template")
    if len(problem.messages) > 1:
        raise DataError(
            f"{data.source}: problem {problem.id} is a conversation of {len(problem.messages)} messages, which "
            "data.chat = false cannot show; set data.chat = true or keep one message per row"
        )
    return problem.messages[0]["content"]


def _begin(tokenizer: Any) -> list[int]:
    """[bos] if the tokenizer begins texts with it (Llama), [] if not (Qwen).

    Asked of an empty text, and put there by us: some tokenizers would also add an end token, after which a model
    has nothing more to say.
    """
    ids: list[int] = tokenizer("")["input_ids"][:1]
    return ids if ids == [tokenizer.bos_token_id] else []


def _check_round_trip(prompts: Sequence[Prompt], tokenizer: Any, vocabulary: int) -> None:
    """Most problems must still be in their prompts when these are read back, and made of tokens that the model has.

    Most, not all: a small vocabulary may lack a sign here and there.  But a tokenizer made of a file too few, or a
    chat template of another model, loses them all, and the model would be asked nothing.
    """
    cure = "take tokenizer.json and chat template from the model's own files, or set data.chat = false"
    strange = [prompt for prompt in prompts if max(prompt.token_ids) >= vocabulary]
    if strange:
        raise ModelError(
            f"{tokenizer.name_or_path}: its tokenizer writes token {max(strange[0].token_ids)} into problem "
            f"{strange[0].problem.id}, and the model has {vocabulary}, so it is not the model's; {cure}"
        )
    lost = [prompt for prompt in prompts if not _is_in(tokenizer.decode(list(prompt.token_ids)), prompt.problem)]
    if 2 * len(lost) > len(prompts):
        read = tokenizer.decode(list(lost[0].token_ids))
        raise ModelError(
            f"{tokenizer.name_or_path}: {len(lost)} of {len(prompts)} problems are lost on their way through chat "
            f"template and tokenizer ({lost[0].problem.id} reads {read[:80]!r}), so one of them is not the model's; "
            f"{cure}"
        )


def _is_in(text: str, problem: Problem) -> bool:
    """Whether the question is in `text`, letter for letter but for case, white space and compatible forms."""
    return _squeezed(problem.messages[-1]["content"]) in _squeezed(text)


def _squeezed(text: str) -> str:
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def _check_room(prompts: Sequence[Prompt], context: int, max_tokens: int) -> None:
    longest = max(prompts, key=lambda prompt: len(prompt.token_ids))
    length = len(longest.token_ids)
    too_long = sum(len(prompt.token_ids) + max_tokens > context for prompt in prompts)
    if not too_long:
        return
    cure = f"set max_tokens to {context - length} or less, or take" if context > length else "take"
    raise DataError(
        f"problem {longest.problem.id}: its prompt of {length} tokens and max_tokens = {max_tokens} do not fit into "
        f"the model's context of {context} tokens ({too_long} of {len(prompts)} problems do not fit); {cure} the long "
        "problems out of the data"
    )
