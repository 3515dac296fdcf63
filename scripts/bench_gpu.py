"""One update of a 1.5 B model on one GPU, ours beside TRL's.  `scripts/bench gpu [--json FILE]`

A model of Qwen2.5-1.5B's shape gets random weights on the spot, so nothing is downloaded, and groups that are made up:
8 prompts of 512 tokens with 8 completions of 1,024 tokens each, and once more with completions of 256 to 1,024 tokens,
because real groups are ragged.  Measured are tokens per second, the share of the rate that a large matrix product
reaches on the same GPU in the same run, and peak memory.

First each side tries its settings, one update after one to warm up; of those within 5 % of its fastest it keeps the
leanest.  Then both take turns, each with the GPU to itself, because clocks move: read the ratios.  Where TRL cannot be
imported the other side is the textbook's update, which is TRL's without its tricks: every completion with a prompt of
its own, and the logits of all its tokens at once.  `--device cpu --size tiny` shows that the script works, no more.
`--variants` measures instead what compiled or Liger's layers and an offloaded optimizer make of our side.

Where our side falls back on rows by themselves nothing is measured: that would be a benchmark of something else.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from grpo.errors import LearningError
from scripts.benchmark.gpu import (
    MIXED,
    SIZES,
    MakeLoss,
    Ours,
    Setting,
    Side,
    Size,
    SlowPath,
    Theirs,
    Work,
    make_work,
    operations,
    textbook,
    trl_loss,
)
from scripts.benchmark.variants import compare

ROOT = Path(__file__).resolve().parents[1]
SEARCH_SECONDS = 120  # for the settings of one side; those not reached by then are named
SLACK = 1.05  # settings within this factor of the fastest are as good, and the leanest of them is kept
ROUNDS = 5
LAST_ROUND = 390  # seconds after the start; a slow GPU makes fewer rounds, and at least two
GIB = 2**30

Make = Callable[[Setting], Side]


@dataclass(frozen=True, slots=True)
class Sample:
    """One update.  Bytes on the GPU: `resident` before it (weights, masters, moments), and at its peak."""

    seconds: float
    optimizer: float  # seconds of it
    norm: float  # of the gradient
    resident: int
    peak: int


@dataclass(frozen=True, slots=True)
class Trial:
    setting: Setting
    first: Sample  # to warm up; its gradient is that of the weights all settings start from
    sample: Sample


def main() -> int:
    parser = argparse.ArgumentParser(description="One update of a 1.5 B model on one GPU, ours beside TRL's.")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--size", choices=tuple(SIZES), default="1.5b")
    parser.add_argument("--variants", action="store_true", help="our side with other layers, and offloaded, instead")
    parser.add_argument("--json", type=Path, help="also write everything that was measured into this file")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        return refuse(
            "PyTorch sees no CUDA device here; check nvidia-smi, or try the script with --device cpu --size tiny"
        )
    try:
        return run(torch.device(options.device), SIZES[options.size], options)
    except SlowPath as error:
        return refuse(f"{error}; nothing was measured")


def run(device: torch.device, size: Size, options: argparse.Namespace) -> int:
    started = time.monotonic()
    head = header(device)
    print("\n".join(f"{name}: {value}" for name, value in head.items()))
    rate = matrix_rate(size, device)
    print(
        f"matrix product: {rate / 1e12:.4g} TFLOP/s, the best of sides {', '.join(map(str, size.matrices))}", flush=True
    )
    if options.variants:
        compare(size, device, measured)
        return 0
    equal, ragged = make_work(size, size.new), make_work(size, size.new // 4)
    makes, settings = the_sides(size, device)
    trials = {name: search(name, makes[name], settings[name], equal, device) for name in makes}
    if empty := [name for name, found in trials.items() if all(t.setting.weights == "bfloat16" for t in found)]:
        return refuse(f"no setting of {empty[0]} fits into this device's memory; take a device with more of it")
    chosen = {name: best(found) for name, found in trials.items()}
    compare_gradients(chosen)

    settings_kept = {name: trial.setting for name, trial in chosen.items()}
    samples = in_turns(makes, settings_kept, [equal, ragged], device, until=started + LAST_ROUND)
    for work in (equal, ragged):
        table(size, work, rate, chosen, samples[work.name])
    print(f"\n{time.monotonic() - started:.0f} seconds in all")
    if options.json:
        found = {"header": head, "matrix_rate": rate, "trials": trials, "rounds": samples}
        options.json.write_text(json.dumps(found, default=asdict, indent=1) + "\n")
    return 0


def refuse(why: str) -> int:
    print(f"scripts/bench gpu: {why}", file=sys.stderr)
    return 2


def header(device: torch.device) -> dict[str, str]:
    def output(*command: str) -> str:
        if not shutil.which(command[0]):
            return "unknown"
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    def installed(name: str) -> str:
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            return f"no {name}"

    changed = ", with changes" if output("git", "status", "--porcelain", "--untracked-files=no") else ""
    hardware = {"device": "CPU"}
    if device.type == "cuda":
        driver = output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
        memory = torch.cuda.get_device_properties(device).total_memory / GIB
        hardware = {
            "device": f"{torch.cuda.get_device_name(device)}, {memory:.0f} GiB",
            "driver": f"{driver}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}",
        }
    return {
        "date": f"{date.today()}",
        "commit": output("git", "rev-parse", "--short", "HEAD") + changed,
        **hardware,
        "versions": ", ".join(map(installed, ("torch", "transformers", "trl", "liger-kernel"))),
    }


# --- What is tried ------------------------------------------------------------------------------------------------


def the_sides(size: Size, device: torch.device) -> tuple[dict[str, Make], dict[str, list[Setting]]]:
    """By name: what makes a side from a setting, and the settings to try."""
    name, make_loss = other_side()
    cuda = device.type == "cuda"
    makes: dict[str, Make] = {
        "ours": lambda setting: Ours(size, setting, device),
        name: lambda setting: Theirs(size, setting, device, make_loss=make_loss),
    }
    settings = {
        "ours": [
            Setting(MIXED if cuda else "float32", checkpointing, tokens)
            for checkpointing in (True, False)
            for tokens in size.tokens
        ],
        name: [
            Setting(weights, checkpointing, rows)
            for weights in (("float32", "bfloat16") if cuda else ("float32",))
            for checkpointing in (True, False)
            for rows in size.rows
        ],
    }
    return makes, settings


def other_side() -> tuple[str, MakeLoss]:
    try:
        from trl import GRPOTrainer
    except ImportError as error:
        print(f"beside the textbook's update, because TRL cannot be imported ({error})")
        return "textbook", textbook
    print(f"beside {GRPOTrainer.__name__} of TRL")
    return "TRL", trl_loss


def search(name: str, make: Make, settings: Sequence[Setting], work: Work, device: torch.device) -> list[Trial]:
    """What fits, printed as it is found.  What is too large once is too large with more at a time."""
    trials: list[Trial] = []
    too_large: dict[tuple[str, bool], int] = {}
    deadline = time.monotonic() + SEARCH_SECONDS
    print(f"\n| {name}: weights, checkpointing, at a time | seconds | peak GiB |\n|---|---:|---:|", flush=True)
    for setting in settings:
        kind = (setting.weights, setting.checkpointing)
        if time.monotonic() > deadline:
            row = "not tried: no time left | "
        elif setting.at_a_time > too_large.get(kind, setting.at_a_time):
            row = "does not fit, as less did not | "
        elif trial := tried(make, setting, work, device):
            trials.append(trial)
            row = f"{trial.sample.seconds:.3f} | {trial.sample.peak / GIB:.2f}"
        else:
            too_large[kind] = setting.at_a_time
            row = "does not fit | "
        print(f"| {setting} | {row} |", flush=True)
        forget(device)
    return trials


def tried(make: Make, setting: Setting, work: Work, device: torch.device) -> Trial | None:
    """None where it does not fit."""
    try:
        side = make(setting)
        side.take(work)
        return Trial(setting, measured(side, device), measured(side, device))
    except (torch.OutOfMemoryError, LearningError) as error:
        if "out of memory" not in str(error):
            raise
        return None


def best(trials: Sequence[Trial]) -> Trial:
    """Weights in nothing but bfloat16 are shown and not kept: they do not learn, for steps of 1e-6 are lost in them."""
    learning = [trial for trial in trials if trial.setting.weights != "bfloat16"]
    fastest = min(trial.sample.seconds for trial in learning)
    return min((t for t in learning if t.sample.seconds <= SLACK * fastest), key=lambda t: t.sample.peak)


def compare_gradients(chosen: dict[str, Trial]) -> None:
    norms = [trial.first.norm for trial in chosen.values()]
    same = math.isclose(*norms, rel_tol=0.02)
    verdict = "the same" if same else "NOT THE SAME, so the sides do not do the same work"
    print(f"\nnorms of the first gradient: {', '.join(f'{norm:.6g}' for norm in norms)}: {verdict}", flush=True)


# --- Measuring ----------------------------------------------------------------------------------------------------


def in_turns(
    makes: dict[str, Make], settings: dict[str, Setting], works: Sequence[Work], device: torch.device, *, until: float
) -> dict[str, dict[str, list[Sample]]]:
    """Samples by work and side.  One update of each work warms up, because other lengths are other kernels."""
    samples: dict[str, dict[str, list[Sample]]] = {work.name: {name: [] for name in makes} for work in works}
    for done in range(ROUNDS):
        if done >= 2 and time.monotonic() > until:
            print(f"\n{done} rounds instead of {ROUNDS}: no time left")
            break
        for name, make in makes.items():
            side = make(settings[name])
            for work in works:
                side.take(work)
                measured(side, device)
                samples[work.name][name].append(measured(side, device))
            del side
            forget(device)
    return samples


def measured(side: Side, device: torch.device) -> Sample:
    resident = 0
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        resident = torch.cuda.memory_allocated()
    started = now(device)
    side.forward_backward()
    stepping = now(device)
    norm = side.optim_step()
    ended = now(device)
    peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else 0
    return Sample(ended - started, ended - stepping, norm, resident, peak)


def matrix_rate(size: Size, device: torch.device) -> float:
    """Operations per second of a product of two square matrices of random numbers, the best of several sizes."""
    cuda, best = device.type == "cuda", 0.0
    for side in size.matrices:
        dtype = torch.bfloat16 if cuda else torch.float32
        left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
        times = 1 + int((2e14 if cuda else 1e9) / (2 * side**3))
        for _ in range(4):
            started = now(device)
            for _ in range(times):
                torch.mm(left, right)
            best = max(best, 2 * side**3 * times / (now(device) - started))
    return best


def now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def forget(device: torch.device) -> None:
    """A model and its hooks point at each other, so counting references alone frees neither."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


