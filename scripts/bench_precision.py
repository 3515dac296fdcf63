"""How far sampler and policy are apart by rounding alone.  `scripts/bench precision [--new TOKENS]`

Models of made-up weights write completions through each sampler, and the policy, which has the same weights, says what
each token is worth to it: the gap is |Δ log-probability|, as in the metrics `policy/sampler_gap…` of a first step.  The
last norm is scaled so that the logits' standard deviation is four: the larger a logit, the coarser bfloat16 rounds it.
"float32 head" has the sampler's and the policy's logits computed in float32 from bfloat16 states, vLLM's by
`head_dtype` in the model's config.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from grpo.config import Sampling
from grpo.learning.batch import Sequences, padded
from grpo.learning.policy import LanguageModel
from grpo.mismatch import gap_metrics, gap_sums
from grpo.sampling import Dtype, make_sampler
from grpo.types import Completion, Problem, Prompt, SamplingParams
from scripts.benchmark.workloads import Workload, make_model, make_prompts

SPREAD = 4.0  # standard deviation of the logits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--new", type=int, default=1024, help="tokens of each of 16 completions (default: 1024)")
    new = parser.parse_args().new
    small = Workload(2, 128, 384, 2, 8192, problems=2, group=8, prompt=64, new=new)
    deep = Workload(24, 256, 768, 4, 8192, problems=2, group=8, prompt=64, new=new)
    print(f"{'nats a token':<48}    mean      p99  mean by position, from token")
    for name, work in (("2 layers", small), ("24 layers", deep)):
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made)
            make_model(work, folder)
            sharpen(folder, work.width)
            for backend in ("vllm", "transformers"):
                measure(name, work, folder, backend, "float32", of_policy)
                measure(name, work, folder, backend, "bfloat16", of_policy)
            with_float32_head(folder)
            measure(name, work, folder, "vllm", "bfloat16", of_float32_head)


def sharpen(folder: Path, width: int) -> None:
    """A head of its own, for a tied one would have every token say itself again, and large logits."""
    config = AutoConfig.from_pretrained(folder, tie_word_embeddings=False)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        model.model.norm.weight.mul_(SPREAD / (config.initializer_range * width**0.5))
    model.save_pretrained(folder)


def with_float32_head(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"head_dtype": "float32"}))


Logprobs = Callable[[Any, Sequences], Tensor]


def of_policy(model: Any, sequences: Sequences) -> Tensor:
    return LanguageModel(model, temperature=1.0, tokens_per_microbatch=8192).logprobs(sequences)


@torch.no_grad()
def of_float32_head(model: Any, sequences: Sequences) -> Tensor:
    rows = []
    for prompt, tokens_T, length in zip(sequences.prompts, sequences.tokens_BT, sequences.lengths, strict=True):
        ids_S = torch.cat([torch.tensor(prompt), tokens_T[:length]])
        states_TD = model.model(ids_S[None]).last_hidden_state[0, len(prompt) - 1 : -1]
        logprobs_TV = (states_TD.float() @ model.lm_head.weight.float().t()).log_softmax(-1)
        rows.append(logprobs_TV.gather(1, ids_S[len(prompt) :, None])[:, 0].numpy())
    return padded(rows, torch.float32)


def measure(name: str, work: Workload, folder: Path, backend: str, dtype: Dtype, logprobs: Logprobs) -> None:
    settings = Sampling.model_validate({"backend": backend, "gpu_memory_utilization": 0.1})
    prompts = [Prompt(Problem(str(i), ({},), {}), tuple(ids)) for i, ids in enumerate(make_prompts(work))]
    context = work.prompt + work.new
    options = {"revision": None, "dtype": dtype, "device": "cpu", "context": context, "seed": 0}
    with closing(make_sampler(settings, str(folder), **options)) as sampler:  # type: ignore[arg-type]
        answered = dict(sampler.sample(prompts, work.group, SamplingParams(work.new)))
    rows = [(group.prompt.token_ids, c) for group in answered.values() for c in group.completions]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    head = ", float32 head" if logprobs is of_float32_head else ""
    show(f"{name}, {backend}, {dtype}{head}", rows, lambda sequences: logprobs(model, sequences))


def show(name: str, rows: Sequence[tuple[Sequence[int], Completion]], logprobs: Callable[[Sequences], Tensor]) -> None:
    sequences = Sequences.of([(prompt, completion.token_ids) for prompt, completion in rows])
    of_sampler_BT = padded([completion.logprobs for _, completion in rows], torch.float32)
    gap_BT, real_BT = (logprobs(sequences) - of_sampler_BT).abs(), sequences.real_BT
    found = gap_metrics({key: float(value) for key, value in gap_sums(gap_BT, real_BT).items()})
    p99 = found.pop("policy/sampler_gap_p99")
    places = "  ".join(f"{key.rsplit('_', 1)[1]}: {value:.1e}" for key, value in found.items())
    print(f"{name:<48}{float(gap_BT[real_BT].mean()):8.1e} {p99:8.1e}  {places}", flush=True)


if __name__ == "__main__":
    main()
