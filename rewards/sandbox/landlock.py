"""Landlock: which files a job may open, as a list of trees to read; everything else is refused by the kernel.

The rules are made once by the keeper and put on in each job with one call.  Every right that the kernel knows is
handled, and so denied unless a rule grants it.  What Landlock does not see at any ABI: stat, chdir, chmod, chown,
utime, extended attributes, and descriptors that are open already; seccomp and an empty descriptor table see to those.
https://docs.kernel.org/userspace-api/landlock.html
"""

from __future__ import annotations

import fcntl
import os
import stat
import struct
from collections.abc import Iterable

from . import kernel

READ_FILE, READ_DIR, WRITE_FILE = 1 << 2, 1 << 3, 1 << 1
NEWEST = 7  # the newest ABI whose rights are listed here; a newer kernel is used as this one
HIGH = 32  # descriptors from here on are out of the way of a job's own
# Rights to files by ABI: 1 the first thirteen, 2 + refer (rename across), 3 + truncate, 5 + ioctl on devices
_FILES = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
_TCP = 3  # ABI 4: bind and connect
_SCOPES = 3  # ABI 6: abstract unix sockets and signals stay inside


def abi() -> int:
    """What this kernel offers; 0 where Landlock is absent, off, or hidden by a container's own filter."""
    try:
        return kernel.call("landlock_create_ruleset", kernel.LANDLOCK_CREATE_RULESET, None, 0, 1)
    except OSError:
        return 0


def ruleset(abi: int, trees: Iterable[str], devices: Iterable[str], listable: Iterable[str] = ()) -> int:
    """A descriptor of rules: `trees` may be read, `devices` read and written, `listable` listed but not read."""
    abi = min(abi, NEWEST)
    handled = struct.pack("QQQ", _FILES[min(abi, 5)], _TCP if abi >= 4 else 0, _SCOPES if abi >= 6 else 0)
    size = 8 if abi < 4 else 16 if abi < 6 else 24  # bytes of the structure that this ABI knows
    rules = kernel.call("landlock_create_ruleset", kernel.LANDLOCK_CREATE_RULESET, handled, size, 0)
    for rights, paths in ((READ_FILE | READ_DIR, trees), (READ_FILE | WRITE_FILE, devices), (READ_DIR, listable)):
        for path in paths:
            _allow(rules, path, rights)
    high = fcntl.fcntl(rules, fcntl.F_DUPFD_CLOEXEC, HIGH)
    os.close(rules)
    return high


def _allow(rules: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            rights &= ~READ_DIR  # EINVAL on a file
        rule = struct.pack("=Qi", rights, place)
        kernel.call("landlock_add_rule", kernel.LANDLOCK_ADD_RULE, rules, 1, rule, 0)
    finally:
        os.close(place)


def restrict(rules: int) -> None:
    """From here on, for this process and for good.  Needs no_new_privs."""
    kernel.call("landlock_restrict_self", kernel.LANDLOCK_RESTRICT_SELF, rules, 0)
