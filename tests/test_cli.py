"""The terminal: help at once, and for everything that can be wrong one sentence, the right exit code, no traceback."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from grpo import cli, commands
from grpo.config_file import pipelines, recipes
from grpo.errors import GrpoError, Interrupted
from tests.tiny import save_model

ROWS = [{"problem": f"{n} + {n} = ?", "answer": str(2 * n)} for n in range(1, 4)]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """An empty working directory with a data set and a configuration in it."""
    monkeypatch.chdir(tmp_path)
    Path("good.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    Path("mine.toml").write_text('[model]\nname = "builtin:tiny"\n[data]\nsource = "good.jsonl"\n')
    return tmp_path


@pytest.fixture
def grpo(monkeypatch, capsys):
    """Runs a command; returns (exit code, stdout, stderr)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["grpo", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        return end.value.code or 0, said.out, said.err

    return run


@pytest.fixture
def refusal(grpo):
    """The sentence on stderr with which a command ends, and nothing beside it."""

    def refusal(*arguments: object, code: int = 2) -> str:
        ended, _, err = grpo(*arguments)
        assert ended == code
        assert err.startswith("grpo: ") and err.endswith("\n") and err.count("\n") == 1
        return err.removeprefix("grpo: ").rstrip("\n")

    return refusal


@pytest.fixture(scope="module")
def plain_model(tmp_path_factory) -> Path:
    """Without a chat template, and with a context of 512 tokens."""
    return save_model(tmp_path_factory.mktemp("plain_model"))


# --- Help, usage, exit codes --------------------------------------------------------------------------------------


COMMANDS = (
    "train",
    "sft",
    "collect",
    "select",
    "distill",
    "pipeline",
    "eval",
    "compare",
    "export",
    "import",
    "rewards",
)


def test_help_waits_for_nothing_heavy():
    heavy = ("torch", "vllm", "transformers", "datasets", "sympy", "jinja2")
    code = f"import sys, grpo.cli; sys.argv = ['grpo', '--help']\ntry: grpo.cli.main()\nexcept SystemExit: pass\n" \
        f"print([name for name in {heavy} if name in sys.modules], file=sys.stderr)"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr.strip() == "[]"
    assert all(command in done.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", [*([name] for name in COMMANDS), ["rewards", "check"], ["rewards", "probe"], []])
def test_every_command_explains_itself(grpo, command):
    code, out, _ = grpo(*command, "--help")
    assert code == 0
    assert "Usage: grpo" in out


@pytest.mark.parametrize("command", ["train", "sft", "distill"])
def test_help_names_the_recipes(grpo, command):
    _, out, _ = grpo(command, "--help")
    assert set(recipes()) <= set(re.findall(r"[\w-]+", out))


@pytest.mark.parametrize(
    "arguments",
    [["nosuch"], ["train"], ["train", "gsm8k", "--resumee"], ["eval", "a", "b", "--n", "0"], ["compare", "one"]],
)
def test_wrong_usage_is_exit_2(grpo, arguments):
    code, _, err = grpo(*arguments)
    assert code == 2
    assert "Usage: grpo" in err and "Traceback" not in err


@pytest.mark.parametrize(
    ("error", "code"),
    [(GrpoError("it broke"), 1), (Interrupted("stopped by SIGTERM", exit_code=143), 143), (KeyboardInterrupt(), 130)],
)
def test_what_ends_a_command_is_its_exit_code(grpo, monkeypatch, error, code):
    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr(commands, "compare", broken)
    ended, _, err = grpo("compare", "a", "b")
    assert ended == code
    assert err == ("" if isinstance(error, KeyboardInterrupt) else f"grpo: {error}\n")


def test_a_bug_keeps_its_traceback(monkeypatch):
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(commands, "compare", broken)
    monkeypatch.setattr(sys, "argv", ["grpo", "compare", "a", "b"])
    with pytest.raises(ZeroDivisionError):
        cli.main()


@pytest.mark.parametrize("name", ["[red]no[/red]", "a\nb", "\x1b[31m", "名前", "a\u2028b", "{problem}", "%s"])
def test_any_name_can_be_said_in_a_refusal(refusal, name):
    said = refusal("train", name)
    assert said.startswith(cli._in_one_line(name))
    assert "\x1b" not in said


def test_a_name_that_is_no_text_can_be_said_in_a_refusal():
    """Bytes that are not UTF-8, as any file may be called, in a real terminal's encoding."""
    done = subprocess.run(
        [os.fsencode(sys.executable), b"-c", b"import grpo.cli; grpo.cli.main()", b"train", b"\xff"],
        capture_output=True,
        env={**os.environ, "PYTHONUTF8": "0", "LC_ALL": "C.UTF-8"},
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(b"grpo: \\udcff is neither a file nor a recipe")


# --- Settings and files -------------------------------------------------------------------------------------------


def test_an_unknown_setting_is_refused_with_the_nearest(refusal):
    said = refusal("train", "mine.toml", "--set", "objective.clip_hgh=0.3")
    assert (
        said == "--set objective.clip_hgh=0.3: objective.clip_hgh is not a setting; did you mean objective.clip_high?"
    )


def test_a_setting_of_the_wrong_type_is_refused(refusal):
    assert refusal("train", "mine.toml", "--set", "run.steps=many").startswith(
        "--set run.steps=many: run.steps = 'many'"
    )


def test_a_recipe_that_is_not_there_is_refused_with_those_there_are(refusal):
    assert refusal("train", "gsm9k") == "gsm9k is neither a file nor a recipe; did you mean gsm8k?"
    there = f"the shipped recipes are {', '.join(recipes())}, and for grpo pipeline {', '.join(pipelines())}"
    assert refusal("distill", "gsm8k").startswith("grpo distill: there is no teacher; name one with --teacher")
    assert refusal("sft", "no.toml") == f"no.toml: no such file; {there}"


def bad_data(name: str, text: str) -> str:
    Path(name).write_text(text)
    return name


@pytest.mark.parametrize("command", ["train", "eval", "check"])
@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        (
            "a.jsonl",
            '{"problem": "1", "answer": "1"}\n{"problem": \n',
            r"a.jsonl line 2: not JSON \(Expecting value at column 12\)",
        ),
        (
            "a.jsonl",
            '{"problem": "1", "answer": "1}\n',
            r"a.jsonl line 1: not JSON \(Unterminated string .* at column 28\)",
        ),
        ("a.jsonl", '\n{"problem": " ", "answer": "1"}\n', r"a.jsonl line 2: column 'problem' is empty; complete or"),
        (
            "a.jsonl",
            '{"problem": "\\ud83d", "answer": "1"}\n',
            r"a.jsonl line 1: column 'problem' has half of a surrog",
        ),
        ("a.jsonl", "", r"a.jsonl: has no rows"),
        ("a.jsonl", '{"problem": 3, "answer": "1"}\n', r"a.jsonl line 1: column 'problem' is neither text nor"),
        ("a.parquet", "PAR", r"a.parquet: not a Parquet file"),
    ],
)
def test_data_that_cannot_be_used_is_refused_with_its_place(refusal, command, name, text, sentence):
    bad_data(name, text)
    arguments = {
        "train": ["train", "mine.toml", "--data", name],
        "eval": ["eval", "builtin:tiny", name],
        "check": ["rewards", "check", "math", name],
    }
    assert re.search(sentence, refusal(*arguments[command]))


@pytest.mark.parametrize("arguments", [("train", "mine.toml", "--data"), ("eval", "builtin:tiny")])
def test_data_without_answers_cannot_be_learned_or_measured_with_math(refusal, arguments):
    sentence = refusal(*arguments, bad_data("a.csv", "problem,solved\n1,2\n"))
    assert "a.csv: no column looks like the answer (columns: problem, solved)" in sentence
    sentence = refusal(*arguments, bad_data("a.jsonl", '{"problem": "1", "answer": ""}\n'))
    assert 'a.jsonl line 1: no answer in column "answer" (the first of 1 such, of 1 problems)' in sentence


def test_data_without_answers_has_nothing_to_check_a_reward_on(refusal):
    for name, text, columns in (
        ("a.csv", "problem,solved\n1,2\n", "problem, solved"),
        ("a.jsonl", '{"problem": "1", "answer": ""}\n', "problem, answer"),
    ):
        sentence = refusal("rewards", "check", "math", bad_data(name, text))
        assert f"{name}: no problem has a gold answer or a reference solution to try math on" in sentence
        assert f"(columns: {columns})" in sentence


def test_a_data_file_that_is_not_there_is_named(refusal):
    assert "no.jsonl" in refusal("train", "mine.toml", "--data", "no.jsonl")


def test_a_named_column_that_is_not_there_is_refused_with_those_there_are(refusal):
    said = refusal("train", "mine.toml", "--set", "data.answer=gold")
    assert said == 'data.answer = "gold": good.jsonl has columns problem, answer'


def test_a_reward_that_is_not_there_is_refused(refusal):
    assert refusal("train", "mine.toml", "--reward", "maths").startswith("reward 'maths': is not built in or installed")
    assert "no.py" in refusal("rewards", "check", "no.py:f", "good.jsonl")


def test_a_refused_run_does_not_stand_in_the_way_of_the_next(refusal):
    for _ in range(2):
        assert "maths" in refusal("train", "mine.toml", "--reward", "maths")


# --- Models -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        ("config.json", "has no config.json, so it is no model"),
        ("model.safetensors", "has no weights; expected model.safetensors"),
        ("tokenizer*", "has no tokenizer (no tokenizer.json, which holds the vocabulary); copy tokenizer.json"),
    ],
)
def test_a_model_directory_that_lacks_something_is_told_what(refusal, plain_model, missing, sentence):
    shutil.copytree(plain_model, "model")
    for path in Path("model").glob(missing):
        path.unlink()
    assert refusal("eval", "./model", "good.jsonl").startswith(f"./model: {sentence}")


