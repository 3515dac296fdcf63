"""What goes into the sandbox and what comes out: limits, ends, and the values of a call.

    Limits ─▶ a job ─▶ Ran        what one program did with one stdin; its stdout is for the caller to judge
                       Returned   what one call of a function gave back, as plain data
                       Checked    how test code of ours fared against the program

None of them holds an expected value: those stay with the caller, who compares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

Reason = Literal[
    "pass",
    "wrong_answer",
    "runtime_error",  # an exception, or a status other than 0
    "compile_error",  # not Python
    "timeout_cpu",
    "timeout_wall",
    "memory",
    "thread_limit",
    "output_limit",
    "signal",  # crashed: SIGSEGV, SIGABRT …
    "blocked_syscall",  # asked the kernel for what no solution needs, and was killed for it
    "protocol",  # said something on the channel that is not a reply to what was asked
    "not_called",  # the test never called the function
    "died",  # ended in the middle of a call
    "source_too_large",
]
REASONS: tuple[Reason, ...] = get_args(Reason)
End = Reason | Literal["ok"]  # "ok": it ran to its end, and whether it was right is for the caller to say

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """What one test may use.  In function tests `cpu` and `wall` count for each call, the rest for all of them."""

    cpu: float = 6.0  # seconds of CPU over all threads; LiveCodeBench's figure
    # Seconds, less those that the job was ready to run and others ran; None: 2 × cpu + 2, a back-stop for what sleeps.
    wall: float | None = None
    memory: int = 4096 * MIB  # bytes of address space
    output: int = MIB  # bytes on stdout; more is `output_limit`.  On stderr, 16 MiB always, or this if it is more
    value: int = 16 * MIB  # bytes of what a call may return; and 500,000 items
    source: int = 256 << 10  # bytes
    stdin: int = 64 * MIB  # bytes; more is a mistake of the caller, and raises ValueError
    threads: int = 80  # enough for two of Python's default pools, which grow to 32

    def __post_init__(self) -> None:
        for name in ("cpu", "memory", "output", "value", "source", "stdin", "threads"):
            if not getattr(self, name) > 0:
                raise ValueError(f"Limits.{name}: must be above 0 (given {getattr(self, name)})")
        if self.wall is not None and not self.wall > 0:
            raise ValueError(f"Limits.wall: must be above 0 or None (given {self.wall})")

    @property
    def wall_seconds(self) -> float:
        return 2 * self.cpu + 2 if self.wall is None else self.wall


@dataclass(frozen=True, slots=True)
class Ran:
    """How a program ended.  `reason` is "ok" for every end of its own choosing, also for `sys.exit(3)`: look at
    `exit_code`.  Nothing but `stdout` should earn a reward; all else can only take it away.

    Example: `Ran("ok", stdout=b"42\\n", stderr="", exit_code=0, cpu=0.004, wall=0.006, rss=17_000_000)`.
    """

    reason: End
    stdout: bytes  # up to Limits.output
    stderr: str  # its last 4 KiB
    exit_code: int | None  # None: ended by a signal, or never started
    cpu: float  # seconds
    wall: float  # seconds
    rss: int  # bytes, at most


@dataclass(frozen=True, slots=True)
class Returned:
    """What one call gave: a `value` of plain built-in types if `reason` is "ok", else why there is none.

    A subclass of a built-in type arrives as that type; anything else as `Opaque`, which equals nothing.
    After an exception `raised` names its built-in type and later calls go on; after any other reason none follows.

    Example: `Returned("ok", [0, 1])`, `Returned("runtime_error", raised="KeyError", error="'x'")`.
    """

    reason: End
    value: Any = None
    raised: str = ""  # the nearest built-in type of the exception
    error: str = ""  # its words, clipped
    wall: float = 0.0  # seconds, as seen from outside


@dataclass(frozen=True, slots=True)
class Checked:
    """How a program fared in test code: "pass", or what stopped it.  `calls`: how often the tests called it."""

    reason: Reason
    calls: int
    error: str = ""  # what the failing assertion or the program said, clipped


class Opaque:
    """Stands for a value that is not plain data.  Unequal to everything, itself included."""

    __slots__ = ("kind",)

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __eq__(self, other: object) -> bool:
        return False

    def __ne__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        return f"Opaque({self.kind!r})"


class SandboxError(Exception):
    """The sandbox itself failed; never a fault of the program in it."""


class SandboxUnavailable(SandboxError):
    """This machine cannot hold untrusted code, and what it lacks.  There is no switch to run it all the same."""
