"""The policy: a causal language model, its optimizer, and nothing of GRPO.

One of the two seams of the arithmetic.  A policy knows how to say what sequences are worth to it, how to go backwards
through a loss it is given (gradient accumulation over micro-batches), and how to hand out its weights; a sharded one
would do the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from grpo.config import Optim
from grpo.errors import LearningError
from grpo.learning import lora
from grpo.learning.batch import Batch, Loss, Sequences
from grpo.learning.loading import write_model
from grpo.learning.logprobs import choose_computation
from grpo.learning.optimizer import AdamW
from grpo.products import fast_products


class LanguageModel:
    """What a model makes of sequences.  As it stands: a frozen reference or teacher; `Policy` is one that learns.

    `temperature` is the one that completions are sampled with.
    """

    def __init__(self, model: PreTrainedModel, *, temperature: float, tokens_per_microbatch: int) -> None:
        self.model = model
        self.temperature = temperature
        self.tokens_per_microbatch = tokens_per_microbatch
        self.device = next(model.parameters()).device
        _without_dropout(model)
        self.computation = choose_computation(model)

    def logprobs(self, sequences: Sequences) -> Tensor:
        """log π of each token: float32 [B, T] on the CPU, 0 in the padding."""
        return self._of_all(sequences, lambda rows: self.computation.logprobs(rows, self.temperature)[0])

    def entropies(self, sequences: Sequences) -> Tensor:
        """Entropy of the distribution that each token was drawn from, in nats: float32 [B, T] on the CPU."""
        return self._of_all(sequences, lambda rows: self.computation.entropies(rows, self.temperature))

    def score(self, continuations: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[list[float]]:
        """log π at temperature 1 of each completion's tokens after its prompt; the counterpart of `Sampler.score`."""
        sequences = Sequences.of(continuations)
        logprobs_BT = self._of_all(sequences, lambda rows: self.computation.logprobs(rows, 1.0)[0])
        return [row[:length].tolist() for row, length in zip(logprobs_BT, sequences.lengths, strict=True)]

    @torch.no_grad()
    def _of_all(self, sequences: Sequences, compute: Callable[[Sequences], Tensor]) -> Tensor:
        values_BT = torch.zeros(sequences.tokens_BT.shape)
        with fast_products():
            for index in self.computation.body.microbatches(sequences, self.tokens_per_microbatch):
                part = compute(sequences.rows(index))
                values_BT[index, : part.shape[1]] = part.cpu()
        return values_BT


class Policy(LanguageModel):
    """A language model that learns."""

    def __init__(
        self, model: PreTrainedModel, optim: Optim, *, temperature: float, gradient_checkpointing: bool
    ) -> None:
        tokens = optim.tokens_at_a_time(next(model.parameters()).device.type)
        super().__init__(model, temperature=temperature, tokens_per_microbatch=tokens)
        self.optimizer = AdamW(model, optim)
        if gradient_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
            model.train()  # transformers checkpoints in training mode only; dropout is off

    @fast_products()
    def forward_backward(self, batch: Batch, loss: Loss) -> dict[str, float]:
        """Adds the gradient of `loss`, micro-batch by micro-batch; returns its "loss", sums and peaks.

        "tokens/update" counts the tokens that were computed, "tokens/padding" those among them that are of no row.
        """
        totals: dict[str, float] = {"loss": 0.0, "tokens/update": 0.0, "tokens/padding": 0.0}
        for index in self.computation.body.microbatches(batch.sequences, self.tokens_per_microbatch):
            rows = batch.rows(index)
            try:
                logprobs_BT, computed, padding = self.computation.logprobs(rows.sequences, self.temperature)
                terms = loss(logprobs_BT, rows.targets.to(self.device))
                terms.loss.backward()
            except torch.OutOfMemoryError:
                raise LearningError(
                    f"out of memory with {len(index)} rows of up to {max(rows.sequences.lengths)} new tokens at a "
                    f"time; lower optim.tokens_per_microbatch = {self.tokens_per_microbatch}, or set "
                    "model.gradient_checkpointing = true"
                ) from None
            totals["loss"] += float(terms.loss.detach())
            totals["tokens/update"] += computed
            totals["tokens/padding"] += padding
            for name, value in terms.sums.items():
                totals[name] = totals.get(name, 0.0) + float(value)
            for name, value in terms.peaks.items():
                totals[name] = max(totals.get(name, -math.inf), float(value))
        return totals

    def gradients(self, batch: Batch, loss: Loss) -> dict[str, Tensor]:
        """The gradient of `loss` by weight, in float32, moving nothing.  Call it between updates."""
        self.forward_backward(batch, loss)
        return self.optimizer.take_gradients()

    def optim_step(self, lr: float) -> float:
        """Moves the weights; returns the gradient norm before clipping.  A norm that is not finite moves nothing."""
        return self.optimizer.step(lr)

    def release_memory(self) -> None:
        """Give back what PyTorch keeps of the accelerator's memory for later: a sampler that shares it cannot wake up
        in memory that is merely unused."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Names as in the model's `state_dict`, tied weights once, an adapter merged into its layers, on the policy's
        device."""
        return lora.named_weights(self.model)

    def save(self, folder: Path) -> None:
        """The model in Hugging Face format, or its adapter in PEFT's."""
        if lora.has_adapter(self.model):
            lora.write_adapter(self.model, lora.adapter_weights(self.model), folder)
        else:
            write_model(self.model, folder)

    def state(self) -> dict[str, Any]:
        """All that `load_state` needs, beside the saved model, to go on bit for bit."""
        return self.optimizer.state()

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.optimizer.load_state(state)


def _without_dropout(model: PreTrainedModel) -> None:
    """Dropout would make the policy differ from the sampler, which has none."""
    model.eval()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name, value in list(vars(module).items()):  # of functional dropout, layerdrop, Mixtral's jitter
            if isinstance(value, float) and ("drop" in name or name == "jitter_noise"):
                setattr(module, name, 0.0)
