"""The filter on system calls: an allow-list, compiled to classic BPF as a binary tree over the call's number.

A call takes about 8 comparisons to judge where a list takes 100, and the filter runs on every call of every job.
Where the number alone does not settle it, a rule looks at arguments.  BPF sees registers, not memory: no rule here
depends on what a pointer points to, so none can be fooled by a thread that changes it afterwards.

    open, openat   no truncation through a read-only descriptor, which Landlock's ABIs 1 and 2 let pass
    mmap           no anonymous executable memory, no huge pages
    ioctl fcntl    what Python and asyncio use; not TIOCSTI, not the settings that send signals, grow pipes or seal
    sendto         without an address: a socket pair stays a pair; no urgent data
    recvfrom       likewise
    getsockopt     what kind of socket it is and how much it holds; not who is at the far end
    socketpair     AF_UNIX and SOCK_STREAM; a datagram pair could send to any socket by name
    clone          threads of this process, in these namespaces and with this table of descriptors: with tables of
                   their own, threads could hold as many times 64 sockets, and with them memory that nobody limits
    close_range    likewise not in a table of its own
    pipe2          pipes; not queues of the kernel's notifications
    preadv2 pwritev2, madvise, futex, arch_prctl    the flags, advice and operations that a C library uses
    kill tgkill    this process; its number is put in after the fork
    prctl          the thread's name
    prlimit64      this process

Calls from another table of numbers (32-bit, x32) kill the process before anything is looked up.
Return values: https://docs.kernel.org/userspace-api/seccomp_filter.html
"""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Sequence

from . import kernel, syscalls

ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050000, 0x80000000
EPERM, ENOSYS = ERRNO | errno.EPERM, ERRNO | errno.ENOSYS
OWN_PID = 0x7E57AB1D  # stands for the job's process number until `Filter.install` puts it in

_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32 = 0x40000000
_LOAD, _AND, _RETURN, _ALWAYS = 0x20, 0x54, 0x06, 0x05  # BPF opcodes, all on 32-bit words and constants
_EQUAL, _AT_LEAST, _ANY_BIT = 0x15, 0x35, 0x45
Instruction = tuple[int, int, int, int]  # opcode, jump if true, jump if false, constant

_ALLOWED_IOCTLS = (0x5401, 0x541B, 0x5421, 0x5450, 0x5451)  # TCGETS FIONREAD FIONBIO FIONCLEX FIOCLEX
_ALLOWED_FCNTLS = (0, 1, 2, 3, 4, 1030)  # DUPFD GETFD SETFD GETFL SETFL DUPFD_CLOEXEC
_CLONE_THREAD, _CLONE_FILES = 0x10000, 0x400
_CLONE_NEW = 0x7E020080  # every namespace, and CLONE_NEWTIME
_O_ACCMODE, _O_TRUNC = 3, 0o1000
_PROT_EXEC, _MAP_ANONYMOUS, _MAP_HUGETLB = 4, 0x20, 0x40000
_SOCK_TYPE = 0xF  # below SOCK_NONBLOCK and SOCK_CLOEXEC
_SEND_FLAGS = 0x40 | 0x80 | 0x4000 | 0x8000  # MSG_DONTWAIT MSG_EOR MSG_NOSIGNAL MSG_MORE
_RECEIVE_FLAGS = 0x2 | 0x20 | 0x40 | 0x100  # MSG_PEEK MSG_TRUNC MSG_DONTWAIT MSG_WAITALL
_SOL_SOCKET = 1
_SOCKET_OPTIONS = (3, 4, 7, 8, 30, 38, 39)  # SO_TYPE _ERROR _SNDBUF _RCVBUF _ACCEPTCONN _PROTOCOL _DOMAIN
_ADVICE = (0, 1, 2, 3, 4, 8, 14, 15, 16, 17)  # NORMAL to DONTNEED, FREE, [NO]HUGEPAGE, DONTDUMP, DODUMP
_FUTEXES = (0, 1, 3, 4, 5, 9, 10)  # WAIT WAKE REQUEUE CMP_REQUEUE WAKE_OP WAIT_BITSET WAKE_BITSET; none with priorities
_FUTEX_OPERATION = 0x7F  # below FUTEX_PRIVATE_FLAG and FUTEX_CLOCK_REALTIME
_ARCH = (0x1001, 0x1002, 0x1003, 0x1004)  # ARCH_{SET,GET}_{FS,GS}


def _load(argument: int, high: bool = False) -> Instruction:
    return (_LOAD, 0, 0, 16 + 8 * argument + 4 * high)


def _return(action: int) -> Instruction:
    return (_RETURN, 0, 0, action)


def _one_of(argument: int, values: Sequence[int], mask: int = 0xFFFFFFFF) -> list[Instruction]:
    """Allow if the bits of `mask` in the argument's low word are one of `values`."""
    tests = [(_EQUAL, len(values) - i, 0, value) for i, value in enumerate(values)]
    return [_load(argument), (_AND, 0, 0, mask), *tests, _return(EPERM), _return(ALLOW)]


def _only(argument: int, bits: int) -> list[Instruction]:
    """Go on with what follows if the argument's low word has no other bits than these, else refuse."""
    return [_load(argument), (_ANY_BIT, 0, 1, ~bits & 0xFFFFFFFF), _return(EPERM)]


