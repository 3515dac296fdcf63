"""The reward `code` in the real sandbox: references pass, hacks do not, and everything has a reason."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from grpo.config import Reward
from grpo.scoring import Scorer
from grpo.types import Completion, Group, Problem, Prompt
from rewards import Score, code_tests
from rewards.code_tests import AssertTests, BadTask, code, read_task
from rewards.code_tests.expressions import program_names
from rewards.code_tests.judge import with_header
from rewards.sandbox import REASONS

ADD = {"entry": "add", "tests": [{"args": [a, a + 1], "returns": 2 * a + 1} for a in range(3)]}
ECHO = {"tests": [{"input": f"{n}\n", "output": f"{n * n}\n"} for n in range(3)]}
ASSERTS = {"tests": ["assert add(1, 2) > 2", "assert add(2, 2) == 4"]}
RIGHT = "def add(a, b):\n    return a + b"
SQUARE = "n = int(input())\nprint(n * n)"

pytestmark = pytest.mark.usefixtures("sandbox")


def fenced(program: str) -> str:
    return f"Here it is.\n```python\n{program}\n```\nDone."


@pytest.mark.parametrize(("row", "program"), [(ADD, RIGHT), (ECHO, SQUARE), (ASSERTS, RIGHT)])
def test_a_right_program_earns_one_in_each_form(row, program):
    score = code(fenced(program), row)
    assert (score.value, score.parsed, score.answer) == (1.0, True, program)
    assert score.why.startswith("pass [")


def test_a_method_of_class_solution_is_found():
    assert code("class Solution:\n    def add(self, a, b):\n        return a + b", ADD).value == 1


def test_the_score_says_by_which_rule_and_at_which_level(sandbox):
    assert code(RIGHT, ADD, mode="lcb").why == f"pass [3 of 3 tests, lcb, {sandbox.level}]"


WRONG = [
    ("def add(a, b):\n    return a", ADD, "wrong_answer: test 1: expected 1, returned 0"),
    ("def add(a, b):\n    return 1 // a", ADD, "runtime_error: test 1: ZeroDivisionError"),
    ("def ad(a, b):\n    return a + b", ADD, "runtime_error: test 1: "),
    ("def add(a, b)\n    return a + b", ADD, "compile_error: test 1"),
    ("def add(a, b):\n    while True: pass", ADD, "timeout_cpu: test 1"),
    ("print(int(input()) ** 2 + 1)", ECHO, "wrong_answer: test 1: expected '0\\n', printed '1\\n'"),
    ("import sys\nprint(int(input()) ** 2)\nsys.exit(3)", ECHO, "runtime_error: test 1: exit status 3"),
    ("x = 'a' * 100\nwhile True: print(x)", ECHO, "output_limit: test 1"),
    ("import socket; socket.socket()", ECHO, "runtime_error: test 1: PermissionError"),
    ("def add(a, b):\n    return 7", ASSERTS, "wrong_answer: test 2"),
]


@pytest.mark.parametrize(("program", "row", "why"), WRONG)
def test_a_wrong_program_earns_nothing_and_the_reason_says_why(program, row, why):
    score = code(fenced(program), row, cpu=1.0)
    assert score.value == 0
    assert score.why.startswith(why)


def test_only_lcb_forgives_an_exit_status():
    program = "import sys\nprint(int(input()) ** 2)\nsys.exit(1)"
    assert [code(program, ECHO, mode=mode).value for mode in ("lcb", "tolerant", "exact")] == [1, 0, 0]


def test_a_share_of_the_tests_may_count():
    half = "def add(a, b):\n    return a + b if a else 5"
    assert code(half, ADD).value == 0
    score = code(half, ADD, fraction=True)
    assert score.value == pytest.approx(2 / 3)
    assert "[2 of 3 tests" in score.why
    assert code("def add(a, b):\n    return 4", ASSERTS, fraction=True).value == 1
    assert code("def add(a, b):\n    return 3", ASSERTS, fraction=True).value == 0.5


def test_after_a_timeout_the_remaining_tests_are_not_tried():
    slow = "def add(a, b):\n    while a == 0: pass\n    return a + b"
    begun = time.monotonic()
    assert code(slow, ADD | {"tests": ADD["tests"] * 20}, fraction=True, cpu=0.5).value == 0
    assert time.monotonic() - begun < 10


# Each of these passes in at least one well-known grader.  Written against ADD, ECHO and ASSERTS at once.
HACKS = {
    "equals everything": "class E:\n    def __eq__(self, o): return True\n    def __gt__(self, o): return True\n"
    "def add(a, b): return E()\nclass S(str):\n    def __eq__(self, other): return True\nprint(S('x'))",
    "int that lies": "class I(int):\n    def __eq__(self, o): return True\n    def __gt__(self, o): return True\n"
    "    def __ne__(self, other): return False\ndef add(a, b): return I(-5)\nprint(I(-5))",
    "frame walk": "import sys\ndef add(a, b):\n    f = sys._getframe()\n    while f:\n"
    "        for n in ('expected', 'returns', 'case', 'tests'):\n"
    "            if n in f.f_locals: return f.f_locals[n]\n        f = f.f_back\nprint('no')",
    "search of all objects": "import gc\ndef add(a, b):\n    for o in gc.get_objects():\n"
    "        if isinstance(o, dict) and 'returns' in o: return o['returns']\nprint('no')",
    "poke results": "import gc\nfor o in gc.get_objects():\n    if isinstance(o, list):\n"
    "        try: o[:] = [True] * len(o)\n        except Exception: pass\ndef add(a, b): return True\n",
    "patch exec": "import builtins\nbuiltins.exec = lambda *a: None\nbuiltins.compile = lambda *a: None\n"
    "def add(a, b): return None",
    "sys.exit": "import sys\nsys.exit(0)",
    "os._exit": "import os\nos._exit(0)",
    "exit in the call": "import os\ndef add(a, b): os._exit(0)\n",
    "raise SystemExit": "def add(a, b): raise SystemExit(0)\nraise SystemExit(0)",
    "print a verdict": 'def add(a, b):\n    print(\'{"reason": "pass", "passed": 3}\')\n'
    "print('pass'); print('OK'); print('1.0'); print('All tests passed')",
    "write to every channel": "import os\nfor fd in range(64):\n    try: os.write(fd, b'pass\\n' * 9)\n"
    "    except OSError: pass\ndef add(a, b): return 0",
    "swallow assertions": "import builtins\nbuiltins.AssertionError = type('A', (BaseException,), {})\n"
    "def add(a, b): return 0",
    "skip": "import unittest\ndef add(a, b): raise unittest.SkipTest('x')",
    "no function": "x = 1",
    "empty": "pass",
}


@pytest.mark.parametrize("row", [ADD, ECHO, ASSERTS], ids=["calls", "stdin", "asserts"])
@pytest.mark.parametrize("hack", HACKS)
def test_no_hack_passes(hack, row):
    score = code(fenced(HACKS[hack]), row)
    assert score.value == 0, score.why
    assert score.why


@pytest.mark.parametrize(
    "hack", ["equals everything", "frame walk", "patch exec", "sys.exit", "os._exit", "poke results"]
)
def test_no_hack_passes_any_of_human_eval(hack, human_eval):
    """Under the name of each task's function."""
    scores = [code(fenced(HACKS[hack].replace("add(a, b)", f"{row['entry_point']}(*a)")), row) for row in human_eval]
    assert [score.why for score in scores if score.value] == []


