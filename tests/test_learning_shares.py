"""Shares of a batch: whole groups, balanced, and as many passes on every rank."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from grpo.learning.batch import Sequences
from grpo.learning.packed import SharedPrompts
from grpo.learning.shares import Totals, no_loss, share
from tests.batches import Row, collate
from tests.tiny import make_model


def of_lengths(*lengths: int) -> Sequences:
    """Groups of two completions after prompts of one token; 2 · length - 1 tokens each, shared."""
    return Sequences.of([((4 + i,), (5,) * length) for i, length in enumerate(lengths) for _ in range(2)])


def test_whole_groups_go_to_whoever_has_the_fewest_tokens() -> None:
    body = SharedPrompts(make_model(True))
    # 5, 17, 7 and 9 tokens: 17 to the first, then 9, 7 (for 9 < 17) and 5 (for 16 < 17) to the second
    sequences = of_lengths(3, 9, 4, 5)
    shares = [share(sequences, body, 1000, rank=rank, size=2) for rank in range(2)]
    assert [[sorted(index) for index in own.microbatches] for own in shares] == [[[2, 3]], [[0, 1, 4, 5, 6, 7]]]
    assert [own.fillers for own in shares] == [[], []]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=7), st.integers(1, 40), st.integers(1, 5))
def test_shares_cover_every_row_once_and_all_ranks_make_as_many_passes(
    lengths: list[int], tokens: int, size: int
) -> None:
    body, sequences = SharedPrompts(make_model(True)), of_lengths(*lengths)
    shares = [share(sequences, body, tokens, rank=rank, size=size) for rank in range(size)]
    rows = [row for own in shares for index in own.microbatches for row in index]
    assert sorted(rows) == list(range(2 * len(lengths)))
    assert len({len(own.microbatches) + len(own.fillers) for own in shares}) == 1
    for own in shares:  # a group is on one rank
        mine = {row // 2 for index in own.microbatches for row in index}
        assert all(
            row // 2 not in mine for other in shares if other is not own for i in other.microbatches for row in i
        )


def test_a_fillers_gradient_is_nothing_even_where_a_product_with_0_is_not() -> None:
    logprobs_BT = torch.tensor([[-1.0, -torch.inf, torch.nan]], requires_grad=True)
    terms = no_loss(logprobs_BT, collate([Row((1,), (2, 3, 4), (0.0,) * 3, 1.0, 1.0)]).targets)
    terms.loss.backward()
    assert logprobs_BT.grad is not None and logprobs_BT.grad.tolist() == [[0.0, 0.0, 0.0]]


def test_totals_add_sums_and_keep_the_largest_peak_also_of_names_that_one_rank_alone_has() -> None:
    parts = [Totals({"loss": 1.5, "kl": 2.0}, {"ratio": 3.0}), Totals({"loss": -0.5}, {"ratio": 4.0, "kl": -1.0})]
    total = Totals.over(parts)
    assert (total.sums, total.peaks) == ({"loss": 1.0, "kl": 2.0}, {"ratio": 4.0, "kl": -1.0})


def test_totals_take_tensors_of_any_type_and_plain_numbers_as_they_are() -> None:
    totals = Totals()
    for _ in range(2):
        sums = {"loss": torch.tensor(0.1), "kept": torch.tensor([True, False]).sum(), "tokens": 7}
        totals.add(sums, {"ratio": torch.tensor(1.5, dtype=torch.bfloat16)})
    assert totals.sums == {"loss": 2 * float(torch.tensor(0.1)), "kept": 2.0, "tokens": 14.0}
    assert totals.peaks == {"ratio": 1.5}
