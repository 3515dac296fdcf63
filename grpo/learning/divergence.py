"""How far a policy's whole distribution is from a teacher's, token by token, in tiles of the vocabulary.

The generalised Jensen-Shannon divergence (GKD, arXiv 2306.13649, section 3.1; the sign of β as there and in TRL), with
p_S of the policy, p_T of the teacher and m = β p_T + (1 - β) p_S,

    D_β = β KL(p_T ‖ m) + (1 - β) KL(p_S ‖ m)        D_1 = KL(p_S ‖ p_T)        D_0 = KL(p_T ‖ p_S)

where the ends are set apart: the formula itself is 0 there.  With logits z of the policy the gradient of all of them is

    ∂D/∂z_i = q_i - p_S,i Σ_j q_j        q = p_S ∂D/∂p_S:  (1 - β) p_S log(p_S / m);  p_S log(p_S / p_T);  -p_T

As in `grpo.learning.head`, no more of the logits than a tile of the vocabulary exists at a time, of either model: once
for what they sum up to, once for D and Σ q, and once more backward.  Policy and teacher may have states of different
widths and output layers with other numbers of padding rows; the rows that both have are compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from grpo.errors import ConfigError
from grpo.learning.batch import Sequences
from grpo.learning.head import Gradients, Projection, slope, tile_width, tiles
from grpo.learning.policy import LanguageModel


class Logits(NamedTuple):
    """What makes a model's logits: those of the products W h + b, of states h [N, D], by a projection."""

    states_ND: Tensor
    weight_VD: Tensor
    bias_V: Tensor | None
    projection: Projection

    def rows(self, vocabulary: int) -> Logits:
        """Of the first so many tokens."""
        if len(self.weight_VD) == vocabulary:
            return self
        return self._replace(weight_VD=self.weight_VD[:vocabulary], bias_V=_first(self.bias_V, vocabulary))

    def padded(self, count: int) -> Logits:
        """With `count` states of zeros behind the others."""
        return self._replace(states_ND=pad(self.states_ND, (0, 0, 0, count)))


def head_divergences(student: Logits, teacher: Logits, beta: float) -> Tensor:
    """D_β after each state: float32 [N], with gradient to the student's.  N is padded as in `head_logprobs`."""
    N, vocabulary = len(student.states_ND), min(len(student.weight_VD), len(teacher.weight_VD))
    one, other = (logits.rows(vocabulary).padded(-N % 64) for logits in (student, teacher))
    divergence_N: Tensor = _Divergence.apply(*one, *other, beta)  # type: ignore[no-untyped-call]
    return divergence_N[:N]


class Divergences:
    """What a policy's loss is handed of each token in place of its log-probability: D_β from the teacher."""

    def __init__(self, policy: LanguageModel, teacher: LanguageModel, beta: float) -> None:
        for which, model in (("policy", policy), ("teacher", teacher)):
            if model.computation.head.output is None:
                raise ConfigError(
                    f'distill.mode = "full": the {which} does more to its logits than project, cap and scale them, so '
                    'they cannot be compared tile by tile; set distill.mode = "on_policy"'
                )
        self.policy, self.teacher, self.beta = policy, teacher, beta
        # A sharded teacher's output layer is gathered once for all: it never changes.
        layer = _output(teacher).layer
        self._weight_VD = teacher.ranks.weight(layer.weight)
        self._bias_V = None if layer.bias is None else teacher.ranks.weight(layer.bias)

    def __call__(self, rows: Sequences) -> tuple[Tensor, int, int]:
        teacher, read = self.teacher, within(rows, len(self._weight_VD))
        with torch.no_grad():
            states_ND, *_ = teacher.ranks.run(teacher.computation.body.hidden_states, read, teacher.device)
        logits = Logits(states_ND, self._weight_VD, self._bias_V, self._projection(teacher))
        return self.policy.ranks.run(self._from, rows, logits)

    def _from(self, rows: Sequences, teacher: Logits) -> tuple[Tensor, int, int]:
        computation = self.policy.computation
        layer = _output(self.policy).layer
        states_ND, computed, padding = computation.body.hidden_states(rows, computation.device)
        student = Logits(states_ND, layer.weight, layer.bias, self._projection(self.policy))
        return computation.scattered(head_divergences(student, teacher, self.beta), rows), computed, padding

    def _projection(self, model: LanguageModel) -> Projection:
        """Of either model, at the temperature that the policy is sampled with."""
        projection: Projection = _output(model).projection
        return replace(projection, divisor=projection.divisor * self.policy.temperature)


def within(sequences: Sequences, vocabulary: int) -> Sequences:
    """The sequences for a model that has fewer tokens, its last in the place of those that it has not.

    Both models have all of the tokenizer's.  Beyond them are rows that only pad an embedding: a sampler may draw one,
    if hardly ever.
    """
    return Sequences(sequences.prompts, sequences.tokens_BT.clamp(max=vocabulary - 1), sequences.lengths)


