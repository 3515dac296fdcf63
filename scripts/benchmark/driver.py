"""What the process that directs a run spends on sampled tokens: `scripts/bench scale driver`.

It takes groups out of the samplers' messages, fills one batch for all learners, hands that to them and writes the
completions down.  No other process does any of it, so this is the part of a step that more devices do not shorten.
Times are those of its processor, so a busy machine changes them little.
"""

from __future__ import annotations

import json
import pickle
import random
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from grpo import objectives
from grpo.algorithm import JudgedGroup, Sample, StepResult
from grpo.config import Objective
from grpo.learning.batch import Batch, Sequences, Targets, padded, spread
from grpo.metrics import sample_rows, step_row
from grpo.types import Completion, Group, ScoredGroup
from rewards import Score
from scripts.benchmark.hardware import Work
from scripts.benchmark.parts import make_prompts

T = TypeVar("T")


def report(completions: int) -> None:
    """Print seconds per token, or per cell of a batch, of each part."""
    judged = made_up(completions)
    groups = [one.scored.group for one in judged]
    tokens = sum(len(c.token_ids) for group in groups for c in group.completions)
    cells = completions * max(len(c.token_ids) for group in groups for c in group.completions)
    message = pickle.dumps([group.completions for group in groups], protocol=5)
    _, unpack = timed(lambda: pickle.loads(message))
    batch, fill = timed(lambda: batch_of(judged))
    packed, pack = timed(lambda: pickle.dumps(batch, protocol=5))
    texts = {group.prompt.problem.id: "?" for group in groups}
    _, write = timed(lambda: [json.dumps(row) for row in sample_rows(1, judged, texts)])
    _, measure = timed(lambda: step_row(1, StepResult(tuple(judged), (), 1, 0.0), reward_names=["judge"]))
    print(f"{completions} completions, {tokens:,} tokens, longest {cells // completions:,}")
    print(f"take out of a message  {unpack / tokens * 1e6:.3f} µs/token, {len(message) / tokens:.1f} bytes/token")
    print(f"fill a batch           {fill / tokens * 1e6:.3f} µs/token, {fill / cells * 1e9:.1f} ns/cell")
    print(f"pack a batch           {pack / cells * 1e9:.1f} ns/cell, {len(packed) / cells:.1f} bytes/cell")
    print(f"write down             {write / tokens * 1e6:.3f} µs/token")
    print(f"metrics                {measure / tokens * 1e6:.3f} µs/token")


def made_up(completions: int) -> list[JudgedGroup]:
    """Groups of 16 with the lengths of `Work`, whose tokens, log-probabilities and text are drawn."""
    work = Work(completions // 16, 16, 300, 2000, 1.0, 0.5, 16_384)
    draw = random.Random(0)
    prompts = make_prompts(work.problems, work.prompt, vocabulary=150_000, seed=0)

    def completion(tokens: int) -> Completion:
        ids = tuple(draw.randrange(150_000) for _ in range(tokens))
        return Completion(ids, tuple(-draw.random() for _ in ids), "word " * tokens, "stop")

    judged = []
    for prompt, lengths in zip(prompts, work.steps(1)[0], strict=True):
        group = Group(prompt, tuple(completion(n) for n in lengths), 0)
        rewards = tuple(float(draw.random() < 0.5) for _ in lengths)
        scored = ScoredGroup(group, tuple({"judge": Score(reward)} for reward in rewards), rewards)
        judged.append(JudgedGroup(scored, rewards, True))
    return judged


def batch_of(judged: Sequence[JudgedGroup]) -> Batch:
    """As `Trainer.batch` fills it."""
    weights_of = objectives.choose(objectives.resolved(Objective())).weights
    share = [
        Sample(one.scored.group, completion, advantage)
        for one in judged
        for completion, advantage in zip(one.scored.group.completions, one.advantages, strict=True)
    ]
    sequences = Sequences.of([(sample.group.prompt.token_ids, sample.completion.token_ids) for sample in share])
    real_BT = sequences.real_BT
    per_token = {
        "sampler": padded([sample.completion.logprobs for sample in share], torch.float32),
        "advantages": spread([sample.advantage for sample in share], real_BT),
    }
    weights = spread(weights_of(sequences.lengths, 16_384), real_BT)
    return Batch(sequences, Targets(real_BT, weights, per_token))


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """What it gives, and the processor's seconds of the faster of two calls."""
    times = []
    for _ in range(2):
        started = time.process_time()
        given = work()
        times.append(time.process_time() - started)
    return given, min(times)
