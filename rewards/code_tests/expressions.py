"""Test code, read: what of it may be split into calls and expected values, and which names in it are the program's.

Splitting `assert f(2, 3) == 5` leaves the 5 with the judge and gives the program the call alone.  It is done only
where all of the test code is of one small grammar, because whatever else stands there would run beside the program:

    tests      ::= (import | x = value | x = Name() | assert)*      the last is an assert
    assert     ::= assert call == constant [, message]
    call       ::= f(value, …, k=value, **value)  |  x.f(…)  |  Name().f(…)
    value      ::= an expression that names nothing of the program's, such as a literal or a lambda

`f` and `Name` are the program's: not bound by the tests.  If Python has a function `f` too (MBPP has its own `sum` and
`max`, and they are what it tests), values are literals, because another such name may be the program's as well.
Anything else runs in a checker of its own, where the program is asked for values (`rewards.sandbox.remote`).  Test code
is trusted, and parsed here; programs never are.
"""

from __future__ import annotations

import ast
import builtins
import symtable
import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache

from rewards.code_tests.tests import BadTask, CallTest, CallTests

CASE = "_case"  # the glue's function: _case(7) is the value of the eighth call
# A checker that ran what a program gave back could be told to say "pass"; `format` reaches every expected value
# (`"{0.f.__globals__}"`) from an object of the tests'.
EVALUATING = frozenset(
    "eval exec __import__ import_module runpy pickle marshal shelve dill cloudpickle joblib sympify parse_expr "
    "lambdify InteractiveInterpreter format_map".split()
)
_BUILTINS = frozenset(dir(builtins))


@lru_cache(maxsize=64)  # the completions of a group come one after another, with the same tests
def parse(code: str) -> ast.Module:
    try:
        tree = ast.parse(code)
        compile(tree, "<tests>", "exec")
    except (SyntaxError, ValueError, RecursionError) as error:
        raise BadTask(f"its tests are not Python ({error})") from None
    return tree


@lru_cache(maxsize=16)
def as_calls(code: str) -> CallTests | None:
    """The tests in `code` if all of it is of the grammar above."""
    statements = parse(code).body
    if not statements or not isinstance(statements[-1], ast.Assert):  # what follows the last one would never run
        return None
    kinds: dict[str, str] = {}  # of the names that the tests bind: "literal", "value", "object" or "import"
    setup: list[str] = []
    functions: list[str] = []
    called: list[str] = []
    cases: list[CallTest] = []
    for statement in statements:
        if isinstance(statement, ast.Assert):
            compared = _compared(statement, kinds)
            if compared is None:
                return None
            call, expected = compared
            functions.append(_function(len(cases), sorted(kinds), [*setup, f"return {ast.unparse(call)}"]))
            called.append(call.func.attr if isinstance(call.func, ast.Attribute) else ast.unparse(call.func))
            cases.append(CallTest([len(cases)], expected))
            setup = []
        elif _binds(statement, kinds):
            setup.append(ast.unparse(statement))
        else:
            return None
    dispatch = f"def {CASE}(number):\n    return globals()[f'{CASE}_{{number}}']()"
    glue = "\n".join([*functions, dispatch]) + "\n"
    return CallTests(CASE, tuple(cases), glue, json=False, called=tuple(dict.fromkeys(called)))


def _function(number: int, shared: list[str], body: list[str]) -> str:
    lines = [f"global {', '.join(shared)}", *body] if shared else body
    return f"def {CASE}_{number}():\n" + "\n".join(f"    {line}" for part in lines for line in part.splitlines())


def _binds(statement: ast.stmt, kinds: dict[str, str]) -> bool:
    """Whether `statement` is an import or assignment of the grammar; then `kinds` knows its names."""
    if isinstance(statement, ast.Import | ast.ImportFrom):
        names = [alias.asname or alias.name.partition(".")[0] for alias in statement.names]
        kinds |= dict.fromkeys(names, "import")
        return "*" not in names and not (isinstance(statement, ast.ImportFrom) and statement.module == "__future__")
    if not (isinstance(statement, ast.Assign) and len(statement.targets) == 1):
        return False
    target, value = statement.targets[0], statement.value
    if not isinstance(target, ast.Name):
        return False
    kind = next((kind for kind, holds in _KINDS.items() if holds(value, kinds)), "")
    kinds[target.id] = kind
    return bool(kind)


def _compared(statement: ast.Assert, kinds: dict[str, str]) -> tuple[ast.Call, object] | None:
    """(call, value) of `assert call == constant`."""
    test = statement.test
    if not (isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], ast.Eq)):
        return None
    call, constant = test.left, test.comparators[0]
    if not (isinstance(call, ast.Call) and _is_programs(call, kinds) and _is_constant(constant)):
        return None
    return call, ast.literal_eval(constant)


