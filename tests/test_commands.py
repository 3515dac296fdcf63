"""`grpo eval`, `compare` and `rewards check` from their arguments to what they print and leave behind."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from grpo import commands, commands_eval
from grpo.commands_eval import EvalOptions
from grpo.config import EvalConfig
from grpo.config_file import validate
from grpo.errors import ConfigError, DataError
from grpo.problems.files import read_file

ROWS = [{"id": n, "problem": f"{n} + {n} = ?", "answer": str(2 * n), "level": n % 2} for n in range(1, 5)]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows("data.jsonl", *ROWS)
    return tmp_path


@pytest.fixture(scope="module")
def data_sets() -> Path:
    place = Path(os.environ.get("GRPO_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not place.is_dir():
        pytest.skip(f"no data sets in {place} (GRPO_DATA names another place)")
    return place


def rows(name: str, *content: dict[str, Any]) -> str:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in content))
    return name


def options(**given: Any) -> EvalOptions:
    unset = dict.fromkeys(("limit", "temperature", "max_tokens", "by", "recipe", "completions", "out"))
    return EvalOptions(**{"n": 1, "k": "", "top_p": 1.0, "seed": 0, "rewards": [], "changes": [], **unset, **given})


def score(*completions: dict[str, Any], data: str = "data.jsonl", **given: Any) -> dict[str, Any]:
    """results.json of these completions."""
    given = {"out": Path("out"), **given}
    commands.evaluate([data], options(completions=Path(rows("completions.jsonl", *completions)), **given))
    return json.loads((given["out"] / "results.json").read_text())


# --- Completions made elsewhere -----------------------------------------------------------------------------------


def test_completions_are_found_by_the_datas_own_id():
    results = score(*({"id": row["id"], "completion": rf"\boxed{{{row['answer']}}}"} for row in ROWS))
    assert results["pass@1"]["mean"] == 1.0
    assert set(results["pass@1"]) == {"mean", "low", "high"}


def test_completions_are_found_by_the_rows_number_where_the_data_has_no_ids():
    rows("plain.jsonl", *({"problem": row["problem"], "answer": row["answer"]} for row in ROWS))
    answers = [{"id": n, "completion": rf"\boxed{{{row['answer']}}}"} for n, row in enumerate(ROWS)]
    assert score(*answers, data="plain.jsonl")["pass@1"]["mean"] == 1.0


def test_numbers_of_rows_and_ids_are_never_mixed():
    # 0 to 3 are the rows' numbers; 1, 2 and 3 are ids too, and would be another row's.
    answers = [{"id": n, "completion": rf"\boxed{{{row['answer']}}}"} for n, row in enumerate(ROWS)]
    assert score(*answers)["pass@1"]["mean"] == 1.0


@pytest.mark.parametrize("name", ["task_id", "unique_id", "problem_id"])
def test_an_id_may_have_the_names_that_data_sets_give_it(name):
    rows("named.jsonl", *({name: f"T/{row['id']}", "problem": row["problem"], "answer": row["answer"]} for row in ROWS))
    answers = [{name: f"T/{row['id']}", "completion": rf"\boxed{{{row['answer']}}}"} for row in ROWS]
    assert score(*answers, data="named.jsonl")["pass@1"]["mean"] == 1.0


def test_the_samples_of_an_evaluation_can_be_scored_again():
    score(*({"id": row["id"], "completion": r"\boxed{4}"} for row in ROWS))
    again = options(completions=Path("out/samples.jsonl"), out=Path("again"))
    commands.evaluate(["data.jsonl"], again)
    first, second = (json.loads(Path(name, "results.json").read_text()) for name in ("out", "again"))
    assert second["solved"] == first["solved"] == {"1": 0.0, "2": 1.0, "3": 0.0, "4": 0.0}


def test_several_rows_of_one_id_are_its_samples(capsys):
    answers = [{"id": row["id"], "completion": rf"\boxed{{{n}}}"} for row in ROWS for n in (2, 4, 4, 9)]
    results = score(*answers, k="1,2,4")
    assert results["solved"] == {"1": 0.25, "2": 0.5, "3": 0.0, "4": 0.0}
    assert results["pass@4"]["mean"] == 0.5
    assert results["maj@4"]["mean"] == 0.25  # 4 has two votes of four, and is right for problem 2
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines()[1:8]] == [
        "pass@1", "pass@2", "maj@2", "pass@4", "maj@4", "unparseable", "pass@1",
    ]  # fmt: skip


def test_a_limit_leaves_the_first_problems_and_is_said_and_written_down(capsys):
    answers = [{"id": row["id"], "completion": rf"\boxed{{{row['answer']}}}"} for row in ROWS]
    results = score(*answers, limit=2)
    assert (list(results["solved"]), results["missing"], results["recipe"]["limit"]) == (["1", "2"], 0, 2)
    assert "limited to the first 2 problems of data.jsonl" in capsys.readouterr().out
    assert score(*answers)["recipe"]["limit"] is None
    assert "limited" not in capsys.readouterr().out
    assert settings("m", "d", limit=7).data.limit == 7  # where they are sampled the others are not even loaded


def test_a_limit_forgives_no_completion_for_a_problem_that_is_not_there():
    with pytest.raises(DataError, match="1 of 2 ids of completions name no problem of the data, '77' first"):
        score({"id": 77, "completion": "2"}, {"id": 1, "completion": "2"}, limit=1)


def test_a_limited_evaluation_is_told_from_a_whole_one(capsys):
    answers = [{"id": row["id"], "completion": "2"} for row in ROWS]
    score(*answers, out=Path("whole"))
    score(*answers, out=Path("part"), limit=1)
    commands.compare("whole", "part")
    assert "warning: made differently, data.limit: None and 1" in capsys.readouterr().out


def test_a_problem_without_a_completion_counts_as_wrong_and_is_said(capsys):
    results = score({"id": 1, "completion": r"\boxed{2}"})
    assert (results["pass@1"]["mean"], results["missing"], results["problems"]) == (0.25, 3, 4)
    assert "3 problems without a completion, counted as wrong" in capsys.readouterr().out


def test_a_completion_for_no_problem_is_refused():
    with pytest.raises(DataError, match="1 of 2 ids of completions name no problem of the data, '77' first"):
        score({"id": 77, "completion": "2"}, {"id": 1, "completion": "2"})


@pytest.mark.parametrize("row", [{"completion": "2"}, {"id": 1}, {"id": 1, "completion": 2}, {"id": 1, "text": "2"}])
def test_a_row_that_is_no_completion_is_refused_with_its_number(row):
    with pytest.raises(DataError, match=r"completions.jsonl line 2: must have `id` and `completion` \(text\); it has"):
        score({"id": 1, "completion": "2"}, row)


def test_a_completion_that_is_no_text_is_shown():
    with pytest.raises(DataError, match=r"it has .*'completion': \['2'\]"):
        score({"id": 1, "completion": ["2"]})


def test_a_reward_that_needs_no_answer_scores_data_without_one():
    rows("tasks.jsonl", {"task_id": "T/0", "prompt": "def f():"}, {"task_id": "T/1", "prompt": "def g():"})
    Path("mine.py").write_text("def short(completion, problem):\n    return float(len(completion) < 5)\n")
    answers = [{"task_id": "T/0", "completion": "pass"}, {"task_id": "T/1", "completion": "return None"}]
    results = score(*answers, data="tasks.jsonl", rewards=["mine.py:short"])
    assert results["solved"] == {"T/0": 1.0, "T/1": 0.0}


def test_real_data_sets_are_scored_by_file_name(data_sets):
    given = read_file(data_sets / "math" / "math500.jsonl")[:40]
    rows("math500.jsonl", *given)
    answers = [{"id": row["unique_id"], "completion": rf"So \boxed{{{row['answer']}}}."} for row in given]
    results = score(*answers, data="math500.jsonl")
    assert results["pass@1"]["mean"] > 0.9
    assert set(results["breakdown"]) >= {"subject", "level"}


def test_humaneval_is_named_by_task_id(data_sets):
    path = data_sets / "code" / "HumanEval.jsonl.gz"
    tasks = read_file(path)
    Path("mine.py").write_text('def returns(completion, problem):\n    return float("return" in completion)\n')
    answers = [{"task_id": task["task_id"], "completion": task["canonical_solution"]} for task in tasks]
    results = score(*answers, data=str(path), rewards=["mine.py:returns"])
    assert (results["problems"], results["missing"]) == (164, 0)
    assert results["pass@1"]["mean"] > 0.9


# --- A model ------------------------------------------------------------------------------------------------------

ON_TRANSFORMERS = ["sampling.backend=transformers", "run.reward_workers=1"]


def test_a_model_is_evaluated_with_the_complete_recipe_beside_the_result(tiny_model):
    given = options(n=2, k="1,2", max_tokens=8, seed=3, changes=ON_TRANSFORMERS, out=Path("out"), by=["level"])
    commands.evaluate([str(tiny_model), "data.jsonl"], given)
    results = json.loads(Path("out/results.json").read_text())
    recipe = results["recipe"]
    assert {"pass@1", "pass@2", "maj@2", "truncated", "unparseable"} <= set(results)
    assert (recipe["n"], recipe["k"], recipe["temperature"], recipe["top_p"]) == (2, [1, 2], 0.8, 1.0)
    assert (recipe["max_tokens"], recipe["seed"], recipe["by"]) == (8, 3, ["level"])
    assert recipe["sampler"].startswith("transformers ")
    assert recipe["config"]["model"]["name"] == str(tiny_model)
    assert recipe["config"]["reward"][0]["use"] == "math"
    assert len(Path("out/samples.jsonl").read_text().splitlines()) == 8


def test_the_same_evaluation_twice_is_the_same_and_a_limit_nobody_set_fits_the_context(tiny_model):
    given = {"temperature": 1.0, "changes": [*ON_TRANSFORMERS, "data.limit=2"]}
    for name in ("one", "two"):
        commands.evaluate([str(tiny_model), "data.jsonl"], options(out=Path(name), **given))
    assert Path("one/samples.jsonl").read_bytes() == Path("two/samples.jsonl").read_bytes()
    recipe = json.loads(Path("one/results.json").read_text())["recipe"]
    assert recipe["max_tokens"] < 256  # the model's context


def test_problems_without_an_answer_are_left_out_and_said(tiny_model, capsys):
    rows("holes.jsonl", *ROWS, {"id": 9, "problem": "?", "answer": ""})
    given = options(max_tokens=4, changes=ON_TRANSFORMERS, out=Path("out"))
    commands.evaluate([str(tiny_model), "holes.jsonl"], given)
    assert "1 of 5 problems (9) have no answer and are left out" in capsys.readouterr().out
    assert json.loads(Path("out/results.json").read_text())["problems"] == 4


# --- What a recipe means for an evaluation --------------------------------------------------------------------------


@pytest.fixture
def recipe() -> str:
    Path("mine.toml").write_text("""
