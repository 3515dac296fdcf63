"""Is the completion written in the wanted language?

    share(text) = words in the wanted language / words

R1's reward for language consistency (arXiv 2501.12948 eq. 7), which it adds to the reward of the answer because chains
of thought that are rewarded for their answers alone begin to mix languages.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Mapping
from typing import Any, Literal

from rewards.contract import Score, declare
from rewards.prose import prose, thoughts

_SCRIPTS = {"zh": {"CJK"}, "ja": {"CJK", "HIRAGANA", "KATAKANA"}, "ko": {"HANGUL"}, "ru": {"CYRILLIC"}}
_WORD = re.compile(r"[^\W\d_]+")


@declare(rejected_golds="ignore")
def language(
    completion: str, problem: Mapping[str, Any], *, wanted: str, of: Literal["thoughts", "all"] = "thoughts"
) -> Score:
    """Share of words in the language `wanted` ("en"), from 0 to 1; 1 where there are no words."""
    found = share(thoughts(completion) if of == "thoughts" else completion, wanted)
    return Score(1.0, why="no words") if found is None else Score(found, why=f"{found:.1%} of words in {wanted}")


def share(text: str, wanted: str) -> float | None:
    """Share of words in the language `wanted`, formulas, code and names left out; None: nothing to judge."""
    scripts = _SCRIPTS.get(wanted, {"LATIN"})
    right = words = 0
    for run in _WORD.findall(prose(text)):
        script = _script(run[0])
        if script in ("CJK", "HIRAGANA", "KATAKANA") or len(run) > 1:
            weight = len(run) if script in ("CJK", "HIRAGANA", "KATAKANA") else 1
            words += weight
            right += weight * (script in scripts)
    return right / words if words else None


@functools.cache
def _script(letter: str) -> str:
    return unicodedata.name(letter, "").partition(" ")[0]
