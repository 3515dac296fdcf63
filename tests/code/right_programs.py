"""Right programs in the styles that models write: each completion solves its task, and must be scored so."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]


def fenced(program: str, language: str = "python") -> str:
    return f"```{language}\n{program.strip()}\n```"


def calls(entry: str, *cases: tuple[list[Any], Any]) -> Row:
    return {"entry": entry, "tests": [{"args": args, "returns": returns} for args, returns in cases]}


def stdin(*cases: tuple[str, str]) -> Row:
    return {"tests": [{"input": given, "output": printed} for given, printed in cases]}


def asserts(*cases: str, setup: str = "") -> Row:
    return {"tests": list(cases), "setup": setup}


SQUARE = calls("square", ([3], 9), ([-2], 4))
SPLIT = asserts("assert square(3) == 9", "assert square(-2) == 4")
CHECKED = asserts("assert square(3) - 1 == 8", "assert square(-2) in [4]")
SUM = stdin(("1 2\n", "3\n"), ("-5 5\n", "0\n"))
FIB = calls("fib", ([0], 0), ([1], 1), ([30], 832040))
WORDS = calls("count_words", (["a b a"], {"a": 2, "b": 1}), ([""], {}))
PLAIN = """\
def square(n):
    return n * n
"""

# What stands below a function: none of it may matter to tests that call the function.
BELOW = {
    "demo that reads input": """\
if __name__ == '__main__':
    print(square(int(input('n? '))))""",
    "demo that exits": """\
import sys
if __name__ == '__main__':
    print(square(2))
    sys.exit(1)""",
    "demo with argparse": """\
import argparse
if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    parser.add_argument('n', type=int)
    print(square(parser.parse_args().n))""",
    "main function": """\
def main():
    print(square(float(input())))

if __name__ == '__main__':
    main()""",
    "exit of main": """\
import sys
def main():
    return 0

sys.exit(main())""",
    "doctest": """\
import doctest
if __name__ == '__main__':
    doctest.testmod(verbose=True)""",
    "doctest without condition": """\
import doctest
doctest.testmod()""",
    "unittest": """\
import unittest
class TestSquare(unittest.TestCase):
    def test_three(self):
        self.assertEqual(square(3), 9)

if __name__ == '__main__':
    unittest.main()""",
    "unittest without condition": """\
import unittest
class TestSquare(unittest.TestCase):
    def test_three(self):
        self.assertEqual(square(3), 9)

unittest.main()""",
    "own assertions": """\
assert square(3) == 9
print('All tests passed!')""",
    "demo that prints": """\
for n in range(5):
    print(f'square({n}) = {square(n)}')""",
    "timing": """\
import time
start = time.perf_counter()
square(10**6)
print(time.perf_counter() - start)""",
    "own test runner": """\
def run_tests():
    for n, want in [(1, 1), (2, 4)]:
        assert square(n) == want, n
run_tests()""",
    "export list": """\
__all__ = ['square']
__version__ = '1.0'""",
    "demo with own frame": """\
from pathlib import Path
if __name__ == '__main__':
    print(Path(__file__).name)""",
}

# The same function, written in other ways.
STYLES = {
    "plain": PLAIN,
    "typed": """\
from typing import Union

Number = Union[int, float]

def square(n: Number) -> Number:
    return n ** 2""",
    "new annotations": """\
from __future__ import annotations
def square(n: int | None = None) -> list[int] | int:
    return n * n""",
    "lambda": "square = lambda n: n * n",
    "partial": """\
from functools import partial
def power(e, n):
    return n ** e
square = partial(power, 2)""",
    "class Solution": """\
class Solution:
    def square(self, n: int) -> int:
        return n * n""",
    "static method": """\
class Solution:
    @staticmethod
    def square(n):
        return n * n""",
    "class with state": """\
class Solution:
    def __init__(self):
        self.calls = 0
    def square(self, n):
        self.calls += 1
        return n * n * self.calls""",
    "callable object": """\
class Square:
    def __call__(self, n):
        return n * n
square = Square()""",
    "decorator": """\
