r"""What does an answer say?  From text to a tree of `nodes`, by one grammar for LaTeX and plain text.

    text ─▶ text: one alphabet ─▶ remarks: "about 1.41", "for all x" ─▶ special: times, bases, numbers in words
                                                                  └▶ thousands, lexer, letters: tokens
    tokens ─▶ answers: whole answers
                └ units: what measures a value
                  └ constructs: \frac, \sqrt, \sum, matrices
                    └ parser: sums, products, powers, brackets
                      └ numbers: mixed, repeating, degrees and minutes
                        └ stream: the tokens that are left

`vocabulary` is the list of words that the lexer knows, `measures` those that may follow a number, `numerals` reads
numbers in words, and `words` has what prose is turned into.  The way in is `answers.parse`; it returns a tree or raises
`tokens.ParseError`, and looks at nothing but the text.
"""
