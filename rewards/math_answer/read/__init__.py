r"""What does an answer say?  From text to a tree of `nodes`, by one grammar for LaTeX and plain text.

    text ─▶ text: one alphabet ─▶ thousands, lexer, letters: tokens ─▶ answers: whole answers
                                                                        └ constructs: \frac, \sqrt, \sum, matrices
                                                                          └ parser: sums, products, powers, brackets
                                                                            └ stream: the tokens that are left

`vocabulary` is the list of words that the lexer knows, `words` what prose is turned into.  The way in is
`answers.parse`; it returns a tree or raises `tokens.ParseError`, and looks at nothing but the text.
"""
