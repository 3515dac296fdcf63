"""How a model reads a problem: chat templates, plain text, the begin token, and room in the context."""

from __future__ import annotations

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from grpo.config import Data
from grpo.errors import ConfigError, DataError, ModelError
from grpo.problems import render_prompts
from grpo.types import Problem

SPECIAL = ["<bos>", "<eos>", "<user>", "<system>", "<assistant>"]
CHAT = (
    "{% for m in messages %}{{ '<' + m.role + '>' + m.content + '<eos>' }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
# As Llama's and Gemma's: it writes the begin token itself, and knows no system message.
STRICT = "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + CHAT


def make_tokenizer(around="$0", template=None):
    """One token per character; `around` is what the tokenizer puts around a text, such as "<bos> $0"."""
    vocabulary = {token: id for id, token in enumerate([*SPECIAL, *map(chr, range(32, 127))])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token=" "))
    core.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    core.post_processor = processors.TemplateProcessing(
        single=around, special_tokens=[(token, vocabulary[token]) for token in SPECIAL]
    )
    core.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<bos>", eos_token="<eos>", extra_special_tokens=SPECIAL[2:]
    )
    tokenizer.chat_template = template
    return tokenizer


def ask(*contents, roles=("user",), id="p"):
    return Problem(id, tuple({"role": role, "content": text} for role, text in zip(roles, contents, strict=True)), {})


def texts(problems, tokenizer, *, context=100, max_tokens=10, vocabulary=100, **settings):
    room = {"context": context, "max_tokens": max_tokens, "vocabulary": vocabulary}
    prompts = render_prompts(problems, tokenizer, Data(source="mine", **settings), **room)
    assert [prompt.problem for prompt in prompts] == problems
    return [tokenizer.decode(prompt.token_ids) for prompt in prompts]


def test_a_chat_prompt_ends_where_the_assistant_begins():
    tokenizer = make_tokenizer(template=CHAT)
    problems = [ask("1+1?"), ask("Be brief.", "2+2?", roles=("system", "user"))]
    assert texts(problems, tokenizer) == [
        "<user>1+1?<eos><assistant>",
        "<system>Be brief.<eos><user>2+2?<eos><assistant>",
    ]


@pytest.mark.parametrize("around", ["$0", "<bos> $0", "<bos> $0 <eos>"])
def test_a_chat_prompt_has_the_tokens_that_transformers_gives_it(around):
    tokenizer = make_tokenizer(around, STRICT)
    room = {"context": 100, "max_tokens": 10, "vocabulary": 100}
    [prompt] = render_prompts([ask("1+1?")], tokenizer, Data(source="mine"), **room)
    theirs = tokenizer.apply_chat_template(list(prompt.problem.messages), add_generation_prompt=True, return_dict=True)
    assert list(prompt.token_ids) == theirs["input_ids"]
    assert prompt.token_ids.count(tokenizer.bos_token_id) == 1


def test_what_the_template_opens_stays_open():
    tokenizer = make_tokenizer(template=CHAT.replace("<assistant>", "<assistant><think>"))
    assert texts([ask("1+1?")], tokenizer) == ["<user>1+1?<eos><assistant><think>"]


@pytest.mark.parametrize("opened", ["<think>", "<think>\n", "<think> \n\n", "<thought>", "[THINK]"])
@pytest.mark.parametrize("chat", [True, False], ids=["by the chat template", "by the data's"])
def test_a_thought_that_a_prompt_opens_is_noted(opened, chat):
    settings = {"chat": chat} if chat else {"chat": chat, "template": "{problem}" + opened}
    tokenizer = make_tokenizer(template=CHAT.replace("<assistant>", "<assistant>" + opened))
    asked = ask("1+1?" if chat else "1+1?" + opened)
    room = {"context": 100, "max_tokens": 10, "vocabulary": 100}
    [prompt] = render_prompts([asked], tokenizer, Data(source="mine", **settings), **room)
    assert prompt.opened == opened


