"""What an attack is, and the lines that each begins with.

An attack prints PWNED when it reaches its goal; `reach(f)` does that for an `f` that returns.  Names in double angle
brackets are filled in by `host.Host`: things outside the sandbox that an attack goes for.
"""

from __future__ import annotations

from dataclasses import dataclass

from rewards.sandbox import Limits

QUICK = Limits(cpu=0.4, wall=5.0, memory=512 << 20)  # so that what runs to its limit does not take long
ASLEEP = Limits(cpu=0.4, wall=0.5)

PRELUDE = """
import ctypes, errno, fcntl, os, resource, signal, socket, struct, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
NR = <<numbers>>
def c(function, *arguments):
    result = function(*arguments)
    if result == -1: raise OSError(ctypes.get_errno(), "refused")
    return result
def sc(name, *arguments):
    return c(libc.syscall, NR[name], *(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments))
def reach(*goals):
    for goal in goals:
        try: goal()
        except Exception as error: print(type(error).__name__, file=sys.stderr)
        else: print("PWNED")
def child(pid):
    if pid == 0: os._exit(0)
    os.waitpid(pid, 0)
"""


@dataclass(frozen=True, slots=True)
class Attack:
    """`reasons`: the verdicts that are right, "" for any failure.  `control`: reaches its goal where nothing confines
    it, and is harmless enough to show that.  `waits`: it runs into a limit of time."""

    number: int
    name: str
    source: str
    reasons: str = ""
    control: bool = False
    waits: bool = False
    limits: Limits = QUICK
    stdin: bytes = b""

    @property
    def label(self) -> str:
        return f"{self.number}-{self.name}"
