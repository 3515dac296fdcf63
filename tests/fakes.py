"""Stand-ins that keep the protocols' promises, for tests of what is around them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any

from grpo.sampling import Continuations
from grpo.types import Completion, Group, Problem, Prompt, SamplingParams, ScoredGroup
from rewards import Score
from tests.tiny import END, encode


class FakeSampler:
    """Writes what a function tells it to: `answer(problem, g, seed)` is the text of completion g.

    Tokens are those of `tests.tiny`, so a tiny model can be the policy; every token has the same log-probability.
    It answers the last prompt first, because no caller may rely on an order.
    """

    name = "fake"

    def __init__(self, answer: Callable[[Problem, int, int], str], logprob: float = -0.5) -> None:
        self.answer = answer
        self.logprob = logprob
        self.loaded: list[int] = []  # the step of every transfer
        self.calls: list[str] = []  # everything else that was asked of it, by name

    def sample(self, prompts: Sequence[Prompt], n: int, params: SamplingParams) -> Iterator[tuple[int, Group]]:
        self.calls.append("sample")
        step = self.loaded[-1] if self.loaded else 0
        for index, prompt in reversed(list(enumerate(prompts))):
            texts = [self.answer(prompt.problem, g, params.seed) for g in range(n)]
            yield index, Group(prompt, tuple(self._completion(text, params.max_tokens) for text in texts), step)

    def _completion(self, text: str, max_tokens: int) -> Completion:
        whole = (*encode(text), END)
        token_ids = whole[:max_tokens]
        finish = "stop" if token_ids == whole else "length"
        return Completion(token_ids, (self.logprob,) * len(token_ids), text[:max_tokens], finish)

    def score(self, sequences: Continuations) -> list[list[float]]:
        self.calls.append("score")
        return [[self.logprob] * len(completion) for _, completion in sequences]

    def load_weights(self, named_tensors: Iterable[tuple[str, Any]], step: int) -> None:
        for _ in named_tensors:  # a transfer reads all of them
            pass
        self.loaded.append(step)

    def sleep(self) -> None:
        self.calls.append("sleep")

    def wake(self) -> None:
        self.calls.append("wake")

    def close(self) -> None:
        self.calls.append("close")


class FakeScorer:
    """`reward(problem id, g)` is what completion g of a problem earns."""

    def __init__(self, reward: Any) -> None:
        self.reward, self.names, self.weights = reward, ("given",), {"given": 1.0}

    def submit(self, group: Group) -> Future[ScoredGroup]:
        rewards = [self.reward(group.prompt.problem.id, g) for g in range(len(group.completions))]
        future: Future[ScoredGroup] = Future()
        future.set_result(ScoredGroup(group, tuple({"given": Score(r)} for r in rewards), tuple(rewards)))
        return future
