"""How vLLM's trainer engines are set up and asked, without a device: in their place stands one that sends nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch

from grpo.errors import SamplerError
from grpo.sampling import Way
from grpo.sampling.gloo import Weight
from grpo.sampling.transfer import Sender, open_sender

vllm_sender = pytest.importorskip("grpo.sampling.vllm_sender", reason="vLLM is not there", exc_type=ImportError)

WEIGHTS = [("small", torch.zeros(3)), ("large", torch.zeros(1000, dtype=torch.float64))]


class Listening:
    """Samplers of one, two and one device, of which one may refuse a verb."""

    sizes = (1, 2, 1)

    def __init__(self, refused: str = "") -> None:
        self.refused, self.heard = refused, list[tuple[str, Any]]()

    def call(self, verb: Any, arguments: Sequence[Mapping[str, Any]], timeout: float) -> None:
        self.heard.append((verb, arguments))
        if verb == self.refused:
            raise SamplerError("sampler 2: has no room")


class Engine:
    """Of "nccl" as far as a sender sees it: it waits in `meet` until all have come."""

    def __init__(self, info: Any, client: Any, source: Any, meet: Callable[[], object]) -> None:
        self.info, self.client, self.source = info, client, source
        joining = threading.Thread(target=client.init_weight_transfer_engine, args=({"rank_offset": 1},))
        joining.start()
        meet()
        joining.join()

    def send_weights(self) -> None:
        self.client.start_weight_update()
        for _ in self.source:
            pass
        self.client.finish_weight_update()

    def shutdown(self) -> None:
        pass


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Sender, Engine]]:
    def open_one(way: Way, client: Listening, meet: Callable[[], object] = int) -> tuple[Sender, Engine]:
        made: list[Engine] = []

        class Factory:
            @staticmethod
            def trainer_init(info: Any, *, client: Any, source: Any) -> Engine:
                made.append(Engine(info, client, source, meet))
                return made[0]

        monkeypatch.setattr(vllm_sender, "WeightTransferTrainerFactory", Factory)
        sender = open_sender(way, client=client, source=lambda: WEIGHTS, rank=0, address="127.0.0.1", chunk_bytes=4096)
        return sender, made[0]

    return open_one


def test_within_a_device_the_buffer_holds_the_largest_weight(opened: Any) -> None:
    assert opened("ipc", Listening())[1].info.packed_buffer_size_bytes == 8000
    info = opened("nccl", Listening())[1].info
    assert (info.packed_buffer_size_bytes, info.packed_num_buffers, info.world_size) == (4096, 1, 5)


def test_each_sampler_is_told_the_rank_of_its_own_first_device(opened: Any) -> None:
    client = Listening()
    sender, _ = opened("nccl", client)
    sender.send(3)
    verbs = [verb for verb, _ in client.heard]
    assert verbs == ["join", "start_update", "finish_update"]
    assert [one["info"]["rank_offset"] for one in client.heard[0][1]] == [1, 2, 4]
    assert client.heard[1][1] == [{"step": 3}] * 3
    assert sender.metadata == [Weight("small", torch.float32, (3,)), Weight("large", torch.float64, (1000,))]


def test_a_sampler_that_does_not_join_is_named_at_once_while_the_engine_waits_for_it(opened: Any) -> None:
    never = threading.Event()
    with pytest.raises(SamplerError, match="sampler 2: has no room"):
        opened("nccl", Listening("join"), meet=never.wait)  # within 60 s it would be another sentence
    never.set()


@pytest.mark.parametrize(("way", "kind"), [("nccl", SamplerError), ("ipc", RuntimeError)])
def test_what_breaks_off_is_of_the_samplers_only_where_no_other_rank_waits(
    opened: Any, way: Way, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_off() -> None:
        raise RuntimeError("device lost")

    sender, engine = opened(way, Listening())
    monkeypatch.setattr(engine, "send_weights", break_off)
    with pytest.raises(kind, match="device lost"):
        sender.send(1)
