"""How languages announce an answer, deny it, suppose it, give a reason: a table, one row a language.

English is in `anchors`.  A row is tried only where its `stem` is in the text, so that a text costs a search for a few
words.  The other columns are alternatives of a regular expression; nothing in them repeats without a bound.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Language:
    """`stem`: letters that every announcement has, whatever its case.  `answer`: nouns that name an answer.  `says`:
    what stands between them and the answer, if no colon does.  `whole`: announcements of another build.  `denied`,
    `supposed`, `because`: words for no, if and why.  `ends`: what closes the sentence after the answer.  `spaced`:
    words are written apart."""

    stem: tuple[str, ...]
    answer: str
    says: str
    denied: str
    supposed: str
    because: str
    ends: str = ""
    whole: str = ""
    spaced: bool = True

    @cached_property
    def announcement(self) -> re.Pattern[str]:
        """`Die richtige Antwort lautet`, `**Réponse finale :**`, `【答案】`, `Ответ —`; or the noun as a heading."""
        noun, colon = f"(?:{self.answer})", r"[ \t*_]*(?:[:：=]|[—–](?=\s)|\n\s{0,3}(?=[$\\\d(*-]))"
        whole = f"|{self.whole}" if self.whole else ""
        if self.spaced:
            words = r"(?: [^\W\d_]{1,15})"
            verb = rf"{words}{{0,3}}? (?:{self.says})(?!\w)(?:[ \t*_]*[:：])?"
            return re.compile(rf"(?<!\w){noun}(?:{words}?{colon}|{verb}){whole}", re.IGNORECASE)
        verb = rf"[ \t*_]*(?:{self.says})[:：]?|[ \t]+(?=[\d$\\A-Za-z(（-])"
        return re.compile(rf"【{noun}】[:：]?|{noun}(?:{colon}|{verb}){whole}")

    @cached_property
    def doubted(self) -> re.Pattern[str]:
        """Somebody denies or supposes something."""
        return re.compile(self._word(f"{self.denied}|{self.supposed}"), re.IGNORECASE)

    @cached_property
    def not_ours(self) -> re.Pattern[str]:
        """Before an announcement: somebody supposes it."""
        return re.compile(rf"{self._word(self.supposed)}[^.!?。！？;；\n]*$", re.IGNORECASE)

    @cached_property
    def refused(self) -> re.Pattern[str]:
        """What is announced is denied: at its start, or anywhere where verbs come last."""
        start = ".*" if self.ends else r"\W*"
        return re.compile(start + self._word(self.denied), re.IGNORECASE | re.DOTALL)

    @cached_property
    def aside(self) -> re.Pattern[str]:
        """Where what is announced goes on to something else: a reason, or what it is not."""
        return re.compile(rf"[\s,，;；、]{self._word(f'{self.because}|{self.denied}')}", re.IGNORECASE)

    @cached_property
    def ending(self) -> re.Pattern[str]:
        return re.compile(rf"(?:{self.ends or '(?!)'})$")

    def _word(self, words: str) -> str:
        return rf"(?<!\w)(?:{words})(?!\w)" if self.spaced else f"(?:{words})"


def languages_in(text: str) -> list[Language]:
    """The rows whose announcements `text` may have."""
    found = [name for stem, name in (_ASCII_STEMS if text.isascii() else _STEMS) if stem in text]
    return [LANGUAGES[name] for name in dict.fromkeys(found)] if found else []


LANGUAGES = {
    "Chinese": Language(
        stem=("答", "选", "填", "结果"),
        answer="答案|最[终后]结果|正确选项",
        says="应该?[是为]|就是|选|是|为|等于",
        denied="不是|不可能|至少|至多|大于|小于|不为|不等于|不正确|错|并非|而非",
        supposed="如果|假设|假如|假定|若",
        because="因|检验|验证|经|满足|符合|由|其中|理由|故|所以|选|即|这|该",
        whole="故选择?[:：]?|选择?(?=\\s*[(（$]?[A-J])|故填[:：]|故填(?=[\\d$\\\\(-])|答[:：]",
        spaced=False,
    ),
    "Japanese": Language(
        stem=("答", "解"),
        answer="答え?|正解",
        says="は",
        denied="違|ではな|ではあり|でな|じゃな",
        supposed="もし|仮に|なら|とすると",
        because="なぜなら",
        ends="です|である|と?に?なります|[とに]なる|だ",
        spaced=False,
    ),
    "Korean": Language(
        stem=("답",),
        answer="정?답",
        says="은|이",
        denied="아니|아닙",
        supposed="만약|만일",
        because="왜냐하면",
        ends="입니다|이다|이에요|예요|[이가] 됩니다|[이가] 된다|다",
        spaced=False,
    ),
    "German": Language(
        stem=("ntwort", "ösung", "rgebnis"),
        answer="(?:End)?Antwort|Lösung|(?:End)?Ergebnis",
        says="(?:ist|sind|lautet|beträgt)(?: also| somit| daher)?",
        denied="nicht|kein|keine|weder|größer|kleiner",
        supposed="wenn|falls|angenommen|ob",
        because="weil|denn|da|sondern|aber",
    ),
    "French": Language(
        stem=("éponse", "ÉPONSE"),
        answer="réponse",
        says="(?:est|sont|vaut)(?: donc)?",
        denied="pas|non|supérieure|inférieure",
        supposed="si|supposons",
        because="car|parce|puisque|mais|et non|plutôt",
    ),
    "Spanish": Language(
        stem=("espuesta", "ESPUESTA"),
        answer="respuesta",
        says="(?:es|son|será)(?: entonces| por tanto)?",
        denied="no|mayor|menor",
        supposed="si|supongamos",
        because="porque|ya que|pues|y no|sino|pero",
    ),
    "Portuguese": Language(
        stem=("esposta", "ESPOSTA"),
        answer="resposta",
        says="(?:é|são|será)(?:,? portanto,?| então)?",
        denied="não|maior|menor",
        supposed="se|suponha",
        because="porque|pois|já que|e não|mas",
    ),
    "Italian": Language(
        stem=("isposta", "ISPOSTA"),
        answer="risposta",
        says="(?:è|sono|sarà)(?: quindi| dunque)?",
        denied="non|maggiore|minore",
        supposed="se|supponiamo",
        because="perché|poiché|e non|ma",
    ),
    "Dutch": Language(
        stem=("ntwoord", "NTWOORD"),
        answer="antwoord",
        says="(?:is|zijn|luidt)(?: dus)?",
        denied="niet|geen|groter|kleiner",
        supposed="als|stel",
        because="omdat|want|maar",
    ),
    "Swedish": Language(
        stem=("Svar", "svaret", "SVAR"),
        answer="svar|svaret",
        says="är|er|blir",
        denied="inte|ikke|ej",
        supposed="om|hvis",
        because="eftersom|fordi|men",
    ),
    "Polish": Language(
        stem=("dpowied",),
        answer="odpowiedź|odpowiedzią",
        says="to|jest|brzmi",
        denied="nie",
        supposed="jeśli|gdyby",
        because="bo|ponieważ|gdyż|a nie|ale",
    ),
    "Russian": Language(
        stem=("твет", "ТВЕТ"),
        answer="ответ",
        says="равен|равна|равно|есть|это|будет",
        denied="не|нет|больше|меньше|неверен|неверно|неправильный",
        supposed="если|предположим|пусть",
        because="так как|потому|поскольку|а не|но",
    ),
    "Ukrainian": Language(
        stem=("ідповідь",),
        answer="відповідь",
        says="дорівнює|це",
        denied="не|ні|більше|менше",
        supposed="якщо|припустимо",
        because="бо|тому|оскільки|а не|але",
    ),
    "Turkish": Language(
        stem=("evap", "EVAP", "anıt"),
        answer="cevap|cevabı|yanıt",
        says="şudur",
        denied="değil",
        supposed="eğer",
        because="çünkü|ama",
        ends="'?d[iıuü]r",
        whole=r"cevap(?= [\d$\\])",
    ),
    "Vietnamese": Language(
        stem=("áp án", "áp số", "rả lời"),
        answer="đáp án|đáp số|câu trả lời",
        says="là",
        denied="không",
        supposed="nếu|giả sử",
        because="vì|bởi|nhưng",
    ),
    "Indonesian": Language(
        stem=("awaban", "AWABAN"),
        answer="jawaban|jawabannya",
        says="adalah|ialah",
        denied="bukan|tidak",
        supposed="jika|misalkan",
        because="karena|sebab|tetapi",
    ),
    "Hindi": Language(
        stem=("उत्तर",),
        answer="उत्तर",
        says="(?!)",
        denied="नहीं",
        supposed="यदि|अगर",
        because="क्योंकि",
        ends="है|हैं",
        whole=r"उत्तर(?= [\d$\\])",
    ),
    "Arabic": Language(
        stem=("جواب", "إجابة"),
        answer="الجواب|الإجابة",
        says="هو|هي",
        denied="ليس|ليست|لا",
        supposed="إذا|لو",
        because="لأن|وليس",
    ),
    "Persian": Language(
        stem=("پاسخ", "جواب"),
        answer="پاسخ|جواب",
        says="برابر است با",
        denied="نیست",
        supposed="اگر",
        because="زیرا",
        ends="است",
        whole=r"(?:پاسخ|جواب)(?= [\d$\\])",
    ),
}
_STEMS = [(stem, name) for name, row in LANGUAGES.items() for stem in row.stem]
_ASCII_STEMS = [(stem, name) for stem, name in _STEMS if stem.isascii()]
