"""Which weights drew which tokens, where new weights come while completions are drawn.

vLLM says so itself since 0.32 only; the tokens drawn so far can be counted in every version.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from grpo.types import Span


@dataclass
class Request:
    """A prompt that is being answered, with one or more completions."""

    steps: list[int]  # of the weights since it was asked, in the order they came
    counts: dict[int, list[int]] = field(default_factory=dict)  # by completion: tokens at each change while it ran

    def spans(self, index: int, length: int) -> tuple[Span, ...]:
        """Of a completion that has ended.  Changes after its end did not count it, so their steps pair with nothing."""
        counts = self.counts.get(index, [])
        parts = zip(self.steps, [0, *counts], [*counts, length], strict=False)
        return tuple(Span(step, end - start) for step, start, end in parts if end > start)


class Spans:
    """Of all requests that are being answered, by name."""

    def __init__(self) -> None:
        self._requests: dict[str, Request] = {}

    def begin(self, name: str, step: int) -> None:
        self._requests[name] = Request([step])

    def change(self, step: int, drawn: Iterable[tuple[str, int, int]]) -> None:
        """Weights of `step` come: `drawn` is (name, index, tokens so far) of every completion that goes on."""
        for name, index, tokens in drawn:
            self._requests[name].counts.setdefault(index, []).append(tokens)
        for request in self._requests.values():
            request.steps.append(step)

    def end(self, name: str, lengths: Sequence[int]) -> list[tuple[Span, ...]]:
        """Of each completion, now that all of the request have ended, with so many tokens."""
        request = self._requests.pop(name)
        return [request.spans(index, length) for index, length in enumerate(lengths)]

    def forget(self, name: str) -> None:
        self._requests.pop(name, None)
