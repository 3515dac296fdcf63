"""Attacks on the machine (parts A to E) are contained at every level that it can host, with every Landlock.

Each world is one run of `contain` as a process of its own: as root, as root with the capabilities of a container, as a
plain user; the tests below look its results up.  The first is the one that a training run gets here; the others are
marked slow.  The negative control shows that the attacks work where nothing confines them.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rewards.sandbox import Sandbox, SandboxUnavailable, landlock, levels
from rewards.sandbox.client import interpreter
from tests.sandbox.attacks import Attack
from tests.sandbox.contain import ATTACKS
from tests.sandbox.host import Host, unconfined
from tests.sandbox.promises import PROMISES

HERE = Path(__file__).resolve().parents[2]
NOBODY = 61_234  # owns nothing
AS = {
    "root": [],
    "container": ["--bounding-set", "-all,+chown,+dac_override,+fowner,+kill,+setgid,+setuid,+net_bind_service"],
    "user": ["--reuid", "1000", "--regid", "1000", "--clear-groups"],
}
WORLDS = [
    (who, level, abi)
    for who, its in (("root", ("L2", "L1", "L0")), ("container", ("L1", "L0")), ("user", ("L2", "L0")))
    for level in its
    for abi in (("newest", "4", "1", "0") if level == "L2" else ("newest", "4", "1"))
]


def python() -> str | None:
    """An interpreter that any user may run: the system's, where ours lies in a home directory."""
    for one in (interpreter(), "/usr/bin/python3"):
        places = [Path(one), *Path(one).resolve().parents]
        if Path(one).exists() and all(place.stat().st_mode & 0o005 == 0o005 for place in places):
            return one
    return None


@functools.cache
def results(who: str, level: str, abi: str) -> dict[str, Any] | str:
    """By label, what each attack came to in a world; or why this machine cannot host it."""
    if who != "root" and os.geteuid() != 0:
        return "only root can become others"
    if who != "root" and shutil.which("setpriv") is None:
        return "needs setpriv"
    if abi.isdigit() and int(abi) > landlock.abi():
        return f"this kernel's Landlock has ABI {landlock.abi()}"
    if (any_python := python()) is None:
        return "no Python here that another user may run"
    runner = sys.executable if who == "root" else any_python
    command = [runner, "-B", "-m", "tests.sandbox.contain", level, abi, any_python]
    prefix = ["setpriv", *AS[who]] if AS[who] else []
    done = subprocess.run(
        [*prefix, *command], cwd=HERE, env={"PYTHONPATH": str(HERE)}, capture_output=True, text=True, timeout=600
    )
    if SandboxUnavailable.__name__ in done.stderr and "got out" not in done.stderr:
        return done.stderr.strip().splitlines()[-1]
    assert done.returncode == 0, done.stderr
    return {line["label"]: line for line in map(json.loads, done.stdout.splitlines())}


def world_id(world: tuple[str, str, str]) -> str:
    return "{}-{}-abi-{}".format(*world)


@pytest.fixture(
    params=[
        pytest.param(world, id=world_id(world), marks=[] if i == 0 else [pytest.mark.slow])
        for i, world in enumerate(WORLDS)
    ],
    scope="module",
)
def world(request: pytest.FixtureRequest) -> dict[str, Any]:
    found = results(*request.param)
    if isinstance(found, str):
        pytest.skip(found)
    return found


@pytest.mark.parametrize("attack", ATTACKS, ids=[attack.label for attack in ATTACKS])
def test_attack_is_contained(world: dict[str, Any], attack: Attack) -> None:
    if attack.waits and attack.label not in world:
        pytest.skip("limits of time do not depend on Landlock's version; run with the newest")
    line = world[attack.label]
    assert line["wrong"] == []
    assert line["reason"] != "ok"


@pytest.mark.parametrize("promise", PROMISES, ids=lambda one: one.__name__)
def test_promise_is_kept(world: dict[str, Any], promise: Callable[[Sandbox], list[str]]) -> None:
    if promise.__name__ not in world:
        pytest.skip("no promise depends on Landlock's version; run with the newest")
    assert world[promise.__name__]["wrong"] == []


def test_nothing_is_left_behind(world: dict[str, Any]) -> None:
    assert world["processes"]["extra"] == 0
    assert world["left"]["processes"] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run the control as a user that owns nothing")
@pytest.mark.parametrize("attack", [one for one in ATTACKS if one.control], ids=lambda one: one.label)
def test_attack_reaches_its_goal_where_nothing_confines_it(attack: Attack) -> None:
    with Host(user=NOBODY) as host:
        assert "PWNED" in unconfined(host.fill(attack.source), python() or sys.executable, NOBODY)
        _clean(host)


def _clean(host: Host) -> None:
    for place in ("/tmp", "/var/tmp", "/dev/shm"):
        for path in Path(place).glob(f"{host.mark}*"):
            path.unlink()


def test_a_machine_without_landlock_and_namespaces_is_refused_with_what_is_missing(monkeypatch: Any) -> None:
    monkeypatch.setattr(landlock, "abi", lambda: 0)
    monkeypatch.setattr(levels, "start", lambda orders, python: (_ for _ in ()).throw(OSError("unshare: EPERM")))
    with pytest.raises(SandboxUnavailable, match=r"L2 not: unshare: EPERM; L1 not: Landlock is absent.*CAP_SETUID"):
        levels.find((), levels.Forced())


_LEVEL_AND_RUN = """
from rewards.sandbox import Sandbox
with Sandbox(1) as box: ran = box.run_stdin("print(42)\\n1 / 0", b"")
print(box.level, ran.reason, ran.stdout, "ZeroDivisionError" in ran.stderr)
"""


@pytest.mark.parametrize(
    "condition", ["umask 027", "umask 077", "ulimit -n 64", "exec 2>&-", "exec <&- 2>&-", "exec 2>/dev/full"]
)
def test_strange_start_changes_neither_level_nor_verdict(sandbox: Sandbox, condition: str) -> None:
    done = _started_under(condition)
    assert done.stdout == f"{sandbox.level} runtime_error b'42\\n' True\n"


@pytest.mark.parametrize(
    ("condition", "words"),
    [("ulimit -n 30", "30 files may be open"), ("mount -t tmpfs none /proc", "/proc is not mounted")],
)
def test_start_that_cannot_be_says_what_is_missing_and_what_to_do(condition: str, words: str) -> None:
    if "mount" in condition and (os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"]).returncode):
        pytest.skip("needs a namespace to hide /proc in")
    last = _started_under(condition, *(["unshare", "-m"] if "mount" in condition else [])).stderr.splitlines()[-1]
    assert words in last
    assert "with `" in last


def _started_under(condition: str, *prefix: str) -> subprocess.CompletedProcess[str]:
    command = [*prefix, "sh", "-c", f'{condition}; exec "$0" -c "$1"', sys.executable, _LEVEL_AND_RUN]
    return subprocess.run(
        command, cwd=HERE, env={**os.environ, "PYTHONPATH": str(HERE)}, capture_output=True, text=True
    )


def test_a_kernel_that_claims_what_it_does_not_enforce_is_refused() -> None:
    unruled = levels.Orders(namespaces=False, user=None, abi=0, packages=(), package_path=())
    with pytest.raises(SandboxUnavailable, match="read /etc/passwd"):
        levels.start(unruled, interpreter())
