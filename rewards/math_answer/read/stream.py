"""The parser's view of the tokens: where it stands, what comes, and how deep it is."""

from __future__ import annotations

from rewards.math_answer.read.tokens import ParseError, Token

MAX_DEPTH = 48


class TokenStream:
    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.at = 0
        self.depth = 0

    @property
    def token(self) -> Token:
        return self.tokens[self.at]

    def peek(self, ahead: int = 1) -> Token:
        return self.tokens[min(self.at + ahead, len(self.tokens) - 1)]

    def next(self) -> Token:
        token = self.tokens[self.at]
        if token.kind != "end":
            self.at += 1
        return token

    def take(self, kind: str, *texts: str) -> Token | None:
        token = self.token
        if token.kind == kind and (not texts or token.text in texts):
            return self.next()
        return None

    def expect(self, kind: str, *texts: str) -> Token:
        token = self.take(kind, *texts)
        if token is None:
            raise ParseError(f"{self.token.text or 'the end'!r} where {' or '.join(texts) or kind} should be")
        return token

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ParseError("nested too deeply")
