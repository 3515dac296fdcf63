"""What a step's completions cost on their way from vLLM to a batch.  `scripts/bench sampling_path [--tokens N]`

Answers such as vLLM gives, made up and without any model: 64 groups of 8, each of 4,000 tokens, two million numbers
twice.  They become completions and groups, are scored (by nobody: rewards see text alone), and go where all of a step
go: into a message from a sampler in another process, the canary's probe, a batch, the rows of samples.jsonl, and the
metrics.  Decoding is timed by itself, with a byte-level BPE that is trained on the standard library's source.

Seconds are the processor's, of the fastest of five calls, in one thread.  Memory is what Python and NumPy allocate
(tracemalloc): what the groups hold while the step lasts, and what vLLM holds of a request's tokens until it is done.
The last lines are a request's log-probabilities in vLLM between the model and the answer, one pass for each token: as
vLLM keeps them, and as they are kept here.
"""

from __future__ import annotations

import argparse
import gc
import os
import pickle
import sys
import sysconfig
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one thread, as everything else here

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast
from vllm.logprobs import create_sample_logprobs
from vllm.v1.engine import EngineCoreOutput
from vllm.v1.engine.logprobs import LogprobsProcessor
from vllm.v1.outputs import LogprobsLists

from grpo.algorithm import JudgedGroup, StepResult
from grpo.metrics import sample_rows, step_row
from grpo.sampling.canary import probe
from grpo.sampling.tokens import Vocabulary
from grpo.sampling.vllm import VllmSampler
from grpo.sampling.vllm_logprobs import DrawnLogprobs
from grpo.types import Group, Problem, Prompt, ScoredGroup
from rewards import Score
from scripts.benchmark.driver import batch_of

GROUPS, GROUP_SIZE, VOCABULARY = 64, 8, 150_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=4000, help="of each completion (default: 4000)")
    length = parser.parse_args().tokens
    torch.set_num_threads(1)
    sampler, total = quiet_sampler(), GROUPS * GROUP_SIZE * length
    answers = [
        [made_up(length, seed) for seed in range(GROUP_SIZE)] for _ in range(2)
    ]  # of two groups, again and again

    def groups() -> list[Group]:
        return [sampler._group(PROMPTS[index], answers[index % 2]) for index in range(GROUPS)]

    print(f"{GROUPS * GROUP_SIZE} completions of {length:,} tokens: {total:,}, twice")
    report("groups", groups, total, f"hold {held_by_groups(sampler, length):.1f} bytes a token")
    made = groups()
    judged = [judged_group(group) for group in made]
    message = pickle.dumps([group.completions for group in made], protocol=5)
    report(
        "message, packed", lambda: pickle.dumps([g.completions for g in made], protocol=5), total, size(message, total)
    )
    report("message, unpacked", lambda: pickle.loads(message), total)
    report("canary's probe", lambda: probe(made, seed=0), total)
    report("batch", lambda: batch_of(judged), total)
    texts = {prompt.problem.id: "?" for prompt in PROMPTS}
    report("samples.jsonl", lambda: list(sample_rows(1, judged, texts)), total)
    report("metrics", lambda: step_row(1, StepResult(tuple(judged), (), 1, 0.0), reward_names=["judge"]), total)
    vocabulary = trained_vocabulary()
    rows = np.random.default_rng(0).integers(len(vocabulary.tokenizer), size=(GROUP_SIZE, length)).tolist()
    report("decoding", lambda: [vocabulary.texts(rows) for _ in range(GROUPS)], total)
    inside_vllm("a dict each", lambda: vllm_processor(flat=False), length)
    inside_vllm("flat", lambda: vllm_processor(flat=True), length)
    inside_vllm("as here", DrawnLogprobs, length)


def held_by_groups(sampler: VllmSampler, length: int) -> float:
    """Bytes a token, once vLLM's answers are gone; of four groups."""
    answers = lambda group: [made_up(length, GROUP_SIZE * group + seed) for seed in range(GROUP_SIZE)]  # noqa: E731
    held = allocated(lambda: [sampler._group(PROMPTS[group], answers(group)) for group in range(4)])
    return held / (4 * GROUP_SIZE * length)


