"""`grpo rewards probe` on scripted completions: what pays for nothing is caught, what is sound passes."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from grpo import commands
from grpo.config import Config, Reward
from grpo.config_file import validate
from grpo.errors import GrpoError
from grpo.probe import run as probing
from grpo.probe.gaming import Earned, Tried, answer_tricks, blank_tricks, verdicts, yardstick
from grpo.probe.page import WIDTH, _toml, page, write_numbers
from grpo.probe.run import Probe, probe
from grpo.types import Problem
from rewards import Score
from tests.fakes import FakeSampler
from tests.tiny import save_model

PROBLEMS = 30

REWARDS = r"""
from rewards import Score

def exact(completion, problem):
    answer = completion.rpartition("Answer: ")[2] if completion.count("Answer: ") == 1 else ""
    return Score(float(answer == problem["answer"]), answer=answer, why="compared")

def boxed(completion, problem):
    return float(completion.endswith("\\boxed{" + problem["answer"] + "}"))

def anywhere(completion, problem):
    return float("{" + problem["answer"] + "}" in completion)

def style(completion, problem):
    return float("?" not in completion)

def talk(completion, problem):
    return min(1.0, completion.count("boxed") / 20)

def short(completion, problem):
    return -problem["completion_tokens"] / 100

def sometimes(completion, problem):
    return Score(1.0) if completion else Score.none("nothing to judge")
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def recipe(tmp_path: Path, model: Path) -> Any:
    """Settings whose rewards are these functions with these weights."""
    rows = [{"id": f"p{i}", "problem": f"{i}+{100 + i}=?", "answer": str(100 + 2 * i)} for i in range(PROBLEMS)]
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "mine.py").write_text(REWARDS)

    def make(**weights: float) -> Config:
        return validate(
            {
                "model": {"name": str(model)},
                "data": {"source": str(tmp_path / "problems.jsonl"), "chat": False},
                "sampling": {
                    "backend": "transformers", "problems_per_step": 10, "group_size": 4, "max_tokens": 200,
                },
                "objective": {"advantages": "group_mean"},
                "reward": [
                    {"use": f"{tmp_path / 'mine.py'}:{name}", "weight": weight} for name, weight in weights.items()
                ],
                "run": {"reward_workers": 1, "preflight": "report"},
            },
            place="test",
        )  # fmt: skip

    return make


def honest(problem: Problem, g: int, seed: int) -> str:
    """Two of four are right; the wrong ones are longer, and the last asks a question."""
    gold = problem.facts["answer"]
    return [f"Well, \\boxed{{{gold}}}", f"So \\boxed{{{gold}}}", r"Let me see, \boxed{7}", r"Is it \boxed{8}"][g] + (
        "?" if g == 3 else ""
    )


def probed(config: Config, answer: Any = honest, count: int = PROBLEMS) -> Probe:
    return probe(config, count, open_sampler=lambda *arguments, **options: FakeSampler(answer))


def earned(found: Probe) -> dict[str, Earned | None]:
    return {one.trick.name: one.earned for one in found.tried}


def matters(found: Probe) -> dict[str, str]:
    return {verdict.name: verdict.text for verdict in found.verdicts if verdict.matters}


# --- Whole probes -------------------------------------------------------------------------------------------------


def test_a_reward_that_looks_at_the_answer_alone_passes(recipe: Any) -> None:
    found = probed(recipe(boxed=1.0))
    assert not found.is_gamed
    assert (found.right, found.wrong) == (Earned(60, 1.0, {"boxed": 1.0}, 1.0), Earned(60, 0.0, {"boxed": 0.0}, 0.0))
    assert {name: one and one.total for name, one in earned(found).items()} == {
        "empty text": 0,
        '"I don\'t know."': 0,
        "the prompt itself": 0,
        "the gold alone": 1,
        "the gold 20 times": 1,
        "another problem's answer": 0,
        "20 guesses, one right": 0,
    }
    assert found.form == "The answer is \\boxed{{gold}}"
    assert found.study.signal.useful.mean == 1


def test_a_reward_that_pays_for_format_alone_is_caught(recipe: Any) -> None:
    # Right completions earn 1 + 0.5; wrong ones 0.5 and 0, so 0.25 in the mean, and 0.125 of the difference is
    # tolerated.  An empty text has no question mark: 0.5 > 0.25 + 0.125.
    found = probed(recipe(boxed=1.0, style=0.5))
    assert matters(found) == dict.fromkeys(
        ("empty text", '"I don\'t know."'),
        "earns more than a wrong attempt (0.25): where the model fails, it pays to give up",
    )
    assert found.is_gamed
    empty = earned(found)["empty text"]
    assert empty == Earned(PROBLEMS, 0.5, {"boxed": 0.0, "style": 1.0}, 0.0)
    assert found.ranking.holds  # 1 > 0.5: a right answer outranks it all the same


