r"""Numbers as they are written: mixed numbers, repeating and cut-off decimals, angles in degrees and minutes."""

from __future__ import annotations

from fractions import Fraction

from rewards.math_answer.nodes import Node, Num, Op, Quantity, num
from rewards.math_answer.read.stream import TokenStream
from rewards.math_answer.read.tokens import ParseError

_MAX_PERIOD = 24  # digits of a period that `…` shows twice
MAX_EXPONENT = 5000  # of a literal such as 1e400: digits that its value would have


class NumberParser(TokenStream):
    def argument(self, *, signed: bool = False, digit: bool = False) -> Node:
        raise NotImplementedError

    def group(self) -> Node:
        raise NotImplementedError

    def number(self) -> Node:
        text = self.next().text
        if self.repeats():
            return self.repeating(text)
        if "." in text and self.take("op", "..."):
            return self.unending(text)
        value = literal(text)
        mixed = self.mixed(value) if text.isdigit() else None
        return mixed or value

    def mixed(self, whole: Num) -> Node | None:
        """`1\\frac12` and `1 1/2` are sums where the fraction is proper and written in digits."""
        start = self.at
        above: Node | None
        below: Node | None
        if self.take("cmd", "frac"):
            above, below = self.argument(digit=True), self.argument(digit=True)
        elif self.token.kind == "num" and self.token.space and self.peek().text == "/" and self.peek(2).kind == "num":
            above, below = literal(self.next().text), literal((self.next(), self.next())[1].text)
        elif self.token.text == "(" and self.token.space:
            above, below = self.bracketed_fraction()
        else:
            return None
        if isinstance(above, Num) and isinstance(below, Num) and self.token.text != "^":
            whole_parts = above.value.denominator == below.value.denominator == 1
            if whole_parts and 0 < above.value < below.value:
                return num(whole.value + above.value / below.value)
        self.at = start
        return None

    def bracketed_fraction(self) -> tuple[Node | None, Node | None]:
        """The parts of `(1/2)` or `((1)/(2))`, if that is what comes."""
        try:
            node = self.group()
        except ParseError:
            return None, None
        return node.args if isinstance(node, Op) and node.name == "div" else (None, None)  # type: ignore[return-value]

    def repeats(self) -> bool:
        token, after = self.token, self.peek()
        if token.kind == "op" and token.text == "." and not token.space:
            return (after.kind == "cmd" and after.text in ("overline", "dot")) or after.text == "("
        return (
            token.kind == "cmd"
            and token.text in ("overline", "dot")
            and not token.space
            and "." in self.tokens[self.at - 1].text
        )

    def repeating(self, text: str) -> Node:
        """`0.1\\overline{6}`, `0.1\\dot{6}`, `0.\\dot{1}4285\\dot{7}`, `0.(3)`."""
        if self.take("op", "."):
            if "." in text:
                raise ParseError("two decimal points")
            text += "."
        block = ""
        start = self.next()
        self.expect("open", "{") if start.kind == "cmd" else None
        block = self.expect("num").text
        self.expect("close")
        if start.text == "dot" and self.token.kind == "num" and self.peek().text == "dot":
            block += self.next().text
        if start.text == "dot" and self.take("cmd", "dot"):
            self.expect("open", "{")
            block += self.expect("num").text
            self.expect("close")
        if not block.isdigit():
            raise ParseError("a repeating block that is not digits")
        whole, _, decimals = text.partition(".")
        head = Fraction(int(whole + decimals or "0"), 10 ** len(decimals))
        return num(head + Fraction(int(block), 10 ** len(decimals) * (10 ** len(block) - 1)))

    def unending(self, text: str) -> Node:
        """`0.333…` repeats its last digit, `0.1212…` its last two; what shows no period, `3.14…`, is cut off."""
        whole, _, decimals = text.partition(".")
        for length in range(1, min(len(decimals) // 2, _MAX_PERIOD) + 1):
            block = decimals[-length:]
            if decimals.endswith(block * (3 if length == 1 else 2)):
                head = decimals[:-length]
                value = Fraction(int(whole + head or "0"), 10 ** len(head))
                return num(value + Fraction(int(block), 10 ** len(head) * (10**length - 1)))
        return Op("cut", (literal(text),))

    # -- degrees

    def angle(self, degrees: Node) -> Node:
        """`30° 15' 20''` with minutes and seconds after the degrees; `37 °C`."""
        for size, marks in ((60, 1), (3600, 2)):
            start = self.at
            part = self.take("num")
            if part is None or not isinstance(degrees, Num):
                break
            value = literal(part.text).value
            if value >= 60 or self.minute_marks() != marks:
                self.at = start
                continue
            degrees = num(degrees.value + value / size)
        token = self.token
        scale = _SCALES.get(token.text.lower() if token.kind == "word" else token.text)
        if scale and token.kind in ("name", "word"):
            self.next()
            return Quantity(degrees, ((scale, 1),), frozenset())
        return Op("deg", (degrees,))

    def minute_marks(self) -> int:
        """How many primes stand here, as `''`, `^{\\prime\\prime}` or in words."""
        word = self.take("word")
        if word:
            return _MINUTE_WORDS.get(word.text.lower(), 0)
        braced = self.take("op", "^") and self.take("open", "{")
        marks = 0
        while self.take("op", "'"):
            marks += 1
        if braced:
            self.expect("close", "}")
        return marks


_SCALES = {"C": "celsius", "celsius": "celsius", "F": "fahrenheit", "fahrenheit": "fahrenheit"}  # of temperature
_MINUTE_WORDS = {"min": 1, "minute": 1, "minutes": 1, "sec": 2, "second": 2, "seconds": 2}


def literal(text: str) -> Num:
    """A decimal literal, exactly."""
    if text.isdecimal():
        return Num(Fraction(int(text)))
    mantissa, _, exponent = text.lower().partition("e")
    if len(exponent) > 6 or abs(int(exponent or 0)) > MAX_EXPONENT:
        raise ParseError(f"the number {text} is too large")
    _, _, decimals = mantissa.partition(".")
    value = Fraction(mantissa) * Fraction(10) ** int(exponent) if exponent else Fraction(mantissa)
    return Num(value, len(decimals) if decimals else None)
