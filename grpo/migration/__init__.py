"""Other trainers' names for our settings: TRL, verl, OpenRLHF and prime-rl, as they are in 2026.

One table for whoever arrives with their words.  `grpo.config_file` answers an unknown setting from it, `grpo.importing`
explains with it what it cannot carry over, and the tables of docs/coming-from-….md are made of it.  A row is: the
trainer's name, ours (None where there is no counterpart), and what differs in meaning, unit or default, "" where
nothing does.  "(a → b)" are defaults, theirs and ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from grpo.migration.notes import Rows
from grpo.migration.openrlhf import OPENRLHF
from grpo.migration.prime_rl import PRIME_RL
from grpo.migration.trl import TRL
from grpo.migration.verl import VERL


class Foreign(NamedTuple):
    """Example: `Foreign("TRL", "beta", "objective.kl_coef", "")`."""

    trainer: str
    name: str
    ours: str | None
    note: str


TRAINERS: Mapping[str, Rows] = {"TRL": TRL, "verl": VERL, "OpenRLHF": OPENRLHF, "prime-rl": PRIME_RL}


def rows() -> Iterator[Foreign]:
    for trainer, table in TRAINERS.items():
        for name, (ours, note) in table.items():
            yield Foreign(trainer, name, ours, note)


def look_up(path: Sequence[str]) -> list[Foreign]:
    """What `path`, an unknown setting such as ("grpo", "beta"), was meant to name: rows of different settings of ours,
    one where it is sure.

    Whoever writes another trainer's name may put a group of ours or any other before it, or leave out groups of its
    own ("rollout.n"), so the longest part that is found counts.  A last word like "name" or "type" alone is no part.
    """
    names = [name.lstrip("+-").replace("-", "_") for name in path]  # Hydra's + and the dashes of a command line
    for start in range(len(names)):
        tail = names[start:]
        whole = [row for row in rows() if row.name == ".".join(tail)]
        ends = [row for row in rows() if row.name.split(".")[-len(tail) :] == tail]
        found = whole or (ends if len(tail) > 1 or "_" in tail[0] else [])
        if found:
            return list({row.ours: row for row in reversed(found)}.values())
    return []


def advice(path: Sequence[str]) -> str:
    """The rest of "… is not a setting", for who writes another trainer's name; "" where it is nobody's."""
    found = look_up(path)
    same = [row for row in found if row.ours and row.ours.rpartition(".")[2] == path[-1]]
    if same:
        return f"; did you mean {same[0].ours}?"
    return "".join(f"; {_in_words(row)}" for row in found)


def _in_words(row: Foreign) -> str:
    note = _DEFAULTS.sub("", row.note)  # whoever sets a value does not ask for the default
    what = f"is {row.ours} here" if row.ours else "has no counterpart here"
    return f"{row.trainer}'s {row.name} {what}" + (f": {note}" if note else "")


_DEFAULTS = re.compile(r"\s*\([^()]*→[^()]*\)")
