"""Where problems come from, and how a model reads them.

    source ──sources──▶ rows ──columns──▶ problems ──prompts──▶ prompts    order, curriculum: which of them comes next
                           └─conversations─▶ examples, to be shown to a model

`code_sets` steps in between where the rows are programming tasks with tests.
A source may be anything that has rows: a generated task, a file, a directory, a data set on the Hub.  Which columns
hold the problem and the gold answer is guessed from names that well-known sets use, and can be said in `[data]`.
No row is ever dropped and no prompt cut: what cannot be used is refused, with its place and what to do.
"""

from __future__ import annotations

from collections.abc import Sequence

from grpo.config import Data
from grpo.problems import code_sets
from grpo.problems.columns import is_unicode, to_problems
from grpo.problems.conversations import Example, to_conversations, to_examples
from grpo.problems.curriculum import SolveRates, draw_by_difficulty
from grpo.problems.order import draw
from grpo.problems.prompts import render_prompts
from grpo.problems.sources import read_rows, stem
from grpo.types import Problem

__all__ = [
    "Example",
    "SolveRates",
    "draw",
    "draw_by_difficulty",
    "is_unicode",
    "load_conversations",
    "load_problems",
    "render_prompts",
    "to_examples",
]


def load_problems(data: Data, *, needs: Sequence[str] = ("answer",)) -> list[Problem]:
    """All problems of `data`, in the order of the source.

    `needs` names the facts that every problem must have: "answer" for a reward with a gold answer, the target's
    column for fine-tuning, nothing for rewards that look elsewhere (tests of a program, say).
    """
    rows = code_sets.prepare(read_rows(data), data.source)
    return to_problems(rows, data, stem=stem(data.source), needs=needs)


def load_conversations(data: Data) -> list[Problem]:
    """All conversations of `data`, each a problem whose last message is the assistant's, in the order of the source."""
    return to_conversations(code_sets.prepare(read_rows(data), data.source), data, stem=stem(data.source))
