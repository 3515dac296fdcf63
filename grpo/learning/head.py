"""Log-probabilities of tokens from the hidden states that predict them; the logits never exist as a whole.

log π(y) = l_y - log Σ_v e^{l_v} with logits l = W h / temperature needs no more of the logits than their sum, so they
are made for a *tile* of the vocabulary at a time, forward, and once more backward, where

    ∂ log π(y) / ∂l = onehot(y) - softmax(l)        ∂/∂h = Wᵀ ∂/∂l / temperature        ∂/∂W = ∂/∂l hᵀ / temperature

A third more arithmetic than keeping them, for a few times `TILE` bytes instead of 4·N·V, which would be 10 GB for
16,384 tokens of 151,936 entries, three times over.  Tiles of the vocabulary rather than of the tokens, because then W
is read once in each product and its gradient written once: nothing as large as W is added up over tiles.

Logits come out of the product in the model's own type, and from there on everything is float32: as in samplers.  With
`model.head_dtype = "float32"` they come out in float32 (MiniMax-M1, arXiv 2506.13585), and what goes back is not
rounded either.  The sampler must do the same, or the two are further apart than before.

Fused losses of other libraries do not fit here: Liger's GRPO loss is a loss of its own, and PyTorch's
`linear_cross_entropy` (2.13) saves memory where it can make its gradients in the forward pass, when a policy loss has
not yet said what each token counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from grpo.products import float32_product

# Bytes of float32 logits at a time.  What a CPU does to them should find them in its cache; a GPU wants large products.
TILE = {"cpu": 16 * 2**20, "cuda": 512 * 2**20}


@dataclass(frozen=True)
class Projection:
    """How the output layer's products p become logits: cap · tanh(p / cap) / divisor."""

    divisor: float = 1.0  # a temperature, and what some architectures divide by besides
    cap: float = 0.0  # 0: none, logits are p / divisor
    float32: bool = False  # the products themselves, and not only what becomes of them


def head_logprobs(layer: nn.Linear, states_ND: Tensor, tokens_N: Tensor, projection: Projection) -> Tensor:
    """log π of each token after its state: float32 [N], with gradient.

    N is padded to a multiple of 64: libraries keep compiled code for every number of rows that they meet.
    """
    N, padding = len(tokens_N), -len(tokens_N) % 64
    states_ND, tokens_N = pad(states_ND, (0, 0, 0, padding)), pad(tokens_N, (0, padding))
    arguments = states_ND, layer.weight, layer.bias, tokens_N, projection
    logprobs_N: Tensor = _HeadLogprobs.apply(*arguments)  # type: ignore[no-untyped-call]
    return logprobs_N[:N]


@torch.no_grad()
def head_entropies(layer: nn.Linear, states_ND: Tensor, projection: Projection) -> Tensor:
    """Entropy of the distribution that follows each state, in nats: float32 [N].

    With z = l - max l it is log Σ e^z - Σ e^z z / Σ e^z; both sums are taken tile by tile, and shrunk when a larger
    logit turns up.
    """
    most_N = states_ND.new_full(states_ND.shape[:1], -torch.inf, dtype=torch.float32)
    total_N, weighted_N = torch.zeros_like(most_N), torch.zeros_like(most_N)  # Σ e^z and Σ e^z z
    for _, logits_Nv in tiles(states_ND, layer.weight, layer.bias, projection):
        before_N, most_N = most_N, torch.maximum(most_N, logits_Nv.amax(dim=1))
        moved_N = torch.where(before_N == -torch.inf, 0.0, before_N - most_N)  # of every z so far
        z_Nv = logits_Nv.sub_(most_N.unsqueeze(1))
        weighted_N = (weighted_N + total_N * moved_N) * moved_N.exp() + (z_Nv.exp() * z_Nv).sum(dim=1)
        total_N = total_N * moved_N.exp() + z_Nv.exp().sum(dim=1)
    return total_N.log() - weighted_N / total_N


