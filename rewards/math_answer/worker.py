"""A process that judges: lines of JSON in, lines of JSON out.  Started, timed and killed by `batch`."""

from __future__ import annotations

import json
import resource
import sys
from dataclasses import astuple

from rewards.math_answer.verdict import verify, verify_answer

MEMORY = 1 << 30  # bytes of address space


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for line in sys.stdin:
        gold, text, form, policy = json.loads(line)
        judge = verify_answer if form == "answer" else verify
        sys.stdout.write(json.dumps(astuple(judge(gold, text, policy))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