PROMPTS = [Prompt(Problem(str(i), ({"role": "user", "content": "?"},), {}), (1,) * 100) for i in range(GROUPS)]


def made_up(length: int, seed: int) -> Any:
    """One answer of vLLM's."""
    ids = np.random.default_rng(seed).integers(VOCABULARY, size=length).tolist()
    logprobs = fed(DrawnLogprobs(), passes(length, seed)).logprobs
    version = SimpleNamespace(version="0", start=0, end=length)
    return SimpleNamespace(token_ids=ids, logprobs=logprobs, finish_reason="stop", weight_versions=[version])


def vllm_processor(*, flat: bool) -> LogprobsProcessor:
    """vLLM's own, as `logprobs=0` makes it."""
    return LogprobsProcessor(
        tokenizer=None,
        logprobs=create_sample_logprobs(flat),
        prompt_logprobs=None,
        cumulative_logprob=0.0,
        num_logprobs=0,
        num_prompt_logprobs=None,
    )


def fed(processor: Any, outputs: list[EngineCoreOutput]) -> Any:
    for output in outputs:
        processor.update_from_output(output)
    return processor


def passes(length: int, seed: int) -> list[EngineCoreOutput]:
    """What the engine says of one request, pass by pass."""
    draw = np.random.default_rng(seed)
    ids, logprobs = draw.integers(VOCABULARY, size=(length, 1, 1)), -draw.random((length, 1, 1), np.float32)
    ranks = np.array([1])
    return [
        EngineCoreOutput("0", [token.item()], LogprobsLists(token, logprob, ranks))
        for token, logprob in zip(ids, logprobs, strict=True)
    ]


def quiet_sampler() -> VllmSampler:
    """As much of a sampler as makes groups of answers; its texts are empty."""
    sampler = object.__new__(VllmSampler)
    sampler.name = "made up"
    sampler._vocabulary = SimpleNamespace(texts=lambda rows: [""] * len(rows))
    return sampler


def judged_group(group: Group) -> JudgedGroup:
    rewards = tuple(float(index % 2) for index in range(GROUP_SIZE))
    return JudgedGroup(ScoredGroup(group, tuple({"judge": Score(r)} for r in rewards), rewards), rewards, True)


def trained_vocabulary() -> Vocabulary:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    source = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    tokenizer.train([str(path) for path in source], trainers.BpeTrainer(vocab_size=16_000, show_progress=False))
    vocabulary = object.__new__(Vocabulary)
    vocabulary.tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    return vocabulary


def inside_vllm(name: str, make: Callable[[], Any], length: int) -> None:
    """A request's log-probabilities while it runs: of eight requests, for all."""
    outputs, total = [passes(length, seed) for seed in range(8)], GROUPS * GROUP_SIZE * length
    each = timed(lambda: [fed(make(), of_one) for of_one in outputs]) / (8 * length)
    held = allocated(lambda: [fed(make(), of_one) for of_one in outputs]) / (8 * length)
    title = f"vLLM, {name}"
    print(f"{title:<20}{each * total:7.2f} s {each * 1e6:9.3f} µs a token; holds {held:.1f} bytes a token")


def report(name: str, work: Callable[[], Any], tokens: int, more: str = "") -> None:
    seconds = timed(work)
    print(f"{name:<20}{seconds:7.2f} s {seconds / tokens * 1e6:9.3f} µs a token{'; ' + more if more else ''}")


def timed(work: Callable[[], Any]) -> float:
    times = []
    for _ in range(5):
        gc.collect()
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return min(times)


def allocated(work: Callable[[], object]) -> int:
    """Bytes that its result holds."""
    gc.collect()
    tracemalloc.start()
    try:
        result = work()
        gc.collect()
        return tracemalloc.get_traced_memory()[0] if result else 0
    finally:
        tracemalloc.stop()


def size(message: bytes, tokens: int) -> str:
    return f"{len(message) / tokens:.1f} bytes a token"


if __name__ == "__main__":
    main()