def _output(model: LanguageModel) -> Any:
    return model.computation.head.output


def _first(bias_V: Tensor | None, vocabulary: int) -> Tensor | None:
    return None if bias_V is None else bias_V[:vocabulary]


# --- The divergence of two tiles of log-probabilities -------------------------------------------------------------


class _Kind(NamedTuple):
    """Per entry of the vocabulary, from log p_S and log p_T: what is summed up to D, and q."""

    value: Callable[[Tensor, Tensor], Tensor]
    pull: Callable[[Tensor, Tensor], Tensor]


def _kind(beta: float) -> _Kind:
    if beta == 1:
        return _Kind(_relative, _relative)
    if beta == 0:
        return _Kind(lambda student, teacher: _relative(teacher, student), lambda student, teacher: -teacher.exp())
    return _Kind(partial(_mixed, beta=beta), partial(_mixed_pull, beta=beta))


def _relative(log_p: Tensor, log_q: Tensor) -> Tensor:
    """p log(p / q)."""
    return (log_p - log_q).mul_(log_p.exp())


def _mixture(log_student: Tensor, log_teacher: Tensor, beta: float) -> Tensor:
    return torch.logaddexp(log_student + math.log(1 - beta), log_teacher + math.log(beta))


def _mixed(log_student: Tensor, log_teacher: Tensor, *, beta: float) -> Tensor:
    log_m = _mixture(log_student, log_teacher, beta)
    return _relative(log_teacher, log_m).mul_(beta).add_(_relative(log_student, log_m), alpha=1 - beta)


def _mixed_pull(log_student: Tensor, log_teacher: Tensor, *, beta: float) -> Tensor:
    return _relative(log_student, _mixture(log_student, log_teacher, beta)).mul_(1 - beta)


class _Divergence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        student, teacher, beta = Logits(*arguments[:4]), Logits(*arguments[4:-1]), arguments[-1]
        lses = tuple(_logsumexp(logits) for logits in (student, teacher))
        kind = _kind(beta)
        divergence_N, pulls_N = torch.zeros_like(lses[0]), torch.zeros_like(lses[0])  # D and Σ q
        for _, log_student_Nv, log_teacher_Nv in _log_tiles(student, teacher, lses):
            divergence_N += kind.value(log_student_Nv, log_teacher_Nv).sum(dim=1)
            pulls_N += kind.pull(log_student_Nv, log_teacher_Nv).sum(dim=1)
        ctx.save_for_backward(*student[:3], *teacher[:3], *lses, pulls_N)
        ctx.rest = student.projection, teacher.projection, kind
        return divergence_N

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        states_ND, weight_VD, bias_V, states_NE, weight_VE, teacher_bias_V, student_lse_N, teacher_lse_N, pulls_N = (
            ctx.saved_tensors
        )
        projection, of_teacher, kind = ctx.rest
        student = Logits(states_ND, weight_VD, bias_V, projection)
        teacher = Logits(states_NE, weight_VE, teacher_bias_V, of_teacher)
        gradients = Gradients(ctx.needs_input_grad[:3], *student[:3], grads[0], projection)
        for tile, log_student_Nv, log_teacher_Nv in _log_tiles(student, teacher, (student_lse_N, teacher_lse_N)):
            slope_Nv = slope(log_student_Nv + student_lse_N.unsqueeze(1), projection) if projection.cap else None
            pull_Nv = kind.pull(log_student_Nv, log_teacher_Nv)
            pull_Nv.addcmul_(log_student_Nv.exp_(), pulls_N.unsqueeze(1), value=-1)  # ∂D/∂z
            gradients.add(tile, pull_Nv if slope_Nv is None else pull_Nv.mul_(slope_Nv))
        return *gradients.of_states_weight_bias(), *(None,) * 6


def _logsumexp(logits: Logits) -> Tensor:
    """Of all tokens: float32 [N]."""
    lse_N = logits.states_ND.new_full(logits.states_ND.shape[:1], -torch.inf, dtype=torch.float32)
    for _, logits_Nv in tiles(*logits):
        lse_N = torch.logaddexp(lse_N, logits_Nv.logsumexp(dim=1))
    return lse_N


def _log_tiles(student: Logits, teacher: Logits, lses: tuple[Tensor, ...]) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Rows of the vocabulary, and the log-probabilities [N, v] of both, for the caller to spoil."""
    both = student, teacher
    width = min(tile_width(logits.states_ND, len(logits.weight_VD), logits.projection) for logits in both)
    for (tile, one_Nv), (_, other_Nv) in zip(*(tiles(*logits, width) for logits in both), strict=True):
        yield tile, one_Nv.sub_(lses[0].unsqueeze(1)), other_Nv.sub_(lses[1].unsqueeze(1))
