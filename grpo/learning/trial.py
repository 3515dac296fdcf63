"""Whether a leaner computation gives what a model itself gives: tried on a few tokens when a model is opened.

A tolerance on the outcome in bfloat16 would say nothing.  Through 28 layers of random weights the same computation in
another order comes out 3 to 15 % apart, as transformers' own two attentions do, and some faults are smaller than that.
So nothing is compared but what is exact in any type, what is computed in float32, and what has no depth:

    reach     all layers, the model's own type: which tokens a row's states have a gradient of.  What a mask hides has
              one of exactly 0, so the pattern is that of rows by themselves, or something leaks
    numbers   states and gradients of a copy in float32, of the first layers that show every kind: positions, scales
    kernel    one attention in the model's own type, which may be as far from the truth as the plain one is

The head needs no noise either: the states that go into the output layer are the body's, bit for bit, and what comes
out of it is what comes out of the model.
"""

from __future__ import annotations

from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from grpo.learning.attention import Layout, Unsupported, completion_by_completion, shared_prompts
from grpo.learning.batch import Sequences
from grpo.learning.head import Projection
from grpo.learning.packed import SharedPrompts
from grpo.learning.padded import Padded, logits_of, states_of

# Every completion has tokens that nobody else has, so that what leaks can be told.
TRIED = (((1, 2, 3), (4, 5, 6)), ((7, 8), (9,)), ((1, 2, 3), (10, 11, 12, 13)), ((7, 8), (14, 15)))
IDS = 16  # the largest of them, and one more
VOCABULARY = 256  # tokens of a twin; its layers are what is tried

# |Δ| / |value|.  Through a layer or some, what is right is 1e-7 to 2e-6 apart; what has its completions one position
# too far 2e-3 (weights of 0.02, 64 wide) to 0.4 (of 0.06, 1,536 wide).
FLOAT32 = 1e-4
NOISE = 3.0  # times the distance that plain attention has from the truth; another order of sums makes about 1


@torch.no_grad()
def projection_of(model: Any, device: torch.device) -> Projection | None:
    """What the model does to that which its output layer makes of its body's states, to get logits: mostly nothing.
    None where it is more than to cap and to divide, whatever the size of the logits.

    So large ones are put in the place of the layer's: of a cap at 30, logits around 1 would show nothing.
    """
    layer = model.get_output_embeddings()
    if type(layer) is not nn.Linear:
        return None
    ids_BL = torch.arange(1, 9, device=device).unsqueeze(0) % layer.out_features
    draws = torch.Generator().manual_seed(0)
    large = 100 * torch.randn(*ids_BL.shape, layer.out_features, generator=draws).to(device, layer.weight.dtype)
    asked: list[Any] = []
    states: list[Any] = []
    inputs: list[Tensor] = []

    def see_body(_: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any], output: Any) -> None:
        asked.extend([*arguments, *options.values()])
        states.append(getattr(output, "last_hidden_state", None))

    def exchange(_: nn.Module, arguments: tuple[Tensor, ...], __: Tensor) -> Tensor:
        inputs.append(arguments[0])
        return large

    hooks = [
        model.base_model.register_forward_hook(see_body, with_kwargs=True),
        layer.register_forward_hook(exchange),
    ]
    try:
        found = logits_of(model, ids_BL)
    finally:
        for hook in hooks:
            hook.remove()
    # The body is asked for nothing that the states by themselves would be without.
    alone = sum(value is not None and not isinstance(value, bool) for value in asked) == 1
    same = alone and len(inputs) == len(states) == 1 and states[0] is not None and torch.equal(inputs[0], states[0])
    cap = getattr(model.config.get_text_config(), "final_logit_softcapping", None) or 0.0
    expected = (cap * torch.tanh(large / cap) if cap else large).double()
    divisor = float(expected.norm() / found.double().norm())
    rounding = torch.finfo(found.dtype).eps if divisor != 1 else 0.0
    right = same and torch.allclose(found.double() * divisor, expected, rounding, 0.0)
    return Projection(divisor, cap) if right else None


def try_shared(model: Any, device: torch.device) -> None:
    """Raises `Unsupported` unless shared prompts give the states and the gradients that rows by themselves give."""
    V = model.get_input_embeddings().weight.shape[0]
    rows = Sequences.of([([i % V for i in prompt], [i % V for i in tokens]) for prompt, tokens in TRIED])
    few = first_layers(model)
    expected = [_responses(each, Padded(partial(states_of, each)), rows, device) for each in (model, few)]
    found = [_responses(each, SharedPrompts(each), rows, device) for each in (model, few)]
    (_, plain_RVD), (_, shared_RVD) = expected[0], found[0]
    if not torch.equal((shared_RVD != 0).any(dim=2), (plain_RVD != 0).any(dim=2)):
        raise Unsupported("its tokens then see more or less than their own prompt and completion")
    if not all(_apart(a, b) <= FLOAT32 for a, b in zip(found[1], expected[1], strict=True)):
        raise Unsupported("its states or gradients are then others")
    _try_kernel(model, device)


