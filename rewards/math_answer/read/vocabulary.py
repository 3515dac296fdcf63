"""The words of the language: functions, commands, relations, units.  Data only; what they mean is in the parser."""

from __future__ import annotations

FUNCTIONS = frozenset(
    "sin cos tan cot sec csc arcsin arccos arctan arccot arcsec arccsc sinh cosh tanh coth sech csch arsinh arcosh "
    "artanh arcsinh arccosh arctanh asin acos atan ln log lg exp sqrt cbrt abs floor ceil gcd lcm min max det sgn "
    "sign arg deg re im gamma binom choose mod factorial".split()
)
CANONICAL = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "arsinh": "arcsinh", "arcosh": "arccosh"}
CANONICAL |= {"artanh": "arctanh", "ceiling": "ceil", "sign": "sgn", "tg": "tan", "ctg": "cot", "arctg": "arctan"}
CANONICAL |= {"dfrac": "frac", "tfrac": "frac", "cfrac": "frac", "sfrac": "frac", "nicefrac": "frac", "tbinom": "binom"}
CANONICAL |= {
    "dbinom": "binom",
    "Re": "re",
    "Im": "im",
    "surd": "sqrt",
    "bmod": "mod",
    "cosec": "csc",
}
CANONICAL |= {"widebar": "overline", "bar": "overline", "lvert": "|", "rvert": "|", "vert": "|", "mid": "|"}
CANONICAL |= {"lVert": "|", "rVert": "|", "Vert": "|", "|": "|"}
GREEK = frozenset(
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau upsilon phi chi psi omega "
    "Gamma Delta Theta Lambda Xi Sigma Upsilon Phi Psi Omega ell hbar aleph nabla".split()
)
GREEK_VARIANTS = {"varphi": "phi", "varepsilon": "epsilon", "vartheta": "theta", "varrho": "rho", "varsigma": "sigma"}
CONSTANTS = {"pi": "pi", "infty": "oo", "infinity": "oo", "inf": "oo", "oo": "oo", "emptyset": "{}", "varnothing": "{}"}
CONSTANTS |= {
    "RR": "RR",
    "R": "RR",
    "reals": "RR",
    "ZZ": "ZZ",
    "Z": "ZZ",
    "NN": "NN",
    "N": "NN",
    "QQ": "QQ",
    "CC": "CC",
}
CONSTANTS |= {"imath": "i", "jmath": "j", "e": "e", "i": "i", "infin": "oo"}
RELATIONS = {"=": "=", "<": "<", ">": ">", "<=": "<=", ">=": ">=", "!=": "!=", "==": "=", "le": "<=", "leq": "<="}
RELATIONS |= {"leqslant": "<=", "leqq": "<=", "ge": ">=", "geq": ">=", "geqslant": ">=", "geqq": ">=", "lt": "<"}
RELATIONS |= {"gt": ">", "ne": "!=", "neq": "!=", "approx": "~", "simeq": "~", "sim": "~", "doteq": "~", "cong": "≅"}
RELATIONS |= {"in": "in", "notin": "notin", "equiv": "≡", "subset": "sub", "subseteq": "sub", "coloneqq": "="}
RELATIONS |= {"to": "->", "mapsto": "->", "rightarrow": "->", "propto": "prop", "parallel": "par", "perp": "perp"}
OPS = {"times": "*", "cdot": "*", "ast": "*", "cdotp": "*", "div": "/", "pm": "pm", "mp": "mp", "cup": "cup"}
OPS |= {
    "bigcup": "cup",
    "cap": "cap",
    "bigcap": "cap",
    "setminus": "setminus",
    "backslash": "setminus",
    "cupdot": "cup",
}
OPS |= {
    "union": "cup",
    "intersect": "cap",
    "circ": "circ",
    "degree": "deg",
    "colon": ":",
    "over": "over",
    "land": "and",
}
OPS |= {"prime": "'", "bullet": "*", "star": "star", "smallsetminus": "setminus", "sqcup": "cup", "uplus": "cup"}
SEPARATORS = {"and": "and", "or": "or", "land": "∧", "lor": "∨", "wedge": "∧", "vee": "∨"}
IGNORED = frozenset(
    "left right big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl Biggr middle displaystyle textstyle "
    "scriptstyle limits nolimits"
    "  quad qquad thinspace medspace enspace hspace vspace hfill kern nonumber notag boldmath rm bf it "
    "sf tt cal mathstrut strut phantom hphantom vphantom smallskip medskip bigskip noindent par centering small large "
    "Large tiny normalsize therefore because ,".split()
)
UNWRAPPED = frozenset("boxed fbox mathbb ensuremath mathop underline displaylines mathit mathsf mathtt mathcal".split())
TEXTUAL = frozenset(
    "text textbf textit textrm textnormal textsf texttt mbox hbox mathrm operatorname emph textsc".split()
)
VECTORS = frozenset("mathbf vec hat boldsymbol bm widehat tilde bold pmb".split())

# Commands that the parser knows by name, and those that may be run together with a letter after them (`\\cotx`).
COMMANDS = FUNCTIONS | frozenset(
    "frac sqrt binom choose lfloor rfloor lceil rceil langle rangle lbrace rbrace lbrack rbrack overline angle "
    "triangle measuredangle overrightarrow widehat sum prod int lim dot ddot mod pmod".split()
)
_HEADS = sorted(
    (word for word in COMMANDS | IGNORED | set(CONSTANTS) | GREEK | set(OPS) if len(word) > 1), key=len, reverse=True
)


def known_head(command: str) -> str:
    """The longest known command that `command` starts with, if at most two letters are left; else nothing."""
    return next((head for head in _HEADS if command.startswith(head) and len(command) - len(head) <= 2), "")