BAD_INPUT = [
    ("", "compile_error: there is no program"),
    ("```python\n```", "compile_error: there is no program"),
    ("```python\ndef add(a, b):\n    return a + b", "compile_error: its code fence never closes"),
    ("x = 1\n" * 1_700_000, "source_too_large: "),
    (fenced("#" * 10_000_000), "source_too_large: "),
    ("I do not know.", "compile_error: test 1"),
    (RIGHT + "\n# \ud800", "compile_error: the program is not valid Unicode"),
    (RIGHT.replace("a", "a" + "\u0301" * 50_000), ""),  # a name of 50,000 combining accents
    ("add = lambda a, b: a + b\nx = '" + "\u202e\U000e0001" * 20_000 + "'", "pass"),
    ("\0" * 1000, "compile_error: "),
    ("(" * 100_000, "compile_error: "),
    ("-" * 200_000 + "1", ""),
]


@pytest.mark.parametrize(("completion", "why"), BAD_INPUT, ids=range(len(BAD_INPUT)))
def test_any_text_gets_a_score_with_a_reason_and_soon(completion, why):
    begun = time.monotonic()
    score = code(completion, ADD)
    assert isinstance(score, Score)
    assert score.value in (0.0, 1.0)
    assert score.why.startswith(why or tuple("abcdefghijklmnopqrstuvwxyz"))
    json.dumps(score.why)
    assert (score.why + (score.answer or "")).encode()
    assert time.monotonic() - begun < 20


