"""The probe itself: open what a run would open, sample and score its first problems, try the gaming texts."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from grpo import assemble, engines, objectives, opening
from grpo.config import Config
from grpo.engine import Rollouts
from grpo.interrupt import StopRequest
from grpo.probe import gaming
from grpo.probe.gaming import Earned, Trick, Tried, Verdict, Yardstick
from grpo.probe.study import Study, study
from grpo.probe.weights import Ranking, rank
from grpo.run.checkpoints import Progress
from grpo.run.console import Console
from grpo.scoring import Scorer, declarations
from grpo.scoring.scorer import total
from grpo.sizes import sampling_alone
from grpo.types import Problem, Prompt, SamplingParams, ScoredGroup
from rewards import Score

Texts = Sequence[str | None]  # one for each problem, None where there is none


@dataclass(frozen=True, slots=True)
class Probe:
    """All that is said of the rewards.  `form` is how an answer was written in the texts that need one."""

    scored: tuple[ScoredGroup, ...]
    study: Study
    right: Earned | None  # the model's own right completions
    wrong: Earned | None
    tried: tuple[Tried, ...]
    form: str
    stick: Yardstick
    verdicts: tuple[Verdict, ...]
    ranking: Ranking

    @property
    def is_gamed(self) -> bool:
        return any(verdict.matters for verdict in self.verdicts)


def probe(config: Config, count: int, *, open_sampler: Callable[..., Rollouts] = engines.open_sampler) -> Probe:
    """Of the first `count` problems that a run of `config` would draw, as its first step would sample them."""
    config = assemble.pinned(assemble.placed(config, None))
    with ExitStack() as stack:
        console = stack.enter_context(closing(Console(count)))
        stop = stack.enter_context(StopRequest())
        declared = declarations(config.reward)
        problems = assemble.load_judgeable(config.data, config.reward, declared, console.warn)
        opening.look_at_rewards(config, declared, problems, console)
        made = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="grpo-probe-")))
        files = opening.starting_model(config, made, console, stop)
        prompts = assemble.prompts_for(problems, files, config.data, max_tokens=config.sampling.max_tokens)
        source = opening.make_source(config, prompts, Progress(step=0, drawn=0), 1)
        drawn = source.prompts(min(count, len(prompts)))
        place, sampling = assemble.choose_place(config.model), config.sampling
        context = assemble.longest(drawn) + sampling.max_tokens
        scorer = stack.enter_context(assemble.open_scorer(config))
        alone = sampling_alone(sampling, place.device)
        parallel = config.cluster.tensor_parallel
        sampler = open_sampler(alone, files, place, context=context, seed=config.run.seed, tensor_parallel=parallel)
        stack.enter_context(closing(sampler))  # type: ignore[type-var]
        console.note(f"sampler: {alone.backend} on {place.device}")

        def arrived(done: int, whole: int) -> None:
            console.phase("sampling", done, whole)
            stop.check()

        params = SamplingParams(sampling.max_tokens, sampling.temperature, seed=source.seed(0), stop=sampling.stop)
        scored = sample(sampler, scorer, drawn, sampling.group_size, params, arrived)
        return judge(config, scored, scorer, files.tokenizer)


def sample(
    sampler: Rollouts,
    scorer: Scorer,
    prompts: Sequence[Prompt],
    n: int,
    params: SamplingParams,
    arrived: Callable[[int, int], None],
) -> list[ScoredGroup]:
    """A scored group for each prompt, in their order."""
    futures = {}
    for index, group in sampler.sample(prompts, n, params):
        futures[index] = scorer.submit(group)
        arrived(len(futures), len(prompts))
    return [futures[index].result() for index in range(len(prompts))]


def judge(config: Config, scored: Sequence[ScoredGroup], scorer: Scorer, tokenizer: PreTrainedTokenizerBase) -> Probe:
    """What these completions and the gaming texts say of the rewards."""
    first, weights = scorer.names[0], scorer.weights
    jury = _Jury(scored, scorer, tokenizer)
    problems = [group.group.prompt.problem for group in scored]
    form = _best_form(jury, problems, first)
    tricks = [*gaming.blank_tricks(problems), *gaming.answer_tricks(problems, form)]
    judged = [jury.judge(trick.texts) for trick in tricks]
    tried = tuple(Tried(trick, _earned(trick, result, first)) for trick, result in zip(tricks, judged, strict=True))
    right, wrong = (_own(scored, first, right=right) for right in (True, False))
    stick = gaming.yardstick(right, wrong, tried, weights[first])
    everything = [*(by_name for group in scored for by_name in group.scores)]
    everything += [by_name for result in judged for by_name, _ in result if by_name]
    objective = objectives.choose(config.objective)
    return Probe(
        tuple(scored),
        study(scored, weights, objective, problems_per_step=config.sampling.problems_per_step),
        right,
        wrong,
        tried,
        form,
        stick,
        tuple(gaming.verdicts(stick, tried)),
        rank(weights, ranges(everything, scorer.names)),
    )


Judged = tuple[Mapping[str, Score], float | None]  # what each reward says, and the total


class _Jury:
    """Scores a text for each problem as if it had come up beside the model's own completions of it."""

    def __init__(self, scored: Sequence[ScoredGroup], scorer: Scorer, tokenizer: PreTrainedTokenizerBase) -> None:
        self.scored, self.scorer, self.tokenizer = scored, scorer, tokenizer

    def judge(self, texts: Texts) -> list[Judged]:
        """Empty scores where there is no text."""
        futures = [
            None if text is None else self.scorer.score(group.group.prompt.problem, [text], [self.tokens(text)])
            for group, text in zip(self.scored, texts, strict=True)
        ]
        return [
            ({}, None) if future is None else self._beside(group, future.result().scores[0])
            for group, future in zip(self.scored, futures, strict=True)
        ]

    def _beside(self, group: ScoredGroup, scores: Mapping[str, Score]) -> Judged:
        """A reward that says nothing of a whole group is left out of its sums, so the group decides."""
        return scores, total([*group.scores, scores], self.scorer.weights)[-1]

    def tokens(self, text: str) -> int:
        """With the token that ends it."""
        return len(self.tokenizer(text, add_special_tokens=False)["input_ids"]) + 1


