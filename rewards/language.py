"""Is the completion written in the wanted language?

    share(text) = words in the wanted language / words

R1's reward for language consistency (arXiv 2501.12948 eq. 7).  It is added to the reward of the answer, because chains
of thought that are rewarded for their answers alone begin to mix languages.

What is no word of any language counts on neither side: formulas, code, numbers, units, links, tags (`rewards.prose`),
and single letters, which are variables.  Words are told apart in two steps:

1. By script.  Where no other language is written in the wanted one's, as with Greek, Hangul or Thai, that is all.
2. Where languages share a script, by the identifier py3langid, sentence by sentence: a word alone says too little.  A
   sentence too short to tell goes with those that follow; words that cannot be told at all count nowhere.

Names, quoted words and terms in another script are excused as long as they are few.  Names and quotations in the
script of the wanted language need no such rule: the sentence around them decides.
"""

from __future__ import annotations

import copy
import difflib
import functools
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from rewards.contract import Score, declare
from rewards.prose import prose, thoughts

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

# Languages by script: these are told apart, and no others.  More would be mistaken for one another more often.
# Chinese and Japanese share theirs, since kana and Han stand side by side in Japanese.
LANGUAGES = {
    "LATIN": "en de fr es pt it nl sv da no fi pl cs sk sl hr hu ro et lv lt tr vi id tl sw ca".split(),
    "CYRILLIC": "ru uk be bg sr mk kk".split(),
    "ARABIC": "ar fa ur".split(),
    "DEVANAGARI": "hi mr ne".split(),
    "EAST ASIAN": "zh ja".split(),
    **{
        script: [language]
        for script, language in (
            pair.split(":")
            for pair in (
                "HANGUL:ko GREEK:el HEBREW:he THAI:th BENGALI:bn TAMIL:ta TELUGU:te KANNADA:kn MALAYALAM:ml"
                " GUJARATI:gu GURMUKHI:pa SINHALA:si GEORGIAN:ka ARMENIAN:hy ETHIOPIC:am KHMER:km LAO:lo MYANMAR:my"
            ).split()
        )
    },
}
_SCRIPT_OF = {language: script for script, languages in LANGUAGES.items() for language in languages}

# Characters in a word, on average, where words are written without blanks between them.
_CHARACTERS = {"EAST ASIAN": 2, "THAI": 4, "LAO": 4, "KHMER": 4, "MYANMAR": 4}
_CASED = ("LATIN", "CYRILLIC", "GREEK", "ARMENIAN")  # one letter is a variable, two in Greek: Δθ

# P(wanted) of a sentence in it is above YES, and below NO of one in another language; measured on 20,000 English
# sentences from solutions in mathematics: 0.1 % of those with 4 words are below NO, and none with 6.
YES, NO = 0.4, 0.02
FEWEST, MOST = 4, 30  # words that the identifier sees at once

FEW = 0.1  # of all words, or so many words in a short text:
A_FEW = 3


@declare(rejected_golds="ignore")
def language(
    completion: str,
    problem: Mapping[str, Any],
    *,
    wanted: str | None = None,
    of: Literal["thoughts", "all"] = "thoughts",
) -> Score:
    """Share of words in the language `wanted` ("en"), from 0 to 1; without it in `problem["language"]`.

    `of`: the chain of thought, as in R1, or the whole completion.  A text without words, formulas only, has 1: it mixes
    no languages, and a completion that is right must not leave its group for want of words.
    """
    if of not in ("thoughts", "all"):
        raise ValueError(f'language: of must be "thoughts" or "all" (given {of!r})')
    wanted = wanted if wanted is not None else problem.get("language")
    if wanted is None:
        raise ValueError('language: needs options = {wanted = "en"}, or a column "language" of the problem')
    found = share(thoughts(completion) if of == "thoughts" else completion, wanted)
    if found is None:
        return Score(1.0, why="no words that can be told")
    return Score(found, why=f"{100 * found:.1f} % of words in {wanted}")


def share(text: str, wanted: str) -> float | None:
    """Share of words in the language `wanted`, an ISO 639-1 code; None where there is nothing to judge."""
    script = _script_of(wanted)
    own: list[list[_Word]] = []
    foreign = excused = 0.0
    for sentence in _sentences(prose(text)):
        own.append([word for word in sentence if word.script == script])
        for run in _runs_of_others(sentence, script):
            words = sum(word.weight for word in run)
            if _is_excused(run, script):
                excused += words
            else:
                foreign += words
    right, wrong = _told(own, wanted)
    few = max(A_FEW, FEW * (right + wrong + foreign + excused))
    wrong += foreign + max(excused - few, 0)
    return right / (right + wrong) if right + wrong else None


