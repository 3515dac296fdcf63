"""What a job may read: the standard library, the shared libraries it loads, time zones, and packages by name.

Site-packages as a whole are not: they may hold a trainer, its tests and its secrets.  Many installs keep them inside
the standard library's own directory, so that one is allowed entry by entry and only listed as a whole, which the
import system needs.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")
_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib")
_FOREIGN = ("site-packages", "dist-packages")


@dataclass(frozen=True, slots=True)
class Trees:
    readable: tuple[str, ...]  # for Landlock
    listable: tuple[str, ...]  # for Landlock: names only
    mounted: tuple[str, ...]  # for an empty root
    hidden: tuple[str, ...]  # for an empty root: inside what is mounted, and covered


def trees(packages: Sequence[str]) -> Trees:
    stdlib = sorted({os.path.realpath(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")})
    entries = [entry for place in stdlib for entry in os.scandir(place)]
    own = [entry.path for entry in entries if entry.name not in _FOREIGN]
    hidden = [entry.path for entry in entries if entry.name in _FOREIGN]
    others = [*_shared(), *_named(packages), "/usr/share/zoneinfo"]
    return Trees((*own, *others), tuple(stdlib), (*stdlib, *others), tuple(hidden))


def _shared() -> list[str]:
    places = {os.path.realpath(place) for place in (*_LIBRARIES, os.path.join(sys.base_prefix, "lib"))}
    entries = [entry for place in sorted(places) if os.path.isdir(place) for entry in os.scandir(place)]
    return [entry.path for entry in entries if ".so" in entry.name or entry.name.endswith("-linux-gnu")]


def _named(packages: Sequence[str]) -> list[str]:
    """The directories of `packages`, and of the shared libraries that a wheel puts beside them."""
    found = []
    for name in packages:
        spec = find_spec(name)
        for place in (spec.submodule_search_locations or []) if spec else []:
            libraries = Path(place).with_name(f"{name}.libs")
            found += [os.path.realpath(place)] + ([str(libraries)] if libraries.is_dir() else [])
    return found
