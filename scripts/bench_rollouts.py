"""What a run's completions take on disk, and a step's in time.  `scripts/bench rollouts [--tokens N] [--steps N]`

A step of 64 groups of 8, each of 4,000 tokens, as `grpo.run.rollouts` writes it: four groups are shown, so their tokens
are kept with their numbers.  The text is English and code, the standard library's, in paragraphs of any order.  The
completions of a group share no more than others do, so real ones, which repeat each other, take less.  Tokens are those
of a byte-level BPE trained on the same text.  Of the policy's entropies four fifths are near zero and the others around
one nat, much as arXiv 2506.01939 (figure 2) finds them; a log-probability is drawn to go with its entropy, and the
sampler's differs by what bfloat16 makes of it.

Bytes are of a file as it lies there, by column; beside it the same rows as JSON lines, plain and by gzip, with and
without their tokens.  Seconds are the processor's, of the fastest of three calls.
"""

from __future__ import annotations

import argparse
import gzip
import sys
import sysconfig
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pyarrow.parquet as pq
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from grpo.opening import pieces_of
from grpo.run import rollouts
from grpo.run.folder import as_line

GROUPS, GROUP_SIZE, SHOWN, VOCABULARY = 64, 8, 4, 32_000
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=4000, help="of each completion (default: 4000)")
    parser.add_argument("--steps", type=int, default=1000, help="of the run that is spoken of (default: 1000)")
    given = parser.parse_args()
    rows = made_up(given.tokens)
    total = GROUPS * GROUP_SIZE * given.tokens
    text = sum(len(row["completion"].encode()) for row in rows)
    print(f"{len(rows)} completions of {given.tokens:,} tokens, {text / total:.2f} bytes of text a token")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        writing = fastest(lambda: rollouts.write(folder, 1, rows))
        (path,) = rollouts.files(folder).values()
        reading = fastest(lambda: rollouts.read_step(path))
        for column, size in columns_of(path).most_common():
            print(f"  {column:24}{size / 1e3:10,.1f} kB")
        say("rollouts/, parquet", path.stat().st_size, given.steps, total)
    plain = [{key: value for key, value in row.items() if key not in rollouts.PER_TOKEN} for row in rows]
    for what, some in (("JSON lines", rows), ("JSON lines, without tokens", plain)):
        lines = b"".join(as_line({key: listed(value) for key, value in row.items()}) for row in some)
        say(what, len(lines), given.steps, total)
        say(f"{what}, gzip", len(gzip.compress(lines, 6)), given.steps, total)
    print(f"written in {writing:.2f} s, read in {reading:.2f} s")


def say(what: str, size: int, steps: int, tokens: int) -> None:
    whole, each = size * steps / 1e9, size / tokens
    print(f"{what:34}{size / 1e6:8.2f} MB a step{each:7.2f} bytes a token{whole:8.2f} GB in {steps:,} steps")


def columns_of(path: Path) -> Counter[str]:
    """Compressed bytes by column."""
    sizes = Counter[str]()
    meta = pq.read_metadata(path)
    for group in range(meta.num_row_groups):
        for index in range(meta.num_columns):
            column = meta.row_group(group).column(index)
            sizes[column.path_in_schema.replace(".list.element", "")] += column.total_compressed_size
    return sizes


def listed(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def fastest(call: Callable[[], object]) -> float:
    seconds = []
    for _ in range(3):
        begun = time.process_time()
        call()
        seconds.append(time.process_time() - begun)
    return min(seconds)


# --- A step that might be a model's -----------------------------------------------------------------------------------


def made_up(length: int) -> list[Row]:
    draw, text = np.random.default_rng(0), paragraphs()
    tokenizer = trained(text)
    ids = [encoded.ids for encoded in tokenizer.encode_batch(text)]
    files: Any = SimpleNamespace(tokenizer=PreTrainedTokenizerFast(tokenizer_object=tokenizer))
    rows = []
    for group in range(GROUPS):
        for index in range(GROUP_SIZE):
            token_ids: list[int] = []
            while len(token_ids) < length:
                token_ids += ids[draw.integers(len(ids))]
            token_ids = token_ids[:length]
            row = row_of(group, index, text[group], tokenizer.decode(token_ids), length)
            of_tokens = {"pieces": pieces_of(token_ids, files), **numbers(token_ids, draw)} if group < SHOWN else {}
            rows.append(row | of_tokens)
    return rows


def row_of(group: int, index: int, prompt: str, text: str, length: int) -> Row:
    right = index % 2
    score = {"value": float(right), "answer": "1", "why": "1 equals 1" if right else "1 is not 2"}
    return {
        "step": 1,
        "problem": f"made-up/{group}",
        "index": index,
        "prompt": prompt,
        "gold": "1",
        "completion": text,
        "reward": float(right),
        "advantage": 2.0 * right - 1,
        "finish": "stop",
        "tokens": length,
        "scores": {"math": score},
    }


def numbers(token_ids: list[int], draw: np.random.Generator) -> Row:
    n = len(token_ids)
    sure = draw.random(n) < 0.8
    entropies = np.where(sure, 10 ** draw.normal(-4, 1.5, n), draw.lognormal(0, 0.5, n)).clip(0, 10)
    policy = -entropies * draw.exponential(size=n)
    sampler = np.minimum(0.0, policy * (1 + draw.normal(0, 2**-7, n)))
    return {
        "token_ids": np.array(token_ids, np.int32),
        "sampler_logprobs": sampler.astype(np.float32),
        "policy_logprobs": policy.astype(np.float32),
        "entropies": entropies.astype(np.float32),
    }


def paragraphs() -> list[str]:
    """Long enough to be one, in the order of their files."""
    sources = sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py"))
    own = [path for path in sources if not {"site-packages", "dist-packages", "test"} & set(path.parts)]
    text = "\n\n".join(path.read_text(encoding="utf-8", errors="replace") for path in own)
    return sorted({part + "\n\n" for part in text.split("\n\n") if 100 < len(part) < 1000})


def trained(text: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    tokenizer.train_from_iterator(text, trainers.BpeTrainer(vocab_size=VOCABULARY, show_progress=False))
    return tokenizer


if __name__ == "__main__":
    main()
