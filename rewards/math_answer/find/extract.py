r"""Where in a completion is *the* answer?

    1  what stands in `<think>…</think>` is cut; a think block that never ends leaves no answer
    2  `<answer>…</answer>`, `\boxed{…}`, "the final answer is …", `#### …`, "Answer: …": the last one announced
    3  a completion that is nothing but an answer
    4  only where the leniency allows it: what the last sentence ends in

The choice never looks at the gold answer.  Two different answers offered side by side are no answer; one that is taken
back ("wait, …") or followed by a derivation is superseded by the later one.

Every search is a scan for fixed words, so extraction is linear in the text; only the last 64 KiB are read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

from rewards.math_answer.compare.ladder import compare
from rewards.math_answer.find.anchors import Anchor, boxes_in, phrases_in
from rewards.math_answer.find.sentences import formulas, last_sentence_start
from rewards.math_answer.leniency import EVAL, Leniency
from rewards.math_answer.nodes import Node, Seq, Words
from rewards.math_answer.read.answers import MAX_CHARS, parse
from rewards.math_answer.read.tokens import ParseError

TAIL = 1 << 16  # characters
MAX_WORDS = 4  # of an answer in words that is not in a box or a tag


@dataclass(frozen=True, slots=True)
class Extracted:
    """The answer as text and as a tree, or the reason why there is none."""

    text: str | None
    node: Node | None
    reason: str


_THINK = re.compile(
    r"</?(?:think|thinking|thought|thoughts|reasoning)>|◁/?think▷|<\|(?:begin|end)_of_thought\|>", re.IGNORECASE
)
_FINAL_CHANNEL = "<|channel|>final<|message|>"
_TURN = re.compile(
    r"<\|(?:im_start|im_end|eot_id|endoftext|end|user|end_of_text|return|start_header_id)\|>|</s>|<eos>|<end_of_turn>"
    r"|<｜end▁of▁sentence｜>|\n(?:User|Human|Question|Problem):"
)
_TAG = re.compile(r"<(/?)answer>", re.IGNORECASE)
_IS_THE_ANSWER = re.compile(r"\bis (?:the|our) (?:final )?(?:answer|solution)s?[.!]?\s*$", re.IGNORECASE)
_THE_SOLUTION_IS = re.compile(r"\b(?:the|our) (?:final )?(?:solution|result)s? (?:is|are|:)(?=\s)", re.IGNORECASE)
_BOLD = re.compile(r"\*\*([^*\n]{1,200})\*\*")
_RETRACTED = re.compile(
    r"\b(?:wait|actually|mistake|correction|corrected|wrong|incorrect|instead|re-?check|oops|sorry|scratch that|"
    r"let me re|let's re|on second thought|revis|final answer)",
    re.IGNORECASE,
)
_HEDGE = re.compile(
    r"\b(?:or|alternatively|maybe|perhaps|possibly|either|also|might|could|another|otherwise|unless|if not)\b",
    re.IGNORECASE,
)
_DERIVED = re.compile(
    r"=|\b(?:so|then|thus|hence|therefore|step|now|next|gives?|get|means|final|because|since|substitut\w+|adding)\b",
    re.IGNORECASE,
)
_NEGATED = re.compile(r"\b(?:not|isn't|cannot|can't|never|n't|neither|nor)\b", re.IGNORECASE)
_SUPPOSED = re.compile(r"\b(?:suppose|assume|if the answer)\b", re.IGNORECASE)
_BUT_NOT = re.compile(r"[,;]?\s+(?:and |but )?(?:not|rather than|instead of)\b.*", re.IGNORECASE | re.DOTALL)
_REASON = re.compile(r"[,;]?\s+(?:because|since|as|which)\b.*", re.IGNORECASE | re.DOTALL)
_HOPE = re.compile(r"\.?\s*I hope (?:it|this) is correct.*", re.IGNORECASE | re.DOTALL)
_NUMBER = re.compile(r"(?<![A-Za-z\d.])[-+−]?(?:\$|\\\$)?\d[\d,]*(?:\.\d+)?(?:/\d+)?(?![A-Za-z\d])\s?(?:\\?%)?")
_IS = re.compile(r"(?:\b(?:is|are|equals|equal to|be|gives|get|was)\b|[=:≈])\s", re.IGNORECASE)
_JOIN_NOISE = re.compile(r"\\(?:quad|qquad|text|textrm|mathrm|[,;:! ()\[\]])|[\s${}.,;&~()\[\]]")


def extract(completion: str, leniency: Leniency) -> Extracted:
    """The answer that `completion` announces."""
    text, fault = _visible(completion)
    if fault:
        return Extracted(None, None, fault)
    found = _tagged(text) or _announced(text) or _bare(text) or _concluded(text)
    if found is None and not leniency.anchored:
        found = _bold(text) or _last_sentence(text)
    return found or Extracted(None, None, "no answer announced")


def _visible(completion: str) -> tuple[str, str]:
    """The text after the last think block, up to where another turn of the conversation begins."""
    text = completion[-TAIL:]
    if "<" in completion or "◁" in completion:
        completion = completion.rpartition(_FINAL_CHANNEL)[2]
        text = completion[-TAIL:]
        last = _last(_THINK, completion)
        if last is not None and "/" not in last[0] and "end" not in last[0]:
            return "", "the think block is not closed"
        if last is not None:
            text = completion[last.end() :][-TAIL:]
    turn = _TURN.search(text, len(text) - len(text.lstrip()) + 1)
    return (text[: turn.start()] if turn else text), ""


def _tagged(text: str) -> Extracted | None:
    if "<" not in text:
        return None
    tags = list(_TAG.finditer(text))
    if not tags:
        return None
    if len(tags) < 2 or tags[-2][1] or not tags[-1][1]:
        return Extracted(None, None, "the answer tag is not closed") if not tags[-1][1] else None
    inner = text[tags[-2].end() : tags[-1].start()].strip()
    earlier = {text[a.end() : b.start()].strip() for a, b in pairwise(tags) if not a[1] and b[1]}
    if len(earlier) > 1:
        return Extracted(None, None, "two different answer tags")
    return _announced(inner) or _read(inner, "answer tag")


def _announced(text: str) -> Extracted | None:
    boxes = boxes_in(text)
    if boxes is None:
        return Extracted(None, None, "the last box is not closed")
    phrases = [anchor for anchor in phrases_in(text) if not any(anchor.start < box.start < anchor.end for box in boxes)]
    last_box = boxes[-1] if boxes else None
    for phrase in reversed(phrases):
        if last_box is not None and (phrase.start < last_box.end or not _overrides(text, last_box, phrase)):
            continue
        found = _payload(phrase.payload)
        if found is not None and found.node is not None:
            return _unhedged(text, phrase, phrases + boxes, found)
        if found is not None and last_box is None:
            return found
    return _boxed(text, boxes) if boxes else None


def _overrides(text: str, box: Anchor, phrase: Anchor) -> bool:
    """Whether an announcement after the last box replaces it: as the final answer, or after taking it back."""
    return phrase.final or _RETRACTED.search(text, box.end, phrase.start) is not None


def _unhedged(text: str, chosen: Anchor, others: list[Anchor], found: Extracted) -> Extracted:
    """`found`, unless another anchor before it offers something else as an alternative."""
    for other in others:
        if other.end <= chosen.start and _offered(text[other.end : chosen.start]):
            rival = _read(other.payload, "box") if other.box else _payload(other.payload)
            if rival is not None and not _agree(rival, found):
                return Extracted(None, None, "two different answers offered")
    return found


def _agree(one: Extracted, other: Extracted) -> bool:
    """Whether two announcements are of one answer.  Words are no rival of a formula: they may be prose."""
    if one.node is None or other.node is None or isinstance(one.node, Words):
        return True
    return bool(compare(one.node, other.node, EVAL))


def _offered(gap: str) -> bool:
    """Whether the text between two answers offers the second beside the first, instead of coming to it."""
    if _RETRACTED.search(gap):
        return False
    if len(gap) < 400 and _HEDGE.search(gap) is not None:
        return True
    return len(gap) < 100 and _DERIVED.search(gap) is None


def _boxed(text: str, boxes: list[Anchor]) -> Extracted:
    """The last box; or the list that several boxes in one sentence are; or nothing where they are alternatives."""
    joined = [boxes[-1]]
    for box in reversed(boxes[:-1]):
        gap = text[box.end : joined[0].start]
        if len(joined) == 1 and box.payload.strip() == joined[0].payload.strip():
            continue
        if _joins(gap):
            joined.insert(0, box)
        elif not _offered(gap):
            break
        elif not _agree(_read(box.payload, "box"), _read(joined[0].payload, "box")):
            return Extracted(None, None, "two different answers offered")
    if len(joined) == 1:
        return _read(_with_unit(text, boxes[-1]), "box")
    parts = [_read(box.payload, "box") for box in joined]
    nodes = [part.node for part in parts if part.node is not None]
    if len(nodes) < len(parts):
        return next(part for part in parts if part.node is None)
    return Extracted(", ".join(box.payload for box in joined), Seq(tuple(nodes)), "boxes")


def _joins(gap: str) -> bool:
    """Whether boxes with this text between them are items of one list."""
    if len(gap) > 80 or re.search(r"[.!?]\s+\w|\n\s*\n\s*\w|\b(?:so|then|thus|hence|therefore)\b", gap):
        return False
    if (_HEDGE.search(gap) and "also" not in gap) or _RETRACTED.search(gap):
        return False
    words = _JOIN_NOISE.sub(" ", gap).split()
    return all(len(word) == 1 for word in words) or (("and" in words or "," in gap) and len(words) <= 8)


_PERCENT_AFTER = re.compile(r"\s*\$?\s*(?:\\?%|percent\b|pct\b|percentage\b)", re.IGNORECASE)


def _with_unit(text: str, box: Anchor) -> str:
    """The box's content, and a percent sign that stands right after it."""
    after = _PERCENT_AFTER.match(text, box.end)
    return box.payload + "%" if after and "%" not in box.payload else box.payload


