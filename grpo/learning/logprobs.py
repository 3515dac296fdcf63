"""Log-probabilities of a batch's tokens under a causal language model: its body and its head, each the leanest that
gives what the model itself gives.

Neither is taken on faith.  Sharing prompts and taking the head apart from the body are tried on a few tokens, forward
and backward, when a model is opened; what does not give the model's own numbers is done in the textbook's way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from grpo.learning.attention import Unsupported
from grpo.learning.batch import Sequences
from grpo.learning.head import head_entropies, head_logprobs
from grpo.learning.packed import SharedPrompts
from grpo.learning.padded import Padded


class Body(Protocol):
    def microbatches(self, sequences: Sequences, tokens: int) -> Iterator[list[int]]: ...
    def tokens(self, sequences: Sequences, rows: Sequence[int]) -> int: ...
    def hidden_states(self, rows: Sequences, device: torch.device) -> tuple[Tensor, int, int]: ...


@dataclass(frozen=True)
class Head:
    """What becomes of the states [N, D] that predict a token each, at a temperature."""

    logprobs: Callable[[Tensor, Tensor, float], Tensor]  # of the tokens [N] → [N], with gradient
    entropies: Callable[[Tensor, float], Tensor]  # → nats [N]


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
        return self._scattered(self.head.logprobs(states_ND, tokens_N, temperature), rows), computed, padding

    def entropies(self, rows: Sequences, temperature: float) -> Tensor:
        """Of the whole distribution that each token was drawn from, in nats: float32 [B, T], 0 in the padding."""
        states_ND, *_ = self.body.hidden_states(rows, self.device)
        return self._scattered(self.head.entropies(states_ND, temperature), rows)

    def _scattered(self, values_N: Tensor, rows: Sequences) -> Tensor:
        zeros_BT = torch.zeros(rows.tokens_BT.shape, dtype=torch.float32, device=self.device)
        return zeros_BT.masked_scatter(rows.real_BT.to(self.device), values_N)


@dataclass(frozen=True)
class Choice:
    """Of a computation: what was found out about an architecture, apart from any model of it."""

    head_alone: bool  # whether its logits are what the output layer makes of the body's states
    fallback: str  # why its prompts are not shared; "" where they are


def choose_computation(model: Any) -> Computation:
    """The leanest computation that gives the model's own numbers."""
    return bind(decide(model), model, next(model.parameters()).device)


def decide(model: Any) -> Choice:
    """Tries the ways on `model`, which comes out with the attention that the choice needs."""
    device = next(model.parameters()).device
    # Some architectures do more after the body than apply the output layer: Gemma 2 caps its logits, Granite and
    # Cohere scale them.  Then what goes for the body hands on the logits themselves: slower, always right.
    if not _is_whole_head(model, device):
        return Choice(False, "it does more to its logits than project them")
    attention = model.config._attn_implementation
    try:
        _try_shared(model, device)
    except torch.OutOfMemoryError:
        raise
    except (Unsupported, TypeError, ValueError, RuntimeError) as error:  # from the architecture's own code, too
        model.set_attn_implementation(attention)
        return Choice(True, (str(error).strip() or type(error).__name__).splitlines()[0])
    return Choice(True, "")


def bind(choice: Choice, model: Any, device: torch.device) -> Computation:
    """What was chosen, on `model`, whose weights are on `device` when it computes."""
    if not choice.head_alone:
        own = Head(_logprobs_of_logits, _entropies_of_logits)
        return Computation(Padded(partial(_logits, model)), own, device, choice.fallback)
    layer = model.get_output_embeddings()
    body = Padded(partial(_states, model)) if choice.fallback else SharedPrompts(model)
    return Computation(
        body, Head(partial(head_logprobs, layer), partial(head_entropies, layer)), device, choice.fallback
    )


def _states(model: Any, ids_BL: Tensor) -> Tensor:
    found: Tensor = model.base_model(input_ids=ids_BL, use_cache=False).last_hidden_state
    return found


