"""Weights that come while completions run, and calls from several threads at the same time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from grpo.errors import SamplerError
from grpo.sampling import RemoteSampler, hf
from grpo.sampling.turn import Turns
from grpo.types import Group, Prompt, SamplingParams, Span
from tests.test_sampling import PROMPTS, collect, logprobs_by, needs_vllm, start
from tests.tiny import encode, make_model, save_model


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model"), tied=request.param)


@pytest.fixture(scope="module")
def models(folder: Path) -> list[Any]:
    """Of steps 0, 1 and 2."""
    first = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return [first, *(make_model(first.config.tie_word_embeddings, seed=seed) for seed in (1, 2))]


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Any]:
    sampler = start("vllm", folder)
    yield sampler
    sampler.close()


@pytest.fixture
def vllm(served: Any, models: list[Any]) -> Any:
    served.load_weights(models[0].named_parameters(), 0)
    return served


def after_passes(sampler: Any, monkeypatch: pytest.MonkeyPatch, todo: dict[int, Callable[[], object]]) -> list[object]:
    """While the engine makes its pass of that number, a thread starts on what is to do then; what came of each."""
    passes, results, real = iter(range(1, 10**6)), [], sampler._engine.step

    def step() -> Any:
        number = next(passes)
        if number in todo:
            asking = threading.Thread(target=lambda: results.append(todo[number]()))
            asking.start()
            while len(sampler._turns._queue) < 2:
                time.sleep(0.001)  # until it has asked for the turn after this pass
        return real()

    monkeypatch.setattr(sampler._engine, "step", step)
    return results


def assert_drawn_from_their_own_weights(groups: Sequence[Group], models: Sequence[Any]) -> None:
    for group in groups:
        for completion in group.completions:
            start = 0
            for step, tokens in completion.spans or (Span(group.policy_step, len(completion.token_ids)),):
                scores = logprobs_by(models[step], group.prompt.token_ids, completion.token_ids)
                end = start + tokens
                assert completion.logprobs[start:end] == pytest.approx(scores[start:end], abs=1e-4)
                start = end


@needs_vllm
def test_every_token_is_drawn_from_the_weights_of_its_own_span(
    vllm: Any, models: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = {
        9: lambda: vllm.load_weights(models[1].named_parameters(), 1),
        25: lambda: vllm.load_weights(models[2].named_parameters(), 2),
    }
    after_passes(vllm, monkeypatch, loads)
    groups = collect(vllm, PROMPTS, n=8, max_tokens=60, seed=3)
    assert_drawn_from_their_own_weights(groups, models)
    spans = [completion.spans for group in groups for completion in group.completions]
    assert max(map(len, spans)) == 3
    assert {spans[0].step for spans in spans if spans} == {0}
    assert {group.policy_step for group in groups} == {0}
    (after,) = collect(vllm, PROMPTS[:1])
    assert after.policy_step == 2
    assert all(completion.spans == () for completion in after.completions)


@needs_vllm
def test_the_engine_goes_on_while_answers_are_decoded(vllm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first group's text comes after the engine has made three more passes."""
    passes, decoded, step, texts = [], [], vllm._engine.step, vllm._vocabulary.texts

    def waiting(prompts: Sequence[Prompt], completions: Sequence[Sequence[int]]) -> Any:
        until = len(passes) + (0 if decoded else 3)
        decoded.append(until)
        end = time.monotonic() + 60
        while len(passes) < until:
            assert time.monotonic() < end, "no pass was made while a text was waited for"
            time.sleep(0.001)
        return texts(prompts, completions)

    monkeypatch.setattr(vllm._engine, "step", lambda: (passes.append(1), step())[1])
    monkeypatch.setattr(vllm._vocabulary, "texts", waiting)
    groups = collect(vllm, PROMPTS, n=2, max_tokens=60, seed=3)
    lengths = sorted(max(len(completion.token_ids) for completion in group.completions) for group in groups)
    assert lengths[0] + 4 <= lengths[-1] <= len(passes)  # so that there are passes to wait for


