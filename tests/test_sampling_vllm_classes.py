"""A class that vLLM has changed for itself stays what it was for a policy."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from grpo.sampling.vllm_classes import classes_shared

pytest.importorskip("vllm")


class Small(PreTrainedModel):
    config_class = PreTrainedConfig

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__(config)
        self.layer = nn.Linear(2, 2)

    def forward(self, states: Tensor) -> Tensor:
        found: Tensor = self.layer(states)
        return found


def test_models_can_be_made_and_hooked_beside_vllms_own_of_the_same_class() -> None:
    from vllm.compilation.decorators import support_torch_compile
    from vllm.config import VllmConfig, set_current_vllm_config

    with classes_shared(), set_current_vllm_config(VllmConfig()):
        for _ in range(2):  # a second engine finds it changed
            support_torch_compile(dynamic_arg_dims={"states": 0})(Small)
            its = Small(PreTrainedConfig())
            assert hasattr(its, "do_not_compile")
    ours, seen = Small(PreTrainedConfig()), list[Tensor]()
    ours.register_forward_hook(lambda module, inputs, output: seen.append(output))
    ours(torch.zeros(1, 2))
    assert len(seen) == 1 and not hasattr(ours, "do_not_compile")
