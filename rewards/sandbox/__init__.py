"""Runs programs that a model wrote, and keeps them where they are.

A model that is rewarded for passing tests finds what passes them: an object equal to everything, the expected value
in a frame above, an exit before the check.  So two things are separated here.  *The judge is elsewhere*: what a test
expects never enters the process that runs the program; inputs go in, outputs come out, and the caller compares.  And
*the program is confined*: by Landlock, seccomp and limits, which need no privilege, so also in a plain container;
with a user of its own and namespaces where the machine grants them.

    client          your process; any thread            holds what is expected, compares
      └─ keeper     one per core, empty environment      forks a job for each test, watches its clocks, kills it
           └─ job   confined for good before its first line of the program

    from rewards.sandbox import Limits, Sandbox

    with Sandbox() as sandbox:
        ran = sandbox.run_stdin("print(int(input()) * 2)", b"21\\n", Limits(cpu=2))
        passed = ran.reason == "ok" and ran.exit_code == 0 and ran.stdout == b"42\\n"

Covered, on every machine where a `Sandbox` can be made (a test for each: tests/sandbox):

    processes     a program starts no other, signals none, traces none, and none of it outlives its test
    files         it reads the standard library, shared libraries and time zones; it writes, creates and alters nothing
    network       no socket of any family; a socket pair speaks to itself only
    kernel        about 130 system calls of 350, 22 of them for some arguments; asking for the hostile ones is fatal
    CPU, time     watched from outside; over the limit, SIGKILL at the keeper's next look, every 20 ms, whatever the
                  program catches.  Time that it was ready to run and others ran is no wall time, up to ten times
                  the limit
    memory        address space, with no way round it (no files in memory, no shared memory) but its 64 descriptors:
                  what pipes and socket pairs buffer, 14 MiB with Linux's default for sockets, and what stdin, stdout
                  and stderr hold, 16 MiB each.  The kernel, when short of memory, takes a job first
    threads       more than `Limits.threads` at a look is fatal; where jobs have a user or a user namespace of their
                  own the kernel refuses them first
    output        bytes of stdout, of stderr, and of what a call returns
    secrets       empty environment, no descriptors but its own, no trace of another program or of what is expected
    values        plain data only; reading them runs no code of the program's and takes bounded time
    ends          whatever a program can cause is one of `REASONS`; an exception from here is never its doing
    patience      no call and no `close` waits for ever, whatever a program or its keeper does or does not
    clean-up      keepers and jobs die with their client, also by SIGKILL

A machine is tried when the sandbox starts, each keeper tests its own confinement, and where it does not hold
`SandboxUnavailable` says what is missing.  No setting turns any of it off.

*Not* covered:

    the kernel    is shared: a hole in one of the allowed calls is a way out.  For programs of strangers, run the whole
                  trainer, or just this, in gVisor, Kata or a virtual machine
    names         stat is not seen by Landlock: below L2 a program learns whether a file exists, and its size
    threads       between two looks at L0: some hundreds for 20 ms
    all together  memory is limited per program, not over the pool: `workers` × `Limits.memory` is address space that
                  programs may fill
    side channels such as timing between programs that run at the same time
    fairness      of a function's own memory between calls: a program keeps what it saw of earlier inputs
    weak tests    a program that passes them is right as far as they know
    aarch64       has its table of calls, checked against the kernel's headers, but has run nowhere yet
"""

from rewards.sandbox.levels import Grants
from rewards.sandbox.pool import Sandbox
from rewards.sandbox.types import (
    REASONS,
    Checked,
    Limits,
    Opaque,
    Ran,
    Reason,
    Returned,
    SandboxError,
    SandboxUnavailable,
)

__all__ = [
    "REASONS",
    "Checked",
    "Grants",
    "Limits",
    "Opaque",
    "Ran",
    "Reason",
    "Returned",
    "Sandbox",
    "SandboxError",
    "SandboxUnavailable",
]
