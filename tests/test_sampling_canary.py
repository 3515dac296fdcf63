from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpo.errors import SamplerError
from grpo.sampling import Continuations, canary
from grpo.sampling.canary import Canary
from grpo.types import Completion, Group, Problem, Prompt
from tests.fakes import FakeSampler


def group(name: int, lengths: list[int]) -> Group:
    problem = Problem(str(name), ({"role": "user", "content": "?"},), {})
    completions = tuple(
        Completion(tuple(range(100 * g, 100 * g + length)), (-1.0,) * length, "", "stop")
        for g, length in enumerate(lengths)
    )
    return Group(Prompt(problem, (name + 1,)), completions, 0)


groups = st.lists(st.lists(st.integers(1, 20), min_size=1, max_size=4), min_size=1, max_size=5).map(
    lambda lengths: [group(name, those) for name, those in enumerate(lengths)]
)


@given(groups, st.integers(0, 2**32), st.integers(1, 30), st.integers(1, 25))
def test_the_probe_is_some_of_the_steps_own_completions_each_at_most_once_and_cut_to_size(
    step: list[Group], seed: int, count: int, max_tokens: int
) -> None:
    chosen = canary.probe(step, seed=seed, count=count, max_tokens=max_tokens)
    own = [(g.prompt.token_ids, tuple(c.token_ids[:max_tokens].tolist())) for g in step for c in g.completions]
    assert len(chosen) == min(count, len(own))
    for sequence in set(chosen):
        assert chosen.count(sequence) <= own.count(sequence)
    assert chosen == canary.probe(step, seed=seed, count=count, max_tokens=max_tokens)


def test_another_step_probes_other_completions() -> None:
    step = [group(name, [3] * 8) for name in range(8)]
    assert canary.probe(step, seed=1) != canary.probe(step, seed=2)


def test_the_canarys_gap_is_the_mean_over_tokens_not_over_sequences() -> None:
    # |-1 - -1.5| + |-2 - -2| + |-3 - -2.5| = 0.5 + 0 + 0.5 over 3 tokens
    assert canary.logprob_gap([[-1.0, -2.0], [-3.0]], [[-1.5, -2.0], [-2.5]]) == pytest.approx(1 / 3)


@given(st.lists(st.lists(st.floats(-50, 0), min_size=1), min_size=1))
def test_equal_log_probabilities_have_no_gap(logprobs: list[list[float]]) -> None:
    assert canary.logprob_gap(logprobs, logprobs) == 0


def test_log_probabilities_of_other_lengths_are_refused_rather_than_cut() -> None:
    with pytest.raises(ValueError, match="shorter"):
        canary.logprob_gap([[-1.0, -2.0]], [[-1.0]])
    with pytest.raises(ValueError, match="no tokens"):
        canary.logprob_gap([], [])


# --- After each transfer ------------------------------------------------------------------------------------------


def scored_by(sampler: FakeSampler, policy_logprob: Callable[[], float], tolerance: float) -> Canary:
    """The canary between a sampler and a policy that give every token the same log-probability."""

    def policy_score(sequences: Continuations) -> list[list[float]]:
        return [[policy_logprob()] * len(completion) for _, completion in sequences]

    return Canary(sampler, policy_score, tolerance)


def gap_of(sampler: float, policy: float, tolerance: float, step: int = 1) -> float:
    fake = FakeSampler(lambda problem, g, seed: "", logprob=sampler)
    return scored_by(fake, lambda: policy, tolerance).check([group(0, [3, 5])], step)


def test_a_gap_within_tolerance_is_returned_and_one_beyond_it_is_refused_with_what_to_do() -> None:
    assert gap_of(-1.0, -1.0009, canary.tolerance("float32"), step=3) == pytest.approx(0.0009)
    with pytest.raises(SamplerError) as refusal:
        gap_of(-1.0, -4.2, canary.tolerance("float32"), step=12)
    for part in ("fake: ", "step 12", "3.2", "0.001", 'backend = "transformers"', "sampling.sync_tolerance"):
        assert part in str(refusal.value)


@pytest.mark.parametrize("gap", [math.nan, math.inf])
def test_a_gap_that_is_no_number_is_beyond_every_tolerance(gap: float) -> None:
    with pytest.raises(SamplerError):
        gap_of(-1.0, -1.0 - gap, 0.1, step=0)


