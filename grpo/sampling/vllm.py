"""vLLM behind the `Sampler` protocol, inside this process, and the only file that imports it.

In this process (no engine process, no worker process) because then a start takes seconds, new weights are handed over
as tensors rather than files, and learner and sampler can share one GPU by turns.

What it costs to be a good guest, all of it seen with vLLM 0.32:
- Starting the engine changes its host: environment variables (LD_PRELOAD for every child!), the seeds of all
  generators, `torch.set_num_threads` (replaced by a no-op), the exception hook.  `_host_unchanged` puts them back.
- Seeds per request crash on CPUs as soon as a prompt is split over two passes, and on GPUs they draw row by row.  We
  seed the process's generators around each engine pass instead, add all requests before the first, and forget cached
  prefixes between calls: then the schedule, and with it every draw and rounding, depends on the call alone.
- With tied embeddings the CPU backend keeps a packed copy of the output head that a reload does not renew, unless the
  head is also given under its own name.
"""

from __future__ import annotations

import itertools
import math
import os
import random
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import numpy
import torch

from grpo import config
from grpo.errors import GrpoError, SamplerError
from grpo.sampling import Continuations, Dtype
from grpo.sampling.tokens import Vocabulary, not_numbers
from grpo.types import Completion, Group, Prompt, SamplingParams

CPU_MEMORY = 8 * 2**30  # bytes that sampling.gpu_memory_utilization is a share of on CPUs

_ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine runs in this process
    "VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1",  # `Vocabulary` has checked the context; we need one token more, see below
    "VLLM_NO_USAGE_STATS": "1",
}


