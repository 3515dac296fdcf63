"""Whether two tokenizers mean the same text by the same tokens, which whoever compares distributions over them needs.

As many entries are not enough, and not needed either: embeddings are rounded up, and of one size there are other
vocabularies.  What counts is the map from words to ids, and what becomes of texts: the order of merges, how numbers and
spaces are cut, what is special, a token before the first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

# What tokenizers differ in: spaces, numbers, signs, scripts, forms of one letter, code, marks of other tokenizers.
TEXTS = (
    *("", " ", "  ", "\n", "\n\n", "\t", "\r\n", " a", "a ", "  a  b", "a\n\n\nb", "Hello, world!", "don't we'll I'M"),
    *("0", "7", "42", "123", "1234567890", "3.14159", "1,000,000", "1e-5", "-12+7=-5", "100%", "$5.00", "2^10", "x_1"),
    *("\\frac{1}{2}", "\\boxed{42}", "a²+b²=c²", "∑ ∫ √ ≤ π", "½ ⅔ №", "“quoted” – dash…", "naïve café", "cafe\u0301"),
    *("straße ÄÖÜ", "Привет, мир", "你好，世界", "こんにちは", "안녕하세요", "مرحبا", "שלום", "नमस्ते", "ไทย", "Ελλάδα"),
    *("🙂", "👩‍👩‍👧", "🇫🇷", "\u200b", "\ufeff", "\u00a0", "A\u0000B", "ﬁ ﬂ", "İstanbul", "ﷺ", "\U0001d4d0", "é" * 5),
    *("def f(x):\n    return x + 1\n", "if (a && b) { c[0] = d->e; }", "<div class='a'>b</div>", '{"a": [1, null]}'),
    *("SELECT * FROM t;", "# title\n\n- one\n- two", "https://a.b/c?d=e#f", "a@b.org", "/usr/bin/env", "C:\\x\\y"),
    *("<think>", "</think>", "<answer>1</answer>", "<|im_start|>user\n", "<|im_end|>", "<|endoftext|>", "<s>", "</s>"),
    *("[INST] a [/INST]", "<|eot_id|>", "<|assistant|>", "<start_of_turn>", "<pad>", "<unk>", "aaaaaaaaaaaaaaaa"),
    *("supercalifragilistic", "ALL CAPS", "camelCaseName", "snake_case_name", "a.b.c", "...", "!!!", "???", "====="),
)  # fmt: skip
SHOWN = 24  # characters of a token or text


def difference(student: Any, teacher: Any, texts: Sequence[str] = ()) -> str:
    """What differs first, as a clause; "" where nothing does.  `texts` are tried besides `TEXTS` and special tokens."""
    return next(_differences(student, teacher, texts), "")


def _differences(student: Any, teacher: Any, texts: Sequence[str]) -> Iterator[str]:
    ours, theirs = student.get_vocab(), teacher.get_vocab()
    differing = [token for token in {**ours, **theirs} if ours.get(token) != theirs.get(token)]
    if differing:
        token = min(differing, key=lambda token: (ours.get(token, theirs.get(token)), token))
        yield (
            f"{len(differing):,} tokens of {len(ours):,} and {len(theirs):,} are not the same; "
            f"{token[:SHOWN]!r} is {_id(ours, token)} in the student's and {_id(theirs, token)} in the teacher's"
        )
    special = [token for tokenizer in (student, teacher) for token in tokenizer.all_special_tokens]
    for text in (*dict.fromkeys(special), *TEXTS, *texts):
        one, other = (tokenizer(text)["input_ids"] for tokenizer in (student, teacher))
        if one != other:
            yield f"{text[:SHOWN]!r} is {_ids(one)} in the student's and {_ids(other)} in the teacher's"


def _id(vocabulary: dict[str, int], token: str) -> str:
    return f"token {vocabulary[token]}" if token in vocabulary else "no token"


def _ids(ids: Sequence[int]) -> str:
    return str(list(ids)) if len(ids) <= 6 else f"[{', '.join(map(str, ids[:6]))}, …]"
