"""Distillation from a teacher's completions as three stages: collect from the teacher, select, fine-tune the student;
and where problems are held out a fourth, which asks the teacher those.

DeepSeek-R1's own way to its small models (arXiv 2501.12948, section 2.4), and sequence-level knowledge distillation
(1606.07947).  Only text goes from one to the other, so the two may have different tokenizers.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from grpo import assemble, distillation
from grpo.config import Config
from grpo.config_file import apply_changes, read_tree, with_flags
from grpo.errors import ConfigError
from grpo.pipeline.plan import Stage, make_plan
from grpo.pipeline.records import RECORD
from grpo.problems import load_problems
from grpo.run.checkpoints import write_whole
from grpo.run.report import write_report

STUDENT, HELD_OUT = "student", "teacher-held-out"
EPOCHS = 2  # over what was selected, where the recipe says nothing: R1's distillations took 2 to 3


def load_traces(
    recipe: str, changes: Sequence[str] = (), *, data: str | None = None, rewards: Sequence[str] = ()
) -> tuple[Stage, ...] | None:
    """The stages of `grpo distill`, from its recipe and flags; None: distill.mode is another."""
    path, tree = read_tree(recipe)
    apply_changes(with_flags(tree, data=data, rewards=rewards), changes)
    return stages_of(tree, place=path.name) if tree.get("distill", {}).get("mode") == "traces" else None


def stages_of(tree: Mapping[str, Any], *, place: str) -> tuple[Stage, ...]:
    """The three stages from the settings of `grpo distill`: [model] is the student's, [distill] names the teacher,
    [sampling] is how it is asked, [select] what is kept, [sft] how the student learns from that."""
    distill = tree.get("distill", {})
    if not distill.get("teacher"):
        raise ConfigError(f"{place}: there is no teacher; name one with --teacher, or in distill.teacher")
    common = {group: table for group, table in tree.items() if group not in ("distill", "select", "sft")}
    teacher = {"name": distill["teacher"], **_kept(distill, "revision")}
    shown = tree.get("sft", {})
    length = {} if "steps" in shown or "epochs" in shown else {"epochs": EPOCHS}
    held_out = [{"name": HELD_OUT, "command": "eval", "model": teacher}] if tree.get("eval", {}).get("source") else []
    return make_plan(
        {
            **common,
            "stage": [
                {"name": "teacher", "command": "collect", "model": teacher},
                {
                    "name": "selection",
                    "command": "select",
                    "select": {**tree.get("select", {}), "source": [{"use": "@teacher"}]},
                },
                {"name": STUDENT, "command": "sft", "sft": {**length, **shown, "source": "@selection"}},
                *held_out,
            ],
        },
        place=place,
    )


def conclude(stages: Sequence[Stage], out: Path, say: Callable[[str], None]) -> None:
    """Say what the student kept of its teacher, as `grpo.distillation` does, and put it into the student's folder and
    page.  Where nothing is held out there is nothing to say."""
    by_name = {stage.name: stage for stage in stages}
    if HELD_OUT not in by_name:
        return
    student, asked = (out / by_name[name].folder for name in (STUDENT, HELD_OUT))
    # Each time anew: a stage may have been redone since.
    write_whole(student / "eval" / distillation.TEACHER, partial(_copy, asked))
    config = Config.model_validate(by_name[STUDENT].settings)
    of_eval = assemble.held_out(config.data, config.eval)
    distillation.conclude(student / "eval", load_problems(of_eval, needs=()) if of_eval else [], say)
    write_report(student)


def _copy(evaluation: Path, folder: Path) -> None:
    shutil.copytree(evaluation, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(RECORD))


def _kept(table: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: table[name] for name in names if name in table}
