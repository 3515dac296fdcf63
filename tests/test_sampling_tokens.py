"""Which tokens end a completion and which are its text, where a vocabulary has more than letters: several end tokens,
`<think>` as one special token, and rows that round the vocabulary up, for which the tokenizer has no word."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer

from grpo.errors import ModelError
from grpo.sampling import Sampler
from grpo.sampling.tokens import LONGEST, Vocabulary, pieces
from grpo.types import Group
from rewards.layout import layout
from tests.test_sampling import BACKENDS, PROMPTS, collect, logprobs_by, start
from tests.tiny import CHARACTERS, CONFIG_END, END, GENERATION_END, PAD, UNKNOWN, make_model, save_model

THINK, UNTHINK, ANSWER = range(len(CHARACTERS), len(CHARACTERS) + 3)
ROWS = 128  # of the model: 24 more than the tokenizer has tokens
FRAMING = {PAD, END, CONFIG_END, GENERATION_END, UNKNOWN}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As DeepSeek's and Qwen's: `<think>` is a special token, `<answer>` an added one that is not."""
    folder = save_model(tmp_path_factory.mktemp("model"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokens = [AddedToken(text, special=text != "<answer>") for text in ("<think>", "</think>", "<answer>")]
    assert tokenizer.add_tokens(tokens) == 3
    tokenizer.save_pretrained(folder)
    model = make_model(tied=True)
    model.resize_token_embeddings(ROWS, mean_resizing=False)
    torch.manual_seed(0)
    with torch.no_grad():
        model.get_input_embeddings().weight.normal_(std=0.15)
    model.config.eos_token_id = CONFIG_END
    model.generation_config.eos_token_id = [GENERATION_END, END]  # as Llama 3's list
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=BACKENDS)
def sampler(request: pytest.FixtureRequest, folder: Path) -> Iterator[Sampler]:
    sampler = start(request.param, folder)
    yield sampler
    sampler.close()


@pytest.fixture(scope="module")
def reference(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def drawn(groups: list[Group]) -> set[int]:
    return {int(token) for group in groups for completion in group.completions for token in completion.token_ids}


@pytest.mark.parametrize("stop", [(), ("zq",)], ids=["no stop text", "a stop text, for which the sampler reads along"])
def test_ids_beyond_the_tokenizer_are_drawn_as_often_as_the_policy_says_and_stand_for_no_text(
    sampler: Sampler, reference: Any, stop: tuple[str, ...]
) -> None:
    groups = collect(sampler, PROMPTS * 2, n=8, stop=stop)
    assert max(drawn(groups)) > ANSWER
    words = dict(enumerate([*CHARACTERS, "<think>", "</think>", "<answer>"]))
    for group in groups:
        for completion in group.completions:
            expected = logprobs_by(reference, group.prompt.token_ids, list(completion.token_ids))
            assert list(completion.logprobs) == pytest.approx(expected, abs=1e-4)
            text = "".join(words.get(int(t), "") for t in completion.token_ids if int(t) not in FRAMING)
            assert completion.text == text


def test_ids_beyond_the_tokenizer_are_scored_too(sampler: Sampler, reference: Any) -> None:
    pairs = [(PROMPTS[0].token_ids, (ROWS - 1, 40, ROWS - 2, ANSWER + 1))]
    assert sampler.score(pairs)[0] == pytest.approx(logprobs_by(reference, *pairs[0]), abs=1e-4)


def test_a_thought_is_text_whether_its_tags_are_special_tokens_or_not(sampler: Sampler) -> None:
    groups = collect(sampler, PROMPTS * 4, n=8)
    assert {THINK, UNTHINK, ANSWER} <= drawn(groups)
    texts = [completion.text for group in groups for completion in group.completions]
    for tag in ("<think>", "</think>", "<answer>"):
        assert any(tag in text for text in texts)


def test_every_end_token_of_every_list_ends_a_completion(sampler: Sampler) -> None:
    met = set()
    for group in collect(sampler, PROMPTS * 4, n=8, max_tokens=100):
        for completion in group.completions:
            *before, last = map(int, completion.token_ids)
            assert not {END, CONFIG_END, GENERATION_END} & set(before)
            assert (completion.finish == "stop") == (last in (END, CONFIG_END, GENERATION_END))
            met |= {last} if completion.finish == "stop" else set()
    assert met == {END, CONFIG_END, GENERATION_END}


def test_a_completion_begins_in_the_thought_that_its_prompt_opened(sampler: Sampler) -> None:
    groups = collect(sampler, [replace(prompt, opened="<think>\n") for prompt in PROMPTS], n=2)
    same = collect(sampler, PROMPTS, n=2)
    for opened, plain in zip(groups, same, strict=True):
        assert [c.text for c in opened.completions] == ["<think>\n" + c.text for c in plain.completions]
        pairs = zip(opened.completions, plain.completions, strict=True)
        assert all(a.token_ids.tolist() == b.token_ids.tolist() for a, b in pairs)


def test_the_layout_is_read_from_special_tokens_and_from_a_thought_that_the_prompt_opened(folder: Path) -> None:
    vocabulary = Vocabulary(str(folder), None, context=64)
    four, end = CHARACTERS.index("4"), END
    close = [*map(CHARACTERS.index, "</answer>")]
    written = [four, UNTHINK, ANSWER, four, *close, end]
    opened = replace(PROMPTS[0], opened="<think>\n")
    texts = vocabulary.texts([PROMPTS[0], opened], [[THINK, *written], written])
    assert texts[0] == "<think>4</think><answer>4</answer>"
    for text in texts:
        assert layout(text, {}).value == layout(text, {}, opened=True).value == 1.0


@pytest.mark.parametrize("text", ["not JSON", "[]"])
def test_a_generation_config_that_cannot_be_read_is_not_passed_over(folder: Path, tmp_path: Path, text: str) -> None:
    """Its end tokens would be missing, and every completion run to the limit."""
    for file in folder.iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "generation_config.json").unlink()
    assert Vocabulary(str(tmp_path), None, context=64).end_tokens == {END, CONFIG_END}
    (tmp_path / "generation_config.json").write_text(text)
    with pytest.raises(ModelError, match=r"generation_config.json: cannot be read, .*; mend it"):
        Vocabulary(str(tmp_path), None, context=64)


def test_one_end_token_may_be_a_number_as_well_as_a_list(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "generation_config.json").unlink()
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": GENERATION_END}))
    assert Vocabulary(str(tmp_path), None, context=64).end_tokens == {END, CONFIG_END, GENERATION_END}


# --- Token by token -------------------------------------------------------------------------------------------------


def bytewise() -> Tokenizer:
    """As GPT-2's and most others': each of 256 tokens is a byte."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: id for id, letter in enumerate(letters)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def with_byte_fallback() -> Tokenizer:
    """As Llama 2's: words whose space goes where a text begins, and bytes for what is no word."""
    words = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁a", "▁be", "c"]
    vocab = {word: id for id, word in enumerate(words)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<unk>", byte_fallback=True))
    spaces, front = decoders.Replace("▁", " "), decoders.Strip(" ", 1, 0)
    tokenizer.decoder = decoders.Sequence([spaces, decoders.ByteFallback(), decoders.Fuse(), front])
    return tokenizer


BYTEWISE, FALLBACK = bytewise(), with_byte_fallback()
WORDS = 257, 258, 259  # "▁a", "▁be", "c"


def test_the_last_token_of_a_character_has_it() -> None:
    assert pieces(BYTEWISE.encode("a€b").ids, BYTEWISE.decode) == ["a", "", "", "€", "b"]


def test_half_a_character_at_the_end_is_said_as_the_text_says_it() -> None:
    assert pieces(BYTEWISE.encode("a€").ids[:-1], BYTEWISE.decode) == ["a", "", "�"]


def test_a_space_is_the_token_s_that_begins_with_it_but_for_the_first() -> None:
    assert pieces([257, 258, 259, 257], FALLBACK.decode) == ["a", " be", "c", " a"]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_together_they_are_the_text(text: str) -> None:
    assert "".join(pieces(BYTEWISE.encode(text).ids, BYTEWISE.decode)) == text


@given(
    st.text(st.characters(exclude_categories=["Cs"], min_codepoint=128), max_size=4), st.lists(st.sampled_from(WORDS))
)
def test_together_they_are_the_text_where_words_follow_bytes(text: str, words: list[int]) -> None:
    ids = [byte + 1 for byte in text.encode()] + words
    assert "".join(pieces(ids, FALLBACK.decode)) == FALLBACK.decode(ids)


@pytest.mark.parametrize("tokenizer", [BYTEWISE, FALLBACK], ids=["bytewise", "fallback"])
@given(st.lists(st.integers(0, 299)))  # and ids beyond the tokenizer
def test_bytes_that_are_no_text_have_a_piece_each_too(tokenizer: Tokenizer, ids: list[int]) -> None:
    assert len(pieces(ids, tokenizer.decode)) == len(ids)


def test_a_model_that_writes_nothing_but_halves_of_characters_is_read_a_few_at_a_time() -> None:
    """Where a run collapses: all of them again for every one took the square of their number."""
    widest = 0

    def decode(ids: Sequence[int]) -> str:
        nonlocal widest
        widest = max(widest, len(ids))
        return BYTEWISE.decode(list(ids))

    halves = BYTEWISE.encode("€").ids[:1] * 1000
    assert "".join(pieces(halves, decode)) == "�" * 1000
    assert widest == 2 * LONGEST
