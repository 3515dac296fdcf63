r"""Named constructs of the grammar: fractions, roots, functions, floors, figures, sums and integrals, matrices."""

from __future__ import annotations

from collections.abc import Callable

from rewards.math_answer.nodes import Cases, Matrix, Node, Op, Relation, Seq, Sym, num
from rewards.math_answer.read.parser import ExpressionParser
from rewards.math_answer.read.tokens import ParseError
from rewards.math_answer.read.vocabulary import FUNCTIONS

MAX_CELLS = 1024
Rows = tuple[tuple[Node, ...], ...]
_PAIRS = {
    "lfloor": ("rfloor", "floor"),
    "lceil": ("rceil", "ceil"),
    "langle": ("rangle", "()"),
    "lbrace": ("rbrace", "{}"),
}
_PAIRS |= {"lbrack": ("rbrack", "[]"), "lparen": ("rparen", "()")}
_INVERSE = {"sin": "arcsin", "cos": "arccos", "tan": "arctan", "cot": "arccot", "sec": "arcsec", "csc": "arccsc"}
_INVERSE |= {"sinh": "arcsinh", "cosh": "arccosh", "tanh": "arctanh"}
_MANY = frozenset(("gcd", "lcm", "min", "max"))
_GEOMETRY = {"overline": "", "angle": "∠", "measuredangle": "∠", "triangle": "△", "overrightarrow": "→", "widehat": "∠"}


class ConstructParser(ExpressionParser):
    def construct(self) -> Node:
        name = self.next().text
        if name.startswith("begin:"):
            return self.environment(name.partition(":")[2])
        rule = _CONSTRUCTS.get(name)
        if rule is None:
            raise ParseError(f"unknown command \\{name}")
        return rule(self, name)

    def fraction(self, name: str) -> Node:
        above, below = self.argument(digit=True), self.argument(digit=True)
        return Op("div", (above, below))

    def root(self, name: str) -> Node:
        degree: Node = num(3) if name == "cbrt" else num(2)
        if self.token.kind == "open" and self.token.text == "[":
            self.next()
            degree = self.sum()
            self.expect("close", "]")
        return Op("root", (self.argument(), degree))

    def binomial(self, name: str) -> Node:
        if self.token.text == "(":
            self.next()
            above = self.sum()
            self.expect("sep", ",")
            below = self.sum()
            self.expect("close", ")")
            return Op("binom", (above, below))
        return Op("binom", (self.argument(digit=True), self.argument(digit=True)))

    def fenced(self, opener: str) -> Node:
        closer, name = _PAIRS[opener]
        bars, self.bars = self.bars, 0
        items = self.items(closer)
        self.expect("cmd", closer)
        self.bars = bars
        if name in ("floor", "ceil"):
            if len(items) != 1:
                raise ParseError(f"{len(items)} items in a {name}")
            return Op(name, items)
        return items[0] if name == "()" and len(items) == 1 else Seq(items, name[0], name[1])

    def geometric(self, name: str) -> Node:
        """`\\angle ABC`, `\\overline{AB}`: names of figures, taken as variables."""
        mark = _GEOMETRY[name]
        if mark == "" and self.token.text != "{":
            raise ParseError("a bar over nothing")
        start = self.at
        braced = self.take("open", "{")
        while self.token.kind in ("name", "word", "num") and (self.token.kind != "num" or braced):
            self.next()
            while self.take("op", "'"):
                pass
        if braced:
            self.expect("close", "}")
        letters = "".join(token.text for token in self.tokens[start : self.at] if token.text not in "{}")
        if not letters:
            raise ParseError("a geometric sign without a name")
        if mark in ("", "→") and not (len(letters) > 1 and letters.isupper()):
            mark = "" if mark else "‾"  # a vector's name; a mean or a conjugate.  Over two points it is a figure
        return Sym(mark + letters)

    def colored(self, name: str) -> Node:
        """`\\color{red}{5}` is 5."""
        self.argument()
        return self.argument()

    def dotted(self, name: str) -> Node:
        """`\\dot x` is a variable of its own."""
        inner = self.argument()
        if not isinstance(inner, Sym):
            raise ParseError("a dot over something that is no variable")
        return self.applied(Sym(f"{inner.name}_{name}"))

    # -- functions

    def function(self, name: str) -> Node:
        base: Node | None = None
        if self.take("op", "_"):
            base = self.argument(digit=self.peek().kind not in ("open", "cmd", "name", "num"))
        exponent: Node | None = None
        if self.take("op", "^"):
            exponent = self.argument(signed=True)
        node = self.call(name, base)
        if exponent is None:
            return node
        if exponent == num(-1) or exponent == Op("neg", (num(1),)):
            if name not in _INVERSE or not isinstance(node, Op):
                raise ParseError(f"the inverse of {name}")
            return Op(_INVERSE[name], node.args)
        return Op("pow", (node, exponent))

    def call(self, name: str, base: Node | None) -> Node:
        if name in _MANY:
            argument = self.function_argument()
            items = argument.items if isinstance(argument, Seq) else (argument,)
            return Op(name, items)
        if name == "mod":
            raise ParseError("mod without a left side")
        argument = self.function_argument()
        if isinstance(argument, Seq):
            raise ParseError(f"{len(argument.items)} arguments for {name}")
        if name == "det":
            return Op("det", (argument,))
        if name in ("ln", "log", "lg"):
            return Op("log", (argument,) if base is None and name != "lg" else (argument, base or num(10)))
        return Op("abs" if name == "abs" else "fact" if name == "factorial" else name, (argument,))

    def function_argument(self) -> Node:
        """A group, or the factors that follow without a sign: `\\sin 2x \\cos x` is sin(2x) cos(x)."""
        token = self.token
        if token.kind == "open" and token.text in ("(", "[", "{", "\\{"):
            return self.group()
        sign = self.sign("+")
        node = self.function_factors()
        return node if sign == "+" else Op("neg", (node,))

    def function_factors(self) -> Node:
        factors = [self.factor()]
        while self.starts_factor() and not (self.token.kind == "cmd" and self.token.text in FUNCTIONS - {"sqrt"}):
            if self.token.kind == "open" and self.token.text == "(":
                break
            factors.append(self.factor())
        return factors[0] if len(factors) == 1 else Op("mul", tuple(factors))

    # -- bound variables

    def bound(self, name: str) -> Node:
        lower: Node | None = None
        upper: Node | None = None
        for _ in range(2):
            if self.take("op", "_"):
                lower = self.bound_lower()
            elif self.take("op", "^"):
                upper = self.argument(signed=True)
        if name == "int":
            return self.integral(lower, upper)
        body = self.term()
        match lower:
            case Relation(signs=("=",), sides=(Sym() as variable, start)) if name != "lim" and upper is not None:
                return Op(name, (body, variable, start, upper))
            case Relation(signs=("->",), sides=(Sym() as variable, point)) if name == "lim":
                return Op(name, (body, variable, point))
        raise ParseError(f"a {name} without its bounds")

    def bound_lower(self) -> Node:
        if self.take("open", "{"):
            items = self.items("}")
            self.expect("close", "}")
            return items[0]
        return self.argument(signed=True)

    def integral(self, lower: Node | None, upper: Node | None) -> Node:
        self.integrals += 1
        body: Node = num(1) if self.token.text == "d" else self.sum()
        self.integrals -= 1
        self.expect("name", "d")
        variable = Sym(self.expect("name").text)
        return Op("int", (body, variable) if lower is None or upper is None else (body, variable, lower, upper))

    # -- environments

    def environment(self, name: str) -> Node:
        rows = self.rows(name)
        if not rows:
            raise ParseError(f"an empty {name}")
        make = _ENVIRONMENTS.get(name)
        if make is None:
            raise ParseError(f"unknown {name}")
        return make(name, rows)

    def rows(self, name: str) -> Rows:
        """The cells up to `\\end{name}`, row by row."""
        rows: list[tuple[Node, ...]] = []
        bars, self.bars = self.bars, 0
        while not self.take("cmd", f"end:{name}"):
            if self.take("sep", "\\\\"):
                continue
            rows.append(self.row())
            if self.token.text not in ("\\\\", f"end:{name}"):
                raise ParseError(f"unexpected {self.token.text!r} in a row")
            if sum(map(len, rows)) > MAX_CELLS:
                raise ParseError(f"the {name} is too large")
        self.bars = bars
        return tuple(rows)

    def row(self) -> tuple[Node, ...]:
        cells = [self.cell()]
        while self.take("op", "&"):
            if self.token.text in ("\\\\", "&") or self.token.text.startswith("end:"):
                continue
            cells.append(self.cell())
        return tuple(cells)

    def cell(self) -> Node:
        raise NotImplementedError


