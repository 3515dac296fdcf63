"""What a step's completions show besides their rewards: signs by which a run that goes wrong is known.

    completions/repetition      mean rep_4: 1 - distinct runs of four words / runs of four words (arXiv 2502.03373)
    completions/prompt_script   share of letters in the script of the prompt: R1-Zero's chains of thought began to mix
                                languages (arXiv 2501.12948, section 2.2)
    completions/length_right    mean tokens of those that solve their problem
    completions/length_wrong    … and of those that do not
    thinking/empty              share, of those that mark their thoughts, with fewer than `LEAST_THINKING` words of them
    thinking/empty_solved       share of these that is right
    thinking/solved             share of the others that is right
    groups/distinct_answers     mean number of different answers that the first reward read in a group
    reward/length_correlation   Pearson's r of reward and length, both less their group's mean
    agree/<reward>              share, of the completions that the first reward calls right, that this one calls right
                                too; of rewards with weight 0 that only say 0 or 1.  Not of all completions: that would
                                change with the share solved, whatever the two think of each other
    solved/<column>/<value>     share solved of the problems with this value of the column, and
    sampled/<column>/<value>    how many problems that is

Each is a function of the step's completions, so a replay finds the same.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean
from typing import Any, Protocol

from grpo.types import Example, Group, ScoredGroup
from rewards import Score
from rewards.prose import CLOSED, OPENED, thoughts
from rewards.repetition import share as repetition

LEAST_THINKING = 10  # words
COLUMNS = ("subject", "level", "language", "source")  # of the data, where it has them
_LATIN = re.compile("[A-Za-z]")
_FORMULA = re.compile(
    r"\$[^$\n]{1,300}\$|\\[A-Za-z]+|</?[a-z]+>|(?<![A-Za-zΑ-ω])(?:[A-Za-z]|[Α-ω][A-Za-zΑ-ω]?)(?![A-Za-zΑ-ω])"
)
MOST_VALUES = 12  # of a column; one that has more tells problems apart, not groups of them


@dataclass(frozen=True, slots=True)
class Sign:
    """Of one completion.  None: there is nothing to judge."""

    example: Example
    repetition: float
    script: float | None  # share of letters in the prompt's script
    thinking: int | None  # words, not counted beyond LEAST_THINKING; None where no thoughts are marked
    tokens: int
    truncated: bool
    reward: float | None
    right: bool
    doubted: bool  # right, but not to a second opinion
    entropy: float  # nats per token, estimated


class Weighted(Protocol):
    """Rewards: the first says whether a problem was solved; those with weight 0 are only heard."""

    names: tuple[str, ...]
    weights: dict[str, float]


def signs_of(step: int, scored: Sequence[ScoredGroup], rewards: Weighted) -> list[Sign]:
    """Of every completion of the step."""
    second = _second_opinions(scored, rewards)
    return [sign for one in scored for sign in _of_group(step, one, rewards.names[0], second)]


def signs_row(signs: Sequence[Sign], scored: Sequence[ScoredGroup], rewards: Weighted) -> dict[str, Any]:
    """The step's metrics.  What nothing can be said of is left out."""
    headline = rewards.names[0]
    empty = [sign for sign in signs if sign.thinking is not None and sign.thinking < LEAST_THINKING]
    full = [sign for sign in signs if sign.thinking is not None and sign.thinking >= LEAST_THINKING]
    answers = [_answers(one, headline) for one in scored]
    row = {
        "completions/repetition": _mean(sign.repetition for sign in signs),
        "completions/prompt_script": _mean(sign.script for sign in signs if sign.script is not None),
        "completions/length_right": _mean(sign.tokens for sign in signs if sign.right),
        "completions/length_wrong": _mean(sign.tokens for sign in signs if not sign.right),
        "thinking/empty": len(empty) / len(empty + full) if empty or full else None,
        "thinking/empty_solved": _mean(sign.right for sign in empty),
        "thinking/solved": _mean(sign.right for sign in full),
        "groups/distinct_answers": _mean(len(found) for found in answers if found),
        "reward/length_correlation": _length_correlation(scored),
        **{f"agree/{name}": _agreement(scored, headline, name) for name in _second_opinions(scored, rewards)},
        **_by_column(scored, headline),
    }
    return {name: value for name, value in row.items() if value is not None}


