"""Rewards are found by name, file or module; what cannot be found is answered with what there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from grpo.config import Reward
from grpo.errors import RewardError
from grpo.scoring import load_reward, reward_name, reward_names

HERE = Path(__file__).with_name("rewards_for_tests.py")


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def refusal(use: str) -> str:
    with pytest.raises(RewardError) as error:
        load_reward(Reward(use=use))
    assert error.value.exit_code == 2
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_function_in_a_file_is_found_with_its_options():
    reward = load_reward(Reward(use=f"{HERE}:brief", options={"most": 1}))
    assert reward("a b", {}).value == 0.0
    assert reward("a", {}).value == 1.0


def test_a_function_in_a_module_is_found_from_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("/nowhere")  # restores sys.path afterwards
    write(tmp_path / "my_package" / "deep.py", "def one(completion, problem): return 1.0")
    assert load_reward(Reward(use="my_package.deep:one"))("", {}).value == 1.0


def test_a_file_may_import_its_neighbours_and_may_be_called_like_a_standard_module(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend("/nowhere")
    write(tmp_path / "neighbour_of_it.py", "VALUE = 0.25")
    write(tmp_path / "colorsys.py", "import neighbour_of_it as n\ndef own(completion, problem): return n.VALUE")
    assert load_reward(Reward(use=f"{tmp_path}/colorsys.py:own"))("", {}).value == 0.25
    import colorsys

    assert colorsys.rgb_to_hsv(0, 0, 0) == (0, 0, 0), "the standard library's"


def test_the_built_in_math_comes_in_through_the_same_door_as_everyones():
    score = load_reward(Reward(use="math"))(r"The answer is \boxed{4}", {"answer": "4"})
    assert score.value == 1.0


def test_a_reward_that_is_not_installed_is_answered_with_the_nearest():
    sentence = refusal("maths")
    assert sentence.startswith("reward 'maths': is not built in or installed; did you mean 'math'? there are ")
    assert sentence.endswith("or give file.py:function or package.module:function")


def test_a_function_that_is_not_there_is_answered_with_the_functions_that_are(tmp_path):
    write(tmp_path / "my.py", "from math import sqrt\ndef short(completion, problem): ...\ndef long(a): ...\n_x = 1")
    assert refusal(f"{tmp_path}/my.py:shrt") == (
        f"{tmp_path}/my.py: has no function 'shrt'; did you mean 'short'? there are long, short"
    )
    whole = f"{tmp_path}/my.py"
    assert refusal(whole) == f"{whole}: names no function; write {whole}:FUNCTION, there are long, short"


def test_a_file_that_is_not_there_is_answered_with_the_files_that_are(tmp_path):
    write(tmp_path / "my_rewards.py", "")
    sentence = refusal(f"{tmp_path}/my_reward.py:short")
    assert sentence.endswith(f"no file {tmp_path}/my_reward.py; did you mean 'my_rewards.py'? there is my_rewards.py")


def test_a_module_that_is_not_there_is_named():
    assert "cannot be imported: ModuleNotFoundError: No module named 'no_such_package'" in refusal(
        "no_such_package.x:f"
    )


@pytest.mark.parametrize(
    ("code", "ending"),
    [
        ("import no_such_package", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("x = 1\nx = x / 0", "ZeroDivisionError: division by zero (my.py, line 2)"),
        ("raise ValueError('two\\nlines')", "ValueError: two lines (my.py, line 1)"),
        ("def broken(:", "SyntaxError: invalid syntax (my.py, line 1)"),
        ("raise SystemExit(3)", "SystemExit: 3 (my.py, line 1)"),
    ],
)
def test_a_file_that_cannot_be_imported_is_one_sentence_that_says_where(tmp_path, code, ending):
    write(tmp_path / "my.py", code)
    assert refusal(f"{tmp_path}/my.py:f") == f"{tmp_path}/my.py:f: cannot be imported: {ending}"


def test_a_reward_that_is_not_a_function_is_refused():
    assert ":a_number: is of type int, not a function; " in refusal(f"{HERE}:a_number")
    assert ":NotAFunction: is a class, not a function; " in refusal(f"{HERE}:NotAFunction")


def test_a_name_that_two_packages_offer_is_refused(monkeypatch):
    from importlib.metadata import EntryPoint, EntryPoints

    both = EntryPoints(EntryPoint("mine", value, "grpo.rewards") for value in ("a:f", "b:f"))
    monkeypatch.setattr("grpo.scoring.load.entry_points", lambda **wanted: both)
    assert refusal("mine") == "reward 'mine': several packages offer it (a:f, b:f); use one of these"


def test_names_of_rewards_in_metrics_are_short_and_unique():
    specs = [Reward(use=use) for use in ("math", "a.py:score", "pkg.b:score", "a.py:score", "my-lab/x.py:f")]
    assert [reward_name(spec) for spec in specs] == ["math", "score", "score", "score", "f"]
    assert reward_names(specs) == ("math", "score", "score-2", "score-3", "f")
