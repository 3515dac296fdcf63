"""What an attack goes for outside the sandbox, and the look whether it is all still there."""

from __future__ import annotations

import glob
import os
import platform
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from rewards.sandbox import syscalls
from tests.sandbox.attacks import PRELUDE

# Calls that no table of the sandbox names, because being in none is what refuses them.
_OTHERS = {
    "x86_64": "vfork 58 execveat 322 tkill 200 rt_sigqueueinfo 129 ioprio_set 251 mq_open 240 seccomp 317 "
    "fanotify_mark 301 vmsplice 278 tee 276",
    "aarch64": "vfork 0 execveat 281 tkill 130 rt_sigqueueinfo 138 ioprio_set 30 mq_open 180 seccomp 277 "
    "fanotify_mark 263 vmsplice 75 tee 77 modify_ldt 9999 iopl 9999",
}
_BYTES, _MODE, _TIME = b"canary\n", 0o666, 1_000_000_000


class Host:
    """A context manager.  `user`: whom the canary process belongs to; None for ours."""

    def __init__(self, user: int | None = None) -> None:
        self.mark = f"sandbox-attack-{secrets.token_hex(4)}"
        self._user = user

    def __enter__(self) -> Host:
        self.folder = Path(tempfile.mkdtemp(prefix="sandbox-host-"))
        self.folder.chmod(0o755)
        self.canary = self.folder / "canary"
        self.canary.write_bytes(_BYTES)
        self.canary.chmod(_MODE)
        os.utime(self.canary, (_TIME, _TIME))
        (self.folder / "tests.jsonl").write_text("the expected answers")
        self._tcp = socket.create_server(("127.0.0.1", 0))
        self._sockets = [self._tcp, self._listen(str(self.folder / "socket")), self._listen("\0" + self.mark)]
        (self.folder / "socket").chmod(0o777)
        self._datagrams = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._datagrams.bind("\0" + self.mark + ".dgram")
        self._process = subprocess.Popen(["sleep", "600"], user=self._user, stdin=subprocess.DEVNULL)
        self._limits = self._canary_state()
        self._ipc = _ipc()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        for one in (*self._sockets, self._datagrams):
            one.close()
        shutil.rmtree(self.folder)

    @staticmethod
    def _listen(address: str) -> socket.socket:
        one = socket.socket(socket.AF_UNIX)
        one.bind(address)
        one.listen()
        return one

    def fill(self, source: str) -> str:
        """`source` behind the prelude, with what it asks for put in."""
        machine = platform.machine()
        words = _OTHERS[machine].split()
        numbers = {name: int(number) for name, number in zip(words[::2], words[1::2], strict=True)}
        for table in (syscalls.PLAIN, syscalls.JUDGED, syscalls.ABSENT, syscalls.HOSTILE):
            numbers |= syscalls.numbers(table, machine)
        values = {
            "numbers": repr(numbers),
            "canary": repr(str(self.canary)),
            "canary_pid": str(self._process.pid),
            "folder": repr(str(self.folder)),
            "secrets": repr(str(self.folder / "tests.jsonl")),
            "mark": self.mark,
            "port": str(self._tcp.getsockname()[1]),
            "unix": repr(str(self.folder / "socket")),
        }
        text = PRELUDE + source
        for name, value in values.items():
            text = text.replace(f"<<{name}>>", value)
        return text

    def damage(self) -> list[str]:
        """What is not as it was."""
        found = []
        state = self.canary.stat()
        if (self.canary.read_bytes(), state.st_mode & 0o7777, state.st_mtime) != (_BYTES, _MODE, _TIME):
            found.append("the canary file is changed")
        if os.listxattr(self.canary) or state.st_nlink != 1:
            found.append("the canary file has attributes or links")
        if self._process.poll() is not None or self._canary_state() != self._limits:
            found.append("the canary process is dead or changed")
        found += [f"{one} got a connection" for one in self._sockets if _has_guest(one)]
        places = ("/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue", str(Path.cwd()), "/")
        found += [path for place in places for path in glob.glob(f"{place}/{self.mark}*")]
        if _ipc() != self._ipc:
            found.append("IPC objects are left")
        return found

    def _canary_state(self) -> tuple[str, ...]:
        """Limits, priority and state: none of anyone else's business."""
        place = Path(f"/proc/{self._process.pid}")
        fields = place.joinpath("stat").read_text().rsplit(")")[1].split()
        return (place.joinpath("limits").read_text(), fields[15], fields[16], str(fields[0] in "TtZX"))


def _has_guest(one: socket.socket) -> bool:
    one.setblocking(False)
    try:
        one.accept()
    except BlockingIOError:
        return False
    return True


def _ipc() -> tuple[str, ...]:
    return tuple(Path(f"/proc/sysvipc/{kind}").read_text() for kind in ("shm", "msg", "sem"))


def descendants(root: int) -> list[int]:
    """The processes below `root`, itself not counted."""
    children: dict[int, list[int]] = {}
    for place in glob.glob("/proc/[0-9]*/stat"):
        try:
            text = Path(place).read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        children.setdefault(int(text.rsplit(")")[1].split()[1]), []).append(int(text.split()[0]))
    found, todo = [], [root]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def unconfined(source: str, python: str, user: int) -> str:
    """What `source` writes where nothing confines it but a user that owns nothing."""
    process = subprocess.Popen(
        [python, "-S", "-c", source],
        user=user,
        group=user,
        extra_groups=[],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd="/",
        start_new_session=True,
    )
    try:
        return process.communicate(timeout=5)[0].decode(errors="replace")
    except subprocess.TimeoutExpired:
        return "timeout"
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            time.sleep(0)
        process.wait()
