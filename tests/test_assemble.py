"""Which problems a run keeps: what its rewards declare decides."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from grpo.assemble import (
    find_model,
    held_out,
    load_judgeable,
    needed_facts,
    open_model,
    prompts_for,
    worked_examples,
)
from grpo.config import Data, Eval, Model, Reward, Sft
from grpo.errors import ConfigError, DataError
from grpo.problems import load_problems
from grpo.scoring import declarations
from rewards import Declaration

RIGHT, WRONG = ("```python\ndef add(a, b):\n    return a" + end + "\n```" for end in (" + b", ""))
ADD = {"problem": "add", "entry": "add", "tests": [{"args": [1, 2], "returns": 3}]}


def write(path: Path, *rows: dict[str, object]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def kept(source: str, *uses: str) -> tuple[list[str], list[str]]:
    """The ids of the problems that are kept, and what was said of the others."""
    said: list[str] = []
    rewards = [Reward(use=use) for use in uses]
    problems = load_judgeable(Data(source=source), rewards, declarations(rewards), said.append)
    return [problem.id for problem in problems], said


def test_a_fact_that_several_rewards_need_is_needed_once() -> None:
    declared = [Declaration(needs=("answer", "unit")), Declaration(), Declaration(needs=("unit", "level"))]
    assert needed_facts(declared) == ("answer", "unit", "level")


def test_with_math_problems_without_an_answer_are_left_out_and_counted(tmp_path: Path) -> None:
    source = write(tmp_path / "d.jsonl", {"id": "a", "problem": "1", "answer": "1"}, {"id": "b", "problem": "2"})
    assert kept(source, "math") == (["a"], [f"{source}: 1 of 2 problems (b) have no answer and are left out"])


def test_with_code_problems_that_their_own_reference_fails_are_left_out_and_counted(tmp_path: Path) -> None:
    source = write(tmp_path / "d.jsonl", {"id": "a", **ADD, "answer": RIGHT}, {"id": "b", **ADD, "answer": WRONG})
    ids, [said] = kept(source, "code")
    assert ids == ["a"]
    assert said.startswith(
        f"{source}: 1 of 2 problems (b) have a gold answer that code rejects (b scores 0, others score 1: wrong_answer"
    )
    assert said.endswith(" and are left out")


def test_where_no_problem_remains_the_run_is_refused(tmp_path: Path) -> None:
    source = write(tmp_path / "d.jsonl", {"id": "b", **ADD, "answer": WRONG})
    with pytest.raises(
        DataError, match=r"all 1 problems have a gold answer that code rejects \(b scores 0, .*nothing re"
    ):
        kept(source, "code")


def test_a_reward_of_ones_own_is_heard_like_a_built_in(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from rewards import declare\n"
        "@declare(needs=('unit',), rejected_golds='drop')\n"
        "def f(completion, problem):\n    return float(problem['answer'] != 'x' and completion != '')\n"
    )
    rows = [{"id": id, "problem": "?", "answer": answer, "unit": unit} for id, answer, unit in ("a1m", "bxm", "c1 ")]
    rows[2]["unit"] = None
    source, use = write(tmp_path / "d.jsonl", *rows), f"{tmp_path}/mine.py:f"
    ids, [first, second] = kept(source, use)
    assert ids == ["a"]
    assert first == f"{source}: 1 of 3 problems (c) have no unit and are left out"
    assert second.startswith(f"{source}: 1 of 2 problems (b) have a gold answer that f rejects (b scores 0,")


@pytest.mark.parametrize(
    ("row", "use", "sentence"),
    [
        ({"problem": "1"}, "math", r"d.jsonl: .*columns"),
        ({"problem": "1", "answer": "2"}, "MINE", r'd.jsonl: no column "unit" \(columns: problem, answer'),
    ],
)
def test_a_source_without_what_a_reward_needs_is_refused_with_its_columns(
    tmp_path: Path, row: dict[str, object], use: str, sentence: str
) -> None:
    (tmp_path / "mine.py").write_text(
        "from rewards import declare\n@declare(needs=('unit',))\ndef f(completion, problem): return 1.0\n"
    )
    with pytest.raises(DataError, match=sentence):
        kept(write(tmp_path / "d.jsonl", row), f"{tmp_path}/mine.py:f" if use == "MINE" else use)


def test_a_reward_that_declares_nothing_keeps_every_problem(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def f(completion, problem): return 0.0\n")
    source = write(tmp_path / "d.jsonl", {"id": "a", "problem": "1", "answer": "1"}, {"id": "b", "problem": "2"})
    assert kept(source, f"{tmp_path}/mine.py:f") == (["a", "b"], [])


def test_the_built_in_model_is_made_once_whole_and_readable_as_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        files = find_model(Model(name="builtin:tiny"), tmp_path / "runs" / "made", seed=0)
    finally:
        os.umask(before)
    weights = tmp_path / "runs" / "made" / "model.safetensors"
    assert weights.stat().st_mode & 0o777 == 0o644
    made = weights.stat().st_mtime_ns
    assert find_model(Model(name="builtin:tiny"), tmp_path / "runs" / "made", seed=1).name == files.name
    assert weights.stat().st_mtime_ns == made
    assert [path.name for path in weights.parent.parent.iterdir()] == ["made"]


def test_training_evaluation_and_worked_examples_tell_the_chat_template_the_same(
    tmp_path: Path, tiny_model: Path
) -> None:
    source = write(tmp_path / "d.jsonl", {"problem": "1+1", "answer": "2", "solution": "2"})
    files = open_model(str(tiny_model))
    files.tokenizer.chat_template += "{% if enable_thinking is false %}<think></think>{% endif %}"
    data = Data(source=source, chat_template_kwargs={"enable_thinking": False})
    asked = (data, held_out(data, Eval(source=source)), worked_examples(data, Sft(source=source)))
    read = []
    for one in asked:
        assert one is not None
        [prompt] = prompts_for(load_problems(one, needs=()), files, one, max_tokens=4)
        read.append(files.tokenizer.decode(list(prompt.token_ids)))
    assert len(set(read)) == 1 and read[0].endswith("<think></think>")
    wrong = data.model_copy(update={"chat_template_kwargs": {"thinking": False}})
    with pytest.raises(ConfigError, match=r"does not read thinking \(it reads enable_thinking\)"):
        prompts_for(load_problems(wrong, needs=()), files, wrong, max_tokens=4)
