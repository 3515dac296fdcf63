"""Announcements in other languages: found, denied, supposed; one table for all."""

from __future__ import annotations

import pytest

from rewards.math_answer import verify
from rewards.math_answer.find.languages import LANGUAGES, languages_in

# What announces 42, and what does not, in the words of each language.
ANNOUNCED = {
    "Chinese": "答案是42。|故答案为：42．|【答案】42\n【解析】略|最终答案：$42$|答案是42，因为它大。|### 最终答案\n42",
    "Japanese": "答えは42です。|【答え】42|**答え：** 42|したがって、答えは $42$ となります。|正解は42",
    "Korean": "답은 42입니다.|정답: 42|**최종 답:** 42|따라서 정답은 $42$ 이다.",
    "German": "Die Antwort lautet 42.|Die richtige Antwort ist 42.|**Antwort:** 42|Endergebnis: 42",
    "French": "La réponse est 42.|Réponse finale : 42|**Réponse :** $42$|La réponse finale est donc 42.",
    "Spanish": "La respuesta es 42.|Respuesta final: 42|Por lo tanto, la respuesta correcta es $42$.",
    "Portuguese": "A resposta é 42.|Resposta final: 42|A resposta correta é, portanto, 42.",
    "Italian": "La risposta è 42.|Risposta: 42|La risposta finale è quindi $42$.",
    "Dutch": "Het antwoord is 42.|Antwoord: 42|Het antwoord is dus $42$.",
    "Swedish": "Svaret är 42.|Svar: 42|Svaret er 42.",
    "Polish": "Odpowiedź: 42|Odpowiedź to 42.|Odpowiedź brzmi $42$.",
    "Russian": "Ответ: 42.|**Ответ:** 42|Ответ — 42.|Правильный ответ: $42$|Окончательный ответ равен 42.",
    "Ukrainian": "Відповідь: 42.|Правильна відповідь: 42",
    "Turkish": "Cevap: 42|Doğru cevap 42'dir.|**Cevap:** $42$",
    "Vietnamese": "Đáp số: 42|Vậy đáp án là 42.|Câu trả lời là $42$.",
    "Indonesian": "Jawaban: 42|Jadi, jawabannya adalah 42.",
    "Hindi": "उत्तर: 42|सही उत्तर 42 है।",
    "Arabic": "الجواب: 42|الإجابة هي 42.",
    "Persian": "پاسخ: 42|پاسخ 42 است.",
}
NOT_ANNOUNCED = {
    "Chinese": "答案不是42。|如果答案是42，则矛盾。|答案是41，不是42。|答案是41或42。",
    "Japanese": "答えは42ではありません。|もし答えは42なら",
    "Korean": "답은 42이 아닙니다.|만약 답은 42이면",
    "German": "Die Antwort ist nicht 42.|Die Antwort ist 81, nicht 42.|Die Antwort ist 41 oder 42.",
    "French": "La réponse n'est pas 42.|Si la réponse est 42, alors contradiction.|La réponse est supérieure à 42.",
    "Spanish": "La respuesta no es 42.|Si la respuesta es 42, hay un error.|¿Es 42 la respuesta?",
    "Portuguese": "A resposta não é 42.|A resposta é maior que 42.",
    "Italian": "La risposta non è 42.|La risposta è maggiore di 42.",
    "Dutch": "Het antwoord is niet 42.",
    "Swedish": "Svaret är inte 42.",
    "Polish": "Odpowiedź to nie 42.",
    "Russian": "Ответ: не 42.|Если ответ: 42, то противоречие.|Ответ: 41, а не 42.",
    "Ukrainian": "Відповідь: не 42.",
    "Turkish": "Cevap 42 değil.",
    "Vietnamese": "Đáp án là không 42.",
    "Indonesian": "Jawabannya adalah bukan 42.",
    "Hindi": "उत्तर 42 नहीं है।",
    "Arabic": "الجواب ليس 42.",
    "Persian": "پاسخ 42 نیست.",
}


def cases(table: dict[str, str]) -> list[tuple[str, str]]:
    return [(name, text) for name, texts in table.items() for text in texts.split("|")]


def test_every_row_is_tried_here() -> None:
    assert list(ANNOUNCED) == list(NOT_ANNOUNCED) == list(LANGUAGES)


@pytest.mark.parametrize(("name", "text"), cases(ANNOUNCED))
def test_an_announcement_is_found(name: str, text: str) -> None:
    assert LANGUAGES[name] in languages_in(text)
    for policy in ("train", "eval"):
        assert verify("42", text, policy).ok, verify("42", text, policy)
        assert not verify("41", text, policy).ok


@pytest.mark.parametrize(("name", "text"), cases(NOT_ANNOUNCED))
def test_what_is_denied_or_supposed_is_no_answer(name: str, text: str) -> None:
    for policy in ("train", "eval"):
        assert not verify("42", text, policy).ok, verify("42", text, policy)


@pytest.mark.parametrize(
    ("gold", "text"),
    [
        ("B", "故选：B．"),
        ("B", "本题选 B。"),
        ("B", "正确选项是 B"),
        ("B", "故选B. -5"),
        ("ACD", "故选：ACD"),
        ("C", "【答案】C【解析】略"),
    ],
)
def test_a_chinese_exam_names_a_choice(gold: str, text: str) -> None:
    assert verify(gold, text).ok
    assert not verify("A", text).ok


def test_a_text_in_english_is_searched_for_no_other_language() -> None:
    assert languages_in("The answer is 42, as was to be shown.") == []
