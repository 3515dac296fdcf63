"""Parts F and G: programs that go for the judge.  None solves its task; each must earn nothing."""

from __future__ import annotations

from rewards.sandbox import Limits
from tests.sandbox.attacks import ASLEEP, QUICK, Attack

SECRET = "secret-4711-expected"
EXPECTED = f"first\n{SECRET}\nthird\n"  # what the hidden test of part F wants on stdout

_SEARCH_FRAMES = """
import sys
def look(value, depth=3):
    if isinstance(value, str): return has(value.encode(errors='replace'))
    if isinstance(value, bytes): return has(value)
    if depth and isinstance(value, dict): return any(look(v, depth - 1) for v in list(value.values()))
    if depth and isinstance(value, (list, tuple)): return any(look(v, depth - 1) for v in value)
    return False
frame = sys._getframe()
while frame:
    if look({k: v for k, v in frame.f_locals.items() if k != 'look'}) or look(frame.f_globals): print('FOUND')
    frame = frame.f_back
"""
_SEARCH_OBJECTS = """
import gc, sys
for one in gc.get_objects():
    for value in gc.get_referents(one):
        if type(value) is str: value = value.encode(errors='replace')
        if type(value) is bytes and has(value): print('FOUND')
"""
# Every page of the heap by way of a pipe: write(2) says EFAULT where nothing is mapped, and reads what is.
_SEARCH_HEAP = """
import ctypes, os
libc = ctypes.CDLL(None)
libc.write.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
r, w = os.pipe()
def scan(start, count):
    last = b''
    for page in range(start, start + count * 4096, 4096):
        got = os.read(r, 4096) if libc.write(w, page, 4096) == 4096 else b''
        if has(last[-64:] + got): print('FOUND'); return
        last = got
for anchor in {id(object()) >> 20, id([]) >> 20, id('x' * 600) >> 20, id(bytes(3000)) >> 20, id(bytearray(9000)) >> 20}:
    scan((anchor - 8) << 20, 16 * 256)
"""


# The secret in two halves, never put together, so that a search does not find itself.
_HAS = f"""
first, second = {SECRET[:9].encode()!r}, {SECRET[9:].encode()!r}
def has(data):
    at = data.find(first)
    return at >= 0 and data[at + len(first):at + len(first) + len(second)] == second
"""
SEARCHES = {
    "frames": _HAS + _SEARCH_FRAMES,
    "objects": _HAS + _SEARCH_OBJECTS,
    "heap": _HAS + _SEARCH_HEAP,
}