def _responses(model: Any, body: Any, rows: Sequences, device: torch.device) -> tuple[Tensor, Tensor]:
    """The hidden states of `rows` [N, D], and the gradients [R, V, D] of a sum over each row's states with respect to
    the embedding of each token id."""
    embedded: list[tuple[Tensor, Tensor]] = []

    def catch(_: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        embedded.append((inputs[0].flatten(), output.detach().requires_grad_()))
        return embedded[0][1]

    hook = model.get_input_embeddings().register_forward_hook(catch)
    try:
        with torch.enable_grad():
            states_ND, *_ = body.hidden_states(rows, device)
            ids_N, leaf = embedded[0]
            # Not their plain sum or their squares': after a norm layer neither says much of what was put in.
            draw_ND = torch.randn(states_ND.shape, generator=torch.Generator().manual_seed(0)).to(device)
            sums = [part.sum() for part in (states_ND.float() * draw_ND).split(rows.lengths)]
            gradients = [torch.autograd.grad(each, leaf, retain_graph=True)[0] for each in sums]
    finally:
        hook.remove()
    by_id_RVD = torch.zeros(len(sums), IDS, leaf.shape[-1], device=device)
    for by_id_VD, gradient in zip(by_id_RVD, gradients, strict=True):
        by_id_VD.index_add_(0, ids_N, gradient.flatten(0, -2).float())
    return states_ND.detach().float(), by_id_RVD


def _apart(found: Tensor, expected: Tensor) -> float:
    """|Δ| / |value|, which of NaN is at most nothing."""
    return float((found - expected).norm() / expected.norm())


def first_layers(model: Any) -> Any:
    """A float32 copy of the body: its first layers, as many as show every kind, and the embeddings that are tried."""
    layers = layer_list(model)
    if layers is None:
        raise Unsupported("its layers are in no list")
    weight = model.get_input_embeddings().weight
    memo: dict[int, Any] = {id(weight): nn.Parameter(weight[:IDS].detach().clone())}
    kept = layers[: layers_of_every_kind(model, len(layers))]
    memo[id(layers)] = nn.ModuleList([deepcopy(layer, memo) for layer in kept])
    copy = deepcopy(model.base_model, memo).float()
    copy.get_input_embeddings().padding_idx = None  # it may be one of those that are not there
    for module in copy.modules():
        if hasattr(module, "compute_dtype"):  # of weights in 4 bits, which `float` leaves as they are
            module.compute_dtype = torch.float32
    return copy


def small_twin(model: Any, device: torch.device, layers: int) -> PreTrainedModel:
    """A model like it, whose weights need not be there: random ones, few tokens, and its first layers."""
    config = deepcopy(model.config)
    text: Any = config.get_text_config()
    for key, value in list(vars(text).items()):
        if isinstance(value, list) and len(value) == text.num_hidden_layers:  # said layer by layer, as in layer_types
            setattr(text, key, value[:layers])
    text.num_hidden_layers = layers
    text.vocab_size, text.pad_token_id = min(text.vocab_size, VOCABULARY), None
    with torch.random.fork_rng([device] if device.type == "cuda" else []), device:
        torch.manual_seed(0)
        twin: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=model.dtype).eval()
    return twin


def layer_list(model: Any) -> nn.ModuleList | None:
    count = model.config.get_text_config().num_hidden_layers
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList) and len(module) == count]
    return lists[0] if lists else None


def layers_of_every_kind(model: Any, count: int) -> int:
    """The fewest first layers that have every kind; all where they are in no list."""
    layers = layer_list(model)
    if layers is None:
        return count
    types = getattr(model.config.get_text_config(), "layer_types", None) or [""] * count
    kinds = [
        (kind, *((name, type(module).__name__) for name, module in layer.named_modules()))
        for kind, layer in zip(types, layers, strict=True)
    ]
    return 1 + max(kinds.index(kind) for kind in kinds)


def _try_kernel(model: Any, device: torch.device) -> None:
    """Raises `Unsupported` unless the kernel for the model's heads and type is about as near to the truth, which is in
    float64, as attention is that has no kernel.

    Compared with the least exact of its results: plain gradients of queries are rounded once, and a kernel's three
    times, for they come in two parts.  On an H200, 28 draws of 7 shapes in bfloat16, they were 2.2 to 3.02 times as far
    from the truth as their own counterpart, and at most 1.9 times as far as the least exact.
    """
    text, dtype = model.config.get_text_config(), model.dtype
    heads = text.num_attention_heads
    keys = getattr(text, "num_key_value_heads", None) or heads
    size = getattr(text, "head_dim", None) or text.hidden_size // heads
    layout = Layout((3, 2), ((4, 2, 2), (0, 1)))
    draws, N = torch.Generator().manual_seed(0), sum(layout.within.queries)
    drawn = [torch.randn(N, count, size, generator=draws).to(device, dtype) for count in (heads, keys, keys, heads)]

    def kernel(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (x.transpose(0, 1).unsqueeze(0) for x in (q, k, v))
        return shared_prompts(nn.Module(), q, k, v, None, layout=layout)[0].squeeze(0)

    def plain(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        k, v = (x.repeat_interleave(heads // keys, dim=1) for x in (k, v))
        return completion_by_completion(q, k, v, layout, size**-0.5, None)

    def response(attend: Any, dtype: torch.dtype) -> list[Tensor]:
        *leaves, grad = (x.detach().to(dtype).requires_grad_() for x in drawn)
        with torch.enable_grad():
            out = attend(*leaves)
            return [x.detach().double() for x in (out, *torch.autograd.grad(out, leaves, grad))]

    found, noisy, truth = response(kernel, dtype), response(plain, dtype), response(plain, torch.float64)
    noise = max(map(_apart, noisy, truth))
    if not all(_apart(a, exact) <= max(FLOAT32, NOISE * noise) for a, exact in zip(found, truth, strict=True)):
        raise Unsupported(f"the kernel for {heads} heads of {size} in {dtype} is not exact here")
