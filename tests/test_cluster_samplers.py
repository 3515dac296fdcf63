"""How prompts are dealt to samplers, and what becomes of them when one is lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from grpo.cluster.samplers import AT_ONCE, deal
from grpo.types import Problem, Prompt


def prompts(lengths: list[int]) -> list[Prompt]:
    return [Prompt(Problem(f"p{i}", ({},), {}), (1,) * length) for i, length in enumerate(lengths)]


LENGTHS = st.lists(st.integers(1, 50), min_size=1, max_size=40)


@given(LENGTHS, st.integers(1, 16), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_every_prompt_is_in_one_share(lengths, n, samplers, seed):
    shares = deal(prompts(lengths), n, seed, samplers)
    assert sorted(index for share in shares for index in share.indices) == list(range(len(lengths)))
    assert all(share.indices for share in shares)


def test_one_sampler_gets_the_call_as_it_stands():
    (share,) = deal(prompts([3, 9, 1]), 1000, 7, samplers=1)
    assert share.indices == (0, 1, 2)
    assert share.seed == 7


def test_longest_prompts_are_dealt_first_and_in_turns():
    shares = deal(prompts([1, 9, 5, 7]), 8, 0, samplers=2)
    assert [share.indices for share in shares] == [(1, 2), (3, 0)]  # lengths 9, 5 and 7, 1


def test_more_than_an_engine_draws_at_once_becomes_more_shares():
    n = AT_ONCE // 4
    assert len(deal(prompts([1] * 8), n, 0, samplers=2)) == 2
    assert len(deal(prompts([1] * 12), n, 0, samplers=2)) == 3
    assert len(deal(prompts([1] * 2), n, 0, samplers=3)) == 2  # not more than prompts


@given(LENGTHS, st.integers(2, 5), st.integers(0, 1000))
def test_seeds_of_shares_depend_on_the_call_alone_and_differ(lengths, samplers, seed):
    shares = deal(prompts(lengths), 4, seed, samplers)
    assert shares == deal(prompts(lengths), 4, seed, samplers)
    assert len({share.seed for share in shares}) == len(shares)
    if len(shares) > 1:
        assert {s.seed for s in shares}.isdisjoint(s.seed for s in deal(prompts(lengths), 4, seed + 1, samplers))
