"""A small pipeline of real commands, all in this process: each with a tiny model, and over in a step or two."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from grpo import cli
from grpo.pipeline.plan import make_plan
from grpo.pipeline.runner import run_pipeline
from tests.runs import write_inputs
from tests.stages import FakeCommands
from tests.tiny import save_model

CHAT = """{% for message in messages %}{{ message['role'][0] }}:{{ message['content'] }}
{% endfor %}{% if add_generation_prompt %}a:{% endif %}"""


class InThisProcess(FakeCommands):
    """What `Forwarding` does, without the seconds that a process takes to start."""

    def run(self, arguments, note):
        self.lines.append(" ".join(arguments))
        result = CliRunner().invoke(cli.app, list(arguments), catch_exceptions=False)
        return result.exit_code


def test_a_pipeline_of_real_commands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_model(Path("tiny"))
    Path("tiny/chat_template.jinja").write_text(CHAT)
    write_inputs(Path("."))
    Path("worked.jsonl").write_text('{"problem": "1+2", "solution": "3"}\n{"problem": "2+3", "solution": "5"}\n')
    tree = {
        "model": {"name": "tiny"},
        "data": {"source": "problems.jsonl"},
        "sampling": {"backend": "transformers", "problems_per_step": 2, "group_size": 2, "max_tokens": 4},
        "reward": [{"use": "reward.py:digits"}],
        "eval": {"source": "problems.jsonl", "limit": 3},
        "run": {"steps": 1, "reward_workers": 1, "preflight": "report"},
        "stage": [
            {"name": "cold-start", "command": "sft", "sft": {"source": "worked.jsonl", "steps": 1, "batch_size": 2}},
            {"name": "rl", "command": "train", "model": {"name": "@cold-start"}},
            {"name": "drawn", "command": "collect", "model": {"name": "@rl"}, "data": {"source": "problems.jsonl"}},
            {
                "name": "chosen",
                "command": "select",
                "select": {"source": [{"use": "@drawn"}], "min_reward": 0.0, "max_similarity": 1.0},
            },
            {"name": "mix", "command": "sft", "model": {"name": "@base"}, "sft": {"source": "@chosen", "steps": 1}},
            {"name": "check", "command": "eval", "model": {"name": "@mix"}},
        ],
    }
    stages, said = make_plan(tree, place="p.toml"), []
    run_pipeline(stages, Path("out"), said.append, open_commands=InThisProcess())
    records = {stage.name: json.loads(Path("out", stage.folder, "stage.json").read_text()) for stage in stages}
    weights = {name: record["start"].get("weights") for name, record in records.items()}
    assert weights["mix"] == weights["cold-start"] != weights["rl"]
    assert records["drawn"]["figures"]["samples"] == 24  # 12 problems, 2 completions each
    assert 0 < records["chosen"]["figures"]["kept"] <= 24
    after, check = (
        json.loads(Path("out", place, "results.json").read_text()) for place in ("5-mix/eval/after", "6-check")
    )
    assert after["solved"] == check["solved"]
    again = InThisProcess()
    run_pipeline(stages, Path("out"), said.append, open_commands=again)
    assert again.lines == []