[model]
name = "m"
[data]
source = "train.jsonl"
problem = "q"
answer = "a"
limit = 2
split = "train"
template = "Solve {problem}"
[sampling]
max_tokens = 77
[[reward]]
use = "layout"
[eval]
source = "held_out.jsonl"
subset = "main"
split = "validation"
limit = 3
""")
    return "mine.toml"


def settings(model: str, data: str, **given: Any) -> EvalConfig:
    """What `grpo eval MODEL DATA` takes these options to mean."""
    return validate(commands_eval._eval_tree([model, data], options(**given), EvalConfig), place="x", kind=EvalConfig)


def asked(recipe: str, data: str, **given: Any) -> EvalConfig:
    return settings("model", data, recipe=recipe, **given)


def test_a_recipe_says_how_to_ask_and_to_score(recipe):
    config = asked(recipe, "other.jsonl")
    assert (config.model.name, config.data.source, config.data.template) == ("model", "other.jsonl", "Solve {problem}")
    assert [reward.use for reward in config.reward] == ["layout"]
    assert config.sampling.max_tokens == 77


def test_training_rows_are_not_what_an_evaluation_means(recipe):
    config = asked(recipe, "held_out.jsonl")
    assert (config.data.split, config.data.subset, config.data.limit) == ("validation", "main", None)
    config = asked(recipe, "other.jsonl")
    assert (config.data.split, config.data.subset, config.data.limit) == ("test", None, None)


def test_columns_of_the_training_data_hold_for_that_data_only(recipe):
    assert asked(recipe, "train.jsonl").data.problem == "q"
    assert asked(recipe, "other.jsonl").data.problem is None


def test_without_a_recipe_an_evaluation_asks_test_rows_and_leaves_room_to_reason():
    config = settings("m", "d")
    assert (config.data.split, config.sampling.max_tokens) == ("test", 2048)
    assert [reward.use for reward in config.reward] == ["math"]


@pytest.mark.parametrize("changed", ["eval.n=3", "run.seed=3", "sampling.temperature=0.5"])
def test_what_an_evaluation_has_flags_for_is_not_changed_by_settings(changed):
    with pytest.raises(ConfigError, match=rf"^--set {changed}: grpo eval has flags for this: --n, --temperature"):
        settings("m", "d", changes=[changed])


def test_settings_that_a_command_does_not_read_are_refused(recipe):
    with pytest.raises(ConfigError, match=r"^x: optim is not read here; the groups that are: "):
        asked(recipe, "x.jsonl", changes=["optim.lr=1e-6"])
    with pytest.raises(ConfigError, match=r"^--set sampling.max_tokens=3: sampling is not read here; the groups"):
        score({"id": 1, "completion": "2"}, changes=["sampling.max_tokens=3"])


def test_completions_made_elsewhere_are_judged_by_a_recipe_without_its_model(recipe):
    results = score({"id": 1, "completion": "2"}, recipe=recipe)
    assert set(results["recipe"]["config"]) == {"data", "reward", "run"}
    assert results["recipe"]["config"]["data"]["template"] == "Solve {problem}"
    assert [reward["use"] for reward in results["recipe"]["config"]["reward"]] == ["layout"]


def test_options_and_changes_come_after_the_recipe(recipe):
    config = asked(recipe, "x.jsonl", max_tokens=5, rewards=["math"], changes=["data.split=dev"])
    assert (config.sampling.max_tokens, config.reward[0].use, config.data.split) == (5, "math", "dev")


@pytest.mark.parametrize(("n", "temperature", "used"), [(1, None, 0.0), (8, None, 0.8), (8, 0.3, 0.3), (1, 1.0, 1.0)])
def test_one_sample_is_greedy_and_several_are_not_by_default(n, temperature, used):
    assert settings("m", "d", n=n, temperature=temperature).eval.temperature == used


def test_a_column_that_is_not_there_is_refused_before_any_model_is_opened():
    with pytest.raises(DataError, match=r"^--by nope: there is no such column; there are id, problem, answer, level"):
        commands.evaluate(["no/such-model", "data.jsonl"], options(by=["nope"]))


def test_several_greedy_samples_are_refused_for_being_one():
    with pytest.raises(ConfigError, match=r"^--n 4 with --temperature 0: is 4 times the same"):
        commands.evaluate(["builtin:tiny", "data.jsonl"], options(n=4, temperature=0.0))


@pytest.mark.parametrize("name", ["😀 model", 'quo"te', "back\\slash", "\x7f"])
def test_a_model_and_data_may_have_any_name(name):
    config = settings(name, name + ".jsonl")
    assert (config.model.name, config.data.source) == (name, name + ".jsonl")


# --- Where results go ---------------------------------------------------------------------------------------------


def test_models_that_differ_have_results_in_different_places():
    names = ["Qwen/Qwen2.5-0.5B", "Qwen/Qwen2.5-1.5B", "runs/a/checkpoints/best", "runs/b/checkpoints/best"]
    assert len({commands_eval._slug(name) for name in names}) == 4
    assert commands_eval._slug("Qwen/Qwen2.5-0.5B") == "Qwen-Qwen2.5-0.5B"


def test_earlier_results_are_not_overwritten_unless_their_place_is_named():
    given = rows("c.jsonl", {"id": 1, "completion": "2"})
    for _ in range(3):
        commands.evaluate(["data.jsonl"], options(completions=Path(given)))
    assert {path.name for path in Path("runs/eval").iterdir()} == {
        "c.jsonl-data.jsonl", "c.jsonl-data.jsonl-2", "c.jsonl-data.jsonl-3",
    }  # fmt: skip


# --- Compare and check --------------------------------------------------------------------------------------------


def test_two_results_stand_side_by_side_with_a_paired_test(capsys):
    score(*({"id": row["id"], "completion": r"\boxed{2}"} for row in ROWS), out=Path("a"))
    score(*({"id": row["id"], "completion": rf"\boxed{{{row['answer']}}}"} for row in ROWS), out=Path("b"))
    capsys.readouterr()
    commands.compare("a", "b/results.json")
    out = capsys.readouterr().out
    assert "pass@1          25.0%   100.0%" in out
    assert "B - A on 4 problems: +75.0%" in out
    assert "better on 3, worse on 0, p = 0.2" in out  # 2 of 8 sign flips: 0.25, estimated


def test_results_on_other_data_are_not_compared():
    rows("other.jsonl", {"id": "z", "problem": "?", "answer": "1"})
    score({"id": 1, "completion": "2"}, out=Path("a"))
    score({"id": "z", "completion": "2"}, data="other.jsonl", out=Path("b"))
    with pytest.raises(DataError, match="a and b have no problem in common"):
        commands.compare("a", "b")


def test_problems_that_only_one_of_two_results_has_are_said(capsys):
    rows("less.jsonl", *ROWS[:3])
    score({"id": 1, "completion": "2"}, out=Path("a"))
    score({"id": 1, "completion": "2"}, data="less.jsonl", out=Path("b"))
    commands.compare("a", "b")
    assert "1 problem in one of the two only, left out of the test" in capsys.readouterr().out


def test_golds_that_a_reward_rejects_are_printed(capsys):
    Path("mine.py").write_text(
        'def no_fours(completion, problem):\n    return float("4" not in completion and completion != "")\n'
    )
    assert commands.check_rewards("mine.py:no_fours", "data.jsonl", []) == 1
    out = capsys.readouterr().out
    assert "2: '4'" in out
    assert "3 of 4 gold answers are accepted, 1 rejected" in out


def test_golds_that_are_all_accepted_are_exit_0(capsys):
    assert commands.check_rewards("math", "data.jsonl", []) == 0
    assert "4 of 4 gold answers are accepted, 0 rejected" in capsys.readouterr().out


def test_another_reward_takes_no_part_in_a_replay_unless_scores_alone_are_made_again():
    with pytest.raises(ConfigError, match=r"^--reward: a replay uses the run's own rewards; add --rescore"):
        commands.replay(Path("run"), 1, ["math"], rescore=False)


def test_a_flag_is_a_change_of_the_recipe():
    assert commands._named(model="a b") == ['model.name="a b"']
    assert commands._named(model=None) == []


def test_no_more_samples_can_be_asked_of_than_are_drawn():
    assert options(n=8, k="1, 4,8").ks(default=[8], most=8) == [1, 4, 8]
    assert options(n=8).ks(default=[8], most=8) == [8]
    with pytest.raises(ConfigError, match="must be between 1 and --n 8; sample more with --n 9"):
        options(n=8, k="9").ks(default=[8], most=8)


def test_results_that_were_scored_differently_are_compared_with_a_warning(tmp_path, capsys):
    (tmp_path / "mine.py").write_text("def never(completion, problem):\n    return 0.0\n")
    score({"id": 1, "completion": "\\boxed{2}"}, out=Path("a"))
    score({"id": 1, "completion": "\\boxed{2}"}, out=Path("b"), rewards=["mine.py:never"])
    score({"id": 1, "completion": "\\boxed{4}"}, out=Path("c"))
    capsys.readouterr()
    commands.compare("a", "b")
    assert "warning: made differently, reward: " in capsys.readouterr().out
    commands.compare("a", "c")
    assert "warning" not in capsys.readouterr().out
