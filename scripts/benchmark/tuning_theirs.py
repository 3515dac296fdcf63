"""TRL's side of `scripts/bench sft`, run by the interpreter of its own environment.

A real `SFTTrainer` in `trainer.train()`, with `packing = True` ("bfd", TRL's default) and the loss on completions only;
rows are given as token ids.  A step's seconds run from the end of one optimizer step to that of the next.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from typing import Any

import torch
import transformers
from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from scripts.benchmark.tuning import LEARNING_RATE, Tuning
from scripts.benchmark.workloads import SEED, Workload


class Steps(transformers.TrainerCallback):
    """Says a line after every optimizer step.  `seen` counts tokens as batches are handed out."""

    def __init__(self) -> None:
        self.step, self.tokens, self.loss = 0, 0, 0.0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.started = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        now = time.perf_counter()
        line = {"step": self.step, "seconds": now - self.started, "tokens": self.tokens, "loss": self.loss}
        print(json.dumps(line), flush=True)
        self.step, self.tokens, self.loss, self.started = self.step + 1, 0, 0.0, time.perf_counter()


class Counted(SFTTrainer):
    """TRL's trainer, whose real tokens are counted where it computes them."""

    steps: Steps

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        self.steps.tokens += int(inputs["input_ids"].numel())  # padding-free: every one of them is a row's
        loss = super().training_step(model, inputs, num_items_in_batch)
        self.steps.loss += float(loss)
        return loss


def arguments(spec: dict[str, Any], folder: str) -> SFTConfig:
    return SFTConfig(
        output_dir=folder,
        packing=True,
        max_length=spec["length"],
        completion_only_loss=True,
        per_device_train_batch_size=spec["micro"],
        gradient_accumulation_steps=max(1, spec["packed"] // spec["micro"]),
        num_train_epochs=1,
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="constant",
        optim="adamw_torch_fused",
        weight_decay=0.0,
        max_grad_norm=1.0,
        seed=SEED,
        use_cpu=True,
        bf16=spec["dtype"] == "bfloat16",
        gradient_checkpointing=False,
        dataloader_pin_memory=False,
        model_init_kwargs={"dtype": "float32", "attn_implementation": "sdpa"},
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def main(spec: dict[str, Any]) -> None:
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    work = Tuning(**{**spec["work"], "model": Workload(**spec["work"]["model"])})
    torch.set_num_threads(spec["threads"])
    rows = [
        {"input_ids": [*prompt, *answer], "completion_mask": [0] * len(prompt) + [1] * len(answer)}
        for prompt, answer in work.tokens()
    ]
    with tempfile.TemporaryDirectory() as folder:
        trainer = Counted(
            model=spec["folder"],
            args=arguments(spec, folder),
            train_dataset=Dataset.from_list(rows),
            processing_class=transformers.AutoTokenizer.from_pretrained(spec["folder"]),
        )
        trainer.steps = Steps()
        trainer.add_callback(trainer.steps)
        trainer.train()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