_CLONE = [
    _load(0),
    (_ANY_BIT, 3, 0, _CLONE_NEW),
    (_AND, 0, 0, _CLONE_THREAD | _CLONE_FILES),
    (_EQUAL, 0, 1, _CLONE_THREAD | _CLONE_FILES),
    _return(ALLOW),
    _return(EPERM),
]
_MMAP = [
    _load(3),
    (_ANY_BIT, 4, 0, _MAP_HUGETLB),
    (_ANY_BIT, 0, 2, _MAP_ANONYMOUS),
    _load(2),
    (_ANY_BIT, 1, 0, _PROT_EXEC),
    _return(ALLOW),
    _return(EPERM),
]
_NO_ADDRESS = [_load(4), (_EQUAL, 0, 3, 0), _load(4, high=True), (_EQUAL, 0, 1, 0), _return(ALLOW), _return(EPERM)]
_GETSOCKOPT = [_load(1), (_EQUAL, 1, 0, _SOL_SOCKET), _return(EPERM), *_one_of(2, _SOCKET_OPTIONS)]
_SOCKETPAIR = [
    _load(0),
    (_EQUAL, 0, 4, 1),  # AF_UNIX
    _load(1),
    (_AND, 0, 0, _SOCK_TYPE),
    (_EQUAL, 0, 1, 1),  # SOCK_STREAM
    _return(ALLOW),
    _return(EPERM),
]


def _open(flags: int) -> list[Instruction]:
    return [
        _load(flags),
        (_ANY_BIT, 0, 2, _O_TRUNC),
        (_AND, 0, 0, _O_ACCMODE),
        (_EQUAL, 1, 0, 0),
        _return(ALLOW),
        _return(EPERM),
    ]


_RULES: dict[str, list[Instruction]] = {
    "open": _open(1),
    "openat": _open(2),
    "mmap": _MMAP,
    "ioctl": _one_of(1, _ALLOWED_IOCTLS),
    "fcntl": _one_of(1, _ALLOWED_FCNTLS),
    "sendto": [*_only(3, _SEND_FLAGS), *_NO_ADDRESS],
    "recvfrom": [*_only(3, _RECEIVE_FLAGS), _return(ALLOW)],
    "getsockopt": _GETSOCKOPT,
    "socketpair": _SOCKETPAIR,
    "clone": _CLONE,
    "kill": _one_of(0, [OWN_PID]),
    "tgkill": _one_of(0, [OWN_PID]),
    "prctl": _one_of(0, [15, 16]),  # PR_SET_NAME, PR_GET_NAME
    "prlimit64": _one_of(0, [0]),
    "setrlimit": [_return(ALLOW)],  # lowers, or raises up to the hard limits
    "close_range": [*_only(2, 0x4), _return(ALLOW)],  # CLOSE_RANGE_CLOEXEC
    "pipe2": [*_only(1, 0x80800), _return(ALLOW)],  # O_CLOEXEC, O_NONBLOCK
    "preadv2": [*_only(5, 0), _return(ALLOW)],
    "pwritev2": [*_only(5, 0), _return(ALLOW)],
    "madvise": _one_of(2, _ADVICE),
    "futex": _one_of(1, _FUTEXES, _FUTEX_OPERATION),
    "arch_prctl": _one_of(0, _ARCH),
}


def program(machine: str) -> list[Instruction]:
    """The whole filter for `machine`."""
    leaves: dict[int, list[Instruction]] = {}
    for table, action in ((syscalls.PLAIN, ALLOW), (syscalls.ABSENT, ENOSYS), (syscalls.HOSTILE, KILL)):
        leaves |= {number: [_return(action)] for number in syscalls.numbers(table, machine).values()}
    leaves |= {number: _RULES[name] for name, number in syscalls.numbers(syscalls.JUDGED, machine).items()}
    head = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, _AUDIT_ARCH[machine]), _return(KILL), (_LOAD, 0, 0, 0)]
    if machine == "x86_64":
        head += [(_AT_LEAST, 0, 1, _X32), _return(KILL)]
    return head + _tree(_runs(leaves))


def _runs(leaves: dict[int, list[Instruction]]) -> list[tuple[int, list[Instruction]]]:
    """`(first number, what to do from there on)` in order, neighbours with the same fate as one."""
    refuse = [_return(EPERM)]
    runs: list[tuple[int, list[Instruction]]] = [(0, leaves.get(0, refuse))]
    for number in range(1, max(leaves) + 2):
        fate = leaves.get(number, refuse)
        if fate != runs[-1][1]:
            runs.append((number, fate))
    return runs


def _tree(runs: list[tuple[int, list[Instruction]]]) -> list[Instruction]:
    if len(runs) == 1:
        return runs[0][1]
    middle = len(runs) // 2
    below, above = _tree(runs[:middle]), _tree(runs[middle:])
    if len(below) <= 255:  # a conditional jump counts in one byte
        return [(_AT_LEAST, len(below), 0, runs[middle][0]), *below, *above]
    return [(_AT_LEAST, 0, 1, runs[middle][0]), (_ALWAYS, 0, 0, len(below)), *below, *above]


class Filter:
    """The program as the kernel takes it, ready but for the process's own number."""

    def __init__(self, machine: str) -> None:
        instructions = program(machine)
        self._code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in instructions))
        self._own_pid = [8 * i + 4 for i, one in enumerate(instructions) if one[0] == _EQUAL and one[3] == OWN_PID]
        header = struct.pack("HxxxxxxP", len(instructions), ctypes.addressof(self._code))
        self._header = ctypes.create_string_buffer(header)

    def install(self, pid: int) -> None:
        """From here on, for this process and its threads, for good.  Needs no_new_privs."""
        for offset in self._own_pid:
            struct.pack_into("I", self._code, offset, pid)
        kernel.prctl(kernel.PR_SET_SECCOMP, kernel.SECCOMP_MODE_FILTER, self._header)