class VllmSampler:
    def __init__(
        self,
        settings: config.Sampling,
        model: str,
        *,
        revision: str | None,
        dtype: Dtype,
        device: Literal["cpu", "cuda"],
        context: int,
        seed: int,
    ) -> None:
        self._vocabulary = Vocabulary(model, revision, context)
        self._cuda = device == "cuda"
        self._step = 0
        self._names = itertools.count()
        self._weights_lost = False
        arguments: dict[str, Any] = {
            "model": model,
            "revision": revision,
            "dtype": dtype,
            "max_model_len": context + 1,  # `score` feeds a whole sequence and vLLM insists on drawing one more
            "seed": seed,
            "logprobs_mode": "processed_logprobs",  # of the distribution drawn from, after temperature
            "generation_config": "vllm",  # none of the model's own sampling defaults: ours are complete
            "distributed_executor_backend": "uni",
            "worker_extension_cls": f"{__name__}.WeightReceiver",
            "disable_log_stats": True,
            "use_tqdm_on_load": False,
        }
        if self._cuda:
            arguments |= {"gpu_memory_utilization": settings.gpu_memory_utilization, "enable_sleep_mode": True}
        else:
            arguments |= {
                "kv_cache_memory_bytes": int(settings.gpu_memory_utilization * CPU_MEMORY),
                "enforce_eager": True,
            }
            arguments |= {"max_num_seqs": 512}  # 12,500 tokens/s instead of 8,300 with its own 256 (4 layers × 128)
        version, self._engine = self._start(arguments)
        self.name = f"vllm {version} on {device}, {dtype}"

    def _start(self, arguments: dict[str, Any]) -> tuple[str, Any]:
        self.name = "vllm"  # until its version is known
        with self._border("could not start"), _host_unchanged(), _quiet_unless_it_fails():
            import vllm
            from vllm.engine.arg_utils import EngineArgs
            from vllm.usage.usage_lib import UsageContext
            from vllm.v1.engine.llm_engine import LLMEngine

            engine = LLMEngine.from_engine_args(EngineArgs(**arguments), usage_context=UsageContext.LLM_CLASS)
        return vllm.__version__, engine

    def sample(self, prompts: Sequence[Prompt], n: int, params: SamplingParams) -> Iterator[tuple[int, Group]]:
        from vllm import SamplingParams as Request
        from vllm.sampling_params import RequestOutputKind

        self._vocabulary.check_room(prompts, params.max_tokens)
        request = Request(
            n=n,
            max_tokens=params.max_tokens,
            temperature=params.temperature,
            top_p=params.top_p,
            top_k=params.top_k,
            stop=list(params.stop),
            stop_token_ids=sorted(self._vocabulary.end_tokens),
            include_stop_str_in_output=True,
            skip_special_tokens=False,  # where stop texts are looked for: one may be written as a special token
            detokenize=bool(params.stop),  # else we decode once, at the end
            logprobs=0,  # the drawn token's only
            output_kind=RequestOutputKind.FINAL_ONLY,  # a group comes out once, when all of it has finished
        )
        for index, output in self._run([prompt.token_ids for prompt in prompts], request, params.seed):
            completions = tuple(self._completion(answer) for answer in output.outputs)
            yield index, Group(prompts[index], completions, self._step)

    def _completion(self, answer: Any) -> Completion:
        logprobs = [at[token].logprob for at, token in zip(answer.logprobs, answer.token_ids, strict=True)]
        if any(map(math.isnan, logprobs)):  # vLLM draws from them regardless
            raise not_numbers(self.name)
        return self._vocabulary.completion(answer.token_ids, logprobs, answer.finish_reason == "stop")

    def score(self, sequences: Continuations) -> list[list[float]]:
        from vllm import SamplingParams as Request
        from vllm.sampling_params import RequestOutputKind

        # Prompt log-probabilities are at temperature 1 whatever is asked, and are never read from cached prefixes.
        request = Request(max_tokens=1, prompt_logprobs=0, detokenize=False, output_kind=RequestOutputKind.FINAL_ONLY)
        whole = [[*prompt, *completion] for prompt, completion in sequences]
        scores: list[list[float]] = [[] for _ in sequences]
        for index, output in self._run(whole, request, seed=0):
            start = len(sequences[index][0])
            at_tokens = zip(output.prompt_logprobs[start:], whole[index][start:], strict=True)
            scores[index] = [at[token].logprob for at, token in at_tokens]
        return scores

    def _run(self, prompts: Sequence[Sequence[int]], request: Any, seed: int) -> Iterator[tuple[int, Any]]:
        """Drive the engine until all prompts are answered; yield (index, output) as they are."""
        if self._weights_lost:
            raise RuntimeError("sampling after sleep needs load_weights first")
        waiting: dict[str, int] = {}
        seeds = random.Random(seed)
        try:
            with self._border("stopped while taking requests"):
                self._engine.reset_prefix_cache()
                for index, token_ids in enumerate(prompts):
                    name = str(next(self._names))
                    self._engine.add_request(name, {"prompt_token_ids": list(token_ids)}, request)
                    waiting[name] = index
            while waiting:
                with self._border("stopped while sampling"), self._generators_seeded(seeds.getrandbits(32)):
                    outputs = self._engine.step()
                for output in outputs:
                    yield waiting.pop(output.request_id), output
        except GeneratorExit:  # the caller stopped listening: what is left must not run into the next call
            self._engine.abort_request(list(waiting))
            raise

    def load_weights(self, named_tensors: Iterable[tuple[str, torch.Tensor]], step: int) -> None:
        with self._border(f"could not take the weights of step {step}"):
            self._engine.collective_rpc("receive_weights", args=(named_tensors,))
            if self._weights_lost:
                self._engine.wake_up(tags=["kv_cache"])
        self._weights_lost = False
        self._step = step

    def sleep(self) -> None:
        """On a GPU, drop weights and key-value cache (level 2: they are not even kept in host memory)."""
        if self._cuda:
            with self._border("could not go to sleep"):
                self._engine.sleep(level=2)
            self._weights_lost = True

    def wake(self) -> None:
        """Room for the weights only.  The key-value cache follows in `load_weights`, once the old ones are gone."""
        if self._cuda:
            with self._border("could not wake up"):
                self._engine.wake_up(tags=["weights"])

    def close(self) -> None:
        from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

        self._engine.engine_core.shutdown()
        self._engine = None
        cleanup_dist_env_and_memory()

    @contextmanager
    def _border(self, what: str) -> Iterator[None]:
        """Beyond it anything may be raised; on this side it is one sentence."""
        try:
            yield
        except GrpoError:
            raise
        except Exception as error:  # vLLM names no exceptions of its own
            cause = " ".join(str(error).split()) or type(error).__name__
            raise SamplerError(f"{self.name}: {what}, {cause[:300]}; {_advice(cause)}") from error

    @contextmanager
    def _generators_seeded(self, seed: int) -> Iterator[None]:
        with _generators_unchanged(range(self._cuda)):
            torch.manual_seed(seed)
            numpy.random.seed(seed)  # where vLLM's newer model runner draws the seeds of its rows from
            yield