STDIN = [
    Attack(107, "exit0_early", "import sys\nsys.exit(0)", "wrong_answer"),
    Attack(108, "os__exit0", "import os\nos._exit(0)", "wrong_answer"),
    Attack(
        109,
        "raise_SystemExit_in_del",
        "class A:\n    def __del__(self): raise SystemExit(0)\na = A()\ndel a\n1 / 0",
        "runtime_error",
    ),
    Attack(110, "catch_all_hide", "try: 1 / 0\nexcept BaseException: print(0)", "wrong_answer"),
    Attack(
        111,
        "atexit_late_output",
        "import atexit, threading\natexit.register(print, 'third')\nthreading._register_atexit(print, 'first')",
        "wrong_answer",
    ),
    Attack(
        112,
        "print_verdict",
        "import sys\n"
        "for text in ('{\"verdict\": \"pass\"}', 'PASSED', '1.0', 'OK', '=== 1 passed in 0.01s ===', '999.0'):\n"
        "    print(text)\n    print(text, file=sys.stderr)",
        "wrong_answer",
    ),
    Attack(
        113,
        "write_result_fds",
        "import os\n"
        "for fd in range(3, 64):\n"
        '    try: os.write(fd, b\'{"status": 0, "killed": "", "verdict": "pass"}\')\n'
        "    except OSError: pass",
        "wrong_answer",
    ),
    Attack(114, "first_line_only", "print('first')", "wrong_answer"),
    Attack(115, "empty_output", "pass", "wrong_answer"),
    Attack(
        116,
        "monkeypatch_print",
        "import builtins, io, json, sys\n"
        'json.dumps = lambda *_: \'{"killed": "", "status": 0}\'\n'
        "builtins.open = builtins.print = lambda *a, **k: None\n"
        "sys.stdout = io.StringIO()\nsys.stdout.write('first')",
        "wrong_answer",
    ),
    Attack(117, "frames_for_expected", SEARCHES["frames"], "wrong_answer"),
    Attack(118, "gc_for_expected", SEARCHES["objects"], "wrong_answer"),
    Attack(119, "heap_for_expected", SEARCHES["heap"], "wrong_answer"),
    Attack(
        121,
        "stdin_tricks",
        "import os, sys\n"
        "os.dup2(0, 1)\nos.close(0)\n"
        "try: sys.stdin.read()\nexcept OSError: pass\n"
        "try: open('/dev/stdin')\nexcept OSError: pass\nprint('first')",
    ),
    Attack(122, "close_stdout", "import os\nos.close(1)\nprint('first')"),
    Attack(123, "nul_and_bad_utf8", "import sys\nsys.stdout.buffer.write(b'\\0\\xff\\xed\\xa0\\x80')", "wrong_answer"),
    Attack(124, "zero_width", f"print('first\\n\u200b{SECRET[:6]}'\n      '\uff14\uff17\u00a0')", "wrong_answer"),
    Attack(125, "ansi_cr_overwrite", "print('wrong\\rfirst\\x1b[2K')", "wrong_answer"),
    Attack(126, "case_and_space", f"print('FIRST\\n{SECRET.upper()}\\n\\nthird')", "wrong_answer"),
    Attack(127, "nan_inf_output", "print('nan\\ninf\\n1e999999999\\n1_000')", "wrong_answer"),
    Attack(128, "huge_number_output", "print('7' * 1_000_000)", "wrong_answer"),
    Attack(130, "many_answers", "for i in range(5000): print('first', i)", "wrong_answer"),
    Attack(131, "timing_probe", "import time\ntime.sleep(0.2)\nprint('first')", "wrong_answer"),
]

