"""Weights between processes: learner ranks, samplers, and what is left when one of them is gone."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from grpo.errors import ConfigError, SamplerError
from grpo.sampling import gloo, vllm_versions
from grpo.sampling.gloo import Weight
from grpo.sampling.limits import aborted_after, within
from grpo.sampling.sender import Director, Passes
from grpo.sampling.tokens import refuse_indivisible_heads
from grpo.sampling.transfer import Weights, open_sender
from tests.receivers import CHUNK, SPAWN, Pipes, Receiver, digest, interrupted, learner_rank, pipes_to
from tests.test_sampling import logprobs_by
from tests.tiny import encode, make_model, save_model

SEQUENCES = [(encode("1 + 1"), encode(" = 2")), (encode("A longer question?"), encode(" An answer."))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model"), tied=True)


@pytest.fixture(scope="module")
def receivers(folder: Path) -> Iterator[list[Receiver]]:
    """One of transformers, and one of vLLM where a version is installed that can be given weights."""
    found = vllm_versions.installed()
    other = "vllm" if found and vllm_versions.transfers(found[1]) else "transformers"
    both = [Receiver("transformers", folder), Receiver(other, folder)]
    for receiver in both:
        receiver.ask("name")  # it has started
    yield both
    for receiver in both:
        receiver.close()


def send(source: Weights, step: int, *to: Receiver, timeout: float = 60, chunk_bytes: int = CHUNK) -> None:
    client = pipes_to(*to)
    sender = open_sender(
        "gloo", client=client, source=source, rank=0, address="127.0.0.1", timeout=timeout, chunk_bytes=chunk_bytes
    )
    try:
        sender.send(step)
    finally:
        sender.close()


def assert_served(receivers: Sequence[Receiver], seed: int) -> None:
    """Bit for bit: the one has the model's numbers; the other scores as after a load within its process."""
    model = make_model(True, seed)
    one, other = receivers
    assert one.ask("digest") == digest(model.state_dict().items())
    scores = other.ask("score", SEQUENCES)
    for (prompt, completion), of_one, of_other in zip(SEQUENCES, one.ask("score", SEQUENCES), scores, strict=True):
        expected = logprobs_by(model, prompt, completion)
        assert of_one == pytest.approx(expected, abs=1e-4)
        assert of_other == pytest.approx(expected, abs=1e-4)
    other.ask("load", True, seed)
    assert other.ask("score", SEQUENCES) == scores


def test_weights_arrive_bit_for_bit_whatever_the_chunks(receivers: list[Receiver]) -> None:
    for step, chunk_bytes in ((1, CHUNK), (2, 1), (3, 2**30)):
        send(make_model(True, step).named_parameters, step, *receivers, chunk_bytes=chunk_bytes)
        assert [receiver.ask("step") for receiver in receivers] == [step, step]
        assert_served(receivers, step)


def test_one_group_takes_weights_step_after_step(receivers: list[Receiver]) -> None:
    model = make_model(True, 3)
    client = pipes_to(*receivers)
    sender = open_sender("gloo", client=client, source=model.named_parameters, rank=0, address="127.0.0.1")
    for step in (4, 5):
        model.load_state_dict(make_model(True, step).state_dict())
        sender.send(step)
        assert_served(receivers, step)
    sender.close()
    with pytest.raises(SamplerError, match="has been left; open another"):
        sender.send(6)


def two_ranks(tmp_path: Path, sends: Sequence[tuple[int, Pipes, int | None]]) -> list[list[str]]:
    """What either says of each send."""
    ends = [SPAWN.Pipe() for _ in range(2)]
    ranks = [
        SPAWN.Process(target=learner_rank, args=(rank, str(tmp_path / "meet"), end[1], sends), daemon=True)
        for rank, end in enumerate(ends)
    ]
    for process in ranks:
        process.start()
    try:
        for ours, _ in ends:
            assert ours.poll(300), "a rank hangs"
        return [ours.recv() for ours, _ in ends]
    finally:
        for process in ranks:
            process.join(10)
            process.kill()


def test_two_ranks_gather_and_send_and_when_a_receiver_is_killed_in_mid_transfer_they_do_without_it(
    receivers: list[Receiver], folder: Path, tmp_path: Path
) -> None:
    victim = Receiver("transformers", folder)
    victim.ask("name")  # it has started
    everybody, left = pipes_to(victim, *receivers), pipes_to(*receivers)
    first, second = two_ranks(tmp_path, [(6, everybody, None), (7, everybody, victim.process.pid), (8, left, None)])
    victim.close()
    assert (first[0], first[2]) == ("sent", "sent")
    assert first[1].startswith("sampler ")  # 0 died, or another lost its connection to it
    assert second == ["sent"] * 3  # for its part
    assert_served(receivers, 8)
    for step in (9, 10):  # as often as one likes
        send(make_model(True, step).named_parameters, step, *receivers)
        assert_served(receivers, step)


def test_a_stopped_receiver_is_noticed_within_the_time_limit_and_may_come_back(receivers: list[Receiver]) -> None:
    stopped = receivers[0]
    source = interrupted(make_model(True, 1).named_parameters, 5, lambda: stopped.kill(signal.SIGSTOP))
    with pytest.raises(SamplerError, match=r"sampler \d"):
        send(source, 10, *receivers, timeout=3)
    stopped.kill(signal.SIGCONT)
    send(make_model(True, 2).named_parameters, 11, *receivers)
    assert_served(receivers, 2)


