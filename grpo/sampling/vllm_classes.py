"""Classes of transformers that vLLM and we both make models of, in one process.

Where vLLM has no code of its own for an architecture (OLMo 2, SmolLM 3) its model is one of transformers' class, and it
changes the class itself so that instances compile.  A policy of that class could then not be made ("Current vLLM config
is not set"), or would skip its hooks.  So the change is kept to the instances that vLLM makes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from transformers import PreTrainedModel

_starting = False  # whether an engine is being started: what is made meanwhile is vLLM's


@contextmanager
def classes_shared() -> Iterator[None]:
    """Around the start of an engine."""
    from vllm.compilation import decorators

    global _starting
    decorate = decorators._support_torch_compile

    def decorate_for_vllm(cls: Any, *arguments: Any, **options: Any) -> Any:
        plain = cls.__init__, cls.__call__
        decorate(cls, *arguments, **options)
        if issubclass(cls, PreTrainedModel) and cls.__init__ is not plain[0]:  # else it was changed before
            _share(cls, *plain)
        return cls

    _starting, decorators._support_torch_compile = True, decorate_for_vllm
    try:
        yield
    finally:
        _starting, decorators._support_torch_compile = False, decorate


def _share(cls: Any, plain_init: Callable[..., None], plain_call: Callable[..., Any]) -> None:
    its_init, its_call = cls.__init__, cls.__call__

    def __init__(self: Any, *arguments: Any, **options: Any) -> None:
        (its_init if _starting else plain_init)(self, *arguments, **options)

    def __call__(self: Any, *arguments: Any, **options: Any) -> Any:
        call = its_call if hasattr(self, "do_not_compile") else plain_call  # which vLLM gives its own
        return call(self, *arguments, **options)

    cls.__init__, cls.__call__ = __init__, __call__
