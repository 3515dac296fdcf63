"""Attention over packed rows, in which the completions of a group share one prompt.

A forward pass sees one long row: every prompt of the micro-batch, then every completion, nothing between them,

    p p p p | q q | a a a | b b | c c c c          prompts p, q; completions a, b of p and c of q

All but attention works on single tokens, so each token costs once however many completions continue a prompt.
Attention has two parts.  *Within* a prompt or completion it is causal; and a completion looks *back* at all of its
prompt.  Each is plain attention over a triangle or a rectangle, which flash kernels compute without keeping scores.
A softmax over the union of two sets of keys is the mean of the two softmaxes, weighted by their sums of exponentials
(lse is the log of such a sum):

    lse = log(e^lse_within + e^lse_back)      out = e^(lse_within - lse) out_within + e^(lse_back - lse) out_back

Backwards it is simpler still.  A kernel that is given lse and out of the *whole* computes P = e^(q·k - lse), the
whole's probabilities of its own keys, and dS = P (dP - rowsum(dO · O)), so the parts just add up.  Ring attention
(arXiv 2310.01889) cuts keys up between machines in this way; here they are cut where the prompt ends.

Memory: a prompt's keys and values exist once, not once per completion, and there is no mask.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from grpo.products import plain_products

NAME = "grpo_shared_prompts"  # transformers knows this attention by it

# What a layer may pass beside queries, keys and values without asking for another attention than this one.
HARMLESS = {"dropout", "position_ids", "use_cache", "output_attentions", "is_causal", "cache_position"}


class Unsupported(Exception):
    """The architecture asks for an attention that is not here."""


@dataclass(frozen=True)
class Stretch:
    """`count` neighbouring pieces of a packed row, `length` tokens each, from `start` on."""

    start: int
    count: int
    length: int

    def of(self, packed_NHd: Tensor) -> Tensor:
        """The pieces as a batch [count, H, length, d]: a view."""
        pieces = packed_NHd[self.start : self.start + self.count * self.length]
        return pieces.view(self.count, self.length, *pieces.shape[1:]).transpose(1, 2)

    def of_lse(self, lse_HN: Tensor) -> Tensor:
        """[count, H, length], a view."""
        pieces = lse_HN[:, self.start : self.start + self.count * self.length]
        return pieces.view(-1, self.count, self.length).transpose(0, 1)


@dataclass(frozen=True)
class Part:
    """Attention of pieces of queries, end to end, to the pieces of keys of the same number."""

    queries: tuple[int, ...]  # tokens of each piece
    keys: tuple[int, ...]
    causal: bool

    @cached_property
    def stretches(self) -> list[tuple[Stretch, Stretch]]:
        """(queries, keys) of equal neighbours, which a kernel takes together; pieces without queries are left out."""
        stretches: list[tuple[Stretch, Stretch]] = []
        query = key = 0
        for (queries, keys), same in groupby(zip(self.queries, self.keys, strict=True)):
            count = len(list(same))
            if queries:
                stretches.append((Stretch(query, count, queries), Stretch(key, count, keys)))
            query, key = query + count * queries, key + count * keys
        return stretches

    @cached_property
    def ends(self) -> tuple[Tensor, Tensor]:
        """Where the pieces of queries and of keys end, counted from 0 on: int32 [pieces + 1] each, on the GPU."""
        queries, keys = (
            torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device="cuda")
            for lengths in (self.queries, self.keys)
        )
        return queries, keys


@dataclass(frozen=True)
class Layout:
    """Tokens of each prompt, and of each completion of each prompt, in the order in which they are packed."""

    prompts: tuple[int, ...]
    completions: tuple[tuple[int, ...], ...]

    @cached_property
    def prompt_tokens(self) -> int:
        return sum(self.prompts)

    @cached_property
    def longest(self) -> int:
        """Tokens of the longest prompt and completion in one."""
        return max(prompt + max(group) for prompt, group in zip(self.prompts, self.completions, strict=True))

    @cached_property
    def within(self) -> Part:
        lengths = (*self.prompts, *(length for group in self.completions for length in group))
        return Part(lengths, lengths, causal=True)

    @cached_property
    def back(self) -> Part:
        """A group's completions in one piece, which begins where the prompts end."""
        return Part(tuple(map(sum, self.completions)), self.prompts, causal=False)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q_NHd: Tensor, k_NHd: Tensor, v_NHd: Tensor, layout: Layout, scale: float) -> Tensor:
        kernel, P = _kernel(q_NHd), layout.prompt_tokens
        out_NHd, lse_HN = kernel.forward(q_NHd, k_NHd, v_NHd, layout.within, scale)
        if len(q_NHd) > P:
            out_back, lse_back = kernel.forward(q_NHd[P:], k_NHd[:P], v_NHd[:P], layout.back, scale)
            share_NH1 = torch.sigmoid(lse_back - lse_HN[:, P:]).t().unsqueeze(2)
            out_NHd[P:].lerp_(out_back, share_NH1.to(out_NHd.dtype))
            lse_HN[:, P:] = torch.logaddexp(lse_HN[:, P:], lse_back)
        ctx.save_for_backward(q_NHd, k_NHd, v_NHd, out_NHd, lse_HN)
        ctx.layout, ctx.scale = layout, scale
        return out_NHd

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad_NHd,), (q_NHd, k_NHd, v_NHd, out_NHd, lse_HN) = grads, ctx.saved_tensors
        kernel, P, scale = _kernel(q_NHd), ctx.layout.prompt_tokens, ctx.scale
        dq, dk, dv = kernel.backward(grad_NHd, q_NHd, k_NHd, v_NHd, out_NHd, lse_HN, ctx.layout.within, scale)
        if len(q_NHd) > P:
            dq_back, dk_back, dv_back = kernel.backward(
                grad_NHd[P:], q_NHd[P:], k_NHd[:P], v_NHd[:P], out_NHd[P:], lse_HN[:, P:], ctx.layout.back, scale
            )
            dq[P:] += dq_back
            dk[:P] += dk_back
            dv[:P] += dv_back
        return dq, dk, dv, None, None