def test_a_model_that_is_nowhere_is_refused(refusal):
    assert refusal("eval", "./nowhere", "good.jsonl").startswith("./nowhere: no such directory")
    assert refusal("collect", "good.jsonl", "good.jsonl").startswith("good.jsonl: is a file; give a directory")
    assert refusal("eval", "no/where", "good.jsonl").startswith("model no/where: is not (or not whole)")
    assert refusal("train", "mine.toml", "--model", "builtin:big").endswith(
        'no such built-in model; there is "builtin:tiny", "builtin:tiny-third"'
    )


def test_a_model_without_a_chat_template_cannot_be_asked_by_one(refusal, plain_model):
    assert "its tokenizer has no chat template" in refusal("eval", plain_model, "good.jsonl")


def test_a_prompt_longer_than_the_context_is_refused_with_both_lengths(refusal, plain_model):
    bad_data("long.jsonl", json.dumps({"problem": "x" * 600, "answer": "1"}))
    said = refusal("eval", plain_model, "long.jsonl", "--set", "data.chat=false")
    assert said.startswith("problem long/0: its prompt of 600 tokens")
    assert "the model's context of 512 tokens" in said


def test_a_limit_that_was_asked_for_and_does_not_fit_is_refused(refusal, plain_model):
    said = refusal("eval", plain_model, "good.jsonl", "--set", "data.chat=false", "--max-tokens", 510)
    assert "max_tokens = 510 do not fit into the model's context of 512 tokens" in said