class _HeadLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, states_ND: Tensor, weight_VD: Tensor, bias_V: Tensor | None, tokens_N: Tensor, projection: Projection
    ) -> Tensor:
        lse_N = states_ND.new_full(tokens_N.shape, -torch.inf, dtype=torch.float32)
        picked_N = torch.zeros_like(lse_N)
        for tile, logits_Nv in tiles(states_ND, weight_VD, bias_V, projection):
            column_N, inside_N = _columns(tokens_N, tile)
            picked_N += torch.where(inside_N, logits_Nv.gather(1, column_N.unsqueeze(1)).squeeze(1), 0.0)
            lse_N = torch.logaddexp(lse_N, logits_Nv.logsumexp(dim=1))
        ctx.save_for_backward(states_ND, weight_VD, bias_V, tokens_N, lse_N)
        ctx.projection = projection
        return picked_N - lse_N

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        states_ND, weight_VD, bias_V, tokens_N, lse_N = ctx.saved_tensors
        projection: Projection = ctx.projection
        gradients = Gradients(ctx.needs_input_grad[:3], states_ND, weight_VD, bias_V, -grads[0], projection)
        for tile, logits_Nv in tiles(states_ND, weight_VD, bias_V, projection):
            gradients.add(tile, _surplus(logits_Nv, lse_N, *_columns(tokens_N, tile), projection))
        return *gradients.of_states_weight_bias(), None, None


