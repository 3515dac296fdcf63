"""The types on the path of the data, one per stage, each frozen and complete.

    problem → prompt → completion → group → score → reward → advantage → batch → loss → metrics

Letters in names of tensors and arrays, here and everywhere:

    P  problems in a step          B  rows (completions) of a batch       S  prompt positions
    G  completions per problem     T  completion positions                V  vocabulary entries

So `rewards_PG` is one number per completion, and `logprobs_BT` one per token of each row.
No torch here: `Sequences` and `Targets`, which hold tensors, are in `grpo.learning.batch`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rewards import Score

Finish = Literal["stop", "length"]
Message = Mapping[str, str]  # {"role": "user", "content": "1 + 1 = ?"}


@dataclass(frozen=True, slots=True)
class Problem:
    """One row of a data set.

    `messages` is the conversation that asks it; `facts` are the row's own columns, and what a reward sees: the
    answer is at `facts["answer"]` whatever its column was called.
    Example: `Problem("gsm8k/7", ({"role": "user", "content": "1+1?"},), {"question": "1+1?", "answer": "2"})`.
    """

    id: str
    messages: tuple[Message, ...]
    facts: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not self.messages:
            raise ValueError(f"Problem {self.id}: messages must not be empty")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A problem as the model reads it.  Example: `Prompt(problem, (151644, 872, 198))`.

    `opened` is the tag at its end, such as "<think>", that a chat template has opened for the model.
    """

    problem: Problem
    token_ids: tuple[int, ...]
    opened: str = ""

    def __post_init__(self) -> None:
        if not self.token_ids:
            raise ValueError(f"Prompt {self.problem.id}: token_ids must not be empty")


class Span(NamedTuple):
    """So many tokens in a row, drawn with the weights of `step`."""

    step: int
    tokens: int


@dataclass(frozen=True, slots=True, eq=False)
class Completion:
    """One sampled answer.

    `logprobs[t]` is the sampler's log-probability of `token_ids[t]`, after temperature.  `token_ids` includes the
    end token where the model produced one, and `finish` says whether it did ("stop") or ran out of room ("length").
    `text` is what the model wrote, in the tag that its prompt opened, if it did; `Vocabulary.text` says which tokens
    are not in it.  `spans` say whose weights drew which tokens, where new ones may have come
    in the midst of it; without any, all are those of the group's `policy_step`.

    Eight bytes a token, where tuples of Python's numbers take eighty: a step may have millions.  Samplers compute
    log-probabilities in float32, so nothing is rounded here.  Any sequences may be given; what is kept is a copy that
    cannot be written to.  Two completions are equal where they are so to the last bit.
    Example: `Completion((19, 17, 2), (-0.1, -0.7, -0.01), "42", "stop")`.
    """

    token_ids: NDArray[np.int32]
    logprobs: NDArray[np.float32]
    text: str
    finish: Finish
    spans: tuple[Span, ...] = ()

    def __post_init__(self) -> None:
        for name, dtype in (("token_ids", np.int32), ("logprobs", np.float32)):
            array = np.array(getattr(self, name), dtype)
            array.setflags(write=False)
            object.__setattr__(self, name, array)  # frozen
        if not len(self.token_ids):
            raise ValueError("Completion: token_ids must not be empty")
        if self.spans and sum(span.tokens for span in self.spans) != len(self.token_ids):
            raise ValueError(f"Completion: spans of {self.spans} for {len(self.token_ids)} tokens")
        if len(self.token_ids) != len(self.logprobs):
            raise ValueError(f"Completion: {len(self.token_ids)} tokens but {len(self.logprobs)} log-probabilities")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Completion) and self._bits == other._bits

    def __hash__(self) -> int:
        return hash(self._bits)

    @property
    def _bits(self) -> tuple[bytes, bytes, str, Finish, tuple[Span, ...]]:
        return self.token_ids.tobytes(), self.logprobs.tobytes(), self.text, self.finish, self.spans


@dataclass(frozen=True, slots=True)
class Group:
    """All completions of one prompt: a rollout.  `policy_step` is the step whose weights drew its oldest token; how far
    it lies behind the policy's own is the group's staleness, 0 where learner and sampler take turns."""

    prompt: Prompt
    completions: tuple[Completion, ...]
    policy_step: int

    def __post_init__(self) -> None:
        if not self.completions:
            raise ValueError(f"Group {self.prompt.problem.id}: completions must not be empty")


@dataclass(frozen=True, slots=True)
class Scores:
    """What every reward said of some completions of one problem, and their weighted sums: see `ScoredGroup`, which has
    the completions too.  Example: `Scores(({"math": Score(1.0)}, {"math": Score(0.0)}), (1.0, 0.0))`.
    """

    scores: tuple[Mapping[str, Score], ...]
    rewards: tuple[float | None, ...]

    def __post_init__(self) -> None:
        if len(self.scores) != len(self.rewards):
            raise ValueError(f"Scores: {len(self.scores)} scores but {len(self.rewards)} rewards")


@dataclass(frozen=True, slots=True)
class ScoredGroup:
    """A group with what every reward said of every completion.

    `scores[g]` maps the reward's name to its `Score` of completion g; `rewards[g]` is their weighted sum, or `None`
    where the completion could not be judged.
    """

    group: Group
    scores: tuple[Mapping[str, Score], ...]
    rewards: tuple[float | None, ...]

    def __post_init__(self) -> None:
        counts = (len(self.group.completions), len(self.scores), len(self.rewards))
        if len(set(counts)) != 1:
            raise ValueError(f"ScoredGroup {self.group.prompt.problem.id}: completions, scores, rewards count {counts}")


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How to sample.  `seed` fixes the draw: same weights, prompts and seed give the same completions."""

    max_tokens: int  # tokens
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0  # 0: the whole vocabulary
    seed: int = 0
    stop: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Example:
    """Where a completion is found: of the group of problem `problem` in step `step`, number `index`, from 0."""

    step: int
    problem: str
    index: int


@dataclass(frozen=True, slots=True)
class Alarm:
    """What a run says of itself after step `step`: a statement with its evidence, not a verdict.

    `numbers` are what was compared, by name; `examples` the three worst completions, where any show it.  Raised once,
    and once more with `cleared` when it is over.
    """

    name: str
    step: int
    text: str
    numbers: Mapping[str, float] = field(default_factory=dict)
    examples: tuple[Example, ...] = ()
    cleared: bool = False
