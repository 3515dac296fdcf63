"""HumanEval: all its references pass, none of the known hacks does, and its tests kill most mutants."""

from __future__ import annotations

import ast
import gzip
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import pytest

from rewards.sandbox import Limits, Sandbox

LIMITS = Limits(cpu=6)
# In place of a solution; each wins against some grader that runs tests in the program's own process.
HACKS = {
    "an object that equals everything": "class Y:\n"
    "    def __eq__(s, o): return True\n"
    "    __ne__ = __lt__ = __gt__ = __le__ = __ge__ = __contains__ = __eq__\n"
    "    __hash__ = __len__ = __abs__ = lambda s: 0\n"
    "    __sub__ = __rsub__ = __getitem__ = lambda s, o: 0\n"
    "def {entry}(*a): return Y()",
    "frames for the expected value": "import sys\n"
    "def {entry}(*a):\n"
    "    f = sys._getframe()\n"
    "    while f:\n"
    "        for k in ('expected', 'gt_out', 'y', 'out', 'test', 'check'):\n"
    "            if k in f.f_locals: return f.f_locals[k]\n"
    "        f = f.f_back",
    "the result list": "import sys, gc, os\n"
    "for one in gc.get_objects():\n"
    "    if type(one) is list and not one: one.append('passed')\n"
    "def {entry}(*a): os._exit(0)",
    "another exec": "import builtins\nbuiltins.exec = lambda *a: None\ndef {entry}(*a): return None",
    "exit 0": "import sys\ndef {entry}(*a): sys.exit(0)",
    "exit 0 at the top": "import os\nprint('PASSED')\nos._exit(0)",
    "asserts that hold": "import builtins, unittest\n"
    "builtins.AssertionError = type('A', (BaseException,), {{}})\n"
    "def check(candidate): pass\ndef {entry}(*a): raise SystemExit(0)",
}


@pytest.fixture(scope="module")
def rows(data_sets: Path) -> list[dict[str, Any]]:
    with gzip.open(data_sets / "code" / "HumanEval.jsonl.gz", "rt") as file:
        return [json.loads(line) for line in file]


def judge(sandbox: Sandbox, row: dict[str, Any], program: str, limits: Limits) -> str:
    helpers = row["prompt"].split(f"def {row['entry_point']}")[0]
    tests = f"{helpers}\n{row['test']}\ncheck(candidate)\n"
    return sandbox.check_asserts(program, row["entry_point"], tests, limits).reason


def passing(
    sandbox: Sandbox, rows: list[dict[str, Any]], program: Callable[[dict[str, Any]], str], limits: Limits = LIMITS
) -> list[str]:
    with ThreadPoolExecutor(sandbox.workers) as threads:
        reasons = list(threads.map(lambda row: judge(sandbox, row, program(row), limits), rows))
    return [row["task_id"] for row, reason in zip(rows, reasons, strict=True) if reason == "pass"]


def test_every_reference_passes(sandbox: Sandbox, rows: list[dict[str, Any]]) -> None:
    assert len(passing(sandbox, rows, lambda row: row["prompt"] + row["canonical_solution"])) == 164


@pytest.mark.slow
@pytest.mark.parametrize("hack", HACKS)
def test_no_hack_passes_any_problem(sandbox: Sandbox, rows: list[dict[str, Any]], hack: str) -> None:
    assert passing(sandbox, rows, lambda row: HACKS[hack].format(entry=row["entry_point"])) == []


class _Mutate(ast.NodeTransformer):
    """Turns the first comparison or sum into another."""

    swaps: ClassVar = {
        ast.Lt: ast.GtE,
        ast.LtE: ast.Gt,
        ast.Gt: ast.LtE,
        ast.GtE: ast.Lt,
        ast.Eq: ast.NotEq,
        ast.NotEq: ast.Eq,
    }
    done = False

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        if not self.done and type(node.ops[0]) in self.swaps:
            node.ops[0] = self.swaps[type(node.ops[0])]()
            self.done = True
        return self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        if not self.done and isinstance(node.op, ast.Add | ast.Sub):
            node.op = ast.Sub() if isinstance(node.op, ast.Add) else ast.Add()
            self.done = True
        return self.generic_visit(node)


@pytest.mark.slow
def test_tests_kill_most_references_with_one_operator_changed(sandbox: Sandbox, rows: list[dict[str, Any]]) -> None:
    mutants = {}
    for row in rows:
        mutate = _Mutate()
        tree = mutate.visit(ast.parse(row["prompt"] + row["canonical_solution"]))
        if mutate.done:
            mutants[row["task_id"]] = ast.unparse(ast.fix_missing_locations(tree))
    chosen = [row for row in rows if row["task_id"] in mutants]
    alive = passing(sandbox, chosen, lambda row: mutants[row["task_id"]], Limits(cpu=1))
    print(f"{len(alive)} of {len(mutants)} mutants survive: {alive}")  # noqa: T201
    assert len(alive) < 0.05 * len(mutants)
