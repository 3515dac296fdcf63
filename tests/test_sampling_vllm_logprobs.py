from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from grpo.sampling.vllm_logprobs import DrawnLogprobs
from grpo.types import Completion

# Of each pass: a row for each new token, the drawn one first, after it any number of others.
passes = st.lists(arrays.arrays(np.float32, st.tuples(st.integers(1, 3), st.integers(1, 4))), min_size=1, max_size=9)


@given(passes)
def test_the_drawn_tokens_log_probabilities_come_through_to_the_last_bit(of_passes: list[np.ndarray]) -> None:
    drawn = DrawnLogprobs()
    for rows in of_passes:
        drawn.update_from_output(SimpleNamespace(new_logprobs=None))  # of a pass over a part of the prompt
        drawn.update_from_output(SimpleNamespace(new_logprobs=SimpleNamespace(logprobs=rows)))
    expected = np.concatenate([rows[:, 0] for rows in of_passes])
    completion = Completion([0] * len(expected), drawn.logprobs, "", "stop")
    assert np.array_equal(completion.logprobs, expected, equal_nan=True)
    assert drawn.logprobs.itemsize == 4