def test_the_setting_wins_over_the_default_tolerance_and_zero_turns_the_check_off() -> None:
    assert canary.tolerance("bfloat16") == 0.1
    assert canary.tolerance("bfloat16", 0.5) == 0.5
    assert gap_of(-1.0, -4.2, canary.tolerance("float32", 0.0)) == pytest.approx(3.2)


def test_a_sampler_whose_scores_stay_while_the_policys_move_is_refused_however_small_the_gap() -> None:
    sampler, policy = FakeSampler(lambda problem, g, seed: "", logprob=-1.0), [-1.0]
    check = scored_by(sampler, lambda: policy[0], tolerance=0.1).check
    assert check([group(0, [3])], 1) == 0
    policy[0] = -1.01
    with pytest.raises(SamplerError, match=r"fake: did not take the weights of step 2: .* the same to the last bit"):
        check([group(1, [3])], 2)


def test_where_the_policy_did_not_move_a_sampler_may_say_the_same_again() -> None:
    sampler = FakeSampler(lambda problem, g, seed: "", logprob=-1.0)
    check = scored_by(sampler, lambda: -1.0, tolerance=0.1).check
    assert [check([group(0, [3])], step) for step in (1, 2, 3)] == [0, 0, 0]


def test_a_sampler_that_moves_with_the_policy_is_not_refused() -> None:
    sampler, policy = FakeSampler(lambda problem, g, seed: "", logprob=-1.0), [-1.0]
    check = scored_by(sampler, lambda: policy[0], tolerance=0.1).check
    for step in (1, 2, 3):
        assert check([group(0, [3])], step) == 0
        sampler.logprob = policy[0] = -1.0 - step / 100


# A policy that is not deterministic


class Noisy:
    """A policy that gives a token another log-probability each time, around what it has learned."""

    def __init__(self, noise: float, rarely: float = 1.0) -> None:
        self.noise, self.rarely, self.random = noise, rarely, random.Random(0)
        self.moved = 0.0

    def score(self, sequences: Continuations) -> list[list[float]]:
        noise = self.noise if self.random.random() < self.rarely else 0.0
        return [[-1 + self.moved + noise * self.random.gauss(0, 1) for _ in tokens] for _, tokens in sequences]


def stale(policy: Noisy, tolerance: float = 0.1) -> Canary:
    """… and a sampler that takes no weights."""
    return Canary(FakeSampler(lambda problem, g, seed: "", logprob=-1.0), policy.score, tolerance)


@pytest.mark.parametrize("rarely", [1.0, 0.05])
@pytest.mark.parametrize("noise", [1e-7, 1e-3, 0.02])
def test_noise_alone_never_stops_a_run_whose_steps_move_nothing(noise: float, rarely: float) -> None:
    canary = stale(Noisy(noise, rarely))
    for step in range(500):
        assert canary.check([group(step, [6, 8, 5, 9])], step) < 0.1


@pytest.mark.parametrize("drift", [0.01, 0.002])
def test_a_missed_transfer_is_found_as_soon_as_the_policy_has_moved_further_than_its_noise(drift: float) -> None:
    """Even where one step moves it less, and long before the gap is beyond the tolerance."""
    policy, steps = Noisy(0.004), 0
    canary = stale(policy)
    with pytest.raises(SamplerError, match="did not take the weights"):
        for steps in range(100):
            assert canary.check([group(steps, [60, 80, 50, 90])], steps) < 0.05
            policy.moved -= drift
    assert 0.01 / drift <= steps <= 0.03 / drift


def test_a_policy_is_asked_again_only_where_the_sampler_has_not_moved() -> None:
    asked = []
    sampler = FakeSampler(lambda problem, g, seed: "", logprob=-1.0)

    def score(sequences: Continuations) -> list[list[float]]:
        asked.append(sequences)
        return [[sampler.logprob] * len(tokens) for _, tokens in sequences]

    canary = Canary(sampler, score, 0.1)
    for step in range(3):
        canary.check([group(step, [3])], step)
        sampler.logprob -= 0.01
    assert len(asked) == 3
