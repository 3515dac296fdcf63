"""Rows become tasks: four known sets and our own form; what can judge nothing is refused with the reason."""

from __future__ import annotations

import base64
import json
import os
import pickle
import zlib
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rewards.code_tests import AssertTests, BadTask, CallTest, CallTests, StdinTest, StdinTests, is_task, read_task
from rewards.code_tests import livecodebench as lcb
from rewards.code_tests.expressions import as_calls

HUMAN_EVAL = {
    "task_id": "HumanEval/x",
    "prompt": "import math\ndef twice(x):\n    return 2 * x\ndef f(x: int):\n    '''doc'''\n",
    "entry_point": "f",
    "canonical_solution": "    return twice(x)\n",
    "test": "def check(candidate):\n    assert candidate(1) == twice(1)\n",
}
MBPP = {"text": "Add.", "code": "def add(a, b):\r\n    return a + b", "task_id": 1, "test_setup_code": "",
        "test_list": ["assert add(1, 2) == 3", "assert add((1,), (2,)) == (1, 2)"]}  # fmt: skip
FUNCTIONAL = [{"input": '[1, 2]\n"a"', "output": "[2]", "testtype": "functional"}]
STDIN = [{"input": "1 2\n", "output": "3\n", "testtype": "stdin"}]


def packed(cases: object) -> str:
    return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(cases)))).decode()


def livecodebench(cases: list, private: str, **more: object) -> dict:
    return {"question_content": "Q", "public_test_cases": json.dumps(cases), "private_test_cases": private, **more}


def test_human_eval_tests_with_the_helpers_of_its_prompt_and_continues_the_prompt():
    task = read_task(HUMAN_EVAL)
    assert isinstance(task.tests, AssertTests)
    assert (task.tests.entry, task.tests.cases) == ("f", ("check(candidate)",))
    assert "def twice" in task.tests.setup
    assert "def f" not in task.tests.setup  # the program's, not ours
    assert task.header == HUMAN_EVAL["prompt"]
    assert task.reference.endswith("    return twice(x)\n")


def test_mbpp_becomes_expressions_and_values_and_shows_one_test():
    task = read_task(MBPP)
    assert isinstance(task.tests, CallTests)
    assert [case.expected for case in task.tests.cases] == [3, (1, 2)]
    assert "== " not in task.tests.glue
    assert "add(1, 2)" in task.question
    assert "(1,)" not in task.question
    assert not task.tests.json


def test_assertions_that_are_no_comparison_with_a_constant_stay_assertions():
    task = read_task(MBPP | {"test_list": ["assert add(1, 2) == sys.getsizeof(1)"]})
    assert task.tests == AssertTests("add", "import sys\n", ("assert add(1, 2) == sys.getsizeof(1)",))


def test_statements_between_assertions_belong_to_the_next_one():
    code = "s = Solution()\nx = {'n': 1}\nassert s.f(**x) == 1\nx = {'n': 2}\nassert s.f(**x) == 2\n"
    tests = as_calls(code)
    assert tests is not None
    program = "class Solution:\n    def f(self, n): return n\n"
    space: dict = {}
    exec(program + tests.glue, space)
    assert [space["_case"](*case.args) for case in tests.cases] == [case.expected for case in tests.cases] == [1, 2]


@given(a=st.integers(), b=st.lists(st.text(max_size=3), max_size=3))
def test_an_expression_keeps_its_arguments_and_gives_up_its_value(a, b):
    tests = as_calls(f"assert f({a!r}, {b!r}) == {[a, b]!r}")
    assert tests is not None
    space: dict = {"f": lambda *given: list(given)}
    exec(tests.glue, space)
    assert space["_case"](0) == tests.cases[0].expected == [a, b]


def test_livecodebench_joins_public_and_private_tests():
    task = read_task(livecodebench(STDIN, packed(STDIN * 2)))
    assert task.tests == StdinTests((StdinTest("1 2\n", "3\n"),) * 3)
    task = read_task(livecodebench(STDIN, json.dumps(STDIN)))
    assert len(task.tests.cases) == 2


