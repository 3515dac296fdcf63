"""Files that are whole or not there: written beside their place, on the disk, and then renamed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A place to write to; what lies there in the end takes that of `path`, on the disk and in one rename."""
    fresh = path.with_name(f".{path.name}.writing")
    try:
        yield fresh
        flush(fresh)
        fresh.replace(path)
        flush(path.parent)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def flush(place: Path) -> None:
    """Return when the file, or the folder's list of files, is on the disk."""
    descriptor = os.open(place, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
