"""The engine: who samples, who learns, when either sleeps, how weights travel, and how it is proved that they arrived.

`grpo.algorithm` knows these verbs and no others, so where a run happens changes nothing in what it computes.
`LocalEngine` is one process, in which sampler and learner take turns on one device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from torch import Tensor

from grpo.learning.batch import Batch, Loss, Sequences
from grpo.learning.policy import Policy
from grpo.learning.rehearsal import Seen
from grpo.types import Group, Prompt, SamplingParams

# Log-probabilities: the reference is what the run starts from, the teacher what it is to become like.
Whose = Literal["policy", "reference", "teacher"]


Frozen = Callable[[Sequences], Tensor]  # log π of each token by a model that does not learn: float32 [B, T]


class Models(NamedTuple):
    """The policy, and what other models beside it make of sequences."""

    policy: Policy
    frozen: Mapping[Whose, Frozen]


@dataclass(frozen=True, slots=True)
class Update:
    """What one optimizer update did.  `grad_norm` is before clipping; not finite means that nothing was moved."""

    batch: Batch
    lr: float
    grad_norm: float
    totals: Mapping[str, float]  # "loss", sums over tokens, peaks

    @property
    def moved(self) -> bool:
        return math.isfinite(self.grad_norm)


class Rollouts(Protocol):
    """Whoever samples: an engine, or a sampler by itself."""

    name: str  # "vllm 0.32.0 on cpu, float32"

    def sample(self, prompts: Sequence[Prompt], n: int, params: SamplingParams) -> Iterator[tuple[int, Group]]:
        """Yield (index into `prompts`, its group of n completions) as soon as all of that group are finished."""
        ...


class Engine(Rollouts, Protocol):
    """The verbs.  Between `update` and `publish` the samplers serve older weights than the policy has.

    Where sampling runs ahead of learning (`grpo.asynchronous`), `sample` is called from several threads at once while
    the main thread uses the other verbs, and `close` ends what they are doing.  `LocalEngine` is not for that.
    """

    remarks: tuple[str, ...]  # what a user should know of how it computes, each a clause
    seen: Seen | None  # of the largest micro-batch, where it was rehearsed

    def logprobs(self, sequences: Sequences, of: Whose = "policy") -> Tensor:
        """log π of each token: float32 [B, T] on the CPU, 0 in the padding."""
        ...

    def entropies(self, sequences: Sequences) -> Tensor:
        """Entropy of the policy's distribution at each token, in nats: float32 [B, T] on the CPU."""
        ...

    def update(self, batch: Batch, loss: Loss, lr: float) -> Update:
        """One optimizer step on the gradient of `loss`, accumulated over micro-batches."""
        ...

    def gradients(self, batch: Batch, loss: Loss) -> dict[str, Tensor]:
        """The gradient of `loss` by weight, in float32, moving nothing."""
        ...

    def publish(self, step: int) -> float:
        """Give every sampler the policy's weights, as those of `step`, and check that they arrived (the canary).

        Returns the mean |Δ log-probability| between sampler and policy on some of the tokens sampled last, 0 where
        nothing was sampled yet; raises `SamplerError` where it is more than rounding explains.
        """
        ...

    def save(self, folder: Path, *, resumable: bool) -> None:
        """The model in Hugging Face format, or the adapter that is learned in PEFT's, and the tokenizer; with
        `resumable` also, under trainer/, what an optimizer needs to go on bit for bit."""
        ...

    def restart(self, step: int, checkpoint: Path | None) -> None:
        """Only asked of an engine that raised `LearnerLost`: learners and samplers stand again as after `step`, which
        `checkpoint` holds; without one, as at the start."""
        ...

    def row(self) -> Mapping[str, float]:
        """The engine's own metrics of the step, for its row: since the last call, how long samplers were idle, say."""
        ...

    def close(self) -> None: ...
