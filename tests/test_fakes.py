"""A fake that breaks a protocol's promises makes the tests that use it worthless."""

from __future__ import annotations

from grpo.sampling import Sampler
from grpo.types import Problem, Prompt, SamplingParams
from tests.fakes import FakeSampler
from tests.tiny import END, encode


def prompts() -> list[Prompt]:
    asked = [Problem(str(i), ({"role": "user", "content": "?"},), {"answer": str(i)}) for i in range(3)]
    return [Prompt(problem, encode("?")) for problem in asked]


def test_the_fake_sampler_answers_every_prompt_with_its_script() -> None:
    sampler: Sampler = FakeSampler(lambda problem, g, seed: f"{problem.facts['answer']}{g}{seed}")
    groups = dict(sampler.sample(prompts(), 2, SamplingParams(max_tokens=9, seed=5)))
    assert [[c.text for c in groups[i].completions] for i in range(3)] == [
        ["005", "015"],
        ["105", "115"],
        ["205", "215"],
    ]
    assert groups[0].completions[0].token_ids.tolist() == [*encode("005"), END]
    assert groups[0].completions[0].finish == "stop"


def test_the_fake_sampler_runs_out_of_room() -> None:
    sampler = FakeSampler(lambda problem, g, seed: "abcd")
    for room, finish, length in [(4, "length", 4), (5, "stop", 5)]:
        (completion,) = next(sampler.sample(prompts(), 1, SamplingParams(max_tokens=room)))[1].completions
        assert (completion.finish, len(completion.token_ids), completion.text) == (finish, length, "abcd")


def test_the_fake_sampler_marks_groups_with_the_step_it_was_given_last() -> None:
    sampler = FakeSampler(lambda problem, g, seed: "x")
    sampler.load_weights([], 4)
    assert next(sampler.sample(prompts(), 1, SamplingParams(max_tokens=4)))[1].policy_step == 4