def _payload(text: str) -> Extracted | None:
    """What an announcing phrase announces: an answer, or a sentence that ends in one."""
    text = _REASON.sub("", _BUT_NOT.sub("", _HOPE.sub("", text))).strip().lstrip(":*_ \n").rstrip("*_ ")
    if not text:
        return None
    if _NEGATED.match(text) or (_NEGATED.search(text) and not _is_short(text)):
        return Extracted(None, None, "the answer is denied, not given")
    found = _read(text, "announced")
    if found.node is not None and not (isinstance(found.node, Words) and len(found.node.text.split()) > MAX_WORDS):
        return found
    nested = _announced_in_sentence(text)
    return (
        nested
        if nested is not None
        else found
        if found.node is None
        else Extracted(None, None, "prose instead of an answer")
    )


def _is_short(text: str) -> bool:
    return len(text.split()) <= 3


def _announced_in_sentence(text: str) -> Extracted | None:
    """`The volume of the box is 120`: what follows the last verb; else the only number."""
    if _HEDGE.search(text) and " or " in text:
        return None
    math = formulas(text)
    last = _last(_IS, text)
    if last is not None and not any(start < last.start() < end for start, end in math):
        found = _read(text[last.end() :], "announced")
        if found.node is not None and not isinstance(found.node, Words):
            return found
    if math and text[math[-1][1] :].strip(" .") == "":
        return _read(text[math[-1][0] : math[-1][1]], "announced")
    numbers = _NUMBER.findall(text)
    return _read(numbers[0], "announced") if len(numbers) == 1 and not math else None


