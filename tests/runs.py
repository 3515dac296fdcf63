"""Small whole runs for tests: a tiny model, a few problems, a reward that any completion has some of."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from grpo.config import Config
from grpo.config_file import validate
from grpo.run import rollouts
from grpo.types import Problem, Prompt

REWARD = """
def digits(completion, problem):
    return sum(character.isdigit() for character in completion) / (len(completion) + 1)
"""


def write_inputs(folder: Path, problems: int = 12) -> None:
    rows = [{"id": f"p{i}", "problem": f"{i}+{i + 1}", "answer": str(2 * i + 1)} for i in range(problems)]
    (folder / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "reward.py").write_text(REWARD)


def settings(folder: Path, model: Path, /, **changes: dict[str, Any]) -> Config:
    """A run of 6 steps over `write_inputs`, sampled by transformers; `changes` by group."""
    tree: dict[str, Any] = {
        "model": {"name": str(model)},
        "data": {"source": str(folder / "problems.jsonl")},
        "sampling": {"backend": "transformers", "problems_per_step": 4, "group_size": 4, "max_tokens": 8},
        "reward": [{"use": f"{folder / 'reward.py'}:digits"}],
        "optim": {"lr": 1e-3, "updates_per_step": 2},
        "eval": {"source": str(folder / "problems.jsonl"), "limit": 4, "every": 2},
        "run": {"steps": 6, "save_every": 3, "reward_workers": 1, "preflight": "report"},
    }
    for group, values in changes.items():
        tree[group] = {**tree.get(group, {}), **values} if isinstance(values, dict) else values
    return validate(tree, place="test")


def prompt(name: str, token_ids: tuple[int, ...]) -> Prompt:
    return Prompt(Problem(name, ({"role": "user", "content": "?"},), {}), token_ids)


def rows(file: Path) -> list[dict[str, Any]]:
    """Of a .jsonl file, without what depends on the clock or on the process."""
    found = [json.loads(line) for line in file.read_text().splitlines()]
    return [{k: v for k, v in row.items() if not k.startswith(("time/", "speed/", "memory/"))} for row in found]


def completions(run: Path) -> list[dict[str, Any]]:
    """All of a run's, from rollouts/."""
    return [row for path in rollouts.files(run).values() for row in rollouts.read_step(path)]


def run_and_die(config_toml: str, out: str, where: str) -> None:
    """Train until `where`, and die there as by `kill -9`.  To be called in a process of its own."""
    import tomllib

    from grpo.engine.local import LocalEngine
    from grpo.train import train

    def die(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    place, _, step = where.partition("@")
    if place == "update":  # half of the step's updates are made, nothing is written yet
        original_update = LocalEngine.update
        original_publish = LocalEngine.publish
        published: list[int] = []

        def publish(self: LocalEngine, step: int) -> float:
            published.append(step)
            return original_publish(self, step)

        def update(self: LocalEngine, *arguments: Any) -> Any:
            result = original_update(self, *arguments)
            return die() if published[-1] == int(step) - 1 else result

        LocalEngine.update, LocalEngine.publish = update, publish  # type: ignore[method-assign]
    if place == "checkpoint":
        die_in_checkpoint(int(step), die)
    if place in ("rollouts", "samples"):
        die_between_files(place, int(step), die)
    train(validate(tomllib.loads(config_toml), place="test"), Path(out))


def die_in_checkpoint(step: int, die: Callable[[], None]) -> None:
    """When the model of the checkpoint of `step` is written, and the rest of it is not."""
    from grpo.run import checkpoints

    original_save = checkpoints.save

    def save(folder: Path, progress: Any, write_model: Any, **options: Any) -> Path:
        def write(target: Path) -> None:
            write_model(target)
            if progress.step == step:
                die()

        return original_save(folder, progress, write, **options)

    checkpoints.save = save


def die_between_files(name: str, step: int, die: Callable[[], None]) -> None:
    """When half of the step's file in rollouts/ is written, or all of it and half a row of samples.jsonl."""
    from grpo.run import rollouts
    from grpo.run.folder import RunFolder

    write_table, append = rollouts.pq.write_table, RunFolder.append_samples

    def write_half(table: Any, place: Path, **options: Any) -> None:
        write_table(table, place, **options)
        if table["step"][0].as_py() == step:
            os.truncate(place, place.stat().st_size // 2)
            die()

    def append_half(self: RunFolder, rows: Iterable[Mapping[str, Any]]) -> None:
        rows = list(rows)
        append(self, rows)
        if rows[0]["step"] == step:
            os.truncate(self.samples, self.samples.stat().st_size - 20)
            die()

    if name == "rollouts":
        rollouts.pq.write_table = write_half
    else:
        RunFolder.append_samples = append_half  # type: ignore[method-assign]


def tune_and_die(config_toml: str, out: str, where: str) -> None:
    """Fine-tune until `where`, and die there as by `kill -9`.  To be called in a process of its own."""
    import tomllib

    from grpo.run.folder import RunFolder
    from grpo.tune import tune

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    place, _, step = where.partition("@")
    if place == "row":  # half of the step's row of metrics is written

        def append(self: RunFolder, row: Mapping[str, Any]) -> None:
            if row["step"] == int(step):
                with self.metrics.open("ab") as file:
                    file.write(json.dumps(row).encode()[:40])
                die()
            original(self, row)

        original = RunFolder.append_metrics
        RunFolder.append_metrics = append  # type: ignore[method-assign]
    if place == "checkpoint":
        die_in_checkpoint(int(step), die)
    tune(validate(tomllib.loads(config_toml), place="test"), Path(out))


if __name__ == "__main__":
    {"train": run_and_die, "tune": tune_and_die}[sys.argv[4] if len(sys.argv) > 4 else "train"](*sys.argv[1:4])