import functools
def logged(f):
    @functools.wraps(f)
    def inner(*args):
        print('calling', args)
        return f(*args)
    return inner
@logged
def square(n):
    return n * n""",
    "print debugging": """\
import sys
def square(n):
    print('debug: n =', n)
    print('n', n, file=sys.stderr)
    return n * n""",
    "logging": """\
import logging
logging.basicConfig(level=logging.DEBUG)
log = logging.getLogger(__name__)
def square(n):
    log.debug('square of %s', n)
    return n * n""",
    "walrus and match": """\
def square(n):
    match n:
        case 0: return 0
        case _ if (m := abs(n)): return m * m""",
    "type variable": """\
from typing import TypeVar
T = TypeVar('T', int, float)
def square(n: T) -> T:
    return n * n""",
    "protocol": """\
from typing import Protocol, runtime_checkable
@runtime_checkable
class Multiplies(Protocol):
    def __mul__(self, other): ...
def square(n):
    assert isinstance(n, Multiplies)
    return n * n""",
    "singledispatch": """\
from functools import singledispatch
@singledispatch
def square(n):
    raise TypeError
@square.register
def _(n: int):
    return n * n""",
    "fraction as a result": """\
from fractions import Fraction
def square(n):
    return Fraction(n) ** 2""",
    "decimal as a result": """\
from decimal import Decimal
def square(n):
    return Decimal(n) ** 2""",
    "enumeration as a result": """\
from enum import IntEnum
class R(IntEnum):
    FOUR = 4
    NINE = 9
def square(n):
    return R(n * n)""",
    "recursion to a depth": """\
import sys
sys.setrecursionlimit(10**6)
def count(n):
    return 0 if n == 0 else 1 + count(n - 1)
def square(n):
    return count(n * n) if n != 3 else count(9000) // 1000""",
    "thread": """\
import threading
def square(n):
    out = []
    t = threading.Thread(target=lambda: out.append(n * n))
    t.start(); t.join()
    return out[0]""",
    "asyncio": """\
import asyncio
async def work(n):
    await asyncio.sleep(0)
    return n * n
def square(n):
    return asyncio.run(work(n))""",
}

