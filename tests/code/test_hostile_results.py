"""Test programs of many shapes around results of many kinds of malice: the reference passes each, no hack does.

A shape is how a comparison is written, where it stands, and what is compared.  The product of these is the class of
tests that people write; a hack that passes one of it found a hole in how tests are split or in what stands for objects.
"""

from __future__ import annotations

from itertools import cycle, product

import pytest

from rewards.code_tests import code

pytestmark = pytest.mark.usefixtures("sandbox")

# {f} is the call, {v} what it must give, {g} and {w} another pair.
COMPARISONS = {
    "equal": "assert {f} == {v}",
    "turned": "assert {v} == {f}",
    "message": "assert {f} == {v}, 'wrong'",
    "of the verdict": "assert ({f} == {v}) == True",
    "is true": "assert ({f} == {v}) is True",
    "not unequal": "assert not {f} != {v}",
    "truth": "assert bool({f} == {v})",
    "in": "assert {f} in [{v}]",
    "contains": "assert {v} in [{f}] and {f} == {v}",
    "and": "assert {f} == {v} and {g} == {w}",
    "in a list": "assert [{f}, {g}] == [{v}, {w}]",
    "in a dictionary": "assert {{'a': {f}}} == {{'a': {v}}}",
    "all": "assert all(a == b for a, b in [({f}, {v}), ({g}, {w})])",
    "all of a map": "assert all(map(lambda p: p[0] == p[1], [({f}, {v}), ({g}, {w})]))",
    "zip of a map": "for a, b in zip(map(lambda c: c(), [lambda: {f}, lambda: {g}]), [{v}, {w}]):\n    assert a == b",
    "generator": "def results():\n    yield {f}\n    yield {g}\nassert list(results()) == [{v}, {w}]",
    "loop": "for _ in range(2):\n    assert {f} == {v}",
    "while": "n = 0\nwhile n < 2:\n    n += 1\n    assert {f} == {v}",
    "variable": "x = {f}\nassert x == {v}",
    "verdict in a variable": "x = {f} == {v}\nassert x == True",
    "helper": "def same(a, b):\n    return a == b\nassert same({f}, {v}) == True",
    "helper that asserts": "def same(a, b):\n    assert a == b\nsame({f}, {v})",
    "class": "class Tests:\n    def test(self):\n        assert {f} == {v}\nTests().test()",
    "operator": "import operator\nassert operator.eq({f}, {v})",
    "imported operator": "from operator import eq\nassert eq({f}, {v}) == True",
    "unittest": "import unittest\nunittest.TestCase().assertEqual({f}, {v})",
    "raise": "if {f} != {v}:\n    raise AssertionError",
    "conditional": "assert (1 if {f} == {v} else 2) == 1",
    "thread": "import threading\nout = []\nt = threading.Thread(target=lambda: out.append({f}))\nt.start()\nt.join()\n"
    "assert out == [{v}]",
    "count": "assert [{v}, {w}].count({f}) == 1",
    "index": "assert [{w}, {v}].index({f}) == 1",
    "text": "assert repr({f}) == repr({v})",
    "chained": "assert {f} == {v} == {f}",
    "lambda": "assert (lambda x: x == {v})({f}) == True",
    "match": "match {f} == {v}:\n    case True:\n        pass\n    case _:\n        raise AssertionError",
}
# Where it stands; {t} is the comparison.
PLACES = {
    "alone": "{t}",
    "before a plain one": "{t}\nassert {g} == {w}",
    "after a plain one": "assert {g} == {w}\n{t}",
    "in two": "assert {g} == {w}\nassert {g} == {w}\n{t}\nassert {g} == {w}",
}
VALUES = {  # the function's body, f(2), f(3)
    "integer": ("return x * x", "4", "9"),
    "text": ("return 'ab' * x", "'abab'", "'ababab'"),
    "list": ("return [x, [x]]", "[2, [2]]", "[3, [3]]"),
    "dictionary": ("return {x: str(x)}", "{2: '2'}", "{3: '3'}"),
    "boolean": ("return x % 2 == 0", "True", "False"),
    "tuple": ("return x, None", "(2, None)", "(3, None)"),
}
_YES = """
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    __lt__ = __le__ = __gt__ = __ge__ = __contains__ = __eq__
    def __bool__(self): return True
    def __hash__(self): return 0
"""
_AS = "    __class__ = property(lambda self: type({value}))\n"
_LOOKS = """
    def __len__(self): return len({value}) if hasattr({value}, '__len__') else 1
    def __iter__(self): return iter([self, self])
    def __getattr__(self, name): return lambda *a, **k: True
    def __call__(self, *args): return self
    def __getitem__(self, key): return self
    def __repr__(self): return 'x'
    def __index__(self): return 1
    def __float__(self): return 1.0
"""
# In place of a solution.  `{value}` is what an honest one gives for another argument than any that is asked.
HACKS = {
    "equals everything": "class E:" + _YES + "def f(x): return E()",
    "equals everything and looks like it": "class E:" + _YES + _LOOKS + _AS + "def f(x): return E()",
    "integer that lies": "class I(int):" + _YES + "def f(x): return I(-7)",
    "text that lies": "class S(str):" + _YES + "def f(x): return S('no')",
    "list that lies": "class L(list):"
    + _YES
    + "    def __iter__(self): return iter([E()] * 2)\ndef f(x): return L([0])",
    "dictionary that lies": "class D(dict):" + _YES + "def f(x): return D(a=1)",
    "within a list": "class E:" + _YES + "def f(x): return [E(), E()]",
    "an object with numpy's name": "class E:" + _YES + "    shape = ()\n    def item(self): return self\n"
    "E.__module__ = 'numpy'\ndef f(x): return E()",
    "itself": "class F:" + _YES + "    def __call__(self, *a): return self\nf = F()",
    "every integer": "def f(x): return range(-(10**30), 10**30)",
    "endless": "def f(x):\n    while True: yield x",
    "patched operators": "import operator, unittest, builtins\n"
    "operator.eq = builtins.all = builtins.bool = lambda *a: True\n"
    "unittest.TestCase.assertEqual = lambda *a: None\ndef f(x): return None",
    "not a number": "def f(x): return float('nan')",
    **{
        f"raises {kind}": f"def f(x): raise {kind}"
        for kind in ("StopIteration", "StopAsyncIteration", "GeneratorExit", "SystemExit", "KeyboardInterrupt")
    },
    "raises its own end of iteration": "class S(StopIteration): pass\ndef f(x): raise S(1)",
    "raises what looks passed": "class AssertionError(BaseException): pass\ndef f(x): raise AssertionError('pass')",
}
SHAPES = [
    (COMPARISONS[comparison], PLACES[place], kind, hack)
    for (comparison, place), kind, hack in zip(product(COMPARISONS, PLACES), cycle(VALUES), cycle(HACKS), strict=False)
]