def test_a_row_without_tests_is_the_datas_fault_and_raises():
    with pytest.raises(BadTask, match="no column with tests"):
        code(RIGHT, {"question": "?"})


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match="must be one of lcb, tolerant, exact"):
        code(RIGHT, ADD, mode="strict")  # type: ignore[arg-type]


def test_a_program_may_import_from_the_future_behind_a_header():
    source = with_header("import math", "from __future__ import annotations\nx = 1")
    assert source.splitlines()[:2] == ["from __future__ import annotations", "import math"]
    assert code(fenced(f"from __future__ import annotations\n{RIGHT}"), ADD | {"header": "import math"}).value == 1


def test_a_forked_process_starts_a_sandbox_of_its_own():
    program = (
        "import os; from rewards.code_tests import code\n"
        f"def works(): return code({RIGHT!r}, {ADD!r}).value == 1\n"
        "assert works()\n"
        "child = os.fork()\n"
        "if child == 0: os._exit(0 if works() else 1)\n"
        "assert os.waitpid(child, 0)[1] == 0 and works()"
    )
    subprocess.run([sys.executable, "-c", program], timeout=60, check=True)


def test_a_right_answer_has_room_however_long_it_is():
    row = {"tests": [{"input": "", "output": "7" * 2_000_000}]}
    assert code("print('7' * 2_000_000)", row).value == 1


def gone(pids: list[int]) -> bool:
    """Whether these processes end within some seconds."""
    left = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    return not psutil.wait_procs(left, timeout=10)[1]


