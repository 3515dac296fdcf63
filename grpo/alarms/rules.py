"""The table of rules: docs/alarms.md is held to it by a test.

A rule looks at the run's first window and at a later one, and says what it sees there, or nothing.  `low` and `high`
are two standard errors from the mean, so noise around a threshold is no finding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from grpo.alarms import judging, learning, writing
from grpo.alarms.findings import Sees
from grpo.signs import LEAST_THINKING, Sign


@dataclass(frozen=True)
class Rule:
    """`harmless` says in which runs that are well it is raised too.  `worst` ranks the completions of a step: those
    with the highest show best what is meant, and None shows nothing of it."""

    formula: str
    source: str
    harmless: str
    advice: str
    sees: Sees
    worst: Callable[[Sign], float | None] | None = None


def _paid_and_wrong(sign: Sign) -> float | None:
    return None if sign.right else sign.reward


def _unthinking(sign: Sign) -> float | None:
    return -sign.thinking if sign.thinking is not None and sign.thinking < LEAST_THINKING else None


RULES: Mapping[str, Rule] = {
    "entropy collapse": Rule(
        "`policy/entropy` < 0.2 × start",
        "arXiv 2505.22617: reward is bought with entropy, most of it in the first tenth of a run; a universal bound is "
        "not in the paper, 0.2 is ours",
        "the run is done: a model that knows the answer is sure of it",
        "raise objective.clip_high (0.28), or objective.top_entropy_quantile = 0.2",
        learning.entropy_collapse,
        lambda sign: -sign.entropy,
    ),
    "entropy explosion": Rule(
        "`policy/entropy` > 3 × start, and > 0.1",
        "ours; entropy that grows without bound is reported with clip-higher (rllm#116)",
        "a start model that was fine-tuned to one form of answer, and explores again",
        "lower objective.clip_high or optim.lr",
        learning.entropy_explosion,
        lambda sign: sign.entropy,
    ),
    "sampler mismatch": Rule(
        "`policy/sampler_gap` > 3 × start, and > 0.001",
        "3 × is ours; that runs collapse of it: TRL#5231, TRL#6789",
        "completions have grown much longer, and rare tokens with them",
        'objective.correction, model.head_dtype = "float32", or a sampler of the same precision',
        learning.sampler_mismatch,
    ),
    "few useful groups": Rule(
        "`groups/useful` < 0.2",
        "arXiv 2503.14476 (DAPO), section 3.2; 0.2 is ours",
        "the run is done: nearly all is solved",
        "all right: harder problems; all wrong: easier ones, a larger sampling.group_size; or curriculum.easy and hard",
        learning.few_useful_groups,
    ),
    "exploration gone": Rule(
        "`groups/distinct_answers` < 0.5 × start (of 2 or more), and `solved` has not risen",
        "arXiv 2503.14476 (DAPO), figure 2b; 0.5 is ours",
        "a reward that does not say which answer it read, then reads it",
        "raise sampling.temperature or sampling.group_size, or objective.advantages that pay for pass@k",
        learning.exploration_gone,
    ),
    "truncated": Rule(
        "`completions/truncated` > 0.1, or > 2 × start and > 0.02",
        "arXiv 2503.14476 (DAPO), section 3.4; TRL#5697: 97 % of answers cut, reward 0 for hours",
        "a room that was made short on purpose, for a length reward to teach",
        "raise sampling.max_tokens, or objective.mask_truncated_completions = true",
        writing.truncated,
        lambda sign: sign.tokens if sign.truncated else None,
    ),
    "at the limit": Rule(
        "`completions/truncated` = 1 in 2 steps of a window",
        "seen in runs of open-r1; 2 steps are ours",
        "steps of very few completions",
        "go back to a checkpoint from before it; the end of text may be masked, or paid for too little",
        writing.at_the_limit,
        lambda sign: sign.tokens if sign.truncated else None,
    ),
    "length drift": Rule(
        "`completions/length_mean` > 2 × or < 0.5 × start, and `solved` has not risen",
        "arXiv 2503.20783 (Dr. GRPO); factors are ours",
        "thoughts that grow first and solve more later; a length reward that does its work",
        'objective.name = "dr_grpo", or the length reward',
        writing.length_drift,
        lambda sign: sign.tokens,
    ),
    "longer when wrong": Rule(
        "`length_wrong` / `length_right` > 1.25 × start, and `solved` has not risen",
        "arXiv 2503.20783 (Dr. GRPO), section 3.1; 1.25 is ours",
        "hard problems need longer answers: a mix whose easy part is solved ever shorter",
        'objective.name = "dr_grpo", whose weights do not favour long wrong answers',
        writing.longer_when_wrong,
        lambda sign: None if sign.right else sign.tokens,
    ),
    "repetition": Rule(
        "`completions/repetition` > 0.2, or > 3 × start and > 0.05",
        "arXiv 2502.03373, appendix C.2; thresholds are ours",
        "tables, code and long calculations, which repeat themselves by nature",
        "add the repetition reward; look whether the reward pays for length",
        writing.repetition,
        lambda sign: sign.repetition or None,
    ),
    "languages mixed": Rule(
        "`completions/prompt_script` < 0.95, and below start",
        "arXiv 2501.12948 (DeepSeek-R1), section 2.2 and eq. 7",
        "problems that ask for another script: translations, names; not seen at all: two languages of one script",
        "add the language reward, which tells languages of one script apart too",
        writing.languages_mixed,
        lambda sign: None if sign.script is None or sign.script >= 0.95 else -sign.script,
    ),
    "empty thinking": Rule(
        "`thinking/empty` > 0.05, and above start",
        "DeepSeek-R1's README: models skip their thinking; 0.05 is ours",
        "problems that need no thought",
        "the layout reward; a prompt that opens the tag",
        writing.empty_thinking,
        _unthinking,
    ),
    "answer without work": Rule(
        "`thinking/empty` > 0.05, and `thinking/empty_solved` ≥ `thinking/solved`",
        "ours: a shortcut",
        "problems that need no thought; or only the easy ones are answered without",
        "look whether the prompt or the data gives the answer away; harder problems",
        writing.answer_without_work,
        lambda sign: _unthinking(sign) if sign.right else None,
    ),
    "length explains reward": Rule(
        "|`reward/length_correlation`| > 0.4, and above start",
        "arXiv 2310.03716 on length bias; 0.4 is ours",
        "a length reward that is meant; completions that are wrong because they ran out of room",
        "judge length by itself (the length reward), and look at the first reward's mistakes",
        judging.length_explains_reward,
        lambda sign: sign.tokens,
    ),
    "judged less": Rule(
        "`completions/unscored` > 2 × start, and > 0.02",
        "ours: a checker that is dodged, or that breaks",
        "a busy machine, on which rewards run out of time",
        "the reasons are with the completions; mend the reward, or give it more time",
        judging.judged_less,
        lambda sign: sign.tokens if sign.reward is None else None,
    ),
    "shaped part": Rule(
        "`reward/mean` up by more than 0.02, and `solved` by less than a quarter of that",
        "dynamics, not shares: detectors of dominance raise false alarms on healthy runs (CoursIA#9583)",
        "a layout that is learned before anything is solved, which is how many runs begin",
        "lower the other parts' weights until the first outranks them: grpo rewards probe",
        judging.shaped_part,
        _paid_and_wrong,
    ),
    "rewards part ways": Rule(
        "one `reward/<part>` up, another down, both by more than 0.02",
        "arXiv 2210.10760 (Gao et al.): a proxy rises while what is meant falls",
        "parts that are meant to pull apart: shorter completions and more thought",
        "look at completions that the rising part likes; it may be gamed",
        judging.rewards_part,
        _paid_and_wrong,
    ),
    "second opinion": Rule(
        "`agree/<reward>` below start by more than 0.05",
        "arXiv 2210.10760: a gold beside the proxy; 0.05 is ours",
        "harder problems are solved now, on which the second opinion is worse",
        "read the completions on which the two differ; the first may be gamed",
        judging.second_opinion,
        lambda sign: sign.tokens if sign.doubted else None,
    ),
    "gain not shared": Rule(
        "`solved` up, while some `solved/<column>/<value>` is down (z-test, Holm over the values, p < 0.05)",
        "ours; no trainer publishes a measure of bias",
        "a column whose values hold other problems later than at the start, as a curriculum's do",
        "look at that part of the data; weigh it, or add to it",
        judging.drifting_column,
    ),
}