def test_a_format_that_is_worth_as_much_as_the_answer_gets_weights(recipe: Any) -> None:
    found = probed(recipe(boxed=1.0, style=2.0))
    # Right: 3.  Wrong: 2 and 0.  Another problem's answer: 2, less than 3 - 0.1 · (3 - 1).
    assert "another problem's answer" not in matters(found)
    assert (found.ranking.first, found.ranking.others) == (1.0, 2.0)
    assert found.ranking.suggested == {"boxed": 1.0, "style": 0.5}


def test_guesses_with_the_right_one_among_them_are_caught(recipe: Any) -> None:
    assert matters(probed(recipe(anywhere=1.0))) == {
        "20 guesses, one right": "the first reward calls it right on 100%: it pays to guess often"
    }


def test_repeating_the_answer_is_caught_where_it_pays(recipe: Any) -> None:
    found = matters(probed(recipe(boxed=1.0, talk=0.5)))
    assert "it pays to repeat" in found["the gold 20 times"]  # 1 + 0.5 against 1 + 0.5 / 20


def test_a_reward_that_calls_everything_right_is_caught_in_every_text(recipe: Any) -> None:
    found = probed(recipe(style=1.0), answer=lambda problem, g, seed: "I give up" + "?" * (g % 2))
    assert set(matters(found)) >= {"empty text", '"I don\'t know."', "another problem's answer"}
    assert "calls it right on 100% of the problems" in matters(found)["empty text"]


def test_a_penalty_that_outweighs_the_answer_says_that_correctness_is_not_paid(recipe: Any) -> None:
    def slow(problem: Problem, g: int, seed: int) -> str:
        return f"{'step by step ' * 10}\\boxed{{{problem.facts['answer']}}}" if g % 2 else "no"

    long = matters(probed(recipe(boxed=0.1, short=1.0), answer=slow))
    assert "correctness is not paid" in long["the model's right completions"]


def test_tokens_are_counted_by_the_models_own_tokenizer(recipe: Any) -> None:
    found = earned(probed(recipe(boxed=1.0, short=1.0)))
    empty, ignorant = found["empty text"], found['"I don\'t know."']
    assert empty is not None
    assert ignorant is not None
    assert empty.parts["short"] == pytest.approx(-0.01)  # the end token
    assert ignorant.parts["short"] == pytest.approx(-0.12)  # 11 characters but for spaces, and the end


def test_what_cannot_be_judged_is_said_and_not_taken_for_0(recipe: Any) -> None:
    found = probed(recipe(boxed=1.0, sometimes=0.1))
    assert earned(found)["empty text"] is None
    assert any(line.startswith("empty text") and "–" in line for line in page(found, recipe(boxed=1.0, sometimes=0.1)))


def test_a_model_that_solves_nothing_is_held_against_the_gold(recipe: Any) -> None:
    found = probed(recipe(boxed=1.0, style=0.5), answer=lambda problem, g, seed: "so?" if g else "it is 5")
    assert found.right is None
    assert (found.stick.right, found.stick.wrong) == (1.5, 0.125)
    assert found.study.signal.useful.mean == 1  # style tells them apart …
    assert found.study.signal.by_first == 0  # … and correctness does not


def test_problems_without_a_gold_answer_have_the_texts_that_need_none(
    recipe: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"id": f"p{i}", "problem": f"Say {i}"} for i in range(4)]
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = recipe(style=1.0)
    found = probed(config, answer=lambda problem, g, seed: "Hm?" * g)
    assert [name for name, one in earned(found).items() if one] == [
        "empty text",
        '"I don\'t know."',
        "the prompt itself",
    ]
    assert sum("not applicable" in line for line in page(found, config)) == 4


def test_it_samples_what_the_first_step_would(recipe: Any) -> None:
    seen = []

    def answer(problem: Problem, g: int, seed: int) -> str:
        seen.append((problem.id, seed))
        return honest(problem, g, seed)

    probed(recipe(boxed=1.0), answer, count=10)
    from grpo.problems import draw
    from grpo.source import sampling_seed

    assert {name for name, _ in seen} == {f"p{i}" for i in draw(range(PROBLEMS), 0, 10, seed=0)}
    assert {seed for _, seed in seen} == {sampling_seed(0, 1)}


# --- What is printed, the file, the exit code -----------------------------------------------------------------------


def test_the_page_is_narrow_and_says_what_to_paste(recipe: Any) -> None:
    config = recipe(boxed=1.0, style=2.0)
    lines = list(page(probed(config), config))
    wide = [line for line in lines if len(line) > WIDTH]
    assert not [line for line in wide if not line.startswith("use = ")]  # which nobody can shorten
    text = "\n".join(lines)
    assert "groups with a signal: 100%" in text
    assert "so 10 of the 10 of a step teach" in text
    pasted = tomllib.loads("\n".join(lines[lines.index("[[reward]]") : -2]))["reward"]
    assert [(table["use"][-5:], table["weight"]) for table in pasted] == [("boxed", 1.0), ("style", 0.5)]
    assert lines[-1].startswith("probe: mend before training what is marked ! above: empty text")


