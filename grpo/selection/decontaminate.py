"""Which rows hold an item of an evaluation set?

Both texts become words: NFKC, casefold, LaTeX spacing and punctuation left out.  With n-grams of n words,

    covered(e, t) = share of the evaluation text e's words that lie in an n-gram which the training text t has too

and a row goes where covered > 0.5 (Tulu 3, arXiv 2411.15124, section 3.2).  Three pitfalls of such rules:

* A text of fewer than n words has no n-gram.  It is found where a user's message, or a problem that a template was put
  around, is equal to it: signs like + and - and all, but for spaces.
* One shared n-gram is no copy ("find the value of x such that the following"); more than half of the words is.
* A set that puts the same instructions around every item is found in every row with these instructions.  N-grams that
  more than 10 of its texts have are not looked for, and words that lie in no other do not count as the item's.

Compared are the texts of a row, one by one, with the problem of every item and with its worked solution, where it
has one.  The index takes 16 bytes per n-gram of the evaluation sets; what is trained on goes by as a stream.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grpo.config import Data, Place
from grpo.errors import DataError
from grpo.problems import load_problems
from grpo.selection.candidates import Candidate
from grpo.selection.words import squeezed, words_of

MOST = 0.5  # of a text's words may be shared
SHARED = 10  # texts that may have an n-gram, before it is their set's instructions
LOUD = 0.02  # of a set's items; from there on Tulu 3 calls a training set contaminated
REMEMBERED = 16  # user's messages, which a problem's completions share


@dataclass(frozen=True, slots=True)
class Text:
    """One text of an evaluation set: "problem" or "solution" `part` of the item `item`."""

    set: str
    item: str
    part: str
    text: str


@dataclass(frozen=True, slots=True)
class Overlap:
    text: Text
    covered: float
    trained: str  # the message that has it

    def row(self, candidate: Candidate) -> dict[str, Any]:
        return {
            "row": candidate.id,
            "source": candidate.source,
            "evaluation": self.text.set,
            "item": self.text.item,
            "part": self.text.part,
            "covered": round(self.covered, 4),
            "evaluation_text": self.text.text,
            "training_text": self.trained,
        }


@dataclass(slots=True)
class SetReport:
    """What was found of one evaluation set so far."""

    items: int
    rows: int = 0
    touched: set[str] = field(default_factory=set)

    @property
    def share(self) -> float:
        return len(self.touched) / self.items


class Decontaminator:
    """Finds rows that hold an item, and keeps count of both.

    Example: `Decontaminator(read_sets([Place(use="test.jsonl")]), 8).overlaps(candidate)`.
    """

    def __init__(self, sets: Mapping[str, Sequence[Text]], n: int) -> None:
        self.n = n
        self.report = {name: SetReport(len({text.item for text in texts})) for name, texts in sets.items()}
        self._texts = [text for texts in sets.values() for text in texts]
        self._factors = np.random.default_rng(0).integers(-(2**63), 2**63, n, np.int64) | 1
        self._remembered: dict[str, list[tuple[int, float]]] = {}
        self._equal: dict[str, list[int]] = defaultdict(list)  # problems by their signs
        same: dict[tuple[str, ...], list[int]] = defaultdict(list)  # texts by their words: AIME's come 32 times in some
        for index, text in enumerate(self._texts):
            words = words_of(text.text)
            if len(words) >= n:
                same[tuple(words)].append(index)
            elif words:
                self._find_equal(index)
        self._same = list(same.values())
        self._numbers = {word: number for number, word in enumerate(sorted({word for words in same for word in words}))}
        self._index([self._ngrams(words) for words in same])

    def _find_equal(self, index: int) -> None:
        if self._texts[index].part == "problem":  # a short solution, such as "x = 4", is anybody's
            self._equal[squeezed(self._texts[index].text)].append(index)

    def _index(self, hashes: Sequence[NDArray[np.int64]]) -> None:
        """Sorted n-grams, each with its text's number in `_same` and its place there."""
        gram = np.concatenate([np.empty(0, np.int64), *hashes])
        owner = np.repeat(np.arange(len(hashes), dtype=np.int32), [len(one) for one in hashes])
        place = np.concatenate([np.empty(0, np.int32), *(np.arange(len(one), dtype=np.int32) for one in hashes)])
        order = np.argsort(gram, kind="stable")
        order = order[~_of_many(gram[order], owner[order])]
        self._gram, self._owner, self._place = gram[order], owner[order], place[order]
        self._words = np.zeros(len(hashes), np.int32)  # of each text, those that can be covered
        for owned, places in _by_owner(self._owner, self._place):
            self._words[owned] = _covered_words(places, self.n)
        for owned in np.flatnonzero(self._words == 0):  # every n-gram is one that many others have, too
            for index in self._same[owned]:
                self._find_equal(index)

    def _ngrams(self, words: Sequence[str]) -> NDArray[np.int64]:
        """Hashes of the n-grams, in their order, without those that have a word which no evaluation set has.

        Σ factor · word's number, modulo 2⁶⁴ (multilinear hashing): one is taken for another about never.
        """
        count = len(words) - self.n + 1
        if count <= 0:
            return np.empty(0, np.int64)
        numbers = np.fromiter(map(self._numbers.get, words, repeat(-1)), np.int64, len(words))
        hashes = np.zeros(count, np.int64)
        for start, factor in enumerate(self._factors):
            hashes += factor * numbers[start : start + count]
        unknown = np.concatenate([[0], np.cumsum(numbers < 0)])
        known: NDArray[np.int64] = hashes[unknown[self.n :] == unknown[: -self.n]]
        return known

    def overlaps(self, candidate: Candidate) -> list[Overlap]:
        """What of the evaluation sets is in the row; none: it may stay.  Counted in `report`."""
        found = self.find(candidate)
        self.count(found)
        return found

    def find(self, candidate: Candidate) -> list[Overlap]:
        """The same, not counted."""
        found: dict[int, Overlap] = {}
        for text, asked in _texts_of(candidate).items():
            for index, share in self._in(text, asked):
                if index not in found or share > found[index].covered:
                    found[index] = Overlap(self._texts[index], share, text)
        return list(found.values())

    def count(self, found: Sequence[Overlap]) -> None:
        """What was found in a row."""
        for name in {overlap.text.set for overlap in found}:
            self.report[name].rows += 1
            self.report[name].touched |= {one.text.item for one in found if one.text.set == name}

    def _in(self, text: str, asked: bool) -> list[tuple[int, float]]:
        """Evaluation texts in `text`, with their shares; equal ones where it is `asked`."""
        if not asked:
            return list(self._copied(text))
        if text not in self._remembered:
            if len(self._remembered) >= REMEMBERED:
                self._remembered.clear()
            equal = [(index, 1.0) for index in self._equal.get(squeezed(text), ())]
            self._remembered[text] = [*equal, *self._copied(text)]
        return self._remembered[text]

    def _copied(self, text: str) -> Iterator[tuple[int, float]]:
        grams = np.sort(self._ngrams(words_of(text)))  # in order they are found three times as fast
        first = np.searchsorted(self._gram, grams, "left")
        end = np.searchsorted(self._gram, grams, "right")
        hits = [np.arange(a, b) for a, b in zip(first[end > first], end[end > first], strict=True)]
        if not hits:
            return
        at = np.concatenate(hits)
        for owned, places in _by_owner(self._owner[at], self._place[at]):
            share = _covered_words(places, self.n) / int(self._words[owned])
            if share > MOST:
                yield from ((index, share) for index in self._same[owned])


