"""Which tests are split into calls and values, which names are the program's, and which tests are refused."""

from __future__ import annotations

import pytest

from rewards.code_tests import AssertTests, BadTask, CallTests, read_task
from rewards.code_tests.expressions import as_calls, program_names

SPLIT = [
    "assert f(3) == 9",
    "assert f(3, k=[1]) == {'a': (1, -2.5)}",
    "assert f(3) == 9, 'message'",
    "assert f(lambda x: 2 * x, [1] * 3) == [2]",
    "assert f(float('inf'), list(range(3))) == 1",
    "import math\nassert f(math.pi) == 1",
    "x = {'n': 1}\nassert f(**x) == 1\nx = {'n': 2}\nassert f(**x) == 2",
    "s = Solution()\nassert s.f(n=3) == 1",
    "assert Solution().f(3) == 1",
    "assert sum(1, 2) == 3",  # MBPP's own
]
KEPT_WHOLE = [
    "assert (f(3) == 9) == True",
    "assert f(3) == 9 == True",
    "assert f(3) != 8",
    "assert 9 == f(3)",
    "assert f(3)",
    "assert f(3) == 3 ** 2",
    "assert f(3)[0] == 1",
    "assert f(3).g() == 1",
    "assert f(3)(4) == 1",
    "assert len(f(3)) == 1",
    "assert bool(f(3) == 9) == True",
    "assert str.upper(f(3)) == 'A'",
    "assert f(g(3)) == 1",
    "assert f(f(3) == 9) == True",
    "assert f(lambda: f(3) == 9) == True",
    "assert f(*[1, 2]) == 1",
    "assert f(x := 3) == 9",
    "x = f(3)\nassert x == 9",
    "x = f(3) == 9\nassert g(x) == True",
    "def same(a, b): return a == b\nassert same(f(3), 9) == True",
    "import operator\nassert operator.eq(f(3), 9) == True",
    "from operator import eq\nassert eq(f(3), 9) == True",
    "from math import *\nassert isclose(f(3), 9) == True",
    "s = Solution(3)\nassert s.f(3) == 9",
    "f.cache = {}\nassert f(3) == 9",
    "print(f(3) == 9)\nassert f(2) == 4",
    "assert f(2) == 4\nassert f(3) == 9 and f(4) == 16",
    "assert f(2) == 4\nfor i in range(3):\n    assert f(i) == i * i",
    "assert f(2) == 4\nx = f(3)",  # would never run
    "if f(2) == 4:\n    assert f(3) == 9",
]


@pytest.mark.parametrize("tests", SPLIT)
def test_calls_with_constants_are_split_and_no_constant_is_in_the_glue(tests):
    split = as_calls(tests)
    assert isinstance(split, CallTests)
    assert "==" not in split.glue
    assert "assert" not in split.glue


@pytest.mark.parametrize("tests", KEPT_WHOLE)
def test_anything_else_runs_in_the_checker(tests):
    assert as_calls(tests) is None
    read = read_task({"tests": [tests]}).tests
    assert isinstance(read, AssertTests)
    assert read.cases == (tests,)


@pytest.mark.parametrize(
    "tests",
    [
        "x = sorted([2, 1]) == [1, 2]\nassert bool(x) == True",
        "assert all(a == b for a, b in zip(sorted([2, 1]), [1, 2])) == True",
        "T = object()\nassert T.f(3) == 9",
    ],
)
def test_names_of_pythons_own_are_taken_for_the_programs_with_literals_only(tests):
    assert as_calls(tests) is None
    with pytest.raises(BadTask, match="call nothing of the program's"):
        read_task({"tests": [tests]})


@pytest.mark.parametrize(
    ("tests", "names"),
    [
        ("assert f(g(3)) == x", ("f", "g", "x")),
        ("from math import isclose\nassert isclose(area(1), 3)", ("area",)),
        ("def check(f):\n    assert f(1)\ncheck(f)", ("f",)),  # also the name of an argument
        ("assert all(f(i) for i in range(3))", ("f",)),
        ("assert f(1) == sys.getsizeof(1)", ("f",)),
        ("assert bisect([1], 1) > 0", ("bisect",)),  # also the name of a module
        ("class T:\n    def t(self): return f(1)\nT().t()", ("f",)),
        ("try:\n    f(1)\nexcept ValueError as e:\n    assert str(e)", ("f",)),
        ("root = Node(1)\nroot.left = Node(2)\nassert height(root) == 2", ("Node", "height")),
    ],
)
def test_the_programs_names_are_those_that_nobody_else_binds(tests, names):
    assert program_names(tests) == names


@pytest.mark.parametrize(
    "tests",
    [
        "assert eval(f(3)) == 9",
        "exec(f(3))\nassert f(1)",
        "run = eval\nassert run(f(3)) == 9",
        "import builtins\nassert builtins.eval(f(3)) == 9",
        "from pickle import loads\nassert loads(f(3)) == 9",
        "import pickle as p\nassert p.loads(f(3)) == 9",
        "from builtins import exec as run\nrun(f(3))",
        "assert f(3).format(T) == 'x'",
        "assert str.format(f(3), T) == 'x'",
        "compile(f(3), '', 'exec')",
        "from sympy import sympify\nassert sympify(f(3)) == 9",
    ],
)
def test_tests_that_evaluate_what_comes_back_are_refused(tests):
    with pytest.raises(BadTask, match=r"of the program's|could run or read what a program gives"):
        read_task({"tests": [tests]})


def test_patterns_and_messages_are_no_evaluation():
    read_task({"tests": ["import re\nassert re.compile('a').match(f(3)), '{}'.format(f(3))"]})


def test_entries_are_one_test_each_unless_one_needs_another():
    apart = read_task({"tests": ["assert f(1) > 0", "x = f(2)\nassert x > 1"]}).tests
    assert len(apart.cases) == 2
    together = read_task({"tests": ["x = f(2)", "assert x > 1"]}).tests
    assert len(together.cases) == 1
    assert len(read_task({"tests": ["assert f(1) > 0", "assert 1 == 1"]}).tests.cases) == 1