class _Cpu:
    """PyTorch's flash kernel for CPUs: a batch of equal lengths at a time, in float32 (its bfloat16 is slower)."""

    @staticmethod
    @plain_products()
    def forward(q_NHd: Tensor, k_NHd: Tensor, v_NHd: Tensor, part: Part, scale: float) -> tuple[Tensor, Tensor]:
        q, k, v = (x.float() for x in (q_NHd, k_NHd, v_NHd))
        out_NHd, lse_HN = torch.empty_like(q_NHd), q.new_empty(q.shape[1::-1])
        for at, to in part.stretches:
            out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                at.of(q), to.of(k), to.of(v), 0.0, part.causal, scale=scale
            )
            at.of(out_NHd).copy_(out)
            at.of_lse(lse_HN).copy_(lse)
        return out_NHd, lse_HN

    @staticmethod
    @plain_products()
    def backward(
        grad_NHd: Tensor, q_NHd: Tensor, k_NHd: Tensor, v_NHd: Tensor, out_NHd: Tensor, lse_HN: Tensor,
        part: Part, scale: float,
    ) -> list[Tensor]:  # fmt: skip
        grad, q, k, v, out = (x.float() for x in (grad_NHd, q_NHd, k_NHd, v_NHd, out_NHd))
        # Prompts without completions get no gradient from looking back.
        gradients = [torch.empty_like(q_NHd), torch.zeros_like(k_NHd), torch.zeros_like(v_NHd)]
        for at, to in part.stretches:
            parts = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
                at.of(grad), at.of(q), to.of(k), to.of(v), at.of(out), at.of_lse(lse_HN), 0.0, part.causal, scale=scale
            )
            for into, run, gradient in zip(gradients, (at, to, to), parts, strict=True):
                run.of(into).copy_(gradient)
        return gradients


class _Cuda:
    """FlashAttention for packed rows, as PyTorch ships it: each part is one call."""

    @staticmethod
    def forward(q_NHd: Tensor, k_NHd: Tensor, v_NHd: Tensor, part: Part, scale: float) -> tuple[Tensor, Tensor]:
        longest_q = max(2, *part.queries)  # of 1 the kernel would conclude that every piece has exactly one
        ends_q, ends_k = part.ends
        out_NHd, lse_HN, *_ = torch.ops.aten._flash_attention_forward(
            q_NHd, k_NHd, v_NHd, ends_q, ends_k, longest_q, max(part.keys), 0.0, part.causal, False, scale=scale
        )
        return out_NHd, lse_HN

    @staticmethod
    def backward(
        grad_NHd: Tensor, q_NHd: Tensor, k_NHd: Tensor, v_NHd: Tensor, out_NHd: Tensor, lse_HN: Tensor,
        part: Part, scale: float,
    ) -> list[Tensor]:  # fmt: skip
        ends_q, ends_k = part.ends
        no_dropout = torch.zeros(2, dtype=torch.uint64, device=q_NHd.device), q_NHd.new_empty(0)
        return list(
            torch.ops.aten._flash_attention_backward(
                grad_NHd.contiguous(), q_NHd, k_NHd, v_NHd, out_NHd, lse_HN.contiguous(), ends_q, ends_k,
                max(part.queries), max(part.keys), 0.0, part.causal, *no_dropout, scale=scale,
            )
        )  # fmt: skip


