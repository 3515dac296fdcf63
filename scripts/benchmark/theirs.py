"""TRL's side, run by the interpreter of its own environment: `python -m scripts.benchmark.theirs SPEC`.

A real `GRPOTrainer` in `trainer.train()`.  Three things are changed: prompts are given as token ids, no token is an end
token, and some methods are timed.  A step's seconds run from the end of the optimizer step before to the end of its
own, so that nothing of the loop is left out.  Of these

    sample   `_generate`: generation, its lists and the decoding into text
    score    `_calculate_rewards`
    update   all the rest: log-probabilities before the update where TRL computes them, the loss, forward and backward
             pass, AdamW, and the books between
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
import transformers
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from scripts.benchmark.memory import Gauge
from scripts.benchmark.rewards import judge
from scripts.benchmark.workloads import BETAS, LEARNING_RATE, SEED, Workload, make_prompts


class Timed(GRPOTrainer):
    """TRL's trainer with a stopwatch, given its prompts as token ids."""

    prompt_ids: list[list[int]]

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return [self.prompt_ids[int(prompt)] for prompt in prompts], None, {}


class Steps(transformers.TrainerCallback):
    """Says a line after every optimizer step; before the last one memory is trimmed, so that its growth is seen."""

    def __init__(self, trainer: Timed, steps: int) -> None:
        self.trainer, self.last = trainer, steps + 1
        self.step = 0
        trainer._generate = self._counted(trainer._generate)
        trainer._calculate_rewards = self._timed("score", trainer._calculate_rewards)

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.gauge = Gauge()
        self._restart()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.gauge.update_ends()
        seconds = time.perf_counter() - self.started
        update = seconds - sum(self.seconds.values())
        say({"step": self.step, "seconds": seconds, **self.seconds, "update": update, **self.tokens})
        self.step += 1
        self._restart()

    def _restart(self) -> None:
        self.seconds = {"sample": 0.0, "score": 0.0}
        self.tokens = {"tokens": 0, "learned": 0}
        self.started = time.perf_counter()

    def _timed(self, phase: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def timed(*arguments: Any, **named: Any) -> Any:
            started = time.perf_counter()
            result = method(*arguments, **named)
            self.seconds[phase] += time.perf_counter() - started
            return result

        return timed

    def _counted(self, generate: Callable[..., Any]) -> Callable[..., Any]:
        """The update begins where generation ends."""
        timed = self._timed("sample", generate)

        @wraps(generate)
        def counted(prompts: list[str]) -> Any:
            result = timed(prompts)
            self.tokens["tokens"] += sum(map(len, result[1]))
            self.tokens["learned"] = self.tokens["tokens"]  # TRL leaves nothing out
            self.gauge.update_starts(trimmed=self.step == self.last)
            return result

        return counted


def reward(prompts: list[str], completions: list[str], **_: Any) -> list[float]:
    return [judge(completion, {}) for completion in completions]


def arguments(work: Workload, choices: dict[str, Any], steps: int, folder: str) -> GRPOConfig:
    """The same objective and optimizer as ours; the whole generation batch in one optimizer step."""
    micro = choices["micro"]
    parts = work.completions // micro
    return GRPOConfig(
        output_dir=folder,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=parts,
        steps_per_generation=parts,
        num_generations=work.group,
        max_completion_length=work.new,
        max_steps=steps + 2,
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="constant",
        optim="adamw_torch_fused",
        adam_beta1=BETAS[0],
        adam_beta2=BETAS[1],
        weight_decay=0.0,
        max_grad_norm=1.0,
        beta=0.0,
        num_iterations=1,
        loss_type="dapo",
        epsilon=0.2,
        epsilon_high=0.28,
        temperature=1.0,
        seed=SEED,
        use_cpu=True,
        bf16=choices["bf16"],
        torch_compile=choices["compile"],
        gradient_checkpointing=False,
        shuffle_dataset=False,
        dataloader_pin_memory=False,
        use_transformers_continuous_batching=choices["generation"] == "continuous",
        use_vllm=choices["generation"] == "vllm",
        generation_kwargs={"eos_token_id": None},
        model_init_kwargs={"dtype": "float32", "attn_implementation": choices["attention"]},
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def main(spec: dict[str, Any]) -> None:
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    work, choices = Workload(**spec["work"]), spec["choices"]
    torch.set_num_threads(choices["threads"])
    if choices["onednn"]:  # MKL is slow on AMD's processors; this switch is the way to the other library
        torch.backends.mkldnn.matmul.fp32_precision = "bf16"
    with tempfile.TemporaryDirectory() as folder:
        trainer = Timed(
            model=spec["folder"],
            reward_funcs=reward,
            args=arguments(work, choices, spec["steps"], folder),
            train_dataset=Dataset.from_list([{"prompt": str(i)} for i in range(work.problems)]),
            processing_class=transformers.AutoTokenizer.from_pretrained(spec["folder"]),
        )
        trainer.prompt_ids = make_prompts(work)
        trainer.eos_token_ids = [-1]
        steps = Steps(trainer, spec["steps"])
        trainer.add_callback(steps)
        trainer.train()
        say({"choices": choices, **steps.gauge.row()})


def say(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
