from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from grpo.mismatch import gap_metrics, gap_sums


def plain(sums: dict[str, Tensor]) -> dict[str, float]:
    return {name: float(value) for name, value in sums.items()}


def metrics(gap_BT: Tensor, mask_BT: Tensor | None = None) -> dict[str, float]:
    mask_BT = torch.ones_like(gap_BT, dtype=torch.bool) if mask_BT is None else mask_BT
    return gap_metrics(plain(gap_sums(gap_BT, mask_BT)))


def test_the_mean_gap_in_each_range_of_positions_by_hand() -> None:
    gap_BT = torch.zeros(2, 70)
    gap_BT[:, :16], gap_BT[0, 16:64], gap_BT[1, 16:64], gap_BT[:, 64:] = 1.0, 2.0, 4.0, 8.0
    mask_BT = torch.ones(2, 70, dtype=torch.bool)
    mask_BT[1, 40:] = False  # 24 of the 48 tokens of the second range, all of the third
    row = metrics(gap_BT, mask_BT)
    assert row["policy/sampler_gap_from_0"] == 1
    assert row["policy/sampler_gap_from_16"] == pytest.approx((48 * 2 + 24 * 4) / (48 + 24))
    assert row["policy/sampler_gap_from_64"] == 8
    assert len(row) == 4  # and the percentile: no completion is longer


def test_what_lies_outside_the_mask_counts_nowhere() -> None:
    gap_BT = torch.tensor([[0.5, torch.inf], [0.5, torch.nan]])
    assert metrics(gap_BT, gap_BT == 0.5)["policy/sampler_gap_from_0"] == 0.5


def test_a_mean_hides_what_the_percentile_shows() -> None:
    gap_BT = torch.full((1, 1000), 1e-3)
    gap_BT[0, ::50] = 3.0  # every 50th token is far off
    assert metrics(gap_BT)["policy/sampler_gap_p99"] == pytest.approx(3.0, rel=0.42)
    assert metrics(gap_BT.clamp(max=1e-3))["policy/sampler_gap_p99"] == pytest.approx(1e-3, rel=0.42)


@given(st.integers(0, 1000), st.sampled_from([1e-7, 1e-4, 1e-2, 1.0]))
def test_the_percentile_is_that_of_the_tokens_to_half_an_octave(seed: int, scale: float) -> None:
    gap = scale * np.abs(np.random.default_rng(seed).standard_normal(4000)).astype(np.float32)
    found = metrics(torch.from_numpy(gap)[None])["policy/sampler_gap_p99"]
    assert 2**-0.5 <= found / np.quantile(gap, 0.99, method="inverted_cdf") <= 2**0.5


@given(st.integers(0, 1000), st.integers(1, 7))
def test_sums_of_parts_add_up_to_those_of_the_whole(seed: int, rows: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    gap_BT = torch.rand(8, 300, generator=draw)
    mask_BT = torch.rand(8, 300, generator=draw) < 0.8
    whole = plain(gap_sums(gap_BT, mask_BT))
    halves = (slice(rows), slice(rows, None))
    parts = [plain(gap_sums(gap_BT[half], mask_BT[half])) for half in halves]
    added = {name: sum(part[name] for part in parts) for name in whole}
    assert added == pytest.approx(whole, rel=1e-5)


def test_where_sampler_and_policy_agree_to_the_last_bit_the_gap_is_nothing() -> None:
    assert metrics(torch.zeros(2, 3)) == {"policy/sampler_gap_p99": 0.0, "policy/sampler_gap_from_0": 0.0}


def test_of_no_tokens_there_is_nothing_to_say() -> None:
    assert gap_metrics({}) == {}
