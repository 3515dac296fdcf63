"""vLLM behind the `RemoteSampler` protocol, inside this process.  `vllm_worker.py` is what runs beside its model.

In this process (no engine process, no worker process) because then a start takes seconds, new weights are handed over
as tensors rather than files, and learner and sampler can share one GPU by turns.

What it costs to be a good guest, all of it seen with vLLM 0.32:
- Starting the engine changes its host: environment variables (LD_PRELOAD for every child!), the seeds of all
  generators, `torch.set_num_threads` (replaced by a no-op), the exception hook.  `guest.host_unchanged` puts them back.
  On GPUs the engine wants one thread in its passes, as while it was compiled; the learner beside it wants them all.
- vLLM has two model runners.  The newer one draws a token by its row's seed and position: a seed per request, and
  nothing else moves the draw.  The older one (on CPUs, and for some models on GPUs) crashes on seeds per request as
  soon as a prompt is split over two passes, and draws such rows one by one: there we seed the process's generators
  around each engine pass.
- We add all requests of a call before its first pass, and forget cached prefixes between calls: then the schedule, and
  with it every rounding, depends on the call alone.
- Threads may call at the same time, and their requests then run together; whoever makes a pass hands all that it
  finished to the calls that asked.  vLLM knows nothing of threads, so passes and updates of the weights take turns.
- While requests run, a plain `reset_prefix_cache` keeps the old weights' keys and values and only returns False.  With
  `reset_running_requests` they are computed again, and the requests go on.
"""

from __future__ import annotations

import copy
import itertools
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Literal

import numpy
import torch

from grpo import config
from grpo.errors import GrpoError, SamplerError
from grpo.sampling import Continuations, Dtype, Way, precision, vllm_versions
from grpo.sampling.guest import host_unchanged, num_threads, quiet_unless_it_fails
from grpo.sampling.spans import Spans
from grpo.sampling.tokens import Vocabulary, not_numbers
from grpo.sampling.turn import Turns
from grpo.sampling.vllm_classes import classes_shared
from grpo.sampling.vllm_logprobs import DrawnLogprobs
from grpo.types import Completion, Finish, Group, Prompt, SamplingParams, Span

