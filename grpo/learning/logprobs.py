"""Log-probabilities of a batch's tokens under a causal language model.

Rows are laid out as prompt + completion and padded on the right, so that causal attention needs no mask.  Only
the hidden states that predict completion tokens go through the output head, a chunk at a time, and each chunk is
computed again in the backward pass: logits never exist for more than `CHUNK` positions.  With 151,936 vocabulary
entries a chunk is 0.6 GB in float32, where all logits of 16,384 tokens would be 10 GB, three times over.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from grpo.learning.batch import Batch

CHUNK = 1024  # positions

HiddenStates = Callable[[Tensor], Tensor]  # input ids [B, L] → [B, L, D]
Head = Callable[[Tensor], Tensor]  # hidden states [N, D] → logits [N, V]


def split_model(model: nn.Module) -> tuple[HiddenStates, Head]:
    """`model` as a body and a head, so that the head can be applied to a few positions at a time.

    Some architectures do more after the body than apply the output layer (Gemma 2 caps its logits, Granite and Cohere
    scale them).  So the split is tried on a few tokens, and where it does not give the model's own logits the "body"
    hands on the logits themselves: slower, always right.
    """
    body, output_layer = model.base_model, model.get_output_embeddings()  # type: ignore[operator]
    device = next(model.parameters()).device
    ids_BL = torch.arange(1, 9, device=device).unsqueeze(0) % output_layer.weight.shape[0]

    def hidden(input_ids: Tensor) -> Tensor:
        states: Tensor = body(input_ids=input_ids, use_cache=False).last_hidden_state  # type: ignore[operator]
        return states

    def logits(input_ids: Tensor) -> Tensor:
        values: Tensor = model(input_ids=input_ids, use_cache=False).logits
        return values

    with torch.no_grad():
        same = torch.allclose(output_layer(hidden(ids_BL)), logits(ids_BL), rtol=1e-3, atol=1e-4)
    return (hidden, output_layer) if same else (logits, nn.Identity())


def token_logprobs(body: HiddenStates, head: Head, rows: Batch, *, temperature: float, device: torch.device) -> Tensor:
    """log π(token | prompt, tokens before) at `temperature`: float32 [B, T], with gradient, 0 in the padding."""
    lengths = rows.lengths
    starts = [len(prompt) for prompt in rows.prompts]
    L = max(start + length for start, length in zip(starts, lengths, strict=True))
    ids_BL = torch.zeros(len(starts), L, dtype=torch.int64)
    for row, prompt in enumerate(rows.prompts):
        ids_BL[row, : starts[row]] = torch.tensor(prompt)
        ids_BL[row, starts[row] : starts[row] + lengths[row]] = rows.tokens_BT[row, : lengths[row]]

    real_BT = rows.weights_BT > 0
    row_N, position_N = real_BT.nonzero(as_tuple=True)
    # The state at position p predicts the token at p + 1.
    source_N = torch.tensor(starts)[row_N] - 1 + position_N
    hidden_BLD = body(ids_BL.to(device))
    hidden_ND = hidden_BLD[row_N.to(device), source_N.to(device)]
    logprobs_N = _chunked(head, hidden_ND, rows.tokens_BT[real_BT].to(device), temperature)
    zeros_BT = torch.zeros(real_BT.shape, dtype=torch.float32, device=device)
    return zeros_BT.masked_scatter(real_BT.to(device), logprobs_N)


def _chunked(head: Head, hidden_ND: Tensor, tokens_N: Tensor, temperature: float) -> Tensor:
    def of_chunk(hidden: Tensor, tokens: Tensor) -> Tensor:
        logits = head(hidden).float() / temperature
        picked = logits.gather(1, tokens.unsqueeze(1)).squeeze(1)
        return picked - logits.logsumexp(dim=1)

    parts = zip(hidden_ND.split(CHUNK), tokens_N.split(CHUNK), strict=True)
    if len(hidden_ND) <= CHUNK or not torch.is_grad_enabled():
        return torch.cat([of_chunk(hidden, tokens) for hidden, tokens in parts])
    return torch.cat([checkpoint(of_chunk, hidden, tokens, use_reentrant=False) for hidden, tokens in parts])