@needs_vllm
def test_two_calls_at_the_same_time_each_get_their_own_answers(vllm: Any, models: list[Any]) -> None:
    with ThreadPoolExecutor(2) as threads:
        halves = [PROMPTS[:2], PROMPTS[2:]]
        asked = [threads.submit(collect, vllm, half, n=4 + i, max_tokens=60, seed=i) for i, half in enumerate(halves)]
        answered = [one.result() for one in asked]
    for i, (half, groups) in enumerate(zip(halves, answered, strict=True)):
        assert [group.prompt for group in groups] == half
        assert {len(group.completions) for group in groups} == {4 + i}
        assert_drawn_from_their_own_weights(groups, models)


@needs_vllm
def test_a_score_while_completions_run_is_of_the_weights_that_came_last(
    vllm: Any, models: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    sequence = (encode("1 + 1"), encode(" = 2"))

    def load_and_score() -> Any:
        vllm.load_weights(models[1].named_parameters(), 1)
        return vllm.score([sequence])

    scored = after_passes(vllm, monkeypatch, {9: load_and_score})
    assert_drawn_from_their_own_weights(collect(vllm, PROMPTS, max_tokens=60), models)
    assert scored[0][0] == pytest.approx(logprobs_by(models[1], *sequence), abs=1e-4)  # type: ignore[index]


@needs_vllm
def test_old_keys_and_values_that_vllm_keeps_are_an_error(
    vllm: Any, models: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def load() -> object:
        with pytest.raises(SamplerError, match="step 1, vLLM kept the old weights' keys and values"):
            vllm.load_weights(models[1].named_parameters(), 1)
        return "refused"

    results = after_passes(vllm, monkeypatch, {5: load})
    real = vllm._engine.reset_prefix_cache
    monkeypatch.setattr(
        vllm._engine, "reset_prefix_cache", lambda reset_running_requests=False: not reset_running_requests and real()
    )
    collect(vllm, PROMPTS, max_tokens=30)
    assert results == ["refused"]


def test_with_transformers_weights_change_between_batches(
    folder: Path, models: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hf, "BATCH_TOKENS", 1)  # a batch for each prompt
    sampler = start("transformers", folder)
    groups = []
    for index, group in sampler.sample(PROMPTS, 2, SamplingParams(max_tokens=20)):
        groups.append(group)
        if index < 2:
            sampler.load_weights(models[index + 1].named_parameters(), index + 1)
    assert [group.policy_step for group in groups] == [0, 1, 2, 2]
    assert_drawn_from_their_own_weights(groups, models)


def test_while_weights_come_nothing_is_sampled_and_when_they_stay_away_one_sentence_says_so(folder: Path) -> None:
    sampler: RemoteSampler = start("transformers", folder)  # type: ignore[assignment]
    sampler._turns.limit = 0.1  # type: ignore[attr-defined]
    sampler.start_update(5)
    for ask in (lambda: collect(sampler, PROMPTS[:1]), lambda: sampler.score([((5,), (6,))])):
        with pytest.raises(SamplerError, match=r"waited 0.2 s for the weights of step 5, of which not all have come"):
            ask()
    sampler._turns.limit = None  # type: ignore[attr-defined]
    with ThreadPoolExecutor(1) as beside:
        waiting = beside.submit(collect, sampler, PROMPTS[:1], max_tokens=3)
        sampler.start_update(6)  # again from the start
        assert not waiting.done()
        sampler.finish_update()
        assert waiting.result()[0].policy_step == 6


def test_turns_are_given_in_the_order_of_asking() -> None:
    """Also against a thread that asks again at once, as one that makes pass after pass does."""
    turns, order, threads = Turns(), [], []

    def ask(name: str, again: bool) -> None:
        with turns.one():
            order.append(name)
        if again:
            ask(name + "'", False)

    turns.start_update(1)
    for name in "abc":
        threads.append(threading.Thread(target=ask, args=(name, name == "a")))
        threads[-1].start()
        while len(turns._queue) < 1 + len(threads):
            time.sleep(0.001)
    turns.finish_update()
    for thread in threads:
        thread.join()
    assert order == ["a", "b", "c", "a'"]