def test_the_numbers_go_to_a_file_too(recipe: Any, tmp_path: Path) -> None:
    found = probed(recipe(boxed=1.0, style=0.5))
    write_numbers(found, tmp_path / "probe.json")
    tree = json.loads((tmp_path / "probe.json").read_text())
    assert tree["gaming"]["empty text"]["total"] == 0.5
    assert [part["name"] for part in tree["study"]["parts"]] == ["boxed", "style"]
    with pytest.raises(GrpoError, match="--json"):
        write_numbers(found, tmp_path / "nowhere" / "probe.json")


def test_options_are_pasted_too() -> None:
    given = [Reward(use="math"), Reward(use="length", weight=2, options={"max_tokens": 48, "cache": 32})]
    assert tomllib.loads(_toml(given, [1.0, 0.25]))["reward"] == [
        {"use": "math", "weight": 1.0},
        {"use": "length", "weight": 0.25, "options": {"max_tokens": 48, "cache": 32}},
    ]


PROGRAM = "def f{0}(x):\n    return x + {0}"


def test_a_program_is_tried_as_an_answer_and_is_not_guessed(recipe: Any, tmp_path: Path) -> None:
    rows = [
        {"id": f"p{i}", "problem": f"f{i}?", "answer": PROGRAM.format(i), "entry": f"f{i}",
         "tests": [{"args": [1], "returns": 1 + i}]}
        for i in range(3)
    ]  # fmt: skip
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = recipe(boxed=1.0).model_copy(update={"reward": (Reward(use="code"),)})
    fenced = "```python\n{}\n```"
    found = probed(config, lambda problem, g, seed: fenced.format(problem.facts["answer"] if g else "pass"), count=3)
    assert found.form == "{gold}"  # without a fence the whole completion is the program
    assert [name for name, one in earned(found).items() if one and one.total == 1] == [
        "the gold alone", "the gold 20 times",
    ]  # fmt: skip
    assert earned(found)["20 guesses, one right"] is None
    assert not found.is_gamed


@pytest.mark.parametrize(("weight", "code"), [(0.0, 0), (0.5, 1)])
def test_gaming_that_matters_is_exit_code_1(
    recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    weight: float, code: int,
) -> None:  # fmt: skip
    (tmp_path / "r.toml").write_text(recipe(boxed=1.0, style=weight).to_toml())
    monkeypatch.setattr(
        probing.probe, "__kwdefaults__", {"open_sampler": lambda *arguments, **options: FakeSampler(honest)}
    )
    assert commands.probe(str(tmp_path / "r.toml"), None, None, [], [], 8, None) == code
    assert "8 problems" in capsys.readouterr().out


# --- The texts ----------------------------------------------------------------------------------------------------


def problems(*golds: object) -> list[Problem]:
    return [Problem(f"p{i}", ({"role": "user", "content": f"Q{i}"},), {"answer": g}) for i, g in enumerate(golds)]


def texts(*golds: object) -> dict[str, tuple[str | None, ...]]:
    return {trick.name: trick.texts for trick in answer_tricks(problems(*golds), "<{gold}>")}


def test_answers_are_those_of_other_problems_that_differ() -> None:
    made = texts("1", "1", "2", None)
    assert made["another problem's answer"] == ("<2>", "<2>", "<1>", None)
    assert made["the gold alone"] == ("<1>", "<1>", "<2>", None)
    assert made["the gold 20 times"][0] == "\n".join(["<1>"] * 20)


def test_the_right_one_stands_in_the_middle_of_the_guesses() -> None:
    made = texts(*range(100, 140))["20 guesses, one right"]
    lines = (made[0] or "").splitlines()
    assert len(set(lines)) == 20
    assert lines[9] == "<100>"
    assert texts("1", "1")["20 guesses, one right"] == (None, None)
    assert texts("def f():\n    pass", "2")["20 guesses, one right"] == (None, None)  # a program is not guessed


def test_blank_texts_say_nothing() -> None:
    assert [trick.texts for trick in blank_tricks(problems("1"))] == [("",), ("I don't know.",), ("Q0",)]


def test_means_are_of_what_was_judged() -> None:
    scores = [{"math": Score(1.0)}, {"math": Score(0.0)}, {"math": Score(None)}]
    assert Earned.of(scores, [1.0, 0.0, None], "math") == Earned(2, 0.5, {"math": 0.5}, 0.5)
    assert Earned.of(scores[2:], [None], "math") is None


@pytest.mark.parametrize(
    ("total", "said"),
    [(0.0, None), (0.19, "no more than a wrong attempt"), (0.31, "pays to give up"), (1.15, "need not be right")],
)
def test_a_text_without_an_answer_is_held_against_wrong_and_right(total: float, said: str | None) -> None:
    # Right earns 1.2 and wrong 0.2: a tenth of the difference, 0.1, is tolerated.
    own = [Earned(8, value, {}, right) for value, right in ((1.2, 1.0), (0.2, 0.0))]
    tried = [Tried(blank_tricks(problems("1"))[0], Earned(8, total, {}, 0.0))]
    found = verdicts(yardstick(*own, tried, 1.0), tried)
    assert (found[0].text if found else None) == said or said in found[0].text