class WeightReceiver:
    """Mixed into vLLM's worker, which is how it offers to run code beside the model."""

    model_runner: Any

    def receive_weights(self, named_tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
        self.model_runner.reload_weights(weights_iterator=named_tensors)
        repack_tied_heads(self.model_runner.get_model())


def repack_tied_heads(model: torch.nn.Module) -> None:
    """Renew the CPU backend's packed copy of a tied output head.

    Linear layers are packed again by a reload; a head that shares the embedding's weight is not, and keeps producing
    the old logits with no error.  `cpu_linear` is what holds the packed copy; there is none on GPUs.
    """
    from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm
    from vllm.model_executor.layers.vocab_parallel_embedding import VocabParallelEmbedding

    for module in model.modules():
        if isinstance(module, VocabParallelEmbedding) and hasattr(module, "cpu_linear"):
            dispatch_cpu_unquantized_gemm(module, remove_weight=False)


def _advice(cause: str) -> str:
    lowered = cause.lower()
    if "kv cache" in lowered or "cache blocks" in lowered:
        return "raise sampling.gpu_memory_utilization, or lower sampling.max_tokens"
    if "memory" in lowered:
        return "lower sampling.gpu_memory_utilization, sampling.group_size or sampling.max_tokens"
    return 'set sampling.backend = "transformers" to sample without vLLM'


@contextmanager
def _generators_unchanged(cuda_devices: Iterable[int]) -> Iterator[None]:
    """What is drawn inside does not move the process's own generators."""
    python, arrays = random.getstate(), numpy.random.get_state()
    try:
        with torch.random.fork_rng(cuda_devices):
            yield
    finally:
        random.setstate(python)
        numpy.random.set_state(arrays)


@contextmanager
def _host_unchanged() -> Iterator[None]:
    """Leave the process as it was found, apart from the engine in it."""
    environment, threads = dict(os.environ), torch.get_num_threads()
    set_num_threads, excepthook = torch.set_num_threads, sys.excepthook
    with ExitStack() as stack:
        stack.enter_context(_generators_unchanged(range(torch.cuda.device_count())))
        try:
            os.environ.update(_ENVIRONMENT)
            # What vLLM logs as an error it also raises, after dumping its whole state: 100 KB.
            os.environ.setdefault("VLLM_LOGGING_LEVEL", "CRITICAL")
            yield
        finally:
            for name in os.environ.keys() - environment.keys():
                del os.environ[name]
            os.environ.update(environment)
            torch.set_num_threads = set_num_threads
            torch.set_num_threads(threads)
            sys.excepthook = excepthook


@contextmanager
def _quiet_unless_it_fails() -> Iterator[None]:
    """Hold back what is written to standard error, C++ included, and show it only if an exception comes."""
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            sys.stderr.flush()
            held.seek(0)
            os.write(terminal, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)
