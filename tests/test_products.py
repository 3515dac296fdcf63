"""Float32 stays float32, whatever library multiplies, and the switch stands afterwards as it stood before."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
import torch

from grpo import products

CPU = torch.device("cpu")


def switch() -> str:
    found: str = products._switch.fp32_precision
    return found


def test_a_product_keeps_the_precision_of_float32() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(300, 200), torch.randn(200, 100)
    with products.fast_products(CPU):
        found = a @ b
    exact = a.double() @ b.double()
    assert float((found - exact).norm() / exact.norm()) < 1e-6


def test_the_switch_to_onednn_is_on_inside_and_off_in_what_asks_for_plain_products() -> None:
    if not products.onednn_is_exact():
        pytest.skip("oneDNN rounds float32 to bfloat16 on this processor, or is not there")
    before, inside = switch(), products.plain_products()(switch)
    with products.fast_products(CPU):
        assert (switch(), inside(), switch()) == ("bf16", "ieee", "bf16")
    assert switch() == before


def test_where_onednn_rounds_the_switch_to_it_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "onednn_is_exact", lambda: False)
    before = switch()
    with products.fast_products(CPU):
        assert switch() == before


def test_beside_a_gpu_no_switch_is_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the switch on, PyTorch refuses to say how precise its products are."""
    monkeypatch.setattr(products, "onednn_is_exact", lambda: True)
    before = switch()
    with products.fast_products(torch.device("cuda")):
        assert switch() == before
        assert torch.get_float32_matmul_precision() == "highest"


def test_the_switch_to_onednn_goes_back_after_a_failure() -> None:
    before = switch()
    with pytest.raises(ZeroDivisionError), products.fast_products(CPU):
        raise ZeroDivisionError
    assert switch() == before


def test_threads_that_leave_in_the_order_they_came_leave_the_switch_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "onednn_is_exact", lambda: True)
    before = switch()
    first, second = ExitStack(), ExitStack()
    first.enter_context(products.fast_products(CPU))
    second.enter_context(products.fast_products(CPU))
    first.close()
    assert switch() == "bf16"
    second.close()
    assert switch() == before
