"""`open("/dev/stdin")` where there is no /dev/stdin: in the empty root, which has no /proc for it to lead to."""

from __future__ import annotations

import builtins
import io
import os
from functools import partial
from typing import IO, Any

_STREAMS = {
    name: number
    for number, stream in enumerate(("stdin", "stdout", "stderr"))
    for name in (f"/dev/{stream}", f"/dev/fd/{number}", f"/proc/self/fd/{number}")
}


def open_by_name() -> None:
    """From here on in this process, `open` knows the standard streams by name."""
    by_name: Any = partial(_open, io.open)  # a partial, since no method is made of it in a class
    builtins.open = io.open = by_name


def _open(real: Any, file: Any, *arguments: Any, **options: Any) -> IO[Any]:
    name = os.fspath(file) if isinstance(file, str | os.PathLike) else ""
    return real(os.dup(_STREAMS[name]) if name in _STREAMS else file, *arguments, **options)  # type: ignore[no-any-return]
