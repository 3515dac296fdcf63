"""`grpo doctor`: one page about the machine, whatever it lacks."""

from __future__ import annotations

import pytest
import torch

import rewards.sandbox
from grpo import doctor
from rewards.sandbox import SandboxUnavailable


@pytest.fixture(autouse=True)
def briefly(monkeypatch):
    monkeypatch.setattr(doctor, "MEASURED", 0.2)


def test_the_doctor_names_versions_memory_samplers_and_the_sandbox():
    text = "\n".join(doctor.report())
    for part in ("grpo 0.", "torch", "CPU cores", "GiB of memory", "sampling.backend", "sandbox for programs"):
        assert part in text
    assert "short programs per second" in text or "refuses to run here" in text


def test_a_machine_without_a_sandbox_is_told_why_and_what_still_works(monkeypatch):
    def unavailable():
        raise SandboxUnavailable("no Landlock; boot with lsm=landlock")

    monkeypatch.setattr(rewards.sandbox, "Sandbox", unavailable)
    lines = list(doctor.report())
    assert "  none: no Landlock; boot with lsm=landlock" in lines
    assert lines[-1] == '  the reward "code" refuses to run here; other rewards do not need it'


def test_a_package_that_is_not_there_is_said_to_be_missing(monkeypatch):
    monkeypatch.setattr(doctor, "PACKAGES", ("no-such-package",))
    assert "  no-such-package not installed" in list(doctor.report())


@pytest.fixture
def a_card(monkeypatch):
    """An H100 that is not there."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index=0: (79 * 2**30, 80 * 2**30))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "NVIDIA H100")


@pytest.mark.usefixtures("a_card")
def test_beside_a_gpu_the_doctor_says_how_large_a_model_the_host_can_hold_an_optimizer_for(monkeypatch):
    monkeypatch.setattr("grpo.memory.host_memory", lambda: 38.0)
    lines = list(doctor._devices())
    # 36 GiB beside the process's own 2, and 14 bytes a parameter: 12, and the weights when they are saved
    assert "optim.offload: host memory for 2.8 billion parameters that are learned" in lines
    assert lines[-1] == "cuda:0 NVIDIA H100, 80.0 GiB, 79.0 free, bfloat16"


def test_a_gpu_that_pytorch_does_not_see_is_explained(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("grpo.learning.loading.unseen_gpu", lambda: "nvidia-smi sees one, PyTorch does not; update it")
    assert list(doctor._devices())[-1] == "nvidia-smi sees one, PyTorch does not; update it"