FUNCTIONS: dict[str, tuple[str, Row]] = {
    "memoised recursion": (
        """\
from functools import lru_cache
@lru_cache(maxsize=None)
def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)""",
        FIB,
    ),
    "cache in a default argument": (
        """\
def fib(n, memo={}):
    if n < 2: return n
    if n not in memo: memo[n] = fib(n - 1) + fib(n - 2)
    return memo[n]""",
        FIB,
    ),
    "generator within": (
        """\
from itertools import islice
def naturals():
    a, b = 0, 1
    while True:
        yield a
        a, b = b, a + b
def fib(n):
    return next(islice(naturals(), n, None))""",
        FIB,
    ),
    "counter as a result": (
        """\
from collections import Counter
def count_words(s):
    return Counter(s.split())""",
        WORDS,
    ),
    "default dictionary as a result": (
        """\
from collections import defaultdict
def count_words(s):
    d = defaultdict(int)
    for w in s.split(): d[w] += 1
    return d""",
        WORDS,
    ),
    "named tuple as a result": (
        """\
from typing import NamedTuple
class P(NamedTuple):
    x: int
    y: int
def swap(a, b):
    return P(b, a)""",
        calls("swap", ([1, 2], [2, 1])),
    ),
    "data class within": (
        """\
from dataclasses import dataclass, field
@dataclass(order=True)
class Item:
    n: int
    name: str = field(compare=False)
def first(rows):
    return min(Item(n, name) for n, name in rows).name""",
        calls("first", ([[[3, "c"], [1, "a"]]], "a")),
    ),
    "list of tuples": (
        """\
def pairs(a):
    return list(enumerate(a))""",
        calls("pairs", ([["x"]], [[0, "x"]])),
    ),
    "floats": (
        """\
def mean(a):
    return sum(a) / len(a)""",
        calls("mean", ([[0.1, 0.2]], 0.15)),
    ),
    "heap": (
        """\
import heapq
def kth(a, k):
    heapq.heapify(a)
    return heapq.nsmallest(k, a)[-1]""",
        calls("kth", ([[3, 1, 2], 2], 2)),
    ),
    "function named as Python's": (
        """\
def sum(a, b):
    return a + b""",
        asserts("assert sum(1, 2) == 3"),
    ),
    "callback": (
        """\
def apply(f, a):
    return [f(x) for x in a]""",
        asserts("assert apply(lambda x: x * 2, [1, 2]) == [2, 4]"),
    ),
    "function as a result": (
        """\
def adder(n):
    return lambda x: x + n""",
        asserts("assert adder(3)(4) == 7"),
    ),
    "decorator as a task": (
        """\
def twice(f):
    return lambda x: f(f(x))
def half(x):
    return x / 2""",
        asserts("assert twice(half)(8) == 2"),
    ),
    "generator as a result": (
        """\
def evens(n):
    yield from range(0, n, 2)""",
        asserts(
            "assert list(evens(5)) == [0, 2, 4]",
            "assert sum(evens(5)) == 6",
            """\
it = evens(3)
assert next(it) == 0""",
        ),
    ),
    "endless generator": (
        """\
def primes():
    n = 2
    while True:
        if all(n % d for d in range(2, n)): yield n
        n += 1""",
        asserts("assert list(islice(primes(), 4)) == [2, 3, 5, 7]", setup="from itertools import islice"),
    ),
    "map as a result": (
        """\
def inc(a):
    return map(lambda x: x + 1, a)""",
        asserts("assert sorted(inc([2, 1])) == [2, 3]"),
    ),
    "dictionary view as a result": (
        """\
def keys(d):
    return d.keys()""",
        asserts("assert set(keys({'a': 1})) == {'a'}"),
    ),
    "in place, list": (
        """\
def rotate(a, k):
    k %= len(a)
    a[:] = a[-k:] + a[:-k]""",
        asserts("""\
a = [1, 2, 3]
rotate(a, 1)
assert a == [3, 1, 2]"""),
    ),
    "in place, grid": (
        """\
def flip(g):
    for row in g: row.reverse()""",
        asserts(
            """\
g = [[1, 2], [3, 4]]
row = g[0]
flip(g)
assert g == [[2, 1], [4, 3]] and row is g[0] and row == [2, 1]"""
        ),
    ),
    "in place, dictionary and set": (
        """\
def add(d, s):
    d['x'] = 1
    s.discard(2)""",
        asserts("""\
d, s = {}, {1, 2}
add(d, s)
assert (d, s) == ({'x': 1}, {1})"""),
    ),
    "fractions": (
        """\
from fractions import Fraction
def third():
    return Fraction(1, 3)""",
        asserts("assert third() == Fraction(1, 3)", setup="from fractions import Fraction"),
    ),
    "deque": (
        """\
from collections import deque
def queue(a):
    return deque(a, maxlen=2)""",
        asserts("assert queue([1, 2, 3]) == deque([2, 3])", setup="from collections import deque"),
    ),
    "dates": (
        """\
from datetime import date, timedelta
def tomorrow(d):
    return d + timedelta(days=1)""",
        asserts("assert tomorrow(date(2024, 2, 28)) == date(2024, 2, 29)", setup="from datetime import date"),
    ),
    "time zones": (
        """\
from datetime import timezone
def utc(d):
    return d.astimezone(timezone.utc)""",
        asserts(
            """\
d = datetime(2024, 1, 1, 12, tzinfo=timezone(timedelta(hours=5, minutes=30)))
assert utc(d) == d""",
            setup="from datetime import datetime, timedelta, timezone",
        ),
    ),
    "decimals": (
        """\
from decimal import Decimal
def total(a):
    return sum(map(Decimal, a))""",
        asserts("assert total(['0.1', '0.2']) == Decimal('0.3')", setup="from decimal import Decimal"),
    ),
    "range and bytes": (
        """\
def r(n):
    return range(n)
def b(s):
    return bytearray(s, 'ascii')""",
        asserts("assert list(r(3)) == [0, 1, 2] and b('x') == b'x'"),
    ),
    "isclose in the tests": (
        """\
def area(r):
    import math
    return math.pi * r * r""",
        asserts("assert isclose(area(1), 3.14159265, rel_tol=1e-6)", setup="from math import isclose"),
    ),
    "exceptions": (
        """\
class Bad(ValueError): pass
def root(x):
    if x < 0: raise Bad('negative')
    return x ** 0.5""",
        asserts(
            """\
try:
    root(-1)
    assert False
except ValueError as e:
    assert str(e) == 'negative'""",
            "assert root(4) == 2",
        ),
    ),
    "unittest in the tests": (
        """\
def div(a, b):
    return a / b""",
        asserts(
            "T.assertEqual(div(4, 2), 2)",
            "T.assertRaises(ZeroDivisionError, div, 1, 0)",
            setup="""\
import unittest
T = unittest.TestCase()""",
        ),
    ),
    "several functions": (
        """\
def enc(s):
    return s[::-1]
def dec(s):
    return s[::-1]""",
        asserts("assert enc('ab') == 'ba'", "assert dec(enc('abc')) == 'abc'", "assert enc('a') != dec('b')"),
    ),
    "a class as a task": (
        """\
class Stack:
    def __init__(self): self.items = []
    def push(self, x): self.items.append(x)
    def pop(self): return self.items.pop()
    def __len__(self): return len(self.items)
    def __repr__(self): return f'Stack({self.items})'""",
        asserts(
            """\
s = Stack()
s.push(1)
s.push(2)
assert s.pop() == 2
assert len(s) == 1 and str(s) == 'Stack([1])'"""
        ),
    ),
    "a data class as a task": (
        """\
from dataclasses import dataclass
@dataclass
class Point:
    x: int
    y: int
    def moved(self, dx): return Point(self.x + dx, self.y)""",
        asserts("""\
p = Point(1, y=2)
assert (p.moved(3).x, p.y) == (4, 2)
p.y = 5
assert p.moved(0).y == 5"""),
    ),
    "a linked list": (
        """\
class Node:
    def __init__(self, v, next=None): self.v, self.next = v, next
def reverse(n):
    last = None
    while n: n.next, last, n = last, n, n.next
    return last""",
        asserts(
            """\
head = Node(1, Node(2))
new = reverse(head)
assert new.v == 2 and new.next is head and head.next is None"""
        ),
    ),
    "threads in the tests": (
        "def inc(x):\n    return x + 1\n",
        asserts(
            "with ThreadPoolExecutor(4) as pool:\n    assert list(pool.map(inc, range(40))) == list(range(1, 41))",
            setup="from concurrent.futures import ThreadPoolExecutor",
        ),
    ),
    "several names of modules": (
        """\
def bisect(a, x):
    return sum(y < x for y in a)""",
        asserts("assert bisect([1, 2], 2) > 0"),
    ),
}