# --- Collections --------------------------------------------------------------------------------------------------


def test_a_collection_from_start_to_end_and_again(grpo, plain_model):
    small = ("--n", 2, "--max-tokens", 4, "--set", "data.chat=false", "--set", "sampling.backend=transformers")
    code, out, err = grpo("collect", plain_model, "good.jsonl", "--out", "collected", *small)
    assert (code, err) == (0, "")
    assert "problems: 3 from good.jsonl, 2 times each" in out and "sampler: transformers" in out
    assert "collected: 6 completions of 3 problems, " in out and "table: collected/completions.parquet" in out
    assert grpo("collect", "--resume", "--out", "collected")[0] == 0, "the folder's own settings are the recipe"
    code, _, err = grpo("collect", "--resume", "--out", "collected", "--temperature", 0.5)
    assert code == 2 and "sampling.temperature: 1.0 in the run, 0.5 given" in err


def test_a_collection_takes_its_settings_from_a_recipe_and_the_flags_over_it(monkeypatch, grpo):
    seen = []
    monkeypatch.setattr(
        "grpo.collect.collect", lambda config, out, *, resume, elapsed: seen.append((config, out, resume))
    )
    Path("mine.toml").write_text(
        '[model]\nname = "of/recipe"\n[data]\nsource = "a.jsonl"\nanswer = "gold"\n[optim]\nlr = 1e-5\n'
        '[sampling]\nmax_tokens = 9\n[[reward]]\nuse = "length"\n'
    )
    flags = ("--n", 1, "--seed", 3, "--temperature", 0.6, "--set", "data.limit=5")
    assert grpo("collect", "--recipe", "mine.toml", *flags)[0] == 0
    assert grpo("collect", "my/model", "good.jsonl", "--recipe", "mine.toml", "--reward", "math", "--out", "x")[0] == 0
    (of_recipe, out, _), (named, where, resume) = seen
    assert (of_recipe.model.name, of_recipe.data.source, out) == ("of/recipe", "a.jsonl", Path("runs/collect"))
    assert of_recipe.data.answer == "gold" and of_recipe.data.limit == 5 and of_recipe.reward[0].use == "length"
    sampling = of_recipe.sampling
    assert (sampling.group_size, sampling.temperature, sampling.max_tokens, of_recipe.run.seed) == (1, 0.6, 9, 3)
    assert (named.model.name, named.data.source, where, resume) == ("my/model", "good.jsonl", Path("x"), False)
    assert named.data.answer is None, "what was said of the recipe's data is not said of other data"
    assert named.reward[0].use == "math" and (named.sampling.group_size, named.sampling.problems_per_step) == (8, 128)