def test_livecodebench_calls_functions_with_one_argument_per_line():
    row = livecodebench(FUNCTIONAL, packed([]), starter_code="class Solution:", metadata='{"func_name": "g"}')
    assert read_task(row).tests == CallTests("g", (CallTest([[1, 2], "a"], [2]),))


def test_an_integer_of_5000_digits_is_read():
    assert lcb.parse_json("[" + "7" * 5000 + "]") == [7 * (10**5000 - 1) // 9]


def test_a_pickle_that_runs_something_is_refused_and_runs_nothing(tmp_path):
    class Attack:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    text = base64.b64encode(zlib.compress(pickle.dumps(Attack()))).decode()
    with pytest.raises(BadTask, match=r"the pickle asks for posix\.mkdir"):
        lcb.decode_cases(text)
    assert not (tmp_path / "made").exists()


def test_a_decompression_bomb_is_refused(monkeypatch):
    monkeypatch.setattr(lcb, "LARGEST", 1000)
    bomb = base64.b64encode(zlib.compress(b"0" * 1_000_000)).decode()
    with pytest.raises(BadTask, match="cut off, or more than"):
        lcb.decode_cases(bomb)


@given(st.binary())
@example(b"\x96" + b"\xff" * 7 + b"\x7f")  # a bytearray of nine exabytes
@example(b"\x8e" + b"\xff" * 7 + b"\x7f")  # as many bytes
def test_any_bytes_are_read_or_refused(data):
    for text in (base64.b64encode(zlib.compress(data)).decode(), base64.b64encode(data).decode()):
        with pytest.raises(BadTask):
            lcb.decode_cases(text)


@given(st.text())
def test_any_text_is_read_or_refused(text):
    with suppress(BadTask):  # and nothing else
        assert lcb.decode_cases(text) == json.loads(text)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (HUMAN_EVAL | {"test": "def check(candidate):\n    assert True\n"}, "its tests call nothing"),
        (HUMAN_EVAL | {"test": "def check(candidate:\n"}, "its tests are not Python"),
        (MBPP | {"test_list": []}, "it has no tests"),
        (MBPP | {"test_list": ["assert 3 == 3"]}, "its tests call nothing"),
        (MBPP | {"test_list": ["assert True"]}, "its tests call nothing"),
        (MBPP | {"test_list": "assert add(1) == 1"}, "column test_list must be a list of texts"),
        (livecodebench([], packed([])), "it has no tests"),
        (livecodebench([], "!"), "its tests cannot be decoded"),
        (livecodebench([], '[{"input": 1}]'), "no list of objects with input and output"),
        (livecodebench(FUNCTIONAL, packed([])), "metadata does not name it"),
        ({"tests": []}, "it has no tests"),
        ({"tests": [{"input": "1"}]}, "not all {input, output}"),
        ({"tests": [{"args": [1], "returns": 1}]}, "its column entry must be text"),
        ({"tests": 7}, "its tests are no list"),
        ({"question": "?"}, "no column with tests"),
    ],
)
def test_what_can_judge_nothing_is_refused_with_the_reason(row, why):
    with pytest.raises(BadTask, match=why):
        read_task(row)


def test_our_own_rows_may_have_any_of_the_three_forms():
    assert read_task({"tests": [{"input": "1", "output": "2"}]}).tests == StdinTests((StdinTest("1", "2"),))
    assert read_task({"entry": "f", "tests": '[{"args": [1], "returns": null}]'}).tests == CallTests(
        "f", (CallTest([1], None),)
    )
    assert isinstance(read_task({"tests": ["assert f(1) == 2"]}).tests, CallTests)
    assert read_task({"setup": "import os", "tests": ["assert f(1)"]}).tests == AssertTests(
        "f", "import os", ("assert f(1)",)
    )


def test_only_rows_with_tests_are_tasks():
    assert not is_task({"question": "1+1?", "answer": "2", "tests": None})
    assert is_task(MBPP)


def test_all_rows_of_the_real_sets_are_read(human_eval, mbpp, leetcode):
    assert [len(list(map(read_task, rows))) for rows in (human_eval, mbpp, leetcode)] == [164, 974, 180]