# Programs that read their input.
SCRIPTS = {
    "input": """\
a, b = map(int, input().split())
print(a + b)""",
    "sys.stdin": """\
import sys
print(sum(int(x) for line in sys.stdin for x in line.split()))""",
    "buffer": """\
import sys
data = sys.stdin.buffer.read().split()
sys.stdout.write(str(sum(map(int, data))) + '\\n')""",
    "open(0)": "print(sum(map(int, open(0).read().split())))",
    "main": """\
def main():
    a, b = map(int, input().split())
    print(a + b)

if __name__ == '__main__':
    main()""",
    "fast input": """\
import sys
input = sys.stdin.readline
a, b = map(int, input().split())
print(a + b)""",
    "exit": """\
import sys
a, b = map(int, input().split())
print(a + b)
sys.exit(0)""",
    "quit": """\
a, b = map(int, input().split())
print(a + b)
quit()""",
    "end of file": """\
while True:
    try:
        print(sum(map(int, input().split())))
    except EOFError:
        break""",
    "thread with a deep stack": """\
import sys, threading
def main():
    print(sum(map(int, input().split())))
sys.setrecursionlimit(10**6)
threading.stack_size(1 << 26)
t = threading.Thread(target=main)
t.start()
t.join()""",
    "print at exit": """\
import atexit
atexit.register(lambda: print(sum(map(int, input().split()))))""",
    "class with solve": """\
class Solver:
    def solve(self):
        return sum(map(int, input().split()))
print(Solver().solve())""",
    "text around": """\
a, b = map(int, input('').split())
print(a + b, end='')""",
    "fileinput": """\
import fileinput
for line in fileinput.input():
    print(sum(map(int, line.split())))""",
}

