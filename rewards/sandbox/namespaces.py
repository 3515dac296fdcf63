"""An empty machine for the keeper and its jobs, where the kernel grants namespaces.

No network but a loopback that is down, no processes but the keeper's own, no IPC objects, and a root directory that
holds what a job may read and nothing else.  Entered once per keeper, so a job pays nothing for it.
"""

from __future__ import annotations

import os
import select
import signal
import socket
from typing import NoReturn

from . import kernel
from .trees import DEVICES, Trees

ORPHAN_CHECK = 1.0  # seconds; for a client that died while a fork of it holds the socket's other end
_WORKPLACE = "/sys"  # a directory that exists everywhere and that no job may read; covered, then left behind


def enter(trees: Trees, control: socket.socket) -> None:
    """Returns in a child that is process 1 of its own world; the caller stays behind and ends with it."""
    flags = kernel.CLONE_NEWNS | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS | kernel.CLONE_NEWNET | kernel.CLONE_NEWPID
    user, group, client = os.geteuid(), os.getegid(), os.getppid()
    if user == 0:
        kernel.unshare(flags)
    else:
        kernel.unshare(flags | kernel.CLONE_NEWUSER)
        for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    _change_root(trees)
    parent = os.getpid()
    child = os.fork()
    if child:
        control.close()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _stay_behind(child, client)
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() not in (0, parent):  # 0: a parent outside this world
        os._exit(1)


def _stay_behind(child: int, client: int) -> NoReturn:
    """Ends with the child, or with the client, which the child cannot see: its parent's parent is not of its world."""
    waiting = select.poll()
    waiting.register(os.pidfd_open(child), select.POLLIN)
    while not waiting.poll(ORPHAN_CHECK * 1000) and os.getppid() == client:
        pass
    os._exit(0)


def _change_root(trees: Trees) -> None:
    os.umask(0o022)  # the user of a job must enter the directories made here
    kernel.mount("", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("tmpfs", _WORKPLACE, "tmpfs", 0, "mode=0111")  # entered, not listed
    for path in (*trees.mounted, *DEVICES):
        _bind(path)
    for path in trees.hidden:
        kernel.mount("tmpfs", _WORKPLACE + path, "tmpfs", 0)
    kernel.read_only(_WORKPLACE)
    os.chdir(_WORKPLACE)
    kernel.pivot_root(".", ".")  # the old root lies on top of the new one now
    kernel.umount(".")
    os.chdir("/")


def _bind(path: str) -> None:
    if not os.path.exists(path):
        return
    target = _WORKPLACE + path
    if os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "w"):
            pass
    kernel.mount(os.path.realpath(path), target, "", kernel.MS_BIND | kernel.MS_REC)