def _best_form(jury: _Jury, problems: Sequence[Problem], first: str) -> str:
    """Of the ways to write an answer the one in which the golds get most from the first reward, then in all."""

    def earns(form: str) -> tuple[float, float]:
        trick = gaming.answer_tricks(problems, form)[0]
        earned = _earned(trick, jury.judge(trick.texts), first)
        return (earned.parts.get(first, float("-inf")), earned.total) if earned else (float("-inf"), float("-inf"))

    return max(gaming.FORMS, key=earns)


def _earned(trick: Trick, judged: Sequence[Judged], first: str) -> Earned | None:
    there = [one for one, text in zip(judged, trick.texts, strict=True) if text is not None]
    return Earned.of([scores for scores, _ in there], [reward for _, reward in there], first)


def _own(scored: Sequence[ScoredGroup], first: str, *, right: bool) -> Earned | None:
    """The model's own completions that are right, or that are not."""
    chosen = [
        (by_name, reward)
        for group in scored
        for by_name, reward in zip(group.scores, group.rewards, strict=True)
        if by_name[first].value is not None and ((by_name[first].value or 0.0) >= 1) is right
    ]
    return Earned.of([by_name for by_name, _ in chosen], [reward for _, reward in chosen], first)


def ranges(scores: Sequence[Mapping[str, Score]], names: Sequence[str]) -> dict[str, float]:
    """Best less worst of each reward; 0 of one that judged nothing."""
    values = {name: [v for by_name in scores if (v := by_name[name].value) is not None] for name in names}
    return {name: max(some) - min(some) if some else 0.0 for name, some in values.items()}
