"""Answers in words: letters of every script are letters, and no two different words are one answer."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rewards.math_answer import verify_answer
from rewards.math_answer.compare.normal import normal_form
from rewards.math_answer.nodes import Words
from rewards.math_answer.read.answers import parse
from rewards.math_answer.read.tokens import ParseError
from rewards.math_answer.read.vocabulary import GREEK
from rewards.math_answer.read.words import normal_text, without_article

# Letters (and vowel signs) of a script each; Greek and Latin letters are variables too, and have tests of their own.
SCRIPTS = {
    "Cyrillic": "абвгдежзийклмнопрстуфхцчшщъыьэюя",
    "Chinese": "正确错误存在不有无解平行垂直增减函数甲乙丙丁是否对真假能大小于左右上下钝锐角",
    "Hebrew": "אבגדהוזחטיכלמנסעפצקרשת",
    "Arabic": "ابتثجحخدذرزسشصضطظعغفقكلمنهوي",
    "Devanagari": "कखगघचछजझटठडढतथदधनपफबभमयरलवशषसहािीुूेैोौं",
    "Thai": "กขคงจฉชซญดตถทนบปผพฟภมยรลวศษสหอะาิีึืุู",
    "Hangul": "가나다라마바사아자차카타파하예아니오참거짓",
    "Kana": "あいうえおかきくけこさしすせそはひいえ",
    "Armenian": "աբգդեզէըթժիլխծկհձղճմյնշոչպջռսվտրցւփքօֆ",
    "Georgian": "აბგდევზთიკლმნოპჟრსტუფქღყშჩცძწჭხჯჰ",
    "accented": "àâäçéèêëîïôöùûüñßøåæčšž",
}
WORDS = (
    st.sampled_from(sorted(SCRIPTS))
    .flatmap(lambda name: st.text(SCRIPTS[name], min_size=1, max_size=6))
    .map(lambda word: unicodedata.normalize("NFKC", word))
    .filter(lambda word: any(map(str.isalpha, word)))
)
LATIN = st.text("abcdefghijklmnopqrstuvwxyz", min_size=5, max_size=9)


def same(one: str, other: str) -> bool:
    return any(verify_answer(one, other, policy).ok for policy in ("train", "eval"))


@settings(max_examples=300)
@given(WORDS, WORDS)
def test_two_words_are_two_answers(one: str, other: str) -> None:
    assert same(one, rf"\text{{{other}}}") is (one == other)
    assert same(rf"\boxed{{{one}}}", other) is (one == other)


@pytest.mark.parametrize("name", sorted(GREEK))
def test_the_name_of_a_greek_letter_is_that_letter(name: str) -> None:
    assert same(name, rf"\text{{{name}}}") and same(rf"\{name}", name)
    assert not same(name, name + name)


@settings(max_examples=300)
@given(LATIN, LATIN)
def test_two_latin_words_are_two_answers(one: str, other: str) -> None:
    assume(one != other and all(isinstance(parse(rf"\text{{{word}}}"), Words) for word in (one, other)))
    assert not same(rf"\text{{{one}}}", rf"\text{{{other}}}")
    assert same(rf"\text{{{one}}}", rf"\textbf{{{one.capitalize()}.}}")


@settings(max_examples=300)
@given(WORDS)
def test_a_letter_more_or_less_is_another_word(word: str) -> None:
    assert not same(word, word + word[0])
    assert not same(word + word[0], word)
    assert not same(word, "不" + word)


@given(st.text(max_size=12), st.text(max_size=12))
def test_texts_with_one_normal_form_have_the_same_letters(one: str, other: str) -> None:
    """The normal form drops markup, never a letter, a mark or a digit."""
    assume("\\" not in one + other)
    if normal_text(one) == normal_text(other):
        kept = [
            [char for char in text.lower() if unicodedata.category(char)[0] in "LMN" and char != "_"]
            for text in (one, other)
        ]
        assert kept[0] == kept[1]


@given(st.text(max_size=20), st.text(max_size=20))
def test_nothing_equals_the_empty_form(one: str, other: str) -> None:
    for text in (one, other):
        try:
            node = parse(text)
        except ParseError:
            continue
        assert not isinstance(node, Words) or node.text
    with pytest.raises(ValueError, match="at least one letter"):
        Words("")


@pytest.mark.parametrize("symbols", ["🙂", "♠♥", "→←", "…", "！？", "\u200b", "\u0301", "()"])
def test_what_has_no_letters_is_no_word(symbols: str) -> None:
    for other in ("да", "yes", "42", "♣", "🙃"):
        assert not same(symbols, other) and not same(other, symbols)


@pytest.mark.parametrize("noun", ["circle", "ellipse", "parabola", "hexagon", "rectangle", "right triangle"])
@pytest.mark.parametrize("article", ["the", "a", "an", "The", "A"])
def test_an_article_before_a_noun_says_nothing(article: str, noun: str) -> None:
    for text in (rf"\text{{{article} {noun}}}", f"{article} {noun}", rf"\text{{{article} {noun}.}}"):
        assert same(rf"\text{{{noun}}}", text) and same(text, noun), text
        assert normal_form(parse(text)) == normal_form(parse(rf"\text{{{noun}}}"))
        assert not same(rf"\text{{{noun}s}}", text), "a plural is another word"
        assert not same(r"\text{square}", text)


def test_only_an_article_is_dropped() -> None:
    assert without_article("a b") == "a b" and without_article("the") == "the" and without_article("another one")
    assert not same(r"\text{plan a}", r"\text{plan}") and not same(r"\text{theorem}", r"\text{orem}")


@pytest.mark.parametrize("word", ["ja", "si", "oui", "nein", "True", "Yes", "odd"])
def test_short_words_are_words_in_text_and_outside(word: str) -> None:
    assert same(word, rf"\text{{{word}}}") and same(rf"\text{{{word}}}", word)
    assert not same(word, r"\text{no}") and not same(word, "42")
