"""Boxes and announcing phrases in a completion, in order.

Every search is a scan for fixed words, so it is linear in the text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rewards.math_answer.find.languages import Language, languages_in
from rewards.math_answer.find.sentences import SENTENCE_END, after_formula
from rewards.math_answer.read.answers import MAX_CHARS

MAX_BOXES = 64  # the last ones
MAX_PHRASES = 64  # likewise
_BOX = re.compile(r"(?<!\\)\\+(?:boxed|fbox)(?![A-Za-z])\s*")
_BARE_BOX = re.compile(r"\$?[-\d.\w]{1,100}")  # `\boxed 5`
_LINE = re.compile(r"^[ \t*_#]*(?:A[*_]*\s?:|Ans[*_]*\s?[:.])(?=[ \t*_$\\\d-])", re.MULTILINE)
_HASH = re.compile("####")
_VERB = (
    r"(?<![A-Za-z])(?<!we )(?<!you )(?:is|are|was|equals|(?:would|should|must|will) be"
    r"|(?:has|turns out|comes out) to be|comes (?:out )?to)(?![a-z])|[:=]"
)
_PHRASE = re.compile(
    r"\b(?:answer|solution|result)s?[*_]*(?:"
    rf"(?:\s(?:to|for|of|that|we|I|you|in)\s[^.!?\n:]{{0,60}}?)?\s?(?:\([A-Za-z]\)\s?)?(?:{_VERB})"
    r"|\s?(?=\$|\\\[|\\\(|\n\s*(?:\$|\\\[|\\\()))",
    re.IGNORECASE,
)
_HEADER = re.compile(r"^[ \t#*_]*(?:final[ \t]+)?answer[*_: \t]*$", re.IGNORECASE | re.MULTILINE)
_OPTION = re.compile(r"\b(?:correct|right|best) (?:option|choice)[*_]*\s?(?:is|:)", re.IGNORECASE)
# "The reference answer is", "if the answer is": somebody else's answer, or none.
_NOT_OURS = re.compile(
    r"\b(?:reference|gold|golden|expected|ground[- ]truth|target|wrong|incorrect|previous|initial|possible|another|"
    r"student'?s?|user'?s?|suggested|first|your|their)[ \t*]+$|"
    r"\b(?:suppose|assum\w+|if|whether|imagine|unless|pretend|tempt\w+|naive\w*"
    r"|it is (?:false|wrong|untrue|not true|impossible|not the case) that|nobody \w+|no one \w+"
    r"|(?:might|may|could|would) (?:think|believe|guess|say|expect|conclude))\b[^.!?;\n]*$",
    re.IGNORECASE,
)
_LABELS = re.compile(r"\s?(?:[A-J]\.\s(?=[A-J]\b))+")  # `A. B. C. D`: no ends of sentences
_KEYWORDS = ("nswer", "NSWER", "olution", "esult")


@dataclass(frozen=True, slots=True)
class Anchor:
    """What announces an answer: a box or a phrase, from `start` to `end`, and the text that it announces.  `final`:
    it says that it is the final answer.  `language`: of a phrase that is not English."""

    start: int
    end: int
    payload: str
    box: bool
    final: bool
    language: Language | None = None


def boxes_in(text: str) -> list[Anchor] | None:
    """All closed boxes, in order; None where the last one is not closed."""
    found: list[Anchor] = []
    if "boxed" not in text and "fbox" not in text:
        return found
    starts = list(_BOX.finditer(text))[-MAX_BOXES:]
    closed_until = 0
    for start in starts:
        if start.start() < closed_until:
            continue  # a box in a box
        if start.end() < len(text) and text[start.end()] == "{":
            end = _balanced(text, start.end())
            if end is None:
                if start is starts[-1]:
                    return None
                continue
            found.append(Anchor(start.start(), end, text[start.end() + 1 : end - 1], True, False))
            closed_until = end
        else:
            token = _BARE_BOX.match(text, start.end())
            if token:
                found.append(Anchor(start.start(), token.end(), token[0], True, False))
    return found


def _balanced(text: str, start: int) -> int | None:
    """The end of the group that opens at `start`."""
    depth = 0
    for at in range(start, min(len(text), start + 2 * MAX_CHARS)):
        char = text[at]
        if char == "{" and (at == start or text[at - 1] != "\\" or text[at - 2 : at] == "\\\\"):
            depth += 1
        elif char == "}" and (text[at - 1] != "\\" or text[at - 2 : at] == "\\\\"):
            depth -= 1
            if depth == 0:
                return at + 1
    return None


def phrases_in(text: str) -> list[Anchor]:
    """What "the answer is", "Answer:", "####" and the like announce, in order."""
    starts: list[tuple[int, int, str, Language | None]] = []
    for keywords, pattern, words in _ANNOUNCING:
        if any(word in text for word in keywords):
            starts += [(at.start(), at.end(), words or at[0].lower(), None) for at in pattern.finditer(text)]
    for language in languages_in(text) if not (starts and text.isascii()) else ():
        starts += [(at.start(), at.end(), "answer", language) for at in language.announcement.finditer(text)]
    last = sorted(starts, key=lambda found: found[:2])[-MAX_PHRASES:]
    return [anchor for found in last if (anchor := _phrase(text, *found))]


def _phrase(text: str, start: int, end: int, words: str, language: Language | None) -> Anchor | None:
    before = text[max(0, start - 60) : start]
    not_ours = language.not_ours if language else _NOT_OURS
    if words not in ("####", "A:") and not_ours.search(before):
        return None
    if language is not None and language.doubted.search(text, start, end):
        return None
    final = (
        words == "####"
        or (words.startswith("answer") and words[-1] == ":" and before.rstrip("*_# ")[-1:] in ("", "\n"))
        or "final" in words
        or "final" in before[-12:].lower()
    )
    if words[0] in "rs" and not final:
        return None  # "the result is" and "the solution is" announce too much that is no answer
    if words == "####":
        stop = text.find("\n", end, end + MAX_CHARS)
        payload = text[end : stop if stop >= 0 else end + MAX_CHARS]
    else:
        begin = after_formula(text, end) if "\n" not in words else end
        if labels := _LABELS.match(text, begin):
            begin = labels.end()
        found = SENTENCE_END.search(text, begin, end + MAX_CHARS)
        payload = text[end : found.start() if found else end + MAX_CHARS]
    bold = payload.find("**", 1)
    if bold > 0 and text[max(0, start - 40) : end].count("**") % 2:  # `**Answer: 5** (see above)`
        payload = payload[:bold]
    return Anchor(start, end + len(payload), payload, False, final, language)


# Where one of the keywords is in the text: the pattern that is searched for, and the words that it counts as; as
# itself, where there are none.  (A search for a word costs nothing beside one for a pattern.)
_ANNOUNCING: tuple[tuple[tuple[str, ...], re.Pattern[str], str], ...] = (
    (("####",), _HASH, "####"),
    (("A",), _LINE, "A:"),
    (_KEYWORDS, _PHRASE, ""),
    (_KEYWORDS, _HEADER, ""),
    (("option", "choice"), _OPTION, "option"),
)