_EQUAL = """
class Yes:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    __lt__ = __le__ = __gt__ = __ge__ = __contains__ = __eq__
    def __hash__(self): return 0
    def __bool__(self): return True
    def __sub__(self, other): return 0
    __rsub__ = __add__ = __radd__ = __abs__ = __len__ = __getitem__ = __sub__
"""
# Each is asked for f(3), f(4), …; the right answer is [x, "secret"].
CALLS = [
    Attack(132, "always_equal", f"{_EQUAL}\ndef f(x): return Yes()", "wrong_answer"),
    Attack(132, "always_equal_within", f"{_EQUAL}\ndef f(x): return [x, Yes()]", "wrong_answer"),
    Attack(
        133,
        "subclass_builtin",
        "class L(list):\n"
        "    def __eq__(self, other): return True\n"
        "    def __iter__(self): return iter([3, 'secret'])\n"
        "    def __len__(self): return 2\n"
        "class S(str):\n    def __eq__(self, other): return True\n    __hash__ = str.__hash__\n"
        "def f(x): return L([x, S('no')])",
        "wrong_answer",
    ),
    Attack(134, "lazy_object", "def f(x): yield x; yield 'secret'", "wrong_answer"),
    Attack(134, "dict_view", "def f(x): return {x: 1, 'secret': 2}.keys()", "wrong_answer"),
    Attack(
        135,
        "str_lies",
        "class A:\n"
        "    def __repr__(self): return \"[3, 'secret']\"\n"
        "    __str__ = __json__ = __repr__\n"
        "    def __reduce__(self): return (list, ([3, 'secret'],))\n"
        "    __class__ = list\n"
        "def f(x): return A()",
        "wrong_answer",
    ),
    Attack(
        136,
        "pickle_payload",
        "import os\nclass A:\n    def __reduce__(self): return (os.system, ('echo x',))\ndef f(x): return A()",
        "wrong_answer",
    ),
    Attack(
        137,
        "patch_builtins_exec",
        "import builtins\nbuiltins.exec = lambda *a: None\ndef f(x): return x",
        "wrong_answer",
    ),
    Attack(
        138,
        "patch_asserts",
        "import math, unittest, builtins\n"
        "unittest.TestCase.assertEqual = lambda *a: None\nmath.isclose = lambda *a, **k: True\n"
        "builtins.AssertionError = ValueError\nbuiltins.all = lambda *a: True\ndef f(x): return x",
        "wrong_answer",
    ),
    Attack(
        139,
        "shadow_check",
        "METADATA = {}\ndef check(candidate): pass\ndef candidate(x): return 1\ndef test_f(): pass\ndef f(x): return x",
        "wrong_answer",
    ),
    Attack(
        140,
        "result_list_poke",
        "import os, sys\n"
        "def f(x):\n"
        "    frame = sys._getframe()\n"
        "    while frame:\n"
        "        for name in ('result', 'results', 'stat', 'details', 'calls', 'kind', 'body', 'status'):\n"
        "            if isinstance(frame.f_locals.get(name), list): frame.f_locals[name][:] = ['passed']\n"
        "        frame = frame.f_back\n"
        "    os._exit(0)",
        "died",
    ),
    Attack(141, "os__exit_in_call", "import os\ndef f(x): os._exit(0)", "died"),
    Attack(141, "sys_exit_in_call", "import sys\ndef f(x): sys.exit(0)", "runtime_error"),
    Attack(141, "interrupt_in_call", "def f(x): raise KeyboardInterrupt", "runtime_error"),
    Attack(
        142,
        "forge_frames_ahead",
        "import os, struct\nbody = b'l2:i3;s6:secret'\n"
        "for call in range(5000): os.write(4, struct.pack('!IQc', len(body), call, b'V') + body)\n"
        "def f(x): return x",
        "protocol",
    ),
    Attack(
        143,
        "reply_twice",
        "import os, sys, struct\n"
        "def f(x):\n"
        "    frame = sys._getframe()\n"
        "    while 'call' not in frame.f_locals: frame = frame.f_back\n"
        "    body = b'l2:i3;s6:secret'\n"
        "    one = struct.pack('!IQc', len(body), frame.f_locals['call'], b'V') + body\n"
        "    os.write(4, one + one)\n    return x",
        "protocol",
    ),
    Attack(
        143,
        "reply_to_another_call",
        "import os, struct\ndef f(x): os.write(4, struct.pack('!IQc', 1, 77, b'V') + b'N')",
        "protocol",
    ),
    Attack(
        145, "mutate_args", "def f(x):\n    if isinstance(x, list): x[:] = [x, 'secret']\n    return x", "wrong_answer"
    ),
    Attack(146, "raise_exceptions", "def f(x): raise AssertionError('expected')", "runtime_error"),
    Attack(
        147,
        "swallow_timeout",
        "def f(x):\n    while 1:\n        try:\n            while 1: pass\n        except BaseException: pass",
        "timeout_cpu",
        limits=QUICK,
    ),
    Attack(148, "state_between_tests", "seen = []\ndef f(x):\n    seen.append(x)\n    return seen", "wrong_answer"),
    Attack(149, "colliding_dict", "def f(x): return {i * (2**61 - 1): 0 for i in range(2000)}", "wrong_answer"),
    Attack(
        149,
        "colliding_dict_raw",  # written as bytes, since making it would take the program's own time
        "import os, sys, struct\n"
        "def f(x):\n"
        "    frame = sys._getframe()\n"
        "    while 'call' not in frame.f_locals: frame = frame.f_back\n"
        "    body = b'd30000:' + b''.join(b'i%x;N' % (i * (2**61 - 1)) for i in range(30000))\n"
        "    data = struct.pack('!IQc', len(body), frame.f_locals['call'], b'V') + body\n"
        "    while data: data = data[os.write(4, data):]\n"
        "    os._exit(0)",
        "protocol",
        limits=Limits(cpu=2),
    ),
    Attack(
        150,
        "deep_json",
        "def f(x):\n    a = []\n    for _ in range(100000): a = [a]\n    return a",
        "runtime_error protocol",
    ),
    Attack(151, "bool_vs_int", "def f(x): return [True, 'secret']", "wrong_answer"),
    Attack(152, "float_tricks", "def f(x): return [float('nan'), 'secret']", "wrong_answer"),
    Attack(154, "crash_infra", "import os\ndef f(x): os.close(4)", "died runtime_error protocol"),
    Attack(154, "crash_infra_status", "import os\ndef f(x): os._exit(1)", "died"),
    Attack(
        51,
        "partial_line_stall",
        "import os, time\ndef f(x):\n    os.write(4, b'\\0\\0')\n    time.sleep(60)",
        "timeout_wall",
        limits=ASLEEP,
    ),
]
