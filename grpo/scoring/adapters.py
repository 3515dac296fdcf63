"""Three signatures in, one out: `(completion, problem) -> Score`.

    ours   f(completion, problem, **options)                                   -> float | Score
    TRL    f(prompts, completions, **columns)                                  -> list[float | None]
    verl   compute_score(data_source, solution_str, ground_truth, extra_info)  -> float | {"score": float, …}

The names of its parameters say which one a function has, so the order of parameters cannot be mistaken, and all calls
are made by name.  TRL's functions take lists and are called with lists of one.  What comes back is checked here, once:
anything but a finite number or a `Score` breaks the contract and is a `Misuse`, never a default number.
"""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from grpo.errors import RewardError
from rewards import Score

Judge = Callable[[str, Mapping[str, Any]], Score]

LONGEST_TEXT = 2000  # characters of `why` and `answer`: a reward may quote a completion, the log need not
ALLOWED = (
    "allowed are (completion, problem), TRL's (prompts, completions, **columns) "
    "and verl's (data_source, solution_str, ground_truth, extra_info)"
)
NUMBER_OR_SCORE = "return a finite number or a Score (Score.none(why) for what cannot be judged)"
ONE_NUMBER_EACH = "return a list with one number, or None, for each completion"


class Misuse(RewardError):
    """The reward was called as it asked and broke its contract: `what` it did, and `advice`."""

    def __init__(self, use: str, what: str, advice: str) -> None:
        super().__init__(f"{use} {what}; {advice}")
        self.use, self.what, self.advice = use, what, advice


def adapt(function: Callable[..., object], *, use: str, options: Mapping[str, Any], chat: bool) -> Judge:
    """`function` as a `Judge`; refuses signatures that are none of the three and options it does not take."""
    if _is_async(function):
        raise RewardError(
            f"{use}: is async; write it with a plain `def`, each worker scores one at a time", exit_code=2
        )
    parameters = _named_parameters(function)
    for marks, supplied, adapter in _SIGNATURES:
        if marks <= parameters.keys():
            _check_options(use, options, parameters, supplied)
            return adapter(_Reward(function, use, dict(options), parameters), chat)
    given = ", ".join(str(p) for p in parameters.values())
    raise RewardError(f"{use}: has the parameters ({given}); {ALLOWED}", exit_code=2)


@dataclass(frozen=True, slots=True)
class _Reward:
    function: Callable[..., object]
    use: str
    options: Mapping[str, Any]
    parameters: Mapping[str, inspect.Parameter]

    def __call__(self, offered: Mapping[str, Any]) -> object:
        """Call the function with its options and those of the names on offer that it takes."""
        given = {**offered, **self.options}
        if missing := [name for name, p in self.parameters.items() if _is_required(p) and name not in given]:
            advice = f"it can have {', '.join(sorted(offered))}, or options of that name"
            raise Misuse(self.use, f"needs {', '.join(missing)}", advice)
        takes_any = _takes_any(self.parameters)
        return self.function(**{name: value for name, value in given.items() if takes_any or name in self.parameters})


def _ours(reward: _Reward, chat: bool) -> Judge:
    def judge(completion: str, problem: Mapping[str, Any]) -> Score:
        return _score(reward({"completion": completion, "problem": problem}), reward.use, NUMBER_OR_SCORE)

    return judge


def _trl(reward: _Reward, chat: bool) -> Judge:
    """TRL gives chats as lists of messages, anything else as text; a column `answer` comes as `answer=[…]`."""

    def judge(completion: str, problem: Mapping[str, Any]) -> Score:
        messages = problem.get("prompt", [])
        prompt = messages if chat else "\n\n".join(message["content"] for message in messages)
        answer = [{"role": "assistant", "content": completion}] if chat else completion
        columns = {name: [value] for name, value in problem.items() if name != "prompt"}
        values = reward(columns | {"prompts": [prompt], "completions": [answer]})
        value = _only(values, reward.use)
        return Score.none("the reward gave None") if value is None else _score(value, reward.use, ONE_NUMBER_EACH)

    return judge


