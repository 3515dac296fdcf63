"""The engine in one process: one policy and one sampler, which take turns on one device.

The sampler sleeps while the policy computes and wakes when it is given weights, so each has the device's memory for
itself.  Nobody above sees any of that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from grpo.engine import Frozen, Models, Update, Whose
from grpo.learning.batch import Batch, Loss, Sequences
from grpo.learning.rehearsal import Seen, Worst
from grpo.sampling import Sampler
from grpo.sampling.canary import Canary
from grpo.types import Group, Prompt, SamplingParams

OPTIMIZER = Path("trainer", "optimizer")  # within a checkpoint


class LocalEngine:
    """Of parts that are open; `tolerance` is the canary's."""

    def __init__(
        self,
        models: Models,
        sampler: Sampler,
        tokenizer: PreTrainedTokenizerBase,
        *,
        tolerance: float,
    ) -> None:
        policy = models.policy
        self.policy, self.sampler, self.tokenizer = policy, sampler, tokenizer
        self.name = sampler.name
        reason = policy.computation.fallback
        self.remarks: tuple[str, ...] = (
            (f"computes each prompt once per completion, because {reason}; updates are slower and take more memory",)
            if reason
            else ()
        )
        self._logprobs: Mapping[Whose, Frozen] = {**models.frozen, "policy": policy.logprobs}
        self._canary = Canary(sampler, policy.score, tolerance)
        self._sampled: dict[int, Group] = {}  # in the last call; the canary scores some of their tokens
        self._asleep = False
        self.seen: Seen | None = None

    def rehearse(self, worst: Worst) -> None:
        """To be called before the weights are first loaded: the sampler sleeps, as it does while the policy learns."""
        self._sleep()
        self.seen = self.policy.rehearse(worst)

    def sample(self, prompts: Sequence[Prompt], n: int, params: SamplingParams) -> Iterator[tuple[int, Group]]:
        self._sampled = {}
        for index, group in self.sampler.sample(prompts, n, params):
            self._sampled[index] = group
            yield index, group

    def logprobs(self, sequences: Sequences, of: Whose = "policy") -> Tensor:
        self._sleep()
        return self._logprobs[of](sequences)

    def entropies(self, sequences: Sequences) -> Tensor:
        self._sleep()
        return self.policy.entropies(sequences)

    def update(self, batch: Batch, loss: Loss, lr: float) -> Update:
        self._sleep()
        totals = self.policy.forward_backward(batch, loss)
        return Update(batch, lr, self.policy.optim_step(lr), totals)

    def gradients(self, batch: Batch, loss: Loss) -> dict[str, Tensor]:
        """The gradient of `loss` by weight, moving nothing."""
        self._sleep()
        return self.policy.gradients(batch, loss)

    def load(self, step: int) -> None:
        """Give the sampler the policy's weights, unchecked: where nothing was sampled there is nothing to check on."""
        self.policy.release_memory()
        if self._asleep:
            self.sampler.wake()
            self._asleep = False
        self.sampler.load_weights(self.policy.weights(), step)

    def publish(self, step: int) -> float:
        self.load(step)
        if not self._sampled:
            return 0.0
        return self._canary.check([self._sampled[index] for index in sorted(self._sampled)], step)

    def save(self, folder: Path, *, resumable: bool) -> None:
        self.policy.save(folder)
        self.tokenizer.save_pretrained(folder)
        if resumable:
            (folder / OPTIMIZER).mkdir(parents=True)
            self.policy.save_state(folder / OPTIMIZER)

    def restart(self, step: int, checkpoint: Path | None) -> None:
        raise AssertionError("who loses its learner here has lost itself")

    def row(self) -> Mapping[str, float]:
        return {}

    def close(self) -> None:
        self.sampler.close()

    def _sleep(self) -> None:
        if not self._asleep:
            self.sampler.sleep()
            self._asleep = True
