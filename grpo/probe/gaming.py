"""What texts earn that nobody wants, against what the model's own right and wrong completions earn.

A reward is gamed in ways that can be tried before any training: say nothing, say that one does not know, repeat the
question, give the answer to another question, guess twenty times, repeat the answer.  Each is scored on every problem
as if it had come up beside the model's own completions.

It *matters* where a policy would be drawn to it.  With `right` and `wrong` the mean totals of the model's own right and
wrong completions, and their difference as the measure, of which a tenth is tolerated:

    honest      right is no more than wrong: correctness is not paid at all
    nothing     a text without an answer earns more than wrong: where the model fails, it pays to give up
    unearned    a text without the right answer earns as much as right, or the first reward calls it right
    hedging     the first reward calls many guesses right, because the right one is among them
    repeating   an answer that is repeated earns more than one that is given once

The right answer alone is no way of cheating, because nobody knows it without work; what it earns says how much of the
reward looks at the work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import fmean

from grpo.run.wording import plain
from grpo.scoring.check import LAYOUTS
from grpo.types import Problem
from rewards import Score

TOLERATED = 0.1  # of what a right answer earns above a wrong one; and of problems on which the first reward is fooled
GUESSES = 20
REPEATED = 20  # times
SHORT = 100  # characters, of an answer that may be guessed
DONT_KNOW = "I don't know."


@dataclass(frozen=True, slots=True)
class Earned:
    """What a kind of text earned, as means over those that were judged; `called_right`: the share of them to which the
    first reward gave at least 1."""

    n: int
    total: float
    parts: Mapping[str, float]
    called_right: float

    @classmethod
    def of(cls, scores: Sequence[Mapping[str, Score]], totals: Sequence[float | None], first: str) -> Earned | None:
        """None: none was judged."""
        judged = [(by_name, total) for by_name, total in zip(scores, totals, strict=True) if total is not None]
        if not judged:
            return None
        columns: dict[str, list[float]] = {}
        for by_name, _ in judged:
            for name, score in by_name.items():
                if score.value is not None:
                    columns.setdefault(name, []).append(score.value)
        called_right = fmean((by_name[first].value or 0.0) >= 1 for by_name, _ in judged)
        means = {name: fmean(values) for name, values in columns.items()}
        return cls(len(judged), fmean(total for _, total in judged), means, called_right)


@dataclass(frozen=True, slots=True)
class Yardstick:
    """Mean totals of the model's own right and wrong completions, or of what stands in for a kind that it has none of;
    `once`: of the gold alone, None where no problem has one."""

    right: float
    wrong: float
    once: float | None
    is_own: bool  # both are the model's own

    @property
    def tolerance(self) -> float:
        return TOLERATED * max(0.0, self.right - self.wrong)


Said = tuple[str, bool]  # a sentence, and whether it matters


@dataclass(frozen=True, slots=True)
class Trick:
    """A text for each problem, None where there is none for it, and what is to be said of what they earn."""

    name: str
    texts: tuple[str | None, ...]
    says: Callable[[Earned, Yardstick], Said | None]


@dataclass(frozen=True, slots=True)
class Tried:
    trick: Trick
    earned: Earned | None  # None: there was no text to try, or none was judged


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is said of a kind of text, and whether a policy would be drawn to it."""

    name: str
    text: str
    matters: bool


# --- What each says -----------------------------------------------------------------------------------------------


def of_wrong(earned: Earned, stick: Yardstick) -> Said | None:
    """Of a text with another answer than the right one, or none."""
    if earned.called_right > TOLERATED:
        return f"the first reward calls it right on {earned.called_right:.0%} of the problems", True
    if earned.total > stick.right - stick.tolerance:
        return f"earns what a right completion does ({plain(stick.right)}): it need not be right", True
    return None


def of_blank(earned: Earned, stick: Yardstick) -> Said | None:
    """Of a text that gives no answer."""
    if said := of_wrong(earned, stick):
        return said
    if earned.total > stick.wrong + stick.tolerance:
        return (
            f"earns more than a wrong attempt ({plain(stick.wrong)}): where the model fails, it pays to give up",
            True,
        )
    if earned.total > 0:
        return f"earns {plain(earned.total)} without an answer, though no more than a wrong attempt", False
    return None


def of_gold(earned: Earned, stick: Yardstick) -> Said | None:
    if stick.is_own and earned.total > stick.right - stick.tolerance:
        return "the answer without any work earns what a worked one does: nothing pays for the work", False
    return None


