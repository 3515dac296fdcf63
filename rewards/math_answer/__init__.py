r"""Is the answer in this text the gold answer?  A rule-based judge of mathematics, as a function and as a reward.

    >>> from rewards.math_answer import verify
    >>> verify(r"\frac{1}{2}", r"… so the answer is \boxed{0.5}.")
    Verdict(ok=True, reason='same number', stage='rational', extracted='0.5', ms=…)

The parts, in the order of the path: `extract` (where is the answer), `text` and `lexer` (one alphabet), `parser`,
`constructs`, `answers` (one grammar for LaTeX and plain text), `compare` (the ladder of equality) with `exact`,
`numeric`, `sampling`, `sets`, `forms` below it, `policy` (what is forgiven), `prover` (computer algebra in a process
that can be killed), `verify` (all of it), `audit` (over a file).  docs/verifier.md has the reasons and the figures.

No text ever reaches `eval`, `sympify` or `parse_expr`; sympy is imported in the prover's process only.
"""

from __future__ import annotations

from rewards.math_answer.reward import gold_problem, math
from rewards.math_answer.verify import Verdict, verify, verify_answer

__all__ = ["Verdict", "gold_problem", "math", "verify", "verify_answer"]
