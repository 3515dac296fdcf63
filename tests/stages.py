"""Commands of a pipeline that take no time: each writes what its command would, as a function of the bytes it reads."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from grpo.pipeline.plan import Stage, make_plan, texts
from grpo.pipeline.records import files_of


class Killed(BaseException):
    """As if by `kill -9`: nobody may catch it."""


class FakeCommands:
    """Runs commands by writing their files.  `dies` is the number of writes after which the process is killed: the
    files are left as they are then.  `lines` are the command lines, `code` what every command ends with."""

    def __init__(self, *, dies: int | None = None, code: int = 0) -> None:
        self.received: Any = None
        self.lines: list[str] = []
        self._left, self._code = dies, code

    def __call__(self) -> FakeCommands:
        return self

    def __enter__(self) -> FakeCommands:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        pass

    def run(self, arguments: Sequence[str], note: Path) -> int:
        self.lines.append(" ".join(arguments))
        if self._code:
            return self._code
        command = arguments[0]
        out = Path(arguments[-1] if command == "export" else arguments[arguments.index("--out") + 1])
        if command in ("sft", "train", "distill"):
            self._train(Path(arguments[1]), out, resumes="--resume" in arguments)
        elif command == "export":
            self._write(out / "config.json", "{}")
            self._write(out / "model.safetensors", _sum_of(Path(arguments[1])))
        else:
            made_from = _inputs(Path(arguments[arguments.index("--recipe") + 1]))
            {"collect": self._collect, "select": self._select, "eval": self._eval}[command](out, made_from)
        return 0

    def _train(self, toml: Path, out: Path, *, resumes: bool) -> None:
        """Two steps, each from the one before."""
        assert resumes or not (out / "config.toml").exists(), f"{out} already holds a run"
        made_from = _inputs(toml)
        self._write(out / "config.toml", toml.read_text())
        for step in (1, 2):
            checkpoint = out / f"checkpoints/step-{step}"
            before = _sum_of(out / "checkpoints/step-1") if step == 2 else ""
            if not checkpoint.exists():
                weights = hashlib.sha256(f"{made_from}{before}".encode()).hexdigest()
                self._write(out / "checkpoints/.writing/model.safetensors", weights)
                self._tick()
                (out / "checkpoints/.writing").rename(checkpoint)
        rows = [{"step": step, "tokens/sample": 10, "tokens/update": 20} for step in (1, 2)]
        self._write(out / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        for label, share in (("before", 0.25), ("after", 0.5)):
            self._write(out / f"eval/{label}/results.json", json.dumps(results(share)))

    def _collect(self, out: Path, made_from: str) -> None:
        import pyarrow as pa  # type: ignore[import-untyped]
        import pyarrow.parquet as pq  # type: ignore[import-untyped]

        self._write(out / "config.toml", "")
        self._tick()
        pq.write_table(pa.table({"completion": [made_from] * 3, "tokens": [1, 2, 3]}), out / "completions.parquet")

    def _select(self, file: Path, made_from: str) -> None:
        source = {"name": "c", "rows": 3, "dropped": {"wrong": 1, "too long": 0}, "kept": 2, "tokens": 5}
        card = {"file": {"rows": 2}, "unit": "tokens", "sources": [source]}
        self._write(file.with_name(f"{file.name}.json"), json.dumps(card))
        self._write(file, json.dumps({"messages": [], "source": made_from}) + "\n")

    def _eval(self, out: Path, made_from: str) -> None:
        self._write(out / "results.json", json.dumps({**results(0.75), "made from": made_from}))

    def _write(self, path: Path, text: str) -> None:
        self._tick()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def _tick(self) -> None:
        if self._left is not None:
            if self._left == 0:
                raise Killed
            self._left -= 1


def results(share: float, problems: int = 4) -> dict[str, Any]:
    """What an evaluation writes where `share` of the problems are solved."""
    solved = {f"p{number}": float(number < share * problems) for number in range(problems)}
    measure = {"mean": share, "low": max(0.0, share - 0.2), "high": min(1.0, share + 0.2)}
    return {"pass@1": measure, "solved": solved, "recipe": {"config": {"reward": [{"use": "math"}]}}}


def _inputs(toml: Path) -> str:
    """One sum over the texts among the settings, but for paths, and over every file that they name."""
    parts = []
    for key, text in texts(tomllib.loads(toml.read_text())):
        place = Path(text.partition(":")[0])
        parts.append(f"{key}={_sum_of(place) if place.exists() else text}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _sum_of(place: Path) -> str:
    whole = hashlib.sha256()
    for name, path in files_of(place).items():
        whole.update(name.encode() + path.read_bytes())
    return whole.hexdigest()


def r1(folder: Path, **common: Mapping[str, Any]) -> tuple[Stage, ...]:
    """The six stages of DeepSeek-R1, small: `folder` gets their data, a base and a reward that the collection uses."""
    for name in ("problems", "test", "traces"):
        (folder / f"{name}.jsonl").write_text(
            json.dumps({"problem": f"{name}?", "answer": "1", "solution": "1"}) + "\n"
        )
    (folder / "base").mkdir(exist_ok=True)
    (folder / "base/model.safetensors").write_text("base")
    (folder / "base/config.json").write_text("{}")
    (folder / "judge.py").write_text("def right(completion, problem):\n    return 1.0\n")
    tree = {
        "model": {"name": str(folder / "base")},
        "data": {"source": str(folder / "problems.jsonl")},
        "eval": {"source": str(folder / "test.jsonl")},
        **common,
        "stage": [
            {"name": "cold-start", "command": "sft", "sft": {"source": str(folder / "traces.jsonl"), "steps": 2}},
            {"name": "rl", "command": "train", "model": {"name": "@cold-start"}, "run": {"steps": 2}},
            {
                "name": "drawn",
                "command": "collect",
                "model": {"name": "@rl"},
                "reward": [{"use": f"{folder / 'judge.py'}:right"}],
            },
            {"name": "chosen", "command": "select", "select": {"source": [{"use": "@drawn"}]}},
            {"name": "mix", "command": "sft", "model": {"name": "@base"}, "sft": {"source": "@chosen", "steps": 2}},
            {"name": "check", "command": "eval", "model": {"name": "@mix"}},
        ],
    }
    return make_plan(tree, place="r1.toml")
