"""Log-probabilities of a batch's tokens under a causal language model: its body and its head, each the leanest that
gives what the model itself gives.

Neither is taken on faith.  Sharing prompts and taking the head apart from the body are tried on a few tokens when a
model is opened (`grpo.learning.trial`); what does not give the model's own numbers is done in the textbook's way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from grpo.caps import keep_caps
from grpo.errors import ModelError
from grpo.learning.attention import Unsupported
from grpo.learning.batch import Sequences
from grpo.learning.head import Projection, head_entropies, head_logprobs
from grpo.learning.packed import SharedPrompts
from grpo.learning.padded import Padded, logits_of, states_of
from grpo.learning.trial import projection_of, small_twin, try_shared


class Body(Protocol):
    def microbatches(self, sequences: Sequences, tokens: int) -> Iterator[list[int]]: ...
    def tokens(self, sequences: Sequences, rows: Sequence[int]) -> int: ...
    def hidden_states(self, rows: Sequences, device: torch.device) -> tuple[Tensor, int, int]: ...


class Output(NamedTuple):
    """The layer that makes logits of states, and how, at temperature 1."""

    layer: nn.Linear
    projection: Projection


@dataclass(frozen=True)
class Head:
    """What becomes of the states [N, D] that predict a token each, at a temperature."""

    logprobs: Callable[[Tensor, Tensor, float], Tensor]  # of the tokens [N] → [N], with gradient
    entropies: Callable[[Tensor, float], Tensor]  # → nats [N]
    output: Output | None = None  # None: the states are logits already


@dataclass(frozen=True)
class Computation:
    """How a model's log-probabilities are computed.  `fallback` says why prompts are not shared; "" where they are."""

    body: Body
    head: Head
    device: torch.device
    fallback: str = ""

    def logprobs(self, rows: Sequences, temperature: float) -> tuple[Tensor, int, int]:
        """log π(token | prompt, tokens before): float32 [B, T], with gradient, 0 in the padding; tokens computed;
        padding among them."""
        states_ND, computed, padding = self.body.hidden_states(rows, self.device)
        tokens_N = rows.tokens_BT[rows.real_BT].to(self.device)
        return self.scattered(self.head.logprobs(states_ND, tokens_N, temperature), rows), computed, padding

    def entropies(self, rows: Sequences, temperature: float) -> Tensor:
        """Of the whole distribution that each token was drawn from, in nats: float32 [B, T], 0 in the padding."""
        states_ND, *_ = self.body.hidden_states(rows, self.device)
        return self.scattered(self.head.entropies(states_ND, temperature), rows)

    def scattered(self, values_N: Tensor, rows: Sequences) -> Tensor:
        """One value per token of `rows` as [B, T], 0 in the padding."""
        zeros_BT = torch.zeros(rows.tokens_BT.shape, dtype=torch.float32, device=self.device)
        return zeros_BT.masked_scatter(rows.real_BT.to(self.device), values_N)


@dataclass(frozen=True)
class Choice:
    """Of a computation: what was found out about an architecture, apart from any model of it."""

    projection: Projection | None  # None: it has logits that come about in another way
    fallback: str  # why its prompts are not shared; "" where they are


def choose_computation(model: Any, *, float32_head: bool = False) -> Computation:
    """The leanest computation that gives the model's own numbers; or, with a float32 head, those that it would have if
    its output layer's products were not rounded."""
    return bind(decide(model), model, next(model.parameters()).device, float32_head=float32_head)


def decide(model: Any) -> Choice:
    """Tries the ways on `model`, which comes out with the attention that the choice needs."""
    device = next(model.parameters()).device
    # Some architectures do more after the body than apply the output layer.  Granite and Cohere scale their logits, and
    # that is a temperature; Gemma 2 caps them.  Where it is anything else, what goes for the body hands on the logits
    # themselves, which is slower and always right.
    keep_caps(model)
    projection = projection_of(model, device)
    if projection is None:
        return Choice(None, "it does more to its logits than project, cap and scale them")
    attention = model.config._attn_implementation
    try:
        try_shared(model, device)
    except torch.OutOfMemoryError:
        raise
    # From the architecture's own code, too, of which the trial takes a part.
    except (Unsupported, AttributeError, LookupError, TypeError, ValueError, RuntimeError) as error:
        model.set_attn_implementation(attention)
        return Choice(projection, (str(error).strip() or type(error).__name__).splitlines()[0])
    return Choice(projection, "")


def bind(choice: Choice, model: Any, device: torch.device, *, float32_head: bool = False) -> Computation:
    """What was chosen, on `model`, whose weights are on `device` when it computes.

    Raises `ModelError` for a float32 head where the model's logits come about in another way.
    """
    if choice.fallback:
        keep_caps(model)
    if choice.projection is None:
        if float32_head:
            raise no_float32_head(model.name_or_path or type(model).__name__, choice.fallback)
        own = Head(_logprobs_of_logits, _entropies_of_logits)
        return Computation(Padded(partial(logits_of, model)), own, device, choice.fallback)
    layer = model.get_output_embeddings()
    body = Padded(partial(states_of, model)) if choice.fallback else SharedPrompts(model)
    projection = replace(choice.projection, float32=float32_head)

    def at(temperature: float) -> Projection:
        return replace(projection, divisor=projection.divisor * temperature)

    head = Head(
        lambda states_ND, tokens_N, temperature: head_logprobs(layer, states_ND, tokens_N, at(temperature)),
        lambda states_ND, temperature: head_entropies(layer, states_ND, at(temperature)),
        Output(layer, projection),
    )
    return Computation(body, head, device, choice.fallback)


def no_float32_head(name: str, why: str) -> ModelError:
    return ModelError(
        f'{name}: cannot have model.head_dtype = "float32" ({why}); leave the setting out, or take model.dtype = '
        '"float32", which is all of it'
    )


def check_float32_head(name: str, outline: Any) -> None:
    """Refuse a float32 head to models that cannot have one, before their weights are read.  Raises `ModelError`.

    One that comes in fewer bits may have packed its head as well, which vLLM would notice when it has started.
    """
    if getattr(outline.config, "quantization_config", None):
        raise no_float32_head(name, "its weights are quantised")
    twin = small_twin(outline, torch.device("cpu"), layers=1)
    if projection_of(twin, twin.device) is None:
        raise no_float32_head(name, decide(twin).fallback)


def _logprobs_of_logits(logits_NV: Tensor, tokens_N: Tensor, temperature: float) -> Tensor:
    logits_NV = logits_NV.float() / temperature
    return logits_NV.gather(1, tokens_N.unsqueeze(1)).squeeze(1) - logits_NV.logsumexp(dim=1)


@torch.no_grad()
def _entropies_of_logits(logits_NV: Tensor, temperature: float) -> Tensor:
    logprobs_NV = (logits_NV.float() / temperature).log_softmax(dim=1)
    return -(logprobs_NV.exp() * logprobs_NV).sum(dim=1)
