"""What TRL calls a step → ours: rounds of sampling, the updates of each, and how long a run is.

A step there is an optimizer update; here it is a round of sampling, which is learned from in
`optim.updates_per_step` × `optim.num_iterations` updates.  What counts updates there is divided by these.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from grpo.errors import ConfigError
from grpo.importing.theirs import Left, Made, Setting, Theirs, epochs_as_steps, warmup


@dataclass(frozen=True, slots=True)
class Shape:
    """A round of sampling: its problems, and the updates that learn from it in one pass."""

    problems: int
    updates: int
    iterations: int
    arithmetic: str
    cut: str = ""  # what did not divide

    def rounds(self, updates: float) -> int:
        return max(1, math.ceil(updates / (self.updates * self.iterations)))


def shape(theirs: Theirs) -> Shape:
    """TRL samples generation_batch_size completions at once and makes an update of every
    gradient_accumulation_steps × per_device_train_batch_size × processes of them."""
    device, accumulated = theirs.count("per_device_train_batch_size"), theirs.count("gradient_accumulation_steps")
    group, iterations = theirs.count("num_generations"), theirs.count("num_iterations")
    per_round, sampled = theirs["steps_per_generation"], theirs["generation_batch_size"]
    if per_round is not None and sampled is not None:  # a dump, which tells the number of processes
        processes = theirs.count("generation_batch_size") // (device * theirs.count("steps_per_generation")) or 1
    else:
        processes = _processes(theirs)
    if per_round is None:
        per_round = (
            accumulated if sampled is None else max(1, theirs.count("generation_batch_size") // (device * processes))
        )
    else:
        per_round = theirs.count("steps_per_generation")
    per_step = max(per_round, accumulated)  # an update that waits for several rounds: they are one here
    completions, made = device * processes * per_step, f"{device} × {processes} × {per_step}"
    if completions % group:
        raise ConfigError(
            f"{made} completions are sampled at once, no multiple of num_generations = {group}; TRL refuses it "
            "too: give the right number of --processes"
        )
    problems, updates = completions // group, max(1, per_round // accumulated)
    cut = (
        f"{per_round} / {accumulated} is no whole number of updates" if per_round % accumulated and updates > 1 else ""
    )
    if updates > problems:
        updates, cut = problems, f"{updates} updates would split groups, which are whole in an update here"
    return Shape(problems, updates, iterations, f"{made} completions / {group} in a group", cut)


def _processes(theirs: Theirs) -> int:
    if theirs["num_processes"] is not None:
        return theirs.count("num_processes")
    return 8 if theirs.word("accelerate_config") in _PRESETS else 1


_PRESETS = ("single_gpu", "multi_gpu", "fsdp1", "fsdp2", "zero1", "zero2", "zero3")  # trl/accelerate_configs/*.yaml: 8
_SIZES = ("per_device_train_batch_size", "gradient_accumulation_steps", "steps_per_generation", "generation_batch_size")


def batches(theirs: Theirs) -> Iterator[Made]:
    this = shape(theirs)
    of = tuple(name for name in (*_SIZES, "num_processes") if theirs[name] is not None)
    if theirs["num_processes"] is None and theirs.word("accelerate_config") in _PRESETS:
        of = (*of, "accelerate_config")
    note = this.arithmetic
    if theirs["num_processes"] is None and theirs["generation_batch_size"] is None:
        note += f"; on {_processes(theirs)} process{'es' * (_processes(theirs) > 1)}: --processes says otherwise"
    yield Setting("sampling.group_size", theirs.count("num_generations"), ("num_generations",))
    yield Setting("sampling.problems_per_step", this.problems, of, note)
    yield Setting("optim.updates_per_step", this.updates, of[:3])
    yield Setting("optim.num_iterations", this.iterations, ("num_iterations",))
    if this.cut:
        yield theirs.left("gradient_accumulation_steps", this.cut)


def length(theirs: Theirs) -> Iterator[Made]:
    this, in_rounds = shape(theirs), "updates; in rounds of sampling here"
    if (updates := theirs.whole("max_steps")) > 0:
        whole: Setting | Left = Setting("run.steps", this.rounds(updates), ("max_steps",), in_rounds)
    else:
        whole = epochs_as_steps(theirs, "num_train_epochs", this.problems)
    yield whole
    name = "warmup_ratio" if theirs["warmup_ratio"] else "warmup_steps"
    value = theirs.number(name)
    if name == "warmup_steps" and value >= 1:
        yield Setting("optim.warmup_steps", this.rounds(value), (name,), in_rounds)
    elif value:
        yield warmup(theirs, name, whole)
