"""Log-probabilities of tokens from the hidden states that predict them; the logits never exist as a whole.

log π(y) = l_y - log Σ_v e^{l_v}, with logits l = W h / temperature, needs a row of V logits for a moment only.  So the
rows are taken a few at a time, and again in the backward pass, which has for each row

    ∂ log π(y) / ∂l = onehot(y) - softmax(l)        ∂/∂h = Wᵀ ∂/∂l / temperature        ∂/∂W += ∂/∂l hᵀ / temperature

A third more arithmetic than keeping the logits, for `CHUNK` bytes instead of 4·N·V, which would be 10 GB for 16,384
tokens of 151,936 entries, three times over.  The gradient of W is added up in float32, in place, whatever W is.

Fused losses of other libraries do not fit here: Liger's GRPO loss is a loss of its own, and PyTorch's
`linear_cross_entropy` (2.13) has no temperature and rounds the gradient of W to its type in every micro-batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

# Bytes of logits at a time.  On CPUs 32 MB are 15 % slower with 151,936 entries, 256 MB no faster; a GPU wants
# a thousand rows, which are 0.6 GB.
CHUNK = {"cpu": 128 * 2**20, "cuda": 640 * 2**20}


def head_logprobs(layer: nn.Linear, states_ND: Tensor, tokens_N: Tensor, temperature: float) -> Tensor:
    """log π of each token after its state: float32 [N], with gradient."""
    logprobs_N: Tensor = _HeadLogprobs.apply(states_ND, layer.weight, layer.bias, tokens_N, temperature)  # type: ignore[no-untyped-call]
    return logprobs_N


class _HeadLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, states_ND: Tensor, weight_VD: Tensor, bias_V: Tensor | None, tokens_N: Tensor, temperature: float
    ) -> Tensor:
        logprobs_N, lse_N = (states_ND.new_empty(len(states_ND), dtype=torch.float32) for _ in range(2))
        for part in _parts(states_ND, weight_VD):
            logits_nV = _logits(states_ND[part], weight_VD, bias_V, temperature)
            picked_n = logits_nV.gather(1, tokens_N[part].unsqueeze(1)).squeeze(1)
            highest_n1 = logits_nV.amax(dim=1, keepdim=True)
            lse_N[part] = logits_nV.sub_(highest_n1).exp_().sum(dim=1).log_().add_(highest_n1.squeeze(1))
            logprobs_N[part] = picked_n - lse_N[part]
        ctx.save_for_backward(states_ND, weight_VD, bias_V, tokens_N, lse_N)
        ctx.temperature = temperature
        return logprobs_N

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        states_ND, weight_VD, bias_V, tokens_N, lse_N = ctx.saved_tensors
        grad_N = grads[0] / ctx.temperature
        of_states, of_weight, of_bias = ctx.needs_input_grad[:3]
        grad_ND = torch.empty_like(states_ND) if of_states else None
        grad_VD = torch.zeros_like(weight_VD, dtype=torch.float32) if of_weight else None
        grad_V = torch.zeros_like(bias_V, dtype=torch.float32) if of_bias else None
        for part in _parts(states_ND, weight_VD):
            d_nV = _logits(states_ND[part], weight_VD, bias_V, ctx.temperature)
            d_nV.sub_(lse_N[part].unsqueeze(1)).exp_().mul_(-grad_N[part].unsqueeze(1))
            d_nV[torch.arange(len(d_nV), device=d_nV.device), tokens_N[part]] += grad_N[part]
            if grad_V is not None:
                grad_V += d_nV.sum(dim=0)
            d_nV = d_nV.to(weight_VD.dtype)
            if grad_ND is not None:
                torch.mm(d_nV, weight_VD, out=grad_ND[part])
            if grad_VD is not None:
                _add_product(grad_VD, d_nV.t(), states_ND[part])
        return grad_ND, _as(weight_VD, grad_VD), _as(bias_V, grad_V), None, None


def _parts(states_ND: Tensor, weight_VD: Tensor) -> list[slice]:
    n = max(1, CHUNK.get(states_ND.device.type, CHUNK["cpu"]) // (4 * len(weight_VD)))
    return [slice(start, start + n) for start in range(0, len(states_ND), n)]


def _logits(states_nD: Tensor, weight_VD: Tensor, bias_V: Tensor | None, temperature: float) -> Tensor:
    """float32 [n, V], a tensor of its own."""
    logits_nV = linear(states_nD, weight_VD, bias_V).float()
    return logits_nV.div_(temperature) if temperature != 1 else logits_nV


def _add_product(sum_VD: Tensor, a_Vn: Tensor, b_nD: Tensor) -> None:
    """sum += a b, where the sum is float32 and the factors may be less."""
    if a_Vn.dtype == torch.float32:
        sum_VD.addmm_(a_Vn, b_nD)
    elif a_Vn.is_cuda:  # keeps the float32 in which the GPU adds up anyway
        torch.addmm(sum_VD, a_Vn, b_nD, out_dtype=torch.float32, out=sum_VD)
    else:
        sum_VD.add_(a_Vn @ b_nD)


def _as(like: Tensor | None, grad: Tensor | None) -> Tensor | None:
    return grad if like is None or grad is None else grad.to(like.dtype)
