"""Language consistency: what is another language costs, and what is none costs nothing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards import Score
from rewards.language import LANGUAGES, language, share
from tests.rewards.writing import DATA, anything, in_proportion, solutions, units

CODES = sorted(code for codes in LANGUAGES.values() for code in codes)

WORKED = {  # the same worked solution, as a model writes it
    "en": (
        "First we compute the sum of the two numbers. Wait, that is not quite right. Let me check the result "
        "again. So the side of the square is twice as long, and she sells half of them in May."
    ),
    "de": (
        "Zuerst berechnen wir die Summe der beiden Zahlen. Moment, das stimmt nicht ganz. Ich prüfe das "
        "Ergebnis noch einmal. Also ist die Seite des Quadrats doppelt so lang, und sie verkauft die Hälfte "
        "davon im Mai."
    ),
    "fr": (
        "D'abord nous calculons la somme des deux nombres. Attends, ce n'est pas tout à fait juste. Je "
        "vérifie encore une fois le résultat. Le côté du carré est donc deux fois plus long, et elle en vend "
        "la moitié en mai."
    ),
    "es": (
        "Primero calculamos la suma de los dos números. Espera, eso no es del todo correcto. Voy a comprobar "
        "otra vez el resultado. El lado del cuadrado es por tanto el doble, y ella vende la mitad en mayo."
    ),
    "pt": (
        "Primeiro calculamos a soma dos dois números. Espera, isso não está bem certo. Vou verificar o "
        "resultado outra vez. O lado do quadrado é portanto o dobro, e ela vende a metade em maio."
    ),
    "it": (
        "Prima calcoliamo la somma dei due numeri. Aspetta, questo non è del tutto giusto. Controllo ancora "
        "una volta il risultato. Il lato del quadrato è quindi il doppio, e lei ne vende la metà a maggio."
    ),
    "pl": (
        "Najpierw obliczamy sumę dwóch liczb. Chwileczkę, to nie jest do końca prawda. Sprawdzę wynik "
        "jeszcze raz. Bok kwadratu jest więc dwa razy dłuższy, a ona sprzedaje połowę w maju."
    ),
    "vi": (
        "Trước tiên ta tính tổng của hai số. Khoan đã, điều đó chưa đúng lắm. Tôi kiểm tra lại kết quả. Cạnh "
        "hình vuông dài gấp đôi, và cô ấy bán một nửa vào tháng năm."
    ),
    "id": (
        "Pertama kita hitung jumlah kedua bilangan itu. Tunggu, itu tidak sepenuhnya benar. Saya periksa "
        "hasilnya sekali lagi. Jadi sisi persegi itu dua kali lebih panjang, dan dia menjual setengahnya "
        "pada bulan Mei."
    ),
    "ru": (
        "Сначала вычислим сумму двух чисел. Подождите, это не совсем верно. Проверю результат ещё раз. "
        "Значит, сторона квадрата вдвое длиннее, и она продаёт половину в мае."
    ),
    "uk": (
        "Спочатку обчислимо суму двох чисел. Зачекайте, це не зовсім так. Перевірю результат ще раз. Отже, "
        "сторона квадрата вдвічі довша, і вона продає половину в травні."
    ),
    "zh": (
        "首先我们计算两个数的和。等一下，这不太对。让我再检查一遍结果。所以正方形的边长是原来的两倍，她在五月"
        "卖掉了一半。"
    ),
    "ja": (
        "まず二つの数の和を計算します。待って、これは正しくありません。もう一度結果を確かめます。正方形の一辺"
        "は二倍で、彼女は五月に半分を売ります。"
    ),
    "ko": (
        "먼저 두 수의 합을 계산합니다. 잠깐, 그건 맞지 않습니다. 결과를 다시 확인하겠습니다. 정사각형의 한 "
        "변은 두 배이고 그녀는 오월에 절반을 팝니다."
    ),
    "ar": (
        "أولا نحسب مجموع العددين. انتظر، هذا ليس صحيحا تماما. سأتحقق من النتيجة مرة أخرى. إذن ضلع المربع أطول بمرتين."
    ),
    "fa": ("ابتدا مجموع دو عدد را حساب می‌کنیم. صبر کن، این کاملا درست نیست. نتیجه را یک بار دیگر بررسی می‌کنم."),
    "hi": ("पहले हम दोनों संख्याओं का योग निकालते हैं। रुको, यह पूरी तरह सही नहीं है। मैं परिणाम फिर से जाँचता हूँ।"),
    "el": (
        "Πρώτα υπολογίζουμε το άθροισμα των δύο αριθμών. Περίμενε, αυτό δεν είναι σωστό. Ελέγχω ξανά το αποτέλεσμα."
    ),
    "th": ("ก่อนอื่นเราคำนวณผลรวมของสองจำนวน เดี๋ยวก่อน นั่นไม่ถูกต้อง ฉันตรวจสอบผลลัพธ์อีกครั้ง"),
}

UNPUNISHED = {
    "formulas": r"We get $x^2 + \alpha y = 3$ and \[\sum_{k=1}^n k = 1.\] Hence \(a \ne b\), so we are done.",
    "text in formulas": r"So the speed is $30 \text{ Kilometer pro Stunde}$ and we are done.",
    "plain formulas": "So 3x + 2y = 12, hence sin(x) = 1/2 and f(n) = n! for all n. Then we add them up: 48/2 = 24.",
    "a bare calculation between words": "She makes 9 * 2 = $<<9*2=18>>18 every day at the market, so we are done.",
    "Greek letters": "Let α and β be the angles at A and B, with Δx the step and Σ the sum. Then αβ = 1 as we want.",
    "mathematical letters": "Let 𝑥 and 𝐴 be in ℝ, and let ℵ₀ be the first infinite cardinal, as everybody knows.",
    "code": "We write a program:\n```python\nfor wort in liste:\n    drucke(wort)\n```\nand this is all.",
    "code with comments": "We run:\n```python\n# 计算所有数字的总和\ntotal = sum(numbers)\n```\nand it prints it.",
    "identifiers": "Call np.linalg.norm(vec) and set max_len to 5, then `rechne_aus` gives what isPrime gave.",
    "names": "Then Xiaoming, Jürgen Müller and Владимир Путин each have 5 apples, and they share them with Łukasz.",
    "quoted words": 'The word "因此" means therefore, and «слово» means word, as we have seen in the text above.',
    "a quoted phrase": 'The proof ends with "quod erat demonstrandum", which is what we say when it is done.',
    "links and tags": "<think>See https://de.wikipedia.org/wiki/Zahl for how it is done.</think><answer>12</answer>",
    "units": "It is 5 km or 3 mi away, at 20 kWh and 7 µm, so the whole trip takes 4 h and 30 min for all of us.",
    "choices": "(A) circle (B) ellipse (C) line. The answer is the second one, so we choose (B) and stop.",
    "full-width letters": "The answer is ４２ and the letter is ｘ, as we have computed before.",
}


@pytest.mark.parametrize("code", WORKED)
def test_a_text_in_the_wanted_language_has_all_and_in_another_nothing(code: str) -> None:
    assert share(WORKED[code], code) == 1
    for other in WORKED:
        if other != code:
            assert share(WORKED[code], other) == 0, other


@pytest.mark.parametrize("other", [code for code in WORKED if code != "en"])
def test_a_mixture_has_about_the_share_of_its_words(other: str) -> None:
    """The English text has 34 words, the others from 14 to 41."""
    mixed = share(WORKED["en"] + "\n" + WORKED[other], "en")
    assert mixed is not None and 0.4 < mixed < 0.75


@pytest.mark.parametrize("text", UNPUNISHED.values(), ids=UNPUNISHED)
def test_formulas_code_and_names_are_not_punished(text: str) -> None:
    assert share(text, "en") == 1


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            "我们使用 BFS 算法，调用 sum 函数计算 x 的值，得到 5 kg 的苹果，然后 Alice 把它们分给大家。",
            "zh",
        ),
        (
            "Воспользуемся методом Gauss и функцией sort для решения задачи, тогда ответ будет верным для всех чисел.",
            "ru",
        ),
        ("이제 BFS 알고리즘을 사용하여 두 수의 합을 계산하고 결과를 다시 확인하겠습니다.", "ko"),
    ],
)
def test_a_few_terms_in_latin_letters_are_not_punished(text: str, wanted: str) -> None:
    assert share(text, wanted) == 1


def test_a_word_in_another_script_costs_its_share() -> None:
    """Nine words of two letters and more in English, 因此 of two characters is one."""
    assert share("So we have 因此 that the sum of both is even", "en") == pytest.approx(10 / 11)


def test_excuses_end_where_names_and_quotations_are_many() -> None:
    """20 names, a tenth of all 24 words but three at least excused: 4 / (4 + 20 - 3)."""
    assert share("These are the names: " + "Владимир " * 20, "en") == pytest.approx(4 / (4 + 20 - 3))


@pytest.mark.parametrize("text", ["", "  \n", "$x=1$", "3 + 4 = 7", "x", "```\nfor each word\n```", "OK. Yes."])
def test_where_nothing_can_be_judged_there_is_no_share_and_the_reward_is_1(text: str) -> None:
    assert share(text, "en") is None
    assert language(text, {}, wanted="en") == Score(1.0, why="no words that can be told")


def test_the_chain_of_thought_is_judged_or_all() -> None:
    text = f"<think>{WORKED['en']}</think>{WORKED['de']}"
    assert language(text, {}, wanted="en").value == 1
    assert language(text, {}, wanted="en", of="all").value == pytest.approx(34 / 67, abs=0.03)
    assert language(WORKED["de"], {}, wanted="en") == Score(0.0, why="0.0 % of words in en")


def test_the_language_may_be_a_column_of_the_problem() -> None:
    assert language(WORKED["de"], {"language": "de"}).value == 1
    assert language(WORKED["de"], {"language": "de"}, wanted="en").value == 0


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, r'needs options = \{wanted = "en"\}, or a column "language" of the problem'),
        ({"wanted": "english"}, "language: 'english' is no language that is told apart here; there are am, .*en, es"),
        ({"wanted": 3}, "language: 3 is no language"),
        ({"wanted": "en", "of": "answer"}, r'of must be "thoughts" or "all" \(given \'answer\'\)'),
    ],
)
def test_what_is_asked_wrongly_is_said(given: dict[str, str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        language("a text", {}, **given)  # type: ignore[arg-type]


@given(anything, st.sampled_from(["en", "zh", "ja", "ru", "ko", "el"]))
def test_any_text_has_a_share_or_none(text: str, wanted: str) -> None:
    found = share(text, wanted)
    assert found is None or 0 <= found <= 1
    value = language(text, {}, wanted=wanted).value
    assert value is not None and 0 <= value <= 1


@given(st.sampled_from(CODES), st.text(alphabet="0123456789 +-*/=()<>.,\n"))
def test_digits_and_signs_are_no_language(wanted: str, text: str) -> None:
    assert share(text, wanted) is None


@settings(max_examples=10)
@given(units, st.sampled_from(["en", "zh"]))
def test_four_times_the_text_takes_four_times_the_time(unit: str, wanted: str) -> None:
    assert in_proportion(lambda text: share(text, wanted), unit)


@pytest.mark.parametrize("unit", ["$ ", "a@"])
def test_a_million_characters_of_one_thing(unit: str) -> None:
    assert share("a" + unit * (1_000_000 // len(unit)), "en") is None


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no solutions at {DATA}")
def test_solutions_in_english_are_english() -> None:
    for name, texts in solutions().items():
        shares = [found for text in texts[:150] if (found := share(text, "en")) is not None]
        assert sum(found < 0.95 for found in shares) <= 0.01 * len(shares), name


def test_every_language_is_known_to_the_identifier_or_alone_in_its_script() -> None:
    from rewards.language import _all_languages

    shared = {code for codes in LANGUAGES.values() if len(codes) > 1 for code in codes}
    assert shared <= set(_all_languages().labels)
    assert len(CODES) == len(set(CODES))