def _verl(reward: _Reward, chat: bool) -> Judge:
    """verl's result may be a dict with "score", and "pred" for what it took as the answer."""

    def judge(completion: str, problem: Mapping[str, Any]) -> Score:
        offered = {
            "data_source": problem.get("data_source", ""),
            "solution_str": completion,
            "ground_truth": problem.get("answer"),
            "extra_info": problem.get("extra_info", problem),
        }
        value = reward(offered)
        advice = 'return a finite number or a dict with one at "score"'
        if not isinstance(value, Mapping):
            return _score(value, reward.use, advice)
        score = _score(value.get("score"), reward.use, advice)
        answer = value.get("pred")
        return Score(score.value, answer=_clip(answer)) if isinstance(answer, str) else score

    return judge


# Parameters that give a signature away; those that we supply, so that no option may have their name; its adapter.
_SIGNATURES: tuple[tuple[frozenset[str], frozenset[str], Callable[[_Reward, bool], Judge]], ...] = (
    (frozenset({"completion", "problem"}), frozenset({"completion", "problem"}), _ours),
    (frozenset({"completions"}), frozenset({"prompts", "completions"}), _trl),
    (frozenset({"solution_str"}), frozenset({"data_source", "solution_str", "ground_truth", "extra_info"}), _verl),
)


def _score(value: object, use: str, advice: str) -> Score:
    if isinstance(value, Score):
        return _checked(value, use)
    if isinstance(value, str) or not hasattr(type(value), "__float__"):  # NumPy's texts have one too
        raise Misuse(use, f"returned {_short(value)}", advice)
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):  # an array of many numbers, an int beyond floats
        raise Misuse(use, f"returned {_short(value)}", advice) from None
    if not math.isfinite(number):
        raise Misuse(use, f"returned {number}", advice)
    return Score(number)


def _checked(score: Score, use: str) -> Score:
    """`score` with texts of bounded length and a plain float.  Its own fields may hold anything: Python checks none."""
    if score.failure is not None:
        advice = "Score.failure is set by who runs the reward: say it in Score.why, or raise"
        raise Misuse(use, f"returned a Score with failure = {_short(score.failure)}", advice)
    for text, allowed in ((score.why, str), (score.answer, str | None)):
        if not _is_a(text, allowed):
            raise Misuse(
                use, f"returned a Score with {_short(text)} for a text", "Score.answer and Score.why are texts"
            )
    value = None if score.value is None else float(score.value)
    parsed = None if score.parsed is None else bool(score.parsed)
    return Score(value, None if score.answer is None else _clip(score.answer), _clip(score.why), parsed)


def _is_a(value: object, kind: Any) -> bool:
    return isinstance(value, kind)


def _only(values: object, use: str) -> object:
    if isinstance(values, str | bytes | Mapping) or not (hasattr(values, "__len__") and hasattr(values, "__getitem__")):
        raise Misuse(use, f"returned {_short(values)}", ONE_NUMBER_EACH)
    if len(values) != 1:
        raise Misuse(use, f"returned a list of {len(values)} for 1 completion", ONE_NUMBER_EACH)
    return values[0]


def _check_options(
    use: str, options: Mapping[str, Any], parameters: dict[str, inspect.Parameter], supplied: frozenset[str]
) -> None:
    known = sorted(parameters.keys() - supplied - {p.name for p in parameters.values() if p.kind is p.VAR_KEYWORD})
    for name in options:
        if name in supplied or (name not in known and not _takes_any(parameters)):
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"its options are {', '.join(known) or 'none'}"
            raise RewardError(f"{use}: options.{name} is not an option of it; {hint}", exit_code=2)
    if "completions" in supplied:
        return  # TRL: what is still required may be a column, which only the call can tell
    for name, parameter in parameters.items():
        if _is_required(parameter) and name not in supplied and name not in options:
            raise RewardError(f"{use}: needs {name}, which no one supplies; give it under `options`", exit_code=2)


def _named_parameters(function: Callable[..., object]) -> dict[str, inspect.Parameter]:
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # written in C
        return {}
    return {name: p for name, p in parameters.items() if p.kind not in (p.POSITIONAL_ONLY, p.VAR_POSITIONAL)}


def _takes_any(parameters: Mapping[str, inspect.Parameter]) -> bool:
    return any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _is_required(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD


def _is_async(function: Callable[..., object]) -> bool:
    call = function if inspect.isroutine(function) else getattr(function, "__call__", function)  # noqa: B004
    return inspect.iscoroutinefunction(call) or inspect.isasyncgenfunction(call)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def _clip(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"