def _bare(text: str) -> Extracted | None:
    """A completion that is an answer and nothing else."""
    text = text.strip()
    if not text or len(text) > 600:
        return None
    found = _read(text, "bare")
    if found.node is None or (isinstance(found.node, Words) and _is_prose(found.node.text) and text[0] not in "$\\"):
        return None
    return found


def _concluded(text: str) -> Extracted | None:
    """`Thus $x ≤ 2$ is our answer.`, `The solution is $x ≠ 5$.` as the last sentence."""
    math = formulas(text[-4 * MAX_CHARS :])
    text = text[-4 * MAX_CHARS :]
    last = text[last_sentence_start(text, math) :]
    before, after = _IS_THE_ANSWER.search(last), _THE_SOLUTION_IS.search(last)
    if before is not None and math:
        return _read(text[slice(*math[-1])], "announced") if not _NEGATED.search(last) else None
    return _payload(last[after.end() :]) if after is not None else None


def _is_prose(words: str) -> bool:
    """Whether words are a sentence rather than a name: many, or with a verb or a number among them."""
    return len(words.split()) > MAX_WORDS or _IS.search(words) is not None or any(char.isdigit() for char in words)


def _bold(text: str) -> Extracted | None:
    found = _last(_BOLD, text)
    if found is None or "\n\n" in text[found.end() :].strip():
        return None
    read = _read(found[1], "bold")
    return None if read.node is None or isinstance(read.node, Words) else read


def _last_sentence(text: str) -> Extracted | None:
    """The last formula or number, in a text that ends as texts end."""
    text = _HOPE.sub(".", text).strip()
    if text.count("$") % 2 or not text or text[-1] not in '.!?$)]}*"%' and not text[-1].isalnum():
        return None
    math = formulas(text[-4 * MAX_CHARS :])
    text = text[-4 * MAX_CHARS :]
    sentence = last_sentence_start(text, math)
    if _NEGATED.search(text[sentence:]) or _SUPPOSED.search(text[sentence:]):
        return None
    inside = [span for span in math if span[0] >= sentence]
    if inside:
        return _read(text[inside[-1][0] : inside[-1][1]] + _tail_percent(text, inside[-1][1]), "last formula")
    last = _last(_NUMBER, text, sentence)
    if last is None:
        return None
    if not re.search(r"[A-Za-z]{2}", text[sentence:]):
        return None  # numbers without a sentence around them
    found = _announced_in_sentence(text[sentence:].rstrip(".!? "))
    return found if found is not None and found.node is not None else _read(last[0], "last number")


def _tail_percent(text: str, end: int) -> str:
    after = _PERCENT_AFTER.match(text, end)
    return "%" if after else ""


def _read(text: str, how: str) -> Extracted:
    """`text` parsed, or the reason why it cannot be."""
    text = text.strip()
    if not text or text == "?":
        return Extracted(None, None, "an empty answer")
    try:
        return Extracted(text, parse(text), how)
    except ParseError as error:
        return Extracted(text, None, f"cannot be read: {error}")


def _last(pattern: re.Pattern[str], text: str, start: int = 0) -> re.Match[str] | None:
    found = None
    for match in pattern.finditer(text, start):
        found = match
    return found
