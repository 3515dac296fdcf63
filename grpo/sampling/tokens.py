"""What both samplers must agree on: which tokens end a completion, whether it fits, how it reads as text.

One place for the end tokens, because models name them in three (configuration, generation configuration, tokenizer)
and a sampler that misses one runs every completion to the limit and calls it truncated (TRL issue 7039).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from transformers import AutoConfig, AutoTokenizer, GenerationConfig

from grpo.errors import ConfigError, DataError, ModelError, SamplerError, first_line
from grpo.types import Prompt

HALF = "\N{REPLACEMENT CHARACTER}"  # what decoding makes of bytes that are no character, or not yet
LONGEST = 16  # tokens that a character may take; what takes more is none


class Vocabulary:
    """The tokenizer and limits of one model."""

    def __init__(self, model: str, revision: str | None, context: int) -> None:
        self.context = context
        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(model, revision=revision)
            self._config = AutoConfig.from_pretrained(model, revision=revision)
        except (OSError, ValueError) as error:
            raise ModelError(f"{model}: cannot be sampled from, {first_line(error)}") from error
        self._generation = _generation_config(model)
        self._refuse_context_beyond_the_model(model)

    def refuse_indivisible_heads(self, tensor_parallel: int) -> None:
        refuse_indivisible_heads(self._config, tensor_parallel)

    def _refuse_context_beyond_the_model(self, model: str) -> None:
        limit = getattr(self._config.get_text_config(), "max_position_embeddings", None)
        if limit is not None and self.context > limit:
            raise ConfigError(
                f"sampling.max_tokens: the longest prompt with its completion needs {self.context} tokens, "
                f"and {model} has a context of {limit}; lower sampling.max_tokens or drop the longest problems"
            )

    @cached_property
    def end_tokens(self) -> frozenset[int]:
        named = (
            getattr(self._config.get_text_config(), "eos_token_id", None),
            self._generation.eos_token_id,
            self.tokenizer.eos_token_id,
        )
        return frozenset(token for ids in named for token in _as_list(ids))

    def check_room(self, prompts: Iterable[Prompt], max_tokens: int) -> None:
        for prompt in prompts:
            needed = len(prompt.token_ids) + max_tokens
            if needed > self.context:
                raise DataError(
                    f"{prompt.problem.id}: its prompt of {len(prompt.token_ids)} tokens with {max_tokens} for the "
                    f"completion needs {needed}, and the sampler was started for {self.context}; "
                    "lower sampling.max_tokens or drop the problem"
                )

    @cached_property
    def _framing(self) -> NDArray[np.int64]:
        """Tokens that stand around a text: where it begins and ends, padding, what could not be read."""
        names = self.tokenizer.special_tokens_map.values()
        roles = [name for name in names if isinstance(name, str)]  # others are lists, of tokens without a role
        return np.array(sorted(self.end_tokens.union(self.tokenizer.convert_tokens_to_ids(roles))))

    def texts(self, prompts: Sequence[Prompt], completions: Sequence[ArrayLike]) -> list[str]:
        """What a reward reads of each completion: all that the model wrote, in the tag that its prompt opened.

        Special tokens are part of it, because to some models `<think>` is one, but for those that only frame a text.
        Ids beyond the tokenizer, of rows that round a model's vocabulary up, stand for no text.
        """
        written = [ids[~np.isin(ids, self._framing)].tolist() for ids in map(np.asarray, completions)]
        texts = self._decoded(written)
        return [prompt.opened + text for prompt, text in zip(prompts, texts, strict=True)]

    def _decoded(self, completions: Sequence[Sequence[int]]) -> list[str]:
        """Where tokenizer and wrapper agree on what decoding is, the library decodes all at once on all cores, and
        other threads of Python go on meanwhile."""
        if self.tokenizer.is_fast and not self.tokenizer.clean_up_tokenization_spaces:
            texts: list[str] = self.tokenizer.backend_tokenizer.decode_batch(completions, skip_special_tokens=False)
            return texts
        return [str(self.tokenizer.decode(token_ids)) for token_ids in completions]


def pieces(token_ids: Sequence[int], decode: Callable[[Sequence[int]], str]) -> list[str]:
    """The text of each token, which is what the token adds to those before it: some tokenizers drop the space in front
    of a text.  Of a character that several tokens make, the last one has it, the others have none.

    The library's own DecodeStream does the same, but it raises where bytes are no text, which a model may well write,
    and takes time with the square of their number.
    """
    found, before, begun = list[str](), 0, 0  # tokens from `before` on have been said up to `begun`
    said = text = ""
    for end in range(1, len(token_ids) + 1):
        text = decode(token_ids[before:end])
        if text.endswith(HALF) and end - begun < LONGEST:
            found.append("")
            continue
        found.append(text[len(said) :])
        before, begun = begun, end
        said = text = decode(token_ids[before:begun])
    if found:
        found[-1] += text[len(said) :]  # half a character, for good
    return found


def _generation_config(model: str) -> Any:
    """The file is optional.  But without one that is there and cannot be read, end tokens would be missing."""
    if not (Path(model) / "generation_config.json").is_file():
        return GenerationConfig()
    try:
        return GenerationConfig.from_pretrained(model)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ModelError(f"{model}/generation_config.json: cannot be read, {first_line(error)}; mend it") from error


def refuse_indivisible_heads(model_config: Any, tensor_parallel: int) -> None:
    """Every device of a sampler computes as many heads; key-value heads may be fewer than devices, then each is kept by
    several.  Raises `ConfigError`."""
    text = model_config.get_text_config()
    heads = text.num_attention_heads
    shared = getattr(text, "num_key_value_heads", None) or heads
    if heads % tensor_parallel or (shared % tensor_parallel and tensor_parallel % shared):
        allowed = [n for n in range(1, heads + 1) if not heads % n and not (shared % n and n % shared)]
        raise ConfigError(
            f"cluster.tensor_parallel = {tensor_parallel}: the model's {heads} attention heads ({shared} for keys and "
            f"values) cannot be divided among as many devices; one of {', '.join(map(str, allowed))} can"
        )


def not_numbers(sampler: str) -> SamplerError:
    """Where log-probabilities are NaN: of weights that are NaN, or so large that they overflow."""
    return SamplerError(
        f"{sampler}: the model's logits are not numbers, so its weights are damaged or have diverged; go back to an "
        "earlier checkpoint, or lower optim.lr"
    )


def _as_list(ids: int | list[int] | None) -> list[int]:
    if ids is None:
        return []
    return [ids] if isinstance(ids, int) else ids
