"""From the name of a reward to a function that scores one completion.

    math                        a built-in, or what an installed package offers in the entry-point group `grpo.rewards`
    my_rewards.py:short         a function in a file
    package.module:function     a function in a module that can be imported, from the working directory too

Ours come in through the same door as everyone's: they are entry points of this package.  Loading runs the user's
code, which may hang or take the process down, so a run loads rewards in its worker processes only, and these report
what each reward declares.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import os
import sys
import traceback
import zlib
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from grpo.errors import RewardError
from grpo.scoring.adapters import Judge, adapt
from rewards import Declaration, declaration_of

if TYPE_CHECKING:  # the workers load this file, and need not wait for pydantic
    from grpo.config import Reward

GROUP = "grpo.rewards"
T = TypeVar("T")


def load_reward(spec: Reward, *, chat: bool = True) -> Judge:
    """The reward that `spec` names, with its options, as a function of completion and problem.

    `chat` says whether problems are asked through a chat template, which is what TRL's functions see of them.
    """
    return load(spec.use, spec.options, chat=chat)[0]


def load(use: str, options: Mapping[str, Any], *, chat: bool) -> tuple[Judge, Declaration]:
    function = _find(use)
    judge = adapt(function, use=use, options=options, chat=chat)
    try:
        return judge, declaration_of(function)
    except ValueError as error:
        raise RewardError(f"{use}: {error}", exit_code=2) from error


def reward_name(spec: Reward) -> str:
    """The short name: `short` for `my_rewards.py:short`."""
    return spec.use.rpartition(":")[2]


def reward_names(specs: Iterable[Reward]) -> tuple[str, ...]:
    """The short names, each unique: a second `short` is `short-2`."""
    names: list[str] = []
    for spec in specs:
        name = short = reward_name(spec)
        number = 1
        while name in names:
            number += 1
            name = f"{short}-{number}"
        names.append(name)
    return tuple(names)


def _find(use: str) -> Callable[..., object]:
    place, _, name = use.rpartition(":")
    if not place:
        return _installed(use)
    module = _file(place, use) if place.endswith(".py") else _module(place, use)
    function = getattr(module, name, None)
    if function is None:
        raise RewardError(f"{place}: has no function {name!r}; {_choices(name, _functions(module))}", exit_code=2)
    if not callable(function) or inspect.isclass(function):
        kind = "a class" if inspect.isclass(function) else f"of type {type(function).__name__}"
        raise RewardError(f"{use}: is {kind}, not a function; {_choices(name, _functions(module))}", exit_code=2)
    return function  # type: ignore[no-any-return]


def _installed(use: str) -> Callable[..., object]:
    if use.endswith(".py"):
        there = _choices("", _functions(_file(use, use)))
        raise RewardError(f"{use}: names no function; write {use}:FUNCTION, {there}", exit_code=2)
    offered = {point.name: point for point in entry_points(group=GROUP)}
    if use not in offered:
        ways = "or give file.py:function or package.module:function"
        raise RewardError(
            f"reward {use!r}: is not built in or installed; {_choices(use, offered)}; {ways}", exit_code=2
        )
    values = {point.value for point in entry_points(group=GROUP, name=use)}
    if len(values) > 1:
        raise RewardError(
            f"reward {use!r}: several packages offer it ({', '.join(sorted(values))}); use one of these", exit_code=2
        )
    return _imported(use, offered[use].load)  # type: ignore[no-any-return]


def _file(place: str, use: str) -> ModuleType:
    path = Path(place).expanduser().resolve()
    if not path.is_file():
        near = _choices(path.name, (other.name for other in path.parent.glob("*.py")))
        raise RewardError(f"{use}: no file {path}; {near}", exit_code=2)
    # A name of its own, so that `math.py` or two files of one name shadow nothing.
    name = f"_reward_file_{zlib.crc32(os.fsencode(path)):08x}_{path.stem}"
    if name in sys.modules:
        return sys.modules[name]

    def run() -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None, "the name ends in .py"
        assert spec.loader is not None
        module = sys.modules[name] = importlib.util.module_from_spec(spec)  # dataclasses look themselves up there
        spec.loader.exec_module(module)
        return module

    _also_search(path.parent)
    try:
        return _imported(use, run)
    except RewardError:
        sys.modules.pop(name, None)
        raise


def _module(place: str, use: str) -> ModuleType:
    _also_search(Path.cwd())
    return _imported(use, lambda: importlib.import_module(place))


def _also_search(folder: Path) -> None:
    """Let imports see `folder`, last: a `types.py` beside the reward must not hide the standard library's."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def _imported(use: str, load: Callable[[], T]) -> T:
    """Runs the user's module, which may raise anything."""
    try:
        return load()
    except (Exception, SystemExit) as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())
        if not isinstance(error, SyntaxError | ImportError):  # these say where themselves
            last = traceback.extract_tb(error.__traceback__)[-1]
            what += f" ({Path(last.filename).name}, line {last.lineno})"
        raise RewardError(f"{use}: cannot be imported: {what}", exit_code=2) from error


def _functions(module: ModuleType) -> list[str]:
    return [
        name
        for name, member in vars(module).items()
        if inspect.isfunction(member) and member.__module__ == module.__name__ and not name.startswith("_")
    ]


def _choices(name: str, known: Iterable[str]) -> str:
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    guess = f"did you mean {near[0]!r}? " if near else ""
    return f"{guess}there {'is' if len(known) == 1 else 'are'} {', '.join(known) or 'none'}"