def _logits(model: Any, ids_BL: Tensor) -> Tensor:
    found: Tensor = model(input_ids=ids_BL, use_cache=False).logits
    return found


def _logprobs_of_logits(logits_NV: Tensor, tokens_N: Tensor, temperature: float) -> Tensor:
    logits_NV = logits_NV.float() / temperature
    return logits_NV.gather(1, tokens_N.unsqueeze(1)).squeeze(1) - logits_NV.logsumexp(dim=1)


@torch.no_grad()
def _entropies_of_logits(logits_NV: Tensor, temperature: float) -> Tensor:
    logprobs_NV = (logits_NV.float() / temperature).log_softmax(dim=1)
    return -(logprobs_NV.exp() * logprobs_NV).sum(dim=1)


@torch.no_grad()
def _is_whole_head(model: Any, device: torch.device) -> bool:
    """Whether the model's logits are what its output layer makes of its states, of whatever size they are.

    So large ones are put in the place of the layer's: of a cap at 30, logits around 1 would show nothing.
    """
    layer = model.get_output_embeddings()
    if type(layer) is not nn.Linear:
        return False
    ids_BL = torch.arange(1, 9, device=device).unsqueeze(0) % layer.out_features
    expected = layer(_states(model, ids_BL))
    large = 100 * torch.randn(expected.shape, generator=torch.Generator().manual_seed(0)).to(expected)
    seen: list[Tensor] = []

    def exchange(_: nn.Module, __: Any, output: Tensor) -> Tensor:
        seen.append(output)
        return large

    hook = layer.register_forward_hook(exchange)
    try:
        found = _logits(model, ids_BL)
    finally:
        hook.remove()
    same = len(seen) == 1 and torch.allclose(seen[0], expected, rtol=1e-3, atol=1e-4)
    return same and torch.equal(found.float(), large.float())


def _try_shared(model: Any, device: torch.device) -> None:
    """Raises `Unsupported` unless shared prompts give the states and the gradients that rows by themselves give."""
    V = model.get_input_embeddings().weight.shape[0]
    tried = (((1, 2, 3), (4, 5, 6)), ((7, 8), (9,)), ((1, 2, 3), (6, 4, 7, 5)))
    rows = Sequences.of([([i % V for i in prompt], [i % V for i in tokens]) for prompt, tokens in tried])
    expected = _response(model, Padded(partial(_states, model)), rows, device)
    found = _response(model, SharedPrompts(model), rows, device)
    tolerance = 1e-4 if next(model.parameters()).dtype == torch.float32 else 5e-2
    # Written so that NaN is not the same as anything.
    if not all(float((a - b).norm()) <= tolerance * float(b.norm()) for a, b in zip(found, expected, strict=True)):
        raise Unsupported("its tokens then see more or less than their own prompt and completion")


def _response(model: Any, body: Body, rows: Sequences, device: torch.device) -> tuple[Tensor, Tensor]:
    """The hidden states of `rows`, and the gradient of a sum over them with respect to each token id's embedding."""
    embedded: list[tuple[Tensor, Tensor]] = []

    def catch(_: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        embedded.append((inputs[0].flatten(), output.detach().requires_grad_()))
        return embedded[0][1]

    hook = model.get_input_embeddings().register_forward_hook(catch)
    try:
        with torch.enable_grad():
            states_ND, *_ = body.hidden_states(rows, device)
            ids_N, leaf = embedded[0]
            # Not their plain sum or their squares': after a norm layer neither says much of what was put in.
            draw_ND = torch.randn(states_ND.shape, generator=torch.Generator().manual_seed(0)).to(device)
            (grad,) = torch.autograd.grad((states_ND.float() * draw_ND).sum(), leaf)
    finally:
        hook.remove()
    by_id = torch.zeros(int(ids_N.max()) + 1, grad.shape[-1], device=device)
    return states_ND.detach().float(), by_id.index_add_(0, ids_N, grad.flatten(0, -2).float())