def read_sets(places: Sequence[Place]) -> dict[str, list[Text]]:
    """The problems of evaluation sets, and their worked solutions.  Raises `DataError`."""
    sets = {}
    for place in places:
        try:
            problems = load_problems(Data(source=place.use, subset=place.subset, split=place.split or "test"), needs=())
        except DataError as error:
            raise DataError(f"select.decontaminate: {error}") from None
        name = " ".join(part for part in (place.use, place.subset, place.split) if part)
        sets[name] = [
            Text(name, problem.id, part, text)
            for problem in problems
            for part, text in (
                ("problem", problem.messages[-1]["content"]),
                ("solution", problem.facts.get("solution")),
            )
            if isinstance(text, str)
        ]
    return sets


def _texts_of(candidate: Candidate) -> dict[str, bool]:
    """All that is trained on, and whether it is what is asked: a template may stand around a problem in a message."""
    texts = {message["content"]: message["role"] == "user" for message in candidate.messages}
    return {**texts, **dict.fromkeys(candidate.asked, True)}


def _of_many(gram: NDArray[np.int64], owner: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Which of the n-grams more than `SHARED` texts have.  Sorted by n-gram, then by text."""
    fresh = np.ones(len(gram), np.bool_)  # not the same n-gram of the same text as the one before
    fresh[1:] = (gram[1:] != gram[:-1]) | (owner[1:] != owner[:-1])
    grams, texts = np.unique(gram[fresh], return_counts=True)
    return np.isin(gram, grams[texts > SHARED])


def _by_owner(owner: NDArray[np.int32], place: NDArray[np.int32]) -> Iterator[tuple[int, NDArray[np.int32]]]:
    """The places of each owner, in order."""
    if not len(owner):
        return
    order = np.lexsort((place, owner))
    owners, starts = np.unique(owner[order], return_index=True)
    yield from zip(owners.tolist(), np.split(place[order], starts[1:]), strict=True)


def _covered_words(places: NDArray[np.int32], n: int) -> int:
    """Words that lie in the n-grams which begin at these places, in order."""
    return int(np.minimum(np.diff(places), n).sum()) + n if len(places) else 0
