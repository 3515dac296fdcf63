"""Assertions turned into data: `assert f(2, 3) == 5` becomes an expression and the value 5.

The value stays with the judge, the expression goes to the program, so the program never meets what it is compared
with, and objects of its own classes (MBPP's `Node`, `Pair`, LeetCode's `ListNode`) need not leave its process.  Done
by parsing trusted test code; test code that is not of this shape stays as it is and runs in a checker of its own.
"""

from __future__ import annotations

import ast
import builtins
import sys
from functools import lru_cache

from rewards.code_tests.tests import BadTask, CallTest, CallTests

CASE = "_case"  # the glue's function: _case(7) is the value of the eighth expression


def parse(code: str) -> ast.Module:
    try:
        return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise BadTask(f"its tests are not Python ({error})") from None


@lru_cache(maxsize=16)  # the completions of a group come one after another, with the same tests
def as_expressions(code: str) -> CallTests | None:
    """The tests in `code` if each is `assert expression == constant`, with plain statements before and between."""
    statements = parse(code).body
    first = next((i for i, statement in enumerate(statements) if isinstance(statement, ast.Assert)), len(statements))
    setup, pending = [ast.unparse(statement) for statement in statements[:first]], list[str]()
    shared = sorted(_stored(ast.Module(statements, [])))
    functions: list[str] = []
    cases: list[CallTest] = []
    for statement in statements[first:]:
        if isinstance(statement, ast.Assign | ast.Expr):
            pending.append(ast.unparse(statement))
            continue
        case = _compared(statement)
        if case is None:
            return None
        expression, expected = case
        functions.append(_function(len(functions), shared, [*pending, f"return {expression}"]))
        cases.append(CallTest([len(cases)], expected))
        pending = []
    dispatch = f"def {CASE}(number):\n    return globals()[f'{CASE}_{{number}}']()"
    return CallTests(CASE, tuple(cases), "\n".join([*setup, *functions, dispatch]) + "\n", json=False)


def called_name(code: str) -> str:
    """The function that assertions are about: the first that is called and is none of Python's own."""
    tree = parse(code)
    defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    known = defined | set(dir(builtins))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id not in known:
            return node.func.id
    raise BadTask("its tests call nothing")


def mentions(code: str, *names: str) -> bool:
    """Whether `code` uses one of `names`: where it does not, it cannot call it either."""
    return any(isinstance(node, ast.Name) and node.id in names for node in ast.walk(parse(code)))


def imports(code: str) -> str:
    """Imports of the standard library's modules that `code` uses and does not import: those of the program it tests,
    with which it was meant to share one namespace (MBPP/596 asks `sys.getsizeof`)."""
    tree = parse(code)
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} - _stored(tree)
    return "".join(f"import {name}\n" for name in sorted(used & sys.stdlib_module_names))


def without_function(code: str, name: str) -> str:
    """`code` but for its function `name`: the helpers and imports that tests may need."""
    tree = parse(code)
    tree.body = [node for node in tree.body if not (isinstance(node, ast.FunctionDef) and node.name == name)]
    return ast.unparse(tree)


def _stored(tree: ast.AST) -> set[str]:
    """The names that are assigned to."""
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def _compared(statement: ast.stmt) -> tuple[str, object] | None:
    """(expression, value) of `assert expression == constant`."""
    test = statement.test if isinstance(statement, ast.Assert) else None
    if not (isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], ast.Eq)):
        return None
    try:
        expected = ast.literal_eval(test.comparators[0])
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    # Any call: MBPP has functions named `sum` and `max`, and they are what it tests.
    if not any(isinstance(node, ast.Call) for node in ast.walk(test.left)):
        raise BadTask(f"its test `{ast.unparse(statement)[:80]}` calls nothing")
    return ast.unparse(test.left), expected


def _function(number: int, shared: list[str], body: list[str]) -> str:
    lines = [f"global {', '.join(shared)}"] if shared else []
    return f"def {CASE}_{number}():\n" + "\n".join(
        f"    {line}" for part in [*lines, *body] for line in part.splitlines()
    )
