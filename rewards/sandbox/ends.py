"""From how a process ended to a reason."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from typing import Any

from .program import NO_MEMORY, NOT_PYTHON, RAISED, TOO_MUCH_OUTPUT
from .types import End

_STATUSES: dict[int, End] = {
    RAISED: "runtime_error",
    NOT_PYTHON: "compile_error",
    NO_MEMORY: "memory",
    TOO_MUCH_OUTPUT: "output_limit",
}
_SIGNALS: dict[int, End] = {
    signal.SIGSYS: "blocked_syscall",
    signal.SIGXCPU: "timeout_cpu",
    signal.SIGXFSZ: "output_limit",
    signal.SIGKILL: "memory",  # not ours: the kernel's, when memory runs out
}


def reason_of(ended: Mapping[str, Any]) -> End:
    """`ended` is the keeper's word; see `keeper._watch`."""
    if ended["killed"] == "stopped":
        return "died"
    if ended["killed"]:
        return ended["killed"]  # type: ignore[no-any-return]
    code = exit_code_of(ended)
    return _SIGNALS.get(os.WTERMSIG(ended["status"]), "signal") if code is None else _STATUSES.get(code, "ok")


def exit_code_of(ended: Mapping[str, Any]) -> int | None:
    status: int = ended["status"]
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else None
