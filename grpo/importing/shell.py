"""As much of a shell script as it takes to read the settings in it: its words, its variables, its conditions."""

from __future__ import annotations

import ast
import operator
import os
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from grpo.importing.theirs import Left

Value = str | bool | list[str]
Given = dict[str, Value]


@dataclass(slots=True)
class Script:
    """The commands of a script, variables put in; and apart from them those that a condition decides about."""

    commands: list[list[str]] = field(default_factory=list)
    conditional: list[list[str]] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=lambda: {"HOME": os.path.expanduser("~")})
    guessed: set[str] = field(default_factory=set)  # variables that only conditions set: what the first of them sets
    doubtful: dict[str, str] = field(default_factory=dict)  # words with such a variable, and its name


Words = Callable[[Script], tuple[Given, list[Left]]]

_OPENS, _CLOSES, _BETWEEN = {"if", "case", "for", "while", "until"}, {"fi", "esac", "done"}, {"then", "else", "do"}
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?::?-([^{}]*))?\}|\(\(([^()]*)\)\))")
_UNDER_A_CONDITION = "under a condition of the script, which is not evaluated; set it by hand if it holds"


def parse(text: str, variables: dict[str, str] | None = None) -> Script:
    """Raises `ValueError` where a quotation does not end."""
    script, depth = Script() if variables is None else Script(variables=variables), 0
    for words in _commands(text):
        if words[0] in _CLOSES:
            depth -= 1
        elif words[0] in _OPENS:
            depth += 1
        put_in = [_put_in(word, script.variables) for word in words]
        for word, made in zip(words, put_in, strict=True):
            if doubt := script.guessed & set(re.findall(r"\w+", word)) if "$" in word else None:
                script.doubtful[made] = min(doubt)
        (script.conditional if depth > 0 else script.commands).append(put_in)
        for inner in (word for flag, word in pairwise(put_in) if flag == "-c"):
            script.commands += parse(inner, script.variables).commands  # bash -c "…"
        for found in filter(None, map(_ASSIGNMENT.fullmatch, put_in)):
            if depth <= 0 or not script.variables.get(found[1]):
                script.variables[found[1]] = found[2]
                (script.guessed.add if depth > 0 else script.guessed.discard)(found[1])
    return script


def _commands(text: str) -> Iterator[list[str]]:
    """The words of each command, between line ends and operators."""
    text = re.sub(r"^\s*#.*\n?", "", text, flags=re.MULTILINE)  # first: they may stand between continued lines
    text = re.sub(r"\\\r?\n", " ", text)
    text = re.sub(r"\s#.*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"\$\(\(([^()]*)\)\)", lambda found: "".join(found[0].split()), text)
    lexer = shlex.shlex(text, posix=True, punctuation_chars="\n;|&<>")
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t\r", True, ""
    words: list[str] = []
    for word in lexer:
        word = re.sub(r"^\w+\+?=\(", "", word)  # of an array, whose items count wherever they stand
        word = word.removesuffix(")") if word.count(")") > word.count("(") else word
        if word.strip("\n;|&<>") or not word:
            if words or word not in _BETWEEN:
                words.append(word)
        elif words:
            yield words
            words = []
    if words:
        yield words


def _put_in(word: str, variables: dict[str, str]) -> str:
    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if name is None:
            return _sum(found[4], variables) or found[0]
        known = variables.get(name)
        if found[3] is not None and not known:
            return found[3]
        return found[0] if known is None else known

    once = _VARIABLE.sub(value, word)
    return _VARIABLE.sub(value, once) if once != word else once  # ${A:-$B}


_OPERATORS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
}


def _sum(text: str, variables: dict[str, str]) -> str | None:
    """`$((…))` of whole numbers and variables; None where it is anything else."""

    def number(node: ast.expr) -> int:
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            return _OPERATORS[type(node.op)](number(node.left), number(node.right))
        given = variables[node.id] if isinstance(node, ast.Name) else ast.unparse(node)
        return int(given)

    if len(text) > 200:
        return None
    try:
        return str(number(ast.parse(text.replace("$", "").replace("/", "//"), mode="eval").body))
    except (SyntaxError, KeyError, ValueError, ZeroDivisionError):
        return None


# --- The two ways to give settings --------------------------------------------------------------------------------

_OVERRIDE = re.compile(r"(\+{0,2}|~)([A-Za-z_]\w*(?:\.\w+)+)=(.*)", re.DOTALL)


def overrides(script: Script) -> tuple[Given, list[Left]]:
    """Hydra's `group.name=value`, wherever it stands: in the command or in an array that the command takes in."""
    given: Given = {}
    left: list[Left] = []
    for found in filter(None, (_OVERRIDE.fullmatch(word) for words in script.commands for word in words)):
        given[found[2]] = found[3]
        if found[0] in script.doubtful:
            why = f"of ${script.doubtful[found[0]]}, which the script sets under conditions, the first value is taken"
            left.append(Left(found[2], found[3], why))
    for word in (word for words in script.commands for word in words if word.startswith("--config")):
        left.append(Left(word, "", "another file of settings, which is not read; defaults are those of ppo_trainer"))
    for found in filter(None, (_OVERRIDE.fullmatch(word) for words in script.conditional for word in words)):
        left.append(Left(found[2], found[3], _UNDER_A_CONDITION))
    return _without_variables(given, left)


def flags(*programs: str) -> Words:
    """`--name value …` after a word that ends with one of `programs`, and in lines that begin so: of arrays, and of
    files that hold nothing else."""

    def read(script: Script) -> tuple[Given, list[Left]]:
        given: Given = {}
        for words in (_flags_of(words) for words in script.commands):
            given |= _pairs(words)
        return _without_variables(given, [])

    def _flags_of(words: list[str]) -> list[str]:
        first = next((word for word in words if word), "")
        start = next((i for i, word in enumerate(words) if word.endswith(programs)), None)
        return words if first.startswith("--") else [] if start is None else words[start + 1 :]

    return read


def _pairs(words: list[str]) -> Given:
    given: Given = {}
    names = [i for i, word in enumerate(words) if word.startswith("--") and len(word) > 2]
    for at, end in zip(names, [*names, len(words)][1:], strict=True):
        name, equals, value = words[at].removeprefix("--").partition("=")
        values = [value, *words[at + 1 : end]] if equals else words[at + 1 : end]
        given[name.replace("-", "_")] = True if not values else values[0] if len(values) == 1 else values
    return given


def _without_variables(given: Given, left: list[Left]) -> tuple[Given, list[Left]]:
    """Values that are empty, or hold a variable that the script does not set, are not known."""
    unknown = {name: value for name, value in given.items() if value == "" or set("$`") & set(str(value))}
    why = "is not known here, as it is empty or holds what the script does not set; set it by hand"
    told = [*left, *(Left(name, value, why) for name, value in unknown.items())]
    return {name: value for name, value in given.items() if name not in unknown}, told
