"""Sampling with plain transformers: any machine, any causal model, and the reference that vLLM is compared with.

Each prompt is run once and its keys and values are repeated for the n completions; then one token per row and pass.
Rows that have ended leave the batch when they make up half of it, so a few long completions do not cost the
arithmetic of all.  The draws come from one generator of our own, seeded per call: nothing outside disturbs it, and
it disturbs nothing outside.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from transformers.cache_utils import DynamicCache, DynamicLayer

from grpo.caps import keep_caps
from grpo.errors import ModelError, SamplerError, first_line
from grpo.products import choose_threads, fast_products, float32_product
from grpo.sampling import Continuations, Dtype, Way, gloo, precision
from grpo.sampling.tokens import Vocabulary, not_numbers
from grpo.sampling.turn import Turns
from grpo.types import Completion, Finish, Group, Prompt, SamplingParams

BATCH_TOKENS = 65536  # prompt and completion tokens, padding included, held in the key-value cache at a time


class _RoomyLayer(DynamicLayer):
    """Keys and values with room for `room` more tokens: transformers' own copies all it holds for each new one."""

    def __init__(self, room: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.room = room
        self.buffers: list[torch.Tensor] = []

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        length, end = self.get_seq_length(), self.get_seq_length() + key_states.shape[-2]
        if not length:
            return super().update(key_states, value_states)
        held: Any = (self.keys, self.values)
        fits = self.buffers and len(self.buffers[0]) == len(held[0]) and self.buffers[0].shape[-2] >= end
        if not fits:  # the first token, or rows have left
            B, H, _, d = held[0].shape
            self.buffers = [states.new_empty(B, H, end + self.room, d) for states in held]
        for buffer, states, new in zip(self.buffers, held, (key_states, value_states), strict=True):
            if not fits:
                buffer[..., :length, :] = states
            buffer[..., length:end, :] = new
        self.keys, self.values = (buffer[..., :end, :] for buffer in self.buffers)
        return self.keys, self.values


class _Growing:
    """The completions of a batch while they grow: R of them, with T places each.

    A row that has stopped may still be in the batch, and is written behind its length, where nobody reads.
    """

    def __init__(self, rows: int, places: int) -> None:
        self.ids_RT = np.zeros((rows, places), np.int32)
        self.logprobs_RT = np.zeros((rows, places), np.float32)
        self.lengths_R = np.zeros(rows, np.int64)
        self.stopped_R = np.zeros(rows, np.bool_)

    def append(self, rows_B: NDArray[np.int64], tokens_B: torch.Tensor, logprobs_B: torch.Tensor, place: int) -> None:
        self.ids_RT[rows_B, place] = tokens_B.cpu().numpy()
        self.logprobs_RT[rows_B, place] = logprobs_B.cpu().numpy()
        self.lengths_R[rows_B[~self.stopped_R[rows_B]]] = place + 1

    def ids(self, row: int) -> NDArray[np.int32]:
        return self.ids_RT[row, : self.lengths_R[row]]

    def logprobs(self, row: int) -> NDArray[np.float32]:
        return self.logprobs_RT[row, : self.lengths_R[row]]


class TransformersSampler:
    def __init__(
        self,
        model: str,
        *,
        revision: str | None,
        dtype: Dtype,
        device: str,
        context: int,
        float32_head: bool = False,
    ) -> None:
        self.name = f"transformers {transformers.__version__} on {device}, {precision(dtype, float32_head)}"
        self._vocabulary = Vocabulary(model, revision, context)
        self._step = 0
        self._turns = Turns()
        self._group: gloo.Group | None = None
        try:
            opened: Any = transformers.AutoModelForCausalLM.from_pretrained(
                model, revision=revision, dtype=getattr(torch, dtype), output_loading_info=True
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise ModelError(f"{model}: cannot be loaded, {first_line(error)}") from error
        loaded, report = opened
        if report["missing_keys"]:  # transformers makes them up at random, and says so in a table that nobody reads
            raise ModelError(f"{model}: has no weights for {min(report['missing_keys'])}; the model is incomplete")
        choose_threads(loaded.num_parameters())
        self._model: Any = loaded.to(device).eval()
        keep_caps(self._model)
        if float32_head:
            _widen_head(self._model.get_output_embeddings())

    def sample(self, prompts: Sequence[Prompt], n: int, params: SamplingParams) -> Iterator[tuple[int, Group]]:
        self._vocabulary.check_room(prompts, params.max_tokens)
        draws = torch.Generator(self._model.device).manual_seed(params.seed)
        for indices in _batches([len(prompt.token_ids) for prompt in prompts], n, params.max_tokens):
            batch = [prompts[i] for i in indices]
            try:
                with self._turns.one(), fast_products(self._model.device):
                    completions, step = self._complete(batch, n, params, draws), self._step
            except RuntimeError as error:  # torch has an OutOfMemoryError for GPUs, and for processors only a text
                if not isinstance(error, torch.OutOfMemoryError) and "allocate memory" not in str(error):
                    raise
                raise SamplerError(
                    f"{self.name}: out of memory with {len(batch)} prompts of {n} completions; "
                    "lower sampling.max_tokens or sampling.group_size"
                ) from error
            for row, (index, prompt) in enumerate(zip(indices, batch, strict=True)):
                yield index, Group(prompt, tuple(completions[row * n : (row + 1) * n]), step)

    @torch.inference_mode()
    def _complete(
        self, prompts: Sequence[Prompt], n: int, params: SamplingParams, draws: torch.Generator
    ) -> list[Completion]:
        """The completions of all prompts, those of the first prompt first."""
        cache = DynamicCache(config=self._model.config)
        own = [_RoomyLayer(params.max_tokens) if type(layer) is DynamicLayer else layer for layer in cache.layers]
        cache.layers = own
        logits_BV, mask_BS = self._run_prompts(prompts, n, cache)
        growing = _Growing(len(prompts) * n, params.max_tokens)
        alive_B = np.arange(len(prompts) * n)  # the row that each position of the batch belongs to
        for place in range(params.max_tokens):
            tokens_B, logprobs_B = _draw(logits_BV, params, draws)
            if bool(logprobs_B.isnan().any()):
                raise not_numbers(self.name)
            growing.append(alive_B, tokens_B, logprobs_B, place)
            self._stop(growing, alive_B, place, params.stop)
            left = np.flatnonzero(~growing.stopped_R[alive_B])
            if not len(left) or place + 1 == params.max_tokens:
                break
            if len(left) <= len(alive_B) // 2:
                kept = torch.from_numpy(left).to(tokens_B.device)
                cache.batch_select_indices(kept)
                tokens_B, mask_BS, alive_B = tokens_B[kept], mask_BS[kept], alive_B[left]
            mask_BS = torch.cat([mask_BS, mask_BS.new_ones(len(alive_B), 1)], dim=1)
            logits_BV = self._run_token(tokens_B, mask_BS, cache)
        return self._completions([prompt for prompt in prompts for _ in range(n)], growing)

    def _completions(self, prompts: Sequence[Prompt], growing: _Growing) -> list[Completion]:
        rows = range(len(growing.lengths_R))
        texts = self._vocabulary.texts(prompts, [growing.ids(row) for row in rows])
        ends: list[Finish] = ["stop" if stopped else "length" for stopped in growing.stopped_R]
        return [Completion(growing.ids(row), growing.logprobs(row), texts[row], ends[row]) for row in rows]

    def _run_prompts(self, prompts: Sequence[Prompt], n: int, cache: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """The prompts, padded on the left, run once; cache, next-token logits and mask repeated for n completions."""
        longest = max(len(prompt.token_ids) for prompt in prompts)
        pads = [longest - len(prompt.token_ids) for prompt in prompts]
        ids = [[0] * pad + list(prompt.token_ids) for pad, prompt in zip(pads, prompts, strict=True)]
        ids_PS = torch.tensor(ids, device=self._model.device)
        mask_PS = torch.tensor([[0] * pad + [1] * (longest - pad) for pad in pads], device=ids_PS.device)
        out = self._model(
            input_ids=ids_PS,
            attention_mask=mask_PS,
            position_ids=(mask_PS.cumsum(1) - 1).clamp(min=0),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        cache.batch_repeat_interleave(n)
        return out.logits[:, -1].repeat_interleave(n, 0), mask_PS.repeat_interleave(n, 0)

    def _run_token(self, tokens_B: torch.Tensor, mask_BS: torch.Tensor, cache: Any) -> torch.Tensor:
        out = self._model(
            input_ids=tokens_B[:, None],
            attention_mask=mask_BS,
            position_ids=mask_BS.sum(1, keepdim=True) - 1,
            past_key_values=cache,
            use_cache=True,
        )
        logits_BV: torch.Tensor = out.logits[:, -1]
        return logits_BV

    def _stop(self, growing: _Growing, rows_B: NDArray[np.int64], place: int, stop: tuple[str, ...]) -> None:
        """Mark the rows that end with the token at `place`."""
        ends = np.isin(growing.ids_RT[rows_B, place], list(self._vocabulary.end_tokens))
        growing.stopped_R[rows_B[ends]] = True
        if stop:
            for row in rows_B[~growing.stopped_R[rows_B]]:
                growing.stopped_R[row] = self._ends_in(growing, row, stop)

    def _ends_in(self, growing: _Growing, row: int, stop: tuple[str, ...]) -> bool:
        """Whether a stop text has just been written, looking back far enough for one byte per token."""
        back = 4 * max(map(len, stop)) + 4
        tail = self._vocabulary.tokenizer.decode(growing.ids(row)[-back:].tolist())
        return any(text in tail for text in stop)

    @torch.inference_mode()
    def score(self, sequences: Continuations) -> list[list[float]]:
        with self._turns.one():
            return [self._score(prompt, completion) for prompt, completion in sequences]

    def _score(self, prompt: Sequence[int], completion: Sequence[int]) -> list[float]:
        """One sequence by itself: no padding, nothing to get wrong."""
        ids_BS = torch.tensor([[*prompt, *completion]], device=self._model.device)
        out = self._model(input_ids=ids_BS, logits_to_keep=len(completion) + 1, use_cache=False)
        logprobs_TV = out.logits[0, :-1].float().log_softmax(-1)
        scores: list[float] = logprobs_TV.gather(1, ids_BS[0, len(prompt) :, None])[:, 0].tolist()
        return scores

    def load_weights(self, named_tensors: Iterable[tuple[str, torch.Tensor]], step: int) -> None:
        with self._turns.one():
            self._take(named_tensors, step)
            self._step = step

    @torch.no_grad()
    def _take(self, named_tensors: Iterable[tuple[str, torch.Tensor]], step: int) -> None:
        own = self._model.state_dict()
        # A tied head is the embedding under a second name: giving either gives both.
        missing = {parameter.data_ptr(): name for name, parameter in self._model.named_parameters()}
        for name, tensor in named_tensors:
            if name not in own or own[name].shape != tensor.shape:
                raise SamplerError(
                    f"{self.name}: was given a weight {name} of shape {tuple(tensor.shape)} at step {step}, which "
                    "its model does not have; the learner and the sampler must be made from the same model"
                )
            own[name].copy_(tensor)
            missing.pop(own[name].data_ptr(), None)
        if missing:
            raise SamplerError(
                f"{self.name}: {len(missing)} weights were not given at step {step} ({next(iter(missing.values()))} "
                "for one); the learner and the sampler must be made from the same model"
            )

    def join(self, way: Way, timeout: float, info: Mapping[str, Any]) -> None:
        if way != "gloo":
            raise SamplerError(f"{self.name}: takes weights by gloo only, and is given them by {way}")
        self._turns.limit = timeout
        with self._turns.verb():
            if self._group is not None:
                self._group.close()
            where = (info["address"], info["port"], info["rank_offset"], info["world"])
            self._group, self._chunk_bytes = gloo.Group.join(*where, timeout), info["chunk_bytes"]

    def start_update(self, step: int) -> None:
        with self._turns.verb():
            self._turns.start_update(step)

    def receive(self, info: Mapping[str, Any]) -> None:
        with self._turns.verb():
            if self._group is None:
                raise SamplerError(f"{self.name}: is given weights before it has joined a transfer group")
            chunks = self._group.receive(gloo.from_plain(**info), self._chunk_bytes)
            self._take(chain.from_iterable(chunks), self._turns.step)

    def finish_update(self) -> None:
        with self._turns.verb():
            self._step = self._turns.step
            self._turns.finish_update()

    def sleep(self) -> None:
        """Nothing to give back: the key-value cache lives only while a batch is sampled."""

    def wake(self) -> None:
        pass

    def close(self) -> None:
        self._model = None
        if self._group is not None:
            self._group.close()


def _widen_head(layer: Any) -> None:
    """From now on its products are float32, from weights that stay as they are."""

    def forward(states_BTD: torch.Tensor) -> torch.Tensor:
        products_NV = float32_product(states_BTD.flatten(0, -2), layer.weight.t())
        if layer.bias is not None:
            products_NV += layer.bias
        return products_NV.view(*states_BTD.shape[:-1], -1)

    layer.forward = forward


def _batches(prompt_lengths: Sequence[int], n: int, max_tokens: int) -> Iterator[list[int]]:
    """Split the prompts, in order, into runs whose n completions fit into `BATCH_TOKENS`; one prompt always fits."""
    batch: list[int] = []
    longest = 0
    for index, length in enumerate(prompt_lengths):
        longest = max(longest, length)
        if batch and (len(batch) + 1) * n * (longest + max_tokens) > BATCH_TOKENS:
            yield batch
            batch, longest = [], length
        batch.append(index)
    if batch:
        yield batch


def _draw(logits_BV: torch.Tensor, params: SamplingParams, draws: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """One token per row and its log-probability."""
    logits_BV = logits_BV.float()
    if params.temperature == 0:
        tokens_B = logits_BV.argmax(-1)
        logprobs_BV = logits_BV.log_softmax(-1)
    else:
        logprobs_BV = _keep(logits_BV / params.temperature, params.top_p, params.top_k).log_softmax(-1)
        tokens_B = _draw_from(logprobs_BV.exp(), draws)
    return tokens_B, logprobs_BV.gather(1, tokens_B[:, None])[:, 0]


def _draw_from(probs_BV: torch.Tensor, draws: torch.Generator) -> torch.Tensor:
    """One token per row: where a uniform number falls among the summed probabilities.

    `torch.multinomial` draws a number for each of the V entries, which took a third of a small model's sampling.
    Sums are float64, because in float32 the last of many small probabilities would vanish beside their sum.
    """
    sums_BV = probs_BV.cumsum(dim=-1, dtype=torch.float64)
    uniform_B1 = torch.rand(len(sums_BV), 1, generator=draws, dtype=torch.float64, device=sums_BV.device)
    # The first entry whose sum lies above: never one of probability 0.
    return torch.searchsorted(sums_BV, uniform_B1 * sums_BV[:, -1:], right=True)[:, 0].clamp(max=probs_BV.shape[1] - 1)


def _keep(logits_BV: torch.Tensor, top_p: float, top_k: int) -> torch.Tensor:
    """Minus infinity outside the k likeliest tokens, then outside the smallest set of them that reaches mass top_p."""
    if 0 < top_k < logits_BV.shape[1]:
        kth_B = logits_BV.topk(top_k).values[:, -1:]
        logits_BV = logits_BV.masked_fill(logits_BV < kth_B, -torch.inf)
    if top_p < 1:
        sorted_BV, order_BV = logits_BV.sort(descending=True)
        probs_BV = sorted_BV.softmax(-1)
        beyond_BV = probs_BV.cumsum(-1) - probs_BV >= top_p  # the mass before it already suffices
        logits_BV = logits_BV.masked_fill(beyond_BV.scatter(1, order_BV, beyond_BV), -torch.inf)
    return logits_BV