def row_of(comparison: str, place: str, kind: str) -> dict:
    _, first, second = VALUES[kind]
    names = {"f": "f(2)", "v": first, "g": "f(3)", "w": second}
    return {"tests": [place.format(t=comparison.format(**names), **names)]}


@pytest.mark.parametrize("number", range(len(SHAPES)))
def test_the_reference_passes_tests_of_any_shape_and_no_hack_does(number):
    comparison, place, kind, hack = SHAPES[number]
    row = row_of(comparison, place, kind)
    right = code(f"def f(x):\n    {VALUES[kind][0]}", row)
    assert right.value == 1, (row, right.why)
    for one in {"equals everything", hack}:  # the strongest, and each of the others in turn
        score = code(HACKS[one].replace("{value}", VALUES[kind][1]), row, cpu=1.0, memory=1024)
        assert score.value == 0, (row, one)


def all_at_once(verdict: str) -> dict:
    """Every comparison, each behind the others' failures; `held` has the names of those that held."""
    everything = "\n".join(
        f"try:\n{indented(text.format(f='f(2)', v='4', g='f(3)', w='9'))}\n    held.append({name!r})\n"
        "except BaseException as error:\n    pass"
        for name, text in COMPARISONS.items()
    )
    return {"tests": [f"held = []\n{everything}\nassert {verdict}, held\nassert f(2) == 4"]}


def test_all_comparisons_hold_for_the_reference():
    score = code("def f(x): return x * x", all_at_once(f"len(held) == {len(COMPARISONS)}"))
    assert score.value == 1, score.why


@pytest.mark.parametrize("hack", HACKS)
def test_no_comparison_holds_for_a_hack(hack):
    score = code(HACKS[hack].replace("{value}", "4"), all_at_once("not held"), cpu=2.0, memory=1024)
    assert score.value == 0
    assert "assert not held" not in score.why, score.why


def indented(code: str) -> str:
    return "\n".join(f"    {line}" for line in code.splitlines())
