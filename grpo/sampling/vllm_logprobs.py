"""What stands in vLLM for a request's log-probabilities while it runs."""

from __future__ import annotations

from array import array
from typing import Any


class DrawnLogprobs:
    """Of the drawn tokens alone, in the place of vLLM's `LogprobsProcessor`; has what a `RequestState` reads of one.

    vLLM keeps a dict and an object for each token, or with `flat_logprobs` six of Python's numbers: 5.4 and 4.0 µs and
    380 and 160 bytes a token (`scripts/bench sampling_path`), in the one thread that every pass waits for.  This takes
    a tenth of it and four bytes: the logits are float32, and so is every log-probability.
    """

    cumulative_logprob = prompt_logprobs = prompt_token_id_logprobs = None

    def __init__(self) -> None:
        self.logprobs = array("f")

    def update_from_output(self, output: Any) -> None:
        """Of an `EngineCoreOutput`: a row for each new token, in which the drawn one stands first."""
        if output.new_logprobs is not None:
            for of_token in output.new_logprobs.logprobs.tolist():
                self.logprobs.append(of_token[0])
