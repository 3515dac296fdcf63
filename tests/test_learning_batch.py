"""Collating and splitting a batch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from grpo.learning.batch import Batch, Row, collate

sizes = st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=20)


def rows_of(shapes: list[tuple[int, int]]) -> Batch:
    """Rows with (prompt length, completion length); row i is made of tokens i + 1."""
    return collate(
        [
            Row((i + 1,) * prompt, (i + 1,) * length, (-0.5,) * length, float(i), 0.1)
            for i, (prompt, length) in enumerate(shapes)
        ]
    )


@given(sizes)
def test_rows_taken_out_are_the_rows_that_went_in(shapes: list[tuple[int, int]]) -> None:
    batch = rows_of(shapes)
    for i in range(len(shapes)):
        row = batch.rows([i])
        assert row.prompts == (batch.prompts[i],)
        assert row.tokens_BT.tolist() == [[i + 1] * shapes[i][1]]
        assert row.n_tokens == shapes[i][1]
        assert row.logprobs["sampler"].tolist() == [[-0.5] * shapes[i][1]]


def test_padding_has_no_weight() -> None:
    batch = rows_of([(1, 1), (1, 3)])
    assert batch.weights_BT.tolist()[0] == pytest.approx([0.1, 0, 0])
    assert batch.lengths == [1, 3]
    assert batch.n_tokens == 4


def test_a_batch_whose_parts_do_not_agree_is_refused() -> None:
    batch = rows_of([(1, 2)])
    with pytest.raises(ValueError, match="shape"):
        batch.with_logprobs("old", torch.zeros(1, 3))
    with pytest.raises(ValueError, match="count 1 rows"):
        Batch((), batch.tokens_BT, batch.weights_BT, batch.advantages_B, batch.logprobs)
    with pytest.raises(ValueError, match="token with weight"):
        Batch(batch.prompts, batch.tokens_BT, batch.weights_BT * 0, batch.advantages_B, batch.logprobs)
