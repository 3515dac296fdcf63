r"""Expressions: recursive descent over the tokens, LaTeX and plain text alike.

    sum     = [sign] term {("+" | "-" | "±") term}
    term    = factor {("*" | "/" | juxtaposition) factor}          1/2x is (1/2)x, read from left to right
    factor  = atom {"!" | "'" | "°" | "%" | "^" exponent | "_" subscript}
    atom    = number | variable | function | \frac … | "(" items ")" | "|" sum "|" | matrix | \sum … | …

Sums and products are flat, and every way to nest counts against `stream.MAX_DEPTH`, so neither reading a text nor
walking its tree can exhaust the stack.
"""

from __future__ import annotations

import re
from functools import reduce

from rewards.math_answer.nodes import CONSTANTS, DOTS, REALS, BaseN, Node, Num, Op, Relation, Seq, Sym, is_op, num
from rewards.math_answer.read.measures import UNIT_LETTERS
from rewards.math_answer.read.numbers import NumberParser, literal
from rewards.math_answer.read.numerals import CARDINALS
from rewards.math_answer.read.tokens import ParseError, Token

MAX_POSTFIX = 6

_CLOSERS = {"(": ")]", "[": ")]", "{": "}", "\\{": "\\}"}
_APPLIED = frozenset("fghFGH")  # letters that before a bracket are functions, not factors
_COMBINATIONS = re.compile(r"C_(\d{1,3})")
_MASSES = frozenset(("m", "M", "rho"))
_INDICES = frozenset("ijkmn")
_SETS = frozenset((Sym("R"), Sym("RR"), Sym("ZZ"), Sym("NN"), Sym("QQ"), Sym("CC")))
_NO_FACTOR = frozenset("rfloor rceil rangle rbrace rbrack rparen choose mod pmod".split())


