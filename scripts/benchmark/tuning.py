"""The work of `scripts/bench sft`: rows of token ids whose lengths are drawn, and how both sides are told of them.

Nothing here imports grpo or TRL, so that each side can use it from an environment of its own.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from scripts.benchmark.workloads import SEED, Workload

LEARNING_RATE = 1e-5


@dataclass(frozen=True, slots=True)
class Tuning:
    """Rows of prompt and answer, so many for an update, and the model that learns them."""

    model: Workload  # whose work is not looked at, only its model
    rows: int
    batch: int  # rows of one update
    prompt: tuple[int, int]  # tokens, from and to
    answer: tuple[int, int]

    def tokens(self) -> list[tuple[list[int], list[int]]]:
        """(prompt, answer) of each row."""
        draw = random.Random(SEED)

        def ids(least: int, most: int) -> list[int]:
            return [draw.randrange(3, self.model.vocabulary) for _ in range(draw.randint(least, most))]

        return [(ids(*self.prompt), ids(*self.answer)) for _ in range(self.rows)]

    @property
    def whole(self) -> int:
        """Tokens of all rows."""
        return sum(len(prompt) + len(answer) for prompt, answer in self.tokens())


def _model(layers: int, width: int, mlp: int, heads: int, vocabulary: int, context: int) -> Workload:
    return Workload(layers, width, mlp, heads, vocabulary, problems=1, group=1, prompt=context, new=1)


TUNINGS = {
    "tiny": Tuning(_model(2, 128, 256, 4, 512, 256), rows=96, batch=16, prompt=(8, 32), answer=(16, 96)),
    "chat": Tuning(_model(6, 384, 1408, 6, 4096, 2048), rows=192, batch=32, prompt=(16, 128), answer=(32, 512)),
    "traces": Tuning(_model(6, 384, 1408, 6, 4096, 4096), rows=48, batch=8, prompt=(64, 256), answer=(256, 3072)),
    "vocabulary": Tuning(_model(2, 256, 1024, 4, 151_936, 2048), rows=48, batch=16, prompt=(16, 128), answer=(32, 512)),
}


def packed_length(work: Tuning) -> int:
    """Of TRL's packed rows: as many tokens as ours are computed together, or the longest row."""
    longest = max(len(prompt) + len(answer) for prompt, answer in work.tokens())
    return max(2048, longest) if work.rows > 96 or longest > 512 else 512


def packed_rows(work: Tuning, length: int) -> int:
    """TRL's packed rows in an update, so that an update of both sides has about as many tokens."""
    return max(1, round(work.whole / work.rows * work.batch / length))


def steps_of(lines: list[dict[str, float]]) -> Iterator[dict[str, float]]:
    """Those that are timed: all but the first, which warms up."""
    yield from (line for line in lines if line["step"] > 0)
