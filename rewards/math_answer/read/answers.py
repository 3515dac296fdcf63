r"""Whole answers: lists, relations, intervals, sets, units, times, choices, words.

    answer   = item {separator item}                separator: "," ";" "and" "or" a line break
    item     = side {relation side} [unit]          relation: = < ≤ > ≥ ≠ ≈ ∈ →
    side     = setwise {":" setwise}                a ratio
    setwise  = sum {("∪" | "∩" | "∖") sum}

What no rule of mathematics reads is an answer in words, if it has words.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise

from rewards.math_answer.nodes import (
    DOTS,
    Node,
    Num,
    Op,
    Relation,
    Seq,
    Sym,
    Words,
    children,
    is_op,
    num,
)
from rewards.math_answer.read import remarks, special
from rewards.math_answer.read import text as cleaning
from rewards.math_answer.read.choices import choice
from rewards.math_answer.read.lexer import tokenize
from rewards.math_answer.read.tokens import ParseError
from rewards.math_answer.read.units import UnitParser
from rewards.math_answer.read.words import normal_text

MAX_CHARS = 2048
MAX_FILLED = 1000  # items that `…` may stand for
_CONNECTIVES = {"and": "∧", "∧": "∧", "or": "∨", "∨": "∨"}
_SET_OPS = frozenset(("cup", "cap", "setminus"))
_COMMAND = re.compile(r"\\[A-Za-z]+")
_DECIMAL_COMMA = re.compile(r"(?<![\d,])(-?\d+),(\d+)(?![\d,])")


class AnswerParser(UnitParser):
    separators: frozenset[str] = frozenset()  # between the items that were read last

    def answer(self) -> Node:
        items = self.items("")
        if self.token.kind != "end":
            raise ParseError(f"unexpected {self.token.text!r}")
        if len(items) == 1:
            return items[0]
        return Seq(items, "(", ")") if DOTS in items else Seq(items)  # what goes on has an order

    def items(self, closers: str) -> tuple[Node, ...]:
        """Items up to a closing bracket (not consumed) or the end.  Where `;`, `or` or `and` separate groups of
        comma-separated items, the groups are the items."""
        groups: list[list[Node]] = [[]]
        between: set[str] = set()
        while True:
            if not self.finished(closers):
                groups[-1].append(self.item())
            separators = set()
            while self.token.kind == "sep":
                separators.add(self.next().text)
            if self.finished(closers) and separators & _CONNECTIVES.keys():
                raise ParseError("nothing after the last word")  # `42 or`
            if self.finished(closers) or not (separators or self.starts_item(closers)):
                break
            between |= separators
            if separators - {","} and not ("," in separators and separators & {"and", "or"}):
                groups.append([])
        if not any(groups):
            raise ParseError("nothing between brackets")
        self.separators = frozenset(between)
        return _grouped([group for group in groups if group], between)

    def starts_item(self, closers: str) -> bool:
        """Whether an item begins here without a separator: `1 2 3`, `(1, 2) (3, 4)`, `x = 1 y = 2`."""
        digits = self.token.kind == self.tokens[self.at - 1].kind == "num" and self.token.space and not closers
        return digits or self.starts_tuple() or self.starts_relation()

    def finished(self, closers: str) -> bool:
        token = self.token
        return token.kind in ("end", "close") or (
            token.kind == "cmd" and (token.text == closers or token.text[:4] == "end:")
        )

    def item(self) -> Node:
        if not self.at or self.tokens[self.at - 1].kind != "rel":
            self.take("rel", "=", "~")  # `≈ 8.24`, `= 5`: the left side was left out
        if self.token.text == "..." and self.peek().kind in ("sep", "close", "end"):
            self.next()
            return DOTS
        if self.token.kind == "word" and not self.currency(self.token):
            return self.labelled_by_words()
        return self.relation()

    def labelled_by_words(self) -> Node:
        """`Area = 12`: words before a relation are a label.  Any other word here is prose."""
        words = []
        while self.token.kind in ("word", "name"):
            words.append(self.next().text)
        if self.token.kind == "rel" and self.token.text in ("=", "~"):
            sign = self.next().text
            rest = self.relation()
            label = Sym(" ".join(words))
            if isinstance(rest, Relation):
                return Relation((sign, *rest.signs), (label, *rest.sides))
            return Relation((sign,), (label, rest))
        raise ParseError("words")

    def relation(self) -> Node:
        """Sides with their units, and the signs between them; inside set braces, what a bar or colon makes of it."""
        self.related = False
        sides, signs = [self.definition() or self.measured()], []
        while self.token.kind == "rel":
            sign, self.related = self.next().text, True
            side = self.measured()
            if is_op(side, "cut"):  # `π = 3.14…`
                sign, side = "~", side.args[0]
            if sign == "≅" and isinstance(side, Num):  # of figures it is congruence
                sign = "~"
            if sign == "≡" and is_op(side, "mod"):
                side = Op("residue", children(side))
            signs.append("=" if sign == "≡" else sign)
            sides.append(side)
        node = Relation(tuple(signs), tuple(sides)) if signs else sides[0]
        return self.set_builder(node) if self.bars == 1 and self.take("op", "|", ":") else node

    def definition(self) -> Node | None:
        """`W(n)` or `P(A)` right before a relation is a function at an argument, not a product."""
        names = self.tokens[self.at : self.at + 5]
        if [token.kind for token in names] == ["name", "open", "name", "close", "rel"] and names[1].text == "(":
            self.at += 4
            return Op("call", (Sym(names[0].text), Sym(names[2].text)))
        return None

    def set_builder(self, head: Node) -> Node:
        bars, self.bars = self.bars, 0
        conditions = self.items("\\}")
        self.bars = bars
        alternatives = self.separators in ({"or"}, {"∨"})
        if isinstance(conditions[0], Op) and conditions[0].name in ("∧", "∨"):
            conditions = conditions[0].args
        return Op("setof any" if alternatives else "setof", (head, *conditions))

    def side(self) -> Node:
        parts = [self.setwise()]
        while self.bars != 1 and (self.take("op", ":") or self.take("word", "to")):
            parts.append(self.setwise())
        return parts[0] if len(parts) == 1 else Op("ratio", tuple(parts))

    def setwise(self) -> Node:
        node = self.sum()
        while self.token.kind == "op" and self.token.text in _SET_OPS:
            self.deeper()
            name = self.next().text
            node = Op(name, (node, self.sum()))
        return node

    def cell(self) -> Node:
        if self.token.kind in ("op",) and self.token.text in ("&",) or self.token.text == "\\\\":
            return Sym("")
        if self.token.kind == "word" or (self.token.kind == "sep" and self.token.text == ","):
            return self.condition()
        items = [self.relation()]
        while self.take("sep", ",", "and", "or"):
            if self.token.text in ("\\\\", "&") or self.token.text.startswith("end:"):
                break
            items.append(self.relation() if self.token.kind != "word" else self.condition())
        return items[0] if len(items) == 1 else Seq(tuple(items))

    def condition(self) -> Node:
        """`if x > 0`, `otherwise`, `for all x`."""
        words = []
        self.take("sep", ",")
        while self.token.kind == "word":
            words.append(self.next().text.lower())
        if set(words) <= {"if", "when", "for", "where"} and self.token.kind not in ("end", "sep", "close"):
            return self.relation()
        return Words(" ".join(words))


def _grouped(groups: list[list[Node]], between: set[str]) -> tuple[Node, ...]:
    """The items, given the separators between them.  `∧` and `∨` join statements, and make one of anything else."""
    flat = [item for group in groups for item in group]
    strong = not between.isdisjoint((";", "or", "∨"))
    if logic := _connective(between, flat):
        return (Op(logic, tuple(flat)),)
    sizes = {len(group) for group in groups}
    labelled = all(isinstance(item, Relation) for item in flat)
    if len(groups) > 1 and sizes and min(sizes) > 1 and (labelled or (strong and len(sizes) == 1)):
        return tuple(Seq(tuple(group)) for group in groups)
    return _continued(tuple(flat)) if DOTS in flat else tuple(flat)


def _connective(between: set[str], items: list[Node]) -> str:
    """What joins items to one statement: `p ∧ q`, `x < 1 or x > 5`, `x = 1 or y = 2`; nothing where they are a list."""
    sign = next(iter(between)) if len(between) == 1 else ""
    logic = _CONNECTIVES.get(sign, "")
    relations = [item for item in items if isinstance(item, Relation)]
    alternatives = logic == "∨" and len({relation.sides[0] for relation in relations}) > 1
    inequality = any(sign not in ("=", "~") for relation in relations for sign in relation.signs)
    statement = alternatives or inequality if len(relations) == len(items) else not relations and sign == logic
    return logic if statement else ""


def _continued(items: tuple[Node, ...]) -> tuple[Node, ...]:
    """`1, 2, …, 5` with what the dots stand for; `1, 2, 3, 4, …` with its first three items."""
    at = items.index(DOTS)
    values = [item.value for item in items[:at] if isinstance(item, Num)]
    steps = {after - before for before, after in pairwise(values)}
    if len(values) < at or len(steps) != 1 or (step := steps.pop()) == 0:
        return items
    if at == len(items) - 1:
        return (*items[: min(at, 3)], DOTS)
    last = items[at + 1]
    count = (last.value - values[-1]) / step if isinstance(last, Num) else Fraction(0)
    if count.denominator != 1 or not 1 <= count <= MAX_FILLED:
        return items
    return (*items[:at], *(num(values[-1] + step * k) for k in range(1, int(count))), *items[at + 1 :])


@lru_cache(maxsize=8192)
def parse(text: str) -> Node:
    """The answer that `text` is.  Raises `ParseError` where it is none that can be read."""
    if text.isascii() and text.isdigit() and len(text) < 100:
        return num(int(text))
    if len(text) > MAX_CHARS:
        raise ParseError(f"an answer of {len(text)} characters; at most {MAX_CHARS} are read")
    text = cleaning.unwrap(cleaning.undouble(cleaning.plain(text)))
    return choice(text, _answer) or _answer(text)


def _answer(text: str) -> Node:
    """An answer that is no choice."""
    answer, domain = remarks.without_condition(remarks.without_prefix(remarks.with_decimal_beside(text)))
    node = _read(answer if answer is text else cleaning.unwrap(answer))
    return Op("given", (node, Sym(domain))) if domain else node


def _read(text: str) -> Node:
    if not text:
        raise ParseError("an empty answer")
    node = _special(text)
    if node is not None:
        return node
    try:
        return _mathematics(text)
    except ParseError as error:
        words = normal_text(text)
        if not _is_word(_COMMAND.sub("", text)) or not words:
            raise ParseError(f"{error}") from None
        return Words(words)


def _is_word(text: str) -> bool:
    """Whether there is a word in it: two letters, or one of a script in which mathematics has no variables."""
    letters = [char for char in text if char.isalpha()]
    return len(letters) > 1 or not "".join(letters).isascii()


def _special(text: str) -> Node | None:
    """What is written in a way of its own, and would be read as something else by the grammar."""
    return next((node for read in _SPECIAL if (node := read(text)) is not None), None)


_SPECIAL: tuple[Callable[[str], Node | None], ...] = (special.time, special.based, special.phrase, special.prose)


def _mathematics(text: str) -> Node:
    tokens = tokenize(text)
    node = AnswerParser(tokens).answer()
    kinds = {token.kind for token in tokens}
    if "word" in kinds and kinds <= {"word", "end", "close", "open"}:
        raise ParseError("words")
    return node


def without_thousands(text: str) -> Node:
    """`1,234,567` read as a list instead."""
    return AnswerParser(tokenize(cleaning.unwrap(cleaning.undouble(cleaning.plain(text))), plain_commas=False)).answer()


def with_decimal_comma(text: str) -> str:
    """`3,14` written as `3.14`."""
    return _DECIMAL_COMMA.sub(r"\1.\2", text)
