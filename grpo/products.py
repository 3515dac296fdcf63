"""Float32 matrix products: at the speed that the processor has, and of factors that are narrower.

PyTorch multiplies float32 matrices on CPUs with Intel's MKL, which leaves the wider half of the arithmetic units of
AMD's processors idle.  oneDNN, which PyTorch also carries, does not: 390 GFLOP/s instead of 185 on two cores of an
EPYC 9005.  The one way to it is to allow it to round the factors to bfloat16 (`fp32_precision`), of which oneDNN makes
use only on processors with AMX.  So whether float32 stays float32 is tried on a product of known outcome, and where
it does not the switch stays off.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from threading import Lock
from typing import Any

import torch
from torch import Tensor

# Parameters of a model whose products are too short to share.  With 0.3 M a second thread is hardly faster on idle
# cores, and five times slower where anything else, a reward worker say, wants one of them.  With 4 M it is worth its
# risk: 1.0 s an update instead of 1.9.
ONE_THREAD = 1_000_000


def choose_threads(parameters: int) -> None:
    """One for this process, where it computes with a model as small as that."""
    if parameters < ONE_THREAD:
        torch.set_num_threads(1)


_switch: Any = getattr(torch.backends.mkldnn, "matmul")  # noqa: B009  PyTorch's types do not know it


class _Fast:
    """The switch is the whole process's.  Where threads compute side by side it is off again when the last of them has
    left, whoever came first."""

    def __init__(self) -> None:
        self._lock, self._inside, self._before = Lock(), 0, ""

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._before = _switch.fp32_precision
            self._inside += 1
            _switch.fp32_precision = "bf16"

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                _switch.fp32_precision = self._before


_fast = _Fast()


@cache
def onednn_is_exact() -> bool:
    """Whether float32 products stay float32 with the switch on: errors of 1e-7, not bfloat16's 1e-3."""
    if not torch.backends.mkldnn.is_available():
        return False
    draw = torch.Generator().manual_seed(0)
    a, b = (torch.randn(256, 256, generator=draw) for _ in range(2))
    with _fast:
        found = a @ b
    exact = a.double() @ b.double()
    return bool((found - exact).norm() <= 1e-5 * exact.norm())


def fast_products(device: torch.device) -> AbstractContextManager[None]:
    """Float32 products on CPUs go through oneDNN.

    On other devices nothing is touched: while the switch is on, `torch.get_float32_matmul_precision()` raises, which
    `torch.compile` and cuBLAS's users ask.
    """
    return _fast if device.type == "cpu" and onednn_is_exact() else nullcontext()


def float32_product(a_NK: Tensor, b_KM: Tensor, out: Tensor | None = None) -> Tensor:
    """a b in float32 of factors of one type, which may be bfloat16: then nothing is rounded but the sums, and those to
    float32.

    GPUs add up in float32 anyway, and only have to hand it out; CPUs copy the factors.
    """
    if a_NK.dtype == torch.float32:
        return torch.mm(a_NK, b_KM, out=out)
    if a_NK.is_cuda:
        return torch.mm(a_NK, b_KM, out_dtype=torch.float32, out=out)
    return torch.mm(a_NK.float(), b_KM.float(), out=out)


@contextmanager
def plain_products() -> Iterator[None]:
    """Products as PyTorch computes them by itself, within `fast_products`: the short ones of a flash kernel are faster
    so.  A context, or a decorator."""
    before, _switch.fp32_precision = _switch.fp32_precision, "ieee"
    try:
        yield
    finally:
        _switch.fp32_precision = before
