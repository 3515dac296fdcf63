"""What becomes of each family here: opened, sampled, given new weights, trained and saved.  docs/families.md has the
table; `scripts/families` makes it.

What the project refuses is an entry, too, in the words of the refusal.  Anything else that is raised is a bug, and ends
the trial.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from grpo import config
from grpo.assemble import open_model
from grpo.errors import GrpoError
from grpo.export import export
from grpo.learning.loading import load_model
from grpo.learning.logprobs import choose_computation
from grpo.learning.policy import Policy
from grpo.problems import render_prompts
from grpo.sampling import canary, make_sampler
from grpo.train import train
from grpo.types import Problem, Prompt, SamplingParams
from tests import runs
from tests.conftest import ROOT
from tests.families import FAMILIES, Family, shake, write_family

DOCUMENT = ROOT / "docs" / "families.md"
BEGIN, END = "<!-- made by scripts/families -->", "<!-- up to here -->"

TOKENS = 24  # of a completion: with its prompt more than the families' windows

# Of any text something, and hardly twice the same: every group has a signal.
REWARD = """
def checksum(completion, problem):
    return sum(map(ord, completion)) % 11 / 10
"""


@dataclass(frozen=True)
class Row:
    """`gaps` by who samples, `trained` by what learns; where there is text instead of a number, it was refused."""

    family: Family
    fallback: str  # why prompts are not shared; "" where they are
    gaps: Mapping[str, float | str]  # mean |Δ log-probability| per token between policy and sampler
    trained: Mapping[str, float | str]  # the canary's largest gap


def try_family(family: Family, folder: Path, backends: Sequence[str]) -> Row:
    """A full run is sampled by the last of the backends that works, one that learns an adapter by the first."""
    model = write_family(family, folder / "model")
    fallback = choose_computation(opened(model)).fallback
    gaps = {backend: _or_refusal(partial(gap, model, backend)) for backend in backends}
    working = [backend for backend, found in gaps.items() if isinstance(found, float)]
    trained = {
        name: _or_refusal(partial(two_steps, model, folder / name, backend, rank))
        for name, backend, rank in (("full", working[-1], 0), ("LoRA", working[0], 4))
    }
    return Row(family, fallback, gaps, trained)


def _or_refusal(trial: Callable[[], float]) -> float | str:
    try:
        return trial()
    except GrpoError as error:
        return str(error)


def gap(model: Path, backend: str) -> float:
    """Between policy and sampler, before and after all weights change; the larger."""
    asked = _prompts(model)
    sampler = make_sampler(
        config.Sampling.model_validate({"backend": backend, "gpu_memory_utilization": 0.02}),
        str(model), revision=None, dtype="float32", device="cpu", context=160, seed=0,
    )  # fmt: skip
    with closing(sampler):
        policy = Policy(opened(model), config.Optim(), temperature=1.0, gradient_checkpointing=False)
        sampler.load_weights(policy.weights(), 0)
        groups = [group for _, group in sampler.sample(asked, 2, SamplingParams(max_tokens=TOKENS))]
        completions = [(group.prompt.token_ids, one) for group in groups for one in group.completions]
        drawn = [(prompt, tuple(map(int, one.token_ids))) for prompt, one in completions]
        of_sampler = [list(map(float, one.logprobs)) for _, one in completions]
        before = policy.score(drawn)
        shake(policy.model)
        sampler.load_weights(policy.weights(), 1)
        after = policy.score(drawn)
        assert canary.logprob_gap(before, after) > 0.1  # else the second gap would say nothing
        return max(canary.logprob_gap(of_sampler, before), canary.logprob_gap(sampler.score(drawn), after))


def _prompts(model: Path) -> list[Prompt]:
    """As a run renders them, of different lengths."""
    files = open_model(str(model))
    texts = ("7+5?", "What is 12 times 12, and why?")
    problems = [Problem(text, ({"role": "user", "content": text},), {}) for text in texts]
    return render_prompts(
        problems, files.tokenizer, config.Data(source="-"),
        context=files.context, max_tokens=TOKENS, vocabulary=files.vocabulary,
    )  # fmt: skip


def two_steps(model: Path, folder: Path, backend: str, rank: int) -> float:
    """Train; what was saved has the names and shapes of the model's own files, and other values."""
    folder.mkdir()
    runs.write_inputs(folder)
    (folder / "reward.py").write_text(REWARD)
    settings = runs.settings(
        folder, model,
        model={"lora_rank": rank},
        sampling={"backend": backend, "problems_per_step": 2, "max_tokens": TOKENS, "gpu_memory_utilization": 0.02},
        reward=[{"use": f"{folder / 'reward.py'}:checksum"}],
        eval={"limit": 1},
        run={"steps": 2, "save_every": 2},
    )  # fmt: skip
    train(settings, folder / "run")
    saved = folder / "run" / "checkpoints" / "step-2"
    if rank:
        export(saved, folder / "merged", say=lambda text: None)
        saved = folder / "merged"
    start, learned = _weights(model), _weights(saved)
    assert {name: weight.shape for name, weight in learned.items()} == {n: weight.shape for n, weight in start.items()}
    assert any(not torch.equal(weight.float(), start[name].float()) for name, weight in learned.items())
    _, info = AutoModelForCausalLM.from_pretrained(saved, output_loading_info=True)
    assert not any(info.values()), info
    steps = [row for row in runs.rows(folder / "run" / "metrics.jsonl") if "solved" in row]
    assert len(steps) == 2 and all(row["policy/updates"] > 0 for row in steps)
    return max(row["sync/logprob_gap"] for row in steps)


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    return {name: weight for shard in folder.glob("*.safetensors") for name, weight in load_file(shard).items()}


