"""The filter on system calls, run here by a small interpreter of BPF, for both machines."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.sandbox import seccomp, syscalls
from rewards.sandbox.seccomp import ALLOW, ENOSYS, EPERM, KILL, OWN_PID

MACHINES = syscalls.MACHINES
ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
I386 = 0x40000003


def judge(machine: str, number: int, *arguments: int, arch: int | None = None) -> tuple[int, int]:
    """What the filter says to a call, and in how many steps."""
    padded = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    data = struct.pack("<IIQ6Q", number, arch or ARCH[machine], 0, *padded)
    program = seccomp.program(machine)
    at = steps = word = 0
    while True:
        code, jump_true, jump_false, constant = program[at]
        steps += 1
        at += 1
        if code == 0x06:
            return constant, steps
        if code == 0x20:
            (word,) = struct.unpack_from("<I", data, constant)
        elif code == 0x54:
            word &= constant
        elif code == 0x05:
            at += constant
        else:
            true = {0x15: word == constant, 0x35: word >= constant, 0x45: bool(word & constant)}[code]
            at += jump_true if true else jump_false


def number(name: str, machine: str) -> int:
    return syscalls.numbers(syscalls.JUDGED, machine)[name]


@pytest.mark.parametrize("machine", MACHINES)
def test_every_call_meets_the_fate_of_its_table(machine: str) -> None:
    fates = {}
    for table, fate in ((syscalls.PLAIN, ALLOW), (syscalls.ABSENT, ENOSYS), (syscalls.HOSTILE, KILL)):
        fates |= dict.fromkeys(syscalls.numbers(table, machine).values(), fate)
    judged = set(syscalls.numbers(syscalls.JUDGED, machine).values())
    for one in range(600):
        if one not in judged:
            assert judge(machine, one)[0] == fates.get(one, EPERM), one


@pytest.mark.parametrize("machine", MACHINES)
def test_no_call_stands_in_two_tables(machine: str) -> None:
    tables = (syscalls.PLAIN, syscalls.JUDGED, syscalls.ABSENT, syscalls.HOSTILE)
    numbers = [one for table in tables for one in syscalls.numbers(table, machine).values()]
    assert len(numbers) == len(set(numbers))


@pytest.mark.parametrize("machine", MACHINES)
@given(one=st.integers(0, 2**32 - 1))
def test_every_number_is_judged_within_few_steps(machine: str, one: int) -> None:
    fate, steps = judge(machine, one)
    assert fate in (ALLOW, EPERM, ENOSYS, KILL)
    assert steps <= 25


@pytest.mark.parametrize("machine", MACHINES)
@given(one=st.integers(0, 2**32 - 1))
def test_another_table_of_numbers_is_killed(machine: str, one: int) -> None:
    assert judge(machine, one, arch=I386)[0] == KILL


@given(one=st.integers(0x40000000, 2**32 - 1))
def test_x32_is_killed(one: int) -> None:
    assert judge("x86_64", one)[0] == KILL


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    ("name", "arguments", "fate"),
    [
        ("openat", (0, 0, 0o0), ALLOW),  # O_RDONLY
        ("openat", (0, 0, 0o1000), EPERM),  # O_RDONLY | O_TRUNC
        ("openat", (0, 0, 0o1101), ALLOW),  # O_WRONLY | O_CREAT | O_TRUNC: Landlock's to judge, for /dev/null
        ("mmap", (0, 4096, 3, 0x22), ALLOW),  # anonymous, read and write
        ("mmap", (0, 4096, 7, 0x22), EPERM),  # anonymous and executable
        ("mmap", (0, 4096, 5, 0x02), ALLOW),  # a library's code
        ("mmap", (0, 4096, 3, 0x40022), EPERM),  # huge pages
        ("ioctl", (0, 0x5401), ALLOW),
        ("ioctl", (0, 0x5412), EPERM),  # TIOCSTI
        ("fcntl", (0, 3), ALLOW),
        ("fcntl", (0, 8), EPERM),  # F_SETOWN
        ("fcntl", (0, 1031), EPERM),  # F_SETPIPE_SZ
        ("sendto", (3, 0, 1, 0, 0, 0), ALLOW),
        ("sendto", (3, 0, 1, 0, 0x7F00, 16), EPERM),
        ("sendto", (3, 0, 1, 0, 0x7F0000000000, 16), EPERM),  # only the high word is set
        ("socketpair", (1, 1), ALLOW),
        ("socketpair", (1, 1 | 0x80000 | 0x800), ALLOW),  # SOCK_CLOEXEC | SOCK_NONBLOCK
        ("socketpair", (1, 2), EPERM),
        ("socketpair", (2, 1), EPERM),
        ("sendto", (3, 0, 1, 0x4040, 0, 0), ALLOW),  # MSG_DONTWAIT | MSG_NOSIGNAL
        ("sendto", (3, 0, 1, 0x1, 0, 0), EPERM),  # MSG_OOB
        ("sendto", (3, 0, 1, 0x4000000, 0, 0), EPERM),  # MSG_ZEROCOPY
        ("recvfrom", (3, 0, 1, 0x42, 0, 0), ALLOW),  # MSG_PEEK | MSG_DONTWAIT
        ("recvfrom", (3, 0, 1, 0x1, 0, 0), EPERM),  # MSG_OOB
        ("recvfrom", (3, 0, 1, 0x2000, 0, 0), EPERM),  # MSG_ERRQUEUE
        ("getsockopt", (3, 1, 3), ALLOW),  # SO_TYPE
        ("getsockopt", (3, 1, 17), EPERM),  # SO_PEERCRED
        ("getsockopt", (3, 1, 77), EPERM),  # SO_PEERPIDFD
        ("getsockopt", (3, 6, 3), EPERM),  # another level
        ("close_range", (3, 9, 0), ALLOW),
        ("close_range", (3, 9, 4), ALLOW),  # CLOSE_RANGE_CLOEXEC
        ("close_range", (3, 9, 2), EPERM),  # CLOSE_RANGE_UNSHARE
        ("pipe2", (0, 0x80800), ALLOW),
        ("pipe2", (0, 0x80), EPERM),  # O_NOTIFICATION_PIPE
        ("preadv2", (0, 0, 0, 0, 0, 0), ALLOW),
        ("pwritev2", (0, 0, 0, 0, 0, 0x40), EPERM),  # RWF_ATOMIC
        ("madvise", (0, 4096, 4), ALLOW),
        ("madvise", (0, 4096, 12), EPERM),  # MADV_MERGEABLE: what others hold would show in the time it takes
        ("futex", (0, 0x89), ALLOW),  # FUTEX_WAIT_BITSET_PRIVATE
        ("futex", (0, 0x86), EPERM),  # FUTEX_LOCK_PI
        ("clone", (0x3D0F00,), ALLOW),  # a thread of glibc
        ("clone", (0x3D0F00 & ~0x400,), EPERM),  # with a table of descriptors of its own
        ("clone", (17,), EPERM),  # a process
        ("clone", (0x3D0F00 | 0x10000000,), EPERM),  # a thread in a new user namespace
        ("kill", (OWN_PID, 9), ALLOW),
        ("kill", (1, 9), EPERM),
        ("kill", (2**32 - 1, 9), EPERM),
        ("tgkill", (OWN_PID, 5, 9), ALLOW),
        ("tgkill", (5, OWN_PID, 9), EPERM),
        ("prctl", (15,), ALLOW),
        ("prctl", (1, 0), EPERM),  # PR_SET_PDEATHSIG: it would outlive its keeper
        ("prctl", (22, 2), EPERM),  # another filter
        ("prlimit64", (0,), ALLOW),
        ("prlimit64", (1,), EPERM),
    ],
)
def test_arguments_decide(machine: str, name: str, arguments: tuple[int, ...], fate: int) -> None:
    assert judge(machine, number(name, machine), *arguments)[0] == fate


def test_numbers_of_this_machine_are_those_of_its_headers() -> None:
    header = "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"
    try:
        with open(header) as file:
            lines = [line.split() for line in file if line.startswith("#define __NR_")]
    except FileNotFoundError:
        pytest.skip(f"{header} is not installed")
    known = {name.removeprefix("__NR_"): int(value) for _, name, value in lines}
    for table in (syscalls.PLAIN, syscalls.JUDGED, syscalls.ABSENT, syscalls.HOSTILE):
        for name, one in syscalls.numbers(table, "x86_64").items():
            assert known.get(name, one) == one, name


def test_numbers_of_aarch64_are_those_of_the_generic_table() -> None:
    header = "/usr/include/asm-generic/unistd.h"
    try:
        with open(header) as file:
            words = [line.split() for line in file if line.startswith("#define __NR")]
    except FileNotFoundError:
        pytest.skip(f"{header} is not installed")
    known = {one[1].split("_", 3)[-1]: int(one[2]) for one in words if len(one) > 2 and one[2].isdigit()}
    found = 0
    for table in (syscalls.PLAIN, syscalls.JUDGED, syscalls.ABSENT, syscalls.HOSTILE):
        for name, one in syscalls.numbers(table, "aarch64").items():
            found += name in known
            assert known.get(name, one) == one, name
    assert found > 100
