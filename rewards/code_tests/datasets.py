"""From a row of a data set to a task, for the data sets that people use and for our own form.

    HumanEval      test, entry_point, prompt                     asserts in a function check(candidate)
    MBPP           test_list, text or prompt                     assert statements
    LiveCodeBench  private_test_cases, public_test_cases         stdin or calls, in JSON
    LeetCode       test with my_solution = Solution(), prompt    assert statements (DeepSeek-Coder's contest file)
    ours           tests                                         see docs/code.md

The columns tell which one a row is of.  Test code and references in the data are trusted, and parsed here; what a
model wrote never is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rewards.code_tests import expressions
from rewards.code_tests.livecodebench import decode_cases, parse_json
from rewards.code_tests.tests import AssertTests, BadTask, CallTest, CallTests, StdinTest, StdinTests, Task, Tests

Row = Mapping[str, Any]

ANSWER_WITH = "Answer with the whole program in one ```python block."
COMPLETE = "Complete this Python function. Answer with the whole function and its imports in one ```python block."

# What LiveCodeBench and LeetCode offer to every program without an import: these modules, and all their names.
_MODULES = (
    "string re datetime collections heapq bisect copy math random statistics itertools functools operator io sys json "
    "typing"
).split()
IMPORTS = "".join(f"from {name} import *\nimport {name}\n" for name in _MODULES) + "from builtins import *\n"


def is_task(row: Row) -> bool:
    """Whether the row has the columns of a task with tests."""
    return _reader(row) is not None


def read_task(row: Row) -> Task:
    """The task in `row`.  Raises `BadTask` where its tests cannot judge anything."""
    read = _reader(row)
    if read is None:
        raise BadTask(f"it has no column with tests (columns: {', '.join(row)}); see docs/code.md for the forms")
    return read(row)


def _reader(row: Row) -> Callable[[Row], Task] | None:
    return next((read for columns, read in _READERS if all(row.get(name) is not None for name in columns)), None)


def _human_eval(row: Row) -> Task:
    prompt, entry, test = _prompt(row), _text(row, "entry_point"), _text(row, "test")
    if not expressions.mentions(test, "candidate", entry):
        raise BadTask("its tests call nothing")
    setup = expressions.without_function(prompt, entry)  # HumanEval/32, 38 and 50 test with the prompt's helpers
    tests = _in_checker(f"{setup}\n{test}", ["check(candidate)"], entry)
    solution = row.get("canonical_solution")
    return Task(
        tests,
        header=prompt,
        question=f"{COMPLETE}\n\n```python\n{prompt.rstrip()}\n```",
        reference=f"{prompt}{solution}" if solution else "",
    )


def _mbpp(row: Row) -> Task:
    cases = [case.strip() for case in _texts(row, "test_list")]
    if not cases:
        raise BadTask("it has no tests")
    setup = "\n".join([*_texts(row, "test_imports"), row.get("test_setup_code") or ""]).strip()
    asked = row.get("text") or row.get("prompt") or ""
    return Task(
        _assertions(setup, cases),
        # One test shows the function's name and types.  All of them would invite a program that knows three answers.
        question=f"{asked}\nFor example, it must pass this test:\n\n{cases[0]}\n\n{ANSWER_WITH}",
        reference=row.get("code") or "",
    )


def _assertions(setup: str, cases: Sequence[str]) -> Tests:
    return expressions.as_calls("\n".join([setup, *cases])) or _in_checker(setup, cases)


def _in_checker(setup: str, cases: Sequence[str], entry: str = "") -> AssertTests:
    """Test code that runs as it is.  `entry`: the function that it calls `candidate`; else it has the names it has."""
    code = "\n".join([setup, *cases])
    expressions.refuse_evaluation(code)
    names = expressions.program_names(code)
    if entry:
        names = (entry, *(name for name in names if name not in (entry, "candidate")))
    elif not expressions.are_independent(cases, names):
        cases = ["\n".join(cases)]
    return AssertTests(names[0], expressions.imports(code) + setup, tuple(cases), names[1:])


def _leetcode(row: Row) -> Task:
    tests = _assertions("", [_text(row, "test")])
    code = _prompt(row).rpartition('"""')[2]  # behind the question
    helpers = code.partition("class Solution")[0]  # ListNode and the like
    return Task(tests, header=f"{IMPORTS}{helpers}", question=f"{row.get('prompt_sft') or ''}\n\n{ANSWER_WITH}")


