r"""Does the completion say the same thing again and again?

    rep_n(text) = 1 - distinct n-grams of words / n-grams of words

is 0 where no n words are said twice, and near 1 where they are said to the end; the reward is -max_penalty · rep_n, as
in "Demystifying Long Chain-of-Thought Reasoning" (arXiv 2502.03373, App. C.2) and in open-r1, whose n = 3 we keep.
Two things differ.  What is said again counts where it is prose: calculations, tables, matrices and code repeat
themselves by nature.  And a text that loops has the whole penalty, whatever it repeats.

A text loops by the counts with which Tulu 3 filters its data (2411.15124, open-instruct):

    a paragraph                10 times in all
    a sentence                  4 times in a row, or 40 in all
    twice these numbers         in a text with mathematics or code
    three times, four times     for an item of a list or a row of a table, for a paragraph of several lines

or if it ends in one stretch of characters over and over, as a model writes that has lost its way to the end token.
Theirs look for mathematics within the sentence; but a search through cases says "this is no square" as often as it has
cases.  What has fewer than four words is no sentence: "Yes.", "0 & 0 & 0", "x += 1" may be said any number of times.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rewards.contract import Score, declare
from rewards.prose import Span, spans, without

PARAGRAPHS, IN_A_ROW, IN_ALL = 10, 4, 40
MATHEMATICS, ITEM, LINES = 2, 3, 4  # times these numbers
TIMES, COVERED = 6, 300  # repetitions and characters at the end, at the least; a line of dashes has fewer
WINDOW = 6000  # characters at the end in which a loop is looked for: loops of up to WINDOW / TIMES characters

# Scripts without blanks between words: Thai, Lao, Burmese, Khmer, kana, Han.  Each of their characters is a word.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(f"[{_UNSPACED}]|[^\\s{_UNSPACED}]+")
_LETTERS = re.compile(f"[{_UNSPACED}]|[^\\W\\d_{_UNSPACED}]{{2,}}")
_SENTENCE = re.compile(r"(?<!\d)[.!?](?=\s)|[。！？\n]")  # "3. We" is an item; and "is 4. We" differs from case to case
_ITEM = re.compile(r"\s*(?:[-*+•|#>]|\(?\w{1,3}[.)]\s)")


@declare(rejected_golds="ignore")
def repetition(completion: str, problem: Mapping[str, Any], *, n: int = 3, max_penalty: float = 1.0) -> Score:
    """From 0, nothing is said twice, down to -`max_penalty`."""
    if loop := looped(completion):
        return Score(-max_penalty, why=loop)
    grams = list(_grams(without(completion, spans(completion), instead=" | "), n))
    said = [gram for gram in grams if all(map(_LETTERS.search, gram))]
    again = (len(said) - len(set(said))) / len(grams) if grams else 0.0
    return Score(0.0 - max_penalty * again, why=f"{100 * again:.0f} % of the runs of {n} words were said before")


def share(text: str, n: int = 3) -> float:
    """rep_n of the whole text, from 0 to 1; 0 where there are fewer than `n` words."""
    grams = list(_grams(text, n))
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def _grams(text: str, n: int) -> Iterator[tuple[str, ...]]:
    if n < 1:
        raise ValueError(f"repetition: n must be at least 1 (given {n})")
    lower = text.lower()
    words = lower.split() if lower.isascii() else _WORD.findall(lower)  # the same words, four times sooner
    return zip(*(itertools.islice(words, start, None) for start in range(n)), strict=False)


def looped(text: str) -> str:
    """Why the text loops, such as 'a sentence 12 times in a row: "we go on"'; "" where it does not."""
    if end := _end(text):
        return end
    factor = MATHEMATICS if "=" in text or next(spans(text), None) else 1
    for unit, count in _most(map(_normal, text.split("\n\n")), PARAGRAPHS):
        if count >= PARAGRAPHS * max(factor, LINES if "\n" in unit.strip() else 1, _item(unit)):
            return _said("a paragraph", count, "", unit)
    sentences = [_normal(sentence) for sentence in _SENTENCE.split(without(text, _blocks(text)))]
    for unit, count in _most(sentences, IN_ALL):
        if count >= IN_ALL * max(factor, _item(unit)):
            return _said("a sentence", count, "", unit)
    for unit, group in itertools.groupby(filter(None, sentences)):
        count = sum(1 for _ in group)
        if count >= IN_A_ROW * max(factor, _item(unit)) and _is_said(unit):
            return _said("a sentence", count, " in a row", unit)
    return ""


def _blocks(text: str) -> Iterator[Span]:
    if "```" in text or "~~~" in text:  # else there is none, which is known a hundred times sooner
        yield from (span for span in spans(text) if span.kind == "block")


def _most(units: Iterable[str], least: int) -> list[tuple[str, int]]:
    """Sentences that are there `least` times or more, the most frequent first."""
    return [(unit, count) for unit, count in Counter(units).most_common() if count >= least and _is_said(unit)]


def _normal(unit: str) -> str:
    if "\n" not in unit:  # nearly all
        return " ".join(unit.lower().split())
    return "\n".join(" ".join(line.split()) for line in unit.strip().lower().split("\n"))


def _is_said(unit: str) -> bool:
    """Whether it has the words of a sentence."""
    return sum(1 for _ in itertools.islice(_LETTERS.finditer(unit), 4)) == 4


def _item(unit: str) -> int:
    return ITEM if _ITEM.match(unit) else 1


def _said(what: str, count: int, how: str, unit: str) -> str:
    shown = " ".join(unit.split())
    return f'{what} {count} times{how}: "{shown if len(shown) <= 60 else shown[:59] + "…"}"'


def _end(text: str) -> str:
    """The stretch of characters that repeats to the end, by the prefix function of the text read backwards.

    A prefix of length k has the period k - border(k) (Knuth, Morris, Pratt); the shortest period wins that covers
    enough.
    """
    if text[-COVERED // TIMES :] not in text[-WINDOW:-1]:  # what repeats has its end twice: cheap, and nearly all pass
        return ""
    last = text[: -WINDOW - 1 : -1]
    border = [0] * len(last)
    period = 0
    for at in range(1, len(last)):
        length = border[at - 1]
        while length and last[at] != last[length]:
            length = border[length - 1]
        border[at] = length + (last[at] == last[length])
        shortest = at + 1 - border[at]
        if at + 1 >= max(COVERED, TIMES * shortest):
            period = shortest
            break
    if not period:
        return ""
    start = len(text) - period
    while start > 0 and text[start - 1] == text[start - 1 + period]:
        start -= 1
    shown = repr(text[-period:] if period <= 60 else text[-period:][:59] + "…")
    return f"{period} characters {(len(text) - start) // period} times to the end: {shown}"
