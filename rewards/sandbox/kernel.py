"""The system calls that Python has no function for, by number, through ctypes.

Everything here works on the calling process.  A refusal by the kernel is an `OSError` that names the call.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct

ARCH = platform.machine()
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

# asm-generic numbers: the same on x86-64 and aarch64, as for every call since Linux 5.0
LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446
MOUNT_SETATTR = 442
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
CAPSET = {"x86_64": 126, "aarch64": 91}

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
SECCOMP_MODE_FILTER = 2
CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x4000000, 0x8000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_BIND, MS_REC, MS_PRIVATE, MNT_DETACH = 0x1000, 0x4000, 0x40000, 2
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, AT_RECURSIVE, AT_FDCWD = 1, 2, 0x8000, -100


def call(name: str, number: int, *arguments: int | bytes | ctypes.Array[ctypes.c_char] | None) -> int:
    """System call `number`; `name` is for the message."""
    wide = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = int(_libc.syscall(ctypes.c_long(number), *wide))
    return _checked(name, result)


def _checked(name: str, result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {errno.errorcode.get(code, code)}")
    return result


def prctl(option: int, value: int, pointer: ctypes.Array[ctypes.c_char] | None = None) -> None:
    rest = (ctypes.c_void_p(ctypes.addressof(pointer)) if pointer is not None else ctypes.c_ulong(0),)
    zero = ctypes.c_ulong(0)
    _checked(f"prctl({option})", _libc.prctl(option, ctypes.c_ulong(value), *rest, zero, zero))


def drop_capabilities() -> None:
    """None in any set; with no_new_privs and without execve none comes back."""
    header = struct.pack("II", 0x20080522, 0)  # version 3, this process
    call("capset", CAPSET[ARCH], header, bytes(24))


def die_with_parent(parent: int) -> None:
    """SIGKILL for this process as soon as its parent is gone.  A change of user id clears it, so it comes after."""
    prctl(PR_SET_PDEATHSIG, 9)
    if os.getppid() != parent:  # gone before we asked
        os._exit(1)


def unshare(flags: int) -> None:
    _checked("unshare", _libc.unshare(flags))


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    encoded = [text.encode() if text else None for text in (source, target, kind)]
    _checked(f"mount({target})", _libc.mount(*encoded, ctypes.c_ulong(flags), options.encode() or None))


def read_only(tree: str) -> None:
    """Makes a mount and what is mounted below it read-only.  Only adds, so a user namespace may do it too."""
    attributes = struct.pack("QQQQ", MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID, 0, 0, 0)
    call("mount_setattr", MOUNT_SETATTR, AT_FDCWD, tree.encode(), AT_RECURSIVE, attributes, len(attributes))


def pivot_root(new: str, old: str) -> None:
    call("pivot_root", PIVOT_ROOT[ARCH], new.encode(), old.encode())


def umount(target: str) -> None:
    _checked(f"umount({target})", _libc.umount2(target.encode(), MNT_DETACH))
