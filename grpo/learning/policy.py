"""The policy: a causal language model, its optimizer, and nothing of GRPO.

One of the two seams of the arithmetic.  A policy knows how to say what sequences are worth to it, how to go backwards
through a loss it is given (gradient accumulation over micro-batches), and how to hand out its weights.  One process or
several ranks with a shard each are the same to it: `grpo.learning.shares` divides the work and adds up what comes of
it, and where there are ranks all of them call the same verbs with the same arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from grpo.config import Optim
from grpo.errors import OutOfMemory
from grpo.learning import lora, tensor_files
from grpo.learning.batch import Batch, Loss, Sequences, Terms
from grpo.learning.loading import write_model
from grpo.learning.optimizer import AdamW
from grpo.learning.rehearsal import Seen, Worst, largest, mean_logprob, measured
from grpo.learning.shares import Alone, Ranks, Share, Totals, no_loss, share
from grpo.products import fast_products

# Of the tokens of some rows: values [B, T] with a gradient, tokens computed, and padding among them.
PerToken = Callable[[Sequences], tuple[Tensor, int, int]]


class LanguageModel:
    """What a model makes of sequences.  As it stands: a frozen reference or teacher; `Policy` is one that learns.

    `temperature` is the one that completions are sampled with, and `float32_head` how: a sampler computes its logits
    likewise.  `ranks` are those that hold the model, if it is not this process alone; they know of the head.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        temperature: float,
        tokens_per_microbatch: int,
        float32_head: bool = False,
        ranks: Ranks | None = None,
    ) -> None:
        self.model = model
        self.temperature = temperature
        self.tokens_per_microbatch = tokens_per_microbatch
        without_dropout(model)
        self.ranks = ranks or Alone(model, float32_head=float32_head)
        self.computation = self.ranks.computation
        self.device = self.computation.device

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
        mine = self._share(sequences)
        with fast_products(self.device):
            for index in mine.microbatches:
                part = self.ranks.run(compute, sequences.rows(index))
                values_BT[index, : part.shape[1]] = part.cpu()
            for index in mine.fillers:
                self.ranks.run(compute, sequences.rows(index))
        return self.ranks.add_up(values_BT)

    def _share(self, sequences: Sequences) -> Share:
        body, ranks = self.computation.body, self.ranks
        return share(sequences, body, self.tokens_per_microbatch, rank=ranks.rank, size=ranks.size)