def _script_of(wanted: object) -> str:
    if isinstance(wanted, str) and wanted in _SCRIPT_OF:
        return _SCRIPT_OF[wanted]
    known = sorted(_SCRIPT_OF)
    near = difflib.get_close_matches(str(wanted), known, n=1)
    guess = f"did you mean {near[0]!r}? " if near else ""
    raise ValueError(f"language: {wanted!r} is not the code of a language told apart here; {guess}{', '.join(known)}")


@dataclass(frozen=True, slots=True)
class _Word:
    """Letters of one script in a row.  `weight`: how many words they are."""

    script: str
    text: str
    weight: float
    quoted: bool


_QUOTES = frozenset("\"“”„'‘’«»「」『』《》")
_SENTENCE = re.compile(r"[.!?;:\n。！？；：…]+")


def _sentences(text: str) -> Iterator[list[_Word]]:
    for sentence in _SENTENCE.split(text):
        words = list(_words(sentence))
        for at in range(0, len(words), MOST):
            yield words[at : at + MOST]


def _words(sentence: str) -> Iterator[_Word]:
    for run in _RUN.finditer(sentence.translate(_CODES)):
        start, end = run.span()
        script, text = _CODES.scripts[ord(run[1]) - _FIRST], sentence[start:end]
        if len(text) <= (script in _CASED) + (script == "GREEK"):
            continue
        quoted = sentence[max(start - 1, 0)] in _QUOTES or sentence[min(end, len(sentence) - 1)] in _QUOTES
        per_word = _CHARACTERS.get(script)
        yield _Word(script, text, max(1.0, len(text) / per_word) if per_word else 1.0, quoted)


class _Codes(dict[int, int]):
    """For `str.translate`: each character as one that stands for its script, so that a pattern sees scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts = tuple(LANGUAGES)

    def __missing__(self, character: int) -> int:
        self[character] = code = self._code(chr(character))
        return code

    def _code(self, character: str) -> int:
        if character in "'’":
            return ord("'")
        category = unicodedata.category(character)
        name = unicodedata.name(character, "").split(" ")
        if category == "Mn" and name[0] == "COMBINING":
            return ord("+")
        script = name[1] if name[0] in ("FULLWIDTH", "HALFWIDTH") else name[0].partition("-")[0]
        script = "EAST ASIAN" if script in ("CJK", "HIRAGANA", "KATAKANA", "BOPOMOFO") else script
        is_letter = category[0] in "LM" and script in self.scripts
        return _FIRST + self.scripts.index(script) if is_letter else ord(" ")


_FIRST = 0xE000  # characters for private use
_CODES = _Codes()
_RUN = re.compile(r"([\ue000-\ue0ff])(?:\1|\+|'(?=\1))*")


def _runs_of_others(sentence: list[_Word], script: str) -> Iterator[list[_Word]]:
    run: list[_Word] = []
    for word in sentence:
        if word.script != script:
            run.append(word)
        elif run:
            yield run
            run = []
    if run:
        yield run


def _is_excused(run: list[_Word], script: str) -> bool:
    """A name or a quotation; or a term in Latin letters within another script ("使用 BFS 算法")."""
    named = all(word.quoted or word.script in _CASED and word.text[0].isupper() for word in run)
    return named or script != "LATIN" and len(run) <= 2 and all(word.script == "LATIN" for word in run)


def _told(sentences: list[list[_Word]], wanted: str) -> tuple[float, float]:
    """Words that are in the language `wanted`, and words in another of its script."""
    if len(LANGUAGES[_SCRIPT_OF[wanted]]) == 1:
        return sum(word.weight for sentence in sentences for word in sentence), 0.0
    counts = {True: 0.0, False: 0.0, None: 0.0}
    verdict: bool | None = None
    waiting: list[_Word] = []
    for sentence in sentences:
        waiting += sentence
        told = _is_in(wanted, waiting)
        if told is not None or len(waiting) >= MOST:
            counts[told] += sum(word.weight for word in waiting)
            verdict, waiting = told, []
    counts[verdict] += sum(word.weight for word in waiting)
    return counts[True], counts[False]


def _is_in(wanted: str, words: list[_Word]) -> bool | None:
    """None where it cannot be told."""
    if sum(word.weight for word in words) < FEWEST:
        return None
    text = " ".join(word.text[:40] for word in words)  # no word is longer; what a model may write is
    chance = dict(_identifier(_SCRIPT_OF[wanted]).rank(text))[wanted]
    return True if chance >= YES else False if chance <= NO else None


@functools.cache
def _identifier(script: str) -> LanguageIdentifier:
    """The identifier among the languages of `script`."""
    identifier = copy.copy(_all_languages())  # shares what is large
    identifier.set_languages(LANGUAGES[script])
    return identifier


@functools.cache
def _all_languages() -> LanguageIdentifier:
    """About a second and 100 MB, so it is loaded where it is first asked."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