class Gradients:
    """Of a head's states, weights and bias, added up tile by tile from ∂f/∂p · divisor, where p are the products and
    `grads_N` is what comes back to f of each state."""

    def __init__(
        self,
        wanted: tuple[bool, ...],
        states_ND: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,
        grads_N: Tensor,
        projection: Projection,
    ) -> None:
        of_states, of_weight, of_bias = wanted
        self.projection, self.weight_VD, self.states_ND = projection, weight_VD, states_ND
        self.grad_N1 = grads_N.unsqueeze(1) / projection.divisor
        self.scaled_ND = states_ND if projection.float32 else (states_ND * self.grad_N1).to(states_ND.dtype)
        self.grad_ND = torch.zeros_like(states_ND, dtype=torch.float32) if of_states else None
        self.grad_VD = torch.empty_like(weight_VD) if of_weight else None
        self.grad_V = torch.empty_like(bias_V) if bias_V is not None and of_bias else None

    def add(self, tile: slice, surplus_Nv: Tensor) -> None:
        """For these rows of W; `surplus_Nv` is spoiled."""
        dtype = self.weight_VD.dtype
        if self.grad_V is not None:
            self.grad_V[tile] = (surplus_Nv * self.grad_N1).sum(dim=0)
        if self.projection.float32:  # scaled here, the other factor of each product is as exact as it is in bfloat16
            surplus_Nv.mul_(self.grad_N1)
            halved = self.weight_VD.is_cuda and dtype != torch.float32
            parts = _halves(surplus_Nv, dtype) if halved else [surplus_Nv]
        else:
            parts = [surplus_Nv.to(dtype)]
        if self.grad_ND is not None:
            for part_Nv in parts:
                _add_product(self.grad_ND, part_Nv, self.weight_VD[tile])
        if self.grad_VD is not None:
            _put_product(self.grad_VD[tile], parts, self.scaled_ND)

    def of_states_weight_bias(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        grad_ND = self.grad_ND
        if grad_ND is not None:
            grad_ND = grad_ND if self.projection.float32 else grad_ND.mul_(self.grad_N1)
            grad_ND = grad_ND.to(self.states_ND.dtype)
        return grad_ND, self.grad_VD, self.grad_V


def tile_width(states_ND: Tensor, vocabulary: int, projection: Projection) -> int:
    """Rows of W at a time; several make a multiple of 64, as fast products on GPUs need."""
    N, D = states_ND.shape
    rows = N + D if projection.float32 else N  # on CPUs a float32 product takes a copy of its rows of W, too
    width = TILE.get(states_ND.device.type, TILE["cpu"]) // (4 * rows)
    return min(vocabulary, max(1, width // 64 * 64 or width))


def tiles(
    states_ND: Tensor, weight_VD: Tensor, bias_V: Tensor | None, projection: Projection, width: int | None = None
) -> Iterator[tuple[slice, Tensor]]:
    """Rows of W, `width` at a time, and the float32 logits [N, v] that they give: good until the next are asked for,
    for the caller to spoil.

    One buffer serves all, because a fresh one of this size costs as much as the product: the system clears its pages.
    """
    N, V = len(states_ND), len(weight_VD)
    width = width or tile_width(states_ND, V, projection)
    products = states_ND.new_empty(N * width, dtype=torch.float32 if projection.float32 else None)
    logits = products if products.dtype == torch.float32 else products.float()
    for start in range(0, V, width):
        tile = slice(start, min(V, start + width))
        products_Nv, logits_Nv = (x[: N * (tile.stop - start)].view(N, -1) for x in (products, logits))
        if projection.float32:
            float32_product(states_ND, weight_VD[tile].t(), out=products_Nv)
        else:
            torch.mm(states_ND, weight_VD[tile].t(), out=products_Nv)
        if bias_V is not None:
            products_Nv += bias_V[tile]
        if projection.cap:
            products_Nv.div_(projection.cap).tanh_().mul_(projection.cap)
        # As samplers do: products and cap in one type, and from there on in float32.  `torch.div` would divide in the
        # type of its input, whatever it writes into.
        if logits is not products:
            logits_Nv.copy_(products_Nv)
        if projection.divisor != 1:
            logits_Nv.div_(projection.divisor)
        yield tile, logits_Nv


def _columns(tokens_N: Tensor, tile: slice) -> tuple[Tensor, Tensor]:
    """Where each token lies in the tile, and whether it does; where not, the column is one that exists."""
    column_N = tokens_N - tile.start
    width = tile.stop - tile.start
    return column_N.clamp(0, width - 1), (column_N >= 0) & (column_N < width)


def _surplus(logits_Nv: Tensor, lse_N: Tensor, column_N: Tensor, inside_N: Tensor, projection: Projection) -> Tensor:
    """∂(-log π)/∂p · divisor, which is softmax - onehot, where there is a cap times the slope of its tanh: in the place
    of the logits."""
    slope_Nv = slope(logits_Nv, projection) if projection.cap else None
    surplus_Nv = logits_Nv.sub_(lse_N.unsqueeze(1)).exp_()
    surplus_Nv.scatter_add_(1, column_N.unsqueeze(1), -inside_N.float().unsqueeze(1))
    return surplus_Nv if slope_Nv is None else surplus_Nv.mul_(slope_Nv)


def slope(logits_Nv: Tensor, projection: Projection) -> Tensor:
    """Of the cap's tanh, ∂logits/∂p · divisor."""
    return 1 - (logits_Nv * (projection.divisor / projection.cap)).square_()


def _halves(values_Nv: Tensor, dtype: torch.dtype) -> list[Tensor]:
    """Two of bfloat16 that add up to 16 of the 24 bits of float32 values, which are spoiled: GPUs multiply bfloat16 ten
    times as fast."""
    high_Nv = values_Nv.to(dtype)
    return [high_Nv, values_Nv.sub_(high_Nv).to(dtype)]


def _put_product(out_vD: Tensor, parts: list[Tensor], b_ND: Tensor) -> None:
    """out = aᵀ b, where a [N, v] is the sum of the parts."""
    if len(parts) == 1 and parts[0].dtype == b_ND.dtype:
        torch.mm(parts[0].t(), b_ND, out=out_vD)
        return
    sum_vD = torch.zeros_like(out_vD, dtype=torch.float32)
    for part_Nv in parts:
        _add_product(sum_vD, part_Nv.t(), b_ND)
    out_vD.copy_(sum_vD)


def _add_product(sum_ND: Tensor, a_Nv: Tensor, b_vD: Tensor) -> None:
    """sum += a b, where the sum is float32 and the factors may be less."""
    if a_Nv.dtype == torch.float32:
        sum_ND.addmm_(a_Nv, b_vD.float())
    elif a_Nv.is_cuda:  # keeps the float32 in which the GPU adds up anyway
        torch.addmm(sum_ND, a_Nv, b_vD, out_dtype=torch.float32, out=sum_ND)
    else:
        sum_ND.add_(a_Nv @ b_vD)