class Policy(LanguageModel):
    """A language model that learns.

    `per_token` computes what a loss is handed of each token: log-probabilities, unless somebody puts another function
    in their place (`grpo.learning.divergence`).
    """

    def __init__(
        self,
        model: PreTrainedModel,
        optim: Optim,
        *,
        temperature: float,
        gradient_checkpointing: bool,
        float32_head: bool = False,
        ranks: Ranks | None = None,
    ) -> None:
        tokens = optim.tokens
        super().__init__(
            model, temperature=temperature, tokens_per_microbatch=tokens, float32_head=float32_head, ranks=ranks
        )
        self.optimizer = AdamW(model, optim, self.ranks.dtypes)
        self.offload = optim.on_host
        self.per_token: PerToken = self._logprobs
        self.checkpointing = False
        if gradient_checkpointing:
            self._checkpoint()

    def _logprobs(self, rows: Sequences) -> tuple[Tensor, int, int]:
        return self.ranks.run(self.computation.logprobs, rows, self.temperature)

    def _checkpoint(self) -> None:
        self.checkpointing = True
        self.model.gradient_checkpointing_enable({"use_reentrant": False, "preserve_rng_state": False})
        self.model.train()  # transformers checkpoints in training mode only; dropout is off

    def forward_backward(self, batch: Batch, loss: Loss) -> dict[str, float]:
        """Adds the gradient of `loss`, micro-batch by micro-batch; returns its "loss", sums and peaks.

        "tokens/update" counts the tokens that were computed, "tokens/padding" those among them that are of no row.
        """
        totals = Totals({"loss": 0.0, "tokens/update": 0.0, "tokens/padding": 0.0})
        mine = self._share(batch.sequences)
        with fast_products(self.device):
            for index in mine.microbatches:
                terms, computed, padding = self._backward(batch.rows(index), loss)
                of_all = {"loss": terms.loss.detach(), "tokens/update": computed, "tokens/padding": padding}
                totals.add({**of_all, **terms.sums}, terms.peaks)
            for index in mine.fillers:
                _, computed, _ = self._backward(batch.rows(index), no_loss)
                totals.add({"tokens/update": computed, "tokens/padding": computed}, {})
        totals = self.ranks.add_up_totals(totals)
        return {**totals.sums, **totals.peaks}

    def _backward(self, rows: Batch, loss: Loss) -> tuple[Terms, int, int]:
        """What `loss` makes of `rows`, tokens computed, and padding among them."""
        try:
            values_BT, computed, padding = self.per_token(rows.sequences)
            terms = loss(values_BT, rows.targets.to(self.device))
            terms.loss.backward()
        except torch.OutOfMemoryError:
            lengths = rows.sequences.lengths
            what = f"out of memory with {len(lengths)} rows of up to {max(lengths)} new tokens at a time"
            raise OutOfMemory(f"{what}; {self._advice()}") from None
        return terms, computed, padding

    def _advice(self) -> str:
        switches = {"model.gradient_checkpointing": self.checkpointing, "optim.offload": self.offload}
        off = [f"set {name} = true" for name, on in switches.items() if not on]
        return ", or ".join([f"lower optim.tokens_per_microbatch = {self.tokens_per_microbatch}", *off])

    def rehearse(self, worst: Worst) -> Seen:
        """Once forward and backward through the largest micro-batch, whose gradient is thrown away.

        What may give way does where it does not fit.  Not with several ranks: one that runs out of memory leaves the
        others waiting for it.  Raises `OutOfMemory`.
        """
        try:
            self.optimizer.state()  # with the moments, which else come with the first step
        except torch.OutOfMemoryError:
            raise OutOfMemory("out of memory with the optimizer's moments; set optim.offload = true") from None
        while True:
            try:
                gib = self._rehearse(worst)
                break
            except OutOfMemory:
                if self.ranks.size > 1 or not self._give_way(worst):
                    raise
        gib = self.ranks.add_up_totals(Totals({}, {"gib": gib})).peaks["gib"]
        return Seen(self.tokens_per_microbatch, self.checkpointing, gib)

    def _rehearse(self, worst: Worst) -> float:
        vocabulary = self.model.config.get_text_config().vocab_size
        batch = largest(worst, self.tokens_per_microbatch, vocabulary=vocabulary, groups=self.ranks.size)
        try:
            with measured(self.device) as gauge:
                self.forward_backward(batch, mean_logprob)
        finally:
            self.optimizer.take_gradients()
            self.release_memory()
        return gauge.gib

    def _give_way(self, worst: Worst) -> bool:
        """Whether less will be tried.  Below the longest row, which goes alone, fewer tokens are no less."""
        fewer = max(worst.least_tokens, self.tokens_per_microbatch // 2)
        if self.tokens_per_microbatch > max(fewer, worst.row):
            self.tokens_per_microbatch = fewer
        elif worst.may_checkpoint and not self.checkpointing:
            self._checkpoint()
        else:
            return False
        return True

    def gradients(self, batch: Batch, loss: Loss) -> dict[str, Tensor]:
        """The gradient of `loss` by weight, in float32 on the CPU, moving nothing.  Call it between updates."""
        self.forward_backward(batch, loss)
        return {name: self.ranks.whole(gradient).cpu() for name, gradient in self.optimizer.take_gradients().items()}

    def optim_step(self, lr: float) -> float:
        """Moves the weights; returns the gradient norm before clipping.  A norm that is not finite moves nothing."""
        return self.optimizer.step(lr)

    def release_memory(self) -> None:
        """Give back what PyTorch keeps of the accelerator's memory for later: a sampler that shares it cannot wake up
        in memory that is merely unused."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Names as in the model's `state_dict`, tied weights once, an adapter merged into its layers, whole and on the
        policy's device.

        Where there are ranks, each must go on to the end, and all at the same pace: a weight is gathered when it is
        asked for.
        """
        return lora.named_weights(self.model, self.ranks.weight)

    def save(self, folder: Path) -> None:
        """The model in Hugging Face format, or its adapter in PEFT's.  With ranks, the first of them holds all of it in
        its host memory."""
        if lora.has_adapter(self.model):
            adapter = lora.adapter_weights(self.model, self.ranks.weight)
            self.ranks.once(lambda: lora.write_adapter(self.model, adapter, folder))
            return
        weights = {}
        for name, weight in self.weights():
            if self.ranks.rank == 0:
                weights[name] = weight.cpu()
        self.ranks.once(lambda: write_model(self.model, folder, weights))

    def save_state(self, folder: Path) -> None:
        """All that `load_state` needs, beside the saved model, to go on bit for bit."""
        tensor_files.write(self.optimizer.state(), folder, alone=self.ranks.size == 1)
        self.ranks.once(lambda: None)  # nobody leaves before all have written

    def load_state(self, folder: Path) -> None:
        """What as many ranks wrote, or any other number.  Raises `CheckpointError`."""
        tensor_files.read(self.optimizer.state(), folder, alone=self.ranks.size == 1)
        self.optimizer.round_masters()


def without_dropout(model: PreTrainedModel) -> None:
    """Dropout would make the policy differ from the sampler, which has none."""
    model.eval()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name, value in list(vars(module).items()):  # of functional dropout, layerdrop, Mixtral's jitter
            if isinstance(value, float) and ("drop" in name or name == "jitter_noise"):
                setattr(module, name, 0.0)