# The same program, in completions that are more than it.
PROSE = {
    "explanation after": f"Sure!\n\n{fenced(PLAIN)}\n\nThis uses `n * n`, which is O(1). Note that `square(3)` is `9`.",
    "shell after": f"{fenced(PLAIN)}\n\nRun it:\n\n{fenced('python solution.py', 'bash')}",
    "output after": f"{fenced(PLAIN)}\n\nOutput:\n\n{fenced('9', 'text')}",
    "output in a plain block": f"{fenced(PLAIN)}\n\nOutput:\n\n{fenced('9', '')}",
    "console after": f"{fenced(PLAIN)}\n\n{fenced('$ python3 -c ...' + chr(10) + '9', 'console')}",
    "draft before": f"{fenced('def square(n):' + chr(10) + '    return 0')}\nThat is wrong. Rather:\n{fenced(PLAIN)}",
    "inline code before the fence": f"Define `square` with `*`: {fenced(PLAIN)}",
    "thoughts before": f"<think>\nMaybe ```x``` or `y`?\n</think>\n{fenced(PLAIN)}",
    "in a tag": f"<answer>{fenced(PLAIN)}</answer>",
    "use in a block of its own": f"{fenced(PLAIN)}\n\nExample:\n\n{fenced('print(square(3))  # 9')}",
    "tests in a block of their own": f"{fenced(PLAIN)}\n\nTests:\n\n{fenced('assert square(3) == 9')}",
    "use before it": f"You call it so:\n{fenced('y = square(3)')}\nHere it is:\n{fenced(PLAIN)}",
    "definition in a plain block": f"{fenced(PLAIN, '')}\n\nExample:\n\n{fenced('square(3) == 9')}",
    "two versions": f"{fenced('square = lambda n: n')}\nBut that is wrong:\n{fenced(PLAIN)}",
    "method, then use": (
        f"{fenced('class Solution:' + chr(10) + '    def square(self, n): return n * n')}\n"
        f"{fenced('s = Solution()' + chr(10) + 'print(s.square(3))')}"
    ),
    "capital letters": fenced(PLAIN, "Python"),
    "another name": fenced(PLAIN, "py"),
    "with a title": fenced(PLAIN, 'python title="square.py"'),
    "no language": fenced(PLAIN, ""),
    "no fence": PLAIN,
    "in a list": "1. Write it:\n   ```python\n"
    + "".join(f"   {line}\n" for line in PLAIN.splitlines())
    + "   ```\n2. Done.",
    "more backticks": f"````python\n{PLAIN}````",
    "carriage returns": fenced(PLAIN).replace("\n", "\r\n"),
    "a block that never closes after it": f"{fenced(PLAIN)}\nRun:\n```bash\npython",
}

RIGHT: dict[str, tuple[str, Row]] = {
    **{
        f"below, {form}: {name}": (fenced(PLAIN + "\n" + code), row)
        for name, code in BELOW.items()
        for form, row in (("calls", SQUARE), ("split", SPLIT), ("checked", CHECKED))
    },
    **{f"style: {name}": (fenced(code), SQUARE) for name, code in STYLES.items()},
    **{f"function: {name}": (fenced(code), row) for name, (code, row) in FUNCTIONS.items()},
    **{f"script: {name}": (fenced(code), SUM) for name, code in SCRIPTS.items()},
    **{f"prose: {name}": (text, SQUARE) for name, text in PROSE.items()},
}
