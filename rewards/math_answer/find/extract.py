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
from itertools import pairwise

from rewards.math_answer.compare.ladder import compare
from rewards.math_answer.find.anchors import Anchor, boxes_in, phrases_in
from rewards.math_answer.find.languages import languages_in
from rewards.math_answer.find.payload import (
    DENIED,
    MAX_WORDS,
    NEGATED,
    NUMBER,
    Extracted,
    announced,
    in_sentence,
    is_remark,
    last_match,
    read,
    without_hope,
)
from rewards.math_answer.find.rivals import RETRACTED, denied, joins, offered, rounds
from rewards.math_answer.find.sentences import formulas, last_sentence_start
from rewards.math_answer.leniency import EVAL, Leniency
from rewards.math_answer.nodes import Relation, Seq, Words
from rewards.math_answer.read.answers import MAX_CHARS

TAIL = 1 << 16  # characters

_THINK = re.compile(
    r"</?(?:think|thinking|thought|thoughts|reasoning)>|◁/?think▷|<\|(?:begin|end)_of_thought\|>", re.IGNORECASE
)
_FINAL_CHANNEL = "<|channel|>final<|message|>"
_TURN = re.compile(
    r"<\|(?:im_start|im_end|eot_id|endoftext|end|user|end_of_text|return|start_header_id)\|>|</s>|<eos>|<end_of_turn>"
    r"|<｜end▁of▁sentence｜>|\n(?:User|Human|Question|Problem|Q):|\n#{1,4} (?:Instruction|Question|Problem|User|Human):"
)
_STRUCK = re.compile(r"~~(?=\S)[^~\n]{1,200}~~")
_TAG = re.compile(r"<(/?)answer>", re.IGNORECASE)
_IS_THE_ANSWER = re.compile(r"\bis (?:the|our) (?:final )?(?:answer|solution)s?[.!]?\s*$", re.IGNORECASE)
_OPTION_IS = re.compile(
    r"\b(?:option|choice)\s[*(]{0,3}([A-J])[*)]{0,3}\sis\s(?:the\s)?(?:correct|right|best)\b", re.IGNORECASE
)
_THE_SOLUTION_IS = re.compile(r"\b(?:the|our) (?:final )?(?:solution|result)s? (?:is|are|:)(?=\s)", re.IGNORECASE)
_BOLD = re.compile(r"\*\*([^*\n]{1,200})\*\*")
_SUPPOSED = re.compile(r"\b(?:suppose|assume|if the answer)\b", re.IGNORECASE)
_VERB = re.compile(r"\b(?:is|are|equals|equal to|be|gives|get|was)\b|[=:≈]", re.IGNORECASE)
_IN_BOX = re.compile(
    r"(\\text\w* ?\{)?\s*(?:the )?(?:final )?(?:correct )?answer(?: is\b|:)\s*(?(1)([^{}]*)\})", re.IGNORECASE
)
_PERCENT_AFTER = re.compile(r"\s*(?:\$\s*)?(?:\\?%|percent\b|pct\b|percentage\b)", re.IGNORECASE)


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
        last = last_match(_THINK, completion)
        if last is not None and "/" not in last[0] and "end" not in last[0]:
            return "", "the think block is not closed"
        if last is not None:
            text = completion[last.end() :][-TAIL:]
    turn = _TURN.search(text, len(text) - len(text.lstrip()) + 1)
    text = text[: turn.start()] if turn else text
    return (_STRUCK.sub("", text) if "~~" in text else text), ""


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
    return _announced(inner) or read(inner, "answer tag")


def _announced(text: str) -> Extracted | None:
    every_box = boxes_in(text)
    if every_box is None:
        return Extracted(None, None, "the last box is not closed")
    phrases = [
        anchor for anchor in phrases_in(text) if not any(anchor.start < box.start < anchor.end for box in every_box)
    ]
    boxes = [box for box in every_box if not denied(text, box.start, box.end)]
    found = _last_phrase(text, phrases, boxes)
    if found is not None:
        return found
    return _boxed(text, boxes) if boxes else DENIED if every_box else None


def _last_phrase(text: str, phrases: list[Anchor], boxes: list[Anchor]) -> Extracted | None:
    """What the last phrase announces.  After a box only a final answer counts, or one after taking the box back."""
    last_box = boxes[-1] if boxes else None
    taken_back = RETRACTED.search(text, last_box.end) if last_box else None
    remark = None
    for phrase in reversed(phrases):
        if last_box is not None:
            replaced = phrase.final or (taken_back is not None and taken_back.end() <= phrase.start)
            if phrase.start < last_box.end or not replaced:
                continue
        found = announced(phrase.payload, phrase.language)
        if found is None or (found.node is None and last_box is not None):
            continue
        if is_remark(phrase.payload):
            remark = remark or found
            continue
        return found if found.node is None else _unhedged(text, phrase, phrases + boxes, found)
    return remark


def _unhedged(text: str, chosen: Anchor, others: list[Anchor], found: Extracted) -> Extracted:
    """`found`, unless another anchor before it offers something else as an alternative."""
    for other in others:
        if other.end <= chosen.start and offered(text[other.end : chosen.start]):
            rival = read(other.payload, "box") if other.box else announced(other.payload, other.language)
            if rival is not None and not _agree(rival, found):
                return Extracted(None, None, "two different answers offered")
    return found