def test_what_a_collection_lacks_is_said(refusal):
    needs = "grpo collect: needs MODEL and DATA, or a --recipe that names them"
    assert refusal("collect") == refusal("collect", "builtin:tiny") == needs
    said = refusal("collect", "--resume", "--out", "nowhere")
    assert said == "nowhere: holds no collection to resume; leave out --resume to start one"
    said = refusal("collect", "--recipe", "mine.toml", "--set", "eval.n=4")
    assert said == "--set eval.n=4: eval is not read here; the groups that are: model, data, sampling, reward, run"


# --- Evaluation ---------------------------------------------------------------------------------------------------


def test_eval_with_another_number_of_arguments_says_how_it_is_called(refusal):
    assert refusal("eval", "one").startswith("grpo eval: takes 2 arguments here (1 given); grpo eval MODEL DATA")
    said = refusal("eval", "a", "b", "--completions", "c.jsonl")
    assert said == "grpo eval: takes 1 argument here (2 given); grpo eval --completions FILE DATA"


@pytest.mark.parametrize(
    ("k", "sentence"),
    [
        ("one", '--k one: must be numbers with commas between, such as "1,4,8"'),
        ("1,9", "--k 1,9: must be between 1 and --n 8; sample more with --n 9"),
        ("0", "--k 0: must be at least 1"),
    ],
)
def test_numbers_of_samples_that_cannot_be_are_refused(refusal, k, sentence):
    assert refusal("eval", "builtin:tiny", "good.jsonl", "--n", 8, "--k", k) == sentence


def test_a_column_to_break_down_by_that_is_not_there_is_refused(refusal):
    bad_data("c.jsonl", '{"id": 0, "completion": "2"}')
    said = refusal("eval", "--completions", "c.jsonl", "good.jsonl", "--by", "levl")
    assert said == "--by levl: there is no such column; there are problem, answer"


def test_a_place_for_results_that_cannot_be_written_is_refused_before_the_work(refusal):
    said = refusal("eval", "./nowhere", "good.jsonl", "--out", "good.jsonl", code=1)
    assert said == "good.jsonl: results cannot be written (File exists); choose another place with --out"


def test_results_that_are_not_there_cannot_be_compared(refusal):
    assert refusal("compare", "a", "b").startswith("a: cannot be read (No such file or directory)")


# --- Fine-tuning --------------------------------------------------------------------------------------------------


def test_fine_tuning_without_steps_or_examples_is_refused(refusal):
    said = refusal("sft", "mine.toml")
    assert said == "sft.steps = 0: nothing to do; set it, or the epochs, as in --set sft.epochs=2"
    assert "sft.source is not set" in refusal("sft", "mine.toml", "--set", "sft.steps=1")


def test_steps_and_epochs_of_fine_tuning_are_not_both_set(refusal):
    said = refusal("sft", "mine.toml", "--data", "good.jsonl", "--set", "sft.steps=1", "--set", "sft.epochs=2")
    assert said.endswith(
        "sft.steps = 1 and sft.epochs = 2 say the same thing twice; leave sft.epochs out, or set sft.steps = 0"
    )


def test_fine_tuning_into_a_folder_that_holds_a_run_is_refused(refusal):
    Path("there").mkdir()
    Path("there", "metrics.jsonl").write_text('{"step": 1}\n')
    said = refusal("sft", "mine.toml", "--data", "good.jsonl", "--set", "sft.steps=1", "--out", "there")
    assert said == "there: already holds a run; continue it with --resume, or choose another folder with --out"


def test_worked_examples_without_the_text_to_write_are_refused(refusal):
    said = refusal("sft", "mine.toml", "--data", "good.jsonl", "--set", "sft.steps=1")
    assert 'no column "solution"' in said
