"""What may stand behind a number: units, counted things, and the words that make another number of it.  Data only.

Units are not converted: a question asks for one unit, and another one is another answer.  A counted thing may be left
out or added like a unit; the table has the nouns that questions in GSM8K and MATH ask for most often, because a noun
that is not known may as well be "squared" or "below zero".
"""

from __future__ import annotations

from rewards.math_answer.read.numerals import CARDINALS, FRACTIONS, SCALES

_UNIT_WORDS = {
    "meter": "m metre 米 м метр метров метра metro mètre",
    "centimeter": "cm centimetre 厘米 公分 см сантиметров centímetro centimètre zentimeter",
    "millimeter": "mm millimetre 毫米 мм", "kilometer": "km kilometre 千米 公里 км",
    "decimeter": "dm decimetre 分米 дм", "nanometer": "nm nanometre", "inch": "in inches", "foot": "ft feet",
    "yard": "yd", "mile": "mi", "second": "s sec 秒 с сек segundo seconde sekunden",
    "minute": "min 分钟 мин minuto minuten", "hour": "h hr 小时 时 ч часов часа hora heure stunde stunden",
    "day": "天 日", "week": "wk 周", "month": "月", "year": "yr 年",
    "millisecond": "ms", "kilogram": "kg kilo 千克 公斤 кг",
    "gram": "g 克 г", "milligram": "mg 毫克", "pound": "lb", "ounce": "oz", "ton": "tonne 吨 т",
    "liter": "l L litre 升 л litro",
    "milliliter": "ml mL millilitre 毫升", "gallon": "gal", "acre": "", "hectare": "公顷 га", "quart": "", "pint": "",
    "dollar": "$ usd buck 美元", "cent": "¢ penny pennies", "euro": "eur", "pound sterling": "gbp", "yen": "日元 円",
    "yuan": "元 rmb", "won": "원", "rupee": "rs", "ruble": "руб рублей",
    "joule": "J", "newton": "N", "watt": "W", "volt": "V",
    "kelvin": "K", "pascal": "Pa pa", "mole": "mol", "electronvolt": "ev", "hertz": "hz", "ampere": "A amp",
    "ohm": "Omega Ω",
    "radian": "rad 弧度", "kilojoule": "kj", "kilowatt": "kw", "kilopascal": "kpa", "farad": "", "coulomb": "",
    "tesla": "", "henry": "", "erg": "", "parsec": "", "angstrom": "", "calorie": "calory", "knot": "",
    "bit": "", "byte": "", "decibel": "db",
    "percent": "pct percentage",
}  # fmt: skip
UNITS: dict[str, dict[str, int]] = {}
for _name, _words in _UNIT_WORDS.items():
    UNITS |= {word: {_name: 1} for word in (_name, *_words.split())}
UNITS |= {"mph": {"mile": 1, "hour": -1}, "kph": {"kilometer": 1, "hour": -1}, "kmh": {"kilometer": 1, "hour": -1}}
UNITS |= {"Nm": {"newton": 1, "meter": 1}}
UNIT_LETTERS = frozenset(word for word in UNITS if len(word) == 1 and word.isascii() and word.isalpha())

# Things that are counted, and what stands before their names, in the singular.
COUNTED = frozenset(
    """
people person man men woman women child children kid boy girl student teacher player friend member guest customer
worker employee passenger individual voter adult family class classe group team animal dog cat puppy kitten fish
goldfish bird duck chicken cow goat sheep horse pig rabbit lion turtle frog shark insect bug ant bee egg leg apple
orange banana pear peach peache grape berry strawberry blueberry cherry lemon mango mangoe watermelon fruit tomato
tomatoe potato potatoe carrot onion vegetable pizza pie py cake cupcake muffin cooky cookie brownie browny donut
doughnut sandwich sandwiche candy sweet chocolate lollipop cracker pancake burger slice serving meal snack flower rose
daisy tree plant branch branche leaf leave seed nut book page notebook magazine novel chapter word letter question
problem answer solution root value number digit integer prime divisor factor multiple term pair triple triangle square
rectangle circle line point vertex vertice edge side face corner diagonal region way method outcome possibility
arrangement permutation combination subset set element function pattern sequence token unit item object thing piece
part bag box boxe basket bottle cup glass glasse plate bowl jar pack package packet container carton crate case bucket
barrel tank bar block brick tile stick pencil pen crayon marker eraser paper sheet card sticker stamp photo picture
ticket coin bill nickel dime game toy doll ball balloon marble puzzle lego car bus buse truck bike bicycle wheel tire
boat vehicle train plane trip lap mile step jump round turn chair table desk bed seat room house home building door
window wall shelf shelve shirt shoe sock hat dress dresse coat pant jean scarf scarve towel button bead necklace
bracelet ring stone rock shell seashell pebble bone candle bulb lamp machine phone computer video movy movie song show
episode message email call vote goal score shot win match matche run pill tablet tablespoon teaspoon loaf loave roll
scoop bushel batch batche load day night morning dinner lunch job task test lesson mistake error red blue green yellow
white black pink purple brown gold silver big small large little new old full whole empty distinct different possible
such real right same total left remaining altogether positive ordered lattice regular female male pet jellybean gift
painting baby key dishe fence nail log envelope hotdog text popsicle chip petal eye spot marshmallow gnome star peanut
present meatball acorn biscuit parent cricket decoration firework gumball bouquet oyster comic newspaper spoon hole
sunflower gemstone flight tube session tent section portion mushroom stair school copy apartment earring lamb follower
minnow ear pillow tulip dessert additional stuffed wooden extra
个 個 개 명 只 人 本 张 块 次 种 条 名 位 件 支 棵 辆 页 箱 袋 瓶 盒 岁 歲
""".split()
)
_OPERATORS = (
    "zero point minus plus times less more fewer greater over under above below least most than factorial base mod "
    "modulo root power double doubled twice triple tripled thrice half halved quarter quarters negative "
    "inverse reciprocal divided multiplied to not except short score gross exponent"
)
# Words that change the number before them.
CHANGING = frozenset(_OPERATORS.split()) | CARDINALS.keys() | SCALES.keys() | FRACTIONS.keys()
