"""The program in a completion: the fenced block that counts, by one pass over its lines.

No regular expression: on a text of ten megabytes that is all backticks, `re.findall("```(.*?)```")` and its kin take
time with the square of the length, and the text's author is rewarded for what we get wrong.

Models show how to call the program, what to type and what comes out in blocks of their own, behind it.  So a block that
defines what the tests ask for goes before one that does not, Python before a block that does not say what it is, and
that before another language (`bash`, `text`); among equals the last counts.

More lenient than CommonMark where models are: a block may open behind a tag or a few words on the same line
(`<answer>```python`) and close in front of one (```` ```</answer> ````).  Stricter in one place: a block that never
closes is none, because the program in it was cut off.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

FENCE = "```"
PYTHON = frozenset("py python python3 py3 python2 pypy pypy3 {python} {.python}".split())


@dataclass(frozen=True, slots=True)
class Fenced:
    """What was found.  `code` is `None` where no block closes; `opened` says whether one was begun at all."""

    code: str | None
    opened: bool


def last_block(text: str, names: Sequence[str] = ()) -> Fenced:
    """The content of the closed block that counts, without its indentation if the fence was indented.

    `names`: functions and classes, one of which the program must define.

    Example: `last_block("So:\\n```python\\nprint(1)\\n```\\n").code == "print(1)"`.
    """
    lines = text.split("\n")  # only line feeds: str.splitlines would also cut strings at U+2028
    defines = _definition(names)
    found: tuple[tuple[bool, int], int, int] | None = None  # rank, first and last + 1 line of the content
    start = ticks = -1
    for number, line in enumerate(lines):
        if FENCE not in line:
            continue
        if start < 0:
            ticks = _opens(line)
            start = number + 1 if ticks else -1
        elif _closes(line, ticks):
            rank = (bool(defines and defines.search("\n".join(lines[start:number]))), _rank(lines[start - 1]))
            if found is None or rank >= found[0]:
                found = (rank, start, number)
            start = -1
    if found is None:
        return Fenced(None, opened=start >= 0)
    _, start, end = found
    fence = lines[start - 1]
    indent = len(fence) - len(fence.lstrip(" "))
    return Fenced("\n".join(_dedent(line, indent) for line in lines[start:end]), opened=True)


def _opens(line: str) -> int:
    """How many backticks open a block at the end of `line`; 0 if they are code within the line."""
    before, _, after = line.partition(FENCE)
    info = after.lstrip("`")
    # Pairs of backticks before it are code within the line; behind words a fence has one word, or it is prose.
    inline = "`" in info or before.count("`") % 2 or "`" in before and len(info.split()) > 1
    return 0 if inline else len(line) - len(before) - len(info)


def _definition(names: Sequence[str]) -> re.Pattern[str] | None:
    """What defining one of `names` looks like; within a line, so that it takes time with the length alone."""
    if not names:
        return None
    either = "|".join(map(re.escape, names))
    return re.compile(rf"^[ \t]*(?:(?:def|class)[ \t]+(?:{either})\b|(?:{either})[ \t]*(?::[^=\n]*)?=)", re.MULTILINE)


def _rank(fence: str) -> int:
    """2 for a block of Python, 1 for one that does not say what it is, 0 for another language."""
    words = fence.rpartition("`")[2].lower().replace(",", " ").split()
    if not words:
        return 1
    return 2 if words[0] in PYTHON else 0


def _closes(line: str, ticks: int) -> bool:
    """A line of at least as many backticks; what follows may be a tag or a bracket, but no word: that is content."""
    line = line.strip()
    rest = line.lstrip("`")
    return len(line) - len(rest) >= ticks and not rest[:1].isalnum() and "`" not in rest


def _dedent(line: str, indent: int) -> str:
    return line[min(indent, len(line) - len(line.lstrip(" "))) :] if indent else line
