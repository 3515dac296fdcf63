"""A process that judges: lines of JSON in, lines of JSON out.  Started, timed and killed by `batch`."""

from __future__ import annotations

import json
import resource
import sys
from dataclasses import astuple

from rewards.math_answer.nodes import Node
from rewards.math_answer.prove import prover
from rewards.math_answer.verdict import verify, verify_answer

MEMORY = 1 << 30  # bytes of address space


WARMING = "warming"  # told to the parent, whose deadline is not for importing sympy


def _say(answer: object) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _prove(gold: Node, pred: Node) -> bool | None:
    if not prover.is_warm():
        _say(WARMING)
        prover.warm()
    return prover.prove(gold, pred)


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for line in sys.stdin:
        gold, text, form, policy = json.loads(line)
        judge = verify_answer if form == "answer" else verify
        _say(astuple(judge(gold, text, policy, _prove)))


if __name__ == "__main__":
    main()