CPU_MEMORY = 8 * 2**30  # bytes that sampling.gpu_memory_utilization is a share of on CPUs


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
        tensor_parallel: int = 1,
        transfer: Way | None = None,
        float32_head: bool = False,
    ) -> None:
        self._vocabulary = Vocabulary(model, revision, context)
        self._vocabulary.refuse_indivisible_heads(tensor_parallel)
        self._cuda = device == "cuda"
        self._tensor_parallel, self._transfer = tensor_parallel, transfer
        self._step = 0
        self._names = itertools.count()
        self._inboxes: dict[str, deque[Any]] = {}  # by request: where the call that made it waits for the answer
        self._spans = Spans()
        self._abandoned: list[str] = []  # requests of calls that nobody listens to any more
        self._turns = Turns()
        self._engine_thread = ThreadPoolExecutor(1, "engine") if transfer else None
        self._decoder = ThreadPoolExecutor(1, "decoder")  # makes groups of answers while the engine goes on
        self._weights_lost = False
        arguments: dict[str, Any] = {
            "model": model,
            "revision": revision,
            "dtype": dtype,
            "max_model_len": context + 1,  # `score` feeds a whole sequence and vLLM insists on drawing one more
            "seed": seed,
            "logprobs_mode": "processed_logprobs",  # of the distribution drawn from, after temperature
            "generation_config": "vllm",  # none of the model's own sampling defaults: ours are complete
            # Always said: the model's config.json may have one, which would be the sampler's alone.
            "hf_overrides": {"head_dtype": "float32" if float32_head else "model"},
            # Never left to vLLM, which would take Ray's in one of its placement groups.
            "distributed_executor_backend": "uni" if tensor_parallel == 1 else "mp",
            "tensor_parallel_size": tensor_parallel,
            "weight_transfer_config": None if transfer is None else {"backend": transfer},
            "worker_extension_cls": "grpo.sampling.vllm_worker.WeightReceiver",
            "disable_log_stats": True,
            "use_tqdm_on_load": False,
        }
        if self._cuda:
            arguments |= {"gpu_memory_utilization": settings.share, "enable_sleep_mode": True}
        else:
            arguments |= {
                "kv_cache_memory_bytes": int(settings.share * CPU_MEMORY),
                "enforce_eager": True,
            }
            arguments |= {"max_num_seqs": 512}  # 12,500 tokens/s instead of 8,300 with its own 256 (4 layers × 128)
        self.name = "vllm"  # until its version is known
        version = self._start(arguments)
        self.name = f"vllm {version} on {device}, {precision(dtype, float32_head)}"

    def _start(self, arguments: dict[str, Any]) -> str:
        with self._border("could not start"), host_unchanged(), quiet_unless_it_fails(), classes_shared():
            import vllm
            from vllm.engine.arg_utils import EngineArgs
            from vllm.usage.usage_lib import UsageContext
            from vllm.v1.engine.llm_engine import LLMEngine

            if self._transfer:
                vllm_versions.refuse_transfer(vllm.__version__)
            settings, context = EngineArgs(**arguments), UsageContext.LLM_CLASS
            self._engine = self._compute(LLMEngine.from_engine_args, settings, usage_context=context)
            self._threads = self._compute(torch.get_num_threads) if self._cuda else None
            self._seeds_of_rows = self._engine.vllm_config.use_v2_model_runner
        version: str = vllm.__version__
        return version

    def _compute(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """All that computes goes through here.

        Where learners in other processes send weights, many threads of this one ask, and one computes for them: each
        thread that computes has OpenMP threads of its own, and when there are more of these than cores, libgomp puts
        them to sleep at every barrier.
        """
        if self._engine_thread is None:
            return function(*arguments, **options)
        return self._engine_thread.submit(function, *arguments, **options).result()

    def _in_workers(self, method: str, *arguments: Any) -> None:
        self._compute(self._engine.collective_rpc, method, args=arguments)

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
        making: deque[tuple[int, Future[Group]]] = deque()
        for finished in self._run([prompt.token_ids for prompt in prompts], request, params.seed):
            for index, output, spans in finished:
                making.append((index, self._decoder.submit(self._group, prompts[index], output.outputs, spans)))
            while making and making[0][1].done():
                yield making[0][0], making.popleft()[1].result()
        for index, group in making:
            yield index, group.result()

    def _group(self, prompt: Prompt, answers: Sequence[Any], spans: Sequence[tuple[Span, ...]]) -> Group:
        """Spans are written down only where they say more than the group's step."""
        steps = {span.step for of_one in spans for span in of_one}
        written = spans if len(steps) > 1 else [()] * len(spans)
        texts = self._vocabulary.texts([prompt] * len(answers), [answer.token_ids for answer in answers])
        completions = tuple(map(_completion, answers, texts, written))
        if any(numpy.isnan(completion.logprobs).any() for completion in completions):  # vLLM draws from them regardless
            raise not_numbers(self.name)
        return Group(prompt, completions, min(steps))

    def score(self, sequences: Continuations) -> list[list[float]]:
        from vllm import SamplingParams as Request
        from vllm.sampling_params import RequestOutputKind

        # Prompt log-probabilities are at temperature 1 whatever is asked, and are never read from cached prefixes.
        request = Request(
            max_tokens=1,
            prompt_logprobs=0,
            flat_logprobs=True,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        whole = [[*prompt, *completion] for prompt, completion in sequences]
        scores: list[list[float]] = [[] for _ in sequences]
        for finished in self._run(whole, request, seed=0):
            for index, output, _ in finished:
                scores[index] = output.prompt_logprobs.logprobs[-len(sequences[index][1]) :]
        return scores

    def _run(
        self, prompts: Sequence[Sequence[int]], request: Any, seed: int
    ) -> Iterator[list[tuple[int, Any, list[tuple[Span, ...]]]]]:
        """Drive the engine until all prompts are answered; after each pass yield the (index, output, spans) that it
        finished, often none."""
        waiting: dict[str, int] = {}
        answers: deque[Any] = deque()
        seeds = random.Random(seed)
        try:
            with self._one_turn("stopped while taking requests"):
                if not self._inboxes and not self._engine.reset_prefix_cache():
                    raise RuntimeError("vLLM kept the prefixes of earlier calls though nothing runs")
                for index, token_ids in enumerate(prompts):
                    name = str(next(self._names))
                    one = self._with_seed(request, seeds.getrandbits(62)) if self._seeds_of_rows else request
                    self._engine.add_request(name, {"prompt_token_ids": list(token_ids)}, one)
                    waiting[name] = index
                    self._inboxes[name] = answers
                    self._spans.begin(name, self._step)
                self._keep_logprobs_as_numbers()
            while waiting:
                with self._one_turn("stopped while sampling"):
                    if not answers:  # while we waited for the turn, another call's pass may have brought some
                        self._pass(seeds)
                        if not answers and not self._engine.has_unfinished_requests():
                            raise RuntimeError(f"vLLM lost {len(waiting)} requests")
                finished = [answers.popleft() for _ in range(len(answers))]
                yield [(waiting.pop(output.request_id), output, spans) for output, spans in finished]
        finally:  # where the caller stopped listening; a turn cannot be waited for here, in the midst of anything
            self._abandoned.extend(waiting)

    def _keep_logprobs_as_numbers(self) -> None:
        for state in self._engine.output_processor.request_states.values():
            if state.logprobs_processor.logprobs == []:  # it has just been added; a request to score has None
                state.logprobs_processor = DrawnLogprobs()

    @staticmethod
    def _with_seed(request: Any, seed: int) -> Any:
        """vLLM adds a completion's index to the seed, so seeds of prompts must lie far apart: 62 bits of chance do."""
        one = copy.copy(request)
        one.seed = seed
        return one

    def _pass(self, seeds: random.Random) -> None:
        if self._seeds_of_rows:
            outputs = self._compute(self._step_engine)
        else:
            seed = seeds.getrandbits(32)
            if self._tensor_parallel > 1:
                self._in_workers("seed_generators", seed)
            with torch.random.fork_rng(range(self._cuda)):
                torch.manual_seed(seed)
                outputs = self._compute(self._step_engine)
        for output in outputs:
            if (inbox := self._inboxes.pop(output.request_id, None)) is not None:  # else nobody waits for it any more
                lengths = [len(answer.token_ids) for answer in output.outputs]
                inbox.append((output, self._spans.end(output.request_id, lengths)))

    def _step_engine(self) -> list[Any]:
        with num_threads(self._threads):
            outputs: list[Any] = self._engine.step()
        return outputs

    @contextmanager
    def _one_turn(self, what: str) -> Iterator[None]:
        with self._turns.one():
            if self._weights_lost:
                raise SamplerError(f"{self.name}: {what}, for after sleep it needs load_weights first")
            with self._border(what):
                self._drop_abandoned()
                yield

    def _drop_abandoned(self) -> None:
        while self._abandoned:
            name = self._abandoned.pop()
            if self._inboxes.pop(name, None) is not None:
                self._engine.abort_request([name])
                self._spans.forget(name)

    def load_weights(self, named_tensors: Iterable[tuple[str, torch.Tensor]], step: int) -> None:
        if self._tensor_parallel > 1:
            raise RuntimeError("several devices of one sampler take weights by a transfer group only")
        with self._turns.one(), self._border(f"could not take the weights of step {step}"):
            self._in_workers("receive_weights", named_tensors)
            self._serve(step)

    def _serve(self, step: int) -> None:
        """The weights are there: what vLLM derived from the old ones must go."""
        if self._weights_lost:
            self._engine.wake_up(tags=["kv_cache"])
        self._drop_abandoned()
        if self._inboxes:
            if not self._engine.reset_prefix_cache(reset_running_requests=True):
                raise RuntimeError("vLLM kept the old weights' keys and values")
            self._spans.change(step, self._drawn())
        self._weights_lost = False
        self._step = step

    def _drawn(self) -> Iterator[tuple[str, int, int]]:
        """(request, index, tokens so far) of all completions that run.  What is still in flight, vLLM draws again."""
        for state in self._engine.output_processor.request_states.values():
            yield state.external_req_id, state.request_index, state.detokenizer.num_output_tokens()

    def join(self, way: Way, timeout: float, info: Mapping[str, Any]) -> None:
        if way != self._transfer:
            raise SamplerError(
                f"{self.name}: was started to take weights by {self._transfer}, and is given them by {way}"
            )
        self._turns.limit = timeout
        with self._turns.verb(), self._turns.one_or_the_updates(), self._border("could not join the learner"):
            self._in_workers("join_transfer", dict(info), timeout)

    def start_update(self, step: int) -> None:
        with self._turns.verb(), self._border(f"could not make room for the weights of step {step}"):
            self._turns.start_update(step)
            self._in_workers("start_transfer")

    def receive(self, info: Mapping[str, Any]) -> None:
        with self._turns.verb(), self._border(f"could not take the weights of step {self._turns.step}"):
            self._in_workers("receive_transfer", dict(info))

    def finish_update(self) -> None:
        with self._turns.verb(), self._border(f"could not take the weights of step {self._turns.step}"):
            self._in_workers("finish_transfer")
            self._serve(self._turns.step)
            self._turns.finish_update()

    def sleep(self) -> None:
        """On a GPU, drop weights and key-value cache (level 2: they are not even kept in host memory)."""
        if self._cuda:
            with self._turns.one(), self._border("could not go to sleep"):
                self._engine.sleep(level=2)
                self._weights_lost = True

    def wake(self) -> None:
        """Room for the weights only.  The key-value cache follows them, once the old ones are gone."""
        if self._cuda:
            with self._turns.one(), self._border("could not wake up"):
                self._engine.wake_up(tags=["weights"])

    def close(self) -> None:
        from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

        self._engine.engine_core.shutdown()
        self._engine = None
        if self._engine_thread is not None:
            self._engine_thread.shutdown(wait=False)
        self._decoder.shutdown(wait=False)
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


def _completion(answer: Any, text: str, spans: tuple[Span, ...]) -> Completion:
    finish: Finish = "stop" if answer.finish_reason == "stop" else "length"
    return Completion(answer.token_ids, answer.logprobs, text, finish, spans)


def _advice(cause: str) -> str:
    lowered = cause.lower()
    if "kv cache" in lowered or "cache blocks" in lowered:
        return "raise sampling.gpu_memory_utilization, or lower sampling.max_tokens"
    if "memory" in lowered:
        return "lower sampling.gpu_memory_utilization, sampling.group_size or sampling.max_tokens"
    return 'set sampling.backend = "transformers" to sample without vLLM'