class ExpressionParser(NumberParser):
    def __init__(self, tokens: list[Token]) -> None:
        super().__init__(tokens)
        self.bars = 0  # open |…| and set braces, inside which a bar closes or divides instead of opening
        self.integrals = 0
        self.ended_tuple = 0  # the token after the last tuple or set
        self.related = False  # behind a relation sign, where `x = 1 y = 2` begins another relation

    # -- sums and products

    def sum(self) -> Node:
        terms = [self.signed_term(self.sign("+"))]
        while self.token.kind == "op" and self.token.text in ("+", "-", "pm", "mp"):
            sign = self.sign("+")
            if sign in ("pm", "mp"):
                self.deeper()
                left = _flat("add", terms)
                terms = [Op(sign, (left, self.term()))]
            else:
                terms.append(self.signed_term(sign))
        apart = len(terms) > 1 and isinstance(terms[0], Sym) and terms[0] in _SETS
        return _difference(terms) if apart else _flat("add", terms)

    def sign(self, sign: str) -> str:
        """Read any run of signs; `--` is `+`."""
        while token := self.take("op", "+", "-", "pm", "mp"):
            if token.text == "-":
                sign = {"+": "-", "-": "+", "pm": "mp", "mp": "pm"}[sign]
            elif token.text in ("pm", "mp"):
                sign = token.text
        return sign

    def signed_term(self, sign: str) -> Node:
        term = self.term()
        if sign == "+":
            return term
        if sign == "-":
            return _negated(term)
        return Op(sign, (num(0), term))

    def term(self) -> Node:
        above, below = [self.factor()], []
        while True:
            if self.take("op", "*"):
                above.append(self.signed_factor())
            elif self.take("op", "/", "over"):
                below.append(self.signed_factor())
            elif self.take("cmd", "choose"):
                return Op("binom", (_quotient(above, below), self.term()))
            elif self.take("cmd", "mod"):
                self.deeper()
                above = [Op("mod", (_quotient(above, below), self.factor()))]
                below = []
            elif self.starts_factor():
                above.append(self.factor())
            else:
                return _quotient(above, below)

    def signed_factor(self) -> Node:
        return self.signed_term_of(self.sign("+"))

    def signed_term_of(self, sign: str) -> Node:
        factor = self.factor()
        return factor if sign == "+" else _negated(factor) if sign == "-" else Op(sign, (num(0), factor))

    def starts_factor(self) -> bool:
        """Whether the token continues a product without a sign."""
        token = self.token
        if token.kind == "name":
            if self.integrals and token.text == "d" and self.peek().kind == "name":
                return False
            if token.space and self.starts_relation():
                return False
            return not (token.textual and self.at > 0 and token.text not in ("e", "i") and self.names_unit())
        if token.kind == "num":
            before = self.tokens[self.at - 1] if self.at else token
            return before.kind != "num" or (self.at > 1 and self.tokens[self.at - 2].text == "^")
        if token.kind == "cmd":
            return token.text not in _NO_FACTOR and not token.text.startswith("end:")
        if token.kind == "open":
            return self.peek().text != "mod" and not self.starts_tuple()
        return token.kind == "op" and (token.text == "..." or (token.text == "|" and not self.bars))

    def names_unit(self, found: bool = False) -> bool:
        r"""Whether a letter in `\text` is a unit or the beginning of words, after a value or (`found`) inside a unit;
        else it is a variable, `2\mathrm{n}`."""
        token, after = self.token, self.peek()
        if not token.textual or not (token.space or found):
            return False
        return found or token.text in UNIT_LETTERS or (after.textual and after.kind in ("word", "name"))

    def starts_relation(self) -> bool:
        """Whether another relation begins here without a separator: `x = 1 y = 2`."""
        if not self.related or self.token.kind != "name" or self.tokens[self.at - 1].kind not in ("num", "close"):
            return False
        return self.peek().kind == "rel"

    def starts_tuple(self) -> bool:
        """Whether another tuple begins here without a separator: `(1, 2) (3, 4)`."""
        return self.ended_tuple == self.at > 0 and self.token.text in ("(", "\\{")

    # -- factors

    def factor(self) -> Node:
        node = self.atom()
        for _ in range(MAX_POSTFIX):
            if self.token.kind != "op":
                return node
            changed = self.postfix(node)
            if changed is node:
                return node
            node = changed
        raise ParseError("too many exponents, primes or factorials in a row")

    def postfix(self, node: Node) -> Node:
        op = self.token.text
        if op == "!":
            self.next()
            return Op("fact", (node,))
        if op == "'" and isinstance(node, Sym):
            self.next()
            return self.applied(Sym(node.name + "'"))
        if op == "deg":
            self.next()
            return self.angle(node)
        if op == "%" and not is_op(node, "percent") and self.peek().kind in ("end", "sep", "close", "rel", "op"):
            self.next()
            return Op("percent", (node,))
        if op == "^":
            self.next()
            return self.power(node)
        if op == "_":
            self.next()
            return self.subscript(node)
        return node

    def power(self, base: Node) -> Node:
        if self.take("op", "circ", "deg"):
            return self.angle(base)
        if self.token.text == "'" and isinstance(base, Sym):
            return self.postfix(base)
        if self.token.text == "{":
            inner = self.peek()
            if inner.kind == "close":  # `^{}`
                self.at += 2
                return base
            if inner.kind == "op" and inner.text in ("circ", "deg") and self.peek(2).kind == "close":
                self.at += 3
                return self.angle(base)
            if inner.kind == "op" and inner.text == "'" and isinstance(base, Sym):
                self.next()
                while self.take("op", "'"):
                    base = Sym(base.name + "'")
                self.expect("close", "}")
                return self.applied(base)
        exponent = self.argument(signed=True)
        if self.take("op", "^"):  # 2^3^2 is 2^9
            self.deeper()
            exponent = self.power(exponent)
            self.depth -= 1
        count = _COMBINATIONS.fullmatch(base.name) if isinstance(base, Sym) else None
        if count and isinstance(exponent, Num) and exponent.value <= int(count[1]):
            return Op("binom", (num(int(count[1])), exponent))  # `C_5^2`; but `C_1^2` is the square of a constant
        return Op("pow", (base, exponent))

    def argument(self, *, signed: bool = False, digit: bool = False) -> Node:
        """What `^`, `_`, `\\frac` and `\\sqrt` take: a group, or one token.  `digit`: of a number only its first."""
        if signed and self.token.kind == "op" and self.token.text in ("+", "-"):
            sign = self.sign("+")
            value = self.argument()
            return _negated(value) if sign == "-" else value
        token = self.token
        if digit and token.kind == "num" and len(token.text) > 1 and token.text.isdigit():
            self.tokens[self.at] = Token("num", token.text[1:], False, token.textual)
            return num(int(token.text[0]))
        if digit and token.kind == "name" and self.peek().kind == "num":  # `\frac r2` is r over 2, not r₂
            return Sym(self.next().text)
        if token.kind == "open":  # a group counts its own depth
            return self.group()
        self.deeper()
        bare = not digit and not signed  # `sqrt x^2`; but \\sqrt{x}^2 is a square
        node = self.atom()
        if bare and self.token.text == "^" and self.token.kind == "op":
            self.next()
            node = self.power(node)
        self.depth -= 1
        return node

    def subscript(self, node: Node) -> Node:
        if is_op(node, "pow") and isinstance(node.args[0], Sym):  # `v^2_0` is the square of `v_0`
            return Op("pow", (self.subscript(node.args[0]), node.args[1]))
        before = self.tokens[self.at - 2]
        if isinstance(node, Num) and before.kind == "num":
            word = self.index_name()
            base = num(CARDINALS[word]) if word in CARDINALS else literal(word) if word.isdigit() else Sym(word)
            return self.base_value(before.text, base)
        if not isinstance(node, Sym) or node in CONSTANTS and node.name == "oo":
            raise ParseError("a subscript on something that is no variable")
        name = self.index_name()
        if name and (len(name) > 1 or name not in _INDICES):
            return self.applied(Sym(f"{node.name}_{name}"))
        return Op("call", (node, Sym(name) if name else self.argument()))  # a sequence at an index

    def index_name(self) -> str:
        """A subscript that is a name (`max`, `1`, `AB`, `1,2`), read; nothing if it is an expression."""
        start = self.at
        braced = self.take("open", "{") is not None
        name = ""
        while self.token.kind in ("num", "name", "word", "cmd") or (braced and self.token.kind == "sep"):
            name += self.next().text
            if not braced:
                return name
        if braced and name and self.take("close", "}"):
            return name
        self.at = start
        return ""

    def base_value(self, digits: str, base: Node) -> Node:
        if not (isinstance(base, Num) and base.value.denominator == 1 and 2 <= base.value <= 36):
            raise ParseError("a base that is no integer from 2 to 36")
        if not digits.lstrip("-").isalnum():
            raise ParseError("digits of another base with a decimal point")
        return BaseN(digits.lstrip("0") or "0", int(base.value))

    # -- atoms

    def atom(self) -> Node:
        token = self.token
        if token.kind == "num":
            return self.number()
        if token.kind == "name":
            self.next()
            if self.indexed_by_digits(token):
                return self.applied(Sym(f"{token.text}_{self.next().text}"))  # `x1` is x₁, neither x · 1 nor x¹
            return self.applied(Sym(token.text))
        if token.kind == "open":
            return self.group()
        if token.kind == "op" and token.text == "|":
            return self.absolute()
        if self.take("op", "..."):
            return DOTS
        if token.kind == "cmd":
            self.deeper()
            node = self.construct()
            self.depth -= 1
            return node
        raise ParseError(f"unexpected {token.text or 'end'!r}")

    def indexed_by_digits(self, letter: Token) -> bool:
        """`x1` is x₁ and `x1^2` its square, neither x · 1 nor x¹; but in `n2^{n-1}` the power is of 2."""
        digits = self.token
        if digits.kind != "num" or digits.space or not digits.text.isdigit() or len(letter.text) > 1:
            return False
        if self.peek().text != "^":
            return True
        end = self.at + 2
        while self.tokens[end].kind not in ("close", "end", "name") and self.tokens[self.at + 2].text == "{":
            end += 1
        return self.tokens[end].kind != "name" or self.tokens[end].textual

    def construct(self) -> Node:
        raise NotImplementedError

    def items(self, closers: str) -> tuple[Node, ...]:
        raise NotImplementedError

    def applied(self, name: Sym) -> Node:
        """`f(x)`, `f'(2)`, `a_n(3)`: application where the name is one of a function."""
        if name == Sym("Gamma") and self.token.text == "(":
            return Op("gamma", (self.group(),))
        if self.token.text == "(" and name.name[0] in _APPLIED and name not in CONSTANTS and not self.is_weight():
            arguments = self.group()
            return Op("call", (name, *(arguments.items if isinstance(arguments, Seq) else (arguments,))))
        return name

    def is_weight(self) -> bool:
        """`mg(h+1)`, `\\rho g(h+1)`: g behind a mass or a density is gravity, no function."""
        return self.at > 1 and self.tokens[self.at - 1].text == "g" and self.tokens[self.at - 2].text in _MASSES

    def absolute(self) -> Node:
        self.deeper()
        self.expect("op", "|")
        self.bars += 1
        node = self.sum()
        self.bars -= 1
        self.expect("op", "|")
        self.depth -= 1
        return Op("abs", (node,))

    def group(self) -> Node:
        """What stands in brackets: an expression, or items that make a tuple, an interval or a set."""
        self.deeper()
        start = self.next().text
        bars, self.bars = self.bars, 1 if start == "\\{" else 0
        if start == "\\{" and self.take("close", "\\}"):
            node: Node = Sym("{}")
        else:
            related, self.related = self.related, False
            node = self.bracketed(start, self.items(_CLOSERS[start]))
            self.related = related
        self.bars = bars
        self.depth -= 1
        if isinstance(node, Seq):
            self.ended_tuple = self.at
        return node

    def bracketed(self, start: str, items: tuple[Node, ...]) -> Node:
        end = self.take("close")
        if end is None or end.text not in (_CLOSERS[start], *(_CLOSERS[start] if start in "([" else ())):
            raise ParseError(f"{start!r} is not closed")
        if start == "\\{" and is_op(items[0], "setof any"):  # `{x | x < 0 or x > 3}` is a union
            head, *conditions = items[0].args
            parts: list[Node] = [Seq((_condition(head, condition),), "{", "}") for condition in conditions]
            return reduce(lambda one, other: Op("cup", (one, other)), parts)
        if start == "\\{":
            return Seq(items, "{", "}")
        if len(items) == 1 and (start == "{" or start + end.text in ("()", "[]")):
            return items[0]
        return Seq(items, start, end.text) if start != "{" else Seq(items, "{", "}")


def _difference(terms: list[Node]) -> Node:
    r"""`\mathbb{R} - \{0\}` is a difference of sets."""
    removed = [term.args[0] for term in terms[1:] if is_op(term, "neg") and isinstance(term.args[0], Seq)]
    if not removed or len(removed) < len(terms) - 1:
        return _flat("add", terms)
    node = REALS if terms[0] == Sym("R") else terms[0]
    for items in removed:
        node = Op("setminus", (node, items))
    return node


def _condition(head: Node, condition: Node) -> Node:
    """The only member of `{x | x = 1}`, or what describes the members."""
    if isinstance(condition, Relation) and condition.signs == ("=",) and condition.sides[0] == head:
        return condition.sides[1]
    return Op("setof", (head, condition))


def _negated(node: Node) -> Node:
    if is_op(node, "cut"):
        return Op("cut", (_negated(node.args[0]),))
    return Num(-node.value, node.places) if isinstance(node, Num) else Op("neg", (node,))


def _flat(name: str, terms: list[Node]) -> Node:
    return terms[0] if len(terms) == 1 else Op(name, tuple(terms))


def _quotient(above: list[Node], below: list[Node]) -> Node:
    return Op("div", (_flat("mul", above), _flat("mul", below))) if below else _flat("mul", above)
