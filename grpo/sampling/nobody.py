"""Who samples where nothing is sampled: fine-tuning without held-out problems."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch

from grpo.sampling import Continuations
from grpo.types import Group, Prompt, SamplingParams


class Nobody:
    """A sampler that holds no model.  To ask it for tokens is a bug."""

    name = "nobody"

    def sample(self, prompts: Sequence[Prompt], n: int, params: SamplingParams) -> Iterator[tuple[int, Group]]:
        raise AssertionError("nobody samples here")

    def score(self, sequences: Continuations) -> list[list[float]]:
        raise AssertionError("nobody scores here")

    def load_weights(self, named_tensors: Iterable[tuple[str, torch.Tensor]], step: int) -> None:
        pass

    def sleep(self) -> None:
        pass

    def wake(self) -> None:
        pass

    def close(self) -> None:
        pass