@pytest.mark.parametrize("end", ["", "<think>\n\n</think>\n\n", "<think> so", "think>", "<answer>"])
def test_a_prompt_that_ends_outside_of_a_thought_opens_none(end):
    tokenizer = make_tokenizer(template=CHAT.replace("<assistant>", "<assistant>" + end))
    room = {"context": 100, "max_tokens": 10, "vocabulary": 100}
    [prompt] = render_prompts([ask("<think>")], tokenizer, Data(source="mine"), **room)
    assert prompt.opened == ""


# --- What the template is told ------------------------------------------------------------------------------------

# Qwen3's: a thought that is already closed.
SWITCH = CHAT + (
    "{% if add_generation_prompt and enable_thinking is defined and enable_thinking is false %}"
    "<think></think>{% endif %}"
)
# SmolLM 3's: a default inside the template, beside what only its tags need.
DEFAULT = (
    "{% generation %}{% endgeneration %}{% if level is not defined %}{% set level = 1 %}{% endif %}{{ level }}" + CHAT
)


@pytest.mark.parametrize(
    ("given", "reads"),
    [
        ({}, "<user>1+1?<eos><assistant>"),
        ({"enable_thinking": True}, "<user>1+1?<eos><assistant>"),
        ({"enable_thinking": False}, "<user>1+1?<eos><assistant><think></think>"),
    ],
)
def test_the_chat_template_is_told_what_the_data_say(given, reads):
    assert texts([ask("1+1?")], make_tokenizer(template=SWITCH), chat_template_kwargs=given) == [reads]


def test_a_default_inside_the_template_can_be_replaced():
    tokenizer = make_tokenizer(template=DEFAULT)
    assert texts([ask("1+1?")], tokenizer) == ["1<user>1+1?<eos><assistant>"]
    assert texts([ask("1+1?")], tokenizer, chat_template_kwargs={"level": 2}) == ["2<user>1+1?<eos><assistant>"]


@pytest.mark.parametrize(
    ("template", "key", "reads"),
    [
        (SWITCH, "thinking", "it reads enable_thinking"),
        (DEFAULT, "enable_thinking", "it reads level"),
        (CHAT, "enable_thinking", "it reads none"),
        (STRICT, "bos_token", "it reads none"),
        (SWITCH, "messages", "it reads enable_thinking"),
        (SWITCH, "add_generation_prompt", "it reads enable_thinking"),
        (SWITCH, "tokenize", "it reads enable_thinking"),
    ],
)
def test_what_the_chat_template_never_reads_is_refused_by_name(template, key, reads):
    with pytest.raises(ConfigError, match=rf"chat_template_kwargs: the chat template .* not read {key} \({reads}\)"):
        texts([ask("1+1?")], make_tokenizer(template=template), chat_template_kwargs={key: False})


def test_a_template_that_cannot_be_read_or_used_with_what_it_is_told_is_a_sentence():
    with pytest.raises(ModelError, match=r"its chat template cannot be read \(.*\); mend it"):
        texts([ask("1+1?")], make_tokenizer(template="{% if %}" + DEFAULT), chat_template_kwargs={"level": 1})
    adds = DEFAULT.replace("{{ level }}", "{{ level + 1 }}")
    with pytest.raises(
        ModelError, match=r"its chat template refuses problem p .*; change .* data.chat_template_kwargs"
    ):
        texts([ask("1+1?")], make_tokenizer(template=adds), chat_template_kwargs={"level": "high"})


# --- Plain text ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("around", "text", "reads"),
    [
        ("$0", "1+1=", "1+1="),  # Qwen
        ("<bos> $0", "1+1=", "<bos>1+1="),  # Llama
        ("<bos> $0", "<bos>1+1=", "<bos>1+1="),  # the template has it: not twice
        ("<bos> $0 <eos>", "1+1=", "<bos>1+1="),  # after an end token there is nothing to continue
        ("$0 <eos>", "1+1=", "1+1="),
    ],
)
def test_plain_text_begins_as_the_tokenizer_begins_texts(around, text, reads):
    assert texts([ask(text)], make_tokenizer(around), chat=False) == [reads]