def _matrix(name: str, rows: Rows) -> Matrix:
    if len({len(row) for row in rows}) != 1:
        raise ParseError(f"{name} with rows of different length")
    return Matrix(rows)


def _determinant(name: str, rows: Rows) -> Node:
    return Op("det", (_matrix(name, rows),))


def _lines(name: str, rows: Rows) -> Node:
    return Seq(tuple(row[0] for row in rows)) if len(rows) > 1 else rows[0][0]


def _cases(name: str, rows: Rows) -> Node:
    return Cases(rows)


_ENVIRONMENTS: dict[str, Callable[[str, Rows], Node]] = {
    **dict.fromkeys("matrix pmatrix bmatrix Bmatrix smallmatrix array Vmatrix".split(), _matrix),
    **dict.fromkeys("aligned align gathered gather split".split(), _lines),
    "vmatrix": _determinant,
    "cases": _cases,
}
# Commands and what reads them: from the command, which has been read, to the end of its arguments.
_CONSTRUCTS: dict[str, Callable[[ConstructParser, str], Node]] = {
    **dict.fromkeys(FUNCTIONS, ConstructParser.function),
    **dict.fromkeys(_PAIRS, ConstructParser.fenced),
    **dict.fromkeys(_GEOMETRY, ConstructParser.geometric),
    **dict.fromkeys(("sum", "prod", "int", "lim"), ConstructParser.bound),
    **dict.fromkeys(("sqrt", "cbrt"), ConstructParser.root),
    **dict.fromkeys(("binom", "choose"), ConstructParser.binomial),
    **dict.fromkeys(("color", "textcolor"), ConstructParser.colored),
    **dict.fromkeys(("dot", "ddot"), ConstructParser.dotted),
    "frac": ConstructParser.fraction,
}