def _is_programs(node: ast.Call, kinds: dict[str, str]) -> bool:
    """Whether it is a call of the grammar: of the program's, with inputs of the tests'."""
    function, is_input = node.func, _is_value
    if isinstance(function, ast.Attribute):
        owner = function.value
        known = isinstance(owner, ast.Name) and kinds.get(owner.id) == "object" or _is_object(owner, kinds)
    else:
        known = isinstance(function, ast.Name) and function.id not in kinds
        if isinstance(function, ast.Name) and function.id in _BUILTINS:
            is_input = _is_literal
    return known and all(is_input(value, kinds) for value in [*node.args, *(word.value for word in node.keywords)])


def _is_object(node: ast.expr, kinds: dict[str, str]) -> bool:
    """`Name()` of a class of the program's."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.args and not node.keywords):
        return False
    return node.func.id not in kinds and node.func.id not in _BUILTINS


def _is_value(node: ast.expr, kinds: dict[str, str]) -> bool:
    if _is_literal(node, kinds):
        return True
    if any(isinstance(part, ast.Starred | ast.NamedExpr) for part in ast.walk(node)):
        return False
    return all(kinds.get(name) in ("literal", "value", "import") for name in _used(ast.unparse(node)) - _BUILTINS)


def _is_literal(node: ast.expr, kinds: dict[str, str]) -> bool:
    return isinstance(node, ast.Name) and kinds.get(node.id) == "literal" or _is_constant(node)


def _is_constant(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return True


_KINDS = {"literal": _is_literal, "value": _is_value, "object": _is_object}


def refuse_evaluation(code: str) -> None:
    """Raises `BadTask` for test code that could run, or look things up by, what a program gives back."""
    for node in ast.walk(parse(code)):
        for name in _mentioned(node):
            if name in EVALUATING:
                raise BadTask(f"its tests use `{name}`, which could run or read what a program gives back")
        if _formats(node):
            raise BadTask("its tests call `format` on what may be a text of the program's; an f-string does the same")


def _mentioned(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name):
            yield "exec" if name == "compile" and isinstance(node, ast.Name) else name  # `re.compile` is no harm
        case ast.ImportFrom(module=str(name)):
            yield name


def _formats(node: ast.AST) -> bool:
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Constant(), attr="format")):
            return False
        case ast.Call(func=ast.Attribute(attr="format")):
            return True
    return False


def program_names(code: str) -> tuple[str, ...]:
    """The names that tests use and neither they nor Python bind, those that are called first: functions and classes
    of the program's.  Raises `BadTask` where there are none."""
    free = _free(code)
    nodes = list(ast.walk(parse(code)))
    called = [node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    used = [node.id for node in nodes if isinstance(node, ast.Name)]
    names = tuple(name for name in dict.fromkeys([*called, *used]) if name in free)
    if not names:
        raise BadTask("its tests call nothing of the program's")
    return names


def are_independent(parts: Sequence[str], names: Sequence[str]) -> bool:
    """Whether each part asks the program, which has `names`, and none needs what another one binds."""
    bound = [_bound(part) for part in parts]
    for part, own in zip(parts, bound, strict=True):
        used = _used(part)
        others = set[str]().union(*(theirs for theirs in bound if theirs is not own))
        if used.isdisjoint(names) or not used.isdisjoint(others - own):
            return False
    return True


def mentions(code: str, *names: str) -> bool:
    """Whether `code` uses one of `names`: where it does not, it cannot call it either."""
    return any(isinstance(node, ast.Name) and node.id in names for node in ast.walk(parse(code)))


def imports(code: str) -> str:
    """Imports of the standard library's modules that `code` uses and does not import: those of the program it tests,
    with which it was meant to share one namespace (MBPP/596 asks `sys.getsizeof`)."""
    return "".join(f"import {name}\n" for name in sorted(_modules(code)))


def without_function(code: str, name: str) -> str:
    """`code` but for its function `name`: the helpers and imports that tests may need."""
    kept = [node for node in parse(code).body if not (isinstance(node, ast.FunctionDef) and node.name == name)]
    return ast.unparse(ast.Module(kept, []))


def _modules(code: str) -> set[str]:
    """Modules of the standard library that are used as such, `sys.x`, and not imported."""
    owners = (node.value for node in ast.walk(parse(code)) if isinstance(node, ast.Attribute))
    return {owner.id for owner in owners if isinstance(owner, ast.Name)} & sys.stdlib_module_names - _bound(code)


def _free(code: str) -> set[str]:
    return _used(code) - _bound(code) - _BUILTINS - _modules(code) - {"__name__"}


def _used(code: str) -> set[str]:
    return {symbol.get_name() for symbol in _globals(code) if symbol.is_referenced()}


def _bound(code: str) -> set[str]:
    return {symbol.get_name() for symbol in _globals(code) if symbol.is_assigned() or symbol.is_imported()}


@lru_cache(maxsize=64)
def _globals(code: str) -> list[symtable.Symbol]:
    """Every sight of a global name, in any scope."""
    parse(code)
    module = symtable.symtable(code, "<tests>", "exec")
    found, tables = list(module.get_symbols()), module.get_children()
    while tables:
        table = tables.pop()
        found += [symbol for symbol in table.get_symbols() if symbol.is_global()]
        tables += table.get_children()
    return found
