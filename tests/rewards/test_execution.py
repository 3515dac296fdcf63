"""Nothing in an answer is ever executed: one test for each trick that works on some grader in use.

The canary is a file: every payload tries to create it, by each route by which `eval`, `sympify` or `parse_expr` lets
text reach Python.
"""

from __future__ import annotations

import ast
import sys
import time
from pathlib import Path

import pytest

import rewards
from rewards.math_answer import math, verify, verify_answer

PAYLOADS = [
    "__import__('pathlib').Path('CANARY').touch()",
    r"\text{__import__('pathlib').Path('CANARY').touch()}",
    "open('CANARY','w')",
    "exec(\"open('CANARY','w')\")",
    "eval(\"open('CANARY','w')\")",
    "[c for c in ().__class__.__base__.__subclasses__()][0]",  # sympify's way out of its namespace
    "().__class__.__bases__[0].__subclasses__()",
    "(lambda: open('CANARY','w'))()",
    "lambda x: open('CANARY','w')",
    "Symbol('x').__class__.__init__.__globals__['sys'].modules['os'].system('touch CANARY')",
    "S(\"open('CANARY','w')\")",
    "sympify(\"open('CANARY','w')\")",
    "parse_expr(\"open('CANARY','w')\")",
    "Integer(open('CANARY','w') and 1)",
    "x.subs(1, open('CANARY','w'))",
    'f\'{open("CANARY","w")}\'',
    "print(open('CANARY','w'))",
    r"\sin(open('CANARY','w'))",
    r"\operatorname{open}('CANARY','w')",
    r"\pi__import__('os').system('touch CANARY')",  # evaluated by graders that eval answers with π in them
    r"\int_0^1 open('CANARY','w') dx",
    "x=open('CANARY','w')",
    r"\begin{matrix}open('CANARY','w')\end{matrix}",
    r"\input{CANARY}",
    r"\write18{touch CANARY}",
    r"\def\x{1}\x",
    "`touch CANARY`",
    "$(touch CANARY)",
    "import os; os.system('touch CANARY')",
    "!touch CANARY",
    "%run CANARY",
    "O.__class__",
    "@open('CANARY','w')\ndef f(): pass",
]
HANGS = [
    "9**9**9**9",
    "Integer(2)**Integer(10)**10",
    "factorial(10**7)",
    "Sum(1,(x,1,10**9)).doit()",
    "prime(10**9)",
    "[x for x in range(10**9)]",
    "solve(x**9-x+1)",
    r"\sum_{k=1}^{10^9} k^2",
    r"\prod_{k=1}^{100000} k",
    r"\frac{1}{10^{10^{10}}}",
]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_nothing_runs(payload: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    for policy in ("train", "eval"):
        assert not verify_answer("7", payload, policy).ok
        assert not verify("7", rf"The answer is \boxed{{{payload}}}.", policy).ok
        verify_answer(payload, "7", policy)
    math(rf"\boxed{{{payload}}}", {"answer": payload})
    assert list(tmp_path.iterdir()) == []
    assert not {"sympy"} & (set(sys.modules) - before)


@pytest.mark.parametrize("payload", HANGS)
def test_nothing_hangs(payload: str) -> None:
    start = time.monotonic()
    assert not verify_answer("7", payload, "eval").ok
    assert time.monotonic() - start < 2.0  # seconds


def test_no_source_of_ours_evaluates_text() -> None:
    """`eval`, `exec`, `sympify`, `parse_expr` and their kin are called nowhere in the checker, nor `sympy` functions
    with a string, which sympify it."""
    for path in Path(rewards.__file__).parent.joinpath("math_answer").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
                banned = {
                    "eval",
                    "exec",
                    "sympify",
                    "parse_expr",
                    "parse_latex",
                    "__import__",
                    "literal_eval",
                    "lambdify",
                }
                assert name not in banned, f"{path.name}:{node.lineno} calls {name}"