def _livecodebench(row: Row) -> Task:
    columns = [row.get("public_test_cases"), row["private_test_cases"]]
    cases = [case for column in columns for case in (decode_cases(column) if isinstance(column, str) else column or [])]
    starter = row.get("starter_code") or ""
    tests: Tests
    if starter or any(case.get("testtype") == "functional" for case in cases):
        tests = CallTests(_function_name(row), tuple(_lines_as_arguments(case) for case in cases))
        how = f"Use this starting point:\n\n```python\n{starter.rstrip()}\n```"
    else:
        tests = StdinTests(tuple(StdinTest(case["input"], case["output"]) for case in cases))
        how = "Read the input from stdin and write the answer to stdout."
    question = f"{row.get('question_content') or ''}\n\n{how}\n\n{ANSWER_WITH}"
    return Task(tests, header=IMPORTS, question=question)


def _function_name(row: Row) -> str:
    facts = row.get("metadata")
    facts = parse_json(facts) if isinstance(facts, str) and facts else facts
    name = facts.get("func_name") if isinstance(facts, dict) else None
    if not isinstance(name, str):
        raise BadTask("its tests call a function, and metadata does not name it (func_name)")
    return name


def _lines_as_arguments(case: Mapping[str, str]) -> CallTest:
    return CallTest([parse_json(line) for line in case["input"].split("\n")], parse_json(case["output"]))


def _ours(row: Row) -> Task:
    cases = row["tests"]
    cases = parse_json(cases) if isinstance(cases, str) else cases
    if not isinstance(cases, list):
        raise BadTask(f"its tests are no list (given {type(cases).__name__})")
    header, reference = row.get("header") or "", row.get("reference") or ""
    return Task(_our_tests(row, cases), header=header, reference=reference)


def _our_tests(row: Row, cases: list[Any]) -> Tests:
    if all(isinstance(case, str) for case in cases):
        return _assertions(row.get("setup") or "", cases) if cases else StdinTests(())
    if all(_has(case, "input", str) and _has(case, "output", str) for case in cases):
        return StdinTests(tuple(StdinTest(case["input"], case["output"]) for case in cases))
    if all(_has(case, "args", list) and "returns" in case for case in cases):
        return CallTests(_text(row, "entry"), tuple(CallTest(case["args"], case["returns"]) for case in cases))
    raise BadTask(
        "its tests are not all {input, output}, not all {args, returns}, and not all assert statements "
        f"(first: {json.dumps(cases[0], default=str)[:80]})"
    )


def _has(case: Any, name: str, kind: type) -> bool:
    return isinstance(case, dict) and isinstance(case.get(name), kind)


def _prompt(row: Row) -> str:
    """The column `prompt`.  `grpo` shows rewards the conversation by that name, and keeps the text aside."""
    return _text(row, "code_prompt" if isinstance(row.get("code_prompt"), str) else "prompt")


def _text(row: Row, column: str) -> str:
    value = row.get(column)
    if not isinstance(value, str) or not value.strip():
        raise BadTask(f"its column {column} must be text (given {value!r:.80})")
    return value


def _texts(row: Row, column: str) -> list[str]:
    values = row.get(column)
    if values is None:
        return []
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise BadTask(f"its column {column} must be a list of texts (given {values!r:.80})")
    return values


_READERS: Sequence[tuple[tuple[str, ...], Callable[[Row], Task]]] = (
    (("test", "entry_point", "prompt"), _human_eval),
    (("test_list",), _mbpp),
    (("private_test_cases",), _livecodebench),
    (("test", "prompt", "prompt_sft"), _leetcode),
    (("tests",), _ours),
)