def test_a_sampler_that_does_not_join_is_missed_by_all(receivers: list[Receiver]) -> None:
    pipes = pipes_to(receivers[0])
    alone = Pipes(pipes.pipes, [2])  # it says that two will come
    with pytest.raises(
        SamplerError, match=r"of ranks 0 to 2, \[2\] did not come|sampler 0: no answer to join within 1 s"
    ):
        open_sender("gloo", client=alone, source=list, rank=0, address="127.0.0.1", timeout=1)


def test_weights_of_another_model_are_refused_by_name(receivers: list[Receiver]) -> None:
    other = [("model.unheard.weight", torch.zeros(3))]
    with pytest.raises(SamplerError, match=r"sampler 0: .*a weight model.unheard.weight"):
        send(lambda: other, 12, receivers[0], timeout=10)
    send(make_model(True, 1).named_parameters, 13, *receivers)
    assert_served(receivers, 1)


def test_a_port_that_is_taken_is_one_sentence() -> None:
    store = gloo.host_store("127.0.0.1", 0, 1)
    client = Pipes([], [])
    with pytest.raises(SamplerError, match=r"cannot be sent from 127.0.0.1:\d+.*and the port free\?"):
        open_sender("gloo", client=client, source=list, rank=0, address="127.0.0.1", port=store.port, timeout=1)


# Its parts


def test_chunks_hold_what_fits_and_give_back_every_number() -> None:
    tensors = {
        "half": torch.randn(3, dtype=torch.bfloat16),
        "none": torch.zeros(0, 4),
        "scalar": torch.tensor(2.5, dtype=torch.float64),
        "large": torch.randn(9, 5).T,  # not contiguous
        "flags": torch.tensor([True, False, True]),
    }
    weights = [Weight(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()]
    assert gloo.from_plain(**gloo.as_plain(weights)) == weights
    # bytes with padding to 16: 6 → 16, 0, 8 → 16, 180 → 192, 3 → 16
    assert [weight.room for weight in weights] == [16, 0, 16, 192, 16]
    assert [[one.name for one in run] for run in gloo.cut(weights, 40)] == [
        ["half", "none", "scalar"],
        ["large"],
        ["flags"],
    ]
    for run in gloo.cut(weights, 40):
        for name, tensor in gloo.unpack(run, gloo.pack(run, [tensors[one.name] for one in run])):
            assert torch.equal(tensor, tensors[name]) and tensor.dtype == tensors[name].dtype


def test_each_sampler_gets_ranks_of_its_own_after_those_before_it() -> None:
    class Listening:
        sizes = (2, 1, 4)

        def call(self, verb: Any, arguments: Any, timeout: float) -> None:
            self.heard = verb, [one["info"].get("rank_offset") for one in arguments], timeout

    client = Listening()
    Director(client, 5).join("nccl", {"rank_offset": 1, "world_size": 8})
    assert client.heard == ("join", [1, 3, 4], 5)
    Director(client, 5).join("ipc", {"packed": True})
    assert client.heard == ("join", [None, None, None], 5)


def test_a_source_that_changes_its_weights_is_found_out_on_every_rank() -> None:
    sizes = iter((2, 3))
    passes = Passes(lambda: [("w", torch.zeros(next(sizes)))])
    with pytest.raises(ValueError, match=r"yielded w \(3,\) in the place of"):
        passes.finish() or list(passes)


def test_names_and_shapes_that_are_known_take_no_pass_over_the_weights() -> None:
    passes = iter(range(9))

    def source() -> list[tuple[str, torch.Tensor]]:
        return [("w", torch.full((2,), float(next(passes))))]

    known = Passes(source).metadata()
    (again,) = Passes(source, known)
    assert known == [Weight("w", torch.float32, (2,))] and again[1].tolist() == [1, 1]


def test_a_machine_without_an_address_forms_no_group_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(address: str, port: int) -> str:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(gloo, "_own_address", unreachable)
    with pytest.raises(SamplerError, match=r"no group of 1 could be formed, .*Network is unreachable"):
        gloo.Group(gloo.host_store("127.0.0.1", 0, 5), 0, 1, 5)


def test_what_takes_too_long_is_left_or_aborted() -> None:
    never = threading.Event()
    with pytest.raises(SamplerError, match=r"waiting was not done within 0.05 s"):
        within(0.05, "waiting", never.wait)
    with (
        pytest.raises(SamplerError, match=r"waiting was not done within 0.05 s"),
        aborted_after(0.05, "waiting", never.set),
    ):
        never.wait()
    with pytest.raises(KeyError):
        within(5, "raising", lambda: {}["x"])
    never.clear()
    within(60, "what nobody needs any more", never.wait, pointless=lambda: True)
    never.set()


@pytest.mark.parametrize(
    ("heads", "shared", "allowed"),
    [
        (14, 2, {1, 2, 14}),  # 7: half a key-value head each
        (6, 3, {1, 3, 6}),
        (32, 8, {1, 2, 4, 8, 16, 32}),
        (4, None, {1, 2, 4}),
    ],
)
def test_heads_that_cannot_be_divided_are_refused(heads: int, shared: int | None, allowed: set[int]) -> None:
    text = SimpleNamespace(num_attention_heads=heads, num_key_value_heads=shared)
    model_config = SimpleNamespace(get_text_config=lambda: text)
    for devices in range(1, 40):
        if devices in allowed:
            refuse_indivisible_heads(model_config, devices)
            continue
        with pytest.raises(ConfigError, match=rf"tensor_parallel = {devices}: the model's {heads} attention heads"):
            refuse_indivisible_heads(model_config, devices)