def opened(model: Path) -> transformers.PreTrainedModel:
    return load_model(str(model), None, dtype="float32", device="cpu")


# --- The table --------------------------------------------------------------------------------------------------------

COLUMNS = ("family", "built like", "what sets it apart", "prompts", "transformers", "vLLM", "full", "LoRA")


def cells(row: Row) -> tuple[str, ...]:
    shared = f"computed for each completion: {row.fallback}" if row.fallback else "shared"
    of_samplers = [_cell(row.gaps[backend]) for backend in ("transformers", "vllm")]
    of_runs = [_cell(row.trained[name]) for name in ("full", "LoRA")]
    return (row.family.name, f"`{row.family.example}`", row.family.special, shared, *of_samplers, *of_runs)


def _cell(found: float | str) -> str:
    """The power of ten that a gap is below; or the refusal."""
    return f"refused: {found}" if isinstance(found, str) else f"1e{math.ceil(math.log10(max(found, 1e-9)))}"


def table(rows: Sequence[Row]) -> str:
    lines = [COLUMNS, ["---"] * len(COLUMNS), *map(cells, rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def read_table(document: str) -> dict[str, dict[str, str]]:
    """By family, what each column has."""
    lines = document.partition(BEGIN)[2].partition(END)[0].splitlines()
    split = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return {line[0]: dict(zip(split[0], line, strict=True)) for line in split[2:]}


def main(names: Sequence[str]) -> None:
    import vllm

    if unknown := set(names) - {family.name for family in FAMILIES}:
        sys.exit(f"{', '.join(sorted(unknown))}: no such family; there are {', '.join(f.name for f in FAMILIES)}")
    rows = []
    with TemporaryDirectory() as place:
        for family in FAMILIES:
            if not names or family.name in names:
                (folder := Path(place, family.name)).mkdir()
                rows.append(try_family(family, folder, ("transformers", "vllm")))
                sys.stdout.write(table(rows[-1:]))
                sys.stdout.flush()
    if not names:
        before, rest = DOCUMENT.read_text().split(BEGIN)
        versions = f"transformers {transformers.__version__}, vLLM {vllm.__version__}, torch {torch.__version__}"
        said = f"{versions}, on a CPU in float32, {date.today()}:\n\n{table(rows)}"
        DOCUMENT.write_text(f"{before}{BEGIN}\n{said}{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main(sys.argv[1:])
