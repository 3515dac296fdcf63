"""Random texts for the checker, shared by the bounded test and the long run (`scripts/fuzz`)."""

from __future__ import annotations

import random
from collections.abc import Iterator

from rewards.math_answer import math, verify, verify_answer
from tests.rewards.pairs import DIFFERENT, EQUAL

ANSWERS = sorted({text for pair in EQUAL + DIFFERENT for text in pair})
_ASCII = r"""
\frac \sqrt { } ( ) [ ] \{ \} ^ _ + - * / = < > \le \ne \cup \cap \setminus | ! ' % & \\ , ; : . $ 1 2 0 10 3.5 1e9
x y n e \pi \infty \sin \log \ln \sum_{k=1}^{n} \int_0^1 dx \lim_{x\to0} \begin{pmatrix} \end{pmatrix} \begin{cases}
\end{cases} \text{ \text{and} or and \pm \mp \circ ^\circ cm apples \boxed{ \binom \lfloor \rfloor \overline \dot \left
\right mod gcd max \angle ABC f( 1/2 (1,2) [0,1) \{1,2\} \emptyset \mathbb{R} \in x>3 10^{10} ^{9^9} !! 100! \theta a_1
a_n 12:30 pm 25\% \$5 answer is The: #### <think> </think> <answer> </answer>
"""
TOKENS = [*_ASCII.split(), "\n", "°", "½", "√", "∞", "²", "−", "“", "五", "٥", "\u200b", "\x00"]


def texts(count: int, seed: int) -> Iterator[tuple[str, str]]:
    """Pairs of texts: strings of tokens, and answers with a few changes."""
    source = random.Random(seed)
    for _ in range(count):
        one = _text(source)
        yield one, one + source.choice(["", " ", "."]) if source.random() < 0.1 else _text(source)


def _text(source: random.Random) -> str:
    if source.random() < 0.5:
        return "".join(source.choice(TOKENS) + source.choice(["", " "]) for _ in range(source.randint(1, 25)))
    pieces = list(source.choice(ANSWERS))
    for _ in range(source.randint(1, 4)):
        at = source.randrange(len(pieces) + 1)
        way = source.random()
        if way < 0.4 and at < len(pieces):
            del pieces[at]
        elif way < 0.8:
            pieces.insert(at, source.choice(TOKENS))
        elif at < len(pieces):
            pieces[at] = source.choice(ANSWERS)
    return "".join(pieces)


def judge_all_ways(one: str, other: str) -> float:
    """Seconds of the slowest verdict."""
    verdicts = [
        verify_answer(one, other, "eval"),
        verify_answer(other, one, "train"),
        verify("5", f"{one}\n{other}", "eval"),
        verify("5", f"{one}\n{other}", "train"),
    ]
    math(other, {"answer": one})
    return max(verdict.ms for verdict in verdicts) / 1000
