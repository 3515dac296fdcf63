"""Whole runs with a teacher on a CPU: what they leave behind, that they go on bit for bit, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

from grpo.config import Config
from grpo.errors import ConfigError, ModelError
from grpo.learning import same_tokens
from grpo.learning.loading import load_tokenizer
from grpo.learning.tiny_model import make_tiny_model
from grpo.train import train
from tests import runs
from tests.test_train import assert_same_run, die

MODES = ["on_policy", "full"]


def make_wide_model(folder: Path) -> None:
    """The tiny model's tokenizer, and a model of another width, with rows that only pad its embedding."""
    make_tiny_model(folder, seed=1)
    small = Qwen2Config.from_pretrained(folder)
    settings = {**small.to_dict(), "hidden_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2}
    torch.manual_seed(1)
    Qwen2ForCausalLM(Qwen2Config(**{**settings, "vocab_size": small.vocab_size + 7})).save_pretrained(folder)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    make_wide_model(folder)
    return folder


def settings(folder: Path, model: Path, teacher: Path, mode: str, **changes: dict[str, Any]) -> Config:
    """Six steps in which no reward counts."""
    runs.write_inputs(folder)
    reward = [{"use": f"{folder / 'reward.py'}:digits", "weight": 0.0}]
    distill = {"teacher": str(teacher), "mode": mode}
    return runs.settings(folder, model, distill=distill, reward=reward, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=MODES)
def whole(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, teacher: Path
) -> tuple[Config, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    config = settings(folder, tiny_model, teacher, request.param)
    train(config, folder / "run")
    return config, folder / "run"


def steps_of(path: Path) -> list[dict[str, Any]]:
    return [row for row in runs.rows(path / "metrics.jsonl") if "solved" in row]


def test_a_run_without_any_reward_learns_from_every_group(whole: tuple[Config, Path]) -> None:
    config, path = whole
    steps = steps_of(path)
    assert len(steps) == 6 and all(row["policy/updates"] == 2 and row["groups/useful"] == 1 for row in steps)
    told = {"distill/kl", "distill/kl_p95", "distill/kl_far", "distill/kl_tenth_1", "distill/kl_tenth_8"}
    assert all(told <= row.keys() for row in steps)
    assert all(row["sync/logprob_gap"] < 1e-4 for row in steps)
    if config.distill.is_full:  # of single tokens six steps of a hundred are too few to tell
        assert steps[-1]["distill/kl"] < 0.9 * steps[0]["distill/kl"]


def test_a_run_leaves_what_teacher_and_student_solved_and_what_was_kept(whole: tuple[Config, Path]) -> None:
    _, path = whole
    assert {p.name for p in (path / "eval").iterdir()} == {
        "teacher",
        "before",
        "step-2",
        "step-4",
        "after",
        "distill.json",
    }
    tree = json.loads((path / "eval" / "distill.json").read_text())
    assert tree["problems"] == 4 and tree["kept"] is None  # this reward is never 1, and so nobody solves anything
    recorded = json.loads((path / "eval" / "teacher" / "results.json").read_text())["recipe"]
    assert recorded["model"] == recorded["config"]["distill"]["teacher"]
    page = (path / "report.html").read_text()
    assert "What was kept of the teacher" in page and "Behind, by tenth of the answer" in page


def test_six_steps_equal_some_steps_a_kill_and_the_rest(whole: tuple[Config, Path], tmp_path: Path) -> None:
    config, uninterrupted = whole
    where = "checkpoint@6" if config.distill.is_full else "update@5"
    die(config, tmp_path / "run", where)
    at_first = (tmp_path / "run" / "eval" / "teacher" / "results.json").stat().st_mtime_ns
    train(config, tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", uninterrupted)
    again = (tmp_path / "run" / "eval" / "teacher" / "results.json").stat().st_mtime_ns
    assert again == at_first, "the teacher is sampled once"


def test_another_teacher_or_mode_is_another_run(whole: tuple[Config, Path], tiny_model: Path) -> None:
    config, path = whole
    for change, sentence in (
        ({"teacher": str(tiny_model)}, r"distill\.teacher"),
        ({"revision": "x"}, r"distill\.revision"),
    ):
        with pytest.raises(Exception, match=sentence):
            train(config.with_changes(distill=change), path, resume=True)


# --- Refused ------------------------------------------------------------------------------------------------------


def test_a_teacher_with_a_permuted_vocabulary_is_refused_before_anything_is_sampled(
    tmp_path: Path, tiny_model: Path, teacher: Path
) -> None:
    """Of the very same size: two tokens have changed places."""
    other = tmp_path / "other"
    shutil.copytree(teacher, other)
    for name in ("tokenizer.json", "vocab.json"):
        if (other / name).is_file():
            tree = json.loads((other / name).read_text())
            vocabulary = tree["model"]["vocab"] if "model" in tree else tree
            vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
            (other / name).write_text(json.dumps(tree))
    config = settings(tmp_path, tiny_model, other, "on_policy")
    with pytest.raises(
        ModelError, match=r"2 tokens of .* are not the same; 'a' is token .* distill\.mode = \"traces\""
    ):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run" / "eval").exists()


def test_tokenizers_of_one_vocabulary_that_cut_texts_differently_are_told_apart(teacher: Path) -> None:
    one, other = load_tokenizer(str(teacher), None), load_tokenizer(str(teacher), None)
    assert same_tokens.difference(one, other) == ""
    from tokenizers import normalizers

    other.backend_tokenizer.normalizer = normalizers.Lowercase()
    assert one.get_vocab() == other.get_vocab()
    assert "in the student's" in same_tokens.difference(one, other)


def test_about_a_hundred_texts_are_compared() -> None:
    assert len(same_tokens.TEXTS) == len(set(same_tokens.TEXTS)) and 80 <= len(same_tokens.TEXTS) <= 120


def test_a_teacher_with_another_chat_template_or_end_is_said(
    tmp_path: Path, tiny_model: Path, teacher: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    shutil.copytree(teacher, other)
    tokenizer = AutoTokenizer.from_pretrained(other)
    tokenizer.chat_template = "Q: {{ messages[-1]['content'] }}{% if add_generation_prompt %} A: {% endif %}"
    tokenizer.eos_token = "<|endoftext|>"
    tokenizer.save_pretrained(other)
    train(settings(tmp_path, tiny_model, other, "on_policy"), tmp_path / "run", dry_run=True)
    said = capsys.readouterr().out
    assert "its own chat template would ask otherwise" in said
    assert "ends its answers with <|endoftext|>" in said and "with <|im_end|>" in said
    assert "dry run" in said and "evaluation teacher" not in said


def test_a_teacher_without_room_for_the_prompts_is_refused(tmp_path: Path, tiny_model: Path, teacher: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(teacher, other)
    shape = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**shape, "max_position_embeddings": 12}))
    with pytest.raises(ModelError, match="more than the teacher's context of 12"):
        train(settings(tmp_path, tiny_model, other, "on_policy"), tmp_path / "run")


def test_a_teacher_that_is_not_there_is_refused(tmp_path: Path, tiny_model: Path) -> None:
    with pytest.raises((ModelError, ConfigError), match="nowhere"):
        train(settings(tmp_path, tiny_model, tmp_path / "nowhere", "on_policy"), tmp_path / "run")