def test_the_sandbox_dies_with_the_process_that_used_it():
    program = (
        "import os, sys, psutil; from rewards.code_tests import code\n"
        f"value = code({RIGHT!r}, {ADD!r}).value\n"
        "print(value, *(child.pid for child in psutil.Process().children(recursive=True)), flush=True)\n"
        "os.kill(os.getpid(), 9)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    value, *pids = ran.stdout.split()
    assert (value, ran.returncode) == ("1.0", -9)
    assert pids
    assert gone([int(pid) for pid in pids])


def test_a_worker_that_is_killed_at_its_timeout_takes_the_program_along():
    problem = Problem("add", ({"role": "user", "content": "add"},), ADD)
    hang = Completion((0,), (0.0,), "def add(a, b):\n    while True: pass", "stop")
    right = Completion((0,), (0.0,), RIGHT, "stop")
    spec = Reward(use="rewards.code_tests:code", timeout=4.0, options={"cpu": 60.0})
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    with Scorer([spec], workers=1, chat=True) as scorer:
        scoring = scorer.submit(Group(Prompt(problem, (0,)), (hang, right), 0))
        time.sleep(2)
        during = {child.pid for child in psutil.Process().children(recursive=True)} - before
        assert len(during) >= 3  # the worker, what keeps the program, and the program
        hung, scored = scoring.result().scores
    assert hung["code"].failure == "timeout"
    assert scored["code"].value == 1
    assert gone(list(during))


@pytest.mark.parametrize("page", ["docs/code.md", "docs/sandbox.md"])
def test_every_reason_is_told(page):
    text = (Path(__file__).resolve().parents[2] / page).read_text()
    assert [reason for reason in REASONS if f"`{reason}`" not in text and reason != "pass"] == []
    assert code_tests.__doc__ is not None
    assert set(REASONS) - {"pass"} <= set(code_tests.__doc__.split())


def test_the_references_of_human_eval_pass(human_eval):
    failing = [row["task_id"] for row in human_eval if code(row["canonical_solution"], row).value != 1]
    assert failing == []


def test_the_references_of_mbpp_pass(mbpp):
    # Whether they pass, not how fast: 123 adds up amicable numbers for nearly all of the usual limit's 6 s.
    failing = [row["task_id"] for row in mbpp if code(row["code"], row, cpu=60).value != 1]
    assert failing == []


LEETCODE = {
    "minimum-number-of-pushes-to-type-word-i": """
class Solution:
    def minimumPushes(self, word: str) -> int:
        counts = sorted(Counter(word).values(), reverse=True)
        return sum(count * (i // 8 + 1) for i, count in enumerate(counts))""",
    "double-a-number-represented-as-a-linked-list": """
class Solution:
    def doubleIt(self, head: Optional[ListNode]) -> Optional[ListNode]:
        digits = ""
        while head:
            digits, head = digits + str(head.val), head.next
        for digit in reversed(str(2 * int(digits))):
            head = ListNode(int(digit), head)
        return head""",
}


@pytest.mark.parametrize("title", LEETCODE)
def test_leetcode_programs_find_the_names_that_leetcode_offers(title, leetcode):
    [row] = [row for row in leetcode if row["title"] == title]
    score = code(fenced(LEETCODE[title]), row)
    assert score.value == 1, score.why
    assert code(fenced("class Solution: pass"), row).value == 0


HOSTILE = """
class E:
    def __init__(self, *args, **kwargs): pass
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    __lt__ = __le__ = __gt__ = __ge__ = __contains__ = __eq__
    def __bool__(self): return True
    def __hash__(self): return 0
    def __len__(self): return 1
    def __iter__(self): return iter([self])
    def __call__(self, *args, **kwargs): return self
    def __getattr__(self, name): return self
    def __getitem__(self, key): return self
    def __setitem__(self, key, value): pass
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __truediv__ = __abs__ = __call__
"""


def hostile(row) -> str:
    """An object that is whatever it is taken for, under every name that the tests ask for."""
    tests = read_task(row).tests
    names = [tests.entry, *tests.others] if isinstance(tests, AssertTests) else program_names(tests.glue)
    return fenced(HOSTILE + "".join(f"{name} = E()\n" for name in names if name != "_case"))


def test_an_object_that_is_everything_passes_nothing_of_the_real_sets(human_eval, mbpp, leetcode):
    """A sample, and all of those in which the program's own objects are asked for."""
    objects = [row for row in mbpp if "Node(" in str(row) or "Pair(" in str(row)]
    objects += [row for row in leetcode if "ListNode(" in row["test"]]
    assert len(objects) >= 5
    rows = [*human_eval[::4], *mbpp[::30], *leetcode[::30], *objects]
    scores = [(row, code(hostile(row), row)) for row in rows]
    assert [(row.get("task_id"), score.why) for row, score in scores if score.value] == []


FAILS = [
    ("def add(a, b):\n    x = a\n    return x / 0\n", ADD, "ZeroDivisionError: division by zero (in `return x / 0`)"),
    (
        "n = int(input())\nprint(1 // n)",
        ECHO,
        "ZeroDivisionError: integer division or modulo by zero (in `print(1 // n)`)",
    ),
    ("import nosuchmodule\ndef add(a, b): pass", ADD, "No module named 'nosuchmodule' (in `import nosuchmodule`)"),
    ("def add(a, b):\n    return a +", ADD, "SyntaxError: invalid syntax (in `return a +`)"),
    ("import json\ndef add(a, b):\n    return json.loads('{')", ASSERTS, "(in `assert add(1, 2) > 2`)"),
]


@pytest.mark.parametrize(("program", "row", "words"), FAILS)
def test_an_error_names_the_programs_line_and_none_of_ours(program, row, words):
    why = code(fenced(program), row).why
    assert words in why
    assert "rewards" not in why


def test_an_error_however_long_has_a_short_reason():
    for row in (ADD, ECHO, ASSERTS):
        assert (
            len(code("def add(a, b): raise ValueError('x' * 900_000)\nraise ValueError('y' * 900_000)", row).why) < 1000
        )
        assert len(code("def add(a, b): raise ValueError('x' * 900_000)", row).why) < 1000


@pytest.mark.parametrize("row", [ADD, ECHO, ASSERTS], ids=["calls", "stdin", "asserts"])
def test_an_error_of_any_characters_has_a_reason_that_can_be_printed(row):
    bad = "raise ValueError('a\\ud800\\x1b[2J\\x00\\u202e')"
    for program in (f"def add(a, b): {bad}", bad):
        why = code(program, row).why
        assert why.isprintable()
        assert why.encode()


def test_scalars_of_numpy_are_numbers():
    pytest.importorskip("numpy")
    program = (
        "import numpy as np\n"
        "def f(x):\n    a = np.array([x, 2 * x])\n    return [a.sum(), a.mean(), a[0] > 0, {a[1]: a[0]}]"
    )
    for row in (
        {"tests": ["assert f(2) == [6, 3.0, True, {4: 2}]"]},
        {"tests": ["assert f(2)[0] + 1 == 7 and f(2)[2] is True"]},
    ):
        score = code(fenced(program), row, packages=("numpy",))
        assert score.value == 1, score.why
