"""The divergence from a teacher: that of the plain computation, tile by tile, with an exact gradient."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from grpo.learning import head
from grpo.learning.divergence import Logits, head_divergences

BETAS = [1.0, 0.9, 0.5, 0.1, 0.0]


def plain(student_NV: Tensor, teacher_NV: Tensor, beta: float, temperature: float = 1.0) -> Tensor:
    """TRL 1.16's generalised Jensen-Shannon divergence (`DistillationTrainer`), from whole logits."""
    log_s, log_t = ((logits / temperature).log_softmax(-1) for logits in (student_NV, teacher_NV))
    if beta == 0:
        return (log_t.exp() * (log_t - log_s)).sum(-1)
    if beta == 1:
        return (log_s.exp() * (log_s - log_t)).sum(-1)
    log_m = torch.logaddexp(log_s + math.log(1 - beta), log_t + math.log(beta))
    return beta * (log_t.exp() * (log_t - log_m)).sum(-1) + (1 - beta) * (log_s.exp() * (log_s - log_m)).sum(-1)


def layers(bias: bool = False, students: int = 51, teachers: int = 51) -> tuple[nn.Linear, Tensor, nn.Linear, Tensor]:
    """Output layers of different widths, and states whose logits go from nearly sure to undecided."""
    torch.manual_seed(0)
    student, teacher = nn.Linear(16, students, bias=bias), nn.Linear(24, teachers, bias=bias)
    scale_N1 = torch.linspace(0.5, 5, 9).unsqueeze(1)
    return student, scale_N1 * torch.randn(9, 16), teacher, scale_N1 * torch.randn(9, 24)


def ours(student: nn.Linear, states: Tensor, teacher: nn.Linear, others: Tensor, beta: float, t: float) -> Tensor:
    frozen = teacher.requires_grad_(False)
    return head_divergences(
        Logits(states, student.weight, student.bias, head.Projection(t)),
        Logits(others, frozen.weight, frozen.bias, head.Projection(t)),
        beta,
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("tile", [36, 9 * 4 * 7, 10**6])  # bytes: one column at a time, 7 of them, all
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("beta", BETAS)
def test_divergence_and_gradient_are_those_of_the_whole_logits(
    beta: float, bias: bool, tile: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Held against autograd on the plain computation, in float64 as the truth and in float32."""
    monkeypatch.setattr(head, "TILE", {"cpu": tile})
    student, states, teacher, others = layers(bias)
    states.requires_grad_()
    factors = torch.linspace(-1, 2, 9)  # what the loss makes of each
    found_N = ours(student, states, teacher, others, beta, 0.7)
    (found_N * factors).sum().backward()
    got = [parameter.grad.clone() for parameter in (states, *student.parameters()) if parameter.grad is not None]

    student.to(dtype).zero_grad()
    truth = states.detach().to(dtype).requires_grad_()
    expected_N = plain(student(truth), teacher.to(dtype)(others.to(dtype)), beta, 0.7)
    (expected_N * factors.to(dtype)).sum().backward()
    wanted = [parameter.grad for parameter in (truth, *student.parameters())]
    assert found_N.dtype == torch.float32 and torch.allclose(found_N.to(dtype), expected_N, rtol=1e-5, atol=2e-6)
    assert len(got) == len(wanted) == 2 + bias
    for one, other in zip(got, wanted, strict=True):
        assert other is not None and float((one - other).norm() / other.norm()) < 2e-5


@pytest.mark.parametrize("beta", BETAS)
def test_a_teacher_that_is_the_student_has_no_divergence_and_no_gradient(beta: float) -> None:
    student, states, *_ = layers(True)
    states.requires_grad_()
    twin = nn.Linear(16, 51)
    twin.load_state_dict(student.state_dict())
    divergence_N = ours(student, states, twin, states.detach(), beta, 1.0)
    divergence_N.sum().backward()
    assert float(divergence_N.detach().abs().max()) < 1e-6
    assert states.grad is not None and student.weight.grad is not None
    assert float(states.grad.abs().max()) < 1e-6 and float(student.weight.grad.abs().max()) < 1e-5


@pytest.mark.parametrize(("students", "teachers"), [(51, 64), (64, 51)])
def test_rows_that_only_pad_an_output_layer_are_no_part(students: int, teachers: int) -> None:
    student, states, teacher, others = layers(True, students, teachers)
    found_N = ours(student, states, teacher, others, 0.5, 1.0)
    found_N.sum().backward()
    expected_N = plain(student(states)[:, :51], teacher(others)[:, :51], 0.5)
    assert torch.allclose(found_N, expected_N, atol=1e-5)
    assert student.weight.grad is not None and bool((student.weight.grad[51:] == 0).all())


@pytest.mark.parametrize("beta", BETAS)
def test_logits_of_the_whole_vocabulary_never_exist(beta: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that autograd or the function makes has as many numbers as the logits would have."""
    N, V = 64, 4096
    monkeypatch.setattr(head, "TILE", {"cpu": N * 4 * 128})
    student, teacher = nn.Linear(8, V, bias=False), nn.Linear(4, V, bias=False)
    states, others = torch.randn(N, 8, requires_grad=True), torch.randn(N, 4)
    largest = 0

    class Watching(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, arguments=(), options=None):  # type: ignore[no-untyped-def]
            nonlocal largest
            made = function(*arguments, **(options or {}))
            largest = max([largest, *(x.numel() for x in torch.utils._pytree.tree_leaves(made) if torch.is_tensor(x))])
            return made

    with Watching():
        ours(student, states, teacher, others, beta, 1.0).sum().backward()
    assert largest == 8 * V < N * V // 4


@pytest.mark.parametrize("beta", BETAS)
def test_logits_with_a_cap_are_compared_as_the_models_have_them(beta: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each model's own cap, and its gradient by the slope of the tanh."""
    monkeypatch.setattr(head, "TILE", {"cpu": 9 * 4 * 7})
    student, states, teacher, others = layers()
    student.requires_grad_(False), teacher.requires_grad_(False)
    truth = states.double().requires_grad_()
    capped_NV = 3 * (truth @ student.weight.double().t() / 3).tanh()
    wanted_N = plain(capped_NV, 5 * (teacher(others).double() / 5).tanh(), beta, 0.7)
    wanted_N.sum().backward()
    states.requires_grad_()
    one, other = head.Projection(0.7, cap=3.0), head.Projection(0.7, cap=5.0)
    found_N = head_divergences(
        Logits(states, student.weight, None, one), Logits(others, teacher.weight, None, other), beta
    )
    found_N.sum().backward()
    torch.testing.assert_close(found_N, wanted_N.float(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(states.grad, truth.grad.float(), atol=1e-5, rtol=1e-4)


def test_with_a_float32_head_the_tiles_of_both_models_are_the_same_though_their_widths_differ(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(head, "TILE", {"cpu": 9 * 4 * 30})
    student, states, teacher, others = layers()
    student, teacher = student.bfloat16().requires_grad_(False), teacher.bfloat16().requires_grad_(False)
    wide = head.Projection(float32=True)
    sides = [
        Logits(hidden.bfloat16(), layer.weight, None, wide) for hidden, layer in ((states, student), (others, teacher))
    ]
    assert len({head.tile_width(side.states_ND, 51, wide) for side in sides}) == 2
    truth = [side.states_ND.float() @ side.weight_VD.float().t() for side in sides]
    torch.testing.assert_close(head_divergences(*sides, 1.0), plain(*truth, 1.0), atol=1e-4, rtol=1e-4)