# --- Printing -----------------------------------------------------------------------------------------------------


def table(size: Size, work: Work, rate: float, chosen: dict[str, Trial], samples: dict[str, list[Sample]]) -> None:
    """Medians, smallest and largest; a ratio is ours over theirs of the same round."""
    names, (ours, theirs), needed = list(samples), samples.values(), operations(size, work)
    print(
        f"\n{work.name}: {work.completion_tokens:,} completion tokens, {work.distinct_tokens:,} distinct ones, "
        f"{needed / 1e12:.4g} TFLOP\n"
    )
    print(f"| one update | {names[0]} | {names[1]} | ratio |\n|---|---:|---:|---:|")
    print("| setting |", " | ".join(str(chosen[name].setting) for name in names), "| |")

    def row(what: str, of: Callable[[Sample], float], form: str) -> None:
        ratio = spread([of(a) / of(b) for a, b in zip(ours, theirs, strict=True)], ".2f")
        print(f"| {what} | {spread(map(of, ours), form)} | {spread(map(of, theirs), form)} | {ratio} |")

    row("seconds", lambda s: s.seconds, ".3f")
    row("completion tokens/s", lambda s: work.completion_tokens / s.seconds, ",.0f")
    row("distinct tokens/s", lambda s: work.distinct_tokens / s.seconds, ",.0f")
    row("share of the matrix rate", lambda s: needed / s.seconds / rate, ".1%")
    row("optimizer's share of the time", lambda s: s.optimizer / s.seconds, ".1%")
    if ours[0].peak:
        row("peak memory, GiB", lambda s: s.peak / GIB, ".2f")
        row("growth over what is resident, GiB", lambda s: (s.peak - s.resident) / GIB, ".2f")
        aims(statistics.median(needed / s.seconds / rate for s in ours), ours, theirs)


def aims(share: float, ours: Sequence[Sample], theirs: Sequence[Sample]) -> None:
    pairs = list(zip(ours, theirs, strict=True))
    speed = statistics.median(b.seconds / a.seconds for a, b in pairs)
    memory = statistics.median(a.peak / b.peak for a, b in pairs)
    print()
    for what, found, aim, met in (
        ("share of the matrix rate", share, "at least 0.45", share >= 0.45),
        ("tokens/s over theirs", speed, "at least 1.5", speed >= 1.5),
        ("peak memory over theirs", memory, "at most 0.5", memory <= 0.5),
    ):
        print(f"{what}: {found:.2f}, to be {aim}: {'reached' if met else 'NOT reached'}")


def spread(values: Iterable[float], form: str) -> str:
    found = list(values)
    return f"{statistics.median(found):{form}} ({min(found):{form}} to {max(found):{form}})"


if __name__ == "__main__":
    sys.exit(main())