def _kernel(q_NHd: Tensor) -> type[_Cpu] | type[_Cuda]:
    return _Cuda if q_NHd.is_cuda else _Cpu


def _has_kernel(q_NHd: Tensor) -> bool:
    if not q_NHd.is_cuda:
        return q_NHd.device.type == "cpu"
    head_size = q_NHd.shape[2]
    fits = q_NHd.dtype in (torch.bfloat16, torch.float16) and head_size <= 256 and head_size % 8 == 0
    return fits and torch.cuda.get_device_capability(q_NHd.device) >= (8, 0)


def completion_by_completion(
    q_NHd: Tensor,
    k_NHd: Tensor,
    v_NHd: Tensor,
    layout: Layout,
    scale: float,
    window: int | None,
    cap: float | None = None,
) -> Tensor:
    """The same attention without a kernel for it: every device and type, tokens that see only the `window` before, and
    scores that are capped: cap · tanh(score / cap).

    Slower, and copies a prompt's keys and values for each of its completions.
    """

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        position_q = torch.arange(len(k) - len(q), len(k), device=q.device).unsqueeze(1)
        behind_qk = position_q - torch.arange(len(k), device=q.device)
        seen_qk = (behind_qk >= 0) & (behind_qk < (window or len(k)))
        q_Hqd, k_Hkd, v_Hkd = (x.transpose(0, 1) for x in (q, k, v))
        if cap is not None:
            # In float32, as a kernel keeps them: bfloat16 would know a score of 50 to an eighth.
            scores_Hqk = cap * torch.tanh(q_Hqd.float() @ k_Hkd.float().transpose(1, 2) * (scale / cap))
            probs_Hqk = scores_Hqk.masked_fill(~seen_qk, -torch.inf).softmax(-1)
            return (probs_Hqk.to(v.dtype) @ v_Hkd).transpose(0, 1)
        return scaled_dot_product_attention(q_Hqd, k_Hkd, v_Hkd, attn_mask=seen_qk, scale=scale).transpose(0, 1)

    pieces = list(zip(*(x.split(layout.within.queries) for x in (q_NHd, k_NHd, v_NHd)), strict=True))
    prompts, completions = pieces[: len(layout.prompts)], iter(pieces[len(layout.prompts) :])
    outs = [attend(*prompt) for prompt in prompts]
    for (_, k, v), group in zip(prompts, layout.completions, strict=True):
        for _ in group:
            own_q, own_k, own_v = next(completions)
            outs.append(attend(own_q, torch.cat([k, own_k]), torch.cat([v, own_v])))
    return torch.cat(outs)


def shared_prompts(
    module: nn.Module,
    q_1HNd: Tensor,
    k_1HNd: Tensor,
    v_1HNd: Tensor,
    attention_mask: Tensor | None,
    *,
    layout: Layout | None = None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """As transformers calls attention; `layout` comes through the model's own keyword arguments.

    Without one this is the attention that transformers has by default.
    """
    if layout is None:
        if softcap is not None:
            raise Unsupported("its scores are capped, which transformers' default attention would leave out")
        options |= {"scaling": scaling, "sliding_window": sliding_window}
        return sdpa_attention_forward(module, q_1HNd, k_1HNd, v_1HNd, attention_mask, **options)
    window = getattr(module, "sliding_window", getattr(getattr(module, "config", None), "sliding_window", None))
    if window is not None and window != sliding_window:
        raise Unsupported("its sliding window is in its mask alone")
    more = sorted(name for name, value in options.items() if value is not None and name not in HARMLESS)
    if more or not getattr(module, "is_causal", True):
        raise Unsupported(f"its attention has {', '.join(more)}" if more else "its attention is not causal")
    q, k, v = (x.squeeze(0).transpose(0, 1) for x in (q_1HNd, k_1HNd, v_1HNd))
    scale = q.shape[-1] ** -0.5 if scaling is None else scaling
    in_window = sliding_window is None or layout.longest <= sliding_window
    with_kernel = _has_kernel(q) and in_window and softcap is None
    if not (with_kernel and q.is_cuda):  # FlashAttention knows of several heads of queries to one of keys
        k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for x in (k, v))
    if with_kernel:
        out: Tensor = _Attention.apply(q, k, v, layout, scale)  # type: ignore[no-untyped-call]
    else:
        out = completion_by_completion(q, k, v, layout, scale, sliding_window, softcap)
    return out.unsqueeze(0), None


ALL_ATTENTION_FUNCTIONS.register(NAME, shared_prompts)
ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, sdpa_mask)  # where there is no layout