def _agree(one: Extracted, other: Extracted) -> bool:
    """Whether two announcements are of one answer.  Words are no rival of a formula: they may be prose."""
    if one.node is None or other.node is None or isinstance(one.node, Words):
        return True
    return bool(compare(one.node, other.node, EVAL))


def _boxed(text: str, boxes: list[Anchor]) -> Extracted:
    """The last box; or the list that several boxes in one sentence are; or nothing where they are alternatives."""
    joined = [boxes[-1]]
    for box in reversed(boxes[:-1]):
        gap = text[box.end : joined[0].start]
        if len(joined) == 1 and box.payload.strip() == joined[0].payload.strip():
            continue
        if len(joined) == 1 and rounds(gap):
            return _rounded(read(box.payload, "box"), read(_with_unit(text, joined[0]), "box"))
        if joins(gap):
            joined.insert(0, box)
        elif not offered(gap):
            break
        elif not _agree(read(box.payload, "box"), read(joined[0].payload, "box")):
            return Extracted(None, None, "two different answers offered")
    if len(joined) == 1:
        return _in_box(_with_unit(text, boxes[-1]))
    parts = [read(box.payload, "box") for box in joined]
    nodes = [part.node for part in parts if part.node is not None]
    if len(nodes) < len(parts):
        return next(part for part in parts if part.node is None)
    return Extracted(", ".join(box.payload for box in joined), Seq(tuple(nodes)), "boxes")


def _rounded(exact: Extracted, decimal: Extracted) -> Extracted:
    """An exact value in one box, its decimal in the next."""
    if exact.node is None or decimal.node is None:
        return decimal
    return Extracted(rf"{exact.text} \approx {decimal.text}", Relation(("~",), (exact.node, decimal.node)), "boxes")


def _in_box(payload: str) -> Extracted:
    """A box, which may announce once more: `\\boxed{\\text{The answer is }5}`."""
    if prefix := _IN_BOX.match(payload):
        payload = (prefix[2] or "") + payload[prefix.end() :]
    return read(payload, "box")


def _with_unit(text: str, box: Anchor) -> str:
    """The box's content, and a percent sign that stands right after it."""
    return box.payload + _percent_after(text, box.end) if "%" not in box.payload else box.payload


def _percent_after(text: str, end: int) -> str:
    return "%" if _PERCENT_AFTER.match(text, end) else ""


def _bare(text: str) -> Extracted | None:
    """A completion that is an answer and nothing else."""
    text = text.strip()
    if not text or len(text) > 600:
        return None
    found = read(text, "bare")
    if found.node is None or (isinstance(found.node, Words) and _is_prose(found.node.text) and text[0] not in "$\\"):
        return None
    return found


def _is_prose(words: str) -> bool:
    """Whether words are a sentence rather than a name: many, or with a verb or a number among them."""
    return len(words.split()) > MAX_WORDS or _VERB.search(words) is not None or any(char.isdigit() for char in words)


def _concluded(text: str) -> Extracted | None:
    """`Thus $x ≤ 2$ is our answer.`, `The solution is $x ≠ 5$.` as the last sentence."""
    text = text[-4 * MAX_CHARS :]
    math = formulas(text)
    last = text[last_sentence_start(text, math) :]
    if named := _OPTION_IS.search(last):
        return read(named[1], "announced")
    before, after = _IS_THE_ANSWER.search(last), _THE_SOLUTION_IS.search(last)
    if before is not None and math:
        return read(text[slice(*math[-1])], "announced") if not NEGATED.search(last) else None
    if before is not None:
        number = last_match(NUMBER, last[: before.start()])
        ends = number is not None and number.end() == before.start()
        return read(number[0], "announced") if number and ends and not NEGATED.search(last) else None
    return announced(last[after.end() :]) if after is not None else None


def _bold(text: str) -> Extracted | None:
    found = last_match(_BOLD, text)
    if found is None or "\n\n" in text[found.end() :].strip():
        return None
    bold = read(found[1], "bold")
    return None if bold.node is None or isinstance(bold.node, Words) else bold


def _last_sentence(text: str) -> Extracted | None:
    """The last formula or number, in a text that ends as texts end."""
    text = without_hope(text).strip()
    if text.count("$") % 2 or not text or text[-1] not in '.!$)]}*"%。！．' and not text[-1].isalnum():
        return None
    text = text[-4 * MAX_CHARS :]
    math = formulas(text)
    sentence = last_sentence_start(text, math)
    doubted = [NEGATED, _SUPPOSED, *(language.doubted for language in languages_in(text))]
    if any(words.search(text, sentence) for words in doubted):
        return None
    if math and math[-1][0] >= sentence:
        return read(text[slice(*math[-1])] + _percent_after(text, math[-1][1]), "last formula")
    last = last_match(NUMBER, text, sentence)
    if last is None or not re.search(r"[^\W\d_]{2}", text[sentence:]):
        return None  # numbers without a sentence around them
    found = in_sentence(text[sentence:].rstrip(".!? 。．"))
    return found if found is not None and found.node is not None else read(last[0], "last number")
