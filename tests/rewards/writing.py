"""Texts for the rewards of how a completion is written: what a model may write at its worst, and what people write."""

from __future__ import annotations

import gzip
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

# Pieces that some rule looks for, and characters that none does.
PIECES = (
    *"a A é α и 因 あ 한 ค हि 1 $ $$ ` ``` ~~~ ~~~~ < > <a <| | \\ \\\\ \\n \\u00e9 / . , ; : ! ? 。 … '".split(),
    *'" “ ” - _ = { } << >> [asy] [/asy]'.split(),
    *r"\( \) \[ \] \begin{align} \end{align} \begin{cases} <think> </think> <answer> </answer> \$ \`".split(),
    *"http:// www. a@b a_b aB np.dot f( 5kg 3.14 <|im_end|> <| |> so we the dass nous слово 所以".split(),
    *(" ", "\n", "\n\n", "\n```\n", "\t", "\x00", "\u0301", "\ud800", "\ue000", "\ufffd", "\u200b", "𝑥"),
    *(
        "one two three four. ",
        "we check it again\n\n",
        "- an item of this list\n",
        "| a | b |\n",
        "x = 1 ",
        "0 & 0 \\\\\n",
    ),
)
pieces = st.lists(st.sampled_from(PIECES), max_size=30).map("".join)
anything = st.text(st.characters(), max_size=60) | pieces  # lone surrogates, too
units = st.lists(st.sampled_from(PIECES), min_size=1, max_size=3).map("".join)


def in_proportion(work: Callable[[str], object], unit: str) -> bool:
    """Whether a text four times as long takes about four times the computing; with the square it would be sixteen."""
    less, more = (
        _cpu_seconds(lambda n=n: work(unit * (n // len(unit)) + " and this is the end")) for n in (8_000, 32_000)
    )
    return more < 9 * less + 0.1  # seconds: what is as short as this is no evidence


def _cpu_seconds(run: Callable[[], object]) -> float:
    """The better of two: other processes make it longer, never shorter."""
    times = []
    for _ in range(2):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)


DATA = Path(os.environ.get("GRPO_DATA", Path(__file__).resolve().parents[2].parent / "shared" / "data"))


def rows(name: str) -> Iterator[dict[str, Any]]:
    path = DATA / name
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else open(path, encoding="utf-8") as lines:
        yield from (json.loads(line) for line in lines if line.strip())


def solutions() -> dict[str, list[str]]:
    """Solutions and programs that people wrote, in English, by where they come from."""
    return {
        "gsm8k": [row["answer"] for row in rows("gsm8k/test.jsonl")],
        "math500": [row["solution"] for row in rows("math/math500.jsonl")],
        "minerva": [row["solution"] for row in rows("math/minerva.jsonl")],
        "olympiadbench": ["\n".join(row["solution"]) for row in rows("math/olympiadbench.jsonl")],
        "mbpp": [f"{row['text']}\n```python\n{row['code']}\n```" for row in rows("code/mbpp.jsonl")],
        "humaneval": [
            f"```python\n{row['prompt']}{row['canonical_solution']}\n```" for row in rows("code/HumanEval.jsonl.gz")
        ],
    }
