"""Enforcement is tested, not assumed: what a fresh keeper must refuse, tried in it before any program is.

A kernel may know a feature and not enforce it, a container may swallow a call, a rule of ours may be wrong.  Each try
that succeeds is a leak, by name, and the keeper is not used.  It must also be able to work: compute, import a module
of the standard library that is not loaded yet, and write.
"""

from __future__ import annotations

import os
import socket
import tempfile
from contextlib import closing

from .client import START, Client, memory_file
from .confine import Allowance
from .ends import reason_of
from .types import MIB

_ALLOWANCE = Allowance("program", 2, wall=20, total_cpu=2, memory=4096 * MIB, files=MIB, value=MIB, threads=8)
_WORKS = "import colorsys\nprint(colorsys.rgb_to_hsv(0, 0, 6 * 7)[2])"
_KILLED = "import ctypes\nctypes.CDLL(None).ptrace(16, 1, 0, 0)\nprint('traced')"
_THREADS = """
import threading, time
for _ in range(16): threading.Thread(target=time.sleep, args=(9,), daemon=True).start()
time.sleep(9)
"""
_TRIES = """
import ctypes, os, resource, signal, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(function, *arguments):
    if function(*arguments) == -1: raise OSError(ctypes.get_errno(), '')
tries = {{
    'read /etc/passwd': lambda: open('/etc/passwd').close(),
    'read a file of /tmp': lambda: open({canary!r}).close(),
    'write a file of /tmp': lambda: open({canary!r}, 'a').close(),
    'create a file in /tmp': lambda: open({canary!r} + '.new', 'w').close(),
    'truncate through a read-only descriptor': lambda: os.close(os.open({canary!r}, os.O_RDONLY | os.O_TRUNC)),
    'read /proc/self/environ': lambda: open('/proc/self/environ').close(),
    'read the memory of its parent': lambda: open('/proc/%d/mem' % os.getppid()).close(),
    'list /': lambda: os.listdir('/'),
    'change the mode of a file': lambda: os.chmod({canary!r}, 0o600),
    'delete a file': lambda: os.unlink({canary!r}),
    'make a directory': lambda: os.mkdir({canary!r} + '.d'),
    'fork': lambda: os.fork() or os._exit(0),
    'execute a program': lambda: os.execv('/bin/true', ['true']),
    'signal its parent': lambda: os.kill(os.getppid(), 0),
    'signal everyone': lambda: os.kill(-1, 0),
    'open a socket': lambda: socket.socket().close(),
    'connect to a local port': lambda: socket.create_connection(('127.0.0.1', {port})).close(),
    'open a unix socket': lambda: socket.socket(socket.AF_UNIX).close(),
    'make a datagram pair': lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM),
    'make a file in memory': lambda: os.memfd_create('x'),
    'make shared memory': lambda: call(libc.shmget, 0, 4096, 0o1600),
    'raise a limit': lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096)),
    'limit its parent': lambda: resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (0, 0)),
    'become root again': lambda: os.setresuid(0, 0, 0),
    'map executable memory': lambda: __import__('mmap').mmap(-1, 4096, prot=7),
}}
for name, attempt in tries.items():
    try:
        attempt()
    except (OSError, ValueError):
        continue
    print(name)
"""


def leaks(client: Client) -> list[str]:
    """What a job could do that it must not; `OSError` where a job cannot even work."""
    with (
        tempfile.NamedTemporaryFile(prefix="sandbox-") as canary,
        closing(socket.create_server(("127.0.0.1", 0))) as server,
    ):
        os.chmod(canary.name, 0o666)
        tries = _TRIES.format(canary=canary.name, port=server.getsockname()[1])
        reason, stdout, stderr = _run(client, _WORKS)
        if (reason, stdout) != ("ok", "42\n"):
            raise OSError(f"a plain program does not work there ({(stderr.splitlines() or [reason])[-1]})")
        reason, stdout, stderr = _run(client, tries)
        found = stdout.splitlines() + ([] if reason == "ok" else [f"the test itself ended with {reason} {stderr}"])
    for name, source, reasons in (
        ("trace a process", _KILLED, ("blocked_syscall",)),
        (
            "run more threads than it may (does hidepid hide jobs in /proc?)",
            _THREADS,
            ("thread_limit", "runtime_error"),
        ),
    ):
        found += [] if _run(client, source)[0] in reasons else [name]
    return found


def _run(client: Client, source: str) -> tuple[str, str, str]:
    files = [memory_file(), memory_file(), memory_file(), memory_file(b"\n" + source.encode())]
    try:
        client.start(_ALLOWANCE, files)
        ended = client.wait(_ALLOWANCE.wall + START)
        return reason_of(ended), os.pread(files[1], 1 << 16, 0).decode(), os.pread(files[2], 1 << 16, 0).decode()
    finally:
        for descriptor in files:
            os.close(descriptor)
