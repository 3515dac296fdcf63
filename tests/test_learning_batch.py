"""The two halves of a batch: what a model reads, and what a loss reads of it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from grpo.learning.batch import Batch, Sequences, Targets, padded, spread
from tests.batches import Row, collate

shapes = st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=20)


def sequences_of(shapes: Sequence[tuple[int, int]]) -> Sequences:
    """Rows with (prompt length, completion length); row i is made of tokens i + 1."""
    return Sequences.of([((i + 1,) * prompt, (i + 1,) * length) for i, (prompt, length) in enumerate(shapes)])


def batch_of(shapes: Sequence[tuple[int, int]]) -> Batch:
    return collate(
        [
            Row((i + 1,) * prompt, (i + 1,) * length, (-0.5,) * length, float(i), 0.1)
            for i, (prompt, length) in enumerate(shapes)
        ]
    )


# --- Sequences ----------------------------------------------------------------------------------------------------


def test_sequences_by_hand() -> None:
    sequences = Sequences.of([((1, 2), (3, 4, 5)), ((6,), (7,))])
    assert sequences.prompts == ((1, 2), (6,))
    assert sequences.tokens_BT.tolist() == [[3, 4, 5], [7, 0, 0]]
    assert sequences.tokens_BT.dtype == torch.int64
    assert sequences.lengths == (3, 1)
    assert sequences.real_BT.tolist() == [[True, True, True], [True, False, False]]


@given(shapes)
def test_there_are_as_many_real_tokens_as_completions_have(shapes: list[tuple[int, int]]) -> None:
    sequences = sequences_of(shapes)
    assert sequences.real_BT.sum(dim=1).tolist() == [length for _, length in shapes]
    assert (sequences.tokens_BT != 0).tolist() == sequences.real_BT.tolist()  # these tokens are never 0


@given(shapes, st.data())
def test_sequences_taken_out_are_those_that_went_in_and_padded_no_longer_than_needed(
    shapes: list[tuple[int, int]], data: st.DataObject
) -> None:
    index = data.draw(st.lists(st.integers(0, len(shapes) - 1), min_size=1, max_size=5))
    taken = sequences_of(shapes).rows(index)
    assert taken.tokens_BT.shape == (len(index), max(shapes[i][1] for i in index))
    for row, i in enumerate(index):
        assert taken.prompts[row] == (i + 1,) * shapes[i][0]
        assert taken.tokens_BT[row, : taken.lengths[row]].tolist() == [i + 1] * shapes[i][1]


@pytest.mark.parametrize(
    ("prompts", "lengths", "wrong"),
    [
        (((1,),), (2, 2), "must count 2 rows"),
        (((1,), (1,)), (2,), "must count 2 rows"),
        (((1,), (1,)), (0, 2), r"1 to 2 tokens \(given \(0, 2\)\)"),
        (((1,), (1,)), (2, 3), r"1 to 2 tokens \(given \(2, 3\)\)"),
    ],
)
def test_sequences_whose_parts_do_not_agree_are_refused(prompts: tuple, lengths: tuple[int, ...], wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        Sequences(prompts, torch.ones(2, 2, dtype=torch.int64), lengths)


def test_a_completion_without_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match="must have 1 to 2 tokens"):
        Sequences.of([((1,), (2, 3)), ((1,), ())])


# --- Targets ------------------------------------------------------------------------------------------------------


def targets() -> Targets:
    """Two rows of which the second has one token; the middle of the first is masked, its last weighs nothing."""
    return Targets(
        torch.tensor([[True, False, True], [True, False, False]]),
        torch.tensor([[0.5, 0.0, 0.0], [0.25, 0.0, 0.0]]),
        {"advantages": torch.tensor([[1.0, 2.0, 3.0], [4.0, 0.0, 0.0]])},
    )


def test_values_are_found_by_name() -> None:
    assert targets()["advantages"].tolist() == [[1, 2, 3], [4, 0, 0]]
    with pytest.raises(KeyError, match="old"):
        targets()["old"]


def test_targets_having_more_values_are_new_ones_with_the_same_mask_and_weights() -> None:
    before, old_BT = targets(), torch.full((2, 3), -1.0)
    after = before.having(old=old_BT, advantages=2 * before["advantages"])
    assert torch.equal(after["old"], old_BT)
    assert after["advantages"].tolist() == [[2, 4, 6], [8, 0, 0]]
    assert torch.equal(after.mask_BT, before.mask_BT) and torch.equal(after.weights_BT, before.weights_BT)
    assert list(before.per_token) == ["advantages"] and before["advantages"].tolist() == [[1, 2, 3], [4, 0, 0]]


def test_rows_of_targets_are_cut_to_a_length_in_every_value() -> None:
    taken = targets().having(old=-torch.ones(2, 3)).rows([1, 0], 2)
    assert taken.mask_BT.tolist() == [[True, False], [True, False]]
    assert taken.weights_BT.tolist() == [[0.25, 0.0], [0.5, 0.0]]
    assert taken["advantages"].tolist() == [[4, 0], [1, 2]]
    assert taken["old"].tolist() == [[-1, -1], [-1, -1]]


def test_targets_move_to_a_device_as_a_whole() -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    before = targets().having(old=-torch.ones(2, 3))
    moved = before.to(device)
    values = {"mask": moved.mask_BT, "weights": moved.weights_BT, **moved.per_token}
    assert list(values) == ["mask", "weights", "advantages", "old"]
    assert {tensor.device.type for tensor in values.values()} == {device.type}
    assert torch.equal(moved.mask_BT.cpu(), before.mask_BT) and torch.equal(moved["old"].cpu(), before["old"])


@pytest.mark.parametrize("name", ["weights", "old"])
def test_a_value_of_another_shape_than_the_mask_is_refused_by_name(name: str) -> None:
    mask_BT = torch.ones(1, 2, dtype=torch.bool)
    values = {"weights": torch.ones(1, 2), "old": torch.ones(1, 2), name: torch.ones(1, 3)}
    with pytest.raises(ValueError, match=rf"Targets: {name} must have the shape \(1, 2\) of the mask"):
        Targets(mask_BT, values["weights"], {"old": values["old"]})


@pytest.mark.parametrize("weight", [0.1, -0.1, float("nan")])
def test_a_token_outside_the_mask_has_no_weight(weight: float) -> None:
    with pytest.raises(ValueError, match="a token outside the mask must have weight 0"):
        Targets(torch.tensor([[True, False]]), torch.tensor([[0.5, weight]]))


def test_a_token_of_the_mask_may_weigh_nothing() -> None:
    assert Targets(torch.tensor([[True]]), torch.tensor([[0.0]])).weights_BT.tolist() == [[0.0]]


# --- Both ---------------------------------------------------------------------------------------------------------


@given(shapes)
def test_rows_taken_out_of_a_batch_are_the_rows_that_went_in(shapes: list[tuple[int, int]]) -> None:
    batch = batch_of(shapes)
    for i in range(len(shapes)):
        row = batch.rows([i])
        assert row.sequences.prompts == (batch.sequences.prompts[i],)
        assert row.sequences.tokens_BT.tolist() == [[i + 1] * shapes[i][1]]
        assert row.n_tokens == shapes[i][1]
        assert row.targets["sampler"].tolist() == [[-0.5] * shapes[i][1]]
        assert row.targets["advantages"].tolist() == [[i] * shapes[i][1]]


@given(shapes, st.integers(1, 20))
def test_micro_batches_have_together_the_tokens_and_the_weight_of_the_batch(
    shapes: list[tuple[int, int]], size: int
) -> None:
    batch, rows = batch_of(shapes), list(range(len(shapes)))
    parts = [batch.rows(rows[start : start + size]) for start in range(0, len(rows), size)]
    assert sum(part.n_tokens for part in parts) == batch.n_tokens == sum(length for _, length in shapes)
    weight = sum(float(part.targets.weights_BT.double().sum()) for part in parts)
    assert weight == pytest.approx(float(batch.targets.weights_BT.double().sum()))


def test_padding_has_no_weight() -> None:
    batch = batch_of([(1, 1), (1, 3)])
    assert batch.targets.weights_BT.tolist()[0] == pytest.approx([0.1, 0, 0])
    assert batch.targets.mask_BT.tolist()[0] == [True, False, False]
    assert batch.sequences.lengths == (1, 3)
    assert batch.n_tokens == 4


def test_tokens_that_are_read_and_not_learned_from_are_not_counted() -> None:
    sequences = Sequences.of([((1,), (2, 3, 4)), ((1,), (5,))])
    batch = Batch(sequences, targets())
    assert batch.n_tokens == 3
    assert batch.rows([0]).n_tokens == 2
    assert batch.rows([0]).sequences.tokens_BT.tolist() == [[2, 3, 4]]


def test_targets_of_another_shape_than_the_tokens_are_refused() -> None:
    with pytest.raises(ValueError, match=r"targets must have the shape \(2, 2\) of the tokens"):
        Batch(Sequences.of([((1,), (2, 3)), ((1,), (5,))]), targets())


def test_a_mask_that_covers_padding_is_refused() -> None:
    everywhere_BT = torch.ones(2, 2, dtype=torch.bool)
    with pytest.raises(ValueError, match="the mask must not cover padding"):
        Batch(Sequences.of([((1,), (2, 3)), ((1,), (5,))]), Targets(everywhere_BT, torch.zeros(2, 2)))


# --- Made of rows -------------------------------------------------------------------------------------------------


def test_rows_of_unequal_length_are_padded_with_zeros() -> None:
    rows_BT = padded([(1.5,), (2.0, 3.0)], torch.float32)
    assert rows_BT.tolist() == [[1.5, 0.0], [2.0, 3.0]] and rows_BT.dtype == torch.float32


def test_a_value_per_row_is_spread_over_its_tokens_and_not_over_padding() -> None:
    spread_BT = spread([2.0, -3.0], torch.tensor([[True, True], [True, False]]))
    assert spread_BT.tolist() == [[2.0, 2.0], [-3.0, 0.0]] and spread_BT.dtype == torch.float32
