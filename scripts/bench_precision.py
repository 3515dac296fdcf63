"""How far sampler and policy are apart by rounding alone, and what they take.  `scripts/bench precision [--new TOKENS]`

Models of made-up weights write completions through each sampler, and the policy, which has the same weights, says what
each token is worth to it: the gap is |Δ log-probability|, as in the metrics `policy/sampler_gap…` of a first step.  The
last norm is scaled so that the logits' standard deviation is four: the larger a logit, the coarser bfloat16 rounds it.
"float32 head" is model.head_dtype = "float32".  Seconds are the sampler's for all completions, and the policy's for one
pass forward and backward over them: the least of three, and of a quiet machine.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from grpo.config import Optim, Sampling
from grpo.learning.batch import Batch, Sequences, Targets, padded
from grpo.learning.policy import Policy
from grpo.learning.rehearsal import mean_logprob
from grpo.mismatch import gap_metrics, gap_sums
from grpo.sampling import Dtype, make_sampler
from grpo.types import Problem, Prompt, SamplingParams
from scripts.benchmark.workloads import Workload, make_model, make_prompts

SPREAD = 4.0  # standard deviation of the logits
WAYS: tuple[tuple[Dtype, bool], ...] = (("float32", False), ("bfloat16", False), ("bfloat16", True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--new", type=int, default=1024, help="tokens of each of 16 completions (default: 1024)")
    new = parser.parse_args().new
    small = Workload(2, 128, 384, 2, 8192, problems=2, group=8, prompt=64, new=new)
    deep = Workload(24, 256, 768, 4, 8192, problems=2, group=8, prompt=64, new=new)
    print(f"{'':<48}    mean      p99  sample  update  mean by position, from token")
    for name, work in (("2 layers", small), ("24 layers", deep)):
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made)
            make_model(work, folder)
            sharpen(folder, work.width)
            for backend in ("vllm", "transformers"):
                for dtype, float32_head in WAYS:
                    head = ", float32 head" if float32_head else ""
                    print(f"{f'{name}, {backend}, {dtype}{head}':<48}", end="", flush=True)
                    print(measure(work, folder, backend, dtype, float32_head), flush=True)


def sharpen(folder: Path, width: int) -> None:
    """A head of its own, for a tied one would have every token say itself again, and large logits."""
    config = AutoConfig.from_pretrained(folder, tie_word_embeddings=False)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        model.model.norm.weight.mul_(SPREAD / (config.initializer_range * width**0.5))
    model.save_pretrained(folder)


def measure(work: Workload, folder: Path, backend: str, dtype: Dtype, float32_head: bool) -> str:
    settings = Sampling.model_validate({"backend": backend, "gpu_memory_utilization": 0.1})
    prompts = [Prompt(Problem(str(i), ({},), {}), tuple(ids)) for i, ids in enumerate(make_prompts(work))]
    context = work.prompt + work.new
    options: dict[str, Any] = {"revision": None, "dtype": dtype, "device": "cpu", "context": context, "seed": 0}
    with closing(make_sampler(settings, str(folder), float32_head=float32_head, **options)) as sampler:
        answered, to_sample = timed(lambda: dict(sampler.sample(prompts, work.group, SamplingParams(work.new))))
    rows = [(group.prompt.token_ids, c) for group in answered.values() for c in group.completions]
    sequences = Sequences.of([(prompt, completion.token_ids) for prompt, completion in rows])
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype))
    policy = Policy(model, Optim(), temperature=1.0, gradient_checkpointing=False, float32_head=float32_head)
    real_BT = sequences.real_BT
    batch = Batch(sequences, Targets(real_BT, real_BT / real_BT.sum()))
    _, to_update = timed(lambda: policy.forward_backward(batch, mean_logprob))
    of_sampler_BT = padded([completion.logprobs for _, completion in rows], torch.float32)
    mean, p99, places = gaps((policy.logprobs(sequences) - of_sampler_BT).abs(), real_BT)
    return f"{mean:8.1e} {p99:8.1e} {to_sample:6.2f}s {to_update:6.2f}s  {places}"


def timed(act: Callable[[], Any]) -> tuple[Any, float]:
    """What it gives, and the least of its seconds."""
    seconds = []
    for _ in range(3):
        begun = time.perf_counter()
        found = act()
        seconds.append(time.perf_counter() - begun)
    return found, min(seconds)


def gaps(gap_BT: Tensor, real_BT: Tensor) -> tuple[float, float, str]:
    """Mean, 99th percentile, and means by position."""
    found = gap_metrics({key: float(value) for key, value in gap_sums(gap_BT, real_BT).items()})
    p99 = found.pop("policy/sampler_gap_p99")
    places = "  ".join(f"{key.rsplit('_', 1)[1]}: {value:.1e}" for key, value in found.items())
    return float(gap_BT[real_BT].mean()), p99, places


if __name__ == "__main__":
    main()