def _of_group(step: int, scored: ScoredGroup, headline: str, second: Sequence[str]) -> Iterator[Sign]:
    group = scored.group
    wanted = _script(_asked(group))
    for index, completion in enumerate(group.completions):
        text = completion.text
        marked = OPENED in text or CLOSED in text
        scores = scored.scores[index]
        right = _is_right(scores, headline)
        yield Sign(
            Example(step, group.prompt.problem.id, index),
            repetition(text, 4),
            _share_of(wanted, text),
            len(thoughts(text).split(maxsplit=LEAST_THINKING)) if marked else None,
            len(completion.token_ids),
            completion.finish == "length",
            scored.rewards[index],
            right,
            right and any(name in scores and scores[name].value == 0 for name in second),
            -float(completion.logprobs.mean()),
        )


def _asked(group: Group) -> str:
    return "\n".join(str(message["content"]) for message in group.prompt.problem.messages)


@lru_cache(maxsize=4096)
def _script_of(letter: str) -> str:
    """The script in which the letter's Unicode name begins.  Kana and Han stand side by side in Japanese."""
    name = unicodedata.name(letter, "").split(" ")[0]
    return "HAN" if name in ("CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA") else name


def _scripts(text: str) -> Counter[str]:
    """Letters by script, without variables, which are single ones and pairs with a Greek one, and LaTeX's commands."""
    found: Counter[str] = Counter()
    for letter, count in Counter(_FORMULA.sub(" ", text)).items():
        if letter.isalpha() and _script_of(letter) not in ("MATHEMATICAL", "DOUBLE-STRUCK", "SCRIPT"):
            found[_script_of(letter)] += count
    return found


def _script(text: str) -> str:
    """The script of most letters; "" where there are none."""
    return max(_scripts(text).items(), key=lambda item: item[1], default=("", 0))[0]


def _share_of(wanted: str, text: str) -> float | None:
    if text.isascii() and wanted == "LATIN":  # nearly all are, and Python knows it at once
        return 1.0 if _LATIN.search(text) else None
    letters = _scripts(text)
    return letters[wanted or _script(text)] / letters.total() if letters else None


def _is_right(scores: Mapping[str, Score], headline: str) -> bool:
    score = scores.get(headline)
    return score is not None and (score.value or 0.0) >= 1


def _answers(scored: ScoredGroup, headline: str) -> set[str]:
    found = (scores[headline].answer for scores in scored.scores if headline in scores)
    return {answer for answer in found if answer is not None}


def _length_correlation(scored: Sequence[ScoredGroup]) -> float | None:
    """Within groups, because problems differ in how long their answers are."""
    rewards, lengths = list[float](), list[float]()
    for one in scored:
        pairs = [
            (reward, float(len(completion.token_ids)))
            for reward, completion in zip(one.rewards, one.group.completions, strict=True)
            if reward is not None
        ]
        if pairs:
            mean_reward, mean_length = (fmean(values) for values in zip(*pairs, strict=True))
            rewards += [reward - mean_reward for reward, _ in pairs]
            lengths += [length - mean_length for _, length in pairs]
    spread = math.sqrt(sum(r * r for r in rewards) * sum(n * n for n in lengths))
    return sum(r * n for r, n in zip(rewards, lengths, strict=True)) / spread if spread else None


def _second_opinions(scored: Sequence[ScoredGroup], rewards: Weighted) -> list[str]:
    """Those with weight 0 that give verdicts: a number that may be anything agrees with none."""
    heard = [name for name in rewards.names[1:] if rewards.weights[name] == 0]
    values = {name: {s[name].value for one in scored for s in one.scores if name in s} - {None} for name in heard}
    return [name for name in heard if values[name] and values[name] <= {0.0, 1.0}]


def _agreement(scored: Sequence[ScoredGroup], headline: str, other: str) -> float | None:
    return _mean(
        _is_right(scores, other)
        for one in scored
        for scores in one.scores
        if _is_right(scores, headline) and other in scores and scores[other].value is not None
    )


def _by_column(scored: Sequence[ScoredGroup], headline: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for column in COLUMNS:
        by_value: dict[str, list[float]] = {}
        for one in scored:
            value = one.group.prompt.problem.facts.get(column)
            if isinstance(value, str | int) and str(value):
                share = fmean(_is_right(scores, headline) for scores in one.scores)
                by_value.setdefault(str(value)[:40], []).append(share)
        if 2 <= len(by_value) <= MOST_VALUES:
            for value, shares in sorted(by_value.items()):
                found[f"solved/{column}/{value}"] = fmean(shares)
                found[f"sampled/{column}/{value}"] = len(shares)
    return found


def _mean(values: Iterable[float]) -> float | None:
    numbers = [float(value) for value in values]
    return fmean(numbers) if numbers else None