def test_no_problems_are_no_prompts():
    assert texts([], make_tokenizer()) == []


def test_a_prompt_may_fill_the_context_to_the_last_token():
    [text] = texts([ask("x" * 20)], make_tokenizer(), chat=False, context=30, max_tokens=10)
    assert len(text) == 20


@pytest.mark.parametrize(
    ("context", "says"),
    [
        (
            29,
            r"problem long: its prompt of 20 tokens and max_tokens = 10 do not fit into the model's context of 29 "
            r"tokens \(1 of 3 problems do not fit\); set max_tokens to 9 or less",
        ),
        (20, r"\(1 of 3 problems do not fit\); take the long problems out of the data"),
        (10, r"\(3 of 3 problems do not fit\); take"),
    ],
)
def test_a_prompt_that_does_not_fit_is_refused_and_not_cut(context, says):
    problems = [ask("x"), ask("x" * 20, id="long"), ask("xx")]
    with pytest.raises(DataError, match=says):
        texts(problems, make_tokenizer(), chat=False, context=context, max_tokens=10)


def test_a_tokenizer_without_a_chat_template_is_refused_with_the_way_out():
    with pytest.raises(ModelError, match=r"no chat template; .*data\.chat = false and data\.template = "):
        texts([ask("1+1?")], make_tokenizer())


def test_a_message_that_the_template_refuses_is_refused_with_its_reason():
    problem = ask("Be brief.", "1+1?", roles=("system", "user"), id="gsm8k/7")
    with pytest.raises(ModelError, match=r"problem gsm8k/7 with messages from system, user \(no system role\)"):
        texts([problem], make_tokenizer(template=STRICT))


def test_plain_text_has_no_place_for_a_system_message():
    with pytest.raises(ConfigError, match=r"data\.system: .*put it into data\.template"):
        texts([ask("1+1?")], make_tokenizer(), chat=False, system="Be brief.")


def test_plain_text_has_no_place_for_a_conversation():
    with pytest.raises(DataError, match=r"mine: problem p is a conversation of 2 messages"):
        texts([ask("Be brief.", "1+1?", roles=("system", "user"))], make_tokenizer(), chat=False)


# --- A tokenizer that is not the model's --------------------------------------------------------------------------


EMPTY = CHAT.replace("m.content", "m.text | default('')")  # of a model whose messages are written otherwise


@pytest.mark.parametrize(
    ("asked", "settings"),
    [("да, нет", {"chat": False}), ("Ω≠Δ", {}), ("1+1?", {"template": EMPTY})],
    ids=["letters that the vocabulary lacks", "and in a chat", "a chat template that drops the question"],
)
def test_problems_that_are_lost_on_their_way_to_the_model_are_refused(asked, settings):
    tokenizer = make_tokenizer(template=settings.pop("template", CHAT))
    problems = [ask(asked, id=f"p{number}") for number in range(5)]
    with pytest.raises(
        ModelError, match=r"5 of 5 problems are lost .* \(p0 reads '.*'\), so one of them is not the mod"
    ):
        texts(problems, tokenizer, **settings)


def test_a_sign_that_the_vocabulary_lacks_here_and_there_is_no_other_models_tokenizer():
    assert len(texts([ask("1+1?"), ask("π?"), ask("2+2?"), ask("2²")], make_tokenizer(), chat=False)) == 4


def test_a_token_that_the_model_does_not_have_is_refused():
    with pytest.raises(
        ModelError, match=r"writes token \d+ into problem p, and the model has 30, so it is not the mod"
    ):
        texts([ask("1+1?")], make_tokenizer(), chat=False, vocabulary=30)


@pytest.mark.parametrize("asked", ["  two   words \n", "ＦＵＬＬ width", "a\tb"])
def test_white_space_case_and_compatible_forms_may_change_on_the_way(asked):
    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip(), normalizers.Lowercase()]
    )
    assert len(texts([ask(asked)], tokenizer, chat=False)) == 1
