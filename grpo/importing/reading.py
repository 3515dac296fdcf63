"""Files of other trainers as {name: value}: YAML, JSON, and shell scripts with `--flags` or Hydra's `key=value`.

Nothing in a file is run.  A script's own variables are put in (`$N`, `${N:-8}`, `$((N * 2))`, and HOME); what is only
set or said under a condition (`if`, `case`) is not read, and named.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from grpo.errors import ConfigError
from grpo.importing import shell
from grpo.importing.theirs import Left

LARGEST = 1_000_000  # bytes; the largest there are, complete dumps of verl, have 50,000
MOST_SETTINGS = 10_000


@dataclass(frozen=True, slots=True)
class Source:
    given: dict[str, Any]
    unread: tuple[Left, ...] = field(default=())


def read(path: Path, *, nested: bool, words: shell.Words) -> Source:
    """The settings in `path`.  `nested`: names are made of groups, `data.seed`.  `words`: how a script gives them."""
    text = _text(path)
    try:
        if path.suffix == ".json":
            tree = json.loads(text, object_pairs_hook=_once)
        elif path.suffix in (".yaml", ".yml"):
            tree = _yaml(text)
        else:
            return _of_script(path, text, words)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        kind = "JSON" if path.suffix == ".json" else "YAML"
        raise ConfigError(f"{path}: not {kind} ({_in_a_line(error)})") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: holds no settings by name; a mapping such as `learning_rate: 1e-6` is expected")
    try:
        given = {str(name): _plain(value) for name, value in (_flat(tree, path) if nested else tree.items())}
        json.dumps(given, ensure_ascii=False).encode()
    except (RecursionError, UnicodeEncodeError) as error:
        raise ConfigError(f"{path}: holds what no text can ({_in_a_line(error)})") from None
    return Source(given)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise ConfigError(f"{path}: has more than {LARGEST:,} bytes; no configuration has")
        return data.decode("utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not text in UTF-8 ({error.reason})") from None


def _of_script(path: Path, text: str, words: shell.Words) -> Source:
    try:
        script = shell.parse(text)
    except ValueError as error:
        raise ConfigError(f"{path}: not a shell script that can be read ({_in_a_line(error)})") from None
    given, unread = words(script)
    if not given:
        raise ConfigError(
            f"{path}: holds no settings; give a .yaml or .json file, or a shell script with the trainer's command"
        )
    return Source({name: _plain(_value(value)) for name, value in given.items()}, tuple(unread))


def _yaml(text: str) -> Any:
    """YAML as it is safe, in which a name may stand once only: PyYAML would take the last without a word."""
    stack, seen = [yaml.compose(text, yaml.SafeLoader)], set()
    while stack:
        node = stack.pop()
        if node is None or isinstance(node, yaml.ScalarNode) or id(node) in seen:
            continue
        seen.add(id(node))  # a reference may lead back to where it stands
        if isinstance(node, yaml.MappingNode):
            names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            if twice := next((name for at, name in enumerate(names) if name in names[:at]), None):
                raise ValueError(f"line {node.start_mark.line + 1}: {twice} stands there twice")
            stack += [value for _, value in node.value]
        else:
            stack += node.value
    return yaml.safe_load(text)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)} stands there twice")
    return dict(pairs)


def _flat(tree: dict[Any, Any], path: Path) -> Iterator[tuple[str, Any]]:
    """Names with their groups before them.  Counted, because YAML's references can make a small file endless."""
    stack: list[tuple[str, Any]] = [("", tree)]
    count = 0
    while stack:
        name, value = stack.pop()
        count += 1
        if count > MOST_SETTINGS:
            raise ConfigError(f"{path}: has more than {MOST_SETTINGS:,} settings; no configuration has")
        if isinstance(value, dict) and (value or not name):
            before = f"{name}." if name else ""
            stack += [(f"{before}{key}", inner) for key, inner in reversed(value.items()) if key != "_target_"]
        else:
            yield name, value


def _value(text: str | bool | list[str]) -> Any:
    """A word of a command line as YAML has it, which is nearly Hydra's grammar."""
    if not isinstance(text, str):
        return [_value(part) for part in text] if isinstance(text, list) else text
    try:
        value = _yaml(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return text
    return value if isinstance(value, bool | int | float | list | dict | str) or text in ("null", "~") else text


_EXPONENT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)[eE][+-]?\d+")


def _plain(value: Any) -> Any:
    """`value` of what TOML and JSON know; with numbers for what YAML 1.1 takes for text: `1e-6` has no dot."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, str) and _EXPONENT.fullmatch(value):
        return float(value) if math.isfinite(float(value)) else value
    return value if isinstance(value, str | bool | int | float) or value is None else str(value)  # a date, say


def _in_a_line(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply, or without end"
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return " ".join(str(error).split())