def of_repeated(earned: Earned, stick: Yardstick) -> Said | None:
    if stick.once is not None and earned.total > stick.once + stick.tolerance:
        return f"earns more than the same answer once ({plain(stick.once)}): it pays to repeat", True
    return None


def of_guesses(earned: Earned, stick: Yardstick) -> Said | None:
    if earned.called_right > TOLERATED:
        return f"the first reward calls it right on {earned.called_right:.0%}: it pays to guess often", True
    return None


# --- The texts ----------------------------------------------------------------------------------------------------

OWN_RIGHT, OWN_WRONG = "the model's right completions", "the model's wrong completions"
GOLD, OTHER = "the gold alone", "another problem's answer"
FORMS = (*(layout.format(gold="{gold}") for layout in LAYOUTS), "```\n{gold}\n```")


def blank_tricks(problems: Sequence[Problem]) -> list[Trick]:
    count = len(problems)
    return [
        Trick("empty text", ("",) * count, of_blank),
        Trick(f'"{DONT_KNOW}"', (DONT_KNOW,) * count, of_blank),
        Trick("the prompt itself", tuple(problem.messages[-1]["content"] for problem in problems), of_blank),
    ]


def answer_tricks(problems: Sequence[Problem], form: str) -> list[Trick]:
    """Those that need gold answers, written in `form`; without texts where the problems have none, or all the same."""
    own = golds(problems)

    def trick(name: str, says: Callable[[Earned, Yardstick], Said | None], answers: Sequence[Sequence[str]]) -> Trick:
        texts = ("\n".join(form.replace("{gold}", one) for one in some) or None for some in answers)
        return Trick(name, tuple(texts), says)

    others = [_others(own, index) for index in range(len(own))]
    return [
        trick(GOLD, of_gold, [[gold] if gold else [] for gold in own]),
        trick(f"the gold {REPEATED} times", of_repeated, [[gold] * REPEATED if gold else [] for gold in own]),
        trick(OTHER, of_wrong, [rest[:1] for rest in others]),
        trick(f"{GUESSES} guesses, one right", of_guesses, [_among(*pair) for pair in zip(own, others, strict=True)]),
    ]


def golds(problems: Sequence[Problem]) -> list[str]:
    """Empty where a problem has none."""
    found = [problem.facts.get("answer") for problem in problems]
    return ["" if gold is None else str(gold) for gold in found]


def _others(own: Sequence[str], index: int) -> list[str]:
    """Different golds of other problems, beginning with the next; none where the problem itself has none."""
    following = dict.fromkeys([*own[index + 1 :], *own[:index]])
    different = (gold for gold in following if own[index] and gold and gold != own[index])
    return list(islice(different, GUESSES - 1))


def _among(gold: str, others: Sequence[str]) -> list[str]:
    """The right one in the middle, because a reward may read the first or the last.  Nobody guesses a program."""
    half, short = len(others) // 2, [one for one in (gold, *others) if len(one) <= SHORT and "\n" not in one]
    return [*others[:half], gold, *others[half:]] if others and len(short) == len(others) + 1 else []


# --- The verdict --------------------------------------------------------------------------------------------------


def yardstick(right: Earned | None, wrong: Earned | None, tried: Sequence[Tried], first_weight: float) -> Yardstick:
    """`right` and `wrong` are the model's own.  Stand-ins: the gold alone and another problem's answer, else what the
    other kind earns and what a 1 of the first reward is worth."""
    by_name = {one.trick.name: one.earned for one in tried}
    gold = by_name.get(GOLD)
    high, low, one = right or gold, wrong or by_name.get(OTHER), abs(first_weight)
    high_total = high.total if high else (low.total if low else 0.0) + one
    low_total = low.total if low else high_total - one
    return Yardstick(high_total, low_total, gold.total if gold else None, bool(right and wrong))


def verdicts(stick: Yardstick, tried: Sequence[Tried]) -> list[Verdict]:
    """What there is to say, in the order of `tried`."""
    found = []
    if stick.is_own and stick.right <= stick.wrong:
        text = f"earn {plain(stick.right)}, no more than wrong ones ({plain(stick.wrong)}): correctness is not paid"
        found.append(Verdict(OWN_RIGHT, text, matters=True))
    said = [(one.trick.name, one.trick.says(one.earned, stick)) for one in tried if one.earned]
    return found + [Verdict(name, *one) for name, one in said if one]
