"""Runs the attacks of parts A to E at one level, tries the promises, and says, as lines of JSON, what each came to.

A script of its own so that it can be run as another user and with fewer capabilities than the tests have:
`python -m tests.sandbox.contain LEVEL ABI PYTHON`, where ABI is a number or "newest".
"""

from __future__ import annotations

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor

from rewards.sandbox import Sandbox
from rewards.sandbox.levels import Forced
from tests.sandbox import attacks_kernel, attacks_machine
from tests.sandbox.attacks import Attack
from tests.sandbox.host import Host, descendants
from tests.sandbox.promises import PROMISES

ATTACKS = [*attacks_machine.ATTACKS, *attacks_kernel.ATTACKS]


def contain(sandbox: Sandbox, host: Host, attack: Attack) -> tuple[str, list[str]]:
    """The verdict, and everything that is wrong: the goal reached, another reason, damage, a slot not clean."""
    oversize = attack.reasons == "source_too_large"
    ran = sandbox.run_stdin(attack.source if oversize else host.fill(attack.source), attack.stdin, attack.limits)
    reason = "wrong_answer" if ran.reason == "ok" else ran.reason
    wrong = []
    if b"PWNED" in ran.stdout or "PWNED" in ran.stderr:
        wrong.append("reached its goal")
    if attack.reasons and reason not in attack.reasons.split():
        wrong.append(f"ended with {reason}, not {attack.reasons}: {ran.stderr[-300:]}")
    if ran.rss > attack.limits.memory:
        wrong.append(f"took {ran.rss} bytes")
    clean = sandbox.run_stdin("import colorsys\nprint(colorsys.rgb_to_hsv(0, 0, 6 * 7)[2])", b"")
    if clean.stdout != b"42\n":
        wrong.append(f"the next program got {clean}")
    return reason, wrong + host.damage()


def main(level: str, abi: str, python: str) -> None:
    def say(**line: object) -> None:
        sys.stdout.write(json.dumps(line) + "\n")

    forced = Forced(level, None if abi == "newest" else int(abi), python)
    attacks = [attack for attack in ATTACKS if abi == "newest" or not attack.waits]  # time is not Landlock's affair
    with Host() as host, Sandbox(2, _forced=forced) as sandbox, ThreadPoolExecutor(1) as aside:
        waiting = [(attack, aside.submit(contain, sandbox, host, attack)) for attack in attacks if attack.waits]
        say(label="level", level=sandbox.level, abi=sandbox.grants.abi)
        results = [(attack, contain(sandbox, host, attack)) for attack in attacks if not attack.waits]
        results += [(attack, future.result()) for attack, future in waiting]
        for attack, (reason, wrong) in results:
            say(label=attack.label, reason=reason, wrong=wrong)
        keepers = sum(len(slot.keepers) for slot in sandbox._slots) * (2 if level == "L2" else 1)
        canary = 1
        say(label="processes", extra=len(descendants(os.getpid())) - keepers - canary)
    for promise in PROMISES if abi == "newest" else ():
        with Sandbox(1, _forced=forced) as sandbox:
            say(label=promise.__name__, wrong=promise(sandbox))
    say(label="left", processes=descendants(os.getpid()))


if __name__ == "__main__":
    main(*sys.argv[1:])
